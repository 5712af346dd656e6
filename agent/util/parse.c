/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/util/parse.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "agent/util/error.h"

/* Digits up to the first other character; *end is where it stopped. */
static int digits(const char *text, uint64_t max, uint64_t *value, const char **end)
{
    uint64_t v = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return ERR_INVALID;
    if (p == text || v > max) return ERR_INVALID;
    *value = v;
    *end = p;
    return 0;
}

int parse_u64(const char *text, uint64_t max, uint64_t *value)
{
    uint64_t v;
    const char *end;
    if (digits(text, max, &v, &end) < 0 || *end) return ERR_INVALID;
    *value = v;
    return 0;
}

int parse_i64(const char *text, int64_t *value)
{
    uint64_t v;
    bool negative = *text == '-';
    uint64_t max = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    if (parse_u64(text + negative, max, &v) < 0) return ERR_INVALID;
    *value = negative ? (int64_t)(0 - v) : (int64_t)v;
    return 0;
}

int parse_bool(const char *text, bool *value)
{
    static const char *const names[2][5] = {{"false", "no", "off", "0", "f"},
                                            {"true", "yes", "on", "1", "t"}};
    for (int b = 0; b < 2; b++)
        for (int i = 0; i < 5; i++)
            if (strcasecmp(text, names[b][i]) == 0) {
                *value = b == 1;
                return 0;
            }
    return ERR_INVALID;
}

int parse_duration_ms(const char *text, long long max_ms, long long *value_ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    uint64_t v;
    const char *end;
    if (max_ms < 0 || digits(text, UINT64_MAX, &v, &end) < 0) return ERR_INVALID;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) != 0) continue;
        if (__builtin_mul_overflow(v, units[i].ms, &v) || v > (uint64_t)max_ms) return ERR_INVALID;
        *value_ms = (long long)v;
        return 0;
    }
    return ERR_INVALID;
}

int parse_hostport(const char *text, struct hostport *value)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (!colon || parse_u64(colon + 1, UINT16_MAX, &port) < 0) return ERR_INVALID;

    size_t len = (size_t)(colon - text);
    bool v6 = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    if (v6) {
        text++;
        len -= 2;
    }
    if (len >= sizeof(value->host) || (!v6 && memchr(text, ':', len))) return ERR_INVALID;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] <= ' ' || strchr("/[]", text[i])) return ERR_INVALID;
    memcpy(value->host, text, len);
    value->host[len] = '\0';
    value->port = (uint16_t)port;
    return 0;
}
