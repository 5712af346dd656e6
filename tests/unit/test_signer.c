/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/signer.h"

#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <stdio.h>

#include "agent/chain/keccak.h"
#include "tests/unit/chain_test.h"
#include "tests/unit/vectors.h"

#define KEY         "4646464646464646464646464646464646464646464646464646464646464646"
#define OTHER_KEY   "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
#define ORDER       "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
#define ORDER_MINUS "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140"
#define HALF_ORDER  "0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0"
#define TO          "0x3707ab457cf457275b7ec32e203c54df80c299d5"
#define NONCE       "{\"message\":\"login\",\"nonce\":\"AAECAwQFBgcICQoLDA0ODw==\"}"

static struct signer *signer_of(const char *hex, struct error *err)
{
    struct secret key = {0};
    assert_int_equal(secret_set(&key, hex, strlen(hex)), 0);
    struct signer *s = signer_new(&key, err);
    secret_wipe(&key);
    return s;
}

static void fill_pattern(uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)((7 * i + 3) & 0xff);
}

static void addresses(void **state)
{
    (void)state;
    // The keys 1 and n - 1 have the same x: known points of the curve.
    static const struct {
        const char *key, *address;
    } known[] = {
        {KEY, VECTOR_ADDRESS},
        {"0x" KEY, VECTOR_ADDRESS},
        {OTHER_KEY, VECTOR_ADDRESS_OTHER},
        {"0X4C0883A69102937D6231471B5DBB6204FE5129617082792AE468D01A3F362318",
         VECTOR_ADDRESS_OTHER},
        {"0000000000000000000000000000000000000000000000000000000000000001",
         "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf"},
        {ORDER_MINUS, "0x80c0dbf239224071c59dd8970ab9d542e3414ab2"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct signer *s = signer_of(known[i].key, NULL);
        assert_non_null(s);
        struct eth_address expected = address_of(known[i].address), got = signer_address(s);
        assert_memory_equal(&got, &expected, sizeof(got));
        assert_null(signer_destroy(s));
    }
    assert_null(signer_destroy(NULL));
}

static void bad_keys(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "0x",
        "46",
        (KEY "46"),
        ("0x0x" KEY),
        "zz46464646464646464646464646464646464646464646464646464646464646",
        "4646464646464646464646464646464646464646464646464646464646464 46",
        "0000000000000000000000000000000000000000000000000000000000000000",
        ORDER,
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = {0};
        assert_null(signer_of(bad[i], &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_null(strstr(err.text, "4646"));
        assert_null(strstr(err.text, "ffff"));
    }
    struct error err = {0};
    struct secret none = {0};
    assert_null(signer_new(&none, &err));
    assert_int_equal(err.code, ERR_INVALID);
    // A NUL does not end a key.
    struct secret tail = {0};
    assert_int_equal(secret_set(&tail, KEY "\0junk", 2 * 32 + 5), 0);
    assert_null(signer_new(&tail, &err));
    secret_wipe(&tail);
}

static void sign_and_compare(struct signer *s, const struct eth_tx *tx, const char *expected)
{
    struct buf raw = BUF_INIT(4096);
    struct eth_hash hash, expected_hash;
    assert_int_equal(buf_puts(&raw, "before"), 0); // what is there already stays
    assert_int_equal(signer_sign_tx(s, tx, &raw, &hash, NULL), 0);
    assert_memory_equal(raw.data, "before", 6);
    assert_hex(raw.data + 6, raw.len - 6, expected);
    keccak256(raw.data + 6, raw.len - 6, expected_hash.b);
    assert_memory_equal(&hash, &expected_hash, sizeof(hash));
    buf_free(&raw);
}

static void legacy_transactions(void **state)
{
    (void)state;
    static const uint8_t claim[] = {0x5d, 0x3a, 0x71, 0x80};
    struct eth_tx tx = {
        .chain_id = 179188,
        .nonce = 9,
        .gas_limit = 200000,
        .max_fee_per_gas = u256_from_u64(20000000000),
        .to = address_of(TO),
        .data = claim,
        .data_len = sizeof(claim),
    };
    struct signer *s = signer_of(KEY, NULL), *other = signer_of(OTHER_KEY, NULL);
    sign_and_compare(s, &tx, VECTOR_TX_LEGACY);
    sign_and_compare(other, &tx, VECTOR_TX_LEGACY_OTHER);
    (void)signer_destroy(s);
    (void)signer_destroy(other);
}

static void eip1559_transactions(void **state)
{
    (void)state;
    uint8_t data[260];
    fill_pattern(data, sizeof(data));
    struct eth_tx tx = {
        .eip1559 = true,
        .chain_id = 179188,
        .gas_limit = 500000,
        .max_fee_per_gas = u256_from_u64(30000000000),
        .max_priority_fee_per_gas = u256_from_u64(1500000000),
        .to = address_of(TO),
        .data = data,
        .data_len = sizeof(data),
    };
    struct signer *s = signer_of(KEY, NULL), *other = signer_of(OTHER_KEY, NULL);
    sign_and_compare(s, &tx, VECTOR_TX_1559);
    sign_and_compare(other, &tx, VECTOR_TX_1559_OTHER);
    (void)signer_destroy(s);
    (void)signer_destroy(other);
}

/* The largest numbers still give a transaction; v of EIP-155 is then beyond 64 bits. */
static void largest_numbers(void **state)
{
    (void)state;
    struct signer *s = signer_of(KEY, NULL);
    struct eth_tx tx = {
        .chain_id = UINT64_MAX,
        .nonce = UINT64_MAX,
        .gas_limit = UINT64_MAX,
        .max_fee_per_gas = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}},
        .to = address_of(TO),
    };
    struct buf raw = BUF_INIT(1024);
    struct eth_hash hash;
    assert_int_equal(signer_sign_tx(s, &tx, &raw, &hash, NULL), 0);
    // ... v: nine bytes, 2^65 + 33 or + 34; behind it r and s of 33 bytes at most each.
    static const uint8_t v[] = {0x89, 0x02, 0, 0, 0, 0, 0, 0, 0};
    const uint8_t *at = memmem(raw.data, raw.len, v, sizeof(v));
    assert_non_null(at);
    assert_in_range(at[sizeof(v)], 0x21, 0x22);
    buf_free(&raw);
    (void)signer_destroy(s);
}

static void refused_transactions(void **state)
{
    (void)state;
    struct signer *s = signer_of(KEY, NULL);
    static const uint8_t data[1];
    const struct eth_tx good = {
        .eip1559 = true,
        .chain_id = 1,
        .max_fee_per_gas = u256_from_u64(2),
        .max_priority_fee_per_gas = u256_from_u64(2),
        .to = address_of(TO),
        .data = data,
        .data_len = sizeof(data),
    };
    struct eth_tx bad[3] = {good, good, good};
    bad[0].chain_id = 0;
    bad[1].to = (struct eth_address){{0}};
    bad[2].max_priority_fee_per_gas = u256_from_u64(3);
    struct buf raw = BUF_INIT(1024);
    struct eth_hash hash;
    for (size_t i = 0; i < 3; i++) {
        struct error err = {0};
        assert_int_equal(signer_sign_tx(s, &bad[i], &raw, &hash, &err), ERR_INVALID);
        assert_string_not_equal(err.text, "");
    }
    assert_int_equal(raw.len, 0);
    assert_int_equal(signer_sign_tx(s, &good, &raw, &hash, NULL), 0);

    static uint8_t huge[128 * 1024];
    struct eth_tx large = good;
    large.data = huge;
    large.data_len = sizeof(huge);
    struct error err = {0};
    size_t before = raw.len;
    assert_int_equal(signer_sign_tx(s, &large, &raw, &hash, &err), ERR_LIMIT);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_int_equal(raw.len, before);
    buf_free(&raw);
    (void)signer_destroy(s);
}

/* cast writes v as 27 or 28 where we write 0 or 1. */
static void assert_message(struct signer *s, const void *msg, size_t len, const char *expected)
{
    uint8_t signature[65];
    assert_int_equal(signer_sign_message(s, msg, len, signature, NULL), 0);
    assert_in_range(signature[64], 0, 1);
    signature[64] = (uint8_t)(signature[64] + 27);
    assert_hex(signature, sizeof(signature), expected);
}

static void messages(void **state)
{
    (void)state;
    uint8_t data[1000];
    fill_pattern(data, sizeof(data));
    struct signer *s = signer_of(KEY, NULL), *other = signer_of(OTHER_KEY, NULL);
    assert_message(s, "hello", 5, VECTOR_MESSAGE);
    assert_message(other, "hello", 5, VECTOR_MESSAGE_OTHER);
    assert_message(s, "", 0, VECTOR_MESSAGE_EMPTY);
    assert_message(s, NONCE, strlen(NONCE), VECTOR_MESSAGE_LOGIN);
    assert_message(s, data, sizeof(data), VECTOR_MESSAGE_LONG);
    (void)signer_destroy(s);
    (void)signer_destroy(other);
}

/* Every signature recovers to the signer's address and has a low s; both parities occur. */
static void recovered(void **state)
{
    (void)state;
    struct signer *s = signer_of(KEY, NULL);
    secp256k1_context *secp = secp256k1_context_create(SECP256K1_CONTEXT_VERIFY);
    struct u256 half;
    unsigned int seen = 0;
    assert_int_equal(u256_parse(HALF_ORDER, &half), 0);
    for (int i = 0; i < 64; i++) {
        char message[64], prefixed[128];
        uint8_t signature[65], digest[32], point[65];
        (void)snprintf(message, sizeof(message), "message %d", i);
        assert_int_equal(signer_sign_message(s, message, strlen(message), signature, NULL), 0);
        assert_true(u256_cmp(u256_from_be(signature + 32), half) <= 0);
        seen |= 1U << signature[64];

        int n = snprintf(prefixed,
                         sizeof(prefixed),
                         "\x19%s Signed Message:\n%zu%s",
                         "Ethereum",
                         strlen(message),
                         message);
        keccak256(prefixed, (size_t)n, digest);
        secp256k1_ecdsa_recoverable_signature parsed;
        secp256k1_pubkey key;
        size_t len = sizeof(point);
        assert_int_equal(secp256k1_ecdsa_recoverable_signature_parse_compact(
                             secp, &parsed, signature, signature[64]),
                         1);
        assert_int_equal(secp256k1_ecdsa_recover(secp, &key, &parsed, digest), 1);
        (void)secp256k1_ec_pubkey_serialize(secp, point, &len, &key, SECP256K1_EC_UNCOMPRESSED);
        keccak256(point + 1, 64, digest);
        struct eth_address address = signer_address(s);
        assert_memory_equal(digest + 12, address.b, sizeof(address.b));
    }
    assert_int_equal(seen, 3);
    secp256k1_context_destroy(secp);
    (void)signer_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),
        cmocka_unit_test(bad_keys),
        cmocka_unit_test(legacy_transactions),
        cmocka_unit_test(eip1559_transactions),
        cmocka_unit_test(largest_numbers),
        cmocka_unit_test(refused_transactions),
        cmocka_unit_test(messages),
        cmocka_unit_test(recovered),
    };
    return cmocka_run_group_tests_name("signer", tests, NULL, NULL);
}
