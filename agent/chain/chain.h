/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The chain as the engine sees it: two threads. The watcher polls head, queues and logs; the sender
 * prepares transactions (gas, fees), broadcasts signed ones and waits for their receipts. Both
 * report through `struct chain_ops`; neither keeps anything that a restart must not lose.
 */
#ifndef CHAIN_CHAIN_H
#define CHAIN_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/chain/contract.h"
#include "agent/chain/feepolicy.h"
#include "agent/chain/provider.h"
#include "agent/chain/signer.h"
#include "agent/chain/types.h"
#include "agent/util/error.h"

struct chain_options {
    char *const *endpoints;           // JSON-RPC URLs, the preferred one first; borrowed
    size_t endpoint_count;            // 1 to ENDPOINTS_MAX
    const char *ws_endpoint;          // ws or wss URL whose new heads make us poll sooner; or NULL
    uint64_t max_lag;                 // blocks that a node may be behind the others
    uint64_t chain_id;                // nodes of other chains are refused; 0: the first one's
    struct eth_address metascheduler; // the contract; the others are asked of it
    struct eth_address provider;      // our own address
    long long poll_interval_ms;       // between two polls
    uint64_t logs_range;              // blocks per eth_getLogs
    struct fee_caps caps;             // what a transaction may offer
    uint64_t bump_after;              // blocks after which one that is not mined is replaced
    long long timeout_ms;             // deadline of one HTTP request
    uint64_t confirmations;           // blocks that make logs and receipts count; 1: at once
    uint64_t cursor;                  // logs up to this block are already known
    bool has_cursor;                  // false: start this many blocks before the head
    uint64_t look_back;
    const struct chain_block *blocks; // hashes of the last blocks up to the cursor; borrowed
    size_t block_count;               // until chain_start() returns
};

/* What the node says once it answers for the first time (and again after an outage). */
struct chain_ready {
    uint64_t chain_id;
    struct eth_address jobs, queues, provider_manager;
    uint64_t nonce; // transactions of ours that are mined: eth_getTransactionCount(latest)
};

struct chain_poll {
    uint64_t head;
    int64_t head_time_s;                    // the head block's timestamp
    uint64_t claimable, cancelling, top_up; // sizes of our three queues
    bool valid;   // the ProviderManager lets us take jobs: approved, not banned
    bool waiting; // a registration of ours waits for approval
    bool open;    // the contract takes new jobs; false: it is being retired
};

/* What the ProviderManager has of us; to be freed with chain_standing_free(). */
struct chain_standing {
    struct chain_provider approved, waiting;
    bool valid; // as in chain_poll
};

/* The account and what transactions cost: asked for each block, and when there is none for long. */
struct chain_account {
    uint64_t head;
    uint64_t mined;   // eth_getTransactionCount(latest)
    uint64_t pending; // the same with what is in the node's pool; as `mined` if it does not say
    struct u256 balance;
    struct fee_market market;
};

struct chain_receipt {
    struct eth_hash tx; // which of its attempts it was
    bool ok;
    uint64_t block;
    struct eth_hash block_hash;
    int64_t block_time_s;
    struct u256 cost;                  // what was paid for it
    char revert[CHAIN_ERROR_TEXT_MAX]; // !ok: the decoded reason, or why it could not be had
    const char *revert_name;           // !ok: as of contract_revert_text, static; "" unknown
    const struct chain_event
        *events; // of our contracts, in log order; borrowed during the callback
    size_t event_count;
};

/* A transaction as it was signed once. A call may have several: replaced, or made anew. */
struct chain_attempt {
    uint64_t nonce;
    struct eth_hash hash;
};

enum { CHAIN_ATTEMPTS_MAX = 32 }; // at 1/8 more each time: fees that are 40 times the first ones

struct chain_signed {
    struct chain_attempt attempts[CHAIN_ATTEMPTS_MAX]; // all of one call, the last one last
    size_t count;
    struct chain_fees fees; // of the last
    const void *raw;        // its bytes; borrowed
    size_t len;
};

/* All events of blocks from..to, in order; `to` is the next cursor. Borrowed during the callback.
 */
struct chain_logs {
    uint64_t from, to;
    const struct chain_event *events;
    size_t count;
    const struct chain_block *blocks; // from..to, to be remembered; none far behind the head
    size_t block_count;
    bool again; // as chain_read_again() asked: the cursor stays, and there are no blocks
};

/* Called on the chain's threads, one call at a time per thread; must not block. `id` is the
 * caller's. */
struct chain_ops {
    void (*ready)(void *ctx, const struct chain_ready *ready);
    void (*poll)(void *ctx, const struct chain_poll *poll);
    void (*logs)(void *ctx, const struct chain_logs *logs);
    /* Blocks above `fork` are gone from the chain, with all that was told of them; logs() of the
     * ones in their place follow. */
    void (*reorg)(void *ctx, uint64_t fork);
    /* The node cannot be used (once per outage; ready() follows when it is back). */
    void (*down)(void *ctx, const struct error *err);

    void (*account)(void *ctx, const struct chain_account *account);
    /* Gas was estimated: sign and chain_tx_track(). account() came before it. */
    void (*tx_prepared)(void *ctx, uint64_t id, const struct chain_fees *fees);
    /* The contract would revert: nothing was sent. */
    void (*tx_rejected)(void *ctx, uint64_t id, const char *revert_name, const char *revert);
    void (*tx_mined)(void *ctx, uint64_t id, const struct chain_receipt *receipt);
    /*
     * It is not mined as it is, its last attempt being `hash`: sign the same call with the same
     * nonce and these fees, and chain_tx_track() it again with one attempt more.
     */
    void (*tx_stuck)(void *ctx,
                     uint64_t id,
                     const struct eth_hash *hash,
                     const struct chain_fees *fees);
    /* Its bytes can never be mined; the sender has dropped it. The nonce may be used, or not. */
    void (*tx_void)(void *ctx, uint64_t id, const struct eth_hash *hash, const char *why);
};

struct chain;

/* Start both threads. Returns NULL on lack of memory or threads; a node that is down is no failure.
 */
struct chain *chain_start(const struct chain_options *options,
                          const struct chain_ops *ops,
                          void *ctx,
                          struct error *err);

/*
 * Ask for gas and fees of a call of ours; the answer is tx_prepared or tx_rejected. While the node
 * is down or has trouble (transport, node error) the sender tries again by itself, for ever, with
 * backoff. Copies calldata. Does not block. `id`s of prepare and track are the same space, one at a
 * time.
 */
int chain_tx_prepare(
    struct chain *c, uint64_t id, const struct eth_address *to, const void *calldata, size_t len);

/*
 * See to it that this call is mined once: look for receipts of all its attempts, broadcast the last
 * one if there is none, again if the node forgot it, until tx_mined or tx_void. For an id that is
 * tracked: instead of it. Copies all. Does not block.
 */
int chain_tx_track(struct chain *c, uint64_t id, const struct chain_signed *tx);

/* What transactions may offer from now on. Any thread. */
void chain_set_fee_rules(struct chain *c, const struct fee_caps *caps, uint64_t bump_after);

/* Poll now rather than at the next interval (a hint). */
void chain_poke(struct chain *c);

/*
 * A receipt told these events: its claims must be among the logs, too. Logs that lack one are not
 * taken, or, if they were, read again.
 */
void chain_expect(struct chain *c, const struct chain_event *events, size_t count);

/*
 * Logs from that block on which were read already are read and told once more, beside what is new:
 * an answer may have lacked some. Any thread.
 */
void chain_read_again(struct chain *c, uint64_t from);

/*
 * One blocking read of JobRepository.get(id), for any thread: deadline as of the options.
 * ERR_NOTFOUND: the contract knows no such job. Any other error says nothing of the job; also that
 * of a node that has come to be of another chain.
 */
int chain_job_get(struct chain *c,
                  const struct eth_hash *id,
                  struct chain_job *job,
                  struct error *err);

/*
 * One blocking read of what a minute of such a job costs at our prices as of that block: those
 * that the contract bills an end in it by. Nodes forget how things were: ask soon.
 */
int chain_price_at(struct chain *c,
                   uint64_t block,
                   const struct chain_job *job,
                   struct u256 *price_per_min,
                   struct error *err);

/*
 * One blocking read of our entries in the ProviderManager, as chain_job_get. *s is left alone on
 * failure.
 */
int chain_standing_get(struct chain *c, struct chain_standing *s, struct error *err);
void chain_standing_free(struct chain_standing *s);

enum { CHAIN_BILL_GRACE_MAX_MIN = 366 * 24 * 60 };

/*
 * One blocking read of the Constants contract's billDurationDeltaMinute, as chain_job_get: by how
 * many minutes a report may exceed what passed on chain since RUNNING. ERR_NOTFOUND: the
 * MetaScheduler names no such contract, or that has no such number; ERR_LIMIT: it is absurd.
 */
int chain_bill_grace_get(struct chain *c, uint64_t *minutes, struct error *err);

/*
 * One blocking look at the job that the next claimNextJob would bring, as chain_job_get.
 * ERR_NOTFOUND: none. It may be another one by the time a claim is mined.
 */
int chain_next_claim(struct chain *c, struct chain_job *job, struct error *err);

/* Stop and join the threads; callbacks are over when it returns. NULL allowed. Returns NULL. */
struct chain *chain_stop(struct chain *c);

#endif
