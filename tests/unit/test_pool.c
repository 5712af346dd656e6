/* SPDX-License-Identifier: GPL-3.0-or-later */
/* agent/chain/pool.c: several nodes, of which some are down, slow, behind, or of another chain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/chain/pool.h"
#include "agent/util/clock.h"
#include "agent/util/log.h"
#include "tests/unit/http_stub.h"

enum { NODES = 3, CHAIN = 1337, PATIENCE_MS = 15000 };

struct node {
    struct http_stub *stub;
    atomic_int status, chain, head, requests;
    atomic_llong delay_ms;
    _Atomic(const char *) header, error; // of the answer; an error object for each request
    char url[64];
};

struct fixture {
    struct node nodes[NODES];
    char *urls[NODES];
    struct pool_options options;
    struct pool *pool;
    struct pool_client *client;
    struct jsonrpc_batch *batch;
    struct error err;
    int log, real_stderr;
};

static void put_answer(struct node *n, struct buf *out, struct json_object *q)
{
    const char *method = json_object_get_string(json_object_object_get(q, "method"));
    const char *error = atomic_load(&n->error);
    int id = json_object_get_int(json_object_object_get(q, "id"));
    bool chain_id = strcmp(method, "eth_chainId") == 0;
    if (error && !chain_id)
        buf_putf(out, "{\"id\":%d,\"error\":%s}", id, error);
    else
        buf_putf(out,
                 "{\"id\":%d,\"result\":\"0x%x\"}",
                 id,
                 (unsigned int)(chain_id ? atomic_load(&n->chain) : atomic_load(&n->head)));
}

static void handle(void *ctx, const struct http_stub_request *request, struct http_stub_reply *r)
{
    struct node *n = ctx;
    struct json_object *q = json_tokener_parse(request->body);
    atomic_fetch_add(&n->requests, 1);
    r->status = atomic_load(&n->status);
    r->header = atomic_load(&n->header);
    r->delay_ms = atomic_load(&n->delay_ms);
    bool batch = json_object_is_type(q, json_type_array);
    if (batch) buf_puts(&r->body, "[");
    for (size_t i = 0; i < (batch ? json_object_array_length(q) : 1); i++) {
        if (i > 0) buf_puts(&r->body, ",");
        put_answer(n, &r->body, batch ? json_object_array_get_idx(q, i) : q);
    }
    if (batch) buf_puts(&r->body, "]");
    json_object_put(q);
}

/* The log goes to a file that logged() reads. */
static void capture_log(struct fixture *f)
{
    f->log = memfd_create("log", MFD_CLOEXEC);
    f->real_stderr = dup(STDERR_FILENO);
    assert_true(f->log >= 0 && f->real_stderr >= 0);
    assert_int_equal(dup2(f->log, STDERR_FILENO), STDERR_FILENO);
}

static int logged(struct fixture *f, const char *what)
{
    static char text[64 * 1024];
    ssize_t n = pread(f->log, text, sizeof(text) - 1, 0);
    int count = 0;
    text[n > 0 ? n : 0] = '\0';
    for (const char *at = text; (at = strstr(at, what)); at++)
        count++;
    return count;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    for (int i = 0; i < NODES; i++) {
        struct node *n = &f->nodes[i];
        atomic_store(&n->status, 200);
        atomic_store(&n->chain, CHAIN);
        atomic_store(&n->head, 100);
        n->stub = http_stub_start(0, handle, n);
        (void)snprintf(n->url, sizeof(n->url), "http://127.0.0.1:%d/", http_stub_port(n->stub));
        f->urls[i] = n->url;
    }
    f->options = (struct pool_options){.urls = f->urls,
                                       .count = NODES,
                                       .timeout_ms = 10000,
                                       .poll_ms = 50,
                                       .max_lag = 5,
                                       .chain_id = CHAIN};
    capture_log(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    jsonrpc_batch_destroy(f->batch);
    pool_client_destroy(f->client);
    pool_stop(f->pool);
    for (int i = 0; i < NODES; i++)
        http_stub_stop(f->nodes[i].stub);
    (void)dup2(f->real_stderr, STDERR_FILENO);
    close(f->real_stderr);
    close(f->log);
    free(f);
    return 0;
}

static void start(struct fixture *f)
{
    f->pool = pool_start(&f->options, &f->err);
    f->client = f->pool ? pool_client_new(f->pool, &f->err) : NULL;
    f->batch = jsonrpc_batch_new(&f->err);
    if (!f->client) fail_msg("%s", f->err.text);
}

/* Ask for the head; returns which node answered, or the error. */
static int ask(struct fixture *f, const char *method)
{
    f->err = (struct error){0};
    jsonrpc_batch_reset(f->batch);
    jsonrpc_add(f->batch, method, "[]");
    int rc = pool_perform(f->client, f->batch, &f->err);
    return rc < 0 ? rc : (int)pool_node(f->client);
}

static int requests(struct fixture *f, int node)
{
    return atomic_load(&f->nodes[node].requests);
}

/* Ask until `node` answers. */
static void wait_for(struct fixture *f, int node)
{
    long long until = clock_mono_ms() + PATIENCE_MS;
    while (ask(f, "eth_blockNumber") != node && clock_mono_ms() < until)
        usleep(20 * 1000);
    assert_int_equal(ask(f, "eth_blockNumber"), node);
}

static void test_failover_and_return(void **state)
{
    struct fixture *f = *state;
    start(f);
    assert_int_equal(ask(f, "m"), 0);
    assert_int_equal(requests(f, 1), 0);
    atomic_store(&f->nodes[0].status, 500);
    assert_int_equal(ask(f, "m"), 1); // within the request
    int asked = requests(f, 0);
    assert_int_equal(ask(f, "m"), 1);
    assert_in_range(requests(f, 0) - asked, 0, 1); // but for a probe it is left alone
    assert_int_equal(logged(f, "is not used for now: http://127.0.0.1"), 1);
    atomic_store(&f->nodes[0].status, 200);
    wait_for(f, 0);
    assert_int_equal(logged(f, "is well again"), 1);
}

static void test_a_hanging_node_is_left_soon(void **state)
{
    struct fixture *f = *state;
    start(f);
    atomic_store(&f->nodes[0].delay_ms, 60000);
    long long began = clock_mono_ms();
    assert_int_equal(ask(f, "m"), 1);
    assert_in_range(clock_mono_ms() - began, 1500, 5000); // not the 10 s of a request
}

/* But with nobody else it has all its time. */
static void test_the_last_one_has_time(void **state)
{
    struct fixture *f = *state;
    f->options.count = 1;
    start(f);
    atomic_store(&f->nodes[0].delay_ms, 2500);
    assert_int_equal(ask(f, "m"), 0);
}

static void test_another_chain_is_refused(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->nodes[0].chain, 5);
    start(f);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(f, "m"), 1);
    usleep(1500 * 1000); // some probes
    assert_int_equal(logged(f, "a node of chain 5, and this agent's is 1337"), 1);
    atomic_store(&f->nodes[1].chain, 5);
    assert_int_equal(ask(f, "m"), 2);
    atomic_store(&f->nodes[2].chain, 6);
    assert_int_equal(ask(f, "m"), ERR_REFUSED);
    assert_non_null(strstr(f->err.text, "chain"));
    atomic_store(&f->nodes[0].chain, CHAIN);
    wait_for(f, 0);
}

static void test_the_chain_is_pinned_later(void **state)
{
    struct fixture *f = *state;
    f->options.chain_id = 0;
    atomic_store(&f->nodes[0].chain, 5);
    start(f);
    assert_int_equal(ask(f, "m"), 0); // nobody knows better
    assert_int_equal(pool_pin_chain(f->pool, CHAIN, NULL), 0);
    assert_int_equal(pool_pin_chain(f->pool, CHAIN + 1, NULL), ERR_REFUSED);
    assert_int_equal(ask(f, "m"), 1);
}

static void test_verdicts_do_not_count(void **state)
{
    static const char *const verdicts[] = {
        "{\"code\":3,\"message\":\"execution reverted\",\"data\":\"0x\"}",
        "{\"code\":-32000,\"message\":\"nonce too low\"}",
        "{\"code\":-32603,\"message\":\"nonce too low\"}",
        "{\"code\":-32000,\"message\":\"already known\"}",
        "{\"code\":-32000,\"message\":\"replacement transaction underpriced\"}",
        "{\"code\":-32003,\"message\":\"Insufficient funds for gas * price + value\"}",
        "{\"code\":-32601,\"message\":\"no eth_maxPriorityFeePerGas here\"}",
        "{\"code\":-32005,\"message\":\"query returned more than 10000 results\"}",
        "{\"code\":-32000,\"message\":\"what?\"}",
    };
    struct fixture *f = *state;
    start(f);
    for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
        atomic_store(&f->nodes[0].error, verdicts[i]);
        assert_int_equal(ask(f, "m"), 0);
        assert_int_equal(ask(f, "m"), 0);
    }
    assert_int_equal(logged(f, "not used"), 0);
}

static void test_faults_count(void **state)
{
    struct fixture *f = *state;
    start(f);
    atomic_store(&f->nodes[0].error, "{\"code\":-32000,\"message\":\"header not found\"}");
    assert_int_equal(ask(f, "m"), 0); // it is an answer
    assert_int_equal(ask(f, "m"), 1); // but there is a better one
    atomic_store(&f->nodes[1].error, "{\"code\":-32601,\"message\":\"read-only\"}");
    assert_int_equal(ask(f, "m"), 1);
    assert_int_equal(ask(f, "eth_sendRawTransaction"), 1);
    assert_int_equal(ask(f, "m"), 2);
}

static void test_too_many_requests(void **state)
{
    struct fixture *f = *state;
    start(f);
    atomic_store(&f->nodes[0].status, 429);
    atomic_store(&f->nodes[0].header, "Retry-After: 3\r\n");
    assert_int_equal(ask(f, "m"), 1);
    long long began = clock_mono_ms();
    atomic_store(&f->nodes[0].status, 200);
    atomic_store(&f->nodes[1].error, "{\"code\":-32005,\"message\":\"request rate limited\"}");
    assert_int_equal(ask(f, "m"), 2); // the same, said in JSON
    int asked = requests(f, 0);
    while (clock_mono_ms() - began < 2500) {
        assert_int_equal(ask(f, "m"), 2);
        usleep(50 * 1000);
    }
    assert_int_equal(requests(f, 0), asked); // not even a probe
    wait_for(f, 0);
    assert_true(clock_mono_ms() - began >= 3000);
}

static void test_all_want_rest(void **state)
{
    struct fixture *f = *state;
    f->options.count = 1;
    start(f);
    atomic_store(&f->nodes[0].status, 503);
    atomic_store(&f->nodes[0].header, "Retry-After: 2\r\n");
    assert_int_equal(ask(f, "m"), ERR_UNAVAILABLE);
    assert_int_equal(ask(f, "m"), ERR_UNAVAILABLE);
    assert_int_equal(requests(f, 0), 1);
    atomic_store(&f->nodes[0].status, 200);
    wait_for(f, 0);
}

static void test_lag(void **state)
{
    struct fixture *f = *state;
    start(f);
    assert_int_equal(ask(f, "m"), 0);
    pool_tell_head(f->client, 100);
    atomic_store(&f->nodes[1].head, 106); // found by a probe
    atomic_store(&f->nodes[2].head, 106);
    long long until = clock_mono_ms() + PATIENCE_MS;
    while (ask(f, "m") == 0 && clock_mono_ms() < until) {
        pool_tell_head(f->client, 100);
        usleep(20 * 1000);
    }
    assert_int_equal(ask(f, "m"), 1);
    assert_int_equal(logged(f, "it is at block 100, behind the others"), 1);
    atomic_store(&f->nodes[0].head, 106);
    wait_for(f, 0);
}

static void test_pinned(void **state)
{
    struct fixture *f = *state;
    start(f);
    pool_pin_best(f->client);
    assert_int_equal(ask(f, "m"), 0);
    atomic_store(&f->nodes[0].status, 500);
    assert_int_equal(ask(f, "m"), ERR_UNAVAILABLE); // no other's answer is mixed in
    assert_true(pool_pin_next(f->client));
    assert_int_equal(ask(f, "m"), 1);
    pool_blame(f->client, "its answers do not fit");
    assert_true(pool_pin_next(f->client));
    assert_int_equal(ask(f, "m"), 2);
    assert_false(pool_pin_next(f->client));
    pool_pin_best(f->client);
    assert_int_equal(ask(f, "m"), 2);
    assert_int_equal(logged(f, "its answers do not fit"), 1);
}

static void test_stop(void **state)
{
    struct fixture *f = *state;
    start(f);
    pool_client_stop(f->client);
    assert_int_equal(ask(f, "m"), ERR_STOPPED);
    for (int i = 0; i < NODES; i++)
        assert_int_equal(requests(f, i), 0);
}

static void test_bad_options(void **state)
{
    struct fixture *f = *state;
    f->options.count = ENDPOINTS_MAX + 1;
    assert_null(pool_start(&f->options, &f->err));
    f->options.count = 2;
    (void)snprintf(f->nodes[1].url, sizeof(f->nodes[1].url), "ws://127.0.0.1/");
    assert_null(pool_start(&f->options, &f->err));
    assert_int_equal(f->err.code, ERR_INVALID);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_failover_and_return),
        T(test_a_hanging_node_is_left_soon),
        T(test_the_last_one_has_time),
        T(test_another_chain_is_refused),
        T(test_the_chain_is_pinned_later),
        T(test_verdicts_do_not_count),
        T(test_faults_count),
        T(test_too_many_requests),
        T(test_all_want_rest),
        T(test_lag),
        T(test_pinned),
        T(test_stop),
        T(test_bad_options),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
