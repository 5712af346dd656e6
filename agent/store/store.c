/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opening, transactions, single values and the journal. */
#include "agent/store/store.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/store/store_private.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"

enum { BUSY_TIMEOUT_MS = 5000 }; // only an administrator's sqlite3 shell can hold the database

static const char *const sql[STMT_COUNT] = {
    [STMT_BEGIN] = "BEGIN IMMEDIATE",
    [STMT_COMMIT] = "COMMIT",
    [STMT_ROLLBACK] = "ROLLBACK",
    [STMT_JOB_PUT] =
        "INSERT INTO jobs VALUES "
        "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
        " ON CONFLICT (id) DO UPDATE SET state=excluded.state, customer=excluded.customer,"
        " claim_block=excluded.claim_block, limit_min=excluded.limit_min, ntasks=excluded.ntasks,"
        " cpus_per_task=excluded.cpus_per_task, mem_per_cpu_mb=excluded.mem_per_cpu_mb,"
        " gpus=excluded.gpus, location_hash=excluded.location_hash, logger_url=excluded.logger_url,"
        " user=excluded.user, slurm_id=excluded.slurm_id, start_s=excluded.start_s,"
        " end_s=excluded.end_s, ran=excluded.ran, end_status=excluded.end_status,"
        " duration_s=excluded.duration_s, exit_code=excluded.exit_code, reason=excluded.reason,"
        " running_report=excluded.running_report, end_report=excluded.end_report,"
        " running_block_s=excluded.running_block_s, billed_min=excluded.billed_min,"
        " prev_slurm_id=excluded.prev_slurm_id, created_ms=excluded.created_ms,"
        " updated_ms=excluded.updated_ms,"
        " slurm_limit_min=excluded.slurm_limit_min, submit_s=excluded.submit_s,"
        " restarts=excluded.restarts, spent_s=excluded.spent_s, claim_at=excluded.claim_at,"
        " done_at=excluded.done_at",
    [STMT_JOB_GET] = "SELECT * FROM jobs WHERE id = ?",
    [STMT_JOBS_OPEN] = "SELECT * FROM jobs WHERE state <> 'DONE' ORDER BY created_ms, id",
    [STMT_JOBS_DONE] = "SELECT * FROM jobs WHERE state = 'DONE' AND done_at > ?",
    [STMT_SCRIPT_PUT] = "INSERT OR REPLACE INTO scripts VALUES (?,?)",
    [STMT_SCRIPT_GET] = "SELECT body FROM scripts WHERE job = ?",
    [STMT_SCRIPT_DROP] = "DELETE FROM scripts WHERE job = ?",
    [STMT_TOP_UP_ADD] = "INSERT OR IGNORE INTO top_ups VALUES (?,?,?,?)",
    [STMT_TOP_UPS_COUNT] = "SELECT count(*) FROM top_ups WHERE job = ?",
    [STMT_TOP_UPS_ABOVE] = "SELECT job, minutes FROM top_ups WHERE block > ?",
    [STMT_TOP_UPS_CUT] = "DELETE FROM top_ups WHERE block > ?",
    [STMT_CLAIMS_UNDO] = "UPDATE jobs SET claim_at = 9223372036854775807 WHERE claim_at > ?",
    [STMT_EARLY_ADD] = "INSERT OR IGNORE INTO early_events (at_ms, job, known, slurm_id, state,"
                       " wait_status, restarts, submit_s, start_s, end_s, ran_s, flags)"
                       " VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
    // The newest stay.
    [STMT_EARLY_TRIM_JOB] =
        "DELETE FROM early_events WHERE job = ?1 AND seq <= (SELECT seq FROM early_events"
        " WHERE job = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
    [STMT_EARLY_TRIM_UNKNOWN] =
        "DELETE FROM early_events WHERE known = 0 AND seq <= (SELECT seq FROM early_events"
        " WHERE known = 0 ORDER BY seq DESC LIMIT 1 OFFSET ?)",
    [STMT_EARLY_GET] = "SELECT slurm_id, state, wait_status, restarts, submit_s, start_s, end_s,"
                       " ran_s, flags FROM early_events WHERE job = ? ORDER BY seq",
    [STMT_EARLY_DROP] = "DELETE FROM early_events WHERE job = ?",
    [STMT_BILL_PUT] = "INSERT OR REPLACE INTO billing VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    [STMT_BILL_END] = "UPDATE billing SET start_s=?, end_s=?, duration_s=?, suspended_s=?"
                      " WHERE job=? AND claim_block=? AND end_s=0",
    [STMT_BILLS_SINCE] = "SELECT * FROM billing WHERE done_ms >= ? ORDER BY done_ms, job",
    [STMT_TX_WANT] =
        "INSERT INTO outbox (key, kind, state, job, data, block, reason, created_ms, updated_ms)"
        " VALUES (?1,?2,0,?3,?4,0,'',?5,?5)"
        " ON CONFLICT (key) DO UPDATE SET state=0, data=excluded.data, block=0, reason='',"
        " updated_ms=excluded.updated_ms WHERE outbox.state = 4 OR (?6 AND outbox.state > 1)",
    [STMT_TX_FIND] = "SELECT id FROM outbox WHERE key=?",
    [STMT_TX_UPDATE] = "UPDATE outbox SET state=?, block=?, reason=?, updated_ms=?,"
                       " block_hash=? WHERE id=?",
    [STMT_TXS_OPEN] = "SELECT id, key, kind, state, job, data, block, reason, block_hash"
                      " FROM outbox WHERE state < 2 ORDER BY id",
    [STMT_TXS_MINED] = "SELECT id, key, kind, state, job, data, block, reason, block_hash"
                       " FROM outbox WHERE state IN (2, 3) AND block > ? ORDER BY id",
    [STMT_TX_MINED_IN] = "SELECT block FROM outbox WHERE key=? AND state=2",
    [STMT_TX_DROP] = "DELETE FROM outbox WHERE id=?",
    [STMT_ATTEMPT_ADD] =
        "INSERT OR REPLACE INTO attempts"
        " (tx, hash, nonce, raw, eip1559, gas_limit, max_fee_wei, max_tip_wei, signed_ms)"
        " VALUES (?,?,?,?,?,?,?,?,?)",
    [STMT_ATTEMPT_MINED] = "UPDATE attempts SET cost_wei=?, mined_ms=? WHERE tx=? AND hash=?",
    [STMT_ATTEMPTS_UNMINE] = "UPDATE attempts SET cost_wei=NULL, mined_ms=NULL WHERE tx=?",
    [STMT_ATTEMPTS] = "SELECT hash, nonce, raw, eip1559, gas_limit, max_fee_wei, max_tip_wei"
                      " FROM attempts WHERE tx=? AND mined_ms IS NULL ORDER BY rowid",
    [STMT_NONCE_FIND] = "SELECT 1 FROM attempts WHERE nonce=? LIMIT 1",
    [STMT_COSTS] = "SELECT cost_wei FROM attempts WHERE mined_ms >= ?",
    [STMT_EVENT_ADD] = "INSERT INTO events (at_ms, job, event, from_state, to_state, detail)"
                       " VALUES (?,?,?,?,?,?)",
    [STMT_BLOCK_PUT] = "INSERT OR REPLACE INTO blocks VALUES (?,?)",
    [STMT_BLOCKS_CUT] = "DELETE FROM blocks WHERE number > ?",
    [STMT_BLOCKS_PRUNE] = "DELETE FROM blocks WHERE number < ?",
    [STMT_BLOCKS_LOAD] = "SELECT * FROM (SELECT number, hash FROM blocks ORDER BY number DESC"
                         " LIMIT ?) ORDER BY number",
    [STMT_META_GET] = "SELECT value FROM meta WHERE key = ?",
    [STMT_META_PUT] = "INSERT OR REPLACE INTO meta VALUES (?,?)",
    [STMT_PRUNE_EVENTS] = "DELETE FROM events WHERE job IN"
                          " (SELECT id FROM jobs WHERE state = 'DONE' AND updated_ms < ?)",
    [STMT_PRUNE_TXS] = "DELETE FROM outbox WHERE state >= 2 AND updated_ms < ?",
    [STMT_PRUNE_SCRIPTS] = "DELETE FROM scripts WHERE job IN"
                           " (SELECT id FROM jobs WHERE state = 'DONE')",
    [STMT_PRUNE_JOBS] = "DELETE FROM jobs WHERE state = 'DONE' AND updated_ms < ?",
    [STMT_PRUNE_EARLY] = "DELETE FROM early_events WHERE at_ms < ? AND job NOT IN"
                         " (SELECT id FROM jobs WHERE state <> 'DONE')",
    [STMT_PRUNE_BILLS] = "DELETE FROM billing WHERE done_ms < ?",
};

int store_fail(struct store *s, int sqlite_rc, const char *what)
{
    if (s->error) return s->error;
    s->error = sqlite_rc == SQLITE_CORRUPT || sqlite_rc == SQLITE_NOTADB ? ERR_CORRUPT
               : sqlite_rc == SQLITE_TOOBIG                              ? ERR_LIMIT
                                                                         : ERR_IO;
    (void)snprintf(s->text,
                   sizeof(s->text),
                   "store: %s: %s",
                   what,
                   sqlite_rc == SQLITE_TOOBIG ? "value out of range" : sqlite3_errmsg(s->db));
    return s->error;
}

int store_run(struct store *s, enum store_stmt which, const char *what)
{
    sqlite3_stmt *st = s->stmt[which];
    int rc = s->error;
    if (rc == 0) {
        int step = sqlite3_step(st);
        if (step != SQLITE_DONE && step != SQLITE_ROW) rc = store_fail(s, step, what);
    }
    (void)sqlite3_reset(st);
    (void)sqlite3_clear_bindings(st);
    return rc;
}

int store_find_u64(
    struct store *s, enum store_stmt which, const char *key, uint64_t *v, const char *what)
{
    sqlite3_stmt *st = s->stmt[which];
    (void)sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    int step = sqlite3_step(st);
    if (step == SQLITE_ROW) *v = (uint64_t)sqlite3_column_int64(st, 0);
    (void)sqlite3_reset(st);
    return step == SQLITE_ROW ? 0 : step == SQLITE_DONE ? ERR_NOTFOUND : store_fail(s, step, what);
}

void store_bind_u64(struct store *s, sqlite3_stmt *st, int column, uint64_t v)
{
    if (v > INT64_MAX) {
        (void)store_fail(s, SQLITE_TOOBIG, "integer");
        v = 0;
    }
    (void)sqlite3_bind_int64(st, column, (sqlite3_int64)v);
}

int store_column_text(sqlite3_stmt *st, int column, char *out, size_t size)
{
    const unsigned char *text = sqlite3_column_text(st, column);
    size_t len = (size_t)sqlite3_column_bytes(st, column);
    if (!text || len >= size || memchr(text, '\0', len)) return ERR_CORRUPT;
    memcpy(out, text, len + 1);
    return 0;
}

int store_column_blob(sqlite3_stmt *st, int column, uint8_t *out, size_t len)
{
    const void *data = sqlite3_column_blob(st, column);
    if (!data) {
        memset(out, 0, len);
        return 0;
    }
    if ((size_t)sqlite3_column_bytes(st, column) != len) return ERR_CORRUPT;
    memcpy(out, data, len);
    return 0;
}

static int prepare_all(struct store *s, struct error *err)
{
    for (int i = 0; i < STMT_COUNT; i++)
        if (sqlite3_prepare_v3(s->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->stmt[i], NULL) !=
            SQLITE_OK)
            return error_set(err, ERR_CORRUPT, "store: %s", sqlite3_errmsg(s->db));
    return 0;
}

static int
open_file(struct store *s, const char *dir, int flags, char path[PATH_MAX], struct error *err)
{
    if (snprintf(path, PATH_MAX, "%s/agent.db", dir) >= PATH_MAX)
        return error_set(err, ERR_LIMIT, "%s: path too long", dir);
    mode_t old = umask(0077); // SQLite gives -wal and -shm the database's mode
    int rc =
        sqlite3_open_v2(path, &s->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);
    (void)umask(old);
    if (rc != SQLITE_OK)
        return error_set(
            err, ERR_IO, "%s: %s", path, s->db ? sqlite3_errmsg(s->db) : "out of memory");
    (void)sqlite3_extended_result_codes(s->db, 0);
    (void)sqlite3_busy_timeout(s->db, BUSY_TIMEOUT_MS);
    return 0;
}

static int open_database(struct store *s, const char *dir, struct error *err)
{
    char path[PATH_MAX];
    int rc = open_file(s, dir, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, path, err);
    if (rc < 0) return rc;
    rc = store_schema_apply(s->db, err);
    if (rc < 0) return error_prefix(err, "%s", path);
    return prepare_all(s, err);
}

struct store *store_open(const char *dir, struct error *err)
{
    struct store *s = calloc(1, sizeof(*s));
    if (!s) {
        (void)error_set(err, ERR_NOMEM, "store: out of memory");
        return NULL;
    }
    s->lock_fd = store_lock(dir, err);
    if (s->lock_fd < 0 || open_database(s, dir, err) < 0) return store_close(s);
    return s;
}

struct store *store_open_readonly(const char *dir, struct error *err)
{
    char path[PATH_MAX];
    struct store *s = calloc(1, sizeof(*s));
    if (!s) {
        (void)error_set(err, ERR_NOMEM, "store: out of memory");
        return NULL;
    }
    s->lock_fd = -1;
    if (open_file(s, dir, SQLITE_OPEN_READONLY, path, err) < 0) return store_close(s);
    int rc = store_schema_check(s->db, err);
    if (rc < 0) (void)error_prefix(err, "%s", path);
    if (rc < 0 || prepare_all(s, err) < 0) return store_close(s);
    return s;
}

struct store *store_close(struct store *s)
{
    if (!s) return NULL;
    for (int i = 0; i < STMT_COUNT; i++)
        (void)sqlite3_finalize(s->stmt[i]);
    (void)sqlite3_close(s->db);
    if (s->lock_fd >= 0) (void)close(s->lock_fd);
    free(s);
    return NULL;
}

int store_begin(struct store *s)
{
    s->error = 0;
    s->text[0] = '\0';
    return store_run(s, STMT_BEGIN, "begin");
}

int store_commit(struct store *s, struct error *err)
{
    fault_point(FAULT_COMMIT_BEFORE);
    int rc = s->error ? s->error : store_run(s, STMT_COMMIT, "commit");
    fault_point(FAULT_COMMIT_AFTER);
    if (rc == 0) return 0;
    (void)error_set(err, rc, "%s", s->text);
    s->error = 0;
    (void)store_run(s, STMT_ROLLBACK, "rollback");
    return rc;
}

int store_event_add(struct store *s,
                    const char *job,
                    const char *event,
                    enum job_state from,
                    enum job_state to,
                    const char *detail)
{
    sqlite3_stmt *st = s->stmt[STMT_EVENT_ADD];
    (void)sqlite3_bind_int64(st, 1, clock_wall_ms());
    (void)sqlite3_bind_text(st, 2, job, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(st, 3, event, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(st, 4, job_state_name(from), -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(st, 5, job_state_name(to), -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(st, 6, detail ? detail : "", -1, SQLITE_STATIC);
    return store_run(s, STMT_EVENT_ADD, "event");
}

int store_meta_get_u64(struct store *s, const char *key, uint64_t *value)
{
    sqlite3_stmt *st = s->stmt[STMT_META_GET];
    (void)sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    int step = sqlite3_step(st);
    int rc = 0;
    if (step == SQLITE_ROW && sqlite3_column_type(st, 0) == SQLITE_INTEGER)
        *value = (uint64_t)sqlite3_column_int64(st, 0);
    else
        rc = step == SQLITE_DONE || step == SQLITE_ROW ? ERR_NOTFOUND : store_fail(s, step, key);
    (void)sqlite3_reset(st);
    return rc;
}

int store_meta_put_u64(struct store *s, const char *key, uint64_t value)
{
    sqlite3_stmt *st = s->stmt[STMT_META_PUT];
    (void)sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    store_bind_u64(s, st, 2, value);
    return store_run(s, STMT_META_PUT, key);
}

/* The bound text, or ERR_NOTFOUND. */
static int meta_get_text(struct store *s, const char *key, char *out, size_t size)
{
    sqlite3_stmt *st = s->stmt[STMT_META_GET];
    (void)sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    int step = sqlite3_step(st);
    int rc = step == SQLITE_ROW    ? store_column_text(st, 0, out, size)
             : step == SQLITE_DONE ? ERR_NOTFOUND
                                   : store_fail(s, step, key);
    (void)sqlite3_reset(st);
    return rc;
}

int store_bind(struct store *s, const char *key, const char *value, struct error *err)
{
    char old[256];
    int rc = meta_get_text(s, key, old, sizeof(old));
    if (rc == 0 && strcmp(old, value) == 0) return 0;
    if (rc == 0)
        return error_set(
            err, ERR_DENIED, "the state directory belongs to %s %s, not %s", key, old, value);
    if (rc != ERR_NOTFOUND) return error_set(err, rc, "%s", s->text);
    (void)store_begin(s);
    sqlite3_stmt *st = s->stmt[STMT_META_PUT];
    (void)sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(st, 2, value, -1, SQLITE_STATIC);
    (void)store_run(s, STMT_META_PUT, key);
    return store_commit(s, err);
}

int store_prune(struct store *s, int64_t before_ms)
{
    static const enum store_stmt all[] = {
        STMT_PRUNE_EVENTS, STMT_PRUNE_TXS, STMT_PRUNE_SCRIPTS, STMT_PRUNE_JOBS};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i] != STMT_PRUNE_SCRIPTS) (void)sqlite3_bind_int64(s->stmt[all[i]], 1, before_ms);
        (void)store_run(s, all[i], "prune");
    }
    return s->error;
}
