/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The engine: the one thread that owns all jobs and writes the store. Everything that happens
 * reaches it as a message; a turn handles all that wait, commits once, and only then answers and
 * acts.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "agent/chain/chain.h"
#include "agent/chain/signer.h"
#include "agent/customer/customer.h"
#include "agent/customer/logger.h"
#include "agent/engine/registration.h"
#include "agent/server/server.h"
#include "agent/slurm/backend.h"
#include "agent/store/store.h"
#include "agent/util/error.h"

struct engine_registration {
    const struct chain_provider *terms; // prices and labels, borrowed
    struct registration_rules rules;
    bool by_itself;        // false: only when a human asked
    long long interval_ms; // between two registrations, at least
};

struct engine_options { // all borrowed until engine_destroy()
    struct store *store;
    struct signer *signer;      // its rules are set once the chain is known
    struct chain_options chain; // cursor is filled in from the store
    struct slurm_backend *slurm;
    struct customer *customer;
    struct customer_logger *logger; // NULL: customers are not told
    /* Unix user of a customer: 0, ERR_NOTFOUND or ERR_INVALID (a verdict), or transient. Any
     * thread. */
    int (*user_of)(
        void *ctx, const uint8_t customer[20], char *user, size_t size, struct error *err);
    void *user_ctx;
    /* What there is to tell in one line, whenever it changes. May be NULL. On the engine's thread.
     */
    void (*status)(void *ctx, const char *text);
    void *status_ctx;
    /* Called by the loop at least every alive_every_ms (0: never): a proof that it goes round. */
    void (*alive)(void);
    long long alive_every_ms;
    const char *partition; // of Slurm
    const char *output;    // template of a job's output file
    const char *comment;   // of a job; begins with the mark "supervisor "
    struct engine_registration registration;
    unsigned int workers;
    unsigned int claim_batch;      // claims under way at most
    unsigned int max_jobs;         // jobs in flight at most
    struct u256 min_balance;       // wei: with less no job is claimed
    struct u256 max_spend_per_day; // wei: when it is spent no job is claimed; 0: no limit
    bool only_if_free;             // claim only what the partition has room for
    long long query_interval_ms;   // between two queries of Slurm
    long long slurm_timeout_ms;    // of one operation
    long long customer_timeout_ms; // of one fetch, its retries included
    long long submit_grace_ms;     // after an unknown outcome, before a job may be submitted again
    long long reconcile_interval_ms; // between two comparisons of store, Slurm and chain
    long long reconcile_grace_ms;    // that a job must be gone before it counts as lost
    bool comment_is_ours;            // no other agent gives its jobs this comment
};

struct engine;

/* Read the store and take up every job that is not done. Starts no thread. */
struct engine *engine_new(const struct engine_options *options, struct error *err);

/* Start workers and chain threads. */
int engine_start(struct engine *e, struct error *err);

/*
 * Run until `wake_fd` is readable: returns 0, and may be called again; or until the store fails:
 * ERR_*, and the process must end, since what is in memory is ahead of what is durable. Blocks; the
 * caller is the engine thread.
 */
int engine_run(struct engine *e, int wake_fd, struct error *err);

/*
 * Take from *options what may change while the engine runs: limits and intervals of claims and
 * looks, caps of fees, and what to register. All else in it is ignored. The terms to register have
 * the address that they had. Between two engine_run(), by the same thread.
 */
void engine_reload(struct engine *e, const struct engine_options *options);

/* struct server_ops.job_event; ctx is the engine. */
void engine_job_event(void *ctx, struct server_call *call, const struct server_job_event *event);

/*
 * What this cluster should be registered as, to be freed with provider_free(). Asks Slurm for its
 * nodes, and blocks up to the deadline. Any thread.
 */
int engine_register_wanted(struct slurm_backend *slurm,
                           const char *partition,
                           const struct engine_registration *r,
                           long long deadline_ms,
                           struct chain_provider *wanted,
                           struct error *err);

/* The store's value that is 1 when a human asked for a registration. */
#define REGISTER_ASKED_KEY "register_asked"

/*
 * Stop all threads. Returns false if a worker is still in a call: the process must then end without
 * freeing anything the engine was given.
 */
bool engine_stop(struct engine *e);

struct engine *
engine_destroy(struct engine *e); // after engine_stop() returned true, or before start

#endif
