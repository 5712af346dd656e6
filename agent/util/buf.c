/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/util/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/util/error.h"

enum { BUF_FIRST = 256 };

void buf_free(struct buf *b)
{
    if (!b) return;
    free(b->data);
    *b = BUF_INIT(b->max);
}

void buf_wipe(struct buf *b)
{
    if (!b) return;
    if (b->data) explicit_bzero(b->data, b->cap);
    buf_free(b);
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->error = 0;
    if (b->data) b->data[0] = '\0';
}

static int fail(struct buf *b, int code)
{
    if (!b->error) b->error = code;
    return b->error;
}

/* Make room for `more` bytes and the NUL behind them. */
static int grow(struct buf *b, size_t more)
{
    size_t need;
    if (b->error) return b->error;
    if (__builtin_add_overflow(b->len, more, &need) || need > b->max) return fail(b, ERR_LIMIT);
    if (__builtin_add_overflow(need, 1, &need)) return fail(b, ERR_LIMIT);
    if (need <= b->cap) return 0;

    size_t cap = b->cap ? b->cap : BUF_FIRST;
    while (cap < need)
        if (__builtin_mul_overflow(cap, 2, &cap)) return fail(b, ERR_LIMIT);
    // Not realloc: a moved secret would leave its old bytes behind.
    uint8_t *data = malloc(cap);
    if (!data) return fail(b, ERR_NOMEM);
    if (b->data) {
        memcpy(data, b->data, b->len);
        explicit_bzero(b->data, b->cap);
        free(b->data);
    }
    b->data = data;
    b->cap = cap;
    return 0;
}

int buf_put(struct buf *b, const void *data, size_t len)
{
    int rc = grow(b, len);
    if (rc < 0) return rc;
    if (len) memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
    return 0;
}

int buf_put_u8(struct buf *b, uint8_t value)
{
    return buf_put(b, &value, 1);
}

int buf_puts(struct buf *b, const char *text)
{
    return buf_put(b, text, strlen(text));
}

int buf_putf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    int rc = n < 0 ? fail(b, ERR_INVALID) : grow(b, (size_t)n);
    if (rc == 0) {
        (void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return rc;
}

uint8_t *buf_reserve(struct buf *b, size_t len)
{
    if (grow(b, len) < 0) return NULL;
    uint8_t *at = b->data + b->len;
    memset(at, 0, len + 1);
    b->len += len;
    return at;
}

const char *buf_str(const struct buf *b)
{
    return b->data ? (const char *)b->data : "";
}

char *buf_steal(struct buf *b, size_t *len)
{
    if (b->error || !b->data) return NULL;
    char *data = (char *)b->data;
    if (len) *len = b->len;
    *b = BUF_INIT(b->max);
    return data;
}
