/* SPDX-License-Identifier: GPL-3.0-or-later */
/* slurmctld is killed at any moment, and loses its rights: what the plugins make of it. */
#include "tests/plugins/host.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/plugins/agents.h"

/* ---- Killed. */

enum { ROUNDS = 15, EACH_MAX = 2000, NOBODY = 65534 };

/* Starts and ends, each of a job of its own, until it is killed; *written: how many hooks returned.
 */
static void live(int round, const char *location, atomic_int *written)
{
    void *jobcomp = host_load("jobcomp"), *prep = host_load("prep");
    host_end_fn record_end = host_end_hook(jobcomp);
    int (*record_start)(job_record_t *, bool *) =
        (int (*)(job_record_t *, bool *))host_symbol(prep, "prep_p_prolog_slurmctld");
    bool async;
    (void)host_set_location(jobcomp, location);
    for (int i = 0; i < EACH_MAX; i++) {
        host_job.job_id = (uint32_t)(round * EACH_MAX + i);
        if (i % 2)
            (void)record_end(&host_job, 1);
        else
            (void)record_start(&host_job, &async);
        atomic_store(written, i + 1);
        if (i % 8 == 0) poll(NULL, 0, 1);
    }
    (void)pause();
}

static bool seen[ROUNDS * EACH_MAX];

/* Mark the jobs that the agent was told of. */
static void read_log(const char *path)
{
    char line[512];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        const char *id = strstr(line, " id=");
        if (!id || !strchr(line, '\n')) continue;
        unsigned long n = strtoul(id + 4, NULL, 10);
        if (n < sizeof(seen)) seen[n] = true;
    }
    fclose(f);
}

static int count_missing(const int written[ROUNDS])
{
    int missing = 0;
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < written[round]; i++)
            missing += !seen[round * EACH_MAX + i];
    return missing;
}

/* What a hook returned from is not lost, and what was begun does no harm. */
static void test_killed_at_any_moment(void **state)
{
    (void)state;
    char location[AGENTS_LOCATION_MAX], log[120];
    int written[ROUNDS] = {0}, total = 0;
    struct record r;
    atomic_int *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    (void)snprintf(log, sizeof(log), "%s/events", host_base);
    agents_start_server(location, log);
    host_set_forwarder(FORWARDER_BUILT);

    srand((unsigned int)host_mono_ns());
    for (int round = 0; round < ROUNDS; round++) {
        atomic_store(shared, 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) live(round, location, shared);
        for (int i = 0; i < 2000 && round == 0 && atomic_load(shared) == 0; i++)
            poll(NULL, 0, 10); // so that one has returned at least
        int ms = rand() % 80;
        poll(NULL, 0, ms);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        written[round] = atomic_load(shared);
        total += written[round];
    }
    void *jobcomp = host_load("jobcomp");
    (void)host_set_location(jobcomp, location);
    for (int i = 0; i < 300; i++) {
        read_log(log);
        if (count_missing(written) == 0) break;
        poll(NULL, 0, 100);
    }
    print_message("# %d hooks returned before %d kills\n", total, ROUNDS);
    assert_int_equal(count_missing(written), 0);
    assert_true(total > 0);
    for (int i = 0; i < 100 && host_read_spool(&r) > 0; i++)
        poll(NULL, 0, 100);
    assert_int_equal(host_read_spool(&r), 0);
    agents_stop_server();
    (void)munmap(shared, sizeof(*shared));
}

/* ---- Rights. */

/* The spool's directory is somebody else's for a while. Root has all rights: be nobody. */
static void test_permission_lost(void **state)
{
    (void)state;
    struct record r;
    bool root = geteuid() == 0;
    if (root) {
        assert_int_equal(chown(host_base, NOBODY, NOBODY), 0);
        assert_int_equal(seteuid(NOBODY), 0);
    }
    void *jobcomp = host_load("jobcomp");
    host_end_fn record_end = host_end_hook(jobcomp);
    (void)host_set_location(jobcomp, AGENTS_DEAD);
    assert_int_equal(record_end(&host_job, 1), 0);
    assert_int_equal(host_errors, 0);
    assert_int_equal(chmod(host_spool, 0), 0);
    assert_int_equal(record_end(&host_job, 1), 0); // into the segment that it has

    (void)host_fini_ms(jobcomp); // and a new slurmctld
    (void)host_set_location(jobcomp, AGENTS_DEAD);
    for (int i = 0; i < 3; i++)
        assert_int_equal(record_end(&host_job, 1), 0);
    assert_int_equal(host_errors, 1);
    assert_non_null(strstr(host_last_error, host_spool));
    assert_non_null(strstr(host_last_error, "Permission denied"));

    assert_int_equal(chmod(host_spool, 0700), 0);
    poll(NULL, 0, 1100); // then it tries again
    assert_int_equal(record_end(&host_job, 1), 0);
    assert_int_equal(host_read_spool(&r), 3);
    assert_int_equal(r.lost_before, 3);
    if (root) assert_int_equal(seteuid(0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)
        T(test_killed_at_any_moment),
        T(test_permission_lost),
    };
    return cmocka_run_group_tests_name("hook faults", tests, NULL, NULL);
}
