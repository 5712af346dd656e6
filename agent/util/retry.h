/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Exponential backoff with full-half jitter and a cap. */
#ifndef UTIL_RETRY_H
#define UTIL_RETRY_H

/*
 * Milliseconds to wait before attempt number `attempt` (1 = first retry): between half and all of
 * min(cap_ms, base_ms * 2^(attempt-1)), chosen at random so that many clients do not march in step.
 */
long long retry_delay_ms(unsigned int attempt, long long base_ms, long long cap_ms);

#endif
