/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Blocking calls. Each call has a completion queue of its own in which its thread waits, so that a
 * client needs no thread and no lock.
 */
#include "proto/rpc_client.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>

#include "agent/util/parse.h"
#include "proto/rpc_private.h"

enum {
    /* Callers retry with a backoff of their own, and a call fails at once while the connection
     * waits for its: that must be short beside theirs, not gRPC's two minutes. It is the time-out
     * at least. */
    BACKOFF_FIRST_MS = 300,
    BACKOFF_MAX_MS = 5 * 1000,
    CONNECT_TIMEOUT_MS = 5 * 1000,
    /*
     * The time-out is the kernel's TCP_USER_TIMEOUT too: a connection that swallows what is sent
     * (a firewall that forgot it) is given up after 10 s instead of 15 minutes. Pings go out during
     * calls only, and seldom enough for servers that punish them (default: none within 5 minutes,
     * two strikes free).
     */
    KEEPALIVE_MS = 60 * 1000,
    KEEPALIVE_TIMEOUT_MS = 10 * 1000,
    ARGS_MAX = 12,
};

struct rpc_client {
    grpc_channel *channel;
};

static bool host_ok(const struct hostport *hp)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    struct in6_addr v6;
    if (hp->host[0] == '\0' || hp->port == 0) return false;
    if (strchr(hp->host, ':')) return inet_pton(AF_INET6, hp->host, &v6) == 1;
    return hp->host[strspn(hp->host, allowed)] == '\0';
}

/*
 * gRPC takes nearly any text as a target and fails later, and takes "dns:53" for a scheme: check,
 * and be explicit.
 */
static int make_target(char *out, size_t size, const char *target, struct error *err)
{
    struct hostport hp;
    int n;
    if (strncmp(target, "unix:/", 6) == 0) {
        n = snprintf(out, size, "%s", target);
    } else {
        if (parse_hostport(target, &hp) < 0 || !host_ok(&hp))
            return error_set(err, ERR_INVALID, "%s: not a host:port", target);
        bool v6 = strchr(hp.host, ':') != NULL; // brackets are no part of a URI's path
        n = snprintf(out, size, v6 ? "[%s]:%u" : "dns:///%s:%u", hp.host, hp.port);
    }
    if (n < 0 || (size_t)n >= size) return error_set(err, ERR_INVALID, "%s: too long", target);
    return 0;
}

static grpc_channel *make_channel(const char *target,
                                  const struct rpc_tls *tls,
                                  size_t max_answer,
                                  grpc_channel_credentials *creds)
{
    const char *override = tls && tls->enabled && !tls->insecure ? tls->host_override : NULL;
    int limit = max_answer > INT32_MAX ? INT32_MAX : (int)max_answer;
    grpc_arg args[ARGS_MAX];
    size_t n = 0;
    args[n++] = rpc_arg_int("grpc.max_receive_message_length", limit);
    args[n++] = rpc_arg_int("grpc.enable_http_proxy", 0); // a cluster's proxy is for the Web
    args[n++] = rpc_arg_int("grpc.service_config_disable_resolution", 1); // our retries, not DNS's
    args[n++] = rpc_arg_int("grpc.use_local_subchannel_pool", 1); // no connection shared by chance
    args[n++] = rpc_arg_int("grpc.compression_enabled_algorithms_bitset", 1); // none: no bombs
    args[n++] = rpc_arg_int("grpc.initial_reconnect_backoff_ms", BACKOFF_FIRST_MS);
    args[n++] = rpc_arg_int("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_MS);
    args[n++] = rpc_arg_int("grpc.max_reconnect_backoff_ms", BACKOFF_MAX_MS);
    args[n++] = rpc_arg_int("grpc.keepalive_time_ms", KEEPALIVE_MS);
    args[n++] = rpc_arg_int("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS);
    if (override && override[0]) {
        args[n] = (grpc_arg){.type = GRPC_ARG_STRING};
        args[n].key = (char *)"grpc.ssl_target_name_override";
        args[n++].value.string = (char *) override;
    }
    grpc_channel_args all = {.num_args = n, .args = args};
    return grpc_channel_create(target, creds, &all);
}

struct rpc_client *
rpc_client_new(const char *target, const struct rpc_tls *tls, size_t max_answer, struct error *err)
{
    char full[320]; // host names end at 255 bytes, socket paths at 107
    grpc_channel_credentials *creds = NULL;
    struct rpc_client *c = NULL;
    if (make_target(full, sizeof(full), target, err) < 0) return NULL;

    rpc_init();
    creds = rpc_channel_creds(tls, err);
    if (!creds) goto fail;
    c = calloc(1, sizeof(*c));
    if (c) c->channel = make_channel(full, tls, max_answer, creds);
    grpc_channel_credentials_release(creds);
    if (c && c->channel) return c;
    (void)error_set(err, ERR_NOMEM, "%s: cannot make a gRPC channel", target);
fail:
    free(c);
    rpc_fini();
    return NULL;
}

struct rpc_client *rpc_client_destroy(struct rpc_client *c)
{
    if (!c) return NULL;
    grpc_channel_destroy(c->channel);
    free(c);
    rpc_fini();
    return NULL;
}

/* ---- one call ---- */

/* What one call receives. */
struct result {
    grpc_metadata_array initial, trailing;
    grpc_byte_buffer *message;
    grpc_status_code status;
    grpc_slice details;
};

struct call {
    grpc_completion_queue *cq;
    grpc_call *call;
    struct result r;
};

/* Takes cq. */
static void call_open(struct call *k,
                      struct rpc_client *c,
                      grpc_completion_queue *cq,
                      const char *method,
                      long long deadline_ms)
{
    grpc_slice path = grpc_slice_from_copied_string(method);
    *k = (struct call){.cq = cq, .r.details = grpc_empty_slice()};
    grpc_metadata_array_init(&k->r.initial);
    grpc_metadata_array_init(&k->r.trailing);
    k->call = grpc_channel_create_call(
        c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, cq, path, NULL, rpc_deadline(deadline_ms), NULL);
    grpc_slice_unref(path);
}

/* No batch may be under way. */
static void call_close(struct call *k)
{
    grpc_byte_buffer_destroy(k->r.message);
    grpc_slice_unref(k->r.details);
    grpc_call_unref(k->call);
    grpc_metadata_array_destroy(&k->r.initial);
    grpc_metadata_array_destroy(&k->r.trailing);
    grpc_completion_queue_shutdown(k->cq);
    grpc_completion_queue_destroy(k->cq);
}

static void op_receive_answer(grpc_op ops[2], struct result *r)
{
    ops[0].op = GRPC_OP_RECV_INITIAL_METADATA; // without it the status would wait for the deadline
    ops[0].data.recv_initial_metadata.recv_initial_metadata = &r->initial;
    ops[1].op = GRPC_OP_RECV_MESSAGE;
    ops[1].data.recv_message.recv_message = &r->message;
}

static void op_receive_status(grpc_op *op, struct result *r)
{
    op->op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    op->data.recv_status_on_client.trailing_metadata = &r->trailing;
    op->data.recv_status_on_client.status = &r->status;
    op->data.recv_status_on_client.status_details = &r->details;
}

static int take_result(struct result *r, struct rpc_answer *answer, struct error *err)
{
    struct rpc_answer a = {.status = (int)r->status};
    rpc_text_copy(a.message, sizeof(a.message), r->details);
    if (a.status == 0) {
        if (!r->message) return error_set(err, ERR_PROTO, "status OK without a message");
        a.data = rpc_message_copy(r->message, &a.len);
        if (!a.data) return error_set(err, ERR_NOMEM, "answer: out of memory");
    }
    *answer = a;
    return 0;
}

/* ---- unary ---- */

/* One batch, and wait for its end: the deadline ends it at the latest. */
static grpc_call_error exchange(grpc_call *call,
                                grpc_completion_queue *cq,
                                grpc_byte_buffer *request,
                                bool wait_for_ready,
                                struct result *r)
{
    grpc_op ops[6];
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[0].flags = wait_for_ready ? GRPC_INITIAL_METADATA_WAIT_FOR_READY : 0;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    op_receive_answer(&ops[3], r);
    op_receive_status(&ops[5], r);

    grpc_call_error e = grpc_call_start_batch(call, ops, 6, r, NULL);
    if (e == GRPC_CALL_OK)
        (void)grpc_completion_queue_pluck(cq, r, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    return e;
}

int rpc_client_call(struct rpc_client *c,
                    const char *method,
                    const void *request,
                    size_t len,
                    bool wait_for_ready,
                    long long deadline_ms,
                    struct rpc_answer *answer,
                    struct error *err)
{
    struct call k;
    call_open(&k, c, grpc_completion_queue_create_for_pluck(NULL), method, deadline_ms);
    grpc_byte_buffer *message = rpc_message_new(request, len);

    grpc_call_error e = exchange(k.call, k.cq, message, wait_for_ready, &k.r);
    int rc = e == GRPC_CALL_OK ? take_result(&k.r, answer, err)
                               : error_set(err, ERR_IO, "%s: gRPC call error %d", method, (int)e);

    grpc_byte_buffer_destroy(message);
    call_close(&k);
    return rc;
}

/* ---- client streaming ---- */

/* What the stream waits for; at most one of each is under way. */
enum stream_batch { STREAM_STATUS = 1, STREAM_ANSWER = 2, STREAM_SEND = 4 };

struct stream {
    struct call k;
    const struct rpc_message *messages;
    size_t count, sent;
    bool over;           // half-closed, or no use to send more
    unsigned int active; // batches under way
    grpc_call_error error;
};

/* An error of gRPC's may leave the call unfit for more: it is given up then. */
static void stream_start(struct stream *s, const grpc_op *ops, size_t n, enum stream_batch batch)
{
    if (s->error != GRPC_CALL_OK) return;
    s->error = grpc_call_start_batch(s->k.call, ops, n, (void *)(uintptr_t)batch, NULL);
    if (s->error == GRPC_CALL_OK) {
        s->active |= batch;
    } else {
        s->over = true;
        (void)grpc_call_cancel(s->k.call, NULL);
    }
}

/* Status and answer are awaited from the beginning, since they may come before all is sent. */
static void stream_open(struct stream *s)
{
    grpc_op ops[2];
    memset(ops, 0, sizeof(ops));
    op_receive_status(&ops[0], &s->k.r);
    stream_start(s, ops, 1, STREAM_STATUS);
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    stream_start(s, ops, 1, STREAM_SEND);
    memset(ops, 0, sizeof(ops));
    op_receive_answer(ops, &s->k.r);
    stream_start(s, ops, 2, STREAM_ANSWER);
}

/* The next message, or the end. Each waits for the one before it, which is the flow control. */
static void stream_send(struct stream *s)
{
    grpc_op op;
    grpc_byte_buffer *message = NULL;
    memset(&op, 0, sizeof(op));
    if (s->sent < s->count) {
        const struct rpc_message *m = &s->messages[s->sent++];
        message = rpc_message_new(m->data, m->len);
        op.op = GRPC_OP_SEND_MESSAGE;
        op.data.send_message.send_message = message;
    } else {
        op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        s->over = true;
    }
    stream_start(s, &op, 1, STREAM_SEND);
    grpc_byte_buffer_destroy(message);
}

/* Until all batches have ended: the deadline ends them at the latest. */
static void stream_run(struct stream *s)
{
    while (s->active) {
        grpc_event e =
            grpc_completion_queue_next(s->k.cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        unsigned int batch = (unsigned int)(uintptr_t)e.tag;
        s->active &= ~batch;
        // The status is final, and gRPC fails a send that the server no longer reads.
        if (batch == STREAM_STATUS) s->over = true;
        if (batch == STREAM_SEND && !e.success) s->over = true; // the status will say why
        if (batch == STREAM_SEND && !s->over) stream_send(s);
    }
}

int rpc_client_stream(struct rpc_client *c,
                      const char *method,
                      const struct rpc_message *messages,
                      size_t count,
                      long long deadline_ms,
                      struct rpc_answer *answer,
                      struct error *err)
{
    struct stream s = {.messages = messages, .count = count, .error = GRPC_CALL_OK};
    call_open(&s.k, c, grpc_completion_queue_create_for_next(NULL), method, deadline_ms);
    stream_open(&s);
    stream_run(&s);
    int rc = s.error == GRPC_CALL_OK
                 ? take_result(&s.k.r, answer, err)
                 : error_set(err, ERR_IO, "%s: gRPC call error %d", method, (int)s.error);
    call_close(&s.k);
    return rc;
}

int rpc_status_error(int status)
{
    static const int map[] = {
        [GRPC_STATUS_OK] = 0,
        [GRPC_STATUS_CANCELLED] = ERR_OUTCOME_UNKNOWN,
        [GRPC_STATUS_UNKNOWN] = ERR_OUTCOME_UNKNOWN,
        [GRPC_STATUS_INVALID_ARGUMENT] = ERR_INVALID,
        [GRPC_STATUS_DEADLINE_EXCEEDED] = ERR_OUTCOME_UNKNOWN,
        [GRPC_STATUS_NOT_FOUND] = ERR_NOTFOUND,
        [GRPC_STATUS_ALREADY_EXISTS] = ERR_EXISTS,
        [GRPC_STATUS_PERMISSION_DENIED] = ERR_DENIED,
        [GRPC_STATUS_RESOURCE_EXHAUSTED] = ERR_BUSY,
        [GRPC_STATUS_FAILED_PRECONDITION] = ERR_REFUSED,
        [GRPC_STATUS_ABORTED] = ERR_BUSY,
        [GRPC_STATUS_OUT_OF_RANGE] = ERR_INVALID,
        [GRPC_STATUS_UNIMPLEMENTED] = ERR_UNSUPPORTED,
        [GRPC_STATUS_INTERNAL] = ERR_OUTCOME_UNKNOWN,
        [GRPC_STATUS_UNAVAILABLE] = ERR_UNAVAILABLE,
        [GRPC_STATUS_DATA_LOSS] = ERR_CORRUPT,
        [GRPC_STATUS_UNAUTHENTICATED] = ERR_DENIED,
    };
    if (status < 0 || (size_t)status >= sizeof(map) / sizeof(map[0])) return ERR_OUTCOME_UNKNOWN;
    return map[status];
}
