/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/rlp.h"

#include <string.h>

enum {
    RLP_BYTES = 0x80,  // first byte of a byte string, plus its length if that is short
    RLP_LIST = 0xc0,   // of a list
    RLP_SHORT_MAX = 55 // longer ones have the length's length there, and the length behind it
};

static int put_header(struct buf *b, unsigned int kind, size_t len)
{
    if (len <= RLP_SHORT_MAX) return buf_put_u8(b, (uint8_t)(kind + len));
    uint8_t digits[sizeof(len)];
    size_t at = sizeof(digits);
    for (size_t rest = len; rest; rest >>= 8)
        digits[--at] = (uint8_t)(rest & 0xff);
    (void)buf_put_u8(b, (uint8_t)(kind + RLP_SHORT_MAX + (sizeof(digits) - at)));
    return buf_put(b, digits + at, sizeof(digits) - at);
}

int rlp_put_bytes(struct buf *b, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    if (len == 1 && bytes[0] < RLP_BYTES) return buf_put_u8(b, bytes[0]);
    (void)put_header(b, RLP_BYTES, len);
    return buf_put(b, data, len);
}

int rlp_put_u256(struct buf *b, struct u256 v)
{
    uint8_t bytes[32];
    u256_to_be(bytes, v);
    size_t zeros = 0;
    while (zeros < sizeof(bytes) && bytes[zeros] == 0)
        zeros++;
    return rlp_put_bytes(b, bytes + zeros, sizeof(bytes) - zeros);
}

int rlp_put_u64(struct buf *b, uint64_t v)
{
    return rlp_put_u256(b, u256_from_u64(v));
}

int rlp_put_list(struct buf *b, const struct buf *items)
{
    // A list whose items are incomplete must not look like one.
    if (!b->error) b->error = buf_error(items);
    (void)put_header(b, RLP_LIST, items->len);
    return buf_put(b, items->data, items->len);
}
