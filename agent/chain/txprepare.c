/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Gas and fees: all prepares that are due in one HTTP request, fees asked once for all of them. */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "agent/chain/txsender_private.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"
#include "agent/util/jsonx.h"

enum {
    // What the head's state needs may be more when the transaction is mined a few blocks later.
    GAS_MARGIN_DIVISOR = 4,
    GAS_MARGIN = 10000,
    // The tip where the node knows no eth_maxPriorityFeePerGas: 1 gwei, the usual one.
    DEFAULT_TIP_WEI = 1000000000,
    // How often the base fee may grow before a transaction waits: it doubles in 6 full blocks.
    BASE_FEE_FACTOR = 2,
};

enum { ASK_BLOCK, ASK_GAS_PRICE, ASK_TIP, ASK_FIRST };

static int result_u256(struct txsender *s, int index, struct u256 *out, struct error *err)
{
    struct json_object *v;
    int rc = jsonrpc_result(s->batch, index, &v, err);
    return rc < 0 ? rc : eth_json_u256(v, "a fee", out, err);
}

static int read_fees(struct txsender *s, struct chain_fees *fees, struct error *err)
{
    struct json_object *block;
    struct u256 base, twice, tip;
    int rc = jsonrpc_result(s->batch, ASK_BLOCK, &block, err);
    if (rc < 0) return rc;
    if (!json_object_is_type(block, json_type_object))
        return error_set(err, ERR_PROTO, "eth_getBlockByNumber: no latest block");
    struct json_object *base_json = jsonx_find(block, "baseFeePerGas");
    *fees = (struct chain_fees){.eip1559 = base_json != NULL};
    if (!fees->eip1559) return result_u256(s, ASK_GAS_PRICE, &fees->max_fee_per_gas, err);

    rc = eth_json_u256(base_json, "baseFeePerGas", &base, err);
    if (rc < 0) return rc;
    if (jsonrpc_answer(s->batch, ASK_TIP)->kind != JSONRPC_RESULT)
        tip = u256_from_u64(DEFAULT_TIP_WEI);
    else if ((rc = result_u256(s, ASK_TIP, &tip, err)) < 0)
        return rc;
    if (u256_mul(base, u256_from_u64(BASE_FEE_FACTOR), &twice) < 0 ||
        u256_add(twice, tip, &fees->max_fee_per_gas) < 0)
        return error_set(err, ERR_PROTO, "baseFeePerGas is absurd");
    fees->max_priority_fee_per_gas = tip;
    return 0;
}

static int read_gas(struct txsender *s, int index, uint64_t *gas, struct error *err)
{
    uint64_t n;
    int rc = chain_result_u64(s->batch, index, &n, err);
    if (rc < 0) return rc;
    if (__builtin_add_overflow(n, n / GAS_MARGIN_DIVISOR, &n) ||
        __builtin_add_overflow(n, (uint64_t)GAS_MARGIN, gas))
        return error_set(err, ERR_PROTO, "eth_estimateGas: absurd");
    return 0;
}

static void reject(struct txsender *s, struct tx *tx, const struct jsonrpc_answer *a)
{
    char text[CHAIN_ERROR_TEXT_MAX];
    const char *name = contract_revert_text(a->data, a->data_len, text, sizeof(text));
    // A node that gives no data may have put the reason into its message.
    if (a->data_len == 0 && a->message[0]) (void)snprintf(text, sizeof(text), "%s", a->message);
    txsender_remove(s, &s->prepares, tx);
    s->c->ops.tx_rejected(s->c->ctx, tx->id, name, text);
    txsender_tx_free(tx);
}

static void accept(struct txsender *s, struct tx *tx, struct chain_fees fees, uint64_t gas)
{
    fees.gas_limit = gas;
    txsender_remove(s, &s->prepares, tx);
    s->c->ops.tx_prepared(s->c->ctx, tx->id, &fees);
    txsender_tx_free(tx);
}

static void settle(struct txsender *s, struct tx *tx, int index, const struct chain_fees *fees)
{
    uint64_t gas = 0;
    unsigned int more;
    struct error why = {0};
    const struct jsonrpc_answer *a = jsonrpc_answer(s->batch, index);
    if (a->kind == JSONRPC_REVERTED) {
        reject(s, tx, a);
        return;
    }
    if (read_gas(s, index, &gas, &why) == 0) {
        accept(s, tx, *fees, gas);
        return;
    }
    txsender_put_off(s, tx);
    if (log_limit_ok(&s->prepare_limit, TX_WARN_EVERY_MS, &more))
        log_warn("chain: no estimate for transaction %llu, trying again (%u like it): %s",
                 (unsigned long long)tx->id,
                 more,
                 why.text);
}

static int prepare_some(struct txsender *s, struct tx *const due[], size_t n, struct error *err)
{
    struct chain_fees fees;
    jsonrpc_batch_reset(s->batch);
    jsonrpc_add(s->batch, "eth_getBlockByNumber", "[\"latest\",false]");
    jsonrpc_add(s->batch, "eth_gasPrice", "[]");
    jsonrpc_add(s->batch, "eth_maxPriorityFeePerGas", "[]");
    for (size_t i = 0; i < n; i++)
        chain_add_call(s->batch,
                       "eth_estimateGas",
                       s->c,
                       &due[i]->to,
                       due[i]->data,
                       due[i]->len,
                       ",\"latest\"");
    fault_point(FAULT_PREPARE_BEFORE);
    int rc = pool_perform(s->rpc, s->batch, err);
    fault_point(FAULT_PREPARE_AFTER);
    if (rc == 0) rc = read_fees(s, &fees, err);
    for (size_t i = 0; i < n && rc == 0; i++)
        settle(s, due[i], ASK_FIRST + (int)i, &fees);
    return rc;
}

int txprepare_round(struct txsender *s, struct error *err)
{
    struct tx *due[TX_ROUND_MAX];
    long long now_ms = clock_mono_ms();
    int rc = 0;
    size_t n;
    while (rc == 0 && (n = txsender_due(&s->prepares, now_ms, due)) > 0)
        rc = prepare_some(s, due, n, err);
    return rc;
}
