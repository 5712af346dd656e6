/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Schoolbook arithmetic on four 64-bit words: nothing here is secret, so nothing is constant time.
 */
#include "agent/chain/u256.h"

#include <stdio.h>
#include <string.h>

#include "agent/util/error.h"
#include "agent/util/hex.h"

enum { WORDS = 4, WORD_BITS = 64, BITS = WORDS * WORD_BITS };

__extension__ typedef unsigned __int128 u128; // the product of two words

struct u256 u256_from_u64(uint64_t v)
{
    return (struct u256){{v, 0, 0, 0}};
}

struct u256 u256_from_be(const uint8_t bytes[32])
{
    struct u256 v = {{0}};
    for (int i = 0; i < 32; i++) {
        uint64_t *w = &v.w[WORDS - 1 - i / 8];
        *w = *w << 8 | bytes[i];
    }
    return v;
}

void u256_to_be(uint8_t bytes[32], struct u256 v)
{
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(v.w[WORDS - 1 - i / 8] >> (8 * (7 - i % 8)) & 0xff);
}

int u256_to_u64(struct u256 v, uint64_t *out)
{
    if (v.w[1] | v.w[2] | v.w[3]) return ERR_LIMIT;
    *out = v.w[0];
    return 0;
}

bool u256_is_zero(struct u256 v)
{
    return !(v.w[0] | v.w[1] | v.w[2] | v.w[3]);
}

int u256_cmp(struct u256 a, struct u256 b)
{
    for (int i = WORDS - 1; i >= 0; i--)
        if (a.w[i] != b.w[i]) return a.w[i] < b.w[i] ? -1 : 1;
    return 0;
}

int u256_add(struct u256 a, struct u256 b, struct u256 *out)
{
    struct u256 sum;
    bool carry = false;
    for (int i = 0; i < WORDS; i++) {
        bool c1 = __builtin_add_overflow(a.w[i], b.w[i], &sum.w[i]);
        bool c2 = __builtin_add_overflow(sum.w[i], (uint64_t)carry, &sum.w[i]);
        carry = c1 || c2;
    }
    if (carry) return ERR_LIMIT;
    *out = sum;
    return 0;
}

int u256_sub(struct u256 a, struct u256 b, struct u256 *out)
{
    struct u256 difference;
    bool borrow = false;
    for (int i = 0; i < WORDS; i++) {
        bool b1 = __builtin_sub_overflow(a.w[i], b.w[i], &difference.w[i]);
        bool b2 = __builtin_sub_overflow(difference.w[i], (uint64_t)borrow, &difference.w[i]);
        borrow = b1 || b2;
    }
    if (borrow) return ERR_LIMIT;
    *out = difference;
    return 0;
}

int u256_mul(struct u256 a, struct u256 b, struct u256 *out)
{
    uint64_t p[2 * WORDS] = {0};
    for (int i = 0; i < WORDS; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < WORDS; j++) {
            // At most (2^64-1)^2 + 2 * (2^64-1) = 2^128 - 1: it fits.
            u128 t = (u128)a.w[i] * b.w[j] + p[i + j] + carry;
            p[i + j] = (uint64_t)t;
            carry = (uint64_t)(t >> WORD_BITS);
        }
        p[i + WORDS] = carry;
    }
    if (p[4] | p[5] | p[6] | p[7]) return ERR_LIMIT;
    memcpy(out->w, p, sizeof(out->w));
    return 0;
}

/* v = 2 v + low, modulo 2^256. */
static void shift_in(struct u256 *v, uint64_t low)
{
    for (int i = 0; i < WORDS; i++) {
        uint64_t high = v->w[i] >> (WORD_BITS - 1);
        v->w[i] = v->w[i] << 1 | low;
        low = high;
    }
}

int u256_div(struct u256 a, struct u256 b, struct u256 *quotient, struct u256 *remainder)
{
    if (u256_is_zero(b)) return ERR_LIMIT;
    struct u256 q = {{0}}, r = {{0}};
    for (int i = BITS - 1; i >= 0; i--) {
        // r is at most the bits of `a` above this one, so nothing is shifted out.
        shift_in(&r, a.w[i / WORD_BITS] >> (i % WORD_BITS) & 1);
        bool fits = u256_sub(r, b, &r) == 0;
        shift_in(&q, fits);
    }
    if (quotient) *quotient = q;
    if (remainder) *remainder = r;
    return 0;
}

int u256_parse(const char *text, struct u256 *out)
{
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    int base = hex ? 16 : 10;
    if (hex) text += 2;
    if (!*text) return ERR_INVALID;

    struct u256 v = {{0}};
    bool over = false; // the rest must still be digits for the error to be ERR_LIMIT
    for (; *text; text++) {
        int digit = hex_digit(*text);
        if (digit < 0 || digit >= base) return ERR_INVALID;
        over = over || u256_mul(v, u256_from_u64((uint64_t)base), &v) < 0 ||
               u256_add(v, u256_from_u64((uint64_t)digit), &v) < 0;
    }
    if (over) return ERR_LIMIT;
    *out = v;
    return 0;
}

/* Divide by a word in place; returns the remainder. */
static uint64_t divide_by_word(struct u256 *v, uint64_t divisor)
{
    uint64_t rest = 0;
    for (int i = WORDS - 1; i >= 0; i--) {
        u128 t = (u128)rest << WORD_BITS | v->w[i];
        v->w[i] = (uint64_t)(t / divisor);
        rest = (uint64_t)(t % divisor);
    }
    return rest;
}

char *u256_format_dec(char out[U256_DEC_TEXT], struct u256 v)
{
    char *p = out + U256_DEC_TEXT - 1;
    *p = '\0';
    do
        *--p = (char)('0' + divide_by_word(&v, 10));
    while (!u256_is_zero(v));
    return memmove(out, p, strlen(p) + 1);
}

char *u256_format_hex(char out[U256_HEX_TEXT], struct u256 v)
{
    char full[U256_HEX_TEXT];
    uint8_t bytes[32];
    u256_to_be(bytes, v);
    (void)hex_encode(full, bytes, sizeof(bytes));
    const char *p = full + 2;
    while (*p == '0' && p[1])
        p++;
    (void)snprintf(out, U256_HEX_TEXT, "0x%s", p);
    return out;
}

char *u256_format_fixed(char out[U256_FIXED_TEXT], struct u256 v, unsigned int decimals)
{
    char digits[U256_DEC_TEXT];
    size_t len = strlen(u256_format_dec(digits, v)), whole = len > decimals ? len - decimals : 0;
    int n = snprintf(out, U256_FIXED_TEXT, "%.*s%s.", (int)whole, digits, whole ? "" : "0");
    for (size_t zeros = decimals > len ? decimals - len : 0; zeros > 0; zeros--)
        out[n++] = '0';
    n += snprintf(out + n, U256_FIXED_TEXT - (size_t)n, "%s", digits + whole);
    while (out[n - 1] == '0')
        out[--n] = '\0';
    if (out[n - 1] == '.') out[n - 1] = '\0';
    return out;
}
