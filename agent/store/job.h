/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the store keeps of a job: one row of table `jobs`. The engine alone changes it. */
#ifndef STORE_JOB_H
#define STORE_JOB_H

#include <stdbool.h>
#include <stdint.h>

/* JOB_STATE(name, what it means). The names are in the store: never rename one. */
#define JOB_STATES(JOB_STATE)                                                                   \
    JOB_STATE(CLAIMED, "ours on chain; its script is being fetched")                            \
    JOB_STATE(FETCHED, "script stored; waits to be submitted")                                  \
    JOB_STATE(SUBMITTING, "a submission may be under way: looked up by name before each try")   \
    JOB_STATE(SUBMITTED, "in Slurm, its job id known")                                          \
    JOB_STATE(RUNNING, "started; RUNNING is being reported")                                    \
    JOB_STATE(ENDED, "has an end; what is owed to the chain is being reported")                 \
    JOB_STATE(REFUSED, "Slurm refused it; the refusal is being reported")                       \
    JOB_STATE(STOPPING, "its customer cancels it: its Slurm job is cancelled, its end awaited") \
    JOB_STATE(CANCELLING, "the contract wants it no more; its Slurm job is being cancelled")    \
    JOB_STATE(REPORTED, "the last report is mined; the contract is asked whether it agrees")    \
    JOB_STATE(DONE, "nothing is left to do")

enum job_state {
    JOB_NONE = 0, // not known
#define JOB_STATE(name, meaning) JOB_##name,
    JOB_STATES(JOB_STATE)
#undef JOB_STATE
        JOB_STATE_COUNT,
};

const char *job_state_name(enum job_state state); // "CLAIMED", ...; "NONE" for 0
enum job_state job_state_parse(const char *name); // JOB_NONE if it is none

/* How far a report to the chain is. */
enum report {
    REPORT_NONE = 0, // not asked for
    REPORT_PENDING,  // its row is in the outbox
    REPORT_DONE,     // mined, or the contract had it already
};

enum { JOB_ID_TEXT = 67, JOB_LOCATION_MAX = 1024, JOB_USER_MAX = 64, JOB_REASON_MAX = 256 };

/* claim_at: a reorganisation took the claim away; the next one is the same. */
#define JOB_CLAIM_GONE ((uint64_t)INT64_MAX)

struct job {
    char id[JOB_ID_TEXT]; // the on-chain id, 0x and 64 lower-case digits; the Slurm job's name
    enum job_state state;

    /* From the claim. */
    uint8_t customer[20];
    uint64_t claim_block;     // a later claim of the same id is a new life of the job
    uint64_t claim_at;        // where the claim is now: it may have been mined again elsewhere
    uint64_t done_at;         // the chain's head as last seen when it became DONE; 0 = not known
    uint64_t limit_min;       // the paid time, minutes, top-ups included
    uint64_t slurm_limit_min; // what Slurm was told of it; 0 = not known
    uint64_t ntasks, cpus_per_task, mem_per_cpu_mb, gpus;
    char location_hash[JOB_LOCATION_MAX];

    /* From the customer API and Slurm. */
    char logger_url[256];
    char user[JOB_USER_MAX]; // Unix user
    uint64_t slurm_id;       // 0 = not known
    uint64_t prev_slurm_id;  // of an earlier claim of the same id; 0 = none
    int64_t submit_s;        // when Slurm took it: tells it from others that had, or get, its id
    int64_t start_s, end_s;  // Slurm's times, of the present attempt; 0 = not known
    uint64_t restarts;       // attempts before it: Slurm queued the job again
    uint64_t spent_s;        // what they ran

    /* The end, once known. */
    bool ran;                    // it started: RUNNING is reported before the end
    uint8_t end_status;          // enum chain_job_status to report
    uint64_t duration_s;         // of all attempts, without suspended time
    int exit_code;               // 0-255, or 128+n for signal n
    char reason[JOB_REASON_MAX]; // lastError on chain; "" if none

    /* Reports. */
    enum report running_report, end_report;
    int64_t running_block_s; // time of the block that RUNNING was mined in; 0 = not yet
    uint64_t billed_min;     // minutes that the end's report named

    int64_t created_ms, updated_ms; // wall clock
};

#endif
