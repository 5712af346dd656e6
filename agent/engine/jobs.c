/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The live jobs: found by id, moved by events, pursued by what their state asks for. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/engine/bill.h"
#include "agent/engine/engine_private.h"
#include "agent/util/clock.h"
#include "agent/util/retry.h"

enum {
    RETRY_BASE_MS = 500,
    RETRY_CAP_MS = 60 * 1000,  // an outage's end is noticed within a minute
    STOP_AGAIN_MS = 60 * 1000, // a job that was cancelled and has not ended is cancelled again
};

/* FNV-1a; ids are checked hex, so nobody gains by collisions of the few hundred jobs in flight. */
static size_t bucket_of(const char *id)
{
    uint32_t h = 2166136261u;
    for (; *id; id++)
        h = (h ^ (uint8_t)*id) * 16777619u;
    return h % JOB_BUCKETS;
}

struct live_job *engine_job_find(struct engine *e, const char *id)
{
    struct live_job *j = e->jobs[bucket_of(id)];
    while (j && strcmp(j->row.id, id) != 0)
        j = j->next;
    return j;
}

struct live_job *engine_job_add(struct engine *e, const struct job *row)
{
    struct live_job *j = engine_alloc(e, sizeof(*j));
    if (!j) return NULL;
    struct live_job **bucket = &e->jobs[bucket_of(row->id)];
    j->row = *row;
    j->next = *bucket;
    *bucket = j;
    e->job_count++;
    return j;
}

void engine_job_drop(struct engine *e, struct live_job *j)
{
    struct live_job **at = &e->jobs[bucket_of(j->row.id)];
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    e->job_count--;
    free(j);
}

void engine_jobs_free(struct engine *e)
{
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        while (e->jobs[i])
            engine_job_drop(e, e->jobs[i]);
}

void engine_job_close_bill(struct engine *e, const struct live_job *j, bool reported)
{
    const struct job *row = &j->row;
    const struct chain_bill *c = &j->bill;
    struct u256 minutes;
    struct bill b = {
        .claim_block = row->claim_block,
        .slurm_id = row->slurm_id,
        .limit_min = row->limit_min,
        .start_s = row->start_s,
        .end_s = row->end_s,
        .duration_s = row->duration_s,
        .suspended_s = bill_suspended_s(row->start_s, row->end_s, row->duration_s),
        .reported = reported && row->end_status,
        .status = row->end_status,
        .minutes = row->billed_min,
        .confirmed = c->known,
        .chain_status = c->status,
        .chain_start_s = (int64_t)c->start_s,
        .chain_end_s = (int64_t)c->end_s,
        .billed_min = UINT64_MAX,
    };
    if (u256_div(c->cost, c->price_per_min, &minutes, NULL) == 0)
        (void)u256_to_u64(minutes, &b.billed_min);
    // By the price of now it is the contract's word only if it agrees.
    if (!c->price_of_then && b.reported && b.billed_min != bill_owed_min(&b))
        b.billed_min = UINT64_MAX;
    memcpy(b.job, row->id, sizeof(b.job));
    memcpy(b.user, row->user, sizeof(b.user));
    (void)u256_format_dec(b.cost_wei, c->cost);
    (void)store_bill_put(e->o.store, &b);
}

bool engine_job_event_apply(struct engine *e,
                            struct live_job *j,
                            enum job_event event,
                            const char *detail)
{
    enum job_state from = j->row.state, to = fsm_next(from, event);
    if (to == JOB_NONE) {
        log_job_error(j->row.id,
                      "event %s is not allowed in state %s, ignoring it (%s)",
                      job_event_name(event),
                      job_state_name(from),
                      detail ? detail : "");
        return false;
    }
    j->row.state = to;
    j->touched = true;
    if (event != EV_RETRY) {
        j->attempts = 0;
        j->retry_at_ms = 0;
    }
    if (event == EV_CANCELLED && to == JOB_STOPPING)
        j->retry_at_ms = clock_mono_ms() + STOP_AGAIN_MS; // its end is awaited now
    // It may have been claimed again meanwhile, which CANCELLING cannot bear.
    if (from == JOB_CANCELLING && to == JOB_DONE) engine_survey_want(j, clock_mono_ms());
    if (to == JOB_DONE) {
        (void)store_script_drop(e->o.store, j->row.id);
        (void)store_early_drop(e->o.store, j->row.id);
    }
    if (to == JOB_DONE && from != JOB_DONE) {
        const struct chain_block *top = blocks_top(&e->blocks);
        j->row.done_at = top && top->number > e->poll.head ? top->number : e->poll.head;
        // Its end may be known, and not have been asked for.
        bool reported = from == JOB_REPORTED && j->row.end_report == REPORT_DONE;
        engine_job_close_bill(e, j, reported);
    }
    (void)store_job_put(e->o.store, &j->row);
    (void)store_event_add(e->o.store, j->row.id, job_event_name(event), from, to, detail);
    if (from != to)
        log_job_info(j->row.id,
                     "%s -> %s%s%s",
                     job_state_name(from),
                     job_state_name(to),
                     detail && *detail ? ": " : "",
                     detail ? detail : "");
    return true;
}

void engine_job_unsettle(struct engine *e, struct live_job *j, const char *why)
{
    if (j->row.state == JOB_DONE && !j->busy) (void)engine_job_event_apply(e, j, EV_UNSETTLED, why);
}

void engine_job_retry(
    struct engine *e, struct live_job *j, long long min_ms, const char *what, const char *why)
{
    j->attempts++;
    long long wait = retry_delay_ms(j->attempts, RETRY_BASE_MS, RETRY_CAP_MS);
    if (wait < min_ms) wait = min_ms;
    j->retry_at_ms = clock_mono_ms() + wait;
    // The first failure and then every tenth: an outage must not fill the log.
    if (j->attempts == 1 || j->attempts % 10 == 0)
        log_job_warn(j->row.id,
                     "%s: %s; trying again in %lld.%01lld s (try %u)",
                     what,
                     why,
                     wait / 1000,
                     wait % 1000 / 100,
                     j->attempts);
    if (j->attempts == 1) (void)engine_job_event_apply(e, j, EV_RETRY, why);
}

static void begin(struct engine *e, struct live_job *j)
{
    enum job_intent intent = fsm_intent(j->row.state);
    switch (intent) {
    case INTENT_FETCH:
    case INTENT_LOOK:
    case INTENT_SUBMIT:
    case INTENT_CONFIRM:
    case INTENT_CANCEL:
        engine_task_start(e, j, intent);
        break;
    case INTENT_REPORT:
        engine_outbox_report(e, j);
        break;
    case INTENT_NONE:
    case INTENT_EXTEND:
    case INTENT_COUNT:
        break;
    }
}

bool engine_job_in_slurm(const struct live_job *j)
{
    return j->row.state == JOB_SUBMITTED || j->row.state == JOB_RUNNING ||
           j->row.state == JOB_STOPPING;
}

bool engine_job_before_slurm(const struct live_job *j)
{
    return j->row.state == JOB_CLAIMED || j->row.state == JOB_FETCHED ||
           j->row.state == JOB_SUBMITTING;
}

uint64_t engine_job_slurm_limit_min(const struct job *job)
{
    uint64_t spent_min = job->spent_s / 60;
    return spent_min < job->limit_min ? job->limit_min - spent_min : 1;
}

/* Time was bought or spent, or an adopted job's limit is not known. */
static bool wants_extension(const struct live_job *j)
{
    return engine_job_in_slurm(j) && j->row.state != JOB_STOPPING &&
           (j->row.slurm_limit_min < engine_job_slurm_limit_min(&j->row) ||
            (j->row.spent_s > 0 && j->row.slurm_limit_min != engine_job_slurm_limit_min(&j->row)));
}

static void pursue(struct engine *e, struct live_job *j, long long now)
{
    bool due = j->retry_at_ms && j->retry_at_ms <= now;
    if (!j->touched && !due) return;
    j->touched = false;
    if (j->row.state == JOB_DONE && !j->busy && !j->probing && !j->probe_at_ms) {
        engine_job_drop(e, j);
        return;
    }
    if (j->busy || (j->held && engine_job_before_slurm(j)) || (j->retry_at_ms && !due)) return;
    j->retry_at_ms = 0;
    begin(e, j);
    if (!j->busy && wants_extension(j)) engine_task_start(e, j, INTENT_EXTEND);
}

void engine_jobs_pursue(struct engine *e)
{
    long long now = clock_mono_ms();
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (struct live_job *j = e->jobs[i], *next; j; j = next) {
            next = j->next;
            pursue(e, j, now);
        }
}

void engine_jobs_report_now(struct engine *e)
{
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (struct live_job *j = e->jobs[i]; j; j = j->next)
            if (j->retry_at_ms && fsm_intent(j->row.state) == INTENT_REPORT)
                j->retry_at_ms = clock_mono_ms();
}

long long engine_jobs_next_ms(const struct engine *e)
{
    long long next = LLONG_MAX;
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (const struct live_job *j = e->jobs[i]; j; j = j->next) {
            if (j->touched) return 0;
            if (j->retry_at_ms && !j->busy && j->retry_at_ms < next) next = j->retry_at_ms;
        }
    return next;
}
