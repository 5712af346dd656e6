/* SPDX-License-Identifier: GPL-3.0-or-later */
/* agent/util/httpc.c against a stub that fails in all the ways a server can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/util/clock.h"
#include "agent/util/httpc.h"
#include "tests/unit/http_stub.h"

enum { BODY_MAX = 1000 };

struct fixture {
    struct http_stub *stub;
    struct httpc *http;
    char url[128];
    struct buf body;
    struct error err;
    _Atomic unsigned int requests, connection; // as the last handler call saw them
};

/* The path says what to do. */
static void handle(void *ctx, const struct http_stub_request *q, struct http_stub_reply *r)
{
    struct fixture *f = ctx;
    f->requests = q->number;
    f->connection = q->connection;
    buf_putf(&r->body, "%s %s", q->method, q->body);
    if (strcmp(q->path, "/large") == 0) (void)buf_reserve(&r->body, 2 * BODY_MAX);
    if (strcmp(q->path, "/full") == 0) {
        buf_reset(&r->body);
        (void)buf_reserve(&r->body, BODY_MAX);
    }
    if (strcmp(q->path, "/teapot") == 0) r->status = 418;
    if (strcmp(q->path, "/cut") == 0) r->cut = true;
    if (strcmp(q->path, "/half") == 0) r->cut_body = true;
    if (strcmp(q->path, "/slow") == 0) r->delay_ms = 20000;
    if (strcmp(q->path, "/dies") == 0) r->close_after = true;
    if (strcmp(q->path, "/moved") == 0) {
        r->status = 302;
        r->header = "Location: /elsewhere\r\n";
    }
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->body = BUF_INIT(BODY_MAX);
    f->stub = http_stub_start(0, handle, f);
    f->http = httpc_new(NULL, &f->err);
    assert_non_null(f->http);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    httpc_destroy(f->http);
    http_stub_stop(f->stub);
    buf_free(&f->body);
    free(f);
    return 0;
}

static int request(struct fixture *f, const char *path, const char *body, bool once)
{
    (void)snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%d%s", http_stub_port(f->stub), path);
    struct httpc_request q = {.url = f->url,
                              .body = body,
                              .body_len = body ? strlen(body) : 0,
                              .timeout_ms = 2000,
                              .once = once};
    buf_reset(&f->body);
    return httpc_perform(f->http, &q, &f->body, &f->err);
}

static void test_get_and_post(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(request(f, "/", NULL, false), 200);
    assert_string_equal(buf_str(&f->body), "GET ");
    assert_int_equal(request(f, "/", "hello", false), 200);
    assert_string_equal(buf_str(&f->body), "POST hello");
    assert_int_equal(request(f, "/", "", false), 200);
    assert_string_equal(buf_str(&f->body), "POST ");
    struct httpc_request q = {.method = "DELETE", .url = f->url, .timeout_ms = 2000};
    buf_reset(&f->body);
    assert_int_equal(httpc_perform(f->http, &q, &f->body, &f->err), 200);
    assert_string_equal(buf_str(&f->body), "DELETE ");
    assert_int_equal(f->connection, 1); // all on one connection
}

static void test_status_is_the_callers(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(request(f, "/teapot", NULL, false), 418);
    assert_int_equal(request(f, "/moved", NULL, false), 302); // not followed
    assert_int_equal(f->requests, 2);
}

static void test_large_answer(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(request(f, "/full", NULL, false), 200);
    assert_int_equal(f->body.len, BODY_MAX);
    assert_int_equal(request(f, "/large", NULL, false), ERR_LIMIT);
    assert_int_equal(request(f, "/", NULL, false), 200); // usable after it
}

static void test_no_answer_is_outcome_unknown(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(request(f, "/cut", "x", false), ERR_OUTCOME_UNKNOWN);
    assert_int_equal(f->requests, 1);
    assert_int_equal(request(f, "/half", "x", false), ERR_OUTCOME_UNKNOWN);
    long long start = clock_mono_ms();
    assert_int_equal(request(f, "/slow", "x", false), ERR_OUTCOME_UNKNOWN);
    long long took = clock_mono_ms() - start;
    assert_in_range(took, 1900, 4000);
}

static void test_dead_kept_connection(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(request(f, "/dies", NULL, false), 200);
    assert_int_equal(request(f, "/", "x", false), 200); // noticed, or sent again
    unsigned int before = f->requests;
    // A kept connection takes the request and dies without an answer: that one is sent again ...
    assert_int_equal(request(f, "/cut", "x", false), ERR_OUTCOME_UNKNOWN);
    assert_int_equal(f->requests, before + 2);
    // ... but never one that must reach the server once at most.
    assert_int_equal(request(f, "/", NULL, false), 200);
    before = f->requests;
    assert_int_equal(request(f, "/cut", "x", true), ERR_OUTCOME_UNKNOWN);
    assert_int_equal(f->requests, before + 1);
}

/* A listening port that never says a word, or one where nobody listens. */
static int silent_port(int *fd, bool listening)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(*fd, (struct sockaddr *)&a, sizeof(a)), 0);
    if (listening) assert_int_equal(listen(*fd, 4), 0);
    assert_int_equal(getsockname(*fd, (struct sockaddr *)&a, &len), 0);
    return ntohs(a.sin_port);
}

static int request_url(struct fixture *f, const char *url)
{
    struct httpc_request q = {.url = url, .body = "x", .body_len = 1, .timeout_ms = 500};
    buf_reset(&f->body);
    return httpc_perform(f->http, &q, &f->body, &f->err);
}

static void test_no_connection_is_unavailable(void **state)
{
    struct fixture *f = *state;
    int fd;
    char url[128];
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d/", silent_port(&fd, false));
    assert_int_equal(request_url(f, url), ERR_UNAVAILABLE);
    close(fd);
    assert_int_equal(request_url(f, "http://no-such-host.invalid/"), ERR_UNAVAILABLE);
    // The TLS handshake hangs: nothing of the request left.
    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%d/", silent_port(&fd, true));
    assert_int_equal(request_url(f, url), ERR_UNAVAILABLE);
    close(fd);
    // Connected and sent, no answer.
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d/", silent_port(&fd, true));
    assert_int_equal(request_url(f, url), ERR_OUTCOME_UNKNOWN);
    close(fd);
}

static void test_other_schemes(void **state)
{
    static const char *const urls[] = {
        "file:///etc/passwd", "ftp://127.0.0.1/", "127.0.0.1:80", "", "http://", "gopher://x/"};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
        assert_int_equal(request_url(f, urls[i]), ERR_INVALID);
}

static void test_errors_hide_credentials(void **state)
{
    struct fixture *f = *state;
    int fd;
    char url[160];
    int port = silent_port(&fd, false);
    (void)snprintf(url, sizeof(url), "http://user:hunter2@127.0.0.1:%d/apikey77?k=apikey78", port);
    assert_int_equal(request_url(f, url), ERR_UNAVAILABLE);
    close(fd);
    assert_null(strstr(f->err.text, "hunter2"));
    assert_null(strstr(f->err.text, "apikey7"));
    assert_non_null(strstr(f->err.text, "http://127.0.0.1:"));
}

static void test_environment_proxy_is_ignored(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(setenv("http_proxy", "http://127.0.0.1:1/", 1), 0);
    assert_int_equal(setenv("all_proxy", "http://127.0.0.1:1/", 1), 0);
    int rc = request(f, "/", NULL, false);
    (void)unsetenv("http_proxy");
    (void)unsetenv("all_proxy");
    assert_int_equal(rc, 200);
}

static void test_given_proxy_is_used(void **state)
{
    struct fixture *f = *state;
    char proxy[64];
    (void)snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%d", http_stub_port(f->stub));
    struct httpc *h = httpc_new(proxy, &f->err);
    struct httpc_request q = {.url = "http://node.invalid/x", .timeout_ms = 2000};
    buf_reset(&f->body);
    int rc = httpc_perform(h, &q, &f->body, &f->err);
    httpc_destroy(h);
    assert_int_equal(rc, 200);
}

static void *stop_soon(void *arg)
{
    usleep(100 * 1000);
    httpc_stop(arg);
    return NULL;
}

static void test_stop_ends_a_request(void **state)
{
    struct fixture *f = *state;
    pthread_t t;
    long long start = clock_mono_ms();
    assert_int_equal(pthread_create(&t, NULL, stop_soon, f->http), 0);
    assert_int_equal(request(f, "/slow", NULL, false), ERR_STOPPED);
    long long took = clock_mono_ms() - start;
    pthread_join(t, NULL);
    assert_in_range(took, 50, 1000);
    assert_int_equal(request(f, "/", NULL, false), ERR_STOPPED); // and for ever
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_get_and_post, setup, teardown),
        cmocka_unit_test_setup_teardown(test_status_is_the_callers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_answer_is_outcome_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dead_kept_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_connection_is_unavailable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_schemes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_hide_credentials, setup, teardown),
        cmocka_unit_test_setup_teardown(test_environment_proxy_is_ignored, setup, teardown),
        cmocka_unit_test_setup_teardown(test_given_proxy_is_used, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_ends_a_request, setup, teardown),
    };
    return cmocka_run_group_tests_name("httpc", tests, NULL, NULL);
}
