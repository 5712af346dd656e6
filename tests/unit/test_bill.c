/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The minutes that are reported, and the words about those that were billed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/chain/contract.h"
#include "agent/engine/bill.h"

enum { NO_LIMIT = 1000000, GRACE = BILL_GRACE_MIN, T = 1700000000 };

static void whole_minutes(void **state)
{
    (void)state;
    static const uint64_t cases[][2] = {{0, 0},
                                        {1, 1},
                                        {59, 1},
                                        {60, 1},
                                        {61, 2},
                                        {3600, 60},
                                        {3601, 61},
                                        {UINT64_MAX, UINT64_MAX / 60 + 1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(bill_measured_min(cases[i][0]), cases[i][1]);
        assert_int_equal(bill_minutes(cases[i][0], UINT64_MAX, GRACE, 0, T), cases[i][1]);
    }
}

static void never_above_what_was_paid(void **state)
{
    (void)state;
    assert_int_equal(bill_minutes(30 * 60, 30, GRACE, T, T + 30 * 60), 30);
    assert_int_equal(bill_minutes(30 * 60 + 40, 30, GRACE, T, T + 31 * 60),
                     30); // Slurm kills a bit late
    assert_int_equal(bill_minutes(600, 0, GRACE, T, T + 600), 0);
}

/* A report above elapsed + 15 is billed as elapsed: 15 minutes of a long job would be lost. */
static void never_above_what_the_contract_takes(void **state)
{
    (void)state;
    // RUNNING was reported 20 minutes late: 40 of 60 minutes passed on chain.
    assert_int_equal(bill_minutes(3600, NO_LIMIT, GRACE, T, T + 40 * 60 + 15), 55);
    // By a clock that is some seconds behind it would be 39: the report must hold then, too.
    assert_int_equal(bill_minutes(3600, NO_LIMIT, GRACE, T, T + 40 * 60 + 14), 54);
    // In time, nothing is lost: the 15 minutes are more than clocks differ by.
    assert_int_equal(bill_minutes(3600, NO_LIMIT, GRACE, T, T + 3600), 60);
    assert_int_equal(bill_minutes(59, NO_LIMIT, GRACE, T, T), 1);
    // A chain whose time stands still or runs back.
    assert_int_equal(bill_minutes(3600, NO_LIMIT, GRACE, T, T), 15);
    assert_int_equal(bill_minutes(3600, NO_LIMIT, GRACE, T, T - 100000), 15);
    // As the contract has it.
    assert_int_equal(bill_minutes(3600, NO_LIMIT, 1, T, T + 40 * 60 + 15), 41);
    assert_int_equal(bill_minutes(3600, NO_LIMIT, 0, T, T + 40 * 60 + 15), 40);
    assert_int_equal(bill_minutes(3600, NO_LIMIT, 0, T, T), 0);
    // RUNNING's block is not known: the contract may well take all of it.
    assert_int_equal(bill_minutes(3600, NO_LIMIT, GRACE, 0, T), 60);
}

static void suspended(void **state)
{
    (void)state;
    assert_int_equal(bill_suspended_s(T, T + 100, 60), 40);
    assert_int_equal(bill_suspended_s(T, T + 100, 100), 0);
    assert_int_equal(bill_suspended_s(T, T + 100, 101), 0);
    assert_int_equal(bill_suspended_s(0, T, 0), 0); // never started
    assert_int_equal(bill_suspended_s(T, 0, 0), 0); // its end is not known
}

static void differences(void **state)
{
    (void)state;
    static const struct bill good = {.limit_min = 99,
                                     .duration_s = 61,
                                     .reported = true,
                                     .status = CHAIN_JOB_FINISHED,
                                     .minutes = 2,
                                     .confirmed = true,
                                     .chain_status = CHAIN_JOB_FINISHED,
                                     .billed_min = 2};
    char text[160];
    struct bill b = good;
    assert_string_equal(bill_difference(&b, text, sizeof(text)), "");

    b.minutes = b.limit_min = b.billed_min = 1;
    assert_string_equal(bill_difference(&b, text, sizeof(text)), "ran longer than was paid for");
    b.limit_min = 99;
    assert_non_null(strstr(bill_difference(&b, text, sizeof(text)), "too late to bill"));
    b = good;
    b.billed_min = 1;
    assert_string_equal(bill_difference(&b, text, sizeof(text)),
                        "2 minutes were reported, 1 billed");
    b.billed_min = UINT64_MAX;
    assert_non_null(strstr(bill_difference(&b, text, sizeof(text)), "price is not known"));
    assert_int_equal(bill_owed_min(&b), 2);
    b.minutes = 0;
    assert_int_equal(bill_owed_min(&b), 1);
    b = good;
    b.chain_status = CHAIN_JOB_PANICKED;
    assert_string_equal(bill_difference(&b, text, sizeof(text)),
                        "reported as FINISHED, on chain it is PANICKED");
    b = good;
    b.confirmed = false;
    assert_non_null(strstr(bill_difference(&b, text, sizeof(text)), "was not asked"));
    b.reported = false;
    b.start_s = T;
    assert_string_equal(bill_difference(&b, text, sizeof(text)), "ran, and was taken back");
    b.confirmed = true;
    assert_non_null(strstr(bill_difference(&b, text, sizeof(text)), "nothing is billed"));
    snprintf(b.cost_wei, sizeof(b.cost_wei), "100");
    assert_non_null(strstr(bill_difference(&b, text, sizeof(text)), "not reported by this agent"));

    // Less than a second is reported as 0 minutes, and the contract makes it one.
    b = good;
    b.duration_s = 0;
    b.minutes = 0;
    b.billed_min = 1;
    assert_string_equal(bill_difference(&b, text, sizeof(text)), "");
    // Never ran: refunded.
    b.billed_min = 0;
    b.status = b.chain_status = CHAIN_JOB_CANCELLED;
    assert_string_equal(bill_difference(&b, text, sizeof(text)), "");
    // Refused: neither reported nor run.
    b = (struct bill){.limit_min = 5, .billed_min = UINT64_MAX};
    assert_string_equal(bill_difference(&b, text, sizeof(text)), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_minutes),
        cmocka_unit_test(never_above_what_was_paid),
        cmocka_unit_test(never_above_what_the_contract_takes),
        cmocka_unit_test(suspended),
        cmocka_unit_test(differences),
    };
    return cmocka_run_group_tests_name("bill", tests, NULL, NULL);
}
