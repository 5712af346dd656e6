/* SPDX-License-Identifier: GPL-3.0-or-later */
/* deepsquare-forwarder --once: how long and how often it tries, and how many of it there may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/util/clock.h"
#include "plugins/forwarder/once.h"

/* The agent: answers with `status` until it was called `until` times, then with OK. */
struct agent {
    int status, until, calls, slow_ms;
};

static int answer(void *ctx, const struct record *r, char *message, size_t size)
{
    struct agent *a = ctx;
    assert_int_equal(r->job_id, 42);
    (void)poll(NULL, 0, a->slow_ms);
    (void)snprintf(message, size, "the test says %d", a->status);
    return ++a->calls > a->until ? 0 : a->status;
}

enum { FOR_MS = 3000, CALL_MS = 500 };

static int once(struct agent *a, struct error *err, long long *took_ms)
{
    struct record start = {.kind = RECORD_START, .job_id = 42};
    long long before = clock_mono_ms();
    int rc = once_send(&start, answer, a, FOR_MS, CALL_MS, err);
    *took_ms = clock_mono_ms() - before;
    return rc;
}

static void test_taken(void **state)
{
    (void)state;
    struct agent a = {0};
    long long ms;
    assert_int_equal(once(&a, NULL, &ms), 0);
    assert_int_equal(a.calls, 1);
}

/* The agent is restarted, or does not know the job yet, or fails: told a little later. */
static void test_taken_later(void **state)
{
    (void)state;
    static const int statuses[] = {14, 5, 13, ERR_UNAVAILABLE};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        struct agent a = {.status = statuses[i], .until = 1};
        long long ms;
        assert_int_equal(once(&a, NULL, &ms), 0);
        assert_int_equal(a.calls, 2);
        assert_in_range(ms, 250, FOR_MS); // not at once
    }
}

static void test_given_up(void **state)
{
    (void)state;
    struct agent a = {.status = 14, .until = 1000};
    struct error err = {0};
    long long ms;
    assert_int_equal(once(&a, &err, &ms), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.text, "s: the test says 14"));
    assert_in_range(a.calls, 2, 8); // after 0.5 s, 1 s, 2 s, up to half of it less by chance
    assert_in_range(ms, 250, FOR_MS + 500);
}

/* Calls that last as long as they may do not stretch the time. */
static void test_black_hole(void **state)
{
    (void)state;
    struct agent a = {.status = 4, .until = 1000, .slow_ms = CALL_MS};
    long long ms;
    assert_int_equal(once(&a, NULL, &ms), ERR_UNAVAILABLE);
    assert_in_range(ms, CALL_MS, FOR_MS + 500);
}

static void test_refused_for_good(void **state)
{
    (void)state;
    static const int statuses[] = {3, 7, 11};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        struct agent a = {.status = statuses[i], .until = 1000};
        struct error err = {0};
        long long ms;
        assert_int_equal(once(&a, &err, &ms), ERR_REFUSED);
        assert_non_null(strstr(err.text, "refused: the test says"));
        assert_int_equal(a.calls, 1);
    }
}

/* As many as there are slots, and not one more; a slot is free when its process is gone. */
static void test_slots(void **state)
{
    (void)state;
    char dir[] = "/tmp/test_once.XXXXXX", path[64], missing[80];
    pid_t pids[ONCE_SLOTS];
    int ready[2], status;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/slots", dir);
    assert_int_equal(pipe(ready), 0);
    for (int i = 0; i < ONCE_SLOTS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            char byte = (char)(once_take_slot(path, NULL) == 0);
            if (write(ready[1], &byte, 1) == 1) (void)pause();
            _exit(0);
        }
    }
    for (int i = 0; i < ONCE_SLOTS; i++) {
        char byte = 0;
        assert_int_equal(read(ready[0], &byte, 1), 1);
        assert_int_equal(byte, 1);
    }
    struct error err = {0};
    assert_int_equal(once_take_slot(path, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "32 others"));
    (void)kill(pids[7], SIGKILL);
    assert_int_equal(waitpid(pids[7], &status, 0), pids[7]);
    assert_int_equal(once_take_slot(path, NULL), 0);
    for (int i = 0; i < ONCE_SLOTS; i++) {
        if (i == 7) continue;
        (void)kill(pids[i], SIGKILL);
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
    }
    close(ready[0]);
    close(ready[1]);
    (void)snprintf(missing, sizeof(missing), "%s/none/slots", dir);
    assert_int_equal(once_take_slot(missing, &err), ERR_IO);
    assert_non_null(strstr(err.text, missing));
    (void)unlink(path);
    (void)rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_taken_later),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_black_hole),
        cmocka_unit_test(test_refused_for_good),
        cmocka_unit_test(test_slots),
    };
    return cmocka_run_group_tests_name("once", tests, NULL, NULL);
}
