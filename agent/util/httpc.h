/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An HTTP client: one request at a time with a deadline and a bounded answer, over connections that
 * are kept. Only http and https, no redirects, no cookies, no .netrc, no proxy but the one given
 * (the environment's are ignored).
 */
#ifndef UTIL_HTTPC_H
#define UTIL_HTTPC_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/util/buf.h"
#include "agent/util/error.h"

struct httpc;

struct httpc_request {
    const char *method;         // NULL: POST if there is a body, else GET
    const char *url;            // may hold credentials: no error text repeats it
    const char *const *headers; // "Name: value", NULL-terminated; NULL: none; never shown
    const char *unix_socket;    // connect to this path, not to the URL's host; NULL: no
    const char *ca_file;        // CA certificates (PEM) for https; NULL: the system's
    const void *body;           // borrowed; NULL: none
    size_t body_len;
    long long timeout_ms; // deadline of all of it: resolving, connecting, sending, answer
    /*
     * The request must not reach the server twice: it gets a connection of its own. Without this a
     * request that finds its kept connection dead is sent again on a new one.
     */
    bool once;
};

/* `proxy`: its URL, or NULL for none. Returns NULL (ERR_NOMEM) on lack of memory or descriptors. */
struct httpc *httpc_new(const char *proxy, struct error *err);
struct httpc *httpc_destroy(struct httpc *h); // NULL allowed; returns NULL

/*
 * Send and wait for the whole answer, whose body is appended to `body` (at most body->max bytes in
 * all). Blocks; one thread at a time. Returns the HTTP status (100..999), whatever it is, or
 *   ERR_INVALID          the URL, method, proxy or CA file cannot be used
 *   ERR_UNAVAILABLE      no connection: nothing was sent
 *   ERR_OUTCOME_UNKNOWN  it was sent, perhaps in part, and no whole answer came
 *   ERR_LIMIT            the answer is larger than `body` allows (the server has done its work)
 *   ERR_STOPPED          httpc_stop() was called; the outcome is as unknown
 *   ERR_NOMEM
 */
int httpc_perform(struct httpc *h,
                  const struct httpc_request *request,
                  struct buf *body,
                  struct error *err);

/* The last answer's Retry-After in ms, 0: it had none. To be asked before the next request. */
long long httpc_retry_after_ms(const struct httpc *h);

/* From any thread: end the request under way, at once, and fail all later ones with ERR_STOPPED. */
void httpc_stop(struct httpc *h);

/* libcurl's own, once in the process; httpc_new() does it. */
void httpc_init(void);

enum { HTTPC_ORIGIN_MAX = 300 };

/*
 * The part of an http(s) URL that may be shown, "https://host:port", in `out` of HTTPC_ORIGIN_MAX
 * bytes. ERR_INVALID if it is none (out is then "an invalid URL").
 */
int httpc_origin(const char *url, char *out);

#endif
