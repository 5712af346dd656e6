/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What workers do for one job: fetch its script, submit it, cancel it, ask the contract. A task
 * works on a copy of the job; its result is a message that the engine turns into an event.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/engine/engine_private.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"
#include "agent/util/hex.h"

enum {
    CONFIRM_RETRY_MS = 5000, // a node behind a load balancer may lag by a block or two
    STATES_KEPT = 120,       // blocks as of which any node can answer; many keep 128 states
};

struct job_task {
    struct task task;
    struct mail mail;
    struct engine *e;
    enum job_intent intent;
    struct job job;    // as it was when the task began; the result's fields are written here
    struct buf script; // in for SUBMIT, out for FETCH
    bool adopted;      // it was in Slurm already
    bool inherited;    // LOOK: an earlier life of ours may have submitted this claim
    bool never_sent;   // SUBMIT: no submission of this claim can be in Slurm
    bool may_submit;   // SUBMIT: false while only a look-up is allowed
    bool fits;         // LOOK: into the partition, as far as is known
    struct slurm_partition partition; // LOOK: if it was asked for
    uint64_t end_block;               // CONFIRM: in which our report of the end is; 0: none is
    struct chain_bill bill;           // CONFIRM, CANCEL
    enum job_event event;
    bool slurm_asked; // Slurm was asked, and error.code says how it went
    struct error error;
};

static struct job_task *of_mail(struct mail *m)
{
    return (struct job_task *)((char *)m - offsetof(struct job_task, mail));
}

static void free_task(struct job_task *t)
{
    buf_free(&t->script);
    free(t->partition.nodes);
    free(t);
}

static void free_mail(struct mail *m)
{
    free_task(of_mail(m));
}

static const char late_text[] = "not in Slurm so far; its last submission may still arrive";

/* ---- on a worker ---- */

static int find(struct job_task *t, struct slurm_job *found)
{
    struct slurm_backend *b = t->e->o.slurm;
    fault_point(FAULT_FIND_BEFORE);
    int rc = b->ops->find(
        b, t->job.id, t->job.user, clock_mono_ms() + t->e->o.slurm_timeout_ms, found, &t->error);
    fault_point(FAULT_FIND_AFTER);
    return rc;
}

/* The job may be in Slurm already, from a submission whose answer we never saw. */
static int adopt(struct job_task *t)
{
    struct slurm_job found;
    int rc = find(t, &found);
    if (rc == ERR_NOTFOUND || (rc == 0 && found.id == t->job.prev_slurm_id)) return ERR_NOTFOUND;
    if (rc < 0) return rc;
    t->job.slurm_id = found.id;
    t->job.submit_s = found.submit_s;
    t->adopted = true;
    return 0;
}

/*
 * A script that cannot be had (any more) may be that of a job which an earlier life of ours has
 * submitted long ago.
 */
static enum job_event without_script(struct job_task *t)
{
    struct engine *e = t->e;
    struct error why = t->error;
    if (!t->inherited) return EV_SCRIPT_BAD;
    int rc =
        e->o.user_of(e->o.user_ctx, t->job.customer, t->job.user, sizeof(t->job.user), &t->error);
    if (rc == 0) rc = adopt(t);
    if (rc == 0) return EV_SUBMITTED;
    if (err_class_of(rc) != ERR_CLASS_PERMANENT) return EV_RETRY;
    t->error = why;
    return EV_SCRIPT_BAD;
}

static void fetch(struct job_task *t)
{
    struct engine *e = t->e;
    struct customer_script script = {0};
    struct customer_request request = {.job_id = t->job.id, .location_hash = t->job.location_hash};
    memcpy(request.customer, t->job.customer, sizeof(request.customer));

    fault_point(FAULT_FETCH_BEFORE);
    int rc = customer_fetch(
        e->o.customer, &request, clock_mono_ms() + e->o.customer_timeout_ms, &script, &t->error);
    fault_point(FAULT_FETCH_AFTER);
    if (rc < 0) {
        t->event = err_class_of(rc) == ERR_CLASS_PERMANENT ? without_script(t) : EV_RETRY;
        return;
    }
    t->script = script.body;
    (void)snprintf(t->job.logger_url, sizeof(t->job.logger_url), "%s", script.logger_url);
    t->event = EV_SCRIPT;
}

/* What a failed operation of Slurm means for a submission that was not yet sent. */
static enum job_event not_sent(int rc)
{
    return err_class_of(rc) == ERR_CLASS_PERMANENT ? EV_SUBMIT_REFUSED : EV_RETRY;
}

/* As whom the job is to run, and whether Slurm has him. */
static int check_user(struct job_task *t)
{
    struct engine *e = t->e;
    struct slurm_backend *b = e->o.slurm;
    int rc =
        e->o.user_of(e->o.user_ctx, t->job.customer, t->job.user, sizeof(t->job.user), &t->error);
    if (rc < 0) return rc;
    t->slurm_asked = true;
    fault_point(FAULT_USER_BEFORE);
    rc = b->ops->user_exists(b, t->job.user, clock_mono_ms() + e->o.slurm_timeout_ms, &t->error);
    fault_point(FAULT_USER_AFTER);
    if (rc == ERR_NOTFOUND)
        (void)error_set(&t->error, rc, "there is no Unix user %s on this cluster", t->job.user);
    return rc;
}

/* An earlier life of ours may have submitted it: only when Slurm surely has it not may we. */
static void look_for_ours(struct job_task *t)
{
    int rc = adopt(t);
    if (rc == ERR_NOTFOUND && !t->may_submit) rc = error_set(&t->error, ERR_BUSY, "%s", late_text);
    t->event = rc == 0 ? EV_SUBMITTED : rc == ERR_NOTFOUND ? EV_DISPATCH : EV_RETRY;
}

/*
 * Slurm takes a job that is larger than the partition, or has more time than that gives (unless
 * EnforcePartLimits is set), and never starts it. Only what the nodes are configured with counts,
 * be they down or drained; and if the partition cannot be asked for, Slurm has its word.
 */
static void check_size(struct job_task *t)
{
    const struct engine_options *o = &t->e->o;
    struct error unused;
    if (t->event != EV_DISPATCH || t->fits) return;
    int rc = o->slurm->ops->partition(
        o->slurm, o->partition, clock_mono_ms() + o->slurm_timeout_ms, &t->partition, &unused);
    if (rc == 0 && engine_capacity_check(&t->partition, &t->job, &t->error) < 0)
        t->event = EV_SUBMIT_REFUSED;
}

/*
 * Before this claim is submitted: whatever Slurm has of that name by now is an earlier claim's, or
 * somebody else's make. It is noted, and a later look-up does not take it for this claim's.
 */
static void look(struct job_task *t)
{
    struct slurm_job found;
    int rc = check_user(t);
    if (rc < 0) {
        t->event = not_sent(rc);
        return;
    }
    if (t->inherited) {
        look_for_ours(t);
        return;
    }
    rc = find(t, &found);
    // Accounting, which tells of what has left the queue, may be away while Slurm works.
    if (rc < 0 && rc != ERR_NOTFOUND && rc != ERR_BUSY) {
        t->event = EV_RETRY;
        return;
    }
    t->event = EV_DISPATCH;
    t->error = (struct error){0};
    if (rc < 0 || found.id == t->job.prev_slurm_id) return;
    t->job.prev_slurm_id = found.id;
    (void)error_set(
        &t->error, 0, "Slurm job %" PRIu64 " of its name is not of this claim", found.id);
}

static int send_job(struct job_task *t)
{
    struct engine *e = t->e;
    struct slurm_job_spec spec = {
        .name = t->job.id,
        .user = t->job.user,
        .comment = e->o.comment,
        .partition = e->o.partition,
        .output = e->o.output,
        .script = t->script.data,
        .script_len = t->script.len,
        .ntasks = t->job.ntasks,
        .cpus_per_task = t->job.cpus_per_task,
        .mem_per_cpu_mb = t->job.mem_per_cpu_mb,
        .gpus = t->job.gpus,
        .time_limit_min = t->job.limit_min,
    };
    return e->o.slurm->ops->submit(
        e->o.slurm, &spec, clock_mono_ms() + e->o.slurm_timeout_ms, &t->job.slurm_id, &t->error);
}

static void submit(struct job_task *t)
{
    t->slurm_asked = true;
    int rc = t->never_sent ? ERR_NOTFOUND : adopt(t);
    if (rc == ERR_NOTFOUND && !t->may_submit) rc = error_set(&t->error, ERR_BUSY, "%s", late_text);
    if (rc != ERR_NOTFOUND) {
        t->event = rc == 0 ? EV_SUBMITTED : EV_RETRY;
        return;
    }
    t->error = (struct error){0};
    fault_point(FAULT_SUBMIT_BEFORE);
    rc = send_job(t);
    fault_point(FAULT_SUBMIT_AFTER);
    t->event = rc >= 0                                 ? EV_SUBMITTED
               : err_class_of(rc) == ERR_CLASS_UNKNOWN ? EV_SUBMIT_UNKNOWN
                                                       : not_sent(rc);
}

/* Is it alive in Slurm? Its id may be another's job by now, which must not be touched. */
static int is_alive(struct job_task *t)
{
    struct slurm_backend *b = t->e->o.slurm;
    struct slurm_job job;
    enum slurm_proof proof;
    size_t found = 0;
    int rc = b->ops->query(b,
                           &t->job.slurm_id,
                           1,
                           clock_mono_ms() + t->e->o.slurm_timeout_ms,
                           &job,
                           &found,
                           &proof,
                           &t->error);
    if (rc < 0) return rc;
    return found == 1 && engine_job_is(&t->job, &job) &&
           slurm_phase_of(job.state) != SLURM_PHASE_ENDED;
}

/* The price may have changed since the end was billed. */
static void ask_price(struct job_task *t, const struct chain_job *job)
{
    uint64_t block = t->end_block ? t->end_block : job->changed_block;
    if (!block || block > job->at_block || job->at_block - block > STATES_KEPT) return;
    t->bill.price_of_then =
        chain_price_at(t->e->chain, block, job, &t->bill.price_per_min, NULL) == 0;
}

/* What the contract has of the job; also in t->bill, if the job is ours there. */
static int ask_contract(struct job_task *t, struct chain_job *job)
{
    struct eth_hash id;
    (void)hex_decode(id.b, sizeof(id.b), t->job.id);
    int rc = chain_job_get(t->e->chain, &id, job, &t->error);
    bool ours = rc == 0 && memcmp(job->provider.b, t->e->o.chain.provider.b, 20) == 0;
    if (ours)
        t->bill = (struct chain_bill){.known = true,
                                      .status = job->status,
                                      .start_s = job->start_s,
                                      .end_s = job->end_s,
                                      .cost = job->final_cost,
                                      .price_per_min = job->price_per_min};
    if (ours && job->status >= CHAIN_JOB_CANCELLED) ask_price(t, job);
    return rc;
}

static void cancel(struct job_task *t)
{
    struct slurm_backend *b = t->e->o.slurm;
    struct chain_job on_chain;
    int rc = 0;
    if (!t->job.slurm_id) {
        if (t->job.user[0]) rc = adopt(t);
        if (rc == ERR_NOTFOUND && !t->may_submit)
            rc = error_set(&t->error, ERR_BUSY, "%s", late_text);
        if (rc == ERR_NOTFOUND) rc = 0;
    }
    t->slurm_asked = true;
    if (rc == 0 && t->job.slurm_id) rc = is_alive(t);
    fault_point(FAULT_CANCEL_BEFORE);
    if (rc > 0)
        rc = b->ops->cancel(
            b, t->job.slurm_id, t->job.user, clock_mono_ms() + t->e->o.slurm_timeout_ms, &t->error);
    fault_point(FAULT_CANCEL_AFTER);
    t->event = rc < 0 ? EV_RETRY : EV_CANCELLED;
    // Nothing is reported of a job that was taken away: this is the last time to ask.
    if (rc >= 0 && t->job.state == JOB_CANCELLING && ask_contract(t, &on_chain) < 0)
        t->error = (struct error){0};
}

/* The limit is absolute: telling it twice changes nothing. */
static void extend(struct job_task *t)
{
    struct slurm_backend *b = t->e->o.slurm;
    t->slurm_asked = true;
    int rc = is_alive(t);
    fault_point(FAULT_EXTEND_BEFORE);
    if (rc > 0)
        rc = b->ops->set_time_limit(b,
                                    t->job.slurm_id,
                                    engine_job_slurm_limit_min(&t->job),
                                    clock_mono_ms() + t->e->o.slurm_timeout_ms,
                                    &t->error);
    fault_point(FAULT_EXTEND_AFTER);
    // A job that has ended meanwhile needs no time.
    t->event = rc >= 0 || rc == ERR_NOTFOUND || rc == ERR_EXISTS ? EV_EXTENDED : EV_RETRY;
}

/* Does the contract's view of the job fit our last report? */
static void confirm(struct job_task *t)
{
    struct chain_job on_chain;
    fault_point(FAULT_CONFIRM_BEFORE);
    int rc = ask_contract(t, &on_chain);
    fault_point(FAULT_CONFIRM_AFTER);
    if (rc < 0 && rc != ERR_NOTFOUND) {
        t->event = EV_RETRY;
        return;
    }
    bool hot = t->bill.known &&
               (on_chain.status == CHAIN_JOB_SCHEDULED || on_chain.status == CHAIN_JOB_RUNNING);
    if (hot) {
        (void)error_set(&t->error,
                        ERR_BUSY,
                        "the contract still says %s",
                        chain_job_status_name(on_chain.status));
        t->event = EV_RETRY;
        return;
    }
    (void)error_set(&t->error,
                    0,
                    "the contract says %s",
                    rc == 0 ? chain_job_status_name(on_chain.status) : "it knows no such job");
    t->event = EV_CONFIRMED;
}

static void run(struct task *task)
{
    struct job_task *t = (struct job_task *)task;
    switch (t->intent) {
    case INTENT_FETCH:
        fetch(t);
        break;
    case INTENT_LOOK:
        look(t);
        check_size(t);
        break;
    case INTENT_SUBMIT:
        submit(t);
        break;
    case INTENT_CANCEL:
        cancel(t);
        break;
    case INTENT_CONFIRM:
        confirm(t);
        break;
    case INTENT_EXTEND:
        extend(t);
        break;
    default:
        t->event = EV_RETRY;
        break;
    }
    engine_post(t->e, &t->mail);
}

static void drop(struct task *task)
{
    free_task((struct job_task *)task);
}

/* ---- on the engine's thread ---- */

void engine_task_start(struct engine *e, struct live_job *j, enum job_intent intent)
{
    struct job_task *t = engine_alloc(e, sizeof(*t));
    if (!t) return;
    t->task = (struct task){.run = run, .drop = drop};
    t->mail = (struct mail){.kind = MAIL_JOB_TASK, .free = free_mail};
    t->e = e;
    t->intent = intent;
    t->job = j->row;
    t->script = BUF_INIT(SIZE_MAX / 2); // what is in the store was bounded when it was fetched
    if (intent == INTENT_CONFIRM) t->end_block = engine_outbox_end_block(e, &j->row);
    t->inherited = j->inherited;
    t->never_sent = !j->unknown_since_ms;
    t->may_submit =
        !j->unknown_since_ms || clock_mono_ms() - j->unknown_since_ms >= e->o.submit_grace_ms;
    t->fits = engine_capacity_fits(e, &j->row);
    if (intent == INTENT_SUBMIT && store_script_get(e->o.store, j->row.id, &t->script) < 0) {
        free_task(t);
        engine_job_retry(e, j, 0, "submit", "its script cannot be read from the store");
        return;
    }
    j->busy = engine_work(e, &t->task);
}

/* Take over what the task found out. */
static void merge(struct engine *e, struct live_job *j, struct job_task *t)
{
    struct job *row = &j->row;
    switch (t->event) {
    case EV_SCRIPT:
        memcpy(row->logger_url, t->job.logger_url, sizeof(row->logger_url));
        (void)store_script_put(e->o.store, row->id, t->script.data, t->script.len);
        break;
    case EV_DISPATCH:
        row->prev_slurm_id = t->job.prev_slurm_id;
        j->unknown_since_ms = 0;
        j->inherited = false; // Slurm had it not
        break;
    case EV_CANCELLED:
        row->slurm_id = t->job.slurm_id; // it may have been found just now
        j->bill = t->bill;
        break;
    case EV_SUBMITTED:
        row->slurm_id = t->job.slurm_id;
        row->submit_s = t->job.submit_s;
        j->absent_since_ms = 0;
        j->waited_until_s = t->adopted ? 0 : clock_wall_s();
        row->slurm_limit_min = t->adopted ? 0 : t->job.limit_min; // an adopted job's is not known
        j->unknown_since_ms = 0;
        break;
    case EV_EXTENDED:
        row->slurm_limit_min = engine_job_slurm_limit_min(&t->job);
        break;
    case EV_CONFIRMED:
        j->bill = t->bill;
        break;
    case EV_SUBMIT_UNKNOWN:
        j->unknown_since_ms = clock_mono_ms();
        break;
    case EV_SCRIPT_BAD:
        row->end_status = CHAIN_JOB_FAILED;
        (void)snprintf(row->reason, sizeof(row->reason), "%.*s", JOB_REASON_MAX - 1, t->error.text);
        break;
    case EV_SUBMIT_REFUSED:
        (void)snprintf(row->reason, sizeof(row->reason), "%.*s", JOB_REASON_MAX - 1, t->error.text);
        break;
    default:
        break;
    }
    if (t->intent == INTENT_LOOK || t->event == EV_SUBMITTED)
        memcpy(row->user, t->job.user, sizeof(row->user));
}

static void describe(const struct job_task *t, char *text, size_t size)
{
    switch (t->event) {
    case EV_SCRIPT:
        (void)snprintf(text, size, "script of %zu bytes", t->script.len);
        break;
    case EV_SUBMITTED:
        (void)snprintf(
            text, size, "Slurm job %" PRIu64 " of user %s", t->job.slurm_id, t->job.user);
        break;
    default:
        (void)snprintf(text, size, "%s", t->error.text);
        break;
    }
}

void engine_on_job_task(struct engine *e, struct mail *m)
{
    struct job_task *t = of_mail(m);
    char detail[512];
    struct live_job *j = engine_job_find(e, t->job.id);
    bool reached = t->error.code >= 0 || err_class_of(t->error.code) == ERR_CLASS_PERMANENT;
    if (t->slurm_asked && t->error.code != ERR_BUSY)
        engine_slurm_seen(e, reached || t->event == EV_SUBMITTED, t->error.text);
    if (t->partition.nodes) engine_capacity_learn(e, &t->partition);
    if (!j) return; // only DONE jobs are forgotten, and not while they are busy
    j->busy = false;
    j->touched = true;
    // A claim made anew meanwhile: what was found out is about the job's earlier life.
    if (j->row.claim_block != t->job.claim_block) return;
    if (j->row.state != JOB_DONE) {
        merge(e, j, t);
    } else if (t->event == EV_CANCELLED) { // its end was told meanwhile
        j->bill = t->bill;
        engine_job_close_bill(e, j, false);
    }
    describe(t, detail, sizeof(detail));
    if (t->event == EV_RETRY) {
        engine_job_retry(e,
                         j,
                         t->intent == INTENT_CONFIRM ? CONFIRM_RETRY_MS : 0,
                         job_intent_name(t->intent),
                         detail);
        return;
    }
    if (!engine_job_event_apply(e, j, t->event, detail)) return;
    if (j->row.state == JOB_REFUSED) engine_tell_customer(e, &j->row);
    if (t->event == EV_SUBMIT_UNKNOWN) engine_job_retry(e, j, 0, "submit", detail);
    if (t->event == EV_SUBMITTED) {
        // Its customer may have cancelled it.
        if (j->inherited) engine_survey_want(j, clock_mono_ms());
        (void)store_script_drop(e->o.store, j->row.id);
        engine_slurm_watch(e);
        engine_news_replay(e, j);
    }
}
