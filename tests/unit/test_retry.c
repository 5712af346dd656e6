/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "agent/util/retry.h"

static void delays_lie_between_half_and_all(void **state)
{
    static const long long full[] = {100, 200, 400, 800, 1000, 1000};
    for (unsigned int attempt = 1; attempt <= 6; attempt++) {
        long long low = INT64_MAX, high = 0, d = full[attempt - 1];
        for (int i = 0; i < 2000; i++) {
            long long ms = retry_delay_ms(attempt, 100, 1000);
            assert_true(ms >= d / 2 && ms <= d);
            if (ms < low) low = ms;
            if (ms > high) high = ms;
        }
        // It is spread over the range: to miss a tenth of it in 2000 draws has no chance.
        assert_true(low < d / 2 + d / 20);
        assert_true(high > d - d / 20);
    }
}

static void the_cap_holds_for_ever(void **state)
{
    static const unsigned int attempts[] = {10, 63, 64, 65, 1000, UINT32_MAX};
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++)
        for (int n = 0; n < 100; n++) {
            long long ms = retry_delay_ms(attempts[i], 250, 60000);
            assert_true(ms >= 30000 && ms <= 60000);
        }
}

static void attempt_zero_is_like_the_first(void **state)
{
    for (int n = 0; n < 100; n++) {
        long long ms = retry_delay_ms(0, 100, 1000);
        assert_true(ms >= 50 && ms <= 100);
    }
}

static void small_values(void **state)
{
    assert_int_equal(retry_delay_ms(1, 1, 1), 1);
    assert_int_equal(retry_delay_ms(5, 100, 0), 0);
    assert_int_equal(retry_delay_ms(1, 100, 1), 1);
    for (int n = 0; n < 100; n++) {
        long long ms = retry_delay_ms(1, 2, 2);
        assert_true(ms >= 1 && ms <= 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays_lie_between_half_and_all),
        cmocka_unit_test(the_cap_holds_for_ever),
        cmocka_unit_test(attempt_zero_is_like_the_first),
        cmocka_unit_test(small_values),
    };
    return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
