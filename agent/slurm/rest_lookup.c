/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/rest_lookup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/slurm/lookup.h"
#include "agent/slurm/spec.h"

enum {
    ANSWER_MAX = 256 << 10,   // that is no list
    JOB_MAX = 4 << 20,        // one job; an array's tasks come with it
    LIST_MAX = 64 << 20,      // 20,000 jobs
    ACCOUNTED_MAX = 16 << 20, // 4,000 jobs of one name, or 1,000 ids with 4 records each
    PATH_SIZE = 40,
    QUERY_PATH_MAX = LOOKUP_IDS_MAX * 16 + 300,
};

/* --- the queue --- */

int rest_get_job(struct rest_backend *b,
                 uint64_t id,
                 long long deadline_ms,
                 struct slurm_job *job,
                 struct rest_grant *grant,
                 struct error *err)
{
    char path[PATH_SIZE];
    struct rest_reply reply;
    struct rest_scan list;
    struct rest_slice one;
    struct slurm_job found = {0};
    struct rest_request request = {.path = path};
    (void)snprintf(path, sizeof(path), "/job/%" PRIu64, id);
    int rc = rest_ask(b, &request, JOB_MAX, deadline_ms, &reply, err);
    if (rc == 0) rc = rest_decode_list(&reply.answer, "jobs", &list, err);
    while (rc == 0 && found.id != id) {
        rc = rest_scan_next(&list, NULL, &one, err);
        if (rc == 0) rc = error_set(err, ERR_NOTFOUND, "slurmrestd: no job %" PRIu64, id);
        if (rc > 0) rc = rest_decode_job(reply.version, one, &found, grant, err);
    }
    if (rc == 0) *job = found;
    rest_reply_free(&reply);
    return rc == ERR_NOTFOUND ? rc : rest_as_question(rc, err);
}

static bool has_mark(struct rest_slice object)
{
    // At the beginning of some text, with its quote: cheaper than parsing all that is not ours.
    static const char mark[] = "\"" SLURM_SPEC_MARK;
    return memmem(object.text, object.len, mark, sizeof(mark) - 1) != NULL;
}

int rest_fetch_queue(
    void *ctx, long long deadline_ms, struct slurm_job **jobs, size_t *count, struct error *err)
{
    struct rest_request request = {.path = "/jobs"};
    struct rest_reply reply;
    struct rest_scan list;
    struct rest_slice one;
    struct slurm_job job, *found = NULL;
    size_t n = 0;
    int rc = rest_ask(ctx, &request, LIST_MAX, deadline_ms, &reply, err);
    if (rc == 0) rc = rest_decode_list(&reply.answer, "jobs", &list, err);
    while (rc >= 0 && (rc = rest_scan_next(&list, NULL, &one, err)) > 0) {
        if (!has_mark(one)) continue;
        rc = rest_decode_job(reply.version, one, &job, NULL, err);
        if (rc == 0 && slurm_spec_is_marked(job.comment)) rc = slurm_jobs_add(&found, &n, &job);
        if (rc == ERR_NOMEM) (void)error_set(err, rc, "jobs: out of memory");
    }
    rest_reply_free(&reply);
    if (rc < 0) {
        free(found);
        return rc == ERR_LIMIT ? rc : rest_as_question(rc, err);
    }
    *jobs = found;
    *count = n;
    return 0;
}

/* ERR_LIMIT: the queue is too large to be read. */
static int ask_whole_queue(struct rest_backend *b,
                           long long deadline_ms,
                           lookup_take_fn *take,
                           void *ctx,
                           struct error *err)
{
    struct rest_snapshot *s;
    int rc = rest_queue_get(b->queue, deadline_ms, &s, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < s->count; i++)
        take(ctx, &s->jobs[i]);
    rest_queue_release(b->queue, s);
    return 0;
}

static int ask_singly(struct rest_backend *b,
                      const struct lookup_question *q,
                      long long deadline_ms,
                      lookup_take_fn *take,
                      void *ctx,
                      struct error *err)
{
    struct slurm_job job;
    for (size_t i = 0; i < q->count; i++) {
        int rc = rest_get_job(b, q->ids[i], deadline_ms, &job, NULL, err);
        if (rc < 0 && rc != ERR_NOTFOUND) return rc;
        if (rc == 0) take(ctx, &job);
    }
    return 0;
}

static int ask_queue(struct slurm_backend *base,
                     const struct lookup_question *q,
                     long long deadline_ms,
                     lookup_take_fn *take,
                     void *ctx,
                     struct error *err)
{
    struct rest_backend *b = rest_backend_of(base);
    if (q->count == 1) return ask_singly(b, q, deadline_ms, take, ctx, err);
    int rc = ask_whole_queue(b, deadline_ms, take, ctx, err);
    if (rc != ERR_LIMIT) return rc;
    return q->count ? ask_singly(b, q, deadline_ms, take, ctx, err) : rest_as_question(rc, err);
}

/* --- accounting --- */

static int
ask_waiting(struct slurm_backend *base, long long deadline_ms, uint64_t *count, struct error *err)
{
    struct rest_request request = {.path = "/diag"};
    struct rest_reply reply;
    int rc = rest_ask(rest_backend_of(base), &request, ANSWER_MAX, deadline_ms, &reply, err);
    if (rc == 0) rc = rest_decode_waiting(&reply.answer, count, err);
    rest_reply_free(&reply);
    return rest_as_question(rc, err);
}

static void
put_question(struct buf *path, const struct rest_version *v, const struct lookup_question *q)
{
    (void)buf_putf(path, "/jobs?%s", v->db_query);
    if (q->name) (void)buf_putf(path, "&job_name=%s&start_time=now-%ddays", q->name, LOOKUP_DAYS);
    for (size_t i = 0; i < q->count; i++)
        (void)buf_putf(path, "%s%" PRIu64, i ? v->db_next_id : "&step=", q->ids[i]);
}

static int
tell_accounted(const struct rest_reply *reply, lookup_take_fn *take, void *ctx, struct error *err)
{
    struct rest_scan list;
    struct rest_slice one;
    struct slurm_job job;
    int rc = rest_decode_list(&reply->answer, "jobs", &list, err);
    while (rc >= 0 && (rc = rest_scan_next(&list, NULL, &one, err)) > 0) {
        rc = rest_decode_accounted(reply->version, one, &job, err);
        if (rc == 0) take(ctx, &job);
    }
    return rc;
}

/*
 * slurmrestd serves slurmdb's part only on a cluster with slurmdbd, and there always, unless it is
 * told to leave it out.
 */
static int ask_accounting(struct slurm_backend *base,
                          const struct lookup_question *q,
                          long long deadline_ms,
                          lookup_take_fn *take,
                          void *ctx,
                          struct error *err)
{
    struct rest_backend *b = rest_backend_of(base);
    struct buf path = BUF_INIT(QUERY_PATH_MAX);
    struct rest_request request = {.part = REST_SLURMDB};
    struct rest_reply reply = {0};
    int rc = rest_client_version(b->client, deadline_ms, &request.version, err);
    if (rc < 0) return rc;
    put_question(&path, request.version, q);
    request.path = buf_str(&path);
    if ((rc = buf_error(&path)) < 0) (void)error_set(err, rc, "slurmdb: %s", err_text(rc));
    if (rc == 0) rc = rest_ask(b, &request, ACCOUNTED_MAX, deadline_ms, &reply, err);
    if (rc == 0)
        rc = tell_accounted(&reply, take, ctx, err);
    else if (rc == ERR_NOTFOUND)
        rc = 0; // so it says "no jobs"
    else if (rc == ERR_UNSUPPORTED)
        rc = error_set(err, ERR_NOTFOUND, "slurmrestd serves no accounting");
    buf_free(&path);
    rest_reply_free(&reply);
    return rc == ERR_NOTFOUND ? rc : rest_as_question(rc, err);
}

static const struct lookup_source source = {
    .queue = ask_queue, .accounting = ask_accounting, .waiting = ask_waiting};

int rest_find(struct slurm_backend *base,
              const char *name,
              const char *user,
              long long deadline_ms,
              struct slurm_job *job,
              struct error *err)
{
    return lookup_find(&source, base, name, user, deadline_ms, job, err);
}

int rest_query(struct slurm_backend *base,
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

int rest_list(struct slurm_backend *base,
              long long deadline_ms,
              struct slurm_job **jobs,
              size_t *count,
              struct error *err)
{
    return lookup_list(&source, base, deadline_ms, jobs, count, err);
}
