/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * `deepsquare-agent register`: what the contract has of this provider, and what it should have.
 * It sends nothing: one program signs, and that is the agent, which does this by itself. Without
 * --dry-run it leaves a note in the agent's store, if no agent runs, so that the next one
 * registers although it would not do so by itself.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/commands.h"
#include "agent/engine/engine.h"
#include "agent/register_setup.h"
#include "agent/slurm_setup.h"
#include "agent/util/clock.h"
#include "agent/util/hex.h"
#include "agent/util/thread.h"

enum { SAME = 0, DIFFERS = 1, NO_ANSWER = 2 };

static const char indent[] = "\n           ";

/* ---- the chain, for one look ---- */

struct look {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ready, down;
    struct chain_ready chain;
    struct error error;
};

static void wake(struct look *l, bool *what)
{
    *what = true;
    pthread_cond_signal(&l->changed);
}

static void on_ready(void *ctx, const struct chain_ready *ready)
{
    struct look *l = ctx;
    pthread_mutex_lock(&l->lock);
    l->chain = *ready;
    wake(l, &l->ready);
    pthread_mutex_unlock(&l->lock);
}

static void on_down(void *ctx, const struct error *err)
{
    struct look *l = ctx;
    pthread_mutex_lock(&l->lock);
    l->error = *err;
    wake(l, &l->down);
    pthread_mutex_unlock(&l->lock);
}

static void on_poll(void *ctx, const struct chain_poll *poll)
{
}

static void on_logs(void *ctx, const struct chain_logs *logs)
{
}

static void on_reorg(void *ctx, uint64_t fork)
{
}

static void on_account(void *ctx, const struct chain_account *account)
{
}

/* The first word of the node, whatever it is. */
static int wait_for_chain(struct look *l, long long deadline_ms, struct error *err)
{
    int rc = 0;
    pthread_mutex_lock(&l->lock);
    while (!l->ready && !l->down && rc == 0)
        rc = thread_cond_wait_until(&l->changed, &l->lock, deadline_ms);
    if (l->ready)
        rc = 0;
    else if (l->down)
        rc = error_set(err, l->error.code, "%s", l->error.text);
    else
        rc = error_set(err, ERR_UNAVAILABLE, "the chain's node does not answer");
    pthread_mutex_unlock(&l->lock);
    return rc;
}

static int look_at_chain(const struct options *o,
                         const struct eth_address *self,
                         struct chain_ready *ready,
                         struct chain_standing *standing,
                         struct error *err)
{
    static const struct chain_ops ops = {
        // nothing is sent: no tx_*() is called
        .ready = on_ready,
        .poll = on_poll,
        .logs = on_logs,
        .reorg = on_reorg,
        .down = on_down,
        .account = on_account,
    };
    const struct chain_options options = {
        .endpoints = o->metascheduler_endpoint.items,
        .endpoint_count = o->metascheduler_endpoint.count,
        .max_lag = o->metascheduler_max_lag,
        .metascheduler = o->metascheduler_smart_contract.value,
        .provider = *self,
        .poll_interval_ms = o->metascheduler_poll_interval_ms,
        .logs_range = o->metascheduler_logs_range,
        .timeout_ms = o->metascheduler_timeout_ms,
    };
    struct look l = {.lock = PTHREAD_MUTEX_INITIALIZER};
    thread_cond_init(&l.changed);
    struct chain *chain = chain_start(&options, &ops, &l, err);
    int rc = chain ? wait_for_chain(&l, clock_mono_ms() + 2 * o->metascheduler_timeout_ms, err)
                   : ERR_NOMEM;
    if (rc == 0) rc = chain_standing_get(chain, standing, err);
    (void)chain_stop(chain);
    *ready = l.chain;
    pthread_cond_destroy(&l.changed);
    return rc;
}

/* ---- what should be ---- */

static int look_at_slurm(const struct options *o, struct chain_provider *wanted, struct error *err)
{
    struct chain_provider terms = {0};
    struct engine_registration r = {.terms = &terms};
    struct buf unused = BUF_INIT(16 * 1024);
    struct slurm_backend *slurm = slurm_setup(o, &unused, err);
    int rc = slurm ? register_setup(o, &terms, &r.rules, err) : ERR_INVALID;
    if (rc == 0)
        rc = engine_register_wanted(
            slurm, o->slurm_partition, &r, clock_mono_ms() + o->slurm_timeout_ms, wanted, err);
    if (slurm) slurm->ops->destroy(slurm);
    provider_free(&terms);
    buf_free(&unused);
    return rc;
}

/* ---- saying it ---- */

static void print_provider(const char *name, const struct chain_provider *p)
{
    struct buf text = BUF_INIT(64 * 1024);
    if (p->known)
        provider_describe(p, indent, &text);
    else
        (void)buf_puts(&text, "none");
    (void)printf("%-10s %s\n", name, buf_str(&text));
    buf_free(&text);
}

static const char *state_of(const struct chain_standing *s)
{
    if (s->approved.banned) return "BANNED by the operator";
    if (s->waiting.known && s->approved.known)
        return "a new registration waits for approval; what was approved before counts until then";
    if (s->waiting.known) return "waits for the operator's approval";
    return s->approved.known ? "approved" : "not registered";
}

/* Prints all of it; does anything differ? */
static bool print_difference(const struct options *o,
                             const struct eth_address *self,
                             const struct chain_ready *ready,
                             const struct chain_standing *s,
                             const struct chain_provider *wanted)
{
    char provider[ETH_ADDRESS_TEXT], contract[ETH_ADDRESS_TEXT];
    struct buf text = BUF_INIT(64 * 1024);
    const struct chain_provider *has = s->waiting.known ? &s->waiting : &s->approved;
    bool differs = provider_compare(has, wanted, indent, &text) != 0;
    (void)printf("provider   %s\ncontract   %s on chain %llu\nstate      %s%s\n",
                 hex_encode(provider, self->b, sizeof(self->b)),
                 hex_encode(contract, o->metascheduler_smart_contract.value.b, 20),
                 (unsigned long long)ready->chain_id,
                 state_of(s),
                 s->valid ? "" : "; no jobs");
    print_provider("approved", &s->approved);
    if (s->waiting.known) print_provider("waiting", &s->waiting);
    print_provider("wanted", wanted);
    (void)printf("differs    %s\n", differs ? buf_str(&text) : "in nothing");
    buf_free(&text);
    return differs;
}

/* ---- asking for it ---- */

/* SQLite's files belong to who makes them: made by root, the agent could not write them. */
static int check_owner(const char *dir, struct error *err)
{
    struct stat st;
    if (stat(dir, &st) < 0)
        return errno == ENOENT ? 0 : error_set(err, ERR_IO, "%s: %s", dir, strerror(errno));
    if (st.st_uid == geteuid()) return 0;
    return error_set(err,
                     ERR_DENIED,
                     "%s belongs to another user (uid %u): run this command as that user",
                     dir,
                     (unsigned int)st.st_uid);
}

static int leave_note(const struct options *o, struct error *err)
{
    int rc = check_owner(o->state_dir, err);
    if (rc < 0) return rc;
    struct store *store = store_open(o->state_dir, err);
    if (!store) return err->code;
    (void)store_begin(store);
    (void)store_meta_put_u64(store, REGISTER_ASKED_KEY, 1);
    rc = store_commit(store, err);
    (void)store_close(store);
    return rc;
}

static int ask(const struct options *o)
{
    struct error err = {0};
    int rc = leave_note(o, &err);
    if (rc == 0)
        (void)printf("\nThe agent registers this when it is started.\n");
    else if (rc == ERR_BUSY)
        (void)printf("\nNothing is changed: the agent runs, and %s. %s\n",
                     o->register_auto ? "registers by itself what has differed for long enough"
                                      : "does not register by itself (--register.auto)",
                     "To have it registered at once, stop the agent first.");
    else
        (void)fprintf(stderr, "deepsquare-agent: %s\n", err.text);
    return rc == 0 || rc == ERR_BUSY ? DIFFERS : NO_ANSWER;
}

int command_register(const struct options *o)
{
    struct chain_standing standing = {0};
    struct chain_provider wanted = {0};
    struct chain_ready ready = {0};
    struct error err = {0};
    int status = NO_ANSWER;
    struct signer *signer = signer_new(&o->eth_private_key, &err);
    struct eth_address self = {{0}};
    int rc = signer ? 0 : ERR_INVALID;
    if (rc == 0) {
        self = signer_address(signer);
        rc = look_at_chain(o, &self, &ready, &standing, &err);
    }
    if (rc == 0) rc = look_at_slurm(o, &wanted, &err);
    if (rc < 0)
        (void)fprintf(stderr, "deepsquare-agent: %s\n", err.text);
    else if (!print_difference(o, &self, &ready, &standing, &wanted))
        status = SAME;
    else
        status = o->dry_run ? DIFFERS : ask(o);
    chain_standing_free(&standing);
    provider_free(&wanted);
    (void)signer_destroy(signer);
    return status;
}
