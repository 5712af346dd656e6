/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows of `outbox`. */
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

int store_tx_insert(struct store *s, struct tx *tx)
{
    sqlite3_stmt *st = s->stmt[STMT_TX_INSERT];
    int64_t now = clock_wall_ms();
    (void)sqlite3_bind_int(st, 1, (int)tx->kind);
    (void)sqlite3_bind_int(st, 2, (int)tx->state);
    if (tx->job[0]) (void)sqlite3_bind_text(st, 3, tx->job, -1, SQLITE_STATIC);
    (void)sqlite3_bind_blob64(st, 4, tx->data, tx->data_len, SQLITE_STATIC);
    store_bind_u64(s, st, 5, tx->block);
    (void)sqlite3_bind_text(st, 6, tx->reason, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(st, 7, now);
    (void)sqlite3_bind_int64(st, 8, now);
    int rc = store_run(s, STMT_TX_INSERT, "transaction");
    if (rc == 0) tx->id = (uint64_t)sqlite3_last_insert_rowid(s->db);
    return rc;
}

int store_tx_update(struct store *s, const struct tx *tx)
{
    sqlite3_stmt *st = s->stmt[STMT_TX_UPDATE];
    (void)sqlite3_bind_int(st, 1, (int)tx->state);
    if (tx->has_nonce) {
        store_bind_u64(s, st, 2, tx->nonce);
        (void)sqlite3_bind_blob(st, 3, tx->hash, sizeof(tx->hash), SQLITE_STATIC);
        (void)sqlite3_bind_blob64(st, 4, tx->raw, tx->raw_len, SQLITE_STATIC);
    }
    store_bind_u64(s, st, 5, tx->block);
    (void)sqlite3_bind_text(st, 6, tx->reason, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(st, 7, clock_wall_ms());
    store_bind_u64(s, st, 8, tx->id);
    return store_run(s, STMT_TX_UPDATE, "transaction");
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
    tx->kind = (enum tx_kind)sqlite3_column_int(st, 1);
    tx->state = (enum tx_state)sqlite3_column_int(st, 2);
    if (sqlite3_column_type(st, 3) != SQLITE_NULL &&
        store_column_text(st, 3, tx->job, sizeof(tx->job)) < 0)
        return ERR_CORRUPT;
    tx->has_nonce = sqlite3_column_type(st, 5) != SQLITE_NULL;
    tx->nonce = (uint64_t)sqlite3_column_int64(st, 5);
    tx->block = (uint64_t)sqlite3_column_int64(st, 8);
    if (tx->kind <= TX_NONE || tx->kind >= TX_KIND_COUNT || tx->state >= TX_STATE_COUNT ||
        read_bytes(st, 4, tx->data, sizeof(tx->data), &tx->data_len) < 0 ||
        store_column_blob(st, 6, tx->hash, sizeof(tx->hash)) < 0 ||
        read_bytes(st, 7, tx->raw, sizeof(tx->raw), &tx->raw_len) < 0 ||
        store_column_text(st, 9, tx->reason, sizeof(tx->reason)) < 0)
        return ERR_CORRUPT;
    return 0;
}

int store_txs_open(struct store *s, void (*fn)(void *ctx, const struct tx *tx), void *ctx)
{
    sqlite3_stmt *st = s->stmt[STMT_TXS_OPEN];
    struct tx tx;
    int step;
    while ((step = sqlite3_step(st)) == SQLITE_ROW) {
        // A nonce that cannot be read would be taken twice: better not to start.
        int rc = read_tx(st, &tx);
        if (rc < 0) {
            (void)sqlite3_reset(st);
            return store_fail(s, SQLITE_CORRUPT, "transaction that cannot be read");
        }
        fn(ctx, &tx);
    }
    (void)sqlite3_reset(st);
    return step == SQLITE_DONE ? 0 : store_fail(s, step, "transactions");
}
