/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What was told of a Slurm job, whoever told it: a plugin of any generation, or a query. */
#ifndef STORE_NEWS_H
#define STORE_NEWS_H

#include <stdbool.h>
#include <stdint.h>

enum { NEWS_RESTARTS_UNTOLD = -1 };

struct news {
    uint64_t slurm_id;
    uint32_t state;       // enum slurm_state and flags
    uint32_t wait_status; // as of wait(2)
    int64_t restarts;     // attempts before the one that this is about
    int64_t submit_s;     // of this attempt: when it was queued
    int64_t start_s, end_s;
    uint64_t ran_s;   // of this attempt, without the time that it was suspended
    uint64_t spent_s; // of the attempts before it, where that is told
    bool begins;      // a start event
    bool started;     // it was given nodes
    bool not_run;     // its script was never run, although its state may be COMPLETED
    bool settled;     // Slurm will not queue it again by itself
};

#endif
