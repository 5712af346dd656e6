/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The schema and its migrations: PRAGMA user_version counts the entries of `migrations` that were
 * applied. An entry is never changed after a release; a new one is added.
 */
#include <stdio.h>

#include "agent/store/store_private.h"
#include "agent/util/fault.h"

static const char *const migrations[] = {
    /* 1: the first schema. Times are milliseconds since the epoch, block times seconds. */
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE jobs ("
    " id TEXT PRIMARY KEY, state TEXT NOT NULL, customer BLOB NOT NULL, claim_block INTEGER NOT "
    "NULL,"
    " limit_min INTEGER NOT NULL, ntasks INTEGER NOT NULL, cpus_per_task INTEGER NOT NULL,"
    " mem_per_cpu_mb INTEGER NOT NULL, gpus INTEGER NOT NULL, location_hash TEXT NOT NULL,"
    " logger_url TEXT NOT NULL, user TEXT NOT NULL, slurm_id INTEGER NOT NULL,"
    " start_s INTEGER NOT NULL, end_s INTEGER NOT NULL, ran INTEGER NOT NULL,"
    " end_status INTEGER NOT NULL, duration_s INTEGER NOT NULL, exit_code INTEGER NOT NULL,"
    " reason TEXT NOT NULL, running_report INTEGER NOT NULL, end_report INTEGER NOT NULL,"
    " running_block_s INTEGER NOT NULL, billed_min INTEGER NOT NULL,"
    " prev_slurm_id INTEGER NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL) "
    "WITHOUT ROWID;"
    "CREATE INDEX jobs_open ON jobs (state) WHERE state <> 'DONE';"
    "CREATE TABLE scripts (job TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE, body BLOB "
    "NOT NULL);"
    "CREATE TABLE outbox ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, state INTEGER NOT NULL,"
    " job TEXT REFERENCES jobs (id) ON DELETE CASCADE, data BLOB NOT NULL, nonce INTEGER,"
    " hash BLOB, raw BLOB, block INTEGER NOT NULL, reason TEXT NOT NULL,"
    " created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL,"
    " CHECK ((state = 1) <= (nonce IS NOT NULL AND hash IS NOT NULL AND raw IS NOT NULL)));"
    "CREATE INDEX outbox_open ON outbox (state) WHERE state < 2;"
    "CREATE UNIQUE INDEX outbox_nonce ON outbox (nonce) WHERE state = 1;"
    "CREATE TABLE events ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, job TEXT NOT NULL,"
    " event TEXT NOT NULL, from_state TEXT NOT NULL, to_state TEXT NOT NULL, detail TEXT NOT NULL);"
    "CREATE INDEX events_job ON events (job);",

    /* 2: top-ups, each once: receipts and logs tell the same one. */
    "ALTER TABLE jobs ADD COLUMN slurm_limit_min INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE top_ups ("
    " block INTEGER NOT NULL, log_index INTEGER NOT NULL,"
    " job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, minutes INTEGER NOT NULL,"
    " PRIMARY KEY (block, log_index)) WITHOUT ROWID;",

    /* blocks whose logs were read: a reorganisation shows in their hashes. */
    "CREATE TABLE blocks (number INTEGER PRIMARY KEY, hash BLOB NOT NULL);",

    /* when Slurm took the job: ids come again after a lost state of slurmctld. */
    "ALTER TABLE jobs ADD COLUMN submit_s INTEGER NOT NULL DEFAULT 0;",

    /* attempts, and events that cannot be taken yet. */
    "ALTER TABLE jobs ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE jobs ADD COLUMN spent_s INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE early_events ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, job TEXT NOT NULL,"
    " known INTEGER NOT NULL, slurm_id INTEGER NOT NULL, state INTEGER NOT NULL,"
    " wait_status INTEGER NOT NULL, restarts INTEGER NOT NULL, submit_s INTEGER NOT NULL,"
    " start_s INTEGER NOT NULL, end_s INTEGER NOT NULL, ran_s INTEGER NOT NULL,"
    " flags INTEGER NOT NULL,"
    " UNIQUE (job, slurm_id, state, wait_status, restarts, end_s, flags));"
    "CREATE INDEX early_events_unknown ON early_events (seq) WHERE known = 0;",

    /*
     * outbox: each call has a key that says what it is to do once; the signed forms of a call, of
     * which there may be several, are rows of their own and stay after it is mined. Amounts are wei
     * in decimal.
     */
    "CREATE TABLE outbox3 ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL,"
    " state INTEGER NOT NULL, job TEXT REFERENCES jobs (id) ON DELETE CASCADE, data BLOB NOT NULL,"
    " block INTEGER NOT NULL, reason TEXT NOT NULL, created_ms INTEGER NOT NULL,"
    " updated_ms INTEGER NOT NULL);"
    "CREATE TABLE attempts ("
    " tx INTEGER NOT NULL REFERENCES outbox3 (id) ON DELETE CASCADE, hash BLOB NOT NULL,"
    " nonce INTEGER NOT NULL, raw BLOB NOT NULL, eip1559 INTEGER NOT NULL,"
    " gas_limit INTEGER NOT NULL, max_fee_wei TEXT NOT NULL, max_tip_wei TEXT NOT NULL,"
    " signed_ms INTEGER NOT NULL, mined_ms INTEGER, cost_wei TEXT, PRIMARY KEY (tx, hash));"
    "INSERT INTO outbox3 SELECT id, 'old/' || id, kind, state, job, data, block, reason,"
    " created_ms, updated_ms FROM outbox;"
    "INSERT INTO attempts SELECT id, hash, nonce, raw, 1, 0, '0', '0', updated_ms,"
    " CASE WHEN state > 1 THEN updated_ms END, CASE WHEN state > 1 THEN '0' END"
    " FROM outbox WHERE nonce IS NOT NULL;"
    "DROP TABLE outbox;"
    "ALTER TABLE outbox3 RENAME TO outbox;"
    "CREATE INDEX outbox_open ON outbox (state) WHERE state < 2;"
    "CREATE INDEX attempts_nonce ON attempts (nonce);"
    "CREATE INDEX attempts_mined ON attempts (mined_ms) WHERE mined_ms IS NOT NULL;",

    /* what a reorganisation takes back: where claims and transactions are. */
    "ALTER TABLE jobs ADD COLUMN claim_at INTEGER NOT NULL DEFAULT 0;"
    "UPDATE jobs SET claim_at = claim_block;"
    "ALTER TABLE outbox ADD COLUMN block_hash BLOB;"
    "CREATE INDEX outbox_mined ON outbox (block) WHERE state IN (2, 3);",

    /* what was billed. No reference to jobs: these rows outlive them. */
    "CREATE TABLE billing ("
    " job TEXT NOT NULL, claim_block INTEGER NOT NULL, user TEXT NOT NULL,"
    " slurm_id INTEGER NOT NULL, limit_min INTEGER NOT NULL,"
    " start_s INTEGER NOT NULL, end_s INTEGER NOT NULL, duration_s INTEGER NOT NULL,"
    " suspended_s INTEGER NOT NULL, status INTEGER, minutes INTEGER,"
    " chain_status INTEGER, chain_start_s INTEGER, chain_end_s INTEGER, billed_min INTEGER,"
    " cost_wei TEXT, done_ms INTEGER NOT NULL, PRIMARY KEY (job, claim_block)) WITHOUT ROWID;"
    "CREATE INDEX billing_done ON billing (done_ms);",

    /* which jobs a reorganisation may take up again. */
    ("ALTER TABLE jobs ADD COLUMN done_at INTEGER NOT NULL DEFAULT 0;"
     "CREATE INDEX jobs_done ON jobs (done_at) WHERE state = 'DONE';"),
};

enum { SCHEMA_VERSION = sizeof(migrations) / sizeof(migrations[0]) };

static int exec(sqlite3 *db, const char *sql, struct error *err)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK) return 0;
    int code = sqlite3_errcode(db);
    bool damaged = code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
    return error_set(err, damaged ? ERR_CORRUPT : ERR_IO, "store: %s", sqlite3_errmsg(db));
}

/* One row, one column. */
static int query_text(sqlite3 *db, const char *sql, char *out, size_t size, struct error *err)
{
    sqlite3_stmt *st = NULL;
    int rc = ERR_CORRUPT;
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW) {
        const unsigned char *text = sqlite3_column_text(st, 0);
        (void)snprintf(out, size, "%s", text ? (const char *)text : "");
        rc = 0;
    } else {
        (void)error_set(err, ERR_CORRUPT, "store: %s", sqlite3_errmsg(db));
    }
    sqlite3_finalize(st);
    return rc;
}

/* quick_check tells of damage in its rows, not in its return code. */
static int check_integrity(sqlite3 *db, struct error *err)
{
    char text[200];
    int rc = query_text(db, "PRAGMA quick_check(1)", text, sizeof(text), err);
    if (rc < 0) return rc;
    if (sqlite3_stricmp(text, "ok") != 0)
        return error_set(err, ERR_CORRUPT, "store: the integrity check found damage: %s", text);
    return 0;
}

static int migrate(sqlite3 *db, int from, struct error *err)
{
    char sql[64];
    int rc = exec(db, "BEGIN IMMEDIATE", err);
    for (int v = from; rc == 0 && v < SCHEMA_VERSION; v++)
        rc = exec(db, migrations[v], err);
    if (rc == 0) {
        (void)snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", SCHEMA_VERSION);
        rc = exec(db, sql, err);
    }
    fault_point(FAULT_MIGRATE_BEFORE);
    if (rc == 0) rc = exec(db, "COMMIT", err);
    fault_point(FAULT_MIGRATE_AFTER);
    if (rc < 0) (void)exec(db, "ROLLBACK", NULL);
    return rc;
}

/*
 * Move what the last process left in the WAL into the database. If that process ended because an
 * fsync() failed, its WAL can be read and may yet never reach the disk: what we would append to it
 * would be lost with it when the power fails. Here it is written anew.
 */
static int settle_wal(sqlite3 *db, struct error *err)
{
    fault_point(FAULT_CHECKPOINT_BEFORE);
    int rc = exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", err);
    fault_point(FAULT_CHECKPOINT_AFTER);
    return rc;
}

static int read_version(sqlite3 *db, int *version, struct error *err)
{
    char text[32];
    int rc = query_text(db, "PRAGMA user_version", text, sizeof(text), err);
    if (rc < 0) return rc;
    *version = 0;
    (void)sscanf(text, "%d", version);
    return 0;
}

int store_schema_check(sqlite3 *db, struct error *err)
{
    int version, rc = read_version(db, &version, err);
    if (rc < 0 || version == SCHEMA_VERSION) return rc;
    return error_set(err,
                     ERR_UNSUPPORTED,
                     "store: schema version %d, this program's is %d: start the agent once, or use "
                     "the newer program",
                     version,
                     (int)SCHEMA_VERSION);
}

int store_schema_apply(sqlite3 *db, struct error *err)
{
    int version = 0;
    int rc =
        exec(db,
             "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
             "PRAGMA secure_delete = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON",
             err);
    if (rc < 0) return rc;
    rc = check_integrity(db, err);
    if (rc == 0) rc = settle_wal(db, err);
    if (rc < 0) return rc;
    rc = read_version(db, &version, err);
    if (rc < 0) return rc;
    if (version > SCHEMA_VERSION)
        return error_set(err,
                         ERR_UNSUPPORTED,
                         "store: schema version %d is newer than this program's %d: use the newer "
                         "deepsquare-agent",
                         version,
                         (int)SCHEMA_VERSION);
    return version < SCHEMA_VERSION ? migrate(db, version, err) : 0;
}
