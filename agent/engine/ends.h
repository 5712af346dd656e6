/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the end of a Slurm job is on chain. Pure: no I/O, no clock. doc/slurm-states.md is printed
 * from this table and from slurm_phase_of(), and a test compares them.
 */
#ifndef ENGINE_ENDS_H
#define ENGINE_ENDS_H

#include <stddef.h>

#include "agent/chain/contract.h"
#include "agent/slurm/state.h"
#include "agent/store/news.h"

/* Which ends a row is about, beside their state. */
enum end_when {
    END_ALWAYS = 0,
    END_NOT_RUN,     // the plugin saw that the script was never run
    END_NOT_STARTED, // it was given no nodes
    END_NO_CODE,     // exit status 0
    END_SOME_CODE,   // another exit status
    END_LAUNCH,      // an exit status that no process can have: Slurm's own error number
};

enum { END_OWN_CODE = -1 };

struct end_row {
    enum slurm_state base;
    enum end_when when;
    enum chain_job_status status;
    int exit_code; // END_OWN_CODE: the job's
    const char *reason;
};

/* The rows of the table; the first one that fits counts. */
const struct end_row *ends_table(size_t *count);

struct end {
    enum chain_job_status status;
    int exit_code;      // 0-255, or 128 + signal
    bool ran;           // RUNNING comes before it on chain
    const char *reason; // for the customer; "" if the status says it all
};

/* Of news whose phase is SLURM_PHASE_ENDED. */
struct end end_of(const struct news *n);

#endif
