/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Events that the plugins push, of any generation: checked, turned into news, answered. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/engine/bill.h"
#include "agent/engine/engine_private.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"

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

static void refuse_now(struct action *a)
{
    struct reply_action *r = (struct reply_action *)a;
    server_reply(r->call, ERR_UNAVAILABLE, "the event cannot be stored now, send it again");
}

/* Answer once the turn is durable. */
static void reply(struct engine *e, struct event_mail *em, int code, const char *text)
{
    struct reply_action *r = engine_alloc(e, sizeof(*r));
    if (!r) return; // the turn fails, and free_event answers
    r->action = (struct action){.run = reply_now, .drop = refuse_now};
    r->call = em->call;
    r->code = code;
    (void)snprintf(r->text, sizeof(r->text), "%s", text);
    em->call = NULL;
    engine_after_commit(e, &r->action);
}

/* The state of Slurm that a sender without a record means by its status. */
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

static struct news news_of_record(const struct server_job_event *ev)
{
    return (struct news){
        .slurm_id = ev->slurm_id,
        .state = ev->slurm_state,
        .wait_status = ev->wait_status,
        .restarts = ev->restart_count,
        .submit_s = ev->submit_s,
        .start_s = ev->start_s,
        .end_s = ev->end_s,
        .ran_s = ev->duration_s,
        .begins = ev->status == SERVER_JOB_RUNNING,
        // Slurm cleans up only after jobs that had nodes, be it for less than a second.
        .started = ev->duration_s > 0 || ev->slurm_state & SLURM_FLAG_COMPLETING,
        .not_run = ev->not_run,
        .settled = ev->settled,
    };
}

/*
 * Of a sender that knows but a status. `row` is the job's, or NULL. ERR_NOTFOUND: it says nothing.
 * Such an end is never settled: the reference's plugin calls a requeue FINISHED.
 */
static int news_of_status(const struct server_job_event *ev, const struct job *row, struct news *n)
{
    *n = (struct news){
        .slurm_id = ev->slurm_id,
        .wait_status = (uint32_t)ev->exit_code,
        .restarts = NEWS_RESTARTS_UNTOLD,
        .ran_s = ev->duration_s,
        .begins = ev->status == SERVER_JOB_RUNNING,
        .started = ev->duration_s > 0 || (row && row->ran) || ev->status == SERVER_JOB_FINISHED ||
                   ev->status == SERVER_JOB_OUT_OF_CREDITS,
    };
    // SendJobFail tells no duration: what passed since the start is the best that is known.
    int64_t now = clock_wall_s();
    if (!n->ran_s && row && row->start_s > 0 && now > row->start_s)
        n->ran_s = (uint64_t)(now - row->start_s);
    return state_of_status(ev->status, &n->state);
}

/* Numbers that the store could not keep, or that no Slurm has. */
static bool is_absurd(const struct server_job_event *ev)
{
    const int64_t times[] = {ev->submit_s, ev->start_s, ev->end_s};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
        if (times[i] < 0 || times[i] > UINT32_MAX) return true;
    return ev->slurm_id == 0 || ev->slurm_id > UINT32_MAX || ev->duration_s > UINT32_MAX;
}

/* Its Slurm id may still become known. */
static bool may_be_submitted(const struct job *row)
{
    return row->slurm_id == 0 && (row->state == JOB_CLAIMED || row->state == JOB_FETCHED ||
                                  row->state == JOB_SUBMITTING || row->state == JOB_CANCELLING);
}

/* A job that was taken away is done once it is cancelled: its bill lacks how long it ran. */
static void late_end(struct engine *e, const struct job *done, const struct server_job_event *ev)
{
    if (!ev->has_record || slurm_phase_of(ev->slurm_state) != SLURM_PHASE_ENDED) return;
    struct bill b = {
        .claim_block = done->claim_block,
        .start_s = ev->start_s,
        .end_s = ev->end_s,
        .duration_s = ev->duration_s,
        .suspended_s = bill_suspended_s(ev->start_s, ev->end_s, ev->duration_s),
    };
    memcpy(b.job, done->id, sizeof(b.job));
    (void)store_bill_end(e->o.store, &b);
}

static void take(struct engine *e, struct event_mail *em, struct live_job *j, const struct job *row)
{
    const struct server_job_event *ev = &em->event;
    struct news n = news_of_record(ev);
    bool says = ev->has_record || news_of_status(ev, row, &n) == 0;
    bool early = !row || may_be_submitted(row);
    bool earlier_claim = row && row->prev_slurm_id && ev->slurm_id == row->prev_slurm_id;
    if (!early && !earlier_claim && !engine_news_is_of(row, &n)) {
        engine_news_foreign(e, row->id, ev->slurm_id, row->slurm_id);
        reply(e, em, ERR_DENIED, "the event names another Slurm job than was submitted for it");
        return;
    }
    if (says && !earlier_claim && early)
        engine_news_keep(e, ev->job, row != NULL, &n);
    else if (says && !earlier_claim && j && row->state != JOB_DONE)
        engine_news_take(e, j, &n, "the plugin");
    else if (!earlier_claim && !early)
        late_end(e, row, ev);
    reply(e, em, 0, "");
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
    struct live_job *j = find_event_job(e, &em->event);
    struct job done;
    int rc = j ? 0 : store_job_get(e->o.store, em->event.job, &done);
    if (is_absurd(&em->event))
        reply(e, em, ERR_INVALID, "the event names no Slurm job, or a time that cannot be");
    else if (rc == ERR_NOTFOUND && !*em->event.job)
        reply(e, em, ERR_NOTFOUND, "no such job here");
    else if (rc < 0 && rc != ERR_NOTFOUND)
        reply(e, em, ERR_UNAVAILABLE, "the store cannot be read");
    else
        take(e, em, j, j ? &j->row : rc == 0 ? &done : NULL);
}
