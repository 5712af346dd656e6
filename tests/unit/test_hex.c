/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "agent/util/error.h"
#include "agent/util/hex.h"

static void digits_have_their_values(void **state)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    for (int c = -128; c < 256; c++) {
        const char *at = (char)c ? strchr(digits, (char)c) : NULL;
        int expected = at ? (int)(at - digits) : -1;
        if (expected > 15) expected -= 6;
        assert_int_equal(hex_digit((char)c), expected);
    }
}

static void encoding_is_lower_case_with_prefix(void **state)
{
    char out[13];
    memset(out, 'x', sizeof(out));
    assert_ptr_equal(hex_encode(out, "\x00\x01\x9f\xAB\xff", 5), out);
    assert_string_equal(out, "0x00019fabff");
    assert_string_equal(hex_encode(out, NULL, 0), "0x");
}

static void every_byte_survives(void **state)
{
    uint8_t in[256], back[256];
    char text[2 * 256 + 3];
    for (int i = 0; i < 256; i++)
        in[i] = (uint8_t)i;
    hex_encode(text, in, sizeof(in));
    assert_int_equal(strlen(text), 514);
    assert_int_equal(hex_decode(back, sizeof(back), text), 0);
    assert_memory_equal(in, back, sizeof(in));
    memset(back, 0, sizeof(back));
    assert_int_equal(hex_decode(back, sizeof(back), text + 2), 0);
    assert_memory_equal(in, back, sizeof(in));
}

static void case_and_prefix_are_free(void **state)
{
    static const char *const texts[] = {"aBcD", "0xABcd", "0XabCD"};
    for (size_t i = 0; i < 3; i++) {
        uint8_t out[2] = {0};
        assert_int_equal(hex_decode(out, 2, texts[i]), 0);
        assert_int_equal(out[0], 0xab);
        assert_int_equal(out[1], 0xcd);
    }
    assert_int_equal(hex_decode(NULL, 0, ""), 0);
    assert_int_equal(hex_decode(NULL, 0, "0x"), 0);
}

static void wrong_texts_leave_the_output_alone(void **state)
{
    static const char *const texts[] = {"",
                                        "0x",
                                        "ab",
                                        "abc",
                                        "abcde",
                                        "abcdef",
                                        "0xabc",
                                        "0xabcde",
                                        "abcg",
                                        "0x0xab",
                                        " abcd",
                                        "abcd ",
                                        "abcd\n",
                                        "ab-d",
                                        "+bcd",
                                        "\303\251cd"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        uint8_t out[2] = {0x11, 0x22};
        assert_int_equal(hex_decode(out, 2, texts[i]), ERR_INVALID);
        assert_int_equal(out[0], 0x11);
        assert_int_equal(out[1], 0x22);
    }
    assert_int_equal(hex_decode(NULL, SIZE_MAX, "ab"), ERR_INVALID);
    assert_int_equal(hex_decode(NULL, SIZE_MAX / 2 + 1, "ab"), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digits_have_their_values),
        cmocka_unit_test(encoding_is_lower_case_with_prefix),
        cmocka_unit_test(every_byte_survives),
        cmocka_unit_test(case_and_prefix_are_free),
        cmocka_unit_test(wrong_texts_leave_the_output_alone),
    };
    return cmocka_run_group_tests_name("hex", tests, NULL, NULL);
}
