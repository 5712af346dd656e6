/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How many blocks one eth_getLogs asks for: half as many after each complaint of the node, twice as
 * many again after some answers. Pure.
 */
#ifndef CHAIN_LOGSPAN_H
#define CHAIN_LOGSPAN_H

#include <stdbool.h>
#include <stdint.h>

enum {
    // Full answers before more is tried: one request in so many is lost on a node with a limit.
    LOGSPAN_GROW_AFTER = 16,
};

struct logspan {
    uint64_t max;      // as configured
    uint64_t now;      // blocks that the next request asks for at most
    unsigned int good; // answers to as much as that, in a row
};

void logspan_init(struct logspan *s, uint64_t max_blocks);

/* The last block to ask for, from `from` to `last` at most. */
uint64_t logspan_to(const struct logspan *s, uint64_t from, uint64_t last);

/* A request for `blocks` blocks was answered. */
void logspan_answered(struct logspan *s, uint64_t blocks);

/*
 * It was too much. False: it cannot be less, so that is not what is wrong, and what was taken back
 * for it is given back.
 */
bool logspan_refused(struct logspan *s, uint64_t blocks);

#endif
