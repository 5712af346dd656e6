/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The state machine: rules that every table must keep, and doc/job-states.md, which must be what
 * the table says. `test_fsm.t --print` writes that file's text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/engine/engine_private.h"
#include "agent/util/file.h"

static void print(struct buf *b)
{
    buf_puts(b,
             "# The states of a job\n\n"
             "This file is `tests/unit/test_fsm.t --print`; a test compares it with the code\n"
             "(`agent/engine/fsm.c`).\n\n"
             "| state | meaning | what is done in it |\n|---|---|---|\n");
    for (int s = JOB_NONE + 1; s < JOB_STATE_COUNT; s++)
        buf_putf(b,
                 "| %s | %s | %s |\n",
                 job_state_name(s),
                 job_state_meaning(s),
                 job_intent_name(fsm_intent(s)));
    buf_puts(b, "\n| event | meaning |\n|---|---|\n");
    for (int ev = EV_NONE + 1; ev < EV_COUNT; ev++)
        buf_putf(b, "| %s | %s |\n", job_event_name(ev), job_event_meaning(ev));
    buf_puts(b,
             "\nWhat is not in this table is an error: logged, and without effect.\n\n"
             "| state | event | next state |\n|---|---|---|\n");
    for (int s = JOB_NONE; s < JOB_STATE_COUNT; s++)
        for (int ev = EV_NONE + 1; ev < EV_COUNT; ev++)
            if (fsm_next(s, ev) != JOB_NONE)
                buf_putf(b,
                         "| %s | %s | %s |\n",
                         job_state_name(s),
                         job_event_name(ev),
                         job_state_name(fsm_next(s, ev)));
}

static void test_document(void **state)
{
    struct buf want = BUF_INIT(64 * 1024), have = BUF_INIT(64 * 1024);
    struct error err = {0};
    char path[4096];
    const char *top = getenv("top_srcdir");
    snprintf(path, sizeof(path), "%s/doc/job-states.md", top ? top : ".");
    print(&want);
    assert_int_equal(file_read(path, &have, &err), 0);
    assert_string_equal(buf_str(&have), buf_str(&want));
    buf_free(&want);
    buf_free(&have);
}

/* From every state a job can still come to DONE, whatever happened before. */
static void test_done_is_reachable(void **state)
{
    bool reach[JOB_STATE_COUNT] = {[JOB_DONE] = true};
    for (int round = 0; round < JOB_STATE_COUNT; round++)
        for (int s = JOB_NONE; s < JOB_STATE_COUNT; s++)
            for (int ev = EV_NONE; ev < EV_COUNT; ev++)
                if (fsm_next(s, ev) != JOB_NONE && reach[fsm_next(s, ev)]) reach[s] = true;
    for (int s = JOB_NONE; s < JOB_STATE_COUNT; s++)
        assert_true(reach[s]);
}

/* Nothing leads back to a state in which the job would be submitted again, but a new claim. */
static void test_no_second_submission(void **state)
{
    static const enum job_state after[] = {JOB_SUBMITTED,
                                           JOB_RUNNING,
                                           JOB_ENDED,
                                           JOB_REFUSED,
                                           JOB_STOPPING,
                                           JOB_CANCELLING,
                                           JOB_REPORTED,
                                           JOB_DONE};
    for (size_t i = 0; i < sizeof(after) / sizeof(after[0]); i++)
        for (int ev = EV_NONE + 1; ev < EV_COUNT; ev++) {
            enum job_state to = fsm_next(after[i], ev);
            if (ev == EV_CLAIM) continue;
            assert_true(to != JOB_CLAIMED && to != JOB_FETCHED && to != JOB_SUBMITTING);
        }
}

/* What crosses another message on its way, or is told twice, is never an error. */
static void test_late_events_are_harmless(void **state)
{
    static const enum job_state late[] = {JOB_ENDED, JOB_REPORTED, JOB_DONE};
    for (size_t i = 0; i < sizeof(late) / sizeof(late[0]); i++) {
        assert_int_equal(fsm_next(late[i], EV_STARTED), late[i]);
        assert_int_equal(fsm_next(late[i], EV_END), late[i]);
    }
    for (int s = JOB_NONE + 1; s < JOB_STATE_COUNT; s++)
        assert_int_not_equal(fsm_next(s, EV_GONE), JOB_NONE);
    assert_int_equal(fsm_next(JOB_SUBMITTED, EV_END), JOB_ENDED);
}

static void test_every_state_acts_or_waits_for_slurm(void **state)
{
    for (int s = JOB_NONE + 1; s < JOB_STATE_COUNT; s++)
        assert_true(fsm_intent(s) != INTENT_NONE || s == JOB_SUBMITTED || s == JOB_DONE);
}

/* What is counted on a real Slurm is some seconds of it (tests/integration/wishes.mjs). */
static void test_slurm_is_asked_once_a_minute_at_rest(void **state)
{
    assert_int_equal(engine_slurm_pause_ms(true, 0, 1000), 60 * 1000);
    assert_int_equal(engine_slurm_pause_ms(true, 1, 1000), 1000);
    assert_int_equal(engine_slurm_pause_ms(true, 1000, 10000), 10000); // one query for all of them
    assert_true(engine_slurm_pause_ms(false, 5, 1000) > 1000);
}

static void test_out_of_range(void **state)
{
    assert_int_equal(fsm_next(JOB_STATE_COUNT, EV_CLAIM), JOB_NONE);
    assert_int_equal(fsm_next(JOB_CLAIMED, EV_COUNT), JOB_NONE);
    assert_int_equal(fsm_next((enum job_state) - 1, EV_CLAIM), JOB_NONE);
    assert_int_equal(fsm_intent(JOB_STATE_COUNT), INTENT_NONE);
    assert_int_equal(job_state_parse("NONE"), JOB_NONE);
    assert_int_equal(job_state_parse("CLAIMED"), JOB_CLAIMED);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--print") == 0) {
        struct buf b = BUF_INIT(64 * 1024);
        print(&b);
        fputs(buf_str(&b), stdout);
        buf_free(&b);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_document),
        cmocka_unit_test(test_done_is_reachable),
        cmocka_unit_test(test_no_second_submission),
        cmocka_unit_test(test_late_events_are_harmless),
        cmocka_unit_test(test_every_state_acts_or_waits_for_slurm),
        cmocka_unit_test(test_slurm_is_asked_once_a_minute_at_rest),
        cmocka_unit_test(test_out_of_range),
    };
    return cmocka_run_group_tests_name("fsm", tests, NULL, NULL);
}
