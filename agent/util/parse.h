/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Strict parsers of short texts: the whole text must fit the form. All return 0 or ERR_INVALID. */
#ifndef UTIL_PARSE_H
#define UTIL_PARSE_H

#include <stdbool.h>
#include <stdint.h>

/* Decimal digits only; no sign, no blanks. Fails above `max`. */
int parse_u64(const char *text, uint64_t max, uint64_t *value);

/* An optional '-' and decimal digits. */
int parse_i64(const char *text, int64_t *value);

/* true/false, yes/no, on/off, 1/0, t/f (any case). */
int parse_bool(const char *text, bool *value);

/* "500ms", "2s", "5m", "1h", or a bare number of seconds -> milliseconds, at most `max_ms`. */
int parse_duration_ms(const char *text, long long max_ms, long long *value_ms);

struct hostport {
    char host[256]; // empty: all interfaces. An IPv6 address is without its brackets.
    uint16_t port;
};

/* "host:port", ":port", "[v6]:port". */
int parse_hostport(const char *text, struct hostport *value);

#endif
