/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the chain's threads say, on its way to the engine, and what follows from it. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/engine/engine_private.h"
#include "agent/util/clock.h"
#include "agent/util/hex.h"

/* ---- on the chain's threads: copy and post ---- */

struct ready_mail {
    struct mail mail;
    struct chain_ready ready;
};

struct poll_mail {
    struct mail mail;
    struct chain_poll poll;
};

struct down_mail {
    struct mail mail;
    struct error err;
};

struct logs_mail {
    struct mail mail;
    uint64_t to;
    bool again;
    struct chain_block blocks[BLOCKS_MAX];
    size_t block_count;
    size_t count;
    struct chain_event events[];
};

/*
 * A message that cannot be made for lack of memory would be lost, and with it a claim: end the
 * process instead; the next one reads the same blocks again.
 */
static void *new_mail(size_t size, enum mail_kind kind)
{
    struct mail *m = calloc(1, size);
    if (!m) {
        log_error("out of memory; stopping, nothing is lost");
        abort();
    }
    m->kind = kind;
    return m;
}

static void on_ready(void *ctx, const struct chain_ready *ready)
{
    struct ready_mail *m = new_mail(sizeof(*m), MAIL_CHAIN_READY);
    m->ready = *ready;
    engine_post(ctx, &m->mail);
}

static void on_poll(void *ctx, const struct chain_poll *poll)
{
    struct poll_mail *m = new_mail(sizeof(*m), MAIL_CHAIN_POLL);
    m->poll = *poll;
    engine_post(ctx, &m->mail);
}

static void on_down(void *ctx, const struct error *err)
{
    struct down_mail *m = new_mail(sizeof(*m), MAIL_CHAIN_DOWN);
    m->err = *err;
    engine_post(ctx, &m->mail);
}

static void on_logs(void *ctx, const struct chain_logs *l)
{
    struct logs_mail *m = new_mail(sizeof(*m) + l->count * sizeof(m->events[0]), MAIL_CHAIN_LOGS);
    m->to = l->to;
    m->again = l->again;
    m->count = l->count;
    if (l->count) memcpy(m->events, l->events, l->count * sizeof(m->events[0]));
    m->block_count = l->block_count < BLOCKS_MAX ? l->block_count : BLOCKS_MAX;
    if (m->block_count) memcpy(m->blocks, l->blocks, m->block_count * sizeof(m->blocks[0]));
    engine_post(ctx, &m->mail);
}

static void on_reorg(void *ctx, uint64_t fork)
{
    struct reorg_mail *m = new_mail(sizeof(*m), MAIL_CHAIN_REORG);
    m->fork = fork;
    engine_post(ctx, &m->mail);
}

static void free_tx_mail(struct mail *m)
{
    free(((struct tx_mail *)m)->events);
    free(m);
}

static struct tx_mail *new_tx_mail(uint64_t id, enum mail_kind kind)
{
    struct tx_mail *m = new_mail(sizeof(*m), kind);
    m->mail.free = free_tx_mail;
    m->id = id;
    m->revert_name = "";
    return m;
}

static void on_tx_prepared(void *ctx, uint64_t id, const struct chain_fees *fees)
{
    struct tx_mail *m = new_tx_mail(id, MAIL_TX_PREPARED);
    m->fees = *fees;
    engine_post(ctx, &m->mail);
}

static void on_tx_rejected(void *ctx, uint64_t id, const char *revert_name, const char *revert)
{
    struct tx_mail *m = new_tx_mail(id, MAIL_TX_REJECTED);
    m->revert_name = revert_name;
    (void)snprintf(m->revert, sizeof(m->revert), "%s", revert);
    engine_post(ctx, &m->mail);
}

static void on_tx_mined(void *ctx, uint64_t id, const struct chain_receipt *r)
{
    struct tx_mail *m = new_tx_mail(id, MAIL_TX_MINED);
    m->hash = r->tx;
    m->cost = r->cost;
    m->ok = r->ok;
    m->block = r->block;
    m->block_hash = r->block_hash;
    m->block_time_s = r->block_time_s;
    if (!r->ok) {
        m->revert_name = r->revert_name ? r->revert_name : "";
        (void)snprintf(m->revert, sizeof(m->revert), "%s", r->revert);
    }
    if (r->event_count) {
        m->events = calloc(r->event_count, sizeof(m->events[0]));
        // Without them the claim is still read from the logs.
        if (m->events) {
            memcpy(m->events, r->events, r->event_count * sizeof(m->events[0]));
            m->event_count = r->event_count;
        }
    }
    engine_post(ctx, &m->mail);
}

static void
on_tx_stuck(void *ctx, uint64_t id, const struct eth_hash *hash, const struct chain_fees *fees)
{
    struct tx_mail *m = new_tx_mail(id, MAIL_TX_STUCK);
    m->hash = *hash;
    m->fees = *fees;
    engine_post(ctx, &m->mail);
}

static void on_tx_void(void *ctx, uint64_t id, const struct eth_hash *hash, const char *why)
{
    struct tx_mail *m = new_tx_mail(id, MAIL_TX_VOID);
    m->hash = *hash;
    m->why = why;
    engine_post(ctx, &m->mail);
}

static void on_account(void *ctx, const struct chain_account *account)
{
    struct account_mail *m = new_mail(sizeof(*m), MAIL_ACCOUNT);
    m->account = *account;
    engine_post(ctx, &m->mail);
}

const struct chain_ops engine_chain_ops = {
    .ready = on_ready,
    .poll = on_poll,
    .logs = on_logs,
    .reorg = on_reorg,
    .down = on_down,
    .tx_prepared = on_tx_prepared,
    .tx_rejected = on_tx_rejected,
    .tx_mined = on_tx_mined,
    .tx_stuck = on_tx_stuck,
    .tx_void = on_tx_void,
    .account = on_account,
};

/* ---- on the engine's thread ---- */

void engine_on_chain_ready(struct engine *e, struct mail *m)
{
    const struct chain_ready *r = &((const struct ready_mail *)m)->ready;
    const struct signer_rules rules = {.chain_id = r->chain_id,
                                       .metascheduler = e->o.chain.metascheduler,
                                       .provider_manager = r->provider_manager};
    struct error err = {0};
    if (signer_set_rules(e->o.signer, &rules, &err) < 0) {
        log_error("%s", err.text);
        return;
    }
    // From the first answer on this state is about that chain: chain_options.chain_id.
    (void)store_meta_put_u64(e->o.store, "chain_id", r->chain_id);
    log_info("chain %" PRIu64 ": the node answers; %" PRIu64 " transactions of ours are mined",
             r->chain_id,
             r->nonce);
    e->chain_up = true;
    e->ready = *r;
    engine_survey_all(e);
}

void engine_on_chain_poll(struct engine *e, struct mail *m)
{
    e->poll = ((const struct poll_mail *)m)->poll;
    e->polled_at_ms = clock_mono_ms();
    engine_register_poll(e);
    if (e->chain_up) engine_outbox_claim(e);
}

/* Time passes on chain, too, while the node cannot be asked. */
int64_t engine_chain_now_s(const struct engine *e)
{
    if (!e->polled_at_ms) return clock_wall_s();
    return e->poll.head_time_s + (clock_mono_ms() - e->polled_at_ms) / 1000;
}

void engine_on_chain_down(struct engine *e, struct mail *m)
{
    e->chain_up = false;
    log_warn("the chain's node cannot be used: %s; jobs run on, reports wait, it is tried again",
             ((const struct down_mail *)m)->err.text);
}

void engine_on_chain_logs(struct engine *e, struct mail *m)
{
    const struct logs_mail *lm = (const struct logs_mail *)m;
    for (size_t i = 0; i < lm->count; i++)
        engine_chain_event(e, &lm->events[i]);
    if (lm->again) return;
    (void)store_meta_put_u64(e->o.store, "cursor", lm->to);
    if (lm->block_count && lm->blocks[0].number > 0) // they may be read a second time
        blocks_cut(&e->blocks, lm->blocks[0].number - 1);
    for (size_t i = 0; i < lm->block_count; i++) {
        (void)store_block_put(e->o.store, lm->blocks[i].number, lm->blocks[i].hash.b);
        blocks_push(&e->blocks, &lm->blocks[i]);
    }
    if (lm->block_count) engine_reorg_check(e, lm->blocks[0].number);
    if (lm->block_count && lm->to >= BLOCKS_MAX)
        (void)store_blocks_prune(e->o.store, lm->to - BLOCKS_MAX + 1);
}

enum {
    LIMIT_MIN_MAX = 60 * 24 * 366 * 10, // ten years: Slurm keeps limits in 32 bits of minutes
    COUNT_MAX = 1 << 30,                // tasks, CPUs, MB, GPUs: far beyond any cluster
};

/* Why a claim cannot be run, or NULL. */
static const char *claim_fault(const struct chain_claim *c)
{
    if (c->max_duration_min == 0) return "the time that was paid for is 0 minutes";
    if (c->ntasks == 0 || c->cpus_per_task == 0 || c->mem_per_cpu_mb == 0)
        return "tasks, CPUs per task and memory per CPU must be above 0";
    if (c->ntasks > COUNT_MAX || c->cpus_per_task > COUNT_MAX || c->mem_per_cpu_mb > COUNT_MAX ||
        c->gpus > COUNT_MAX)
        return "tasks, CPUs, memory or GPUs are out of range";
    if (!c->location_hash[0]) return "it names no script (batchLocationHash is empty or unusable)";
    return NULL;
}

struct job engine_job_of_claim(const struct eth_hash *id,
                               const struct chain_claim *c,
                               uint64_t block,
                               const struct job *old)
{
    struct job job = {
        .claim_block = block,
        .claim_at = block,
        .limit_min = c->max_duration_min < LIMIT_MIN_MAX ? c->max_duration_min : LIMIT_MIN_MAX,
        .prev_slurm_id = old ? (old->slurm_id ? old->slurm_id : old->prev_slurm_id) : 0,
        .created_ms = clock_wall_ms(),
        .state = old ? old->state : JOB_NONE,
    };
    (void)hex_encode(job.id, id->b, sizeof(id->b));
    memcpy(job.customer, c->customer.b, sizeof(job.customer));
    (void)snprintf(job.location_hash, sizeof(job.location_hash), "%s", c->location_hash);
    if (claim_fault(c)) return job; // its numbers may be more than the store takes
    job.ntasks = c->ntasks;
    job.cpus_per_task = c->cpus_per_task;
    job.mem_per_cpu_mb = c->mem_per_cpu_mb;
    job.gpus = c->gpus;
    return job;
}

/*
 * The claim that a reorganisation took away was mined again: the job goes on as it is. If it is
 * DONE, that was on the ground of what the chain had before.
 */
static void claimed_again(struct engine *e,
                          struct live_job *j,
                          const struct job *row,
                          const struct chain_event *ev)
{
    if (!j) j = engine_job_add(e, row);
    if (!j) return;
    j->row.claim_at = ev->block;
    j->touched = true;
    log_job_info(row->id, "claimed again in block %" PRIu64 ", as before", ev->block);
    engine_job_unsettle(e, j, "claimed again");
    (void)store_job_put(e->o.store, &j->row);
    engine_survey_want(j, clock_mono_ms()); // it may be held until the contract agrees
}

static void on_claim(struct engine *e, const struct chain_event *ev)
{
    char id[JOB_ID_TEXT], detail[128];
    struct job old = {0};
    if (memcmp(ev->provider.b, e->o.chain.provider.b, sizeof(ev->provider.b)) != 0) return;
    (void)hex_encode(id, ev->job.b, sizeof(ev->job.b));

    struct live_job *j = engine_job_find(e, id);
    bool known = j != NULL;
    if (j)
        old = j->row;
    else
        known = store_job_get(e->o.store, id, &old) == 0;
    // By the block of its first claim it is no later life, whatever was read in between.
    bool again = ev->block > old.claim_at && ev->block <= old.claim_block;
    if (known && (old.claim_at == JOB_CLAIM_GONE || again)) {
        claimed_again(e, j, &old, ev);
        return;
    }
    if (known && ev->block <= old.claim_at) return; // seen before: receipt and log tell the same
    if (known && fsm_next(old.state, EV_CLAIM) == JOB_NONE) {
        log_job_error(id,
                      "claimed again in block %" PRIu64 " while it is %s here, ignoring the claim",
                      ev->block,
                      job_state_name(old.state));
        return;
    }
    struct job row = engine_job_of_claim(&ev->job, &ev->claim, ev->block, known ? &old : NULL);
    const char *fault = claim_fault(&ev->claim);
    if (fault) {
        row.end_status = CHAIN_JOB_FAILED;
        (void)snprintf(row.reason, sizeof(row.reason), "%s", fault);
    }
    if (j)
        j->row = row;
    else
        j = engine_job_add(e, &row);
    if (!j) return;
    // Not by a transaction of this store: another life of ours, which may have got further.
    if (!engine_outbox_has_hash(e, &ev->tx)) {
        engine_survey_inherit(j);
        j->unknown_since_ms = clock_mono_ms();
    }
    (void)snprintf(detail,
                   sizeof(detail),
                   "%" PRIu64 " min, %" PRIu64 " x %" PRIu64 " CPUs, %" PRIu64
                   " MB per CPU, %" PRIu64 " GPUs",
                   row.limit_min,
                   ev->claim.ntasks,
                   ev->claim.cpus_per_task,
                   ev->claim.mem_per_cpu_mb,
                   ev->claim.gpus);
    if (fault)
        (void)engine_job_event_apply(e, j, EV_CLAIM_BAD, fault);
    else
        (void)engine_job_event_apply(e, j, EV_CLAIM, detail);
}

/* A transition of a job of ours that none of our transactions made. */
static void on_transition(struct engine *e, const struct chain_event *ev)
{
    char id[JOB_ID_TEXT], detail[96];
    bool ends = ev->to == CHAIN_JOB_PENDING || ev->to >= CHAIN_JOB_CANCELLED;
    struct live_job *j =
        ends ? engine_job_find(e, hex_encode(id, ev->job.b, sizeof(ev->job.b))) : NULL;
    if (!j || ev->block < j->row.claim_at || engine_outbox_has_hash(e, &ev->tx)) return;
    // Receipts come sooner than logs: this may be our own report, already dealt with.
    if (j->row.state == JOB_REPORTED || j->row.state == JOB_DONE) return;
    (void)snprintf(detail,
                   sizeof(detail),
                   "on chain it went from %s to %s",
                   chain_job_status_name(ev->from),
                   chain_job_status_name(ev->to));
    (void)engine_job_event_apply(e, j, EV_GONE, detail);
}

/* The live job of an event that the contract addressed to us, or NULL. */
static struct live_job *job_of(struct engine *e, const struct chain_event *ev)
{
    char id[JOB_ID_TEXT];
    if (memcmp(ev->provider.b, e->o.chain.provider.b, sizeof(ev->provider.b)) != 0) return NULL;
    struct live_job *j = engine_job_find(e, hex_encode(id, ev->job.b, sizeof(ev->job.b)));
    return j && ev->block >= j->row.claim_at ? j : NULL;
}

/* The contract keeps such a job RUNNING until its end is reported. A repeat changes nothing. */
static void on_cancel(struct engine *e, const struct chain_event *ev)
{
    struct live_job *j = job_of(e, ev);
    if (!j || j->row.state == JOB_STOPPING) return;
    (void)engine_job_event_apply(e, j, EV_CANCEL_REQUEST, "asked for on chain");
}

static void on_top_up(struct engine *e, const struct chain_event *ev)
{
    char detail[96];
    struct live_job *j = job_of(e, ev);
    if (!j || ev->top_up_min == 0) return; // a second entry of one top-up says 0 minutes
    uint64_t minutes = ev->top_up_min < LIMIT_MIN_MAX ? ev->top_up_min : LIMIT_MIN_MAX;
    if (store_top_up_add(e->o.store, j->row.id, ev->block, ev->log_index, minutes) == ERR_EXISTS)
        return; // receipt and log tell the same
    uint64_t sum = j->row.limit_min + minutes;
    j->row.limit_min = sum < LIMIT_MIN_MAX ? sum : LIMIT_MIN_MAX;
    (void)snprintf(detail,
                   sizeof(detail),
                   "%" PRIu64 " more minutes, %" PRIu64 " in all",
                   minutes,
                   j->row.limit_min);
    log_job_info(j->row.id, "%s", detail);
    (void)engine_job_event_apply(e, j, EV_TOP_UP, detail);
}

void engine_chain_event(struct engine *e, const struct chain_event *ev)
{
    switch (ev->kind) {
    case CHAIN_EVENT_CLAIM:
        on_claim(e, ev);
        break;
    case CHAIN_EVENT_TRANSITION:
        on_transition(e, ev);
        break;
    case CHAIN_EVENT_CANCEL:
        on_cancel(e, ev);
        break;
    case CHAIN_EVENT_TOP_UP:
        on_top_up(e, ev);
        break;
    case CHAIN_EVENT_NONE:
        break;
    }
}
