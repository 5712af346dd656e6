/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The decoder with any type at all: the input's first byte is a number of steps, then come the
 * steps, each the reading of one value, then the data. Whatever is asked of whatever data, what is
 * borrowed lies within the data, and the words that are read are no more than there are.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/chain/abi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FRAMES_MAX = 16, LENGTH_MAX = 300 };

struct machine {
    const uint8_t *data;
    size_t size;
    struct abi_decoder decoder;
    struct abi_frame frames[FRAMES_MAX];
    size_t depth; // of the frame that is read
};

static void require(bool holds)
{
    if (!holds) abort();
}

static void require_within(const struct machine *m, const uint8_t *data, size_t len)
{
    require(data >= m->data && data <= m->data + m->size);
    require(len <= (size_t)(m->data + m->size - data));
}

static int read_text(struct abi_frame *f)
{
    char text[LENGTH_MAX];
    int rc = abi_get_string(f, "string", text, sizeof(text));
    if (rc == 0) require(memchr(text, '\0', sizeof(text)) != NULL);
    return rc;
}

static int read_bytes(struct machine *m, struct abi_frame *f)
{
    const uint8_t *bytes;
    size_t len;
    int rc = abi_get_bytes(f, "bytes", LENGTH_MAX, &bytes, &len);
    if (rc < 0) return rc;
    require(len <= LENGTH_MAX);
    require_within(m, bytes, len);
    return 0;
}

/* Go into a tuple or an array; steps that follow read there. */
static int enter(struct machine *m, struct abi_frame *f, bool array)
{
    struct abi_frame inner;
    size_t count = 0;
    int rc = array ? abi_get_array(f, "array", LENGTH_MAX, &count, &inner)
                   : abi_get_tuple(f, "tuple", &inner);
    if (rc < 0) return rc;
    require_within(m, inner.data, inner.len);
    require(count <= inner.len / ABI_WORD);
    if (m->depth + 1 < FRAMES_MAX) m->frames[++m->depth] = inner;
    return 0;
}

static int read_static(struct abi_frame *f, unsigned int kind)
{
    union {
        struct u256 u256;
        uint64_t u64;
        uint8_t u8;
        int64_t i64;
        bool boolean;
        struct eth_address address;
        struct eth_hash hash;
    } v;
    switch (kind) {
    case 0:
        return abi_get_u256(f, "u256", &v.u256);
    case 1:
        return abi_get_u64(f, "u64", &v.u64);
    case 2:
        return abi_get_u8(f, "u8", &v.u8);
    case 3:
        return abi_get_i64(f, "i64", &v.i64);
    case 4:
        return abi_get_bool(f, "bool", &v.boolean);
    case 5:
        return abi_get_address(f, "address", &v.address);
    case 6:
        return abi_get_bytes32(f, "bytes32", &v.hash);
    case 7:
        return abi_get_fixed(f, "bytes2", &v, 2);
    default:
        return abi_skip(f, "skip");
    }
}

static int step(struct machine *m, uint8_t op)
{
    struct abi_frame *f = &m->frames[m->depth];
    unsigned int kind = op % 14U;
    if (kind < 9) return read_static(f, kind);
    if (kind == 9) return read_text(f);
    if (kind == 10) return read_bytes(m, f);
    if (kind < 13) return enter(m, f, kind == 12);
    if (m->depth) m->depth--;
    return m->decoder.rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    size_t steps = data[0];
    if (steps > size - 1) steps = size - 1;
    struct machine m = {.data = data + 1 + steps, .size = size - 1 - steps};
    struct error err = {0};
    abi_decode(&m.decoder, &m.frames[0], m.data, m.size, &err);
    size_t words = m.decoder.words_left;
    for (size_t i = 0; i < steps; i++) {
        bool failed = m.decoder.rc < 0;
        int rc = step(&m, data[1 + i]);
        require(rc == m.decoder.rc && (rc == 0 || rc == ERR_PROTO));
        require(!failed || rc == ERR_PROTO);
        require((rc == 0) == (err.text[0] == '\0'));
        require(m.decoder.words_left <= words);
    }
    return 0;
}
