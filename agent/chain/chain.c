/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/chain.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/chain/chain_private.h"
#include "agent/chain/provider.h"
#include "agent/util/buf.h"
#include "agent/util/clock.h"
#include "agent/util/hex.h"
#include "agent/util/thread.h"

enum {
    CALLDATA_MAX = 1024,                 // of a read: a selector and one word
    JOB_MAX = 256 * 1024,                // the ABI form of one job, whose strings are bounded
    CALL_HEX_MAX = 2 * 1024 * 1024 + 16, // calldata in hex: twice the largest transaction
};

static struct chain *chain_free(struct chain *c)
{
    pool_client_destroy(c->reader);
    pool_stop(c->pool);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
    return NULL;
}

static void on_new_head(void *ctx)
{
    chain_poke(ctx);
}

struct chain *chain_start(const struct chain_options *options,
                          const struct chain_ops *ops,
                          void *ctx,
                          struct error *err)
{
    struct chain *c = calloc(1, sizeof(*c));
    if (!c) {
        error_set(err, ERR_NOMEM, "chain: out of memory");
        return NULL;
    }
    c->options = *options;
    if (c->options.confirmations == 0) c->options.confirmations = 1;
    c->ops = *ops;
    c->ctx = ctx;
    pthread_mutex_init(&c->lock, NULL);
    thread_cond_init(&c->changed);
    struct pool_options pool = {.urls = options->endpoints,
                                .count = options->endpoint_count,
                                .timeout_ms = options->timeout_ms,
                                .poll_ms = options->poll_interval_ms,
                                .max_lag = options->max_lag,
                                .chain_id = options->chain_id};
    c->pool = pool_start(&pool, err);
    c->reader = c->pool ? pool_client_new(c->pool, err) : NULL;
    if (!c->reader) return chain_free(c);
    c->sender = txsender_start(c, err);
    if (!c->sender) return chain_free(c);
    c->watch = watch_start(c, err);
    if (!c->watch) return chain_stop(c);
    if (options->ws_endpoint) {
        c->headsub = headsub_start(options->ws_endpoint, on_new_head, c, err);
        if (!c->headsub) return chain_stop(c);
    }
    return c;
}

struct chain *chain_stop(struct chain *c)
{
    if (!c) return NULL;
    pool_client_stop(c->reader);
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_cond_broadcast(&c->changed);
    while (c->readers > 0)
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
    headsub_stop(c->headsub);
    watch_stop(c->watch);
    txsender_stop(c->sender);
    return chain_free(c);
}

void chain_set_fee_rules(struct chain *c, const struct fee_caps *caps, uint64_t bump_after)
{
    pthread_mutex_lock(&c->lock);
    c->options.caps = *caps;
    c->options.bump_after = bump_after;
    pthread_mutex_unlock(&c->lock);
}

struct fee_caps chain_fee_caps(struct chain *c)
{
    pthread_mutex_lock(&c->lock);
    struct fee_caps caps = c->options.caps;
    pthread_mutex_unlock(&c->lock);
    return caps;
}

uint64_t chain_bump_after(struct chain *c)
{
    pthread_mutex_lock(&c->lock);
    uint64_t blocks = c->options.bump_after;
    pthread_mutex_unlock(&c->lock);
    return blocks;
}

int chain_tx_prepare(
    struct chain *c, uint64_t id, const struct eth_address *to, const void *calldata, size_t len)
{
    return txsender_prepare(c->sender, id, to, calldata, len);
}

int chain_tx_track(struct chain *c, uint64_t id, const struct chain_signed *tx)
{
    return txsender_track(c->sender, id, tx);
}

void chain_poke(struct chain *c)
{
    watch_poke(c->watch);
}

void chain_expect(struct chain *c, const struct chain_event *events, size_t count)
{
    watch_expect(c->watch, events, count);
}

void chain_read_again(struct chain *c, uint64_t from)
{
    watch_read_again(c->watch, from);
}

bool chain_identity(struct chain *c, uint64_t *chain_id, struct eth_emitters *emitters)
{
    pthread_mutex_lock(&c->lock);
    bool known = c->known;
    *chain_id = c->chain_id;
    *emitters = c->emitters;
    pthread_mutex_unlock(&c->lock);
    return known;
}

long long chain_retry_base_ms(const struct chain *c)
{
    long long base = c->options.poll_interval_ms;
    if (base < CHAIN_RETRY_MIN_MS) return CHAIN_RETRY_MIN_MS;
    return base < CHAIN_RETRY_MAX_MS ? base : CHAIN_RETRY_MAX_MS;
}

int chain_add_call_from(struct jsonrpc_batch *b,
                        const char *method,
                        const struct eth_address *from,
                        const struct eth_address *to,
                        const void *data,
                        size_t len,
                        const char *rest)
{
    char from_text[ETH_ADDRESS_TEXT], to_text[ETH_ADDRESS_TEXT];
    struct buf hex = BUF_INIT(CALL_HEX_MAX);
    uint8_t *at = len < CALL_HEX_MAX / 2 ? buf_reserve(&hex, 2 * len + 3) : NULL;
    if (!at) jsonrpc_fail(b, len < CALL_HEX_MAX / 2 ? ERR_NOMEM : ERR_LIMIT);
    int rc = jsonrpc_add(b,
                         method,
                         "[{\"from\":\"%s\",\"to\":\"%s\",\"data\":\"%s\"}%s]",
                         hex_encode(from_text, from->b, sizeof(from->b)),
                         hex_encode(to_text, to->b, sizeof(to->b)),
                         at ? hex_encode((char *)at, data, len) : "",
                         rest);
    buf_free(&hex);
    return rc;
}

int chain_add_call(struct jsonrpc_batch *b,
                   const char *method,
                   const struct chain *c,
                   const struct eth_address *to,
                   const void *data,
                   size_t len,
                   const char *rest)
{
    return chain_add_call_from(b, method, &c->options.provider, to, data, len, rest);
}

int chain_add_account(struct jsonrpc_batch *b,
                      const struct chain *c,
                      const char *method,
                      const char *block)
{
    char text[ETH_ADDRESS_TEXT];
    return jsonrpc_add(b,
                       method,
                       "[\"%s\",\"%s\"]",
                       hex_encode(text, c->options.provider.b, sizeof(c->options.provider.b)),
                       block);
}

int chain_add_nonce(struct jsonrpc_batch *b, const struct chain *c)
{
    return chain_add_account(b, c, "eth_getTransactionCount", "latest");
}

int chain_result_u64(const struct jsonrpc_batch *b, int index, uint64_t *out, struct error *err)
{
    struct json_object *v;
    int rc = jsonrpc_result(b, index, &v, err);
    return rc < 0 ? rc : eth_json_u64(v, "a quantity", out, err);
}

int chain_reader_enter(struct chain *c, struct chain_contracts *contracts, struct error *err)
{
    long long deadline_ms = clock_mono_ms() + c->options.timeout_ms;
    int rc = 0;
    pthread_mutex_lock(&c->lock);
    c->readers++;
    while (c->reading && !c->stopping && rc == 0)
        rc = thread_cond_wait_until(&c->changed, &c->lock, deadline_ms);
    if (c->stopping)
        rc = error_set(err, ERR_STOPPED, "chain: stopping");
    else if (!c->known)
        rc = error_set(err, ERR_UNAVAILABLE, "the chain's node has not answered yet");
    else if (c->reading)
        rc = error_set(err, ERR_UNAVAILABLE, "the chain's node is slow: no turn in time");
    else
        rc = 0;
    if (rc == 0) {
        c->reading = true;
        *contracts = c->contracts;
    } else if (--c->readers == 0) {
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

void chain_reader_leave(struct chain *c)
{
    pthread_mutex_lock(&c->lock);
    c->reading = false;
    c->readers--;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static int read_price(const struct jsonrpc_batch *b,
                      int index,
                      const struct chain_claim *definition,
                      struct u256 *price_per_min,
                      struct error *err)
{
    struct json_object *result;
    struct provider_prices prices;
    struct buf data = BUF_INIT(JOB_MAX);
    int rc = jsonrpc_result(b, index, &result, err);
    if (rc == 0) rc = eth_json_bytes(result, "prices", &data, err);
    if (rc == 0) rc = provider_decode_prices(data.data, data.len, &prices, err);
    if (rc == 0) rc = provider_price_per_min(&prices, definition, price_per_min);
    buf_free(&data);
    return rc;
}

static int
read_job(const struct jsonrpc_batch *b, int index, struct chain_job *job, struct error *err)
{
    const struct jsonrpc_answer *a = jsonrpc_answer(b, index);
    if (a->kind == JSONRPC_REVERTED) {
        char text[CHAIN_ERROR_TEXT_MAX];
        const char *name = contract_revert_text(a->data, a->data_len, text, sizeof(text));
        bool no_job = strcmp(name, "InvalidJob") == 0;
        return error_set(err, no_job ? ERR_NOTFOUND : ERR_REFUSED, "JobRepository.get: %s", text);
    }
    struct json_object *result;
    int rc = jsonrpc_result(b, index, &result, err);
    if (rc < 0) return rc;
    struct buf data = BUF_INIT(JOB_MAX);
    rc = eth_json_bytes(result, "JobRepository.get", &data, err);
    if (rc == 0) rc = contract_decode_job(data.data, data.len, job, err);
    buf_free(&data);
    return rc;
}

static void add_price_question(struct chain *c,
                               struct jsonrpc_batch *b,
                               const struct chain_contracts *at,
                               const char *block)
{
    struct buf data = BUF_INIT(CALLDATA_MAX);
    const struct eth_address *self = &c->options.provider;
    if (contract_call_address(&data, "getProviderPrices(address)", self) < 0)
        jsonrpc_fail(b, ERR_NOMEM);
    chain_add_call(b, "eth_call", c, &at->provider_manager, data.data, data.len, block);
    buf_free(&data);
}

/* The node says where it is first: the answers to the calls are then not older. */
static int ask_job(struct chain *c,
                   struct jsonrpc_batch *b,
                   const struct chain_contracts *at,
                   const struct eth_hash *id,
                   struct error *err)
{
    struct buf get = BUF_INIT(CALLDATA_MAX);
    int rc = contract_call_job(&get, "get(bytes32)", id);
    if (rc < 0) {
        (void)error_set(err, rc, "JobRepository.get: %s", err_text(rc));
    } else {
        jsonrpc_add(b, "eth_blockNumber", "[]");
        chain_add_call(b, "eth_call", c, &at->jobs, get.data, get.len, ",\"latest\"");
        add_price_question(c, b, at, ",\"latest\"");
        rc = pool_perform(c->reader, b, err);
    }
    buf_free(&get);
    return rc;
}

int chain_job_get(struct chain *c,
                  const struct eth_hash *id,
                  struct chain_job *job,
                  struct error *err)
{
    struct chain_contracts at;
    struct chain_job found;
    uint64_t head;
    int rc = chain_reader_enter(c, &at, err);
    if (rc < 0) return rc;
    struct jsonrpc_batch *b = jsonrpc_batch_new(err);
    rc = b ? ask_job(c, b, &at, id, err) : ERR_NOMEM;
    if (rc == 0) rc = chain_result_u64(b, 0, &head, err);
    if (rc == 0) rc = read_job(b, 1, &found, err);
    if (rc == 0) {
        // Nothing about the job depends on the price: it is left at 0 where it cannot be had.
        (void)read_price(b, 2, &found.definition, &found.price_per_min, NULL);
        *job = found;
        job->at_block = head;
    }
    jsonrpc_batch_destroy(b);
    chain_reader_leave(c);
    return rc;
}

int chain_price_at(struct chain *c,
                   uint64_t block,
                   const struct chain_job *job,
                   struct u256 *price_per_min,
                   struct error *err)
{
    struct chain_contracts at;
    char tag[32];
    int rc = chain_reader_enter(c, &at, err);
    if (rc < 0) return rc;
    (void)snprintf(tag, sizeof(tag), ",\"0x%" PRIx64 "\"", block);
    struct jsonrpc_batch *b = jsonrpc_batch_new(err);
    rc = b ? 0 : ERR_NOMEM;
    if (rc == 0) {
        add_price_question(c, b, &at, tag);
        rc = pool_perform(c->reader, b, err);
    }
    if (rc == 0) rc = read_price(b, 0, &job->definition, price_per_min, err);
    jsonrpc_batch_destroy(b);
    chain_reader_leave(c);
    return rc;
}
