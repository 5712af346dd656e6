/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/blocks.h"

#include <string.h>

const struct chain_block *blocks_top(const struct blocks *b)
{
    return b->count ? &b->list[b->count - 1] : NULL;
}

void blocks_push(struct blocks *b, const struct chain_block *block)
{
    const struct chain_block *top = blocks_top(b);
    if (top && block->number != top->number + 1) b->count = 0;
    if (b->count == BLOCKS_MAX) memmove(&b->list[0], &b->list[1], --b->count * sizeof(b->list[0]));
    b->list[b->count++] = *block;
}

const struct chain_block *blocks_find(const struct blocks *b, uint64_t number)
{
    if (b->count == 0 || number < b->list[0].number) return NULL;
    uint64_t i = number - b->list[0].number;
    return i < b->count ? &b->list[i] : NULL;
}

void blocks_cut(struct blocks *b, uint64_t last)
{
    while (b->count && b->list[b->count - 1].number > last)
        b->count--;
}
