/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The watcher: a thread that asks the node once per interval, in one batch, for all that may have
 * changed, then for the logs of the blocks that are new (follow.c). It keeps no state that a
 * restart loses: the next block to read follows from the cursor that ops.logs hands out.
 */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "agent/chain/watch_private.h"
#include "agent/util/buf.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"
#include "agent/util/hex.h"
#include "agent/util/jsonx.h"
#include "agent/util/log.h"
#include "agent/util/retry.h"
#include "agent/util/thread.h"

enum {
    CALLDATA_MAX = 256, // a selector and one word
    RETURN_MAX = 4096,  // of the calls here: one word
};

/* ---- the first batch ---- */

/* A question with no argument, or, if its signature has one, about us. Returns its index. */
static int add_question(struct watch *w, const struct eth_address *to, const char *signature)
{
    struct buf data = BUF_INIT(CALLDATA_MAX);
    int rc = strstr(signature, "()")
                 ? contract_call_plain(&data, signature)
                 : contract_call_address(&data, signature, &w->c->options.provider);
    if (rc < 0) jsonrpc_fail(w->batch, rc);
    rc = chain_add_call(w->batch, "eth_call", w->c, to, data.data, data.len, ",\"latest\"");
    buf_free(&data);
    return rc;
}

static int result_address(
    struct watch *w, int index, const char *what, struct eth_address *out, struct error *err)
{
    struct json_object *v;
    struct buf data = BUF_INIT(RETURN_MAX);
    int rc = jsonrpc_result(w->batch, index, &v, err);
    if (rc == 0) rc = eth_json_bytes(v, what, &data, err);
    if (rc == 0) rc = contract_decode_address(data.data, data.len, out, err);
    if (rc < 0) {
        char text[ETH_ADDRESS_TEXT];
        hex_encode(text, w->c->options.metascheduler.b, sizeof(w->c->options.metascheduler.b));
        (void)error_prefix(err, "%s of %s (is the MetaScheduler there?)", what, text);
    }
    buf_free(&data);
    return rc;
}

static int read_ready(struct watch *w, struct chain_ready *r, struct error *err)
{
    int rc = chain_result_u64(w->batch, 0, &r->chain_id, err);
    if (rc < 0) return error_prefix(err, "chain id");
    rc = result_address(w, 1, "jobs()", &r->jobs, err);
    if (rc == 0) rc = result_address(w, 2, "providerJobQueues()", &r->queues, err);
    if (rc == 0) rc = result_address(w, 3, "providerManager()", &r->provider_manager, err);
    if (rc < 0) return rc;
    rc = chain_result_u64(w->batch, 4, &r->nonce, err);
    return rc < 0 ? error_prefix(err, "nonce") : 0;
}

/* Ask who is there; when it answers, the node is up. */
static int greet(struct watch *w, struct error *err)
{
    struct chain *c = w->c;
    struct chain_ready r = {0};
    jsonrpc_batch_reset(w->batch);
    jsonrpc_add(w->batch, "eth_chainId", "[]");
    add_question(w, &c->options.metascheduler, "jobs()");
    add_question(w, &c->options.metascheduler, "providerJobQueues()");
    add_question(w, &c->options.metascheduler, "providerManager()");
    chain_add_nonce(w->batch, c);
    int rc = pool_perform(w->rpc, w->batch, err);
    if (rc == 0) rc = read_ready(w, &r, err);
    // Of a batch that was divided among several nodes each part may be of another chain.
    if (rc == 0) rc = pool_pin_chain(c->pool, r.chain_id, err);
    if (rc < 0) return rc;

    w->ready = r;
    w->up = true;
    w->told_down = false;
    pthread_mutex_lock(&c->lock);
    c->known = true;
    c->chain_id = r.chain_id;
    c->emitters = (struct eth_emitters){.metascheduler = c->options.metascheduler, .jobs = r.jobs};
    c->contracts = (struct chain_contracts){
        .jobs = r.jobs, .queues = r.queues, .provider_manager = r.provider_manager};
    pthread_mutex_unlock(&c->lock);
    c->ops.ready(c->ctx, &r);
    txsender_node_up(c->sender);
    return 0;
}

/* ---- each poll ---- */

static const char *const queue_calls[] = {"getClaimableJobQueueSize(address)",
                                          "getCancellingJobQueueSize(address)",
                                          "getTopUpJobQueueSize(address)"};

/*
 * The word that a question of ours is answered with. One that reverts must not keep us from all
 * else that a provider has to do: `otherwise` is meant then.
 */
static int read_word(struct watch *w,
                     int index,
                     const char *signature,
                     uint64_t otherwise,
                     uint64_t *out,
                     struct error *err)
{
    const struct jsonrpc_answer *a = jsonrpc_answer(w->batch, index);
    if (a->kind == JSONRPC_REVERTED) {
        char text[CHAIN_ERROR_TEXT_MAX];
        unsigned int more;
        (void)contract_revert_text(a->data, a->data_len, text, sizeof(text));
        if (log_limit_ok(&w->revert_limit, WATCH_WARN_EVERY_MS, &more))
            log_warn("chain: %s reverts: %s, taking it as %d", signature, text, (int)otherwise);
        *out = otherwise;
        return 0;
    }
    struct json_object *v;
    struct buf data = BUF_INIT(RETURN_MAX);
    int rc = jsonrpc_result(w->batch, index, &v, err);
    if (rc == 0) rc = eth_json_bytes(v, signature, &data, err);
    if (rc == 0) rc = contract_decode_u64(data.data, data.len, out, err);
    if (rc < 0) (void)error_prefix(err, "%s", signature);
    buf_free(&data);
    return rc;
}

/* May we work? `otherwise` is meant if one reverts. */
static const struct question {
    const char *signature;
    bool otherwise;
    size_t offset; // of the bool in struct chain_poll
} standing_calls[] = {
    {"isValidForScheduling(address)", true, offsetof(struct chain_poll, valid)},
    {"isWaitingForApproval(address)", false, offsetof(struct chain_poll, waiting)},
    {"enableRequestNewJob()", true, offsetof(struct chain_poll, open)},
};
enum { STANDING_CALLS = sizeof(standing_calls) / sizeof(standing_calls[0]) };

static void add_standing(struct watch *w)
{
    (void)add_question(w, &w->ready.provider_manager, standing_calls[0].signature);
    (void)add_question(w, &w->ready.provider_manager, standing_calls[1].signature);
    (void)add_question(w, &w->c->options.metascheduler, standing_calls[2].signature);
}

static int read_standing(struct watch *w, int first, struct chain_poll *p, struct error *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < STANDING_CALLS; i++) {
        const struct question *q = &standing_calls[i];
        uint64_t word = 0;
        rc = read_word(w, first + i, q->signature, q->otherwise, &word, err);
        *(bool *)((char *)p + q->offset) = word != 0;
    }
    return rc;
}

enum { POLL_HEAD, POLL_QUEUES, POLL_STANDING = POLL_QUEUES + 3 };

static int
read_head(struct watch *w, struct chain_poll *p, struct chain_block *head, struct error *err)
{
    struct json_object *block;
    uint64_t time_s;
    int rc = jsonrpc_result(w->batch, POLL_HEAD, &block, err);
    if (rc == 0) rc = eth_json_get_u64(block, "number", &head->number, err);
    if (rc == 0) rc = eth_json_get_hash(block, "hash", &head->hash, err);
    if (rc == 0) rc = eth_json_get_u64(block, "timestamp", &time_s, err);
    if (rc == 0 && time_s > INT64_MAX) rc = error_set(err, ERR_PROTO, "timestamp is too large");
    if (rc < 0) return error_prefix(err, "latest block");
    p->head = head->number;
    p->head_time_s = (int64_t)time_s;
    return 0;
}

static int read_poll(struct watch *w, struct chain_poll *p, struct error *err)
{
    uint64_t *sizes[] = {&p->claimable, &p->cancelling, &p->top_up};
    int rc = 0;
    for (int i = 0; i < 3 && rc == 0; i++)
        rc = read_word(w, POLL_QUEUES + i, queue_calls[i], 0, sizes[i], err);
    return rc < 0 ? rc : read_standing(w, POLL_STANDING, p, err);
}

/* Returns the index of follow_check()'s question in *check. */
static int
ask(struct watch *w, struct chain_poll *p, struct chain_block *head, int *check, struct error *err)
{
    jsonrpc_batch_reset(w->batch);
    jsonrpc_add(w->batch, "eth_getBlockByNumber", "[\"latest\",false]");
    for (int i = 0; i < 3; i++)
        add_question(w, &w->ready.queues, queue_calls[i]);
    add_standing(w);
    *check = follow_add_check(w);
    int rc = pool_perform(w->rpc, w->batch, err);
    if (rc == 0) rc = read_head(w, p, head, err);
    return rc < 0 ? rc : read_poll(w, p, err);
}

bool watch_is_stopping(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    bool stop = w->stop;
    pthread_mutex_unlock(&w->lock);
    return stop;
}

/* A node that is behind what we know already has nothing to tell: its numbers are old. */
static void tell_behind(struct watch *w, const struct chain_block *head, const struct error *why)
{
    unsigned int more;
    if (log_limit_ok(&w->behind_limit, WATCH_WARN_EVERY_MS, &more))
        log_warn("chain: %s: %s: it is at block %llu, we have seen %llu: waiting for it",
                 pool_origin(w->rpc),
                 why->text,
                 (unsigned long long)head->number,
                 (unsigned long long)(w->next - 1));
}

/* Another node than before may not have what the last one was given. */
static void tell_node(struct watch *w)
{
    size_t node = pool_node(w->rpc);
    if (node != w->node) txsender_node_up(w->c->sender);
    w->node = node;
}

static int poll_node(struct watch *w, struct error *err)
{
    struct chain_poll p = {0};
    struct chain_block head;
    int check;
    w->more = false;
    int rc = ask(w, &p, &head, &check, err);
    if (rc < 0) return rc;
    pool_tell_head(w->rpc, head.number);
    rc = follow_check(w, check, &head, err);
    if (rc == ERR_BUSY) {
        tell_behind(w, &head, err);
        return 0;
    }
    if (rc < 0) return rc;
    if (!w->started) {
        w->started = true;
        w->next = p.head - (p.head < w->c->options.look_back ? p.head : w->c->options.look_back);
    }
    bool new_head = memcmp(&head.hash, &w->head.hash, sizeof(head.hash)) != 0;
    w->head = head;
    tell_node(w);
    w->c->ops.poll(w->c->ctx, &p);
    if (new_head) txsender_new_head(w->c->sender);
    return follow_read(w, err);
}

/* ---- the thread ---- */

static void wait_for(struct watch *w, long long ms)
{
    long long until = clock_mono_ms() + ms;
    pthread_mutex_lock(&w->lock);
    int rc = 0;
    // A poke does not shorten the backoff of a node that is down.
    while (!w->stop && !(w->poked && w->up) && rc == 0)
        rc = thread_cond_wait_until(&w->changed, &w->lock, until);
    w->poked = false;
    pthread_mutex_unlock(&w->lock);
}

static void went_down(struct watch *w, const struct error *err)
{
    w->up = false;
    w->more = false;
    w->attempt++;
    if (w->told_down) return;
    w->told_down = true;
    w->c->ops.down(w->c->ctx, err);
}

/* All of a poll is asked of one node. If that fails, all of it is asked of the next. */
static int poll_any(struct watch *w, struct error *err)
{
    int rc;
    pool_pin_best(w->rpc);
    do {
        rc = w->up ? 0 : greet(w, err);
        if (rc == 0) rc = poll_node(w, err);
        if (rc == 0 || rc == ERR_STOPPED) break;
        pool_blame(w->rpc, err->text);
    } while (pool_pin_next(w->rpc));
    return rc;
}

static void *watch_main(void *arg)
{
    struct watch *w = arg;
    while (!watch_is_stopping(w)) {
        struct error err = {0};
        int rc = poll_any(w, &err);
        if (rc == ERR_STOPPED) break;
        if (rc == 0) {
            w->attempt = 0;
            if (!w->more) wait_for(w, w->c->options.poll_interval_ms);
        } else {
            went_down(w, &err);
            wait_for(w, retry_delay_ms(w->attempt, chain_retry_base_ms(w->c), CHAIN_RETRY_MAX_MS));
        }
    }
    return NULL;
}

static struct watch *watch_free(struct watch *w)
{
    jsonrpc_batch_destroy(w->batch);
    pool_client_destroy(w->rpc);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return NULL;
}

struct watch *watch_start(struct chain *c, struct error *err)
{
    struct watch *w = calloc(1, sizeof(*w));
    if (!w) {
        error_set(err, ERR_NOMEM, "chain: out of memory");
        return NULL;
    }
    w->c = c;
    logspan_init(&w->span, c->options.logs_range);
    w->again_from = UINT64_MAX;
    w->started = c->options.has_cursor;
    if (w->started) w->next = c->options.cursor + 1;
    for (size_t i = 0; i < c->options.block_count; i++)
        blocks_push(&w->blocks, &c->options.blocks[i]);
    const struct chain_block *top = blocks_top(&w->blocks);
    if (top && top->number != c->options.cursor) w->blocks.count = 0;
    pthread_mutex_init(&w->lock, NULL);
    thread_cond_init(&w->changed);
    w->rpc = pool_client_new(c->pool, err);
    w->batch = w->rpc ? jsonrpc_batch_new(err) : NULL;
    if (!w->batch || thread_start(&w->thread, "chain-watch", watch_main, w, err) < 0)
        return watch_free(w);
    return w;
}

struct watch *watch_stop(struct watch *w)
{
    if (!w) return NULL;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pool_client_stop(w->rpc);
    pthread_join(w->thread, NULL);
    return watch_free(w);
}

void watch_poke(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    w->poked = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}
