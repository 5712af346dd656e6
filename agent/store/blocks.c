/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows of `blocks`. */
#include "agent/store/store_private.h"

int store_block_put(struct store *s, uint64_t number, const uint8_t hash[32])
{
    sqlite3_stmt *st = s->stmt[STMT_BLOCK_PUT];
    store_bind_u64(s, st, 1, number);
    (void)sqlite3_bind_blob(st, 2, hash, 32, SQLITE_STATIC);
    return store_run(s, STMT_BLOCK_PUT, "block");
}

int store_blocks_cut(struct store *s, uint64_t last)
{
    store_bind_u64(s, s->stmt[STMT_BLOCKS_CUT], 1, last);
    return store_run(s, STMT_BLOCKS_CUT, "blocks");
}

int store_blocks_prune(struct store *s, uint64_t first)
{
    store_bind_u64(s, s->stmt[STMT_BLOCKS_PRUNE], 1, first);
    return store_run(s, STMT_BLOCKS_PRUNE, "blocks");
}

int store_blocks_load(struct store *s, struct store_block list[], size_t max, size_t *count)
{
    sqlite3_stmt *st = s->stmt[STMT_BLOCKS_LOAD];
    int step, rc = 0;
    *count = 0;
    (void)sqlite3_bind_int64(st, 1, (sqlite3_int64)max);
    while ((step = sqlite3_step(st)) == SQLITE_ROW && rc == 0) {
        struct store_block *b = &list[*count];
        b->number = (uint64_t)sqlite3_column_int64(st, 0);
        rc = store_column_blob(st, 1, b->hash, sizeof(b->hash));
        if (rc == 0) ++*count;
    }
    (void)sqlite3_reset(st);
    if (rc < 0) return store_fail(s, SQLITE_CORRUPT, "block that cannot be read");
    return step == SQLITE_DONE ? 0 : store_fail(s, step, "blocks");
}
