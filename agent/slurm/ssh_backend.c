/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/ssh_backend.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/slurm/nodes.h"
#include "agent/slurm/script.h"
#include "agent/slurm/squeue.h"
#include "agent/slurm/ssh_pool.h"
#include "agent/slurm/users.h"
#include "agent/slurm/verdict.h"
#include "agent/util/clock.h"
#include "agent/util/parse.h"

enum {
    QUERY_IDS_MAX = 1000,    // per squeue: 11 KB of command line, 700 KB of answer
    FIND_JOBS_MAX = 1000,    // of one name and user; more is a user's mischief
    SHORT_OUTPUT = 4 * 1024, // of commands whose output we hardly read
    SCRIPT_MAX = 64 << 20,   // our own memory; Slurm's limit is far below
    NODES_MAX = 32 << 20,    // bytes, 1 KB a node
    ARGS_MAX = 24,
};

static const char job_mark[] = "supervisor ";

enum tool { SBATCH, SCANCEL, SQUEUE, SCONTROL, TOOL_COUNT };
static const char *const tool_names[TOOL_COUNT] = {"sbatch", "scancel", "squeue", "scontrol"};

struct ssh_backend {
    struct slurm_backend base;
    struct ssh_pool *pool;
    char *admin_user;
    char *paths[TOOL_COUNT];
};

static struct ssh_backend *of(struct slurm_backend *b)
{
    return (struct ssh_backend *)b;
}

/* --- arguments --- */

struct args {
    const char *argv[ARGS_MAX + 1];
    char *owned[ARGS_MAX];
    size_t count;
    bool failed;
};

__attribute__((format(printf, 2, 3))) static void args_add(struct args *a, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (a->count == ARGS_MAX || vasprintf(&text, fmt, ap) < 0) {
        a->failed = true;
    } else {
        a->argv[a->count] = text;
        a->owned[a->count++] = text;
    }
    va_end(ap);
}

static void args_free(struct args *a)
{
    for (size_t i = 0; i < a->count; i++)
        free(a->owned[i]);
}

/* --- running --- */

struct job_command {
    enum tool tool;
    const char *user;
    const void *input;
    size_t input_len;
    size_t output_max;
};

/* Run it; takes the arguments. 0 with the result (to be freed), whatever its exit status. */
static int run(struct ssh_backend *b,
               struct args *args,
               const struct job_command *cmd,
               long long deadline_ms,
               struct sshc_result *result,
               struct error *err)
{
    struct sshc_call call = {
        .argv = args->argv,
        .input = cmd->input,
        .input_len = cmd->input_len,
        .output_max = cmd->output_max,
    };
    int rc = args->failed ? error_set(err, ERR_NOMEM, "command: out of memory")
                          : ssh_pool_run(b->pool, cmd->user, &call, deadline_ms, result, err);
    args_free(args);
    return rc;
}

static void result_free(struct sshc_result *result)
{
    buf_free(&result->out);
    buf_free(&result->errs);
}

/* What a failed command says; -1 (a signal) counts as killed. */
static int
verdict(struct ssh_backend *b, enum tool tool, const struct sshc_result *result, struct error *err)
{
    int status = result->exit_status < 0 ? 128 + 9 : result->exit_status;
    bool own_lines = tool == SBATCH || tool == SCANCEL;
    return verdict_of(
        tool_names[tool], b->paths[tool], own_lines, status, buf_str(&result->errs), err);
}

/* A question has no outcome that could be unknown: it can simply be asked again. */
static int as_question(int rc, struct error *err)
{
    if (rc >= 0 || rc == ERR_NOMEM || rc == ERR_INVALID || rc == ERR_PROTO) return rc;
    if (err) err->code = ERR_UNAVAILABLE;
    return ERR_UNAVAILABLE;
}

static int check_user(const char *user, struct error *err)
{
    if (users_name_ok(user)) return 0;
    return error_set(err, ERR_INVALID, "\"%.64s\" is no user name", user);
}

/* --- operations --- */

static int op_ping(struct slurm_backend *base, long long deadline_ms, struct error *err)
{
    struct ssh_backend *b = of(base);
    struct args args = {0};
    struct sshc_result result;
    args_add(&args, "%s", b->paths[SCONTROL]);
    args_add(&args, "ping");
    struct job_command cmd = {SCONTROL, b->admin_user, NULL, 0, SHORT_OUTPUT};
    int rc = run(b, &args, &cmd, deadline_ms, &result, err);
    if (rc < 0) return as_question(rc, err);
    // With several controllers one that is up is enough; the exit status says that from 20.11 on.
    if (result.exit_status != 0 || !strstr(buf_str(&result.out), " UP")) {
        size_t len = strcspn(buf_str(&result.out), "\n");
        if (len)
            rc = error_set(err, ERR_UNAVAILABLE, "%.*s", (int)len, buf_str(&result.out));
        else
            rc = as_question(verdict(b, SCONTROL, &result, err), err);
    }
    result_free(&result);
    return rc;
}

static int op_user_exists(struct slurm_backend *base,
                          const char *user,
                          long long deadline_ms,
                          struct error *err)
{
    enum { GETENT_NO_KEY = 2 };
    struct ssh_backend *b = of(base);
    struct args args = {0};
    struct sshc_result result;
    int rc = check_user(user, err);
    if (rc < 0) return rc;
    args_add(&args, "getent");
    args_add(&args, "passwd");
    args_add(&args, "--");
    args_add(&args, "%s", user);
    struct job_command cmd = {TOOL_COUNT, b->admin_user, NULL, 0, SHORT_OUTPUT};
    rc = run(b, &args, &cmd, deadline_ms, &result, err);
    if (rc < 0) return as_question(rc, err);
    if (result.exit_status == GETENT_NO_KEY)
        rc = error_set(err, ERR_NOTFOUND, "there is no user %s on the login node", user);
    else if (result.exit_status != 0)
        rc = as_question(
            verdict_of("getent", "getent", false, result.exit_status, buf_str(&result.errs), err),
            err);
    result_free(&result);
    return rc;
}

/*
 * Bounds of what sbatch is given. 0 means "no limit" to sbatch for a time and "all of the node" for
 * memory, and it wraps numbers that are too big, so that what it would do is not what was paid for.
 */
static int check_spec(const struct slurm_job_spec *s, struct error *err)
{
    const struct {
        const char *name;
        uint64_t value, min, max;
    } table[] = {
        {"ntasks", s->ntasks, 1, 1 << 30},
        {"cpus per task", s->cpus_per_task, 1, 0xfff0},            // 16 bits in Slurm
        {"memory per cpu (MB)", s->mem_per_cpu_mb, 1, 1ULL << 40}, // bit 63 is a flag
        {"gpus", s->gpus, 0, 1 << 30},
        {"time limit (minutes)", s->time_limit_min, 1, 366 * 24 * 60 * 10}, // ten years
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].value < table[i].min || table[i].value > table[i].max)
            return error_set(err,
                             ERR_INVALID,
                             "%s: %" PRIu64 " is out of range (%" PRIu64 " to %" PRIu64 ")",
                             table[i].name,
                             table[i].value,
                             table[i].min,
                             table[i].max);
    if (strlen(s->name) >= SLURM_NAME_MAX || strlen(s->comment) >= SLURM_COMMENT_MAX ||
        strncmp(s->comment, job_mark, sizeof(job_mark) - 1) != 0)
        return error_set(err, ERR_INVALID, "job name or comment is not one of ours");
    return check_user(s->user, err);
}

/* The id on the last line of sbatch --parsable ("<id>" or "<id>;<cluster>"); 0 if there is none. */
static uint64_t parse_submitted(const char *out)
{
    char line[64];
    uint64_t id;
    size_t len = strlen(out);
    while (len && (out[len - 1] == '\n' || out[len - 1] == '\r'))
        len--;
    size_t start = len;
    while (start && out[start - 1] != '\n')
        start--;
    size_t n = strcspn(out + start, ";\r\n");
    if (n > len - start) n = len - start;
    if (n == 0 || n >= sizeof(line)) return 0;
    memcpy(line, out + start, n);
    line[n] = '\0';
    return parse_u64(line, UINT32_MAX, &id) < 0 ? 0 : id;
}

static void sleep_until(long long deadline_ms)
{
    struct timespec ts = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) != 0)
        ;
}

static void submit_args(struct ssh_backend *b, const struct slurm_job_spec *s, struct args *args)
{
    args_add(args, "%s", b->paths[SBATCH]);
    args_add(args, "--parsable");
    args_add(args, "--ignore-pbs");
    args_add(args, "--no-requeue");
    args_add(args, "--job-name=%s", s->name);
    args_add(args, "--comment=%s", s->comment);
    args_add(args, "--partition=%s", s->partition);
    args_add(args, "--output=%s", s->output);
    args_add(args, "--ntasks=%" PRIu64, s->ntasks);
    args_add(args, "--cpus-per-task=%" PRIu64, s->cpus_per_task);
    args_add(args, "--mem-per-cpu=%" PRIu64 "M", s->mem_per_cpu_mb);
    if (s->gpus) args_add(args, "--gpus=%" PRIu64, s->gpus);
    args_add(args, "--time=%" PRIu64, s->time_limit_min);
}

/* No job is meant here: what Slurm says of "a job" is its verdict on this one. */
static int as_submission(int rc, size_t script_len, struct error *err)
{
    if (rc != ERR_NOTFOUND && rc != ERR_EXISTS && rc != ERR_REFUSED) return rc;
    if (err) err->code = ERR_REFUSED;
    // sbatch says so of a script above max_script_size; nothing else that we send can be too long.
    if (err && strstr(err->text, "parameter too long"))
        (void)error_prefix(err, "the script (%zu bytes) is larger than Slurm takes", script_len);
    return ERR_REFUSED;
}

static int op_submit(struct slurm_backend *base,
                     const struct slurm_job_spec *spec,
                     long long deadline_ms,
                     uint64_t *id,
                     struct error *err)
{
    struct ssh_backend *b = of(base);
    struct args args = {0};
    struct buf script = BUF_INIT(SCRIPT_MAX);
    struct sshc_result result;
    int rc = check_spec(spec, err);
    if (rc == 0) rc = script_prepare(spec->script, spec->script_len, &script, err);
    if (rc < 0) goto out;

    submit_args(b, spec, &args);
    struct job_command cmd = {SBATCH, spec->user, script.data, script.len, SHORT_OUTPUT};
    rc = run(b, &args, &cmd, deadline_ms, &result, err);
    if (rc == ERR_OUTCOME_UNKNOWN) sleep_until(deadline_ms); // until the peer has killed sbatch
    if (rc < 0) goto out;
    uint64_t submitted = parse_submitted(buf_str(&result.out));
    if (result.exit_status != 0)
        rc = as_submission(verdict(b, SBATCH, &result, err), script.len, err);
    else if (submitted == 0)
        rc = error_set(
            err, ERR_OUTCOME_UNKNOWN, "sbatch gave no job id: \"%.100s\"", buf_str(&result.out));
    else
        *id = submitted;
    result_free(&result);
out:
    buf_free(&script);
    return rc;
}

/* squeue with these more arguments (taken); 0 with the records, ERR_NOTFOUND for an unknown id. */
static int ask_squeue(struct ssh_backend *b,
                      struct args *args,
                      size_t jobs_max,
                      long long deadline_ms,
                      struct sshc_result *result,
                      const char **records,
                      struct error *err)
{
    struct job_command cmd = {
        SQUEUE, b->admin_user, NULL, 0, SHORT_OUTPUT + jobs_max * SQUEUE_RECORD_MAX};
    int rc = run(b, args, &cmd, deadline_ms, result, err);
    if (rc < 0) return as_question(rc, err);
    // An unknown --user is an error without an exit status (22.05), and the list then is empty.
    if (result->exit_status != 0 || strstr(buf_str(&result->errs), "squeue: error: ")) {
        rc = verdict(b, SQUEUE, result, err);
        if (rc != ERR_NOTFOUND || result->exit_status == 0) rc = as_question(rc, err);
    } else if (result->truncated || strlen(buf_str(&result->out)) != result->out.len) {
        rc = error_set(err, ERR_PROTO, "squeue: more than %zu jobs, or a NUL", jobs_max);
    } else if (!(*records = squeue_records(buf_str(&result->out)))) {
        rc =
            error_set(err, ERR_PROTO, "squeue: unexpected output \"%.60s\"", buf_str(&result->out));
    }
    if (rc < 0) result_free(result);
    return rc;
}

static void squeue_args(struct ssh_backend *b, struct args *args)
{
    args_add(args, "SLURM_TIME_FORMAT=%%s");
    args_add(args, "%s", b->paths[SQUEUE]);
    args_add(args, "--all"); // hidden partitions, and those closed to the admin user
    args_add(args, "--local");
    args_add(args, "--states=all");
    args_add(args, "--Format=%s", SQUEUE_FORMAT);
}

static int op_find(struct slurm_backend *base,
                   const char *name,
                   const char *user,
                   long long deadline_ms,
                   struct slurm_job *job,
                   struct error *err)
{
    struct ssh_backend *b = of(base);
    struct args args = {0};
    struct sshc_result result;
    struct slurm_job one, newest = {0};
    const char *at = NULL;
    bool found = false;
    int rc = check_user(user, err);
    if (rc < 0) return rc;
    squeue_args(b, &args);
    // By name: squeue complains, rather than finds nothing, where the name service fails.
    args_add(&args, "--user=%s", user);
    args_add(&args, "--name=%s", name);
    rc = ask_squeue(b, &args, FIND_JOBS_MAX, deadline_ms, &result, &at, err);
    if (rc < 0) return as_question(rc, err);
    while ((rc = squeue_next(&at, &one, err)) > 0) {
        if (strcmp(one.name, name) != 0 || strncmp(one.comment, job_mark, strlen(job_mark)) != 0)
            continue;
        if (!found || one.submit_s > newest.submit_s ||
            (one.submit_s == newest.submit_s && one.id > newest.id))
            newest = one;
        found = true;
    }
    if (rc == 0 && !found)
        rc = error_set(err, ERR_NOTFOUND, "user %s has no job %s in the queue", user, name);
    if (rc == 0) {
        *job = newest;
        (void)snprintf(job->user, sizeof(job->user), "%s", user);
    }
    result_free(&result);
    return rc;
}

static bool is_asked(const uint64_t *ids, size_t count, uint64_t id)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

/* At most QUERY_IDS_MAX ids; appends to jobs[*found]. */
static int query_some(struct ssh_backend *b,
                      const uint64_t *ids,
                      size_t count,
                      long long deadline_ms,
                      struct slurm_job *jobs,
                      size_t *found,
                      struct error *err)
{
    struct args args = {0};
    struct sshc_result result;
    struct slurm_job one;
    const char *at = NULL;
    struct buf list = BUF_INIT(QUERY_IDS_MAX * 21);
    for (size_t i = 0; i < count; i++)
        (void)buf_putf(&list, "%s%" PRIu64, i ? "," : "", ids[i]);
    squeue_args(b, &args);
    args_add(&args, "--jobs=%s", buf_str(&list));
    if (buf_error(&list)) args.failed = true;
    buf_free(&list);
    int rc = ask_squeue(b, &args, count, deadline_ms, &result, &at, err);
    if (rc == ERR_NOTFOUND && count == 1) return 0; // squeue's way to say "none" to a single id
    if (rc < 0) return as_question(rc, err);
    size_t n = 0;
    while ((rc = squeue_next(&at, &one, err)) > 0)
        if (n < count && is_asked(ids, count, one.id)) jobs[*found + n++] = one;
    if (rc == 0) *found += n;
    result_free(&result);
    return rc;
}

static int op_query(struct slurm_backend *base,
                    const uint64_t *ids,
                    size_t count,
                    long long deadline_ms,
                    struct slurm_job *jobs,
                    size_t *found,
                    struct error *err)
{
    size_t sum = 0;
    for (size_t at = 0; at < count; at += QUERY_IDS_MAX) {
        size_t n = count - at < QUERY_IDS_MAX ? count - at : QUERY_IDS_MAX;
        int rc = query_some(of(base), ids + at, n, deadline_ms, jobs, &sum, err);
        if (rc < 0) return rc;
    }
    *found = sum;
    return 0;
}

static int op_cancel(struct slurm_backend *base,
                     uint64_t id,
                     const char *user,
                     long long deadline_ms,
                     struct error *err)
{
    struct ssh_backend *b = of(base);
    struct args args = {0};
    struct sshc_result result;
    int rc = check_user(user, err);
    if (rc < 0) return rc;
    args_add(&args, "%s", b->paths[SCANCEL]);
    args_add(&args, "%" PRIu64, id);
    struct job_command cmd = {SCANCEL, user, NULL, 0, SHORT_OUTPUT};
    rc = run(b, &args, &cmd, deadline_ms, &result, err);
    if (rc < 0) return rc;
    if (result.exit_status != 0) rc = verdict(b, SCANCEL, &result, err);
    if (rc == ERR_EXISTS || rc == ERR_NOTFOUND) rc = 0; // it has ended, now or long ago
    result_free(&result);
    return rc;
}

static int op_set_time_limit(struct slurm_backend *base,
                             uint64_t id,
                             uint64_t minutes,
                             long long deadline_ms,
                             struct error *err)
{
    struct ssh_backend *b = of(base);
    struct args args = {0};
    struct sshc_result result;
    args_add(&args, "%s", b->paths[SCONTROL]);
    args_add(&args, "update");
    args_add(&args, "JobId=%" PRIu64, id);
    args_add(&args, "TimeLimit=%" PRIu64, minutes);
    struct job_command cmd = {SCONTROL, b->admin_user, NULL, 0, SHORT_OUTPUT};
    int rc = run(b, &args, &cmd, deadline_ms, &result, err);
    if (rc < 0) return rc;
    if (result.exit_status != 0) rc = verdict(b, SCONTROL, &result, err);
    result_free(&result);
    return rc;
}

static int op_nodes(struct slurm_backend *base,
                    const char *partition,
                    long long deadline_ms,
                    struct slurm_node **nodes,
                    size_t *count,
                    struct error *err)
{
    struct ssh_backend *b = of(base);
    struct args args = {0};
    struct sshc_result result;
    args_add(&args, "%s", b->paths[SCONTROL]);
    args_add(&args, "--all"); // hidden partitions
    args_add(&args, "--oneliner");
    args_add(&args, "show");
    args_add(&args, "node");
    struct job_command cmd = {SCONTROL, b->admin_user, NULL, 0, NODES_MAX};
    int rc = run(b, &args, &cmd, deadline_ms, &result, err);
    if (rc < 0) return as_question(rc, err);
    if (result.exit_status != 0)
        rc = as_question(verdict(b, SCONTROL, &result, err), err);
    else if (result.truncated)
        rc = error_set(err, ERR_PROTO, "scontrol: more than %d bytes of nodes", NODES_MAX);
    else
        rc = nodes_parse(buf_str(&result.out), partition, nodes, count, err);
    result_free(&result);
    return rc;
}

static void op_destroy(struct slurm_backend *base)
{
    struct ssh_backend *b = of(base);
    if (!b) return;
    (void)ssh_pool_destroy(b->pool);
    for (size_t i = 0; i < TOOL_COUNT; i++)
        free(b->paths[i]);
    free(b->admin_user);
    free(b);
}

static const struct slurm_backend_ops ops = {
    .name = "ssh",
    .ping = op_ping,
    .user_exists = op_user_exists,
    .submit = op_submit,
    .find = op_find,
    .query = op_query,
    .cancel = op_cancel,
    .set_time_limit = op_set_time_limit,
    .nodes = op_nodes,
    .destroy = op_destroy,
};

/* --- making one --- */

static int
check_options(const struct slurm_ssh_options *o, struct sshc_target *target, struct error *err)
{
    if (!o->address || parse_hostport(o->address, &target->address) < 0 ||
        !target->address.host[0] || target->address.port == 0)
        return error_set(err,
                         ERR_INVALID,
                         "SSH address \"%.64s\": expected host:port",
                         o->address ? o->address : "");
    if (!o->admin_user || !*o->admin_user || strpbrk(o->admin_user, " \t@:/'\"\\"))
        return error_set(err, ERR_INVALID, "Slurm admin user: no user name");
    if (o->connect_timeout_ms <= 0)
        return error_set(err, ERR_INVALID, "SSH connect timeout: must be above 0");
    return sshc_key_load(&o->private_key, &target->key, err);
}

static int fill(struct ssh_backend *b, const struct slurm_ssh_options *o)
{
    const char *paths[TOOL_COUNT] = {o->sbatch, o->scancel, o->squeue, o->scontrol};
    b->base.ops = &ops;
    b->admin_user = strdup(o->admin_user);
    if (!b->admin_user) return ERR_NOMEM;
    for (size_t i = 0; i < TOOL_COUNT; i++) {
        b->paths[i] = strdup(paths[i] && *paths[i] ? paths[i] : tool_names[i]);
        if (!b->paths[i]) return ERR_NOMEM;
    }
    return 0;
}

struct slurm_backend *slurm_ssh_new(const struct slurm_ssh_options *options, struct error *err)
{
    struct sshc_target target = {
        .known_hosts = options->known_hosts && *options->known_hosts ? options->known_hosts : NULL,
        .insecure = options->insecure,
        .connect_timeout_ms = options->connect_timeout_ms,
    };
    struct ssh_backend *b = NULL;
    int rc = check_options(options, &target, err);
    if (rc < 0) goto out;
    b = calloc(1, sizeof(*b));
    rc = b ? fill(b, options) : ERR_NOMEM;
    if (rc < 0) {
        (void)error_set(err, rc, "SSH backend: out of memory");
        goto out;
    }
    b->pool = ssh_pool_new(&target, options->idle_ms ? options->idle_ms : SSH_POOL_IDLE_MS, err);
    if (!b->pool) rc = ERR_NOMEM;
out:
    secret_wipe(&target.key);
    if (rc == 0) return &b->base;
    op_destroy(b ? &b->base : NULL);
    return NULL;
}

struct ssh_pool *slurm_ssh_pool(struct slurm_backend *backend)
{
    return of(backend)->pool;
}
