/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/endpoints.h"

void endpoint_good(struct endpoint *e)
{
    if (e->penalty > 0) e->penalty--;
    e->refusals = 0;
}

void endpoint_failed(struct endpoint *e)
{
    e->penalty += ENDPOINT_PENALTY;
    if (e->penalty > ENDPOINT_PENALTY_MAX) e->penalty = ENDPOINT_PENALTY_MAX;
}

void endpoint_refused(struct endpoint *e, long long retry_after_ms, long long now_ms)
{
    long long rest = retry_after_ms;
    if (rest <= 0) rest = (long long)ENDPOINT_REST_MS << e->refusals;
    if (rest > ENDPOINT_REST_MAX_MS) rest = ENDPOINT_REST_MAX_MS;
    if (e->refusals < ENDPOINT_REST_DOUBLINGS_MAX) e->refusals++;
    e->rest_until_ms = now_ms + rest;
}

void endpoint_head(
    struct endpoint list[], size_t count, size_t which, uint64_t head, uint64_t max_lag)
{
    struct endpoint *e = &list[which];
    uint64_t best = head;
    e->head = head;
    // One that is out of order may have told anything before it was.
    for (size_t i = 0; i < count; i++)
        if (list[i].penalty == 0 && !list[i].other_chain && list[i].head > best)
            best = list[i].head;
    if (best - head > max_lag)
        e->lags = true;
    else if (best - head <= max_lag / 2)
        e->lags = false;
}

bool endpoint_is_well(const struct endpoint *e, long long now_ms)
{
    return e->penalty == 0 && !e->other_chain && !e->lags && now_ms >= e->rest_until_ms;
}

/* How bad: what lags is right, what fails may be, another chain is not. */
static unsigned int badness(const struct endpoint *e)
{
    return e->penalty + (e->lags ? 1 : 0) + (e->other_chain ? 2 * ENDPOINT_PENALTY_MAX : 0);
}

int endpoint_pick(const struct endpoint list[], size_t count, unsigned int tried, long long now_ms)
{
    int best = -1;
    for (size_t i = 0; i < count; i++) {
        if (tried & 1u << i || now_ms < list[i].rest_until_ms) continue;
        if (best < 0 || badness(&list[i]) < badness(&list[best])) best = (int)i;
    }
    return best;
}
