/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "agent/util/error.h"
#include "agent/util/parse.h"

static void unsigned_numbers(void **state)
{
    static const char *const bad[] = {"",
                                      " ",
                                      "-1",
                                      "+1",
                                      "1 ",
                                      " 1",
                                      "1.0",
                                      "0x1",
                                      "1e3",
                                      "a",
                                      "18446744073709551616",
                                      "99999999999999999999999",
                                      "1\n",
                                      "\xd9\xa1"};
    uint64_t v = 7;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(parse_u64(bad[i], UINT64_MAX, &v), ERR_INVALID);
    assert_true(v == 7);
    assert_int_equal(parse_u64("18446744073709551615", UINT64_MAX, &v), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(parse_u64("000", UINT64_MAX, &v), 0);
    assert_true(v == 0);
    assert_int_equal(parse_u64("64", 64, &v), 0);
    assert_true(v == 64);
    assert_int_equal(parse_u64("65", 64, &v), ERR_INVALID);
    assert_int_equal(parse_u64("0", 0, &v), 0);
}

static void unsigned_numbers_round_trip(void **state)
{
    uint64_t x = 1;
    for (int i = 0; i < 1000; i++) {
        char text[32];
        uint64_t v;
        x = x * 6364136223846793005u + 1442695040888963407u;
        uint64_t expected = x >> (i % 64);
        (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)expected);
        assert_int_equal(parse_u64(text, UINT64_MAX, &v), 0);
        assert_true(v == expected);
        if (expected) assert_int_equal(parse_u64(text, expected - 1, &v), ERR_INVALID);
    }
}

static void signed_numbers(void **state)
{
    static const char *const bad[] = {
        "", "-", "--1", "+1", "- 1", "9223372036854775808", "-9223372036854775809", "1-", "-1x"};
    int64_t v = 7;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(parse_i64(bad[i], &v), ERR_INVALID);
    assert_true(v == 7);
    assert_int_equal(parse_i64("9223372036854775807", &v), 0);
    assert_true(v == INT64_MAX);
    assert_int_equal(parse_i64("-9223372036854775808", &v), 0);
    assert_true(v == INT64_MIN);
    assert_int_equal(parse_i64("-0", &v), 0);
    assert_true(v == 0);
    assert_int_equal(parse_i64("-17", &v), 0);
    assert_true(v == -17);
}

static void booleans(void **state)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "on", "1", "t", "T"};
    static const char *const no[] = {"false", "False", "no", "OFF", "0", "f"};
    static const char *const bad[] = {"", " true", "true ", "2", "y", "n", "tru", "enabled", "00"};
    bool v;
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        v = false;
        assert_int_equal(parse_bool(yes[i], &v), 0);
        assert_true(v);
    }
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        v = true;
        assert_int_equal(parse_bool(no[i], &v), 0);
        assert_false(v);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(parse_bool(bad[i], &v), ERR_INVALID);
}

static void durations(void **state)
{
    static const struct {
        const char *text;
        long long ms;
    } good[] = {{"0", 0},
                {"500ms", 500},
                {"2s", 2000},
                {"2", 2000},
                {"5m", 300000},
                {"1h", 3600000},
                {"0h", 0},
                {"9223372036854775807ms", INT64_MAX}};
    static const char *const bad[] = {"",
                                      "s",
                                      "ms",
                                      "-1s",
                                      "1.5s",
                                      "1 s",
                                      "1s ",
                                      "1S",
                                      "1d",
                                      "1h30m",
                                      "9223372036854775808ms",
                                      "9223372036854775807s",
                                      "18446744073709551615h"};
    long long v = 7;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(parse_duration_ms(bad[i], INT64_MAX, &v), ERR_INVALID);
    assert_int_equal(v, 7);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(parse_duration_ms(good[i].text, INT64_MAX, &v), 0);
        assert_true(v == good[i].ms);
    }
    assert_int_equal(parse_duration_ms("10s", 10000, &v), 0);
    assert_int_equal(parse_duration_ms("10001ms", 10000, &v), ERR_INVALID);
    assert_int_equal(parse_duration_ms("0", -1, &v), ERR_INVALID);
}

static void hosts_and_ports(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
    } good[] = {{"host:1", "host", 1},
                {":3000", "", 3000},
                {"127.0.0.1:65535", "127.0.0.1", 65535},
                {"[::1]:0", "::1", 0},
                {"[fe80::1%eth0]:22", "fe80::1%eth0", 22},
                {"a.b-c_d:080", "a.b-c_d", 80}};
    static const char *const bad[] = {"",
                                      "host",
                                      "host:",
                                      "host:x",
                                      "host:-1",
                                      "host:65536",
                                      "host: 1",
                                      "::1:22",
                                      "[::1]",
                                      "[::1:22",
                                      "::1]:22",
                                      "a b:1",
                                      "a\tb:1",
                                      "a/b:1",
                                      "http://a:1",
                                      "[a[b]:1"};
    struct hostport v = {.host = "untouched", .port = 7};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(parse_hostport(bad[i], &v), ERR_INVALID);
    assert_string_equal(v.host, "untouched");
    assert_int_equal(v.port, 7);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(parse_hostport(good[i].text, &v), 0);
        assert_string_equal(v.host, good[i].host);
        assert_int_equal(v.port, good[i].port);
    }
}

static void the_longest_host(void **state)
{
    struct hostport v;
    char text[300];
    memset(text, 'a', sizeof(text));
    memcpy(text + 255, ":1", 3);
    assert_int_equal(parse_hostport(text, &v), 0);
    assert_int_equal(strlen(v.host), 255);
    text[255] = 'a';
    memcpy(text + 256, ":1", 3);
    assert_int_equal(parse_hostport(text, &v), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unsigned_numbers),
        cmocka_unit_test(unsigned_numbers_round_trip),
        cmocka_unit_test(signed_numbers),
        cmocka_unit_test(booleans),
        cmocka_unit_test(durations),
        cmocka_unit_test(hosts_and_ports),
        cmocka_unit_test(the_longest_host),
    };
    return cmocka_run_group_tests_name("parse", tests, NULL, NULL);
}
