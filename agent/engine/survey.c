/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reconciliation: what the store, Slurm and the contract say of each job is compared, and settled
 * as reconcile.c decides: at the start, after each outage, and every --reconcile.interval.
 *
 * Slurm speaks through the batched query (from_slurm.c), and now and then through a listing of all
 * jobs with our mark (strangers.c). The contract is asked job by job (a probe), PROBES_MAX of them
 * a second at most. All of this is forgotten when the process ends: the next one begins with every
 * job.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/engine/survey.h"
#include "agent/util/clock.h"

enum {
    PROBES_MAX = 16, // in one task, each a small request to the chain's node
    PROBE_PAUSE_MS = 1000,
    LIST_PAUSE_MS = 60 * 1000, // between two listings, however often Slurm goes away
    AGAIN_MS = 5 * 1000,       // after an answer that did not suffice
    BUSY_AGAIN_MS = 1000,
    SETTLE_MAX = 4, // one decision may lead to the next: adopted, then given up
    WEAK_PROOF = 3, // without accounting a job must be gone this many times as long
    LOG_EVERY_MS = 60 * 1000,
};

/* ---- when ---- */

void engine_survey_want(struct live_job *j, long long at_ms)
{
    if (!j->probe_at_ms || j->probe_at_ms > at_ms) j->probe_at_ms = at_ms;
}

void engine_survey_inherit(struct live_job *j)
{
    j->inherited = true;
    j->held = true;
    engine_survey_want(j, clock_mono_ms());
}

void engine_survey_list(struct engine *e)
{
    struct survey *s = &e->survey;
    long long now = clock_mono_ms(), soon = s->listed_ms ? s->listed_ms + LIST_PAUSE_MS : now;
    if (soon < s->list_at_ms) s->list_at_ms = soon;
}

void engine_survey_all(struct engine *e)
{
    long long now = clock_mono_ms();
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (struct live_job *j = e->jobs[i]; j; j = j->next)
            engine_survey_want(j, now);
}

/* When the first probe is due, or LLONG_MAX. */
static long long next_probe_ms(const struct engine *e)
{
    if (e->survey.probing || !e->chain_up) return LLONG_MAX;
    long long next = e->survey.stranger_count ? 0 : LLONG_MAX;
    for (size_t i = 0; i < JOB_BUCKETS && next > 0; i++)
        for (const struct live_job *j = e->jobs[i]; j; j = j->next)
            if (j->probe_at_ms && j->probe_at_ms < next) next = j->probe_at_ms;
    return next < e->survey.probe_after_ms ? e->survey.probe_after_ms : next;
}

static long long next_list_ms(const struct engine *e)
{
    return e->survey.listing || !e->slurm_up ? LLONG_MAX : e->survey.list_at_ms;
}

long long engine_survey_next_ms(const struct engine *e)
{
    if (!e->workers) return LLONG_MAX;
    long long next = e->survey.all_at_ms, list = next_list_ms(e), probe = next_probe_ms(e);
    if (list < next) next = list;
    return probe < next ? probe : next;
}

static long long grace_ms(const struct engine *e, const struct live_job *j)
{
    return e->o.reconcile_grace_ms * (j->proof == SLURM_PROOF_ACCOUNTING ? 1 : WEAK_PROOF);
}

/* Gone for long enough to be looked for by its name: the second proof. */
static bool is_overdue(const struct engine *e, const struct live_job *j, long long now)
{
    return j->absent_since_ms && now - j->absent_since_ms >= grace_ms(e, j);
}

static void add_probe(struct engine *e, struct probe_task *t, struct live_job *j, long long now)
{
    struct probe *p = j->probe_at_ms && j->probe_at_ms <= now ? engine_probes_add(t) : NULL;
    if (!p) return;
    memcpy(p->id, j->row.id, sizeof(p->id));
    memcpy(p->customer, j->row.customer, sizeof(p->customer));
    memcpy(p->user, j->row.user, sizeof(p->user));
    p->claim_block = j->row.claim_block;
    bool before = engine_job_before_slurm(j);
    p->by_name = before ? j->listed : is_overdue(e, j, now);
    p->by_name_if_runs = before;
    j->listed = false;
    j->probe_at_ms = 0;
    j->probing = true;
}

/* Jobs that are held first: nothing is done for them meanwhile. */
static void add_probes(struct engine *e, struct probe_task *t, bool held, long long now)
{
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (struct live_job *j = e->jobs[i]; j; j = j->next)
            if (j->held == held) add_probe(e, t, j, now);
}

static void probe_some(struct engine *e, long long now)
{
    struct probe_task *t = engine_probes_new(e, PROBES_MAX);
    if (!t) return;
    add_probes(e, t, true, now);
    add_probes(e, t, false, now);
    engine_strangers_ask(e, t);
    e->survey.probing = engine_probes_start(e, t);
    e->survey.probe_after_ms = now + PROBE_PAUSE_MS;
}

void engine_survey_ask(struct engine *e)
{
    struct survey *s = &e->survey;
    long long now = clock_mono_ms();
    if (!e->workers) return;
    if (now >= s->all_at_ms) {
        s->all_at_ms = now + e->o.reconcile_interval_ms;
        s->list_at_ms = now;
        engine_survey_all(e);
    }
    if (now >= next_list_ms(e)) {
        s->list_at_ms = LLONG_MAX;
        s->listed_ms = now;
        engine_list_start(e);
    }
    if (now >= next_probe_ms(e)) probe_some(e, now);
}

void engine_survey_free(struct engine *e)
{
    free(e->survey.strangers);
}

/* ---- what the batched query shows ---- */

bool engine_job_is(const struct job *row, const struct slurm_job *s)
{
    return s->id == row->slurm_id && strcmp(s->name, row->id) == 0 &&
           (!s->user[0] || !row->user[0] || strcmp(s->user, row->user) == 0) &&
           (!s->submit_s || s->submit_s >= row->submit_s);
}

void engine_survey_shown(struct engine *e, struct live_job *j, const struct slurm_job *s)
{
    e->survey.shows_ours = true;
    j->shown = e->survey.round;
    j->slurm = engine_slurm_view(s->state);
    j->absent_since_ms = 0;
    if (j->slurm == RECONCILE_SLURM_RUNNING) j->running_s = clock_wall_s();
    if (s->submit_s <= j->row.submit_s) return;
    j->row.submit_s = s->submit_s;
    (void)store_job_put(e->o.store, &j->row);
}

static void note_absence(struct engine *e, struct live_job *j, enum slurm_proof proof)
{
    long long now = clock_mono_ms();
    if (proof == SLURM_PROOF_NONE) {
        j->absent_since_ms = 0;
        return;
    }
    j->proof = proof;
    if (!j->absent_since_ms) {
        j->absent_since_ms = now;
        log_job_warn(j->row.id,
                     "Slurm has job %" PRIu64 " no more (%s); lost, if that is so in %lld s",
                     j->row.slurm_id,
                     proof == SLURM_PROOF_ACCOUNTING ? "neither in the queue nor in accounting"
                                                     : "not in the queue",
                     grace_ms(e, j) / 1000);
    }
    if (is_overdue(e, j, now)) engine_survey_want(j, now);
}

void engine_survey_missing(struct engine *e, enum slurm_proof proof)
{
    unsigned int round = e->survey.round;
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (struct live_job *j = e->jobs[i]; j; j = j->next)
            if (engine_job_in_slurm(j) && j->asked == round && j->shown != round &&
                !engine_news_missing(e, j))
                note_absence(e, j, proof);
}

void engine_survey_blind(struct engine *e)
{
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (struct live_job *j = e->jobs[i]; j; j = j->next)
            j->absent_since_ms = 0;
}

/* As the last round had it; the one under way may not be back yet. */
static enum reconcile_slurm shown_view(const struct engine *e, const struct live_job *j)
{
    bool fresh = engine_job_in_slurm(j) && j->shown && e->survey.round - j->shown <= 1;
    return fresh && e->slurm_up ? j->slurm : RECONCILE_SLURM_UNKNOWN;
}

/* With what was found by its name. */
static enum reconcile_slurm
slurm_view(struct engine *e, struct live_job *j, const struct probe *p, long long now)
{
    if (p->named == RECONCILE_SLURM_UNKNOWN) return shown_view(e, j);
    bool found =
        p->named != RECONCILE_SLURM_ABSENT &&
        (j->row.slurm_id ? engine_job_is(&j->row, &p->slurm) : p->slurm.id != j->row.prev_slurm_id);
    if (found) {
        j->absent_since_ms = 0;
        return p->named;
    }
    if (!j->absent_since_ms) j->absent_since_ms = now;
    return is_overdue(e, j, now) ? RECONCILE_SLURM_ABSENT : RECONCILE_SLURM_UNKNOWN;
}

/* ---- carrying decisions out ---- */

/* What a decision rests on. */
struct facts {
    enum reconcile_chain chain; // what the probe says, if that is to be believed
    enum reconcile_slurm slurm;
    const struct probe *probe;
};

/* Nodes lag, and blocks are un-mined: what only the contract says is done when it says so twice. */
static bool is_sure(struct engine *e, struct live_job *j, enum reconcile_action action)
{
    long long now = clock_mono_ms();
    if (j->doubt != action) {
        j->doubt = action;
        j->doubt_since_ms = now;
    }
    long long due = j->doubt_since_ms + e->o.reconcile_grace_ms;
    if (now < due) engine_survey_want(j, due);
    return now >= due;
}

static bool
event(struct engine *e, struct live_job *j, enum reconcile_action action, const char *why)
{
    return engine_job_event_apply(e, j, reconcile_event(action), why);
}

/* RUNNING is on chain already: by an earlier life of ours, or by somebody else who has our key. */
void engine_survey_note_chain(struct live_job *j, const struct probe *p)
{
    if (p->chain != RECONCILE_CHAIN_RUNNING || j->row.running_report != REPORT_NONE) return;
    j->row.ran = true;
    j->row.running_report = REPORT_DONE;
    j->row.running_block_s = (int64_t)p->job.start_s;
}

void engine_survey_note_slurm(struct live_job *j, const struct slurm_job *s)
{
    j->row.slurm_id = s->id;
    j->row.submit_s = s->submit_s;
    (void)snprintf(j->row.user, sizeof(j->row.user), "%s", s->user);
}

static bool adopt(struct engine *e, struct live_job *j, const struct facts *f)
{
    char detail[96];
    if (f->probe->named == RECONCILE_SLURM_UNKNOWN) return false;
    engine_survey_note_slurm(j, &f->probe->slurm);
    engine_survey_note_chain(j, f->probe);
    j->row.slurm_limit_min = 0; // it is told again
    j->unknown_since_ms = 0;
    (void)store_script_drop(e->o.store, j->row.id);
    (void)snprintf(detail, sizeof(detail), "Slurm has it already: job %" PRIu64, j->row.slurm_id);
    engine_slurm_watch(e);
    bool adopted = event(e, j, RECONCILE_ADOPT, detail);
    if (adopted) engine_news_replay(e, j);
    return adopted;
}

static bool see(struct engine *e, struct live_job *j, const struct facts *f)
{
    (void)j;
    // What the query showed was taken in then.
    if (f->probe->named != RECONCILE_SLURM_UNKNOWN) engine_slurm_see(e, &f->probe->slurm);
    return false;
}

static const char *why_lost(const struct live_job *j)
{
    if (j->row.state == JOB_DONE) return "over here, and the contract still waits for its end";
    if (!j->row.slurm_id) return "started by what the contract says, and Slurm does not know it";
    return "lost by Slurm, which knows it no more";
}

/*
 * Where Slurm has shown nothing of ours, it may be that it shows us nothing (PrivateData, and an
 * admin user who is no operator).
 */
static bool is_blind(struct engine *e, struct live_job *j)
{
    unsigned int more;
    if (!engine_job_in_slurm(j) || j->row.submit_s || e->survey.shows_ours) return false;
    if (log_limit_ok(&e->survey.blind_limit, LOG_EVERY_MS, &more))
        log_job_warn(j->row.id,
                     "Slurm shows no job of ours: may the admin user see them (PrivateData)? "
                     "Not taking it for lost");
    return true;
}

static bool lose(struct engine *e, struct live_job *j, const struct facts *f)
{
    struct job *row = &j->row;
    if (is_blind(e, j)) return false;
    if (f->slurm != RECONCILE_SLURM_ABSENT && !is_sure(e, j, RECONCILE_LOST)) return false;
    engine_survey_note_chain(j, f->probe);
    if (row->running_report == REPORT_NONE) row->ran = false; // SCHEDULED on chain: a full refund
    if (row->state != JOB_REFUSED)
        (void)snprintf(row->reason, sizeof(row->reason), "%s", why_lost(j));
    row->end_status = CHAIN_JOB_PANICKED;
    row->end_report = REPORT_NONE;
    row->exit_code = 0;
    row->duration_s = row->spent_s;
    if (row->start_s > 0 && j->running_s > row->start_s)
        row->duration_s += (uint64_t)(j->running_s - row->start_s);
    row->end_s = clock_wall_s();
    j->absent_since_ms = 0;
    return event(e, j, RECONCILE_LOST, row->reason);
}

static bool give_up(struct engine *e, struct live_job *j, const struct facts *f)
{
    char detail[64];
    if (f->chain != RECONCILE_CHAIN_FINAL && !is_sure(e, j, RECONCILE_GONE)) return false;
    (void)snprintf(detail, sizeof(detail), "on chain it is %s", reconcile_chain_name(f->chain));
    return event(e, j, RECONCILE_GONE, detail);
}

/* To REFUSED, from where it is reported; of a job that is DONE likewise. */
static bool hand_back(struct engine *e, struct live_job *j)
{
    j->row.end_report = REPORT_NONE;
    (void)snprintf(
        j->row.reason, sizeof(j->row.reason), "the contract has it as ours, and here it is over");
    return event(e, j, RECONCILE_GIVE_BACK, j->row.reason);
}

static bool give_back(struct engine *e, struct live_job *j, const struct facts *f)
{
    (void)f;
    return is_sure(e, j, RECONCILE_GIVE_BACK) && hand_back(e, j);
}

static bool report(struct engine *e, struct live_job *j, const struct facts *f)
{
    struct job *row = &j->row;
    bool reported = row->state == JOB_REPORTED;
    if (!reported && row->running_report != REPORT_DONE) return false; // it is under way
    if (!is_sure(e, j, RECONCILE_REPORT)) return false;
    if (reported && row->end_status == CHAIN_JOB_PENDING) return hand_back(e, j);
    if (f->chain == RECONCILE_CHAIN_SCHEDULED) {
        row->running_report = REPORT_NONE;
        row->running_block_s = 0;
    }
    if (reported) row->end_report = REPORT_NONE;
    return event(e, j, RECONCILE_REPORT, reconcile_chain_name(f->chain));
}

static bool confirm(struct engine *e, struct live_job *j, const struct facts *f)
{
    return event(e, j, RECONCILE_CONFIRM, reconcile_chain_name(f->chain));
}

static bool wait_for_more(struct engine *e, struct live_job *j, const struct facts *f)
{
    (void)f;
    long long again = clock_mono_ms() + AGAIN_MS, due = j->absent_since_ms + grace_ms(e, j);
    if (j->held) engine_survey_want(j, again);
    if (j->absent_since_ms) engine_survey_want(j, due > again ? due : again);
    return false;
}

static bool leave(struct engine *e, struct live_job *j, const struct facts *f)
{
    (void)e;
    (void)j;
    (void)f;
    return false;
}

/* Of the jobs that the engine has in hand; true: the state has changed. */
static bool (*const deeds[RECONCILE_ACTION_COUNT])(struct engine *e,
                                                   struct live_job *j,
                                                   const struct facts *f) = {
    [RECONCILE_UNDECIDED] = wait_for_more,
    [RECONCILE_NOTHING] = leave,
    [RECONCILE_WAIT] = wait_for_more,
    [RECONCILE_CLAIM] = leave,
    [RECONCILE_FOUND] = leave,
    [RECONCILE_ADOPT] = adopt,
    [RECONCILE_STARTED] = see,
    [RECONCILE_END] = see,
    [RECONCILE_LOST] = lose,
    [RECONCILE_GONE] = give_up,
    [RECONCILE_STRAY] = leave,
    [RECONCILE_REPORT] = report,
    [RECONCILE_GIVE_BACK] = give_back,
    [RECONCILE_CONFIRM] = confirm,
};

static void settle(struct engine *e, struct live_job *j, const struct facts *f)
{
    enum reconcile_action action;
    int steps = 0;
    do {
        action = reconcile_decide(j->row.state, f->chain, f->slurm);
        if (j->doubt != action) j->doubt = RECONCILE_UNDECIDED;
        if (action > RECONCILE_WAIT)
            log_job_debug(j->row.id,
                          "%s here, %s on chain, %s in Slurm: %s",
                          job_state_name(j->row.state),
                          reconcile_chain_name(f->chain),
                          reconcile_slurm_name(f->slurm),
                          reconcile_action_name(action));
    } while (deeds[action](e, j, f) && ++steps < SETTLE_MAX);
    if (action == RECONCILE_WAIT || j->doubt) return;
    j->touched |= j->held;
    j->held = false;
}

/* The request was told through a queue, whose entry an earlier life may have taken. */
void engine_survey_pass_cancel_on(struct engine *e, struct live_job *j, const struct probe *p)
{
    if (p->chain == RECONCILE_CHAIN_RUNNING && p->job.has_cancel_request &&
        (j->row.state == JOB_SUBMITTED || j->row.state == JOB_RUNNING))
        (void)engine_job_event_apply(e, j, EV_CANCEL_REQUEST, "the contract has the request");
}

/*
 * A top-up is told by logs alone if its receipt came to another life of ours, and logs may lack it.
 * A price that fell looks the same: then nothing comes of reading them again. Each part that was
 * paid is counted in whole minutes.
 */
static void check_top_ups(struct engine *e, struct live_job *j, const struct probe *p)
{
    struct u256 paid;
    uint64_t min, parts = 0;
    const struct job *row = &j->row;
    bool counts = p->chain == RECONCILE_CHAIN_SCHEDULED || p->chain == RECONCILE_CHAIN_RUNNING;
    if (!counts || u256_div(p->job.paid, p->job.price_per_min, &paid, NULL) < 0 ||
        u256_to_u64(paid, &min) < 0 || min <= row->limit_min)
        return;
    (void)store_top_ups_count(e->o.store, row->id, &parts);
    if (min - row->limit_min <= parts) return;
    log_job_debug(row->id,
                  "paid for %" PRIu64 " minutes, here it is %" PRIu64 ": logs are read again",
                  min,
                  row->limit_min);
    chain_read_again(e->chain, row->claim_at < row->claim_block ? row->claim_at : row->claim_block);
}

static void settle_job(struct engine *e, const struct probe *p)
{
    long long now = clock_mono_ms();
    struct live_job *j = engine_job_find(e, p->id);
    if (!j) return;
    j->probing = false;
    j->touched |= j->row.state == JOB_DONE;
    if (j->row.claim_block != p->claim_block) return;
    if (j->busy) { // what the worker finds out may change everything
        engine_survey_want(j, now + BUSY_AGAIN_MS);
        return;
    }
    struct facts f = {.chain = p->chain, .slurm = slurm_view(e, j, p, now), .probe = p};
    // An answer from before the claim, of a node that lags.
    if (j->row.claim_at != JOB_CLAIM_GONE && p->job.at_block < j->row.claim_at &&
        p->chain != RECONCILE_CHAIN_NONE)
        f.chain = RECONCILE_CHAIN_UNKNOWN;
    settle(e, j, &f);
    engine_survey_pass_cancel_on(e, j, p);
    check_top_ups(e, j, p);
}

void engine_survey_probed(struct engine *e, const struct probe *probes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (probes[i].stranger)
            engine_strangers_settle(e, &probes[i]);
        else
            settle_job(e, &probes[i]);
}
