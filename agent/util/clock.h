/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Time. Deadlines and intervals use the monotonic clock, records the wall clock. */
#ifndef UTIL_CLOCK_H
#define UTIL_CLOCK_H

#include <stdint.h>

/* Milliseconds of CLOCK_MONOTONIC. */
long long clock_mono_ms(void);

/* Seconds and milliseconds since the epoch. */
int64_t clock_wall_s(void);
int64_t clock_wall_ms(void);

#endif
