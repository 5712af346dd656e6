/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/engine/bill.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "agent/chain/contract.h"

enum {
    CLOCK_S = 15, // by which the clocks of those who make blocks may be off
};

uint64_t bill_measured_min(uint64_t duration_s)
{
    return duration_s / 60 + (duration_s % 60 != 0);
}

uint64_t bill_suspended_s(int64_t start_s, int64_t end_s, uint64_t duration_s)
{
    if (start_s <= 0 || end_s <= start_s) return 0;
    uint64_t span_s = (uint64_t)(end_s - start_s);
    return span_s > duration_s ? span_s - duration_s : 0;
}

uint64_t bill_minutes(uint64_t duration_s,
                      uint64_t limit_min,
                      uint64_t grace_min,
                      int64_t running_block_s,
                      int64_t chain_now_s)
{
    uint64_t min = bill_measured_min(duration_s);
    if (min > limit_min) min = limit_min;
    if (running_block_s <= 0) return min;
    int64_t passed_s = chain_now_s - CLOCK_S - running_block_s;
    uint64_t most = (passed_s > 0 ? (uint64_t)passed_s / 60 : 0) + grace_min;
    return min < most ? min : most;
}

uint64_t bill_owed_min(const struct bill *b)
{
    return b->minutes ? b->minutes : 1;
}

/* What is wrong beside numbers and states; "" if nothing is. */
static const char *words_of(const struct bill *b)
{
    bool is_free = b->billed_min == 0 || strspn(b->cost_wei, "0") == strlen(b->cost_wei);
    if (!b->reported && !b->start_s) return "";
    if (!b->reported && !b->confirmed) return "ran, and was taken back";
    if (!b->reported)
        return is_free ? "ran, and was taken back: nothing is billed"
                       : "its end was not reported by this agent";
    if (!b->confirmed) return "the contract was not asked, or has no such job of ours";
    if (b->chain_status != b->status) return "";
    if (bill_measured_min(b->duration_s) > b->minutes)
        return b->minutes == b->limit_min ? "ran longer than was paid for"
                                          : "RUNNING was reported too late to bill all of it";
    return b->duration_s && b->billed_min == UINT64_MAX ? "the price is not known" : "";
}

const char *bill_difference(const struct bill *b, char *text, size_t size)
{
    (void)snprintf(text, size, "%s", words_of(b));
    if (text[0] || !b->reported) return text;
    if (b->chain_status != b->status)
        (void)snprintf(text,
                       size,
                       "reported as %s, on chain it is %s",
                       chain_job_status_name(b->status),
                       chain_job_status_name(b->chain_status));
    else if (b->duration_s && b->billed_min != bill_owed_min(b))
        (void)snprintf(text,
                       size,
                       "%" PRIu64 " minutes were reported, %" PRIu64 " billed",
                       b->minutes,
                       b->billed_min);
    return text;
}
