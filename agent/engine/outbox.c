/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is to be said to the contract: claims and reports, and what its verdicts mean. A call is
 * decided and stored (WANTED) with the event that led to it, under a key that says what it is to do
 * once. How it gets its nonce and into a block is inflight.c's.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/engine/bill.h"
#include "agent/engine/engine_private.h"
#include "agent/util/clock.h"
#include "agent/util/hex.h"

enum {
    CLAIM_PAUSE_MS = 60 * 1000,   // after a claim that the contract does not allow us
    EMPTY_PAUSE_MS = 10 * 1000,   // after one that found nothing: stale entries count as length
    VERDICT_RETRY_MS = 30 * 1000, // after a report that it does not allow now
    STALE_RETRY_MS = 1000,        // after a receipt of a block that is gone
};

struct live_tx *engine_tx_find(struct engine *e, uint64_t id)
{
    struct live_tx *t = e->txs;
    while (t && t->row.id != id)
        t = t->next;
    return t;
}

struct live_tx *engine_tx_add(struct engine *e, const struct tx *row)
{
    struct live_tx *t = engine_alloc(e, sizeof(*t));
    if (!t) return NULL;
    t->row = *row;
    *e->last_tx = t;
    e->last_tx = &t->next;
    return t;
}

static void drop(struct engine *e, struct live_tx *t)
{
    struct live_tx **at = &e->txs;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    if (e->last_tx == &t->next) e->last_tx = at;
    free(t);
}

void engine_outbox_free(struct engine *e)
{
    while (e->txs)
        drop(e, e->txs);
}

bool engine_outbox_has_hash(const struct engine *e, const struct eth_hash *tx)
{
    for (const struct live_tx *t = e->txs; t; t = t->next)
        for (size_t i = 0; i < t->attempt_count; i++)
            if (memcmp(t->attempts[i].hash.b, tx->b, sizeof(tx->b)) == 0) return true;
    return false;
}

bool engine_outbox_has_job(const struct engine *e, const char *job, enum tx_kind kind)
{
    for (const struct live_tx *t = e->txs; t; t = t->next)
        if (t->row.kind == kind && strcmp(t->row.job, job) == 0) return true;
    return false;
}

int engine_tx_want(struct engine *e, struct tx *row, bool again)
{
    row->state = TX_WANTED;
    int rc = store_tx_want(e->o.store, row, again);
    if (rc == 0) (void)engine_tx_add(e, row);
    return rc;
}

void engine_tx_close(struct engine *e, struct live_tx *t, enum tx_state state, const char *reason)
{
    t->row.state = state;
    (void)snprintf(t->row.reason, sizeof(t->row.reason), "%.*s", JOB_REASON_MAX - 1, reason);
    // A claim that was never sent is no history, and there is one for each stale entry of a queue.
    if (state == TX_REJECTED && !t->row.job[0] && t->attempt_count == 0)
        (void)store_tx_drop(e->o.store, t->row.id);
    else
        (void)store_tx_update(e->o.store, &t->row);
    drop(e, t);
}

/* The call of a row. Returns false if it does not fit. */
static bool set_call(struct tx *row, const struct buf *call)
{
    bool fits = buf_error(call) == 0 && call->len <= sizeof(row->data);
    if (fits) {
        memcpy(row->data, call->data, call->len);
        row->data_len = call->len;
    } else {
        log_job_error(
            row->job[0] ? row->job : NULL, "%s cannot be encoded", tx_kind_name(row->kind));
    }
    return fits;
}

bool engine_outbox_register(struct engine *e, struct buf *call)
{
    struct tx row = {.kind = TX_REGISTER, .key = "register"};
    return set_call(&row, call) && engine_tx_want(e, &row, true) == 0;
}

/* ---- claims ---- */

/* The three queues of the contract; each claim takes the next entry of one, whatever it is. */
static const struct queue {
    enum tx_kind kind;
    const char *name;
    bool is_work; // that Slurm must take and that costs gas: not while Slurm or money is away
} queues[] = {
    {TX_CLAIM_CANCEL, "claimNextCancellingJob", false},
    {TX_CLAIM_TOP_UP, "claimNextTopUpJob", false},
    {TX_CLAIM, "claimNextJob", true},
};

static bool is_claim(enum tx_kind kind)
{
    return kind == TX_CLAIM || kind == TX_CLAIM_CANCEL || kind == TX_CLAIM_TOP_UP;
}

static uint64_t under_way(const struct engine *e, enum tx_kind kind)
{
    uint64_t n = 0;
    for (const struct live_tx *t = e->txs; t; t = t->next)
        n += t->row.kind == kind;
    return n;
}

size_t engine_outbox_claims(const struct engine *e)
{
    return (size_t)under_way(e, TX_CLAIM);
}

static uint64_t queue_size(const struct engine *e, enum tx_kind kind)
{
    return kind == TX_CLAIM          ? e->poll.claimable
           : kind == TX_CLAIM_CANCEL ? e->poll.cancelling
                                     : e->poll.top_up;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* The key of a claim: which one of those that this block's queue lengths asked for. */
static void want_claim(struct engine *e, const struct queue *q, const struct buf *call)
{
    struct tx row = {.kind = q->kind};
    if (!set_call(&row, call)) return;
    int rc, i = 0;
    do
        (void)snprintf(row.key, sizeof(row.key), "%s/%" PRIu64 "/%d", q->name, e->poll.head, i++);
    while ((rc = engine_tx_want(e, &row, false)) == ERR_EXISTS);
}

static void claim(struct engine *e, const struct queue *q)
{
    if (q->is_work && (!e->slurm_up || !engine_purse_allows_jobs(e))) return;
    if (!engine_register_lets_claim(e, q->kind)) return;
    if (e->poll.head < e->claimed_block) return;
    if (clock_mono_ms() < e->claims_paused_until_ms[q->kind]) return;
    uint64_t sent = under_way(e, q->kind);
    uint64_t n = min_u64(minus(queue_size(e, q->kind), sent), minus(e->o.claim_batch, sent));
    if (q->kind == TX_CLAIM) n = min_u64(n, minus(e->o.max_jobs, e->job_count + sent));
    // One by one: each takes the oldest, whatever it is.
    if (q->kind == TX_CLAIM && n > 0 && e->o.only_if_free) n = sent ? 0 : engine_capacity_grant(e);

    char signature[64];
    struct buf call = BUF_INIT(64);
    (void)snprintf(signature, sizeof(signature), "%s()", q->name);
    (void)contract_call_plain(&call, signature);
    for (uint64_t i = 0; i < n; i++)
        want_claim(e, q, &call);
    buf_free(&call);
}

void engine_outbox_claim(struct engine *e)
{
    for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++)
        claim(e, &queues[i]);
}

/* ---- reports ---- */

/* The key of a report: of this life of the job. */
static void set_report_key(struct tx *row, const struct job *job)
{
    const char *word = row->kind == TX_RUNNING ? "running" : row->kind == TX_END ? "end" : "refuse";
    (void)snprintf(row->job, sizeof(row->job), "%s", job->id);
    (void)snprintf(row->key, sizeof(row->key), "%s/%s/%" PRIu64, word, job->id, job->claim_block);
}

uint64_t engine_outbox_end_block(struct engine *e, const struct job *job)
{
    struct tx row = {.kind = TX_END};
    uint64_t block = 0;
    set_report_key(&row, job);
    (void)store_tx_mined_in(e->o.store, row.key, &block);
    return block;
}

static void put_report_call(struct engine *e, struct job *job, enum tx_kind kind, struct buf *call)
{
    struct eth_hash id = {{0}};
    (void)hex_decode(id.b, sizeof(id.b), job->id); // checked when the job was made
    switch (kind) {
    case TX_RUNNING:
        (void)contract_call_set_status(call, &id, CHAIN_JOB_RUNNING, 0, "", 0);
        break;
    case TX_END:
        job->billed_min = bill_minutes(job->duration_s,
                                       job->limit_min,
                                       e->bill_grace_min,
                                       job->running_block_s,
                                       engine_chain_now_s(e));
        (void)contract_call_set_status(call,
                                       &id,
                                       (enum chain_job_status)job->end_status,
                                       job->billed_min,
                                       job->reason,
                                       job->exit_code);
        break;
    default:
        (void)contract_call_job(call, "refuseJob(bytes32)", &id);
        break;
    }
}

static void want_status(struct engine *e, struct job *job, enum tx_kind kind)
{
    struct tx row = {.kind = kind};
    struct buf call = BUF_INIT(TX_DATA_MAX);
    set_report_key(&row, job);
    put_report_call(e, job, kind, &call);
    enum report *report = kind == TX_RUNNING ? &job->running_report : &job->end_report;
    if (set_call(&row, &call)) {
        int rc = engine_tx_want(e, &row, true);
        if (rc == 0 || rc == ERR_EXISTS) *report = REPORT_PENDING;
    }
    buf_free(&call);
}

void engine_outbox_report(struct engine *e, struct live_job *j)
{
    struct job *job = &j->row;
    bool refused = job->state == JOB_REFUSED;
    if (job->claim_at == JOB_CLAIM_GONE) return; // the contract would not know what it is about
    if (!refused && job->ran && job->running_report != REPORT_DONE) {
        if (job->running_report == REPORT_NONE) want_status(e, job, TX_RUNNING);
    } else if (job->state != JOB_RUNNING && job->end_report == REPORT_NONE) {
        want_status(e, job, refused ? TX_REFUSE : TX_END);
    }
    (void)store_job_put(e->o.store, job);
}

/* ---- what became of them ---- */

/* What a verdict of the contract means for a kind of call; "" matches every other name. */
enum verdict {
    VERDICT_RETRY = 0,
    VERDICT_REPORTED,
    VERDICT_GONE,
    VERDICT_NOT_RUNNING,
    VERDICT_NO_CLAIM
};

static const struct {
    enum tx_kind kind;
    const char *name;
    enum verdict verdict;
} verdicts[] = {
    {TX_CLAIM, "NoJob", VERDICT_NO_CLAIM},
    {TX_RUNNING, "SameStatusError", VERDICT_REPORTED},
    {TX_RUNNING, "InvalidTransition", VERDICT_GONE},
    {TX_RUNNING, "JobHotStatusOnly", VERDICT_GONE},
    {TX_RUNNING, "JobProviderOnly", VERDICT_GONE},
    {TX_RUNNING, "InvalidJob", VERDICT_GONE},
    {TX_END, "SameStatusError", VERDICT_REPORTED},
    {TX_END, "JobHotStatusOnly", VERDICT_REPORTED},
    {TX_END, "InvalidTransition", VERDICT_NOT_RUNNING},
    {TX_END, "JobProviderOnly", VERDICT_GONE},
    {TX_END, "InvalidJob", VERDICT_GONE},
    {TX_REFUSE, "MetaScheduledScheduledStatusOnly", VERDICT_GONE},
    {TX_REFUSE, "JobProviderOnly", VERDICT_GONE},
    {TX_REFUSE, "InvalidJob", VERDICT_GONE},
};

static enum verdict verdict_of(enum tx_kind kind, const char *name)
{
    for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++)
        if (verdicts[i].kind == kind && strcmp(verdicts[i].name, name) == 0)
            return verdicts[i].verdict;
    return VERDICT_RETRY;
}

static void reported(struct engine *e, struct live_job *j, enum tx_kind kind, const char *detail)
{
    if (kind == TX_RUNNING) {
        j->row.running_report = REPORT_DONE;
        (void)engine_job_event_apply(e, j, EV_RUNNING_REPORTED, detail);
    } else {
        j->row.end_report = REPORT_DONE;
        (void)engine_job_event_apply(e, j, EV_END_REPORTED, detail);
    }
}

static void claim_refused(struct engine *e, enum tx_kind kind, const char *name, const char *revert)
{
    unsigned int suppressed;
    bool empty = verdict_of(TX_CLAIM, name) == VERDICT_NO_CLAIM;
    e->claims_paused_until_ms[kind] = clock_mono_ms() + (empty ? EMPTY_PAUSE_MS : CLAIM_PAUSE_MS);
    if (!empty && log_limit_ok(&e->claim_limit, 10 * CLAIM_PAUSE_MS, &suppressed))
        log_warn("the contract does not let us claim: %s; no claims for %d s, then again "
                 "(is this provider approved, and not banned?)",
                 revert,
                 CLAIM_PAUSE_MS / 1000);
}

static void report_refused(
    struct engine *e, struct live_job *j, enum tx_kind kind, const char *name, const char *revert)
{
    switch (verdict_of(kind, name)) {
    case VERDICT_REPORTED:
        reported(e, j, kind, revert);
        return;
    case VERDICT_GONE: // perhaps for now only: a block may have been un-mined
        engine_survey_want(j, clock_mono_ms());
        *(kind == TX_RUNNING ? &j->row.running_report : &j->row.end_report) = REPORT_NONE;
        break;
    case VERDICT_NOT_RUNNING:
        j->row.running_report = REPORT_NONE;
        j->row.end_report = REPORT_NONE;
        break;
    case VERDICT_RETRY:
    case VERDICT_NO_CLAIM:
        *(kind == TX_RUNNING ? &j->row.running_report : &j->row.end_report) = REPORT_NONE;
        break;
    }
    engine_job_retry(e, j, VERDICT_RETRY_MS, "report", revert);
}

/* Is the report of this life of the job? A later claim makes an old one void. */
static bool is_of(const struct tx *tx, const struct job *job)
{
    struct tx now = {.kind = tx->kind};
    set_report_key(&now, job);
    return strcmp(now.key, tx->key) == 0 || strncmp(tx->key, "old/", 4) == 0;
}

/* Is this job still waiting for that report? */
static struct live_job *job_waiting_for(struct engine *e, const struct tx *tx)
{
    struct live_job *j = tx->job[0] ? engine_job_find(e, tx->job) : NULL;
    if (!j || !is_of(tx, &j->row)) return NULL;
    enum report r = tx->kind == TX_RUNNING ? j->row.running_report : j->row.end_report;
    return r == REPORT_PENDING ? j : NULL;
}

/* A job of a report that was made: in hand, or DONE and taken up again. NULL: another life. */
static struct live_job *job_reported_by(struct engine *e, const struct tx *tx)
{
    struct job row;
    struct live_job *j = tx->job[0] ? engine_job_find(e, tx->job) : NULL;
    if (!j && tx->job[0] && store_job_get(e->o.store, tx->job, &row) == 0 && is_of(tx, &row))
        j = engine_job_add(e, &row);
    return j && is_of(tx, &j->row) ? j : NULL;
}

void engine_outbox_unreport(struct engine *e, const struct tx *tx)
{
    struct live_job *j = job_reported_by(e, tx);
    if (!j) return;
    if (tx->kind == TX_RUNNING) {
        j->row.running_report = REPORT_PENDING;
        j->row.running_block_s = 0;
    } else {
        j->row.end_report = REPORT_PENDING;
        if (j->row.state == JOB_REPORTED || j->row.state == JOB_DONE)
            (void)engine_job_event_apply(e,
                                         j,
                                         tx->kind == TX_REFUSE ? EV_GIVE_BACK : EV_UNREPORTED,
                                         "its block is gone from the chain");
    }
    j->touched = true; // should it be DONE: forgotten again
    (void)store_job_put(e->o.store, &j->row);
}

static void refused(
    struct engine *e, struct live_tx *t, enum tx_state state, const char *name, const char *revert)
{
    struct tx tx = t->row;
    engine_tx_close(e, t, state, revert);
    log_job_debug(tx.job[0] ? tx.job : NULL,
                  "%s: %s: %s",
                  tx_kind_name(tx.kind),
                  tx_state_name(state),
                  revert);
    if (tx.kind == TX_REGISTER) {
        engine_register_done(e, revert);
        return;
    }
    if (is_claim(tx.kind)) {
        claim_refused(e, tx.kind, name, revert);
        return;
    }
    struct live_job *j = job_waiting_for(e, &tx);
    if (j) report_refused(e, j, tx.kind, name, revert);
}

void engine_on_tx_rejected(struct engine *e, struct mail *m)
{
    const struct tx_mail *tm = (const struct tx_mail *)m;
    struct live_tx *t = engine_tx_find(e, tm->id);
    if (t && t->row.state == TX_WANTED) refused(e, t, TX_REJECTED, tm->revert_name, tm->revert);
}

/* By whichever of its attempts: it is the same call. */
void engine_on_tx_mined(struct engine *e, struct mail *m)
{
    const struct tx_mail *tm = (const struct tx_mail *)m;
    struct live_tx *t = engine_tx_find(e, tm->id);
    char detail[64], cost[U256_DEC_TEXT];
    if (!t) return;
    if (!engine_reorg_has(e, tm->block, &tm->block_hash)) { // its block was un-mined meanwhile
        t->handed = false;
        t->retry_at_ms = clock_mono_ms() + STALE_RETRY_MS;
        return;
    }
    t->row.block = tm->block;
    memcpy(t->row.block_hash, tm->block_hash.b, sizeof(t->row.block_hash));
    (void)store_attempt_mined(e->o.store, t->row.id, tm->hash.b, u256_format_dec(cost, tm->cost));
    engine_purse_pay(e, tm->cost);
    if (is_claim(t->row.kind) && tm->block > e->claimed_block) e->claimed_block = tm->block;
    if (!tm->ok) {
        refused(e, t, TX_REVERTED, tm->revert_name, tm->revert);
        return;
    }
    struct tx tx = t->row;
    chain_expect(e->chain, tm->events, tm->event_count);
    // Before it is closed: by its hash its own transitions are known to be ours.
    for (size_t i = 0; i < tm->event_count; i++)
        engine_chain_event(e, &tm->events[i]);
    engine_tx_close(e, t, TX_MINED, "");
    if (tx.kind == TX_REGISTER) engine_register_done(e, NULL);
    struct live_job *j = job_waiting_for(e, &tx);
    if (!j) return;
    if (tx.kind == TX_RUNNING) j->row.running_block_s = tm->block_time_s;
    (void)snprintf(detail, sizeof(detail), "mined in block %" PRIu64, tm->block);
    reported(e, j, tx.kind, detail);
}
