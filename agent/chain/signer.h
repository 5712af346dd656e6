/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The provider's key: signs transactions (EIP-155 legacy, EIP-1559) and messages (EIP-191). */
#ifndef CHAIN_SIGNER_H
#define CHAIN_SIGNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/chain/types.h"
#include "agent/chain/u256.h"
#include "agent/util/buf.h"
#include "agent/util/error.h"
#include "agent/util/secret.h"

struct signer;

/* From 64 hex digits, 0x or not. ERR_INVALID says what is wrong, never what the key is. */
struct signer *signer_new(const struct secret *hex_key, struct error *err);
struct signer *signer_destroy(struct signer *s); // wipes; returns NULL

struct eth_address signer_address(const struct signer *s);

struct eth_tx {
    bool eip1559;
    uint64_t chain_id;
    uint64_t nonce;
    uint64_t gas_limit;
    struct u256 max_fee_per_gas; // legacy: gasPrice
    struct u256 max_priority_fee_per_gas;
    struct eth_address to;
    const uint8_t *data; // borrowed; value is always 0: the agent never sends money
    size_t data_len;
};

/* Sign deterministically (RFC 6979): append the raw transaction to `raw`, fill *hash. */
int signer_sign_tx(const struct signer *s,
                   const struct eth_tx *tx,
                   struct buf *raw,
                   struct eth_hash *hash,
                   struct error *err);

/* EIP-191 personal message; signature is r || s || v with v in {0, 1}. */
int signer_sign_message(
    const struct signer *s, const void *msg, size_t len, uint8_t signature[65], struct error *err);

#endif
