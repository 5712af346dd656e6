/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/rest_backend.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/slurm/nodes.h"
#include "agent/slurm/passwd.h"
#include "agent/slurm/rest_client.h"
#include "agent/slurm/rest_queue.h"
#include "agent/slurm/script.h"
#include "agent/slurm/spec.h"
#include "agent/slurm/users.h"
#include "agent/util/clock.h"

enum {
    ANSWER_MAX = 256 << 10,    // that is no list
    JOB_MAX = 4 << 20,         // one job; an array's tasks come with it
    LIST_MAX = 64 << 20,       // 20,000 jobs; a look-up in a larger queue fails (and goes over SSH)
    SCRIPT_MAX = 64 << 20,     // our own memory; Slurm's limit is far below
    BODY_MAX = 6 * SCRIPT_MAX, // a control character takes six bytes in JSON
    QUERY_SINGLY = 32,         // more ids than this: the whole queue in one request
    PATH_MAX_LEN = 40,
};

struct rest_backend {
    struct slurm_backend base;
    struct rest_client *client;
    struct rest_queue *queue;
    char host[256];
};

static struct rest_backend *of(struct slurm_backend *b)
{
    return (struct rest_backend *)b;
}

/* A question has no outcome that could be unknown: it can simply be asked again. */
static int as_question(int rc, struct error *err)
{
    if (rc >= 0 || rc == ERR_NOMEM || rc == ERR_PROTO || rc == ERR_BUSY) return rc;
    if (err) err->code = ERR_UNAVAILABLE;
    return ERR_UNAVAILABLE;
}

/* Any other answer to do something. */
static int as_order(struct rest_backend *b, int rc, struct error *err)
{
    if (rc != ERR_UNSUPPORTED) return rc;
    rest_client_forget_version(b->client);
    if (err) err->code = ERR_UNAVAILABLE;
    return ERR_UNAVAILABLE;
}

static int check_user(const char *user, struct error *err)
{
    if (users_name_ok(user)) return 0;
    return error_set(err, ERR_INVALID, "\"%.64s\" is no user name", user);
}

/*
 * GET; `text` is the answer's memory. What its errors say counts: ERR_NOTFOUND for an unknown job,
 * else as a question's.
 */
static int ask(struct rest_backend *b,
               const char *path,
               long long deadline_ms,
               const struct rest_version **version,
               struct buf *text,
               struct rest_answer *answer,
               struct error *err)
{
    struct rest_request request = {.method = "GET", .path = path};
    int rc = rest_client_version(b->client, deadline_ms, version, err);
    if (rc < 0) return rc;
    request.version = *version;
    rc = rest_client_send(b->client, &request, deadline_ms, text, answer, err);
    if (rc < 0) return as_question(rc, err);
    rc = as_order(b, rest_decode_verdict(answer, err), err);
    return rc == ERR_NOTFOUND ? rc : as_question(rc, err);
}

/* --- ping, users --- */

static int op_ping(struct slurm_backend *base, long long deadline_ms, struct error *err)
{
    struct rest_backend *b = of(base);
    struct buf text = BUF_INIT(ANSWER_MAX);
    struct rest_answer answer;
    const struct rest_version *v;
    int rc = ask(b, "/ping", deadline_ms, &v, &text, &answer, err);
    if (rc == 0) rc = rest_decode_ping(&answer, err);
    buf_free(&text);
    return as_question(rc, err);
}

static int op_user_exists(struct slurm_backend *base,
                          const char *user,
                          long long deadline_ms,
                          struct error *err)
{
    struct passwd_entry entry;
    (void)base;
    (void)deadline_ms; // the name service has its own
    int rc = check_user(user, err);
    return rc < 0 ? rc : passwd_find(user, &entry, err);
}

/* --- looking at jobs --- */

/* The job, or ERR_NOTFOUND. */
static int get_job(struct rest_backend *b,
                   uint64_t id,
                   long long deadline_ms,
                   struct slurm_job *job,
                   struct rest_grant *grant, // may be NULL
                   struct error *err)
{
    char path[PATH_MAX_LEN];
    struct buf text = BUF_INIT(JOB_MAX);
    struct rest_answer answer;
    struct rest_scan list;
    struct rest_slice one;
    const struct rest_version *v;
    struct slurm_job found = {0};
    (void)snprintf(path, sizeof(path), "/job/%" PRIu64, id);
    int rc = ask(b, path, deadline_ms, &v, &text, &answer, err);
    if (rc == 0) rc = rest_decode_list(&answer, "jobs", &list, err);
    while (rc == 0 && found.id != id) {
        rc = rest_scan_next(&list, NULL, &one, err);
        if (rc == 0) rc = error_set(err, ERR_NOTFOUND, "slurmrestd: no job %" PRIu64, id);
        if (rc > 0) rc = rest_decode_job(v, one, &found, grant, err);
    }
    if (rc == 0) *job = found;
    buf_free(&text);
    return rc;
}

static bool has_mark(struct rest_slice object)
{
    // At the beginning of some text, with its quote: cheaper than parsing all that is not ours.
    static const char mark[] = "\"" SLURM_SPEC_MARK;
    return memmem(object.text, object.len, mark, sizeof(mark) - 1) != NULL;
}

/* All jobs with our mark; of the queue's thread that leads. */
static int fetch_queue(
    void *ctx, long long deadline_ms, struct slurm_job **jobs, size_t *count, struct error *err)
{
    struct rest_backend *b = ctx;
    struct buf text = BUF_INIT(LIST_MAX);
    struct rest_answer answer;
    struct rest_scan list;
    struct rest_slice one;
    const struct rest_version *v;
    struct slurm_job job, *found = NULL;
    size_t n = 0;
    int rc = ask(b, "/jobs", deadline_ms, &v, &text, &answer, err);
    if (rc == 0) rc = rest_decode_list(&answer, "jobs", &list, err);
    while (rc >= 0 && (rc = rest_scan_next(&list, NULL, &one, err)) > 0) {
        if (!has_mark(one)) continue;
        rc = rest_decode_job(v, one, &job, NULL, err);
        if (rc == 0 && slurm_spec_is_marked(job.comment)) rc = slurm_jobs_add(&found, &n, &job);
        if (rc == ERR_NOMEM) (void)error_set(err, rc, "jobs: out of memory");
    }
    buf_free(&text);
    if (rc < 0) {
        free(found);
        return as_question(rc, err);
    }
    *jobs = found;
    *count = n;
    return 0;
}

static bool is_newer(const struct slurm_job *a, const struct slurm_job *b)
{
    return a->submit_s > b->submit_s || (a->submit_s == b->submit_s && a->id > b->id);
}

static int op_find(struct slurm_backend *base,
                   const char *name,
                   const char *user,
                   long long deadline_ms,
                   struct slurm_job *job,
                   struct error *err)
{
    struct rest_backend *b = of(base);
    struct rest_snapshot *s;
    const struct slurm_job *newest = NULL;
    int rc = check_user(user, err);
    if (rc == 0) rc = rest_queue_get(b->queue, deadline_ms, &s, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < s->count; i++) {
        const struct slurm_job *one = &s->jobs[i];
        if (strcmp(one->name, name) == 0 && strcmp(one->user, user) == 0 &&
            (!newest || is_newer(one, newest)))
            newest = one;
    }
    if (newest)
        *job = *newest;
    else
        rc = error_set(err, ERR_NOTFOUND, "user %s has no job %s in the queue", user, name);
    rest_queue_release(b->queue, s);
    return rc;
}

static bool is_asked(const uint64_t *ids, size_t count, uint64_t id)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

static int query_queue(struct rest_backend *b,
                       const uint64_t *ids,
                       size_t count,
                       long long deadline_ms,
                       struct slurm_job *jobs,
                       size_t *found,
                       struct error *err)
{
    struct rest_snapshot *s;
    size_t n = 0;
    int rc = rest_queue_get(b->queue, deadline_ms, &s, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < s->count && n < count; i++)
        if (is_asked(ids, count, s->jobs[i].id)) jobs[n++] = s->jobs[i];
    rest_queue_release(b->queue, s);
    *found = n;
    return 0;
}

static int op_query(struct slurm_backend *base,
                    const uint64_t *ids,
                    size_t count,
                    long long deadline_ms,
                    struct slurm_job *jobs,
                    size_t *found,
                    enum slurm_proof *proof,
                    struct error *err)
{
    struct rest_backend *b = of(base);
    size_t n = 0;
    *proof = SLURM_PROOF_NONE; // accounting is not asked here
    if (count > QUERY_SINGLY) return query_queue(b, ids, count, deadline_ms, jobs, found, err);
    for (size_t i = 0; i < count; i++) {
        int rc = get_job(b, ids[i], deadline_ms, &jobs[n], NULL, err);
        if (rc < 0 && rc != ERR_NOTFOUND) return rc;
        if (rc == 0) n++;
    }
    *found = n;
    return 0;
}

static int op_list(struct slurm_backend *base,
                   long long deadline_ms,
                   struct slurm_job **jobs,
                   size_t *count,
                   struct error *err)
{
    struct rest_backend *b = of(base);
    struct rest_snapshot *s;
    int rc = rest_queue_get(b->queue, deadline_ms, &s, err);
    if (rc < 0) return rc;
    size_t n = s->count;
    struct slurm_job *copy = n ? reallocarray(NULL, n, sizeof(*copy)) : NULL;
    if (copy) memcpy(copy, s->jobs, n * sizeof(*copy));
    rest_queue_release(b->queue, s);
    if (n && !copy) return error_set(err, ERR_NOMEM, "jobs: out of memory");
    *jobs = copy;
    *count = n;
    return 0;
}

/* --- doing things --- */

/* What to do was sent, or not; any other failure of a request is as unknown. */
static int order(struct rest_backend *b,
                 struct rest_request *request,
                 long long deadline_ms,
                 struct buf *text,
                 struct rest_answer *answer,
                 struct error *err)
{
    int rc =
        request->version ? 0 : rest_client_version(b->client, deadline_ms, &request->version, err);
    if (rc == 0) rc = rest_client_send(b->client, request, deadline_ms, text, answer, err);
    if (rc != ERR_LIMIT) return rc;
    if (err) err->code = ERR_OUTCOME_UNKNOWN;
    return ERR_OUTCOME_UNKNOWN;
}

/*
 * As the owner, or with `user` NULL as the admin user: anybody else can hang slurmctld 24.11 and
 * later. Without a signal: the job's state is then CANCELLED, else FAILED.
 */
static int cancel_as(
    struct rest_backend *b, uint64_t id, const char *user, long long deadline_ms, struct error *err)
{
    char path[PATH_MAX_LEN];
    struct buf text = BUF_INIT(ANSWER_MAX);
    struct rest_answer answer;
    struct rest_request request = {.method = "DELETE", .path = path, .user = user};
    (void)snprintf(path, sizeof(path), "/job/%" PRIu64, id);
    int rc = order(b, &request, deadline_ms, &text, &answer, err);
    if (rc == 0) rc = as_order(b, rest_decode_cancel(&answer, err), err);
    buf_free(&text);
    return rc;
}

static int op_cancel(struct slurm_backend *base,
                     uint64_t id,
                     const char *user,
                     long long deadline_ms,
                     struct error *err)
{
    int rc = check_user(user, err);
    return rc < 0 ? rc : cancel_as(of(base), id, user, deadline_ms, err);
}

static int op_set_time_limit(struct slurm_backend *base,
                             uint64_t id,
                             uint64_t minutes,
                             long long deadline_ms,
                             struct error *err)
{
    struct rest_backend *b = of(base);
    char path[PATH_MAX_LEN];
    struct buf body = BUF_INIT(64), text = BUF_INIT(ANSWER_MAX);
    struct rest_answer answer;
    struct rest_request request = {.method = "POST", .path = path, .body = &body};
    (void)snprintf(path, sizeof(path), "/job/%" PRIu64, id);
    int rc = rest_client_version(b->client, deadline_ms, &request.version, err);
    if (rc == 0 && (rc = rest_encode_limit(request.version, minutes, &body)) < 0)
        (void)error_set(err, rc, "time limit: %s", err_text(rc));
    if (rc == 0) rc = order(b, &request, deadline_ms, &text, &answer, err);
    if (rc == 0) rc = as_order(b, rest_decode_verdict(&answer, err), err);
    buf_free(&body);
    buf_free(&text);
    return rc;
}

/*
 * Newer versions ignore keys that they do not know: is the job what was asked for? If it is less,
 * it is cancelled and refused. That it cannot be read now says nothing about it.
 */
static int verify(struct rest_backend *b,
                  const struct slurm_job_spec *spec,
                  uint64_t id,
                  long long deadline_ms,
                  struct error *err)
{
    enum { TRIES = 3 };
    struct slurm_job job;
    struct rest_grant grant;
    int rc = get_job(b, id, deadline_ms, &job, &grant, NULL);
    if (rc < 0) return 0;
    rc = rest_check_grant(spec, &job, &grant, err);
    for (int i = 0; rc < 0 && i < TRIES; i++) {
        // It may be another user's, as which nobody here acts.
        const char *owner = strcmp(job.user, spec->user) == 0 ? spec->user : NULL;
        int gone = cancel_as(b, id, owner, deadline_ms, NULL);
        if (gone == 0 || err_class_of(gone) == ERR_CLASS_PERMANENT) break;
    }
    return rc < 0 ? error_prefix(err, "job %" PRIu64, id) : 0;
}

/* No job is meant here: what Slurm says of "a job" is its verdict on this one. */
static int as_submission(struct rest_backend *b, int rc, size_t script_len, struct error *err)
{
    if (rc != ERR_NOTFOUND && rc != ERR_EXISTS && rc != ERR_REFUSED) return as_order(b, rc, err);
    if (err) err->code = ERR_REFUSED;
    // Slurm says so of a script above max_script_size; nothing else that we send can be too long.
    if (err && strstr(err->text, "parameter too long"))
        (void)error_prefix(err, "the script (%zu bytes) is larger than Slurm takes", script_len);
    return ERR_REFUSED;
}

static int send_job(struct rest_backend *b,
                    const struct slurm_job_spec *spec,
                    const struct buf *script,
                    long long deadline_ms,
                    uint64_t *id,
                    struct error *err)
{
    struct passwd_entry entry;
    struct rest_job_env env = {.user = &entry, .host = b->host};
    struct buf body = BUF_INIT(BODY_MAX), text = BUF_INIT(ANSWER_MAX);
    struct rest_answer answer;
    struct rest_request request = {
        .method = "POST", .path = "/job/submit", .user = spec->user, .body = &body, .once = true};
    // slurmctld would run the job of a name that it does not know as nobody.
    int rc = passwd_find(spec->user, &entry, err);
    if (rc == 0) rc = rest_client_version(b->client, deadline_ms, &request.version, err);
    if (rc == 0) rc = rest_encode_submit(request.version, spec, script, &env, &body, err);
    if (rc == 0) rc = order(b, &request, deadline_ms, &text, &answer, err);
    if (rc == 0) rc = as_submission(b, rest_decode_submit(&answer, id, err), script->len, err);
    buf_free(&body);
    buf_free(&text);
    return rc;
}

static int op_submit(struct slurm_backend *base,
                     const struct slurm_job_spec *spec,
                     long long deadline_ms,
                     uint64_t *id,
                     struct error *err)
{
    struct rest_backend *b = of(base);
    struct buf script = BUF_INIT(SCRIPT_MAX);
    uint64_t submitted = 0;
    int rc = slurm_spec_check(spec, err);
    if (rc == 0) rc = script_prepare(spec->script, spec->script_len, &script, err);
    if (rc == 0) rc = send_job(b, spec, &script, deadline_ms, &submitted, err);
    if (rc == 0) rc = verify(b, spec, submitted, deadline_ms, err);
    if (rc == 0) *id = submitted;
    buf_free(&script);
    return rc;
}

/* --- nodes --- */

static int op_nodes(struct slurm_backend *base,
                    const char *partition,
                    long long deadline_ms,
                    struct slurm_node **nodes,
                    size_t *count,
                    struct error *err)
{
    struct buf text = BUF_INIT(LIST_MAX);
    struct rest_answer answer;
    struct rest_scan list;
    struct rest_slice one;
    const struct rest_version *v;
    struct slurm_node node, *found = NULL;
    size_t n = 0;
    bool inside = false;
    int rc = ask(of(base), "/nodes", deadline_ms, &v, &text, &answer, err);
    if (rc == 0) rc = rest_decode_list(&answer, "nodes", &list, err);
    while (rc >= 0 && (rc = rest_scan_next(&list, NULL, &one, err)) > 0) {
        rc = rest_decode_node(one, partition, &node, &inside, err);
        if (rc == 0 && inside) rc = nodes_add(&found, &n, &node);
        if (rc == ERR_NOMEM) (void)error_set(err, rc, "nodes: out of memory");
    }
    buf_free(&text);
    rc = as_question(rc, err);
    if (rc == 0 && n == 0)
        rc = error_set(err, ERR_NOTFOUND, "there are no nodes in partition %s", partition);
    if (rc < 0) {
        free(found);
        return rc;
    }
    *nodes = found;
    *count = n;
    return 0;
}

/* --- making one --- */

static void op_destroy(struct slurm_backend *base)
{
    struct rest_backend *b = of(base);
    if (!b) return;
    (void)rest_queue_destroy(b->queue);
    (void)rest_client_destroy(b->client);
    free(b);
}

static const struct slurm_backend_ops ops = {
    .name = "rest",
    .ping = op_ping,
    .user_exists = op_user_exists,
    .submit = op_submit,
    .find = op_find,
    .query = op_query,
    .list = op_list,
    .cancel = op_cancel,
    .set_time_limit = op_set_time_limit,
    .nodes = op_nodes,
    .destroy = op_destroy,
};

struct slurm_backend *slurm_rest_new(const struct slurm_rest_options *o, struct error *err)
{
    const char *admin = o->admin_user && *o->admin_user ? o->admin_user : "root";
    struct rest_backend *b = NULL;
    if (!o->endpoint || (strcmp(admin, "root") != 0 && !users_name_ok(admin))) {
        (void)error_set(err, ERR_INVALID, "slurmrestd: endpoint or admin user is missing or bad");
        return NULL;
    }
    struct rest_auth *auth = rest_auth_new(&o->jwt_key, o->token_file, err);
    struct rest_client *client =
        auth ? rest_client_new(o->endpoint, o->ca, admin, auth, err) : NULL;
    if (!client) return NULL;
    b = calloc(1, sizeof(*b));
    if (b) {
        b->base.ops = &ops;
        b->client = client;
        b->queue = rest_queue_new(fetch_queue, b);
        if (gethostname(b->host, sizeof(b->host) - 1) < 0) b->host[0] = '\0';
        if (b->queue) return &b->base;
        op_destroy(&b->base);
    } else {
        (void)rest_client_destroy(client);
    }
    (void)error_set(err, ERR_NOMEM, "slurmrestd: out of memory");
    return NULL;
}
