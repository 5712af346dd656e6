/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A small HTTP server on a loopback port, for the faults that no real server shows on demand. One
 * thread per connection; the handler runs one call at a time.
 */
#ifndef TESTS_UNIT_HTTP_STUB_H
#define TESTS_UNIT_HTTP_STUB_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/util/buf.h"

struct http_stub;

struct http_stub_request {
    unsigned int number;     // 1 for the first of all connections
    unsigned int connection; // 1 for the first
    char method[16];
    char path[256];
    const char *head; // request line and headers; what was read of the body may follow
    const char *body; // NUL-terminated
    size_t body_len;
};

struct http_stub_reply {
    int status;         // 200
    const char *header; // "Name: value\r\n", or NULL
    struct buf body;
    long long delay_ms; // before the answer; ends early when the stub stops
    bool cut;           // close the connection instead of answering
    bool cut_body;      // announce the body, send half of it, close
    bool close_after;   // close the kept connection after the answer, without saying so
};

typedef void (*http_stub_fn)(void *ctx,
                             const struct http_stub_request *request,
                             struct http_stub_reply *reply);

/* `port` 0: any. Returns NULL if the port is taken. */
struct http_stub *http_stub_start(int port, http_stub_fn fn, void *ctx);
struct http_stub *http_stub_stop(struct http_stub *s); // closes all; returns NULL
int http_stub_port(const struct http_stub *s);

#endif
