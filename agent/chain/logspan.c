/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/logspan.h"

void logspan_init(struct logspan *s, uint64_t max_blocks)
{
    *s = (struct logspan){.max = max_blocks > 0 ? max_blocks : 1};
    s->now = s->max;
}

uint64_t logspan_to(const struct logspan *s, uint64_t from, uint64_t last)
{
    return last - from < s->now ? last : from + s->now - 1;
}

void logspan_answered(struct logspan *s, uint64_t blocks)
{
    if (blocks < s->now || s->now == s->max) return;
    if (++s->good < LOGSPAN_GROW_AFTER) return;
    s->good = 0;
    s->now = s->now < s->max / 2 ? s->now * 2 : s->max;
}

bool logspan_refused(struct logspan *s, uint64_t blocks)
{
    s->good = 0;
    if (blocks <= 1) {
        s->now = s->max;
        return false;
    }
    s->now = blocks / 2;
    return true;
}
