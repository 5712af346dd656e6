/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The jobcomp plugin in a host that looks like slurmctld to it: what it records, how it runs the
 * forwarder, what a full disk does, and what it is linked with. How long it takes: test_hook_times.
 */
#include "tests/plugins/host.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void *plugin;
static host_end_fn record_end;

static int setup(void **state)
{
    if (host_setup(state) != 0) return -1;
    plugin = host_load("jobcomp");
    record_end = host_end_hook(plugin);
    return 0;
}

static int hook(void)
{
    return record_end(&host_job, 1);
}

static int set_location(const char *location)
{
    return host_set_location(plugin, location);
}

static void test_what_is_recorded(void **state)
{
    (void)state;
    struct record r;
    assert_int_equal(set_location("not an endpoint"), 0);
    assert_int_equal(host_errors, 1);
    assert_non_null(strstr(host_last_error, "NOT SENT"));

    assert_int_equal(hook(), 0);
    assert_int_equal(host_read_spool(&r), 1);
    assert_int_equal(r.kind, RECORD_END);
    assert_int_equal(r.job_id, 42);
    assert_int_equal(r.restart_count, 1);
    assert_int_equal(r.submit_s, 1000);
    assert_int_equal(r.start_s, 1010);
    assert_int_equal(r.end_s, 1100);
    assert_int_equal(r.suspended_s, 0);
    assert_int_equal(r.job_state, 0x8005);
    assert_int_equal(r.wait_status, 0x300);
    assert_int_equal(r.user_id, 1000);
    assert_string_equal(r.name, NAME);
    assert_string_equal(r.comment, COMMENT);
    assert_string_equal(r.cluster, "lab");
    assert_true(r.written_s > 1700000000);
}

/* What the hook records of host_job as it is now. */
static struct record recorded(void)
{
    struct record r = {0};
    assert_int_equal(hook(), 0);
    assert_true(host_read_spool(&r) > 0);
    return r;
}

/* As slurmctld leaves its times: pre_sus_time is what the job ran until suspend_time. */
static void test_suspended_time(void **state)
{
    (void)state;
    static const struct {
        time_t suspend_time, pre_sus_time, end_time;
        int64_t suspended_s;
    } table[] = {
        {0, 0, 1100, 0},
        {1050, 30, 1100, 10}, // ran 1010 to 1040, resumed 1050
        {1040, 30, 1040, 0},  // cancelled while suspended: it ended when it was suspended
        {1080, 50, 1080, 20}, // the same, after an earlier suspension of 20 s
    };
    (void)host_set_location(plugin, "127.0.0.1:1");
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        host_job.suspend_time = table[i].suspend_time;
        host_job.pre_sus_time = table[i].pre_sus_time;
        host_job.end_time = table[i].end_time;
        host_job.tot_sus_time = 77; // counts on after the end
        assert_int_equal(recorded().suspended_s, table[i].suspended_s);
    }
}

static void test_settled(void **state)
{
    (void)state;
    (void)host_set_location(plugin, "127.0.0.1:1");
    assert_int_equal(recorded().flags, RECORD_SETTLED);
    host_job.details->requeue = 1;
    assert_int_equal(recorded().flags, 0);
    host_job.details->requeue = 0;
    slurm_conf.requeue_exit = "77";
    assert_int_equal(recorded().flags, 0);
    slurm_conf.requeue_exit = NULL;
    slurm_conf.requeue_exit_hold = "78";
    assert_int_equal(recorded().flags, 0);
    slurm_conf.requeue_exit_hold = NULL;
    host_job.details = NULL;
    assert_int_equal(recorded().flags, 0);
}

/* COMPLETED, and its node drained just now: the script was never run. */
static void test_not_run(void **state)
{
    (void)state;
    (void)host_set_location(plugin, "127.0.0.1:1");
    slurm_conf.unkillable_timeout = 60;
    host_job.job_state = 0x8003;
    host_job.batch_host = "n1";
    host_job.start_time = 1099;
    assert_int_equal(recorded().flags, RECORD_SETTLED);
    host_node.reason = "batch job complete failure";
    host_node.reason_time = 1100;
    assert_int_equal(recorded().flags, RECORD_SETTLED | RECORD_NOT_RUN);
    host_node.reason_time = 1101;
    assert_int_equal(recorded().flags, RECORD_SETTLED | RECORD_NOT_RUN);
    host_node.reason_time = 1098; // drained for another job
    assert_int_equal(recorded().flags, RECORD_SETTLED);
    host_node.reason_time = 1100;
    host_job.start_time = 1040; // its script ran, and left a process that could not be killed
    assert_int_equal(recorded().flags, RECORD_SETTLED);
    host_job.start_time = 1099;
    host_job.job_state = 0x8005;
    assert_int_equal(recorded().flags, RECORD_SETTLED);
    host_job.job_state = 0x8003;
    host_node.reason = "maintenance";
    assert_int_equal(recorded().flags, RECORD_SETTLED);
    host_job.batch_host = "n2";
    assert_int_equal(recorded().flags, RECORD_SETTLED);
    host_job.batch_host = NULL;
    assert_int_equal(recorded().flags, RECORD_SETTLED);
    host_node.reason = NULL;
}

static void test_what_is_not_recorded(void **state)
{
    (void)state;
    struct record r;
    (void)set_location("127.0.0.1:1");
    host_job.comment = NULL;
    assert_int_equal(hook(), 0);
    host_job.comment = "";
    assert_int_equal(hook(), 0);
    host_job.comment = "supervisor"; // no blank
    assert_int_equal(hook(), 0);
    host_job.comment = "xsupervisor 0x";
    assert_int_equal(hook(), 0);
    host_job.comment = host_comment;
    host_job.job_state = 0x2001;
    assert_int_equal(hook(), 0);
    assert_int_equal(record_end(NULL, 1), 0);
    assert_int_equal(host_read_spool(&r), 0);

    host_job.job_state = 0x8003;
    host_job.name = NULL;
    host_job.details = NULL;
    assert_int_equal(hook(), 0);
    assert_int_equal(host_read_spool(&r), 1);
    assert_string_equal(r.name, "");
    assert_int_equal(r.submit_s, 0);
}

#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 5, 0)
/* From Slurm 25.05 on jobcomp plugins are told of starts too. */
static void test_start_is_recorded(void **state)
{
    (void)state;
    struct record r;
    host_end_fn start = (host_end_fn)host_symbol(plugin, "jobcomp_p_record_job_start");
    (void)set_location("127.0.0.1:1");
    host_job.job_state = 0x4001;
    assert_int_equal(start(&host_job, 2), 0);
    assert_int_equal(host_read_spool(&r), 1);
    assert_int_equal(r.kind, RECORD_START);
    assert_int_equal(r.start_s, 1010);
    assert_int_equal(r.end_s, 0); // what Slurm has there is but the limit
    host_job.comment = NULL;
    assert_int_equal(start(&host_job, 2), 0);
    assert_int_equal(host_read_spool(&r), 1);
}
#endif

/* A program other than slurmctld (sacct -c) must neither record nor start anything. */
static void test_only_in_slurmctld(void **state)
{
    (void)state;
    struct record r;
    host_set_forwarder("/nonexistent/forwarder");
    program_invocation_short_name = "sacct";
    (void)set_location("127.0.0.1:1");
    assert_int_equal(hook(), 0);
    program_invocation_short_name = "slurmctld";
    poll(NULL, 0, 200);
    assert_int_equal(host_errors, 0); // that it cannot be started would be logged
    assert_int_equal(access(host_spool, F_OK), -1);
    assert_int_equal(host_read_spool(&r), 0);
}

/* What the forwarder is given: and nothing else of ours. */
static void test_how_the_forwarder_is_started(void **state)
{
    (void)state;
    char path[120], text[2048] = "", out[120];
    host_make_script(path,
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
    host_set_forwarder(params);
    (void)set_location("127.0.0.1:1");
    (void)snprintf(out, sizeof(out), "%s/out", host_base);
    for (int i = 0; i < 1000 && access(out, F_OK) != 0; i++)
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
                   "--detach --spool %s --end-fd 3 --endpoint 127.0.0.1:1 --tls --ca /etc/ca.pem "
                   "--host-override grid\n0\nSigBlk:\t0000000000000000\n/dev/null\n"
                   "0000000\n",
                   host_spool);
    assert_string_equal(text, want);
}

enum { STARTS_MAX = 8 };

/* When the forwarder was started, in ms. */
static int read_starts(long long at_ms[STARTS_MAX])
{
    char path[120];
    int n = 0;
    (void)snprintf(path, sizeof(path), "%s/starts", host_base);
    FILE *f = fopen(path, "r");
    while (f && n < STARTS_MAX && fscanf(f, "%lld", &at_ms[n]) == 1) // NOLINT: our own numbers
        n++;
    if (f) fclose(f);
    return n;
}

static void wait_for_starts(int count, long long at_ms[STARTS_MAX])
{
    for (int i = 0; i < 2000 && read_starts(at_ms) < count; i++)
        poll(NULL, 0, 10);
    assert_int_equal(read_starts(at_ms), count);
}

/* Dies at once: started again, but slowly. A change of address starts the new one at once. */
static void test_respawn(void **state)
{
    (void)state;
    char path[120];
    long long at_ms[STARTS_MAX];
    host_make_script(
        path, sizeof(path), "#!/bin/sh\ndate +%s%3N >> \"$(dirname \"$0\")/starts\"\nexit 1\n");
    host_set_forwarder(path);
    (void)set_location("127.0.0.1:1");
    wait_for_starts(1, at_ms);
    (void)set_location("127.0.0.1:1"); // the same: SIGUSR2 and reconfigure
    wait_for_starts(2, at_ms);
    (void)set_location("127.0.0.1:2");
    wait_for_starts(3, at_ms);
    assert_true(at_ms[1] - at_ms[0] >= 900);  // a second after it had died, both by other clocks
    assert_true(at_ms[2] - at_ms[1] <= 1900); // it would have been two
    assert_in_range(host_fini_ms(plugin), 0, 500);
}

static void test_disk_full(void **state)
{
    (void)state;
    struct record r;
    struct rlimit limit;
    (void)set_location("127.0.0.1:1");
    assert_int_equal(hook(), 0);
    int before = host_errors;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 0; i < 1000; i++) {
        host_job.job_id = 1000 + (uint32_t)i;
        assert_int_equal(hook(), 0);
    }
    limit.rlim_cur = RLIM_INFINITY;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_in_range(host_errors - before, 1, 3); // not a line a record
    host_job.job_id = 7;
    assert_int_equal(hook(), 0);
    (void)host_fini_ms(plugin);
    assert_int_equal(host_read_spool(&r), 2);
    assert_int_equal(r.job_id, 7);
    assert_true(r.lost_before == 1000);
}

static void test_spool_is_no_directory(void **state)
{
    (void)state;
    struct record r;
    FILE *f = fopen(host_spool, "w");
    assert_non_null(f);
    fclose(f);
    (void)set_location("127.0.0.1:1");
    assert_int_equal(hook(), 0);
    assert_non_null(strstr(host_last_error, "could not be written"));
    assert_int_equal(unlink(host_spool), 0);
    poll(NULL, 0, 1100);
    assert_int_equal(hook(), 0);
    assert_int_equal(host_read_spool(&r), 1);
    assert_int_equal(r.lost_before, 1);
}

/* Nothing of C++, gRPC or TLS comes with it. */
static void test_linkage(void **state)
{
    (void)state;
    static const char *const names[] = {
        "plugin_", "init\n", "fini\n", "jobcomp_p_", "slurm_jobcomp_", NULL};
    host_check_linkage("jobcomp", names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, host_teardown)
        T(test_what_is_recorded),
        T(test_suspended_time),
        T(test_settled),
        T(test_not_run),
        T(test_what_is_not_recorded),
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 5, 0)
        T(test_start_is_recorded),
#endif
        T(test_only_in_slurmctld),
        T(test_how_the_forwarder_is_started),
        T(test_respawn),
        T(test_disk_full),
        T(test_spool_is_no_directory),
        cmocka_unit_test(test_linkage),
    };
    return cmocka_run_group_tests_name("jobcomp hook", tests, NULL, NULL);
}
