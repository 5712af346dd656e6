/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * All services of ours are healthy together: they need the same engine. `lock` is taken before the
 * gRPC server's own.
 */
#include "agent/server/health.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent/server/server_private.h"
#include "proto/health.pb-c.h"

/* Load balancers and monitors watch, a handful; each costs a connection and a stream. */
enum { WATCHERS_MAX = 256 };

typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus serving_status;

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

struct watcher {
    struct rpc_call *call;
    bool known; // of a service that we have
};

struct health {
    pthread_mutex_t lock;
    bool serving;
    bool stopped;
    struct watcher watchers[WATCHERS_MAX];
    size_t count;
};

struct health *health_new(void)
{
    struct health *h = calloc(1, sizeof(*h));
    if (h) (void)pthread_mutex_init(&h->lock, NULL);
    return h;
}

struct health *health_destroy(struct health *h)
{
    if (!h) return NULL;
    (void)pthread_mutex_destroy(&h->lock);
    free(h);
    return NULL;
}

static size_t encode(serving_status status, uint8_t out[16])
{
    Grpc__Health__V1__HealthCheckResponse answer = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    answer.status = status;
    return grpc__health__v1__health_check_response__pack(&answer, out); // 2 bytes
}

static serving_status current(const struct health *h)
{
    return h->serving && !h->stopped ? STATUS(SERVING) : STATUS(NOT_SERVING);
}

static void tell(const struct health *h, const struct watcher *w)
{
    uint8_t answer[16];
    size_t len = encode(w->known ? current(h) : STATUS(SERVICE_UNKNOWN), answer);
    rpc_call_send(w->call, answer, len);
}

static void tell_all(const struct health *h)
{
    for (size_t i = 0; i < h->count; i++)
        if (h->watchers[i].known) tell(h, &h->watchers[i]);
}

void health_set_serving(struct health *h, bool serving)
{
    (void)pthread_mutex_lock(&h->lock);
    bool changed = h->serving != serving && !h->stopped;
    h->serving = serving;
    if (changed) tell_all(h);
    (void)pthread_mutex_unlock(&h->lock);
}

void health_stop(struct health *h)
{
    (void)pthread_mutex_lock(&h->lock);
    bool changed = current(h) != STATUS(NOT_SERVING);
    h->stopped = true;
    if (changed) tell_all(h);
    for (size_t i = 0; i < h->count; i++)
        rpc_call_reply(h->watchers[i].call, RPC_UNAVAILABLE, "the agent is stopping", NULL, 0);
    h->count = 0;
    (void)pthread_mutex_unlock(&h->lock);
}

/* Which service is asked for: 1 known, 0 unknown, -1 malformed (and answered). */
static int requested(struct rpc_call *call, const uint8_t *request, size_t len)
{
    static const char *const known[] = {
        "", "supervisor.v1alpha1.JobAPI", "supervisor.v1alpha1.SshAPI"};
    Grpc__Health__V1__HealthCheckRequest *r =
        grpc__health__v1__health_check_request__unpack(NULL, len, request);
    if (!r) {
        server_reply_invalid(call, "malformed HealthCheckRequest");
        return -1;
    }
    int found = 0;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(r->service, known[i]) == 0) found = 1;
    grpc__health__v1__health_check_request__free_unpacked(r, NULL);
    return found;
}

void health_check(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len)
{
    struct health *h = ((struct server *)ctx)->health;
    uint8_t answer[16];
    int known = requested(call, request, len);
    if (known < 0) return;
    if (known == 0) {
        rpc_call_reply(call, RPC_NOT_FOUND, "unknown service", NULL, 0);
        return;
    }
    (void)pthread_mutex_lock(&h->lock);
    size_t n = encode(current(h), answer);
    (void)pthread_mutex_unlock(&h->lock);
    rpc_call_reply(call, RPC_OK, NULL, answer, n);
}

void health_watch(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len)
{
    struct health *h = ((struct server *)ctx)->health;
    int known = requested(call, request, len);
    if (known < 0) return;
    (void)pthread_mutex_lock(&h->lock);
    if (h->stopped) {
        rpc_call_reply(call, RPC_UNAVAILABLE, "the agent is stopping", NULL, 0);
    } else if (h->count == WATCHERS_MAX) {
        rpc_call_reply(call, RPC_RESOURCE_EXHAUSTED, "too many watchers", NULL, 0);
    } else {
        struct watcher *w = &h->watchers[h->count++];
        *w = (struct watcher){.call = call, .known = known == 1};
        tell(h, w);
    }
    (void)pthread_mutex_unlock(&h->lock);
}

void health_watch_gone(void *ctx, struct rpc_call *call)
{
    struct health *h = ((struct server *)ctx)->health;
    (void)pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < h->count; i++) {
        if (h->watchers[i].call != call) continue;
        h->watchers[i] = h->watchers[--h->count];
        break;
    }
    (void)pthread_mutex_unlock(&h->lock);
}
