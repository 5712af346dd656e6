/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/rest_scan.h"

#include <stdbool.h>
#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static void skip_blanks(struct rest_scan *s)
{
    while (s->at < s->end && is_blank(*s->at))
        s->at++;
}

/* Behind the closing quote; s->at is behind the opening one. False: there is none. */
static bool skip_string(struct rest_scan *s)
{
    while (s->at < s->end) {
        char c = *s->at++;
        if (c == '"') return true;
        if (c == '\\' && s->at < s->end) s->at++; // the digits of \uXXXX are no quotes
    }
    return false;
}

static bool skip_nested(struct rest_scan *s)
{
    size_t depth = 0;
    while (s->at < s->end) {
        switch (*s->at++) {
        case '"':
            if (!skip_string(s)) return false;
            break;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (--depth == 0) return true;
            break;
        default:
            break;
        }
    }
    return false;
}

static bool skip_value(struct rest_scan *s)
{
    if (s->at == s->end) return false;
    if (*s->at == '{' || *s->at == '[') return skip_nested(s);
    if (*s->at == '"') {
        s->at++;
        return skip_string(s);
    }
    const char *start = s->at;
    while (s->at < s->end && !is_blank(*s->at) && !strchr(",]}", *s->at))
        s->at++;
    return s->at > start;
}

static int broken(struct error *err)
{
    return error_set(err, ERR_PROTO, "not JSON: it ends too early, or its structure is broken");
}

int rest_scan_begin(struct rest_scan *s, struct rest_slice value, char open, struct error *err)
{
    *s = (struct rest_scan){
        .at = value.text, .end = value.text + value.len, .close = open == '{' ? '}' : ']'};
    skip_blanks(s);
    while (s->end > s->at && is_blank(s->end[-1]))
        s->end--;
    if (s->end - s->at < 2 || *s->at != open || s->end[-1] != s->close)
        return error_set(
            err, ERR_PROTO, "a JSON %s was expected", open == '{' ? "object" : "array");
    s->at++;
    s->first = 1;
    return 0;
}

int rest_scan_next(struct rest_scan *s,
                   struct rest_slice *key,
                   struct rest_slice *value,
                   struct error *err)
{
    skip_blanks(s);
    if (s->at == s->end) return broken(err);
    if (*s->at == s->close) return s->at + 1 == s->end ? 0 : broken(err);
    if (!s->first) {
        if (*s->at++ != ',') return broken(err);
        skip_blanks(s);
    }
    s->first = 0;
    if (key) {
        if (s->at == s->end || *s->at++ != '"') return broken(err);
        key->text = s->at;
        if (!skip_string(s)) return broken(err);
        key->len = (size_t)(s->at - key->text) - 1;
        skip_blanks(s);
        if (s->at == s->end || *s->at++ != ':') return broken(err);
        skip_blanks(s);
    }
    value->text = s->at;
    if (!skip_value(s)) return broken(err);
    value->len = (size_t)(s->at - value->text);
    return 1;
}
