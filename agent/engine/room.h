/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Has the partition room for a job? Pure. */
#ifndef ENGINE_ROOM_H
#define ENGINE_ROOM_H

#include <stddef.h>
#include <stdint.h>

#include "agent/slurm/backend.h"

struct room_job {
    uint64_t ntasks, cpus_per_task, mem_per_cpu_mb, gpus; // gpus: of the whole job
};

/* CPUs, MB and GPUs that jobs of ours will take and that no node shows as used yet. */
struct room_promised {
    uint64_t cpus, mem_mb, gpus;
};

enum room {
    ROOM_NEVER = 0, // not even if nothing else ran. Slurm may take it all the same, for ever
    ROOM_LATER,
    ROOM_NOW,
};

/* A task runs on one node; what is promised is somewhere on all of them. */
enum room room_for(const struct slurm_node *nodes,
                   size_t count,
                   const struct room_promised *promised,
                   const struct room_job *job);

/* Add what the job takes; stops at UINT64_MAX. */
void room_promise(struct room_promised *promised, const struct room_job *job);

#endif
