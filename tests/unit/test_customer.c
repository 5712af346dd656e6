/* SPDX-License-Identifier: GPL-3.0-or-later */
/* agent/customer against a server that plays both generations of the customer API. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/customer/customer.h"
#include "agent/util/clock.h"
#include "proto/customer.pb-c.h"
#include "proto/rpc_server.h"
#include "proto/sbatchapi.pb-c.h"
#include "tests/unit/rpc_fixture.h"

#define JOB       "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define SCRIPT    "#!/bin/sh\n\xc3\xa4\xff\necho hello\n"
#define CHALLENGE "{\"message\":\"login\",\"nonce\":\"AAAAAAAAAAAAAAAAAAAAAA==\"}"

enum { MAX_SCRIPT = 100 * 1000 };

/* What the server does; set before each fetch. */
static struct {
    int status; // of the calls for a script, when fail_first runs out
    int challenge_status;
    int fail_status; // of the first calls of any kind
    int fail_first;  // how many
    bool mute;       // never answers
    const char *challenge;
    const uint8_t *body;
    size_t body_len;
    const char *logger_url;
    bool garbage; // answers with no message at all
    // What it saw.
    int challenges, sbatches, batches;
    bool request_ok;
} fake;

/* That a call comes before its answer is not seen by the thread sanitizer: a lock tells it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void in_turn(void)
{
    pthread_mutex_lock(&lock);
    pthread_mutex_unlock(&lock);
}

static struct rpc_call *muted[16];
static size_t muted_count;
static struct fixture_tls tls_files;
static struct rpc_server *server;
static uint8_t long_script[3 * MAX_SCRIPT];

static bool failed(struct rpc_call *call)
{
    if (fake.mute) {
        muted[muted_count++ % 16] = call;
        return true;
    }
    if (fake.fail_first <= 0) return false;
    fake.fail_first--;
    rpc_call_reply(call, (enum rpc_status)fake.fail_status, "for a while", NULL, 0);
    return true;
}

static void on_challenge_locked(struct rpc_call *call, const uint8_t *request, size_t len)
{
    Sbatchapi__V1alpha1__ChallengeResponse r = SBATCHAPI__V1ALPHA1__CHALLENGE_RESPONSE__INIT;
    static uint8_t data[16 * 1024];
    fake.challenges++;
    if (failed(call)) return;
    r.challenge.data = (uint8_t *)fake.challenge;
    r.challenge.len = strlen(fake.challenge);
    size_t n = sbatchapi__v1alpha1__challenge_response__pack(&r, data);
    rpc_call_reply(call, (enum rpc_status)fake.challenge_status, "challenged", data, n);
}

static bool right(const Sbatchapi__V1alpha1__GetSBatchRequest *r)
{
    return strcmp(r->batch_location_hash, "hash-1") == 0 && strcmp(r->job_id, JOB) == 0 &&
           r->challenge.len == strlen(fake.challenge) &&
           memcmp(r->challenge.data, fake.challenge, r->challenge.len) == 0 &&
           r->signed_challenge.len == 65 && r->signed_challenge.data[0] == 0x51 &&
           r->signed_challenge.data[64] == 1 && r->provider_address.len == 20 &&
           r->provider_address.data[19] == 0xaa && r->customer_address.len == 20 &&
           r->customer_address.data[19] == 0xbb;
}

static void reply_script(struct rpc_call *call, const void *data, size_t len)
{
    rpc_call_reply(call,
                   (enum rpc_status)fake.status,
                   "said the server",
                   fake.garbage ? "\xff\xff" : data,
                   fake.garbage ? 2 : len);
}

static void on_get_sbatch_locked(struct rpc_call *call, const uint8_t *request, size_t len)
{
    static uint8_t data[4 * MAX_SCRIPT];
    fake.sbatches++;
    if (failed(call)) return;
    Sbatchapi__V1alpha1__GetSBatchRequest *got =
        sbatchapi__v1alpha1__get_sbatch_request__unpack(NULL, len, request);
    fake.request_ok = got && right(got);
    sbatchapi__v1alpha1__get_sbatch_request__free_unpacked(got, NULL);

    Sbatchapi__V1alpha1__GetSBatchResponse r = SBATCHAPI__V1ALPHA1__GET_SBATCH_RESPONSE__INIT;
    r.sbatch = (ProtobufCBinaryData){fake.body_len, (uint8_t *)fake.body};
    r.grid_logger_url = (ProtobufCBinaryData){strlen(fake.logger_url), (uint8_t *)fake.logger_url};
    size_t n = sbatchapi__v1alpha1__get_sbatch_response__pack(&r, data);
    reply_script(call, data, n);
}

static void on_fetch_batch_locked(struct rpc_call *call, const uint8_t *request, size_t len)
{
    static uint8_t data[4 * MAX_SCRIPT];
    fake.batches++;
    if (failed(call)) return;
    Customer__V1alpha1__FetchJobBatchRequest *got =
        customer__v1alpha1__fetch_job_batch_request__unpack(NULL, len, request);
    fake.request_ok = got && strcmp(got->job_location_hash, "hash-1") == 0;
    customer__v1alpha1__fetch_job_batch_request__free_unpacked(got, NULL);

    Customer__V1alpha1__FetchJobBatchResponse r =
        CUSTOMER__V1ALPHA1__FETCH_JOB_BATCH_RESPONSE__INIT;
    r.body = (ProtobufCBinaryData){fake.body_len, (uint8_t *)fake.body};
    size_t n = customer__v1alpha1__fetch_job_batch_response__pack(&r, data);
    reply_script(call, data, n);
}

static void on_challenge(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len)
{
    pthread_mutex_lock(&lock);
    on_challenge_locked(call, request, len);
    pthread_mutex_unlock(&lock);
}

static void on_get_sbatch(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len)
{
    pthread_mutex_lock(&lock);
    on_get_sbatch_locked(call, request, len);
    pthread_mutex_unlock(&lock);
}

static void on_fetch_batch(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len)
{
    pthread_mutex_lock(&lock);
    on_fetch_batch_locked(call, request, len);
    pthread_mutex_unlock(&lock);
}

static const struct rpc_method both[] = {
    {.path = "/customer.v1alpha1.JobAPI/FetchJobBatch", .fn = on_fetch_batch},
    {.path = "/sbatchapi.v1alpha1.AuthAPI/Challenge", .fn = on_challenge},
    {.path = "/sbatchapi.v1alpha1.SBatchAPI/GetSBatch", .fn = on_get_sbatch},
};

static struct rpc_server *start(const char *address, size_t methods, bool tls)
{
    struct error err = {0};
    struct rpc_server_options o = {
        .listen_address = address,
        .tls = tls,
        .cert_file = tls_files.named,
        .key_file = tls_files.key,
        .methods = both,
        .method_count = methods,
        .max_request = 64 * 1024,
    };
    struct rpc_server *s = rpc_server_start(&o, &err);
    if (!s) fail_msg("%s", err.text);
    return s;
}

/* ---- the client ---- */

static int sign_result;

static int sign(void *ctx, const void *msg, size_t len, uint8_t signature[65], struct error *err)
{
    if (sign_result < 0) return error_set(err, sign_result, "no key");
    assert_string_equal(ctx, "the signer");
    assert_int_equal(len, strlen(fake.challenge));
    assert_memory_equal(msg, fake.challenge, len);
    memset(signature, 0x51, 64);
    signature[64] = 1;
    return 0;
}

static struct customer_options options_for(char endpoint[64], int port)
{
    struct customer_options o = {
        .endpoint = fixture_target(endpoint, port),
        .max_script_bytes = MAX_SCRIPT,
        .sign = sign,
        .sign_ctx = (void *)"the signer",
    };
    o.provider[19] = 0xaa;
    return o;
}

static int fetch_with(const struct customer_options *o,
                      long long timeout_ms,
                      struct customer_script *script,
                      struct error *err)
{
    struct customer *c = customer_new(o, err);
    if (!c) fail_msg("%s", err->text);
    struct customer_request r = {.job_id = JOB, .location_hash = "hash-1"};
    r.customer[19] = 0xbb;
    in_turn();
    int rc = customer_fetch(c, &r, clock_mono_ms() + timeout_ms * fixture_slow(), script, err);
    in_turn();
    customer_destroy(c);
    return rc;
}

static int fetch(enum customer_api api,
                 long long timeout_ms,
                 struct customer_script *script,
                 struct error *err)
{
    char endpoint[64];
    struct customer_options o = options_for(endpoint, rpc_server_port(server));
    o.api = api;
    memset(script, 0, sizeof(*script));
    memset(err, 0, sizeof(*err));
    return fetch_with(&o, timeout_ms, script, err);
}

static int set_up(void **state)
{
    memset(&fake, 0, sizeof(fake));
    fake.challenge = CHALLENGE;
    fake.body = (const uint8_t *)SCRIPT;
    fake.body_len = strlen(SCRIPT);
    fake.logger_url = "logger.example:443";
    sign_result = 0;
    muted_count = 0;
    server = start("127.0.0.1:0", 3, false);
    return 0;
}

static int tear_down(void **state)
{
    for (size_t i = 0; i < muted_count && i < 16; i++)
        rpc_call_reply(muted[i], RPC_OK, NULL, NULL, 0);
    server = rpc_server_stop(server, 1000);
    return 0;
}

/* ---- good fetches ---- */

static void expect_script(const struct customer_script *s, const char *logger_url)
{
    assert_int_equal(s->body.len, strlen(SCRIPT));
    assert_memory_equal(s->body.data, SCRIPT, s->body.len);
    assert_string_equal(s->logger_url, logger_url);
}

static void test_sbatch_api(void **state)
{
    const enum customer_api apis[] = {CUSTOMER_API_SBATCH, CUSTOMER_API_AUTO};
    for (int i = 0; i < 2; i++) {
        struct customer_script s;
        struct error err;
        assert_int_equal(fetch(apis[i], 10000, &s, &err), 0);
        expect_script(&s, "logger.example:443");
        assert_true(fake.request_ok);
        buf_free(&s.body);
    }
    assert_int_equal(fake.challenges, 2);
    assert_int_equal(fake.sbatches, 2);
    assert_int_equal(fake.batches, 0);
}

static void test_customer_api(void **state)
{
    struct customer_script s;
    struct error err;
    assert_int_equal(fetch(CUSTOMER_API_CUSTOMER, 10000, &s, &err), 0);
    expect_script(&s, "");
    assert_true(fake.request_ok);
    assert_int_equal(fake.challenges, 0);
    buf_free(&s.body);
}

static void test_auto_finds_the_older(void **state)
{
    struct customer_script s;
    struct error err;
    rpc_server_stop(server, 0);
    server = start("127.0.0.1:0", 1, false); // the first method only
    assert_int_equal(fetch(CUSTOMER_API_AUTO, 10000, &s, &err), 0);
    expect_script(&s, "");
    assert_int_equal(fake.batches, 1);
    buf_free(&s.body);

    assert_int_equal(fetch(CUSTOMER_API_SBATCH, 10000, &s, &err), ERR_UNAVAILABLE);
    assert_int_equal(err_class_of(err.code), ERR_CLASS_TRANSIENT);
}

static void test_neither_api(void **state)
{
    struct customer_script s;
    struct error err;
    rpc_server_stop(server, 0);
    server = start("127.0.0.1:0", 0, false);
    assert_int_equal(fetch(CUSTOMER_API_AUTO, 10000, &s, &err), ERR_UNAVAILABLE);
    assert_int_equal(fetch(CUSTOMER_API_CUSTOMER, 10000, &s, &err), ERR_UNAVAILABLE);
}

static void test_size_limit(void **state)
{
    memset(long_script, 'a', sizeof(long_script));
    fake.body = long_script;
    const struct {
        size_t len;
        int rc;
    } cases[] = {
        {1, 0},
        {MAX_SCRIPT, 0},
        {MAX_SCRIPT + 1, ERR_LIMIT},
        {2 * MAX_SCRIPT, ERR_LIMIT},
        {3 * MAX_SCRIPT, ERR_LIMIT}, // gRPC refuses it
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int api = CUSTOMER_API_SBATCH; api <= CUSTOMER_API_CUSTOMER; api++) {
            struct customer_script s;
            struct error err;
            fake.body_len = cases[i].len;
            assert_int_equal(fetch((enum customer_api)api, 10000, &s, &err), cases[i].rc);
            if (cases[i].rc == 0) assert_int_equal(s.body.len, cases[i].len);
            if (cases[i].rc < 0) assert_non_null(strstr(err.text, "limit of 100000 bytes"));
            buf_free(&s.body);
        }
}

/* ---- verdicts ---- */

static void expect_verdict(int code, const char *text)
{
    for (int api = CUSTOMER_API_AUTO; api <= CUSTOMER_API_CUSTOMER; api++) {
        struct customer_script s;
        struct error err;
        assert_int_equal(fetch((enum customer_api)api, 10000, &s, &err), code);
        assert_int_equal(err.code, code);
        assert_int_equal(err_class_of(code), ERR_CLASS_PERMANENT);
        assert_string_equal(err.text, text);
        assert_null(s.body.data);
    }
}

static void test_not_found(void **state)
{
    fake.status = RPC_NOT_FOUND;
    expect_verdict(ERR_NOTFOUND, "the job's script was not found: said the server");
    assert_int_equal(fake.sbatches, 2); // asked once a fetch
    assert_int_equal(fake.batches, 1);
}

static void test_empty(void **state)
{
    fake.body_len = 0;
    expect_verdict(ERR_INVALID, "the job's script is empty");
}

static void test_nul(void **state)
{
    fake.body = (const uint8_t *)"#!/bin/sh\n\0rm -rf ~\n";
    fake.body_len = 20;
    expect_verdict(ERR_INVALID, "the job's script holds a NUL byte");
    fake.body_len = 11; // at the end
    expect_verdict(ERR_INVALID, "the job's script holds a NUL byte");
}

/* ---- no verdicts ---- */

static void test_other_statuses(void **state)
{
    const int statuses[] = {RPC_INVALID_ARGUMENT,
                            RPC_PERMISSION_DENIED,
                            RPC_RESOURCE_EXHAUSTED,
                            RPC_UNIMPLEMENTED,
                            RPC_INTERNAL,
                            RPC_UNAUTHENTICATED};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        for (int api = CUSTOMER_API_AUTO; api <= CUSTOMER_API_CUSTOMER; api++) {
            struct customer_script s;
            struct error err;
            fake.status = statuses[i];
            int rc = fetch((enum customer_api)api, 10000, &s, &err);
            assert_int_equal(err_class_of(rc), ERR_CLASS_TRANSIENT);
            assert_non_null(strstr(err.text, "said the server"));
        }
    assert_int_equal(fake.sbatches, 12); // not repeated here
}

static void test_challenge_refused(void **state)
{
    struct customer_script s;
    struct error err;
    fake.challenge_status = RPC_NOT_FOUND; // says nothing about the job
    assert_int_equal(fetch(CUSTOMER_API_AUTO, 10000, &s, &err), ERR_UNAVAILABLE);
    assert_int_equal(fake.batches, 0);
}

static void test_bad_challenges(void **state)
{
    static char big[5000];
    memset(big, ' ', sizeof(big) - 1);
    big[0] = '{';
    big[sizeof(big) - 2] = '}';
    const char *bad[] = {"", "{", "login", "read:0xaa/log/1", "[1]", big};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct customer_script s;
        struct error err;
        fake.challenge = bad[i];
        assert_int_equal(fetch(CUSTOMER_API_AUTO, 10000, &s, &err), ERR_PROTO);
    }
    assert_int_equal(fake.sbatches, 0);
    struct customer_script s;
    struct error err;
    fake.challenge = "{}\n";
    assert_int_equal(fetch(CUSTOMER_API_AUTO, 10000, &s, &err), 0);
    buf_free(&s.body);
}

static void test_malformed_answers(void **state)
{
    fake.garbage = true;
    for (int api = CUSTOMER_API_AUTO; api <= CUSTOMER_API_CUSTOMER; api++) {
        struct customer_script s;
        struct error err;
        assert_int_equal(fetch((enum customer_api)api, 10000, &s, &err), ERR_PROTO);
        assert_int_equal(err_class_of(ERR_PROTO), ERR_CLASS_TRANSIENT);
    }
}

static void test_no_signature(void **state)
{
    struct customer_script s;
    struct error err;
    sign_result = ERR_INVALID;
    assert_int_equal(fetch(CUSTOMER_API_SBATCH, 10000, &s, &err), ERR_UNAVAILABLE);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(err.text, "no key"));
}

static void test_logger_urls(void **state)
{
    static char big[300];
    memset(big, 'a', sizeof(big) - 1);
    memcpy(big + sizeof(big) - 5, ":443", 5);
    const char *bad[] = {
        "", "logger", "logger:", ":443", "a b:1", "logger:0", "h:99999", "x\n:1", big};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct customer_script s;
        struct error err;
        fake.logger_url = bad[i];
        assert_int_equal(fetch(CUSTOMER_API_SBATCH, 10000, &s, &err), 0);
        expect_script(&s, ""); // the job runs without
        buf_free(&s.body);
    }
}

/* ---- retries ---- */

static void test_unavailable_then_good(void **state)
{
    const int statuses[] = {RPC_UNAVAILABLE, RPC_DEADLINE_EXCEEDED};
    for (size_t i = 0; i < 2; i++) {
        struct customer_script s;
        struct error err;
        fake.fail_status = statuses[i];
        fake.fail_first = 3;
        assert_int_equal(fetch(CUSTOMER_API_AUTO, 20000, &s, &err), 0);
        expect_script(&s, "logger.example:443");
        assert_int_equal(fake.fail_first, 0);
        buf_free(&s.body);
        fake.fail_first = 3;
        assert_int_equal(fetch(CUSTOMER_API_CUSTOMER, 20000, &s, &err), 0);
        buf_free(&s.body);
    }
}

static void test_unavailable_until_deadline(void **state)
{
    struct customer_script s;
    struct error err;
    fake.fail_status = RPC_UNAVAILABLE;
    fake.fail_first = 1000;
    long long began_ms = clock_mono_ms();
    assert_int_equal(fetch(CUSTOMER_API_AUTO, 2000, &s, &err), ERR_UNAVAILABLE);
    assert_true(clock_mono_ms() - began_ms < 4000 * fixture_slow());
    assert_non_null(strstr(err.text, "for a while"));
    assert_true(1000 - fake.fail_first >= 3);
    assert_true(1000 - fake.fail_first <= 12 * fixture_slow()); // with backoff
}

static void test_silent_server(void **state)
{
    struct customer_script s;
    struct error err;
    fake.mute = true;
    long long began_ms = clock_mono_ms();
    assert_int_equal(fetch(CUSTOMER_API_AUTO, 500, &s, &err), ERR_UNAVAILABLE);
    assert_true(clock_mono_ms() - began_ms >= 490);
    assert_true(clock_mono_ms() - began_ms < 3000 * fixture_slow());
}

static void *start_late(void *arg)
{
    (void)usleep(700 * 1000);
    return start(arg, 3, false);
}

static void test_server_comes_up(void **state)
{
    char address[64];
    struct customer_script s;
    struct error err;
    pthread_t thread;
    void *late;
    int port = rpc_server_port(server);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%d", port);
    server = rpc_server_stop(server, 0);
    assert_int_equal(pthread_create(&thread, NULL, start_late, address), 0);

    char endpoint[64];
    struct customer_options o = options_for(endpoint, port);
    int rc = fetch_with(&o, 20000, &s, &err);
    pthread_join(thread, &late);
    server = late;
    assert_int_equal(rc, 0);
    expect_script(&s, "logger.example:443");
    buf_free(&s.body);
}

/* ---- TLS and options ---- */

static void test_tls(void **state)
{
    rpc_server_stop(server, 0);
    server = start("127.0.0.1:0", 3, true);
    const struct {
        struct customer_options o;
        int rc;
    } cases[] = {
        {{.tls = true, .ca_file = tls_files.ca, .host_override = "grid.example"}, 0},
        {{.tls = true, .ca_file = tls_files.ca}, ERR_UNAVAILABLE}, // the name is another
        {{.tls = true, .ca_file = tls_files.other_ca, .host_override = "grid.example"},
         ERR_UNAVAILABLE},
        {{.tls = true, .host_override = "grid.example"}, ERR_UNAVAILABLE}, // the system's roots
        {{.tls = true, .tls_insecure = true}, 0},
        {{.tls = true, .tls_insecure = true, .ca_file = "/nonexistent", .host_override = "x.y"}, 0},
        {{.tls = false, .ca_file = "/nonexistent"}, ERR_UNAVAILABLE}, // plain to a TLS port
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char endpoint[64];
        struct customer_script s = {0};
        struct error err = {0};
        struct customer_options o = options_for(endpoint, rpc_server_port(server));
        o.tls = cases[i].o.tls;
        o.tls_insecure = cases[i].o.tls_insecure;
        o.ca_file = cases[i].o.ca_file;
        o.host_override = cases[i].o.host_override;
        int rc = fetch_with(&o, cases[i].rc ? 600 : 20000, &s, &err);
        if (rc != cases[i].rc) fail_msg("%zu: %d %s", i, rc, err.text);
        buf_free(&s.body);
    }
}

static void test_bad_options(void **state)
{
    struct error err = {0};
    struct customer_options o = {.endpoint = "h:1", .max_script_bytes = 1, .sign = sign};
    o.endpoint = "h";
    assert_null(customer_new(&o, &err));
    assert_int_equal(err.code, ERR_INVALID);
    o.endpoint = "h:1";
    o.tls = true;
    o.ca_file = tls_files.garbage;
    assert_null(customer_new(&o, &err));
    assert_non_null(strstr(err.text, "garbage.pem"));
    o.tls = false;
    o.max_script_bytes = 0;
    assert_null(customer_new(&o, &err));
    o.max_script_bytes = SIZE_MAX;
    o.sign = NULL;
    assert_null(customer_new(&o, &err));
    o.sign = sign;
    struct customer *c = customer_new(&o, &err);
    assert_non_null(c);
    assert_null(customer_destroy(c));
    assert_null(customer_destroy(NULL));
}

static int group_set_up(void **state)
{
    fixture_tls_new(&tls_files);
    return 0;
}

static int group_tear_down(void **state)
{
    fixture_tls_remove(&tls_files);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sbatch_api),
        TEST(test_customer_api),
        TEST(test_auto_finds_the_older),
        TEST(test_neither_api),
        TEST(test_size_limit),
        TEST(test_not_found),
        TEST(test_empty),
        TEST(test_nul),
        TEST(test_other_statuses),
        TEST(test_challenge_refused),
        TEST(test_bad_challenges),
        TEST(test_malformed_answers),
        TEST(test_no_signature),
        TEST(test_logger_urls),
        TEST(test_unavailable_then_good),
        TEST(test_unavailable_until_deadline),
        TEST(test_silent_server),
        TEST(test_server_comes_up),
        TEST(test_tls),
        TEST(test_bad_options),
    };
    return cmocka_run_group_tests_name("customer", tests, group_set_up, group_tear_down);
}
