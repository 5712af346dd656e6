/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A backend of Slurm on the command line, for tests against a real one:
 *   backend_tool [NAME=VALUE]... < commands
 * Names: timeout (ms), endpoint, ca, key, token, admin; ssh, ssh-admin, ssh-key, known-hosts. With
 * both an endpoint and ssh it is auto. A line for each command, "NAME-OF-CODE what": ping, user U,
 * submit NAME U TASKS CPUS MB GPUS MINUTES PARTITION, find NAME U, query ID..., proof ID... (query,
 * and what it proves), list, cancel ID U, limit ID MINUTES, partition NAME, once NAME U (as the
 * engine submits: find, submit, and on an unknown outcome find again), sleep MS, changes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/slurm/auto.h"
#include "agent/slurm/rest_backend.h"
#include "agent/slurm/ssh_backend.h"
#include "agent/util/clock.h"
#include "agent/util/parse.h"

enum { WORDS_MAX = 256, LINE_MAX_LEN = 8192 };

static const char script[] = "#!/bin/sh\nsleep 1\nprintf '\377\376 \001\\t\303\251'\n";
static long long timeout_ms = 10000;

static const char *code_name(int code)
{
    switch (code) {
#define ERR(name, value, text, class) \
    case value:                       \
        return #name;
#include "agent/util/err.def"
#undef ERR
    default:
        return "OK";
    }
}

static long long deadline(void)
{
    return clock_mono_ms() + timeout_ms;
}

static uint64_t number(const char *text)
{
    uint64_t value = 0;
    if (!text || parse_u64(text, INT64_MAX, &value) < 0) {
        (void)fprintf(stderr, "backend_tool: bad number\n");
        exit(2);
    }
    return value;
}

static void say(int rc, const struct error *err, const char *what)
{
    (void)printf("%s %s\n", code_name(rc), rc < 0 ? err->text : what);
    (void)fflush(stdout);
}

static void job_text(const struct slurm_job *j, char *text, size_t size)
{
    (void)snprintf(text,
                   size,
                   "id=%" PRIu64
                   " state=%s phase=%d user=%s name=%s comment=%s wait=%u submit=%" PRId64
                   " start=%" PRId64 " end=%" PRId64 " limit=%" PRIu64,
                   j->id,
                   slurm_state_name(j->state),
                   (int)slurm_phase_of(j->state),
                   j->user,
                   j->name,
                   j->comment,
                   j->wait_status,
                   j->submit_s,
                   j->start_s,
                   j->end_s,
                   j->limit_min);
}

static int submit(struct slurm_backend *b, char **w, uint64_t *id, struct error *err)
{
    struct slurm_job_spec spec = {
        .name = w[1],
        .user = w[2],
        .comment = "supervisor test:1",
        .output = "tool-%j.out",
        .script = script,
        .script_len = sizeof(script) - 1,
        .ntasks = w[3] ? number(w[3]) : 1,
        .cpus_per_task = w[3] ? number(w[4]) : 1,
        .mem_per_cpu_mb = w[3] ? number(w[5]) : 10,
        .gpus = w[3] ? number(w[6]) : 0,
        .time_limit_min = w[3] ? number(w[7]) : 5,
        .partition = w[3] ? w[8] : "main",
    };
    return b->ops->submit(b, &spec, deadline(), id, err);
}

static void once(struct slurm_backend *b, char **w)
{
    struct slurm_job job;
    struct error err = {0};
    char text[128];
    const char *how = "found";
    uint64_t id = 0;
    int rc = b->ops->find(b, w[1], w[2], deadline(), &job, &err);
    if (rc == ERR_NOTFOUND) {
        how = "submitted";
        rc = submit(b, w, &id, &err);
    }
    if (rc == ERR_OUTCOME_UNKNOWN) {
        how = "adopted";
        rc = b->ops->find(b, w[1], w[2], deadline(), &job, &err);
        id = job.id;
    }
    (void)snprintf(text, sizeof(text), "%s id=%" PRIu64, how, id);
    say(rc, &err, text);
}

static void say_jobs(const struct slurm_job *jobs, size_t count)
{
    char text[1024];
    for (size_t i = 0; i < count; i++) {
        job_text(&jobs[i], text, sizeof(text));
        (void)printf("  %s\n", text);
    }
    (void)fflush(stdout);
}

static void query(struct slurm_backend *b, char **w)
{
    uint64_t ids[WORDS_MAX];
    struct slurm_job jobs[WORDS_MAX];
    struct error err = {0};
    char text[64];
    static const char *const proofs[] = {"NONE", "QUEUE", "ACCOUNTING"};
    enum slurm_proof proof = SLURM_PROOF_NONE;
    size_t n = 0, found = 0;
    for (; w[n + 1]; n++)
        ids[n] = number(w[n + 1]);
    int rc = b->ops->query(b, ids, n, deadline(), jobs, &found, &proof, &err);
    (void)snprintf(text,
                   sizeof(text),
                   "%zu%s%s",
                   found,
                   strcmp(w[0], "proof") ? "" : " ",
                   strcmp(w[0], "proof") ? "" : proofs[proof]);
    say(rc, &err, text);
    say_jobs(jobs, rc == 0 ? found : 0);
}

static void list(struct slurm_backend *b)
{
    struct slurm_job *jobs = NULL;
    struct error err = {0};
    char text[32];
    size_t n = 0;
    int rc = b->ops->list(b, deadline(), &jobs, &n, &err);
    (void)snprintf(text, sizeof(text), "%zu", n);
    say(rc, &err, text);
    say_jobs(jobs, n);
    free(jobs);
}

static void partition(struct slurm_backend *b, char **w)
{
    struct slurm_partition p = {0};
    struct error err = {0};
    char text[64];
    int rc = b->ops->partition(b, w[1], deadline(), &p, &err);
    (void)snprintf(text, sizeof(text), "%zu max_time=%" PRId64, p.count, (int64_t)p.max_time_min);
    say(rc, &err, text);
    for (size_t i = 0; rc == 0 && i < p.count; i++)
        (void)printf("  %s cpus=%" PRIu64 "/%" PRIu64 " mem=%" PRIu64 "/%" PRIu64 " gpus=%" PRIu64
                     "/%" PRIu64 " flags=%u\n",
                     p.nodes[i].name,
                     p.nodes[i].used_cpus,
                     p.nodes[i].cpus,
                     p.nodes[i].used_mem_mb,
                     p.nodes[i].mem_mb,
                     p.nodes[i].used_gpus,
                     p.nodes[i].gpus,
                     p.nodes[i].flags);
    free(p.nodes);
    (void)fflush(stdout);
}

static void run(struct slurm_backend *b, char **w)
{
    struct error err = {0};
    struct slurm_job job;
    char text[1024] = "";
    uint64_t id = 0;
    int rc = 0;
    if (!strcmp(w[0], "ping")) {
        rc = b->ops->ping(b, deadline(), &err);
    } else if (!strcmp(w[0], "user")) {
        rc = b->ops->user_exists(b, w[1], deadline(), &err);
    } else if (!strcmp(w[0], "submit")) {
        rc = submit(b, w, &id, &err);
        (void)snprintf(text, sizeof(text), "id=%" PRIu64, id);
    } else if (!strcmp(w[0], "find")) {
        rc = b->ops->find(b, w[1], w[2], deadline(), &job, &err);
        if (rc == 0) job_text(&job, text, sizeof(text));
    } else if (!strcmp(w[0], "cancel")) {
        rc = b->ops->cancel(b, number(w[1]), w[2], deadline(), &err);
    } else if (!strcmp(w[0], "limit")) {
        rc = b->ops->set_time_limit(b, number(w[1]), number(w[2]), deadline(), &err);
    } else if (!strcmp(w[0], "sleep")) {
        (void)usleep((useconds_t)number(w[1]) * 1000);
    } else if (!strcmp(w[0], "changes")) {
        struct slurm_auto_way way = {0};
        (void)slurm_auto_way(b, &way);
        (void)snprintf(text, sizeof(text), "%llu", way.changes);
    } else if (!strcmp(w[0], "query") || !strcmp(w[0], "proof")) {
        query(b, w);
        return;
    } else if (!strcmp(w[0], "list")) {
        list(b);
        return;
    } else if (!strcmp(w[0], "partition")) {
        partition(b, w);
        return;
    } else if (!strcmp(w[0], "once")) {
        once(b, w);
        return;
    } else {
        rc = error_set(&err, ERR_INVALID, "unknown command");
    }
    say(rc, &err, text);
}

static void changed(void *ctx, bool over_ssh, unsigned long long changes, const char *why)
{
    (void)ctx;
    (void)changes;
    (void)fprintf(stderr, "now over %s: %s\n", over_ssh ? "ssh" : "rest", why);
}

static const char *option(char **argv, const char *name)
{
    size_t n = strlen(name);
    for (char **a = argv + 1; *a; a++)
        if (strncmp(*a, name, n) == 0 && (*a)[n] == '=') return *a + n + 1;
    return NULL;
}

static struct slurm_backend *make(char **argv, struct error *err)
{
    struct slurm_backend *rest = NULL, *ssh = NULL;
    struct slurm_rest_options r = {
        .endpoint = option(argv, "endpoint"),
        .ca = option(argv, "ca"),
        .token_file = option(argv, "token"),
        .admin_user = option(argv, "admin"),
    };
    struct slurm_ssh_options s = {
        .address = option(argv, "ssh"),
        .admin_user = option(argv, "ssh-admin"),
        .known_hosts = option(argv, "known-hosts"),
        .sbatch = "/usr/bin/sbatch",
        .scancel = "/usr/bin/scancel",
        .squeue = "/usr/bin/squeue",
        .scontrol = "/usr/bin/scontrol",
        .connect_timeout_ms = timeout_ms,
    };
    if (option(argv, "key") && secret_read_bytes(&r.jwt_key, option(argv, "key"), err) < 0)
        return NULL;
    if (s.address && secret_read_file(&s.private_key, option(argv, "ssh-key"), err) < 0)
        return NULL;
    if (r.endpoint && !(rest = slurm_rest_new(&r, err))) return NULL;
    if (s.address && !(ssh = slurm_ssh_new(&s, err))) return NULL;
    secret_wipe(&r.jwt_key);
    secret_wipe(&s.private_key);
    struct slurm_auto_options a = {.rest = rest, .ssh = ssh, .changed = changed};
    return rest && ssh ? slurm_auto_new(&a, err) : rest ? rest : ssh;
}

int main(int argc, char **argv)
{
    static char line[LINE_MAX_LEN];
    struct error err = {0};
    (void)argc;
    if (option(argv, "timeout")) timeout_ms = (long long)number(option(argv, "timeout"));
    struct slurm_backend *b = make(argv, &err);
    if (!b) {
        (void)fprintf(stderr, "backend_tool: %s\n", err.text);
        return 1;
    }
    while (fgets(line, sizeof(line), stdin)) {
        char *words[WORDS_MAX + 1] = {0}, *save = NULL;
        size_t n = 0;
        for (char *w = strtok_r(line, " \n", &save); w && n < WORDS_MAX;
             w = strtok_r(NULL, " \n", &save))
            words[n++] = w;
        if (n) run(b, words);
    }
    b->ops->destroy(b);
    return 0;
}
