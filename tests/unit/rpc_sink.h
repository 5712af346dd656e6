/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A server for client-streaming calls, on gRPC core alone: one call at a time, on its own thread.
 */
#ifndef TESTS_RPC_SINK_H
#define TESTS_RPC_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What it does with a call. To be set before the call. */
struct rpc_sink_plan {
    size_t reads;       // messages that it reads before the status; SIZE_MAX: to the end
    bool mute;          // no status, ever
    int status;         // gRPC's
    bool no_message;    // status OK without an answer
    const char *answer; // NULL: empty
};

/* What it has seen since rpc_sink_plan(). */
struct rpc_sink_seen {
    char method[128];
    unsigned int calls;
    bool to_the_end; // the last call was half-closed and read to there
    size_t count;    // messages, of all calls
    struct rpc_sink_message {
        size_t len;
        uint8_t data[2048]; // the first bytes
    } messages[256];
};

struct rpc_sink;

/* On a port of its own; TLS if there is a certificate. */
struct rpc_sink *rpc_sink_start(const char *cert_file, const char *key_file);
int rpc_sink_port(const struct rpc_sink *s);

/* Forgets what was seen. No call may be under way. */
void rpc_sink_plan(struct rpc_sink *s, const struct rpc_sink_plan *plan);

/* Borrowed until the next plan. No call may be under way. */
const struct rpc_sink_seen *rpc_sink_seen(struct rpc_sink *s);

/* Waits until the calls so far number `calls`. */
void rpc_sink_wait(struct rpc_sink *s, unsigned int calls);

/* Ends a call under way. Returns NULL. */
struct rpc_sink *rpc_sink_stop(struct rpc_sink *s);

#endif
