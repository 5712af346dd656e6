/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signed transactions until they are mined. A look asks, in one HTTP request, for the receipts of
 * all attempts whose nonces the account has used, and whether the node still has what it was asked
 * to keep; tx_step_of() then says what is next for each. A receipt is believed only where the
 * account's nonce agrees with it, and a call is given up only where it says so several times.
 */
#include <json-c/json.h>
#include <string.h>

#include "agent/chain/txsender_private.h"
#include "agent/util/buf.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"
#include "agent/util/hex.h"

enum {
    OVERTAKEN_WAIT_MS = 1000, // between looks for a receipt whose nonce is used
    RAW_HEX_MAX = 2 * TX_DATA_MAX + 16,
};

struct round {
    struct tx *txs[TX_ROUND_MAX]; // NULL: done with for this round
    size_t count;
    int receipts[TX_ROUND_MAX]; // index of the first request for one
    int checks[TX_ROUND_MAX];   // of eth_getTransactionByHash, or -1
    struct tx *sends[TX_ROUND_MAX];
    size_t send_count;
    struct tx_mined mined[TX_ROUND_MAX];
    size_t mined_count;
};

/* ---- looking ---- */

static bool is_used(const struct txsender *s, const struct chain_attempt *attempt)
{
    return attempt->nonce < s->account.mined;
}

static int add_by_hash(struct txsender *s, const char *method, const struct eth_hash *hash)
{
    char text[ETH_HASH_TEXT];
    return jsonrpc_add(s->batch, method, "[\"%s\"]", hex_encode(text, hash->b, sizeof(hash->b)));
}

static size_t requests_for(const struct txsender *s, const struct tx *tx)
{
    size_t n = tx->check;
    for (size_t i = 0; i < tx->attempt_count; i++)
        n += is_used(s, &tx->attempts[i]);
    return n;
}

/* As many of the due ones as one HTTP request can ask for. */
static void pick(struct txsender *s, struct round *r, long long now_ms)
{
    size_t requests = 0, n = 0;
    r->count = txsender_due(&s->tracks, now_ms, r->txs);
    r->send_count = r->mined_count = 0;
    while (n < r->count && (requests += requests_for(s, r->txs[n])) <= TX_ROUND_REQUESTS_MAX)
        n++;
    r->count = n;
}

/* Returns false if there is nothing to ask. */
static bool add_look(struct txsender *s, struct round *r)
{
    bool any = false;
    jsonrpc_batch_reset(s->batch);
    for (size_t i = 0; i < r->count; i++) {
        const struct tx *tx = r->txs[i];
        r->receipts[i] = r->checks[i] = -1;
        for (size_t k = 0; k < tx->attempt_count; k++) {
            if (!is_used(s, &tx->attempts[k])) continue;
            int index = add_by_hash(s, "eth_getTransactionReceipt", &tx->attempts[k].hash);
            if (r->receipts[i] < 0) r->receipts[i] = index;
        }
        if (tx->check)
            r->checks[i] = add_by_hash(s, "eth_getTransactionByHash", &txsender_last(tx)->hash);
        any = any || r->receipts[i] >= 0 || r->checks[i] >= 0;
    }
    return any;
}

enum found { FOUND_NOTHING = 0, FOUND_RECEIPT, FOUND_TROUBLE };

static enum found find_receipt(struct txsender *s, struct round *r, size_t i)
{
    struct tx *tx = r->txs[i];
    int index = r->receipts[i];
    for (size_t k = 0; k < tx->attempt_count; k++) {
        if (!is_used(s, &tx->attempts[k])) continue;
        const struct jsonrpc_answer *a = jsonrpc_answer(s->batch, index++);
        if (a->kind != JSONRPC_RESULT) { // no answer is no reason to broadcast or give up
            txreceipt_warn(s, &tx->attempts[k].hash, a->message);
            return FOUND_TROUBLE;
        }
        if (!a->result) continue;
        if (!txreceipt_read(s, tx, &tx->attempts[k], a->result, &r->mined[r->mined_count]))
            return FOUND_TROUBLE;
        r->mined_count++;
        return FOUND_RECEIPT;
    }
    return FOUND_NOTHING;
}

/* Whether the node has it, if it was asked. Returns false if it did not say. */
static bool read_check(struct txsender *s, struct tx *tx, int index)
{
    tx->known = TX_KNOWN_UNASKED;
    if (index < 0) return true;
    const struct jsonrpc_answer *a = jsonrpc_answer(s->batch, index);
    if (a->kind != JSONRPC_RESULT) return false;
    tx->check = false;
    tx->looks = 0;
    tx->known = a->result ? TX_KNOWN_YES : TX_KNOWN_NO;
    return true;
}

/* ---- what is next ---- */

static struct tx_view view_of(const struct txsender *s, const struct tx *tx, long long now)
{
    const struct chain_account *a = &s->account;
    uint64_t nonce = txsender_last(tx)->nonce;
    uint64_t since_head = tx->since_head;
    long long since_ms = tx->since_ms;
    if (nonce == a->mined && s->line_ms > since_ms) { // it waited for its turn until then
        since_head = s->line_head;
        since_ms = s->line_ms;
    }
    const struct tx_line line = {.mined = a->mined, .pending = a->pending};
    uint64_t blocks = tx->since_ms && a->head > since_head ? a->head - since_head : 0;
    return (struct tx_view){.answer = tx->answer,
                            .nonce_used = tx->nonce_used,
                            .looks = tx->looks,
                            .known = tx->known,
                            .next = nonce == a->mined,
                            .out_of_line = tx_is_out_of_line(&line, nonce),
                            .priced_out = fee_is_priced_out(&tx->fees, &a->market),
                            .blocks = blocks,
                            .idle_ms = tx->since_ms && blocks == 0 ? now - since_ms : 0,
                            .bump_after = chain_bump_after(s->c)};
}

static void give_up(struct txsender *s, struct tx *tx)
{
    const char *why = tx->nonce_used ? "another transaction of this account took its nonce"
                      : tx->answer == TX_ANSWER_BAD
                          ? "no node takes it as it is"
                          : "its nonce is far above what the account has used";
    struct eth_hash hash = txsender_last(tx)->hash;
    txsender_remove(s, &s->tracks, tx);
    s->c->ops.tx_void(s->c->ctx, tx->id, &hash, why);
    txsender_tx_free(tx);
}

/* It stays as it is for now. */
static void keep_waiting(struct txsender *s, struct tx *tx, long long now)
{
    char hash[ETH_HASH_TEXT], fee[U256_DEC_TEXT];
    unsigned int more;
    if (log_limit_ok(&s->cap_limit, TX_WARN_EVERY_MS, &more))
        log_warn("chain: transaction %s, nonce %llu, is not mined at %s wei a gas, and may not "
                 "offer 1/8 more (--eth.max-fee-per-gas, --eth.max-priority-fee-per-gas): it "
                 "waits (%u like it)",
                 hex_encode(hash, txsender_last(tx)->hash.b, sizeof(txsender_last(tx)->hash.b)),
                 (unsigned long long)txsender_last(tx)->nonce,
                 u256_format_dec(fee, tx->fees.max_fee_per_gas),
                 more);
    if (tx->answer == TX_ANSWER_FEE_LOW) {
        tx->answer = TX_ANSWER_NONE; // the node may ask less by then
        txsender_put_off(s, tx);
        return;
    }
    tx->since_head = s->account.head;
    tx->since_ms = now;
    tx->due_ms = now + txsender_period_ms(s);
}

static void raise_fees(struct txsender *s, struct tx *tx, long long now)
{
    struct chain_fees fees;
    const struct fee_caps caps = chain_fee_caps(s->c);
    tx->due_ms = now + txsender_period_ms(s);
    if (tx->replacing) return;
    if (tx->attempt_count == CHAIN_ATTEMPTS_MAX ||
        fee_raise(&tx->fees, &s->account.market, &caps, &fees) < 0) {
        keep_waiting(s, tx, now);
        return;
    }
    tx->replacing = true;
    s->c->ops.tx_stuck(s->c->ctx, tx->id, &txsender_last(tx)->hash, &fees);
}

static void act(struct txsender *s, struct round *r, struct tx *tx, long long now)
{
    const struct tx_view v = view_of(s, tx, now);
    switch (tx_step_of(&v)) {
    case TX_STEP_WAIT:
        tx->due_ms = now + (tx->nonce_used ? OVERTAKEN_WAIT_MS : txsender_period_ms(s));
        break;
    case TX_STEP_CHECK:
        tx->check = true; // and it is due still
        break;
    case TX_STEP_SEND:
        r->sends[r->send_count++] = tx;
        break;
    case TX_STEP_RAISE:
        raise_fees(s, tx, now);
        break;
    case TX_STEP_VOID:
        give_up(s, tx);
        break;
    }
}

static void settle(struct txsender *s, struct round *r, size_t i, long long now)
{
    struct tx *tx = r->txs[i];
    bool used = is_used(s, txsender_last(tx));
    switch (find_receipt(s, r, i)) {
    case FOUND_RECEIPT:
        tx->due_ms = now + txsender_period_ms(s); // should the rest of it fail
        return;
    case FOUND_TROUBLE:
        txsender_put_off(s, tx);
        return;
    case FOUND_NOTHING:
        break;
    }
    if (used != tx->nonce_used) tx->looks = 0;
    tx->nonce_used = used;
    tx->looks++;
    if (read_check(s, tx, r->checks[i]))
        act(s, r, tx, now);
    else
        txsender_put_off(s, tx); // and asked again
}

static int look(struct txsender *s, struct round *r, long long now, struct error *err)
{
    int rc = 0;
    if (add_look(s, r)) rc = pool_perform(s->rpc, s->batch, err);
    for (size_t i = 0; i < r->count && rc == 0; i++)
        settle(s, r, i, now);
    return rc;
}

/* ---- broadcasting ---- */

static void warn_refused(struct txsender *s, const struct tx *tx, const char *message)
{
    char hash[ETH_HASH_TEXT];
    unsigned int more;
    const struct chain_attempt *last = txsender_last(tx);
    if (log_limit_ok(&s->send_limit, TX_WARN_EVERY_MS, &more))
        log_warn("chain: the node does not take transaction %s, nonce %llu, trying again "
                 "(%u like it): %s",
                 hex_encode(hash, last->hash.b, sizeof(last->hash.b)),
                 (unsigned long long)last->nonce,
                 more,
                 message);
}

static void read_sent(struct txsender *s, struct tx *tx, const struct jsonrpc_answer *a)
{
    long long now = clock_mono_ms();
    tx->answer = tx_answer_of(a->kind == JSONRPC_RESULT ? NULL : a->message);
    tx->looks = 0;
    tx->due_ms = now + txsender_period_ms(s);
    switch (tx->answer) {
    case TX_ANSWER_TAKEN:
        s->broke = false;
        tx->attempt = 0;
        break;
    case TX_ANSWER_NONCE_USED: // by this one, perhaps
    case TX_ANSWER_OCCUPIED:
        s->want_survey = true;
        break;
    case TX_ANSWER_BAD:
        warn_refused(s, tx, a->message);
        tx->due_ms = 0;
        return;
    case TX_ANSWER_NO_FUNDS:
        s->broke = true;
        txsender_put_off(s, tx);
        warn_refused(s, tx, a->message);
        return;
    case TX_ANSWER_FEE_LOW:
        s->want_survey = true;
        txsender_put_off(s, tx);
        break;
    case TX_ANSWER_NONE:
    case TX_ANSWER_NONCE_AHEAD:
    case TX_ANSWER_LATER:
        txsender_put_off(s, tx);
        warn_refused(s, tx, a->message);
        return;
    }
    if (tx->since_ms) return;
    tx->since_ms = now;
    tx->since_head = s->account.head;
}

static void add_send(struct txsender *s, const struct tx *tx)
{
    struct buf hex = BUF_INIT(RAW_HEX_MAX);
    uint8_t *at = buf_reserve(&hex, 2 * tx->len + 3);
    if (at)
        jsonrpc_add(s->batch,
                    "eth_sendRawTransaction",
                    "[\"%s\"]",
                    hex_encode((char *)at, tx->data, tx->len));
    else
        jsonrpc_fail(s->batch, buf_error(&hex));
    buf_free(&hex);
}

/* The lowest one that no node has taken. */
static bool is_first_in_line(const struct txsender *s, const struct tx *tx)
{
    for (size_t i = 0; i < s->tracks.count && s->tracks.items[i] != tx; i++) {
        enum tx_answer a = s->tracks.items[i]->answer;
        if (a == TX_ANSWER_NONE || a == TX_ANSWER_NO_FUNDS) return false;
    }
    return true;
}

/* While there is no money the first one finds out when there is some; the others wait for it. */
static size_t hold_back(struct txsender *s, struct round *r)
{
    if (!s->broke || r->send_count == 0) return r->send_count;
    bool first = is_first_in_line(s, r->sends[0]);
    for (size_t i = first; i < r->send_count; i++)
        txsender_put_off(s, r->sends[i]);
    return first;
}

static int send_all(struct txsender *s, struct round *r, struct error *err)
{
    size_t n = hold_back(s, r);
    if (n == 0) return 0;
    jsonrpc_batch_reset(s->batch);
    for (size_t i = 0; i < n; i++)
        add_send(s, r->sends[i]);
    fault_point(FAULT_BROADCAST_BEFORE);
    int rc = pool_perform(s->rpc, s->batch, err);
    fault_point(FAULT_BROADCAST_AFTER);
    for (size_t i = 0; i < n && rc == 0; i++)
        read_sent(s, r->sends[i], jsonrpc_answer(s->batch, (int)i));
    return rc;
}

static int round_run(struct txsender *s, struct round *r, long long now, struct error *err)
{
    int rc = look(s, r, now, err);
    if (rc == 0) rc = send_all(s, r, err); // first: what is mined can wait, what is not cannot
    if (rc == 0) return txreceipt_tell(s, r->mined, r->mined_count, err);
    for (size_t i = 0; i < r->mined_count; i++)
        eth_events_free(&r->mined[i].events);
    return rc;
}

int txtrack_round(struct txsender *s, struct error *err)
{
    struct round r;
    long long now = clock_mono_ms();
    int rc = 0;
    do {
        pick(s, &r, now);
        if (r.count > 0) rc = round_run(s, &r, now, err);
    } while (rc == 0 && r.count > 0);
    return rc;
}
