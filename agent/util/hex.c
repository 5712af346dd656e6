/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/util/hex.h"

#include <string.h>

#include "agent/util/error.h"

int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

char *hex_encode(char *out, const void *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *in = data;
    char *p = out;
    *p++ = '0';
    *p++ = 'x';
    for (size_t i = 0; i < len; i++) {
        *p++ = digits[in[i] >> 4];
        *p++ = digits[in[i] & 15];
    }
    *p = '\0';
    return out;
}

int hex_decode(uint8_t *out, size_t len, const char *text)
{
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) text += 2;
    size_t digits;
    if (__builtin_mul_overflow(len, 2, &digits) || strnlen(text, digits + 1) != digits)
        return ERR_INVALID;
    for (size_t i = 0; i < digits; i++)
        if (hex_digit(text[i]) < 0) return ERR_INVALID;
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
    return 0;
}
