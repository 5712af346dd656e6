/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The sender's files: txsender.c (queue and thread), txprepare.c (gas and fees), txtrack.c
 * (receipts and broadcasts). All that is here belongs to the sender's thread but where it says
 * otherwise.
 */
#ifndef CHAIN_TXSENDER_PRIVATE_H
#define CHAIN_TXSENDER_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/chain/chain_private.h"
#include "agent/util/log.h"

enum {
    // Transactions in hand, of either kind. A provider has some reports and claims a minute.
    TX_MAX = 1024,
    // Bytes of calldata or of a signed transaction: what geth takes. Ours are below 2 kB.
    TX_DATA_MAX = 128 * 1024,
    // One HTTP request: two questions for each and a few besides stay below JSONRPC_BATCH_MAX.
    TX_ROUND_MAX = 48,
    TX_ROUND_BYTES_MAX = 1024 * 1024,

    TX_WARN_EVERY_MS = 60000,
};

enum tx_state {
    TX_PREPARE = 1, // wants gas and fees
    TX_LOOK,        // is it mined already?
    TX_SEND,        // it is not: broadcast
    TX_WAIT,        // the node has it
};

struct tx {
    struct tx *next; // in the inbox
    uint64_t id;
    enum tx_state state;
    long long due_ms;     // when to do the next thing about it
    unsigned int attempt; // failures in a row
    uint8_t *data;        // calldata, or the signed transaction
    size_t len;
    struct eth_address to; // PREPARE

    uint64_t nonce; // the rest: not PREPARE
    struct eth_hash hash;
    unsigned int polls;     // without a receipt, since the node was last seen to have it
    unsigned int overtaken; // polls in a row that showed its nonce used and no receipt
    bool check;             // ask whether the node still has it
};

struct tx_list {
    struct tx *items[TX_MAX]; // prepares by age, tracks by nonce
    size_t count;
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
    uint64_t chain_id; // copies of what the watcher learnt
    struct eth_emitters emitters;
    unsigned int attempt;    // transport failures in a row
    long long not_before_ms; // no request before this: backoff
    struct log_limit transport_limit, prepare_limit, send_limit, receipt_limit;
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

/*
 * One round of all that is due. 0, or the error of a request that failed as a whole (all it was
 * for is still to be done).
 */
int txprepare_round(struct txsender *s, struct error *err);
int txtrack_round(struct txsender *s, struct error *err);

#endif
