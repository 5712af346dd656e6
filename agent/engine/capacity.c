/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * --claim.only-if-free: a claim is sent only when the partition has room for the job that it will
 * bring. A worker looks at that job, and at Slurm's nodes if the last look is too old; one claim
 * is then granted, and the next look follows when it is mined. Since a job in the snapshot of the
 * nodes is not seen twice but one that came after it is not seen at all, what was claimed and had
 * not started by then is counted as promised.
 *
 * Another job may have moved to the head of the queue by the time the claim is mined; it is then
 * claimed without having been looked at. Nothing worse comes of it than that it waits in Slurm.
 *
 * A job that would not fit into the empty partition, or has more time than that gives any, is
 * claimed, too: it would hold up the queue for ever. It is given back before it is submitted, with
 * or without this option, since in Slurm it might wait for ever. The partition is asked for unless
 * it would take the job as it was last seen.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>

#include "agent/engine/engine_private.h"
#include "agent/engine/room.h"
#include "agent/util/clock.h"

enum { LAYOUT_MS = 600 * 1000 }; // slurm.conf changes seldom

struct capacity_task {
    struct task task;
    struct mail mail;
    struct engine *e;
    bool ask_slurm;
    struct slurm_partition partition;
    struct chain_job next;
    struct error error;
    int rc;
};

static struct capacity_task *of_mail(struct mail *m)
{
    return (struct capacity_task *)((char *)m - offsetof(struct capacity_task, mail));
}

static void free_task(struct capacity_task *t)
{
    free(t->partition.nodes);
    free(t);
}

static void free_mail(struct mail *m)
{
    free_task(of_mail(m));
}

static void drop(struct task *task)
{
    free_task((struct capacity_task *)task);
}

static void run(struct task *task)
{
    struct capacity_task *t = (struct capacity_task *)task;
    struct engine_options *o = &t->e->o;
    t->rc = chain_next_claim(t->e->chain, &t->next, &t->error);
    if (t->rc == 0 && t->ask_slurm)
        t->rc = o->slurm->ops->partition(o->slurm,
                                         o->partition,
                                         clock_mono_ms() + o->slurm_timeout_ms,
                                         &t->partition,
                                         &t->error);
    engine_post(t->e, &t->mail);
}

/* What runs now is in the snapshot that is about to be taken. */
static void mark_running(struct engine *e)
{
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (struct live_job *j = e->jobs[i]; j; j = j->next)
            j->in_snapshot = j->row.state == JOB_RUNNING || j->row.state == JOB_STOPPING;
}

static void look(struct engine *e)
{
    struct live_capacity *c = &e->capacity;
    struct capacity_task *t = engine_alloc(e, sizeof(*t));
    if (!t) return;
    t->task = (struct task){.run = run, .drop = drop};
    t->mail = (struct mail){.kind = MAIL_CAPACITY_TASK, .free = free_mail};
    t->e = e;
    t->ask_slurm = !c->seen.is.nodes || clock_mono_ms() - c->seen.at_ms >= e->o.query_interval_ms;
    if (t->ask_slurm) mark_running(e);
    c->looking = true;
    (void)engine_work(e, &t->task);
}

uint64_t engine_capacity_grant(struct engine *e)
{
    struct live_capacity *c = &e->capacity;
    if (c->granted) {
        c->granted = false;
        return 1;
    }
    if (!c->looking && clock_mono_ms() >= c->next_ms) look(e);
    return 0;
}

static struct room_job size_of(const struct job *row)
{
    return (struct room_job){.ntasks = row->ntasks,
                             .cpus_per_task = row->cpus_per_task,
                             .mem_per_cpu_mb = row->mem_per_cpu_mb,
                             .gpus = row->gpus};
}

static struct room_promised promised(const struct engine *e)
{
    struct room_promised p = {0};
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (const struct live_job *j = e->jobs[i]; j; j = j->next) {
            const struct job *row = &j->row;
            if (j->in_snapshot || row->state > JOB_RUNNING) continue; // JOB_STATES are in order
            struct room_job size = size_of(row);
            room_promise(&p, &size);
        }
    return p;
}

static void judge(struct engine *e, const struct chain_claim *job)
{
    struct live_capacity *c = &e->capacity;
    unsigned int suppressed;
    struct room_promised p = promised(e);
    struct room_job size = {.ntasks = job->ntasks,
                            .cpus_per_task = job->cpus_per_task,
                            .mem_per_cpu_mb = job->mem_per_cpu_mb,
                            .gpus = job->gpus};
    if (room_for(c->seen.is.nodes, c->seen.is.count, &p, &size) != ROOM_LATER) {
        c->granted = true;
        engine_outbox_claim(e);
        c->granted = false; // for that job, or for none
        return;
    }
    c->next_ms = clock_mono_ms() + e->o.query_interval_ms;
    if (log_limit_ok(&c->limit, 60 * 1000, &suppressed))
        log_info("the next job is not claimed yet, since the partition has no room for %" PRIu64
                 " tasks of %" PRIu64 " CPUs and %" PRIu64 " MB per CPU, %" PRIu64 " GPUs",
                 job->ntasks,
                 job->cpus_per_task,
                 job->mem_per_cpu_mb,
                 job->gpus);
}

int engine_capacity_check(const struct slurm_partition *p, const struct job *row, struct error *err)
{
    static const struct room_promised nothing;
    struct room_job size = size_of(row);
    if (room_for(p->nodes, p->count, &nothing, &size) == ROOM_NEVER)
        return error_set(err,
                         ERR_REFUSED,
                         "the cluster is too small for %" PRIu64 " tasks of %" PRIu64
                         " CPUs and %" PRIu64 " MB per CPU, %" PRIu64 " GPUs",
                         row->ntasks,
                         row->cpus_per_task,
                         row->mem_per_cpu_mb,
                         row->gpus);
    if (row->limit_min > p->max_time_min)
        return error_set(err,
                         ERR_REFUSED,
                         "the partition's MaxTime is %" PRIu64 " minutes, paid are %" PRIu64,
                         p->max_time_min,
                         row->limit_min);
    return 0;
}

bool engine_capacity_fits(const struct engine *e, const struct job *row)
{
    const struct live_partition *l = &e->layout;
    if (!l->is.nodes || clock_mono_ms() - l->at_ms > LAYOUT_MS) return false;
    return engine_capacity_check(&l->is, row, NULL) == 0;
}

static void take(struct live_partition *l, struct slurm_partition *p)
{
    free(l->is.nodes);
    *l = (struct live_partition){.is = *p, .at_ms = clock_mono_ms()};
    p->nodes = NULL;
}

void engine_capacity_learn(struct engine *e, struct slurm_partition *p)
{
    take(&e->layout, p);
}

void engine_on_capacity_task(struct engine *e, struct mail *m)
{
    struct capacity_task *t = of_mail(m);
    struct live_capacity *c = &e->capacity;
    c->looking = false;
    if (t->rc < 0) {
        log_debug("capacity: %s", t->error.text);
        c->next_ms = clock_mono_ms() + e->o.query_interval_ms;
        return;
    }
    if (t->ask_slurm) take(&c->seen, &t->partition);
    judge(e, &t->next.definition);
}
