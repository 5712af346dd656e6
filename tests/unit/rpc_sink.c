/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/rpc_sink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>

#include "proto/rpc_private.h"

/* Tags. Of each kind one batch is under way at most. */
enum { TAG_REQUEST = 1, TAG_CLOSE, TAG_BATCH, TAG_SHUTDOWN };

struct rpc_sink {
    grpc_server *server;
    grpc_completion_queue *cq;
    struct rpc_identity *identity;
    pthread_t thread;
    int port;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct rpc_sink_plan plan;
    struct rpc_sink_seen seen;
    bool ended[TAG_SHUTDOWN + 1], success[TAG_SHUTDOWN + 1]; // by tag; the thread's
};

/* ---- the thread ---- */

static bool wait_for(struct rpc_sink *s, int tag)
{
    while (!s->ended[tag]) {
        grpc_event e = grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        s->ended[(intptr_t)e.tag] = true;
        s->success[(intptr_t)e.tag] = e.success;
    }
    s->ended[tag] = false;
    return s->success[tag];
}

static bool run(struct rpc_sink *s, grpc_call *call, const grpc_op *ops, size_t n)
{
    if (grpc_call_start_batch(call, ops, n, (void *)TAG_BATCH, NULL) != GRPC_CALL_OK) abort();
    return wait_for(s, TAG_BATCH);
}

static void keep(struct rpc_sink *s, grpc_byte_buffer *message)
{
    struct rpc_sink_message m = {0};
    uint8_t *data = rpc_message_copy(message, &m.len);
    if (!data) abort();
    memcpy(m.data, data, m.len < sizeof(m.data) ? m.len : sizeof(m.data));
    free(data);
    pthread_mutex_lock(&s->lock);
    if (s->seen.count < sizeof(s->seen.messages) / sizeof(s->seen.messages[0]))
        s->seen.messages[s->seen.count] = m;
    s->seen.count++;
    pthread_mutex_unlock(&s->lock);
}

/* Returns whether the stream's end was seen. */
static bool read_messages(struct rpc_sink *s, grpc_call *call, size_t reads)
{
    for (size_t i = 0; i < reads; i++) {
        grpc_byte_buffer *message = NULL;
        grpc_op op;
        memset(&op, 0, sizeof(op));
        op.op = GRPC_OP_RECV_MESSAGE;
        op.data.recv_message.recv_message = &message;
        if (!run(s, call, &op, 1) || !message) return true;
        keep(s, message);
        grpc_byte_buffer_destroy(message);
    }
    return false;
}

static void reply(struct rpc_sink *s, grpc_call *call, const struct rpc_sink_plan *plan)
{
    grpc_slice details = grpc_slice_from_static_string("said the server");
    const char *answer = plan->answer ? plan->answer : "";
    grpc_byte_buffer *message = rpc_message_new(answer, strlen(answer));
    grpc_op ops[3];
    size_t n = 0;
    memset(ops, 0, sizeof(ops));
    ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (plan->status == 0 && !plan->no_message) {
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = message;
    }
    ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[n].data.send_status_from_server.status = (grpc_status_code)plan->status;
    ops[n++].data.send_status_from_server.status_details = &details;
    (void)run(s, call, ops, n);
    grpc_byte_buffer_destroy(message);
}

static void serve(struct rpc_sink *s, grpc_call *call, grpc_slice method)
{
    grpc_op op;
    int cancelled = 0;
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &cancelled;
    if (grpc_call_start_batch(call, &op, 1, (void *)TAG_CLOSE, NULL) != GRPC_CALL_OK) abort();

    pthread_mutex_lock(&s->lock);
    struct rpc_sink_plan plan = s->plan;
    rpc_text_copy(s->seen.method, sizeof(s->seen.method), method);
    s->seen.calls++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);

    bool to_the_end = read_messages(s, call, plan.reads);
    pthread_mutex_lock(&s->lock);
    s->seen.to_the_end = to_the_end;
    pthread_mutex_unlock(&s->lock);
    if (!plan.mute) reply(s, call, &plan);
    (void)wait_for(s, TAG_CLOSE);
    grpc_call_unref(call);
}

static void *serve_all(void *arg)
{
    struct rpc_sink *s = arg;
    for (;;) {
        grpc_call *call = NULL;
        grpc_call_details details;
        grpc_metadata_array metadata;
        grpc_call_details_init(&details);
        grpc_metadata_array_init(&metadata);
        if (grpc_server_request_call(
                s->server, &call, &details, &metadata, s->cq, s->cq, (void *)TAG_REQUEST) !=
            GRPC_CALL_OK)
            abort();
        bool called = wait_for(s, TAG_REQUEST);
        if (called) serve(s, call, details.method);
        grpc_call_details_destroy(&details);
        grpc_metadata_array_destroy(&metadata);
        if (!called) break;
    }
    (void)wait_for(s, TAG_SHUTDOWN);
    return NULL;
}

/* ---- the test's side ---- */

static struct rpc_identity *identity(const char *cert_file, const char *key_file)
{
    struct error err = {0};
    if (!cert_file) return NULL;
    struct rpc_identity *id = rpc_identity_new();
    assert_non_null(id);
    if (rpc_identity_read(id, cert_file, key_file, &err) < 0) fail_msg("%s", err.text);
    return id;
}

struct rpc_sink *rpc_sink_start(const char *cert_file, const char *key_file)
{
    struct rpc_sink *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->plan.reads = SIZE_MAX;
    s->identity = identity(cert_file, key_file);
    rpc_init();
    s->server = grpc_server_create(NULL, NULL);
    s->cq = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(s->server, s->cq, NULL);
    grpc_server_credentials *creds = rpc_server_creds(s->identity);
    s->port = grpc_server_add_http2_port(s->server, "127.0.0.1:0", creds);
    grpc_server_credentials_release(creds);
    assert_true(s->port > 0);
    grpc_server_start(s->server);
    assert_int_equal(pthread_create(&s->thread, NULL, serve_all, s), 0);
    return s;
}

int rpc_sink_port(const struct rpc_sink *s)
{
    return s->port;
}

void rpc_sink_plan(struct rpc_sink *s, const struct rpc_sink_plan *plan)
{
    pthread_mutex_lock(&s->lock);
    s->plan = *plan;
    memset(&s->seen, 0, sizeof(s->seen));
    pthread_mutex_unlock(&s->lock);
}

const struct rpc_sink_seen *rpc_sink_seen(struct rpc_sink *s)
{
    pthread_mutex_lock(&s->lock); // tells the thread sanitizer what the network does not
    pthread_mutex_unlock(&s->lock);
    return &s->seen;
}

void rpc_sink_wait(struct rpc_sink *s, unsigned int calls)
{
    pthread_mutex_lock(&s->lock);
    while (s->seen.calls < calls)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

struct rpc_sink *rpc_sink_stop(struct rpc_sink *s)
{
    if (!s) return NULL;
    grpc_server_shutdown_and_notify(s->server, s->cq, (void *)TAG_SHUTDOWN);
    grpc_server_cancel_all_calls(s->server);
    pthread_join(s->thread, NULL);
    grpc_server_destroy(s->server);
    grpc_completion_queue_shutdown(s->cq);
    while (grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(s->cq);
    rpc_fini();
    rpc_identity_free(s->identity);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}
