/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is read of accounting. The records are what sacct of 22.05.8 wrote, but for their order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/slurm/sacct.h"
#include "agent/util/buf.h"

static struct error err;

static const char header[] =
    "Welcome\n"
    "JobIDRaw             State                                    ExitCode             Submit     "
    "          Start                End                  User\n"
    "-------------------- ---------------------------------------- -------------------- "
    "----------\n";

struct row {
    const char *id, *state, *exit, *submit, *start, *end, *name, *comment, *ran, *nodes;
};

static void put_row(struct buf *b, const struct row *r)
{
    (void)buf_putf(b,
                   "%-20s %-40s %-20s %-20s %-20s %-20s %-20s %-20s %-63s %-127s %-255s \n",
                   r->id,
                   r->state,
                   r->exit,
                   r->submit,
                   r->start,
                   r->end,
                   r->ran,
                   r->nodes,
                   "0x9b3bf93343ee3cde1c88d505eecd479e3b2cda44",
                   r->name,
                   r->comment);
}

static void the_records_are_read(void **state)
{
    static const struct {
        struct row row;
        uint32_t state, wait_status;
        int64_t start_s, end_s;
        uint64_t ran_s;
        bool started;
    } table[] = {
        {{"1", "FAILED", "3:0", "1795409929", "1795409929", "1795409931", "0xaa", "", "2", "n1"},
         SLURM_FAILED,
         3 << 8,
         1795409929,
         1795409931,
         2,
         true},
        {{"3", "FAILED", "0:9", "1795409929", "1795409931", "1795409931", "0xaa", "", "0", "n1"},
         SLURM_FAILED,
         9,
         1795409931,
         1795409931,
         0,
         true},
        {{"4", "CANCELLED by 20004", "0:0", "5", "6", "6", "cc", "", "0", "None assigned"},
         SLURM_CANCELLED,
         0,
         6,
         6,
         0,
         false},
        {{"5",
          "PENDING",
          "0:0",
          "1795409929",
          "Unknown",
          "Unknown",
          "held",
          "",
          "0",
          "None assigned"},
         SLURM_PENDING,
         0,
         0,
         0,
         0,
         false},
        {{"7", "RUNNING", "0:0", "1795409929", "1795409931", "Unknown", "tl", "", "12", "n[1-9]"},
         SLURM_RUNNING,
         0,
         1795409931,
         0,
         0,
         true},
        {{"8", "OUT_OF_MEMORY", "0:125", "5", "6", "7", "om", "supervisor x", "1", "n1"},
         SLURM_OOM,
         125,
         6,
         7,
         1,
         true},
        {{"9", "RESIZING", "0:0", "5", "6", "7", "r", "", "1", "n1"},
         SLURM_RUNNING | SLURM_FLAG_RESIZING,
         0,
         6,
         0,
         0,
         true},
        {{"10", "REQUEUED", "0:0", "5", "6", "9", "c", "", "3", "n1"},
         SLURM_FLAG_REQUEUE,
         0,
         0,
         0,
         3,
         true},
    };
    const size_t n = sizeof(table) / sizeof(table[0]);
    struct buf text = BUF_INIT(65536);
    struct slurm_job job;
    (void)buf_puts(&text, header);
    for (size_t i = 0; i < n; i++)
        put_row(&text, &table[i].row);
    const char *at = sacct_records(buf_str(&text));
    assert_non_null(at);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(sacct_next(&at, &job, &err), 1);
        assert_int_equal(job.state, table[i].state);
        assert_int_equal(job.wait_status, table[i].wait_status);
        assert_int_equal(job.start_s, table[i].start_s);
        assert_int_equal(job.end_s, table[i].end_s);
        assert_int_equal(job.ran_s, table[i].ran_s);
        assert_int_equal(job.started, table[i].started);
        assert_string_equal(job.name, table[i].row.name);
        assert_string_equal(job.comment, table[i].row.comment);
        assert_string_equal(job.user, "0x9b3bf93343ee3cde1c88d505eecd479e3b2cda44");
    }
    assert_int_equal(sacct_next(&at, &job, &err), 0);
    buf_free(&text);
}

/* The name is a user's to choose: whole records in it stay a part of the name. */
static void a_name_forges_nothing(void **state)
{
    static const char forged[] = "x\n77                   COMPLETED";
    struct buf text = BUF_INIT(65536);
    struct slurm_job job;
    const struct row row = {"2", "FAILED", "1:0", "1", "2", "3", forged, "c\n78 | |", "0", "n1"};
    put_row(&text, &row);
    put_row(&text, &row);
    const char *at = buf_str(&text);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sacct_next(&at, &job, &err), 1);
        assert_int_equal(job.id, 2);
        assert_string_equal(job.name, forged);
    }
    assert_int_equal(sacct_next(&at, &job, &err), 0);
    buf_free(&text);
}

static void what_is_no_record_is_refused(void **state)
{
    static const struct row rows[] = {
        {"x", "FAILED", "1:0", "1", "2", "3", "n", "", "0", "n1"},
        {"1_2", "FAILED", "1:0", "1", "2", "3", "n", "", "0", "n1"},
        {"1.batch", "FAILED", "1:0", "1", "2", "3", "n", "", "0", "n1"},
        {"4294967296", "FAILED", "1:0", "1", "2", "3", "n", "", "0", "n1"},
        {"1", "DANCING", "1:0", "1", "2", "3", "n", "", "0", "n1"},
        {"1", "", "1:0", "1", "2", "3", "n", "", "0", "n1"},
        {"1", "FAILED", "256:0", "1", "2", "3", "n", "", "0", "n1"},
        {"1", "FAILED", "0:128", "1", "2", "3", "n", "", "0", "n1"},
        {"1", "FAILED", "-1:0", "1", "2", "3", "n", "", "0", "n1"},
        {"1", "FAILED", "1:0", "2026-11-23T04:58:49", "2", "3", "n", "", "0", "n1"},
        {"1", "FAILED", "1:0", "1", "2", "soon", "n", "", "0", "n1"},
        {"1", "FAILED", "1:0", "1", "2", "3                    ", "n", "", "0", "n1"},
        {"1", "FAILED", "1:0", "1", "2", "3", "n", "", "-1", "n1"},
        {"1", "FAILED", "1:0", "1", "2", "3", "n", "", "00:00:01", "n1"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf text = BUF_INIT(65536);
        struct slurm_job job = {.id = 77};
        put_row(&text, &rows[i]);
        const char *at = buf_str(&text);
        assert_int_equal(sacct_next(&at, &job, &err), ERR_PROTO);
        assert_int_equal(job.id, 77);
        buf_free(&text);
    }
}

/* Cut at any byte: an error or the end, never a record and never beyond the text. */
static void what_is_cut_is_refused(void **state)
{
    struct buf text = BUF_INIT(65536);
    const struct row row = {"1", "FAILED", "1:0", "1", "2", "3", "n", "c", "0", "n1"};
    put_row(&text, &row);
    assert_int_equal(text.len, SACCT_RECORD_MAX);
    for (size_t n = 0; n < text.len; n++) {
        char cut[SACCT_RECORD_MAX + 1];
        struct slurm_job job;
        memcpy(cut, text.data, n);
        cut[n] = '\0';
        const char *at = cut;
        assert_int_equal(sacct_next(&at, &job, &err), n ? ERR_PROTO : 0);
    }
    buf_free(&text);
    assert_null(sacct_records(""));
    assert_null(sacct_records("JobID    State\n"));
    assert_null(sacct_records("JobIDRaw             State \n"));
    assert_null(sacct_records("JobIDRaw             State \nnot the rule\n"));
}

static void disabled_is_told_from_down(void **state)
{
    assert_true(sacct_is_disabled("Slurm accounting storage is disabled\n"));
    assert_false(sacct_is_disabled(
        "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection "
        "to host:127.0.0.1:26048: Connection refused\n"
        "sacct: error: Sending PersistInit msg: Resource temporarily unavailable\n"
        "sacct: error: Problem talking to the database: Resource temporarily unavailable\n"));
    assert_false(sacct_is_disabled(""));
}

static void the_queue_of_slurmdbd_is_read(void **state)
{
    uint64_t n = 77;
    assert_int_equal(
        sdiag_dbd_queue("Agent thread count:   0\nDBD Agent queue size: 0\n\n", &n, &err), 0);
    assert_int_equal(n, 0);
    assert_int_equal(sdiag_dbd_queue("DBD Agent queue size: 1234\r\n", &n, &err), 0);
    assert_int_equal(n, 1234);
    static const char *const bad[] = {
        "",
        "Agent queue size:     0\n",
        "DBD Agent queue size:",
        "DBD Agent queue size: \n0",
        "DBD Agent queue size: -1\n",
        "DBD Agent queue size: 99999999999999999999999\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(sdiag_dbd_queue(bad[i], &n, &err), ERR_PROTO);
        assert_int_equal(n, 1234);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_records_are_read),
        cmocka_unit_test(a_name_forges_nothing),
        cmocka_unit_test(what_is_no_record_is_refused),
        cmocka_unit_test(what_is_cut_is_refused),
        cmocka_unit_test(disabled_is_told_from_down),
        cmocka_unit_test(the_queue_of_slurmdbd_is_read),
    };
    return cmocka_run_group_tests_name("sacct", tests, NULL, NULL);
}
