/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The prep plugin in a host that looks like slurmctld, or like slurmd, to it. */
#include "tests/plugins/host.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void *plugin;
static int (*prolog)(job_record_t *job, bool *async);

static void load(void)
{
    plugin = host_load("prep");
    prolog = (int (*)(job_record_t *, bool *))host_symbol(plugin, "prep_p_prolog_slurmctld");
}

/* What Slurm asks once: which of the calls (enum prep_call_type) it has to make. */
static int required_calls(void)
{
    void (*ask)(int, bool *) = (void (*)(int, bool *))host_symbol(plugin, "prep_p_required");
    int calls = 0;
    for (int type = 0; type < 5; type++) {
        bool required = false;
        ask(type, &required);
        calls |= required << type;
    }
    return calls;
}

enum { PROLOG_SLURMCTLD = 1 << 3 };

static int hook(void)
{
    bool async = true;
    int rc = prolog(&host_job, &async);
    assert_false(async);
    return rc;
}

static void test_start_is_recorded(void **state)
{
    (void)state;
    struct record r;
    load();
    assert_int_equal(required_calls(), PROLOG_SLURMCTLD);
    host_job.job_state = 0x4001;
    assert_int_equal(hook(), 0);
    assert_int_equal(host_read_spool(&r), 1);
    assert_int_equal(r.kind, RECORD_START);
    assert_int_equal(r.job_id, 42);
    assert_int_equal(r.restart_count, 1);
    assert_int_equal(r.submit_s, 1000);
    assert_int_equal(r.start_s, 1010);
    assert_int_equal(r.end_s, 0); // what Slurm has there is but the limit
    assert_int_equal(r.job_state, 0x4001);
    assert_string_equal(r.name, NAME);
    assert_string_equal(r.comment, COMMENT);
    assert_string_equal(r.cluster, "lab");
    assert_int_equal(host_errors, 0);
}

static void test_other_jobs(void **state)
{
    (void)state;
    static const char *const comments[] = {NULL, "", "supervisor", "xsupervisor 0x"};
    struct record r;
    load();
    for (size_t i = 0; i < sizeof(comments) / sizeof(comments[0]); i++) {
        host_job.comment = (char *)comments[i];
        assert_int_equal(hook(), 0);
    }
    assert_int_equal(access(host_spool, F_OK), -1);
    assert_int_equal(host_read_spool(&r), 0);
}

/* Both plugins have a segment of their own in one spool. */
static void test_beside_jobcomp(void **state)
{
    (void)state;
    struct record r;
    load();
    void *jobcomp = host_load("jobcomp");
    host_end_fn record_end = host_end_hook(jobcomp);
    assert_int_equal(host_set_location(jobcomp, "127.0.0.1:1"), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(hook(), 0);
        assert_int_equal(record_end(&host_job, 1), 0);
    }
    assert_int_equal(host_read_spool(&r), 20);
    (void)host_fini_ms(jobcomp);
    assert_int_equal(hook(), 0);
    assert_int_equal(host_read_spool(&r), 21);
}

/* slurmd loads it as well, on every node: nothing is asked for, nothing done. */
static void test_in_slurmd(void **state)
{
    (void)state;
    struct record r;
    program_invocation_short_name = "slurmd";
    slurm_conf.job_comp_type = NULL;
    load();
    assert_int_equal(required_calls(), 0);
    assert_int_equal(hook(), 0);
    int (*with_two)(void *, void *) = (int (*)(void *, void *))host_symbol(plugin, "prep_p_prolog");
    assert_int_equal(with_two(NULL, NULL), 0);
    with_two = (int (*)(void *, void *))host_symbol(plugin, "prep_p_epilog");
    assert_int_equal(with_two(NULL, NULL), 0);
    assert_int_equal(host_errors, 0);
    assert_int_equal(host_read_spool(&r), 0);
}

/* Without the jobcomp plugin nobody would read what it writes: it says so, and writes nothing. */
static void test_needs_jobcomp(void **state)
{
    (void)state;
    static const char *const types[] = {NULL, "", "jobcomp/none", "jobcomp/deepsquarex", "none"};
    struct record r;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        slurm_conf.job_comp_type = (char *)types[i];
        host_errors = 0;
        load();
        assert_int_equal(host_errors, 1);
        assert_non_null(strstr(host_last_error, "needs JobCompType=jobcomp/deepsquare"));
        assert_int_equal(required_calls(), 0);
        assert_int_equal(hook(), 0);
        assert_int_equal(host_read_spool(&r), 0);
        assert_int_equal(host_teardown(NULL), 0);
        assert_int_equal(host_setup(NULL), 0);
    }
    slurm_conf.job_comp_type = "deepsquare"; // newer releases let the first word be left out
    load();
    assert_int_equal(required_calls(), PROLOG_SLURMCTLD);
}

static void test_disk_trouble(void **state)
{
    (void)state;
    struct record r;
    load();
    FILE *f = fopen(host_spool, "w"); // no directory can be made there
    assert_non_null(f);
    fclose(f);
    assert_int_equal(hook(), 0);
    assert_int_equal(host_errors, 1);
    assert_non_null(strstr(host_last_error, "could not be written"));
    assert_int_equal(host_read_spool(&r), 0);
}

static void test_linkage(void **state)
{
    (void)state;
    static const char *const names[] = {"plugin_", "init\n", "fini\n", "prep_p_", NULL};
    host_check_linkage("prep", names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)
        T(test_start_is_recorded),
        T(test_other_jobs),
        T(test_beside_jobcomp),
        T(test_in_slurmd),
        T(test_needs_jobcomp),
        T(test_disk_trouble),
        cmocka_unit_test(test_linkage),
    };
    return cmocka_run_group_tests_name("prep hook", tests, NULL, NULL);
}
