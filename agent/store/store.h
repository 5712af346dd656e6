/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Durable state: the only user of SQLite. One thread (the engine) owns a store.
 *
 * Writes happen between store_begin() and store_commit(). Their errors stick: after the first one
 * every later write of the transaction fails too and store_commit() returns it, so that callers may
 * ignore the results in between. What store_commit() returned 0 for survives a power failure
 * (WAL, synchronous=FULL).
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/store/bill.h"
#include "agent/store/job.h"
#include "agent/store/news.h"
#include "agent/store/tx.h"
#include "agent/util/buf.h"
#include "agent/util/error.h"

struct store;

struct store_block {
    uint64_t number;
    uint8_t hash[32];
};

/*
 * Open or make the store in `dir` (made with mode 0700 if it is not there) and lock it.
 * ERR_BUSY: another process holds it; the text names its pid. ERR_CORRUPT: the integrity check
 * found damage. ERR_UNSUPPORTED: the schema is newer than this program.
 */
struct store *store_open(const char *dir, struct error *err);
/*
 * Open the store to read, also while an agent runs: no lock, and nothing is changed. ERR_NOTFOUND
 * if there is none, ERR_UNSUPPORTED if its schema is not this program's.
 */
struct store *store_open_readonly(const char *dir, struct error *err);

struct store *store_close(struct store *s); // NULL allowed; returns NULL

int store_begin(struct store *s);
int store_commit(struct store *s, struct error *err);

/* Jobs. put inserts or replaces the row of that id. */
int store_job_put(struct store *s, const struct job *job);
int store_job_get(struct store *s, const char *id, struct job *job); // ERR_NOTFOUND

/* Call `fn` for each job that is not DONE. A row that cannot be read is counted in *unreadable. */
int store_jobs_open(struct store *s,
                    void (*fn)(void *ctx, const struct job *job),
                    void *ctx,
                    size_t *unreadable);

/* Call `fn` for each job that became DONE when the chain's head was above `above`. */
int store_jobs_done(struct store *s,
                    uint64_t above,
                    void (*fn)(void *ctx, const struct job *job),
                    void *ctx);

/* A top-up is told apart by where its event is. ERR_EXISTS: it was added before. */
int store_top_up_add(
    struct store *s, const char *job, uint64_t block, uint64_t log_index, uint64_t minutes);

int store_top_ups_count(struct store *s, const char *job, uint64_t *count);

/*
 * What a reorganisation takes back, of blocks above `above`: top-ups (fn is told of each, then they
 * are forgotten), and the claims of jobs: their claim_at becomes JOB_CLAIM_GONE.
 */
int store_top_ups_undo(struct store *s,
                       uint64_t above,
                       void (*fn)(void *ctx, const char *job, uint64_t minutes),
                       void *ctx);
int store_claims_undo(struct store *s, uint64_t above);

/* Scripts are kept from the fetch to the end of the submission. */
int store_script_put(struct store *s, const char *job, const void *body, size_t len);
int store_script_get(struct store *s, const char *job, struct buf *body); // ERR_NOTFOUND, ERR_LIMIT
int store_script_drop(struct store *s, const char *job);

/* Billing. put replaces the row of that claim, and says when it was done. */
int store_bill_put(struct store *s, const struct bill *bill);

/* Slurm's measure of a job that was done before Slurm told of its end; nothing if it is known. */
int store_bill_end(struct store *s, const struct bill *bill);

/* Call `fn` for each that was done at `since_ms` or later, in that order. */
int store_bills_since(struct store *s,
                      int64_t since_ms,
                      void (*fn)(void *ctx, const struct bill *bill),
                      void *ctx);

int store_bills_prune(struct store *s, int64_t before_ms); // by when they were done

/*
 * News that cannot be taken yet: of a job whose Slurm id is not known, or that is not in the store
 * at all (`known` false), or of an end that may not be the last. What is there is not added again.
 * Anybody on the cluster can have such events sent, so they are few: of one job, of all unknown
 * jobs. Beyond that the oldest go; their number is returned.
 */
enum { EARLY_PER_JOB_MAX = 32, EARLY_UNKNOWN_MAX = 1000 };
int store_early_add(struct store *s, const char *job, bool known, const struct news *news);

/* The news of that job, oldest first, at most `max`; returns how many, or an error. */
int store_early_get(struct store *s, const char *job, struct news *news, size_t max);
int store_early_drop(struct store *s, const char *job);

/* Drop what was added before that time and has not become a job; returns how many. */
int store_early_prune(struct store *s, int64_t before_ms);

/*
 * A call that is to be made, as its key says: fills tx->id. ERR_EXISTS: a row of that key is open,
 * and nothing changed. A row that was rejected is opened anew with this data, and if `again` one
 * that was mined, too.
 */
int store_tx_want(struct store *s, struct tx *tx, bool again);
int store_tx_update(struct store *s, const struct tx *tx); // state, block and reason
int store_tx_drop(struct store *s, uint64_t id);

/* Call `fn` for each that is WANTED or SIGNED, by id. A row that cannot be read is counted. */
int store_txs_open(struct store *s,
                   void (*fn)(void *ctx, const struct tx *tx),
                   void *ctx,
                   size_t *unreadable);

/* One more signed form of a call; the same one again becomes the last. */
int store_attempt_add(struct store *s, uint64_t tx, const struct tx_attempt *a);

/* It is in a block, and cost that much. */
int store_attempt_mined(struct store *s, uint64_t tx, const uint8_t hash[32], const char *cost_wei);

/* Call `fn` for each attempt of a call that was not mined, the oldest first. */
int store_attempts(struct store *s,
                   uint64_t tx,
                   void (*fn)(void *ctx, const struct tx_attempt *attempt),
                   void *ctx);

/*
 * Call `fn` for each transaction that is mined (or reverted) in a block above `above`; and say that
 * one is not, after all: its attempts are in flight again.
 */
int store_txs_mined(struct store *s,
                    uint64_t above,
                    void (*fn)(void *ctx, const struct tx *tx),
                    void *ctx);
int store_tx_unmine(struct store *s, const struct tx *tx);

/* The block of the call with that key. ERR_NOTFOUND: it is in none, or was reverted. */
int store_tx_mined_in(struct store *s, const char *key, uint64_t *block);

/* Did we ever sign something with this nonce? */
bool store_nonce_is_ours(struct store *s, uint64_t nonce);

/* Call `fn` with what each transaction cost that was seen mined since then. */
int store_costs_since(struct store *s,
                      int64_t since_ms,
                      void (*fn)(void *ctx, const char *cost_wei),
                      void *ctx);

/* The journal of what happened to a job, for people. */
int store_event_add(struct store *s,
                    const char *job,
                    const char *event,
                    enum job_state from,
                    enum job_state to,
                    const char *detail);

/*
 * Hashes of the last blocks whose logs were read. put replaces the one of that number; cut forgets
 * those above `last`, prune those below `first`; load fills list[] with the highest `max`, in
 * order.
 */
int store_block_put(struct store *s, uint64_t number, const uint8_t hash[32]);
int store_blocks_cut(struct store *s, uint64_t last);
int store_blocks_prune(struct store *s, uint64_t first);
int store_blocks_load(struct store *s, struct store_block list[], size_t max, size_t *count);

/* Single values. get returns ERR_NOTFOUND and leaves *value. */
int store_meta_get_u64(struct store *s, const char *key, uint64_t *value);
int store_meta_put_u64(struct store *s, const char *key, uint64_t value);

/*
 * Tie the store to a text, such as the contract and account it is about: stored at the first call,
 * ERR_DENIED with both texts if a later one differs.
 */
int store_bind(struct store *s, const char *key, const char *value, struct error *err);

/* Drop DONE jobs, their transactions and journal that were last touched before `before_ms`. */
int store_prune(struct store *s, int64_t before_ms);

#endif
