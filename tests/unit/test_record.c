/* SPDX-License-Identifier: GPL-3.0-or-later */
/* plugins/common/record: what goes in comes out, and nothing damaged does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "plugins/common/record.h"

static struct record sample(void)
{
    struct record r = {
        .kind = RECORD_END,
        .job_id = 4711,
        .restart_count = 2,
        .submit_s = 1700000000,
        .start_s = 1700000010,
        .end_s = 1700000100,
        .suspended_s = 7,
        .job_state = 0x8003,
        .wait_status = 0x300,
        .user_id = 1000,
        .lost_before = 3,
        .written_s = 1700000101,
    };
    record_set_name(&r, "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    record_set_comment(&r, "supervisor 0x71be63f3384f5fb98995898a86b02fb2426c5788");
    record_set_cluster(&r, "lab");
    return r;
}

static void test_crc_check_value(void **state)
{
    (void)state;
    /* The check value that every description of CRC-32C gives. */
    assert_int_equal(record_crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(record_crc32c("", 0), 0);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct record in = sample(), out;
    uint8_t data[RECORD_MAX_LEN];
    uint32_t crc = 0;
    size_t len = record_encode(&in, data);
    assert_int_equal(len, RECORD_HEADER_LEN + 66 + 53 + 3);
    memset(&out, 0x55, sizeof(out));
    assert_int_equal(record_decode(&out, data, len, &crc), len);
    assert_memory_equal(&in, &out, sizeof(in));
    assert_int_not_equal(crc, 0);
}

static void test_extreme_values(void **state)
{
    (void)state;
    struct record in = {.kind = 255,
                        .job_id = UINT32_MAX,
                        .submit_s = INT64_MIN,
                        .end_s = INT64_MAX,
                        .job_state = UINT32_MAX,
                        .lost_before = UINT32_MAX};
    struct record out;
    uint8_t data[RECORD_MAX_LEN];
    size_t len = record_encode(&in, data);
    assert_int_equal(len, RECORD_MIN_LEN);
    assert_int_equal(record_decode(&out, data, len, NULL), len);
    assert_memory_equal(&in, &out, sizeof(in));
}

static void test_texts_are_cut_and_flagged(void **state)
{
    (void)state;
    char text[RECORD_NAME_MAX + 2];
    struct record r = {0}, out;
    uint8_t data[RECORD_MAX_LEN];
    memset(text, 'x', sizeof(text));

    text[RECORD_NAME_MAX] = '\0';
    record_set_name(&r, text);
    assert_int_equal(r.flags, 0);
    assert_int_equal(strlen(r.name), RECORD_NAME_MAX);

    text[RECORD_NAME_MAX] = 'x';
    text[RECORD_NAME_MAX + 1] = '\0';
    record_set_name(&r, text);
    record_set_comment(&r, text);
    record_set_cluster(&r, text);
    assert_int_equal(r.flags, RECORD_CUT_NAME | RECORD_CUT_COMMENT | RECORD_CUT_CLUSTER);
    assert_int_equal(record_encode(&r, data), RECORD_MAX_LEN);
    assert_int_equal(record_decode(&out, data, sizeof(data), NULL), RECORD_MAX_LEN);
    assert_int_equal(strlen(out.name), RECORD_NAME_MAX);

    record_set_name(&r, NULL);
    assert_string_equal(r.name, "");
    assert_int_equal(r.flags, RECORD_CUT_COMMENT | RECORD_CUT_CLUSTER);
}

static void test_every_prefix_is_incomplete(void **state)
{
    (void)state;
    struct record in = sample(), out;
    uint8_t data[RECORD_MAX_LEN];
    size_t len = record_encode(&in, data);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(record_decode(&out, data, i, NULL), 0);
}

static void test_every_flipped_bit_is_found(void **state)
{
    (void)state;
    struct record in = sample(), out;
    uint8_t data[RECORD_MAX_LEN];
    size_t len = record_encode(&in, data);
    for (size_t bit = 0; bit < len * 8; bit++) {
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(record_decode(&out, data, len, NULL) <= 0);
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(record_decode(&out, data, len, NULL), len);
}

static void test_find_passes_damage(void **state)
{
    (void)state;
    struct record in = sample();
    uint8_t data[3 * RECORD_MAX_LEN];
    memset(data, 'D', sizeof(data));
    size_t len = record_encode(&in, data + 100);
    assert_int_equal(record_find(data, 0, 100 + len, false), 100);
    assert_int_equal(record_find(data, 100, 100 + len, false), 100);
    assert_int_equal(record_find(data, 101, 100 + len, false), 100 + len);
    /* Cut short: only as a part. */
    assert_int_equal(record_find(data, 0, 100 + len - 1, false), 100 + len - 1);
    assert_int_equal(record_find(data, 0, 100 + len - 1, true), 100);
}

/* A user's text cannot hold a NUL, so it cannot hold a record. */
static void test_text_cannot_forge(void **state)
{
    (void)state;
    struct record in = sample(), out;
    uint8_t inner[RECORD_MAX_LEN], data[RECORD_MAX_LEN];
    size_t inner_len = record_encode(&in, inner);
    char text[RECORD_MAX_LEN + 1];
    memcpy(text, inner, inner_len);
    text[inner_len] = '\0';
    record_set_name(&in, text);
    record_set_comment(&in, text);
    size_t len = record_encode(&in, data);
    assert_int_equal(record_find(data, 1, len, false), len);
    assert_int_equal(record_decode(&out, data, len, NULL), len);
    assert_true(strlen(out.name) < 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc_check_value),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_extreme_values),
        cmocka_unit_test(test_texts_are_cut_and_flagged),
        cmocka_unit_test(test_every_prefix_is_incomplete),
        cmocka_unit_test(test_every_flipped_bit_is_found),
        cmocka_unit_test(test_find_passes_damage),
        cmocka_unit_test(test_text_cannot_forge),
    };
    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
