/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/rlp.h"

#include "agent/util/error.h"
#include "tests/unit/chain_test.h"
#include "tests/unit/vectors.h"

#define LOREM "Lorem ipsum dolor sit amet, consectetur adipisicing elit"

static void fill_pattern(uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)((7 * i + 3) & 0xff);
}

static void assert_buf(struct buf *b, const char *expected)
{
    assert_int_equal(buf_error(b), 0);
    assert_hex(b->data, b->len, expected);
    buf_free(b);
}

/* The examples of the Ethereum wiki. */
static void published_strings(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        size_t len;
        const char *rlp;
    } known[] = {
        {"dog", 3, "0x83646f67"},
        {"", 0, "0x80"},
        {"\0", 1, "0x00"},
        {"\x0f", 1, "0x0f"},
        {"\x7f", 1, "0x7f"},
        {"\x80", 1, "0x8180"},
        {"\x04\x00", 2, "0x820400"},
        {LOREM,
         56,
         "0xb8384c6f72656d20697073756d20646f6c6f722073697420616d65742c20636f6e7365637465747572"
         "206164697069736963696e6720656c6974"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct buf b = BUF_INIT(1024);
        assert_int_equal(rlp_put_bytes(&b, known[i].data, known[i].len), 0);
        assert_buf(&b, known[i].rlp);
    }
}

static void integers(void **state)
{
    (void)state;
    static const struct {
        const char *number, *rlp;
    } known[] = {
        {"0", "0x80"},
        {"1", "0x01"},
        {"15", "0x0f"},
        {"127", "0x7f"},
        {"128", "0x8180"},
        {"255", "0x81ff"},
        {"256", "0x820100"},
        {"1000", "0x8203e8"},
        {"1024", "0x820400"},
        {"100000", "0x830186a0"},
        {"18446744073709551615", "0x88ffffffffffffffff"},
        {"83729609699884896815286331701780722", "0x8f102030405060708090a0b0c0d0e0f2"},
        {"105315505618206987246253880190783558935785933862974822347068935681",
         "0x9c0100020003000400050006000700080009000a000b000c000d000e01"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct buf b = BUF_INIT(64);
        struct u256 v;
        uint64_t small;
        assert_int_equal(u256_parse(known[i].number, &v), 0);
        assert_int_equal(rlp_put_u256(&b, v), 0);
        assert_buf(&b, known[i].rlp);
        if (u256_to_u64(v, &small) < 0) continue;
        assert_int_equal(rlp_put_u64(&b, small), 0);
        assert_buf(&b, known[i].rlp);
    }
}

static void lists(void **state)
{
    (void)state;
    struct buf empty = BUF_INIT(64), b = BUF_INIT(64), one = BUF_INIT(64), two = BUF_INIT(64);
    (void)rlp_put_list(&b, &empty);
    assert_buf(&b, "0xc0");
    (void)rlp_put_bytes(&one, "cat", 3);
    (void)rlp_put_bytes(&one, "dog", 3);
    (void)rlp_put_list(&b, &one);
    assert_buf(&b, "0xc88363617483646f67");
    buf_reset(&one);
    // The set-theoretical three: [ [], [[]], [ [], [[]] ] ].
    (void)rlp_put_list(&one, &empty); // one: what is in [[]]
    (void)rlp_put_list(&two, &empty);
    (void)rlp_put_list(&two, &one); // two: what is in [ [], [[]] ]
    (void)rlp_put_list(&b, &empty);
    (void)rlp_put_list(&b, &one);
    (void)rlp_put_list(&b, &two);
    struct buf three = BUF_INIT(64);
    (void)rlp_put_list(&three, &b);
    assert_buf(&three, "0xc7c0c1c0c3c0c1c0");
    buf_free(&b);
    buf_free(&one);
    buf_free(&two);
}

static void long_ones(void **state)
{
    (void)state;
    uint8_t data[1000];
    fill_pattern(data, sizeof(data));
    static const struct {
        size_t len;
        const char *rlp;
    } known[] = {{55, VECTOR_RLP_55}, {56, VECTOR_RLP_56}, {1000, VECTOR_RLP_1000}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct buf b = BUF_INIT(2048);
        (void)rlp_put_bytes(&b, data, known[i].len);
        assert_buf(&b, known[i].rlp);
    }

    struct buf empty = BUF_INIT(1), items = BUF_INIT(256), inner = BUF_INIT(256);
    struct buf b = BUF_INIT(256);
    (void)rlp_put_bytes(&items, data, 3);
    (void)rlp_put_bytes(&inner, data, 60);
    (void)rlp_put_list(&inner, &empty);
    (void)rlp_put_list(&items, &inner);
    (void)rlp_put_u64(&items, 0x7f);
    (void)rlp_put_u64(&items, 0x80);
    (void)rlp_put_u64(&items, 0);
    (void)rlp_put_list(&b, &items);
    assert_buf(&b, VECTOR_RLP_NESTED);
    buf_free(&inner);
    buf_free(&items);
}

/* 65536 bytes need three bytes of length. */
static void length_of_length(void **state)
{
    (void)state;
    static uint8_t data[65536];
    struct buf b = BUF_INIT(sizeof(data) + 4);
    assert_int_equal(rlp_put_bytes(&b, data, sizeof(data)), 0);
    assert_int_equal(b.len, sizeof(data) + 4);
    assert_hex(b.data, 4, "0xba010000");
    buf_free(&b);
}

static void failures_stick(void **state)
{
    (void)state;
    struct buf items = BUF_INIT(4), b = BUF_INIT(64), small = BUF_INIT(3);
    assert_int_equal(rlp_put_bytes(&items, "too long", 8), ERR_LIMIT);
    assert_int_equal(rlp_put_list(&b, &items), ERR_LIMIT);
    assert_int_equal(buf_error(&b), ERR_LIMIT);
    assert_int_equal(rlp_put_bytes(&small, "dog", 3), ERR_LIMIT);
    buf_free(&items);
    buf_free(&b);
    buf_free(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_strings),
        cmocka_unit_test(integers),
        cmocka_unit_test(lists),
        cmocka_unit_test(long_ones),
        cmocka_unit_test(length_of_length),
        cmocka_unit_test(failures_stick),
    };
    return cmocka_run_group_tests_name("rlp", tests, NULL, NULL);
}
