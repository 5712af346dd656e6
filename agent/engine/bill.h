/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Minutes: what is reported of a job, and whether the contract billed that. Pure. */
#ifndef ENGINE_BILL_H
#define ENGINE_BILL_H

#include <stddef.h>
#include <stdint.h>

#include "agent/store/bill.h"

/* Whole minutes, rounded up. */
uint64_t bill_measured_min(uint64_t duration_s);

/* What of the time between start and end was not measured: the job was suspended. */
uint64_t bill_suspended_s(int64_t start_s, int64_t end_s, uint64_t duration_s);

enum { BILL_GRACE_MIN = 15 }; // billDurationDeltaMinute of the Grid's contracts

/*
 * The minutes to report: what was measured, but not above what was paid for, and not above what the
 * contract accepts. It takes the minutes that passed on chain since RUNNING and `grace_min` more;
 * of a report above that it bills only the minutes that passed. `running_block_s`: time of
 * RUNNING's block, 0 = not known; `chain_now_s`: what a block mined now would say.
 */
uint64_t bill_minutes(uint64_t duration_s,
                      uint64_t limit_min,
                      uint64_t grace_min,
                      int64_t running_block_s,
                      int64_t chain_now_s);

/* What the contract should bill: the minutes that were reported, and one at least. */
uint64_t bill_owed_min(const struct bill *b);

/* In what measure, report and bill do not agree, in words; "" if they do. Returns text. */
const char *bill_difference(const struct bill *b, char *text, size_t size);

#endif
