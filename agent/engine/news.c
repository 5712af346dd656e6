/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What was told of a Slurm job, taken: its start, another attempt, its end. Told twice, or in
 * another order, it comes to the same. What cannot be taken yet is kept in the store.
 */
#include <inttypes.h>
#include <stdio.h>

#include "agent/engine/ends.h"
#include "agent/engine/engine_private.h"
#include "agent/util/clock.h"

enum { RAN_MAX_S = 1 << 30 }; // 34 years: above the longest limit, and no sum of these overflows

static uint64_t bounded_s(uint64_t seconds)
{
    return seconds < RAN_MAX_S ? seconds : RAN_MAX_S;
}

/*
 * Another job may have had the id before: slurmctld begins anew where it has lost its state. (What
 * is queued again counts as submitted then, and its earlier attempts are of the same job.)
 */
bool engine_news_is_of(const struct job *row, const struct news *n)
{
    bool earlier = n->submit_s && n->submit_s < row->submit_s;
    return n->slurm_id == row->slurm_id && !(earlier && n->restarts >= (int64_t)row->restarts);
}

void engine_news_foreign(struct engine *e, const char *job, uint64_t named, uint64_t ours)
{
    unsigned int suppressed;
    if (!ours) // what slurmctld keeps of a submission that it refused, as a rule
        log_job_info(job, "refused an event of Slurm job %" PRIu64 ": it has none", named);
    else if (log_limit_ok(&e->event_limit, 1000, &suppressed))
        log_job_warn(job,
                     "security: refused an event that names Slurm job %" PRIu64 ", ours is %" PRIu64
                     " (%u more not logged)",
                     named,
                     ours,
                     suppressed);
}

void engine_news_keep(struct engine *e, const char *job, bool known, const struct news *n)
{
    unsigned int suppressed;
    int dropped = store_early_add(e->o.store, job, known, n);
    log_job_debug(
        job, "kept an event: %s", known ? "it cannot be taken yet" : "no such job so far");
    if (dropped <= 0) return;
    e->early_dropped += (uint64_t)dropped;
    if (log_limit_ok(&e->early_limit, 60 * 1000, &suppressed))
        log_warn("too many events of jobs that are not known, the oldest are dropped (%" PRIu64
                 " so far)",
                 e->early_dropped);
}

/*
 * What the last attempt ran: it lies between its start, or where that was missed the last time at
 * which it was seen to wait, and the time at which it was queued anew. Of several attempts since
 * then nothing is known, unless accounting tells.
 */
static uint64_t last_attempt_s(const struct live_job *j, const struct news *n)
{
    int64_t from_s = j->row.start_s > 0 ? j->row.start_s : j->waited_until_s;
    if (n->restarts != (int64_t)j->row.restarts + 1 || from_s <= 0 || n->submit_s <= from_s)
        return 0;
    return (uint64_t)(n->submit_s - from_s);
}

/* Slurm queued the job again. */
static void count_attempts(struct engine *e, struct live_job *j, const struct news *n)
{
    struct job *row = &j->row;
    char detail[96];
    if (n->restarts <= (int64_t)row->restarts) return;
    uint64_t seen_s = row->spent_s + bounded_s(last_attempt_s(j, n));
    row->spent_s = bounded_s(n->spent_s ? n->spent_s : seen_s);
    row->restarts = (uint64_t)n->restarts;
    row->start_s = 0;
    if (n->submit_s > row->submit_s) row->submit_s = n->submit_s;
    j->touched = true; // its time limit is shorter now
    (void)snprintf(detail,
                   sizeof(detail),
                   "attempt %" PRIu64 "; %" PRIu64 " s were spent before it",
                   row->restarts + 1,
                   row->spent_s);
    log_job_warn(row->id, "Slurm queued the job again: %s", detail);
    (void)store_early_drop(e->o.store, row->id); // ends of what was not the last attempt
    (void)store_event_add(e->o.store, row->id, "AGAIN", row->state, row->state, detail);
    (void)store_job_put(e->o.store, row);
}

static void started(struct engine *e, struct live_job *j, const struct news *n, const char *who)
{
    char detail[96];
    if (!engine_job_in_slurm(j) || (j->row.ran && j->row.start_s)) return;
    j->row.ran = true;
    j->row.start_s = n->start_s ? n->start_s : clock_wall_s();
    (void)snprintf(detail, sizeof(detail), "started, says %s", who);
    (void)engine_job_event_apply(e, j, EV_STARTED, detail);
}

static void set_end(struct job *row, const struct news *n)
{
    struct end end = end_of(n);
    row->end_s = n->end_s ? n->end_s : clock_wall_s();
    if (n->started && !row->start_s) row->start_s = n->start_s;
    row->end_status = (uint8_t)end.status;
    row->exit_code = end.exit_code;
    row->duration_s = row->spent_s + bounded_s(n->ran_s);
    (void)snprintf(row->reason, sizeof(row->reason), "%s", end.reason);
    if (end.ran || row->spent_s > 0) row->ran = true;
}

static void ended(struct engine *e, struct live_job *j, const struct news *n, const char *who)
{
    char detail[160];
    if (engine_job_in_slurm(j) || j->row.state == JOB_CANCELLING)
        set_end(&j->row, n); // for its bill
    (void)store_early_drop(e->o.store, j->row.id);
    (void)snprintf(detail,
                   sizeof(detail),
                   "%s, exit code %d, %" PRIu64 " s, says %s",
                   slurm_state_name(n->state),
                   slurm_exit_code(n->wait_status),
                   n->ran_s,
                   who);
    (void)engine_job_event_apply(e, j, EV_END, detail);
}

void engine_news_take(struct engine *e, struct live_job *j, const struct news *n, const char *who)
{
    if (n->restarts >= 0 && (uint64_t)n->restarts < j->row.restarts) {
        log_job_debug(j->row.id, "%s tells of an earlier attempt, ignoring it", who);
        return;
    }
    j->absent_since_ms = 0; // Slurm speaks of it
    if (engine_job_in_slurm(j)) count_attempts(e, j, n);
    switch (slurm_phase_of(n->state)) {
    case SLURM_PHASE_RUNNING:
    case SLURM_PHASE_SUSPENDED:
        started(e, j, n, who);
        break;
    case SLURM_PHASE_WAITING:
        if (n->begins)
            started(e, j, n, who); // its nodes are being made ready
        else
            j->waited_until_s = clock_wall_s();
        break;
    case SLURM_PHASE_AGAIN:
        engine_slurm_soon(e);
        break;
    case SLURM_PHASE_ENDED:
        if (n->settled) {
            ended(e, j, n, who);
        } else {
            if (j->row.state == JOB_CANCELLING) set_end(&j->row, n); // Slurm is not asked about it
            log_job_debug(j->row.id, "%s tells of an end; Slurm is asked if it is the last", who);
            engine_news_keep(e, j->row.id, true, n);
            engine_slurm_soon(e);
        }
        break;
    case SLURM_PHASE_UNKNOWN:
    case SLURM_PHASE_COUNT:
        break;
    }
}

void engine_news_replay(struct engine *e, struct live_job *j)
{
    struct news list[EARLY_PER_JOB_MAX];
    int n = store_early_get(e->o.store, j->row.id, list, EARLY_PER_JOB_MAX);
    if (n > 0) (void)store_early_drop(e->o.store, j->row.id);
    for (int i = 0; i < n; i++)
        if (engine_news_is_of(&j->row, &list[i]))
            engine_news_take(e, j, &list[i], "a plugin, early");
        else
            engine_news_foreign(e, j->row.id, list[i].slurm_id, j->row.slurm_id);
}

bool engine_news_missing(struct engine *e, struct live_job *j)
{
    struct news list[EARLY_PER_JOB_MAX];
    int n = store_early_get(e->o.store, j->row.id, list, EARLY_PER_JOB_MAX);
    while (n-- > 0) {
        if (slurm_phase_of(list[n].state) != SLURM_PHASE_ENDED) continue;
        list[n].settled = true;
        engine_news_take(e, j, &list[n], "a plugin, and Slurm has forgotten it");
        return !engine_job_in_slurm(j);
    }
    return false;
}
