/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A small blocking gRPC client on gRPC core. The only includes of <grpc/...> are in proto/.
 */
#ifndef PROTO_RPC_CLIENT_H
#define PROTO_RPC_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/util/error.h"

struct rpc_tls {
    bool enabled;
    bool insecure;             // skip verification
    const char *ca_file;       // NULL or "": the system's roots
    const char *host_override; // NULL or "": the target's host
};

struct rpc_client;

/* Checks target (host:port, unix:/path) and CA file; does not connect. Max answer in bytes. */
struct rpc_client *
rpc_client_new(const char *target, const struct rpc_tls *tls, size_t max_answer, struct error *err);
struct rpc_client *
rpc_client_destroy(struct rpc_client *c); // no call may be under way; returns NULL

struct rpc_answer {
    int status;        // gRPC status code: 0 = OK
    char message[512]; // the server's text
    uint8_t *data;     // serialized message (malloc'ed; caller frees); NULL if status != 0
    size_t len;
};

/*
 * Unary call; blocks until answered or `deadline_ms` (clock_mono_ms). Any thread, several at once.
 * `wait_for_ready`: wait for a connection until the deadline instead of failing at once.
 * Returns 0 when there is a status (look at answer->status), else an ERR_* of ours.
 */
int rpc_client_call(struct rpc_client *c,
                    const char *method,
                    const void *request,
                    size_t len,
                    bool wait_for_ready,
                    long long deadline_ms,
                    struct rpc_answer *answer,
                    struct error *err);

/* One message of a stream, serialized; borrowed. */
struct rpc_message {
    const void *data; // NULL if len is 0
    size_t len;
};

/*
 * Client-streaming call, for a few messages: sends them in order, half-closes, and blocks until the
 * status or `deadline_ms`. A status that comes early ends it: an OK then says that the server has
 * enough, not that it read everything. Never waits for a connection that failed. Any thread,
 * several at once. Returns as rpc_client_call() does.
 */
int rpc_client_stream(struct rpc_client *c,
                      const char *method,
                      const struct rpc_message *messages,
                      size_t count,
                      long long deadline_ms,
                      struct rpc_answer *answer,
                      struct error *err);

/* gRPC status -> ERR_* whose class says what may be done (14 UNAVAILABLE, 4 outcome unknown, ...).
 */
int rpc_status_error(int status);

#endif
