/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Shared by the files of agent/store only. */
#ifndef STORE_STORE_PRIVATE_H
#define STORE_STORE_PRIVATE_H

#include <sqlite3.h>

#include "agent/store/store.h"

enum store_stmt {
    STMT_BEGIN = 0,
    STMT_COMMIT,
    STMT_ROLLBACK,
    STMT_JOB_PUT,
    STMT_JOB_GET,
    STMT_JOBS_OPEN,
    STMT_JOBS_DONE,
    STMT_SCRIPT_PUT,
    STMT_SCRIPT_GET,
    STMT_SCRIPT_DROP,
    STMT_TOP_UP_ADD,
    STMT_TOP_UPS_COUNT,
    STMT_TOP_UPS_ABOVE,
    STMT_TOP_UPS_CUT,
    STMT_CLAIMS_UNDO,
    STMT_EARLY_ADD,
    STMT_EARLY_TRIM_JOB,
    STMT_EARLY_TRIM_UNKNOWN,
    STMT_EARLY_GET,
    STMT_EARLY_DROP,
    STMT_BILL_PUT,
    STMT_BILL_END,
    STMT_BILLS_SINCE,
    STMT_TX_WANT,
    STMT_TX_FIND,
    STMT_TX_UPDATE,
    STMT_TX_DROP,
    STMT_TXS_OPEN,
    STMT_TXS_MINED,
    STMT_TX_MINED_IN,
    STMT_ATTEMPT_ADD,
    STMT_ATTEMPT_MINED,
    STMT_ATTEMPTS_UNMINE,
    STMT_ATTEMPTS,
    STMT_NONCE_FIND,
    STMT_COSTS,
    STMT_EVENT_ADD,
    STMT_BLOCK_PUT,
    STMT_BLOCKS_CUT,
    STMT_BLOCKS_PRUNE,
    STMT_BLOCKS_LOAD,
    STMT_META_GET,
    STMT_META_PUT,
    STMT_PRUNE_EVENTS,
    STMT_PRUNE_TXS,
    STMT_PRUNE_SCRIPTS,
    STMT_PRUNE_JOBS,
    STMT_PRUNE_EARLY,
    STMT_PRUNE_BILLS,
    STMT_COUNT,
};

struct store {
    sqlite3 *db;
    sqlite3_stmt *stmt[STMT_COUNT];
    int lock_fd;
    int error;      // the transaction's first error; 0 = none
    char text[256]; // its text
    bool in_transaction;
};

/* Take the directory's lock: its descriptor, or ERR_BUSY naming the holder's pid. */
int store_lock(const char *dir, struct error *err);

/* Bring an open database to this program's schema; checks its integrity first. */
int store_schema_apply(sqlite3 *db, struct error *err);

/* Is the schema of an open database, which is not changed, this program's? ERR_UNSUPPORTED. */
int store_schema_check(sqlite3 *db, struct error *err);

/* Remember the first error of the transaction, with SQLite's text. Returns it. */
int store_fail(struct store *s, int sqlite_rc, const char *what);

/* Run a bound statement that returns no rows, and reset it. */
int store_run(struct store *s, enum store_stmt which, const char *what);

/* The number that a statement finds for a key. ERR_NOTFOUND: no row. */
int store_find_u64(
    struct store *s, enum store_stmt which, const char *key, uint64_t *v, const char *what);

/* SQLite's integers are signed: ERR_LIMIT sticks if `v` does not fit. */
void store_bind_u64(struct store *s, sqlite3_stmt *st, int column, uint64_t v);

/* Copy a text column; ERR_CORRUPT if it is no text or too long. */
int store_column_text(sqlite3_stmt *st, int column, char *out, size_t size);

/* Copy a blob column of exactly `len` bytes (NULL: zeros). */
int store_column_blob(sqlite3_stmt *st, int column, uint8_t *out, size_t len);

#endif
