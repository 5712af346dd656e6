/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/chain/ethjson.h"
#include "agent/chain/rpcerr.h"
#include "agent/util/clock.h"
#include "agent/util/log.h"
#include "agent/util/thread.h"

enum {
    PROBE_MIN_MS = 1000,
    PROBE_POLLS = 5, // a node that is not in use is asked every so many polls
    PROBE_TIMEOUT_MS = 3000,
    // A node that takes longer is left, while there is another: a slow one is no dead one.
    QUICK_MIN_MS = 2000,
};

struct node {
    struct endpoint health;
    bool told_ill;     // the log says that it is not used
    long long seen_ms; // when it was last asked
};

struct pool {
    struct pool_options o;
    char *urls[ENDPOINTS_MAX];
    struct pool_client *prober; // NULL: there is one node only
    pthread_t thread;

    pthread_mutex_t lock; // guards what follows
    pthread_cond_t changed;
    bool stop;
    uint64_t chain_id; // 0: not pinned
    struct node nodes[ENDPOINTS_MAX];
};

struct pool_client {
    struct pool *pool;
    struct jsonrpc *rpc[ENDPOINTS_MAX];
    bool pins;
    int pinned;         // -1: all want to be left alone
    unsigned int tried; // since pool_pin_best()
    size_t last;        // who was asked
    bool counted;       // its failure was
};

/* ---- what is known of the nodes ---- */

static void endpoints_of(const struct pool *p, struct endpoint list[ENDPOINTS_MAX])
{
    for (size_t i = 0; i < p->o.count; i++)
        list[i] = p->nodes[i].health;
}

static int pick(struct pool *p, unsigned int tried)
{
    struct endpoint list[ENDPOINTS_MAX];
    pthread_mutex_lock(&p->lock);
    endpoints_of(p, list);
    pthread_mutex_unlock(&p->lock);
    return endpoint_pick(list, p->o.count, tried, clock_mono_ms());
}

/* Is there a node that is well, not counting those of the mask? */
static bool has_other(struct pool *p, unsigned int mask)
{
    bool found = false;
    long long now_ms = clock_mono_ms();
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->o.count; i++)
        if (!(mask & 1u << i) && endpoint_is_well(&p->nodes[i].health, now_ms)) found = true;
    pthread_mutex_unlock(&p->lock);
    return found;
}

/* With one node the engine tells of outages; here it is who is used instead. */
static void tell_change(struct pool *p, size_t i, const char *origin, const char *why)
{
    struct node *n = &p->nodes[i];
    bool ill = !endpoint_is_well(&n->health, clock_mono_ms());
    if (p->o.count == 1 || ill == n->told_ill) return;
    n->told_ill = ill;
    if (!ill)
        log_info("chain: %s is well again", origin);
    else if (n->health.other_chain)
        log_error("chain: %s is not used: %s", origin, why);
    else
        log_warn("chain: %s is not used for now: %s", origin, why);
}

enum news { NEWS_GOOD, NEWS_FAILED, NEWS_REFUSED, NEWS_OTHER_CHAIN };

static void
learn(struct pool_client *c, size_t i, enum news news, long long retry_after_ms, const char *why)
{
    struct pool *p = c->pool;
    long long now_ms = clock_mono_ms();
    pthread_mutex_lock(&p->lock);
    struct node *n = &p->nodes[i];
    n->seen_ms = now_ms;
    if (news == NEWS_OTHER_CHAIN) n->health.other_chain = true;
    if (news == NEWS_GOOD) {
        n->health.other_chain = false;
        endpoint_good(&n->health);
    }
    if (news == NEWS_FAILED) endpoint_failed(&n->health);
    if (news == NEWS_REFUSED) endpoint_refused(&n->health, retry_after_ms, now_ms);
    tell_change(p, i, jsonrpc_origin(c->rpc[i]), why);
    pthread_mutex_unlock(&p->lock);
    c->counted = news != NEWS_GOOD;
}

void pool_blame(struct pool_client *c, const char *why)
{
    if (!c->counted) learn(c, c->last, NEWS_FAILED, 0, why);
}

void pool_tell_head(struct pool_client *c, uint64_t head)
{
    char why[64];
    struct endpoint list[ENDPOINTS_MAX];
    struct pool *p = c->pool;
    pthread_mutex_lock(&p->lock);
    endpoints_of(p, list);
    endpoint_head(list, p->o.count, c->last, head, p->o.max_lag);
    p->nodes[c->last].health = list[c->last];
    (void)snprintf(
        why, sizeof(why), "it is at block %llu, behind the others", (unsigned long long)head);
    tell_change(p, c->last, pool_origin(c), why);
    pthread_mutex_unlock(&p->lock);
}

int pool_pin_chain(struct pool *p, uint64_t chain_id, struct error *err)
{
    pthread_mutex_lock(&p->lock);
    if (!p->chain_id) p->chain_id = chain_id;
    uint64_t pinned = p->chain_id;
    pthread_mutex_unlock(&p->lock);
    if (chain_id == pinned) return 0;
    return error_set(err,
                     ERR_REFUSED,
                     "a node of chain %llu and of chain %llu, and this agent's is the latter",
                     (unsigned long long)chain_id,
                     (unsigned long long)pinned);
}

static uint64_t pinned_chain(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    uint64_t id = p->chain_id;
    pthread_mutex_unlock(&p->lock);
    return id;
}

/* ---- asking ---- */

/* Failures that another node may not have. */
static bool is_nodes_fault(int rc)
{
    return rc < 0 && rc != ERR_NOMEM && rc != ERR_LIMIT && rc != ERR_STOPPED;
}

static int check_chain(const struct jsonrpc_batch *b, int index, uint64_t want, struct error *err)
{
    uint64_t id;
    struct json_object *v;
    int rc = jsonrpc_result(b, index, &v, err);
    if (rc == 0) rc = eth_json_u64(v, "chain id", &id, err);
    if (rc < 0) return rc;
    if (id == want) return 0;
    error_set(err,
              ERR_DENIED,
              "a node of chain %llu, and this agent's is %llu",
              (unsigned long long)id,
              (unsigned long long)want);
    return ERR_DENIED;
}

/* Some answers say that the node is not up to it; NULL: none does. */
static const char *find_fault(const struct jsonrpc_batch *b)
{
    for (int i = 0; i < jsonrpc_count(b); i++) {
        const struct jsonrpc_answer *a = jsonrpc_answer(b, i);
        if (a->kind != JSONRPC_ERROR) continue;
        enum rpc_error_kind kind = rpc_error_kind(a->code, a->message);
        if (kind == RPC_ERROR_FAULT) return a->message;
        // Optional methods may be missing; this one makes the node useless for us.
        if (kind == RPC_ERROR_NO_METHOD &&
            strcmp(jsonrpc_method(b, i), "eth_sendRawTransaction") == 0)
            return "it takes no transactions";
    }
    return NULL;
}

struct question {
    struct jsonrpc_batch *batch;
    uint64_t chain_id; // 0: not to be checked
    int chain_index;
    long long quick_ms; // deadline while another node is well
};

static struct question question(struct pool_client *c, struct jsonrpc_batch *b, long long quick_ms)
{
    struct question q = {.batch = b, .chain_id = pinned_chain(c->pool), .quick_ms = quick_ms};
    if (q.chain_id) q.chain_index = jsonrpc_add(b, "eth_chainId", "[]");
    return q;
}

static int ask(struct pool_client *c, size_t i, const struct question *q, struct error *err)
{
    long long retry_after_ms = 0, timeout_ms = c->pool->o.timeout_ms;
    if (q->quick_ms < timeout_ms && has_other(c->pool, 1u << i)) timeout_ms = q->quick_ms;
    c->last = i;
    c->counted = false;
    jsonrpc_set_timeout(c->rpc[i], timeout_ms);
    int rc = jsonrpc_perform(c->rpc[i], q->batch, err);
    if (rc == 0 && q->chain_id) rc = check_chain(q->batch, q->chain_index, q->chain_id, err);
    if (rc == 0) {
        const char *fault = find_fault(q->batch);
        learn(c, i, fault ? NEWS_FAILED : NEWS_GOOD, 0, fault);
    } else if (rc == ERR_DENIED) {
        (void)error_prefix(err, "%s", jsonrpc_origin(c->rpc[i]));
        learn(c, i, NEWS_OTHER_CHAIN, 0, err->text);
        rc = err->code = ERR_REFUSED;
    } else if (is_nodes_fault(rc)) {
        bool refused = jsonrpc_was_refused(c->rpc[i], &retry_after_ms);
        learn(c, i, refused ? NEWS_REFUSED : NEWS_FAILED, retry_after_ms, err->text);
    }
    return rc;
}

static int all_rest(struct error *err)
{
    return error_set(err, ERR_UNAVAILABLE, "every node of the chain wants to be asked less");
}

static int
perform(struct pool_client *c, struct jsonrpc_batch *b, long long quick_ms, struct error *err)
{
    struct error local = {0};
    if (!err) err = &local;
    struct question q = question(c, b, quick_ms);
    if (c->pins) return c->pinned < 0 ? all_rest(err) : ask(c, (size_t)c->pinned, &q, err);

    unsigned int tried = 0;
    int rc, i = pick(c->pool, tried);
    if (i < 0) return all_rest(err);
    do {
        rc = ask(c, (size_t)i, &q, err);
        tried |= 1u << i;
    } while (is_nodes_fault(rc) && has_other(c->pool, tried) && (i = pick(c->pool, tried)) >= 0);
    return rc;
}

int pool_perform(struct pool_client *c, struct jsonrpc_batch *b, struct error *err)
{
    long long ms = c->pool->o.poll_ms;
    return perform(c, b, ms < QUICK_MIN_MS ? QUICK_MIN_MS : ms, err);
}

int pool_perform_slow(struct pool_client *c, struct jsonrpc_batch *b, struct error *err)
{
    return perform(c, b, c->pool->o.timeout_ms, err);
}

void pool_pin_best(struct pool_client *c)
{
    c->pins = true;
    c->tried = 0;
    (void)pool_pin_next(c);
}

bool pool_pin_next(struct pool_client *c)
{
    c->pinned = pick(c->pool, c->tried);
    if (c->pinned < 0) return false;
    c->tried |= 1u << c->pinned;
    return true;
}

size_t pool_node(const struct pool_client *c)
{
    return c->last;
}

const char *pool_origin(const struct pool_client *c)
{
    return jsonrpc_origin(c->rpc[c->last]);
}

/* ---- probes ---- */

static bool is_due(struct pool *p, size_t i, long long every_ms)
{
    long long now_ms = clock_mono_ms();
    pthread_mutex_lock(&p->lock);
    const struct node *n = &p->nodes[i];
    bool due = p->chain_id && !p->stop && now_ms - n->seen_ms >= every_ms &&
               now_ms >= n->health.rest_until_ms;
    pthread_mutex_unlock(&p->lock);
    return due;
}

static void probe(struct pool_client *c, size_t i, struct jsonrpc_batch *b)
{
    struct error err = {0};
    uint64_t head;
    struct json_object *v;
    jsonrpc_batch_reset(b);
    int index = jsonrpc_add(b, "eth_blockNumber", "[]");
    struct question q = question(c, b, PROBE_TIMEOUT_MS);
    int rc = ask(c, i, &q, &err);
    if (rc < 0) return;
    if (jsonrpc_result(b, index, &v, &err) < 0 || eth_json_u64(v, "head", &head, &err) < 0)
        pool_blame(c, err.text);
    else
        pool_tell_head(c, head);
}

/* False: to end. */
static bool wait_ms(struct pool *p, long long ms)
{
    long long until_ms = clock_mono_ms() + ms;
    int rc = 0;
    pthread_mutex_lock(&p->lock);
    while (!p->stop && rc == 0)
        rc = thread_cond_wait_until(&p->changed, &p->lock, until_ms);
    bool stop = p->stop;
    pthread_mutex_unlock(&p->lock);
    return !stop;
}

static void *probe_main(void *arg)
{
    struct pool *p = arg;
    long long every_ms = PROBE_POLLS * p->o.poll_ms;
    if (every_ms < PROBE_MIN_MS) every_ms = PROBE_MIN_MS;
    struct jsonrpc_batch *b = jsonrpc_batch_new(NULL);
    while (b && wait_ms(p, every_ms / 2))
        for (size_t i = 0; i < p->o.count; i++)
            if (is_due(p, i, every_ms)) probe(p->prober, i, b);
    jsonrpc_batch_destroy(b);
    return NULL;
}

/* ---- life ---- */

struct pool_client *pool_client_new(struct pool *p, struct error *err)
{
    struct pool_client *c = calloc(1, sizeof(*c));
    if (!c) {
        error_set(err, ERR_NOMEM, "chain endpoint: out of memory");
        return NULL;
    }
    c->pool = p;
    for (size_t i = 0; i < p->o.count; i++) {
        c->rpc[i] = jsonrpc_new(p->urls[i], p->o.timeout_ms, err);
        if (!c->rpc[i]) return pool_client_destroy(c);
    }
    return c;
}

struct pool_client *pool_client_destroy(struct pool_client *c)
{
    if (!c) return NULL;
    for (size_t i = 0; i < ENDPOINTS_MAX; i++)
        jsonrpc_destroy(c->rpc[i]);
    free(c);
    return NULL;
}

void pool_client_stop(struct pool_client *c)
{
    for (size_t i = 0; i < c->pool->o.count; i++)
        jsonrpc_stop(c->rpc[i]);
}

static struct pool *pool_free(struct pool *p)
{
    pool_client_destroy(p->prober);
    for (size_t i = 0; i < ENDPOINTS_MAX; i++)
        free(p->urls[i]);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p);
    return NULL;
}

static int start_prober(struct pool *p, struct error *err)
{
    if (p->o.count == 1) return 0;
    p->prober = pool_client_new(p, err);
    if (!p->prober) return ERR_NOMEM;
    int rc = thread_start(&p->thread, "chain-probe", probe_main, p, err);
    if (rc < 0) p->prober = pool_client_destroy(p->prober);
    return rc;
}

struct pool *pool_start(const struct pool_options *options, struct error *err)
{
    struct pool *p = calloc(1, sizeof(*p));
    bool ok = p && options->count >= 1 && options->count <= ENDPOINTS_MAX;
    if (!ok) {
        error_set(err, p ? ERR_INVALID : ERR_NOMEM, "chain endpoints: %zu of them", options->count);
        free(p);
        return NULL;
    }
    p->o = *options;
    p->chain_id = options->chain_id;
    pthread_mutex_init(&p->lock, NULL);
    thread_cond_init(&p->changed);
    for (size_t i = 0; i < options->count; i++)
        if (!(p->urls[i] = strdup(options->urls[i]))) ok = false;
    if (!ok) error_set(err, ERR_NOMEM, "chain endpoints: out of memory");
    if (!ok || start_prober(p, err) < 0) return pool_free(p);
    return p;
}

struct pool *pool_stop(struct pool *p)
{
    if (!p) return NULL;
    if (p->prober) {
        pthread_mutex_lock(&p->lock);
        p->stop = true;
        pthread_cond_signal(&p->changed);
        pthread_mutex_unlock(&p->lock);
        pool_client_stop(p->prober);
        pthread_join(p->thread, NULL);
    }
    return pool_free(p);
}
