/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The SPANK plugin's job_prolog, called as slurmstepd does: which jobs start what, and how quickly.
 */
#include "tests/plugins/host.h"

#include "slurm/slurm_errno.h"
#include "slurm/spank.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- What the plugin takes from slurmstepd. */

static int item_error;

spank_err_t spank_get_item(spank_t spank, spank_item_t item, ...)
{
    va_list ap;
    assert_int_equal(item, S_JOB_ID);
    va_start(ap, item);
    *va_arg(ap, uint32_t *) = 4242;
    va_end(ap);
    return (spank_err_t)item_error;
}

/* ---- */

static int (*job_prolog)(spank_t, int, char **);
static char script[120], out[120], forwarder_option[160];

static int setup(void **state)
{
    if (host_setup(state) != 0) return -1;
    job_prolog =
        (int (*)(spank_t, int, char **))host_symbol(host_open("spank"), "slurm_spank_job_prolog");
    item_error = ESPANK_SUCCESS;
    setenv("SLURM_JOB_COMMENT", COMMENT, 1);
    unsetenv("SLURM_JOB_RESTART_COUNT");
    unsetenv("SLURM_JOB_START_TIME");
    /* It tells what it was given, and lives on. */
    host_make_script(script,
                     sizeof(script),
                     "#!/bin/sh\ncd \"$(dirname \"$0\")\"\n"
                     "files=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2)\n"
                     "{ echo \"$@\"; env | grep -c SLURM\n"
                     "[ \"$(cut -d' ' -f6 /proc/$$/stat)\" = $$ ] && echo leads a session\n"
                     "echo $files; } > out.tmp\n"
                     "mv out.tmp out; sleep 2\n");
    (void)snprintf(out, sizeof(out), "%s/out", host_base);
    (void)snprintf(forwarder_option, sizeof(forwarder_option), "forwarder=%s", script);
    return 0;
}

enum { OPTIONS_MAX = 8 };

/* With the options, of which the first is always the script. */
static int prolog(const char *const options[])
{
    char *argv[OPTIONS_MAX] = {forwarder_option};
    int argc = 1;
    for (; options[argc - 1]; argc++)
        argv[argc] = (char *)options[argc - 1];
    return job_prolog(NULL, argc, argv);
}

static bool was_started(int wait_ms)
{
    for (int ms = 0; access(out, F_OK) != 0; ms += 10) {
        if (ms >= wait_ms) return false;
        poll(NULL, 0, 10);
    }
    return true;
}

static void check_output(const char *want)
{
    char text[1024] = "";
    assert_true(was_started(5000));
    FILE *f = fopen(out, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(text, want);
}

static void test_how_it_is_started(void **state)
{
    (void)state;
    static const char *const options[] = {
        "endpoint=agent.example:3000", "ca=/etc/ca.pem", "host-override=grid", NULL};
    setenv("SLURM_JOB_RESTART_COUNT", "3", 1);
    setenv("SLURM_JOB_START_TIME", "1700000000", 1);
    long long before = host_mono_ns();
    assert_int_equal(prolog(options), 0);
    assert_in_range((host_mono_ns() - before) / 1000000, 0, 1500); // it sleeps for 2 s
    check_output("--detach --once --job-id 4242 --restart-count 3 --start-time 1700000000 "
                 "--endpoint agent.example:3000 --tls --ca /etc/ca.pem --host-override grid\n"
                 "0\nleads a session\n/dev/null /dev/null /dev/null\n");
    assert_int_equal(host_errors, 0);
}

/* Up to 22.11 Slurm does not say when the job started; and it never says nonsense. */
static void test_what_slurm_does_not_say(void **state)
{
    (void)state;
    static const char *const options[] = {"endpoint=a:1", NULL};
    setenv("SLURM_JOB_RESTART_COUNT", "--dump /etc/shadow", 1);
    assert_int_equal(prolog(options), 0);
    check_output("--detach --once --job-id 4242 --restart-count 0 --start-time 0 --endpoint a:1\n"
                 "0\nleads a session\n/dev/null /dev/null /dev/null\n");
}

/* No process, no word, not even a look at the options. */
static void test_other_jobs(void **state)
{
    (void)state;
    static const char *const comments[] = {NULL, "", "supervisor", " supervisor x", "other"};
    static const char *const options[] = {"endpoint=a:1", "nonsense", NULL};
    for (size_t i = 0; i < sizeof(comments) / sizeof(comments[0]); i++) {
        if (comments[i])
            setenv("SLURM_JOB_COMMENT", comments[i], 1);
        else
            unsetenv("SLURM_JOB_COMMENT");
        assert_int_equal(prolog(options), 0);
    }
    assert_false(was_started(300));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); // no child at all
    assert_int_equal(host_errors, 0);
}

static void test_unknown_option_is_named(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "endpiont=a:1", "ca=relative", "spool=/tmp", "endpoint=nonsense", "TLS=yes", ""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *const options[] = {"endpoint=a:1", bad[i], NULL};
        host_errors = 0;
        assert_int_equal(prolog(options), 0);
        assert_int_equal(host_errors, 1);
        assert_non_null(strstr(host_last_error, "plugstack.conf"));
        assert_non_null(strstr(host_last_error, bad[i]));
        assert_true(was_started(5000)); // the rest is used
        assert_int_equal(unlink(out), 0);
    }
}

static void test_nothing_without_endpoint(void **state)
{
    (void)state;
    static const char *const options[] = {"tls", NULL};
    assert_int_equal(prolog(options), 0);
    assert_int_equal(host_errors, 1);
    assert_non_null(strstr(host_last_error, "needs endpoint="));
    assert_false(was_started(200));
}

static void test_failures_are_not_the_jobs(void **state)
{
    (void)state;
    static const char *const options[] = {"endpoint=a:1", "forwarder=/nonexistent/x", NULL};
    assert_int_equal(prolog(options), 0);
    assert_int_equal(host_errors, 1);
    assert_non_null(strstr(host_last_error, "cannot start /nonexistent/x: No such file"));
    item_error = 1;
    assert_int_equal(prolog(options), 0);
    assert_false(was_started(200));
}

enum { CALLS = 21, MEDIAN_MAX_US = 50 * 1000 };

static int compare(const void *a, const void *b)
{
    long long x = *(const long long *)a, y = *(const long long *)b;
    return (x > y) - (x < y);
}

/* The time that it adds to the prolog, with the real forwarder and an agent that is not there. */
static void test_time(void **state)
{
    (void)state;
    static const char *const options[] = {
        "endpoint=127.0.0.1:1", "forwarder=" FORWARDER_BUILT, NULL};
    long long us[CALLS];
    for (int i = 0; i < CALLS; i++) {
        long long before = host_mono_ns();
        assert_int_equal(prolog(options), 0);
        us[i] = (host_mono_ns() - before) / 1000;
    }
    qsort(us, CALLS, sizeof(us[0]), compare);
    print_message("# job_prolog: median %lld us, longest %lld us\n", us[CALLS / 2], us[CALLS - 1]);
    assert_in_range(us[CALLS / 2], 1, MEDIAN_MAX_US);
    assert_int_equal(host_errors, 0);
}

/* What was started is nobody's business but its own; here it ends with the test. */
static int teardown(void **state)
{
    pid_t pid;
    char path[64];
    FILE *f;
    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    while ((f = fopen(path, "r"))) {
        bool any = fscanf(f, "%d", &pid) == 1;
        fclose(f);
        if (!any) break;
        (void)kill(-pid, SIGKILL);
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    return host_teardown(state);
}

static void test_linkage(void **state)
{
    (void)state;
    static const char *const names[] = {
        "plugin_", "spank_plugin_version\n", "slurm_spank_job_prolog\n", NULL};
    host_check_linkage("spank", names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_how_it_is_started),
        T(test_what_slurm_does_not_say),
        T(test_other_jobs),
        T(test_unknown_option_is_named),
        T(test_nothing_without_endpoint),
        T(test_failures_are_not_the_jobs),
        T(test_time),
        cmocka_unit_test(test_linkage),
    };
    return cmocka_run_group_tests_name("SPANK hook", tests, NULL, NULL);
}
