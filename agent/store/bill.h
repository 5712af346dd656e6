/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a job took, what was reported of it, and what the contract made of that: one row of table
 * `billing` for each time a job was claimed, written when nothing is left to do for it. Rows
 * outlive their jobs.
 */
#ifndef STORE_BILL_H
#define STORE_BILL_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/store/job.h"

enum { BILL_COST_TEXT = 79 }; // decimal digits of 256 bits, with NUL

struct bill {
    char job[JOB_ID_TEXT];
    uint64_t claim_block;
    char user[JOB_USER_MAX];
    uint64_t slurm_id;  // 0 = it never was in Slurm
    uint64_t limit_min; // paid for, top-ups included

    /* Slurm's measure. */
    int64_t start_s, end_s; // 0 = not known, or never
    uint64_t duration_s;    // without suspended time
    uint64_t suspended_s;   // the rest of the time between start and end

    /* Our report. */
    bool reported; // false: it was refused, or the contract took it back
    uint8_t status;
    uint64_t minutes;

    /* The contract, when it was asked afterwards. */
    bool confirmed; // false: it was not asked, or has no such job of ours
    uint8_t chain_status;
    int64_t chain_start_s, chain_end_s; // block times
    uint64_t billed_min;                // cost by our price of then; UINT64_MAX = not known
    char cost_wei[BILL_COST_TEXT];      // of credit; what the customer paid

    int64_t done_ms;
};

#endif
