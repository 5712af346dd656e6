/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/state.h"

#include <stddef.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/util/error.h"

static const char *const base_names[SLURM_STATE_COUNT] = {
    [SLURM_PENDING] = "PENDING",
    [SLURM_RUNNING] = "RUNNING",
    [SLURM_SUSPENDED] = "SUSPENDED",
    [SLURM_COMPLETE] = "COMPLETED",
    [SLURM_CANCELLED] = "CANCELLED",
    [SLURM_FAILED] = "FAILED",
    [SLURM_TIMEOUT] = "TIMEOUT",
    [SLURM_NODE_FAIL] = "NODE_FAIL",
    [SLURM_PREEMPTED] = "PREEMPTED",
    [SLURM_BOOT_FAIL] = "BOOT_FAIL",
    [SLURM_DEADLINE] = "DEADLINE",
    [SLURM_OOM] = "OUT_OF_MEMORY",
};

/* Flags as squeue and slurmrestd spell them, over all releases from 20.11 to 26.05. */
static const struct {
    const char *name;
    uint32_t flag;
} flag_names[] = {
    {"LAUNCH_FAILED", SLURM_FLAG_LAUNCH_FAILED},
    {"REQUEUED", SLURM_FLAG_REQUEUE},
    {"REQUEUE_HOLD", SLURM_FLAG_REQUEUE_HOLD},
    {"SPECIAL_EXIT", SLURM_FLAG_SPECIAL_EXIT},
    {"RESIZING", SLURM_FLAG_RESIZING},
    {"CONFIGURING", SLURM_FLAG_CONFIGURING},
    {"COMPLETING", SLURM_FLAG_COMPLETING},
    {"STOPPED", SLURM_FLAG_STOPPED},
    {"RECONFIG_FAIL", SLURM_FLAG_RECONFIG_FAIL},
    {"POWER_UP_NODE", SLURM_FLAG_POWER_UP_NODE},
    {"REVOKED", SLURM_FLAG_REVOKED},
    {"REQUEUE_FED", SLURM_FLAG_REQUEUE_FED},
    {"RESV_DEL_HOLD", SLURM_FLAG_RESV_DEL_HOLD},
    {"SIGNALING", SLURM_FLAG_SIGNALING},
    {"STAGE_OUT", SLURM_FLAG_STAGE_OUT},
    {"EXPEDITING", SLURM_FLAG_EXPEDITING},
};

enum {
    REQUEUE_FLAGS = SLURM_FLAG_REQUEUE | SLURM_FLAG_REQUEUE_HOLD | SLURM_FLAG_SPECIAL_EXIT |
                    SLURM_FLAG_REQUEUE_FED
};

static const unsigned char base_phases[SLURM_STATE_COUNT] = {
    [SLURM_PENDING] = SLURM_PHASE_WAITING,
    [SLURM_RUNNING] = SLURM_PHASE_RUNNING,
    [SLURM_SUSPENDED] = SLURM_PHASE_SUSPENDED,
    [SLURM_COMPLETE] = SLURM_PHASE_ENDED,
    [SLURM_CANCELLED] = SLURM_PHASE_ENDED,
    [SLURM_FAILED] = SLURM_PHASE_ENDED,
    [SLURM_TIMEOUT] = SLURM_PHASE_ENDED,
    [SLURM_NODE_FAIL] = SLURM_PHASE_ENDED,
    [SLURM_PREEMPTED] = SLURM_PHASE_ENDED,
    [SLURM_BOOT_FAIL] = SLURM_PHASE_ENDED,
    [SLURM_DEADLINE] = SLURM_PHASE_ENDED,
    [SLURM_OOM] = SLURM_PHASE_ENDED,
};

enum slurm_phase slurm_phase_of(uint32_t state)
{
    uint32_t base = state & SLURM_STATE_BASE;
    if (base >= SLURM_STATE_COUNT) return SLURM_PHASE_UNKNOWN;
    // Of a federated job that another cluster runs this one knows nothing more.
    if (state & SLURM_FLAG_REVOKED) return SLURM_PHASE_WAITING;
    // Whatever the attempt's own end was, a job that is put back into the queue lives on.
    if (state & REQUEUE_FLAGS) return SLURM_PHASE_AGAIN;
    if (state & SLURM_FLAG_RESIZING) return SLURM_PHASE_RUNNING;
    // Nodes that boot, or run their prolog: Slurm counts the job's time from when they are ready.
    if (base == SLURM_RUNNING && state & SLURM_FLAG_CONFIGURING) return SLURM_PHASE_WAITING;
    return (enum slurm_phase)base_phases[base];
}

const char *slurm_phase_name(enum slurm_phase phase)
{
    static const char *const names[SLURM_PHASE_COUNT] = {
        "unknown", "waiting", "running", "suspended", "again", "ended"};
    return (unsigned int)phase < SLURM_PHASE_COUNT ? names[phase] : names[0];
}

int slurm_state_parse(const char *name, uint32_t *state)
{
    for (uint32_t i = 0; i < SLURM_STATE_COUNT; i++) {
        if (strcmp(base_names[i], name) == 0) {
            *state = i;
            return 0;
        }
    }
    for (size_t i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++) {
        if (strcmp(flag_names[i].name, name) == 0) {
            *state = flag_names[i].flag;
            return 0;
        }
    }
    return ERR_NOTFOUND;
}

const char *slurm_state_name(uint32_t state)
{
    uint32_t base = state & SLURM_STATE_BASE;
    return base < SLURM_STATE_COUNT ? base_names[base] : "?";
}

bool slurm_has_nodes(const char *list)
{
    return *list && strcmp(list, "(null)") != 0 && strcmp(list, "None assigned") != 0;
}

int slurm_exit_code(uint32_t wait_status)
{
    int status = (int)(wait_status & 0xffff);
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    return 128 + WTERMSIG(status);
}
