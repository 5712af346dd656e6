/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * RLP, the encoding of transactions; the agent never decodes it. A list is made inside out: put its
 * items into a buffer of their own, then that buffer with rlp_put_list. All append to `b` and
 * return 0 or the buffer's error.
 */
#ifndef CHAIN_RLP_H
#define CHAIN_RLP_H

#include <stddef.h>
#include <stdint.h>

#include "agent/chain/u256.h"
#include "agent/util/buf.h"

int rlp_put_bytes(struct buf *b, const void *data, size_t len);
int rlp_put_u64(struct buf *b, uint64_t v); // big-endian without leading zeros; 0 is empty
int rlp_put_u256(struct buf *b, struct u256 v);
int rlp_put_list(struct buf *b, const struct buf *items);

#endif
