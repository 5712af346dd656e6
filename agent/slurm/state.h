/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Slurm's job states: numbers of slurm.h (the same since 20.11), names of squeue and slurmrestd. */
#ifndef SLURM_STATE_H
#define SLURM_STATE_H

#include <stdbool.h>
#include <stdint.h>

enum slurm_state { // base state, the low byte of job_state
    SLURM_PENDING = 0,
    SLURM_RUNNING,
    SLURM_SUSPENDED,
    SLURM_COMPLETE,
    SLURM_CANCELLED,
    SLURM_FAILED,
    SLURM_TIMEOUT,
    SLURM_NODE_FAIL,
    SLURM_PREEMPTED,
    SLURM_BOOT_FAIL,
    SLURM_DEADLINE,
    SLURM_OOM,
    SLURM_STATE_COUNT,
    SLURM_STATE_BASE = 0xff,
};

enum { // flags above the base state
    SLURM_FLAG_LAUNCH_FAILED = 1 << 8,
    SLURM_FLAG_REQUEUE = 1 << 10,
    SLURM_FLAG_REQUEUE_HOLD = 1 << 11,
    SLURM_FLAG_SPECIAL_EXIT = 1 << 12,
    SLURM_FLAG_RESIZING = 1 << 13,
    SLURM_FLAG_CONFIGURING = 1 << 14,
    SLURM_FLAG_COMPLETING = 1 << 15,
    SLURM_FLAG_STOPPED = 1 << 16,
    SLURM_FLAG_RECONFIG_FAIL = 1 << 17,
    SLURM_FLAG_POWER_UP_NODE = 1 << 18,
    SLURM_FLAG_REVOKED = 1 << 19,
    SLURM_FLAG_REQUEUE_FED = 1 << 20,
    SLURM_FLAG_RESV_DEL_HOLD = 1 << 21,
    SLURM_FLAG_SIGNALING = 1 << 22,
    SLURM_FLAG_STAGE_OUT = 1 << 23,
    SLURM_FLAG_EXPEDITING = 1 << 24,
};

/* What a state means for the job: doc/slurm-states.md has all of them. */
enum slurm_phase {
    SLURM_PHASE_UNKNOWN = 0, // a number that is no state
    SLURM_PHASE_WAITING,     // it has no nodes, or they are being made ready
    SLURM_PHASE_RUNNING,     // also while its allocation changes, or is being cleaned up
    SLURM_PHASE_SUSPENDED,   // it has its nodes, and its time stands still
    SLURM_PHASE_AGAIN,       // this attempt is over and the job lives: it is queued again
    SLURM_PHASE_ENDED,       // this attempt is over, and the job with it unless it is requeued
    SLURM_PHASE_COUNT,
};

enum slurm_phase slurm_phase_of(uint32_t state);
const char *slurm_phase_name(enum slurm_phase phase); // "waiting", ...

/*
 * Base state or flag by name ("RUNNING", "COMPLETING", "OUT_OF_MEMORY"). A flag's value has no base
 * state: whoever has several names of one job ORs them. ERR_NOTFOUND if there is no such name.
 */
int slurm_state_parse(const char *name, uint32_t *state);
const char *slurm_state_name(uint32_t state); // of the base state; "?" if none

/* Does a list of nodes, as Slurm's commands and slurmrestd write it, have any? */
bool slurm_has_nodes(const char *list);

/* Exit code as people know it: 0-255, or 128+n for signal n. */
int slurm_exit_code(uint32_t wait_status);

#endif
