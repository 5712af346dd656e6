/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/u256.h"

#include "agent/util/error.h"
#include "tests/unit/chain_test.h"

__extension__ typedef unsigned __int128 u128;

enum { ROUNDS = 20000 };

#define MAX_DEC "115792089237316195423570985008687907853269984665640564039457584007913129639935"
#define MAX_HEX "0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

static const struct u256 max = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
static const struct u256 one = {{1, 0, 0, 0}};

static struct u256 of_u128(u128 v)
{
    return (struct u256){{(uint64_t)v, (uint64_t)(v >> 64), 0, 0}};
}

static struct u256 parse(const char *text)
{
    struct u256 v;
    assert_int_equal(u256_parse(text, &v), 0);
    return v;
}

static void assert_equal(struct u256 a, struct u256 b)
{
    assert_memory_equal(&a, &b, sizeof(a));
}

/* Numbers of every size, with runs of ones and zeros where carries go far. */
static uint64_t random_word(uint64_t *seed)
{
    uint64_t r = next_random(seed);
    switch (r % 4) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return next_random(seed) >> (r >> 8) % 64;
    default:
        return next_random(seed);
    }
}

static struct u256 random_u256(uint64_t *seed)
{
    struct u256 v;
    for (int i = 0; i < 4; i++)
        v.w[i] = random_word(seed);
    return v;
}

static u128 random_u128(uint64_t *seed)
{
    return (u128)random_word(seed) << 64 | random_word(seed);
}

static void against_int128(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < ROUNDS; i++) {
        u128 a = random_u128(&seed), b = random_u128(&seed);
        struct u256 q, r, v;
        int order = a < b ? -1 : a > b;
        assert_int_equal(u256_cmp(of_u128(a), of_u128(b)), order);
        assert_int_equal(u256_sub(of_u128(a), of_u128(b), &v), order < 0 ? ERR_LIMIT : 0);
        if (order >= 0) assert_equal(v, of_u128(a - b));
        assert_int_equal(u256_add(of_u128(a >> 1), of_u128(b >> 1), &v), 0);
        assert_equal(v, of_u128((a >> 1) + (b >> 1)));
        uint64_t c = (uint64_t)a, d = (uint64_t)b;
        assert_int_equal(u256_mul(u256_from_u64(c), u256_from_u64(d), &v), 0);
        assert_equal(v, of_u128((u128)c * d));
        if (b == 0) continue;
        assert_int_equal(u256_div(of_u128(a), of_u128(b), &q, &r), 0);
        assert_equal(q, of_u128(a / b));
        assert_equal(r, of_u128(a % b));
    }
}

/* a = q b + r with r < b, and what is added can be taken away again. */
static void full_width_laws(void **state)
{
    (void)state;
    uint64_t seed = 2;
    for (int i = 0; i < ROUNDS; i++) {
        struct u256 a = random_u256(&seed), b = random_u256(&seed), q, r, v;
        int rc = u256_add(a, b, &v);
        struct u256 room;
        assert_int_equal(u256_sub(max, a, &room), 0);
        assert_int_equal(rc, u256_cmp(b, room) > 0 ? ERR_LIMIT : 0);
        if (rc == 0) {
            assert_int_equal(u256_sub(v, b, &v), 0);
            assert_equal(v, a);
        }
        if (u256_is_zero(b)) continue;
        assert_int_equal(u256_div(a, b, &q, &r), 0);
        assert_true(u256_cmp(r, b) < 0);
        assert_int_equal(u256_mul(q, b, &v), 0);
        assert_int_equal(u256_add(v, r, &v), 0);
        assert_equal(v, a);
        // b * (max / b) fits, b * (max / b + 1) does not (but for b = 1, where q + 1 does not).
        assert_int_equal(u256_div(max, b, &q, NULL), 0);
        assert_int_equal(u256_mul(b, q, &v), 0);
        if (u256_add(q, one, &q) == 0) assert_int_equal(u256_mul(b, q, &v), ERR_LIMIT);
    }
}

static void overflow_leaves_result(void **state)
{
    (void)state;
    struct u256 v = u256_from_u64(7), w = u256_from_u64(8);
    assert_int_equal(u256_add(max, one, &v), ERR_LIMIT);
    assert_int_equal(u256_sub(u256_from_u64(0), one, &v), ERR_LIMIT);
    assert_int_equal(u256_mul(parse("0x100000000000000000000000000000000"),
                              parse("0x100000000000000000000000000000000"),
                              &v),
                     ERR_LIMIT);
    assert_int_equal(u256_div(one, u256_from_u64(0), &v, &w), ERR_LIMIT);
    assert_int_equal(u256_parse(MAX_HEX "0", &v), ERR_LIMIT);
    assert_int_equal(u256_parse("12x", &v), ERR_INVALID);
    assert_equal(v, u256_from_u64(7));
    assert_equal(w, u256_from_u64(8));
    uint64_t small = 9;
    assert_int_equal(u256_to_u64(parse("0x10000000000000000"), &small), ERR_LIMIT);
    assert_int_equal(u256_to_u64(parse("0x1"
                                       "000000000000000000000000000000000000000000000000"),
                                 &small),
                     ERR_LIMIT);
    assert_int_equal(small, 9);
    assert_int_equal(u256_to_u64(u256_from_u64(UINT64_MAX), &small), 0);
    assert_true(small == UINT64_MAX);
}

/* The result may be an operand. */
static void aliases(void **state)
{
    (void)state;
    struct u256 v = parse("0xffffffffffffffffffffffffffffffff"), square = v;
    assert_int_equal(u256_mul(v, v, &v), 0);
    assert_equal(v, parse("0xfffffffffffffffffffffffffffffffe00000000000000000000000000000001"));
    assert_int_equal(u256_div(v, square, &v, &square), 0);
    assert_equal(v, parse("340282366920938463463374607431768211455"));
    assert_true(u256_is_zero(square));
}

static void texts(void **state)
{
    (void)state;
    static const struct {
        const char *dec, *hex;
    } known[] = {
        {"0", "0x0"},
        {"1", "0x1"},
        {"9", "0x9"},
        {"10", "0xa"},
        {"179188", "0x2bbf4"},
        {"18446744073709551615", "0xffffffffffffffff"},
        {"18446744073709551616", "0x10000000000000000"},
        {"100000000000000000000", "0x56bc75e2d63100000"},
        {"340282366920938463463374607431768211456", "0x100000000000000000000000000000000"},
        {MAX_DEC, MAX_HEX},
    };
    char dec[U256_DEC_TEXT], hex[U256_HEX_TEXT];
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct u256 v = parse(known[i].dec);
        assert_equal(v, parse(known[i].hex));
        assert_string_equal(u256_format_dec(dec, v), known[i].dec);
        assert_string_equal(u256_format_hex(hex, v), known[i].hex);
    }
    assert_equal(parse("000000000000000000000000000000000000000000000000000000000000000000"
                       "0000000000000000000000042"),
                 u256_from_u64(42));
    assert_equal(parse("0XaBcD"), u256_from_u64(0xabcd));
}

static void bad_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
    } bad[] = {
        {"", ERR_INVALID},
        {"0x", ERR_INVALID},
        {"x1", ERR_INVALID},
        {"-1", ERR_INVALID},
        {"+1", ERR_INVALID},
        {" 1", ERR_INVALID},
        {"1 ", ERR_INVALID},
        {"1.0", ERR_INVALID},
        {"1e3", ERR_INVALID},
        {"0x1g", ERR_INVALID},
        {"0x0x1", ERR_INVALID},
        {"abc", ERR_INVALID},
        {"0b1", ERR_INVALID},
        {MAX_HEX "0", ERR_LIMIT},
        {MAX_DEC "0", ERR_LIMIT},
        {"115792089237316195423570985008687907853269984665640564039457584007913129639936",
         ERR_LIMIT},
        {MAX_DEC "0x", ERR_INVALID},
    };
    struct u256 v;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(u256_parse(bad[i].text, &v), bad[i].rc);
}

static void round_trips(void **state)
{
    (void)state;
    uint64_t seed = 3;
    char dec[U256_DEC_TEXT], hex[U256_HEX_TEXT];
    uint8_t bytes[32];
    for (int i = 0; i < ROUNDS / 10; i++) {
        struct u256 v = random_u256(&seed);
        assert_equal(parse(u256_format_dec(dec, v)), v);
        assert_equal(parse(u256_format_hex(hex, v)), v);
        u256_to_be(bytes, v);
        assert_equal(u256_from_be(bytes), v);
    }
    u256_to_be(bytes, parse("0x0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"));
    for (int i = 0; i < 32; i++)
        assert_int_equal(bytes[i], i + 1);
}

static void fixed_point(void **state)
{
    (void)state;
    static const struct {
        const char *number;
        unsigned int decimals;
        const char *text;
    } facts[] = {
        {"0", 18, "0"},
        {"1", 18, "0.000000000000000001"},
        {"950000000000000000", 18, "0.95"},
        {"1000000000000000000", 18, "1"},
        {"4040000000000000000", 18, "4.04"},
        {"100", 0, "100"},
        {"100", 2, "1"},
        {"1234", 3, "1.234"},
        {MAX_DEC,
         18,
         "115792089237316195423570985008687907853269984665640564039457"
         ".584007913129639935"},
        {MAX_DEC,
         77,
         "1.15792089237316195423570985008687907853269984665640564039457"
         "584007913129639935"},
    };
    char text[U256_FIXED_TEXT];
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
        assert_string_equal(u256_format_fixed(text, parse(facts[i].number), facts[i].decimals),
                            facts[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_int128),
        cmocka_unit_test(full_width_laws),
        cmocka_unit_test(overflow_leaves_result),
        cmocka_unit_test(aliases),
        cmocka_unit_test(texts),
        cmocka_unit_test(bad_texts),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(fixed_point),
    };
    return cmocka_run_group_tests_name("u256", tests, NULL, NULL);
}
