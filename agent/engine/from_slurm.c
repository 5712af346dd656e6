/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What Slurm says of jobs: events that the plugins push, and the agent's own batched query, which
 * is the floor under them: it sees starts, and ends that no plugin told.
 */
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/engine/engine_private.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"

enum {
    /* A query knows less of an end than the plugin (suspended time): the plugin goes first. */
    END_GRACE_MS = 30 * 1000,
    SLURM_REST_MS = 60 * 1000, // with no jobs, or while it is down: at most one question a minute
    SLURM_DOWN_MS = 10 * 1000,
    QUERY_MAX = 1000, // job ids in one query: some 8 KiB of command line
};

/* ---- plugin events ---- */

struct event_mail {
    struct mail mail;
    struct server_call *call; // NULL once answered
    struct server_job_event event;
};

/* An event that is thrown away unanswered (the process stops) is sent again. */
static void free_event(struct mail *m)
{
    struct event_mail *em = (struct event_mail *)m;
    if (em->call) server_reply(em->call, ERR_STOPPED, "the agent is stopping, send it again");
    free(em);
}

void engine_job_event(void *ctx, struct server_call *call, const struct server_job_event *event)
{
    struct engine *e = ctx;
    struct event_mail *m = calloc(1, sizeof(*m));
    fault_point(FAULT_EVENT_RECEIVED);
    int rc = atomic_load(&e->stopping) ? ERR_STOPPED : m ? 0 : ERR_NOMEM;
    if (rc == 0) {
        *m = (struct event_mail){
            .mail = {.kind = MAIL_PLUGIN_EVENT, .free = free_event}, .call = call, .event = *event};
        rc = mailbox_post(e->mailbox, &m->mail, false);
    }
    if (rc == 0) return;
    free(m);
    server_reply(call, ERR_UNAVAILABLE, "the agent is stopping or overloaded, send it again");
}

struct reply_action {
    struct action action;
    struct server_call *call;
    int code;
    char text[160];
};

static void reply_now(struct engine *e, struct action *a)
{
    struct reply_action *r = (struct reply_action *)a;
    fault_point(FAULT_EVENT_REPLY_BEFORE);
    server_reply(r->call, r->code, r->text);
    fault_point(FAULT_EVENT_REPLY_AFTER);
}

/* Answer once the turn is durable. */
static void reply(struct engine *e, struct event_mail *em, int code, const char *text)
{
    struct reply_action *r = engine_alloc(e, sizeof(*r));
    if (!r) return; // the turn fails, and free_event answers
    r->action.run = reply_now;
    r->call = em->call;
    r->code = code;
    (void)snprintf(r->text, sizeof(r->text), "%s", text);
    em->call = NULL;
    engine_after_commit(e, &r->action);
}

/* The state of Slurm that an old plugin means by its status. */
static int state_of_status(enum server_job_status status, uint32_t *state)
{
    static const int states[] = {
        [SERVER_JOB_RUNNING] = SLURM_RUNNING,
        [SERVER_JOB_CANCELLED] = SLURM_CANCELLED,
        [SERVER_JOB_FINISHED] = SLURM_COMPLETE,
        [SERVER_JOB_FAILED] = SLURM_FAILED,
        [SERVER_JOB_OUT_OF_CREDITS] = SLURM_TIMEOUT,
        [SERVER_JOB_PANICKED] = SLURM_FAILED,
    };
    if ((size_t)status >= sizeof(states) / sizeof(states[0]) || states[status] == 0)
        return ERR_NOTFOUND;
    *state = (uint32_t)states[status];
    return 0;
}

static void started(struct engine *e, struct live_job *j, int64_t start_s, const char *who)
{
    char detail[96];
    if (j->row.state == JOB_SUBMITTED) {
        j->row.start_s = start_s ? start_s : clock_wall_s();
        j->row.ran = true;
    }
    (void)snprintf(detail, sizeof(detail), "started, says %s", who);
    (void)engine_job_event_apply(e, j, EV_STARTED, detail);
}

static void ended(struct engine *e,
                  struct live_job *j,
                  uint32_t state,
                  uint32_t wait_status,
                  uint64_t duration_s,
                  int64_t end_s,
                  const char *who)
{
    char detail[160];
    if (engine_job_in_slurm(j)) {
        j->row.end_s = end_s ? end_s : clock_wall_s();
        engine_job_set_end(&j->row, state, wait_status, duration_s);
    }
    (void)snprintf(detail,
                   sizeof(detail),
                   "%s, exit code %d, %" PRIu64 " s, says %s",
                   slurm_state_name(state),
                   slurm_exit_code(wait_status),
                   duration_s,
                   who);
    (void)engine_job_event_apply(e, j, EV_END, detail);
}

static void take_event(struct engine *e, struct live_job *j, const struct server_job_event *ev)
{
    uint32_t state, wait_status;
    if (ev->has_record && ev->status == SERVER_JOB_RUNNING) {
        state = SLURM_RUNNING; // told at its allocation it is still CONFIGURING
        wait_status = 0;
    } else if (ev->has_record) {
        state = ev->slurm_state;
        wait_status = ev->wait_status;
    } else {
        if (state_of_status(ev->status, &state) < 0) return; // PENDING and the like change nothing
        wait_status = (uint32_t)ev->exit_code;
    }
    uint64_t duration = ev->duration_s;
    // SendJobFail tells no duration: what passed since the start is the best that is known.
    if (!ev->has_record && duration == 0 && j->row.start_s > 0 && clock_wall_s() > j->row.start_s)
        duration = (uint64_t)(clock_wall_s() - j->row.start_s);
    switch (slurm_phase_of(state)) {
    case SLURM_PHASE_RUNNING:
        started(e, j, ev->start_s, "the plugin");
        break;
    case SLURM_PHASE_ENDED:
        if (duration > 0 && j->row.start_s == 0) j->row.start_s = ev->start_s;
        ended(e, j, state, wait_status, duration, ev->end_s, "the plugin");
        break;
    case SLURM_PHASE_WAITING:
    case SLURM_PHASE_UNKNOWN:
        break;
    }
}

/* An event that names another Slurm job than ours: somebody named his job like a customer's. */
static void refuse_foreign(struct engine *e, struct event_mail *em, const char *id, uint64_t ours)
{
    unsigned int suppressed;
    if (log_limit_ok(&e->event_limit, 1000, &suppressed))
        log_job_warn(id,
                     "security: refused an event that names Slurm job %" PRIu64 ", ours is %" PRIu64
                     " (%u more not logged)",
                     em->event.slurm_id,
                     ours,
                     suppressed);
    reply(
        e, em, ERR_DENIED, "the event does not name the Slurm job that was submitted for this job");
}

/* The job of an event, by name, or by Slurm's id if it has none. */
static struct live_job *find_event_job(struct engine *e, const struct server_job_event *ev)
{
    if (*ev->job) return engine_job_find(e, ev->job);
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (struct live_job *j = e->jobs[i]; j; j = j->next)
            if (j->row.slurm_id == ev->slurm_id) return j;
    return NULL;
}

void engine_on_plugin_event(struct engine *e, struct mail *m)
{
    struct event_mail *em = (struct event_mail *)m;
    struct job done;
    struct live_job *j = find_event_job(e, &em->event);
    if (!j) {
        int rc = *em->event.job ? store_job_get(e->o.store, em->event.job, &done) : ERR_NOTFOUND;
        if (rc == ERR_NOTFOUND)
            reply(e, em, ERR_NOTFOUND, "no such job here");
        else if (rc < 0)
            reply(e, em, ERR_UNAVAILABLE, "the store cannot be read");
        else if (done.slurm_id != em->event.slurm_id)
            refuse_foreign(e, em, done.id, done.slurm_id);
        else
            reply(e, em, 0, ""); // told before
        return;
    }
    if (j->row.slurm_id == 0 &&
        (j->row.state == JOB_SUBMITTING || j->row.state == JOB_CANCELLING)) {
        // Its submission's answer is still on its way: this event is sent again, others need not
        // wait.
        reply(e, em, ERR_BUSY, "the submission of this job is not finished, send it again");
        return;
    }
    // An earlier job may have had the id: slurmctld begins anew where it has lost its state.
    bool earlier = em->event.submit_s && em->event.submit_s < j->row.submit_s;
    if (j->row.slurm_id != em->event.slurm_id || earlier) {
        refuse_foreign(e, em, j->row.id, j->row.slurm_id);
        return;
    }
    j->absent_since_ms = 0; // Slurm speaks of it
    take_event(e, j, &em->event);
    reply(e, em, 0, "");
}

/* ---- the agent's own query ---- */

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

struct slurm_action {
    struct action action;
    struct slurm_task *task;
};

static void start_slurm_task(struct engine *e, struct action *a)
{
    workers_add(e->workers, &((struct slurm_action *)a)->task->task);
}

static size_t count_in_slurm(const struct engine *e)
{
    size_t n = 0;
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (const struct live_job *j = e->jobs[i]; j; j = j->next)
            n += engine_job_in_slurm(j);
    return n < QUERY_MAX ? n : QUERY_MAX;
}

long long engine_slurm_next_ms(const struct engine *e)
{
    return e->slurm_asked || !e->workers ? LLONG_MAX : e->slurm_next_ms;
}

void engine_slurm_watch(struct engine *e)
{
    long long soon = clock_mono_ms() + e->o.query_interval_ms;
    if (e->slurm_next_ms > soon) e->slurm_next_ms = soon;
}

void engine_slurm_ask(struct engine *e)
{
    if (clock_mono_ms() < engine_slurm_next_ms(e)) return;
    size_t count = e->slurm_up ? count_in_slurm(e) : 0, n = 0;
    struct slurm_task *t = engine_alloc(e, sizeof(*t) + count * sizeof(t->ids[0]));
    struct slurm_job *jobs = engine_alloc(e, (count + 1) * sizeof(*jobs));
    struct slurm_action *a = engine_alloc(e, sizeof(*a));
    if (!t || !jobs || !a) {
        free(t);
        free(jobs);
        free(a);
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
    a->action.run = start_slurm_task;
    a->task = t;
    e->slurm_asked = true;
    engine_after_commit(e, &a->action);
}

void engine_slurm_seen(struct engine *e, bool up, const char *why)
{
    if (e->slurm_known && e->slurm_up == up) return;
    e->slurm_known = true;
    e->slurm_up = up;
    if (up) {
        log_info("Slurm answers; claiming jobs");
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
    if (!j) return;
    long long now = clock_mono_ms();
    engine_survey_shown(e, j, s);
    switch (slurm_phase_of(s->state)) {
    case SLURM_PHASE_RUNNING:
        if (j->row.state == JOB_SUBMITTED) started(e, j, s->start_s, "a query");
        break;
    case SLURM_PHASE_ENDED:
        if (!j->end_seen_ms) j->end_seen_ms = now;
        if (now - j->end_seen_ms < END_GRACE_MS) break;
        ended(e,
              j,
              s->state,
              s->wait_status,
              s->end_s > s->start_s && s->start_s > 0 ? (uint64_t)(s->end_s - s->start_s) : 0,
              s->end_s,
              "a query");
        break;
    case SLURM_PHASE_WAITING:
    case SLURM_PHASE_UNKNOWN:
        break;
    }
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
    e->slurm_next_ms = clock_mono_ms() + (!e->slurm_up        ? SLURM_DOWN_MS
                                          : count_in_slurm(e) ? e->o.query_interval_ms
                                                              : SLURM_REST_MS);
}
