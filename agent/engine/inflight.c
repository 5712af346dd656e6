/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How a call that is wanted gets into a block. At most TX_IN_FLIGHT_MAX are in flight, the others
 * wait in order. The sender asks for gas and fees; then nonce, signed bytes and hash are stored in
 * one commit (SIGNED), and only such bytes are sent. A call that the contract would revert never
 * takes a nonce. The next nonce is the lowest one that nobody has taken, so there is no counter to
 * drift; every attempt is kept, for any of them may be the one that is mined.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/engine/engine_private.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"
#include "agent/util/hex.h"
#include "agent/util/retry.h"

enum {
    RETRY_BASE_MS = 500,
    RETRY_CAP_MS = 60 * 1000,
    NONCES_MAX = 1024, // of ours in flight; more than TX_IN_FLIGHT_MAX only by an older store
};

static const char *job_of_tx(const struct live_tx *t)
{
    return t->row.job[0] ? t->row.job : NULL;
}

/* ---- loading ---- */

static void put_attempt(struct live_tx *t, const struct tx_attempt *a)
{
    if (t->attempt_count == CHAIN_ATTEMPTS_MAX)
        memmove(t->attempts, t->attempts + 1, --t->attempt_count * sizeof(t->attempts[0]));
    struct chain_attempt *c = &t->attempts[t->attempt_count++];
    c->nonce = a->nonce;
    memcpy(c->hash.b, a->hash, sizeof(c->hash.b));
    t->last = *a;
}

static void load_attempt(void *ctx, const struct tx_attempt *a)
{
    put_attempt(ctx, a);
}

static void load_tx(void *ctx, const struct tx *row)
{
    (void)engine_tx_add(ctx, row);
}

int engine_inflight_load(struct engine *e, struct error *err)
{
    size_t unreadable;
    int rc = store_txs_open(e->o.store, load_tx, e, &unreadable);
    for (struct live_tx *t = e->txs; t && rc == 0; t = t->next) {
        rc = store_attempts(e->o.store, t->row.id, load_attempt, t);
        if (t->attempt_count == 0) t->row.state = TX_WANTED;
    }
    if (rc < 0) return error_set(err, rc, "store: transactions cannot be read");
    if (unreadable)
        log_error("%zu transactions in the store cannot be read and are left alone", unreadable);
    if (store_meta_get_u64(e->o.store, "nonces_told", &e->nonces_told) < 0)
        e->nonces_told = UINT64_MAX; // the account's history is not ours to tell
    return 0;
}

/* One that was mined, and is not any more: the same bytes are sent again. */
void engine_inflight_unmine(struct engine *e, struct live_tx *t)
{
    t->row.state = TX_SIGNED;
    t->row.block = 0;
    (void)store_tx_unmine(e->o.store, &t->row);
    (void)store_attempts(e->o.store, t->row.id, load_attempt, t);
    if (t->attempt_count == 0) t->row.state = TX_WANTED; // unreadable: made anew
    (void)store_tx_update(e->o.store, &t->row);
}

/* ---- handing over ---- */

struct tx_action {
    struct action action;
    uint64_t id;
};

static int track(struct engine *e, const struct live_tx *t)
{
    struct chain_signed tx = {
        .count = t->attempt_count,
        .fees = {.eip1559 = t->last.eip1559, .gas_limit = t->last.gas_limit},
        .raw = t->last.raw,
        .len = t->last.raw_len,
    };
    memcpy(tx.attempts, t->attempts, t->attempt_count * sizeof(tx.attempts[0]));
    // What cannot be read stays 0: one that replaces it then offers what the chain asks.
    (void)u256_parse(t->last.max_fee_wei, &tx.fees.max_fee_per_gas);
    (void)u256_parse(t->last.max_tip_wei, &tx.fees.max_priority_fee_per_gas);
    return chain_tx_track(e->chain, t->row.id, &tx);
}

static struct eth_address recipient(const struct engine *e, const struct live_tx *t)
{
    return t->row.kind == TX_FILL       ? e->o.chain.provider
           : t->row.kind == TX_REGISTER ? e->ready.provider_manager
                                        : e->o.chain.metascheduler;
}

/* Hand a transaction to the sender, as far as it is. */
static void hand_over(struct engine *e, struct action *a)
{
    struct live_tx *t = engine_tx_find(e, ((struct tx_action *)a)->id);
    if (!t || !e->chain) return;
    struct eth_address to = recipient(e, t);
    int rc = t->row.state == TX_SIGNED
                 ? track(e, t)
                 : chain_tx_prepare(e->chain, t->row.id, &to, t->row.data, t->row.data_len);
    if (rc >= 0 || rc == ERR_STOPPED) return;
    t->handed = false;
    t->retry_at_ms = clock_mono_ms() + RETRY_BASE_MS;
    log_job_debug(
        job_of_tx(t), "%s waits for the sender: %s", tx_kind_name(t->row.kind), err_text(rc));
}

static void hand_over_after_commit(struct engine *e, struct live_tx *t)
{
    struct tx_action *a = engine_alloc(e, sizeof(*a));
    if (!a) return;
    t->handed = true;
    t->retry_at_ms = 0;
    a->action.run = hand_over;
    a->id = t->row.id;
    engine_after_commit(e, &a->action);
}

static bool takes_room(const struct live_tx *t)
{
    return t->row.state == TX_SIGNED || t->handed;
}

void engine_inflight_pursue(struct engine *e)
{
    long long now = clock_mono_ms();
    size_t in_flight = 0;
    for (struct live_tx *t = e->txs; t; t = t->next)
        in_flight += takes_room(t);
    for (struct live_tx *t = e->txs; t; t = t->next) {
        if (t->handed || t->retry_at_ms > now) continue;
        // The MetaScheduler has not said yet where to.
        if (t->row.kind == TX_REGISTER && !e->ready.chain_id) continue;
        // What fills a gap must not wait for what waits for it.
        bool room = takes_room(t) || in_flight < TX_IN_FLIGHT_MAX || t->row.kind == TX_FILL;
        if (!room) continue;
        in_flight += !takes_room(t);
        hand_over_after_commit(e, t);
    }
}

long long engine_inflight_next_ms(const struct engine *e)
{
    long long next = LLONG_MAX;
    for (const struct live_tx *t = e->txs; t; t = t->next)
        if (!t->handed && t->retry_at_ms && t->retry_at_ms < next) next = t->retry_at_ms;
    return next;
}

/* ---- nonces ---- */

static int by_nonce(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* The account's line as far as it is known; `ours` is where the nonces go. */
static struct tx_line line_of(const struct engine *e, uint64_t ours[NONCES_MAX])
{
    struct tx_line line = {.mined = e->account.mined, .pending = e->account.pending, .ours = ours};
    for (const struct live_tx *t = e->txs; t && line.count < NONCES_MAX; t = t->next)
        if (t->row.state == TX_SIGNED) ours[line.count++] = t->last.nonce;
    qsort(ours, line.count, sizeof(ours[0]), by_nonce);
    return line;
}

static bool is_ours(const struct engine *e, const struct tx_line *line, uint64_t nonce)
{
    for (size_t i = 0; i < line->count; i++)
        if (line->ours[i] == nonce) return true;
    return store_nonce_is_ours(e->o.store, nonce);
}

/* Transactions of somebody who has our key, too: told once, a range at a time. */
static void tell_foreign(const struct engine *e, uint64_t from, uint64_t to)
{
    char nonces[64];
    if (to - from == 1)
        (void)snprintf(nonces, sizeof(nonces), "nonce %" PRIu64, from);
    else
        (void)snprintf(nonces, sizeof(nonces), "nonces %" PRIu64 " to %" PRIu64, from, to - 1);
    log_warn("%s of this account: not by the agent, but %s; it goes on behind (is the key used "
             "elsewhere?)",
             nonces,
             to <= e->account.mined ? "mined" : "in the pool");
}

static void look_for_foreign(struct engine *e, const struct tx_line *line)
{
    enum { RANGE_MAX = 4096 }; // a node that lies about nonces must not keep us busy
    uint64_t to = line->pending > line->mined ? line->pending : line->mined;
    if (to - line->mined > TX_LINE_MAX) to = line->mined;
    // From the next one on at the first start, and after a lie that was found out.
    bool anew = e->nonces_told > to && e->nonces_told - to > TX_LINE_MAX;
    uint64_t from = anew ? to : e->nonces_told;
    if (from < to && to - from > RANGE_MAX) from = to - RANGE_MAX;
    if (from >= to && !anew) return;
    for (uint64_t n = from, first = from; n <= to; n++) {
        if (n < to && !is_ours(e, line, n)) continue;
        if (n > first) tell_foreign(e, first, n);
        first = n + 1;
    }
    e->nonces_told = to;
    (void)store_meta_put_u64(e->o.store, "nonces_told", to);
}

static void want_fill(struct engine *e, uint64_t nonce)
{
    struct tx row = {.kind = TX_FILL};
    (void)snprintf(row.key, sizeof(row.key), "fill/%" PRIu64, nonce);
    if (engine_tx_want(e, &row, true) == 0)
        log_warn("ours wait for nonce %" PRIu64 ", which %s: filling it with a transfer of nothing",
                 nonce,
                 e->gap.kind == TX_GAP_EMPTY ? "no transaction has" : "another one holds up");
}

/* Nothing of ours may wait for ever for a nonce that is not ours. */
static void look_for_gap(struct engine *e, const struct tx_line *line)
{
    long long now = clock_mono_ms();
    enum tx_gap kind = tx_gap_of(line);
    if (kind != e->gap.kind || line->mined != e->gap.nonce) {
        e->gap.kind = kind;
        e->gap.nonce = line->mined;
        e->gap.head = e->account.head;
        e->gap.at_ms = now;
    }
    uint64_t blocks = e->account.head > e->gap.head ? e->account.head - e->gap.head : 0;
    if (tx_fill_is_due(kind, blocks, blocks ? 0 : now - e->gap.at_ms, e->o.chain.bump_after))
        want_fill(e, line->mined);
}

void engine_on_account(struct engine *e, struct mail *m)
{
    uint64_t ours[NONCES_MAX];
    e->account = ((const struct account_mail *)m)->account;
    e->account_known = true;
    struct tx_line line = line_of(e, ours);
    look_for_foreign(e, &line);
    look_for_gap(e, &line);
    engine_purse_look(e);
}

/* ---- signing ---- */

/* Sign and store one more attempt of `t`. */
static int sign(struct engine *e,
                struct live_tx *t,
                uint64_t nonce,
                const struct chain_fees *fees,
                struct error *err)
{
    struct tx_attempt a = {.nonce = nonce, .eip1559 = fees->eip1559, .gas_limit = fees->gas_limit};
    const struct eth_tx call = {
        .eip1559 = fees->eip1559,
        .chain_id = e->ready.chain_id,
        .nonce = nonce,
        .gas_limit = fees->gas_limit,
        .max_fee_per_gas = fees->max_fee_per_gas,
        .max_priority_fee_per_gas = fees->max_priority_fee_per_gas,
        .to = recipient(e, t),
        .data = t->row.data,
        .data_len = t->row.data_len,
    };
    struct eth_hash hash;
    struct buf raw = BUF_INIT(sizeof(a.raw));
    fault_point(FAULT_SIGN_BEFORE);
    int rc = signer_sign_tx(e->o.signer, &call, &raw, &hash, err);
    fault_point(FAULT_SIGN_AFTER);
    if (rc == 0) {
        (void)u256_format_dec(a.max_fee_wei, fees->max_fee_per_gas);
        (void)u256_format_dec(a.max_tip_wei, fees->max_priority_fee_per_gas);
        memcpy(a.hash, hash.b, sizeof(a.hash));
        memcpy(a.raw, raw.data, raw.len);
        a.raw_len = raw.len;
        t->row.state = TX_SIGNED;
        put_attempt(t, &a);
        (void)store_tx_update(e->o.store, &t->row);
        (void)store_attempt_add(e->o.store, t->row.id, &a);
    }
    buf_free(&raw);
    return rc;
}

/* It is handed over again later, each time after a longer wait. */
static void set_back(struct live_tx *t)
{
    t->handed = false;
    t->retry_at_ms = clock_mono_ms() + retry_delay_ms(++t->setbacks, RETRY_BASE_MS, RETRY_CAP_MS);
}

static void sign_failed(struct engine *e, struct live_tx *t, const struct error *err)
{
    unsigned int more;
    set_back(t);
    if (log_limit_ok(&e->sign_limit, RETRY_CAP_MS, &more))
        log_job_error(job_of_tx(t),
                      "%s cannot be signed (%u like it): %s",
                      tx_kind_name(t->row.kind),
                      more,
                      err->text);
}

void engine_on_tx_prepared(struct engine *e, struct mail *m)
{
    const struct tx_mail *tm = (const struct tx_mail *)m;
    struct live_tx *t = engine_tx_find(e, tm->id);
    struct error err = {0};
    uint64_t ours[NONCES_MAX];
    if (!t || t->row.state != TX_WANTED) return;
    struct tx_line line = line_of(e, ours);
    bool fills = t->row.kind == TX_FILL;
    if (fills && tx_gap_of(&line) == TX_GAP_NONE) {
        engine_tx_close(e, t, TX_REJECTED, "nothing waits for it any more");
        return;
    }
    if (!e->account_known || !e->ready.chain_id) { // which chain this is was not said yet
        set_back(t);
        return;
    }
    if (sign(e, t, fills ? line.mined : tx_next_nonce(&line), &tm->fees, &err) < 0)
        sign_failed(e, t, &err);
    else
        t->handed = false;
}

static bool is_last(const struct live_tx *t, const struct eth_hash *hash)
{
    return t->row.state == TX_SIGNED && memcmp(t->last.hash, hash->b, sizeof(hash->b)) == 0;
}

void engine_on_tx_stuck(struct engine *e, struct mail *m)
{
    const struct tx_mail *tm = (const struct tx_mail *)m;
    struct live_tx *t = engine_tx_find(e, tm->id);
    struct error err = {0};
    char text[U256_DEC_TEXT];
    if (!t || !is_last(t, &tm->hash)) return;
    t->handed = false;
    if (sign(e, t, t->last.nonce, &tm->fees, &err) < 0)
        sign_failed(e, t, &err);
    else
        log_job_info(job_of_tx(t),
                     "%s, nonce %" PRIu64
                     ", is not mined: replaced by one that offers %s wei a gas",
                     tx_kind_name(t->row.kind),
                     t->last.nonce,
                     u256_format_dec(text, tm->fees.max_fee_per_gas));
}

void engine_on_tx_void(struct engine *e, struct mail *m)
{
    const struct tx_mail *tm = (const struct tx_mail *)m;
    struct live_tx *t = engine_tx_find(e, tm->id);
    if (!t || !is_last(t, &tm->hash)) return;
    log_job_warn(job_of_tx(t),
                 "%s with nonce %" PRIu64 " cannot be mined: %s; it is made anew",
                 tx_kind_name(t->row.kind),
                 t->last.nonce,
                 tm->why);
    t->row.state = TX_WANTED;
    (void)store_tx_update(e->o.store, &t->row);
    set_back(t);
    if (t->setbacks == 1) t->retry_at_ms = 0;
}
