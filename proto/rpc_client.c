/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Blocking unary calls. Each call has a completion queue of its own in which its thread waits, so
 * that a client needs no thread and no lock.
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
    /* Callers retry with a backoff of their own; the connection's must not lag behind it by gRPC's
     * two minutes. */
    BACKOFF_FIRST_MS = 300,
    BACKOFF_MAX_MS = 10 * 1000,
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

/* What one call receives. */
struct result {
    grpc_metadata_array initial, trailing;
    grpc_byte_buffer *message;
    grpc_status_code status;
    grpc_slice details;
};

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
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA; // without it the status would wait for the deadline
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &r->initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &r->message;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &r->trailing;
    ops[5].data.recv_status_on_client.status = &r->status;
    ops[5].data.recv_status_on_client.status_details = &r->details;

    grpc_call_error e = grpc_call_start_batch(call, ops, 6, r, NULL);
    if (e == GRPC_CALL_OK)
        (void)grpc_completion_queue_pluck(cq, r, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    return e;
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

int rpc_client_call(struct rpc_client *c,
                    const char *method,
                    const void *request,
                    size_t len,
                    bool wait_for_ready,
                    long long deadline_ms,
                    struct rpc_answer *answer,
                    struct error *err)
{
    struct result r = {.details = grpc_empty_slice()};
    grpc_metadata_array_init(&r.initial);
    grpc_metadata_array_init(&r.trailing);
    grpc_completion_queue *cq = grpc_completion_queue_create_for_pluck(NULL);
    grpc_slice path = grpc_slice_from_copied_string(method);
    grpc_call *call = grpc_channel_create_call(
        c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, cq, path, NULL, rpc_deadline(deadline_ms), NULL);
    grpc_byte_buffer *message = rpc_message_new(request, len);

    grpc_call_error e = exchange(call, cq, message, wait_for_ready, &r);
    int rc = e == GRPC_CALL_OK ? take_result(&r, answer, err)
                               : error_set(err, ERR_IO, "%s: gRPC call error %d", method, (int)e);

    grpc_byte_buffer_destroy(message);
    grpc_byte_buffer_destroy(r.message);
    grpc_slice_unref(r.details);
    grpc_slice_unref(path);
    grpc_call_unref(call);
    grpc_metadata_array_destroy(&r.initial);
    grpc_metadata_array_destroy(&r.trailing);
    grpc_completion_queue_shutdown(cq);
    grpc_completion_queue_destroy(cq);
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
