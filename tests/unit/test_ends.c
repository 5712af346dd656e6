/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Slurm's states: every combination has a meaning, and one that the contract takes; the forwarder
 * says the same to servers that know but a status; and doc/slurm-states.md has the tables, which
 * `test_ends.t --print` writes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/engine/ends.h"
#include "agent/store/job.h"
#include "agent/util/file.h"
#include "plugins/forwarder/request.h"

static const char *const flag_names[] = {"REVOKED",
                                         "REQUEUED",
                                         "REQUEUE_HOLD",
                                         "SPECIAL_EXIT",
                                         "REQUEUE_FED",
                                         "RESIZING",
                                         "CONFIGURING",
                                         "COMPLETING",
                                         "LAUNCH_FAILED",
                                         "STOPPED",
                                         "RECONFIG_FAIL",
                                         "SIGNALING",
                                         "POWER_UP_NODE",
                                         "RESV_DEL_HOLD",
                                         "STAGE_OUT",
                                         "EXPEDITING"};
enum { FLAGS = sizeof(flag_names) / sizeof(flag_names[0]) };

static uint32_t flag(const char *name)
{
    uint32_t value = 0;
    assert_int_equal(slurm_state_parse(name, &value), 0);
    return value;
}

/* ---- the document ---- */

static void print_phases(struct buf *b)
{
    static const struct {
        const char *title, *name;
    } columns[] = {{"alone", NULL},
                   {"CONFIGURING", "CONFIGURING"},
                   {"RESIZING", "RESIZING"},
                   {"REQUEUED, REQUEUE_HOLD, SPECIAL_EXIT, REQUEUE_FED", "REQUEUED"},
                   {"REVOKED", "REVOKED"}};
    enum { COLUMNS = sizeof(columns) / sizeof(columns[0]) };
    buf_puts(b, "| state |");
    for (size_t i = 0; i < COLUMNS; i++)
        buf_putf(b, " %s%s |", i ? "+ " : "", columns[i].title);
    buf_puts(b, "\n|---|---|---|---|---|---|\n");
    for (uint32_t base = 0; base < SLURM_STATE_COUNT; base++) {
        buf_putf(b, "| %s |", slurm_state_name(base));
        for (size_t i = 0; i < COLUMNS; i++) {
            uint32_t flags = columns[i].name ? flag(columns[i].name) : 0;
            buf_putf(b, " %s |", slurm_phase_name(slurm_phase_of(base | flags)));
        }
        buf_puts(b, "\n");
    }
}

static void print_ends(struct buf *b)
{
    static const char *const when[] = {
        [END_ALWAYS] = "",
        [END_NOT_RUN] = "the plugin saw that its script was never run",
        [END_NOT_STARTED] = "it was given no nodes",
        [END_NO_CODE] = "exit status 0",
        [END_SOME_CODE] = "exit status not 0",
        [END_LAUNCH] = "an exit status that no process can have",
    };
    size_t count;
    const struct end_row *rows = ends_table(&count);
    buf_puts(b, "| state | and | on chain | exit code | reason |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < count; i++) {
        buf_putf(b,
                 "| %s | %s | %s | ",
                 slurm_state_name(rows[i].base),
                 when[rows[i].when],
                 chain_job_status_name(rows[i].status));
        if (rows[i].exit_code == END_OWN_CODE)
            buf_puts(b, "its own");
        else
            buf_putf(b, "%d", rows[i].exit_code);
        buf_putf(b, " | %s |\n", rows[i].reason);
    }
}

static void test_document(void **state)
{
    void (*const parts[])(struct buf *) = {print_phases, print_ends};
    struct buf have = BUF_INIT(256 * 1024);
    char path[4096];
    const char *top = getenv("top_srcdir");
    snprintf(path, sizeof(path), "%s/doc/slurm-states.md", top ? top : ".");
    assert_int_equal(file_read(path, &have, NULL), 0);
    for (size_t i = 0; i < 2; i++) {
        struct buf want = BUF_INIT(64 * 1024);
        parts[i](&want);
        if (!strstr(buf_str(&have), buf_str(&want)))
            fail_msg("%s has not this (test_ends.t --print):\n%s", path, buf_str(&want));
        buf_free(&want);
    }
    buf_free(&have);
}

/* ---- the table ---- */

/* The phase by the rule that the document gives in words: the first flag of these that is set. */
static enum slurm_phase expected_phase(uint32_t base, uint32_t state)
{
    if (state & SLURM_FLAG_REVOKED) return SLURM_PHASE_WAITING;
    for (size_t i = 1; i <= 4; i++)
        if (state & flag(flag_names[i])) return SLURM_PHASE_AGAIN;
    if (state & SLURM_FLAG_RESIZING) return SLURM_PHASE_RUNNING;
    if (base == SLURM_RUNNING && state & SLURM_FLAG_CONFIGURING) return SLURM_PHASE_WAITING;
    return base == SLURM_PENDING     ? SLURM_PHASE_WAITING
           : base == SLURM_RUNNING   ? SLURM_PHASE_RUNNING
           : base == SLURM_SUSPENDED ? SLURM_PHASE_SUSPENDED
                                     : SLURM_PHASE_ENDED;
}

static void test_every_state_has_a_phase(void **state)
{
    for (uint32_t base = 0; base < SLURM_STATE_COUNT; base++)
        for (uint32_t set = 0; set < 1 << FLAGS; set++) {
            uint32_t value = base;
            for (size_t i = 0; i < FLAGS; i++)
                if (set & 1 << i) value |= flag(flag_names[i]);
            if (slurm_phase_of(value) != expected_phase(base, value)) fail_msg("0x%x", value);
        }
    for (uint32_t base = SLURM_STATE_COUNT; base <= SLURM_STATE_BASE; base++)
        assert_int_equal(slurm_phase_of(base), SLURM_PHASE_UNKNOWN);
}

static const uint32_t statuses[] = {0, 1 << 8, 77 << 8, 255 << 8, 9, 15, 9 | 0x80, 0xfd, 0xfb5};
enum { STATUSES = sizeof(statuses) / sizeof(statuses[0]) };

/* Calls `check` for every end that there can be. */
static void each_end(void (*check)(const struct news *n, void *ctx), void *ctx)
{
    for (uint32_t base = SLURM_COMPLETE; base < SLURM_STATE_COUNT; base++)
        for (size_t i = 0; i < 4 * STATUSES; i++) {
            struct news n = {
                .state = base, .wait_status = statuses[i / 4], .started = i & 1, .not_run = i & 2};
            if (n.started) n.state |= SLURM_FLAG_COMPLETING;
            check(&n, ctx);
        }
}

static void check_contract(const struct news *n, void *ctx)
{
    struct end end = end_of(n);
    const char *what = slurm_state_name(n->state);
    bool finished = end.status == CHAIN_JOB_FINISHED;
    if (strstr(end.reason, "not known")) fail_msg("%s: no row", what);
    if (end.status < CHAIN_JOB_CANCELLED || end.status > CHAIN_JOB_OUT_OF_CREDITS)
        fail_msg("%s: %s is no end", what, chain_job_status_name(end.status));
    // From SCHEDULED the contract takes these two alone.
    if (!end.ran && end.status != CHAIN_JOB_CANCELLED && end.status != CHAIN_JOB_FAILED)
        fail_msg("%s never ran and is %s", what, chain_job_status_name(end.status));
    if (end.ran && !n->started) fail_msg("%s: without nodes it cannot have run", what);
    if (end.exit_code < 0 || end.exit_code > 255) fail_msg("%s: %d", what, end.exit_code);
    if ((end.status == CHAIN_JOB_FAILED) != (end.exit_code != 0))
        fail_msg("%s, 0x%x: %s with exit code %d",
                 what,
                 n->wait_status,
                 chain_job_status_name(end.status),
                 end.exit_code);
    bool success = (n->state & SLURM_STATE_BASE) == SLURM_COMPLETE && n->wait_status == 0 &&
                   n->started && !n->not_run;
    if (finished != success) fail_msg("%s, 0x%x: FINISHED %d", what, n->wait_status, finished);
    assert_true(strlen(end.reason) < JOB_REASON_MAX);
}

static void test_every_end_is_one_of_the_contract(void **state)
{
    each_end(check_contract, NULL);
}

static void mark_row(const struct news *n, void *ctx)
{
    size_t count;
    const struct end_row *rows = ends_table(&count);
    struct end end = end_of(n);
    bool *used = ctx;
    for (size_t i = 0; i < count; i++)
        if (rows[i].base == (n->state & SLURM_STATE_BASE) && rows[i].status == end.status &&
            strcmp(rows[i].reason, end.reason) == 0 &&
            (rows[i].exit_code == END_OWN_CODE || rows[i].exit_code == end.exit_code))
            used[i] = true;
}

static void test_no_row_is_dead(void **state)
{
    bool used[64] = {0};
    size_t count;
    (void)ends_table(&count);
    assert_true(count < 64);
    each_end(mark_row, used);
    for (size_t i = 0; i < count; i++)
        if (!used[i]) fail_msg("row %zu is never the one", i);
}

static void test_some_ends(void **state)
{
    static const struct {
        uint32_t state, wait_status;
        bool started;
        enum chain_job_status status;
        int exit_code;
        bool ran;
    } table[] = {
        {SLURM_COMPLETE, 0, true, CHAIN_JOB_FINISHED, 0, true},
        {SLURM_FAILED, 3 << 8, true, CHAIN_JOB_FAILED, 3, true},
        {SLURM_FAILED, 9, true, CHAIN_JOB_FAILED, 137, true},
        {SLURM_FAILED, 0xfb5, true, CHAIN_JOB_FAILED, 181, true}, // no place for its output
        {SLURM_CANCELLED, 15, true, CHAIN_JOB_CANCELLED, 0, true},
        {SLURM_CANCELLED, 0, false, CHAIN_JOB_CANCELLED, 0, false},
        {SLURM_TIMEOUT, 15, true, CHAIN_JOB_OUT_OF_CREDITS, 0, true},
        {SLURM_NODE_FAIL, 0, true, CHAIN_JOB_FAILED, 1, true},
        {SLURM_DEADLINE, 1 << 8, false, CHAIN_JOB_FAILED, 1, false},
        {SLURM_OOM, 0xfd, true, CHAIN_JOB_FAILED, 137, true}, // as the record has it
        {SLURM_OOM, 125, true, CHAIN_JOB_FAILED, 137, true},  // as accounting has it
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct news n = {.state = table[i].state,
                               .wait_status = table[i].wait_status,
                               .started = table[i].started};
        struct end end = end_of(&n);
        assert_int_equal(end.status, table[i].status);
        assert_int_equal(end.exit_code, table[i].exit_code);
        assert_int_equal(end.ran, table[i].ran);
    }
}

/* ---- the forwarder ---- */

static enum request_status status_of(enum chain_job_status status)
{
    return status == CHAIN_JOB_CANCELLED        ? REQUEST_CANCELLED
           : status == CHAIN_JOB_FINISHED       ? REQUEST_FINISHED
           : status == CHAIN_JOB_OUT_OF_CREDITS ? REQUEST_OUT_OF_CREDITS
                                                : REQUEST_FAILED;
}

static void check_forwarder(const struct news *n, void *ctx)
{
    const struct record r = {
        .kind = RECORD_END,
        .flags = RECORD_SETTLED | (n->not_run ? RECORD_NOT_RUN : 0),
        .job_state = n->state,
        .wait_status = n->wait_status,
        .name = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    };
    const char *why;
    enum request_status want = status_of(end_of(n).status);
    if (request_status(&r, &why) != want)
        fail_msg("%s, 0x%x: %d, not %d",
                 slurm_state_name(n->state),
                 n->wait_status,
                 request_status(&r, &why),
                 want);
}

static void test_the_forwarder_says_the_same(void **state)
{
    each_end(check_forwarder, NULL);
    for (uint32_t base = 0; base < SLURM_STATE_COUNT; base++)
        for (size_t i = 0; i < FLAGS; i++) {
            struct record r = {
                .kind = RECORD_END,
                .flags = RECORD_SETTLED,
                .job_state = base | flag(flag_names[i]),
                .name = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
            };
            const char *why;
            bool ended = slurm_phase_of(r.job_state) == SLURM_PHASE_ENDED;
            if ((request_status(&r, &why) != REQUEST_UNSPECIFIED) != ended)
                fail_msg("0x%x", r.job_state);
        }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--print") == 0) {
        struct buf b = BUF_INIT(64 * 1024);
        print_phases(&b);
        buf_puts(&b, "\n");
        print_ends(&b);
        fputs(buf_str(&b), stdout);
        buf_free(&b);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_document),
        cmocka_unit_test(test_every_state_has_a_phase),
        cmocka_unit_test(test_every_end_is_one_of_the_contract),
        cmocka_unit_test(test_no_row_is_dead),
        cmocka_unit_test(test_some_ends),
        cmocka_unit_test(test_the_forwarder_says_the_same),
    };
    return cmocka_run_group_tests_name("ends", tests, NULL, NULL);
}
