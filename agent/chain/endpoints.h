/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which of several nodes is asked: decisions only, no I/O, no clock, no threads (pool.c has those).
 * The first of the list that is well is used; it is left at the first failure and comes back when
 * it has answered for a while.
 */
#ifndef CHAIN_ENDPOINTS_H
#define CHAIN_ENDPOINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ENDPOINTS_MAX = 8, // as --metascheduler.endpoint takes
    /*
     * A failure costs so many good answers before the node is used again while there is another:
     * with a probe every few seconds that is some 20 s after one failure, a minute after many.
     */
    ENDPOINT_PENALTY = 4,
    ENDPOINT_PENALTY_MAX = 3 * ENDPOINT_PENALTY,
    // "Too many requests" without a time: this long, doubled each time, up to a minute.
    ENDPOINT_REST_MS = 1000,
    ENDPOINT_REST_DOUBLINGS_MAX = 6,
    // With a time it is believed, up to an hour: a quota that ends at midnight is looked at again.
    ENDPOINT_REST_MAX_MS = 3600 * 1000,
};

struct endpoint {
    unsigned int penalty;    // above 0: not while another is well
    unsigned int refusals;   // "too many requests" in a row
    long long rest_until_ms; // not asked at all before
    bool other_chain;        // a node of another chain: only asked to see whether it still is
    bool lags;               // behind the others
    uint64_t head;           // last block it told
};

void endpoint_good(struct endpoint *e);
void endpoint_failed(struct endpoint *e);

/* It said "too many requests", and how long to wait (0: nothing). */
void endpoint_refused(struct endpoint *e, long long retry_after_ms, long long now_ms);

/*
 * Endpoint `which` told its head. It lags when it is more than max_lag blocks behind the highest
 * head of the others that are well, until it is within half of that.
 */
void endpoint_head(
    struct endpoint list[], size_t count, size_t which, uint64_t head, uint64_t max_lag);

/* Nothing speaks against it. */
bool endpoint_is_well(const struct endpoint *e, long long now_ms);

/*
 * The one to ask, of those whose bit in `tried` is not set: the first that is well, else the least
 * bad. -1: all the rest were tried or want to be left alone.
 */
int endpoint_pick(const struct endpoint list[], size_t count, unsigned int tried, long long now_ms);

#endif
