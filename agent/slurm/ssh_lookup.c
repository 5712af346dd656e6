/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/ssh_lookup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/slurm/lookup.h"
#include "agent/slurm/sacct.h"
#include "agent/slurm/squeue.h"
#include "agent/slurm/ssh_command.h"

enum {
    FIND_JOBS_MAX = 1000,       // of one name and user; more is a user's mischief
    LIST_JOBS_MAX = 100 * 1000, // of the whole cluster: 60 MB
    RECORDS_PER_JOB = 4,        // of sacct: one, and one more for each time the job was resized
};

/* Whose jobs, or which: 1000 ids are 11 KB of command line, and 700 KB of squeue's answer. */
static void add_question(struct ssh_args *args, const struct lookup_question *q)
{
    if (!q->name && !q->count) return;
    struct buf list = BUF_INIT(LOOKUP_IDS_MAX * 21);
    if (q->name) {
        // By name: squeue complains, rather than finds nothing, where the name service fails.
        ssh_args_add(args, "--user=%s", q->user);
        ssh_args_add(args, "--name=%s", q->name);
        return;
    }
    for (size_t i = 0; i < q->count; i++)
        (void)buf_putf(&list, "%s%" PRIu64, i ? "," : "", q->ids[i]);
    ssh_args_add(args, "--jobs=%s", buf_str(&list));
    if (buf_error(&list)) args->failed = true;
    buf_free(&list);
}

typedef int next_record_fn(const char **text, struct slurm_job *job, struct error *err);

static int tell(const char *at,
                next_record_fn *next,
                const struct lookup_question *q,
                lookup_take_fn *take,
                void *ctx,
                struct error *err)
{
    struct slurm_job one;
    int rc;
    while ((rc = next(&at, &one, err)) > 0) {
        // What was asked for by a user's name is his, whatever the column can hold of it.
        if (q->user) (void)snprintf(one.user, sizeof(one.user), "%s", q->user);
        take(ctx, &one);
    }
    return rc;
}

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

static int ask_queue(struct slurm_backend *base,
                     const struct lookup_question *q,
                     long long deadline_ms,
                     lookup_take_fn *take,
                     void *ctx,
                     struct error *err)
{
    struct ssh_backend *b = ssh_backend_of(base);
    struct ssh_args args = {0};
    struct sshc_result result;
    const char *records = NULL;
    squeue_args(b, &args);
    add_question(&args, q);
    size_t jobs_max = q->name ? FIND_JOBS_MAX : q->count ? q->count : LIST_JOBS_MAX;
    int rc = ask_squeue(b, &args, jobs_max, deadline_ms, &result, &records, err);
    if (rc == ERR_NOTFOUND && q->count == 1) return 0; // squeue's way to say "none" to a single id
    if (rc < 0) return ssh_as_question(rc, err);
    rc = tell(records, squeue_next, q, take, ctx, err);
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
ask_sdiag(struct slurm_backend *base, long long deadline_ms, uint64_t *waiting, struct error *err)
{
    struct ssh_backend *b = ssh_backend_of(base);
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

static int ask_accounting(struct slurm_backend *base,
                          const struct lookup_question *q,
                          long long deadline_ms,
                          lookup_take_fn *take,
                          void *ctx,
                          struct error *err)
{
    struct ssh_backend *b = ssh_backend_of(base);
    struct ssh_args args = {0};
    struct sshc_result result;
    const char *records = NULL;
    sacct_args(b, &args);
    if (q->name) ssh_args_add(&args, "--starttime=now-%ddays", LOOKUP_DAYS); // by ids: no limit
    add_question(&args, q);
    size_t records_max = FIND_JOBS_MAX + q->count * RECORDS_PER_JOB;
    int rc = ask_sacct(b, &args, records_max, deadline_ms, &result, &records, err);
    if (rc < 0) return rc;
    rc = tell(records, sacct_next, q, take, ctx, err);
    ssh_result_free(&result);
    return rc;
}

static const struct lookup_source source = {
    .queue = ask_queue, .accounting = ask_accounting, .waiting = ask_sdiag};

int ssh_find(struct slurm_backend *base,
             const char *name,
             const char *user,
             long long deadline_ms,
             struct slurm_job *job,
             struct error *err)
{
    return lookup_find(&source, base, name, user, deadline_ms, job, err);
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
    return lookup_query(&source, base, ids, count, deadline_ms, jobs, found, proof, err);
}

int ssh_list(struct slurm_backend *base,
             long long deadline_ms,
             struct slurm_job **jobs,
             size_t *count,
             struct error *err)
{
    return lookup_list(&source, base, deadline_ms, jobs, count, err);
}
