/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What chain.c, watch.c and the sender's files share. Start order: sender, watcher; stop order: the
 * reverse, for the watcher wakes the sender.
 */
#ifndef CHAIN_CHAIN_PRIVATE_H
#define CHAIN_CHAIN_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/chain/chain.h"
#include "agent/chain/ethjson.h"
#include "agent/chain/headsub.h"
#include "agent/chain/jsonrpc.h"
#include "agent/chain/pool.h"
#include "agent/util/error.h"

enum {
    // A node that is down for hours is asked twice a minute.
    CHAIN_RETRY_MAX_MS = 30000,
    CHAIN_RETRY_MIN_MS = 100, // the base, should the poll interval be shorter
};

struct watch;
struct txsender;

struct chain_contracts { // that the MetaScheduler names
    struct eth_address jobs, queues, provider_manager;
};

struct chain {
    struct chain_options options;
    struct chain_ops ops;
    void *ctx;
    struct watch *watch;
    struct txsender *sender;

    struct pool *pool;
    struct headsub *headsub;    // NULL: not asked for
    struct pool_client *reader; // of blocking reads: belongs to the thread that set `reading`

    pthread_mutex_t lock; // guards what follows, and of the options caps and bump_after
    pthread_cond_t changed;
    bool known; // the node answered once
    uint64_t chain_id;
    struct eth_emitters emitters;
    struct chain_contracts contracts;
    bool reading;
    bool stopping;
    unsigned int readers; // threads that read, or wait to
};

/* What the watcher learnt; false: nothing yet. */
bool chain_identity(struct chain *c, uint64_t *chain_id, struct eth_emitters *emitters);

/*
 * Have c->reader until chain_reader_leave(). Blocks until it is free: ERR_UNAVAILABLE after the
 * deadline of a request, or if the node has not answered yet; ERR_STOPPED.
 */
int chain_reader_enter(struct chain *c, struct chain_contracts *contracts, struct error *err);
void chain_reader_leave(struct chain *c);

/* What a transaction may offer now. */
struct fee_caps chain_fee_caps(struct chain *c);
uint64_t chain_bump_after(struct chain *c);

/* The first wait of a series of retries. */
long long chain_retry_base_ms(const struct chain *c);

/* As chain_add_call(), in the name of `from`: nobody checks that in a mere question. */
int chain_add_call_from(struct jsonrpc_batch *b,
                        const char *method,
                        const struct eth_address *from,
                        const struct eth_address *to,
                        const void *data,
                        size_t len,
                        const char *rest);

/*
 * Add eth_call or eth_estimateGas of a call of ours; `rest` is what follows the call object in the
 * params: ",\"latest\"". A failure sticks to the batch.
 */
int chain_add_call(struct jsonrpc_batch *b,
                   const char *method,
                   const struct chain *c,
                   const struct eth_address *to,
                   const void *data,
                   size_t len,
                   const char *rest);

/* Add eth_getTransactionCount(provider, "latest"). */
int chain_add_nonce(struct jsonrpc_batch *b, const struct chain *c);

/* Add a request about the provider's account as of `block`: "latest", "pending". */
int chain_add_account(struct jsonrpc_batch *b,
                      const struct chain *c,
                      const char *method,
                      const char *block);

/* The result of request `index` as a quantity. */
int chain_result_u64(const struct jsonrpc_batch *b, int index, uint64_t *out, struct error *err);

/* watch.c */
struct watch *watch_start(struct chain *c, struct error *err);
struct watch *watch_stop(struct watch *w); // NULL allowed; returns NULL
void watch_poke(struct watch *w);
/* As chain_expect(). */
void watch_expect(struct watch *w, const struct chain_event *events, size_t count);
void watch_read_again(struct watch *w, uint64_t from);

/* txsender.c */
struct txsender *txsender_start(struct chain *c, struct error *err);
struct txsender *txsender_stop(struct txsender *s); // NULL allowed; returns NULL
int txsender_prepare(struct txsender *s,
                     uint64_t id,
                     const struct eth_address *to,
                     const void *calldata,
                     size_t len);
int txsender_track(struct txsender *s, uint64_t id, const struct chain_signed *signed_tx);
void txsender_new_head(struct txsender *s); // there may be receipts
void txsender_node_up(struct txsender *s);  // the node is back: it may have forgotten much

#endif
