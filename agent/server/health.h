/* SPDX-License-Identifier: GPL-3.0-or-later */
/* grpc.health.v1.Health: Check, and a Watch that streams changes. */
#ifndef SERVER_HEALTH_H
#define SERVER_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/rpc_server.h"

struct health;

/* Not serving yet. NULL without memory. */
struct health *health_new(void);
struct health *health_destroy(struct health *h); // after the gRPC server; returns NULL

/* Any thread; watchers are told if it changed. */
void health_set_serving(struct health *h, bool serving);

/* NOT_SERVING to all watchers, and an end: an open stream would hold up the server's stop. */
void health_stop(struct health *h);

/* The methods, with `ctx` a struct server. */
void health_check(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len);
void health_watch(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len);
void health_watch_gone(void *ctx, struct rpc_call *call);

#endif
