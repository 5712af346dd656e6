/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/slurm/state.h"
#include "agent/util/error.h"

static void test_names(void **state)
{
    uint32_t s;
    for (uint32_t i = 0; i < SLURM_STATE_COUNT; i++) {
        assert_int_equal(slurm_state_parse(slurm_state_name(i), &s), 0);
        assert_int_equal(s, i);
    }
    assert_string_equal(slurm_state_name(SLURM_OOM), "OUT_OF_MEMORY");
    assert_string_equal(slurm_state_name(SLURM_COMPLETE | SLURM_FLAG_COMPLETING), "COMPLETED");
    assert_string_equal(slurm_state_name(200), "?");
    assert_int_equal(slurm_state_parse("COMPLETING", &s), 0);
    assert_int_equal(s, SLURM_FLAG_COMPLETING);
    assert_int_equal(slurm_state_parse("REQUEUED", &s), 0);
    assert_int_equal(s, SLURM_FLAG_REQUEUE);
    s = 99;
    assert_int_equal(slurm_state_parse("running", &s), ERR_NOTFOUND);
    assert_int_equal(slurm_state_parse("", &s), ERR_NOTFOUND);
    assert_int_equal(s, 99);
}

static void test_phases(void **state)
{
    static const struct {
        uint32_t state;
        enum slurm_phase phase;
    } table[] = {
        {SLURM_PENDING, SLURM_PHASE_WAITING},
        {SLURM_PENDING | SLURM_FLAG_COMPLETING, SLURM_PHASE_WAITING},
        {SLURM_PENDING | SLURM_FLAG_SPECIAL_EXIT, SLURM_PHASE_AGAIN},
        {SLURM_RUNNING, SLURM_PHASE_RUNNING},
        {SLURM_RUNNING | SLURM_FLAG_CONFIGURING, SLURM_PHASE_WAITING},
        {SLURM_RUNNING | SLURM_FLAG_COMPLETING, SLURM_PHASE_RUNNING},
        {SLURM_RUNNING | SLURM_FLAG_RESIZING, SLURM_PHASE_RUNNING},
        {SLURM_SUSPENDED | SLURM_FLAG_STOPPED, SLURM_PHASE_SUSPENDED},
        {SLURM_COMPLETE, SLURM_PHASE_ENDED},
        {SLURM_CANCELLED | SLURM_FLAG_COMPLETING, SLURM_PHASE_ENDED},
        {SLURM_OOM, SLURM_PHASE_ENDED},
        {SLURM_NODE_FAIL | SLURM_FLAG_REQUEUE, SLURM_PHASE_AGAIN},
        {SLURM_FAILED | SLURM_FLAG_REQUEUE_HOLD, SLURM_PHASE_AGAIN},
        {SLURM_STATE_COUNT, SLURM_PHASE_UNKNOWN},
        {0xff, SLURM_PHASE_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        assert_int_equal(slurm_phase_of(table[i].state), table[i].phase);
}

static void test_exit_codes(void **state)
{
    assert_int_equal(slurm_exit_code(0), 0);
    assert_int_equal(slurm_exit_code(256), 1);
    assert_int_equal(slurm_exit_code(255 << 8), 255);
    assert_int_equal(slurm_exit_code(9), 137);
    assert_int_equal(slurm_exit_code(15 | 0x80), 143);
    assert_int_equal(slurm_exit_code(0xfd), 253); // SIG_OOM of Slurm
    assert_int_equal(slurm_exit_code(0xfffffffe), 254);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_exit_codes),
    };
    return cmocka_run_group_tests_name("slurm_state", tests, NULL, NULL);
}
