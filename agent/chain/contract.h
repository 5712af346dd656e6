/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The MetaScheduler's calls, events and errors (contracts v1.2.0): pure encoding and decoding.
 * Nothing here does I/O; all data that is decoded comes from a node and is not trusted.
 */
#ifndef CHAIN_CONTRACT_H
#define CHAIN_CONTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/chain/types.h"
#include "agent/chain/u256.h"
#include "agent/util/buf.h"
#include "agent/util/error.h"

/* The contract's enum JobStatus. */
enum chain_job_status {
    CHAIN_JOB_PENDING = 0,
    CHAIN_JOB_META_SCHEDULED,
    CHAIN_JOB_SCHEDULED,
    CHAIN_JOB_RUNNING,
    CHAIN_JOB_CANCELLED,
    CHAIN_JOB_FINISHED,
    CHAIN_JOB_FAILED,
    CHAIN_JOB_OUT_OF_CREDITS,
    CHAIN_JOB_PANICKED,
};

/* "RUNNING" and so on; "?" for a number that is none. */
const char *chain_job_status_name(unsigned int status);

enum { CHAIN_LOCATION_MAX = 1024, CHAIN_ERROR_TEXT_MAX = 512 };

/* What a ClaimJobEvent says. */
struct chain_claim {
    struct eth_address customer;
    struct eth_address provider;
    uint64_t max_duration_min; // the paid time limit; 0 is possible
    uint64_t gpus;             // per job
    uint64_t mem_per_cpu_mb;
    uint64_t cpus_per_task;
    uint64_t ntasks;
    uint8_t storage_type;
    char location_hash[CHAIN_LOCATION_MAX]; // batchLocationHash; "" if too long or with a NUL
};

enum chain_event_kind {
    CHAIN_EVENT_NONE = 0,
    CHAIN_EVENT_CLAIM,      // ClaimJobEvent
    CHAIN_EVENT_CANCEL,     // ClaimNextCancellingJobEvent
    CHAIN_EVENT_TOP_UP,     // ClaimNextTopUpJobEvent
    CHAIN_EVENT_TRANSITION, // JobTransitionEvent of the JobRepository
};

struct chain_event {
    enum chain_event_kind kind;
    uint64_t block;
    uint64_t log_index;
    struct eth_hash block_hash;
    struct eth_hash tx;
    struct eth_hash job;
    struct eth_address provider; // not for TRANSITION
    struct chain_claim claim;    // CLAIM
    uint64_t top_up_min;         // TOP_UP: additional minutes
    uint8_t from, to;            // TRANSITION: enum chain_job_status
};

/* A raw log entry of eth_getLogs or a receipt. */
struct chain_raw_log {
    struct eth_address address;
    struct eth_hash topics[4];
    unsigned int topic_count;
    const uint8_t *data; // borrowed
    size_t data_len;
    uint64_t block, log_index;
    struct eth_hash block_hash, tx;
    bool removed; // un-mined by a reorg
};

/* topic0 of each kind, for filters. */
struct eth_hash contract_topic(enum chain_event_kind kind);

/*
 * Decode one log. Returns 0; ERR_NOTFOUND if it is none of our events (not an error: *event is
 * CHAIN_EVENT_NONE); ERR_PROTO, with text, if it has our topic and data that do not fit the ABI.
 */
int contract_decode_event(const struct chain_raw_log *log,
                          struct chain_event *event,
                          struct error *err);

/* What the agent reads of JobRepository.get(id). */
struct chain_job {
    struct eth_hash id;
    uint8_t status;
    struct eth_address customer, provider;
    struct chain_claim definition;     // gpus ... location_hash; customer and provider as above
    uint64_t submit_s, start_s, end_s; // block times: requested, RUNNING, final; 0 = not yet
    struct u256 paid;                  // for it so far, but for top-ups that wait to be claimed
    struct u256 final_cost;            // what the customer paid, in wei of credit; 0 = not yet
    uint64_t changed_block;            // its status is since this block as it is
    struct u256 price_per_min;         // at our prices of now; 0 = not known. Not of the repository
    bool has_cancel_request;
    char last_error[CHAIN_ERROR_TEXT_MAX]; // cut if longer
    int64_t exit_code;
    uint64_t at_block; // by chain_job_get(): it is not older than this
};

/* Calldata. Each appends to `b` and returns 0 or the buffer's error. */
int contract_call_plain(struct buf *b, const char *signature); // "claimNextJob()", "jobs()", ...
int contract_call_address(struct buf *b, const char *signature, const struct eth_address *a);
int contract_call_job(struct buf *b, const char *signature, const struct eth_hash *job);
int contract_call_set_status(struct buf *b,
                             const struct eth_hash *job,
                             enum chain_job_status status,
                             uint64_t duration_min,
                             const char *last_error,
                             int64_t exit_code);

/* Return data. ERR_PROTO if it does not fit. */
int contract_decode_address(const uint8_t *data,
                            size_t len,
                            struct eth_address *a,
                            struct error *err);
int contract_decode_u64(const uint8_t *data, size_t len, uint64_t *v, struct error *err);
int contract_decode_hash(const uint8_t *data, size_t len, struct eth_hash *v, struct error *err);
int contract_decode_job(const uint8_t *data, size_t len, struct chain_job *job, struct error *err);

/* Text of the chain's becomes one line of printable ASCII, cut to `size`. */
void contract_copy_printable(char *out, size_t size, const uint8_t *data, size_t len);

/*
 * A revert's data in words: "InvalidTransition(2, 5)", "Error: AccessControl: ...", "Panic(0x12)",
 * "reverted without a reason". Always fills `text`; every custom error of protocol.md B is known by
 * name with its arguments. Returns the error's name ("InvalidTransition", "Error", "Panic", "")
 * which is static.
 */
const char *contract_revert_text(const uint8_t *data, size_t len, char *text, size_t size);

#endif
