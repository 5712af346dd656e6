/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows of `billing`. */
#include <stdio.h>

#include "agent/store/store_private.h"
#include "agent/util/clock.h"

int store_bill_put(struct store *s, const struct bill *b)
{
    sqlite3_stmt *st = s->stmt[STMT_BILL_PUT];
    (void)sqlite3_bind_text(st, 1, b->job, -1, SQLITE_STATIC);
    store_bind_u64(s, st, 2, b->claim_block);
    (void)sqlite3_bind_text(st, 3, b->user, -1, SQLITE_STATIC);
    store_bind_u64(s, st, 4, b->slurm_id);
    store_bind_u64(s, st, 5, b->limit_min);
    (void)sqlite3_bind_int64(st, 6, b->start_s);
    (void)sqlite3_bind_int64(st, 7, b->end_s);
    store_bind_u64(s, st, 8, b->duration_s);
    store_bind_u64(s, st, 9, b->suspended_s);
    if (b->reported) {
        (void)sqlite3_bind_int(st, 10, b->status);
        store_bind_u64(s, st, 11, b->minutes);
    }
    if (b->confirmed) {
        (void)sqlite3_bind_int(st, 12, b->chain_status);
        (void)sqlite3_bind_int64(st, 13, b->chain_start_s);
        (void)sqlite3_bind_int64(st, 14, b->chain_end_s);
        if (b->billed_min != UINT64_MAX) store_bind_u64(s, st, 15, b->billed_min);
        (void)sqlite3_bind_text(st, 16, b->cost_wei, -1, SQLITE_STATIC);
    }
    (void)sqlite3_bind_int64(st, 17, clock_wall_ms());
    return store_run(s, STMT_BILL_PUT, "bill");
}

int store_bill_end(struct store *s, const struct bill *b)
{
    sqlite3_stmt *st = s->stmt[STMT_BILL_END];
    (void)sqlite3_bind_int64(st, 1, b->start_s);
    (void)sqlite3_bind_int64(st, 2, b->end_s);
    store_bind_u64(s, st, 3, b->duration_s);
    store_bind_u64(s, st, 4, b->suspended_s);
    (void)sqlite3_bind_text(st, 5, b->job, -1, SQLITE_STATIC);
    store_bind_u64(s, st, 6, b->claim_block);
    return store_run(s, STMT_BILL_END, "bill");
}

static bool is_null(sqlite3_stmt *st, int column)
{
    return sqlite3_column_type(st, column) == SQLITE_NULL;
}

/* The columns in the order of the schema. */
static int read_bill(sqlite3_stmt *st, struct bill *bill)
{
    struct bill b = {
        .claim_block = (uint64_t)sqlite3_column_int64(st, 1),
        .slurm_id = (uint64_t)sqlite3_column_int64(st, 3),
        .limit_min = (uint64_t)sqlite3_column_int64(st, 4),
        .start_s = sqlite3_column_int64(st, 5),
        .end_s = sqlite3_column_int64(st, 6),
        .duration_s = (uint64_t)sqlite3_column_int64(st, 7),
        .suspended_s = (uint64_t)sqlite3_column_int64(st, 8),
        .reported = !is_null(st, 9),
        .status = (uint8_t)sqlite3_column_int(st, 9),
        .minutes = (uint64_t)sqlite3_column_int64(st, 10),
        .confirmed = !is_null(st, 11),
        .chain_status = (uint8_t)sqlite3_column_int(st, 11),
        .chain_start_s = sqlite3_column_int64(st, 12),
        .chain_end_s = sqlite3_column_int64(st, 13),
        .billed_min = is_null(st, 14) ? UINT64_MAX : (uint64_t)sqlite3_column_int64(st, 14),
        .done_ms = sqlite3_column_int64(st, 16),
    };
    if (store_column_text(st, 0, b.job, sizeof(b.job)) < 0 ||
        store_column_text(st, 2, b.user, sizeof(b.user)) < 0 ||
        (b.confirmed && store_column_text(st, 15, b.cost_wei, sizeof(b.cost_wei)) < 0))
        return ERR_CORRUPT;
    *bill = b;
    return 0;
}

int store_bills_since(struct store *s,
                      int64_t since_ms,
                      void (*fn)(void *ctx, const struct bill *bill),
                      void *ctx)
{
    sqlite3_stmt *st = s->stmt[STMT_BILLS_SINCE];
    struct bill bill;
    int step, rc = 0;
    (void)sqlite3_bind_int64(st, 1, since_ms);
    while (rc == 0 && (step = sqlite3_step(st)) == SQLITE_ROW)
        if ((rc = read_bill(st, &bill)) == 0) fn(ctx, &bill);
    (void)sqlite3_reset(st);
    return rc < 0 || step == SQLITE_DONE ? rc : store_fail(s, step, "billing");
}

int store_bills_prune(struct store *s, int64_t before_ms)
{
    (void)sqlite3_bind_int64(s->stmt[STMT_PRUNE_BILLS], 1, before_ms);
    return store_run(s, STMT_PRUNE_BILLS, "billing");
}
