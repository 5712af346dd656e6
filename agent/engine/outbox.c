/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Transactions. A call is decided and stored (WANTED) with the event that led to it; the sender
 * asks for gas and fees; then nonce, signed bytes and hash are stored in one commit (SIGNED), and
 * from there on only these bytes are sent. A call that the contract would revert never takes a
 * nonce. The next nonce follows from what is mined and what is ours in flight: there is no counter
 * to drift.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/engine/engine_private.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"
#include "agent/util/hex.h"

enum {
    CLAIM_PAUSE_MS = 60 * 1000,   // after a claim that the contract does not allow us
    EMPTY_PAUSE_MS = 10 * 1000,   // after one that found nothing: stale entries count as length
    VERDICT_RETRY_MS = 30 * 1000, // after a report that it does not allow now
    BILLING_SLACK_MIN = 15,       // billDurationDeltaMinute (protocol.md C.5)
};

static struct live_tx *find(struct engine *e, uint64_t id)
{
    struct live_tx *t = e->txs;
    while (t && t->row.id != id)
        t = t->next;
    return t;
}

static void drop(struct engine *e, struct live_tx *t)
{
    struct live_tx **at = &e->txs;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    free(t);
}

void engine_outbox_load(struct engine *e, const struct tx *row)
{
    struct live_tx *t = engine_alloc(e, sizeof(*t));
    if (!t) return;
    t->row = *row;
    t->next = e->txs;
    e->txs = t;
}

void engine_outbox_free(struct engine *e)
{
    while (e->txs)
        drop(e, e->txs);
}

bool engine_outbox_has_hash(const struct engine *e, const struct eth_hash *tx)
{
    for (const struct live_tx *t = e->txs; t; t = t->next)
        if (t->row.state == TX_SIGNED && memcmp(t->row.hash, tx->b, sizeof(tx->b)) == 0)
            return true;
    return false;
}

bool engine_outbox_has_job(const struct engine *e, const char *job, enum tx_kind kind)
{
    for (const struct live_tx *t = e->txs; t; t = t->next)
        if (t->row.kind == kind && strcmp(t->row.job, job) == 0) return true;
    return false;
}

struct tx_action {
    struct action action;
    uint64_t id;
};

/* Hand a transaction to the sender, as far as it is. */
static void hand_over(struct engine *e, struct action *a)
{
    struct live_tx *t = find(e, ((struct tx_action *)a)->id);
    if (!t || !e->chain) return;
    int rc;
    if (t->row.state == TX_SIGNED) {
        struct eth_hash hash;
        memcpy(hash.b, t->row.hash, sizeof(hash.b));
        rc = chain_tx_track(e->chain, t->row.id, t->row.nonce, &hash, t->row.raw, t->row.raw_len);
    } else {
        rc = chain_tx_prepare(
            e->chain, t->row.id, &e->o.chain.metascheduler, t->row.data, t->row.data_len);
    }
    t->waiting = rc < 0;
    if (rc < 0)
        log_job_debug(t->row.job[0] ? t->row.job : NULL,
                      "%s waits for the sender: %s",
                      tx_kind_name(t->row.kind),
                      err_text(rc));
}

static void hand_over_after_commit(struct engine *e, const struct live_tx *t)
{
    struct tx_action *a = engine_alloc(e, sizeof(*a));
    if (!a) return;
    a->action.run = hand_over;
    a->id = t->row.id;
    engine_after_commit(e, &a->action);
}

void engine_outbox_resume(struct engine *e)
{
    for (struct live_tx *t = e->txs; t; t = t->next)
        hand_over_after_commit(e, t);
}

void engine_outbox_retry(struct engine *e)
{
    for (struct live_tx *t = e->txs; t; t = t->next)
        if (t->waiting) hand_over_after_commit(e, t);
}

/* Store a call that is to be made; `job` is "" for a claim. */
static bool want(struct engine *e, enum tx_kind kind, const char *job, struct buf *call)
{
    struct live_tx *t = engine_alloc(e, sizeof(*t));
    if (!t || buf_error(call) || call->len > sizeof(t->row.data)) {
        free(t);
        log_job_error(job, "%s cannot be encoded", tx_kind_name(kind));
        return false;
    }
    t->row.kind = kind;
    (void)snprintf(t->row.job, sizeof(t->row.job), "%s", job);
    memcpy(t->row.data, call->data, call->len);
    t->row.data_len = call->len;
    (void)store_tx_insert(e->o.store, &t->row);
    t->next = e->txs;
    e->txs = t;
    hand_over_after_commit(e, t);
    return true;
}

/* ---- claims ---- */

/* The three queues of the contract; each claim takes the next entry of one, whatever it is. */
static const struct queue {
    enum tx_kind kind;
    const char *signature;
    bool needs_slurm; // work that Slurm must take: not while it is away
} queues[] = {
    {TX_CLAIM_CANCEL, "claimNextCancellingJob()", false},
    {TX_CLAIM_TOP_UP, "claimNextTopUpJob()", false},
    {TX_CLAIM, "claimNextJob()", true},
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

static void claim(struct engine *e, const struct queue *q)
{
    if (q->needs_slurm && !e->slurm_up) return;
    if (clock_mono_ms() < e->claims_paused_until_ms[q->kind]) return;
    uint64_t sent = under_way(e, q->kind);
    uint64_t n = min_u64(minus(queue_size(e, q->kind), sent), minus(e->o.claim_batch, sent));
    if (q->kind == TX_CLAIM) n = min_u64(n, minus(e->o.max_jobs, e->job_count + sent));

    struct buf call = BUF_INIT(64);
    (void)contract_call_plain(&call, q->signature);
    for (uint64_t i = 0; i < n; i++)
        (void)want(e, q->kind, "", &call);
    buf_free(&call);
}

void engine_outbox_claim(struct engine *e)
{
    for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++)
        claim(e, &queues[i]);
}

/* ---- reports ---- */

/*
 * Whole minutes, rounded up; not above what was paid for, and not above what the contract accepts:
 * it takes the minutes that passed on chain since RUNNING and 15 more, and bills less if more is
 * named.
 */
static uint64_t minutes_to_bill(const struct engine *e, const struct job *job)
{
    uint64_t min = job->duration_s / 60 + (job->duration_s % 60 != 0);
    if (min > job->limit_min) min = job->limit_min;
    if (job->running_block_s > 0 && e->poll.head_time_s >= job->running_block_s) {
        uint64_t most =
            (uint64_t)(e->poll.head_time_s - job->running_block_s) / 60 + BILLING_SLACK_MIN;
        if (min > most) min = most;
    }
    return min;
}

static void want_status(struct engine *e, struct job *job, enum tx_kind kind)
{
    struct eth_hash id;
    struct buf call = BUF_INIT(TX_DATA_MAX);
    bool ok = hex_decode(id.b, sizeof(id.b), job->id) == 0;
    switch (kind) {
    case TX_RUNNING:
        (void)contract_call_set_status(&call, &id, CHAIN_JOB_RUNNING, 0, "", 0);
        break;
    case TX_END:
        job->billed_min = minutes_to_bill(e, job);
        (void)contract_call_set_status(&call,
                                       &id,
                                       (enum chain_job_status)job->end_status,
                                       job->billed_min,
                                       job->reason,
                                       job->exit_code);
        break;
    default:
        (void)contract_call_job(&call, "refuseJob(bytes32)", &id);
        break;
    }
    enum report *report = kind == TX_RUNNING ? &job->running_report : &job->end_report;
    if (ok && want(e, kind, job->id, &call)) *report = REPORT_PENDING;
    buf_free(&call);
}

void engine_outbox_report(struct engine *e, struct live_job *j)
{
    struct job *job = &j->row;
    bool refused = job->state == JOB_REFUSED;
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
    case VERDICT_GONE:
        (void)engine_job_event_apply(e, j, EV_GONE, revert);
        return;
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

/* Is this job still waiting for that report? A later claim, or DONE, makes an old one void. */
static struct live_job *job_waiting_for(struct engine *e, const struct tx *tx)
{
    struct live_job *j = tx->job[0] ? engine_job_find(e, tx->job) : NULL;
    if (!j) return NULL;
    enum report r = tx->kind == TX_RUNNING ? j->row.running_report : j->row.end_report;
    return r == REPORT_PENDING ? j : NULL;
}

static void close_tx(struct engine *e, struct live_tx *t, enum tx_state state, const char *reason)
{
    t->row.state = state;
    (void)snprintf(t->row.reason, sizeof(t->row.reason), "%.*s", JOB_REASON_MAX - 1, reason);
    (void)store_tx_update(e->o.store, &t->row);
    drop(e, t);
}

static void refused(
    struct engine *e, struct live_tx *t, enum tx_state state, const char *name, const char *revert)
{
    struct tx tx = t->row;
    close_tx(e, t, state, revert);
    log_job_debug(tx.job[0] ? tx.job : NULL,
                  "%s: %s: %s",
                  tx_kind_name(tx.kind),
                  tx_state_name(state),
                  revert);
    if (is_claim(tx.kind)) {
        claim_refused(e, tx.kind, name, revert);
        return;
    }
    struct live_job *j = job_waiting_for(e, &tx);
    if (j) report_refused(e, j, tx.kind, name, revert);
}

static uint64_t next_nonce(const struct engine *e)
{
    uint64_t next = e->ready.nonce > e->poll.nonce ? e->ready.nonce : e->poll.nonce;
    for (const struct live_tx *t = e->txs; t; t = t->next)
        if (t->row.state == TX_SIGNED && t->row.nonce >= next) next = t->row.nonce + 1;
    return next;
}

static int sign(struct engine *e, struct tx *tx, const struct chain_fees *fees, struct error *err)
{
    struct eth_tx call = {
        .eip1559 = fees->eip1559,
        .chain_id = e->ready.chain_id,
        .nonce = next_nonce(e),
        .gas_limit = fees->gas_limit,
        .max_fee_per_gas = fees->max_fee_per_gas,
        .max_priority_fee_per_gas = fees->max_priority_fee_per_gas,
        .to = e->o.chain.metascheduler,
        .data = tx->data,
        .data_len = tx->data_len,
    };
    struct eth_hash hash;
    struct buf raw = BUF_INIT(sizeof(tx->raw));
    fault_point(FAULT_SIGN_BEFORE);
    int rc = signer_sign_tx(e->o.signer, &call, &raw, &hash, err);
    fault_point(FAULT_SIGN_AFTER);
    if (rc == 0) {
        tx->state = TX_SIGNED;
        tx->has_nonce = true;
        tx->nonce = call.nonce;
        memcpy(tx->hash, hash.b, sizeof(tx->hash));
        memcpy(tx->raw, raw.data, raw.len);
        tx->raw_len = raw.len;
    }
    buf_free(&raw);
    return rc;
}

void engine_on_tx_prepared(struct engine *e, struct mail *m)
{
    const struct tx_mail *tm = (const struct tx_mail *)m;
    struct live_tx *t = find(e, tm->id);
    struct error err = {0};
    if (!t || t->row.state != TX_WANTED) return;
    if (!e->ready.chain_id) { // the watcher has not said which chain this is: ask again
        hand_over_after_commit(e, t);
        return;
    }
    if (sign(e, &t->row, &tm->fees, &err) < 0) {
        log_job_error(t->row.job, "%s cannot be signed: %s", tx_kind_name(t->row.kind), err.text);
        hand_over_after_commit(e, t);
        return;
    }
    (void)store_tx_update(e->o.store, &t->row);
    hand_over_after_commit(e, t);
}

void engine_on_tx_rejected(struct engine *e, struct mail *m)
{
    const struct tx_mail *tm = (const struct tx_mail *)m;
    struct live_tx *t = find(e, tm->id);
    if (t) refused(e, t, TX_REJECTED, tm->revert_name, tm->revert);
}

void engine_on_tx_mined(struct engine *e, struct mail *m)
{
    const struct tx_mail *tm = (const struct tx_mail *)m;
    struct live_tx *t = find(e, tm->id);
    if (!t) return;
    t->row.block = tm->block;
    // The next nonce must not fall behind what we know to be mined, whatever the last poll said.
    if (t->row.nonce >= e->ready.nonce) e->ready.nonce = t->row.nonce + 1;
    if (!tm->ok) {
        refused(e, t, TX_REVERTED, tm->revert_name, tm->revert);
        return;
    }
    struct tx tx = t->row;
    char detail[64];
    chain_expect(e->chain, tm->events, tm->event_count);
    // Before it is closed: by its hash its own transitions are known to be ours.
    for (size_t i = 0; i < tm->event_count; i++)
        engine_chain_event(e, &tm->events[i]);
    close_tx(e, t, TX_MINED, "");
    struct live_job *j = job_waiting_for(e, &tx);
    if (!j) return;
    if (tx.kind == TX_RUNNING) j->row.running_block_s = tm->block_time_s;
    (void)snprintf(detail, sizeof(detail), "mined in block %" PRIu64, tm->block);
    reported(e, j, tx.kind, detail);
}

/* Its nonce was taken by a transaction of somebody who has our key too: the call is made anew. */
void engine_on_tx_superseded(struct engine *e, struct mail *m)
{
    struct live_tx *t = find(e, ((const struct tx_mail *)m)->id);
    if (!t) return;
    log_job_warn(t->row.job[0] ? t->row.job : NULL,
                 "%s: another transaction of this account took nonce %" PRIu64
                 ", sending it again with a new one (is the key used elsewhere?)",
                 tx_kind_name(t->row.kind),
                 t->row.nonce);
    if (t->row.nonce >= e->ready.nonce) e->ready.nonce = t->row.nonce + 1;
    t->row.state = TX_WANTED;
    t->row.has_nonce = false;
    (void)store_tx_update(e->o.store, &t->row);
    hand_over_after_commit(e, t);
}
