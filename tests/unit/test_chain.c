/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The watcher and the sender against a node made of a few variables, which can lie, stall and
 * forget as real ones do only by chance.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/chain/chain.h"
#include "agent/util/clock.h"
#include "agent/util/hex.h"
#include "agent/util/log.h"
#include "agent/util/thread.h"
#include "tests/unit/http_stub.h"
#include "tests/unit/vectors.h"

enum { NODE_BLOCKS = 512, NODE_TXS = 8, NODE_LOGS = 16, SEEN_MAX = 512, PATIENCE_MS = 8000 };

#define METASCHEDULER "0x00000000000000000000000000000000000000aa"
#define JOBS          "0x00000000000000000000000000000000000000bb"
#define QUEUES        "0x00000000000000000000000000000000000000cc"
#define MANAGER       "0x00000000000000000000000000000000000000dd"
#define PROVIDER      "0x00000000000000000000000000000000000000ee"
#define TRANSITION    "0x0bba917f0a1e0fc0d51a75273e7088a4dfecb010699e60ac9c58526429f6c37f"
#define CLAIM         "0xc8d7c7c2914e1aa1462fe7999f8a18a0f1043d7d94ab692c3ac9af846f1be8c7"
#define WORD1         "0000000000000000000000000000000000000000000000000000000000000001"
#define WORD2         "0000000000000000000000000000000000000000000000000000000000000002"
#define WORD5         "0000000000000000000000000000000000000000000000000000000000000005"
#define INVALID_2_5   "0x2fef82f8" WORD2 WORD5
#define INVALID_JOB   "0x71c8f460"

struct node_tx {
    bool known;     // in the pool
    uint64_t block; // 0: not mined
    bool failed;
    unsigned int sends;
};

struct node_log {
    uint64_t block;
    const char *address, *topic, *data;
    bool removed;
};

struct node_call {
    // Of eth_call; "SELECTOR@BLOCK": only as of that block; the answer is a JSON member.
    const char *selector, *from, *answer;
};

/* The node. Guarded by `lock`, as is what the callbacks saw. */
struct node {
    uint64_t chain_id, head, nonce, queues[3];
    uint8_t epochs[NODE_BLOCKS]; // how often each block was replaced: it is in the hash
    uint64_t pending;            // transactions of ours in its pool that follow without a gap
    uint64_t base_fee;           // 0: a chain without one
    uint64_t balance;
    bool two_faced; // the first answer of a batch is another chain's
    bool queues_revert, no_tip, no_pending;
    const char *rewards;        // of eth_feeHistory: a JSON list, or NULL: it is not known
    const char *estimate_error; // an error object, or NULL
    const char *send_error;
    const char *call_error;        // of eth_call on the JobRepository, and of replays
    const struct node_call *calls; // looked at before the calls below; ends with a NULL selector
    bool hide_claims;              // from eth_getLogs
    bool lying_receipts;           // of a block that is not in the chain
    bool unlinked;                 // blocks do not have the parent that they should
    uint64_t lag;                  // eth_blockNumber says this much less than the head
    uint64_t logs_span_max;        // blocks per eth_getLogs; 0: any
    int status;                    // HTTP
    const char *logs_error;        // of more than logs_span_max blocks, instead of the usual one
    const char *garbage;           // the whole answer, or NULL
    bool hang;
    struct node_tx txs[NODE_TXS]; // raw transaction i is the byte i, its hash ends in that byte
    struct node_log logs[NODE_LOGS];
    size_t log_count;
    bool swallows;                                   // says yes to transactions and keeps none
    unsigned int requests, estimates, max_estimates; // the latter: in one HTTP request
    char sent[NODE_TXS * 8 + 1];                     // numbers of the sent ones, in order
};

enum seen_kind {
    SEEN_READY = 1,
    SEEN_POLL,
    SEEN_LOGS,
    SEEN_AGAIN,
    SEEN_REORG,
    SEEN_DOWN,
    SEEN_PREPARED,
    SEEN_REJECTED,
    SEEN_MINED,
    SEEN_STUCK,
    SEEN_VOID,
    SEEN_ACCOUNT
};

struct seen {
    enum seen_kind kind;
    uint64_t id, from, to;
    size_t count;
    struct chain_ready ready;
    struct chain_poll poll;
    struct chain_fees fees;
    struct chain_account account;
    struct eth_hash hash;
    struct chain_receipt receipt;
    struct chain_event event; // the first
    char text[600], name[64];
};

struct fixture {
    struct http_stub *stub;
    struct chain *chain;
    struct chain_options options;
    char endpoint[64];
    char *endpoints[1];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct node node;
    struct seen seen[SEEN_MAX];
    size_t seen_count;
};

/* ---- the node ---- */

static const char *quantity(uint64_t n)
{
    static __thread char text[32];
    (void)snprintf(text, sizeof(text), "\"0x%llx\"", (unsigned long long)n);
    return text;
}

static void put_word_call(struct buf *out, const char *address)
{
    buf_putf(out, "\"result\":\"0x000000000000000000000000%s\"", address + 2);
}

static void put_call(struct node *n,
                     struct buf *out,
                     const char *from,
                     const char *to,
                     const char *data,
                     const char *at)
{
    for (const struct node_call *c = n->calls; c && c->selector; c++)
        if (strncmp(data, c->selector, 10) == 0 && strcmp(from, c->from) == 0 &&
            (!c->selector[10] || strcmp(at, c->selector + 11) == 0)) {
            buf_puts(out, c->answer);
            return;
        }
    static const char *const sizes[] = {"0x79490261", "0x4c2a0b7b", "0xc3345ca3"};
    if (strncmp(data, "0x7c8fce23", 10) == 0) {
        put_word_call(out, JOBS);
        return;
    }
    if (strncmp(data, "0xe2eaf3e7", 10) == 0) {
        put_word_call(out, QUEUES);
        return;
    }
    if (strncmp(data, "0x13151ec9", 10) == 0) {
        put_word_call(out, MANAGER);
        return;
    }
    for (int i = 0; i < 3 && strcmp(to, QUEUES) == 0 && !n->queues_revert; i++) {
        if (strncmp(data, sizes[i], 10) != 0) continue;
        buf_putf(out, "\"result\":\"0x%064llx\"", (unsigned long long)n->queues[i]);
        return;
    }
    buf_putf(out,
             "\"error\":%s",
             n->call_error ? n->call_error : "{\"code\":3,\"message\":\"execution reverted\"}");
}

static const char *hash_of(const struct node *n, uint64_t block)
{
    static __thread char text[80];
    (void)snprintf(text,
                   sizeof(text),
                   "0x%08x%056llx",
                   n->epochs[block % NODE_BLOCKS],
                   (unsigned long long)block);
    return text;
}

static void put_log(const struct node *n, struct buf *out, const struct node_log *l, size_t index)
{
    buf_putf(out,
             "%s{\"address\":\"%s\",\"topics\":[\"%s\"],\"data\":\"%s\",\"blockNumber\":\"0x%llx\","
             "\"logIndex\":\"0x%zx\",\"blockHash\":\"%s\",\"transactionHash\":\"0x%064x\","
             "\"removed\":%s}",
             out->data[out->len - 1] == '[' ? "" : ",",
             l->address,
             l->topic,
             l->data,
             (unsigned long long)l->block,
             index,
             hash_of(n, l->block),
             77,
             l->removed ? "true" : "false");
}

static void put_logs(struct node *n, struct buf *out, struct json_object *filter)
{
    const char *from_text = json_object_get_string(json_object_object_get(filter, "fromBlock"));
    const char *to_text = json_object_get_string(json_object_object_get(filter, "toBlock"));
    struct u256 f, t;
    uint64_t from = 0, to = 0;
    (void)(u256_parse(from_text, &f) || u256_parse(to_text, &t));
    (void)(u256_to_u64(f, &from) || u256_to_u64(t, &to));
    if (n->logs_span_max && to - from + 1 > n->logs_span_max) {
        buf_putf(out,
                 "\"error\":%s",
                 n->logs_error ? n->logs_error
                               : "{\"code\":-32005,\"message\":\"too many results\"}");
        return;
    }
    buf_puts(out, "\"result\":[");
    for (size_t i = n->log_count; i-- > 0;) // backwards: the order is not the node's to give
        if (n->logs[i].block >= from && n->logs[i].block <= to &&
            !(n->hide_claims && strcmp(n->logs[i].topic, CLAIM) == 0))
            put_log(n, out, &n->logs[i], i);
    buf_puts(out, "]");
}

/* The transaction whose hash or raw bytes these are: the last byte says. */
static struct node_tx *find_tx(struct node *n, const char *hex)
{
    size_t len = strlen(hex);
    int i = len > 0 ? hex_digit(hex[len - 1]) : -1;
    return i >= 0 && i < NODE_TXS ? &n->txs[i] : NULL;
}

static void put_send(struct node *n, struct buf *out, const char *raw)
{
    struct node_tx *tx = find_tx(n, raw);
    size_t len = strlen(n->sent);
    tx->sends++;
    if (len + 2 < sizeof(n->sent)) n->sent[len] = raw[strlen(raw) - 1];
    if (n->send_error) {
        buf_putf(out, "\"error\":%s", n->send_error);
        return;
    }
    tx->known = !n->swallows;
    buf_putf(out, "\"result\":\"0x%064zx\"", (size_t)(tx - n->txs));
}

static void put_receipt(struct node *n, struct buf *out, const char *hash)
{
    const struct node_tx *tx = find_tx(n, hash);
    if (tx->block == 0) {
        buf_puts(out, "\"result\":null");
        return;
    }
    buf_putf(
        out,
        "\"result\":{\"transactionHash\":\"%s\",\"status\":\"0x%d\",\"blockNumber\":\"0x%llx\","
        "\"gasUsed\":\"0x64\",\"effectiveGasPrice\":\"0x3\",\"blockHash\":\"%s\",\"logs\":[",
        hash,
        tx->failed ? 0 : 1,
        (unsigned long long)tx->block,
        n->lying_receipts ? hash_of(n, tx->block + 1) : hash_of(n, tx->block));
    struct node_log log = {tx->block, JOBS, TRANSITION, "0x" WORD1 WORD1 WORD2, false};
    if (!tx->failed) put_log(n, out, &log, 3);
    buf_puts(out, "]}");
}

static void put_tx(struct node *n, struct buf *out, const char *hash)
{
    const struct node_tx *tx = find_tx(n, hash);
    if (tx->known || tx->block)
        buf_puts(out, "\"result\":{\"to\":\"" METASCHEDULER "\",\"input\":\"0x01020304\"}");
    else
        buf_puts(out, "\"result\":null");
}

static void put_block(struct node *n, struct buf *out, uint64_t number)
{
    char base[64] = "";
    if (n->base_fee)
        (void)snprintf(base, sizeof(base), ",\"baseFeePerGas\":%s", quantity(n->base_fee));
    if (number > n->head) {
        buf_puts(out, "\"result\":null");
        return;
    }
    buf_putf(out,
             "\"result\":{\"number\":\"0x%llx\",\"timestamp\":\"0x%llx\",\"hash\":\"%s\"%s",
             (unsigned long long)number,
             (unsigned long long)(1000 + number),
             hash_of(n, number),
             base);
    buf_putf(out, ",\"parentHash\":\"%s\"}", hash_of(n, number && !n->unlinked ? number - 1 : 0));
}

/* "latest", or a number. */
static uint64_t block_of(const struct node *n, const char *text)
{
    struct u256 big;
    uint64_t number = n->head;
    if (u256_parse(text, &big) == 0) (void)u256_to_u64(big, &number);
    return number;
}

static void put_count(struct node *n, struct buf *out, const char *block)
{
    bool pending = strcmp(block, "pending") == 0;
    if (pending && n->no_pending)
        buf_puts(out, "\"error\":{\"code\":-32602,\"message\":\"pending is not supported\"}");
    else
        buf_putf(out, "\"result\":%s", quantity(n->nonce + (pending ? n->pending : 0)));
}

static void put_answer(struct node *n, struct buf *out, struct json_object *q, unsigned int *gas)
{
    const char *method = json_object_get_string(json_object_object_get(q, "method"));
    struct json_object *params = json_object_object_get(q, "params");
    struct json_object *first = json_object_array_get_idx(params, 0);
    const char *text =
        json_object_is_type(first, json_type_string) ? json_object_get_string(first) : "";
    buf_putf(out,
             "{\"jsonrpc\":\"2.0\",\"id\":%d,",
             json_object_get_int(json_object_object_get(q, "id")));
    bool lies = n->two_faced && json_object_get_int(json_object_object_get(q, "id")) == 0;
    if (strcmp(method, "eth_chainId") == 0)
        buf_putf(out, "\"result\":%s", quantity(lies ? 1 : n->chain_id));
    else if (strcmp(method, "eth_blockNumber") == 0)
        buf_putf(out, "\"result\":%s", quantity(n->head - n->lag));
    else if (strcmp(method, "eth_getTransactionCount") == 0)
        put_count(n, out, json_object_get_string(json_object_array_get_idx(params, 1)));
    else if (strcmp(method, "eth_getBalance") == 0)
        buf_putf(out, "\"result\":%s", quantity(n->balance));
    else if (strcmp(method, "eth_feeHistory") == 0)
        buf_putf(out,
                 n->rewards ? "\"result\":{\"reward\":%s}"
                            : "\"error\":{\"code\":-32601,\"message\":\"%s\"}",
                 n->rewards ? n->rewards : "method not found");
    else if (strcmp(method, "eth_gasPrice") == 0)
        buf_puts(out, "\"result\":\"0x7\"");
    else if (strcmp(method, "eth_maxPriorityFeePerGas") == 0)
        buf_puts(out,
                 n->no_tip ? "\"error\":{\"code\":-32601,\"message\":\"method not found\"}"
                           : "\"result\":\"0x5\"");
    else if (strcmp(method, "eth_getBlockByNumber") == 0)
        put_block(n, out, block_of(n, text));
    else if (strcmp(method, "eth_getBlockByHash") == 0)
        put_block(n, out, (uint64_t)hex_digit(text[65])); // blocks of receipts are below 16
    else if (strcmp(method, "eth_getLogs") == 0)
        put_logs(n, out, first);
    else if (strcmp(method, "eth_getTransactionReceipt") == 0)
        put_receipt(n, out, text);
    else if (strcmp(method, "eth_getTransactionByHash") == 0)
        put_tx(n, out, text);
    else if (strcmp(method, "eth_sendRawTransaction") == 0)
        put_send(n, out, text);
    else if (strcmp(method, "eth_estimateGas") == 0) {
        n->estimates++;
        if (++*gas > n->max_estimates) n->max_estimates = *gas;
        buf_putf(out,
                 "%s%s",
                 n->estimate_error ? "\"error\":" : "\"result\":\"0x186a0\"",
                 n->estimate_error ? n->estimate_error : "");
    } else if (strcmp(method, "eth_call") == 0)
        put_call(n,
                 out,
                 json_object_get_string(json_object_object_get(first, "from")),
                 json_object_get_string(json_object_object_get(first, "to")),
                 json_object_get_string(json_object_object_get(first, "data")),
                 json_object_get_string(json_object_array_get_idx(params, 1)));
    else
        buf_puts(out, "\"error\":{\"code\":-32601,\"message\":\"what?\"}");
    buf_puts(out, "}");
}

static void node_answer(struct node *n, const char *body, struct http_stub_reply *r)
{
    struct json_object *q = json_tokener_parse(body);
    unsigned int gas = 0;
    n->requests++;
    r->status = n->status;
    if (n->hang) r->delay_ms = 60000;
    if (n->garbage) {
        buf_puts(&r->body, n->garbage);
    } else if (json_object_is_type(q, json_type_array)) {
        buf_puts(&r->body, "[");
        for (size_t i = json_object_array_length(q); i-- > 0;) { // last first
            put_answer(n, &r->body, json_object_array_get_idx(q, i), &gas);
            if (i > 0) buf_puts(&r->body, ",");
        }
        buf_puts(&r->body, "]");
    } else {
        put_answer(n, &r->body, q, &gas);
    }
    json_object_put(q);
}

static void handle(void *ctx, const struct http_stub_request *q, struct http_stub_reply *r)
{
    struct fixture *f = ctx;
    pthread_mutex_lock(&f->lock);
    node_answer(&f->node, q->body, r);
    pthread_mutex_unlock(&f->lock);
}

/* ---- what the callbacks saw ---- */

static void note(struct fixture *f, const struct seen *s)
{
    pthread_mutex_lock(&f->lock);
    if (f->seen_count < SEEN_MAX) f->seen[f->seen_count++] = *s;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static void on_ready(void *ctx, const struct chain_ready *ready)
{
    struct seen s = {.kind = SEEN_READY, .ready = *ready};
    note(ctx, &s);
}

static void on_poll(void *ctx, const struct chain_poll *poll)
{
    struct seen s = {.kind = SEEN_POLL, .poll = *poll};
    note(ctx, &s);
}

static void on_logs(void *ctx, const struct chain_logs *l)
{
    const struct chain_event *events = l->events;
    struct seen s = {
        .kind = l->again ? SEEN_AGAIN : SEEN_LOGS, .from = l->from, .to = l->to, .count = l->count};
    if (l->count) s.event = events[0];
    for (size_t i = 1; i < l->count; i++)
        if (events[i].block < events[i - 1].block ||
            (events[i].block == events[i - 1].block &&
             events[i].log_index <= events[i - 1].log_index))
            s.count = SIZE_MAX; // out of order
    note(ctx, &s);
}

static void on_reorg(void *ctx, uint64_t fork)
{
    struct seen s = {.kind = SEEN_REORG, .to = fork};
    note(ctx, &s);
}

static void on_down(void *ctx, const struct error *err)
{
    struct seen s = {.kind = SEEN_DOWN};
    (void)snprintf(s.text, sizeof(s.text), "%s", err->text);
    note(ctx, &s);
}

static void on_prepared(void *ctx, uint64_t id, const struct chain_fees *fees)
{
    struct seen s = {.kind = SEEN_PREPARED, .id = id, .fees = *fees};
    note(ctx, &s);
}

static void on_rejected(void *ctx, uint64_t id, const char *name, const char *text)
{
    struct seen s = {.kind = SEEN_REJECTED, .id = id};
    (void)snprintf(s.name, sizeof(s.name), "%s", name);
    (void)snprintf(s.text, sizeof(s.text), "%s", text);
    note(ctx, &s);
}

static void on_mined(void *ctx, uint64_t id, const struct chain_receipt *receipt)
{
    struct seen s = {.kind = SEEN_MINED, .id = id, .receipt = *receipt};
    s.count = receipt->event_count;
    if (s.count) s.event = receipt->events[0];
    note(ctx, &s);
}

static void
on_stuck(void *ctx, uint64_t id, const struct eth_hash *hash, const struct chain_fees *fees)
{
    struct seen s = {.kind = SEEN_STUCK, .id = id, .hash = *hash, .fees = *fees};
    note(ctx, &s);
}

static void on_void(void *ctx, uint64_t id, const struct eth_hash *hash, const char *why)
{
    struct seen s = {.kind = SEEN_VOID, .id = id, .hash = *hash};
    (void)snprintf(s.text, sizeof(s.text), "%s", why);
    note(ctx, &s);
}

static void on_account(void *ctx, const struct chain_account *account)
{
    struct seen s = {.kind = SEEN_ACCOUNT, .account = *account};
    note(ctx, &s);
}

static const struct chain_ops ops = {.ready = on_ready,
                                     .poll = on_poll,
                                     .logs = on_logs,
                                     .reorg = on_reorg,
                                     .down = on_down,
                                     .account = on_account,
                                     .tx_prepared = on_prepared,
                                     .tx_rejected = on_rejected,
                                     .tx_mined = on_mined,
                                     .tx_stuck = on_stuck,
                                     .tx_void = on_void};

static size_t count_seen(const struct fixture *f, enum seen_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < f->seen_count; i++)
        if (f->seen[i].kind == kind) n++;
    return n;
}

static size_t seen_count(struct fixture *f, enum seen_kind kind)
{
    pthread_mutex_lock(&f->lock);
    size_t n = count_seen(f, kind);
    pthread_mutex_unlock(&f->lock);
    return n;
}

/* Wait for the nth (from 1) of a kind. */
static struct seen wait_seen_at(struct fixture *f, enum seen_kind kind, size_t nth, int line)
{
    long long until = clock_mono_ms() + PATIENCE_MS;
    int rc = 0;
    pthread_mutex_lock(&f->lock);
    while (count_seen(f, kind) < nth && rc == 0)
        rc = thread_cond_wait_until(&f->changed, &f->lock, until);
    struct seen s = {0};
    size_t n = 0;
    for (size_t i = 0; i < f->seen_count && s.kind == 0; i++)
        if (f->seen[i].kind == kind && ++n == nth) s = f->seen[i];
    pthread_mutex_unlock(&f->lock);
    if (s.kind == 0) fail_msg("line %d: callback %d number %zu did not come", line, kind, nth);
    return s;
}
#define wait_seen(f, kind, nth) wait_seen_at(f, kind, nth, __LINE__)

static struct node *node_lock(struct fixture *f)
{
    pthread_mutex_lock(&f->lock);
    return &f->node;
}

static void node_unlock(struct fixture *f)
{
    pthread_mutex_unlock(&f->lock);
}

static void wait_polls(struct fixture *f, size_t more)
{
    (void)wait_seen(f, SEEN_POLL, seen_count(f, SEEN_POLL) + more);
}

static unsigned int sends_of(struct fixture *f, int tx)
{
    struct node *n = node_lock(f);
    unsigned int sends = n->txs[tx].sends;
    node_unlock(f);
    return sends;
}

static void wait_sends_at(struct fixture *f, int tx, unsigned int sends, int line)
{
    long long until = clock_mono_ms() + PATIENCE_MS;
    while (sends_of(f, tx) < sends && clock_mono_ms() < until)
        usleep(5000);
    if (sends_of(f, tx) < sends) fail_msg("line %d: transaction %d was not sent", line, tx);
}
#define wait_sends(f, tx, n) wait_sends_at(f, tx, n, __LINE__)

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    log_set_level(0); // the warnings are expected; their texts are tested by callbacks
    pthread_mutex_init(&f->lock, NULL);
    thread_cond_init(&f->changed);
    f->node = (struct node){
        .chain_id = 1337, .head = 10, .nonce = 4, .base_fee = 100, .balance = 1000, .status = 200};
    f->stub = http_stub_start(0, handle, f);
    (void)snprintf(
        f->endpoint, sizeof(f->endpoint), "http://127.0.0.1:%d/", http_stub_port(f->stub));
    f->endpoints[0] = f->endpoint;
    f->options = (struct chain_options){.endpoints = f->endpoints,
                                        .endpoint_count = 1,
                                        .poll_interval_ms = 20,
                                        .logs_range = 100,
                                        .timeout_ms = 2000,
                                        .bump_after = 3};
    assert_int_equal(hex_decode(f->options.metascheduler.b, 20, METASCHEDULER), 0);
    assert_int_equal(hex_decode(f->options.provider.b, 20, PROVIDER), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    chain_stop(f->chain);
    http_stub_stop(f->stub);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
    return 0;
}

static void start(struct fixture *f)
{
    struct error err = {0};
    f->chain = chain_start(&f->options, &ops, f, &err);
    if (!f->chain) fail_msg("%s", err.text);
}

static void start_at(struct fixture *f, uint64_t cursor)
{
    f->options.has_cursor = true;
    f->options.cursor = cursor;
    start(f);
}

static void check_address(const struct eth_address *a, const char *want)
{
    char text[ETH_ADDRESS_TEXT];
    assert_string_equal(hex_encode(text, a->b, sizeof(a->b)), want);
}

/* ---- the watcher ---- */

static void test_ready_and_poll(void **state)
{
    struct fixture *f = *state;
    memcpy(f->node.queues, (uint64_t[]){3, 2, 1}, sizeof(f->node.queues));
    start(f);
    struct seen s = wait_seen(f, SEEN_READY, 1);
    assert_int_equal(s.ready.chain_id, 1337);
    assert_int_equal(s.ready.nonce, 4);
    check_address(&s.ready.jobs, JOBS);
    check_address(&s.ready.queues, QUEUES);
    check_address(&s.ready.provider_manager, MANAGER);
    s = wait_seen(f, SEEN_POLL, 3);
    assert_int_equal(s.poll.head, 10);
    assert_int_equal(s.poll.head_time_s, 1010);
    assert_int_equal(s.poll.claimable, 3);
    assert_int_equal(s.poll.cancelling, 2);
    assert_int_equal(s.poll.top_up, 1);
    assert_int_equal(seen_count(f, SEEN_READY), 1);
    assert_int_equal(seen_count(f, SEEN_DOWN), 0);
}

static void test_without_cursor_from_the_head(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct seen s = wait_seen(f, SEEN_LOGS, 1);
    assert_int_equal(s.from, 10);
    assert_int_equal(s.to, 10);
    node_lock(f)->head = 12;
    node_unlock(f);
    s = wait_seen(f, SEEN_LOGS, 2);
    assert_int_equal(s.from, 11);
    assert_int_equal(s.to, 12);
}

/* The first start after the state was lost: claims of an earlier life are in the blocks before. */
static void test_without_cursor_looks_back(void **state)
{
    struct fixture *f = *state;
    f->node.head = 100;
    f->options.look_back = 30;
    start(f);
    assert_int_equal(wait_seen(f, SEEN_LOGS, 1).from, 70);
    f->chain = chain_stop(f->chain);
    f->options.look_back = 1000; // more than there are
    start(f);
    size_t before = seen_count(f, SEEN_LOGS);
    assert_int_equal(wait_seen(f, SEEN_LOGS, before + 1).from, 0);
}

static void check_contiguous(struct fixture *f, uint64_t from)
{
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->seen_count; i++) {
        if (f->seen[i].kind != SEEN_LOGS) continue;
        if (f->seen[i].from != from || f->seen[i].to < from || f->seen[i].count == SIZE_MAX)
            fail_msg("logs of %llu..%llu, next was %llu",
                     (unsigned long long)f->seen[i].from,
                     (unsigned long long)f->seen[i].to,
                     (unsigned long long)from);
        from = f->seen[i].to + 1;
    }
    pthread_mutex_unlock(&f->lock);
}

static void add_transition(struct node *n, uint64_t block)
{
    n->logs[n->log_count++] =
        (struct node_log){block, JOBS, TRANSITION, "0x" WORD1 WORD1 WORD2, false};
}

static void test_chunks_in_order(void **state)
{
    struct fixture *f = *state;
    f->options.logs_range = 4;
    f->node.head = 109; // 27 chunks: more than one poll's
    add_transition(&f->node, 5);
    add_transition(&f->node, 6);
    add_transition(&f->node, 6);
    start_at(f, 4);
    struct seen s = wait_seen(f, SEEN_LOGS, 1);
    assert_int_equal(s.from, 5);
    assert_int_equal(s.to, 8);
    assert_int_equal(s.count, 3);
    assert_int_equal(s.event.kind, CHAIN_EVENT_TRANSITION);
    assert_int_equal(s.event.block, 5);
    assert_int_equal(s.event.job.b[31], 1);
    assert_int_equal(s.event.from, 1);
    assert_int_equal(s.event.to, 2);
    s = wait_seen(f, SEEN_LOGS, 27);
    assert_int_equal(s.to, 109);
    check_contiguous(f, 5);
}

static int real_stderr = -1;

/* Log lines go to the file that is returned, until check_complaints(). */
static int capture_stderr(void)
{
    int fd = memfd_create("log", MFD_CLOEXEC);
    real_stderr = dup(STDERR_FILENO);
    assert_true(fd >= 0 && real_stderr >= 0);
    assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    return fd;
}

static void check_complaints(int fd, const char *what, unsigned int want)
{
    char text[8192] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    (void)dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(fd);
    assert_true(n >= 0);
    unsigned int got = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        got++;
    assert_int_equal(got, want);
    assert_non_null(strstr(text, "transaction 0x00000000000000000000000000000000"));
}

static void test_logs_that_do_not_count(void **state)
{
    struct fixture *f = *state;
    struct node *n = &f->node;
    n->logs[n->log_count++] = (struct node_log){6, JOBS, TRANSITION, "0x" WORD1, false}; // cut
    n->logs[n->log_count++] = (struct node_log){6, METASCHEDULER, CLAIM, "0x" WORD1, false};
    n->logs[n->log_count++] = (struct node_log){6, JOBS, TRANSITION, "0xz", false};
    n->logs[n->log_count++] =
        (struct node_log){6, QUEUES, TRANSITION, "0x" WORD1 WORD1 WORD2, false}; // not its event
    n->logs[n->log_count++] =
        (struct node_log){6, METASCHEDULER, TRANSITION, "0x" WORD1 WORD1 WORD2, false};
    n->logs[n->log_count++] =
        (struct node_log){6, JOBS, TRANSITION, "0x" WORD1 WORD1 WORD2, true}; // removed
    add_transition(n, 6);
    int said = capture_stderr();
    log_set_level(LOG_LEVEL_ERROR);
    start_at(f, 5);
    struct seen s = wait_seen(f, SEEN_LOGS, 1);
    wait_polls(f, 2);
    check_complaints(said, "cannot be decoded", 3); // once each, naming the transaction
    assert_int_equal(s.count, 1);
    assert_int_equal(s.event.log_index, 6);
    assert_int_equal(s.to, 10);
    assert_int_equal(seen_count(f, SEEN_DOWN), 0);
}

static void test_too_many_results(void **state)
{
    struct fixture *f = *state;
    f->node.head = 40;
    f->node.logs_span_max = 3;
    start_at(f, 0);
    long long until = clock_mono_ms() + PATIENCE_MS;
    uint64_t last = 0;
    for (size_t i = 1; last < 40 && clock_mono_ms() < until; i++)
        last = wait_seen(f, SEEN_LOGS, i).to;
    assert_int_equal(last, 40);
    check_contiguous(f, 1);
    assert_int_equal(seen_count(f, SEEN_DOWN), 0);
}

/* Logs up to `to` were told; returns the last one. */
static void wait_logs_to(struct fixture *f, uint64_t to)
{
    long long until = clock_mono_ms() + PATIENCE_MS;
    uint64_t last = 0;
    for (;;) {
        pthread_mutex_lock(&f->lock);
        for (size_t i = 0; i < f->seen_count; i++)
            if (f->seen[i].kind == SEEN_LOGS) last = f->seen[i].to;
        pthread_mutex_unlock(&f->lock);
        if (last == to) return;
        if (clock_mono_ms() > until)
            fail_msg("logs up to %llu, not %llu", (unsigned long long)last, (unsigned long long)to);
        usleep(5000);
    }
}

/* What was read is read again, by as many blocks at once as the node bears; the cursor stays. */
static void test_logs_that_are_read_again(void **state)
{
    struct fixture *f = *state;
    f->options.logs_range = 4;
    f->node.head = 20;
    f->node.logs_span_max = 3;
    start_at(f, 10);
    wait_logs_to(f, 20);
    size_t logs = seen_count(f, SEEN_LOGS);
    add_transition(node_lock(f), 9);
    f->node.lag = 1; // it would not have the last of them
    node_unlock(f);
    chain_read_again(f->chain, 8);
    chain_read_again(f->chain, 9);
    struct seen s = wait_seen(f, SEEN_AGAIN, 1);
    assert_int_equal(s.from, 8);
    assert_int_equal(s.count, 1);
    for (size_t i = 2; s.to < 18; i++) {
        uint64_t next = s.to + 1;
        s = wait_seen(f, SEEN_AGAIN, i);
        assert_int_equal(s.from, next);
    }
    wait_polls(f, 3);
    size_t times = seen_count(f, SEEN_AGAIN);
    node_lock(f)->lag = 0;
    node_unlock(f);
    wait_polls(f, 3);
    assert_int_equal(seen_count(f, SEEN_AGAIN), times); // that was let be
    chain_read_again(f->chain, 20);
    s = wait_seen(f, SEEN_AGAIN, times + 1);
    assert_true(s.from == 20 && s.to == 20);
    chain_read_again(f->chain, 21); // not read yet: nothing to do
    node_lock(f)->head = 22;
    node_unlock(f);
    assert_int_equal(wait_seen(f, SEEN_LOGS, logs + 1).from, 21);
    assert_int_equal(seen_count(f, SEEN_AGAIN), times + 1);
    assert_int_equal(seen_count(f, SEEN_DOWN), 0);
    check_contiguous(f, 11);
}

static void test_lagging_node(void **state)
{
    struct fixture *f = *state;
    start_at(f, 20);
    (void)wait_seen(f, SEEN_READY, 1);
    usleep(200 * 1000);
    assert_int_equal(seen_count(f, SEEN_POLL), 0);
    assert_int_equal(seen_count(f, SEEN_LOGS), 0);
    node_lock(f)->head = 20; // level: nothing new, but its numbers count again
    node_unlock(f);
    wait_polls(f, 2);
    assert_int_equal(seen_count(f, SEEN_LOGS), 0);
    node_lock(f)->head = 22;
    node_unlock(f);
    assert_int_equal(wait_seen(f, SEEN_LOGS, 1).from, 21);
    node_lock(f)->head = 15; // back again
    node_unlock(f);
    usleep(100 * 1000);
    size_t polls = seen_count(f, SEEN_POLL);
    usleep(200 * 1000);
    assert_int_equal(seen_count(f, SEEN_POLL), polls);
    node_lock(f)->head = 23;
    node_unlock(f);
    assert_int_equal(wait_seen(f, SEEN_LOGS, 2).from, 23);
    assert_int_equal(seen_count(f, SEEN_DOWN), 0);
}

/* Blocks above `fork` are others now, and `more` come on top. */
static void reorganise(struct fixture *f, uint64_t fork, int64_t more)
{
    struct node *n = node_lock(f);
    for (uint64_t i = fork + 1; i < NODE_BLOCKS; i++)
        n->epochs[i]++;
    n->head = (uint64_t)((int64_t)n->head + more);
    node_unlock(f);
}

/* After the nth reorg, from where are logs told? */
static uint64_t told_after_reorg(struct fixture *f, size_t nth)
{
    (void)wait_seen(f, SEEN_REORG, nth);
    long long until = clock_mono_ms() + PATIENCE_MS;
    for (;;) {
        uint64_t from = UINT64_MAX;
        size_t reorgs = 0;
        pthread_mutex_lock(&f->lock);
        for (size_t i = 0; i < f->seen_count && from == UINT64_MAX; i++) {
            reorgs += f->seen[i].kind == SEEN_REORG;
            if (reorgs == nth && f->seen[i].kind == SEEN_LOGS) from = f->seen[i].from;
        }
        pthread_mutex_unlock(&f->lock);
        if (from != UINT64_MAX || clock_mono_ms() > until) return from;
        usleep(5000);
    }
}

static void test_reorganisations(void **state)
{
    static const struct {
        uint64_t depth;
        int64_t more; // blocks
    } cases[] = {{1, 0}, {1, 1}, {5, 0}, {17, 3}, {63, 1}, {64, 1}, {2, -1}, {20, -20}};
    struct fixture *f = *state;
    f->node.head = 200;
    start_at(f, 100);
    wait_logs_to(f, 200);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t head = node_lock(f)->head;
        node_unlock(f);
        reorganise(f, head - cases[i].depth, cases[i].more);
        if (cases[i].more < 0) { // it looks like a node that lags, until it grows
            usleep(100 * 1000);
            node_lock(f)->head = head + 1;
            node_unlock(f);
        }
        assert_int_equal(wait_seen(f, SEEN_REORG, i + 1).to, head - cases[i].depth);
        assert_int_equal(told_after_reorg(f, i + 1), head - cases[i].depth + 1);
        wait_logs_to(f, head + (cases[i].more < 0 ? 1 : (uint64_t)cases[i].more));
    }
    assert_int_equal(seen_count(f, SEEN_DOWN), 0);
}

/* Where it forked is not known: it goes on well below what is remembered. */
static void test_reorganised_too_deep(void **state)
{
    struct fixture *f = *state;
    f->node.head = 400;
    start_at(f, 300);
    wait_logs_to(f, 400);
    reorganise(f, 335, 0); // one more than is remembered
    assert_int_equal(wait_seen(f, SEEN_REORG, 1).to, 335 - 192);
    assert_int_equal(told_after_reorg(f, 1), 335 - 192 + 1);
    wait_logs_to(f, 400);
    wait_polls(f, 3);
    assert_int_equal(seen_count(f, SEEN_REORG), 1);
}

/* The hashes are given back at the next start: a reorganisation of meanwhile is noticed. */
static void test_reorganised_while_down(void **state)
{
    struct fixture *f = *state;
    struct chain_block blocks[3] = {{.number = 28}, {.number = 29}, {.number = 30}};
    for (int i = 0; i < 3; i++)
        blocks[i].hash.b[31] = (uint8_t)blocks[i].number;
    f->options.blocks = blocks;
    f->options.block_count = 3;
    f->node.head = 35;
    reorganise(f, 28, 0);
    start_at(f, 30);
    assert_int_equal(wait_seen(f, SEEN_REORG, 1).to, 28);
    assert_int_equal(told_after_reorg(f, 1), 29);
    wait_logs_to(f, 35);
    f->chain = chain_stop(f->chain);
    // Hashes that do not reach the cursor are of an older time.
    size_t logs = seen_count(f, SEEN_LOGS);
    start_at(f, 32);
    assert_int_equal(wait_seen(f, SEEN_LOGS, logs + 1).from, 33);
    assert_int_equal(seen_count(f, SEEN_REORG), 1);
}

static void test_confirmations(void **state)
{
    struct fixture *f = *state;
    f->options.confirmations = 4;
    f->node.head = 23;
    start_at(f, 18);
    wait_logs_to(f, 20);
    wait_polls(f, 3);
    wait_logs_to(f, 20);
    reorganise(f, 20, 0); // what nobody was told of
    wait_polls(f, 3);
    assert_int_equal(seen_count(f, SEEN_REORG), 0);
    node_lock(f)->head = 24;
    node_unlock(f);
    wait_logs_to(f, 21);
    reorganise(f, 20, 0);
    assert_int_equal(wait_seen(f, SEEN_REORG, 1).to, 20);
    check_contiguous(f, 19);
}

/* Blocks that do not hang together are of two chains: none of it is taken. */
static void test_unlinked_blocks(void **state)
{
    struct fixture *f = *state;
    f->node.head = 20;
    f->node.unlinked = true;
    start_at(f, 10);
    wait_polls(f, 5);
    assert_int_equal(seen_count(f, SEEN_LOGS), 0);
    node_lock(f)->unlinked = false;
    node_unlock(f);
    wait_logs_to(f, 20);
}

static struct chain_event claim_at(struct fixture *f, uint64_t block, uint64_t log_index)
{
    struct chain_event e = {.kind = CHAIN_EVENT_CLAIM, .block = block, .log_index = log_index};
    assert_int_equal(hex_decode(e.block_hash.b, 32, hash_of(&f->node, block)), 0);
    return e;
}

static void test_logs_without_our_claim(void **state)
{
    struct fixture *f = *state;
    struct node *n = &f->node;
    assert_int_equal(
        hex_decode(f->options.provider.b, 20, "0x2222222222222222222222222222222222222222"), 0);
    n->logs[n->log_count++] =
        (struct node_log){10, METASCHEDULER, CLAIM, VECTOR_EVENT_CLAIM_PLAIN, false};
    n->logs[n->log_count++] =
        (struct node_log){13, METASCHEDULER, CLAIM, VECTOR_EVENT_CLAIM_PLAIN, false};
    n->hide_claims = true;
    start_at(f, 9);
    wait_logs_to(f, 10); // nobody knows better
    struct chain_event e[] = {claim_at(f, 10, 0), claim_at(f, 13, 1)};
    chain_expect(f->chain, &e[0], 1); // the receipt is later
    wait_polls(f, 3);
    node_lock(f)->head = 12;
    node_unlock(f);
    wait_polls(f, 5);
    wait_logs_to(f, 10); // nothing after it is told
    node_lock(f)->hide_claims = false;
    node_unlock(f);
    wait_logs_to(f, 12);
    struct seen s = wait_seen(f, SEEN_LOGS, 2);
    assert_int_equal(s.from, 10);
    assert_int_equal(s.count, 1);

    chain_expect(f->chain, &e[1], 1); // the receipt is earlier
    struct node *node = node_lock(f);
    node->hide_claims = true;
    node->head = 14;
    node_unlock(f);
    wait_polls(f, 5);
    wait_logs_to(f, 12);
    node_lock(f)->hide_claims = false;
    node_unlock(f);
    wait_logs_to(f, 14);
    assert_int_equal(seen_count(f, SEEN_DOWN), 0);
}

/* A receipt of a block that is not in the chain asks for nothing; and a node that never has the log
 * does not stop us for ever. */
static void test_claims_that_no_log_has(void **state)
{
    struct fixture *f = *state;
    start_at(f, 9);
    wait_logs_to(f, 10);
    struct chain_event e = claim_at(f, 10, 0);
    e.block_hash.b[0] = 0xff;
    chain_expect(f->chain, &e, 1);
    node_lock(f)->head = 12;
    node_unlock(f);
    wait_logs_to(f, 12);
    check_contiguous(f, 10);
    e = claim_at(f, 11, 0);
    chain_expect(f->chain, &e, 1);
    node_lock(f)->head = 13;
    node_unlock(f);
    wait_polls(f, 20);
    wait_logs_to(f, 12);
    wait_logs_to(f, 13);
}

/* Unknown words may be a complaint too; but one that is no matter of size ends as a failure. */
static void test_complaints(void **state)
{
    struct fixture *f = *state;
    f->node.head = 300;
    f->node.logs_span_max = 7;
    f->node.logs_error = "{\"code\":-32099,\"message\":\"no thanks\"}";
    start_at(f, 0);
    wait_logs_to(f, 300);
    check_contiguous(f, 1);
    assert_int_equal(seen_count(f, SEEN_DOWN), 0);
    struct node *n = node_lock(f);
    n->logs_error = "{\"code\":-32000,\"message\":\"header not found\"}";
    n->logs_span_max = 1;
    n->head = 310;
    node_unlock(f);
    (void)wait_seen(f, SEEN_DOWN, 1);
    node_lock(f)->logs_span_max = 0;
    node_unlock(f);
    wait_logs_to(f, 310);
}

/* Behind a load balancer: the one who has the logs is not as far as the one who told the head. */
static void test_lagging_backend(void **state)
{
    struct fixture *f = *state;
    f->node.lag = 2;
    start_at(f, 9);
    wait_polls(f, 4);
    assert_int_equal(seen_count(f, SEEN_LOGS), 0);
    struct node *n = node_lock(f);
    n->lag = 0;
    add_transition(n, 10);
    node_unlock(f);
    assert_int_equal(wait_seen(f, SEEN_LOGS, 1).count, 1);
    assert_int_equal(seen_count(f, SEEN_DOWN), 0);
}

static void test_down_and_back(void **state)
{
    struct fixture *f = *state;
    start_at(f, 9);
    (void)wait_seen(f, SEEN_LOGS, 1);
    node_lock(f)->status = 429;
    node_unlock(f);
    assert_non_null(strstr(wait_seen(f, SEEN_DOWN, 1).text, "429"));
    usleep(500 * 1000); // some tries, one down
    struct node *n = node_lock(f);
    n->status = 200;
    n->garbage = "<html>";
    n->head = 13;
    add_transition(n, 12);
    node_unlock(f);
    usleep(500 * 1000);
    assert_int_equal(seen_count(f, SEEN_DOWN), 1);
    node_lock(f)->garbage = NULL;
    node_unlock(f);
    (void)wait_seen(f, SEEN_READY, 2);
    struct seen s = wait_seen(f, SEEN_LOGS, 2);
    assert_int_equal(s.from, 11);
    assert_int_equal(s.to, 13);
    assert_int_equal(s.count, 1);
    assert_int_equal(seen_count(f, SEEN_DOWN), 1);
}

static void test_down_from_the_start(void **state)
{
    struct fixture *f = *state;
    int port = http_stub_port(f->stub);
    f->stub = http_stub_stop(f->stub);
    start(f);
    (void)wait_seen(f, SEEN_DOWN, 1);
    f->stub = http_stub_start(port, handle, f);
    assert_non_null(f->stub);
    (void)wait_seen(f, SEEN_READY, 1);
    assert_int_equal(seen_count(f, SEEN_DOWN), 1);
}

static void test_no_contract(void **state)
{
    struct fixture *f = *state;
    f->node.garbage =
        "[{\"id\":0,\"result\":\"0x1\"},{\"id\":1,\"result\":\"0x\"},{\"id\":2,\"result\":\"0x\"},"
        "{\"id\":3,\"result\":\"0x\"},{\"id\":4,\"result\":\"0x0\"}]";
    start(f);
    struct seen s = wait_seen(f, SEEN_DOWN, 1);
    assert_non_null(strstr(s.text, METASCHEDULER));
    assert_int_equal(seen_count(f, SEEN_READY), 0);
}

static void test_another_chain_is_not_used(void **state)
{
    struct fixture *f = *state;
    start(f);
    wait_polls(f, 1);
    node_lock(f)->chain_id = 1;
    node_unlock(f);
    assert_non_null(strstr(wait_seen(f, SEEN_DOWN, 1).text, "1337"));
    struct eth_address to = {{0}};
    assert_int_equal(chain_tx_prepare(f->chain, 1, &to, "x", 1), 0);
    usleep(400 * 1000);
    assert_int_equal(seen_count(f, SEEN_READY), 1);
    assert_int_equal(seen_count(f, SEEN_PREPARED), 0);
    node_lock(f)->chain_id = 1337;
    node_unlock(f);
    (void)wait_seen(f, SEEN_READY, 2);
    (void)wait_seen(f, SEEN_PREPARED, 1);
}

/* As the store says; a batch that is divided among nodes of two chains must not change it. */
static void test_a_node_of_two_chains(void **state)
{
    struct fixture *f = *state;
    f->options.chain_id = 1337;
    f->node.two_faced = true;
    start(f);
    (void)wait_seen(f, SEEN_DOWN, 1);
    usleep(400 * 1000); // some tries
    assert_int_equal(seen_count(f, SEEN_READY), 0);
    node_lock(f)->two_faced = false;
    node_unlock(f);
    assert_int_equal(wait_seen(f, SEEN_READY, 1).ready.chain_id, 1337);
    wait_polls(f, 1);
}

static void test_reverting_queues_are_empty(void **state)
{
    struct fixture *f = *state;
    f->node.queues[0] = 5;
    f->node.queues_revert = true;
    start(f);
    assert_int_equal(wait_seen(f, SEEN_POLL, 2).poll.claimable, 0);
    assert_int_equal(seen_count(f, SEEN_DOWN), 0);
}

static void test_poke(void **state)
{
    struct fixture *f = *state;
    f->options.poll_interval_ms = 60000;
    start(f);
    (void)wait_seen(f, SEEN_POLL, 1);
    usleep(50 * 1000);
    assert_int_equal(seen_count(f, SEEN_POLL), 1);
    chain_poke(f->chain);
    (void)wait_seen(f, SEEN_POLL, 2);
}

/* ---- prepare ---- */

static void prepare(struct fixture *f, uint64_t id)
{
    struct eth_address to = f->options.metascheduler;
    assert_int_equal(chain_tx_prepare(f->chain, id, &to, "\1\2\3\4", 4), 0);
}

static void check_fees(const struct seen *s, bool eip1559, uint64_t max, uint64_t tip)
{
    assert_int_equal(s->fees.eip1559, eip1559);
    assert_int_equal(s->fees.gas_limit, 135000); // 100000 * 1.25 + 10000
    assert_int_equal(u256_cmp(s->fees.max_fee_per_gas, u256_from_u64(max)), 0);
    assert_int_equal(u256_cmp(s->fees.max_priority_fee_per_gas, u256_from_u64(tip)), 0);
}

/* A head more, so that all is asked for anew; then a transaction is prepared. */
static struct seen prepare_at(struct fixture *f, size_t nth)
{
    node_lock(f)->head++;
    node_unlock(f);
    wait_polls(f, 2);
    prepare(f, 1); // the id is free again
    return wait_seen(f, SEEN_PREPARED, nth);
}

static void test_prepare_fees(void **state)
{
    struct fixture *f = *state;
    start(f);
    struct seen s = prepare_at(f, 1);
    assert_int_equal(s.id, 1);
    check_fees(&s, true, 2 * 100 + 5, 5);
    struct node *n = node_lock(f);
    n->no_tip = true; // what blocks took tells then
    n->rewards = "[[\"0x9\"],[\"0x0\"],[\"0x3\"],[\"0x7\"],[],5]";
    node_unlock(f);
    s = prepare_at(f, 2);
    check_fees(&s, true, 2 * 100 + 7, 7);
    node_lock(f)->rewards = NULL;
    node_unlock(f);
    s = prepare_at(f, 3);
    check_fees(&s, true, 2 * 100 + 1000000000, 1000000000);
    node_lock(f)->base_fee = 0;
    node_unlock(f);
    s = prepare_at(f, 4);
    check_fees(&s, false, 7, 0);
}

/* Dearer than the caps: nothing takes a nonce, and all goes on when the chain is cheaper. */
static void test_prepare_waits_for_the_caps(void **state)
{
    struct fixture *f = *state;
    f->options.caps.max_fee = u256_from_u64(150);
    f->options.caps.max_tip = u256_from_u64(8);
    f->node.base_fee = 151;
    start(f);
    prepare(f, 1);
    wait_polls(f, 10);
    assert_int_equal(seen_count(f, SEEN_PREPARED) + seen_count(f, SEEN_REJECTED), 0);
    assert_int_equal(f->node.estimates, 0);
    struct node *n = node_lock(f);
    n->base_fee = 150;
    n->head++;
    node_unlock(f);
    struct seen s = wait_seen(f, SEEN_PREPARED, 1);
    check_fees(&s, true, 150, 4); // four raises lead to 8
}

/* The account is told with each block, and now and then without one. */
static void test_account(void **state)
{
    struct fixture *f = *state;
    f->node.pending = 3;
    start(f);
    struct seen s = wait_seen(f, SEEN_ACCOUNT, 1);
    assert_int_equal(s.account.head, 10);
    assert_int_equal(s.account.mined, 4);
    assert_int_equal(s.account.pending, 7);
    assert_int_equal(u256_cmp(s.account.balance, u256_from_u64(1000)), 0);
    assert_true(s.account.market.eip1559);
    assert_int_equal(u256_cmp(s.account.market.base_fee, u256_from_u64(100)), 0);
    wait_polls(f, 5);
    assert_in_range(seen_count(f, SEEN_ACCOUNT), 1, 2);

    struct node *n = node_lock(f);
    n->no_pending = true; // some nodes do not know it
    n->balance = 5;
    n->head++;
    node_unlock(f);
    size_t nth = seen_count(f, SEEN_ACCOUNT) + 1;
    s = wait_seen(f, SEEN_ACCOUNT, nth);
    assert_int_equal(s.account.head, 11);
    assert_int_equal(s.account.pending, 4);
    assert_int_equal(u256_cmp(s.account.balance, u256_from_u64(5)), 0);
    (void)wait_seen(f, SEEN_ACCOUNT, nth + 1); // the same block: a second later
}

static void test_prepare_rejected(void **state)
{
    struct fixture *f = *state;
    f->node.estimate_error =
        "{\"code\":3,\"message\":\"execution reverted\",\"data\":\"" INVALID_2_5 "\"}";
    start(f);
    prepare(f, 7);
    struct seen s = wait_seen(f, SEEN_REJECTED, 1);
    assert_int_equal(s.id, 7);
    assert_string_equal(s.name, "InvalidTransition");
    assert_string_equal(s.text, "InvalidTransition(2, 5)");
    node_lock(f)->estimate_error = "{\"code\":-32000,\"message\":\"execution reverted: because\"}";
    node_unlock(f);
    prepare(f, 8);
    s = wait_seen(f, SEEN_REJECTED, 2);
    assert_string_equal(s.name, "");
    assert_string_equal(s.text, "execution reverted: because");
    assert_int_equal(seen_count(f, SEEN_PREPARED), 0);
}

static void test_prepare_survives_trouble(void **state)
{
    struct fixture *f = *state;
    int port = http_stub_port(f->stub);
    f->stub = http_stub_stop(f->stub);
    start(f);
    for (uint64_t id = 1; id <= 60; id++) // before the node was ever seen
        prepare(f, id);
    (void)wait_seen(f, SEEN_DOWN, 1);
    struct node *n = node_lock(f);
    n->estimate_error = "{\"code\":-32000,\"message\":\"header not found\"}";
    node_unlock(f);
    f->stub = http_stub_start(port, handle, f);
    assert_non_null(f->stub);
    (void)wait_seen(f, SEEN_POLL, 1);
    usleep(300 * 1000);
    assert_int_equal(seen_count(f, SEEN_PREPARED) + seen_count(f, SEEN_REJECTED), 0);
    node_lock(f)->estimate_error = NULL;
    node_unlock(f);
    (void)wait_seen(f, SEEN_PREPARED, 60);
    bool seen[61] = {false};
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->seen_count; i++)
        if (f->seen[i].kind == SEEN_PREPARED) seen[f->seen[i].id] = true;
    unsigned int at_once = f->node.max_estimates;
    pthread_mutex_unlock(&f->lock);
    for (int id = 1; id <= 60; id++)
        assert_true(seen[id]);
    assert_in_range(at_once, 40, 60); // batched
}

static void test_queue_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct eth_address to = {{0}};
    f->stub = http_stub_stop(f->stub);
    start(f);
    for (uint64_t id = 0; id < 1024; id++)
        assert_int_equal(chain_tx_prepare(f->chain, id, &to, "x", 1), 0);
    assert_int_equal(chain_tx_prepare(f->chain, 5, &to, "x", 1), ERR_EXISTS);
    assert_int_equal(chain_tx_prepare(f->chain, 2000, &to, "x", 1), ERR_BUSY);
    struct chain_signed tx = {.count = 1, .raw = "x", .len = 1};
    assert_int_equal(chain_tx_track(f->chain, 2000, &tx), ERR_BUSY);
    tx.count = 0;
    assert_int_equal(chain_tx_track(f->chain, 2000, &tx), ERR_INVALID);
    tx.count = CHAIN_ATTEMPTS_MAX + 1;
    assert_int_equal(chain_tx_track(f->chain, 2000, &tx), ERR_INVALID);
}

/* ---- track ---- */

static struct eth_hash hash_of_tx(int n)
{
    struct eth_hash hash = {{0}};
    hash.b[31] = (uint8_t)n;
    return hash;
}

/* The call `id` with attempts: transactions of the node, the last one -1 ends the list. */
static void track_attempts(
    struct fixture *f, uint64_t id, uint64_t max_fee, const uint64_t nonces[], const int txs[])
{
    uint8_t raw[2] = {0xf8};
    struct chain_signed tx = {.fees = {.eip1559 = true,
                                       .gas_limit = 99,
                                       .max_fee_per_gas = u256_from_u64(max_fee),
                                       .max_priority_fee_per_gas = u256_from_u64(5)},
                              .raw = raw,
                              .len = sizeof(raw)};
    for (; txs[tx.count] >= 0; tx.count++) {
        tx.attempts[tx.count].nonce = nonces[tx.count];
        tx.attempts[tx.count].hash = hash_of_tx(txs[tx.count]);
        raw[1] = (uint8_t)txs[tx.count];
    }
    assert_int_equal(chain_tx_track(f->chain, id, &tx), 0);
}

/* Transaction `n` of the node: nonce 4 + n, id 100 + n. */
static void track(struct fixture *f, int n)
{
    uint64_t nonce = 4 + (uint64_t)n;
    track_attempts(f, 100 + (uint64_t)n, 1000, &nonce, (const int[]){n, -1});
}

static void mine(struct fixture *f, int n, bool failed)
{
    struct node *node = node_lock(f);
    node->head++;
    node->txs[n].block = node->head;
    node->txs[n].failed = failed;
    if (node->nonce <= 4 + (uint64_t)n) node->nonce = 5 + (uint64_t)n;
    node_unlock(f);
}

static void test_track_sends_once(void **state)
{
    struct fixture *f = *state;
    start(f);
    track(f, 1);
    wait_sends(f, 1, 1);
    wait_polls(f, 5);
    assert_int_equal(sends_of(f, 1), 1);
    mine(f, 1, false);
    struct seen s = wait_seen(f, SEEN_MINED, 1);
    assert_int_equal(s.id, 101);
    assert_true(s.receipt.ok);
    assert_int_equal(s.receipt.block, 11);
    assert_int_equal(s.receipt.block_hash.b[31], 11);
    assert_int_equal(s.receipt.block_time_s, 1011);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.event.kind, CHAIN_EVENT_TRANSITION);
    assert_string_equal(s.receipt.revert, "");
    assert_int_equal(sends_of(f, 1), 1);
}

static void test_track_mined_already(void **state)
{
    struct fixture *f = *state;
    f->node.txs[2].block = 9;
    f->node.nonce = 7;
    start(f);
    track(f, 2);
    assert_int_equal(wait_seen(f, SEEN_MINED, 1).receipt.block, 9);
    assert_int_equal(sends_of(f, 2), 0);
}

static void test_track_in_order_of_nonce(void **state)
{
    struct fixture *f = *state;
    int port = http_stub_port(f->stub);
    f->stub = http_stub_stop(f->stub);
    start(f);
    track(f, 3);
    track(f, 1);
    track(f, 2);
    (void)wait_seen(f, SEEN_DOWN, 1);
    f->stub = http_stub_start(port, handle, f);
    assert_non_null(f->stub);
    wait_sends(f, 3, 1);
    struct node *n = node_lock(f);
    // The stub answers a batch from its end: what was asked last comes first here.
    assert_string_equal(n->sent, "321");
    node_unlock(f);
}

static void test_track_known_is_fine(void **state)
{
    struct fixture *f = *state;
    f->node.send_error = "{\"code\":-32000,\"message\":\"already known\"}";
    f->node.txs[1].known = true;
    start(f);
    track(f, 1);
    wait_sends(f, 1, 1);
    wait_polls(f, 25); // beyond the check that the node still has it
    assert_int_equal(sends_of(f, 1), 1);
    mine(f, 1, false);
    (void)wait_seen(f, SEEN_MINED, 1);
}

/* One of them asks whether there is money now; when it comes in all are sent. */
static void test_track_without_money(void **state)
{
    struct fixture *f = *state;
    f->node.send_error =
        "{\"code\":-32000,\"message\":\"insufficient funds for gas * price + value\"}";
    start(f);
    track(f, 0);
    wait_sends(f, 0, 2);
    track(f, 1);
    wait_sends(f, 0, 4); // again and again, with more and more time between
    assert_int_equal(sends_of(f, 1), 0);
    assert_int_equal(seen_count(f, SEEN_MINED) + seen_count(f, SEEN_STUCK), 0);
    unsigned int sends = sends_of(f, 0);
    struct node *n = node_lock(f);
    n->send_error = NULL;
    n->balance = 2000;
    n->head++;
    node_unlock(f);
    wait_sends(f, 0, sends + 1);
    wait_sends(f, 1, 1);
    mine(f, 0, false);
    (void)wait_seen(f, SEEN_MINED, 1);
}

static void test_track_forgotten(void **state)
{
    struct fixture *f = *state;
    start(f);
    track(f, 1);
    wait_sends(f, 1, 1);
    node_lock(f)->txs[1].known = false; // dropped from the pool
    node_unlock(f);
    wait_sends(f, 1, 2);
    wait_polls(f, 5);
    assert_int_equal(sends_of(f, 1), 2);
}

static void test_track_after_outage(void **state)
{
    struct fixture *f = *state;
    start(f);
    track(f, 0);
    track(f, 1);
    wait_sends(f, 1, 1);
    struct node *n = node_lock(f);
    n->status = 503;
    node_unlock(f);
    (void)wait_seen(f, SEEN_DOWN, 1);
    n = node_lock(f);
    n->status = 200;
    n->txs[1].known = false; // restarted: forgot one, mined the other
    node_unlock(f);
    mine(f, 0, false);
    (void)wait_seen(f, SEEN_MINED, 1);
    wait_sends(f, 1, 2);
    assert_int_equal(sends_of(f, 0), 1);
}

static void test_track_superseded(void **state)
{
    struct fixture *f = *state;
    f->node.nonce = 6; // transaction 1 has nonce 5
    f->node.send_error = "{\"code\":-32603,\"message\":\"nonce too low\"}";
    start(f);
    track(f, 1);
    struct seen s = wait_seen(f, SEEN_VOID, 1);
    assert_int_equal(s.id, 101);
    assert_int_equal(s.hash.b[31], 1);
    assert_non_null(strstr(s.text, "took its nonce"));
    assert_int_equal(sends_of(f, 1), 0);
    track(f, 1); // the id is free
}

/* "nonce too low", be it an internal error, is no fault of the node and no end of the matter. */
static void test_track_landed_though_refused(void **state)
{
    struct fixture *f = *state;
    f->node.send_error = "{\"code\":-32603,\"message\":\"Internal error: nonce too low\"}";
    start(f);
    track(f, 1);
    wait_sends(f, 1, 1);
    wait_polls(f, 3);
    assert_int_equal(seen_count(f, SEEN_VOID) + seen_count(f, SEEN_DOWN), 0);
    mine(f, 1, false); // it had landed; its receipt is found late
    assert_int_equal(wait_seen(f, SEEN_MINED, 1).id, 101);
    assert_int_equal(seen_count(f, SEEN_VOID) + seen_count(f, SEEN_DOWN), 0);
}

static void next_head(struct fixture *f)
{
    node_lock(f)->head++;
    node_unlock(f);
    wait_polls(f, 2);
}

/* Three blocks without it: more is offered. Then the receipt of either attempt counts. */
static void check_replaced(struct fixture *f, int landed)
{
    start(f);
    track(f, 0); // nonce 4, which is the next
    wait_sends(f, 0, 1);
    wait_polls(f, 2);
    next_head(f);
    next_head(f);
    assert_int_equal(seen_count(f, SEEN_STUCK), 0);
    next_head(f);
    struct seen s = wait_seen(f, SEEN_STUCK, 1);
    assert_int_equal(s.id, 100);
    assert_int_equal(s.hash.b[31], 0);
    assert_int_equal(s.fees.gas_limit, 99);
    assert_int_equal(u256_cmp(s.fees.max_fee_per_gas, u256_from_u64(1125)), 0);
    assert_int_equal(u256_cmp(s.fees.max_priority_fee_per_gas, u256_from_u64(6)), 0);
    next_head(f);
    assert_int_equal(seen_count(f, SEEN_STUCK), 1); // asked once, and answered now
    track_attempts(f, 100, 1125, (const uint64_t[]){4, 4}, (const int[]){0, 7, -1});
    wait_sends(f, 7, 1);
    assert_int_equal(sends_of(f, 0), 1);

    struct node *n = node_lock(f);
    n->head++;
    n->nonce = 5;
    n->txs[landed].block = n->head;
    node_unlock(f);
    s = wait_seen(f, SEEN_MINED, 1);
    assert_int_equal(s.id, 100);
    assert_int_equal(s.receipt.tx.b[31], landed);
    assert_int_equal(u256_cmp(s.receipt.cost, u256_from_u64(300)), 0);
    assert_int_equal(seen_count(f, SEEN_VOID), 0);
}

static void test_track_replaced(void **state)
{
    check_replaced(*state, 7);
}

static void test_track_replaced_and_the_first_lands(void **state)
{
    check_replaced(*state, 0);
}

/* Those behind a stuck one are not replaced, unless no block can take them at their fee. */
static void test_track_waits_its_turn(void **state)
{
    struct fixture *f = *state;
    start(f);
    track(f, 1); // nonce 5; 4 is somebody else's
    wait_sends(f, 1, 1);
    for (int i = 0; i < 5; i++)
        next_head(f);
    assert_int_equal(seen_count(f, SEEN_STUCK), 0);
    node_lock(f)->base_fee = 1001;
    node_unlock(f);
    next_head(f);
    assert_int_equal(wait_seen(f, SEEN_STUCK, 1).id, 101);
}

static void test_track_fee_too_low(void **state)
{
    struct fixture *f = *state;
    f->node.send_error =
        "{\"code\":-32003,\"message\":\"max fee per gas less than block base fee\"}";
    f->node.base_fee = 1001; // it offers 1000
    start(f);
    track(f, 1);
    assert_int_equal(wait_seen(f, SEEN_STUCK, 1).id, 101); // at once
    assert_int_equal(sends_of(f, 1), 1);
}

/* What the base fee does not explain costs 1/8 a block, not 1/8 a try. */
static void test_track_underpriced(void **state)
{
    struct fixture *f = *state;
    f->node.send_error = "{\"code\":-32000,\"message\":\"transaction underpriced\"}";
    start(f);
    track(f, 1);
    wait_sends(f, 1, 1);
    wait_polls(f, 20);
    assert_int_equal(seen_count(f, SEEN_STUCK), 0);
    next_head(f);
    (void)wait_seen(f, SEEN_STUCK, 1);
    track_attempts(f, 101, 1125, (const uint64_t[]){5, 5}, (const int[]){1, 2, -1});
    wait_sends(f, 2, 1);
    wait_polls(f, 20);
    assert_int_equal(seen_count(f, SEEN_STUCK), 1);
    next_head(f);
    (void)wait_seen(f, SEEN_STUCK, 2);
}

/* At its cap it waits, and is sent again when the node might take it. */
static void test_track_at_the_cap(void **state)
{
    struct fixture *f = *state;
    f->options.caps.max_fee = u256_from_u64(1100);
    f->node.send_error = "{\"code\":-32000,\"message\":\"transaction underpriced\"}";
    start(f);
    track(f, 1);
    wait_sends(f, 1, 1);
    next_head(f);
    wait_sends(f, 1, 2);
    assert_int_equal(seen_count(f, SEEN_STUCK), 0);
    node_lock(f)->send_error = NULL;
    node_unlock(f);
    unsigned int sends = sends_of(f, 1);
    next_head(f);
    wait_sends(f, 1, sends + 1);
    mine(f, 1, false);
    (void)wait_seen(f, SEEN_MINED, 1);
}

/* Somebody else's of the same nonce is in the pool: waited for, then outbid. */
static void test_track_occupied(void **state)
{
    struct fixture *f = *state;
    f->node.send_error = "{\"code\":-32000,\"message\":\"replacement transaction underpriced\"}";
    start(f);
    track(f, 0);
    wait_sends(f, 0, 1);
    wait_polls(f, 2);
    next_head(f);
    next_head(f);
    assert_int_equal(seen_count(f, SEEN_STUCK), 0);
    next_head(f);
    assert_int_equal(wait_seen(f, SEEN_STUCK, 1).id, 100);
}

static void test_track_bad_bytes(void **state)
{
    struct fixture *f = *state;
    f->node.send_error = "{\"code\":-32000,\"message\":\"exceeds block gas limit\"}";
    start(f);
    track(f, 1);
    struct seen s = wait_seen(f, SEEN_VOID, 1);
    assert_int_equal(s.id, 101);
    assert_non_null(strstr(s.text, "no node takes it"));
}

/* A nonce that a node lied about is given up once the truth is known. */
static void test_track_out_of_line(void **state)
{
    struct fixture *f = *state;
    start(f);
    track_attempts(f, 9, 1000, (const uint64_t[]){5000}, (const int[]){1, -1});
    wait_sends(f, 1, 1);
    for (int i = 0; i < 3; i++)
        next_head(f);
    struct seen s = wait_seen(f, SEEN_VOID, 1);
    assert_int_equal(s.id, 9);
    assert_non_null(strstr(s.text, "far above"));
}

/* A node that says yes and does not keep it: sent again, never raised, whatever time passes. */
static void test_track_swallowed(void **state)
{
    struct fixture *f = *state;
    f->node.swallows = true;
    start(f);
    track(f, 0);
    wait_sends(f, 0, 1);
    for (int i = 0; i < 6; i++)
        next_head(f);
    wait_sends(f, 0, 3);
    assert_int_equal(seen_count(f, SEEN_STUCK), 0);
    node_lock(f)->swallows = false;
    node_unlock(f);
    mine(f, 0, false);
    (void)wait_seen(f, SEEN_MINED, 1);
}

/* A receipt whose nonce the account has not used is a lie, or of a block that is gone. */
static void test_track_receipt_without_the_nonce(void **state)
{
    struct fixture *f = *state;
    f->node.txs[1].block = 9;
    f->node.nonce = 5; // transaction 1 has nonce 5: not used
    start(f);
    track(f, 1);
    wait_sends(f, 1, 1);
    wait_polls(f, 10);
    assert_int_equal(seen_count(f, SEEN_MINED), 0);
    struct node *n = node_lock(f);
    n->nonce = 6;
    n->head++;
    node_unlock(f);
    (void)wait_seen(f, SEEN_MINED, 1);
}

static void test_track_late_receipt(void **state)
{
    struct fixture *f = *state;
    f->node.nonce = 6;
    start(f);
    track(f, 1);
    wait_polls(f, 10); // seen once or so: nonce used, no receipt yet
    mine(f, 1, false);
    assert_true(wait_seen(f, SEEN_MINED, 1).receipt.ok);
    assert_int_equal(seen_count(f, SEEN_VOID), 0);
    assert_int_equal(sends_of(f, 1), 0);
}

static void test_track_receipt_of_no_block(void **state)
{
    struct fixture *f = *state;
    f->node.lying_receipts = true;
    start(f);
    track(f, 1);
    wait_sends(f, 1, 1);
    mine(f, 1, false);
    wait_polls(f, 20);
    assert_int_equal(seen_count(f, SEEN_MINED), 0);
    node_lock(f)->lying_receipts = false;
    node_unlock(f);
    assert_true(wait_seen(f, SEEN_MINED, 1).receipt.ok);
}

static void test_track_confirmations(void **state)
{
    struct fixture *f = *state;
    f->options.confirmations = 3;
    start(f);
    track(f, 1);
    wait_sends(f, 1, 1);
    mine(f, 1, false);
    node_lock(f)->head++;
    node_unlock(f);
    wait_polls(f, 20);
    assert_int_equal(seen_count(f, SEEN_MINED), 0);
    node_lock(f)->head++;
    node_unlock(f);
    assert_int_equal(wait_seen(f, SEEN_MINED, 1).receipt.block, 11);
}

static void test_track_reverted(void **state)
{
    struct fixture *f = *state;
    f->node.call_error =
        "{\"code\":3,\"message\":\"execution reverted\",\"data\":\"" INVALID_2_5 "\"}";
    start(f);
    track(f, 1);
    wait_sends(f, 1, 1);
    mine(f, 1, true);
    struct seen s = wait_seen(f, SEEN_MINED, 1);
    assert_false(s.receipt.ok);
    assert_string_equal(s.receipt.revert, "InvalidTransition(2, 5)");
    assert_string_equal(s.receipt.revert_name, "InvalidTransition");
    assert_int_equal(s.count, 0);
    node_lock(f)->call_error = "{\"code\":-32000,\"message\":\"missing trie node\"}";
    node_unlock(f);
    track(f, 2);
    wait_sends(f, 2, 1);
    mine(f, 2, true);
    s = wait_seen(f, SEEN_MINED, 2);
    assert_non_null(strstr(s.receipt.revert, "missing trie node"));
    assert_string_equal(s.receipt.revert_name, "");
}

/* ---- what we are there ---- */

#define WORD0     "0000000000000000000000000000000000000000000000000000000000000000"
#define WORD_YEAR "0000000000000000000000000000000000000000000000000000000000080ac1" // and a minute
#define NO_PROVIDER \
    "\"error\":{\"code\":3,\"message\":\"execution reverted\",\"data\":\"0x3a43ca41\"}"
#define NO_JOB "\"error\":{\"code\":3,\"message\":\"execution reverted\",\"data\":\"0x97736927\"}"

static const struct node_call standing_calls[] = {
    {"0x21457c7e", PROVIDER, "\"result\":\"0x" WORD0 "\""}, // isValidForScheduling
    {"0x220f0e4c", PROVIDER, "\"result\":\"0x" WORD1 "\""}, // isWaitingForApproval
    {"0x4c6dad12", PROVIDER, "\"result\":\"0x" WORD0 "\""}, // enableRequestNewJob
    {"0x55f21eb7", PROVIDER, NO_PROVIDER},
    {"0xf77dd4c0", PROVIDER, "\"result\":\"" VECTOR_PROVIDER "\""},
    {"0xbd69abf4", METASCHEDULER, "\"result\":\"0x" WORD5 "\""}, // popNextClaimableJob
    {"0x8eaa6ac0", PROVIDER, "\"result\":\"" VECTOR_JOB_PLAIN "\""},
    {"0x106859b6", PROVIDER, "\"result\":\"0x" WORD5 WORD2 WORD1 "\""}, // getProviderPrices
    {NULL, NULL, NULL},
};

static void test_poll_tells_how_we_stand(void **state)
{
    struct fixture *f = *state;
    start(f);
    // A contract that does not know these questions is no reason not to work.
    struct seen s = wait_seen(f, SEEN_POLL, 1);
    assert_true(s.poll.valid && s.poll.open && !s.poll.waiting);
    node_lock(f)->calls = standing_calls;
    node_unlock(f);
    wait_polls(f, 2);
    s = wait_seen(f, SEEN_POLL, seen_count(f, SEEN_POLL));
    assert_true(!s.poll.valid && !s.poll.open && s.poll.waiting);
}

static void test_standing_get(void **state)
{
    struct fixture *f = *state;
    struct chain_standing s = {0};
    struct error err = {0};
    f->node.calls = standing_calls;
    start(f);
    (void)wait_seen(f, SEEN_READY, 1);
    if (chain_standing_get(f->chain, &s, &err) < 0) fail_msg("%s", err.text);
    assert_false(s.approved.known);
    assert_true(s.waiting.known);
    assert_int_equal(s.waiting.node_count, 2);
    assert_false(s.valid);
    chain_standing_free(&s);

    // What cannot be read is not taken for "not registered".
    node_lock(f)->calls = standing_calls + 4;
    node_unlock(f);
    assert_int_equal(chain_standing_get(f->chain, &s, &err), ERR_REFUSED);
    assert_non_null(strstr(err.text, "getProvider"));
    assert_null(s.waiting.nodes);
}

#define BILL_GRACE(word)                                    \
    {                                                       \
        "0xb9590171", PROVIDER, "\"result\":\"0x" word "\"" \
    }
#define CONSTANTS                                            \
    {                                                        \
        "0x72de5b2f", PROVIDER, "\"result\":\"0x" WORD5 "\"" \
    }

static void test_bill_grace_get(void **state)
{
    static const struct node_call good[] = {CONSTANTS, BILL_GRACE(WORD2), {NULL, NULL, NULL}},
                                  absurd[] = {CONSTANTS, BILL_GRACE(WORD_YEAR), {NULL, NULL, NULL}},
                                  empty[] = {CONSTANTS, BILL_GRACE(""), {NULL, NULL, NULL}};
    static const struct {
        const struct node_call *calls;
        int rc;
    } cases[] = {
        {absurd, ERR_LIMIT},
        {empty, ERR_NOTFOUND}, // no contract there
        {good + 1, ERR_NOTFOUND},
        {absurd + 2, ERR_NOTFOUND}, // none of it is known
    };
    struct fixture *f = *state;
    struct error err = {0};
    uint64_t minutes = 0;
    f->node.calls = good;
    start(f);
    (void)wait_seen(f, SEEN_READY, 1);
    if (chain_bill_grace_get(f->chain, &minutes, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(minutes, 2);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        node_lock(f)->calls = cases[i].calls;
        node_unlock(f);
        assert_int_equal(chain_bill_grace_get(f->chain, &minutes, &err), cases[i].rc);
        assert_int_equal(minutes, 2);
    }
    node_lock(f)->call_error = "{\"code\":-32000,\"message\":\"missing trie node\"}";
    node_unlock(f);
    assert_int_equal(chain_bill_grace_get(f->chain, &minutes, &err), ERR_REFUSED);
}

static void test_next_claim(void **state)
{
    static const struct node_call empty[] = {{"0xbd69abf4", METASCHEDULER, NO_JOB},
                                             {NULL, NULL, NULL}};
    struct fixture *f = *state;
    struct chain_job job = {.status = 99};
    struct error err = {0};
    f->node.calls = standing_calls;
    start(f);
    (void)wait_seen(f, SEEN_READY, 1);
    if (chain_next_claim(f->chain, &job, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(job.definition.ntasks, 1);
    // One task of one CPU and one MB: 2 and 1.
    assert_int_equal(u256_cmp(job.price_per_min, u256_from_u64(3)), 0);
    node_lock(f)->calls = empty;
    node_unlock(f);
    assert_int_equal(chain_next_claim(f->chain, &job, &err), ERR_NOTFOUND);
}

/* What was billed then was billed at the prices of then. */
static void test_price_at(void **state)
{
    static const struct node_call calls[] = {
        {"0x106859b6@0x2a", PROVIDER, "\"result\":\"0x" WORD5 WORD2 WORD1 "\""},
        {"0x106859b6@latest", PROVIDER, "\"result\":\"0x" WORD5 WORD5 WORD5 "\""},
        {NULL, NULL, NULL}};
    struct fixture *f = *state;
    struct chain_job job = {.definition = {.ntasks = 1, .cpus_per_task = 1, .mem_per_cpu_mb = 1}};
    struct u256 price = u256_from_u64(77);
    struct error err = {0};
    f->node.calls = calls;
    start(f);
    (void)wait_seen(f, SEEN_READY, 1);
    if (chain_price_at(f->chain, 42, &job, &price, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(u256_cmp(price, u256_from_u64(3)), 0);
    // One that has forgotten it.
    assert_int_equal(chain_price_at(f->chain, 41, &job, &price, &err), ERR_REFUSED);
    assert_int_equal(u256_cmp(price, u256_from_u64(3)), 0);
}

/* ---- the rest ---- */

static void test_job_get(void **state)
{
    struct fixture *f = *state;
    struct eth_hash id = {{1}};
    struct chain_job job;
    struct error err = {0};
    f->node.call_error =
        "{\"code\":3,\"message\":\"execution reverted\",\"data\":\"" INVALID_JOB "\"}";
    start(f);
    (void)wait_seen(f, SEEN_READY, 1);
    assert_int_equal(chain_job_get(f->chain, &id, &job, &err), ERR_NOTFOUND);
    node_lock(f)->call_error = "{\"code\":-32000,\"message\":\"busy\"}";
    node_unlock(f);
    assert_int_equal(chain_job_get(f->chain, &id, &job, &err), ERR_REFUSED);
    node_lock(f)->garbage = "{\"id\":0,\"result\":\"0x01\"}";
    node_unlock(f);
    assert_int_equal(chain_job_get(f->chain, &id, &job, &err), ERR_PROTO);
}

/* What a node of another chain says of a job must not be taken for the contract's word. */
static void test_job_get_of_another_chain(void **state)
{
    struct fixture *f = *state;
    struct eth_hash id = {{1}};
    struct chain_job job;
    struct error err = {0};
    f->node.call_error =
        "{\"code\":3,\"message\":\"execution reverted\",\"data\":\"" INVALID_JOB "\"}";
    start(f);
    (void)wait_seen(f, SEEN_READY, 1);
    node_lock(f)->chain_id++;
    node_unlock(f);
    assert_int_equal(chain_job_get(f->chain, &id, &job, &err), ERR_REFUSED);
}

static void test_job_get_before_the_node(void **state)
{
    struct fixture *f = *state;
    struct eth_hash id = {{1}};
    struct chain_job job;
    struct error err = {0};
    f->stub = http_stub_stop(f->stub);
    start(f);
    assert_int_equal(chain_job_get(f->chain, &id, &job, &err), ERR_UNAVAILABLE);
}

static void *get_job(void *arg)
{
    struct fixture *f = arg;
    struct eth_hash id = {{1}};
    struct chain_job job;
    return (void *)(intptr_t)chain_job_get(f->chain, &id, &job, NULL);
}

static void test_stop_while_all_hang(void **state)
{
    struct fixture *f = *state;
    pthread_t readers[2];
    f->options.timeout_ms = 60000;
    start(f);
    wait_polls(f, 1);
    node_lock(f)->hang = true;
    node_unlock(f);
    track(f, 1);
    prepare(f, 1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, get_job, f), 0);
    usleep(300 * 1000);
    long long begin = clock_mono_ms();
    struct chain *c = f->chain;
    f->chain = chain_stop(c);
    long long took = clock_mono_ms() - begin;
    assert_in_range(took, 0, 1500);
    for (int i = 0; i < 2; i++) {
        void *rc;
        pthread_join(readers[i], &rc);
        assert_int_equal((int)(intptr_t)rc, ERR_STOPPED);
    }
}

static void test_bad_endpoint(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    (void)snprintf(f->endpoint, sizeof(f->endpoint), "unix:/nowhere");
    assert_null(chain_start(&f->options, &ops, f, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_null(chain_stop(NULL));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_ready_and_poll),
        T(test_without_cursor_from_the_head),
        T(test_without_cursor_looks_back),
        T(test_chunks_in_order),
        T(test_logs_that_do_not_count),
        T(test_too_many_results),
        T(test_logs_that_are_read_again),
        T(test_lagging_node),
        T(test_reorganisations),
        T(test_reorganised_too_deep),
        T(test_reorganised_while_down),
        T(test_confirmations),
        T(test_unlinked_blocks),
        T(test_logs_without_our_claim),
        T(test_claims_that_no_log_has),
        T(test_complaints),
        T(test_lagging_backend),
        T(test_down_and_back),
        T(test_down_from_the_start),
        T(test_no_contract),
        T(test_another_chain_is_not_used),
        T(test_a_node_of_two_chains),
        T(test_reverting_queues_are_empty),
        T(test_poke),
        T(test_prepare_fees),
        T(test_prepare_waits_for_the_caps),
        T(test_account),
        T(test_prepare_rejected),
        T(test_prepare_survives_trouble),
        T(test_queue_is_bounded),
        T(test_track_sends_once),
        T(test_track_mined_already),
        T(test_track_in_order_of_nonce),
        T(test_track_known_is_fine),
        T(test_track_without_money),
        T(test_track_forgotten),
        T(test_track_after_outage),
        T(test_track_superseded),
        T(test_track_landed_though_refused),
        T(test_track_replaced),
        T(test_track_replaced_and_the_first_lands),
        T(test_track_waits_its_turn),
        T(test_track_fee_too_low),
        T(test_track_underpriced),
        T(test_track_at_the_cap),
        T(test_track_occupied),
        T(test_track_bad_bytes),
        T(test_track_out_of_line),
        T(test_track_swallowed),
        T(test_track_receipt_without_the_nonce),
        T(test_track_late_receipt),
        T(test_track_receipt_of_no_block),
        T(test_track_confirmations),
        T(test_track_reverted),
        T(test_poll_tells_how_we_stand),
        T(test_standing_get),
        T(test_bill_grace_get),
        T(test_next_claim),
        T(test_price_at),
        T(test_job_get),
        T(test_job_get_of_another_chain),
        T(test_job_get_before_the_node),
        T(test_stop_while_all_hang),
        T(test_bad_endpoint),
    };
    return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
