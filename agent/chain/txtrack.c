/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signed transactions until they are mined. A round looks for the receipts of all that are due in
 * one HTTP request, tells of those found, and broadcasts the others in order of nonce. The verdict
 * "superseded" needs no node's message: the nonce is used and there is no receipt, said by one
 * answer, OVERTAKEN_POLLS times.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "agent/chain/txsender_private.h"
#include "agent/util/buf.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"
#include "agent/util/hex.h"
#include "agent/util/jsonx.h"

enum {
    // The receipt's index may be written a moment after the account's nonce.
    OVERTAKEN_POLLS = 3,
    OVERTAKEN_WAIT_MS = 1000,
    // Looks without a receipt before the node is asked whether it still has the transaction.
    CHECK_POLLS = 10,
    RAW_HEX_MAX = 2 * TX_DATA_MAX + 16,
    INPUT_MAX = TX_DATA_MAX,
};

/* A receipt that was found, on its way to tx_mined. */
struct mined {
    struct tx *tx;
    struct chain_receipt receipt;
    struct eth_events events;
    int block_index, tx_index, call_index; // of the batches that complete it; -1: not asked
    bool complete;
};

struct round {
    struct tx *txs[TX_ROUND_MAX];
    size_t count;
    struct mined mined[TX_ROUND_MAX];
    size_t mined_count;
};

static void warn_receipt(struct txsender *s, const struct tx *tx, const char *why)
{
    unsigned int more;
    char hash[ETH_HASH_TEXT];
    if (log_limit_ok(&s->receipt_limit, TX_WARN_EVERY_MS, &more))
        log_warn("chain: receipt of %s, trying again (%u like it): %s",
                 hex_encode(hash, tx->hash.b, sizeof(tx->hash.b)),
                 more,
                 why);
}

/* ---- looking ---- */

enum { LOOK_NONCE, LOOK_FIRST };

/* One or two requests for each; `checks` says where the second is. */
static void add_look(struct txsender *s, const struct round *r, int checks[])
{
    char hash[ETH_HASH_TEXT];
    jsonrpc_batch_reset(s->batch);
    chain_add_nonce(s->batch, s->c);
    for (size_t i = 0; i < r->count; i++) {
        hex_encode(hash, r->txs[i]->hash.b, sizeof(r->txs[i]->hash.b));
        jsonrpc_add(s->batch, "eth_getTransactionReceipt", "[\"%s\"]", hash);
    }
    for (size_t i = 0; i < r->count; i++) {
        checks[i] = -1;
        if (r->txs[i]->state != TX_WAIT || !r->txs[i]->check) continue;
        hex_encode(hash, r->txs[i]->hash.b, sizeof(r->txs[i]->hash.b));
        checks[i] = jsonrpc_add(s->batch, "eth_getTransactionByHash", "[\"%s\"]", hash);
    }
}

static int
read_receipt(struct txsender *s, const struct json_object *o, struct mined *m, struct error *err)
{
    uint64_t status;
    struct eth_hash hash;
    struct json_object *logs;
    int rc = eth_json_get_hash(o, "transactionHash", &hash, err);
    if (rc < 0) return rc;
    if (memcmp(&hash, &m->tx->hash, sizeof(hash)) != 0)
        return error_set(err, ERR_PROTO, "it is of another transaction");
    rc = eth_json_get_u64(o, "status", &status, err);
    if (rc == 0) rc = eth_json_get_u64(o, "blockNumber", &m->receipt.block, err);
    if (rc == 0) rc = eth_json_get_hash(o, "blockHash", &m->receipt.block_hash, err);
    if (rc == 0) rc = jsonx_get_array(o, "logs", &logs, err);
    if (rc == 0) rc = eth_events_add(&m->events, logs, &s->emitters, err);
    if (rc < 0) return rc;
    m->receipt.ok = status == 1;
    m->receipt.revert_name = "";
    return 0;
}

static void take_receipt(struct txsender *s, struct round *r, struct tx *tx, struct json_object *o)
{
    struct error why = {0};
    struct mined *m = &r->mined[r->mined_count];
    *m = (struct mined){.tx = tx};
    tx->overtaken = 0;
    tx->due_ms = clock_mono_ms() + txsender_period_ms(s); // should the rest of it fail
    if (read_receipt(s, o, m, &why) == 0) {
        r->mined_count++;
        return;
    }
    eth_events_free(&m->events);
    warn_receipt(s, tx, why.text);
}

static void supersede(struct txsender *s, struct tx *tx)
{
    txsender_remove(s, &s->tracks, tx);
    s->c->ops.tx_superseded(s->c->ctx, tx->id);
    txsender_tx_free(tx);
}

/* No receipt. Returns false if the transaction is gone: superseded. */
static bool not_mined(struct txsender *s, struct tx *tx, uint64_t nonce, int check)
{
    if (nonce > tx->nonce) {
        tx->due_ms = clock_mono_ms() + OVERTAKEN_WAIT_MS;
        if (++tx->overtaken < OVERTAKEN_POLLS) return true;
        supersede(s, tx);
        return false;
    }
    tx->overtaken = 0;
    if (tx->state == TX_LOOK) tx->state = TX_SEND;
    if (tx->state == TX_SEND) return true;

    tx->due_ms = clock_mono_ms() + txsender_period_ms(s);
    if (++tx->polls % CHECK_POLLS == 0) tx->check = true;
    if (check < 0) return true;
    const struct jsonrpc_answer *a = jsonrpc_answer(s->batch, check);
    if (a->kind != JSONRPC_RESULT) return true; // asked again at the next look
    tx->check = false;
    if (!a->result) tx->state = TX_SEND; // the node forgot it
    return true;
}

static int look(struct txsender *s, struct round *r, struct error *err)
{
    uint64_t nonce;
    int checks[TX_ROUND_MAX];
    add_look(s, r, checks);
    int rc = pool_perform(s->rpc, s->batch, err);
    if (rc == 0) rc = chain_result_u64(s->batch, LOOK_NONCE, &nonce, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < r->count; i++) {
        struct tx *tx = r->txs[i];
        const struct jsonrpc_answer *a = jsonrpc_answer(s->batch, LOOK_FIRST + (int)i);
        if (a->kind != JSONRPC_RESULT) { // no answer is no reason to broadcast or give up
            txsender_put_off(s, tx);
            warn_receipt(s, tx, a->message);
            r->txs[i] = NULL;
        } else if (a->result) {
            take_receipt(s, r, tx, a->result);
            r->txs[i] = NULL;
        } else if (!not_mined(s, tx, nonce, checks[i])) {
            r->txs[i] = NULL;
        }
    }
    return 0;
}

/* ---- broadcasting ---- */

static bool says(const char *message, const char *const texts[])
{
    for (size_t i = 0; texts[i]; i++)
        if (strcasestr(message, texts[i])) return true;
    return false;
}

static void sent(struct tx *tx)
{
    tx->state = TX_WAIT;
    tx->attempt = 0;
    tx->polls = 0;
    tx->check = false;
}

/* Errors of a broadcast are words, different for each node. */
static void read_sent(struct txsender *s, struct tx *tx, const struct jsonrpc_answer *a)
{
    static const char *const have[] = {
        "already known", "known transaction", "already imported", "already in mempool", NULL};
    static const char *const used[] = {"nonce too low", "nonce is too low", "oldnonce", NULL};
    char hash[ETH_HASH_TEXT];
    unsigned int more;

    tx->due_ms = clock_mono_ms() + txsender_period_ms(s);
    // A used nonce: the next looks tell whether it was by this one.
    if (a->kind == JSONRPC_RESULT || says(a->message, have) || says(a->message, used)) {
        sent(tx);
        return;
    }
    txsender_put_off(s, tx);
    if (log_limit_ok(&s->send_limit, TX_WARN_EVERY_MS, &more))
        log_warn("chain: the node does not take transaction %s, nonce %llu, trying again "
                 "(%u like it): %s",
                 hex_encode(hash, tx->hash.b, sizeof(tx->hash.b)),
                 (unsigned long long)tx->nonce,
                 more,
                 a->message);
}

static int add_send(struct txsender *s, const struct tx *tx)
{
    struct buf hex = BUF_INIT(RAW_HEX_MAX);
    uint8_t *at = buf_reserve(&hex, 2 * tx->len + 3);
    if (!at) {
        jsonrpc_fail(s->batch, buf_error(&hex));
        return -1;
    }
    int index = jsonrpc_add(
        s->batch, "eth_sendRawTransaction", "[\"%s\"]", hex_encode((char *)at, tx->data, tx->len));
    buf_free(&hex);
    return index;
}

static int send_all(struct txsender *s, const struct round *r, struct error *err)
{
    struct tx *out[TX_ROUND_MAX];
    size_t n = 0;
    jsonrpc_batch_reset(s->batch);
    for (size_t i = 0; i < r->count; i++) {
        struct tx *tx = r->txs[i];
        if (!tx || tx->state != TX_SEND || tx->overtaken > 0) continue;
        add_send(s, tx);
        out[n++] = tx;
    }
    if (n == 0) return 0;
    fault_point(FAULT_BROADCAST_BEFORE);
    int rc = pool_perform(s->rpc, s->batch, err);
    fault_point(FAULT_BROADCAST_AFTER);
    for (size_t i = 0; i < n && rc == 0; i++)
        read_sent(s, out[i], jsonrpc_answer(s->batch, (int)i));
    return rc;
}

/* ---- what a receipt does not say ---- */

static void read_block(struct txsender *s, struct mined *m)
{
    uint64_t time_s;
    struct json_object *block;
    struct error why = {0};
    int rc = jsonrpc_result(s->batch, m->block_index, &block, &why);
    // null: reorganised away since; the next look sees what became of it.
    if (rc == 0 && !block) rc = error_set(&why, ERR_NOTFOUND, "its block is gone");
    if (rc == 0) rc = eth_json_get_u64(block, "timestamp", &time_s, &why);
    if (rc < 0 || time_s > INT64_MAX) {
        warn_receipt(s, m->tx, why.text);
        return;
    }
    m->receipt.block_time_s = (int64_t)time_s;
    m->complete = true;
}

static int ask_blocks(struct txsender *s, struct round *r, struct error *err)
{
    char hash[ETH_HASH_TEXT];
    jsonrpc_batch_reset(s->batch);
    for (size_t i = 0; i < r->mined_count; i++) {
        struct mined *m = &r->mined[i];
        hex_encode(hash, m->receipt.block_hash.b, sizeof(m->receipt.block_hash.b));
        m->block_index = jsonrpc_add(s->batch, "eth_getBlockByHash", "[\"%s\",false]", hash);
        m->tx_index = m->call_index = -1;
        if (m->receipt.ok) continue;
        hex_encode(hash, m->tx->hash.b, sizeof(m->tx->hash.b));
        m->tx_index = jsonrpc_add(s->batch, "eth_getTransactionByHash", "[\"%s\"]", hash);
    }
    int rc = pool_perform(s->rpc, s->batch, err);
    for (size_t i = 0; i < r->mined_count && rc == 0; i++)
        read_block(s, &r->mined[i]);
    return rc;
}

/* The same call as the reverted transaction `o`, on the state of its block. */
static int add_replay(struct txsender *s, struct mined *m, struct json_object *o)
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

static void read_replay(struct txsender *s, struct mined *m)
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

static int ask_reasons(struct txsender *s, struct round *r, struct error *err)
{
    bool any = false;
    jsonrpc_batch_reset(s->second);
    for (size_t i = 0; i < r->mined_count; i++) {
        struct mined *m = &r->mined[i];
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
    for (size_t i = 0; i < r->mined_count && rc == 0; i++)
        if (r->mined[i].call_index >= 0) read_replay(s, &r->mined[i]);
    return rc;
}

static void tell(struct txsender *s, struct mined *m)
{
    m->receipt.events = m->events.list;
    m->receipt.event_count = m->events.count;
    txsender_remove(s, &s->tracks, m->tx);
    fault_point(FAULT_RECEIPT_BEFORE);
    s->c->ops.tx_mined(s->c->ctx, m->tx->id, &m->receipt);
    fault_point(FAULT_RECEIPT_AFTER);
    txsender_tx_free(m->tx);
}

static int tell_all(struct txsender *s, struct round *r, struct error *err)
{
    if (r->mined_count == 0) return 0;
    int rc = ask_blocks(s, r, err);
    if (rc == 0) rc = ask_reasons(s, r, err);
    for (size_t i = 0; i < r->mined_count && rc == 0; i++)
        if (r->mined[i].complete) tell(s, &r->mined[i]);
    return rc;
}

static int round_run(struct txsender *s, struct round *r, struct error *err)
{
    r->mined_count = 0;
    int rc = look(s, r, err);
    if (rc == 0) rc = send_all(s, r, err); // first: what is mined can wait, what is not cannot
    if (rc == 0) rc = tell_all(s, r, err);
    for (size_t i = 0; i < r->mined_count; i++)
        eth_events_free(&r->mined[i].events);
    return rc;
}

int txtrack_round(struct txsender *s, struct error *err)
{
    struct round r;
    long long now_ms = clock_mono_ms();
    int rc = 0;
    while (rc == 0 && (r.count = txsender_due(&s->tracks, now_ms, r.txs)) > 0)
        rc = round_run(s, &r, err);
    return rc;
}
