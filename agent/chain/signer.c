/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signatures by libsecp256k1 (RFC 6979 nonces, always low s). After signer_new nothing changes any
 * more but the rules for transactions: any thread may sign messages.
 */
#include "agent/chain/signer.h"

#include <assert.h>
#include <errno.h>
#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/chain/abi.h"
#include "agent/chain/keccak.h"
#include "agent/chain/rlp.h"
#include "agent/util/hex.h"

enum {
    KEY_SIZE = 32,
    TX_MAX = 128 * 1024, // nodes take no larger transaction into their pools
    TX_TYPE_1559 = 2,
};

struct signer {
    secp256k1_context *secp;
    struct secret key;
    struct eth_address address;
    struct signer_rules rules; // of transactions; chain id 0: none yet
};

struct signature {
    uint8_t r[32], s[32];
    uint8_t parity; // of the nonce point's y: 0 or 1
};

/* Blind the context against side channels of signing. */
static int randomize(struct signer *s, struct error *err)
{
    uint8_t seed[32];
    if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        return error_set(err, ERR_IO, "getrandom: %s", strerror(errno));
    int ok = secp256k1_context_randomize(s->secp, seed);
    explicit_bzero(seed, sizeof(seed));
    return ok ? 0 : error_set(err, ERR_IO, "libsecp256k1 cannot randomize its context");
}

static int set_key(struct signer *s, const struct secret *hex_key, struct error *err)
{
    uint8_t key[KEY_SIZE];
    const char *text = (const char *)hex_key->data;
    int rc;
    if (!text || strlen(text) != hex_key->len || hex_decode(key, sizeof(key), text) < 0)
        rc = error_set(err, ERR_INVALID, "private key: expected %d hex digits", 2 * KEY_SIZE);
    else if (!secp256k1_ec_seckey_verify(s->secp, key))
        rc = error_set(err, ERR_INVALID, "private key: zero, or not below the order of the curve");
    else if ((rc = secret_set(&s->key, key, sizeof(key))) < 0)
        (void)error_set(err, rc, "private key: %s", err_text(rc));
    explicit_bzero(key, sizeof(key));
    return rc;
}

/* The last 20 bytes of the hash of the public key's coordinates. */
static int derive_address(struct signer *s, struct error *err)
{
    secp256k1_pubkey key;
    uint8_t point[65], digest[KECCAK256_SIZE];
    size_t len = sizeof(point);
    assert(s->key.data);
    if (!secp256k1_ec_pubkey_create(s->secp, &key, s->key.data) ||
        !secp256k1_ec_pubkey_serialize(s->secp, point, &len, &key, SECP256K1_EC_UNCOMPRESSED))
        return error_set(err, ERR_INVALID, "private key: it has no public key");
    keccak256(point + 1, sizeof(point) - 1, digest);
    memcpy(s->address.b, digest + sizeof(digest) - sizeof(s->address.b), sizeof(s->address.b));
    return 0;
}

struct signer *signer_new(const struct secret *hex_key, struct error *err)
{
    struct signer *s = calloc(1, sizeof(*s));
    if (s) s->secp = secp256k1_context_create(SECP256K1_CONTEXT_SIGN);
    if (!s || !s->secp) {
        (void)error_set(err, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
        return signer_destroy(s);
    }
    if (randomize(s, err) < 0 || set_key(s, hex_key, err) < 0 || derive_address(s, err) < 0)
        return signer_destroy(s);
    return s;
}

struct signer *signer_destroy(struct signer *s)
{
    if (!s) return NULL;
    secret_wipe(&s->key);
    if (s->secp) secp256k1_context_destroy(s->secp);
    free(s);
    return NULL;
}

struct eth_address signer_address(const struct signer *s)
{
    return s->address;
}

static int sign_digest(const struct signer *s,
                       const uint8_t digest[KECCAK256_SIZE],
                       struct signature *signature,
                       struct error *err)
{
    secp256k1_ecdsa_recoverable_signature sig;
    uint8_t rs[64];
    int id = 0;
    if (!secp256k1_ecdsa_sign_recoverable(s->secp, &sig, digest, s->key.data, NULL, NULL) ||
        !secp256k1_ecdsa_recoverable_signature_serialize_compact(s->secp, rs, &id, &sig))
        return error_set(err, ERR_INVALID, "libsecp256k1 cannot sign");
    // 2 and 3 stand for an r that was reduced: possible once in 2^127, and Ethereum has no v for
    // it.
    if (id < 0 || id > 1) return error_set(err, ERR_UNSUPPORTED, "signature id %d", id);
    memcpy(signature->r, rs, sizeof(signature->r));
    memcpy(signature->s, rs + sizeof(signature->r), sizeof(signature->s));
    signature->parity = (uint8_t)id;
    return 0;
}

/* A transaction's fields before the signature. */
static void put_fields(struct buf *b, const struct eth_tx *tx)
{
    struct buf access_list = BUF_INIT(0);
    if (tx->eip1559) (void)rlp_put_u64(b, tx->chain_id);
    (void)rlp_put_u64(b, tx->nonce);
    if (tx->eip1559) (void)rlp_put_u256(b, tx->max_priority_fee_per_gas);
    (void)rlp_put_u256(b, tx->max_fee_per_gas);
    (void)rlp_put_u64(b, tx->gas_limit);
    (void)rlp_put_bytes(b, tx->to.b, sizeof(tx->to.b));
    (void)rlp_put_u64(b, 0); // value
    (void)rlp_put_bytes(b, tx->data, tx->data_len);
    if (tx->eip1559) (void)rlp_put_list(b, &access_list);
}

static void put_envelope(struct buf *b, const struct eth_tx *tx, const struct buf *fields)
{
    if (tx->eip1559) (void)buf_put_u8(b, TX_TYPE_1559);
    (void)rlp_put_list(b, fields);
}

/* What is signed: EIP-155 puts the chain id where the signature will be. */
static int digest_to_sign(const struct eth_tx *tx, uint8_t digest[KECCAK256_SIZE])
{
    struct buf fields = BUF_INIT(TX_MAX), b = BUF_INIT(TX_MAX);
    put_fields(&fields, tx);
    if (!tx->eip1559) {
        (void)rlp_put_u64(&fields, tx->chain_id);
        (void)rlp_put_u64(&fields, 0);
        (void)rlp_put_u64(&fields, 0);
    }
    put_envelope(&b, tx, &fields);
    int rc = buf_error(&b);
    if (rc == 0) keccak256(b.data, b.len, digest);
    buf_free(&fields);
    buf_free(&b);
    return rc;
}

/* EIP-155: 35 + 2 * chain id + parity. 65 bits at most: it cannot overflow here. */
static struct u256 legacy_v(const struct eth_tx *tx, uint8_t parity)
{
    struct u256 v = u256_from_u64(tx->chain_id);
    (void)u256_add(v, v, &v);
    (void)u256_add(v, u256_from_u64(35U + parity), &v);
    return v;
}

static int put_signed(struct buf *b, const struct eth_tx *tx, const struct signature *signature)
{
    struct buf fields = BUF_INIT(TX_MAX);
    put_fields(&fields, tx);
    (void)rlp_put_u256(
        &fields, tx->eip1559 ? u256_from_u64(signature->parity) : legacy_v(tx, signature->parity));
    (void)rlp_put_u256(&fields, u256_from_be(signature->r));
    (void)rlp_put_u256(&fields, u256_from_be(signature->s));
    put_envelope(b, tx, &fields);
    buf_free(&fields);
    return buf_error(b);
}

/* ---- what may be signed ---- */

static const struct eth_address nobody;

static bool same_address(const struct eth_address *a, const struct eth_address *b)
{
    return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

int signer_set_rules(struct signer *s, const struct signer_rules *rules, struct error *err)
{
    if (rules->chain_id == 0 || same_address(&rules->metascheduler, &nobody))
        return error_set(err, ERR_INVALID, "signing rules without a chain id or a contract");
    if (s->rules.chain_id != 0 && (rules->chain_id != s->rules.chain_id ||
                                   !same_address(&rules->metascheduler, &s->rules.metascheduler)))
        return error_set(err,
                         ERR_DENIED,
                         "transactions are signed for chain %llu and its contract only, not for "
                         "another of chain %llu",
                         (unsigned long long)s->rules.chain_id,
                         (unsigned long long)rules->chain_id);
    s->rules = *rules;
    return 0;
}

/* The calls that the agent makes. A claim or a report moves no money of ours but its gas. */
static const struct {
    const char *signature;
    size_t contract; // offset in struct signer_rules
} calls[] = {
    {"claimNextJob()", offsetof(struct signer_rules, metascheduler)},
    {"claimNextCancellingJob()", offsetof(struct signer_rules, metascheduler)},
    {"claimNextTopUpJob()", offsetof(struct signer_rules, metascheduler)},
    {"providerSetJobStatus(bytes32,uint8,uint64,string,int64)",
     offsetof(struct signer_rules, metascheduler)},
    {"refuseJob(bytes32)", offsetof(struct signer_rules, metascheduler)},
    {"register((uint64,uint64[],uint64[],uint64[]),(uint256,uint256,uint256),(string,string)[])",
     offsetof(struct signer_rules, provider_manager)},
};

static bool is_allowed(const struct signer_rules *rules, const struct eth_tx *tx)
{
    uint8_t selector[ABI_SELECTOR];
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        abi_selector(calls[i].signature, selector);
        if (memcmp(selector, tx->data, sizeof(selector)) != 0) continue;
        const void *contract = (const uint8_t *)rules + calls[i].contract;
        return same_address(&tx->to, contract) && !same_address(&tx->to, &nobody);
    }
    return false;
}

static int check_call(const struct signer *s, const struct eth_tx *tx, struct error *err)
{
    char to[ETH_ADDRESS_TEXT], selector[2 * ABI_SELECTOR + 3];
    hex_encode(to, tx->to.b, sizeof(tx->to.b));
    if (tx->data_len == 0 && same_address(&tx->to, &s->address)) return 0; // fills a gap of nonces
    if (tx->data_len < ABI_SELECTOR)
        return error_set(err, ERR_DENIED, "refused to sign a transaction to %s without a call", to);
    if (!is_allowed(&s->rules, tx))
        return error_set(err,
                         ERR_DENIED,
                         "refused to sign call %s to %s: the agent makes no such call",
                         hex_encode(selector, tx->data, ABI_SELECTOR),
                         to);
    return 0;
}

static int check_tx(const struct signer *s, const struct eth_tx *tx, struct error *err)
{
    if (s->rules.chain_id == 0)
        return error_set(err, ERR_DENIED, "refused to sign a transaction: no chain is pinned yet");
    if (tx->chain_id != s->rules.chain_id)
        return error_set(err,
                         ERR_DENIED,
                         "refused to sign for chain %llu: chain %llu is pinned",
                         (unsigned long long)tx->chain_id,
                         (unsigned long long)s->rules.chain_id);
    if (tx->eip1559 && u256_cmp(tx->max_priority_fee_per_gas, tx->max_fee_per_gas) > 0)
        return error_set(err, ERR_INVALID, "transaction with a priority fee above its maximum fee");
    return check_call(s, tx, err);
}

int signer_sign_tx(const struct signer *s,
                   const struct eth_tx *tx,
                   struct buf *raw,
                   struct eth_hash *hash,
                   struct error *err)
{
    uint8_t digest[KECCAK256_SIZE];
    struct signature signature;
    struct buf b = BUF_INIT(TX_MAX);
    int rc = check_tx(s, tx, err);
    if (rc < 0) return rc;
    rc = digest_to_sign(tx, digest);
    if (rc < 0)
        return error_set(
            err, rc, "transaction with %zu bytes of data: %s", tx->data_len, err_text(rc));
    rc = sign_digest(s, digest, &signature, err);
    if (rc < 0) return rc;
    rc = put_signed(&b, tx, &signature);
    if (rc == 0) rc = buf_put(raw, b.data, b.len);
    if (rc == 0)
        keccak256(b.data, b.len, hash->b);
    else
        (void)error_set(
            err, rc, "transaction with %zu bytes of data: %s", tx->data_len, err_text(rc));
    buf_free(&b);
    return rc;
}

int signer_sign_message(
    const struct signer *s, const void *msg, size_t len, uint8_t signature[65], struct error *err)
{
    char prefix[64];
    int n = snprintf(prefix,
                     sizeof(prefix),
                     "\x19" // apart: E is a hex digit too
                     "Ethereum Signed Message:\n%zu",
                     len);
    struct keccak k;
    uint8_t digest[KECCAK256_SIZE];
    struct signature sig;
    keccak256_init(&k);
    keccak256_update(&k, prefix, (size_t)n);
    keccak256_update(&k, msg, len);
    keccak256_final(&k, digest);
    int rc = sign_digest(s, digest, &sig, err);
    if (rc < 0) return rc;
    memcpy(signature, sig.r, sizeof(sig.r));
    memcpy(signature + sizeof(sig.r), sig.s, sizeof(sig.s));
    signature[64] = sig.parity;
    return 0;
}
