/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/util/buf.h"
#include "agent/util/error.h"

static void an_empty_one_is_an_empty_string(void **state)
{
    struct buf b = BUF_INIT(10);
    assert_string_equal(buf_str(&b), "");
    assert_null(buf_steal(&b, NULL));
    assert_int_equal(buf_error(&b), 0);
    buf_free(&b);
    buf_wipe(&b);
    buf_free(NULL);
    buf_wipe(NULL);
    assert_int_equal(b.max, 10);
}

static void puts_append_and_terminate(void **state)
{
    struct buf b = BUF_INIT(100);
    assert_int_equal(buf_puts(&b, "ab"), 0);
    assert_int_equal(buf_put_u8(&b, 'c'), 0);
    assert_int_equal(buf_put(&b, "\0d", 2), 0);
    assert_int_equal(buf_put(&b, NULL, 0), 0);
    assert_int_equal(buf_putf(&b, "%d-%s", 12, "x"), 0);
    assert_int_equal(b.len, 9);
    assert_memory_equal(b.data, "abc\0d12-x", 10);
    buf_free(&b);
    assert_int_equal(b.len, 0);
    assert_null(b.data);
}

static void the_maximum_is_exact(void **state)
{
    for (size_t max = 0; max < 600; max += 37) {
        struct buf b = BUF_INIT(max);
        for (size_t i = 0; i < max; i++)
            assert_int_equal(buf_put_u8(&b, (uint8_t)i), 0);
        assert_int_equal(buf_put(&b, NULL, 0), 0);
        assert_int_equal(buf_put_u8(&b, 0), ERR_LIMIT);
        assert_int_equal(b.len, max);
        for (size_t i = 0; i < max; i++)
            assert_int_equal(b.data[i], (uint8_t)i);
        buf_free(&b);
    }
}

static void a_put_is_all_or_nothing(void **state)
{
    struct buf b = BUF_INIT(4);
    assert_int_equal(buf_puts(&b, "abc"), 0);
    assert_int_equal(buf_putf(&b, "%s", "de"), ERR_LIMIT);
    assert_string_equal(buf_str(&b), "abc");
    assert_int_equal(b.len, 3);
    buf_free(&b);
}

static void errors_stick_until_reset(void **state)
{
    struct buf b = BUF_INIT(4);
    assert_int_equal(buf_puts(&b, "abcde"), ERR_LIMIT);
    assert_int_equal(buf_puts(&b, "a"), ERR_LIMIT);
    assert_int_equal(buf_putf(&b, "a"), ERR_LIMIT);
    assert_null(buf_reserve(&b, 1));
    assert_int_equal(buf_error(&b), ERR_LIMIT);
    assert_null(buf_steal(&b, NULL));
    buf_reset(&b);
    assert_int_equal(buf_error(&b), 0);
    assert_int_equal(buf_puts(&b, "a"), 0);
    assert_string_equal(buf_str(&b), "a");
    buf_reset(&b);
    assert_string_equal(buf_str(&b), "");
    assert_int_equal(b.len, 0);
    buf_free(&b);
}

static void sizes_that_overflow_are_refused(void **state)
{
    struct buf b = BUF_INIT(SIZE_MAX);
    assert_int_equal(buf_puts(&b, "a"), 0);
    assert_int_equal(buf_put(&b, "", SIZE_MAX), ERR_LIMIT);
    buf_reset(&b);
    assert_null(buf_reserve(&b, SIZE_MAX));
    assert_int_equal(buf_error(&b), ERR_LIMIT);
    buf_free(&b);
}

static void reserved_bytes_are_zero_and_counted(void **state)
{
    struct buf b = BUF_INIT(1000);
    assert_int_equal(buf_puts(&b, "x"), 0);
    uint8_t *at = buf_reserve(&b, 700);
    assert_non_null(at);
    assert_ptr_equal(at, b.data + 1);
    for (size_t i = 0; i < 700; i++)
        assert_int_equal(at[i], 0);
    assert_int_equal(b.len, 701);
    assert_null(buf_reserve(&b, 300));
    buf_free(&b);
}

static void stolen_memory_is_the_callers(void **state)
{
    struct buf b = BUF_INIT(10);
    size_t len = 0;
    assert_int_equal(buf_puts(&b, "abc"), 0);
    char *text = buf_steal(&b, &len);
    assert_string_equal(text, "abc");
    assert_int_equal(len, 3);
    free(text);
    assert_null(b.data);
    assert_int_equal(buf_puts(&b, "0123456789"), 0); // the maximum is kept
    assert_int_equal(buf_puts(&b, "x"), ERR_LIMIT);
    buf_free(&b);
}

static void long_formats_grow_it(void **state)
{
    struct buf b = BUF_INIT(10000);
    for (int i = 0; i < 100; i++)
        assert_int_equal(buf_putf(&b, "%099d", i), 0);
    assert_int_equal(b.len, 9900);
    assert_int_equal(b.data[9899], '9');
    assert_int_equal(b.data[9900], 0);
    buf_wipe(&b);
    assert_null(b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_one_is_an_empty_string),
        cmocka_unit_test(puts_append_and_terminate),
        cmocka_unit_test(the_maximum_is_exact),
        cmocka_unit_test(a_put_is_all_or_nothing),
        cmocka_unit_test(errors_stick_until_reset),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(reserved_bytes_are_zero_and_counted),
        cmocka_unit_test(stolen_memory_is_the_callers),
        cmocka_unit_test(long_formats_grow_it),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
