/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The SSH backend against a real sshd and Slurm (tests/integration/ssh_backend.sh). Takes
 * SSH_ADDRESS, SSH_KEY_FILE, SSH_KNOWN_HOSTS, SSH_ADMIN_USER and SLURM_TEST_USER from the
 * environment; what needs faults also SLURM_TEST_CONTROL (a program that makes them),
 * SLURM_TEST_HOME (of the user) and SLURM_TEST_USER2.
 */
#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "agent/slurm/ssh_backend.h"
#include "agent/slurm/ssh_pool.h"
#include "agent/util/clock.h"
#include "agent/util/file.h"
#include "agent/util/thread.h"

enum { CALL_MS = 20000 };

static struct slurm_ssh_options options;
static struct slurm_backend *backend;
static struct error err;
static const char *user;
static unsigned int serial;

static long long soon(void)
{
    return clock_mono_ms() + CALL_MS;
}

static const char *env(const char *name)
{
    const char *value = getenv(name);
    if (!value) skip();
    return value;
}

static void control(const char *what)
{
    char command[512];
    (void)snprintf(command, sizeof(command), "'%s' %s", env("SLURM_TEST_CONTROL"), what);
    assert_int_equal(system(command), 0);
}

#define assert_ok(expr)                                           \
    do {                                                          \
        int rc_ = (expr);                                         \
        if (rc_ < 0) fail_msg("%s: %d %s", #expr, rc_, err.text); \
    } while (0)

static void new_name(char name[SLURM_NAME_MAX])
{
    (void)snprintf(name, SLURM_NAME_MAX, "0x%056x%08x", (unsigned int)getpid(), serial++);
}

static struct slurm_job_spec a_spec(const char *name, const char *script)
{
    return (struct slurm_job_spec){
        .name = name,
        .user = user,
        .comment = "supervisor agent.example.com:3000",
        .partition = "main",
        .output = "%x.out",
        .script = script,
        .script_len = strlen(script),
        .ntasks = 1,
        .cpus_per_task = 1,
        .mem_per_cpu_mb = 10,
        .time_limit_min = 7,
    };
}

static uint64_t submit_as(const struct slurm_job_spec *spec)
{
    uint64_t id = 0;
    assert_ok(backend->ops->submit(backend, spec, soon(), &id, &err));
    assert_true(id > 0);
    return id;
}

static struct slurm_job query_one(uint64_t id)
{
    struct slurm_job job;
    enum slurm_proof proof;
    size_t found = 0;
    assert_ok(backend->ops->query(backend, &id, 1, soon(), &job, &found, &proof, &err));
    assert_int_equal(found, 1);
    return job;
}

static struct slurm_job wait_end(uint64_t id)
{
    for (int i = 0; i < 400; i++) {
        struct slurm_job job = query_one(id);
        if (slurm_phase_of(job.state) == SLURM_PHASE_ENDED) return job;
        usleep(200000);
    }
    fail_msg("job %" PRIu64 " does not end", id);
    return (struct slurm_job){0};
}

/* What scontrol says of a job, as one line. */
static void show(uint64_t id, char *line, size_t size)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "scontrol -o show job %" PRIu64, id);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, (int)size, f));
    assert_int_equal(pclose(f), 0);
}

static void read_output(const char *name, struct buf *b)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s.out", env("SLURM_TEST_HOME"), name);
    buf_reset(b);
    for (int i = 0; i < 200 && access(path, R_OK) != 0; i++)
        usleep(100000);
    assert_ok(file_read(path, b, &err));
}

static void test_ping_and_users(void **state)
{
    assert_ok(backend->ops->ping(backend, soon(), &err));
    assert_ok(backend->ops->user_exists(backend, user, soon(), &err));
    assert_int_equal(backend->ops->user_exists(backend, "no-such-user", soon(), &err),
                     ERR_NOTFOUND);
    assert_int_equal(backend->ops->user_exists(backend, "-h", soon(), &err), ERR_INVALID);
}

static void test_life_of_a_job(void **state)
{
    char name[SLURM_NAME_MAX], line[8192];
    struct slurm_job job;
    new_name(name);
    assert_int_equal(backend->ops->find(backend, name, user, soon(), &job, &err), ERR_NOTFOUND);

    struct slurm_job_spec spec = a_spec(name, "#!/bin/sh\nsleep 3\nexit 5\n");
    spec.ntasks = 2;
    spec.cpus_per_task = 3;
    spec.gpus = 1;
    uint64_t id = submit_as(&spec);
    assert_ok(backend->ops->find(backend, name, user, soon(), &job, &err));
    assert_int_equal(job.id, id);
    assert_string_equal(job.name, name);
    assert_string_equal(job.user, user);
    assert_string_equal(job.comment, spec.comment);
    assert_true(llabs(job.submit_s - clock_wall_s()) < 60);
    assert_int_equal(job.end_s, 0);
    show(id, line, sizeof(line));
    assert_non_null(strstr(line, " TimeLimit=00:07:00 "));
    assert_non_null(strstr(line, " NumCPUs=6 NumTasks=2 CPUs/Task=3 "));
    assert_non_null(strstr(line, " MinMemoryCPU=10M "));
    assert_non_null(strstr(line, "gres:gpu:1"));
    assert_non_null(strstr(line, " Requeue=0 "));
    assert_non_null(strstr(line, " Partition=main "));

    assert_ok(backend->ops->set_time_limit(backend, id, 30, soon(), &err));
    show(id, line, sizeof(line));
    assert_non_null(strstr(line, " TimeLimit=00:30:00 "));

    job = wait_end(id);
    assert_int_equal(job.state, SLURM_FAILED);
    assert_int_equal(slurm_exit_code(job.wait_status), 5);
    assert_true(job.end_s - job.start_s >= 3 && job.end_s - job.start_s < 20);
    assert_int_equal(backend->ops->set_time_limit(backend, id, 31, soon(), &err), ERR_EXISTS);
    assert_int_equal(backend->ops->set_time_limit(backend, 999999, 31, soon(), &err), ERR_NOTFOUND);
    assert_ok(backend->ops->cancel(backend, id, user, soon(), &err));
}

static void test_cancel(void **state)
{
    char name[SLURM_NAME_MAX];
    new_name(name);
    struct slurm_job_spec spec = a_spec(name, "#!/bin/sh\nsleep 100\n");
    uint64_t id = submit_as(&spec);
    int rc = backend->ops->cancel(backend, id, env("SLURM_TEST_USER2"), soon(), &err);
    assert_int_equal(rc, ERR_REFUSED);
    assert_ok(backend->ops->cancel(backend, id, user, soon(), &err));
    assert_int_equal(wait_end(id).state, SLURM_CANCELLED);
    assert_ok(backend->ops->cancel(backend, id, user, soon(), &err));
    assert_ok(backend->ops->cancel(backend, 999999, user, soon(), &err));
}

static void test_query_many(void **state)
{
    char name[SLURM_NAME_MAX];
    uint64_t ids[1203];
    struct slurm_job *jobs = calloc(1203, sizeof(*jobs));
    size_t found = 99;
    enum slurm_proof proof = SLURM_PROOF_NONE;
    assert_non_null(jobs);
    for (size_t i = 0; i < 1203; i++)
        ids[i] = 900000 + i;
    assert_ok(backend->ops->query(backend, ids, 1, soon(), jobs, &found, &proof, &err));
    assert_int_equal(found, 0);
    assert_int_equal(proof, SLURM_PROOF_QUEUE); // this cluster has no accounting
    for (size_t i = 0; i < 3; i++) {
        new_name(name);
        struct slurm_job_spec spec = a_spec(name, "#!/bin/sh\nexit 0\n");
        ids[600 * i + 1] = submit_as(&spec);
    }
    long long begin = clock_mono_ms();
    assert_ok(backend->ops->query(backend, ids, 1203, soon(), jobs, &found, &proof, &err));
    print_message("# query of 1203 ids: %lld ms\n", clock_mono_ms() - begin);
    assert_int_equal(found, 3);
    assert_int_equal(proof, SLURM_PROOF_QUEUE);
    struct slurm_job *all = NULL;
    assert_ok(backend->ops->list(backend, soon(), &all, &found, &err));
    size_t seen = 0;
    for (size_t i = 0; i < found; i++)
        seen += all[i].id == ids[1] || all[i].id == ids[601] || all[i].id == ids[1201];
    assert_int_equal(seen, 3);
    assert_int_equal(all[0].limit_min, a_spec(name, "").time_limit_min);
    free(all);
    free(jobs);
}

/* Nothing that the script or the user's own files say may change what was asked for. */
static void test_directives_have_no_effect(void **state)
{
    static const char script[] = "#!/bin/bash\n"
                                 "#SBATCH --time=1000 --array=1-3\n"
                                 "#SLURM --exclusive\n"
                                 "\n"
                                 "# a comment\n"
                                 "#SBATCH hetjob\n"
                                 "#SBATCH --ntasks=4 --nodes=2 --requeue --hold\n"
                                 "#PBS -l walltime=20:00:00,nodes=2\n"
                                 "#BSUB -W 900\n"
                                 "#BB create_persistent\n"
                                 "echo \"$LINENO $0 $# \"$(cat | wc -c)\n"
                                 "#PBS -t 1-9\n"
                                 "#PBS -l walltime=20:00:00\n"
                                 "env\n";
    char name[SLURM_NAME_MAX], line[8192];
    struct buf out = BUF_INIT(1 << 20);
    new_name(name);
    struct slurm_job_spec spec = a_spec(name, script);
    uint64_t id = submit_as(&spec);
    show(id, line, sizeof(line));
    assert_non_null(strstr(line, " TimeLimit=00:07:00 "));
    assert_non_null(strstr(line, " NumCPUs=1 NumTasks=1 "));
    assert_non_null(strstr(line, " NumNodes=1"));
    assert_non_null(strstr(line, " Requeue=0 "));
    assert_non_null(strstr(line, " OverSubscribe=OK "));
    assert_null(strstr(line, "Array"));
    assert_null(strstr(line, "HetJob"));
    struct slurm_job job = wait_end(id);
    assert_int_equal(job.state, SLURM_COMPLETE);

    read_output(name, &out);
    const char *text = buf_str(&out);
    assert_int_equal(strncmp(text, "11 ", 3), 0);
    assert_non_null(strstr(text, "slurm_script 0 0\n"));
    char home[600];
    (void)snprintf(home, sizeof(home), "\nHOME=%s\n", env("SLURM_TEST_HOME"));
    assert_non_null(strstr(text, home));
    assert_non_null(strstr(text, "\nPATH=/"));
    assert_non_null(strstr(text, "\nUSER="));
    static const char *const leaks[] = {"SSH_", "SBATCH_", "SECRET_OF_LOGIN", "SLURM_CLUSTERS"};
    for (size_t i = 0; i < sizeof(leaks) / sizeof(leaks[0]); i++)
        assert_null(strstr(text, leaks[i]));
    buf_free(&out);
}

/* Any interpreter, any bytes. */
static void test_script_arrives_whole(void **state)
{
    char name[SLURM_NAME_MAX];
    struct buf script = BUF_INIT(8 << 20), out = BUF_INIT(8 << 20), want = BUF_INIT(8 << 20);
    // A script that prints itself, holds every byte but NUL and CR, and has no newline at its end.
    (void)buf_puts(&script, "#!/bin/cat\n#sBATCH\n");
    for (int c = 1; c < 256; c++)
        if (c != '\r') (void)buf_put_u8(&script, (uint8_t)c);
    (void)buf_puts(&script, "\n\n\nH;${x;s/$(id)`id`\\n'\"\n\n");
    while (script.len < (3 << 20))
        (void)buf_putf(&script, "line %zu\n", script.len);
    (void)buf_puts(&script, "the end");
    new_name(name);
    struct slurm_job_spec spec = a_spec(name, buf_str(&script));
    spec.script_len = script.len;
    long long begin = clock_mono_ms();
    uint64_t id = submit_as(&spec);
    print_message("# script of %zu bytes: %lld ms\n", script.len, clock_mono_ms() - begin);
    assert_int_equal(wait_end(id).state, SLURM_COMPLETE);
    (void)buf_put(&want, script.data, script.len);
    (void)buf_puts(&want, "\n");
    read_output(name, &out);
    assert_int_equal(out.len, want.len);
    assert_memory_equal(out.data, want.data, want.len);
    buf_free(&script);
    buf_free(&out);
    buf_free(&want);
}

static void assert_refused(struct slurm_job_spec *spec, int code, const char *part)
{
    uint64_t id = 77;
    int rc = backend->ops->submit(backend, spec, soon(), &id, &err);
    if (rc != code || !strstr(err.text, part)) fail_msg("%d: %s", rc, err.text);
    assert_int_equal(id, 77);
}

static void test_refusals(void **state)
{
    char name[SLURM_NAME_MAX];
    new_name(name);
    struct slurm_job_spec spec = a_spec(name, "#!/bin/sh\n");
    spec.partition = "nope";
    assert_refused(&spec, ERR_REFUSED, "Invalid partition name specified");
    spec = a_spec(name, "#!/bin/sh\n");
    spec.gpus = 50;
    assert_refused(&spec, ERR_REFUSED, "Requested node configuration is not available");
    spec = a_spec(name, "#!/bin/sh\n");
    spec.time_limit_min = 0;
    assert_refused(&spec, ERR_INVALID, "time limit");
    spec = a_spec(name, "#!/bin/sh\n");
    spec.mem_per_cpu_mb = 0;
    assert_refused(&spec, ERR_INVALID, "memory");
    spec = a_spec(name, "#!/bin/sh\r\ntrue\r\n");
    assert_refused(&spec, ERR_REFUSED, "DOS");
    char *big = malloc(5 << 20);
    assert_non_null(big);
    memset(big, '#', 5 << 20);
    memcpy(big, "#!/bin/sh\n", 10);
    spec = a_spec(name, "");
    spec.script = big;
    spec.script_len = 5 << 20;
    assert_refused(&spec, ERR_REFUSED, "larger than Slurm takes");
    free(big);
    spec = a_spec(name, "#!/bin/sh\n");
    spec.user = "nokey";
    assert_refused(&spec, ERR_UNAVAILABLE, "authorized_keys");
}

/* Another's job, or one without our mark, is not ours, whatever its name; the newest counts. */
static void test_find_only_ours(void **state)
{
    char name[SLURM_NAME_MAX];
    const char *other = env("SLURM_TEST_USER2");
    struct slurm_job job;
    new_name(name);
    struct slurm_job_spec spec = a_spec(name, "#!/bin/sh\nsleep 60\n");
    spec.user = other;
    spec.partition = "closed"; // hidden, and closed to the admin user
    uint64_t id = submit_as(&spec);
    assert_int_equal(backend->ops->find(backend, name, user, soon(), &job, &err), ERR_NOTFOUND);
    assert_ok(backend->ops->find(backend, name, other, soon(), &job, &err));
    assert_int_equal(job.id, id);
    uint64_t second = submit_as(&spec);
    assert_ok(backend->ops->find(backend, name, other, soon(), &job, &err));
    assert_int_equal(job.id, second);
    // A name service that has lost the user must not read as "no such job".
    int rc = backend->ops->find(backend, name, "vanished", soon(), &job, &err);
    assert_int_equal(rc, ERR_UNAVAILABLE);
    assert_non_null(strstr(err.text, "Invalid user"));
    assert_ok(backend->ops->cancel(backend, id, other, soon(), &err));
    assert_ok(backend->ops->cancel(backend, second, other, soon(), &err));
}

struct worker {
    pthread_t thread;
    uint64_t ids[5];
    int rc;
    unsigned int first;
};

static void *submit_five(void *arg)
{
    struct worker *w = arg;
    struct error e;
    for (unsigned int i = 0; i < 5 && w->rc == 0; i++) {
        char name[SLURM_NAME_MAX];
        (void)snprintf(name, sizeof(name), "0x%064x", 0xabc000 + w->first + i);
        struct slurm_job_spec spec = a_spec(name, "#!/bin/sh\n");
        w->rc = backend->ops->submit(backend, &spec, soon(), &w->ids[i], &e);
        if (w->rc < 0) print_message("# %s\n", e.text);
    }
    return NULL;
}

static void test_concurrent_submits(void **state)
{
    struct worker workers[4] = {0};
    struct ssh_pool_counts before, after;
    ssh_pool_count(slurm_ssh_pool(backend), &before);
    long long begin = clock_mono_ms();
    for (unsigned int i = 0; i < 4; i++) {
        workers[i].first = i * 5;
        assert_ok(thread_start(&workers[i].thread, "worker", submit_five, &workers[i], &err));
    }
    for (int i = 0; i < 4; i++)
        (void)pthread_join(workers[i].thread, NULL);
    ssh_pool_count(slurm_ssh_pool(backend), &after);
    print_message("# 20 submits by 4 threads: %lld ms, %d new connections\n",
                  clock_mono_ms() - begin,
                  (int)(after.opened - before.opened));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(workers[i / 5].rc, 0);
        for (int j = 0; j < i; j++)
            assert_int_not_equal(workers[i / 5].ids[i % 5], workers[j / 5].ids[j % 5]);
    }
    assert_true(after.opened - before.opened <= 4);
}

static void test_reuse_and_idle(void **state)
{
    struct slurm_ssh_options quick = options;
    quick.idle_ms = 1000;
    struct slurm_backend *b = slurm_ssh_new(&quick, &err);
    struct ssh_pool_counts n;
    assert_non_null(b);
    long long begin = clock_mono_ms();
    assert_ok(b->ops->ping(b, soon(), &err));
    long long first = clock_mono_ms() - begin;
    for (int i = 0; i < 20; i++)
        assert_ok(b->ops->user_exists(b, user, soon(), &err));
    print_message("# first command %lld ms, a further one %lld ms\n",
                  first,
                  (clock_mono_ms() - begin - first) / 20);
    ssh_pool_count(slurm_ssh_pool(b), &n);
    assert_int_equal(n.opened, 1);
    assert_int_equal(n.open, 1);
    for (int i = 0; i < 200 && n.open; i++) {
        usleep(100000);
        ssh_pool_count(slurm_ssh_pool(b), &n);
    }
    assert_int_equal(n.open, 0);
    assert_ok(b->ops->ping(b, soon(), &err));
    b->ops->destroy(b);
}

static void assert_unreachable(const struct slurm_ssh_options *o, const char *part)
{
    struct slurm_backend *b = slurm_ssh_new(o, &err);
    assert_non_null(b);
    int rc = b->ops->ping(b, soon(), &err);
    if (rc != ERR_UNAVAILABLE || !strstr(err.text, part)) fail_msg("%d: %s", rc, err.text);
    print_message("# %s\n", err.text);
    b->ops->destroy(b);
}

static void test_host_key(void **state)
{
    struct slurm_ssh_options o = options;
    char path[] = "/tmp/known_hosts.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    o.known_hosts = path;
    assert_unreachable(&o, "ssh-keyscan");
    static const char wrong[] =
        "[127.0.0.1]:26022 ssh-ed25519 "
        "AAAAC3NzaC1lZDI1NTE5AAAAIDBWQ1pDUb2kNYKb3FnVdWMVZ0YQeWW4n9KHEVPd0dJP\n";
    assert_int_equal(write(fd, wrong, sizeof(wrong) - 1), sizeof(wrong) - 1);
    assert_unreachable(&o, "not the one");
    o.known_hosts = "/nonexistent/known_hosts";
    assert_unreachable(&o, "ssh-keyscan");
    o.insecure = true;
    struct slurm_backend *b = slurm_ssh_new(&o, &err);
    assert_non_null(b);
    assert_ok(b->ops->ping(b, soon(), &err));
    b->ops->destroy(b);
    (void)close(fd);
    (void)unlink(path);
    o = options;
    o.address = "127.0.0.1:1";
    assert_unreachable(&o, "Connection refused");
}

static void test_slurmctld_down(void **state)
{
    char name[SLURM_NAME_MAX];
    struct slurm_job job;
    uint64_t id = 1;
    size_t found;
    enum slurm_proof proof;
    new_name(name);
    struct slurm_job_spec spec = a_spec(name, "#!/bin/sh\n");
    control("ctld-kill");
    assert_int_equal(backend->ops->ping(backend, soon(), &err), ERR_UNAVAILABLE);
    assert_int_equal(backend->ops->find(backend, name, user, soon(), &job, &err), ERR_UNAVAILABLE);
    assert_int_equal(backend->ops->query(backend, &id, 1, soon(), &job, &found, &proof, &err),
                     ERR_UNAVAILABLE);
    assert_int_equal(backend->ops->submit(backend, &spec, soon(), &id, &err), ERR_OUTCOME_UNKNOWN);
    assert_int_equal(backend->ops->cancel(backend, 1, user, soon(), &err), ERR_OUTCOME_UNKNOWN);
    assert_int_equal(backend->ops->set_time_limit(backend, 1, 5, soon(), &err),
                     ERR_OUTCOME_UNKNOWN);
    control("ctld-start");
    assert_ok(backend->ops->ping(backend, soon(), &err));
}

/* A submission that waits for a hanging slurmctld is gone once its deadline has passed. */
static void test_slurmctld_hangs(void **state)
{
    char name[SLURM_NAME_MAX];
    uint64_t id;
    new_name(name);
    struct slurm_job_spec spec = a_spec(name, "#!/bin/sh\n");
    control("ctld-stop");
    long long begin = clock_mono_ms();
    int rc = backend->ops->submit(backend, &spec, begin + 4000, &id, &err);
    long long took = clock_mono_ms() - begin;
    int still = system("pgrep -x sbatch >/dev/null");
    control("ctld-cont");
    assert_int_equal(rc, ERR_OUTCOME_UNKNOWN);
    assert_true(took < 4500);
    assert_int_not_equal(still, 0);
}

static void test_sshd_hangs(void **state)
{
    assert_ok(backend->ops->ping(backend, soon(), &err)); // so that a connection is there
    control("sshd-stop");
    long long begin = clock_mono_ms();
    int rc = backend->ops->ping(backend, begin + 3000, &err);
    long long took = clock_mono_ms() - begin;
    control("sshd-cont");
    assert_int_equal(rc, ERR_UNAVAILABLE);
    assert_true(took >= 2500 && took < 3500);
    assert_ok(backend->ops->ping(backend, soon(), &err));
}

/* Connections that the peer has closed meanwhile are replaced without anybody noticing. */
static void test_stale_connection(void **state)
{
    char name[SLURM_NAME_MAX];
    for (int i = 0; i < 3; i++) {
        new_name(name);
        struct slurm_job_spec spec = a_spec(name, "#!/bin/sh\n");
        (void)submit_as(&spec);
        control("sshd-kill-sessions");
    }
    assert_ok(backend->ops->ping(backend, soon(), &err));
}

static void *break_sessions(void *arg)
{
    usleep(*(useconds_t *)arg);
    control("sshd-kill-sessions");
    return NULL;
}

/* A connection that breaks at any moment: the whole script is submitted or none of it. */
static void test_connection_breaks(void **state)
{
    struct buf script = BUF_INIT(4 << 20), out = BUF_INIT(8 << 20);
    int counts[3] = {0};
    (void)buf_puts(&script, "#!/bin/cat\n");
    while (script.len < (3 << 20))
        (void)buf_putf(&script, "line %zu\n", script.len);
    for (useconds_t delay = 40000; delay < 360000; delay += 32000) {
        char name[SLURM_NAME_MAX];
        struct slurm_job job;
        pthread_t thread;
        uint64_t id;
        new_name(name);
        struct slurm_job_spec spec = a_spec(name, buf_str(&script));
        assert_ok(backend->ops->user_exists(backend, user, soon(), &err));
        assert_ok(thread_start(&thread, "breaker", break_sessions, &delay, &err));
        int rc = backend->ops->submit(backend, &spec, clock_mono_ms() + 2500, &id, &err);
        (void)pthread_join(thread, NULL);
        assert_true(rc == 0 || rc == ERR_UNAVAILABLE || rc == ERR_OUTCOME_UNKNOWN);
        counts[rc == 0 ? 0 : rc == ERR_UNAVAILABLE ? 1 : 2]++;
        int found = backend->ops->find(backend, name, user, soon(), &job, &err);
        assert_true(found == 0 || found == ERR_NOTFOUND);
        if (rc == 0) assert_int_equal(job.id, id);
        if (rc == ERR_UNAVAILABLE) assert_int_equal(found, ERR_NOTFOUND);
        if (found < 0) continue;
        assert_int_equal(wait_end(job.id).state, SLURM_COMPLETE);
        read_output(name, &out);
        assert_int_equal(out.len, script.len);
    }
    print_message("# submitted %d, surely not %d, unknown %d\n", counts[0], counts[1], counts[2]);
    buf_free(&script);
    buf_free(&out);
}

static int open_files(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        n++;
    if (dir) (void)closedir(dir);
    return n;
}

static int files_before;

static int setup(void **state)
{
    files_before = open_files();
    struct buf pem = BUF_INIT(SECRET_MAX);
    char *b64 = NULL;
    user = getenv("SLURM_TEST_USER");
    if (file_read(getenv("SSH_KEY_FILE"), &pem, &err) < 0) return -1;
    b64 = calloc(1, pem.len * 4 / 3 + 8);
    if (!b64) return -1;
    (void)EVP_EncodeBlock((unsigned char *)b64, pem.data, (int)pem.len);
    options = (struct slurm_ssh_options){
        .address = getenv("SSH_ADDRESS"),
        .admin_user = getenv("SSH_ADMIN_USER"),
        .known_hosts = getenv("SSH_KNOWN_HOSTS"),
        .connect_timeout_ms = 5000,
    };
    int rc = secret_set(&options.private_key, b64, strlen(b64));
    free(b64);
    buf_wipe(&pem);
    if (rc == 0) backend = slurm_ssh_new(&options, &err);
    return backend ? 0 : -1;
}

static int teardown(void **state)
{
    backend->ops->destroy(backend);
    secret_wipe(&options.private_key);
    int left = open_files() - files_before;
    if (left) print_message("# %d descriptors are left open\n", left);
    return left;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ping_and_users),
        cmocka_unit_test(test_life_of_a_job),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_query_many),
        cmocka_unit_test(test_directives_have_no_effect),
        cmocka_unit_test(test_script_arrives_whole),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_find_only_ours),
        cmocka_unit_test(test_concurrent_submits),
        cmocka_unit_test(test_reuse_and_idle),
        cmocka_unit_test(test_host_key),
        cmocka_unit_test(test_stale_connection),
        cmocka_unit_test(test_connection_breaks),
        cmocka_unit_test(test_slurmctld_hangs),
        cmocka_unit_test(test_slurmctld_down),
        cmocka_unit_test(test_sshd_hangs),
    };
    if (!getenv("SSH_ADDRESS") || !getenv("SSH_KEY_FILE") || !getenv("SSH_ADMIN_USER") ||
        !getenv("SLURM_TEST_USER")) {
        (void)printf("1..0 # SKIP no SSH_ADDRESS, SSH_KEY_FILE, SSH_ADMIN_USER, SLURM_TEST_USER\n");
        return 0;
    }
    return cmocka_run_group_tests_name("ssh_backend", tests, setup, teardown);
}
