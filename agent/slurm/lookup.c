/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/lookup.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/slurm/spec.h"
#include "agent/slurm/users.h"
#include "agent/util/log.h"

enum {
    FLUSH_TRIES = 3, // a slurmdbd in order has caught up at one of these moments
    FLUSH_PAUSE_MS = 250,
};

/*
 * Of two records of one user's jobs of one name, or of one id: is `a` the one to believe? In
 * accounting a job that was resized has several, and ids begin again where slurmctld lost its
 * state.
 */
static bool is_newer(const struct slurm_job *a, const struct slurm_job *b)
{
    if (a->submit_s != b->submit_s) return a->submit_s > b->submit_s;
    if (a->id != b->id) return a->id > b->id;
    return slurm_phase_of(a->state) == SLURM_PHASE_ENDED &&
           slurm_phase_of(b->state) != SLURM_PHASE_ENDED;
}

/* --- by name --- */

struct search {
    const struct lookup_question *q;
    bool unmarked; // a job without a comment counts, too
    bool found;
    struct slurm_job *newest;
    uint64_t nobodys; // id of a job of that name whose user is not told
};

/* What Slurm refused it may keep for a while, as a job that FAILED and never had a node. */
static bool is_refusal(const struct slurm_job *job)
{
    return job->state == SLURM_FAILED && !job->started;
}

static void take_named(void *ctx, const struct slurm_job *job)
{
    struct search *s = ctx;
    bool ours = slurm_spec_is_marked(job->comment) || (s->unmarked && !job->comment[0]);
    if (!ours || strcmp(job->name, s->q->name) != 0 || is_refusal(job)) return;
    if (!job->user[0]) {
        s->nobodys = job->id;
    } else if (strcmp(job->user, s->q->user) == 0 && (!s->found || is_newer(job, s->newest))) {
        *s->newest = *job;
        s->found = true;
    }
}

/*
 * While slurmdbd is down, and shortly after, slurmctld keeps for it what it was not there to take:
 * until it has that, what it says is old, be it a job or none. 0 once it has; ERR_BUSY it has not.
 */
static int check_flushed(const struct lookup_source *s,
                         struct slurm_backend *b,
                         long long deadline_ms,
                         struct error *err)
{
    const struct timespec pause = {.tv_nsec = FLUSH_PAUSE_MS * 1000000L};
    uint64_t waiting = 0;
    for (int i = 0; i < FLUSH_TRIES; i++) {
        if (i) (void)nanosleep(&pause, NULL);
        int rc = s->waiting(b, deadline_ms, &waiting, err);
        if (rc < 0) return rc == ERR_BUSY ? ERR_UNAVAILABLE : rc;
        if (waiting == 0) return 0;
    }
    return error_set(err, ERR_BUSY, "%" PRIu64 " records of slurmctld wait for slurmdbd", waiting);
}

static int search_accounting(const struct lookup_source *s,
                             struct slurm_backend *b,
                             long long deadline_ms,
                             struct search *search,
                             struct error *err)
{
    struct error untold = {0};
    // In this order, or a record could arrive after one look and before the other.
    int flushed = check_flushed(s, b, deadline_ms, &untold);
    int rc = flushed == ERR_BUSY
                 ? flushed
                 : s->accounting(b, search->q, deadline_ms, take_named, search, err);
    if (rc == ERR_NOTFOUND) return rc;
    if (flushed < 0) {
        rc = flushed;
        if (err) *err = untold;
    } else if (rc == 0 && !search->found && search->nobodys) {
        rc = error_set(
            err, ERR_BUSY, "accounting does not tell whose job %" PRIu64 " is", search->nobodys);
    }
    if (rc >= 0) return search->found ? 0 : ERR_NOTFOUND;
    // Slurm itself works, as the queue has shown.
    if (err) err->code = ERR_BUSY;
    return ERR_BUSY;
}

int lookup_find(const struct lookup_source *s,
                struct slurm_backend *b,
                const char *name,
                const char *user,
                long long deadline_ms,
                struct slurm_job *job,
                struct error *err)
{
    const struct lookup_question q = {.name = name, .user = user};
    struct slurm_job newest = {0};
    struct search search = {.q = &q, .newest = &newest};
    int rc = users_check_name(user, err);
    if (rc == 0) rc = s->queue(b, &q, deadline_ms, take_named, &search, err);
    if (rc == ERR_BUSY && err) err->code = ERR_UNAVAILABLE;
    if (rc == ERR_BUSY) return ERR_UNAVAILABLE; // the other code means that the queue has answered
    if (rc == 0 && !search.found) {
        search.unmarked = true; // most clusters store no comments
        search.nobodys = 0;
        rc = search_accounting(s, b, deadline_ms, &search, err);
    }
    if (rc == ERR_NOTFOUND) return error_set(err, rc, "user %s has no job %s", user, name);
    if (rc == 0) *job = newest;
    return rc;
}

/* --- by id --- */

struct gathering {
    const struct lookup_question *q;
    struct slurm_job *jobs; // room for one of each id
    size_t count;
};

static struct slurm_job *job_of(struct slurm_job *jobs, size_t count, uint64_t id)
{
    for (size_t i = 0; i < count; i++)
        if (jobs[i].id == id) return &jobs[i];
    return NULL;
}

static bool is_asked(const struct lookup_question *q, uint64_t id)
{
    for (size_t i = 0; i < q->count; i++)
        if (q->ids[i] == id) return true;
    return false;
}

/*
 * Add another record of the same id: of the newer one, with what the earlier attempts of that job
 * ran. Records of resizing are no attempts, and a job of another name has nothing to do with it.
 */
static void add_record(struct slurm_job *job, const struct slurm_job *record)
{
    const struct slurm_job old = *job;
    bool newer = is_newer(record, &old);
    const struct slurm_job *first = newer ? &old : record, *last = newer ? record : &old;
    enum slurm_phase phase = slurm_phase_of(first->state);
    // Queued again it has a new time of submission; a record that came twice has the same.
    bool attempt = (phase == SLURM_PHASE_ENDED || phase == SLURM_PHASE_AGAIN) &&
                   first->submit_s < last->submit_s;
    if (newer) *job = *record;
    if (strcmp(old.name, record->name) != 0) return;
    job->spent_s = old.spent_s + (attempt ? first->ran_s : 0);
    job->restarts = old.restarts + attempt;
}

static void take_asked(void *ctx, const struct slurm_job *job)
{
    struct gathering *g = ctx;
    struct slurm_job *known = job_of(g->jobs, g->count, job->id);
    if (known)
        add_record(known, job);
    else if (is_asked(g->q, job->id))
        g->jobs[g->count++] = *job;
}

/*
 * Appends to jobs[*found] what accounting knows to have ended. What it still takes for alive has
 * left the queue all the same: that record is to be written yet, and is asked for again, unless
 * slurmctld has nothing more to say. ERR_NOTFOUND: no accounting.
 */
static int gather_ended(const struct lookup_source *s,
                        struct slurm_backend *b,
                        const struct lookup_question *q,
                        long long deadline_ms,
                        struct slurm_job *jobs,
                        size_t *found,
                        enum slurm_proof *proof,
                        struct error *err)
{
    struct gathering g = {.q = q, .jobs = jobs + *found};
    struct error untold = {0};
    int flushed = check_flushed(s, b, deadline_ms, &untold);
    int rc = s->accounting(b, q, deadline_ms, take_asked, &g, err);
    if (rc < 0 && (rc != ERR_NOTFOUND || flushed != ERR_BUSY)) return rc;
    for (size_t i = 0; i < g.count; i++)
        if (slurm_phase_of(g.jobs[i].state) == SLURM_PHASE_ENDED) jobs[(*found)++] = g.jobs[i];
    *proof = flushed < 0 ? SLURM_PROOF_NONE : SLURM_PROOF_ACCOUNTING;
    if (flushed < 0 && err) *err = untold;
    return flushed;
}

/* At most LOOKUP_IDS_MAX ids; appends to jobs[*found], and weakens *proof. */
static int query_some(const struct lookup_source *s,
                      struct slurm_backend *b,
                      const struct lookup_question *q,
                      long long deadline_ms,
                      struct slurm_job *jobs,
                      size_t *found,
                      enum slurm_proof *proof,
                      struct error *err)
{
    uint64_t missing[LOOKUP_IDS_MAX];
    struct lookup_question left = {.ids = missing};
    struct gathering g = {.q = q, .jobs = jobs + *found};
    enum slurm_proof some = SLURM_PROOF_NONE;
    struct error why = {0};
    int rc = s->queue(b, q, deadline_ms, take_asked, &g, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < q->count; i++)
        if (!job_of(g.jobs, g.count, q->ids[i])) missing[left.count++] = q->ids[i];
    *found += g.count;
    if (left.count == 0) return 0;
    // The queue has answered, so Slurm works; the rest is learnt when accounting does as well.
    rc = gather_ended(s, b, &left, deadline_ms, jobs, found, &some, &why);
    if (rc < 0) log_debug("%zu jobs are not in the queue; accounting: %s", left.count, why.text);
    if (rc == ERR_NOTFOUND) some = SLURM_PROOF_QUEUE;
    if (some < *proof) *proof = some;
    return 0;
}

int lookup_query(const struct lookup_source *s,
                 struct slurm_backend *b,
                 const uint64_t *ids,
                 size_t count,
                 long long deadline_ms,
                 struct slurm_job *jobs,
                 size_t *found,
                 enum slurm_proof *proof,
                 struct error *err)
{
    enum slurm_proof weakest = SLURM_PROOF_ACCOUNTING;
    size_t sum = 0;
    for (size_t at = 0; at < count; at += LOOKUP_IDS_MAX) {
        size_t n = count - at < LOOKUP_IDS_MAX ? count - at : LOOKUP_IDS_MAX;
        const struct lookup_question q = {.ids = ids + at, .count = n};
        int rc = query_some(s, b, &q, deadline_ms, jobs, &sum, &weakest, err);
        if (rc < 0) return rc;
    }
    *found = sum;
    *proof = sum < count ? weakest : SLURM_PROOF_QUEUE;
    return 0;
}

/* --- all of ours --- */

struct listing {
    struct slurm_job *jobs;
    size_t count;
    int rc;
};

static void take_marked(void *ctx, const struct slurm_job *job)
{
    struct listing *l = ctx;
    if (l->rc == 0 && slurm_spec_is_marked(job->comment))
        l->rc = slurm_jobs_add(&l->jobs, &l->count, job);
}

int lookup_list(const struct lookup_source *s,
                struct slurm_backend *b,
                long long deadline_ms,
                struct slurm_job **jobs,
                size_t *count,
                struct error *err)
{
    const struct lookup_question q = {0};
    struct listing l = {0};
    int rc = s->queue(b, &q, deadline_ms, take_marked, &l, err);
    if (rc == 0 && l.rc < 0) rc = error_set(err, l.rc, "jobs: out of memory");
    if (rc < 0) {
        free(l.jobs);
        return rc;
    }
    *jobs = l.jobs;
    *count = l.count;
    return 0;
}
