/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The provider's key: signs messages (EIP-191), and of transactions (EIP-155 legacy, EIP-1559) only
 * the calls that the agent makes: whatever a node, a job or a bug may say, the key does no more.
 */
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

/* Where transactions may go. */
struct signer_rules {
    uint64_t chain_id;
    struct eth_address metascheduler;
    struct eth_address provider_manager; // the one that the MetaScheduler names
};

/*
 * Allow transactions: before the first call none is signed. Chain and MetaScheduler are pinned by
 * it: ERR_DENIED, and the rules stay, if a later call names others. Not thread-safe: one thread
 * calls this and signer_sign_tx().
 */
int signer_set_rules(struct signer *s, const struct signer_rules *rules, struct error *err);

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

/*
 * Sign deterministically (RFC 6979): append the raw transaction to `raw`, fill *hash. What may be
 * signed: the agent's calls of the MetaScheduler and of the ProviderManager, told by their
 * selectors, and a transfer of nothing to ourselves, all on the pinned chain. ERR_DENIED names what
 * was refused.
 */
int signer_sign_tx(const struct signer *s,
                   const struct eth_tx *tx,
                   struct buf *raw,
                   struct eth_hash *hash,
                   struct error *err);

/* EIP-191 personal message; signature is r || s || v with v in {0, 1}. */
int signer_sign_message(
    const struct signer *s, const void *msg, size_t len, uint8_t signature[65], struct error *err);

#endif
