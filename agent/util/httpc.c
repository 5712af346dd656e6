/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * With stream.c the only user of libcurl. The transfer runs in a multi handle, for one reason: its
 * wait can be ended by an event descriptor, so that a thread that hangs in a request can be stopped
 * at once.
 */
#include "agent/util/httpc.h"

#include <curl/curl.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/util/clock.h"

enum {
    // One server is all a client talks to; a second one for a request that is `once`.
    HTTPC_CONNECTIONS_MAX = 2,
    // The longest wait without looking at libcurl's own timers again.
    HTTPC_WAIT_MAX_MS = 1000,
};

struct httpc {
    CURLM *multi;
    CURL *easy;
    char *proxy; // "" = none
    int stop_fd; // eventfd, readable for ever after httpc_stop()
    atomic_bool stopped;
    struct buf *body; // of the request under way
    int body_error;   // why the body could not be stored
    char text[CURL_ERROR_SIZE];
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_init(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

void httpc_init(void)
{
    (void)pthread_once(&curl_once, curl_init);
}

struct httpc *httpc_new(const char *proxy, struct error *err)
{
    httpc_init();
    struct httpc *h = calloc(1, sizeof(*h));
    if (!h) goto fail;
    h->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    h->multi = curl_multi_init();
    h->easy = curl_easy_init();
    h->proxy = strdup(proxy ? proxy : "");
    if (h->stop_fd < 0 || !h->multi || !h->easy || !h->proxy) goto fail;
    (void)curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)HTTPC_CONNECTIONS_MAX);
    return h;
fail:
    error_set(err, ERR_NOMEM, "HTTP client: %s", h ? strerror(errno) : err_text(ERR_NOMEM));
    return httpc_destroy(h);
}

struct httpc *httpc_destroy(struct httpc *h)
{
    if (!h) return NULL;
    curl_easy_cleanup(h->easy);
    curl_multi_cleanup(h->multi);
    if (h->stop_fd >= 0) close(h->stop_fd);
    free(h->proxy);
    free(h);
    return NULL;
}

void httpc_stop(struct httpc *h)
{
    uint64_t one = 1;
    atomic_store(&h->stopped, true);
    ssize_t n = write(h->stop_fd, &one, sizeof(one));
    (void)n; // full means readable already
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct httpc *h = arg;
    size_t len = size * count; // libcurl: size is 1
    int rc = buf_put(h->body, data, len);
    if (rc < 0) h->body_error = rc;
    return rc < 0 ? 0 : len;
}

/* A header may be a credential, of which libcurl made a copy. */
static void free_headers(struct curl_slist *list)
{
    for (struct curl_slist *at = list; at; at = at->next)
        explicit_bzero(at->data, strlen(at->data));
    curl_slist_free_all(list);
}

static struct curl_slist *make_headers(const struct httpc_request *r)
{
    // libcurl would wait for "100 Continue" before a large body, a second for most servers.
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    for (size_t i = 0; list && r->headers && r->headers[i]; i++) {
        struct curl_slist *more = curl_slist_append(list, r->headers[i]);
        if (!more) free_headers(list);
        list = more;
    }
    return list;
}

static void only_http(CURL *e)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    (void)curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    (void)curl_easy_setopt(e, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    // A name lookup that hangs must not keep us past the deadline: its thread is left to itself.
    (void)curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
#endif
}

static int setup_method(CURL *e, const struct httpc_request *r)
{
    CURLcode rc = CURLE_OK;
    if (r->body) {
        rc = curl_easy_setopt(e, CURLOPT_POST, 1L);
        if (!rc) rc = curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
        if (!rc) rc = curl_easy_setopt(e, CURLOPT_POSTFIELDS, r->body);
    }
    if (!rc && r->method) rc = curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, r->method);
    return rc ? ERR_NOMEM : 0;
}

/* Everything is set anew for each request; reset keeps the connections. */
static int setup(struct httpc *h, const struct httpc_request *r, struct curl_slist *headers)
{
    CURL *e = h->easy;
    curl_easy_reset(e);
    only_http(e);
    if (curl_easy_setopt(e, CURLOPT_URL, r->url)) return ERR_NOMEM;
    if (curl_easy_setopt(e, CURLOPT_PROXY, h->proxy)) return ERR_NOMEM;
    if (curl_easy_setopt(e, CURLOPT_NOPROXY, "")) return ERR_NOMEM;
    if (curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, r->unix_socket)) return ERR_NOMEM;
    if (r->ca_file && curl_easy_setopt(e, CURLOPT_CAINFO, r->ca_file)) return ERR_NOMEM;
    (void)curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, r->once ? 1L : 0L);
    (void)curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
    (void)curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)r->timeout_ms);
    (void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, h->text);
    (void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(e, CURLOPT_WRITEDATA, h);
    return setup_method(e, r);
}

/* True, and the transfer's result, once it is over. */
static bool transfer_done(struct httpc *h, CURLcode *result)
{
    int left;
    const struct CURLMsg *msg;
    while ((msg = curl_multi_info_read(h->multi, &left))) {
        if (msg->msg != CURLMSG_DONE) continue;
        *result = msg->data.result;
        return true;
    }
    return false;
}

/* Drive the transfer to its end. Returns 0 with *result, or ERR_STOPPED. */
static int run(struct httpc *h, long long deadline_ms, CURLcode *result)
{
    for (;;) {
        if (atomic_load(&h->stopped)) return ERR_STOPPED;
        int running;
        if (curl_multi_perform(h->multi, &running)) break;
        if (transfer_done(h, result)) return 0;
        // libcurl keeps the deadline; this one is for what it may not notice.
        long long left_ms = deadline_ms + HTTPC_WAIT_MAX_MS - clock_mono_ms();
        if (left_ms <= 0) {
            *result = CURLE_OPERATION_TIMEDOUT;
            return 0;
        }
        struct curl_waitfd stop = {.fd = h->stop_fd, .events = CURL_WAIT_POLLIN};
        int wait_ms = left_ms < HTTPC_WAIT_MAX_MS ? (int)left_ms : HTTPC_WAIT_MAX_MS;
        if (curl_multi_wait(h->multi, &stop, 1, wait_ms, NULL)) break;
    }
    *result = CURLE_OUT_OF_MEMORY;
    return 0;
}

/* Did any byte of the request leave? A TLS handshake or a CONNECT that failed is no part of it. */
static bool nothing_sent(const struct httpc *h)
{
    long head = 0;
    curl_off_t body = 0;
    (void)curl_easy_getinfo(h->easy, CURLINFO_REQUEST_SIZE, &head);
    (void)curl_easy_getinfo(h->easy, CURLINFO_SIZE_UPLOAD_T, &body);
    return head == 0 && body == 0;
}

static int classify(const struct httpc *h, CURLcode result)
{
    switch (result) {
    case CURLE_OUT_OF_MEMORY:
        return ERR_NOMEM;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_SSL_CACERT_BADFILE:
        return ERR_INVALID;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
        return ERR_UNAVAILABLE;
    case CURLE_SEND_ERROR:
        return ERR_OUTCOME_UNKNOWN;
    default:
        return nothing_sent(h) ? ERR_UNAVAILABLE : ERR_OUTCOME_UNKNOWN;
    }
}

static int finish(struct httpc *h, const char *origin, CURLcode result, struct error *err)
{
    if (h->body_error == ERR_LIMIT)
        return error_set(err, ERR_LIMIT, "%s: answer above %zu bytes", origin, h->body->max);
    if (h->body_error < 0) return error_set(err, h->body_error, "%s: out of memory", origin);
    if (result != CURLE_OK) {
        int code = classify(h, result);
        const char *why = h->text[0] ? h->text : curl_easy_strerror(result);
        return error_set(err, code, "%s: %s", origin, why);
    }
    long status = 0;
    (void)curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 100 || status > 999)
        return error_set(err, ERR_OUTCOME_UNKNOWN, "%s: no HTTP status", origin);
    return (int)status;
}

int httpc_perform(struct httpc *h,
                  const struct httpc_request *request,
                  struct buf *body,
                  struct error *err)
{
    char origin[HTTPC_ORIGIN_MAX];
    if (httpc_origin(request->url, origin) < 0) return error_set(err, ERR_INVALID, "%s", origin);

    int rc = ERR_NOMEM;
    CURLcode result = CURLE_OK;
    h->body = body;
    h->body_error = 0;
    h->text[0] = '\0';
    struct curl_slist *headers = make_headers(request);
    if (!headers || setup(h, request, headers) < 0 || curl_multi_add_handle(h->multi, h->easy)) {
        error_set(err, rc, "%s: out of memory", origin);
        goto out;
    }
    rc = run(h, clock_mono_ms() + request->timeout_ms, &result);
    if (rc < 0)
        error_set(err, rc, "%s: stopped", origin);
    else
        rc = finish(h, origin, result, err);
    (void)curl_multi_remove_handle(h->multi, h->easy);
out:
    free_headers(headers);
    h->body = NULL;
    return rc;
}

long long httpc_retry_after_ms(const struct httpc *h)
{
    curl_off_t seconds = 0;
    (void)curl_easy_getinfo(h->easy, CURLINFO_RETRY_AFTER, &seconds);
    return seconds > 0 && seconds < INT_MAX ? (long long)seconds * 1000 : 0;
}

int httpc_origin(const char *url, char *out)
{
    char *scheme = NULL, *host = NULL, *port = NULL;
    int rc = ERR_INVALID;
    CURLU *u = curl_url();
    (void)snprintf(out, HTTPC_ORIGIN_MAX, "an invalid URL");
    if (!u || curl_url_set(u, CURLUPART_URL, url, 0)) goto out;
    if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0)) goto out;
    if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0) goto out;
    if (curl_url_get(u, CURLUPART_HOST, &host, 0)) goto out;
    if (curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT)) goto out;
    (void)snprintf(out, HTTPC_ORIGIN_MAX, "%s://%s:%s", scheme, host, port);
    rc = 0;
out:
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return rc;
}
