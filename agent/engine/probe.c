/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What workers do for reconciliation (survey.c): list the jobs of ours in Slurm, and ask the
 * contract, and where that is not enough Slurm by name, about some jobs.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "agent/engine/survey.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"
#include "agent/util/hex.h"

/* ---- a listing ---- */

struct list_task {
    struct task task;
    struct mail mail;
    struct engine *e;
    struct slurm_job *jobs;
    size_t count;
    struct error error;
    int rc;
};

static void free_listing(struct list_task *t)
{
    free(t->jobs);
    free(t);
}

static struct list_task *listing_of(struct mail *m)
{
    return (struct list_task *)((char *)m - offsetof(struct list_task, mail));
}

static void free_listing_mail(struct mail *m)
{
    free_listing(listing_of(m));
}

static void drop_listing(struct task *t)
{
    free_listing((struct list_task *)t);
}

static void run_listing(struct task *task)
{
    struct list_task *t = (struct list_task *)task;
    struct slurm_backend *b = t->e->o.slurm;
    fault_point(FAULT_LIST_BEFORE);
    t->rc =
        b->ops->list(b, clock_mono_ms() + t->e->o.slurm_timeout_ms, &t->jobs, &t->count, &t->error);
    fault_point(FAULT_LIST_AFTER);
    engine_post(t->e, &t->mail);
}

void engine_list_start(struct engine *e)
{
    struct list_task *t = engine_alloc(e, sizeof(*t));
    if (!t) return;
    t->task = (struct task){.run = run_listing, .drop = drop_listing};
    t->mail = (struct mail){.kind = MAIL_LISTING, .free = free_listing_mail};
    t->e = e;
    e->survey.listing = engine_work(e, &t->task);
}

void engine_on_listing(struct engine *e, struct mail *m)
{
    const struct list_task *t = listing_of(m);
    e->survey.listing = false;
    e->survey.list_at_ms = clock_mono_ms() + e->o.reconcile_interval_ms;
    if (t->rc < 0)
        log_warn("Slurm's jobs cannot be listed: %s; trying again", t->error.text);
    else
        engine_strangers_listed(e, t->jobs, t->count);
}

/* ---- probes ---- */

struct probe_task {
    struct task task;
    struct mail mail;
    struct engine *e;
    size_t count, max;
    struct probe probes[];
};

static struct probe_task *probes_of(struct mail *m)
{
    return (struct probe_task *)((char *)m - offsetof(struct probe_task, mail));
}

static void free_probes_mail(struct mail *m)
{
    free(probes_of(m));
}

static void drop_probes(struct task *t)
{
    free(t);
}

static enum reconcile_chain view_of(const struct engine *e, const struct chain_job *job)
{
    static const enum reconcile_chain views[] = {
        [CHAIN_JOB_PENDING] = RECONCILE_CHAIN_PENDING,
        [CHAIN_JOB_META_SCHEDULED] = RECONCILE_CHAIN_META_SCHEDULED,
        [CHAIN_JOB_SCHEDULED] = RECONCILE_CHAIN_SCHEDULED,
        [CHAIN_JOB_RUNNING] = RECONCILE_CHAIN_RUNNING,
    };
    if (job->status > CHAIN_JOB_PANICKED) return RECONCILE_CHAIN_UNKNOWN;
    if (job->status > CHAIN_JOB_RUNNING) return RECONCILE_CHAIN_FINAL;
    bool ours = memcmp(job->provider.b, e->o.chain.provider.b, sizeof(job->provider.b)) == 0;
    if (job->status != CHAIN_JOB_PENDING && !ours) return RECONCILE_CHAIN_OTHER;
    return views[job->status];
}

static int ask_chain(struct engine *e, struct probe *p, struct error *err)
{
    struct eth_hash id;
    if (hex_decode(id.b, sizeof(id.b), p->id) < 0) return ERR_INVALID;
    fault_point(FAULT_PROBE_BEFORE);
    int rc = chain_job_get(e->chain, &id, &p->job, err);
    fault_point(FAULT_PROBE_AFTER);
    if (rc == ERR_NOTFOUND)
        p->chain = RECONCILE_CHAIN_NONE;
    else if (rc == 0)
        p->chain = view_of(e, &p->job);
    return rc;
}

/* The user that the agent would submit it as. */
static int fill_user(struct engine *e, struct probe *p, struct error *err)
{
    const uint8_t *customer = p->stranger ? p->job.customer.b : p->customer;
    return e->o.user_of(e->o.user_ctx, customer, p->user, sizeof(p->user), err);
}

enum reconcile_slurm engine_slurm_view(uint32_t state)
{
    static const enum reconcile_slurm views[SLURM_PHASE_COUNT] = {
        [SLURM_PHASE_UNKNOWN] = RECONCILE_SLURM_UNKNOWN,
        [SLURM_PHASE_WAITING] = RECONCILE_SLURM_WAITING,
        [SLURM_PHASE_RUNNING] = RECONCILE_SLURM_RUNNING,
        [SLURM_PHASE_SUSPENDED] = RECONCILE_SLURM_RUNNING,
        [SLURM_PHASE_AGAIN] = RECONCILE_SLURM_WAITING,
        [SLURM_PHASE_ENDED] = RECONCILE_SLURM_ENDED,
    };
    return views[slurm_phase_of(state)];
}

static void ask_slurm(struct engine *e, struct probe *p)
{
    struct error err = {0};
    struct slurm_backend *b = e->o.slurm;
    int rc = p->user[0] ? 0 : fill_user(e, p, &err);
    fault_point(FAULT_FIND_BEFORE);
    if (rc == 0)
        rc = b->ops->find(
            b, p->id, p->user, clock_mono_ms() + e->o.slurm_timeout_ms, &p->slurm, &err);
    fault_point(FAULT_FIND_AFTER);
    if (rc == 0)
        p->named = engine_slurm_view(p->slurm.state);
    else if (rc == ERR_NOTFOUND)
        p->named = RECONCILE_SLURM_ABSENT;
    else
        log_job_debug(p->id, "looked for by name: %s", err.text);
}

static void answer(struct engine *e, struct probe *p, struct error *err)
{
    if (ask_chain(e, p, err) < 0 && p->chain == RECONCILE_CHAIN_UNKNOWN) return;
    if (p->stranger && p->chain != RECONCILE_CHAIN_NONE) (void)fill_user(e, p, NULL);
    if (p->by_name || (p->by_name_if_runs && p->chain == RECONCILE_CHAIN_RUNNING)) ask_slurm(e, p);
}

static void run_probes(struct task *task)
{
    struct probe_task *t = (struct probe_task *)task;
    bool reached = true;
    // One question that gets no answer is enough: the others stay UNKNOWN.
    for (size_t i = 0; i < t->count && reached; i++) {
        struct error err = {0};
        answer(t->e, &t->probes[i], &err);
        if (err.code < 0) log_job_debug(t->probes[i].id, "asked about: %s", err.text);
        reached = err.code != ERR_UNAVAILABLE && err.code != ERR_OUTCOME_UNKNOWN &&
                  err.code != ERR_STOPPED;
    }
    engine_post(t->e, &t->mail);
}

struct probe_task *engine_probes_new(struct engine *e, size_t max)
{
    struct probe_task *t = engine_alloc(e, sizeof(*t) + max * sizeof(t->probes[0]));
    if (!t) return NULL;
    t->task = (struct task){.run = run_probes, .drop = drop_probes};
    t->mail = (struct mail){.kind = MAIL_PROBES, .free = free_probes_mail};
    t->e = e;
    t->max = max;
    return t;
}

struct probe *engine_probes_add(struct probe_task *t)
{
    if (t->count == t->max) return NULL;
    struct probe *p = &t->probes[t->count++];
    *p = (struct probe){.chain = RECONCILE_CHAIN_UNKNOWN, .named = RECONCILE_SLURM_UNKNOWN};
    return p;
}

bool engine_probes_start(struct engine *e, struct probe_task *t)
{
    if (t->count) return engine_work(e, &t->task);
    free(t);
    return false;
}

void engine_on_probes(struct engine *e, struct mail *m)
{
    const struct probe_task *t = probes_of(m);
    e->survey.probing = false;
    engine_survey_probed(e, t->probes, t->count);
}
