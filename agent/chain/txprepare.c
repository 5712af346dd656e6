/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Gas: all prepares that are due in one HTTP request; the fees are of the last survey. */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "agent/chain/txsender_private.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"
#include "agent/util/jsonx.h"

static int read_gas(struct txsender *s, int index, uint64_t *gas, struct error *err)
{
    uint64_t n;
    int rc = chain_result_u64(s->batch, index, &n, err);
    if (rc < 0) return rc;
    rc = fee_gas_limit(n, gas);
    return rc < 0 ? error_set(err, ERR_PROTO, "eth_estimateGas: absurd") : 0;
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

static int prepare_some(struct txsender *s,
                        struct tx *const due[],
                        size_t n,
                        const struct chain_fees *fees,
                        struct error *err)
{
    jsonrpc_batch_reset(s->batch);
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
    for (size_t i = 0; i < n && rc == 0; i++)
        settle(s, due[i], (int)i, fees);
    return rc;
}

/* The chain is dearer than the caps: nothing takes a nonce; the next block may be cheaper. */
static void hold_all(struct txsender *s, struct tx *const due[], size_t n)
{
    const struct fee_market *m = &s->account.market;
    char price[U256_DEC_TEXT];
    unsigned int more;
    for (size_t i = 0; i < n; i++)
        txsender_put_off(s, due[i]);
    if (log_limit_ok(&s->cap_limit, TX_WARN_EVERY_MS, &more))
        log_warn("chain: gas costs %s wei, more than --eth.max-fee-per-gas allows: %zu "
                 "transactions wait",
                 u256_format_dec(price, m->eip1559 ? m->base_fee : m->gas_price),
                 s->prepares.count);
}

int txprepare_round(struct txsender *s, struct error *err)
{
    struct tx *due[TX_ROUND_MAX];
    struct chain_fees fees;
    long long now_ms = clock_mono_ms();
    const struct fee_caps caps = chain_fee_caps(s->c);
    bool hold = fee_offer(&s->account.market, &caps, &fees) < 0;
    int rc = 0;
    size_t n;
    while (rc == 0 && (n = txsender_due(&s->prepares, now_ms, due)) > 0)
        if (hold)
            hold_all(s, due, n);
        else
            rc = prepare_some(s, due, n, &fees, err);
    return rc;
}
