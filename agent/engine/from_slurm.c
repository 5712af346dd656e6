/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The agent's own batched query of its jobs, the floor under what the plugins tell: it sees starts,
 * ends that no plugin told, and whether an end that was told is the last one.
 */
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>

#include "agent/engine/engine_private.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"

enum {
    SLURM_REST_MS = 60 * 1000, // with no jobs
    SLURM_DOWN_MS = 10 * 1000, // while it is down
    SLURM_SOON_MS = 500,       // so that one query is for all that was told meanwhile
};

struct slurm_task {
    struct task task;
    struct mail mail;
    struct engine *e;
    size_t count, found;
    struct slurm_job *jobs; // count slots
    enum slurm_proof proof; // of those that were not found
    struct error error;
    int rc;
    uint64_t ids[]; // count; none: a ping
};

static struct slurm_task *of_mail(struct mail *m)
{
    return (struct slurm_task *)((char *)m - offsetof(struct slurm_task, mail));
}

static void free_slurm_task(struct slurm_task *t)
{
    free(t->jobs);
    free(t);
}

static void free_slurm_mail(struct mail *m)
{
    free_slurm_task(of_mail(m));
}

static void drop_slurm_task(struct task *t)
{
    free_slurm_task((struct slurm_task *)t);
}

static void run_slurm_task(struct task *task)
{
    struct slurm_task *t = (struct slurm_task *)task;
    struct slurm_backend *b = t->e->o.slurm;
    long long deadline = clock_mono_ms() + t->e->o.slurm_timeout_ms;
    fault_point(t->count ? FAULT_QUERY_BEFORE : FAULT_PING_BEFORE);
    t->rc =
        t->count
            ? b->ops->query(b, t->ids, t->count, deadline, t->jobs, &t->found, &t->proof, &t->error)
            : b->ops->ping(b, deadline, &t->error);
    fault_point(t->count ? FAULT_QUERY_AFTER : FAULT_PING_AFTER);
    engine_post(t->e, &t->mail);
}

static size_t count_in_slurm(const struct engine *e)
{
    size_t n = 0;
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (const struct live_job *j = e->jobs[i]; j; j = j->next)
            n += engine_job_in_slurm(j);
    return n;
}

long long engine_slurm_next_ms(const struct engine *e)
{
    return e->slurm_asked || !e->workers ? LLONG_MAX : e->slurm_next_ms;
}

long long engine_slurm_pause_ms(bool up, size_t jobs, long long query_interval_ms)
{
    return !up ? SLURM_DOWN_MS : jobs ? query_interval_ms : SLURM_REST_MS;
}

static void ask_within(struct engine *e, long long ms)
{
    long long at = clock_mono_ms() + ms;
    if (e->slurm_next_ms > at) e->slurm_next_ms = at;
}

void engine_slurm_watch(struct engine *e)
{
    ask_within(e, e->o.query_interval_ms);
}

void engine_slurm_soon(struct engine *e)
{
    ask_within(e, SLURM_SOON_MS);
}

void engine_slurm_ask(struct engine *e)
{
    if (clock_mono_ms() < engine_slurm_next_ms(e)) return;
    size_t count = e->slurm_up ? count_in_slurm(e) : 0, n = 0;
    struct slurm_task *t = engine_alloc(e, sizeof(*t) + count * sizeof(t->ids[0]));
    struct slurm_job *jobs = engine_alloc(e, (count + 1) * sizeof(*jobs));
    if (!t || !jobs) {
        free(t);
        free(jobs);
        return;
    }
    e->survey.round++;
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (struct live_job *j = e->jobs[i]; j && n < count; j = j->next)
            if (engine_job_in_slurm(j)) {
                j->asked = e->survey.round;
                t->ids[n++] = j->row.slurm_id;
            }
    t->task = (struct task){.run = run_slurm_task, .drop = drop_slurm_task};
    t->mail = (struct mail){.kind = MAIL_SLURM_TASK, .free = free_slurm_mail};
    t->e = e;
    t->count = n;
    t->jobs = jobs;
    e->slurm_asked = engine_work(e, &t->task);
    e->slurm_next_ms = LLONG_MAX;
}

void engine_slurm_seen(struct engine *e, bool up, const char *why)
{
    if (e->slurm_known && e->slurm_up == up) return;
    e->slurm_known = true;
    e->slurm_up = up;
    if (up) {
        log_info("Slurm answers");
        engine_survey_list(e);
    } else
        log_warn(
            "Slurm cannot be used: %s; no new claims, what is claimed waits, it is tried again",
            why);
}

static struct live_job *find_slurm_job(struct engine *e, const struct slurm_job *s)
{
    struct live_job *j = engine_job_find(e, s->name);
    return j && engine_job_is(&j->row, s) && engine_job_in_slurm(j) ? j : NULL;
}

void engine_slurm_see(struct engine *e, const struct slurm_job *s)
{
    struct live_job *j = find_slurm_job(e, s);
    const struct news n = {
        .slurm_id = s->id,
        .state = s->state,
        .wait_status = s->wait_status,
        .restarts = s->restarts,
        .submit_s = s->submit_s,
        .start_s = s->start_s,
        .end_s = s->end_s,
        .ran_s = s->ran_s,
        .spent_s = s->spent_s,
        .started = s->started,
        .settled = true, // what is queued again is not shown as ended
    };
    if (!j) return;
    engine_survey_shown(e, j, s);
    // While Slurm cleans up after a job nothing is settled, nor said whether its script was run.
    if (!(s->state & SLURM_FLAG_COMPLETING)) engine_news_take(e, j, &n, "a query");
}

void engine_on_slurm_task(struct engine *e, struct mail *m)
{
    struct slurm_task *t = of_mail(m);
    e->slurm_asked = false;
    engine_slurm_seen(e, t->rc >= 0, t->error.text);
    log_debug("Slurm: asked for %zu jobs, told of %zu", t->count, t->found);
    for (size_t i = 0; t->rc >= 0 && i < t->found; i++)
        engine_slurm_see(e, &t->jobs[i]);
    if (t->rc < 0)
        engine_survey_blind(e);
    else
        engine_survey_missing(e, t->proof);
    ask_within(e, engine_slurm_pause_ms(e->slurm_up, count_in_slurm(e), e->o.query_interval_ms));
}
