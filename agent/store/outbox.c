/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows of `outbox` and `attempts`. */
#include <string.h>

#include "agent/store/store_private.h"
#include "agent/util/clock.h"

static const char *const kind_names[TX_KIND_COUNT] = {
    [TX_NONE] = "none",
    [TX_CLAIM] = "claimNextJob",
    [TX_RUNNING] = "providerSetJobStatus RUNNING",
    [TX_END] = "providerSetJobStatus with the end",
    [TX_REFUSE] = "refuseJob",
    [TX_CLAIM_CANCEL] = "claimNextCancellingJob",
    [TX_CLAIM_TOP_UP] = "claimNextTopUpJob",
    [TX_FILL] = "transfer of nothing",
    [TX_REGISTER] = "register",
};

static const char *const state_names[TX_STATE_COUNT] = {
    [TX_WANTED] = "wanted",
    [TX_SIGNED] = "signed",
    [TX_MINED] = "mined",
    [TX_REVERTED] = "reverted",
    [TX_REJECTED] = "rejected",
};

const char *tx_kind_name(enum tx_kind kind)
{
    return (unsigned int)kind < TX_KIND_COUNT ? kind_names[kind] : "?";
}

const char *tx_state_name(enum tx_state state)
{
    return (unsigned int)state < TX_STATE_COUNT ? state_names[state] : "?";
}

static int find_id(struct store *s, const char *key, uint64_t *id)
{
    sqlite3_stmt *st = s->stmt[STMT_TX_FIND];
    (void)sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    int step = sqlite3_step(st);
    if (step == SQLITE_ROW) *id = (uint64_t)sqlite3_column_int64(st, 0);
    (void)sqlite3_reset(st);
    return step == SQLITE_ROW ? 0 : store_fail(s, step, "transaction");
}

int store_tx_want(struct store *s, struct tx *tx, bool again)
{
    sqlite3_stmt *st = s->stmt[STMT_TX_WANT];
    (void)sqlite3_bind_text(st, 1, tx->key, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int(st, 2, (int)tx->kind);
    if (tx->job[0]) (void)sqlite3_bind_text(st, 3, tx->job, -1, SQLITE_STATIC);
    (void)sqlite3_bind_blob64(st, 4, tx->data, tx->data_len, SQLITE_STATIC);
    (void)sqlite3_bind_int64(st, 5, clock_wall_ms());
    (void)sqlite3_bind_int(st, 6, again);
    int rc = store_run(s, STMT_TX_WANT, "transaction");
    if (rc == 0 && sqlite3_changes(s->db) == 0) return ERR_EXISTS;
    return rc < 0 ? rc : find_id(s, tx->key, &tx->id);
}

int store_tx_update(struct store *s, const struct tx *tx)
{
    sqlite3_stmt *st = s->stmt[STMT_TX_UPDATE];
    (void)sqlite3_bind_int(st, 1, (int)tx->state);
    store_bind_u64(s, st, 2, tx->block);
    (void)sqlite3_bind_text(st, 3, tx->reason, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(st, 4, clock_wall_ms());
    (void)sqlite3_bind_blob(st, 5, tx->block_hash, sizeof(tx->block_hash), SQLITE_STATIC);
    store_bind_u64(s, st, 6, tx->id);
    return store_run(s, STMT_TX_UPDATE, "transaction");
}

int store_tx_drop(struct store *s, uint64_t id)
{
    store_bind_u64(s, s->stmt[STMT_TX_DROP], 1, id);
    return store_run(s, STMT_TX_DROP, "transaction");
}

int store_attempt_add(struct store *s, uint64_t tx, const struct tx_attempt *a)
{
    sqlite3_stmt *st = s->stmt[STMT_ATTEMPT_ADD];
    store_bind_u64(s, st, 1, tx);
    (void)sqlite3_bind_blob(st, 2, a->hash, sizeof(a->hash), SQLITE_STATIC);
    store_bind_u64(s, st, 3, a->nonce);
    (void)sqlite3_bind_blob64(st, 4, a->raw, a->raw_len, SQLITE_STATIC);
    (void)sqlite3_bind_int(st, 5, a->eip1559);
    store_bind_u64(s, st, 6, a->gas_limit);
    (void)sqlite3_bind_text(st, 7, a->max_fee_wei, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(st, 8, a->max_tip_wei, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(st, 9, clock_wall_ms());
    return store_run(s, STMT_ATTEMPT_ADD, "signed transaction");
}

int store_attempt_mined(struct store *s, uint64_t tx, const uint8_t hash[32], const char *cost_wei)
{
    sqlite3_stmt *st = s->stmt[STMT_ATTEMPT_MINED];
    (void)sqlite3_bind_text(st, 1, cost_wei, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(st, 2, clock_wall_ms());
    store_bind_u64(s, st, 3, tx);
    (void)sqlite3_bind_blob(st, 4, hash, 32, SQLITE_STATIC);
    return store_run(s, STMT_ATTEMPT_MINED, "signed transaction");
}

/* Copy a blob of at most `max` bytes. */
static int read_bytes(sqlite3_stmt *st, int column, uint8_t *out, size_t max, size_t *len)
{
    size_t n = (size_t)sqlite3_column_bytes(st, column);
    if (n > max) return ERR_CORRUPT;
    if (n) memcpy(out, sqlite3_column_blob(st, column), n);
    *len = n;
    return 0;
}

static int read_tx(sqlite3_stmt *st, struct tx *tx)
{
    memset(tx, 0, sizeof(*tx));
    tx->id = (uint64_t)sqlite3_column_int64(st, 0);
    tx->kind = (enum tx_kind)sqlite3_column_int(st, 2);
    tx->state = (enum tx_state)sqlite3_column_int(st, 3);
    if (sqlite3_column_type(st, 4) != SQLITE_NULL &&
        store_column_text(st, 4, tx->job, sizeof(tx->job)) < 0)
        return ERR_CORRUPT;
    tx->block = (uint64_t)sqlite3_column_int64(st, 6);
    if (tx->kind <= TX_NONE || tx->kind >= TX_KIND_COUNT || tx->state >= TX_STATE_COUNT ||
        store_column_text(st, 1, tx->key, sizeof(tx->key)) < 0 ||
        read_bytes(st, 5, tx->data, sizeof(tx->data), &tx->data_len) < 0 ||
        store_column_text(st, 7, tx->reason, sizeof(tx->reason)) < 0 ||
        store_column_blob(st, 8, tx->block_hash, sizeof(tx->block_hash)) < 0)
        return ERR_CORRUPT;
    return 0;
}

static int read_attempt(sqlite3_stmt *st, struct tx_attempt *a)
{
    memset(a, 0, sizeof(*a));
    a->nonce = (uint64_t)sqlite3_column_int64(st, 1);
    a->eip1559 = sqlite3_column_int(st, 3);
    a->gas_limit = (uint64_t)sqlite3_column_int64(st, 4);
    if (store_column_blob(st, 0, a->hash, sizeof(a->hash)) < 0 ||
        read_bytes(st, 2, a->raw, sizeof(a->raw), &a->raw_len) < 0 ||
        store_column_text(st, 5, a->max_fee_wei, sizeof(a->max_fee_wei)) < 0 ||
        store_column_text(st, 6, a->max_tip_wei, sizeof(a->max_tip_wei)) < 0)
        return ERR_CORRUPT;
    return 0;
}

int store_txs_open(struct store *s,
                   void (*fn)(void *ctx, const struct tx *tx),
                   void *ctx,
                   size_t *unreadable)
{
    sqlite3_stmt *st = s->stmt[STMT_TXS_OPEN];
    struct tx tx;
    int step;
    *unreadable = 0;
    while ((step = sqlite3_step(st)) == SQLITE_ROW)
        if (read_tx(st, &tx) == 0)
            fn(ctx, &tx);
        else
            ++*unreadable;
    (void)sqlite3_reset(st);
    return step == SQLITE_DONE ? 0 : store_fail(s, step, "transactions");
}

int store_txs_mined(struct store *s,
                    uint64_t above,
                    void (*fn)(void *ctx, const struct tx *tx),
                    void *ctx)
{
    sqlite3_stmt *st = s->stmt[STMT_TXS_MINED];
    struct tx tx;
    int step;
    store_bind_u64(s, st, 1, above);
    while ((step = sqlite3_step(st)) == SQLITE_ROW)
        if (read_tx(st, &tx) == 0) fn(ctx, &tx);
    (void)sqlite3_reset(st);
    return step == SQLITE_DONE ? 0 : store_fail(s, step, "transactions");
}

int store_tx_mined_in(struct store *s, const char *key, uint64_t *block)
{
    return store_find_u64(s, STMT_TX_MINED_IN, key, block, "transaction");
}

int store_tx_unmine(struct store *s, const struct tx *tx)
{
    store_bind_u64(s, s->stmt[STMT_ATTEMPTS_UNMINE], 1, tx->id);
    (void)store_run(s, STMT_ATTEMPTS_UNMINE, "signed transactions");
    return store_tx_update(s, tx);
}

int store_attempts(struct store *s,
                   uint64_t tx,
                   void (*fn)(void *ctx, const struct tx_attempt *attempt),
                   void *ctx)
{
    sqlite3_stmt *st = s->stmt[STMT_ATTEMPTS];
    struct tx_attempt a;
    int step;
    store_bind_u64(s, st, 1, tx);
    while ((step = sqlite3_step(st)) == SQLITE_ROW)
        if (read_attempt(st, &a) == 0) fn(ctx, &a);
    (void)sqlite3_reset(st);
    return step == SQLITE_DONE ? 0 : store_fail(s, step, "signed transactions");
}

bool store_nonce_is_ours(struct store *s, uint64_t nonce)
{
    sqlite3_stmt *st = s->stmt[STMT_NONCE_FIND];
    store_bind_u64(s, st, 1, nonce);
    int step = sqlite3_step(st);
    (void)sqlite3_reset(st);
    return step == SQLITE_ROW;
}

int store_costs_since(struct store *s,
                      int64_t since_ms,
                      void (*fn)(void *ctx, const char *cost_wei),
                      void *ctx)
{
    sqlite3_stmt *st = s->stmt[STMT_COSTS];
    char cost[TX_WEI_TEXT];
    int step;
    (void)sqlite3_bind_int64(st, 1, since_ms);
    while ((step = sqlite3_step(st)) == SQLITE_ROW)
        if (store_column_text(st, 0, cost, sizeof(cost)) == 0) fn(ctx, cost);
    (void)sqlite3_reset(st);
    return step == SQLITE_DONE ? 0 : store_fail(s, step, "costs");
}
