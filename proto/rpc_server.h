/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A small gRPC server on gRPC core: unary methods whose answer may come later, from any thread, and
 * methods that answer with a stream of states. One thread takes all events; the functions of the
 * methods run on it and must not block.
 */
#ifndef PROTO_RPC_SERVER_H
#define PROTO_RPC_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/util/error.h"
#include "proto/rpc_status.h"

struct rpc_server;
struct rpc_call;

struct rpc_method {
    const char *path; // "/package.Service/Method"
    bool stream;      // answers with a stream

    /*
     * A new call, on the server's thread. `request` is borrowed. A unary call is owed exactly one
     * rpc_call_reply(), here or later. A stream's `call` is valid until gone() has returned.
     */
    void (*fn)(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len);

    /* Streams: the call is over, for whatever reason. Once a call, on the server's thread. */
    void (*gone)(void *ctx, struct rpc_call *call);
};

struct rpc_server_options {
    const char *listen_address; // host:port, :port (all interfaces), unix:/path; port 0: any
    bool tls;
    const char *cert_file, *key_file; // PEM
    const struct rpc_method *methods; // outlives the server
    size_t method_count;
    void *ctx;          // for the methods
    size_t max_request; // bytes; a larger one gets RESOURCE_EXHAUSTED
};

/* Bind and serve. The error tells why: address in use, bad certificate. */
struct rpc_server *rpc_server_start(const struct rpc_server_options *options, struct error *err);

/*
 * Take certificate and key from these files for the connections that come from now on. 1: another
 * certificate than before; 0: the same; or ERR_*, and the old one stays. Blocks for local files;
 * any thread.
 */
int rpc_server_set_certificate(struct rpc_server *s,
                               const char *cert_file,
                               const char *key_file,
                               struct error *err);

/* The port in use (1 for a Unix socket). */
int rpc_server_port(const struct rpc_server *s);

/*
 * Stop: no new connections or calls; waits up to grace_ms for calls under way, then cancels them;
 * returns NULL. Unary calls that are still owed an answer may get it later: it is thrown away. No
 * function of a method runs after it. Blocks; not from the server's thread.
 */
struct rpc_server *rpc_server_stop(struct rpc_server *s, long long grace_ms);

/*
 * Answer a unary call or end a stream; any thread, once a call. `message` (NULL: none) is the text
 * of a failure; `data` the message of a unary call that succeeded. All are copied.
 */
void rpc_call_reply(struct rpc_call *call,
                    enum rpc_status status,
                    const char *message,
                    const void *data,
                    size_t len);

/*
 * Send a state on a stream; any thread. A state that could not be sent yet is replaced by a newer
 * one, so that a slow reader costs one message.
 */
void rpc_call_send(struct rpc_call *call, const void *data, size_t len);

#endif
