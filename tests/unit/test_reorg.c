/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a reorganisation takes back, through the engine's own code, a real store and signer, without
 * a node: what is un-mined is sent again as the same bytes, what was claimed is awaited again, what
 * was done with is asked about, and nothing is submitted by any of it.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/chain/watch_private.h"
#include "agent/engine/survey.h"
#include "agent/util/clock.h"
#include "agent/util/hex.h"

#define JOB   "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define OTHER "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddee00"
enum { ID = 42, CLAIMED_AT = 10, OTHERS = 7 };

static const char *const nowhere[] = {"http://127.0.0.1:9"};
static char dir[64];
static struct engine *engine;
static struct signer *signer;

/* ---- the engine, without its loop ---- */

static void begin(void)
{
    (void)store_begin(engine->o.store);
}

static void commit(void)
{
    struct error err = {0};
    if (store_commit(engine->o.store, &err) < 0) fail_msg("%s", err.text);
    engine_act(engine, true);
}

static void open_engine(void)
{
    struct error err = {0};
    struct engine_options o = {.comment = "supervisor x",
                               .signer = signer,
                               .reconcile_grace_ms = 3600 * 1000,
                               .chain = {.endpoints = (char *const *)nowhere,
                                         .endpoint_count = 1,
                                         .poll_interval_ms = 3600 * 1000,
                                         .timeout_ms = 1000,
                                         .logs_range = 100}};
    memset(o.chain.metascheduler.b, 0xdd, 20);
    memset(o.chain.provider.b, 0xaa, 20);
    o.store = store_open(dir, &err);
    if (!o.store) fail_msg("%s", err.text);
    engine = engine_new(&o, &err);
    if (!engine) fail_msg("%s", err.text);
    engine->chain = chain_start(&engine->o.chain, &engine_chain_ops, engine, &err);
    if (!engine->chain) fail_msg("%s", err.text);
    engine->account_known = true;
    engine->ready.chain_id = 31337;
}

static void close_engine(void)
{
    struct store *s = engine->o.store;
    engine->chain = chain_stop(engine->chain);
    engine = engine_destroy(engine);
    store_close(s);
}

static void reopen(void)
{
    close_engine();
    open_engine();
}

static int setup(void **state)
{
    struct secret key = {0};
    struct signer_rules rules = {.chain_id = 31337};
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/test_reorg.XXXXXX");
    if (!mkdtemp(dir)) return -1;
    memset(rules.metascheduler.b, 0xdd, 20);
    assert_int_equal(
        secret_set(&key, "4646464646464646464646464646464646464646464646464646464646464646", 64),
        0);
    signer = signer_new(&key, NULL);
    secret_wipe(&key);
    assert_int_equal(signer_set_rules(signer, &rules, NULL), 0);
    open_engine();
    return 0;
}

static int teardown(void **state)
{
    char command[100];
    (void)state;
    close_engine();
    signer = signer_destroy(signer);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command); // NOLINT: our own name
}

/* ---- what happens ---- */

static struct eth_hash hash_of(uint64_t block, uint8_t fork)
{
    struct eth_hash h = {{(uint8_t)block, fork}};
    return h;
}

static void tell(const struct chain_logs *l)
{
    engine_chain_ops.logs(engine, l);
    begin();
    for (struct mail *m = mailbox_drain(engine->mailbox), *next; m; m = next) {
        next = m->next;
        if (m->kind == MAIL_CHAIN_LOGS) engine_on_chain_logs(engine, m);
        mail_free(m);
    }
    commit();
}

/* Blocks from..to were read, as of that fork of the chain, with these events. */
static void read_blocks(
    uint64_t from, uint64_t to, uint8_t fork, const struct chain_event *events, size_t count)
{
    struct chain_block blocks[BLOCKS_MAX];
    assert_true(to - from < BLOCKS_MAX);
    struct chain_logs l = {
        .from = from, .to = to, .events = events, .count = count, .blocks = blocks};
    for (uint64_t n = from; n <= to; n++)
        blocks[l.block_count++] = (struct chain_block){.number = n, .hash = hash_of(n, fork)};
    engine->poll.head = to;
    tell(&l);
}

static void reorganise(uint64_t fork)
{
    struct reorg_mail m = {.fork = fork};
    begin();
    engine_on_chain_reorg(engine, &m.mail);
    commit();
}

static struct live_job *have_job(const char *id, enum job_state state)
{
    struct job row = {.state = state,
                      .claim_block = CLAIMED_AT,
                      .claim_at = CLAIMED_AT,
                      .limit_min = 60,
                      .slurm_limit_min = 60,
                      .slurm_id = ID,
                      .end_status = state == JOB_ENDED ? CHAIN_JOB_FINISHED : 0};
    snprintf(row.id, sizeof(row.id), "%s", id);
    begin();
    assert_int_equal(store_job_put(engine->o.store, &row), 0);
    commit();
    return engine_job_add(engine, &row);
}

static struct live_job *job(const char *id)
{
    struct live_job *j = engine_job_find(engine, id);
    if (!j) fail_msg("%s is not in hand", id);
    return j;
}

static struct job stored(const char *id)
{
    struct job row;
    assert_int_equal(store_job_get(engine->o.store, id, &row), 0);
    return row;
}

static struct live_tx *newest(void)
{
    struct live_tx *t = engine->txs;
    while (t && t->next)
        t = t->next;
    assert_non_null(t);
    return t;
}

/* The report that the job's state asks for, wanted and signed; its id. */
static uint64_t reported(struct live_job *j)
{
    struct tx_mail m = {.fees = {.gas_limit = 100000, .max_fee_per_gas = u256_from_u64(9)}};
    begin();
    engine_outbox_report(engine, j);
    m.id = newest()->row.id;
    engine_on_tx_prepared(engine, &m.mail);
    commit();
    assert_int_equal(newest()->row.state, TX_SIGNED);
    return m.id;
}

/* One more attempt of it, at a higher fee. */
static void replaced(uint64_t id)
{
    struct tx_mail m = {.id = id,
                        .fees = {.gas_limit = 100000, .max_fee_per_gas = u256_from_u64(11)}};
    memcpy(m.hash.b, engine_tx_find(engine, id)->last.hash, sizeof(m.hash.b));
    begin();
    engine_on_tx_stuck(engine, &m.mail);
    commit();
    assert_int_equal(engine_tx_find(engine, id)->attempt_count, 2);
}

/* Its last attempt is in that block, and cost so much. */
static void mined(uint64_t id, uint64_t block, uint8_t fork, uint64_t cost)
{
    struct tx_mail m = {.id = id,
                        .ok = true,
                        .block = block,
                        .block_hash = hash_of(block, fork),
                        .block_time_s = 1700000000,
                        .cost = u256_from_u64(cost),
                        .revert_name = ""};
    memcpy(m.hash.b, engine_tx_find(engine, id)->last.hash, sizeof(m.hash.b));
    begin();
    engine_on_tx_mined(engine, &m.mail);
    commit();
}

static struct chain_event claim_of(const char *id, uint64_t block, uint8_t fork)
{
    struct chain_event ev = {.kind = CHAIN_EVENT_CLAIM,
                             .block = block,
                             .block_hash = hash_of(block, fork),
                             .claim = {.max_duration_min = 60,
                                       .ntasks = 1,
                                       .cpus_per_task = 1,
                                       .mem_per_cpu_mb = 1,
                                       .location_hash = "abc"}};
    memset(ev.provider.b, 0xaa, 20);
    (void)hex_decode(ev.job.b, sizeof(ev.job.b), id);
    return ev;
}

static struct chain_event top_up_of(const char *id, uint64_t block, uint64_t minutes)
{
    struct chain_event ev = claim_of(id, block, 0);
    ev.kind = CHAIN_EVENT_TOP_UP;
    ev.top_up_min = minutes;
    return ev;
}

/* The customer cancelled it before it started: nothing but a transition says so. */
static struct chain_event cancel_of(const char *id, uint64_t block)
{
    struct chain_event ev = claim_of(id, block, 0);
    ev.kind = CHAIN_EVENT_TRANSITION;
    ev.from = CHAIN_JOB_SCHEDULED;
    ev.to = CHAIN_JOB_CANCELLED;
    return ev;
}

static void pursue(void)
{
    begin();
    engine_jobs_pursue(engine);
    commit();
}

/* What the contract says of a job in hand when it is asked. */
static void probed(const char *id, enum reconcile_chain chain)
{
    struct probe p = {.chain = chain, .named = RECONCILE_SLURM_UNKNOWN, .job.at_block = 1000};
    snprintf(p.id, sizeof(p.id), "%s", id);
    p.claim_block = job(id)->row.claim_block;
    begin();
    engine_survey_probed(engine, &p, 1);
    commit();
}

static bool is_asked_about(const struct live_job *j)
{
    return j->probe_at_ms > 0 && j->probe_at_ms <= clock_mono_ms();
}

/* ---- transactions ---- */

static void assert_under_way(uint64_t id, const struct tx_attempt *bytes)
{
    struct live_tx *t = engine_tx_find(engine, id);
    assert_non_null(t);
    assert_int_equal(t->row.state, TX_SIGNED);
    assert_int_equal(t->row.block, 0);
    assert_int_equal(t->last.nonce, bytes->nonce);
    assert_int_equal(t->last.raw_len, bytes->raw_len);
    assert_memory_equal(t->last.raw, bytes->raw, bytes->raw_len);
    assert_memory_equal(t->last.hash, bytes->hash, sizeof(bytes->hash));
}

static void hand_over(void)
{
    begin();
    engine_inflight_pursue(engine);
    commit();
}

static void test_the_same_bytes(void **state)
{
    (void)state;
    struct live_job *j = have_job(JOB, JOB_ENDED);
    j->row.ran = true;
    uint64_t running = reported(j);
    struct tx_attempt bytes[2] = {newest()->last};
    read_blocks(18, 22, 0, NULL, 0);
    mined(running, 20, 0, 1);
    assert_int_equal(j->row.running_block_s, 1700000000);
    uint64_t end = reported(j);
    replaced(end); // of two, the second is mined
    bytes[1] = newest()->last;
    mined(end, 21, 0, 1);
    assert_int_equal(j->row.state, JOB_REPORTED);
    assert_null(engine->txs);

    reorganise(19);
    j = job(JOB);
    assert_int_equal(j->row.state, JOB_ENDED);
    assert_int_equal(j->row.running_report, REPORT_PENDING);
    assert_int_equal(j->row.running_block_s, 0);
    assert_int_equal(j->row.end_report, REPORT_PENDING);
    assert_under_way(running, &bytes[0]);
    assert_under_way(end, &bytes[1]);
    assert_int_equal(engine_tx_find(engine, end)->attempt_count, 2);
    pursue(); // nothing is reported a second time
    assert_ptr_equal(engine->txs->next, engine_tx_find(engine, end));
    assert_null(engine->txs->next->next);

    reopen(); // it is in the store
    assert_under_way(running, &bytes[0]);
    assert_under_way(end, &bytes[1]);
    assert_int_equal(job(JOB)->row.state, JOB_ENDED);
    hand_over();
    assert_true(engine_tx_find(engine, running)->handed && engine_tx_find(engine, end)->handed);
    mined(running, 30, 1, 1);
    mined(end, 31, 1, 1);
    assert_int_equal(job(JOB)->row.state, JOB_REPORTED);
    assert_null(engine->txs);
}

/* Up to the fork all stays as it was. */
static void test_below_the_fork(void **state)
{
    (void)state;
    struct live_job *j = have_job(JOB, JOB_ENDED), *k = have_job(OTHER, JOB_ENDED);
    read_blocks(18, 22, 0, NULL, 0);
    mined(reported(j), 20, 0, 1);
    uint64_t later = reported(k);
    mined(later, 21, 0, 1);
    reorganise(20);
    assert_int_equal(job(JOB)->row.state, JOB_REPORTED);
    assert_int_equal(job(JOB)->row.end_report, REPORT_DONE);
    assert_int_equal(job(OTHER)->row.state, JOB_ENDED);
    assert_ptr_equal(engine->txs, engine_tx_find(engine, later));
    assert_null(engine->txs->next);
}

static void test_done_by_our_report(void **state)
{
    (void)state;
    struct live_job *j = have_job(JOB, JOB_ENDED), *k = have_job(OTHER, JOB_REFUSED);
    read_blocks(18, 22, 0, NULL, 0);
    mined(reported(j), 21, 0, 1);
    mined(reported(k), 22, 0, 1);
    begin();
    assert_true(engine_job_event_apply(engine, j, EV_CONFIRMED, ""));
    assert_true(engine_job_event_apply(engine, k, EV_CONFIRMED, ""));
    commit();
    pursue();
    assert_int_equal(engine->job_count, 0);
    assert_int_equal(stored(JOB).done_at, 22);
    reorganise(20);
    assert_int_equal(job(JOB)->row.state, JOB_ENDED);
    assert_int_equal(job(OTHER)->row.state, JOB_REFUSED);
    assert_int_equal(stored(OTHER).state, JOB_REFUSED);
    assert_int_equal(stored(OTHER).end_report, REPORT_PENDING);
}

/* Claims belong to no job, and a report of an earlier life is nothing to a later one. */
static void test_of_no_job_in_hand(void **state)
{
    (void)state;
    struct live_job *j = have_job(JOB, JOB_ENDED);
    read_blocks(18, 22, 0, NULL, 0);
    mined(reported(j), 21, 0, 1);
    begin();
    j->row = (struct job){.state = JOB_SUBMITTED, .claim_block = 22, .claim_at = 15, .id = JOB};
    (void)store_job_put(engine->o.store, &j->row);
    struct tx claim = {.kind = TX_CLAIM, .key = "claimNextJob/21/0"};
    struct buf call = BUF_INIT(64);
    assert_int_equal(contract_call_plain(&call, "claimNextJob()"), 0);
    memcpy(claim.data, call.data, claim.data_len = call.len);
    buf_free(&call);
    assert_int_equal(engine_tx_want(engine, &claim, false), 0);
    struct tx_mail m = {.id = claim.id,
                        .fees = {.gas_limit = 1, .max_fee_per_gas = u256_from_u64(9)}};
    engine_on_tx_prepared(engine, &m.mail);
    commit();
    mined(claim.id, 21, 0, 1);
    assert_int_equal(engine->claimed_block, 21);
    reorganise(20);
    assert_int_equal(job(JOB)->row.state, JOB_SUBMITTED);
    assert_int_equal(job(JOB)->row.end_report, REPORT_NONE);
    assert_int_equal(engine->claimed_block, 0); // the queue is of a new chain
    assert_int_equal(engine->txs->row.state, TX_SIGNED);
    assert_int_equal(engine->txs->next->row.id, claim.id);
}

/* A receipt may come from a block that is gone by then: its hash tells. */
static void test_receipts_of_other_blocks(void **state)
{
    (void)state;
    struct live_job *j = have_job(JOB, JOB_ENDED), *k = have_job(OTHER, JOB_ENDED);
    // Before that block is read: taken, and found out when it is.
    uint64_t wrong = reported(j);
    mined(wrong, 20, 1, 5);
    uint64_t right = reported(k);
    mined(right, 20, 0, 7);
    assert_int_equal(job(JOB)->row.state, JOB_REPORTED);
    read_blocks(20, 22, 0, NULL, 0);
    assert_int_equal(job(JOB)->row.state, JOB_ENDED);
    assert_int_equal(job(OTHER)->row.state, JOB_REPORTED);
    assert_int_equal(engine->purse.spent.w[0], 7);
    // Afterwards: not taken.
    mined(wrong, 21, 1, 5);
    assert_int_equal(job(JOB)->row.state, JOB_ENDED);
    assert_int_equal(engine->purse.spent.w[0], 7);
    struct live_tx *t = engine_tx_find(engine, wrong);
    assert_false(t->handed);
    assert_true(t->retry_at_ms > clock_mono_ms());
    mined(wrong, 22, 0, 5);
    assert_int_equal(job(JOB)->row.state, JOB_REPORTED);
    read_blocks(23, 24, 0, NULL, 0);
    assert_int_equal(job(JOB)->row.state, JOB_REPORTED);
    assert_null(engine->txs);
}

/* The genesis block has no transactions of ours, but it may be the first that is read. */
static void test_from_the_first_block(void **state)
{
    (void)state;
    struct live_job *j = have_job(JOB, JOB_ENDED);
    mined(reported(j), 1, 1, 5);
    read_blocks(0, 2, 0, NULL, 0);
    assert_int_equal(job(JOB)->row.state, JOB_ENDED);
}

static void test_what_was_spent(void **state)
{
    (void)state;
    struct live_job *j = have_job(JOB, JOB_ENDED), *k = have_job(OTHER, JOB_ENDED);
    read_blocks(18, 22, 0, NULL, 0);
    mined(reported(j), 20, 0, 5);
    uint64_t later = reported(k);
    mined(later, 21, 0, 7);
    assert_int_equal(engine->purse.spent.w[0], 12);
    reorganise(20);
    assert_int_equal(engine->purse.spent.w[0], 5);
    read_blocks(21, 22, 1, NULL, 0);
    mined(later, 22, 1, 8); // gas has another price there
    assert_int_equal(engine->purse.spent.w[0], 13);
    reopen();
    assert_int_equal(engine->purse.spent.w[0], 13);
}

/* ---- claims ---- */

static void test_claims(void **state)
{
    (void)state;
    struct live_job *gone = have_job(JOB, JOB_RUNNING), *stays = have_job(OTHER, JOB_RUNNING);
    stays->row.claim_at = CLAIMED_AT - 1;
    begin();
    (void)store_job_put(engine->o.store, &stays->row);
    commit();
    read_blocks(5, 12, 0, NULL, 0);
    reorganise(CLAIMED_AT - 1);
    assert_true(gone->row.claim_at == JOB_CLAIM_GONE && gone->held);
    assert_true(stored(JOB).claim_at == JOB_CLAIM_GONE);
    assert_int_equal(stays->row.claim_at, CLAIMED_AT - 1);
    assert_false(stays->held);
    assert_true(is_asked_about(gone) && is_asked_about(stays)); // others may have moved either
    // Nothing is said to a contract that would not know what it is about.
    gone->row.ran = true;
    pursue();
    assert_null(engine->txs);
    reorganise(CLAIMED_AT - 3); // once more, before it was claimed again
    assert_true(gone->row.claim_at == JOB_CLAIM_GONE);

    struct chain_event again = claim_of(JOB, 13, 1);
    gone->touched = false;
    gone->probe_at_ms = 0;
    read_blocks(9, 13, 1, &again, 1);
    assert_int_equal(gone->row.claim_at, 13);
    assert_int_equal(stored(JOB).claim_at, 13);
    assert_int_equal(gone->row.claim_block, CLAIMED_AT);
    assert_int_equal(gone->row.state, JOB_RUNNING);
    assert_true(gone->touched && is_asked_about(gone));
    assert_int_equal(gone->row.slurm_id, ID);
    pursue();
    assert_int_equal(newest()->row.kind, TX_RUNNING);
}

/* Held until the contract agrees, whatever comes: no worker is set on it. */
static void test_no_submission(void **state)
{
    (void)state;
    static const enum job_state before[] = {JOB_CLAIMED, JOB_FETCHED, JOB_SUBMITTING};
    for (size_t i = 0; i < 3; i++) {
        struct live_job *j = have_job(JOB, before[i]);
        struct chain_event again = claim_of(JOB, 11, 1);
        j->touched = true;
        read_blocks(5, 12, 0, NULL, 0);
        reorganise(9);
        j->touched = true;
        pursue();
        assert_false(j->busy);
        read_blocks(10, 12, 1, &again, 1);
        pursue();
        assert_false(j->busy);
        assert_int_equal(j->row.state, before[i]);
        engine_job_drop(engine, j);
    }
    // One that was not claimed above the fork may go on.
    struct live_job *j = have_job(OTHER, JOB_CLAIMED);
    reorganise(CLAIMED_AT);
    assert_false(j->held);
}

/* A claim that is read again further down is no later life of the job, in whatever state it is. */
static void test_claims_that_are_read_again(void **state)
{
    (void)state;
    struct live_job *j = have_job(JOB, JOB_REPORTED);
    struct chain_event claims[] = {claim_of(JOB, 6, 0), claim_of(JOB, CLAIMED_AT, 0)};
    read_blocks(5, 12, 0, NULL, 0);
    reorganise(4);
    read_blocks(5, 12, 0, claims, 2); // of an earlier life, and its own
    assert_int_equal(j->row.state, JOB_REPORTED);
    assert_int_equal(j->row.claim_at, CLAIMED_AT);
    assert_int_equal(j->row.slurm_id, ID);
    claims[0] = claim_of(JOB, 13, 0);
    read_blocks(13, 13, 0, claims, 1); // given back, and claimed once more
    assert_int_equal(j->row.state, JOB_CLAIMED);
    assert_int_equal(j->row.claim_block, 13);
}

/* ---- top-ups ---- */

static void test_top_ups(void **state)
{
    (void)state;
    struct live_job *j = have_job(JOB, JOB_SUBMITTED);
    struct chain_event events[] = {top_up_of(JOB, 11, 5), top_up_of(JOB, 12, 30)};
    read_blocks(11, 12, 0, events, 2);
    assert_int_equal(j->row.limit_min, 95);
    reorganise(11);
    assert_int_equal(j->row.limit_min, 65);
    assert_int_equal(stored(JOB).limit_min, 65);
    assert_int_equal(j->row.slurm_limit_min, 60); // what Slurm was told is not taken back
    events[1].block = 13;
    read_blocks(12, 13, 1, &events[1], 1);
    assert_int_equal(j->row.limit_min, 95);
    read_blocks(12, 13, 1, &events[1], 1); // told twice
    assert_int_equal(j->row.limit_min, 95);
    j->row.limit_min = 10; // less than what was added: of a store that is older
    reorganise(12);
    assert_int_equal(j->row.limit_min, 0);
    engine_job_drop(engine, j);
    reorganise(10); // of a job that is not in hand
}

/* From where are logs read again after that answer of the contract? */
static uint64_t read_again_from(const struct probe *p)
{
    struct watch *w = engine->chain->watch;
    w->again_from = UINT64_MAX;
    begin();
    engine_survey_probed(engine, p, 1);
    commit();
    return w->again_from;
}

/* Some answer lacked it: what the contract was paid tells, and its logs are read again. */
static void test_a_top_up_that_was_missed(void **state)
{
    (void)state;
    struct live_job *j = have_job(JOB, JOB_SUBMITTED);
    struct chain_event events[] = {top_up_of(JOB, 11, 5), top_up_of(JOB, 13, 30)};
    uint64_t cursor = 0;
    read_blocks(11, 14, 0, events, 1);
    struct probe p = {.chain = RECONCILE_CHAIN_SCHEDULED,
                      .named = RECONCILE_SLURM_UNKNOWN,
                      .id = JOB,
                      .claim_block = CLAIMED_AT,
                      .job = {.at_block = 14,
                              .paid = u256_from_u64(65 * 3 + 2),
                              .price_per_min = u256_from_u64(3)}};
    assert_true(read_again_from(&p) == UINT64_MAX); // a part of a minute is none
    p.job.price_per_min = u256_from_u64(0);
    assert_true(read_again_from(&p) == UINT64_MAX);
    p.job.price_per_min = u256_from_u64(3);
    p.job.paid = u256_from_u64(66 * 3 + 2); // of two parts
    assert_true(read_again_from(&p) == UINT64_MAX);
    p.job.paid = u256_from_u64(67 * 3);
    assert_int_equal(read_again_from(&p), CLAIMED_AT);
    p.chain = RECONCILE_CHAIN_RUNNING;
    j->row.claim_at = CLAIMED_AT - 1; // it was mined again, and sooner
    assert_int_equal(read_again_from(&p), CLAIMED_AT - 1);
    j->row.claim_at = JOB_CLAIM_GONE;
    assert_int_equal(read_again_from(&p), CLAIMED_AT);
    j->row.claim_at = CLAIMED_AT;
    j->row.state = JOB_ENDED;
    p.chain = RECONCILE_CHAIN_FINAL;
    assert_true(read_again_from(&p) == UINT64_MAX);
    j->row.state = JOB_SUBMITTED;
    assert_int_equal(j->row.limit_min, 65);

    struct chain_logs again = {
        .from = CLAIMED_AT, .to = 13, .events = events, .count = 2, .again = true};
    tell(&again);
    assert_int_equal(j->row.limit_min, 95);
    assert_int_equal(store_meta_get_u64(engine->o.store, "cursor", &cursor), 0);
    assert_int_equal(cursor, 14);
    assert_int_equal(blocks_top(&engine->blocks)->number, 14);
}

/* ---- blocks ---- */

static void test_blocks_and_cursor(void **state)
{
    (void)state;
    struct store_block list[BLOCKS_MAX];
    uint64_t cursor = 0;
    size_t count;
    struct eth_hash other = hash_of(20, 1), same = hash_of(20, 0);
    read_blocks(18, 22, 0, NULL, 0);
    reorganise(20);
    assert_int_equal(store_meta_get_u64(engine->o.store, "cursor", &cursor), 0);
    assert_int_equal(cursor, 20);
    assert_int_equal(blocks_top(&engine->blocks)->number, 20);
    assert_int_equal(store_blocks_load(engine->o.store, list, BLOCKS_MAX, &count), 0);
    assert_int_equal(count, 3);
    assert_int_equal(list[2].number, 20);
    assert_true(engine_reorg_has(engine, 20, &same) && !engine_reorg_has(engine, 20, &other));
    assert_true(engine_reorg_has(engine, 21, &other)); // not known
}

/* ---- jobs that were done with ---- */

static void cancelled(const char *id, enum job_state state, uint64_t block)
{
    struct chain_event ev = cancel_of(id, block);
    have_job(id, state);
    read_blocks(block, block, 0, &ev, 1);
    if (state == JOB_SUBMITTED) {
        begin();
        assert_true(engine_job_event_apply(engine, job(id), EV_CANCELLED, ""));
        commit();
        job(id)->probe_at_ms = 0;
    }
    assert_int_equal(job(id)->row.state, JOB_DONE);
    pursue();
    assert_null(engine_job_find(engine, id));
    assert_int_equal(stored(id).done_at, block);
}

static void test_a_cancel_that_is_un_mined(void **state)
{
    (void)state;
    cancelled(JOB, JOB_CLAIMED, 20);
    cancelled(OTHER, JOB_SUBMITTED, 21);
    reorganise(20);
    for (int life = 0; life < 2; life++) {
        assert_int_equal(job(JOB)->row.state, JOB_REPORTED); // the head may have run ahead
        assert_int_equal(job(OTHER)->row.state, JOB_REPORTED);
        assert_false(job(OTHER)->busy);
        if (life == 0) assert_true(is_asked_about(job(JOB)) && is_asked_about(job(OTHER)));
        reopen(); // before the contract was asked
    }
    engine->o.reconcile_grace_ms = 20;
    probed(JOB, RECONCILE_CHAIN_SCHEDULED);
    assert_int_equal(job(JOB)->row.state, JOB_REPORTED); // it must say so twice
    usleep(25 * 1000);
    probed(JOB, RECONCILE_CHAIN_SCHEDULED);
    assert_int_equal(job(JOB)->row.state, JOB_REFUSED); // for another provider to run
    begin();
    assert_true(engine_job_event_apply(engine, job(OTHER), EV_CONFIRMED, "")); // cancelled again
    commit();
    assert_int_equal(stored(OTHER).state, JOB_DONE);
}

/* When an older agent was done with it is not known: its claim is awaited all the same. */
static void test_done_by_an_older_agent(void **state)
{
    (void)state;
    cancelled(JOB, JOB_CLAIMED, 20);
    struct job row = stored(JOB);
    struct chain_event again = claim_of(JOB, 11, 1);
    row.done_at = 0;
    begin();
    (void)store_job_put(engine->o.store, &row);
    commit();
    reorganise(9);
    assert_null(engine_job_find(engine, JOB));
    assert_true(stored(JOB).claim_at == JOB_CLAIM_GONE);
    read_blocks(10, 12, 1, &again, 1);
    assert_int_equal(job(JOB)->row.state, JOB_REPORTED);
}

/* What was done with long before is left alone. */
static void test_done_long_before(void **state)
{
    (void)state;
    cancelled(JOB, JOB_CLAIMED, 20);
    cancelled(OTHER, JOB_CLAIMED, 21);
    read_blocks(22, 21 + BLOCKS_MAX, 0, NULL, 0);
    reorganise(20 + BLOCKS_MAX);
    assert_null(engine_job_find(engine, JOB));
    assert_int_equal(job(OTHER)->row.state, JOB_REPORTED);
}

/* While a worker is at it its answer is awaited, and the job asked about afterwards. */
static void test_done_and_busy(void **state)
{
    (void)state;
    struct chain_event ev = cancel_of(JOB, 20);
    struct live_job *j = have_job(JOB, JOB_CLAIMED);
    j->busy = true;
    read_blocks(20, 20, 0, &ev, 1);
    reorganise(19);
    assert_int_equal(j->row.state, JOB_DONE);
    j->busy = false;
    j->touched = true;
    pursue();
    assert_ptr_equal(job(JOB), j);
    assert_true(is_asked_about(j));
}

/* Claim and cancel are gone, and only the claim comes back, when the job was forgotten already. */
static void test_claimed_again_when_done(void **state)
{
    (void)state;
    cancelled(JOB, JOB_CLAIMED, 20);
    reorganise(9);
    begin();
    assert_true(engine_job_event_apply(engine, job(JOB), EV_CONFIRMED, "META_SCHEDULED"));
    job(JOB)->probe_at_ms = 0;
    commit();
    pursue();
    assert_null(engine_job_find(engine, JOB));
    struct chain_event again = claim_of(JOB, 11, 1);
    read_blocks(10, 12, 1, &again, 1);
    assert_int_equal(job(JOB)->row.state, JOB_REPORTED);
    assert_int_equal(stored(JOB).claim_at, 11);
    assert_int_equal(stored(JOB).state, JOB_REPORTED);
    assert_true(is_asked_about(job(JOB)));
}

/* Its RUNNING is under way again while its end, by others, is asked about. */
static void test_running_is_mined_again(void **state)
{
    (void)state;
    struct live_job *j = have_job(JOB, JOB_RUNNING);
    j->row.ran = true;
    read_blocks(18, 20, 0, NULL, 0);
    uint64_t running = reported(j);
    mined(running, 20, 0, 1);
    begin();
    assert_true(engine_job_event_apply(engine, j, EV_GONE, "PANICKED"));
    assert_true(engine_job_event_apply(engine, j, EV_CANCELLED, ""));
    commit();
    j->probe_at_ms = 0;
    pursue();
    reorganise(19);
    assert_int_equal(job(JOB)->row.state, JOB_REPORTED);
    assert_int_equal(job(JOB)->row.running_report, REPORT_PENDING);
    mined(running, 21, 1, 1);
    assert_int_equal(job(JOB)->row.state, JOB_REPORTED);
    assert_int_equal(job(JOB)->row.running_report, REPORT_DONE);
}

static struct bill the_bill;

static void note_bill(void *ctx, const struct bill *b)
{
    ++*(int *)ctx;
    the_bill = *b;
}

/* An end that nobody asked us for is no report of ours. */
static void test_its_bill(void **state)
{
    (void)state;
    int bills = 0;
    cancelled(JOB, JOB_SUBMITTED, 20);
    reorganise(19);
    struct live_job *j = job(JOB);
    j->row.end_status = CHAIN_JOB_CANCELLED; // as Slurm says
    begin();
    assert_true(engine_job_event_apply(engine, j, EV_CONFIRMED, ""));
    commit();
    assert_int_equal(store_bills_since(engine->o.store, 0, note_bill, &bills), 0);
    assert_int_equal(bills, 1);
    assert_false(the_bill.reported);
}

/* The price of another time says what was billed only if it agrees. */
static void test_bill_at_the_price_of_now(void **state)
{
    static const struct {
        uint64_t cost;
        bool of_then;
        uint64_t billed_min;
    } cases[] = {{6, false, 2}, {6, true, 2}, {3, true, 1}, {3, false, UINT64_MAX}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct live_job *j = have_job(JOB, JOB_REPORTED);
        int bills = 0;
        j->row.end_status = CHAIN_JOB_FINISHED;
        j->row.end_report = REPORT_DONE;
        j->row.billed_min = 2;
        j->bill = (struct chain_bill){.known = true,
                                      .cost = u256_from_u64(cases[i].cost),
                                      .price_per_min = u256_from_u64(3),
                                      .price_of_then = cases[i].of_then};
        begin();
        assert_true(engine_job_event_apply(engine, j, EV_CONFIRMED, ""));
        commit();
        (void)store_bills_since(engine->o.store, 0, note_bill, &bills);
        assert_true(the_bill.reported);
        assert_int_equal(the_bill.billed_min, cases[i].billed_min);
        engine_job_drop(engine, j);
    }
}

/* Where the end is that is billed. */
static void test_block_of_the_end(void **state)
{
    (void)state;
    struct live_job *j = have_job(JOB, JOB_ENDED);
    uint64_t id = reported(j);
    assert_int_equal(engine_outbox_end_block(engine, &j->row), 0);
    mined(id, 21, 0, 1);
    assert_int_equal(engine_outbox_end_block(engine, &j->row), 21);
    j->row.claim_block++; // another life
    assert_int_equal(engine_outbox_end_block(engine, &j->row), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_the_same_bytes),
        TEST(test_below_the_fork),
        TEST(test_done_by_our_report),
        TEST(test_of_no_job_in_hand),
        TEST(test_receipts_of_other_blocks),
        TEST(test_from_the_first_block),
        TEST(test_what_was_spent),
        TEST(test_claims),
        TEST(test_no_submission),
        TEST(test_claims_that_are_read_again),
        TEST(test_top_ups),
        TEST(test_a_top_up_that_was_missed),
        TEST(test_blocks_and_cursor),
        TEST(test_a_cancel_that_is_un_mined),
        TEST(test_done_by_an_older_agent),
        TEST(test_done_long_before),
        TEST(test_done_and_busy),
        TEST(test_claimed_again_when_done),
        TEST(test_running_is_mined_again),
        TEST(test_its_bill),
        TEST(test_bill_at_the_price_of_now),
        TEST(test_block_of_the_end),
    };
    return cmocka_run_group_tests_name("reorg", tests, NULL, NULL);
}
