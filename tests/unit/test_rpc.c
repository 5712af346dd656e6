/* SPDX-License-Identifier: GPL-3.0-or-later */
/* proto/: the client against the server, without the agent's services. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/util/clock.h"
#include "proto/rpc_client.h"
#include "proto/rpc_server.h"
#include "tests/unit/rpc_fixture.h"

enum { MAX_REQUEST = 4096 };

static struct fixture_tls tls_files;

/* ---- a server ---- */

/* Calls that wait for their answer. */
struct waiting {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct rpc_call *calls[2048];
    size_t count;
};

static struct waiting waiting = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                 .changed = PTHREAD_COND_INITIALIZER};

static void echo(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len)
{
    rpc_call_reply(call, RPC_OK, NULL, request, len);
}

/* Keeps the call until reply_to_all(). */
static void hold(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len)
{
    pthread_mutex_lock(&waiting.lock);
    waiting.calls[waiting.count++] = call;
    pthread_cond_broadcast(&waiting.changed);
    pthread_mutex_unlock(&waiting.lock);
}

/* Answers with the status that the request's first byte names. */
static void refuse(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len)
{
    rpc_call_reply(call, (enum rpc_status)request[0], "because\n\x01 of \xc3\xa4", "x", 1);
}

/* 100 KiB whatever is asked. */
static void large(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len)
{
    static uint8_t data[100 * 1024];
    rpc_call_reply(call, RPC_OK, NULL, data, sizeof(data));
}

static const struct rpc_method methods[] = {
    {.path = "/t.T/Echo", .fn = echo},
    {.path = "/t.T/Hold", .fn = hold},
    {.path = "/t.T/Refuse", .fn = refuse},
    {.path = "/t.T/Large", .fn = large},
};

static struct rpc_server_options options_for(const char *address)
{
    return (struct rpc_server_options){
        .listen_address = address,
        .methods = methods,
        .method_count = sizeof(methods) / sizeof(methods[0]),
        .max_request = MAX_REQUEST,
    };
}

static struct rpc_server *start_with(const struct rpc_server_options *options)
{
    struct error err = {0};
    struct rpc_server *s = rpc_server_start(options, &err);
    if (!s) fail_msg("%s", err.text);
    waiting.count = 0;
    return s;
}

static struct rpc_server *start(void)
{
    struct rpc_server_options o = options_for("127.0.0.1:0");
    return start_with(&o);
}

static void wait_for_calls(size_t n)
{
    pthread_mutex_lock(&waiting.lock);
    while (waiting.count < n)
        pthread_cond_wait(&waiting.changed, &waiting.lock);
    pthread_mutex_unlock(&waiting.lock);
}

static void reply_to_all(void)
{
    for (size_t i = 0; i < waiting.count; i++)
        rpc_call_reply(waiting.calls[i], RPC_OK, NULL, "done", 4);
    waiting.count = 0;
}

/* ---- calls ---- */

static void test_echo(void **state)
{
    struct rpc_server *s = start();
    struct rpc_client *c = fixture_client(rpc_server_port(s), NULL);
    struct rpc_answer a;
    uint8_t data[MAX_REQUEST];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)i;

    const size_t sizes[] = {0, 1, 255, MAX_REQUEST};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(fixture_call(c, "/t.T/Echo", data, sizes[i], 5000, &a), RPC_OK);
        assert_int_equal(a.len, sizes[i]);
        assert_non_null(a.data);
        assert_memory_equal(a.data, data, sizes[i]);
        assert_string_equal(a.message, "");
        free(a.data);
    }
    rpc_client_destroy(c);
    rpc_server_stop(s, 1000);
}

static void test_unix_socket(void **state)
{
    char address[200];
    struct error err = {0};
    (void)snprintf(address, sizeof(address), "unix:%s/socket", tls_files.dir);
    struct rpc_server_options o = options_for(address);
    struct rpc_server *s = start_with(&o);
    struct rpc_client *c = rpc_client_new(address, NULL, 1000, &err);
    assert_non_null(c);
    assert_int_equal(fixture_call(c, "/t.T/Echo", "x", 1, 5000, NULL), RPC_OK);
    rpc_client_destroy(c);
    rpc_server_stop(s, 1000);
    assert_int_equal(access(address + 5, F_OK), -1); // gone with the server
}

static void test_all_interfaces(void **state)
{
    struct rpc_server_options o = options_for(":0");
    struct rpc_server *s = start_with(&o);
    char target[64];
    (void)snprintf(target, sizeof(target), "127.0.0.1:%d", rpc_server_port(s));
    struct rpc_client *c = rpc_client_new(target, NULL, 1000, NULL);
    assert_int_equal(fixture_call(c, "/t.T/Echo", "x", 1, 5000, NULL), RPC_OK);
    rpc_client_destroy(c);
    rpc_server_stop(s, 1000);
}

static void test_statuses_and_texts(void **state)
{
    struct rpc_server *s = start();
    struct rpc_client *c = fixture_client(rpc_server_port(s), NULL);
    struct rpc_answer a;
    const uint8_t codes[] = {RPC_INVALID_ARGUMENT, RPC_NOT_FOUND, RPC_INTERNAL, RPC_UNAVAILABLE};
    for (size_t i = 0; i < sizeof(codes); i++) {
        assert_int_equal(fixture_call(c, "/t.T/Refuse", &codes[i], 1, 5000, &a), codes[i]);
        assert_string_equal(a.message, "because   of \xc3\xa4"); // no control bytes
        assert_null(a.data);
    }
    assert_int_equal(fixture_call(c, "/t.T/None", "", 0, 5000, &a), RPC_UNIMPLEMENTED);
    assert_string_equal(a.message, "unknown method /t.T/None");
    rpc_client_destroy(c);
    rpc_server_stop(s, 1000);
}

static void test_too_large(void **state)
{
    struct rpc_server *s = start();
    char target[64];
    struct error err = {0};
    uint8_t data[MAX_REQUEST + 1] = {0};
    fixture_target(target, rpc_server_port(s));
    struct rpc_client *c = rpc_client_new(target, NULL, 100 * 1024 - 1, &err);
    assert_int_equal(fixture_call(c, "/t.T/Echo", data, sizeof(data), 5000, NULL),
                     RPC_RESOURCE_EXHAUSTED);
    assert_int_equal(fixture_call(c, "/t.T/Large", "", 0, 5000, NULL), RPC_RESOURCE_EXHAUSTED);
    assert_int_equal(fixture_call(c, "/t.T/Echo", data, 10, 5000, NULL), RPC_OK);
    rpc_client_destroy(c);
    rpc_server_stop(s, 1000);
}

static void test_deadline_and_late_answer(void **state)
{
    struct rpc_server *s = start();
    struct rpc_client *c = fixture_client(rpc_server_port(s), NULL);
    long long began_ms = clock_mono_ms();
    assert_int_equal(fixture_call(c, "/t.T/Hold", "x", 1, 300 * fixture_slow(), NULL),
                     RPC_DEADLINE_EXCEEDED);
    assert_true(clock_mono_ms() - began_ms >= 290);
    assert_true(clock_mono_ms() - began_ms < 2000 * fixture_slow());
    assert_int_equal(fixture_call(c, "/t.T/Echo", "x", 1, 0, NULL), RPC_DEADLINE_EXCEEDED);
    wait_for_calls(1);
    reply_to_all(); // to a client that went away
    assert_int_equal(fixture_call(c, "/t.T/Echo", "x", 1, 5000, NULL), RPC_OK);
    rpc_client_destroy(c);
    rpc_server_stop(s, 1000);
}

/* ---- addresses ---- */

static void test_bad_targets(void **state)
{
    const char *bad[] = {"",        "host",       ":1",         "host:",      "host:0",
                         "h:65536", "h:1x",       "http://h:1", "h/x:1",      "a b:1",
                         "[::1:1",  "[zz::1]:1",  "::1:1",      "h%1:1",      "dns:///h:1",
                         "h\n:1",   "unix:rel:1", "ipv4:1:2",   "[::1%lo]:1", "h:-1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = {0};
        if (rpc_client_new(bad[i], NULL, 100, &err)) fail_msg("accepted: %s", bad[i]);
        assert_int_equal(err.code, ERR_INVALID);
    }
}

/* Names that gRPC takes for schemes are hosts. */
static void test_host_like_scheme(void **state)
{
    struct rpc_client *c = rpc_client_new("unix:12", NULL, 100, NULL);
    struct rpc_answer a;
    assert_non_null(c);
    assert_int_equal(fixture_call(c, "/t.T/Echo", "", 0, 5000 * fixture_slow(), &a),
                     RPC_UNAVAILABLE);
    assert_non_null(strstr(a.message, "DNS"));
    rpc_client_destroy(c);
}

static void test_bad_listen_addresses(void **state)
{
    const char *bad[] = {"",
                         "host",
                         "127.0.0.1",
                         "127.0.0.1:99999",
                         "127.0.0.1:x",
                         "300.1.1.1:0",
                         "unix:/nonexistent/socket"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = {0};
        struct rpc_server_options o = options_for(bad[i]);
        if (rpc_server_start(&o, &err)) fail_msg("accepted: %s", bad[i]);
        assert_true(err.code < 0);
        assert_true(err.text[0] != '\0');
    }
}

static void test_address_in_use(void **state)
{
    struct rpc_server *s = start();
    char address[64];
    struct error err = {0};
    (void)snprintf(address, sizeof(address), "127.0.0.1:%d", rpc_server_port(s));
    struct rpc_server_options o = options_for(address);
    assert_null(rpc_server_start(&o, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.text, address));
    assert_non_null(strstr(err.text, "Address already in use"));
    rpc_server_stop(s, 1000);
    s = start_with(&o); // free again
    rpc_server_stop(s, 1000);
}

static void test_nobody_there(void **state)
{
    struct rpc_server *s = start();
    int port = rpc_server_port(s);
    rpc_server_stop(s, 0);
    struct rpc_client *c = fixture_client(port, NULL);
    long long began_ms = clock_mono_ms();
    assert_int_equal(fixture_call(c, "/t.T/Echo", "", 0, 5000, NULL), RPC_UNAVAILABLE);
    assert_true(clock_mono_ms() - began_ms < 1000 * fixture_slow());

    // Waiting for the connection, it fails at the deadline only.
    struct rpc_answer a;
    began_ms = clock_mono_ms();
    assert_int_equal(rpc_client_call(c, "/t.T/Echo", "", 0, true, clock_mono_ms() + 300, &a, NULL),
                     0);
    assert_int_equal(a.status, RPC_DEADLINE_EXCEEDED);
    assert_true(clock_mono_ms() - began_ms >= 290);
    rpc_client_destroy(c);
}

/* ---- TLS ---- */

static struct rpc_server *start_tls(const char *cert)
{
    struct rpc_server_options o = options_for("127.0.0.1:0");
    o.tls = true;
    o.cert_file = cert;
    o.key_file = tls_files.key;
    return start_with(&o);
}

static int call_tls(struct rpc_server *s, struct rpc_tls tls)
{
    tls.enabled = true;
    struct rpc_client *c = fixture_client(rpc_server_port(s), &tls);
    int status = fixture_call(c, "/t.T/Echo", "x", 1, 10000 * fixture_slow(), NULL);
    rpc_client_destroy(c);
    return status;
}

static void test_tls(void **state)
{
    struct rpc_server *s = start_tls(tls_files.cert);
    assert_int_equal(call_tls(s, (struct rpc_tls){.ca_file = tls_files.ca}), RPC_OK);
    assert_int_equal(call_tls(s, (struct rpc_tls){.ca_file = tls_files.other_ca}), RPC_UNAVAILABLE);
    assert_int_equal(call_tls(s, (struct rpc_tls){.ca_file = ""}), RPC_UNAVAILABLE); // system's
    assert_int_equal(call_tls(s, (struct rpc_tls){.insecure = true}), RPC_OK);
    assert_int_equal(
        call_tls(s, (struct rpc_tls){.ca_file = tls_files.ca, .host_override = "else.example"}),
        RPC_UNAVAILABLE);

    struct rpc_client *plain = fixture_client(rpc_server_port(s), NULL);
    assert_int_equal(fixture_call(plain, "/t.T/Echo", "x", 1, 5000, NULL), RPC_UNAVAILABLE);
    rpc_client_destroy(plain);
    rpc_server_stop(s, 1000);
}

static void test_tls_names(void **state)
{
    struct rpc_server *s = start_tls(tls_files.named);
    assert_int_equal(call_tls(s, (struct rpc_tls){.ca_file = tls_files.ca}), RPC_UNAVAILABLE);
    assert_int_equal(
        call_tls(s, (struct rpc_tls){.ca_file = tls_files.ca, .host_override = "grid.example"}),
        RPC_OK);
    // Without verification neither name nor override matters.
    assert_int_equal(call_tls(s, (struct rpc_tls){.insecure = true}), RPC_OK);
    assert_int_equal(call_tls(s,
                              (struct rpc_tls){.insecure = true,
                                               .ca_file = "/nonexistent",
                                               .host_override = "else.example"}),
                     RPC_OK);
    rpc_server_stop(s, 1000);
}

static void test_tls_to_plain(void **state)
{
    struct rpc_server *s = start();
    assert_int_equal(call_tls(s, (struct rpc_tls){.insecure = true}), RPC_UNAVAILABLE);
    rpc_server_stop(s, 1000);
}

static void test_client_bad_ca(void **state)
{
    const char *bad[] = {"/nonexistent", tls_files.garbage, tls_files.text, tls_files.dir};
    for (size_t i = 0; i < 4; i++) {
        struct error err = {0};
        struct rpc_tls tls = {.enabled = true, .ca_file = bad[i]};
        assert_null(rpc_client_new("localhost:1", &tls, 100, &err));
        assert_true(err.code < 0);
        assert_non_null(strstr(err.text, bad[i]));
    }
}

static void test_server_bad_certificates(void **state)
{
    const struct {
        const char *cert, *key, *text;
    } bad[] = {
        {NULL, NULL, "certificate file"},
        {tls_files.cert, "", "key file"},
        {"/nonexistent", tls_files.key, "/nonexistent"},
        {tls_files.cert, "/nonexistent", "/nonexistent"},
        {tls_files.garbage, tls_files.key, "garbage.pem"},
        {tls_files.cert, tls_files.text, "text.pem"},
        {tls_files.cert, tls_files.other_key, "not the key of the certificate"},
        {tls_files.key, tls_files.key, "no PEM certificate"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = {0};
        struct rpc_server_options o = options_for("127.0.0.1:0");
        o.tls = true;
        o.cert_file = bad[i].cert;
        o.key_file = bad[i].key;
        assert_null(rpc_server_start(&o, &err));
        if (!strstr(err.text, bad[i].text)) fail_msg("%zu: %s", i, err.text);
    }
}

/* A connection gets the certificate that was read last; one that is refused changes nothing. */
static void test_server_new_certificate(void **state)
{
    struct error err = {0};
    const struct rpc_tls before = {.ca_file = tls_files.ca},
                         after = {.ca_file = tls_files.ca, .host_override = "grid.example"};
    struct rpc_server *s = start_tls(tls_files.cert);
    assert_int_equal(rpc_server_set_certificate(s, tls_files.cert, tls_files.key, &err), 0);
    assert_int_equal(call_tls(s, before), RPC_OK);
    assert_int_equal(rpc_server_set_certificate(s, tls_files.named, tls_files.key, &err), 1);
    assert_int_equal(call_tls(s, before), RPC_UNAVAILABLE);
    assert_int_equal(call_tls(s, after), RPC_OK);
    assert_true(rpc_server_set_certificate(s, tls_files.garbage, tls_files.key, &err) < 0);
    assert_true(rpc_server_set_certificate(s, tls_files.cert, tls_files.other_key, &err) < 0);
    assert_int_equal(call_tls(s, after), RPC_OK);
    rpc_server_stop(s, 1000);

    s = start();
    assert_int_equal(rpc_server_set_certificate(s, tls_files.cert, tls_files.key, &err),
                     ERR_INVALID);
    rpc_server_stop(s, 1000);
}

static void test_server_open_key(void **state)
{
    struct error err = {0};
    struct rpc_server_options o = options_for("127.0.0.1:0");
    o.tls = true;
    o.cert_file = tls_files.cert;
    o.key_file = tls_files.key;
    assert_int_equal(chmod(tls_files.key, 0644), 0);
    assert_null(rpc_server_start(&o, &err));
    assert_int_equal(chmod(tls_files.key, 0640), 0);
    assert_int_equal(err.code, ERR_DENIED);
    rpc_server_stop(start_with(&o), 0);
}

/* ---- many, strangers, the end ---- */

struct caller {
    pthread_t thread;
    struct rpc_client *client;
    int status;
    bool answered;
};

static void *call_hold(void *arg)
{
    struct caller *c = arg;
    struct rpc_answer a = {0};
    (void)rpc_client_call(
        c->client, "/t.T/Hold", "x", 1, false, clock_mono_ms() + 120000, &a, NULL);
    c->status = a.status;
    c->answered = a.len == 4 && memcmp(a.data, "done", 4) == 0;
    free(a.data);
    return NULL;
}

static void start_callers(struct caller *callers, size_t n, struct rpc_client *client)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 * 1024);
    for (size_t i = 0; i < n; i++) {
        callers[i] = (struct caller){.client = client};
        assert_int_equal(pthread_create(&callers[i].thread, &attr, call_hold, &callers[i]), 0);
    }
    pthread_attr_destroy(&attr);
}

static void test_thousand_calls_at_once(void **state)
{
    static struct caller callers[1000];
    const size_t n = fixture_slow() > 10 ? 50 : 1000; // valgrind serves some 50 a second
    struct rpc_server *s = start();
    struct rpc_client *c = fixture_client(rpc_server_port(s), NULL);
    start_callers(callers, n, c);
    wait_for_calls(n); // all of them wait together
    reply_to_all();
    for (size_t i = 0; i < n; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].status, RPC_OK);
        assert_true(callers[i].answered);
    }
    rpc_client_destroy(c);
    rpc_server_stop(s, 1000);
}

static void poke(int port, const void *data, size_t len)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    (void)send(fd, data, len, MSG_NOSIGNAL);
    (void)close(fd);
}

static void test_strangers(void **state)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    struct rpc_server *s = start();
    struct rpc_client *c = fixture_client(rpc_server_port(s), NULL);
    char noise[4096];
    srandom(1);
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (char)random();
    poke(rpc_server_port(s), "", 0);
    poke(rpc_server_port(s), "GET / HTTP/1.1\r\n\r\n", 18);
    poke(rpc_server_port(s), preface, sizeof(preface) - 1);
    poke(rpc_server_port(s), noise, sizeof(noise));
    for (size_t i = 0; i < 200; i++) { // a preface, then frames of noise
        memcpy(noise, preface, sizeof(preface) - 1);
        for (size_t j = sizeof(preface) - 1; j < 300; j++)
            noise[j] = (char)random();
        noise[24] = noise[25] = 0; // short frames get further
        poke(rpc_server_port(s), noise, 300);
    }
    assert_int_equal(fixture_call(c, "/t.T/Echo", "x", 1, 5000, NULL), RPC_OK);
    rpc_client_destroy(c);
    rpc_server_stop(s, 1000);
}

static void *answer_later(void *arg)
{
    (void)usleep(200 * 1000);
    reply_to_all();
    return NULL;
}

static void test_stop_waits_for_answers(void **state)
{
    struct caller caller[3];
    pthread_t thread;
    struct rpc_server *s = start();
    struct rpc_client *c = fixture_client(rpc_server_port(s), NULL);
    start_callers(caller, 3, c);
    wait_for_calls(3);
    assert_int_equal(pthread_create(&thread, NULL, answer_later, NULL), 0);
    long long began_ms = clock_mono_ms();
    rpc_server_stop(s, 20000);
    assert_true(clock_mono_ms() - began_ms < 10000);
    pthread_join(thread, NULL);
    for (size_t i = 0; i < 3; i++) {
        pthread_join(caller[i].thread, NULL);
        assert_int_equal(caller[i].status, RPC_OK);
        assert_true(caller[i].answered);
    }
    rpc_client_destroy(c);
}

static void test_stop_does_not_wait_for_ever(void **state)
{
    struct caller caller[3];
    struct rpc_server *s = start();
    struct rpc_client *c = fixture_client(rpc_server_port(s), NULL);
    start_callers(caller, 3, c);
    wait_for_calls(3);
    long long began_ms = clock_mono_ms();
    rpc_server_stop(s, 100);
    assert_true(clock_mono_ms() - began_ms < 5000 * fixture_slow());
    for (size_t i = 0; i < 3; i++) {
        pthread_join(caller[i].thread, NULL);
        assert_int_not_equal(caller[i].status, RPC_OK);
    }
    reply_to_all(); // the server is gone: must be harmless, and free them
    rpc_client_destroy(c);
}

static void test_restart(void **state)
{
    struct rpc_server *s = start();
    char address[64];
    (void)snprintf(address, sizeof(address), "127.0.0.1:%d", rpc_server_port(s));
    struct rpc_client *c = fixture_client(rpc_server_port(s), NULL);
    assert_int_equal(fixture_call(c, "/t.T/Echo", "x", 1, 5000, NULL), RPC_OK);
    rpc_server_stop(s, 1000);
    assert_int_equal(fixture_call(c, "/t.T/Echo", "x", 1, 5000, NULL), RPC_UNAVAILABLE);

    struct rpc_server_options o = options_for(address);
    struct rpc_answer a = {0};
    s = start_with(&o);
    assert_int_equal(
        rpc_client_call(c, "/t.T/Echo", "x", 1, true, clock_mono_ms() + 20000, &a, NULL), 0);
    assert_int_equal(a.status, RPC_OK);
    free(a.data);
    rpc_client_destroy(c);
    rpc_server_stop(s, 1000);
}

static void test_status_errors(void **state)
{
    assert_int_equal(rpc_status_error(0), 0);
    assert_int_equal(rpc_status_error(RPC_INVALID_ARGUMENT), ERR_INVALID);
    assert_int_equal(rpc_status_error(RPC_NOT_FOUND), ERR_NOTFOUND);
    assert_int_equal(err_class_of(rpc_status_error(RPC_UNAVAILABLE)), ERR_CLASS_TRANSIENT);
    assert_int_equal(err_class_of(rpc_status_error(RPC_DEADLINE_EXCEEDED)), ERR_CLASS_UNKNOWN);
    assert_int_equal(err_class_of(rpc_status_error(RPC_RESOURCE_EXHAUSTED)), ERR_CLASS_TRANSIENT);
    for (int i = 1; i < 20; i++)
        assert_true(rpc_status_error(i) < 0);
    assert_int_equal(rpc_status_error(-1), ERR_OUTCOME_UNKNOWN);
}

static int set_up(void **state)
{
    (void)setenv("http_proxy", "http://127.0.0.1:1", 1); // must not be used
    fixture_tls_new(&tls_files);
    return 0;
}

static int tear_down(void **state)
{
    fixture_tls_remove(&tls_files);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_unix_socket),
        cmocka_unit_test(test_all_interfaces),
        cmocka_unit_test(test_statuses_and_texts),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_deadline_and_late_answer),
        cmocka_unit_test(test_bad_targets),
        cmocka_unit_test(test_host_like_scheme),
        cmocka_unit_test(test_bad_listen_addresses),
        cmocka_unit_test(test_address_in_use),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_tls_names),
        cmocka_unit_test(test_tls_to_plain),
        cmocka_unit_test(test_client_bad_ca),
        cmocka_unit_test(test_server_bad_certificates),
        cmocka_unit_test(test_server_new_certificate),
        cmocka_unit_test(test_server_open_key),
        cmocka_unit_test(test_thousand_calls_at_once),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_stop_waits_for_answers),
        cmocka_unit_test(test_stop_does_not_wait_for_ever),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_status_errors),
    };
    return cmocka_run_group_tests_name("rpc", tests, set_up, tear_down);
}
