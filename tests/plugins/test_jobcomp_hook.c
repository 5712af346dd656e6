/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The jobcomp plugin in a host that looks like slurmctld to it: what it records, how long the hook
 * and fini() take whatever the forwarder and its agent do, and what it is linked with. Built with
 * Slurm's headers, as the plugin is.
 */
#include "config.h" // Slurm's, that is an empty one: see plugins/Makefile.inc
#ifdef PACKAGE_NAME
#error "this is our own config.h"
#endif

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/slurmctld/slurmctld.h"

#include "plugins/common/spool.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define SANITIZED 1 // its libraries come too
#else
#define SANITIZED 0
#endif

#define NAME    "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define COMMENT "supervisor 0x71be63f3384f5fb98995898a86b02fb2426c5788"

/* ---- What the plugin takes from slurmctld. */

slurm_conf_t slurm_conf;
static int errors_logged;
static char last_error[1024];
void slurm_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void slurm_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
void slurm_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

void slurm_info(const char *format, ...)
{
}

void slurm_debug(const char *format, ...)
{
}

void slurm_error(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(last_error, sizeof(last_error), format, ap);
    va_end(ap);
    __atomic_add_fetch(&errors_logged, 1, __ATOMIC_SEQ_CST);
}

/* ---- The plugin. */

static void *plugin;
static int (*plugin_init)(void);
static void (*plugin_fini)(void);
static int (*record_end)(job_record_t *job, uint32_t event);

static int set_location(const char *location)
{
    free(slurm_conf.job_comp_loc);
    slurm_conf.job_comp_loc = strdup(location);
    /* With an argument up to 22.05, without one later: passing one does no harm. */
    int (*fn)(char *) = (int (*)(char *))dlsym(plugin, "jobcomp_p_set_location");
    if (!fn) fn = (int (*)(char *))dlsym(plugin, "slurm_jobcomp_set_location");
    assert_non_null(fn);
    return fn(slurm_conf.job_comp_loc);
}

static long long mono_us(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (long long)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static char base[64], spool[120];
static job_record_t job;
static __typeof__(*job.details) details; // its type has another name from 24.11 on
static char job_name[256], job_comment[256];

static void set_params(const char *forwarder)
{
    char text[1024];
    (void)snprintf(text, sizeof(text), "forwarder=%s", forwarder);
    free(slurm_conf.job_comp_params);
    slurm_conf.job_comp_params = strdup(text);
}

static void make_script(char *path, size_t size, const char *text)
{
    (void)snprintf(path, size, "%s/forwarder", base);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
}

static int setup(void **state)
{
    (void)state;
    strcpy(base, "/tmp/test_jobcomp.XXXXXX");
    if (!mkdtemp(base)) return -1;
    (void)snprintf(spool, sizeof(spool), "%s/deepsquare", base);
    slurm_conf.state_save_location = base;
    slurm_conf.cluster_name = "lab";
    set_params("/bin/true");
    errors_logged = 0;
    last_error[0] = '\0';

    memset(&job, 0, sizeof(job));
    strcpy(job_name, NAME);
    strcpy(job_comment, COMMENT);
    details.submit_time = 1000;
    job.details = &details;
    job.name = job_name;
    job.comment = job_comment;
    job.job_id = 42;
    job.restart_cnt = 1;
    job.job_state = 0x8005;
    job.exit_code = 0x300;
    job.user_id = 1000;
    job.start_time = 1010;
    job.end_time = 1100;
    job.tot_sus_time = 7;

    /* nodelete: it is the same plugin each time; fini() and set_location() must leave it usable. */
    plugin = dlopen(PLUGIN_PATH, RTLD_NOW);
    if (!plugin) {
        fprintf(stderr, "# %s\n", dlerror());
        return -1;
    }
    plugin_init = (int (*)(void))dlsym(plugin, "init");
    plugin_fini = (void (*)(void))dlsym(plugin, "fini");
    record_end = (int (*)(job_record_t *, uint32_t))dlsym(plugin, "jobcomp_p_record_job_end");
    if (!record_end)
        record_end = (int (*)(job_record_t *, uint32_t))dlsym(plugin, "jobcomp_p_log_record");
    return plugin_init && plugin_fini && record_end && plugin_init() == 0 ? 0 : -1;
}

/* Ends the plugin; returns the milliseconds that took. */
static long long fini_ms(void)
{
    long long before = mono_us();
    plugin_fini();
    return (mono_us() - before) / 1000;
}

static int teardown(void **state)
{
    (void)state;
    char command[200];
    plugin_fini();
    dlclose(plugin);
    (void)snprintf(command, sizeof(command), "chmod -R u+w %s; rm -rf %s", base, base);
    return system(command) == 0 ? 0 : -1; // NOLINT: our own name
}

static int hook(void)
{
    return record_end(&job, 1);
}

/* Reads what is in the spool and returns how many; *last is the last one. */
static int read_spool(struct record *last)
{
    struct spool_reader *reader = spool_reader_new(spool);
    struct spool_pos pos;
    struct record r;
    int n = 0;
    (void)spool_reader_scan(reader);
    for (; spool_reader_next(reader, &r, &pos) == 1; n++)
        *last = r;
    assert_int_equal(spool_reader_stats(reader)->corrupt_bytes, 0);
    spool_reader_destroy(reader);
    return n;
}

static void test_what_is_recorded(void **state)
{
    (void)state;
    struct record r;
    assert_int_equal(set_location("not an endpoint"), 0);
    assert_int_equal(errors_logged, 1);
    assert_non_null(strstr(last_error, "NOT SENT"));

    assert_int_equal(hook(), 0);
    assert_int_equal(read_spool(&r), 1);
    assert_int_equal(r.kind, RECORD_END);
    assert_int_equal(r.job_id, 42);
    assert_int_equal(r.restart_count, 1);
    assert_int_equal(r.submit_s, 1000);
    assert_int_equal(r.start_s, 1010);
    assert_int_equal(r.end_s, 1100);
    assert_int_equal(r.suspended_s, 7);
    assert_int_equal(r.job_state, 0x8005);
    assert_int_equal(r.wait_status, 0x300);
    assert_int_equal(r.user_id, 1000);
    assert_string_equal(r.name, NAME);
    assert_string_equal(r.comment, COMMENT);
    assert_string_equal(r.cluster, "lab");
    assert_true(r.written_s > 1700000000);
}

static void test_what_is_not_recorded(void **state)
{
    (void)state;
    struct record r;
    (void)set_location("127.0.0.1:1");
    job.comment = NULL;
    assert_int_equal(hook(), 0);
    job.comment = "";
    assert_int_equal(hook(), 0);
    job.comment = "supervisor"; // no blank
    assert_int_equal(hook(), 0);
    job.comment = "xsupervisor 0x";
    assert_int_equal(hook(), 0);
    job.comment = job_comment;
    job.job_state = 0x2001;
    assert_int_equal(hook(), 0);
    assert_int_equal(record_end(NULL, 1), 0);
    assert_int_equal(read_spool(&r), 0);

    job.job_state = 0x8003;
    job.name = NULL;
    job.details = NULL;
    assert_int_equal(hook(), 0);
    assert_int_equal(read_spool(&r), 1);
    assert_string_equal(r.name, "");
    assert_int_equal(r.submit_s, 0);
}

/* A program other than slurmctld (sacct -c) must neither record nor start anything. */
static void test_only_in_slurmctld(void **state)
{
    (void)state;
    struct record r;
    set_params("/nonexistent/forwarder");
    program_invocation_short_name = "sacct";
    (void)set_location("127.0.0.1:1");
    assert_int_equal(hook(), 0);
    program_invocation_short_name = "slurmctld";
    poll(NULL, 0, 200);
    assert_int_equal(errors_logged, 0); // that it cannot be started would be logged
    assert_int_equal(access(spool, F_OK), -1);
    assert_int_equal(read_spool(&r), 0);
}

enum { HOOKS = 5000 };

static int compare(const void *a, const void *b)
{
    long long x = *(const long long *)a, y = *(const long long *)b;
    return (x > y) - (x < y);
}

/* Calls the hook HOOKS times; prints the times, returns the 99.9th percentile in microseconds. */
static long long measure(const char *what)
{
    static long long us[HOOKS];
    for (int i = 0; i < HOOKS; i++) {
        job.job_id++;
        long long before = mono_us();
        assert_int_equal(hook(), 0);
        us[i] = mono_us() - before;
    }
    qsort(us, HOOKS, sizeof(us[0]), compare);
    long long p999 = us[HOOKS - 1 - HOOKS / 1000];
    print_message("# hook, %s: median %lld us, 99.9 %% %lld us, longest %lld us\n",
                  what,
                  us[HOOKS / 2],
                  p999,
                  us[HOOKS - 1]);
    return p999;
}

/* Far above what it takes (some 10 us), so that a busy machine does not fail the test, and far
 * below any time-out of the network. */
enum { HOOK_MAX_US = 50 * 1000, FINI_MAX_MS = 2000 };

static void test_times_without_forwarder(void **state)
{
    (void)state;
    struct record r;
    set_params("/nonexistent/forwarder");
    (void)set_location("127.0.0.1:1");
    assert_true(measure("no forwarder") < HOOK_MAX_US);
    poll(NULL, 0, 100);
    assert_non_null(strstr(last_error, "cannot start"));
    assert_in_range(fini_ms(), 0, 500);
    assert_int_equal(read_spool(&r), HOOKS);
}

static void test_times_with_dead_agent(void **state)
{
    (void)state;
    struct record r;
    set_params(FORWARDER_BUILT);
    (void)set_location("127.0.0.1:1"); // refused
    assert_true(measure("agent dead") < HOOK_MAX_US);
    poll(NULL, 0, 500);
    long long ms = fini_ms();
    print_message("# fini, agent dead: %lld ms\n", ms);
    assert_in_range(ms, 0, FINI_MAX_MS);
    assert_int_equal(read_spool(&r), HOOKS);
}

/* It takes the connection and never says a word. */
static void test_times_with_black_hole(void **state)
{
    (void)state;
    struct record r;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    char location[64];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    (void)snprintf(location, sizeof(location), "127.0.0.1:%d", ntohs(a.sin_port));

    set_params(FORWARDER_BUILT);
    (void)set_location(location);
    poll(NULL, 0, 500);
    assert_true(measure("agent a black hole") < HOOK_MAX_US);
    poll(NULL, 0, 500);
    long long before = mono_us();
    assert_int_equal(set_location("127.0.0.1:1"), 0);
    assert_true(mono_us() - before < HOOK_MAX_US);
    (void)set_location(location);
    long long ms = fini_ms();
    print_message("# fini, agent a black hole: %lld ms\n", ms);
    assert_in_range(ms, 0, FINI_MAX_MS);
    assert_int_equal(read_spool(&r), HOOKS);
    close(fd);
}

/* A forwarder that wants neither to read nor to end, and fills its log. */
static void test_times_with_stubborn_forwarder(void **state)
{
    (void)state;
    struct record r;
    char path[120];
    make_script(path,
                sizeof(path),
                "#!/bin/sh\ntrap '' TERM\n(while :; do echo noise; done) & n=$!\n"
                "sleep 0.3; kill $n; while :; do sleep 1; done\n");
    set_params(path);
    (void)set_location("127.0.0.1:1");
    poll(NULL, 0, 100);
    assert_true(measure("forwarder stubborn") < HOOK_MAX_US);
    long long ms = fini_ms();
    print_message("# fini, forwarder stubborn: %lld ms\n", ms);
    assert_in_range(ms, 0, FINI_MAX_MS);
    assert_int_equal(read_spool(&r), HOOKS);
}

/* What the forwarder is given: and nothing else of ours. */
static void test_how_the_forwarder_is_started(void **state)
{
    (void)state;
    char path[120], text[2048] = "", out[120];
    make_script(path,
                sizeof(path),
                "#!/bin/sh\ncd \"$(dirname \"$0\")\"\n"
                "{ echo \"$@\"; env | grep -c SECRET; grep SigBlk /proc/self/status;\n"
                "readlink /proc/$$/fd/0; sed -n 's/^SigIgn:.*\\(.......\\)$/\\1/p' "
                "/proc/$$/status; } > out.tmp\n"
                "mv out.tmp out; sleep 1\n");
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &old);
    (void)signal(SIGHUP, SIG_IGN);
    setenv("SECRET", "1", 1);
    char params[400];
    (void)snprintf(params, sizeof(params), "%s,ca=/etc/ca.pem,host_override=grid", path);
    set_params(params);
    (void)set_location("127.0.0.1:1");
    (void)snprintf(out, sizeof(out), "%s/out", base);
    for (int i = 0; i < 200 && access(out, F_OK) != 0; i++)
        poll(NULL, 0, 20);
    sigprocmask(SIG_SETMASK, &old, NULL);
    (void)signal(SIGHUP, SIG_DFL);
    FILE *f = fopen(out, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = '\0';
    fclose(f);
    char want[512];
    (void)snprintf(want,
                   sizeof(want),
                   "--spool %s --end-fd 3 --endpoint 127.0.0.1:1 --tls --ca /etc/ca.pem "
                   "--host-override grid\n0\nSigBlk:\t0000000000000000\n/dev/null\n"
                   "0000000\n",
                   spool);
    assert_string_equal(text, want);
}

static int count_starts(void)
{
    char path[120];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/starts", base);
    return stat(path, &st) == 0 ? (int)st.st_size : 0;
}

/* Dies at once: started again, but slowly. A change of address starts the new one at once. */
static void test_respawn(void **state)
{
    (void)state;
    char path[120];
    make_script(
        path, sizeof(path), "#!/bin/sh\nprintf x >> \"$(dirname \"$0\")/starts\"\nexit 1\n");
    set_params(path);
    (void)set_location("127.0.0.1:1");
    poll(NULL, 0, 700);
    assert_int_equal(count_starts(), 1);
    (void)set_location("127.0.0.1:1"); // the same: SIGUSR2 and reconfigure
    poll(NULL, 0, 100);
    assert_int_equal(count_starts(), 1);
    poll(NULL, 0, 1500); // 1 s after the first, 2 s after the second
    assert_int_equal(count_starts(), 2);
    (void)set_location("127.0.0.1:2");
    poll(NULL, 0, 700);
    assert_int_equal(count_starts(), 3);
    assert_in_range(fini_ms(), 0, 500);
}

static void test_disk_full(void **state)
{
    (void)state;
    struct record r;
    struct rlimit limit;
    (void)set_location("127.0.0.1:1");
    assert_int_equal(hook(), 0);
    int before = errors_logged;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 0; i < 1000; i++) {
        job.job_id = 1000 + (uint32_t)i;
        assert_int_equal(hook(), 0);
    }
    limit.rlim_cur = RLIM_INFINITY;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_in_range(errors_logged - before, 1, 3); // not a line a record
    job.job_id = 7;
    assert_int_equal(hook(), 0);
    (void)fini_ms();
    assert_int_equal(read_spool(&r), 2);
    assert_int_equal(r.job_id, 7);
    assert_true(r.lost_before == 1000);
}

static void test_spool_is_no_directory(void **state)
{
    (void)state;
    struct record r;
    FILE *f = fopen(spool, "w");
    assert_non_null(f);
    fclose(f);
    (void)set_location("127.0.0.1:1");
    assert_int_equal(hook(), 0);
    assert_non_null(strstr(last_error, "could not be written"));
    assert_int_equal(unlink(spool), 0);
    poll(NULL, 0, 1100);
    assert_int_equal(hook(), 0);
    assert_int_equal(read_spool(&r), 1);
    assert_int_equal(r.lost_before, 1);
}

/* Nothing of C++, gRPC or TLS comes with the plugin: only libc. */
static void test_linked_with_libc_only(void **state)
{
    (void)state;
    char line[256];
    int needed = 0;
    FILE *p = popen("readelf -dW '" PLUGIN_PATH "'", "r"); // NOLINT
    assert_non_null(p);
    while (fgets(line, sizeof(line), p)) {
        if (!strstr(line, "(NEEDED)")) continue;
        needed++;
        assert_true(strstr(line, "[libc.so") || strstr(line, "[libpthread.so") || SANITIZED);
    }
    assert_int_equal(pclose(p), 0);
    assert_true(needed > 0);

    p = popen("nm -D --defined-only '" PLUGIN_PATH "'", "r"); // NOLINT
    assert_non_null(p);
    while (fgets(line, sizeof(line), p)) {
        const char *name = strrchr(line, ' ') + 1;
        assert_true(strncmp(name, "plugin_", 7) == 0 || strcmp(name, "init\n") == 0 ||
                    strcmp(name, "fini\n") == 0 || strncmp(name, "jobcomp_p_", 10) == 0 ||
                    strncmp(name, "slurm_jobcomp_", 14) == 0);
    }
    assert_int_equal(pclose(p), 0);
}

int main(void)
{
    program_invocation_short_name = "slurmctld";
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_what_is_recorded),
        T(test_what_is_not_recorded),
        T(test_only_in_slurmctld),
        T(test_times_without_forwarder),
        T(test_times_with_dead_agent),
        T(test_times_with_black_hole),
        T(test_times_with_stubborn_forwarder),
        T(test_how_the_forwarder_is_started),
        T(test_respawn),
        T(test_disk_full),
        T(test_spool_is_no_directory),
        cmocka_unit_test(test_linked_with_libc_only),
    };
    return cmocka_run_group_tests_name("jobcomp hook", tests, NULL, NULL);
}
