/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/engine/room.h"

#include <stdbool.h>

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static uint64_t min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void room_promise(struct room_promised *p, const struct room_job *job)
{
    uint64_t cpus = times(job->ntasks, job->cpus_per_task);
    p->cpus = plus(p->cpus, cpus);
    p->mem_mb = plus(p->mem_mb, times(cpus, job->mem_per_cpu_mb));
    p->gpus = plus(p->gpus, job->gpus);
}

/* Free on a node: all of it, or what jobs have left of a node that takes more. */
static struct room_promised left_on(const struct slurm_node *n, bool empty)
{
    uint32_t unfit =
        SLURM_NODE_DOWN | SLURM_NODE_DRAIN | SLURM_NODE_NOT_RESPONDING | SLURM_NODE_RESERVED;
    if (empty) return (struct room_promised){n->cpus, n->mem_mb, n->gpus};
    if (n->flags & unfit) return (struct room_promised){0};
    return (struct room_promised){minus(n->cpus, n->used_cpus),
                                  minus(n->mem_mb, n->used_mem_mb),
                                  minus(n->gpus, n->used_gpus)};
}

static bool fits(const struct slurm_node *nodes,
                 size_t count,
                 const struct room_promised *promised,
                 const struct room_job *job,
                 bool empty)
{
    uint64_t task_mem_mb = times(job->cpus_per_task, job->mem_per_cpu_mb), tasks = 0;
    struct room_promised all = {0}, wanted = empty ? (struct room_promised){0} : *promised;
    for (size_t i = 0; i < count; i++) {
        struct room_promised left = left_on(&nodes[i], empty);
        tasks = plus(tasks, min(left.cpus / job->cpus_per_task, left.mem_mb / task_mem_mb));
        all.cpus = plus(all.cpus, left.cpus);
        all.mem_mb = plus(all.mem_mb, left.mem_mb);
        all.gpus = plus(all.gpus, left.gpus);
    }
    room_promise(&wanted, job);
    return tasks >= job->ntasks && all.cpus >= wanted.cpus && all.mem_mb >= wanted.mem_mb &&
           all.gpus >= wanted.gpus;
}

enum room room_for(const struct slurm_node *nodes,
                   size_t count,
                   const struct room_promised *promised,
                   const struct room_job *job)
{
    if (job->cpus_per_task == 0 || job->mem_per_cpu_mb == 0) return ROOM_NEVER;
    if (!fits(nodes, count, promised, job, true)) return ROOM_NEVER;
    return fits(nodes, count, promised, job, false) ? ROOM_NOW : ROOM_LATER;
}
