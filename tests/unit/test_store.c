/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The store: rows come back as they were put, also by another process; damage and locks are told.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "agent/store/store.h"

static char dir[64];

static void in_dir(char *path, size_t size, const char *name)
{
    snprintf(path, size, "%s/%s", dir, name);
}

static int setup(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/test_store.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    static const char *const names[] = {"agent.db", "agent.db-wal", "agent.db-shm", "lock"};
    char path[128];
    for (size_t i = 0; i < 4; i++) {
        in_dir(path, sizeof(path), names[i]);
        (void)unlink(path);
    }
    return rmdir(dir);
}

static struct store *must_open(void)
{
    struct error err = {0};
    struct store *s = store_open(dir, &err);
    if (!s) fail_msg("%s", err.text);
    return s;
}

static void must_commit(struct store *s)
{
    struct error err = {0};
    if (store_commit(s, &err) < 0) fail_msg("%s", err.text);
}

static struct job sample_job(int n)
{
    struct job j = {
        .state = JOB_RUNNING,
        .claim_block = 7,
        .claim_at = 8,
        .done_at = 9,
        .limit_min = 60,
        .slurm_limit_min = 59,
        .submit_s = 1699999990,
        .ntasks = 2,
        .cpus_per_task = 3,
        .mem_per_cpu_mb = 4,
        .gpus = 5,
        .slurm_id = 42,
        .prev_slurm_id = 41,
        .restarts = 2,
        .spent_s = 77,
        .start_s = 1000,
        .end_s = 2000,
        .ran = true,
        .end_status = 5,
        .duration_s = 999,
        .exit_code = 3,
        .running_report = REPORT_DONE,
        .end_report = REPORT_PENDING,
        .running_block_s = 1001,
        .billed_min = 17,
        .created_ms = 123456,
    };
    snprintf(j.id, sizeof(j.id), "0x%064x", n);
    memset(j.customer, 0xab, sizeof(j.customer));
    snprintf(j.location_hash, sizeof(j.location_hash), "hash'; DROP TABLE jobs; --");
    snprintf(j.logger_url, sizeof(j.logger_url), "logger:443");
    snprintf(j.user, sizeof(j.user), "alice");
    snprintf(j.reason, sizeof(j.reason), "why \"not\"");
    return j;
}

static void collect(void *ctx, const struct job *job)
{
    *(struct job *)ctx = *job;
}

static void test_job_survives(void **state)
{
    struct job put = sample_job(1), got;
    size_t unreadable;
    struct store *s = must_open();
    store_begin(s);
    assert_int_equal(store_job_put(s, &put), 0);
    must_commit(s);
    store_close(s);

    s = must_open();
    assert_int_equal(store_job_get(s, put.id, &got), 0);
    assert_true(got.updated_ms > 0);
    got.updated_ms = 0;
    assert_memory_equal(&got, &put, sizeof(got));
    memset(&got, 0, sizeof(got));
    assert_int_equal(store_jobs_open(s, collect, &got, &unreadable), 0);
    assert_string_equal(got.id, put.id);
    assert_int_equal(unreadable, 0);
    assert_int_equal(store_job_get(s, "0xnone", &got), ERR_NOTFOUND);

    // The second put changes the row and keeps it one; DONE jobs are not open.
    put.state = JOB_DONE;
    store_begin(s);
    store_job_put(s, &put);
    must_commit(s);
    memset(&got, 0, sizeof(got));
    assert_int_equal(store_jobs_open(s, collect, &got, &unreadable), 0);
    assert_string_equal(got.id, "");
    assert_int_equal(store_job_get(s, put.id, &got), 0);
    assert_int_equal(got.state, JOB_DONE);
    store_close(s);
}

static void test_rollback_of_a_failed_turn(void **state)
{
    struct error err = {0};
    struct job bad = sample_job(2), good = sample_job(3), got;
    struct store *s = must_open();
    bad.limit_min = UINT64_MAX; // does not fit SQLite's integers: sticks
    store_begin(s);
    store_job_put(s, &good);
    assert_int_equal(store_job_put(s, &bad), ERR_LIMIT);
    assert_int_equal(store_meta_put_u64(s, "cursor", 9), ERR_LIMIT);
    assert_int_equal(store_commit(s, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "out of range"));
    assert_int_equal(store_job_get(s, good.id, &got), ERR_NOTFOUND);
    uint64_t v;
    assert_int_equal(store_meta_get_u64(s, "cursor", &v), ERR_NOTFOUND);
    store_begin(s); // the store is usable again
    store_job_put(s, &good);
    must_commit(s);
    assert_int_equal(store_job_get(s, good.id, &got), 0);
    store_close(s);
}

static void test_scripts(void **state)
{
    static const char body[] = "#!/bin/sh\n\xff\x01 exit 3\n";
    struct job job = sample_job(4);
    struct buf b = BUF_INIT(1 << 20), small = BUF_INIT(3);
    struct store *s = must_open();
    store_begin(s);
    store_job_put(s, &job);
    store_script_put(s, job.id, body, sizeof(body) - 1);
    must_commit(s);
    assert_int_equal(store_script_get(s, job.id, &b), 0);
    assert_int_equal(b.len, sizeof(body) - 1);
    assert_memory_equal(b.data, body, b.len);
    assert_int_equal(store_script_get(s, job.id, &small), ERR_LIMIT);
    store_begin(s);
    store_script_drop(s, job.id);
    must_commit(s);
    assert_int_equal(store_script_get(s, job.id, &b), ERR_NOTFOUND);
    buf_free(&b);
    store_close(s);
}

static void test_top_ups_count_once(void **state)
{
    struct job job = sample_job(12);
    struct store *s = must_open();
    store_begin(s);
    store_job_put(s, &job);
    assert_int_equal(store_top_up_add(s, job.id, 7, 0, 30), 0);
    assert_int_equal(store_top_up_add(s, job.id, 7, 0, 30), ERR_EXISTS);
    assert_int_equal(store_top_up_add(s, job.id, 7, 1, 30), 0);
    must_commit(s);
    store_close(s);
    s = must_open();
    store_begin(s);
    assert_int_equal(store_top_up_add(s, job.id, 7, 1, 30), ERR_EXISTS);
    must_commit(s);
    store_close(s);
}

static struct tx open_txs[8];
static size_t open_count;

static void collect_tx(void *ctx, const struct tx *tx)
{
    assert_true(open_count < 8);
    open_txs[open_count++] = *tx;
}

/* How many are open. */
static size_t read_txs(struct store *s)
{
    size_t unreadable;
    open_count = 0;
    assert_int_equal(store_txs_open(s, collect_tx, NULL, &unreadable), 0);
    assert_int_equal(unreadable, 0);
    return open_count;
}

static struct tx sample_tx(const char *key, const struct job *job)
{
    struct tx tx = {.kind = job ? TX_END : TX_CLAIM, .data = {1, 2, 3}, .data_len = 3};
    snprintf(tx.key, sizeof(tx.key), "%s", key);
    if (job) memcpy(tx.job, job->id, sizeof(tx.job));
    return tx;
}

static void close_tx(struct store *s, struct tx *tx, enum tx_state state)
{
    tx->state = state;
    store_begin(s);
    assert_int_equal(store_tx_update(s, tx), 0);
    must_commit(s);
}

static void test_transactions(void **state)
{
    struct job job = sample_job(5);
    struct tx claim = sample_tx("claimNextJob/5/0", NULL), end = sample_tx("end/5/7", &job);
    struct store *s = must_open();
    store_begin(s);
    store_job_put(s, &job);
    assert_int_equal(store_tx_want(s, &claim, false), 0);
    assert_int_equal(store_tx_want(s, &end, true), 0);
    assert_true(end.id > claim.id);
    end.state = TX_SIGNED;
    assert_int_equal(store_tx_update(s, &end), 0);
    must_commit(s);
    store_close(s);

    s = must_open();
    assert_int_equal(read_txs(s), 2);
    assert_memory_equal(&open_txs[0], &claim, sizeof(claim));
    assert_memory_equal(&open_txs[1], &end, sizeof(end));
    end.block = 12;
    close_tx(s, &end, TX_MINED);
    assert_int_equal(read_txs(s), 1);
    store_begin(s);
    assert_int_equal(store_tx_drop(s, claim.id), 0);
    must_commit(s);
    assert_int_equal(read_txs(s), 0);
    store_close(s);
}

/* What is to be done once cannot be asked for twice. */
static void test_an_intent_exists_once(void **state)
{
    struct job job = sample_job(5);
    struct tx end = sample_tx("end/5/7", &job), twin = end, claim = sample_tx("claim/5/0", NULL);
    struct store *s = must_open();
    store_begin(s);
    store_job_put(s, &job);
    assert_int_equal(store_tx_want(s, &end, true), 0);
    assert_int_equal(store_tx_want(s, &twin, true), ERR_EXISTS);
    assert_int_equal(store_tx_want(s, &claim, false), 0);
    must_commit(s);
    close_tx(s, &end, TX_SIGNED);
    store_begin(s);
    assert_int_equal(store_tx_want(s, &twin, true), ERR_EXISTS);
    must_commit(s);
    assert_int_equal(read_txs(s), 2);

    // Rejected: the same row is wanted again, with what is known by then.
    snprintf(end.reason, sizeof(end.reason), "because");
    close_tx(s, &end, TX_REJECTED);
    twin.data[0] = 99;
    store_begin(s);
    assert_int_equal(store_tx_want(s, &twin, false), 0);
    must_commit(s);
    assert_int_equal(twin.id, end.id);
    assert_int_equal(read_txs(s), 2);
    assert_memory_equal(&open_txs[0], &twin, sizeof(twin));

    // One that was mined only if that is asked for.
    close_tx(s, &claim, TX_MINED);
    close_tx(s, &twin, TX_REVERTED);
    store_begin(s);
    assert_int_equal(store_tx_want(s, &claim, false), ERR_EXISTS);
    assert_int_equal(store_tx_want(s, &end, true), 0);
    must_commit(s);
    assert_int_equal(end.id, twin.id);
    assert_int_equal(read_txs(s), 1);
    store_close(s);
}

static struct tx_attempt seen_attempts[4];
static size_t attempt_count;

static void collect_attempt(void *ctx, const struct tx_attempt *a)
{
    assert_true(attempt_count < 4);
    seen_attempts[attempt_count++] = *a;
}

static size_t read_attempts(struct store *s, uint64_t tx)
{
    attempt_count = 0;
    assert_int_equal(store_attempts(s, tx, collect_attempt, NULL), 0);
    return attempt_count;
}

static struct tx_attempt sample_attempt(uint8_t n)
{
    struct tx_attempt a = {.nonce = n, .eip1559 = true, .gas_limit = 5, .raw_len = 3};
    memset(a.hash, n, sizeof(a.hash));
    memset(a.raw, 0xe0 + n, 3);
    snprintf(a.max_fee_wei, sizeof(a.max_fee_wei), "115792089237316195423570985008687907853");
    snprintf(a.max_tip_wei, sizeof(a.max_tip_wei), "%d", n);
    return a;
}

static void add_costs(void *ctx, const char *cost_wei)
{
    strcat(ctx, cost_wei);
    strcat(ctx, " ");
}

static void test_attempts(void **state)
{
    struct tx claim = sample_tx("claim/5/0", NULL), other = sample_tx("claim/5/1", NULL);
    struct tx_attempt first = sample_attempt(1), second = sample_attempt(2);
    char costs[100] = "";
    struct store *s = must_open();
    store_begin(s);
    store_tx_want(s, &claim, false);
    store_tx_want(s, &other, false);
    assert_int_equal(store_attempt_add(s, claim.id, &first), 0);
    assert_int_equal(store_attempt_add(s, claim.id, &second), 0);
    assert_int_equal(store_attempt_add(s, other.id, &first), 0); // the same bytes: that can be
    must_commit(s);
    store_close(s);

    s = must_open();
    assert_int_equal(read_attempts(s, claim.id), 2);
    assert_memory_equal(&seen_attempts[0], &first, sizeof(first));
    assert_memory_equal(&seen_attempts[1], &second, sizeof(second));
    assert_true(store_nonce_is_ours(s, 1));
    assert_true(store_nonce_is_ours(s, 2));
    assert_false(store_nonce_is_ours(s, 3));

    // The same form again is the last one, and once.
    store_begin(s);
    store_attempt_add(s, claim.id, &first);
    must_commit(s);
    assert_int_equal(read_attempts(s, claim.id), 2);
    assert_memory_equal(&seen_attempts[1], &first, sizeof(first));

    // What was mined is no attempt any more, and what it cost is known.
    store_begin(s);
    assert_int_equal(store_attempt_mined(s, claim.id, first.hash, "123456789012345678901"), 0);
    assert_int_equal(store_attempt_mined(s, other.id, first.hash, "7"), 0);
    must_commit(s);
    assert_int_equal(read_attempts(s, claim.id), 1);
    assert_memory_equal(&seen_attempts[0], &second, sizeof(second));
    assert_true(store_nonce_is_ours(s, 1));
    assert_int_equal(store_costs_since(s, 0, add_costs, costs), 0);
    assert_int_equal(strlen(costs), strlen("123456789012345678901 7 ")); // in any order
    assert_non_null(strstr(costs, "123456789012345678901 "));
    costs[0] = '\0';
    assert_int_equal(store_costs_since(s, INT64_MAX, add_costs, costs), 0);
    assert_string_equal(costs, "");
    store_close(s);
}

static void run_sql(const char *sql)
{
    char path[128];
    char *why = NULL;
    sqlite3 *db;
    in_dir(path, sizeof(path), "agent.db");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK) fail_msg("%s", why);
    sqlite3_close(db);
}

static void test_an_unreadable_transaction_is_left_alone(void **state)
{
    struct tx bad = sample_tx("claim/5/0", NULL), good = sample_tx("claim/5/1", NULL);
    size_t unreadable;
    struct store *s = must_open();
    store_begin(s);
    store_tx_want(s, &bad, false);
    store_tx_want(s, &good, false);
    must_commit(s);
    store_close(s);
    run_sql("UPDATE outbox SET kind = 99 WHERE key = 'claim/5/0'");
    s = must_open();
    open_count = 0;
    assert_int_equal(store_txs_open(s, collect_tx, NULL, &unreadable), 0);
    assert_int_equal(unreadable, 1);
    assert_int_equal(open_count, 1);
    assert_int_equal(open_txs[0].id, good.id);
    store_close(s);
}

/* Transactions from before attempts were rows of their own, in each state, are taken over. */
static void test_blocks(void **state)
{
    struct store *s = must_open();
    struct store_block got[4];
    size_t count;
    uint8_t hash[32] = {0};
    store_begin(s);
    for (uint64_t n = 10; n < 20; n++) {
        hash[0] = (uint8_t)n;
        assert_int_equal(store_block_put(s, n, hash), 0);
    }
    hash[0] = 99;
    assert_int_equal(store_block_put(s, 15, hash), 0);
    assert_int_equal(store_blocks_cut(s, 16), 0);
    assert_int_equal(store_blocks_prune(s, 14), 0);
    must_commit(s);
    assert_int_equal(store_blocks_load(s, got, 4, &count), 0);
    assert_int_equal(count, 3);
    assert_int_equal(got[0].number, 14);
    assert_int_equal(got[1].hash[0], 99);
    assert_int_equal(got[2].number, 16);
    assert_int_equal(store_blocks_load(s, got, 2, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(got[0].number, 15); // the last ones
    store_close(s);
}

static void sum_minutes(void *ctx, const char *job, uint64_t minutes)
{
    assert_string_equal(job, sample_job(1).id);
    *(uint64_t *)ctx += minutes;
}

/* What was in blocks above 20 is taken back; the rest stays. */
static void test_reorganisation(void **state)
{
    struct store *s = must_open();
    struct job old = sample_job(1), late = sample_job(2), got;
    struct tx a = sample_tx("claim/5/0", NULL), b = sample_tx("claim/5/1", NULL), c = b;
    struct tx_attempt first = sample_attempt(1), second = sample_attempt(2);
    uint64_t minutes = 0;
    old.claim_at = 20;
    late.claim_at = 21;
    snprintf(c.key, sizeof(c.key), "claim/5/2");
    store_begin(s);
    store_job_put(s, &old);
    store_job_put(s, &late);
    store_top_up_add(s, old.id, 20, 0, 1);
    store_top_up_add(s, old.id, 21, 0, 10);
    store_top_up_add(s, old.id, 21, 1, 20);
    struct tx *txs[] = {&a, &b, &c};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_tx_want(s, txs[i], false), 0);
        txs[i]->state = i == 1 ? TX_REVERTED : TX_MINED;
        txs[i]->block = 20 + (uint64_t)i;
        txs[i]->block_hash[0] = (uint8_t)i;
        store_tx_update(s, txs[i]);
    }
    store_attempt_add(s, b.id, &first);
    store_attempt_add(s, b.id, &second);
    store_attempt_mined(s, b.id, second.hash, "5");
    must_commit(s);

    store_begin(s);
    assert_int_equal(store_top_ups_undo(s, 20, sum_minutes, &minutes), 0);
    assert_int_equal(minutes, 30);
    assert_int_equal(store_top_up_add(s, old.id, 20, 0, 1), ERR_EXISTS);
    assert_int_equal(store_top_up_add(s, old.id, 21, 0, 10), 0); // told anew
    assert_int_equal(store_claims_undo(s, 20), 0);
    store_job_get(s, old.id, &got);
    assert_int_equal(got.claim_at, 20);
    store_job_get(s, late.id, &got);
    assert_true(got.claim_at == JOB_CLAIM_GONE);
    assert_int_equal(got.claim_block, late.claim_block);

    open_count = 0;
    assert_int_equal(store_txs_mined(s, 20, collect_tx, NULL), 0);
    assert_int_equal(open_count, 2);
    assert_int_equal(open_txs[0].id, b.id);
    assert_int_equal(open_txs[0].block_hash[0], 1);
    assert_int_equal(open_txs[1].id, c.id);
    assert_int_equal(read_attempts(s, b.id), 1); // the other one may yet be mined
    b.state = TX_SIGNED;
    assert_int_equal(store_tx_unmine(s, &b), 0);
    assert_int_equal(read_attempts(s, b.id), 2);
    must_commit(s);
    assert_int_equal(read_txs(s), 1);
    assert_int_equal(open_txs[0].id, b.id);
    store_close(s);
}

static void test_outbox_of_schema_5(void **state)
{
    struct tx next = sample_tx("claim/9/0", NULL);
    if (sqlite3_libversion_number() < 3035000) skip(); // no DROP COLUMN; the store needs none
    store_close(must_open());
    run_sql("DROP TABLE outbox; DROP TABLE attempts; ALTER TABLE jobs DROP COLUMN claim_at;"
            "DROP TABLE billing; DROP INDEX jobs_done; ALTER TABLE jobs DROP COLUMN done_at;"
            "CREATE TABLE outbox ("
            " id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, state INTEGER NOT NULL,"
            " job TEXT REFERENCES jobs (id) ON DELETE CASCADE, data BLOB NOT NULL, nonce INTEGER,"
            " hash BLOB, raw BLOB, block INTEGER NOT NULL, reason TEXT NOT NULL,"
            " created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL);"
            "INSERT INTO outbox (kind, state, data, nonce, hash, raw, block, reason, created_ms,"
            " updated_ms) VALUES (1, 0, x'01', NULL, NULL, NULL, 0, '', 1, 1),"
            " (1, 1, x'02', 7, zeroblob(32), x'f8', 0, '', 1, 1),"
            " (1, 2, x'03', 6, zeroblob(32), x'f9', 9, '', 1, 1),"
            " (1, 4, x'04', NULL, NULL, NULL, 0, 'NoJob()', 1, 1);"
            "PRAGMA user_version = 5");
    struct store *s = must_open();
    assert_int_equal(read_txs(s), 2);
    assert_int_equal(open_txs[0].state, TX_WANTED);
    assert_int_equal(open_txs[0].data[0], 1);
    assert_int_equal(open_txs[1].state, TX_SIGNED);
    assert_int_equal(read_attempts(s, open_txs[1].id), 1);
    assert_int_equal(seen_attempts[0].nonce, 7);
    assert_int_equal(seen_attempts[0].raw[0], 0xf8);
    assert_true(store_nonce_is_ours(s, 6));
    store_begin(s);
    assert_int_equal(store_tx_want(s, &next, false), 0);
    must_commit(s);
    assert_int_equal(next.id, 5); // ids go on
    store_close(s);
}

static void test_second_agent_is_told_who_holds_it(void **state)
{
    int ready[2], stop[2];
    char byte, pid_text[32];
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(stop), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct store *s = store_open(dir, NULL);
        (void)!write(ready[1], s ? "y" : "n", 1);
        (void)close(stop[1]);
        (void)!read(stop[0], &byte, 1);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    struct error err = {0};
    assert_null(store_open(dir, &err));
    assert_int_equal(err.code, ERR_BUSY);
    snprintf(pid_text, sizeof(pid_text), "process %ld", (long)pid);
    assert_non_null(strstr(err.text, pid_text));
    assert_int_equal(kill(pid, SIGKILL), 0); // the lock dies with its holder
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    store_close(must_open());
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(stop[i]);
    }
}

static void test_binding(void **state)
{
    struct error err = {0};
    struct store *s = must_open();
    assert_int_equal(store_bind(s, "provider", "0xaa", &err), 0);
    assert_int_equal(store_bind(s, "provider", "0xaa", &err), 0);
    assert_int_equal(store_bind(s, "provider", "0xbb", &err), ERR_DENIED);
    assert_non_null(strstr(err.text, "0xaa"));
    assert_non_null(strstr(err.text, "0xbb"));
    store_close(s);
}

/* Damage that SQLite reports in rows only must stop us. */
static void test_damage_is_noticed(void **state)
{
    char path[128];
    struct error err = {0};
    struct store *s = must_open();
    for (int i = 0; i < 200; i++) {
        struct job job = sample_job(100 + i);
        store_begin(s);
        store_job_put(s, &job);
        must_commit(s);
    }
    store_close(s); // checkpoints: all is in agent.db
    in_dir(path, sizeof(path), "agent.db");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    int fd = open(path, O_RDWR);
    // Within the header of every page but the first: its cells no longer are where it says.
    for (off_t at = 4096 + 3; at < st.st_size; at += 4096)
        assert_int_equal(pwrite(fd, "\x7f\x7f", 2, at), 2);
    close(fd);
    assert_null(store_open(dir, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
}

static void test_newer_schema_is_refused(void **state)
{
    char path[128];
    struct error err = {0};
    sqlite3 *db;
    store_close(must_open());
    in_dir(path, sizeof(path), "agent.db");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 999", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_null(store_open(dir, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
}

static void test_unreadable_job_is_left_alone(void **state)
{
    char path[128];
    sqlite3 *db;
    struct job job = sample_job(6), other = sample_job(7), got = {0};
    size_t unreadable;
    struct store *s = must_open();
    store_begin(s);
    store_job_put(s, &job);
    store_job_put(s, &other);
    must_commit(s);
    store_close(s);
    in_dir(path, sizeof(path), "agent.db");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "UPDATE jobs SET state = 'NONSENSE' WHERE id LIKE '%6'", NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    s = must_open();
    assert_int_equal(store_jobs_open(s, collect, &got, &unreadable), 0);
    assert_int_equal(unreadable, 1);
    assert_string_equal(got.id, other.id);
    store_close(s);
}

static off_t wal_size(void)
{
    struct stat st;
    char path[128];
    in_dir(path, sizeof(path), "agent.db-wal");
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

/* What is committed is on disk when the process is killed, and the rest is not. */
static void test_kill_keeps_what_was_committed(void **state)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct job a = sample_job(8), b = sample_job(9);
        struct store *s = store_open(dir, NULL);
        store_begin(s);
        store_job_put(s, &a);
        store_commit(s, NULL);
        store_begin(s);
        store_job_put(s, &b);
        (void)!write(ready[1], "y", 1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    struct job got, a = sample_job(8), b = sample_job(9);
    assert_true(wal_size() > 0);
    struct store *s = must_open();
    assert_int_equal(wal_size(),
                     0); // nothing new is built on a WAL that an fsync() may have failed
    assert_int_equal(store_job_get(s, a.id, &got), 0);
    assert_int_equal(store_job_get(s, b.id, &got), ERR_NOTFOUND);
    store_close(s);
    close(ready[0]);
    close(ready[1]);
}

static void test_prune(void **state)
{
    struct job done = sample_job(10), open = sample_job(11), got;
    struct store *s = must_open();
    done.state = JOB_DONE;
    store_begin(s);
    store_job_put(s, &done);
    store_job_put(s, &open);
    store_event_add(s, done.id, "END", JOB_RUNNING, JOB_ENDED, "x");
    must_commit(s);
    store_begin(s);
    assert_int_equal(store_prune(s, 1), 0); // nothing is that old
    must_commit(s);
    assert_int_equal(store_job_get(s, done.id, &got), 0);
    store_begin(s);
    assert_int_equal(store_prune(s, INT64_MAX), 0);
    must_commit(s);
    assert_int_equal(store_job_get(s, done.id, &got), ERR_NOTFOUND);
    assert_int_equal(store_job_get(s, open.id, &got), 0);
    store_close(s);
}

static void assert_news(const struct news *a, const struct news *b)
{
    assert_int_equal(a->slurm_id, b->slurm_id);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->wait_status, b->wait_status);
    assert_int_equal(a->restarts, b->restarts);
    assert_int_equal(a->submit_s, b->submit_s);
    assert_int_equal(a->start_s, b->start_s);
    assert_int_equal(a->end_s, b->end_s);
    assert_int_equal(a->ran_s, b->ran_s);
    assert_int_equal(a->begins, b->begins);
    assert_int_equal(a->started, b->started);
    assert_int_equal(a->not_run, b->not_run);
    assert_int_equal(a->settled, b->settled);
}

static void test_early_events_come_back_in_order(void **state)
{
    const struct news end = {.slurm_id = UINT32_MAX,
                             .state = 0x8003,
                             .wait_status = 0xfd,
                             .restarts = 3,
                             .submit_s = 1,
                             .start_s = 2,
                             .end_s = 3,
                             .ran_s = 4,
                             .started = true,
                             .settled = true};
    const struct news start = {
        .slurm_id = 7, .restarts = NEWS_RESTARTS_UNTOLD, .begins = true, .not_run = true};
    struct news got[4];
    struct job job = sample_job(1);
    struct store *s = must_open();
    store_begin(s);
    assert_int_equal(store_early_add(s, job.id, false, &end), 0);
    assert_int_equal(store_early_add(s, job.id, true, &start), 0);
    assert_int_equal(store_early_add(s, job.id, true, &end), 0); // told twice
    assert_int_equal(store_early_add(s, "0xother", false, &end), 0);
    must_commit(s);
    store_close(s);

    s = must_open();
    assert_int_equal(store_early_get(s, job.id, got, 4), 2);
    assert_news(&got[0], &end);
    assert_news(&got[1], &start);
    assert_int_equal(store_early_get(s, job.id, got, 1), 1);
    assert_int_equal(store_early_get(s, "0xnone", got, 4), 0);
    store_begin(s);
    assert_int_equal(store_early_drop(s, job.id), 0);
    must_commit(s);
    assert_int_equal(store_early_get(s, job.id, got, 4), 0);
    assert_int_equal(store_early_get(s, "0xother", got, 4), 1);
    store_close(s);
}

/* Whoever floods it loses the oldest of his own kind, and no more. */
static void test_early_events_are_bounded(void **state)
{
    struct news n = {.restarts = 0}, got[EARLY_PER_JOB_MAX + 1];
    char id[JOB_ID_TEXT];
    struct store *s = must_open();
    int dropped = 0;
    store_begin(s);
    assert_int_equal(store_early_add(s, "0xours", true, &n), 0);
    assert_int_equal(store_early_add(s, "0xtheirs", false, &n), 0);
    for (n.slurm_id = 1; n.slurm_id <= EARLY_UNKNOWN_MAX; n.slurm_id++) {
        snprintf(id, sizeof(id), "0x%064x", (unsigned int)n.slurm_id);
        dropped += store_early_add(s, id, false, &n);
    }
    assert_int_equal(dropped, 1);
    assert_int_equal(store_early_get(s, "0xtheirs", got, 1), 0);
    assert_int_equal(store_early_get(s, "0xours", got, 1), 1);
    assert_int_equal(store_early_get(s, id, got, 1), 1);

    for (n.slurm_id = 1, dropped = 0; n.slurm_id < EARLY_PER_JOB_MAX + 5; n.slurm_id++)
        dropped += store_early_add(s, "0xours", true, &n);
    assert_int_equal(dropped, 5);
    assert_int_equal(store_early_get(s, "0xours", got, EARLY_PER_JOB_MAX + 1), EARLY_PER_JOB_MAX);
    assert_int_equal(got[0].slurm_id, 5);
    assert_int_equal(got[EARLY_PER_JOB_MAX - 1].slurm_id, EARLY_PER_JOB_MAX + 4);
    must_commit(s);
    store_close(s);
}

/* But for those of jobs that are under way: of these an end may wait for Slurm to answer. */
static void test_early_events_grow_old(void **state)
{
    struct news n = {.slurm_id = 1}, got;
    struct job open = sample_job(1), done = sample_job(2);
    struct store *s = must_open();
    done.state = JOB_DONE;
    store_begin(s);
    store_job_put(s, &open);
    store_job_put(s, &done);
    assert_int_equal(store_early_add(s, open.id, true, &n), 0);
    assert_int_equal(store_early_add(s, done.id, true, &n), 0);
    assert_int_equal(store_early_add(s, "0xunknown", false, &n), 0);
    assert_int_equal(store_early_prune(s, 1), 0);
    assert_int_equal(store_early_prune(s, INT64_MAX), 2);
    assert_int_equal(store_early_get(s, open.id, &got, 1), 1);
    must_commit(s);
    store_close(s);
}

static struct bill sample_bill(int n)
{
    struct bill b = {
        .claim_block = 7,
        .slurm_id = 42,
        .limit_min = 60,
        .start_s = 1000,
        .end_s = 2000,
        .duration_s = 900,
        .suspended_s = 100,
        .reported = true,
        .status = 5,
        .minutes = 15,
        .confirmed = true,
        .chain_status = 5,
        .chain_start_s = 1001,
        .chain_end_s = 2002,
        .billed_min = 15,
    };
    snprintf(b.job, sizeof(b.job), "0x%064x", n);
    snprintf(b.user, sizeof(b.user), "alice");
    // 2^256 - 1: money is not cut to what an SQLite integer holds
    snprintf(b.cost_wei,
             sizeof(b.cost_wei),
             "115792089237316195423570985008687907853269984665640564039457584007913129639935");
    return b;
}

/* By its members: what lies between them is nobody's. */
static void check_bill(const struct bill *a, const struct bill *b)
{
    assert_string_equal(a->job, b->job);
    assert_string_equal(a->user, b->user);
    assert_string_equal(a->cost_wei, b->cost_wei);
    const uint64_t members[][2] = {
        {a->claim_block, b->claim_block},
        {a->slurm_id, b->slurm_id},
        {a->limit_min, b->limit_min},
        {(uint64_t)a->start_s, (uint64_t)b->start_s},
        {(uint64_t)a->end_s, (uint64_t)b->end_s},
        {a->duration_s, b->duration_s},
        {a->suspended_s, b->suspended_s},
        {a->reported, b->reported},
        {a->status, b->status},
        {a->minutes, b->minutes},
        {a->confirmed, b->confirmed},
        {a->chain_status, b->chain_status},
        {(uint64_t)a->chain_start_s, (uint64_t)b->chain_start_s},
        {(uint64_t)a->chain_end_s, (uint64_t)b->chain_end_s},
        {a->billed_min, b->billed_min},
    };
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (members[i][0] != members[i][1]) fail_msg("member %zu differs", i);
}

struct bills {
    struct bill list[8];
    size_t count;
};

static void collect_bill(void *ctx, const struct bill *bill)
{
    struct bills *all = ctx;
    if (all->count < 8) all->list[all->count++] = *bill;
}

/* Read by another process while the agent's is open, as `deepsquare-agent billing` does. */
static void test_bills_are_read_beside_the_agent(void **state)
{
    struct bill put = sample_bill(1), bare = {.claim_block = 9, .billed_min = UINT64_MAX};
    snprintf(bare.job, sizeof(bare.job), "%s", put.job); // the same job, claimed again
    struct bills all = {.count = 0};
    struct error err = {0};
    struct store *s = must_open();
    store_begin(s);
    assert_int_equal(store_bill_put(s, &put), 0);
    assert_int_equal(store_bill_put(s, &put), 0); // it is one
    assert_int_equal(store_bill_put(s, &bare), 0);
    must_commit(s);
    store_begin(s); // what is not committed is not read
    struct bill other = sample_bill(2);
    assert_int_equal(store_bill_put(s, &other), 0);

    struct store *reader = store_open_readonly(dir, &err);
    if (!reader) fail_msg("%s", err.text);
    assert_int_equal(store_bills_since(reader, 0, collect_bill, &all), 0);
    assert_int_equal(all.count, 2);
    assert_true(all.list[0].done_ms > 0);
    put.done_ms = all.list[0].done_ms;
    check_bill(&all.list[0], &put);
    check_bill(&all.list[1], &bare);
    all.count = 0;
    assert_int_equal(store_bills_since(reader, put.done_ms + 10000, collect_bill, &all), 0);
    assert_int_equal(all.count, 0);
    must_commit(s);

    // An end that is told late is taken where there is none.
    store_begin(s);
    bare.start_s = 10;
    bare.end_s = 30;
    bare.duration_s = 15;
    bare.suspended_s = 5;
    put.end_s = 1;
    assert_int_equal(store_bill_end(s, &bare), 0);
    assert_int_equal(store_bill_end(s, &put), 0);
    must_commit(s);
    assert_int_equal(store_bills_since(reader, 0, collect_bill, &all), 0);
    assert_int_equal(all.list[0].end_s, 2000);
    check_bill(&all.list[1], &bare);
    all.count = 0;

    // It cannot write, and its presence keeps nobody from it.
    assert_true(store_begin(reader) < 0 || store_bill_put(reader, &other) < 0);
    store_close(reader);
    store_begin(s);
    assert_int_equal(store_bills_prune(s, put.done_ms + 3600000), 0);
    must_commit(s);
    assert_int_equal(store_bills_since(s, 0, collect_bill, &all), 0);
    assert_int_equal(all.count, 0);
    store_close(s);
}

static void test_readonly_changes_nothing(void **state)
{
    char path[128];
    sqlite3 *db;
    struct error err = {0};
    assert_null(store_open_readonly(dir, &err)); // there is none, and none is made
    in_dir(path, sizeof(path), "agent.db");
    assert_int_equal(access(path, F_OK), -1);
    store_close(must_open());
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 1", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_null(store_open_readonly(dir, &err)); // nor is an older one brought up to date
    assert_int_equal(err.code, ERR_UNSUPPORTED);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_bills_are_read_beside_the_agent),
        TEST(test_readonly_changes_nothing),
        TEST(test_job_survives),
        TEST(test_rollback_of_a_failed_turn),
        TEST(test_scripts),
        TEST(test_top_ups_count_once),
        TEST(test_transactions),
        TEST(test_an_intent_exists_once),
        TEST(test_attempts),
        TEST(test_an_unreadable_transaction_is_left_alone),
        TEST(test_blocks),
        TEST(test_reorganisation),
        TEST(test_outbox_of_schema_5),
        TEST(test_second_agent_is_told_who_holds_it),
        TEST(test_binding),
        TEST(test_damage_is_noticed),
        TEST(test_newer_schema_is_refused),
        TEST(test_unreadable_job_is_left_alone),
        TEST(test_kill_keeps_what_was_committed),
        TEST(test_prune),
        TEST(test_early_events_come_back_in_order),
        TEST(test_early_events_are_bounded),
        TEST(test_early_events_grow_old),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
