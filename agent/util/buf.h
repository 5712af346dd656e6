/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A growing byte buffer with a hard maximum. Errors stick: after the first failed put every later
 * one fails too, so that a caller may check once at the end with buf_error().
 */
#ifndef UTIL_BUF_H
#define UTIL_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data; // always followed by a NUL that len does not count, once anything was put
    size_t len;
    size_t cap;
    size_t max; // bytes; a put beyond it fails with ERR_LIMIT
    int error;  // 0 or the first ERR_*
};

/* An empty buffer. Nothing is allocated yet. */
#define BUF_INIT(max_bytes) ((struct buf){.max = (max_bytes)})

void buf_free(struct buf *b);  // frees, keeps max; NULL allowed
void buf_wipe(struct buf *b);  // overwrites, then frees: for secrets
void buf_reset(struct buf *b); // empties and clears the error, keeps the memory

/* Append. Return 0, ERR_LIMIT or ERR_NOMEM. */
int buf_put(struct buf *b, const void *data, size_t len);
int buf_put_u8(struct buf *b, uint8_t value);
int buf_puts(struct buf *b, const char *text);
int buf_putf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Append `len` zero bytes and return where they are, or NULL. Valid until the next put. */
uint8_t *buf_reserve(struct buf *b, size_t len);

/* The bytes as a string ("" if empty). Valid until the next put. */
const char *buf_str(const struct buf *b);

/* Take the memory (NUL-terminated; caller frees), leaving an empty buffer. NULL if empty or failed.
 */
char *buf_steal(struct buf *b, size_t *len);

static inline int buf_error(const struct buf *b)
{
    return b->error;
}

#endif
