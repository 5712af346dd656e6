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
#define MANAGER     "0x00000000000000000000000000000000000000dd"
#define NONCE       "{\"message\":\"login\",\"nonce\":\"AAECAwQFBgcICQoLDA0ODw==\"}"

static struct signer *signer_of(const char *hex, struct error *err)
{
    struct secret key = {0};
    assert_int_equal(secret_set(&key, hex, strlen(hex)), 0);
    struct signer *s = signer_new(&key, err);
    secret_wipe(&key);
    return s;
}

/* A signer that may sign for chain `chain_id`: TO is the contract, MANAGER its ProviderManager. */
static struct signer *allowed_signer_of(const char *hex, uint64_t chain_id)
{
    struct signer *s = signer_of(hex, NULL);
    const struct signer_rules rules = {.chain_id = chain_id,
                                       .metascheduler = address_of(TO),
                                       .provider_manager = address_of(MANAGER)};
    assert_non_null(s);
    assert_int_equal(signer_set_rules(s, &rules, NULL), 0);
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
    struct signer *s = allowed_signer_of(KEY, 179188);
    struct signer *other = allowed_signer_of(OTHER_KEY, 179188);
    sign_and_compare(s, &tx, VECTOR_TX_LEGACY);
    sign_and_compare(other, &tx, VECTOR_TX_LEGACY_OTHER);
    (void)signer_destroy(s);
    (void)signer_destroy(other);
}

static void eip1559_transactions(void **state)
{
    (void)state;
    uint8_t data[260] = {0xe1, 0xc0, 0xfd, 0xd4}; // providerSetJobStatus
    fill_pattern(data + 4, sizeof(data) - 4);
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
    struct signer *s = allowed_signer_of(KEY, 179188);
    struct signer *other = allowed_signer_of(OTHER_KEY, 179188);
    sign_and_compare(s, &tx, VECTOR_TX_1559);
    sign_and_compare(other, &tx, VECTOR_TX_1559_OTHER);
    (void)signer_destroy(s);
    (void)signer_destroy(other);
}

/* The largest numbers still give a transaction; v of EIP-155 is then beyond 64 bits. */
static void largest_numbers(void **state)
{
    (void)state;
    struct signer *s = allowed_signer_of(KEY, UINT64_MAX);
    struct eth_tx tx = {
        .chain_id = UINT64_MAX,
        .nonce = UINT64_MAX,
        .gas_limit = UINT64_MAX,
        .max_fee_per_gas = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}},
        .to = signer_address(s),
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

static int sign(struct signer *s, const struct eth_tx *tx, struct error *err)
{
    struct buf raw = BUF_INIT(256 * 1024);
    struct eth_hash hash;
    int rc = signer_sign_tx(s, tx, &raw, &hash, err);
    assert_true(rc == 0 ? raw.len > 0 : raw.len == 0);
    buf_free(&raw);
    return rc;
}

static void assert_denied(struct signer *s, const struct eth_tx *tx, const char *named)
{
    struct error err = {0};
    assert_int_equal(sign(s, tx, &err), ERR_DENIED);
    assert_non_null(strcasestr(err.text, named));
}

/* protocol: the selector of each call, and who it is made to. */
static const struct {
    uint8_t selector[4];
    const char *to;
} allowed[] = {
    {{0x5d, 0x3a, 0x71, 0x80}, TO},      // claimNextJob
    {{0x5e, 0x1b, 0x2d, 0x65}, TO},      // claimNextCancellingJob
    {{0xeb, 0xd4, 0xbf, 0x00}, TO},      // claimNextTopUpJob
    {{0xe1, 0xc0, 0xfd, 0xd4}, TO},      // providerSetJobStatus
    {{0x1f, 0x92, 0xa6, 0x3f}, TO},      // refuseJob
    {{0x94, 0xf9, 0xb0, 0x55}, MANAGER}, // register
};

static struct eth_tx call_of(const uint8_t *data, size_t len, const char *to)
{
    return (struct eth_tx){.chain_id = 7, .to = address_of(to), .data = data, .data_len = len};
}

static void allowed_calls(void **state)
{
    (void)state;
    struct signer *s = allowed_signer_of(KEY, 7);
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        const char *other = strcmp(allowed[i].to, TO) == 0 ? MANAGER : TO;
        struct eth_tx tx = call_of(allowed[i].selector, 4, allowed[i].to);
        assert_int_equal(sign(s, &tx, NULL), 0);
        tx.to = address_of(other); // the right call to the wrong one of the two
        assert_denied(s, &tx, other);
        tx.to = signer_address(s);
        assert_denied(s, &tx, VECTOR_ADDRESS);
    }
    // A gap is filled with nothing, sent to ourselves.
    struct eth_tx fill = call_of(NULL, 0, VECTOR_ADDRESS);
    assert_int_equal(sign(s, &fill, NULL), 0);
    (void)signer_destroy(s);
}

/* Every other selector, be it one of the contracts' own, is refused to either of them. */
static void forbidden_calls(void **state)
{
    (void)state;
    static const char *const forbidden[] = {
        "0xd9943788", // requestNewJob
        "0x5fae1450", // cancelJob
        "0x2fecc4f6", // topUpJob
        "0x69ee1bf9", // topUpJobDelegate
        "0x2f2ff15d", // grantRole
        "0xd77836ce", // withdrawAdmin
        "0xa9059cbb", // transfer of a token
        "0x095ea7b3", // approve
        "0x29092d0e", // remove
        "0x00000000",
        "0x5d3a7181",
    };
    struct signer *s = allowed_signer_of(KEY, 7);
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
        uint8_t data[68] = {0};
        assert_int_equal(hex_decode(data, 4, forbidden[i]), 0);
        struct eth_tx tx = call_of(data, sizeof(data), TO);
        assert_denied(s, &tx, forbidden[i]);
        tx.to = address_of(MANAGER);
        assert_denied(s, &tx, forbidden[i]);
    }
    uint64_t seed = 1;
    for (int i = 0; i < 10000; i++) {
        uint64_t data = next_random(&seed);
        bool known = false;
        for (size_t k = 0; k < sizeof(allowed) / sizeof(allowed[0]); k++)
            known = known || memcmp(&data, allowed[k].selector, 4) == 0;
        struct eth_tx tx = call_of((const uint8_t *)&data, sizeof(data), i % 2 ? TO : MANAGER);
        assert_int_equal(sign(s, &tx, NULL), known ? 0 : ERR_DENIED);
    }
    (void)signer_destroy(s);
}

static void forbidden_recipients(void **state)
{
    (void)state;
    static const char nobody[] = "0x0000000000000000000000000000000000000000";
    struct signer *s = allowed_signer_of(KEY, 7);
    struct eth_tx tx = call_of(allowed[0].selector, 4, VECTOR_ADDRESS_OTHER);
    assert_denied(s, &tx, VECTOR_ADDRESS_OTHER);
    tx.to = address_of(nobody); // would make a contract
    assert_denied(s, &tx, nobody);
    tx = call_of(NULL, 0, TO);
    assert_denied(s, &tx, TO);
    tx = call_of(NULL, 0, VECTOR_ADDRESS_OTHER);
    assert_denied(s, &tx, VECTOR_ADDRESS_OTHER);
    for (size_t len = 1; len < 4; len++) {
        tx = call_of(allowed[0].selector, len, TO);
        assert_denied(s, &tx, TO);
        tx = call_of(allowed[0].selector, len, VECTOR_ADDRESS);
        assert_denied(s, &tx, VECTOR_ADDRESS);
    }
    // While the MetaScheduler's ProviderManager is not known nobody is registered with.
    struct signer *early = signer_of(KEY, NULL);
    struct signer_rules rules = {.chain_id = 7, .metascheduler = address_of(TO)};
    assert_int_equal(signer_set_rules(early, &rules, NULL), 0);
    tx = call_of(allowed[5].selector, 4, MANAGER);
    assert_denied(early, &tx, MANAGER);
    tx.to = address_of(nobody);
    assert_denied(early, &tx, nobody);
    (void)signer_destroy(early);
    (void)signer_destroy(s);
}

static void pinned_chain(void **state)
{
    (void)state;
    struct signer *s = signer_of(KEY, NULL);
    struct error err = {0};
    struct eth_tx tx = call_of(allowed[0].selector, 4, TO);
    assert_denied(s, &tx, "no chain is pinned");
    tx.chain_id = 0;
    assert_denied(s, &tx, "no chain is pinned");

    struct signer_rules rules = {.metascheduler = address_of(TO)};
    assert_int_equal(signer_set_rules(s, &rules, &err), ERR_INVALID);
    rules.chain_id = 7;
    rules.metascheduler = (struct eth_address){{0}};
    assert_int_equal(signer_set_rules(s, &rules, &err), ERR_INVALID);
    rules.metascheduler = address_of(TO);
    assert_int_equal(signer_set_rules(s, &rules, NULL), 0);
    assert_denied(s, &tx, "chain 0");
    tx.chain_id = 8;
    assert_denied(s, &tx, "chain 8");
    tx.chain_id = 7;
    assert_int_equal(sign(s, &tx, NULL), 0);

    // Another chain or contract is refused and changes nothing; the ProviderManager may move.
    rules.chain_id = 8;
    assert_int_equal(signer_set_rules(s, &rules, &err), ERR_DENIED);
    assert_non_null(strstr(err.text, "chain 8"));
    rules.chain_id = 7;
    rules.metascheduler = address_of(MANAGER);
    assert_int_equal(signer_set_rules(s, &rules, &err), ERR_DENIED);
    assert_int_equal(sign(s, &tx, NULL), 0);
    rules.metascheduler = address_of(TO);
    rules.provider_manager = address_of(VECTOR_ADDRESS_OTHER);
    assert_int_equal(signer_set_rules(s, &rules, NULL), 0);
    tx = call_of(allowed[5].selector, 4, VECTOR_ADDRESS_OTHER);
    assert_int_equal(sign(s, &tx, NULL), 0);
    (void)signer_destroy(s);
}

static void refused_transactions(void **state)
{
    (void)state;
    struct signer *s = allowed_signer_of(KEY, 7);
    struct eth_tx tx = call_of(allowed[0].selector, 4, TO);
    struct error err = {0};
    tx.eip1559 = true;
    tx.max_fee_per_gas = u256_from_u64(2);
    tx.max_priority_fee_per_gas = u256_from_u64(3);
    assert_int_equal(sign(s, &tx, &err), ERR_INVALID);
    assert_string_not_equal(err.text, "");
    tx.max_priority_fee_per_gas = u256_from_u64(2);
    assert_int_equal(sign(s, &tx, NULL), 0);

    static uint8_t huge[128 * 1024];
    memcpy(huge, allowed[0].selector, 4);
    tx.data = huge;
    tx.data_len = sizeof(huge);
    assert_int_equal(sign(s, &tx, &err), ERR_LIMIT);
    assert_int_equal(err.code, ERR_LIMIT);
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
        cmocka_unit_test(allowed_calls),
        cmocka_unit_test(forbidden_calls),
        cmocka_unit_test(forbidden_recipients),
        cmocka_unit_test(pinned_chain),
        cmocka_unit_test(refused_transactions),
        cmocka_unit_test(messages),
        cmocka_unit_test(recovered),
    };
    return cmocka_run_group_tests_name("signer", tests, NULL, NULL);
}
