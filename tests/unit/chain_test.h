/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the tests of agent/chain's pure half share: hex texts as expected values. */
#ifndef TESTS_CHAIN_TEST_H
#define TESTS_CHAIN_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/chain/types.h"
#include "agent/util/hex.h"

enum { HEX_MAX = 16 * 1024 };

struct bytes {
    uint8_t *data; // of exactly len bytes, so that a sanitizer sees a read beyond them
    size_t len;
};

/* The bytes of "0x...". The caller frees data. */
static inline struct bytes unhex(const char *text)
{
    struct bytes b = {.len = (strlen(text) - 2) / 2};
    b.data = malloc(b.len);
    assert_non_null(b.data);
    assert_int_equal(hex_decode(b.data, b.len, text), 0);
    return b;
}

static inline struct eth_hash hash_of(const char *text)
{
    struct eth_hash h;
    assert_int_equal(hex_decode(h.b, sizeof(h.b), text), 0);
    return h;
}

static inline struct eth_address address_of(const char *text)
{
    struct eth_address a;
    assert_int_equal(hex_decode(a.b, sizeof(a.b), text), 0);
    return a;
}

static inline void assert_hex(const void *data, size_t len, const char *expected)
{
    static char text[2 * HEX_MAX + 3];
    assert_in_range(len, 0, HEX_MAX);
    assert_string_equal(hex_encode(text, data, len), expected);
}

/* splitmix64: the same sequence on every machine. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

#endif
