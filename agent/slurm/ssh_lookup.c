/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/ssh_lookup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/slurm/sacct.h"
#include "agent/slurm/spec.h"
#include "agent/slurm/squeue.h"
#include "agent/slurm/ssh_command.h"
#include "agent/util/clock.h"
#include "agent/util/log.h"

enum {
    QUERY_IDS_MAX = 1000,       // per squeue: 11 KB of command line, 700 KB of answer
    LIST_JOBS_MAX = 100 * 1000, // of the whole cluster: 60 MB
    FIND_JOBS_MAX = 1000,       // of one name and user; more is a user's mischief
    RECORDS_PER_JOB = 4,        // of sacct: one, and one more for each time the job was resized
    FLUSH_TRIES = 3,            // a slurmdbd in order has caught up at one of these moments
    FLUSH_PAUSE_MS = 250,
};

typedef int next_record(const char **text, struct slurm_job *job, struct error *err);

/* squeue with these more arguments (taken); 0 with the records, ERR_NOTFOUND for an unknown id. */
static int ask_squeue(struct ssh_backend *b,
                      struct ssh_args *args,
                      size_t jobs_max,
                      long long deadline_ms,
                      struct sshc_result *result,
                      const char **records,
                      struct error *err)
{
    struct ssh_command cmd = {
        SSH_SQUEUE, b->admin_user, NULL, 0, SSH_SHORT_OUTPUT + jobs_max * SQUEUE_RECORD_MAX};
    int rc = ssh_run(b, args, &cmd, deadline_ms, result, err);
    if (rc < 0) return ssh_as_question(rc, err);
    // An unknown --user is an error without an exit status (22.05), and the list then is empty.
    if (result->exit_status != 0 || strstr(buf_str(&result->errs), "squeue: error: ")) {
        rc = ssh_verdict(b, SSH_SQUEUE, result, err);
        if (rc != ERR_NOTFOUND || result->exit_status == 0) rc = ssh_as_question(rc, err);
    } else if (result->truncated || strlen(buf_str(&result->out)) != result->out.len) {
        rc = error_set(err, ERR_PROTO, "squeue: more than %zu jobs, or a NUL", jobs_max);
    } else if (!(*records = squeue_records(buf_str(&result->out)))) {
        rc =
            error_set(err, ERR_PROTO, "squeue: unexpected output \"%.60s\"", buf_str(&result->out));
    }
    if (rc < 0) ssh_result_free(result);
    return rc;
}

static void squeue_args(struct ssh_backend *b, struct ssh_args *args)
{
    ssh_args_add(args, "SLURM_TIME_FORMAT=%%s");
    ssh_args_add(args, "%s", b->paths[SSH_SQUEUE]);
    ssh_args_add(args, "--all"); // hidden partitions, and those closed to the admin user
    ssh_args_add(args, "--local");
    ssh_args_add(args, "--states=all");
    ssh_args_add(args, "--Format=%s", SQUEUE_FORMAT);
}

/* The newest job of that name with our mark among the records, or ERR_NOTFOUND. */
static int pick(const char *at,
                next_record *next,
                const char *name,
                bool unmarked,
                struct slurm_job *job,
                struct error *err)
{
    struct slurm_job one;
    bool found = false;
    int rc;
    while ((rc = next(&at, &one, err)) > 0) {
        bool ours = slurm_spec_is_marked(one.comment);
        if (strcmp(one.name, name) != 0 || (!ours && !(unmarked && !one.comment[0]))) continue;
        if (!found || sacct_is_newer(&one, job)) *job = one;
        found = true;
    }
    return rc < 0 ? rc : found ? 0 : ERR_NOTFOUND;
}

static int find_in_queue(struct ssh_backend *b,
                         const char *name,
                         const char *user,
                         long long deadline_ms,
                         struct slurm_job *job,
                         struct error *err)
{
    struct ssh_args args = {0};
    struct sshc_result result;
    const char *at = NULL;
    squeue_args(b, &args);
    // By name: squeue complains, rather than finds nothing, where the name service fails.
    ssh_args_add(&args, "--user=%s", user);
    ssh_args_add(&args, "--name=%s", name);
    int rc = ask_squeue(b, &args, FIND_JOBS_MAX, deadline_ms, &result, &at, err);
    if (rc < 0) return ssh_as_question(rc, err);
    rc = pick(at, squeue_next, name, false, job, err);
    ssh_result_free(&result);
    return rc;
}

/* --- accounting --- */

/* sacct with these more arguments (taken); 0 with the records, ERR_NOTFOUND: no accounting. */
static int ask_sacct(struct ssh_backend *b,
                     struct ssh_args *args,
                     size_t records_max,
                     long long deadline_ms,
                     struct sshc_result *result,
                     const char **records,
                     struct error *err)
{
    struct ssh_command cmd = {
        SSH_SACCT, b->admin_user, NULL, 0, SSH_SHORT_OUTPUT + records_max * SACCT_RECORD_MAX};
    int rc = ssh_run(b, args, &cmd, deadline_ms, result, err);
    if (rc < 0) return ssh_as_question(rc, err);
    const char *errors = buf_str(&result->errs), *out = buf_str(&result->out);
    if (result->exit_status != 0 && sacct_is_disabled(errors))
        rc = error_set(err, ERR_NOTFOUND, "the cluster has no accounting");
    else if (result->exit_status != 0 || strstr(errors, "sacct: error: "))
        rc = ssh_as_question(ssh_verdict(b, SSH_SACCT, result, err), err);
    else if (result->truncated || strlen(out) != result->out.len)
        rc = error_set(err, ERR_PROTO, "sacct: more than %zu records, or a NUL", records_max);
    else if (!(*records = sacct_records(out)))
        rc = error_set(err, ERR_PROTO, "sacct: unexpected output \"%.60s\"", out);
    if (rc < 0) ssh_result_free(result);
    return rc;
}

static void sacct_args(struct ssh_backend *b, struct ssh_args *args)
{
    ssh_args_add(args, "SLURM_TIME_FORMAT=%%s");
    ssh_args_add(args, "%s", b->paths[SSH_SACCT]);
    ssh_args_add(args, "--allusers");
    ssh_args_add(args, "--allocations"); // no steps
    ssh_args_add(args, "--duplicates");
    ssh_args_add(args, "--format=%s", SACCT_FORMAT);
}

static int
ask_sdiag(struct ssh_backend *b, long long deadline_ms, uint64_t *waiting, struct error *err)
{
    struct ssh_args args = {0};
    struct sshc_result result;
    ssh_args_add(&args, "%s", b->paths[SSH_SDIAG]);
    struct ssh_command cmd = {SSH_SDIAG, b->admin_user, NULL, 0, SSH_SHORT_OUTPUT};
    int rc = ssh_run(b, &args, &cmd, deadline_ms, &result, err);
    if (rc < 0) return ssh_as_question(rc, err);
    if (result.exit_status != 0)
        rc = ssh_as_question(ssh_verdict(b, SSH_SDIAG, &result, err), err);
    else
        rc = sdiag_dbd_queue(buf_str(&result.out), waiting, err);
    ssh_result_free(&result);
    return rc;
}

/*
 * 0 once slurmdbd knows of every job that has left the queue by now: while it is down, and shortly
 * after, slurmctld keeps for it what it was not there to take. Else what to say of it.
 */
static int check_flushed(struct ssh_backend *b, long long deadline_ms, struct error *err)
{
    const struct timespec pause = {.tv_nsec = FLUSH_PAUSE_MS * 1000000L};
    uint64_t waiting = 0;
    for (int i = 0; i < FLUSH_TRIES; i++) {
        if (i) (void)nanosleep(&pause, NULL);
        int rc = ask_sdiag(b, deadline_ms, &waiting, err);
        if (rc < 0 || waiting == 0) return rc;
    }
    return error_set(
        err, ERR_UNAVAILABLE, "%" PRIu64 " records of slurmctld wait for slurmdbd", waiting);
}

/* ERR_NOTFOUND also where there is no accounting. */
static int find_in_accounting(struct ssh_backend *b,
                              const char *name,
                              const char *user,
                              long long deadline_ms,
                              struct slurm_job *job,
                              struct error *err)
{
    struct ssh_args args = {0};
    struct sshc_result result;
    struct error unflushed = {0};
    const char *at = NULL;
    // In this order, or a record could arrive after sacct's look and before sdiag's.
    int flushed = check_flushed(b, deadline_ms, &unflushed);
    sacct_args(b, &args);
    ssh_args_add(&args, "--starttime=now-30days"); // far longer than a job waits to be submitted
    ssh_args_add(&args, "--user=%s", user);
    ssh_args_add(&args, "--name=%s", name);
    int rc = ask_sacct(b, &args, FIND_JOBS_MAX, deadline_ms, &result, &at, err);
    if (rc == ERR_NOTFOUND) return rc;
    if (rc < 0) goto out;
    // Comments are seldom stored: one that is must be ours, none says nothing.
    rc = pick(at, sacct_next, name, true, job, err);
    ssh_result_free(&result);
out:
    if (rc >= 0 || flushed >= 0) return rc;
    if (err) *err = unflushed;
    return flushed;
}

int ssh_find(struct slurm_backend *base,
             const char *name,
             const char *user,
             long long deadline_ms,
             struct slurm_job *job,
             struct error *err)
{
    struct ssh_backend *b = ssh_backend_of(base);
    struct slurm_job found = {0};
    int rc = ssh_check_user(user, err);
    if (rc < 0) return rc;
    rc = find_in_queue(b, name, user, deadline_ms, &found, err);
    if (rc == ERR_NOTFOUND) rc = find_in_accounting(b, name, user, deadline_ms, &found, err);
    if (rc == ERR_NOTFOUND) return error_set(err, rc, "user %s has no job %s", user, name);
    if (rc < 0) return rc;
    *job = found;
    (void)snprintf(job->user, sizeof(job->user), "%s", user);
    return 0;
}

/* --- by id --- */

static bool is_asked(const uint64_t *ids, size_t count, uint64_t id)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

static void add_ids(struct ssh_args *args, const uint64_t *ids, size_t count)
{
    struct buf list = BUF_INIT(QUERY_IDS_MAX * 21);
    for (size_t i = 0; i < count; i++)
        (void)buf_putf(&list, "%s%" PRIu64, i ? "," : "", ids[i]);
    ssh_args_add(args, "--jobs=%s", buf_str(&list));
    if (buf_error(&list)) args->failed = true;
    buf_free(&list);
}

/* At most QUERY_IDS_MAX ids; appends to jobs[*found]. */
static int query_queue(struct ssh_backend *b,
                       const uint64_t *ids,
                       size_t count,
                       long long deadline_ms,
                       struct slurm_job *jobs,
                       size_t *found,
                       struct error *err)
{
    struct ssh_args args = {0};
    struct sshc_result result;
    struct slurm_job one;
    const char *at = NULL;
    squeue_args(b, &args);
    add_ids(&args, ids, count);
    int rc = ask_squeue(b, &args, count, deadline_ms, &result, &at, err);
    if (rc == ERR_NOTFOUND && count == 1) return 0; // squeue's way to say "none" to a single id
    if (rc < 0) return ssh_as_question(rc, err);
    size_t n = 0;
    while ((rc = squeue_next(&at, &one, err)) > 0)
        if (n < count && is_asked(ids, count, one.id)) jobs[*found + n++] = one;
    if (rc == 0) *found += n;
    ssh_result_free(&result);
    return rc;
}

static struct slurm_job *job_of(struct slurm_job *jobs, size_t count, uint64_t id)
{
    for (size_t i = 0; i < count; i++)
        if (jobs[i].id == id) return &jobs[i];
    return NULL;
}

/*
 * Appends to jobs[*found] what accounting knows to have ended. What it still takes for alive has
 * left the queue all the same: that record is to be written yet, and is asked for again, unless
 * slurmctld has nothing more to say. ERR_NOTFOUND: no accounting.
 */
static int query_accounting(struct ssh_backend *b,
                            const uint64_t *ids,
                            size_t count,
                            long long deadline_ms,
                            struct slurm_job *jobs,
                            size_t *found,
                            enum slurm_proof *proof,
                            struct error *err)
{
    struct ssh_args args = {0};
    struct sshc_result result;
    struct slurm_job one;
    const char *at = NULL;
    size_t records_max = FIND_JOBS_MAX + count * RECORDS_PER_JOB, n = 0, kept = 0;
    int flushed = check_flushed(b, deadline_ms, err); // before sacct's look: see above
    sacct_args(b, &args);
    add_ids(&args, ids, count); // with ids it looks back without limit
    int rc = ask_sacct(b, &args, records_max, deadline_ms, &result, &at, err);
    if (rc < 0) return rc;
    struct slurm_job *new = jobs + *found;
    while ((rc = sacct_next(&at, &one, err)) > 0) {
        struct slurm_job *known = job_of(new, n, one.id);
        if (known && sacct_is_newer(&one, known))
            *known = one;
        else if (!known && n < count && is_asked(ids, count, one.id))
            new[n++] = one;
    }
    ssh_result_free(&result);
    if (rc < 0) return rc;
    for (size_t i = 0; i < n; i++)
        if (slurm_phase_of(new[i].state) == SLURM_PHASE_ENDED) new[kept++] = new[i];
    *found += kept;
    *proof = flushed < 0 ? SLURM_PROOF_NONE : SLURM_PROOF_ACCOUNTING;
    return flushed;
}

/* At most QUERY_IDS_MAX ids; appends to jobs[*found], and weakens *proof. */
static int query_some(struct ssh_backend *b,
                      const uint64_t *ids,
                      size_t count,
                      long long deadline_ms,
                      struct slurm_job *jobs,
                      size_t *found,
                      enum slurm_proof *proof,
                      struct error *err)
{
    uint64_t missing[QUERY_IDS_MAX];
    size_t first = *found, n = 0;
    enum slurm_proof some = SLURM_PROOF_NONE;
    struct error why = {0};
    int rc = query_queue(b, ids, count, deadline_ms, jobs, found, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < count; i++)
        if (!job_of(jobs + first, *found - first, ids[i])) missing[n++] = ids[i];
    if (n == 0) return 0;
    // The queue has answered, so Slurm works; the rest is learnt when accounting does as well.
    rc = query_accounting(b, missing, n, deadline_ms, jobs, found, &some, &why);
    if (rc < 0) log_debug("%zu jobs are not in the queue; accounting: %s", n, why.text);
    if (rc == ERR_NOTFOUND) some = SLURM_PROOF_QUEUE;
    if (some < *proof) *proof = some;
    return 0;
}

int ssh_query(struct slurm_backend *base,
              const uint64_t *ids,
              size_t count,
              long long deadline_ms,
              struct slurm_job *jobs,
              size_t *found,
              enum slurm_proof *proof,
              struct error *err)
{
    struct ssh_backend *b = ssh_backend_of(base);
    enum slurm_proof weakest = SLURM_PROOF_ACCOUNTING;
    size_t sum = 0;
    for (size_t at = 0; at < count; at += QUERY_IDS_MAX) {
        size_t n = count - at < QUERY_IDS_MAX ? count - at : QUERY_IDS_MAX;
        int rc = query_some(b, ids + at, n, deadline_ms, jobs, &sum, &weakest, err);
        if (rc < 0) return rc;
    }
    *found = sum;
    *proof = weakest;
    return 0;
}

int ssh_list(struct slurm_backend *base,
             long long deadline_ms,
             struct slurm_job **jobs,
             size_t *count,
             struct error *err)
{
    struct ssh_backend *b = ssh_backend_of(base);
    struct ssh_args args = {0};
    struct sshc_result result;
    struct slurm_job one, *found = NULL;
    const char *at = NULL;
    size_t n = 0;
    squeue_args(b, &args);
    int rc = ask_squeue(b, &args, LIST_JOBS_MAX, deadline_ms, &result, &at, err);
    if (rc < 0) return ssh_as_question(rc, err);
    while ((rc = squeue_next(&at, &one, err)) > 0)
        if (slurm_spec_is_marked(one.comment) && (rc = slurm_jobs_add(&found, &n, &one)) < 0) {
            (void)error_set(err, rc, "squeue: out of memory");
            break;
        }
    ssh_result_free(&result);
    if (rc < 0) {
        free(found);
        return rc;
    }
    *jobs = found;
    *count = n;
    return 0;
}
