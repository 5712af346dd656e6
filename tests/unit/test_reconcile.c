/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of reconciliation: every cell is walked, against rules that no cell may break, against
 * the state machine, and against doc/reconciliation.md, which must be what the table says.
 * `test_reconcile.t --print` writes that file's text from "## The table" on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/engine/reconcile.h"
#include "agent/util/file.h"

static const char heading[] = "## The table\n";

#define EACH_CELL(s, c, l)                              \
    for (int s = JOB_NONE; s < JOB_STATE_COUNT; s++)    \
        for (int c = 0; c < RECONCILE_CHAIN_COUNT; c++) \
            for (int l = 0; l < RECONCILE_SLURM_COUNT; l++)

static void print_state(struct buf *b, enum job_state s)
{
    buf_putf(b, "\n### %s\n\n%s\n\n| on chain |", job_state_name(s), job_state_meaning(s));
    for (int l = 0; l < RECONCILE_SLURM_COUNT; l++)
        buf_putf(b, " %s in Slurm |", reconcile_slurm_name(l));
    buf_puts(b, "\n|---|---|---|---|---|---|\n");
    for (int c = 0; c < RECONCILE_CHAIN_COUNT; c++) {
        buf_putf(b, "| %s |", reconcile_chain_name(c));
        for (int l = 0; l < RECONCILE_SLURM_COUNT; l++)
            buf_putf(b, " %s |", reconcile_action_name(reconcile_decide(s, c, l)));
        buf_puts(b, "\n");
    }
}

static void print(struct buf *b)
{
    buf_puts(b, heading);
    buf_puts(
        b,
        "\nFrom here on this file is `tests/unit/test_reconcile.t --print`; a test compares it "
        "with the\ncode (`agent/engine/reconcile.c`).\n\n"
        "| on chain | meaning |\n|---|---|\n");
    for (int c = 0; c < RECONCILE_CHAIN_COUNT; c++)
        buf_putf(b, "| %s | %s |\n", reconcile_chain_name(c), reconcile_chain_meaning(c));
    buf_puts(b, "\n| in Slurm | meaning |\n|---|---|\n");
    for (int l = 0; l < RECONCILE_SLURM_COUNT; l++)
        buf_putf(b, "| %s | %s |\n", reconcile_slurm_name(l), reconcile_slurm_meaning(l));
    buf_puts(
        b, "\n| action | event ([job-states.md](job-states.md)) | what is done |\n|---|---|---|\n");
    for (int a = RECONCILE_UNDECIDED + 1; a < RECONCILE_ACTION_COUNT; a++)
        buf_putf(b,
                 "| %s | %s | %s |\n",
                 reconcile_action_name(a),
                 reconcile_event(a) ? job_event_name(reconcile_event(a)) : "",
                 reconcile_action_meaning(a));
    for (int s = JOB_NONE; s < JOB_STATE_COUNT; s++)
        print_state(b, s);
}

static void test_document(void **state)
{
    struct buf want = BUF_INIT(64 * 1024), have = BUF_INIT(64 * 1024);
    struct error err = {0};
    char path[4096];
    const char *top = getenv("top_srcdir");
    snprintf(path, sizeof(path), "%s/doc/reconciliation.md", top ? top : ".");
    print(&want);
    assert_int_equal(file_read(path, &have, &err), 0);
    const char *table = strstr(buf_str(&have), heading);
    assert_non_null(table);
    assert_string_equal(table, buf_str(&want));
    buf_free(&want);
    buf_free(&have);
}

static void test_no_cell_is_empty(void **state)
{
    EACH_CELL(s, c, l)
    {
        enum reconcile_action a = reconcile_decide(s, c, l);
        assert_true(a > RECONCILE_UNDECIDED && a < RECONCILE_ACTION_COUNT);
    }
}

/* An action is an event that the state machine allows in that state, and one that does something.
 */
static void test_the_state_machine_allows_it(void **state)
{
    EACH_CELL(s, c, l)
    {
        enum job_event event = reconcile_event(reconcile_decide(s, c, l));
        if (event == EV_NONE) continue;
        enum job_state to = fsm_next(s, event);
        if (to == JOB_NONE) fail_msg("%s in %s", job_event_name(event), job_state_name(s));
        assert_true((int)to != s || event == EV_UNREPORTED);
    }
}

/* With the same facts, one decision after the other comes to an end, and none is taken back. */
static void test_decisions_come_to_an_end(void **state)
{
    EACH_CELL(s, c, l)
    {
        int steps = 0;
        enum job_event last = EV_NONE;
        for (enum job_state at = s;; steps++) {
            enum job_event event = reconcile_event(reconcile_decide(at, c, l));
            // What is reported again is under way, and the facts change.
            if (event == EV_NONE || (event == EV_UNREPORTED && last == event)) break;
            at = fsm_next(at, event);
            last = event;
            assert_true(steps < 4);
        }
    }
}

static bool is_in(enum reconcile_action a, const enum reconcile_action *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == a) return true;
    return false;
}

/* Who cannot be reached says nothing: neither Slurm nor the chain. */
static void test_unknown_proves_nothing(void **state)
{
    static const enum reconcile_action harmless[] = {RECONCILE_NOTHING, RECONCILE_WAIT};
    static const enum reconcile_action by_slurm[] = {
        RECONCILE_NOTHING, RECONCILE_WAIT, RECONCILE_ADOPT, RECONCILE_STARTED, RECONCILE_END};
    EACH_CELL(s, c, l)
    {
        enum reconcile_action a = reconcile_decide(s, c, l);
        if (c == RECONCILE_CHAIN_UNKNOWN) assert_true(is_in(a, by_slurm, 5));
        if (c == RECONCILE_CHAIN_UNKNOWN && l >= RECONCILE_SLURM_ABSENT)
            assert_true(is_in(a, harmless, 2));
    }
}

/* Lost is what Slurm is proved not to have, and what is over here by Slurm's own word. */
static void test_lost_needs_proof(void **state)
{
    EACH_CELL(s, c, l)
    {
        if (reconcile_decide(s, c, l) != RECONCILE_LOST) continue;
        assert_true(l == RECONCILE_SLURM_ABSENT || s == JOB_REFUSED || s == JOB_DONE);
        assert_true(c == RECONCILE_CHAIN_SCHEDULED || c == RECONCILE_CHAIN_RUNNING);
    }
    // And a job that waits for Slurm does not wait for ever.
    static const enum job_state waiting[] = {JOB_SUBMITTED, JOB_RUNNING, JOB_STOPPING};
    for (size_t i = 0; i < 3; i++)
        for (int c = RECONCILE_CHAIN_SCHEDULED; c <= RECONCILE_CHAIN_RUNNING; c++)
            assert_int_equal(reconcile_decide(waiting[i], c, RECONCILE_SLURM_ABSENT),
                             RECONCILE_LOST);
}

/* A Slurm job is cancelled only when the contract says that it does not want it from us (now). */
static void test_cancelled_by_the_contract_only(void **state)
{
    EACH_CELL(s, c, l)
    {
        enum reconcile_action a = reconcile_decide(s, c, l);
        if (a != RECONCILE_GONE && a != RECONCILE_STRAY) continue;
        assert_true(c != RECONCILE_CHAIN_UNKNOWN && c != RECONCILE_CHAIN_RUNNING);
        // Of a job that the contract waits for, only the Slurm job of an earlier life of it.
        if (c == RECONCILE_CHAIN_SCHEDULED) assert_int_equal(s, JOB_DONE);
        if (a == RECONCILE_STRAY) assert_true(l <= RECONCILE_SLURM_RUNNING);
        // Whose it is cannot be told if neither store nor contract knows it.
        if (c == RECONCILE_CHAIN_NONE) assert_int_not_equal(s, JOB_NONE);
    }
}

/* What the contract wants no more and Slurm still has: nobody leaves it running. */
static void test_nothing_runs_unwanted(void **state)
{
    static const int unwanted[] = {RECONCILE_CHAIN_OTHER,
                                   RECONCILE_CHAIN_PENDING,
                                   RECONCILE_CHAIN_META_SCHEDULED,
                                   RECONCILE_CHAIN_FINAL};
    for (int s = JOB_NONE; s < JOB_STATE_COUNT; s++)
        for (size_t i = 0; i < 4; i++)
            for (int l = RECONCILE_SLURM_WAITING; l <= RECONCILE_SLURM_RUNNING; l++) {
                enum job_state at = s;
                for (int steps = 0; steps < 4; steps++) {
                    enum job_event event = reconcile_event(reconcile_decide(at, unwanted[i], l));
                    if (event == EV_NONE) break;
                    at = fsm_next(at, event);
                }
                // What is on its way to DONE is cancelled there.
                assert_true(at == JOB_CANCELLING || at == JOB_ENDED || at == JOB_REFUSED ||
                            at == JOB_REPORTED);
            }
}

/* What the contract says has started is never submitted (again). */
static void test_nothing_runs_twice(void **state)
{
    for (int s = JOB_CLAIMED; s <= JOB_SUBMITTING; s++)
        for (int l = 0; l < RECONCILE_SLURM_COUNT; l++)
            assert_int_not_equal(reconcile_decide(s, RECONCILE_CHAIN_RUNNING, l),
                                 RECONCILE_NOTHING);
    EACH_CELL(s, c, l)
    {
        enum job_event event = reconcile_event(reconcile_decide(s, c, l));
        enum job_state to = event ? fsm_next(s, event) : (enum job_state)s;
        if ((int)to != s && s != JOB_NONE)
            assert_true(to != JOB_CLAIMED && to != JOB_FETCHED && to != JOB_SUBMITTING);
    }
}

static void test_out_of_range(void **state)
{
    assert_int_equal(reconcile_decide(JOB_STATE_COUNT, 0, 0), RECONCILE_WAIT);
    assert_int_equal(reconcile_decide(JOB_DONE, RECONCILE_CHAIN_COUNT, 0), RECONCILE_WAIT);
    assert_int_equal(reconcile_decide(JOB_DONE, 0, RECONCILE_SLURM_COUNT), RECONCILE_WAIT);
    assert_int_equal(reconcile_event(RECONCILE_ACTION_COUNT), EV_NONE);
    assert_string_equal(reconcile_action_name(RECONCILE_ACTION_COUNT), "?");
    assert_string_equal(reconcile_chain_name(RECONCILE_CHAIN_COUNT), "?");
    assert_string_equal(reconcile_slurm_name(RECONCILE_SLURM_COUNT), "?");
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
        cmocka_unit_test(test_no_cell_is_empty),
        cmocka_unit_test(test_the_state_machine_allows_it),
        cmocka_unit_test(test_decisions_come_to_an_end),
        cmocka_unit_test(test_unknown_proves_nothing),
        cmocka_unit_test(test_lost_needs_proof),
        cmocka_unit_test(test_cancelled_by_the_contract_only),
        cmocka_unit_test(test_nothing_runs_unwanted),
        cmocka_unit_test(test_nothing_runs_twice),
        cmocka_unit_test(test_out_of_range),
    };
    return cmocka_run_group_tests_name("reconcile", tests, NULL, NULL);
}
