/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the client and the server share: gRPC's life, its log, slices, credentials. */
#ifndef PROTO_RPC_PRIVATE_H
#define PROTO_RPC_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <grpc/grpc.h>

#include "agent/util/error.h"
#include "proto/rpc_client.h"
#include "proto/rpc_server.h"

/*
 * gRPC core is up between the first rpc_init() and the matching last rpc_fini(); every client and
 * server holds one. gRPC's threads take over the signal mask: a program that has signal handlers
 * blocks its signals before. The process must not fork without exec in between. rpc_fini() may
 * block for gRPC's threads and must not be called from one of them.
 */
void rpc_init(void);
void rpc_fini(void);

/*
 * gRPC tells the reason of a failed bind to its log only. Between begin and end the last error
 * logged by this thread is kept; end writes what is worth reading of it ("" if nothing) to `text`.
 */
void rpc_log_capture_begin(void);
void rpc_log_capture_end(char *text, size_t size);

/* The message as one flat copy with a NUL behind it (malloc'ed), or NULL without memory. */
uint8_t *rpc_message_copy(grpc_byte_buffer *message, size_t *len);
grpc_byte_buffer *rpc_message_new(const void *data, size_t len);

/* Text of a slice, bounded by `size`, control bytes as blanks. */
void rpc_text_copy(char *out, size_t size, grpc_slice text);

/* Milliseconds of clock_mono_ms() as gRPC's time. */
gpr_timespec rpc_deadline(long long deadline_ms);

/* A channel argument. `key` is borrowed. */
grpc_arg rpc_arg_int(const char *key, int value);

/* Credentials for a channel (`tls` NULL: plaintext); NULL and *err if a file is bad. */
grpc_channel_credentials *rpc_channel_creds(const struct rpc_tls *tls, struct error *err);

/*
 * A server's certificate and key. Read and checked by any thread; connections that come after that
 * get the new ones. 1: another certificate than before; 0: the same; or ERR_*, and the old one
 * stays.
 */
struct rpc_identity;
struct rpc_identity *rpc_identity_new(void);     // NULL: no memory
void rpc_identity_free(struct rpc_identity *id); // NULL allowed
int rpc_identity_read(struct rpc_identity *id,
                      const char *cert_file,
                      const char *key_file,
                      struct error *err);

/* Credentials for a server, which `id` must outlive; NULL: plaintext. */
grpc_server_credentials *rpc_server_creds(struct rpc_identity *id);

#endif
