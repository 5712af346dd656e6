/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The loop. A turn: begin; handle every message; begin what jobs ask for; commit; answer and act.
 * If the commit fails nothing was answered or sent, memory is ahead of the store, and the process
 * ends.
 */
#include "agent/engine/engine.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/engine/engine_private.h"
#include "agent/slurm/auto.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"
#include "agent/util/hex.h"

enum {
    MAIL_MAX = 16384, // plugin events that may wait: beyond it they are told to come again
    STOP_MS = 8000,   // for calls under way: half of what an impatient init gives us
    PRUNE_EVERY_MS = 3600 * 1000,
    KEEP_DONE_DAYS = 90,              // how long a done job can be looked up: a billing quarter
    KEEP_BILL_DAYS = 3653,            // what tax law asks for: ten years of rows of 200 bytes
    KEEP_EARLY_MS = 24 * 3600 * 1000, // far longer than a submission's answer takes
};

void *engine_alloc(struct engine *e, size_t size)
{
    void *p = calloc(1, size);
    if (!p) e->out_of_memory = true;
    return p;
}

void engine_after_commit(struct engine *e, struct action *a)
{
    a->next = NULL;
    *e->last_action = a;
    e->last_action = &a->next;
}

struct work_action {
    struct action action;
    struct task *task;
};

static void start_work(struct engine *e, struct action *a)
{
    workers_add(e->workers, ((struct work_action *)a)->task);
}

static void drop_work(struct action *a)
{
    struct task *t = ((struct work_action *)a)->task;
    t->drop(t);
}

bool engine_work(struct engine *e, struct task *t)
{
    struct work_action *a = engine_alloc(e, sizeof(*a));
    if (!a) {
        t->drop(t);
        return false;
    }
    a->action = (struct action){.run = start_work, .drop = drop_work};
    a->task = t;
    engine_after_commit(e, &a->action);
    return true;
}

void engine_post(struct engine *e, struct mail *m)
{
    (void)mailbox_post(e->mailbox, m, true);
}

static void load_job(void *ctx, const struct job *row)
{
    struct live_job *j = engine_job_add(ctx, row);
    if (!j) return;
    j->touched = true;
    // What was under way when the last process ended may have been carried out.
    if (row->state == JOB_SUBMITTING || row->state == JOB_CANCELLING)
        j->unknown_since_ms = clock_mono_ms();
    if (engine_job_before_slurm(j)) engine_survey_inherit(j);
}

/* A report that is marked as pending without its row would be awaited for ever. */
static void check_reports(struct engine *e, struct live_job *j)
{
    struct job *r = &j->row;
    if (r->running_report == REPORT_PENDING && !engine_outbox_has_job(e, r->id, TX_RUNNING))
        r->running_report = REPORT_NONE;
    if (r->end_report == REPORT_PENDING && !engine_outbox_has_job(e, r->id, TX_END) &&
        !engine_outbox_has_job(e, r->id, TX_REFUSE))
        r->end_report = REPORT_NONE;
}

/* Where the chain was left. Without hashes a reorganisation of meanwhile is not noticed. */
static void load_cursor(struct engine *e)
{
    uint64_t cursor;
    struct store_block rows[BLOCKS_MAX];
    struct chain_options *o = &e->o.chain;
    o->has_cursor = store_meta_get_u64(e->o.store, "cursor", &cursor) == 0;
    if (o->has_cursor) o->cursor = cursor;
    (void)store_meta_get_u64(e->o.store, "chain_id", &o->chain_id);
    if (store_blocks_load(e->o.store, rows, BLOCKS_MAX, &o->block_count) < 0)
        log_warn("the store's block hashes cannot be read, ignoring them");
    for (size_t i = 0; i < o->block_count; i++) {
        struct chain_block block = {.number = rows[i].number};
        memcpy(block.hash.b, rows[i].hash, sizeof(rows[i].hash));
        blocks_push(&e->blocks, &block);
    }
    o->blocks = e->blocks.list;
    o->block_count = e->blocks.count;
}

static int load(struct engine *e, struct error *err)
{
    size_t unreadable = 0;
    int rc = engine_inflight_load(e, err);
    if (rc == 0) rc = engine_purse_load(e, err);
    if (rc < 0) return rc;
    rc = store_jobs_open(e->o.store, load_job, e, &unreadable);
    if (rc < 0) return error_set(err, rc, "store: jobs cannot be read");
    if (e->out_of_memory) return error_set(err, ERR_NOMEM, "store: out of memory");
    if (unreadable)
        log_error("%zu jobs in the store cannot be read and are left alone", unreadable);
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (struct live_job *j = e->jobs[i]; j; j = j->next)
            check_reports(e, j);
    load_cursor(e);
    engine_register_load(e);
    return 0;
}

/* A state directory is about one contract and one account: another's nonces would be taken for
 * ours. */
static int bind_store(struct engine *e, struct error *err)
{
    char text[ETH_ADDRESS_TEXT];
    int rc =
        store_bind(e->o.store, "contract", hex_encode(text, e->o.chain.metascheduler.b, 20), err);
    if (rc < 0) return rc;
    return store_bind(e->o.store, "provider", hex_encode(text, e->o.chain.provider.b, 20), err);
}

struct engine *engine_new(const struct engine_options *options, struct error *err)
{
    struct engine *e = calloc(1, sizeof(*e));
    if (!e) {
        (void)error_set(err, ERR_NOMEM, "engine: out of memory");
        return NULL;
    }
    e->o = *options;
    e->last_action = &e->actions;
    e->last_tx = &e->txs;
    e->mailbox = mailbox_new(MAIL_MAX, err);
    if (!e->mailbox || bind_store(e, err) < 0 || load(e, err) < 0) return engine_destroy(e);
    if (e->job_count) log_info("taking up %zu jobs from the store", e->job_count);
    return e;
}

int engine_start(struct engine *e, struct error *err)
{
    e->workers = workers_new(e->o.workers, err);
    if (!e->workers) return ERR_NOMEM;
    e->chain = chain_start(&e->o.chain, &engine_chain_ops, e, err);
    return e->chain ? 0 : ERR_NOMEM;
}

typedef void mail_fn(struct engine *e, struct mail *m);

static mail_fn *const handlers[MAIL_KIND_COUNT] = {
    [MAIL_CHAIN_READY] = engine_on_chain_ready,
    [MAIL_CHAIN_POLL] = engine_on_chain_poll,
    [MAIL_CHAIN_LOGS] = engine_on_chain_logs,
    [MAIL_CHAIN_REORG] = engine_on_chain_reorg,
    [MAIL_CHAIN_DOWN] = engine_on_chain_down,
    [MAIL_TX_PREPARED] = engine_on_tx_prepared,
    [MAIL_TX_REJECTED] = engine_on_tx_rejected,
    [MAIL_TX_MINED] = engine_on_tx_mined,
    [MAIL_TX_STUCK] = engine_on_tx_stuck,
    [MAIL_TX_VOID] = engine_on_tx_void,
    [MAIL_ACCOUNT] = engine_on_account,
    [MAIL_PLUGIN_EVENT] = engine_on_plugin_event,
    [MAIL_JOB_TASK] = engine_on_job_task,
    [MAIL_SLURM_TASK] = engine_on_slurm_task,
    [MAIL_LISTING] = engine_on_listing,
    [MAIL_PROBES] = engine_on_probes,
    [MAIL_REGISTER_TASK] = engine_on_register_task,
    [MAIL_CAPACITY_TASK] = engine_on_capacity_task,
};

static void prune(struct engine *e)
{
    long long now = clock_mono_ms();
    if (now < e->prune_at_ms) return;
    e->prune_at_ms = now + PRUNE_EVERY_MS;
    const int64_t day_ms = 24 * 3600 * 1000;
    (void)store_prune(e->o.store, clock_wall_ms() - KEEP_DONE_DAYS * day_ms);
    (void)store_bills_prune(e->o.store, clock_wall_ms() - KEEP_BILL_DAYS * day_ms);
    int early = store_early_prune(e->o.store, clock_wall_ms() - KEEP_EARLY_MS);
    if (early > 0) log_info("dropped %d events of jobs that never became known", early);
}

void engine_act(struct engine *e, bool committed)
{
    struct action *a = e->actions;
    e->actions = NULL;
    e->last_action = &e->actions;
    for (struct action *next; a; a = next) {
        next = a->next;
        if (committed)
            a->run(e, a);
        else if (a->drop)
            a->drop(a);
        free(a);
    }
}

static void tell_status(struct engine *e)
{
    char text[sizeof(e->status)], way[64] = "";
    struct slurm_auto_way w;
    if (slurm_auto_way(e->o.slurm, &w))
        (void)snprintf(way,
                       sizeof(way),
                       " over %s (%llu changes of way)",
                       w.over_ssh ? "SSH" : "slurmrestd",
                       w.changes);
    (void)snprintf(text,
                   sizeof(text),
                   "%zu jobs in hand; chain %s; Slurm %s%s%s",
                   e->job_count,
                   !e->chain_up                 ? "unreachable: reports wait"
                   : e->purse.state != PURSE_OK ? "ok, but no money for new claims"
                                                : "ok",
                   e->slurm_up ? "ok" : "unreachable: no new claims",
                   e->slurm_up ? way : "",
                   engine_register_status(e));
    if (strcmp(text, e->status) == 0) return;
    memcpy(e->status, text, sizeof(text));
    log_debug("status: %s", text);
    if (e->o.status) e->o.status(e->o.status_ctx, text);
}

/* Pass a turn's fault points: one for each kind of mail (bits of `kinds`) that it handled. */
static void pass_turn(unsigned int kinds, bool committed)
{
    static const struct {
        enum fault before, after;
    } points[] = {
#define TURN(kind) {FAULT_TURN_##kind##_BEFORE, FAULT_TURN_##kind##_AFTER}
        [0] = TURN(TIMER),
        [MAIL_CHAIN_READY] = TURN(CHAIN_READY),
        [MAIL_CHAIN_POLL] = TURN(CHAIN_POLL),
        [MAIL_CHAIN_LOGS] = TURN(CHAIN_LOGS),
        [MAIL_CHAIN_REORG] = TURN(CHAIN_REORG),
        [MAIL_CHAIN_DOWN] = TURN(CHAIN_DOWN),
        [MAIL_TX_PREPARED] = TURN(TX_PREPARED),
        [MAIL_TX_REJECTED] = TURN(TX_REJECTED),
        [MAIL_TX_MINED] = TURN(TX_MINED),
        [MAIL_TX_STUCK] = TURN(TX_STUCK),
        [MAIL_TX_VOID] = TURN(TX_VOID),
        [MAIL_ACCOUNT] = TURN(ACCOUNT),
        [MAIL_PLUGIN_EVENT] = TURN(PLUGIN_EVENT),
        [MAIL_JOB_TASK] = TURN(JOB_TASK),
        [MAIL_SLURM_TASK] = TURN(SLURM_TASK),
        [MAIL_LISTING] = TURN(LISTING),
        [MAIL_PROBES] = TURN(PROBES),
        [MAIL_REGISTER_TASK] = TURN(REGISTER_TASK),
        [MAIL_CAPACITY_TASK] = TURN(CHAIN_POLL), // likewise the commit of a claim that is wanted
#undef TURN
    };
    _Static_assert(sizeof(points) / sizeof(points[0]) == MAIL_KIND_COUNT, "each kind has points");
    if (kinds == 0) kinds = 1; // no mail: kind 0
    for (int i = 0; i < MAIL_KIND_COUNT; i++)
        if (kinds & 1u << i) fault_point(committed ? points[i].after : points[i].before);
}

static int turn(struct engine *e, struct mail *mail, struct error *err)
{
    unsigned int kinds = 0;
    (void)store_begin(e->o.store);
    for (struct mail *m = mail, *next; m; m = next) {
        next = m->next;
        kinds |= 1u << m->kind;
        handlers[m->kind](e, m);
        mail_free(m);
    }
    engine_jobs_pursue(e);
    engine_inflight_pursue(e);
    engine_slurm_ask(e);
    engine_survey_ask(e);
    engine_register_check(e);
    prune(e);
    pass_turn(kinds, false);
    int rc = e->out_of_memory ? error_set(err, ERR_NOMEM, "out of memory")
                              : store_commit(e->o.store, err);
    if (rc < 0) {
        engine_act(e, false);
        return error_prefix(err,
                            "what happened cannot be stored, so nothing of it was acknowledged; "
                            "stopping");
    }
    pass_turn(kinds, true);
    engine_act(e, true);
    tell_status(e);
    return 0;
}

static int poll_timeout(const struct engine *e)
{
    long long next = engine_jobs_next_ms(e);
    long long slurm = engine_slurm_next_ms(e);
    long long survey = engine_survey_next_ms(e);
    long long registration = engine_register_next_ms(e);
    if (slurm < next) next = slurm;
    if (survey < next) next = survey;
    long long tx = engine_inflight_next_ms(e);
    if (tx < next) next = tx;
    if (registration < next) next = registration;
    if (e->prune_at_ms < next) next = e->prune_at_ms;
    if (e->o.alive_every_ms && e->alive_at_ms < next) next = e->alive_at_ms;
    long long left = next - clock_mono_ms();
    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static void tell_alive(struct engine *e)
{
    long long now = clock_mono_ms();
    if (!e->o.alive_every_ms || now < e->alive_at_ms) return;
    e->alive_at_ms = now + e->o.alive_every_ms;
    e->o.alive();
}

int engine_run(struct engine *e, int wake_fd, struct error *err)
{
    struct pollfd fds[] = {{.fd = mailbox_fd(e->mailbox), .events = POLLIN},
                           {.fd = wake_fd, .events = POLLIN}};
    for (;;) {
        int rc = turn(e, mailbox_drain(e->mailbox), err);
        if (rc < 0) return rc;
        tell_alive(e);
        if (poll(fds, 2, poll_timeout(e)) < 0 && errno != EINTR)
            return error_set(err, ERR_IO, "poll: %s", strerror(errno));
        if (fds[1].revents) return 0;
    }
}

/* A time that lies further ahead than a new interval allows. */
static void bring_forward(long long *at_ms, long long interval_ms)
{
    long long latest = clock_mono_ms() + interval_ms;
    if (*at_ms > latest) *at_ms = latest;
}

void engine_reload(struct engine *e, const struct engine_options *options)
{
    struct engine_options *o = &e->o;
    o->claim_batch = options->claim_batch;
    o->max_jobs = options->max_jobs;
    o->only_if_free = options->only_if_free;
    o->min_balance = options->min_balance;
    o->max_spend_per_day = options->max_spend_per_day;
    o->query_interval_ms = options->query_interval_ms;
    o->reconcile_interval_ms = options->reconcile_interval_ms;
    o->reconcile_grace_ms = options->reconcile_grace_ms;
    o->chain.caps = options->chain.caps;
    o->chain.bump_after = options->chain.bump_after;
    o->registration = options->registration;
    chain_set_fee_rules(e->chain, &o->chain.caps, o->chain.bump_after);
    bring_forward(&e->slurm_next_ms, o->query_interval_ms);
    bring_forward(&e->survey.list_at_ms, o->reconcile_interval_ms);
    bring_forward(&e->survey.all_at_ms, o->reconcile_interval_ms);
    engine_register_soon(e);
}

bool engine_stop(struct engine *e)
{
    if (!e) return true;
    atomic_store(&e->stopping, true);
    e->chain = chain_stop(e->chain);
    bool ended = workers_stop(e->workers, clock_mono_ms() + STOP_MS);
    if (ended) e->workers = NULL;
    return ended;
}

struct engine *engine_destroy(struct engine *e)
{
    if (!e) return NULL;
    e->mailbox = mailbox_destroy(e->mailbox);
    engine_act(e, false);
    engine_jobs_free(e);
    engine_outbox_free(e);
    engine_survey_free(e);
    free(e->capacity.seen.is.nodes);
    free(e->layout.is.nodes);
    free(e);
    return NULL;
}
