/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The contract ABI: a bounds-checked decoder for data that a node sent, and a writer for what we
 * send. The caller's code is the type: it reads or puts the values in the order of the ABI, so how
 * deep frames nest is decided by our code and never by the data.
 */
#ifndef CHAIN_ABI_H
#define CHAIN_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/chain/types.h"
#include "agent/chain/u256.h"
#include "agent/util/buf.h"
#include "agent/util/error.h"

enum { ABI_WORD = 32, ABI_SELECTOR = 4 };

/* First four bytes of the hash of "name(type,...)". */
void abi_selector(const char *signature, uint8_t selector[ABI_SELECTOR]);

/*
 * Decoding. An error sticks: after the first one every call on any frame of the decoder returns the
 * same code and leaves its out-parameter as it was, so that a caller may check the last call only.
 * All errors are ERR_PROTO, with text that names `what` was being read.
 */
struct abi_decoder {
    int rc;
    size_t words_left; // how many words may still be read, see abi_decode
    struct error *err;
};

/* A tuple, or the elements of an array. Offsets in it count from its beginning. */
struct abi_frame {
    struct abi_decoder *decoder;
    const uint8_t *data; // borrowed
    size_t len;
    size_t pos; // of the next head word
};

/*
 * Begin: `data` is a tuple's encoding (return data, or calldata behind the selector). An honest
 * encoding has each word read once at most; that many words are allowed in total, which bounds work
 * on data whose offsets all point to one place.
 */
void abi_decode(struct abi_decoder *d,
                struct abi_frame *top,
                const uint8_t *data,
                size_t len,
                struct error *err);

int abi_get_u256(struct abi_frame *f, const char *what, struct u256 *v);
int abi_get_uint(struct abi_frame *f, const char *what, uint64_t max, uint64_t *v);
int abi_get_u64(struct abi_frame *f, const char *what, uint64_t *v);
int abi_get_u8(struct abi_frame *f, const char *what, uint8_t *v);
int abi_get_i64(struct abi_frame *f, const char *what, int64_t *v); // sign-extended
int abi_get_bool(struct abi_frame *f, const char *what, bool *v);   // 0 or 1
int abi_get_address(struct abi_frame *f, const char *what, struct eth_address *v);
int abi_get_bytes32(struct abi_frame *f, const char *what, struct eth_hash *v);
int abi_get_fixed(struct abi_frame *f, const char *what, void *v, size_t n); // bytesN, n <= 32

/* Pass over one static value of whatever kind. */
int abi_skip(struct abi_frame *f, const char *what);

/* Dynamic bytes of at most `max`; *data is borrowed from what is decoded. */
int abi_get_bytes(
    struct abi_frame *f, const char *what, size_t max, const uint8_t **data, size_t *len);

/* A string that must fit into `size` with its NUL and have no NUL inside. */
int abi_get_string(struct abi_frame *f, const char *what, char *v, size_t size);

/* Follow an offset to a tuple that has dynamic members. */
int abi_get_tuple(struct abi_frame *f, const char *what, struct abi_frame *tuple);

/* Follow an offset to an array of at most `max` elements; read them from *elements. */
int abi_get_array(
    struct abi_frame *f, const char *what, size_t max, size_t *count, struct abi_frame *elements);

/*
 * Writing. A tuple is a head of words whose number the caller knows beforehand; what is dynamic is
 * appended behind and the head gets its offset. Finish a nested tuple or array before the next
 * dynamic value of its parent. Errors stick in the buffer; more values than words is a bug
 * (assert).
 */
struct abi_writer {
    struct buf *b;
    size_t base; // offsets count from here
    size_t pos;  // of the next head word
    size_t end;  // of the head
};

struct abi_writer abi_encode(struct buf *b, size_t head_words);

void abi_put_u256(struct abi_writer *w, struct u256 v);
void abi_put_u64(struct abi_writer *w, uint64_t v);
void abi_put_i64(struct abi_writer *w, int64_t v);
void abi_put_bool(struct abi_writer *w, bool v);
void abi_put_address(struct abi_writer *w, const struct eth_address *v);
void abi_put_bytes32(struct abi_writer *w, const struct eth_hash *v);
void abi_put_bytes(struct abi_writer *w, const void *data, size_t len); // bytes or string
struct abi_writer abi_put_tuple(struct abi_writer *w, size_t head_words);
struct abi_writer abi_put_array(struct abi_writer *w, size_t count, size_t words_each);

#endif
