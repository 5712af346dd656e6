/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The sender's files: txsender.c (queue and thread), txsurvey.c (account and fees), txprepare.c
 * (gas), txtrack.c (looks and broadcasts), txreceipt.c (what a receipt says). What is decided is
 * decided in txpolicy.c and feepolicy.c. All that is here belongs to the sender's thread but where
 * it says otherwise.
 */
#ifndef CHAIN_TXSENDER_PRIVATE_H
#define CHAIN_TXSENDER_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/chain/chain_private.h"
#include "agent/chain/txpolicy.h"
#include "agent/util/log.h"

enum {
    // Transactions in hand, of either kind: the engine hands over what may be in flight.
    TX_MAX = 1024,
    // Bytes of calldata or of a signed transaction: what geth takes. Ours are below 2 kB.
    TX_DATA_MAX = 128 * 1024,
    // One HTTP request. Two questions for each, usually, stay below JSONRPC_BATCH_MAX.
    TX_ROUND_MAX = 48,
    TX_ROUND_REQUESTS_MAX = 90,
    TX_ROUND_BYTES_MAX = 1024 * 1024,

    TX_WARN_EVERY_MS = 60000,
};

struct tx {
    struct tx *next; // in the inbox
    uint64_t id;
    bool prepare;         // wants gas and fees; else it is signed, and tracked
    long long due_ms;     // when to do the next thing about it
    unsigned int attempt; // failures in a row
    uint8_t *data;        // calldata, or the bytes of the last attempt
    size_t len;
    struct eth_address to; // of a prepare

    /* Of a track. */
    struct chain_attempt attempts[CHAIN_ATTEMPTS_MAX];
    size_t attempt_count;
    struct chain_fees fees;
    enum tx_answer answer;
    bool nonce_used; // at the last look
    unsigned int looks;
    bool check; // ask whether the node has it
    enum tx_known known;
    bool replacing;      // the engine was asked for the next attempt
    uint64_t since_head; // when these bytes were first sent
    long long since_ms;  // the same; 0 = not yet
};

struct tx_list {
    struct tx *items[TX_MAX]; // prepares by age, tracks by nonce
    size_t count;
};

/* A receipt that was found, on its way to tx_mined. */
struct tx_mined {
    struct tx *tx;
    struct chain_receipt receipt;
    struct eth_events events;
    int block_index, tx_index, call_index; // of the batches that complete it; -1: not asked
    bool complete;
};

struct txsender {
    struct chain *c;
    struct pool_client *rpc;
    struct jsonrpc_batch *batch, *second;
    pthread_t thread;

    pthread_mutex_t lock; // guards the next ones, which any thread may touch
    pthread_cond_t changed;
    bool stop, new_head, node_up;
    struct tx *inbox, **inbox_end;
    uint64_t ids[TX_MAX]; // of all transactions in hand
    size_t id_count;

    struct tx_list prepares, tracks;
    struct eth_emitters emitters; // a copy of what the watcher learnt
    unsigned int attempt;         // transport failures in a row
    long long not_before_ms;      // no request before this: backoff

    struct chain_account account; // as of the last survey
    bool surveyed;
    bool want_survey;        // of all, not only of head and nonce
    long long survey_due_ms; // of all, if nothing else asks for it
    unsigned int behind;     // surveys in a row that showed an older head
    long long head_ms;       // when this head was first seen
    uint64_t line_head;      // the head with which `mined` was first seen
    long long line_ms;
    bool broke; // the node said so; until it takes one, or the balance grows

    struct log_limit transport_limit, prepare_limit, send_limit, receipt_limit, cap_limit;
};

/* The transactions of a list that are due, in its order: at most TX_ROUND_MAX. */
size_t txsender_due(const struct tx_list *list, long long now_ms, struct tx *out[TX_ROUND_MAX]);

/* Out of list and registry: its id is free before the callback that ends it. The caller frees. */
void txsender_remove(struct txsender *s, struct tx_list *list, struct tx *tx);
void txsender_tx_free(struct tx *tx);

/* How long to wait between two looks for receipts, ms. */
long long txsender_period_ms(const struct txsender *s);

/* Put off `tx` after a failure, longer each time. */
void txsender_put_off(struct txsender *s, struct tx *tx);

/* The last attempt: whose bytes are sent. */
const struct chain_attempt *txsender_last(const struct tx *tx);

/*
 * Each of these is one part of a round: 0, or the error of a request that failed as a whole (all it
 * was for is still to be done).
 *
 * Ask for head and nonce, and, where it is due, for all that ops.account tells. ERR_BUSY: the node
 * is behind what was seen already, its numbers are not used.
 */
int txsurvey_run(struct txsender *s, struct error *err);
int txprepare_round(struct txsender *s, struct error *err);
int txtrack_round(struct txsender *s, struct error *err);

/* txreceipt.c: read a receipt; false, and a warning, if it cannot be. */
bool txreceipt_read(struct txsender *s,
                    struct tx *tx,
                    const struct chain_attempt *attempt,
                    const struct json_object *o,
                    struct tx_mined *m);

/* Ask for the rest of each and tell the engine; frees all. */
int txreceipt_tell(struct txsender *s, struct tx_mined *mined, size_t count, struct error *err);

/* Say that a receipt could not be had; it is looked for again. */
void txreceipt_warn(struct txsender *s, const struct eth_hash *hash, const char *why);

#endif
