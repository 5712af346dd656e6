/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Being registered: every so often, and whenever a poll shows that something changed, a worker
 * reads what the contract has of us and what nodes Slurm has; registration.c decides; a
 * registration is an intent in the outbox like any other call. What must outlast a restart (when
 * we last registered, since when the hardware differs, whether we were ever approved, whether a
 * human asked) is in the store.
 *
 * By the same occasion the contract is asked how reports are billed.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/engine/bill.h"
#include "agent/engine/engine_private.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"

enum {
    CHECK_MAX_MS = 600 * 1000, // that Slurm got more nodes is noticed within ten minutes
    AGAIN_MS = 60 * 1000,      // after a check that could not be made
    CLOSED_EVERY_MS = 3600 * 1000,
    TEXT_MAX = 4096,
};

/* Keys of the store's single values. */
static const char key_last[] = "register_last_ms", key_differs[] = "register_differs_ms",
                  key_approved[] = "register_approved", key_asked[] = REGISTER_ASKED_KEY,
                  key_grace[] = "bill_grace_min";

void engine_register_load(struct engine *e)
{
    struct live_registration *r = &e->registration;
    uint64_t v = 0;
    r->last_ms = store_meta_get_u64(e->o.store, key_last, &v) == 0 ? (int64_t)v : 0;
    r->differs_since_ms = store_meta_get_u64(e->o.store, key_differs, &v) == 0 ? (int64_t)v : 0;
    r->was_approved = store_meta_get_u64(e->o.store, key_approved, &v) == 0 && v;
    r->human_asked = store_meta_get_u64(e->o.store, key_asked, &v) == 0 && v;
    e->bill_grace_min = store_meta_get_u64(e->o.store, key_grace, &v) == 0 ? v : BILL_GRACE_MIN;
}

/* ---- the check, on a worker ---- */

struct register_task {
    struct task task;
    struct mail mail;
    struct engine *e;
    struct engine_registration should; // as it was when the task was made: it may change meanwhile
    struct chain_provider terms;
    struct chain_standing standing;
    struct chain_provider wanted;
    uint64_t grace_min;
    int rc, wanted_rc, grace_rc;
    struct error error, wanted_error, grace_error;
};

static struct register_task *of_mail(struct mail *m)
{
    return (struct register_task *)((char *)m - offsetof(struct register_task, mail));
}

static void free_task(struct register_task *t)
{
    chain_standing_free(&t->standing);
    provider_free(&t->terms);
    provider_free(&t->wanted);
    free(t);
}

static void free_mail(struct mail *m)
{
    free_task(of_mail(m));
}

static void drop(struct task *task)
{
    free_task((struct register_task *)task);
}

int engine_register_wanted(struct slurm_backend *slurm,
                           const char *partition,
                           const struct engine_registration *r,
                           long long deadline_ms,
                           struct chain_provider *wanted,
                           struct error *err)
{
    bool all_given = r->rules.nodes && r->rules.gpus; // CPUs and memory are, then
    struct slurm_partition p = {0};
    int rc = all_given ? 0 : slurm->ops->partition(slurm, partition, deadline_ms, &p, err);
    if (rc == 0) rc = provider_copy_terms(wanted, r->terms);
    if (rc == 0) rc = registration_hardware(p.nodes, p.count, &r->rules, wanted, err);
    free(p.nodes);
    return rc;
}

static void run(struct task *task)
{
    struct register_task *t = (struct register_task *)task;
    const struct engine_options *o = &t->e->o;
    fault_point(FAULT_STANDING_BEFORE);
    t->rc = chain_standing_get(t->e->chain, &t->standing, &t->error);
    t->grace_rc = chain_bill_grace_get(t->e->chain, &t->grace_min, &t->grace_error);
    fault_point(FAULT_STANDING_AFTER);
    if (t->rc == 0)
        t->wanted_rc = engine_register_wanted(o->slurm,
                                              o->partition,
                                              &t->should,
                                              clock_mono_ms() + o->slurm_timeout_ms,
                                              &t->wanted,
                                              &t->wanted_error);
    engine_post(t->e, &t->mail);
}

long long engine_register_next_ms(const struct engine *e)
{
    const struct live_registration *r = &e->registration;
    return r->checking || !e->chain_up || !e->workers ? LLONG_MAX : r->next_ms;
}

void engine_register_check(struct engine *e)
{
    if (clock_mono_ms() < engine_register_next_ms(e)) return;
    struct register_task *t = engine_alloc(e, sizeof(*t));
    if (!t) return;
    t->task = (struct task){.run = run, .drop = drop};
    t->mail = (struct mail){.kind = MAIL_REGISTER_TASK, .free = free_mail};
    t->e = e;
    t->should = e->o.registration;
    t->should.terms = &t->terms;
    if (provider_copy_terms(&t->terms, e->o.registration.terms) < 0) e->out_of_memory = true;
    e->registration.checking = true;
    (void)engine_work(e, &t->task);
}

/* ---- saying it ---- */

/* A line for each change, not for each check. */
static void __attribute__((format(printf, 3, 4)))
tell(struct engine *e, enum log_level level, const char *fmt, ...)
{
    struct live_registration *r = &e->registration;
    char text[sizeof(r->told)];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (strcmp(text, r->told) == 0) return;
    memcpy(r->told, text, sizeof(text));
    log_write(level, NULL, "registration: %s", text);
}

static void tell_state(struct engine *e, const struct register_task *t, const char *differences)
{
    const char *when = e->o.registration.by_itself
                           ? "it is registered when --register.interval allows that"
                           : "--register.auto is off: `deepsquare-agent register` asks for it";
    switch (e->registration.state) {
    case REGISTRATION_GOOD:
        tell(e, LOG_LEVEL_INFO, "approved, and as it should be");
        break;
    case REGISTRATION_WAITING:
        tell(e,
             LOG_LEVEL_WARN,
             "waits for the operator's approval; %s",
             t->standing.valid ? "until then what was approved before counts"
                               : "no job is claimed until then");
        break;
    case REGISTRATION_DIFFERS:
        tell(e, LOG_LEVEL_WARN, "differs from what it should be: %s; %s", differences, when);
        break;
    case REGISTRATION_NONE:
        tell(e,
             LOG_LEVEL_WARN,
             "this provider is not registered, and no job is claimed; %s",
             t->wanted_rc < 0 ? t->wanted_error.text : when);
        break;
    case REGISTRATION_BANNED:
        tell(e,
             LOG_LEVEL_ERROR,
             "the operator has banned this provider: no job is claimed and the contract takes no "
             "reports; jobs that run go on, and are reported if the ban is lifted");
        break;
    case REGISTRATION_REMOVED:
        tell(e,
             LOG_LEVEL_ERROR,
             "the operator has removed this provider: no job is claimed and the contract takes no "
             "reports; jobs that run go on. To ask for approval again, stop the agent, run "
             "`deepsquare-agent register`, and start it");
        break;
    case REGISTRATION_UNKNOWN:
    case REGISTRATION_DUE:
    case REGISTRATION_SENT:
        break;
    }
}

static void tell_prices(struct engine *e, const struct chain_provider *approved)
{
    bool are_zero = approved->known && provider_is_free(&approved->prices);
    if (are_zero && !e->registration.zero_prices)
        log_error("registration: this provider is approved with prices of zero: the contract "
                  "cannot give out a job at these, so none is claimed until others are approved");
    e->registration.zero_prices = are_zero;
}

const char *engine_register_status(const struct engine *e)
{
    static const char *const texts[] = {
        [REGISTRATION_UNKNOWN] = "",
        [REGISTRATION_GOOD] = "",
        [REGISTRATION_WAITING] = "; registration waits for approval",
        [REGISTRATION_DIFFERS] = "; registration differs",
        [REGISTRATION_NONE] = "; NOT REGISTERED",
        [REGISTRATION_DUE] = "",
        [REGISTRATION_SENT] = "; registering",
        [REGISTRATION_BANNED] = "; BANNED by the operator",
        [REGISTRATION_REMOVED] = "; REMOVED by the operator",
    };
    const struct live_registration *r = &e->registration;
    if (r->polled && !e->poll.open) return "; CLOSED: the contract takes no new jobs";
    if (r->zero_prices) return "; approved with prices of ZERO";
    return texts[r->state];
}

/* ---- deciding it ---- */

/* What a check under way finds out may be too old. */
static void check_soon(struct live_registration *r)
{
    r->next_ms = 0;
    r->again = r->checking;
}

void engine_register_soon(struct engine *e)
{
    check_soon(&e->registration);
}

static void put_time(struct engine *e, const char *key, int64_t *member, int64_t value)
{
    if (*member == value) return;
    *member = value;
    (void)store_meta_put_u64(e->o.store, key, (uint64_t)value);
}

static void put_flag(struct engine *e, const char *key, bool *member, bool value)
{
    if (*member == value) return;
    *member = value;
    (void)store_meta_put_u64(e->o.store, key, value);
}

/* Make the intent. False: it cannot be encoded, and has been told. */
static bool send(struct engine *e, const struct register_task *t, const char *differences)
{
    struct buf call = BUF_INIT(TX_DATA_MAX), text = BUF_INIT(TEXT_MAX);
    bool on_chain = t->standing.approved.known || t->standing.waiting.known, sent = false;
    if (provider_encode(&call, &t->wanted) < 0) {
        tell(e,
             LOG_LEVEL_ERROR,
             "%zu nodes and %zu labels do not fit into a transaction of %d bytes; register fewer, "
             "larger nodes: --res.nodes, --res.cpus, --res.mem",
             t->wanted.node_count,
             t->wanted.label_count,
             TX_DATA_MAX);
    } else {
        provider_describe(&t->wanted, "; ", &text);
        if (on_chain)
            log_info("registration: registering again, since it differs: %s", differences);
        else
            log_info("registration: registering: %s", buf_str(&text));
        sent = engine_outbox_register(e, &call);
    }
    buf_free(&call);
    buf_free(&text);
    return sent;
}

/* What cannot be read now is as it was; what cannot be read at all is as the Grid has it. */
static void take_grace(struct engine *e, const struct register_task *t)
{
    uint64_t grace_min = t->grace_min;
    if (t->grace_rc < 0) {
        unsigned int suppressed;
        log_debug("%s", t->grace_error.text);
        if (t->grace_rc != ERR_NOTFOUND && t->grace_rc != ERR_LIMIT) return;
        grace_min = BILL_GRACE_MIN;
        if (log_limit_ok(&e->registration.grace_limit, CLOSED_EVERY_MS, &suppressed))
            log_warn("%s; taking it as %d minutes", t->grace_error.text, BILL_GRACE_MIN);
    }
    if (grace_min == e->bill_grace_min) return;
    log_info("a report may now exceed the minutes that passed since RUNNING by %" PRIu64
             ", before by %" PRIu64,
             grace_min,
             e->bill_grace_min);
    e->bill_grace_min = grace_min;
    (void)store_meta_put_u64(e->o.store, key_grace, grace_min);
}

static struct registration_facts facts_of(struct engine *e, const struct register_task *t)
{
    const struct live_registration *r = &e->registration;
    return (struct registration_facts){
        .approved = t->standing.approved.known,
        .waiting = t->standing.waiting.known,
        .banned = t->standing.approved.banned,
        .was_approved = r->was_approved,
        .known = t->wanted_rc == 0,
        .by_itself = e->o.registration.by_itself,
        .asked = r->human_asked,
        .under_way = engine_outbox_has_job(e, "", TX_REGISTER),
        .now_ms = clock_wall_ms(),
        .last_ms = r->last_ms,
        .interval_ms = e->o.registration.interval_ms,
    };
}

static void decide(struct engine *e, const struct register_task *t)
{
    struct live_registration *r = &e->registration;
    struct registration_facts f = facts_of(e, t);
    struct buf text = BUF_INIT(TEXT_MAX);
    const struct chain_provider *has = f.waiting ? &t->standing.waiting : &t->standing.approved;
    if (f.known && has->known) f.differs = provider_compare(has, &t->wanted, "; ", &text);
    bool hardware = f.differs & PROVIDER_HARDWARE;
    if (f.known)
        put_time(e,
                 key_differs,
                 &r->differs_since_ms,
                 !hardware             ? 0
                 : r->differs_since_ms ? r->differs_since_ms
                                       : f.now_ms);
    f.differs_since_ms = r->differs_since_ms;

    r->state = registration_decide(&f);
    if (f.approved) put_flag(e, key_approved, &r->was_approved, true);
    if (r->state == REGISTRATION_DUE) {
        if (!send(e, t, buf_str(&text))) goto out;
        put_time(e, key_last, &r->last_ms, f.now_ms);
        put_time(e, key_differs, &r->differs_since_ms, 0);
        r->state = REGISTRATION_SENT;
        r->told[0] = '\0';
    }
    if (r->state != REGISTRATION_BANNED && f.known) put_flag(e, key_asked, &r->human_asked, false);
    tell_state(e, t, buf_str(&text));
out:
    tell_prices(e, &t->standing.approved);
    buf_free(&text);
}

void engine_on_register_task(struct engine *e, struct mail *m)
{
    struct register_task *t = of_mail(m);
    struct live_registration *r = &e->registration;
    long long period = e->o.registration.interval_ms / 4;
    r->checking = false;
    if (r->again) {
        r->again = false;
        return;
    }
    r->checked = true; // also if it failed: then a claim tells
    take_grace(e, t);
    if (t->rc < 0) {
        log_debug("registration: %s", t->error.text);
        r->next_ms = clock_mono_ms() + AGAIN_MS;
        return;
    }
    decide(e, t);
    if (period > CHECK_MAX_MS) period = CHECK_MAX_MS;
    if (t->wanted_rc < 0 && period < AGAIN_MS) period = AGAIN_MS;
    r->next_ms = clock_mono_ms() + period;
}

void engine_register_done(struct engine *e, const char *revert)
{
    if (revert) log_error("registration: the contract refuses it: %s", revert);
    check_soon(&e->registration);
}

void engine_register_poll(struct engine *e)
{
    struct live_registration *r = &e->registration;
    unsigned int suppressed;
    if (!r->polled || r->valid != e->poll.valid || r->waiting != e->poll.waiting) {
        check_soon(r);
        r->checked = false;
    }
    if (e->poll.valid && r->polled && !r->valid) {
        memset(e->claims_paused_until_ms, 0, sizeof(e->claims_paused_until_ms));
        engine_jobs_report_now(e);
    }
    if (e->poll.open && r->polled && !r->open) log_info("the contract takes new jobs again");
    r->polled = true;
    r->valid = e->poll.valid;
    r->waiting = e->poll.waiting;
    r->open = e->poll.open;
    if (!r->open && log_limit_ok(&r->closed_limit, CLOSED_EVERY_MS, &suppressed))
        log_error("the contract takes no new jobs any more: it is being retired. No job is "
                  "claimed; what runs is finished and reported");
}

bool engine_register_lets_claim(const struct engine *e, enum tx_kind kind)
{
    const struct live_registration *r = &e->registration;
    if (!e->poll.valid) return false; // it would revert, whatever the claim is for
    return kind != TX_CLAIM || (e->poll.open && r->checked && !r->zero_prices);
}
