/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The last blocks whose logs were read, by number and hash: how a reorganisation is noticed and how
 * far back it goes. Adjacent blocks only, the oldest first. Pure.
 */
#ifndef CHAIN_BLOCKS_H
#define CHAIN_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

#include "agent/chain/types.h"

enum {
    // A chain with a finality of its own is final long before; on others 64 blocks is what clients
    // may replace. The one below them is needed, too: it is the one that stayed.
    BLOCKS_MAX = 64 + 1,
};

struct blocks {
    struct chain_block list[BLOCKS_MAX];
    size_t count;
};

/* Append; one that is not the next after the last begins anew. The oldest is forgotten. */
void blocks_push(struct blocks *b, const struct chain_block *block);

/* The last one, the one of that number, or NULL. */
const struct chain_block *blocks_top(const struct blocks *b);
const struct chain_block *blocks_find(const struct blocks *b, uint64_t number);

/* Forget those above `last`. */
void blocks_cut(struct blocks *b, uint64_t last);

#endif
