/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One completion queue, one thread. `lock` guards the list of calls and every call's state; a batch
 * is only started under it, and never after `closed`, because gRPC aborts when one is started on a
 * queue that was shut down. The struct (not gRPC's part of it) lives until the last call that is
 * owed an answer has got it, so that an answer may come after rpc_server_stop().
 */
#include "proto/rpc_server.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>

#include "agent/util/clock.h"
#include "agent/util/parse.h"
#include "agent/util/thread.h"
#include "proto/rpc_private.h"

enum {
    /* Requests waiting for a call, per method: measured, some hundred are half again as fast as 64,
     * and take less memory than the queue that gRPC keeps otherwise. */
    POSTED_UNARY = 128,
    POSTED_OTHER = 16,
    /* Calls under way, all connections together, at most some 20 MB. A thousand nodes that end
     * their jobs at once are far below. Above it: UNAVAILABLE, and the client's backoff. */
    CALLS_MAX = 16384,
    /* Of one connection. gRPC's clients queue what is above it; nothing fails. */
    STREAMS_PER_CONNECTION = 2048,
    /* Who connects and says nothing is dropped; the default is two minutes. */
    HANDSHAKE_TIMEOUT_MS = 20 * 1000,
    /* A connection without calls costs 20 KB; clients reconnect by themselves. */
    IDLE_MS = 30 * 60 * 1000,
    /* Finds peers that vanished: a watcher would stay for ever. */
    KEEPALIVE_MS = 120 * 1000,
    KEEPALIVE_TIMEOUT_MS = 20 * 1000,
    /* How often clients may ping us without calls; the default of 5 minutes ends connections of
     * load balancers that check more often. */
    PING_INTERVAL_MS = 10 * 1000,
    ARGS_MAX = 16,
    CALL_MAGIC = 0x63616c6c,
};

enum tag_kind { TAG_POSTED = 1, TAG_REPLY, TAG_CLOSE, TAG_SEND, TAG_SHUTDOWN };

/* What gRPC hands back with an event. */
struct tag {
    enum tag_kind kind;
    void *owner;
};

/* A posted request: gRPC fills it with a new call. */
struct posted {
    struct tag tag;
    const struct rpc_method *method; // NULL: any that is not registered
    void *registered;
    grpc_call *call;
    grpc_call_details details; // of unregistered ones
    grpc_metadata_array metadata;
    gpr_timespec deadline;
    grpc_byte_buffer *payload;
};

struct rpc_call {
    unsigned int magic;
    struct rpc_server *server;
    struct rpc_call *prev, *next;
    const struct rpc_method *method;
    grpc_call *call; // NULL: the server stopped before the answer
    struct tag done, close;
    int cancelled;
    bool replied; // rpc_call_reply() was called
    enum rpc_status status;
    grpc_slice details;

    /* Streams. */
    bool told;         // the method knows it
    bool busy;         // a send is under way
    bool headers_sent; // or under way
    bool status_sent;  // or under way
    bool over;         // gRPC said that the call is over
    grpc_byte_buffer *message;
};

struct rpc_server {
    struct rpc_server_options options; // strings in it are gone after start
    struct rpc_identity *identity;     // NULL: no TLS
    grpc_server *server;
    grpc_completion_queue *cq;
    pthread_t thread;
    bool threaded;
    int port;
    struct posted *posted;
    size_t posted_count;
    struct tag shutdown;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool down;   // gRPC's server has shut down
    bool closed; // no batch any more
    size_t refs; // the owner's and one of each call
    size_t calls;
    struct rpc_call *first;
};

/* ---- calls ---- */

static void unref_locked(struct rpc_server *s)
{
    bool last = --s->refs == 0;
    (void)pthread_mutex_unlock(&s->lock);
    if (!last) return;
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_cond_destroy(&s->changed);
    free(s);
}

/* With the lock, which it gives back. */
static void call_free(struct rpc_call *c)
{
    struct rpc_server *s = c->server;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->first = c->next;
    if (c->next) c->next->prev = c->prev;
    s->calls--;
    if (c->call) {
        grpc_slice_unref(c->details);
        grpc_byte_buffer_destroy(c->message);
        grpc_call_unref(c->call);
    }
    c->magic = 0;
    free(c);
    unref_locked(s);
}

static struct rpc_call *
call_new(struct rpc_server *s, const struct rpc_method *method, grpc_call *call)
{
    struct rpc_call *c = calloc(1, sizeof(*c));
    if (!c) return NULL;
    c->magic = CALL_MAGIC;
    c->server = s;
    c->method = method;
    c->call = call;
    c->details = grpc_empty_slice();
    c->done = (struct tag){method && method->stream ? TAG_SEND : TAG_REPLY, c};
    c->close = (struct tag){TAG_CLOSE, c};

    (void)pthread_mutex_lock(&s->lock);
    c->next = s->first;
    if (s->first) s->first->prev = c;
    s->first = c;
    s->refs++;
    s->calls++;
    (void)pthread_mutex_unlock(&s->lock);
    return c;
}

static bool is_stream(const struct rpc_call *c)
{
    return c->method && c->method->stream;
}

static void put_status(struct rpc_call *c, grpc_op *op)
{
    op->op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    op->data.send_status_from_server.status = (grpc_status_code)c->status;
    op->data.send_status_from_server.status_details =
        GRPC_SLICE_LENGTH(c->details) ? &c->details : NULL;
}

static void put_message(grpc_op *op, grpc_byte_buffer *message)
{
    op->op = GRPC_OP_SEND_MESSAGE;
    op->data.send_message.send_message = message;
}

/* Everything in one batch: one event, one write. RECV_CLOSE in it, since a client that went away
 * changes nothing for an event that was committed. */
static grpc_call_error start_unary_reply(struct rpc_call *c, const void *data, size_t len)
{
    grpc_op ops[4];
    size_t n = 0;
    memset(ops, 0, sizeof(ops));
    grpc_byte_buffer *message = c->status == RPC_OK ? rpc_message_new(data, len) : NULL;
    ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (message) put_message(&ops[n++], message);
    put_status(c, &ops[n++]);
    ops[n].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[n++].data.recv_close_on_server.cancelled = &c->cancelled;
    grpc_call_error e = grpc_call_start_batch(c->call, ops, n, &c->done, NULL);
    grpc_byte_buffer_destroy(message);
    return e;
}

/* Start sending what a stream has to send, unless a send is under way. With the lock. */
static void stream_pump(struct rpc_call *c)
{
    grpc_op ops[3];
    size_t n = 0;
    if (c->busy || c->over || c->status_sent || c->server->closed) return;

    memset(ops, 0, sizeof(ops));
    if (!c->headers_sent) ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (c->message) put_message(&ops[n++], c->message);
    if (c->replied) put_status(c, &ops[n++]);
    if (n == 0) return;

    c->headers_sent = true;
    c->status_sent = c->replied;
    c->busy = grpc_call_start_batch(c->call, ops, n, &c->done, NULL) == GRPC_CALL_OK;
    // A batch that is refused poisons the call: end it, so that the close event comes.
    if (!c->busy) (void)grpc_call_cancel(c->call, NULL);
    grpc_byte_buffer_destroy(c->message);
    c->message = NULL;
}

void rpc_call_send(struct rpc_call *c, const void *data, size_t len)
{
    struct rpc_server *s = c->server;
    assert(c->magic == CALL_MAGIC && is_stream(c));
    (void)pthread_mutex_lock(&s->lock);
    if (!c->replied && !c->over && !s->closed) {
        grpc_byte_buffer_destroy(c->message);
        c->message = rpc_message_new(data, len);
        stream_pump(c);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

void rpc_call_reply(
    struct rpc_call *c, enum rpc_status status, const char *message, const void *data, size_t len)
{
    struct rpc_server *s = c->server;
    assert(c->magic == CALL_MAGIC);
    (void)pthread_mutex_lock(&s->lock);
    assert(!c->replied);
    c->replied = true;
    if (s->closed) {
        if (is_stream(c))
            (void)pthread_mutex_unlock(&s->lock); // its close event frees it
        else
            call_free(c);
        return;
    }

    c->status = status;
    if (message && status != RPC_OK) c->details = grpc_slice_from_copied_string(message);
    if (is_stream(c)) {
        stream_pump(c);
    } else if (start_unary_reply(c, data, len) != GRPC_CALL_OK) {
        call_free(c); // lets gRPC cancel it
        return;
    }
    (void)pthread_mutex_unlock(&s->lock);
}

/* ---- events ---- */

static void post(struct rpc_server *s, struct posted *p)
{
    // After the shutdown this comes back as failed, or is refused: nothing to do in either case.
    if (p->method)
        (void)grpc_server_request_registered_call(s->server,
                                                  p->registered,
                                                  &p->call,
                                                  &p->deadline,
                                                  &p->metadata,
                                                  &p->payload,
                                                  s->cq,
                                                  s->cq,
                                                  &p->tag);
    else
        (void)grpc_server_request_call(
            s->server, &p->call, &p->details, &p->metadata, s->cq, s->cq, &p->tag);
}

/* A stream learns of its end by an event of its own. */
static bool watch_close(struct rpc_call *c)
{
    grpc_op op;
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &c->cancelled;
    (void)pthread_mutex_lock(&c->server->lock);
    if (grpc_call_start_batch(c->call, &op, 1, &c->close, NULL) == GRPC_CALL_OK) {
        (void)pthread_mutex_unlock(&c->server->lock);
        return true;
    }
    call_free(c);
    return false;
}

static bool too_many(struct rpc_server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    bool too = s->calls > CALLS_MAX;
    (void)pthread_mutex_unlock(&s->lock);
    return too;
}

/* A new call of a method that we have. */
static void dispatch(struct rpc_server *s, struct rpc_call *c, grpc_byte_buffer *payload)
{
    size_t len = 0;
    uint8_t *data = payload ? rpc_message_copy(payload, &len) : NULL;
    if (is_stream(c) && !watch_close(c)) {
        free(data);
        return;
    }
    if (!payload) {
        rpc_call_reply(c, RPC_INVALID_ARGUMENT, "no message in the request", NULL, 0);
    } else if (!data || too_many(s)) {
        rpc_call_reply(c, RPC_UNAVAILABLE, "too many calls", NULL, 0);
    } else {
        c->told = true;
        c->method->fn(s->options.ctx, c, data, len);
    }
    free(data);
}

static void on_posted(struct rpc_server *s, struct posted *p)
{
    if (s->down) { // only this thread writes it; the server may be gone already
        grpc_byte_buffer_destroy(p->payload);
        grpc_call_unref(p->call);
        return;
    }
    const struct rpc_method *method = p->method;
    grpc_byte_buffer *payload = p->payload;
    struct rpc_call *c = call_new(s, method, p->call);
    char text[200] = "unknown method ";
    if (!c) grpc_call_unref(p->call); // no memory: gRPC cancels it
    if (!method) {
        size_t n = strlen(text);
        rpc_text_copy(text + n, sizeof(text) - n, p->details.method);
        grpc_call_details_destroy(&p->details);
        grpc_call_details_init(&p->details);
    }
    grpc_metadata_array_destroy(&p->metadata);
    grpc_metadata_array_init(&p->metadata);
    p->call = NULL;
    p->payload = NULL;
    post(s, p);

    if (c && method)
        dispatch(s, c, payload);
    else if (c)
        rpc_call_reply(c, RPC_UNIMPLEMENTED, text, NULL, 0);
    grpc_byte_buffer_destroy(payload);
}

static void on_reply_sent(struct rpc_call *c)
{
    (void)pthread_mutex_lock(&c->server->lock);
    call_free(c);
}

static void on_stream_sent(struct rpc_call *c)
{
    struct rpc_server *s = c->server;
    (void)pthread_mutex_lock(&s->lock);
    c->busy = false;
    if (c->over) {
        call_free(c);
        return;
    }
    stream_pump(c);
    (void)pthread_mutex_unlock(&s->lock);
}

static void on_stream_over(struct rpc_call *c)
{
    struct rpc_server *s = c->server;
    if (c->told && c->method->gone) c->method->gone(s->options.ctx, c);
    (void)pthread_mutex_lock(&s->lock);
    c->over = true;
    if (!c->busy) {
        call_free(c);
        return;
    }
    (void)pthread_mutex_unlock(&s->lock);
}

static void on_shutdown(struct rpc_server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->down = true;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

/* Wait for an event and handle it. False: the queue is shut down and empty. */
static bool serve_one(struct rpc_server *s)
{
    grpc_event ev = grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    if (ev.type == GRPC_QUEUE_SHUTDOWN) return false;
    if (ev.type != GRPC_OP_COMPLETE) return true;

    struct tag *tag = ev.tag;
    switch (tag->kind) {
    case TAG_POSTED:
        if (ev.success) on_posted(s, tag->owner);
        break;
    case TAG_REPLY:
        on_reply_sent(tag->owner);
        break;
    case TAG_SEND:
        on_stream_sent(tag->owner);
        break;
    case TAG_CLOSE:
        on_stream_over(tag->owner);
        break;
    case TAG_SHUTDOWN:
        on_shutdown(s);
        break;
    }
    return true;
}

static void *serve(void *arg)
{
    while (serve_one(arg))
        ;
    return NULL;
}

/* ---- start ---- */

static int make_address(char *out, size_t size, const char *address, struct error *err)
{
    struct hostport hp;
    int n;
    if (strncmp(address, "unix:/", 6) == 0) {
        n = snprintf(out, size, "%s", address);
    } else {
        if (parse_hostport(address, &hp) < 0)
            return error_set(err, ERR_INVALID, "%s: not a host:port", address);
        bool v6 = strchr(hp.host, ':') != NULL;
        n = hp.host[0] ? snprintf(out, size, v6 ? "[%s]:%u" : "%s:%u", hp.host, hp.port)
                       : snprintf(out, size, "[::]:%u", hp.port); // both families
    }
    if (n < 0 || (size_t)n >= size) return error_set(err, ERR_INVALID, "%s: too long", address);
    return 0;
}

static int listen_on(struct rpc_server *s, struct error *err)
{
    char address[320], reason[160];
    const char *given = s->options.listen_address;
    int rc = make_address(address, sizeof(address), given, err);
    if (rc < 0) return rc;
    const struct rpc_server_options *o = &s->options;
    if (o->tls) {
        s->identity = rpc_identity_new();
        if (!s->identity) return error_set(err, ERR_NOMEM, "gRPC server: out of memory");
        rc = rpc_identity_read(s->identity, o->cert_file, o->key_file, err);
        if (rc < 0) return rc;
    }
    grpc_server_credentials *creds = rpc_server_creds(s->identity);
    rpc_log_capture_begin();
    s->port = grpc_server_add_http2_port(s->server, address, creds);
    rpc_log_capture_end(reason, sizeof(reason));
    grpc_server_credentials_release(creds);
    if (s->port > 0) return 0;
    return error_set(err, ERR_IO, "cannot listen on %s%s%s", given, reason[0] ? ": " : "", reason);
}

static grpc_server *make_server(size_t max_request)
{
    int limit = max_request > INT32_MAX ? INT32_MAX : (int)max_request;
    grpc_arg args[ARGS_MAX];
    size_t n = 0;
    args[n++] = rpc_arg_int("grpc.so_reuseport", 0); // else a second agent would get half the calls
    args[n++] = rpc_arg_int("grpc.max_receive_message_length", limit);
    args[n++] = rpc_arg_int("grpc.compression_enabled_algorithms_bitset", 1); // none: no bombs
    args[n++] = rpc_arg_int("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION);
    args[n++] = rpc_arg_int("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS);
    args[n++] = rpc_arg_int("grpc.max_connection_idle_ms", IDLE_MS);
    args[n++] = rpc_arg_int("grpc.keepalive_time_ms", KEEPALIVE_MS);
    args[n++] = rpc_arg_int("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS);
    args[n++] = rpc_arg_int("grpc.keepalive_permit_without_calls", 1);
    args[n++] = rpc_arg_int("grpc.http2.max_pings_without_data", 0); // no limit on ours
    args[n++] = rpc_arg_int("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MS);
    grpc_channel_args all = {.num_args = n, .args = args};
    return grpc_server_create(&all, NULL);
}

/* Requests of one method, or of the unregistered ones (NULL). */
static int add_posted(struct rpc_server *s, const struct rpc_method *method, struct error *err)
{
    void *registered = NULL;
    size_t count = method && !method->stream ? POSTED_UNARY : POSTED_OTHER;
    if (method) {
        registered = grpc_server_register_method(
            s->server, method->path, NULL, GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
        if (!registered) return error_set(err, ERR_INVALID, "%s: not registered", method->path);
    }
    for (size_t i = 0; i < count; i++) {
        struct posted *p = &s->posted[s->posted_count++];
        p->tag = (struct tag){TAG_POSTED, p};
        p->method = method;
        p->registered = registered;
        grpc_metadata_array_init(&p->metadata);
        grpc_call_details_init(&p->details);
    }
    return 0;
}

static int set_up(struct rpc_server *s, struct error *err)
{
    size_t methods = s->options.method_count;
    s->cq = grpc_completion_queue_create_for_next(NULL);
    s->server = make_server(s->options.max_request);
    grpc_server_register_completion_queue(s->server, s->cq, NULL);
    s->posted = calloc(methods * POSTED_UNARY + POSTED_OTHER, sizeof(*s->posted));
    if (!s->posted) return error_set(err, ERR_NOMEM, "gRPC server: out of memory");
    for (size_t i = 0; i < methods; i++) {
        int rc = add_posted(s, &s->options.methods[i], err);
        if (rc < 0) return rc;
    }
    int rc = add_posted(s, NULL, err);
    if (rc == 0) rc = listen_on(s, err);
    if (rc < 0) return rc;

    grpc_server_start(s->server);
    for (size_t i = 0; i < s->posted_count; i++)
        post(s, &s->posted[i]);
    // Last, because what was written so far is then seen by the thread.
    rc = thread_start(&s->thread, "rpc-server", serve, s, err);
    s->threaded = rc == 0;
    return rc;
}

struct rpc_server *rpc_server_start(const struct rpc_server_options *options, struct error *err)
{
    struct rpc_server *s = calloc(1, sizeof(*s));
    if (!s) {
        (void)error_set(err, ERR_NOMEM, "gRPC server: out of memory");
        return NULL;
    }
    s->options = *options;
    s->refs = 1;
    s->shutdown = (struct tag){TAG_SHUTDOWN, s};
    (void)pthread_mutex_init(&s->lock, NULL);
    thread_cond_init(&s->changed);
    rpc_init();
    if (set_up(s, err) < 0) return rpc_server_stop(s, 0);
    return s;
}

int rpc_server_set_certificate(struct rpc_server *s,
                               const char *cert_file,
                               const char *key_file,
                               struct error *err)
{
    if (!s->identity) return error_set(err, ERR_INVALID, "the gRPC server runs without TLS");
    return rpc_identity_read(s->identity, cert_file, key_file, err);
}

int rpc_server_port(const struct rpc_server *s)
{
    return s->port;
}

/* ---- stop ---- */

/* Wait until gRPC's server is down. False: the deadline came first. */
static bool wait_down(struct rpc_server *s, long long deadline_ms)
{
    while (!s->threaded && !s->down && serve_one(s))
        ; // half-built: there are no calls to wait for
    (void)pthread_mutex_lock(&s->lock);
    while (!s->down && clock_mono_ms() < deadline_ms)
        (void)thread_cond_wait_until(&s->changed, &s->lock, deadline_ms);
    bool down = s->down;
    (void)pthread_mutex_unlock(&s->lock);
    return down;
}

/* From here on no batch is started. Calls that are owed an answer lose gRPC's half. */
static void close_calls(struct rpc_server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->closed = true;
    for (struct rpc_call *c = s->first; c; c = c->next) {
        if (is_stream(c) || c->replied) continue; // an event of theirs is still to come
        grpc_call_unref(c->call);
        c->call = NULL;
    }
    (void)pthread_mutex_unlock(&s->lock);
}

struct rpc_server *rpc_server_stop(struct rpc_server *s, long long grace_ms)
{
    if (!s) return NULL;
    const long long for_ever_ms = 1000LL * 1000 * 1000 * 1000;
    grpc_server_shutdown_and_notify(s->server, s->cq, &s->shutdown);
    if (!wait_down(s, clock_mono_ms() + grace_ms)) {
        grpc_server_cancel_all_calls(s->server);
        (void)wait_down(s, for_ever_ms); // gRPC aborts if the server is destroyed earlier
    }

    close_calls(s);
    grpc_server_destroy(s->server);
    grpc_completion_queue_shutdown(s->cq);
    if (s->threaded)
        (void)pthread_join(s->thread, NULL);
    else
        (void)serve(s);
    grpc_completion_queue_destroy(s->cq);

    for (size_t i = 0; i < s->posted_count; i++) {
        grpc_metadata_array_destroy(&s->posted[i].metadata);
        grpc_call_details_destroy(&s->posted[i].details);
    }
    free(s->posted);
    rpc_fini();
    rpc_identity_free(s->identity);
    (void)pthread_mutex_lock(&s->lock);
    unref_locked(s);
    return NULL;
}
