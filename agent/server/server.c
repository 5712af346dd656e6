/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The services on one gRPC server. A struct server_call is the gRPC server's struct rpc_call. */
#include "agent/server/server.h"

#include <stdlib.h>
#include <string.h>

#include "agent/server/health.h"
#include "agent/server/job_api.h"
#include "agent/server/server_private.h"
#include "agent/server/ssh_api.h"

/* The largest honest request, a SetJobStatus with a record, has some 200 bytes. What is refused is
 * refused before it is in memory, so that a thousand calls can hold 64 MiB at most. */
enum { SERVER_MAX_REQUEST = 64 * 1024 };

static const struct rpc_method methods[] = {
    {.path = "/supervisor.v1alpha1.JobAPI/SetJobStatus", .fn = job_api_set_job_status},
    {.path = "/supervisor.v1alpha1.JobAPI/SendJobStart", .fn = job_api_send_job_start},
    {.path = "/supervisor.v1alpha1.JobAPI/SendJobResult", .fn = job_api_send_job_result},
    {.path = "/supervisor.v1alpha1.JobAPI/SendJobFail", .fn = job_api_send_job_fail},
    {.path = "/supervisor.v1alpha1.SshAPI/FetchAuthorizedKeys",
     .fn = ssh_api_fetch_authorized_keys},
    {.path = "/grpc.health.v1.Health/Check", .fn = health_check},
    {.path = "/grpc.health.v1.Health/Watch",
     .stream = true,
     .fn = health_watch,
     .gone = health_watch_gone},
};

static struct server *server_free(struct server *s)
{
    health_destroy(s->health);
    free(s->authorized_keys);
    free(s);
    return NULL;
}

struct server *server_start(const struct server_options *options,
                            const struct server_ops *ops,
                            void *ctx,
                            struct error *err)
{
    const char *keys = options->authorized_keys;
    struct server *s = calloc(1, sizeof(*s));
    if (s) s->authorized_keys = strdup(keys ? keys : "");
    if (s) s->health = health_new();
    if (!s || !s->authorized_keys || !s->health) {
        (void)error_set(err, ERR_NOMEM, "gRPC server: out of memory");
        return s ? server_free(s) : NULL;
    }
    s->ops = *ops;
    s->ctx = ctx;

    struct rpc_server_options rpc = {
        .listen_address = options->listen_address,
        .tls = options->tls,
        .cert_file = options->cert_file,
        .key_file = options->key_file,
        .methods = methods,
        .method_count = sizeof(methods) / sizeof(methods[0]),
        .ctx = s,
        .max_request = SERVER_MAX_REQUEST,
    };
    s->rpc = rpc_server_start(&rpc, err);
    return s->rpc ? s : server_free(s);
}

int server_set_certificate(struct server *s,
                           const char *cert_file,
                           const char *key_file,
                           struct error *err)
{
    return rpc_server_set_certificate(s->rpc, cert_file, key_file, err);
}

int server_port(const struct server *s)
{
    return rpc_server_port(s->rpc);
}

void server_set_serving(struct server *s, bool serving)
{
    health_set_serving(s->health, serving);
}

static enum rpc_status status_of(int code)
{
    static const struct {
        int code;
        enum rpc_status status;
    } map[] = {
        {ERR_INVALID, RPC_INVALID_ARGUMENT},
        {ERR_NOTFOUND, RPC_NOT_FOUND},
        {ERR_DENIED, RPC_PERMISSION_DENIED},
        {ERR_BUSY, RPC_ABORTED},
        {ERR_UNAVAILABLE, RPC_UNAVAILABLE},
        {ERR_STOPPED, RPC_UNAVAILABLE},
        {ERR_LIMIT, RPC_RESOURCE_EXHAUSTED},
    };
    if (code >= 0) return RPC_OK;
    for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
        if (map[i].code == code) return map[i].status;
    return RPC_INTERNAL;
}

void server_reply(struct server_call *call, int code, const char *message)
{
    if (code < 0 && (!message || !message[0])) message = err_text(code);
    // All of JobAPI's answers are empty messages: no bytes.
    rpc_call_reply((struct rpc_call *)call, status_of(code), message, NULL, 0);
}

struct server *server_stop(struct server *s, long long grace_ms)
{
    if (!s) return NULL;
    health_stop(s->health);
    rpc_server_stop(s->rpc, grace_ms);
    return server_free(s);
}
