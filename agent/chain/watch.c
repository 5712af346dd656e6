/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The watcher: a thread that asks the node once per interval, in one batch, for all that may have
 * changed, then for the logs of the blocks that are new. It keeps no state that a restart loses:
 * the next block to read follows from the cursor that ops.logs hands out.
 *
 * Reorganisations are not undone: a log that was reported stays reported.
 */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "agent/chain/chain_private.h"
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
    // Chunks of logs between two polls: a long catch-up must not hide head, nonce and queues.
    CHUNKS_MAX = 20,
    WARN_EVERY_MS = 60000,
};

struct watch {
    struct chain *c;
    struct pool_client *rpc;
    struct jsonrpc_batch *batch;
    pthread_t thread;

    pthread_mutex_t lock; // guards the next two
    pthread_cond_t changed;
    bool stop, poked;

    // The thread's own.
    bool up;      // between ready() and down()
    bool told;    // down() was called for this outage
    bool more;    // blocks are left: go on without waiting
    bool started; // `next` is set
    unsigned int attempt;
    struct chain_ready ready;
    uint64_t next;  // first block whose logs were not reported yet
    uint64_t head;  // of the last poll
    size_t node;    // that it was asked of
    uint64_t range; // blocks per eth_getLogs: less than the option after the node found it too many
    struct log_limit behind_limit, queue_limit;
};

/* ---- the first batch ---- */

static void add_plain_call(struct watch *w, const struct eth_address *to, const char *signature)
{
    struct buf data = BUF_INIT(CALLDATA_MAX);
    if (contract_call_plain(&data, signature) < 0) jsonrpc_fail(w->batch, ERR_NOMEM);
    (void)chain_add_call(w->batch, "eth_call", w->c, to, data.data, data.len, ",\"latest\"");
    buf_free(&data);
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
    add_plain_call(w, &c->options.metascheduler, "jobs()");
    add_plain_call(w, &c->options.metascheduler, "providerJobQueues()");
    add_plain_call(w, &c->options.metascheduler, "providerManager()");
    chain_add_nonce(w->batch, c);
    int rc = pool_perform(w->rpc, w->batch, err);
    if (rc == 0) rc = read_ready(w, &r, err);
    if (rc < 0) return rc;

    w->ready = r;
    pool_pin_chain(c->pool, r.chain_id);
    w->up = true;
    w->told = false;
    pthread_mutex_lock(&c->lock);
    c->known = true;
    c->chain_id = r.chain_id;
    c->emitters = (struct eth_emitters){.metascheduler = c->options.metascheduler, .jobs = r.jobs};
    pthread_mutex_unlock(&c->lock);
    c->ops.ready(c->ctx, &r);
    txsender_node_up(c->sender);
    return 0;
}

/* ---- each poll ---- */

static const char *const queue_calls[] = {"getClaimableJobQueueSize(address)",
                                          "getCancellingJobQueueSize(address)",
                                          "getTopUpJobQueueSize(address)"};

static void add_queue_call(struct watch *w, const char *signature)
{
    struct buf data = BUF_INIT(CALLDATA_MAX);
    if (contract_call_address(&data, signature, &w->c->options.provider) < 0)
        jsonrpc_fail(w->batch, ERR_NOMEM);
    (void)chain_add_call(
        w->batch, "eth_call", w->c, &w->ready.queues, data.data, data.len, ",\"latest\"");
    buf_free(&data);
}

/* A queue that reverts must not keep us from all else that a provider has to do: it counts as
 * empty. */
static int
read_queue(struct watch *w, int index, const char *signature, uint64_t *out, struct error *err)
{
    const struct jsonrpc_answer *a = jsonrpc_answer(w->batch, index);
    if (a->kind == JSONRPC_REVERTED) {
        char text[CHAIN_ERROR_TEXT_MAX];
        unsigned int more;
        (void)contract_revert_text(a->data, a->data_len, text, sizeof(text));
        if (log_limit_ok(&w->queue_limit, WARN_EVERY_MS, &more))
            log_warn("chain: %s reverts: %s, taking it as 0", signature, text);
        *out = 0;
        return 0;
    }
    struct json_object *v;
    struct buf data = BUF_INIT(RETURN_MAX);
    int rc = jsonrpc_result(w->batch, index, &v, err);
    if (rc == 0) rc = eth_json_bytes(v, "queue size", &data, err);
    if (rc == 0) rc = contract_decode_u64(data.data, data.len, out, err);
    if (rc < 0) (void)error_prefix(err, "%s", signature);
    buf_free(&data);
    return rc;
}

static int read_poll(struct watch *w, struct chain_poll *p, struct error *err)
{
    struct json_object *block;
    uint64_t time_s;
    int rc = jsonrpc_result(w->batch, 0, &block, err);
    if (rc == 0) rc = eth_json_get_u64(block, "number", &p->head, err);
    if (rc == 0) rc = eth_json_get_u64(block, "timestamp", &time_s, err);
    if (rc == 0 && time_s > INT64_MAX) rc = error_set(err, ERR_PROTO, "timestamp is too large");
    if (rc < 0) return error_prefix(err, "latest block");
    p->head_time_s = (int64_t)time_s;
    uint64_t *sizes[] = {&p->claimable, &p->cancelling, &p->top_up};
    for (int i = 0; i < 3 && rc == 0; i++)
        rc = read_queue(w, 1 + i, queue_calls[i], sizes[i], err);
    if (rc < 0) return rc;
    rc = chain_result_u64(w->batch, 4, &p->nonce, err);
    return rc < 0 ? error_prefix(err, "nonce") : 0;
}

static int ask(struct watch *w, struct chain_poll *p, struct error *err)
{
    jsonrpc_batch_reset(w->batch);
    jsonrpc_add(w->batch, "eth_getBlockByNumber", "[\"latest\",false]");
    for (int i = 0; i < 3; i++)
        add_queue_call(w, queue_calls[i]);
    chain_add_nonce(w->batch, w->c);
    int rc = pool_perform(w->rpc, w->batch, err);
    return rc < 0 ? rc : read_poll(w, p, err);
}

/* ---- logs ---- */

static void add_logs_request(struct watch *w, uint64_t from, uint64_t to)
{
    static const enum chain_event_kind kinds[] = {
        CHAIN_EVENT_CLAIM, CHAIN_EVENT_CANCEL, CHAIN_EVENT_TOP_UP, CHAIN_EVENT_TRANSITION};
    char topics[4][ETH_HASH_TEXT], scheduler[ETH_ADDRESS_TEXT], jobs[ETH_ADDRESS_TEXT];
    for (int i = 0; i < 4; i++) {
        struct eth_hash t = contract_topic(kinds[i]);
        hex_encode(topics[i], t.b, sizeof(t.b));
    }
    jsonrpc_add(
        w->batch,
        "eth_getLogs",
        "[{\"fromBlock\":\"0x%llx\",\"toBlock\":\"0x%llx\",\"address\":[\"%s\",\"%s\"],"
        "\"topics\":[[\"%s\",\"%s\",\"%s\",\"%s\"]]}]",
        (unsigned long long)from,
        (unsigned long long)to,
        hex_encode(scheduler, w->c->options.metascheduler.b, sizeof(w->c->options.metascheduler.b)),
        hex_encode(jobs, w->ready.jobs.b, sizeof(w->ready.jobs.b)),
        topics[0],
        topics[1],
        topics[2],
        topics[3]);
}

static int
check_range(const struct eth_events *events, uint64_t from, uint64_t to, struct error *err)
{
    for (size_t i = 0; i < events->count; i++)
        if (events->list[i].block < from || events->list[i].block > to)
            return error_set(err, ERR_PROTO, "a log of a block that was not asked for");
    return 0;
}

/*
 * Blocks from..to. The head is asked in the same request: behind a load balancer the node that
 * answers may not have these blocks yet, and would answer with no logs instead of an error.
 * ERR_BUSY then.
 */
static int fetch_logs(
    struct watch *w, uint64_t from, uint64_t to, struct eth_events *events, struct error *err)
{
    uint64_t head;
    struct json_object *logs;
    struct eth_emitters emitters = {.metascheduler = w->c->options.metascheduler,
                                    .jobs = w->ready.jobs};
    jsonrpc_batch_reset(w->batch);
    jsonrpc_add(w->batch, "eth_blockNumber", "[]");
    add_logs_request(w, from, to);
    int rc = pool_perform_slow(w->rpc, w->batch, err);
    if (rc == 0) rc = chain_result_u64(w->batch, 0, &head, err);
    if (rc < 0) return rc;
    if (head < to) return error_set(err, ERR_BUSY, "eth_getLogs: the node is behind its head");
    rc = jsonrpc_result(w->batch, 1, &logs, err);
    if (rc == 0) rc = eth_events_add(events, logs, &emitters, err);
    return rc < 0 ? rc : check_range(events, from, to, err);
}

/* One chunk; the next block advances only when all of it was reported. */
static int next_chunk(struct watch *w, struct error *err)
{
    struct eth_events events = {0};
    uint64_t from = w->next, left = w->head - from;
    uint64_t to = from + (left < w->range - 1 ? left : w->range - 1);
    int rc = fetch_logs(w, from, to, &events, err);
    if (rc == 0) {
        fault_point(FAULT_LOGS_BEFORE);
        w->c->ops.logs(w->c->ctx, from, to, events.list, events.count);
        fault_point(FAULT_LOGS_AFTER);
        w->next = to + 1;
        if (w->range < w->c->options.logs_range)
            w->range =
                w->range * 2 < w->c->options.logs_range ? w->range * 2 : w->c->options.logs_range;
    } else if ((rc == ERR_REFUSED || rc == ERR_LIMIT) && to > from) {
        // Most often "too many blocks" or "too many results": ask for half of it.
        w->range = (to - from + 1) / 2;
        log_debug(
            "chain: %s; asking for %llu blocks at once", err->text, (unsigned long long)w->range);
        rc = 0;
    }
    eth_events_free(&events);
    return rc;
}

static bool stopping(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    bool stop = w->stop;
    pthread_mutex_unlock(&w->lock);
    return stop;
}

static int catch_up(struct watch *w, struct error *err)
{
    int rc = 0;
    for (int i = 0; i < CHUNKS_MAX && w->next <= w->head && rc == 0; i++) {
        if (stopping(w)) return error_set(err, ERR_STOPPED, "stopped");
        rc = next_chunk(w, err);
    }
    w->more = rc == 0 && w->next <= w->head;
    return rc == ERR_BUSY ? 0 : rc; // the next poll will see
}

/* A node that is behind what we know already has nothing to tell: its numbers are old. */
static bool is_behind(struct watch *w, uint64_t head)
{
    bool behind = w->started && head + 1 < w->next;
    unsigned int more;
    if (behind && log_limit_ok(&w->behind_limit, WARN_EVERY_MS, &more))
        log_warn("chain: the node is at block %llu, we have seen %llu: waiting for it",
                 (unsigned long long)head,
                 (unsigned long long)(w->next - 1));
    return behind;
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
    w->more = false;
    int rc = ask(w, &p, err);
    if (rc < 0) return rc;
    pool_tell_head(w->rpc, p.head);
    if (is_behind(w, p.head)) return 0;
    if (!w->started) {
        w->started = true;
        w->next = p.head - (p.head < w->c->options.look_back ? p.head : w->c->options.look_back);
    }
    bool new_head = p.head != w->head;
    w->head = p.head;
    tell_node(w);
    w->c->ops.poll(w->c->ctx, &p);
    if (new_head) txsender_new_head(w->c->sender);
    return catch_up(w, err);
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
    if (w->told) return;
    w->told = true;
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
    while (!stopping(w)) {
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
    w->range = c->options.logs_range;
    w->started = c->options.has_cursor;
    if (w->started) w->next = c->options.cursor + 1;
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
