/* SPDX-License-Identifier: GPL-3.0-or-later */
/* agent/server: JobAPI of both generations, SshAPI, Health. */
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

#include "agent/server/server.h"
#include "agent/util/clock.h"
#include "proto/health.pb-c.h"
#include "proto/rpc_status.h"
#include "proto/supervisor.pb-c.h"
#include "tests/unit/rpc_fixture.h"

#define DIGITS "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define UPPER  "00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF"

#define SET_STATUS "/supervisor.v1alpha1.JobAPI/SetJobStatus"
#define JOB_START  "/supervisor.v1alpha1.JobAPI/SendJobStart"
#define JOB_RESULT "/supervisor.v1alpha1.JobAPI/SendJobResult"
#define JOB_FAIL   "/supervisor.v1alpha1.JobAPI/SendJobFail"
#define FETCH_KEYS "/supervisor.v1alpha1.SshAPI/FetchAuthorizedKeys"
#define CHECK      "/grpc.health.v1.Health/Check"

enum { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };

/* What the engine would be. */
struct engine {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool hold; // keep the calls
    struct server_call *calls[2048];
    size_t count;
    unsigned int events;
    struct server_job_event last;
    int code; // the answer
    const char *text;
};

static struct engine engine = {.lock = PTHREAD_MUTEX_INITIALIZER,
                               .changed = PTHREAD_COND_INITIALIZER};
static struct server *server;
static struct rpc_client *client;

static void on_event(void *ctx, struct server_call *call, const struct server_job_event *event)
{
    struct engine *e = ctx;
    pthread_mutex_lock(&e->lock);
    e->events++;
    e->last = *event;
    bool hold = e->hold;
    int code = e->code;
    const char *text = e->text;
    if (hold) e->calls[e->count++] = call;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    if (!hold) server_reply(call, code, text);
}

static void wait_held(size_t n)
{
    pthread_mutex_lock(&engine.lock);
    while (engine.count < n)
        pthread_cond_wait(&engine.changed, &engine.lock);
    pthread_mutex_unlock(&engine.lock);
}

static struct server *start_server(const char *keys)
{
    struct error err = {0};
    struct server_options o = {.listen_address = "127.0.0.1:0", .authorized_keys = keys};
    struct server_ops ops = {.job_event = on_event};
    struct server *s = server_start(&o, &ops, &engine, &err);
    if (!s) fail_msg("%s", err.text);
    return s;
}

static int set_up(void **state)
{
    engine.hold = false;
    engine.count = 0;
    engine.events = 0;
    engine.code = 0;
    engine.text = NULL;
    memset(&engine.last, 0xee, sizeof(engine.last));
    server = start_server("ssh-ed25519 AAAA agent\n");
    client = fixture_client(server_port(server), NULL);
    return 0;
}

static int tear_down(void **state)
{
    client = rpc_client_destroy(client);
    server = server_stop(server, 1000);
    return 0;
}

/* That a call comes before its answer is not seen by the thread sanitizer: a lock tells it. */
static void in_turn(void)
{
    pthread_mutex_lock(&engine.lock);
    pthread_mutex_unlock(&engine.lock);
}

static int call_for(const char *method, const void *data, size_t len, struct rpc_answer *a)
{
    in_turn();
    int status = fixture_call(client, method, data, len, 10000 * fixture_slow(), a);
    in_turn();
    return status;
}

static int call(const char *method, const void *data, size_t len)
{
    return call_for(method, data, len, NULL);
}

/* Pack and call. */
static int set_status(const Supervisor__V1alpha1__SetJobStatusRequest *r, struct rpc_answer *a)
{
    uint8_t data[1024];
    assert_true(supervisor__v1alpha1__set_job_status_request__get_packed_size(r) < sizeof(data));
    size_t len = supervisor__v1alpha1__set_job_status_request__pack(r, data);
    return call_for(SET_STATUS, data, len, a);
}

static int set_status_of(const char *name, int status, struct rpc_answer *a)
{
    Supervisor__V1alpha1__SetJobStatusRequest r =
        SUPERVISOR__V1ALPHA1__SET_JOB_STATUS_REQUEST__INIT;
    r.name = (char *)name;
    r.status = (Supervisor__V1alpha1__JobStatus)status;
    return set_status(&r, a);
}

/* ---- JobAPI ---- */

static void test_set_job_status(void **state)
{
    Supervisor__V1alpha1__SetJobStatusRequest r =
        SUPERVISOR__V1ALPHA1__SET_JOB_STATUS_REQUEST__INIT;
    struct rpc_answer a;
    r.name = (char *)"0x" DIGITS;
    r.id = UINT64_MAX;
    r.duration = 61;
    r.status = SUPERVISOR__V1ALPHA1__JOB_STATUS__JOB_STATUS_FAILED;
    r.exit_code = INT64_MIN;
    assert_int_equal(set_status(&r, &a), RPC_OK);
    assert_int_equal(a.len, 0);
    free(a.data);
    assert_int_equal(engine.events, 1);
    assert_string_equal(engine.last.job, "0x" DIGITS);
    assert_true(engine.last.slurm_id == UINT64_MAX);
    assert_int_equal(engine.last.duration_s, 61);
    assert_int_equal(engine.last.status, SERVER_JOB_FAILED);
    assert_true(engine.last.exit_code == INT64_MIN);
    assert_false(engine.last.has_record);
    assert_string_equal(engine.last.cluster, "");
}

static void test_record(void **state)
{
    Supervisor__V1alpha1__SlurmRecord record = SUPERVISOR__V1ALPHA1__SLURM_RECORD__INIT;
    Supervisor__V1alpha1__SetJobStatusRequest r =
        SUPERVISOR__V1ALPHA1__SET_JOB_STATUS_REQUEST__INIT;
    r.name = (char *)DIGITS;
    r.status = SUPERVISOR__V1ALPHA1__JOB_STATUS__JOB_STATUS_FINISHED;
    r.record = &record;
    record.state = 3;
    record.wait_status = 256;
    record.restart_count = 2;
    record.submit_time = 1700000000;
    record.start_time = 1700000001;
    record.end_time = 1700000002;
    record.user_id = 1234;
    record.cluster = (char *)"cluster-1";
    assert_int_equal(set_status(&r, NULL), RPC_OK);
    assert_true(engine.last.has_record);
    assert_int_equal(engine.last.slurm_state, 3);
    assert_int_equal(engine.last.wait_status, 256);
    assert_int_equal(engine.last.restart_count, 2);
    assert_int_equal(engine.last.submit_s, 1700000000);
    assert_int_equal(engine.last.start_s, 1700000001);
    assert_int_equal(engine.last.end_s, 1700000002);
    assert_int_equal(engine.last.user_id, 1234);
    assert_string_equal(engine.last.cluster, "cluster-1");

    char name[65];
    memset(name, 'c', 64);
    name[64] = '\0';
    record.cluster = name;
    assert_int_equal(set_status(&r, NULL), RPC_INVALID_ARGUMENT);
    name[63] = '\0';
    assert_int_equal(set_status(&r, NULL), RPC_OK);
    name[5] = '\n';
    assert_int_equal(set_status(&r, NULL), RPC_INVALID_ARGUMENT);
    assert_int_equal(engine.events, 2);
}

static void test_names(void **state)
{
    const char *good[] = {"0x" DIGITS, DIGITS, UPPER, "0x" UPPER};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(set_status_of(good[i], SERVER_JOB_RUNNING, NULL), RPC_OK);
        assert_string_equal(engine.last.job, "0x" DIGITS);
    }
    const char *bad[] = {"",
                         "0x",
                         "job",
                         "0x" DIGITS "0",
                         DIGITS "00",
                         "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeef",
                         "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeefg",
                         " 0x" DIGITS,
                         "0x0x" DIGITS,
                         "0x\xc3\xa4",
                         "0x" DIGITS "\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct rpc_answer a;
        assert_int_equal(set_status_of(bad[i], SERVER_JOB_RUNNING, &a), RPC_INVALID_ARGUMENT);
        assert_non_null(strstr(a.message, "64 hexadecimal digits"));
    }
    assert_int_equal(engine.events, 4);
}

/* From a node: a start by Slurm's id alone. An end has to say whose it is. */
static void test_start_without_name(void **state)
{
    Supervisor__V1alpha1__SlurmRecord record = SUPERVISOR__V1ALPHA1__SLURM_RECORD__INIT;
    Supervisor__V1alpha1__SetJobStatusRequest r =
        SUPERVISOR__V1ALPHA1__SET_JOB_STATUS_REQUEST__INIT;
    r.status = SUPERVISOR__V1ALPHA1__JOB_STATUS__JOB_STATUS_RUNNING;
    r.record = &record;
    r.id = 42;
    assert_int_equal(set_status(&r, NULL), RPC_OK);
    assert_string_equal(engine.last.job, "");
    assert_int_equal(engine.last.slurm_id, 42);
    assert_int_equal(engine.last.status, SERVER_JOB_RUNNING);

    r.id = 0;
    assert_int_equal(set_status(&r, NULL), RPC_INVALID_ARGUMENT);
    r.id = 42;
    r.name = (char *)"0x12";
    assert_int_equal(set_status(&r, NULL), RPC_INVALID_ARGUMENT);
    r.name = (char *)"";
    r.status = SUPERVISOR__V1ALPHA1__JOB_STATUS__JOB_STATUS_FINISHED;
    assert_int_equal(set_status(&r, NULL), RPC_INVALID_ARGUMENT);
    assert_int_equal(engine.events, 1);
}

static void test_bad_statuses(void **state)
{
    const int bad[] = {0, 11, -1, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct rpc_answer a;
        assert_int_equal(set_status_of(DIGITS, bad[i], &a), RPC_INVALID_ARGUMENT);
        assert_non_null(strstr(a.message, "status"));
    }
    assert_int_equal(engine.events, 0);
    assert_int_equal(set_status_of(DIGITS, SERVER_JOB_PANICKED, NULL), RPC_OK);
}

static void test_october_2022(void **state)
{
    uint8_t data[256];
    Supervisor__V1alpha1__SendJobStartRequest start =
        SUPERVISOR__V1ALPHA1__SEND_JOB_START_REQUEST__INIT;
    start.job_name = (char *)"0x" DIGITS;
    start.job_id = 17;
    size_t n = supervisor__v1alpha1__send_job_start_request__pack(&start, data);
    assert_int_equal(call(JOB_START, data, n), RPC_OK);
    assert_string_equal(engine.last.job, "0x" DIGITS);
    assert_int_equal(engine.last.slurm_id, 17);
    assert_int_equal(engine.last.status, SERVER_JOB_RUNNING);
    assert_false(engine.last.has_record);

    Supervisor__V1alpha1__SendJobResultRequest result =
        SUPERVISOR__V1ALPHA1__SEND_JOB_RESULT_REQUEST__INIT;
    result.job_name = (char *)"0x" DIGITS;
    result.job_id = 18;
    result.job_duration = 3600;
    n = supervisor__v1alpha1__send_job_result_request__pack(&result, data);
    assert_int_equal(call(JOB_RESULT, data, n), RPC_OK);
    assert_int_equal(engine.last.slurm_id, 18);
    assert_int_equal(engine.last.status, SERVER_JOB_FINISHED);
    assert_int_equal(engine.last.duration_s, 3600);
    assert_int_equal(engine.last.exit_code, 0);

    Supervisor__V1alpha1__SendJobFailRequest failed =
        SUPERVISOR__V1ALPHA1__SEND_JOB_FAIL_REQUEST__INIT;
    failed.job_name = (char *)DIGITS;
    failed.job_id = 19;
    n = supervisor__v1alpha1__send_job_fail_request__pack(&failed, data);
    assert_int_equal(call(JOB_FAIL, data, n), RPC_OK);
    assert_int_equal(engine.last.slurm_id, 19);
    assert_int_equal(engine.last.status, SERVER_JOB_FAILED);

    failed.job_name = (char *)"nobody";
    n = supervisor__v1alpha1__send_job_fail_request__pack(&failed, data);
    assert_int_equal(call(JOB_FAIL, data, n), RPC_INVALID_ARGUMENT);
    assert_int_equal(call(JOB_START, data, n), RPC_INVALID_ARGUMENT);
    assert_int_equal(call(JOB_RESULT, data, n), RPC_INVALID_ARGUMENT);
    assert_int_equal(engine.events, 3);
}

static void test_answers(void **state)
{
    const struct {
        int code, status;
        const char *text, *expected;
    } cases[] = {
        {0, RPC_OK, "ignored", ""},
        {1, RPC_OK, NULL, ""},
        {ERR_INVALID, RPC_INVALID_ARGUMENT, "bad", "bad"},
        {ERR_NOTFOUND, RPC_NOT_FOUND, "no such job", "no such job"},
        {ERR_NOTFOUND, RPC_NOT_FOUND, NULL, "not found"},
        {ERR_NOTFOUND, RPC_NOT_FOUND, "", "not found"},
        {ERR_DENIED, RPC_PERMISSION_DENIED, "not yours", "not yours"},
        {ERR_BUSY, RPC_ABORTED, "full", "full"},
        {ERR_UNAVAILABLE, RPC_UNAVAILABLE, "x", "x"},
        {ERR_STOPPED, RPC_UNAVAILABLE, "x", "x"},
        {ERR_LIMIT, RPC_RESOURCE_EXHAUSTED, "x", "x"},
        {ERR_IO, RPC_INTERNAL, "disk", "disk"},
        {-77, RPC_INTERNAL, "x", "x"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rpc_answer a;
        engine.code = cases[i].code;
        engine.text = cases[i].text;
        assert_int_equal(set_status_of(DIGITS, SERVER_JOB_RUNNING, &a), cases[i].status);
        assert_string_equal(a.message, cases[i].expected);
        free(a.data);
    }
}

/* ---- what must not crash ---- */

static const char *const all_methods[] = {
    SET_STATUS, JOB_START, JOB_RESULT, JOB_FAIL, FETCH_KEYS, CHECK};

static void test_malformed(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        {"\xff", 1},                     // half a tag
        {"\x0a\x05\x30", 3},             // a string that ends early
        {"\x0a\xff\xff\xff\xff\x0f", 6}, // of 4 GiB
        {"\x07", 1},                     // wire type 7
        {"\x00\x00", 2},                 // field 0
    };
    for (size_t m = 0; m < sizeof(all_methods) / sizeof(all_methods[0]); m++)
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
            struct rpc_answer a;
            int status = call_for(all_methods[m], bad[i].bytes, bad[i].len, &a);
            if (status != RPC_INVALID_ARGUMENT || a.message[0] == '\0')
                fail_msg("%s, %zu: %d %s", all_methods[m], i, status, a.message);
        }
    assert_int_equal(engine.events, 0);
    assert_int_equal(set_status_of(DIGITS, SERVER_JOB_RUNNING, NULL), RPC_OK);
}

/* Random changes of a good message: any answer will do, but there must be one. */
static void test_mutated(void **state)
{
    Supervisor__V1alpha1__SlurmRecord record = SUPERVISOR__V1ALPHA1__SLURM_RECORD__INIT;
    Supervisor__V1alpha1__SetJobStatusRequest r =
        SUPERVISOR__V1ALPHA1__SET_JOB_STATUS_REQUEST__INIT;
    uint8_t good[256], bad[256];
    r.name = (char *)"0x" DIGITS;
    r.status = SUPERVISOR__V1ALPHA1__JOB_STATUS__JOB_STATUS_FINISHED;
    r.record = &record;
    record.cluster = (char *)"c";
    record.end_time = -1;
    size_t len = supervisor__v1alpha1__set_job_status_request__pack(&r, good);
    srandom(7);
    long long rounds = 3000 / fixture_slow();
    for (long long i = 0; i < rounds; i++) {
        memcpy(bad, good, len);
        for (long n = random() % 6; n >= 0; n--)
            bad[(size_t)random() % len] = (uint8_t)random();
        int status = call(all_methods[i % 6], bad, (size_t)random() % (len + 1));
        assert_true(status == RPC_OK || status == RPC_INVALID_ARGUMENT || status == RPC_NOT_FOUND);
    }
}

static void test_oversized(void **state)
{
    static uint8_t data[1024 * 1024];
    assert_int_equal(call(SET_STATUS, data, sizeof(data)), RPC_RESOURCE_EXHAUSTED);
    assert_int_equal(call(SET_STATUS, data, 64 * 1024 + 1), RPC_RESOURCE_EXHAUSTED);
    assert_int_equal(call(SET_STATUS, data, 64 * 1024), RPC_INVALID_ARGUMENT);
    assert_int_equal(set_status_of(DIGITS, SERVER_JOB_RUNNING, NULL), RPC_OK);
}

static void test_unknown_methods(void **state)
{
    assert_int_equal(call("/supervisor.v1alpha1.JobAPI/Nothing", "", 0), RPC_UNIMPLEMENTED);
    assert_int_equal(call("/x", "", 0), RPC_UNIMPLEMENTED);
}

static void test_client_gone(void **state)
{
    Supervisor__V1alpha1__SetJobStatusRequest r =
        SUPERVISOR__V1ALPHA1__SET_JOB_STATUS_REQUEST__INIT;
    uint8_t data[256];
    r.name = (char *)DIGITS;
    r.status = SUPERVISOR__V1ALPHA1__JOB_STATUS__JOB_STATUS_RUNNING;
    size_t len = supervisor__v1alpha1__set_job_status_request__pack(&r, data);
    engine.hold = true;
    long long timeout_ms = 200 * fixture_slow();
    assert_int_equal(fixture_call(client, SET_STATUS, data, len, timeout_ms, NULL),
                     RPC_DEADLINE_EXCEEDED);
    wait_held(1);
    client = rpc_client_destroy(client); // the connection too
    server_reply(engine.calls[0], 0, NULL);
    engine.hold = false;
    client = fixture_client(server_port(server), NULL);
    assert_int_equal(set_status_of(DIGITS, SERVER_JOB_RUNNING, NULL), RPC_OK);
}

static void *call_and_check(void *arg)
{
    _Atomic int *status = arg;
    Supervisor__V1alpha1__SendJobStartRequest r =
        SUPERVISOR__V1ALPHA1__SEND_JOB_START_REQUEST__INIT;
    uint8_t data[256];
    r.job_name = (char *)DIGITS;
    size_t len = supervisor__v1alpha1__send_job_start_request__pack(&r, data);
    *status = fixture_call(client, JOB_START, data, len, 120000, NULL);
    return NULL;
}

static void test_thousand_wait_for_one_commit(void **state)
{
    static pthread_t threads[1000];
    static _Atomic int statuses[1000];
    const size_t n = fixture_slow() > 10 ? 50 : 1000;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 * 1024);
    engine.hold = true;
    for (size_t i = 0; i < n; i++) {
        statuses[i] = -1;
        assert_int_equal(pthread_create(&threads[i], &attr, call_and_check, &statuses[i]), 0);
    }
    pthread_attr_destroy(&attr);
    wait_held(n);
    assert_int_equal(statuses[0], -1); // nobody is answered before
    for (size_t i = 0; i < n; i++)
        server_reply(engine.calls[i], i % 2 ? ERR_NOTFOUND : 0, "no such job");
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        assert_true(statuses[i] == RPC_OK || statuses[i] == RPC_NOT_FOUND);
        found += statuses[i] == RPC_OK;
    }
    assert_int_equal(found, n / 2);
}

/* ---- SshAPI ---- */

static void test_authorized_keys(void **state)
{
    struct rpc_answer a;
    assert_int_equal(fixture_call(client, FETCH_KEYS, "", 0, 10000 * fixture_slow(), &a), RPC_OK);
    Supervisor__V1alpha1__FetchAuthorizedKeysResponse *r =
        supervisor__v1alpha1__fetch_authorized_keys_response__unpack(NULL, a.len, a.data);
    assert_non_null(r);
    assert_string_equal(r->authorized_keys, "ssh-ed25519 AAAA agent\n");
    supervisor__v1alpha1__fetch_authorized_keys_response__free_unpacked(r, NULL);
    free(a.data);
}

static void test_no_authorized_keys(void **state)
{
    const char *none[] = {"", NULL};
    for (size_t i = 0; i < 2; i++) {
        struct server *s = start_server(none[i]);
        struct rpc_client *c = fixture_client(server_port(s), NULL);
        assert_int_equal(fixture_call(c, FETCH_KEYS, "", 0, 10000 * fixture_slow(), NULL),
                         RPC_NOT_FOUND);
        rpc_client_destroy(c);
        server_stop(s, 1000);
    }
}

/* ---- Health ---- */

/* The serving status, or minus the gRPC status. */
static int check(const char *service)
{
    Grpc__Health__V1__HealthCheckRequest r = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    struct rpc_answer a;
    uint8_t data[256];
    r.service = (char *)service;
    size_t len = grpc__health__v1__health_check_request__pack(&r, data);
    int status = fixture_call(client, CHECK, data, len, 10000 * fixture_slow(), &a);
    if (status != RPC_OK) return -status;
    Grpc__Health__V1__HealthCheckResponse *answer =
        grpc__health__v1__health_check_response__unpack(NULL, a.len, a.data);
    assert_non_null(answer);
    int serving = (int)answer->status;
    grpc__health__v1__health_check_response__free_unpacked(answer, NULL);
    free(a.data);
    return serving;
}

static void test_health_check(void **state)
{
    assert_int_equal(check(""), NOT_SERVING);
    server_set_serving(server, true);
    assert_int_equal(check(""), SERVING);
    assert_int_equal(check("supervisor.v1alpha1.JobAPI"), SERVING);
    assert_int_equal(check("supervisor.v1alpha1.SshAPI"), SERVING);
    assert_int_equal(check("supervisor.v1alpha1.Else"), -RPC_NOT_FOUND);
    server_set_serving(server, false);
    assert_int_equal(check("supervisor.v1alpha1.JobAPI"), NOT_SERVING);
}

static void test_health_watch(void **state)
{
    const long long soon_ms = 10000 * fixture_slow();
    struct fixture_watch *all = fixture_watch_open(server_port(server), "");
    struct fixture_watch *job =
        fixture_watch_open(server_port(server), "supervisor.v1alpha1.JobAPI");
    struct fixture_watch *none = fixture_watch_open(server_port(server), "none");
    assert_int_equal(fixture_watch_next(all, soon_ms), NOT_SERVING);
    assert_int_equal(fixture_watch_next(job, soon_ms), NOT_SERVING);
    assert_int_equal(fixture_watch_next(none, soon_ms), SERVICE_UNKNOWN);

    server_set_serving(server, true);
    server_set_serving(server, true); // no change, no message
    assert_int_equal(fixture_watch_next(all, soon_ms), SERVING);
    assert_int_equal(fixture_watch_next(job, soon_ms), SERVING);
    fixture_watch_close(job); // goes away
    server_set_serving(server, false);
    assert_int_equal(fixture_watch_next(all, soon_ms), NOT_SERVING);
    server_set_serving(server, true);
    assert_int_equal(fixture_watch_next(all, soon_ms), SERVING);
    assert_int_equal(fixture_watch_next(all, 100), -2);
    assert_int_equal(fixture_watch_next(none, 100), -2);

    // Stop: told, then ended, and nobody holds it up.
    long long began_ms = clock_mono_ms();
    client = rpc_client_destroy(client);
    server = server_stop(server, 30000);
    assert_true(clock_mono_ms() - began_ms < 15000);
    assert_int_equal(fixture_watch_next(all, soon_ms), NOT_SERVING);
    assert_int_equal(fixture_watch_next(all, soon_ms), -1);
    assert_int_equal(fixture_watch_status(all), RPC_UNAVAILABLE);
    assert_int_equal(fixture_watch_status(none), RPC_UNAVAILABLE);
    fixture_watch_close(all);
    fixture_watch_close(none);
}

/* A watcher that does not read gets the newest state, not all of them. */
static void test_health_slow_watcher(void **state)
{
    struct fixture_watch *w = fixture_watch_open(server_port(server), "");
    assert_int_equal(fixture_watch_next(w, 10000 * fixture_slow()), NOT_SERVING);
    for (int i = 0; i < 20001; i++)
        server_set_serving(server, i % 2 == 0);
    int seen, last = -2;
    while ((seen = fixture_watch_next(w, 1000 * fixture_slow())) != -2)
        last = seen;
    assert_int_equal(last, SERVING);
    fixture_watch_close(w);
}

static void test_health_too_many_watchers(void **state)
{
    struct fixture_watch *w[257];
    for (size_t i = 0; i < 257; i++) {
        w[i] = fixture_watch_open(server_port(server), "");
        int first = fixture_watch_next(w[i], 10000 * fixture_slow());
        assert_int_equal(first, i < 256 ? NOT_SERVING : -1);
    }
    assert_int_equal(fixture_watch_status(w[256]), RPC_RESOURCE_EXHAUSTED);
    for (size_t i = 0; i < 257; i++)
        fixture_watch_close(w[i]);
    struct fixture_watch *again = NULL; // room again, once the server saw them go
    for (int i = 0; i < 100; i++) {
        again = fixture_watch_open(server_port(server), "");
        if (fixture_watch_next(again, 10000) == NOT_SERVING) break;
        fixture_watch_close(again);
        again = NULL;
        (void)usleep(20000);
    }
    assert_non_null(again);
    fixture_watch_close(again);
}

/* ---- stop ---- */

static void test_stop_with_calls_owed(void **state)
{
    pthread_t thread;
    _Atomic int status = -1;
    engine.hold = true;
    assert_int_equal(pthread_create(&thread, NULL, call_and_check, &status), 0);
    wait_held(1);
    server = server_stop(server, 50);
    pthread_join(thread, NULL);
    assert_int_not_equal(status, RPC_OK);
    server_reply(engine.calls[0], 0, NULL); // late, and harmless
}

static void test_stop_of_nothing(void **state)
{
    assert_null(server_stop(NULL, 1000));
    struct error err = {0};
    struct server_options o = {.listen_address = "nowhere", .authorized_keys = ""};
    struct server_ops ops = {.job_event = on_event};
    assert_null(server_start(&o, &ops, NULL, &err));
    assert_int_equal(err.code, ERR_INVALID);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_set_job_status),
        TEST(test_record),
        TEST(test_names),
        TEST(test_start_without_name),
        TEST(test_bad_statuses),
        TEST(test_october_2022),
        TEST(test_answers),
        TEST(test_malformed),
        TEST(test_mutated),
        TEST(test_oversized),
        TEST(test_unknown_methods),
        TEST(test_client_gone),
        TEST(test_thousand_wait_for_one_commit),
        TEST(test_authorized_keys),
        TEST(test_no_authorized_keys),
        TEST(test_health_check),
        TEST(test_health_watch),
        TEST(test_health_slow_watcher),
        TEST(test_health_too_many_watchers),
        TEST(test_stop_with_calls_owed),
        TEST(test_stop_of_nothing),
    };
    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
