/* SPDX-License-Identifier: GPL-3.0-or-later */
/* proto/: client streaming. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/util/clock.h"
#include "proto/rpc_client.h"
#include "proto/rpc_server.h"
#include "tests/unit/rpc_fixture.h"
#include "tests/unit/rpc_sink.h"

#define METHOD "/t.T/Write"

enum { MIB = 1024 * 1024, LARGE = 50 };

static struct rpc_sink *sink;
static struct rpc_client *client;

/* More than fits into any window or socket on the way. */
static const uint8_t mib[MIB];
static struct rpc_message large[LARGE];

static int set_up(void **state)
{
    sink = rpc_sink_start(NULL, NULL);
    client = fixture_client(rpc_sink_port(sink), NULL);
    for (size_t i = 0; i < LARGE; i++)
        large[i] = (struct rpc_message){mib, MIB};
    return 0;
}

static int tear_down(void **state)
{
    client = rpc_client_destroy(client);
    sink = rpc_sink_stop(sink);
    return 0;
}

static void plan(const struct rpc_sink_plan *p)
{
    rpc_sink_plan(sink, p);
}

/* Must lead to a status; its answer's data is freed. */
static int stream(const struct rpc_message *messages,
                  size_t count,
                  long long timeout_ms,
                  struct rpc_answer *answer)
{
    struct error err = {0};
    long long deadline_ms = clock_mono_ms() + timeout_ms;
    memset(answer, 0, sizeof(*answer));
    if (rpc_client_stream(client, METHOD, messages, count, deadline_ms, answer, &err) < 0)
        fail_msg("%s", err.text);
    free(answer->data);
    return answer->status;
}

/* The same, well before its deadline of a minute. */
static int stream_soon(const struct rpc_message *messages, size_t count, struct rpc_answer *answer)
{
    long long began_ms = clock_mono_ms();
    int status = stream(messages, count, 60000 * fixture_slow(), answer);
    assert_true(clock_mono_ms() - began_ms < 20000 * fixture_slow());
    return status;
}

static void test_messages_arrive_in_order(void **state)
{
    static const size_t counts[] = {0, 1, 2, 3, 100};
    char text[100][16];
    struct rpc_message m[100];
    struct rpc_answer a;
    for (size_t i = 0; i < 100; i++) {
        (void)snprintf(text[i], sizeof(text[i]), "line %zu", i);
        m[i] = (struct rpc_message){text[i], strlen(text[i])};
    }
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        plan(&(struct rpc_sink_plan){.reads = SIZE_MAX, .answer = "thanks"});
        assert_int_equal(stream_soon(m, counts[i], &a), RPC_OK);
        assert_int_equal(a.len, 6);
        assert_string_equal(a.message, "said the server");
        const struct rpc_sink_seen *seen = rpc_sink_seen(sink);
        assert_string_equal(seen->method, METHOD);
        assert_int_equal(seen->calls, 1);
        assert_true(seen->to_the_end);
        assert_int_equal(seen->count, counts[i]);
        for (size_t j = 0; j < counts[i]; j++) {
            assert_int_equal(seen->messages[j].len, m[j].len);
            assert_memory_equal(seen->messages[j].data, text[j], m[j].len);
        }
    }
}

static void test_any_bytes(void **state)
{
    const struct rpc_message m[] = {{NULL, 0}, {"a\0\xff\n", 4}, {mib, 70000}, {"", 0}};
    struct rpc_answer a;
    assert_int_equal(stream_soon(m, 4, &a), RPC_OK);
    assert_int_equal(a.len, 0); // an empty answer is one
    const struct rpc_sink_seen *seen = rpc_sink_seen(sink);
    assert_int_equal(seen->count, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(seen->messages[i].len, m[i].len);
    assert_memory_equal(seen->messages[1].data, m[1].data, 4);
}

static void test_flow_control(void **state)
{
    struct rpc_answer a;
    assert_int_equal(stream_soon(large, LARGE, &a), RPC_OK);
    assert_int_equal(rpc_sink_seen(sink)->count, LARGE);
}

/* While messages are still to be sent, and the next one does not get through. */
static void test_early_status(void **state)
{
    static const size_t reads[] = {0, 1, 3};
    static const int statuses[] = {RPC_OK, RPC_PERMISSION_DENIED, RPC_RESOURCE_EXHAUSTED};
    struct rpc_answer a;
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 3; j++) {
            plan(&(struct rpc_sink_plan){.reads = reads[i], .status = statuses[j], .answer = "x"});
            assert_int_equal(stream_soon(large, LARGE, &a), statuses[j]);
            assert_string_equal(a.message, "said the server");
            assert_int_equal(a.len, statuses[j] == RPC_OK ? 1 : 0);
            assert_int_equal(rpc_sink_seen(sink)->count, reads[i]);
        }
}

static void test_early_status_to_small_messages(void **state)
{
    const struct rpc_message m[] = {{"a", 1}, {"b", 1}, {"c", 1}};
    struct rpc_answer a;
    for (size_t reads = 0; reads < 4; reads++) {
        plan(&(struct rpc_sink_plan){.reads = reads, .status = RPC_UNAUTHENTICATED});
        assert_int_equal(stream_soon(m, 3, &a), RPC_UNAUTHENTICATED);
        plan(&(struct rpc_sink_plan){.reads = reads, .answer = "x"});
        assert_int_equal(stream_soon(m, 3, &a), RPC_OK);
        assert_int_equal(a.len, 1);
    }
}

static void test_ok_without_a_message(void **state)
{
    struct rpc_answer a = {.status = 77};
    struct error err = {0};
    plan(&(struct rpc_sink_plan){.reads = SIZE_MAX, .no_message = true});
    long long deadline_ms = clock_mono_ms() + 60000;
    assert_int_equal(rpc_client_stream(client, METHOD, large, 1, deadline_ms, &a, &err), ERR_PROTO);
    assert_int_equal(a.status, 77);
}

static void test_unknown_method(void **state)
{
    struct error err = {0};
    struct rpc_server_options o = {.listen_address = "127.0.0.1:0", .max_request = 4096};
    struct rpc_server *server = rpc_server_start(&o, &err);
    assert_non_null(server);
    rpc_client_destroy(client);
    client = fixture_client(rpc_server_port(server), NULL);
    struct rpc_answer a;
    assert_int_equal(stream_soon(large, LARGE, &a), RPC_UNIMPLEMENTED);
    assert_int_equal(stream_soon(NULL, 0, &a), RPC_UNIMPLEMENTED);
    rpc_server_stop(server, 1000);
}

static void test_deadline(void **state)
{
    static const size_t reads[] = {SIZE_MAX, 0}; // all is sent; it is not
    struct rpc_answer a;
    for (size_t i = 0; i < 2; i++) {
        plan(&(struct rpc_sink_plan){.reads = reads[i], .mute = true});
        long long began_ms = clock_mono_ms();
        assert_int_equal(stream(large, i == 0 ? 1 : LARGE, 300, &a), RPC_DEADLINE_EXCEEDED);
        assert_true(clock_mono_ms() - began_ms >= 290);
        assert_true(clock_mono_ms() - began_ms < 2000 * fixture_slow());
    }
    assert_int_equal(stream(large, LARGE, 0, &a), RPC_DEADLINE_EXCEEDED);
    assert_int_equal(stream(large, LARGE, -5000, &a), RPC_DEADLINE_EXCEEDED);
    plan(&(struct rpc_sink_plan){.reads = SIZE_MAX});
    assert_int_equal(stream_soon(large, 1, &a), RPC_OK); // the next call is well
}

static void test_nobody_there(void **state)
{
    struct rpc_answer a;
    sink = rpc_sink_stop(sink);
    assert_int_equal(stream_soon(large, LARGE, &a), RPC_UNAVAILABLE);
}

struct caller {
    pthread_t thread;
    const struct rpc_message *messages;
    size_t count;
    struct rpc_answer answer;
};

static void *call(void *arg)
{
    struct caller *c = arg;
    (void)stream(c->messages, c->count, 60000 * fixture_slow(), &c->answer);
    return NULL;
}

static void start_caller(struct caller *c, const struct rpc_message *messages, size_t count)
{
    *c = (struct caller){.messages = messages, .count = count};
    assert_int_equal(pthread_create(&c->thread, NULL, call, c), 0);
}

static void test_server_goes_away(void **state)
{
    static const size_t counts[] = {1, LARGE};
    for (size_t i = 0; i < 2; i++) {
        struct caller c;
        plan(&(struct rpc_sink_plan){.reads = counts[i] == 1 ? SIZE_MAX : 1, .mute = true});
        start_caller(&c, large, counts[i]);
        rpc_sink_wait(sink, 1);
        long long began_ms = clock_mono_ms();
        sink = rpc_sink_stop(sink);
        pthread_join(c.thread, NULL);
        assert_true(clock_mono_ms() - began_ms < 20000 * fixture_slow());
        assert_int_not_equal(c.answer.status, RPC_OK);
        assert_int_not_equal(c.answer.status, RPC_DEADLINE_EXCEEDED);
        (void)tear_down(state);
        (void)set_up(state);
    }
}

static void test_several_at_once(void **state)
{
    const struct rpc_message m[] = {{"a", 1}, {"b", 1}, {"c", 1}};
    struct caller callers[8];
    for (size_t i = 0; i < 8; i++)
        start_caller(&callers[i], i % 2 ? large : m, 3);
    for (size_t i = 0; i < 8; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].answer.status, RPC_OK);
    }
    assert_int_equal(rpc_sink_seen(sink)->calls, 8);
    assert_int_equal(rpc_sink_seen(sink)->count, 24);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_messages_arrive_in_order),
        TEST(test_any_bytes),
        TEST(test_flow_control),
        TEST(test_early_status),
        TEST(test_early_status_to_small_messages),
        TEST(test_ok_without_a_message),
        TEST(test_unknown_method),
        TEST(test_deadline),
        TEST(test_nobody_there),
        TEST(test_server_goes_away),
        TEST(test_several_at_once),
    };
    return cmocka_run_group_tests_name("rpc_stream", tests, NULL, NULL);
}
