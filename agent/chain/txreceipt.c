/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a receipt says, and what it does not: the time of its block, the reason of a revert. */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "agent/chain/txsender_private.h"
#include "agent/util/buf.h"
#include "agent/util/fault.h"
#include "agent/util/hex.h"
#include "agent/util/jsonx.h"

enum { INPUT_MAX = TX_DATA_MAX };

void txreceipt_warn(struct txsender *s, const struct eth_hash *hash, const char *why)
{
    unsigned int more;
    char text[ETH_HASH_TEXT];
    if (log_limit_ok(&s->receipt_limit, TX_WARN_EVERY_MS, &more))
        log_warn("chain: receipt of %s, trying again (%u like it): %s",
                 hex_encode(text, hash->b, sizeof(hash->b)),
                 more,
                 why);
}

/* Older nodes do not say what was paid for the gas: it was the price that was offered, at most. */
static int
read_cost(const struct json_object *o, const struct tx *tx, struct u256 *cost, struct error *err)
{
    uint64_t gas;
    struct u256 price = tx->fees.max_fee_per_gas;
    struct json_object *paid = jsonx_find(o, "effectiveGasPrice");
    int rc = eth_json_get_u64(o, "gasUsed", &gas, err);
    if (rc == 0 && paid) rc = eth_json_u256(paid, "effectiveGasPrice", &price, err);
    if (rc == 0) *cost = fee_cost(gas, price);
    return rc;
}

static int
read_fields(struct txsender *s, const struct json_object *o, struct tx_mined *m, struct error *err)
{
    uint64_t status;
    struct eth_hash hash;
    struct json_object *logs;
    int rc = eth_json_get_hash(o, "transactionHash", &hash, err);
    if (rc < 0) return rc;
    if (memcmp(&hash, &m->receipt.tx, sizeof(hash)) != 0)
        return error_set(err, ERR_PROTO, "it is of another transaction");
    rc = eth_json_get_u64(o, "status", &status, err);
    if (rc == 0) rc = eth_json_get_u64(o, "blockNumber", &m->receipt.block, err);
    if (rc == 0) rc = eth_json_get_hash(o, "blockHash", &m->receipt.block_hash, err);
    if (rc == 0) rc = read_cost(o, m->tx, &m->receipt.cost, err);
    if (rc == 0) rc = jsonx_get_array(o, "logs", &logs, err);
    if (rc == 0) rc = eth_events_add(&m->events, logs, &s->emitters, err);
    if (rc < 0) return rc;
    m->receipt.ok = status == 1;
    m->receipt.revert_name = "";
    return 0;
}

bool txreceipt_read(struct txsender *s,
                    struct tx *tx,
                    const struct chain_attempt *attempt,
                    const struct json_object *o,
                    struct tx_mined *m)
{
    struct error why = {0};
    *m = (struct tx_mined){.tx = tx, .receipt = {.tx = attempt->hash}};
    if (read_fields(s, o, m, &why) == 0) return true;
    eth_events_free(&m->events);
    txreceipt_warn(s, &attempt->hash, why.text);
    return false;
}

/* Deep enough? */
static bool is_confirmed(const struct txsender *s, const struct chain_receipt *r)
{
    uint64_t more = s->c->options.confirmations - 1;
    return more == 0 || r->block + more <= s->account.head;
}

/*
 * The chain's block of that number must be the receipt's: reorganised since, the next look sees
 * what became of it; but a node that goes on like that is not to be believed.
 */
static void read_block(struct txsender *s, struct tx_mined *m)
{
    uint64_t time_s;
    struct eth_hash hash;
    struct json_object *block;
    struct error why = {0};
    int rc = jsonrpc_result(s->batch, m->block_index, &block, &why);
    if (rc == 0 && block) rc = eth_json_get_hash(block, "hash", &hash, &why);
    if (rc == 0 && (!block || memcmp(&hash, &m->receipt.block_hash, sizeof(hash)) != 0)) {
        rc = error_set(&why, ERR_NOTFOUND, "its block is not in the chain");
        pool_blame(s->rpc, why.text);
    }
    if (rc == 0) rc = eth_json_get_u64(block, "timestamp", &time_s, &why);
    if (rc < 0 || time_s > INT64_MAX) {
        txreceipt_warn(s, &m->receipt.tx, why.text);
        return;
    }
    if (!is_confirmed(s, &m->receipt)) return;
    m->receipt.block_time_s = (int64_t)time_s;
    m->complete = true;
}

static int ask_blocks(struct txsender *s, struct tx_mined *mined, size_t count, struct error *err)
{
    char hash[ETH_HASH_TEXT];
    jsonrpc_batch_reset(s->batch);
    for (size_t i = 0; i < count; i++) {
        struct chain_receipt *r = &mined[i].receipt;
        mined[i].block_index = jsonrpc_add(
            s->batch, "eth_getBlockByNumber", "[\"0x%llx\",false]", (unsigned long long)r->block);
        mined[i].tx_index = mined[i].call_index = -1;
        if (r->ok) continue;
        hex_encode(hash, r->tx.b, sizeof(r->tx.b));
        mined[i].tx_index = jsonrpc_add(s->batch, "eth_getTransactionByHash", "[\"%s\"]", hash);
    }
    int rc = pool_perform(s->rpc, s->batch, err);
    for (size_t i = 0; i < count && rc == 0; i++)
        read_block(s, &mined[i]);
    return rc;
}

/* The same call as the reverted transaction `o`, on the state of its block. */
static int add_replay(struct txsender *s, struct tx_mined *m, struct json_object *o)
{
    struct eth_address to;
    char rest[64];
    struct buf input = BUF_INIT(INPUT_MAX);
    int rc = eth_json_get_address(o, "to", &to, NULL);
    if (rc == 0) rc = eth_json_bytes(jsonx_find(o, "input"), "input", &input, NULL);
    if (rc == 0) {
        (void)snprintf(rest, sizeof(rest), ",\"0x%llx\"", (unsigned long long)m->receipt.block);
        rc = chain_add_call(s->second, "eth_call", s->c, &to, input.data, input.len, rest);
    }
    buf_free(&input);
    return rc;
}

static void read_replay(struct txsender *s, struct tx_mined *m)
{
    struct chain_receipt *r = &m->receipt;
    const struct jsonrpc_answer *a = jsonrpc_answer(s->second, m->call_index);
    if (a->kind == JSONRPC_REVERTED) {
        r->revert_name = contract_revert_text(a->data, a->data_len, r->revert, sizeof(r->revert));
        if (a->data_len == 0 && a->message[0])
            (void)snprintf(r->revert, sizeof(r->revert), "%s", a->message);
    } else if (a->kind == JSONRPC_RESULT) {
        (void)snprintf(r->revert,
                       sizeof(r->revert),
                       "it failed, a replay after its block does not: out of gas, or the state "
                       "changed within the block");
    } else {
        (void)snprintf(r->revert, sizeof(r->revert), "no reason to be had: %s", a->message);
    }
}

static int ask_reasons(struct txsender *s, struct tx_mined *mined, size_t count, struct error *err)
{
    bool any = false;
    jsonrpc_batch_reset(s->second);
    for (size_t i = 0; i < count; i++) {
        struct tx_mined *m = &mined[i];
        if (m->receipt.ok || !m->complete) continue;
        (void)snprintf(m->receipt.revert,
                       sizeof(m->receipt.revert),
                       "no reason to be had: the node does not give the transaction");
        const struct jsonrpc_answer *a = jsonrpc_answer(s->batch, m->tx_index);
        if (a->kind != JSONRPC_RESULT) continue;
        m->call_index = add_replay(s, m, a->result);
        any = any || m->call_index >= 0;
    }
    int rc = any ? pool_perform(s->rpc, s->second, err) : 0;
    for (size_t i = 0; i < count && rc == 0; i++)
        if (mined[i].call_index >= 0) read_replay(s, &mined[i]);
    return rc;
}

static void tell(struct txsender *s, struct tx_mined *m)
{
    m->receipt.events = m->events.list;
    m->receipt.event_count = m->events.count;
    txsender_remove(s, &s->tracks, m->tx);
    fault_point(FAULT_RECEIPT_BEFORE);
    s->c->ops.tx_mined(s->c->ctx, m->tx->id, &m->receipt);
    fault_point(FAULT_RECEIPT_AFTER);
    txsender_tx_free(m->tx);
}

int txreceipt_tell(struct txsender *s, struct tx_mined *mined, size_t count, struct error *err)
{
    int rc = count ? ask_blocks(s, mined, count, err) : 0;
    if (rc == 0 && count) rc = ask_reasons(s, mined, count, err);
    for (size_t i = 0; i < count; i++) {
        if (rc == 0 && mined[i].complete) tell(s, &mined[i]);
        eth_events_free(&mined[i].events);
    }
    return rc;
}
