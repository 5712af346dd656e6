/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/util/retry.h"

#include <stdint.h>
#include <sys/random.h>

long long retry_delay_ms(unsigned int attempt, long long base_ms, long long cap_ms)
{
    long long delay = base_ms;
    for (unsigned int i = 1; i < attempt && delay < cap_ms; i++)
        delay *= 2;
    if (delay > cap_ms) delay = cap_ms;
    if (delay < 2) return delay;

    uint32_t r = 0;
    if (getrandom(&r, sizeof(r), 0) != (ssize_t)sizeof(r)) r = 0;
    return delay - (long long)(r % (uint64_t)(delay / 2 + 1));
}
