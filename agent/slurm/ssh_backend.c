/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/ssh_backend.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/slurm/nodes.h"
#include "agent/slurm/script.h"
#include "agent/slurm/spec.h"
#include "agent/slurm/ssh_command.h"
#include "agent/slurm/ssh_lookup.h"
#include "agent/slurm/users.h"
#include "agent/slurm/verdict.h"
#include "agent/util/parse.h"

enum {
    SCRIPT_MAX = 64 << 20,   // our own memory; Slurm's limit is far below
    NODES_MAX = 32 << 20,    // bytes, 1 KB a node
    PARTITION_MAX = 1 << 20, // bytes: lists of nodes, groups, accounts
};

/* --- operations --- */

static int op_ping(struct slurm_backend *base, long long deadline_ms, struct error *err)
{
    struct ssh_backend *b = ssh_backend_of(base);
    struct ssh_args args = {0};
    struct sshc_result result;
    ssh_args_add(&args, "%s", b->paths[SSH_SCONTROL]);
    ssh_args_add(&args, "ping");
    struct ssh_command cmd = {SSH_SCONTROL, b->admin_user, NULL, 0, SSH_SHORT_OUTPUT};
    int rc = ssh_run(b, &args, &cmd, deadline_ms, &result, err);
    if (rc < 0) return ssh_as_question(rc, err);
    // With several controllers one that is up is enough; the exit status says that from 20.11 on.
    if (result.exit_status != 0 || !strstr(buf_str(&result.out), " UP")) {
        size_t len = strcspn(buf_str(&result.out), "\n");
        if (len)
            rc = error_set(err, ERR_UNAVAILABLE, "%.*s", (int)len, buf_str(&result.out));
        else
            rc = ssh_as_question(ssh_verdict(b, SSH_SCONTROL, &result, err), err);
    }
    ssh_result_free(&result);
    return rc;
}

static int op_user_exists(struct slurm_backend *base,
                          const char *user,
                          long long deadline_ms,
                          struct error *err)
{
    enum { GETENT_NO_KEY = 2 };
    struct ssh_backend *b = ssh_backend_of(base);
    struct ssh_args args = {0};
    struct sshc_result result;
    int rc = users_check_name(user, err);
    if (rc < 0) return rc;
    ssh_args_add(&args, "getent");
    ssh_args_add(&args, "passwd");
    ssh_args_add(&args, "--");
    ssh_args_add(&args, "%s", user);
    struct ssh_command cmd = {SSH_TOOL_COUNT, b->admin_user, NULL, 0, SSH_SHORT_OUTPUT};
    rc = ssh_run(b, &args, &cmd, deadline_ms, &result, err);
    if (rc < 0) return ssh_as_question(rc, err);
    if (result.exit_status == GETENT_NO_KEY)
        rc = error_set(err, ERR_NOTFOUND, "there is no user %s on the login node", user);
    else if (result.exit_status != 0)
        rc = ssh_as_question(
            verdict_of("getent", "getent", false, result.exit_status, buf_str(&result.errs), err),
            err);
    ssh_result_free(&result);
    return rc;
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

static void
submit_args(struct ssh_backend *b, const struct slurm_job_spec *s, struct ssh_args *args)
{
    ssh_args_add(args, "%s", b->paths[SSH_SBATCH]);
    ssh_args_add(args, "--parsable");
    ssh_args_add(args, "--ignore-pbs");
    ssh_args_add(args, "--no-requeue");
    ssh_args_add(args, "--job-name=%s", s->name);
    ssh_args_add(args, "--comment=%s", s->comment);
    ssh_args_add(args, "--partition=%s", s->partition);
    ssh_args_add(args, "--output=%s", s->output);
    ssh_args_add(args, "--ntasks=%" PRIu64, s->ntasks);
    ssh_args_add(args, "--cpus-per-task=%" PRIu64, s->cpus_per_task);
    ssh_args_add(args, "--mem-per-cpu=%" PRIu64 "M", s->mem_per_cpu_mb);
    if (s->gpus) ssh_args_add(args, "--gpus=%" PRIu64, s->gpus);
    ssh_args_add(args, "--time=%" PRIu64, s->time_limit_min);
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
    struct ssh_backend *b = ssh_backend_of(base);
    struct ssh_args args = {0};
    struct buf script = BUF_INIT(SCRIPT_MAX);
    struct sshc_result result;
    int rc = slurm_spec_check(spec, err);
    if (rc == 0) rc = script_prepare(spec->script, spec->script_len, &script, err);
    if (rc < 0) goto out;

    submit_args(b, spec, &args);
    struct ssh_command cmd = {SSH_SBATCH, spec->user, script.data, script.len, SSH_SHORT_OUTPUT};
    rc = ssh_run(b, &args, &cmd, deadline_ms, &result, err);
    if (rc == ERR_OUTCOME_UNKNOWN) sleep_until(deadline_ms); // until the peer has killed sbatch
    if (rc < 0) goto out;
    uint64_t submitted = parse_submitted(buf_str(&result.out));
    if (result.exit_status != 0)
        rc = as_submission(ssh_verdict(b, SSH_SBATCH, &result, err), script.len, err);
    else if (submitted == 0)
        rc = error_set(
            err, ERR_OUTCOME_UNKNOWN, "sbatch gave no job id: \"%.100s\"", buf_str(&result.out));
    else
        *id = submitted;
    ssh_result_free(&result);
out:
    buf_free(&script);
    return rc;
}

static int op_cancel(struct slurm_backend *base,
                     uint64_t id,
                     const char *user,
                     long long deadline_ms,
                     struct error *err)
{
    struct ssh_backend *b = ssh_backend_of(base);
    struct ssh_args args = {0};
    struct sshc_result result;
    int rc = users_check_name(user, err);
    if (rc < 0) return rc;
    ssh_args_add(&args, "%s", b->paths[SSH_SCANCEL]);
    ssh_args_add(&args, "%" PRIu64, id);
    struct ssh_command cmd = {SSH_SCANCEL, user, NULL, 0, SSH_SHORT_OUTPUT};
    rc = ssh_run(b, &args, &cmd, deadline_ms, &result, err);
    if (rc < 0) return rc;
    if (result.exit_status != 0) rc = ssh_verdict(b, SSH_SCANCEL, &result, err);
    if (rc == ERR_EXISTS || rc == ERR_NOTFOUND) rc = 0; // it has ended, now or long ago
    ssh_result_free(&result);
    return rc;
}

static int op_set_time_limit(struct slurm_backend *base,
                             uint64_t id,
                             uint64_t minutes,
                             long long deadline_ms,
                             struct error *err)
{
    struct ssh_backend *b = ssh_backend_of(base);
    struct ssh_args args = {0};
    struct sshc_result result;
    ssh_args_add(&args, "%s", b->paths[SSH_SCONTROL]);
    ssh_args_add(&args, "update");
    ssh_args_add(&args, "JobId=%" PRIu64, id);
    ssh_args_add(&args, "TimeLimit=%" PRIu64, minutes);
    struct ssh_command cmd = {SSH_SCONTROL, b->admin_user, NULL, 0, SSH_SHORT_OUTPUT};
    int rc = ssh_run(b, &args, &cmd, deadline_ms, &result, err);
    if (rc < 0) return rc;
    if (result.exit_status != 0) rc = ssh_verdict(b, SSH_SCONTROL, &result, err);
    ssh_result_free(&result);
    return rc;
}

/* One line for each node, or for the partition `name`. The result is to be freed if it is 0. */
static int show(struct ssh_backend *b,
                const char *what,
                const char *name,
                size_t max_bytes,
                long long deadline_ms,
                struct sshc_result *result,
                struct error *err)
{
    struct ssh_args args = {0};
    ssh_args_add(&args, "%s", b->paths[SSH_SCONTROL]);
    ssh_args_add(&args, "--all"); // hidden partitions
    ssh_args_add(&args, "--oneliner");
    ssh_args_add(&args, "--details"); // GresUsed
    ssh_args_add(&args, "show");
    ssh_args_add(&args, "%s", what);
    if (name) ssh_args_add(&args, "%s", name);
    struct ssh_command cmd = {SSH_SCONTROL, b->admin_user, NULL, 0, max_bytes};
    int rc = ssh_run(b, &args, &cmd, deadline_ms, result, err);
    if (rc < 0) return ssh_as_question(rc, err);
    if (result->exit_status != 0)
        rc = ssh_as_question(ssh_verdict(b, SSH_SCONTROL, result, err), err);
    else if (result->truncated)
        rc = error_set(err, ERR_PROTO, "scontrol show %s: more than %zu bytes", what, max_bytes);
    if (rc < 0) ssh_result_free(result);
    return rc;
}

static int op_partition(struct slurm_backend *base,
                        const char *name,
                        long long deadline_ms,
                        struct slurm_partition *partition,
                        struct error *err)
{
    struct ssh_backend *b = ssh_backend_of(base);
    struct slurm_partition found = {0};
    struct sshc_result result;
    int rc = show(b, "node", NULL, NODES_MAX, deadline_ms, &result, err);
    if (rc < 0) return rc;
    rc = nodes_parse(buf_str(&result.out), name, &found.nodes, &found.count, err);
    ssh_result_free(&result);
    if (rc < 0) return rc;
    rc = show(b, "partition", name, PARTITION_MAX, deadline_ms, &result, err);
    if (rc == 0) {
        rc = nodes_parse_max_time(buf_str(&result.out), name, &found.max_time_min, err);
        ssh_result_free(&result);
    }
    if (rc == 0)
        *partition = found;
    else
        free(found.nodes);
    return rc;
}

static void op_destroy(struct slurm_backend *base)
{
    struct ssh_backend *b = ssh_backend_of(base);
    if (!b) return;
    (void)ssh_pool_destroy(b->pool);
    for (size_t i = 0; i < SSH_TOOL_COUNT; i++)
        free(b->paths[i]);
    free(b->admin_user);
    free(b);
}

static const struct slurm_backend_ops ops = {
    .name = "ssh",
    .ping = op_ping,
    .user_exists = op_user_exists,
    .submit = op_submit,
    .find = ssh_find,
    .query = ssh_query,
    .list = ssh_list,
    .cancel = op_cancel,
    .set_time_limit = op_set_time_limit,
    .partition = op_partition,
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
    const char *paths[SSH_TOOL_COUNT] = {
        [SSH_SBATCH] = o->sbatch,
        [SSH_SCANCEL] = o->scancel,
        [SSH_SQUEUE] = o->squeue,
        [SSH_SCONTROL] = o->scontrol,
        [SSH_SACCT] = o->sacct,
    };
    const char *slash = o->sacct ? strrchr(o->sacct, '/') : NULL;
    b->base.ops = &ops;
    b->admin_user = strdup(o->admin_user);
    if (!b->admin_user) return ERR_NOMEM;
    // Of one package with sacct, and asked for its sake only: not worth an option.
    if (slash &&
        asprintf(&b->paths[SSH_SDIAG], "%.*s/sdiag", (int)(slash - o->sacct), o->sacct) < 0) {
        b->paths[SSH_SDIAG] = NULL;
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < SSH_TOOL_COUNT; i++) {
        if (b->paths[i]) continue;
        b->paths[i] = strdup(paths[i] && *paths[i] ? paths[i] : ssh_tool_names[i]);
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
    return ssh_backend_of(backend)->pool;
}
