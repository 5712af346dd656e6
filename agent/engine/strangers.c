/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Jobs in Slurm that carry our mark and a name that the store does not know, or takes for done: the
 * store was lost or is an old one, or somebody has put the job back into the queue. They are taken
 * up or cancelled as the contract says; whose jobs they may be besides ours is the question here.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/engine/survey.h"
#include "agent/slurm/spec.h"
#include "agent/util/clock.h"
#include "agent/util/hex.h"

enum {
    STRANGERS_MAX = 256, // of one listing; the next one has the others
    CLOCK_SKEW_S = 3600, // between the cluster and the chain
    LOG_EVERY_MS = 60 * 1000,
};

/* An id as the agent writes it. */
static bool is_job_id(const char *name)
{
    uint8_t id[32];
    return strlen(name) == JOB_ID_TEXT - 1 && name[1] == 'x' &&
           hex_decode(id, sizeof(id), name) == 0 && strpbrk(name + 2, "ABCDEF") == NULL;
}

/* What the store has of a job that is not in hand; false: it must not be touched. */
static bool load_done(struct engine *e, const char *id, struct job *row, bool *known)
{
    int rc = store_job_get(e->o.store, id, row);
    *known = rc == 0;
    return rc == ERR_NOTFOUND || (rc == 0 && row->state == JOB_DONE);
}

/* Is it what we would have submitted for the job that the contract has? */
static bool is_plausible(struct engine *e, const struct probe *p)
{
    unsigned int more;
    bool fits = strcmp(p->user, p->slurm.user) == 0 &&
                (uint64_t)p->slurm.submit_s + CLOCK_SKEW_S >= p->job.submit_s;
    if (!fits && log_limit_ok(&e->survey.stranger_limit, LOG_EVERY_MS, &more))
        log_job_warn(p->id,
                     "security: Slurm job %" PRIu64 " of user %s has its name and our comment, but "
                     "its user or age do not fit; it is left alone (%u more not logged)",
                     p->slurm.id,
                     p->slurm.user,
                     more);
    return fits;
}

static struct job row_of_probe(const struct probe *p, const struct job *old)
{
    struct eth_hash id;
    struct chain_claim claim = p->job.definition;
    (void)hex_decode(id.b, sizeof(id.b), p->id);
    claim.max_duration_min = p->slurm.limit_min ? p->slurm.limit_min : UINT64_MAX;
    struct job row = engine_job_of_claim(&id, &claim, p->job.at_block, old);
    row.slurm_limit_min = row.limit_min;
    return row;
}

static void take_up(struct engine *e, const struct probe *p, const struct job *old)
{
    char detail[96];
    struct job row = row_of_probe(p, old);
    struct live_job *j = engine_job_add(e, &row);
    if (!j) return;
    engine_survey_note_slurm(j, &p->slurm);
    engine_survey_note_chain(j, p);
    (void)snprintf(detail,
                   sizeof(detail),
                   "Slurm job %" PRIu64 ", %s on chain",
                   p->slurm.id,
                   reconcile_chain_name(p->chain));
    engine_slurm_watch(e);
    if (!engine_job_event_apply(e, j, EV_FOUND, detail)) return;
    engine_survey_pass_cancel_on(e, j, p);
    engine_news_replay(e, j);
}

static void cancel_stray(struct engine *e, const struct probe *p, const struct job *old)
{
    char detail[96];
    bool submitted = old && strcmp(p->slurm.user, old->user) == 0 &&
                     (p->slurm.id == old->slurm_id || p->slurm.id == old->prev_slurm_id);
    bool by_comment = e->o.comment_is_ours && p->chain != RECONCILE_CHAIN_NONE;
    if (!submitted && !by_comment) {
        log_job_warn(p->id,
                     "Slurm job %" PRIu64 " is in the queue, and the contract has it as %s; not "
                     "cancelled, since it may be another agent's (is --public-address set?)",
                     p->slurm.id,
                     reconcile_chain_name(p->chain));
        return;
    }
    struct job row = old ? *old : row_of_probe(p, NULL);
    struct live_job *j = engine_job_add(e, &row);
    if (!j) return;
    engine_survey_note_slurm(j, &p->slurm);
    (void)snprintf(detail,
                   sizeof(detail),
                   "Slurm job %" PRIu64 " is in the queue, on chain it is %s",
                   p->slurm.id,
                   reconcile_chain_name(p->chain));
    (void)engine_job_event_apply(e, j, EV_STRAY, detail);
}

void engine_strangers_settle(struct engine *e, const struct probe *p)
{
    struct job old;
    bool known;
    if (engine_job_find(e, p->id) || !load_done(e, p->id, &old, &known)) return;
    enum reconcile_action action =
        reconcile_decide(known ? JOB_DONE : JOB_NONE, p->chain, engine_slurm_view(p->slurm.state));
    if (action != RECONCILE_FOUND && action != RECONCILE_STRAY) return;
    if (p->chain != RECONCILE_CHAIN_NONE && !is_plausible(e, p)) return;
    if (action == RECONCILE_FOUND)
        take_up(e, p, known ? &old : NULL);
    else
        cancel_stray(e, p, known ? &old : NULL);
}

/* What is being cleaned up (COMPLETING) is as good as ended. */
static bool is_over(const struct slurm_job *s)
{
    return slurm_phase_of(s->state) == SLURM_PHASE_ENDED || s->state & SLURM_FLAG_COMPLETING;
}

/* Is the contract to be asked about it? Of what is over only if the store does not know it. */
static bool is_stranger(struct engine *e, const struct slurm_job *s)
{
    struct job row;
    bool known;
    return is_job_id(s->name) && !engine_job_find(e, s->name) &&
           strcmp(s->comment, e->o.comment) == 0 && load_done(e, s->name, &row, &known) &&
           !(known && is_over(s));
}

static void keep_strangers(struct engine *e, const struct slurm_job *jobs, size_t count, bool over)
{
    struct survey *s = &e->survey;
    for (size_t i = 0; i < count && s->stranger_count < STRANGERS_MAX; i++)
        if (is_over(&jobs[i]) == over && is_stranger(e, &jobs[i]) &&
            slurm_jobs_add(&s->strangers, &s->stranger_count, &jobs[i]) < 0)
            return; // the next listing has them again
}

void engine_strangers_listed(struct engine *e, const struct slurm_job *jobs, size_t count)
{
    struct survey *s = &e->survey;
    free(s->strangers);
    s->strangers = NULL;
    s->stranger_count = 0;
    keep_strangers(e, jobs, count, false);
    keep_strangers(e, jobs, count, true);
    for (size_t i = 0; i < count; i++) {
        struct live_job *j = engine_job_find(e, jobs[i].name);
        if (!j || !engine_job_before_slurm(j)) continue;
        j->listed = true; // it may be its Slurm job: it is looked for by name, user and all
        engine_survey_want(j, clock_mono_ms());
    }
    log_debug("Slurm lists %zu jobs with our mark, %zu of them to be asked about",
              count,
              s->stranger_count);
}

void engine_strangers_ask(struct engine *e, struct probe_task *t)
{
    struct survey *s = &e->survey;
    struct probe *p;
    while (s->stranger_count && (p = engine_probes_add(t))) {
        p->slurm = s->strangers[--s->stranger_count];
        p->stranger = true;
        memcpy(p->id, p->slurm.name, sizeof(p->id));
    }
}
