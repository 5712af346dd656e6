/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/engine/ends.h"

/*
 * The contract knows FINISHED and OUT_OF_CREDITS only of jobs that are RUNNING. An exit code is the
 * job's own where it ended by itself; where Slurm ended it, two ways of asking Slurm tell different
 * ones, so it is fixed: 0 if somebody wanted that end, 1 for a failure.
 */
static const struct end_row table[] = {
    {SLURM_COMPLETE, END_NOT_RUN, CHAIN_JOB_FAILED, 1, "its node could not start the script"},
    {SLURM_COMPLETE, END_NOT_STARTED, CHAIN_JOB_FAILED, 1, "it ended before it was started"},
    {SLURM_COMPLETE, END_SOME_CODE, CHAIN_JOB_FAILED, END_OWN_CODE, ""},
    {SLURM_COMPLETE, END_ALWAYS, CHAIN_JOB_FINISHED, 0, ""},
    {SLURM_CANCELLED, END_ALWAYS, CHAIN_JOB_CANCELLED, 0, ""},
    {SLURM_FAILED, END_NOT_STARTED, CHAIN_JOB_FAILED, 1, "it failed before it was started"},
    {SLURM_FAILED, END_NO_CODE, CHAIN_JOB_FAILED, 1, ""},
    {SLURM_FAILED, END_LAUNCH, CHAIN_JOB_FAILED, END_OWN_CODE, "its script could not be started"},
    {SLURM_FAILED, END_ALWAYS, CHAIN_JOB_FAILED, END_OWN_CODE, ""},
    {SLURM_TIMEOUT, END_NOT_STARTED, CHAIN_JOB_FAILED, 1, "it ended before it was started"},
    {SLURM_TIMEOUT, END_ALWAYS, CHAIN_JOB_OUT_OF_CREDITS, 0, "the time that was paid for is over"},
    {SLURM_NODE_FAIL, END_ALWAYS, CHAIN_JOB_FAILED, 1, "a node failed"},
    {SLURM_PREEMPTED, END_ALWAYS, CHAIN_JOB_FAILED, 1, "preempted by another job"},
    {SLURM_BOOT_FAIL, END_ALWAYS, CHAIN_JOB_FAILED, 1, "a node failed to boot"},
    {SLURM_DEADLINE, END_ALWAYS, CHAIN_JOB_FAILED, 1, "its deadline passed"},
    {SLURM_OOM, END_ALWAYS, CHAIN_JOB_FAILED, 128 + 9, "out of memory"},
};

const struct end_row *ends_table(size_t *count)
{
    *count = sizeof(table) / sizeof(table[0]);
    return table;
}

static bool fits(enum end_when when, const struct news *n)
{
    uint32_t status = n->wait_status & 0xffff;
    switch (when) {
    case END_NOT_RUN:
        return n->not_run;
    case END_NOT_STARTED:
        return !n->started;
    case END_NO_CODE:
        return status == 0;
    case END_SOME_CODE:
        return status != 0;
    case END_LAUNCH:
        return status & 0x7f && status >> 8;
    case END_ALWAYS:
        break;
    }
    return true;
}

struct end end_of(const struct news *n)
{
    static const struct end_row unknown = {
        0, END_ALWAYS, CHAIN_JOB_FAILED, 1, "an end that is not known"};
    const struct end_row *row = &unknown;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]) && row == &unknown; i++)
        if (table[i].base == (n->state & SLURM_STATE_BASE) && fits(table[i].when, n))
            row = &table[i];
    return (struct end){
        .status = row->status,
        .exit_code =
            row->exit_code == END_OWN_CODE ? slurm_exit_code(n->wait_status) : row->exit_code,
        .ran = n->started && row->when != END_NOT_RUN,
        .reason = row->reason,
    };
}
