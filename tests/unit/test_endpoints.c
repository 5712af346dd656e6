/* SPDX-License-Identifier: GPL-3.0-or-later */
/* agent/chain/endpoints.c and rpcerr.c: who is asked, and what an error is about. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/chain/endpoints.h"
#include "agent/chain/rpcerr.h"

enum { NOW = 1000000 };

static void test_the_first_that_is_well(void **state)
{
    (void)state;
    struct endpoint list[3] = {{0}};
    assert_int_equal(endpoint_pick(list, 3, 0, NOW), 0);
    assert_int_equal(endpoint_pick(list, 3, 1, NOW), 1);
    assert_int_equal(endpoint_pick(list, 3, 1 | 2, NOW), 2);
    assert_int_equal(endpoint_pick(list, 3, 1 | 2 | 4, NOW), -1);
    endpoint_failed(&list[0]);
    assert_int_equal(endpoint_pick(list, 3, 0, NOW), 1); // at once
    list[1].lags = true;
    assert_int_equal(endpoint_pick(list, 3, 0, NOW), 2);
    list[2].other_chain = true;
    assert_int_equal(endpoint_pick(list, 3, 0, NOW), 1); // behind is better than failing
    assert_false(endpoint_is_well(&list[1], NOW));
}

static void test_it_comes_back(void **state)
{
    (void)state;
    struct endpoint list[2] = {{0}};
    endpoint_failed(&list[0]);
    int good = 0;
    for (; endpoint_pick(list, 2, 0, NOW) != 0; good++)
        endpoint_good(&list[0]);
    assert_int_equal(good, ENDPOINT_PENALTY);
    for (int i = 0; i < 100; i++)
        endpoint_failed(&list[0]);
    for (good = 0; endpoint_pick(list, 2, 0, NOW) != 0; good++)
        endpoint_good(&list[0]);
    assert_int_equal(good, ENDPOINT_PENALTY_MAX);
}

/* One that fails now and then is not used while another never does. */
static void test_a_flaky_one_stays_out(void **state)
{
    (void)state;
    struct endpoint list[2] = {{0}};
    int used = 0;
    for (int i = 0; i < 400; i++) {
        i % ENDPOINT_PENALTY == 0 ? endpoint_failed(&list[0]) : endpoint_good(&list[0]);
        used += endpoint_pick(list, 2, 0, NOW) == 0;
    }
    assert_int_equal(used, 0);
}

static void test_all_fail(void **state)
{
    (void)state;
    struct endpoint list[3] = {{0}};
    for (int i = 0; i < 3; i++)
        endpoint_failed(&list[i]);
    endpoint_failed(&list[0]);
    endpoint_good(&list[2]);
    assert_int_equal(endpoint_pick(list, 3, 0, NOW), 2); // the least bad
    list[2].other_chain = true;
    assert_int_equal(endpoint_pick(list, 3, 0, NOW), 1);
    list[0].other_chain = list[1].other_chain = true;
    assert_int_equal(endpoint_pick(list, 3, 0, NOW), 2); // to see whether it still is
}

static void test_who_wants_rest_gets_it(void **state)
{
    (void)state;
    struct endpoint list[2] = {{0}};
    endpoint_refused(&list[0], 7000, NOW);
    assert_int_equal(endpoint_pick(list, 2, 0, NOW + 6999), 1);
    assert_int_equal(endpoint_pick(list, 2, 0, NOW + 7000), 0);
    endpoint_refused(&list[0], 7000, NOW);
    endpoint_refused(&list[1], 3000, NOW);
    assert_int_equal(endpoint_pick(list, 2, 0, NOW + 2999), -1); // even if there is nobody else
    assert_int_equal(endpoint_pick(list, 2, 0, NOW + 3000), 1);
    endpoint_refused(&list[0], 1000LL * 3600 * 24, NOW);
    assert_int_equal(list[0].rest_until_ms, NOW + ENDPOINT_REST_MAX_MS);
}

static void test_rest_without_a_time(void **state)
{
    (void)state;
    struct endpoint e = {0};
    long long last = 0;
    for (int i = 0; i < 20; i++) {
        endpoint_refused(&e, 0, NOW);
        assert_true(e.rest_until_ms - NOW >= last);
        last = e.rest_until_ms - NOW;
    }
    assert_int_equal(last, (long long)ENDPOINT_REST_MS << ENDPOINT_REST_DOUBLINGS_MAX);
    endpoint_good(&e);
    endpoint_refused(&e, 0, NOW);
    assert_int_equal(e.rest_until_ms, NOW + ENDPOINT_REST_MS);
}

static void test_lag(void **state)
{
    (void)state;
    struct endpoint list[3] = {{0}};
    endpoint_head(list, 3, 1, 100, 5);
    endpoint_head(list, 3, 0, 95, 5);
    assert_false(list[0].lags);
    endpoint_head(list, 3, 0, 94, 5);
    assert_true(list[0].lags);
    assert_int_equal(endpoint_pick(list, 3, 0, NOW), 1);
    endpoint_head(list, 3, 0, 96, 5); // not to and fro at the border
    assert_true(list[0].lags);
    endpoint_head(list, 3, 0, 98, 5);
    assert_false(list[0].lags);
    endpoint_head(list, 3, 1, 90, 5); // a head may go back
    assert_true(list[1].lags);
    // What is out of order, or of another chain, is no measure.
    endpoint_failed(&list[2]);
    list[2].head = UINT64_MAX;
    endpoint_head(list, 3, 0, 99, 5);
    assert_false(list[0].lags);
    list[2] = (struct endpoint){.head = UINT64_MAX, .other_chain = true};
    endpoint_head(list, 3, 0, 99, 5);
    assert_false(list[0].lags);
}

static void check(int64_t code, const char *message, enum rpc_error_kind want)
{
    enum rpc_error_kind got = rpc_error_kind(code, message);
    if (got != want) fail_msg("%lld %s: %d, not %d", (long long)code, message, got, want);
}

/* As nodes and providers word it. */
static void test_words(void **state)
{
    (void)state;
    static const struct {
        enum rpc_error_kind kind;
        int64_t code;
        const char *message;
    } said[] = {
        {RPC_ERROR_VERDICT, -32000, "nonce too low"},
        {RPC_ERROR_VERDICT, -32603, "nonce too low: address 0x1, tx: 5 state: 7"},
        {RPC_ERROR_VERDICT, -32003, "Nonce too low"},
        {RPC_ERROR_VERDICT,
         -32000,
         "the tx doesn't have the correct nonce. account has nonce of: 1"},
        {RPC_ERROR_VERDICT, -32010, "OldNonce, Current nonce: 7, nonce of rejected tx: 5"},
        {RPC_ERROR_VERDICT, -32000, "already known"},
        {RPC_ERROR_VERDICT, -32000, "Known transaction"},
        {RPC_ERROR_VERDICT, -32003, "transaction already imported"},
        {RPC_ERROR_VERDICT, -32000, "replacement transaction underpriced"},
        {RPC_ERROR_VERDICT, -32603, "replacement transaction underpriced"},
        {RPC_ERROR_VERDICT, -32000, "transaction underpriced"},
        {RPC_ERROR_VERDICT, -32000, "insufficient funds for gas * price + value"},
        {RPC_ERROR_VERDICT, -32003, "Insufficient funds for gas * price + value"},
        {RPC_ERROR_VERDICT, -32004, "Upfront cost exceeds account balance"},
        {RPC_ERROR_VERDICT, -32000, "execution reverted: AccessControl"},
        {RPC_ERROR_VERDICT, -32000, "VM Exception while processing transaction: revert"},
        {RPC_ERROR_VERDICT, -32000, "max fee per gas less than block base fee: address 0x1"},
        {RPC_ERROR_VERDICT, -32000, "tx fee (1.20 ether) exceeds the configured cap (1.00 ether)"},
        {RPC_ERROR_VERDICT, -32000, "gas required exceeds allowance (21000)"},
        {RPC_ERROR_TOO_MUCH,
         -32005,
         "query returned more than 10000 results. Try with this block "
         "range [0x1, 0x2]."},
        {RPC_ERROR_TOO_MUCH,
         -32602,
         "Log response size exceeded. You can make eth_getLogs requests "
         "with up to a 2K block range"},
        {RPC_ERROR_TOO_MUCH,
         -32600,
         "Under the Free tier plan, you can make eth_getLogs requests "
         "with up to a 10 block range."},
        {RPC_ERROR_TOO_MUCH, -32614, "eth_getLogs is limited to a 10,000 range"},
        {RPC_ERROR_TOO_MUCH, -32600, "block range is too wide"},
        {RPC_ERROR_TOO_MUCH,
         -32000,
         "requested too many blocks from 1 to 9000, maximum is set to "
         "2048"},
        {RPC_ERROR_TOO_MUCH, -32000, "Block range limit exceeded."},
        {RPC_ERROR_TOO_MUCH, -32000, "query exceeds max block range 1000"},
        {RPC_ERROR_TOO_MUCH, -32005, "Requested range exceeds maximum RPC range limit"}, // besu
        {RPC_ERROR_TOO_MUCH, -32602, "exceed maximum block range: 50000"},
        {RPC_ERROR_TOO_MUCH,
         -32047,
         "Invalid eth_getLogs request. 'fromBlock'-'toBlock' range too "
         "large. Max range: 800"},
        {RPC_ERROR_TOO_MUCH, -32000, "logs matched by query exceeds limit of 10000"},
        {RPC_ERROR_TOO_MUCH, -32005, "Too many logs requested. Max logs per response is 20000."},
        {RPC_ERROR_TOO_MUCH, -32002, "request timed out"},
        {RPC_ERROR_TOO_MUCH, -32000, "backend response too large"},
        {RPC_ERROR_TOO_MUCH, 35, "ranges over 10000 blocks are not supported on freetier"},
        {RPC_ERROR_TOO_MUCH, -32005, "limit exceeded"},
        {RPC_ERROR_RATE, -32005, "project ID request rate exceeded"},
        {RPC_ERROR_RATE, -32005, "daily request count exceeded, request rate limited"},
        {RPC_ERROR_RATE, 429, "Your app has exceeded its compute units per second capacity"},
        {RPC_ERROR_RATE, 429, "slow down"},
        {RPC_ERROR_RATE, -32007, "50/second request limit reached - reduce calls per second"},
        {RPC_ERROR_RATE, -32090, "Too many requests, reason: call rate limit exhausted"},
        {RPC_ERROR_RATE, -32005, "You've exceeded the RPS limit available on the current plan."},
        {RPC_ERROR_FAULT, -32000, "header not found"},
        {RPC_ERROR_FAULT, -32000, "missing trie node 00ff (path ) <nil>"},
        {RPC_ERROR_FAULT, -32000, "cannot query unfinalized data"},
        {RPC_ERROR_FAULT, -32603, "Internal error"},
        {RPC_ERROR_FAULT, -32603, "upstream"},
        {RPC_ERROR_FAULT, -32000, "no backend is currently healthy to serve traffic"},
        {RPC_ERROR_NO_METHOD, -32601, "the method eth_foo does not exist/is not available"},
        {RPC_ERROR_UNKNOWN, -32000, "because"},
        {RPC_ERROR_UNKNOWN, -32602, "invalid argument 0: hex string without 0x prefix"},
        {RPC_ERROR_UNKNOWN, 0, ""},
    };
    for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++)
        check(said[i].code, said[i].message, said[i].kind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_that_is_well),
        cmocka_unit_test(test_it_comes_back),
        cmocka_unit_test(test_a_flaky_one_stays_out),
        cmocka_unit_test(test_all_fail),
        cmocka_unit_test(test_who_wants_rest_gets_it),
        cmocka_unit_test(test_rest_without_a_time),
        cmocka_unit_test(test_lag),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests_name("endpoints", tests, NULL, NULL);
}
