/* SPDX-License-Identifier: GPL-3.0-or-later */
/* agent/chain/jsonrpc.c: what a node may answer, right and wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/chain/jsonrpc.h"
#include "tests/unit/http_stub.h"

struct fixture {
    struct http_stub *stub;
    struct jsonrpc *rpc;
    struct jsonrpc_batch *batch;
    struct error err;
    const char *answer; // what the stub says
    int status;
    const char *header;
    size_t pad; // blanks before the answer
    bool cut;
    char asked[4096];
};

static void handle(void *ctx, const struct http_stub_request *q, struct http_stub_reply *r)
{
    struct fixture *f = ctx;
    (void)snprintf(f->asked, sizeof(f->asked), "%s", q->body);
    r->status = f->status;
    r->header = f->header;
    r->cut = f->cut;
    if (f->pad) memset(buf_reserve(&r->body, f->pad), ' ', f->pad);
    buf_puts(&r->body, f->answer);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char url[64];
    assert_non_null(f);
    f->status = 200;
    f->stub = http_stub_start(0, handle, f);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d/secret", http_stub_port(f->stub));
    f->rpc = jsonrpc_new(url, 2000, &f->err);
    f->batch = jsonrpc_batch_new(&f->err);
    assert_non_null(f->rpc);
    assert_non_null(f->batch);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    jsonrpc_batch_destroy(f->batch);
    jsonrpc_destroy(f->rpc);
    http_stub_stop(f->stub);
    free(f);
    return 0;
}

static int ask(struct fixture *f, int requests, const char *answer)
{
    f->answer = answer;
    f->err = (struct error){0};
    jsonrpc_batch_reset(f->batch);
    for (int i = 0; i < requests; i++)
        assert_int_equal(jsonrpc_add(f->batch, "m", "[%d]", i), i);
    return jsonrpc_perform(f->rpc, f->batch, &f->err);
}

static void test_single(void **state)
{
    struct fixture *f = *state;
    struct json_object *v;
    assert_int_equal(ask(f, 1, "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":\"0x1\"}"), 0);
    assert_string_equal(f->asked, "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"m\",\"params\":[0]}");
    assert_int_equal(jsonrpc_result(f->batch, 0, &v, NULL), 0);
    assert_string_equal(json_object_get_string(v), "0x1");
    assert_int_equal(ask(f, 1, "{\"id\":0,\"result\":null}"), 0);
    assert_int_equal(jsonrpc_answer(f->batch, 0)->kind, JSONRPC_RESULT);
    assert_null(jsonrpc_answer(f->batch, 0)->result);
    assert_int_equal(ask(f, 1, "[{\"id\":0,\"result\":1}]"), 0);
}

static void test_any_order(void **state)
{
    struct fixture *f = *state;
    struct json_object *v;
    assert_int_equal(ask(f,
                         3,
                         "[{\"id\":2,\"result\":12},{\"id\":0,\"result\":10},"
                         "{\"id\":1,\"error\":{\"code\":-32000,\"message\":\"no\"}}]"),
                     0);
    assert_int_equal(f->asked[0], '[');
    assert_int_equal(jsonrpc_result(f->batch, 0, &v, NULL), 0);
    assert_int_equal(json_object_get_int(v), 10);
    assert_int_equal(jsonrpc_result(f->batch, 2, &v, NULL), 0);
    assert_int_equal(json_object_get_int(v), 12);
    assert_int_equal(jsonrpc_result(f->batch, 1, &v, &f->err), ERR_REFUSED);
    assert_string_equal(f->err.text, "m: node error -32000: no");
}

static void test_malformed(void **state)
{
    static const char *const answers[] = {
        "",
        "garbage",
        "{}",
        "[]",
        "null",
        "7",
        "[1,2]",
        "[{\"id\":0,\"result\":1}]",                                          // one missing
        "[{\"id\":0,\"result\":1},{\"id\":0,\"result\":1}]",                  // one twice
        "[{\"id\":0,\"result\":1},{\"id\":2,\"result\":1}]",                  // not asked
        "[{\"id\":0,\"result\":1},{\"id\":-1,\"result\":1}]",                 //
        "[{\"id\":0,\"result\":1},{\"id\":\"1\",\"result\":1}]",              // not our id
        "[{\"id\":0,\"result\":1},{\"id\":1.0,\"result\":1}]",                //
        "[{\"id\":0,\"result\":1},{\"id\":1}]",                               // says nothing
        "[{\"id\":0,\"result\":1},{\"id\":1,\"error\":\"x\"}]",               // no error object
        "[{\"id\":0,\"result\":1},{\"id\":1,\"error\":{\"message\":\"x\"}}]", // no code
        "[{\"id\":0,\"result\":1},{\"id\":1,\"error\":{\"code\":1,\"message\":2}}]",
        "[{\"id\":0,\"result\":1},{\"id\":1,\"result\":1}", // cut
        "[{\"id\":0,\"result\":1},{\"id\":1,\"result\":1}] x",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        int rc = ask(f, 2, answers[i]);
        if (rc != ERR_PROTO) fail_msg("%s: %d %s", answers[i], rc, f->err.text);
        assert_int_equal(jsonrpc_answer(f->batch, 0)->kind, JSONRPC_NONE); // nothing half-read
    }
}

static void test_too_deep(void **state)
{
    struct fixture *f = *state;
    char deep[128] = "{\"id\":0,\"result\":";
    size_t n = strlen(deep);
    memset(deep + n, '[', 40);
    memset(deep + n + 40, ']', 40);
    memcpy(deep + n + 80, "}", 2);
    assert_int_equal(ask(f, 1, deep), ERR_PROTO);
}

static void test_too_large(void **state)
{
    struct fixture *f = *state;
    f->pad = JSONRPC_ANSWER_MAX;
    assert_int_equal(ask(f, 1, "{\"id\":0,\"result\":1}"), ERR_LIMIT);
    f->pad = 0;
    assert_int_equal(ask(f, 1, "{\"id\":0,\"result\":1}"), 0);
}

static void test_http_status(void **state)
{
    static const struct {
        int status, rc;
    } cases[] = {{429, ERR_UNAVAILABLE},
                 {408, ERR_UNAVAILABLE},
                 {500, ERR_UNAVAILABLE},
                 {503, ERR_UNAVAILABLE},
                 {400, ERR_REFUSED},
                 {401, ERR_REFUSED},
                 {302, ERR_REFUSED},
                 {204, ERR_REFUSED}};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        f->status = cases[i].status;
        assert_int_equal(ask(f, 1, cases[i].status == 204 ? "" : "slow\ndown"), cases[i].rc);
        assert_null(strchr(f->err.text, '\n'));
        assert_null(strstr(f->err.text, "secret")); // the path may be an API key
    }
}

static void test_a_bad_request_that_says_why(void **state)
{
    struct fixture *f = *state;
    f->status = 400;
    assert_int_equal(
        ask(f, 1, "{\"id\":0,\"error\":{\"code\":-32602,\"message\":\"block range\"}}"), 0);
    assert_string_equal(jsonrpc_answer(f->batch, 0)->message, "block range");
    assert_int_equal(
        ask(f, 2, "{\"id\":null,\"error\":{\"code\":-32602,\"message\":\"block range\"}}"),
        ERR_REFUSED);
    assert_non_null(strstr(f->err.text, "block range"));
    assert_int_equal(ask(f, 1, "<html>"), ERR_REFUSED);
    assert_non_null(strstr(f->err.text, "HTTP 400"));
    f->status = 500;
    assert_int_equal(ask(f, 1, "{\"id\":0,\"result\":1}"), ERR_UNAVAILABLE);
}

static void check_refused(struct fixture *f, bool want, long long want_ms)
{
    long long ms;
    assert_int_equal(jsonrpc_was_refused(f->rpc, &ms), want);
    assert_int_equal(ms, want_ms);
}

static void test_too_many_requests(void **state)
{
    struct fixture *f = *state;
    const char *limit = "{\"code\":-32005,\"message\":\"request rate limited\"}";
    char text[256];
    f->status = 429;
    assert_int_equal(ask(f, 1, ""), ERR_UNAVAILABLE);
    check_refused(f, true, 0);
    f->header = "Retry-After: 7\r\n";
    assert_int_equal(ask(f, 1, ""), ERR_UNAVAILABLE);
    check_refused(f, true, 7000);
    f->status = 503;
    assert_int_equal(ask(f, 1, ""), ERR_UNAVAILABLE);
    check_refused(f, true, 7000);
    f->header = NULL;
    assert_int_equal(ask(f, 1, ""), ERR_UNAVAILABLE);
    check_refused(f, false, 0);
    f->status = 200;
    (void)snprintf(text, sizeof(text), "{\"id\":null,\"error\":%s}", limit);
    assert_int_equal(ask(f, 2, text), ERR_UNAVAILABLE);
    assert_int_equal(f->err.code, ERR_UNAVAILABLE);
    check_refused(f, true, 0);
    // One of a batch: it is not known which of the others were cut short.
    (void)snprintf(text, sizeof(text), "[{\"id\":0,\"result\":1},{\"id\":1,\"error\":%s}]", limit);
    assert_int_equal(ask(f, 2, text), ERR_UNAVAILABLE);
    check_refused(f, true, 0);
    assert_int_equal(jsonrpc_answer(f->batch, 0)->kind, JSONRPC_NONE);
    assert_int_equal(ask(f, 1, "{\"id\":0,\"result\":1}"), 0);
    check_refused(f, false, 0);
}

static void test_cut(void **state)
{
    struct fixture *f = *state;
    f->cut = true;
    assert_int_equal(ask(f, 1, ""), ERR_OUTCOME_UNKNOWN);
    f->stub = http_stub_stop(f->stub);
    assert_int_equal(ask(f, 1, ""), ERR_UNAVAILABLE);
}

static void test_error_for_the_batch(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(
        ask(f, 2, "{\"id\":null,\"error\":{\"code\":-32600,\"message\":\"batch too large\"}}"),
        ERR_REFUSED);
    assert_non_null(strstr(f->err.text, "batch too large"));
}

static void check_revert(struct fixture *f, const char *error, const char *data, size_t len)
{
    char text[512];
    (void)snprintf(text, sizeof(text), "{\"id\":0,\"error\":%s}", error);
    assert_int_equal(ask(f, 1, text), 0);
    const struct jsonrpc_answer *a = jsonrpc_answer(f->batch, 0);
    assert_int_equal(a->kind, JSONRPC_REVERTED);
    assert_int_equal(a->data_len, len);
    if (len) assert_memory_equal(a->data, data, len);
}

static void test_reverts(void **state)
{
    struct fixture *f = *state;
    check_revert(f,
                 "{\"code\":3,\"message\":\"execution reverted\",\"data\":\"0xdeadbeef\"}",
                 "\xde\xad\xbe\xef",
                 4);
    check_revert(f, "{\"code\":3,\"message\":\"execution reverted\",\"data\":\"0x\"}", "", 0);
    check_revert(f, "{\"code\":-32000,\"message\":\"execution reverted\"}", "", 0);
    check_revert(f, "{\"code\":-32015,\"message\":\"VM error\",\"data\":\"0x01\"}", "\x01", 1);
    check_revert(f, "{\"code\":3,\"message\":\"\",\"data\":{\"data\":\"0x02\"}}", "\x02", 1);
    check_revert(f, "{\"code\":3,\"message\":\"x\",\"data\":\"0xzz\"}", "", 0);
    check_revert(f, "{\"code\":3,\"message\":\"x\",\"data\":[1]}", "", 0);
    assert_int_equal(
        ask(f, 1, "{\"id\":0,\"error\":{\"code\":-32000,\"message\":\"header not found\"}}"), 0);
    assert_int_equal(jsonrpc_answer(f->batch, 0)->kind, JSONRPC_ERROR);
    assert_int_equal(
        ask(f, 1, "{\"id\":0,\"error\":{\"code\":-1,\"message\":\"x\",\"data\":\"words\"}}"), 0);
    assert_int_equal(jsonrpc_answer(f->batch, 0)->kind, JSONRPC_ERROR);
}

/* anvil quotes the revert's bytes, which are the contract's. */
static void test_message_of_any_bytes(void **state)
{
    struct fixture *f = *state;
    check_revert(f,
                 "{\"code\":3,\"message\":\"execution reverted: "
                 "/\\u0000\\n\\u0002x\\u0000\",\"data\":\"0x01\"}",
                 "\x01",
                 1);
    assert_string_equal(jsonrpc_answer(f->batch, 0)->message, "execution reverted: /   x");
}

static void test_batch_limit(void **state)
{
    struct fixture *f = *state;
    f->asked[0] = '\0';
    f->answer = "[]";
    for (int i = 0; i < JSONRPC_BATCH_MAX; i++)
        assert_int_equal(jsonrpc_add(f->batch, "m", "[]"), i);
    assert_int_equal(jsonrpc_add(f->batch, "m", "[]"), ERR_LIMIT);
    assert_int_equal(jsonrpc_perform(f->rpc, f->batch, &f->err), ERR_LIMIT);
    assert_string_equal(f->asked, ""); // nothing was sent
    jsonrpc_batch_reset(f->batch);
    assert_int_equal(jsonrpc_perform(f->rpc, f->batch, &f->err), 0); // nothing to ask
}

static void test_bad_endpoint(void **state)
{
    struct fixture *f = *state;
    assert_null(jsonrpc_new("ws://127.0.0.1/", 1000, &f->err));
    assert_int_equal(f->err.code, ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_single, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_deep, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http_status, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_bad_request_that_says_why, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_error_for_the_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reverts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_message_of_any_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batch_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_endpoint, setup, teardown),
    };
    return cmocka_run_group_tests_name("jsonrpc", tests, NULL, NULL);
}
