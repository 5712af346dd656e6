/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the services share. Their functions run on the gRPC thread. */
#ifndef SERVER_SERVER_PRIVATE_H
#define SERVER_SERVER_PRIVATE_H

#include "agent/server/health.h"
#include "agent/server/server.h"
#include "proto/rpc_server.h"

struct server {
    struct rpc_server *rpc;
    struct server_ops ops;
    void *ctx;
    char *authorized_keys; // "" if there is none
    struct health *health;
};

/* Answer with INVALID_ARGUMENT. */
static inline void server_reply_invalid(struct rpc_call *call, const char *message)
{
    rpc_call_reply(call, RPC_INVALID_ARGUMENT, message, NULL, 0);
}

#endif
