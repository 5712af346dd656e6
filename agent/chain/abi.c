/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/abi.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/chain/keccak.h"

void abi_selector(const char *signature, uint8_t selector[ABI_SELECTOR])
{
    uint8_t digest[KECCAK256_SIZE];
    keccak256(signature, strlen(signature), digest);
    memcpy(selector, digest, ABI_SELECTOR);
}

/* Decoding */

static int __attribute__((format(printf, 3, 4)))
fail(struct abi_frame *f, const char *what, const char *fmt, ...)
{
    struct abi_decoder *d = f->decoder;
    char text[160];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    d->rc = error_set(d->err, ERR_PROTO, "ABI: %s: %s", what, text);
    return d->rc;
}

static size_t words_of(size_t len)
{
    return len / ABI_WORD + (len % ABI_WORD != 0);
}

void abi_decode(struct abi_decoder *d,
                struct abi_frame *top,
                const uint8_t *data,
                size_t len,
                struct error *err)
{
    *d = (struct abi_decoder){.words_left = words_of(len), .err = err};
    *top = (struct abi_frame){.decoder = d, .data = data, .len = len};
}

/* Account for `words` about to be read. */
static int spend(struct abi_frame *f, const char *what, size_t words)
{
    struct abi_decoder *d = f->decoder;
    if (words > d->words_left) return fail(f, what, "parts of the data overlap");
    d->words_left -= words;
    return 0;
}

/* The next head word, or NULL. */
static const uint8_t *next_word(struct abi_frame *f, const char *what)
{
    if (f->decoder->rc < 0) return NULL;
    if (f->pos > f->len || f->len - f->pos < ABI_WORD) {
        (void)fail(f, what, "the data end at byte %zu of %zu", f->pos, f->len);
        return NULL;
    }
    if (spend(f, what, 1) < 0) return NULL;
    const uint8_t *word = f->data + f->pos;
    f->pos += ABI_WORD;
    return word;
}

static bool all_bytes_are(const uint8_t *p, size_t n, uint8_t value)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != value) return false;
    return true;
}

static uint64_t low_u64(const uint8_t word[ABI_WORD])
{
    uint64_t v = 0;
    for (int i = ABI_WORD - 8; i < ABI_WORD; i++)
        v = v << 8 | word[i];
    return v;
}

int abi_get_u256(struct abi_frame *f, const char *what, struct u256 *v)
{
    const uint8_t *word = next_word(f, what);
    if (word) *v = u256_from_be(word);
    return f->decoder->rc;
}

int abi_get_uint(struct abi_frame *f, const char *what, uint64_t max, uint64_t *v)
{
    const uint8_t *word = next_word(f, what);
    if (!word) return f->decoder->rc;
    if (!all_bytes_are(word, ABI_WORD - 8, 0) || low_u64(word) > max)
        return fail(f, what, "number above %llu", (unsigned long long)max);
    *v = low_u64(word);
    return 0;
}

int abi_get_u64(struct abi_frame *f, const char *what, uint64_t *v)
{
    return abi_get_uint(f, what, UINT64_MAX, v);
}

int abi_get_u8(struct abi_frame *f, const char *what, uint8_t *v)
{
    uint64_t wide = 0;
    int rc = abi_get_uint(f, what, UINT8_MAX, &wide);
    if (rc == 0) *v = (uint8_t)wide;
    return rc;
}

int abi_get_bool(struct abi_frame *f, const char *what, bool *v)
{
    uint64_t wide = 0;
    int rc = abi_get_uint(f, what, 1, &wide);
    if (rc == 0) *v = wide == 1;
    return rc;
}

int abi_get_i64(struct abi_frame *f, const char *what, int64_t *v)
{
    const uint8_t *word = next_word(f, what);
    if (!word) return f->decoder->rc;
    uint8_t sign = word[ABI_WORD - 8] & 0x80 ? 0xff : 0;
    if (!all_bytes_are(word, ABI_WORD - 8, sign)) return fail(f, what, "number beyond 64 bits");
    *v = (int64_t)low_u64(word);
    return 0;
}

int abi_get_address(struct abi_frame *f, const char *what, struct eth_address *v)
{
    const uint8_t *word = next_word(f, what);
    if (!word) return f->decoder->rc;
    if (!all_bytes_are(word, ABI_WORD - sizeof(v->b), 0)) return fail(f, what, "no address");
    memcpy(v->b, word + ABI_WORD - sizeof(v->b), sizeof(v->b));
    return 0;
}

int abi_get_fixed(struct abi_frame *f, const char *what, void *v, size_t n)
{
    assert(n <= ABI_WORD);
    const uint8_t *word = next_word(f, what);
    if (!word) return f->decoder->rc;
    if (!all_bytes_are(word + n, ABI_WORD - n, 0)) return fail(f, what, "more than %zu bytes", n);
    memcpy(v, word, n);
    return 0;
}

int abi_get_bytes32(struct abi_frame *f, const char *what, struct eth_hash *v)
{
    return abi_get_fixed(f, what, v->b, sizeof(v->b));
}

int abi_skip(struct abi_frame *f, const char *what)
{
    (void)next_word(f, what);
    return f->decoder->rc;
}

int abi_get_tuple(struct abi_frame *f, const char *what, struct abi_frame *tuple)
{
    uint64_t offset = 0;
    int rc = abi_get_u64(f, what, &offset);
    if (rc < 0) return rc;
    // What is dynamic lies behind the head, so no honest offset points to before the next word.
    if (offset < f->pos || offset > f->len)
        return fail(f,
                    what,
                    "offset %llu is outside of %zu..%zu",
                    (unsigned long long)offset,
                    f->pos,
                    f->len);
    *tuple = (struct abi_frame){
        .decoder = f->decoder, .data = f->data + offset, .len = f->len - (size_t)offset};
    return 0;
}

/* Follow an offset to a length; *frame begins behind it. */
static int get_counted(struct abi_frame *f,
                       const char *what,
                       size_t max,
                       size_t unit_bytes,
                       size_t *count,
                       struct abi_frame *frame)
{
    struct abi_frame at;
    uint64_t n = 0;
    if (abi_get_tuple(f, what, &at) < 0 || abi_get_u64(&at, what, &n) < 0) return f->decoder->rc;
    size_t room = at.len - at.pos;
    if (n > room / unit_bytes)
        return fail(f, what, "length %llu, but only %zu bytes follow", (unsigned long long)n, room);
    if (n > max)
        return fail(f, what, "length %llu, at most %zu allowed", (unsigned long long)n, max);
    *count = (size_t)n;
    *frame = (struct abi_frame){.decoder = f->decoder, .data = at.data + at.pos, .len = room};
    return 0;
}

int abi_get_array(
    struct abi_frame *f, const char *what, size_t max, size_t *count, struct abi_frame *elements)
{
    return get_counted(f, what, max, ABI_WORD, count, elements);
}

int abi_get_bytes(
    struct abi_frame *f, const char *what, size_t max, const uint8_t **data, size_t *len)
{
    size_t n;
    struct abi_frame content;
    int rc = get_counted(f, what, max, 1, &n, &content);
    if (rc == 0) rc = spend(f, what, words_of(n));
    if (rc < 0) return rc;
    *data = content.data;
    *len = n;
    return 0;
}

int abi_get_string(struct abi_frame *f, const char *what, char *v, size_t size)
{
    assert(size > 0);
    const uint8_t *data;
    size_t len;
    int rc = abi_get_bytes(f, what, size - 1, &data, &len);
    if (rc < 0) return rc;
    if (len && memchr(data, '\0', len)) return fail(f, what, "zero byte in a string");
    if (len) memcpy(v, data, len);
    v[len] = '\0';
    return 0;
}

/* Writing */

/* A head of `words` at the end of the buffer. */
static struct abi_writer reserve(struct buf *b, size_t words)
{
    struct abi_writer w = {.b = b, .base = b->len, .pos = b->len};
    size_t bytes;
    if (__builtin_mul_overflow(words, (size_t)ABI_WORD, &bytes))
        bytes = SIZE_MAX; // fails by the buffer's own limit
    (void)buf_reserve(b, bytes);
    w.end = b->len;
    return w;
}

struct abi_writer abi_encode(struct buf *b, size_t head_words)
{
    return reserve(b, head_words);
}

/* Where the next head word goes; NULL after a failure of the buffer. */
static uint8_t *head_word(struct abi_writer *w)
{
    if (buf_error(w->b)) return NULL;
    assert(w->pos < w->end);
    uint8_t *word = w->b->data + w->pos;
    w->pos += ABI_WORD;
    return word;
}

void abi_put_u256(struct abi_writer *w, struct u256 v)
{
    uint8_t *word = head_word(w);
    if (word) u256_to_be(word, v);
}

void abi_put_u64(struct abi_writer *w, uint64_t v)
{
    abi_put_u256(w, u256_from_u64(v));
}

void abi_put_i64(struct abi_writer *w, int64_t v)
{
    uint64_t fill = v < 0 ? UINT64_MAX : 0;
    abi_put_u256(w, (struct u256){{(uint64_t)v, fill, fill, fill}});
}

void abi_put_bool(struct abi_writer *w, bool v)
{
    abi_put_u64(w, v);
}

void abi_put_address(struct abi_writer *w, const struct eth_address *v)
{
    uint8_t *word = head_word(w);
    if (word) memcpy(word + ABI_WORD - sizeof(v->b), v->b, sizeof(v->b));
}

void abi_put_bytes32(struct abi_writer *w, const struct eth_hash *v)
{
    uint8_t *word = head_word(w);
    if (word) memcpy(word, v->b, sizeof(v->b));
}

/* Point the next head word to the end of the buffer, where the caller appends. */
static void put_offset(struct abi_writer *w)
{
    abi_put_u64(w, w->b->len - w->base);
}

void abi_put_bytes(struct abi_writer *w, const void *data, size_t len)
{
    put_offset(w);
    struct abi_writer length = reserve(w->b, 1);
    abi_put_u64(&length, len);
    (void)buf_put(w->b, data, len);
    (void)buf_reserve(w->b, (ABI_WORD - len % ABI_WORD) % ABI_WORD);
}

struct abi_writer abi_put_tuple(struct abi_writer *w, size_t head_words)
{
    put_offset(w);
    return reserve(w->b, head_words);
}

struct abi_writer abi_put_array(struct abi_writer *w, size_t count, size_t words_each)
{
    put_offset(w);
    struct abi_writer length = reserve(w->b, 1);
    abi_put_u64(&length, count);
    size_t words;
    if (__builtin_mul_overflow(count, words_each, &words)) words = SIZE_MAX / ABI_WORD;
    return reserve(w->b, words);
}
