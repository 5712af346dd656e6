/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "agent/util/error.h"

static const int codes[] = {
#define ERR(name, value, text, class) ERR_##name,
#include "agent/util/err.def"
#undef ERR
};

enum { CODES = sizeof(codes) / sizeof(codes[0]) };

static void every_code_has_text_and_class(void **state)
{
    for (size_t i = 0; i < CODES; i++) {
        assert_true(codes[i] < 0);
        assert_string_not_equal(err_text(codes[i]), "unknown error");
        assert_true(strlen(err_text(codes[i])) > 3);
        assert_int_not_equal(err_class_of(codes[i]), ERR_CLASS_NONE);
        for (size_t j = i + 1; j < CODES; j++) {
            assert_int_not_equal(codes[i], codes[j]);
            assert_string_not_equal(err_text(codes[i]), err_text(codes[j]));
        }
    }
}

static void the_classes_that_money_depends_on(void **state)
{
    assert_int_equal(err_class_of(ERR_OUTCOME_UNKNOWN), ERR_CLASS_UNKNOWN);
    assert_int_equal(err_class_of(ERR_UNAVAILABLE), ERR_CLASS_TRANSIENT);
    assert_int_equal(err_class_of(ERR_REFUSED), ERR_CLASS_PERMANENT);
    for (size_t i = 0; i < CODES; i++)
        if (codes[i] != ERR_OUTCOME_UNKNOWN)
            assert_int_not_equal(err_class_of(codes[i]), ERR_CLASS_UNKNOWN);
}

static void other_codes(void **state)
{
    assert_string_equal(err_text(0), "success");
    assert_string_equal(err_text(5), "success");
    assert_int_equal(err_class_of(0), ERR_CLASS_NONE);
    assert_int_equal(err_class_of(1), ERR_CLASS_NONE);
    assert_string_equal(err_text(-1), "unknown error");
    assert_int_equal(err_class_of(-1), ERR_CLASS_UNKNOWN); // the careful choice
}

static void setting_returns_the_code(void **state)
{
    struct error err = {0};
    assert_int_equal(error_set(&err, ERR_IO, "%s: %d", "file", 3), ERR_IO);
    assert_int_equal(err.code, ERR_IO);
    assert_string_equal(err.text, "file: 3");
    assert_int_equal(error_set(NULL, ERR_IO, "x"), ERR_IO);
}

static void texts_are_one_line(void **state)
{
    struct error err = {0};
    (void)error_set(&err,
                    ERR_IO,
                    "%s",
                    "a\nb\r\tc\x7f\x01"
                    "d\xc3\xa9");
    assert_string_equal(err.text, "a b  c  d\xc3\xa9");
    (void)error_prefix(&err, "%s", "p\nq");
    assert_string_equal(err.text, "p q: a b  c  d\xc3\xa9");
}

static void prefixing_keeps_the_code(void **state)
{
    struct error err = {0};
    (void)error_set(&err, ERR_DENIED, "no");
    assert_int_equal(error_prefix(&err, "job %d", 1), ERR_DENIED);
    assert_string_equal(err.text, "job 1: no");
    assert_int_equal(error_prefix(NULL, "x"), ERR_IO);
    err = (struct error){0};
    assert_int_equal(error_prefix(&err, "x"), ERR_IO);
}

static void long_texts_are_cut(void **state)
{
    struct error err = {0};
    char text[2000];
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)error_set(&err, ERR_IO, "%s", text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    (void)error_prefix(&err, "short");
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_memory_equal(err.text, "short: aaa", 10);
    (void)error_prefix(&err, "%s", text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_text_and_class),
        cmocka_unit_test(the_classes_that_money_depends_on),
        cmocka_unit_test(other_codes),
        cmocka_unit_test(setting_returns_the_code),
        cmocka_unit_test(texts_are_one_line),
        cmocka_unit_test(prefixing_keeps_the_code),
        cmocka_unit_test(long_texts_are_cut),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
