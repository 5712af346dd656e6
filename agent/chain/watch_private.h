/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The watcher's files: watch.c (the thread and its polls), follow.c (logs, block by block, and what
 * a reorganisation makes of them). All belongs to the watcher's thread but where it says otherwise.
 */
#ifndef CHAIN_WATCH_PRIVATE_H
#define CHAIN_WATCH_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/chain/blocks.h"
#include "agent/chain/chain_private.h"
#include "agent/chain/logspan.h"
#include "agent/util/log.h"

enum {
    WATCH_WARN_EVERY_MS = 60000,
    // Claims of ours that receipts told and logs have not: what a round of claims can be.
    EXPECTED_MAX = 256,
};

/* Where an event of ours is. */
struct place {
    uint64_t block, log_index;
    struct eth_hash block_hash;
};

struct places { // a ring: the oldest is overwritten
    struct place list[EXPECTED_MAX];
    size_t count, next;
};

struct watch {
    struct chain *c;
    struct pool_client *rpc;
    struct jsonrpc_batch *batch;
    pthread_t thread;

    pthread_mutex_t lock; // guards the next ones, which other threads touch
    pthread_cond_t changed;
    bool stop, poked;
    struct places told;  // by receipts: claims that the logs must have, too
    uint64_t again_from; // the next block whose logs are read again; UINT64_MAX: none

    bool up;        // between ready() and down()
    bool told_down; // down() was called for this outage
    bool more;      // blocks are left: go on without waiting
    bool started;   // `next` is set
    unsigned int attempt;
    struct chain_ready ready;
    struct chain_block head; // of the last poll
    size_t node;             // that it was asked of
    struct log_limit behind_limit, revert_limit, doubt_limit;

    uint64_t next;        // first block whose logs were not reported yet
    struct blocks blocks; // the last ones before it
    struct logspan span;
    struct places seen;  // claims of ours that logs told
    unsigned int doubts; // answers in a row that did not fit each other
    unsigned int misses; // polls in a row whose logs lacked what a receipt has
};

bool watch_is_stopping(struct watch *w);

/* ---- follow.c ---- */

/*
 * Is the last block that was read still what the chain has? follow_add_check() adds the question to
 * a poll, follow_check() reads the answer at that index (-1: it was not asked) and, if the block is
 * gone, finds the fork and tells ops.reorg. ERR_BUSY: the node is behind, or changed while it was
 * asked; nothing of this poll counts.
 */
int follow_add_check(struct watch *w);
int follow_check(struct watch *w, int index, const struct chain_block *head, struct error *err);

/*
 * Read the logs of the blocks that are new and confirmed, a bounded number of requests; w->more
 * says whether some are left.
 */
int follow_read(struct watch *w, struct error *err);

#endif
