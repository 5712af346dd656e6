/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/rest_client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/slurm/rest_backend.h"
#include "agent/util/clock.h"
#include "agent/util/httpc.h"

enum {
    IDLE_MAX = 8, // connections that are kept; slurmrestd has 20 threads by default
    HEADER_MAX = 20 * 1024,
    URL_MAX = 16 * 1024,  // slurmrestd takes 80 KB of it and of headers
    PING_MAX = 256 << 10, // bytes of an answer
};

static const char unix_prefix[] = "unix:";

struct rest_client {
    char *base; // of all URLs, without a slash at its end
    char *socket, *ca, *admin_user;
    struct rest_auth *auth;
    _Atomic(const struct rest_version *) version; // NULL: not known
    pthread_mutex_t mutex;
    struct httpc *idle[IDLE_MAX];
    size_t idle_count;
};

static int set_endpoint(struct rest_client *c, const char *endpoint, struct error *err)
{
    if (strncmp(endpoint, unix_prefix, sizeof(unix_prefix) - 1) == 0) {
        const char *path = endpoint + sizeof(unix_prefix) - 1;
        if (*path != '/')
            return error_set(err, ERR_INVALID, "slurmrestd: unix: needs an absolute path");
        c->socket = strdup(path);
        c->base = strdup("http://slurmrestd");
        if (!c->socket || !c->base) return error_set(err, ERR_NOMEM, "slurmrestd: out of memory");
        return 0;
    }
    char origin[HTTPC_ORIGIN_MAX];
    if (httpc_origin(endpoint, origin) < 0)
        return error_set(
            err, ERR_INVALID, "slurmrestd: expected http://host:port, https://... or unix:/path");
    size_t len = strlen(endpoint);
    while (len && endpoint[len - 1] == '/')
        len--;
    c->base = strndup(endpoint, len);
    return c->base ? 0 : error_set(err, ERR_NOMEM, "slurmrestd: out of memory");
}

struct rest_client *rest_client_new(const char *endpoint,
                                    const char *ca,
                                    const char *admin_user,
                                    struct rest_auth *auth,
                                    struct error *err)
{
    struct rest_client *c = calloc(1, sizeof(*c));
    if (!c) {
        (void)error_set(err, ERR_NOMEM, "slurmrestd: out of memory");
        (void)rest_auth_destroy(auth);
        return NULL;
    }
    c->auth = auth;
    pthread_mutex_init(&c->mutex, NULL);
    if (set_endpoint(c, endpoint, err) < 0) return rest_client_destroy(c);
    c->admin_user = strdup(admin_user);
    if (ca && *ca) c->ca = strdup(ca);
    if (c->admin_user && (!ca || !*ca || c->ca)) return c;
    (void)error_set(err, ERR_NOMEM, "slurmrestd: out of memory");
    return rest_client_destroy(c);
}

struct rest_client *rest_client_destroy(struct rest_client *c)
{
    if (!c) return NULL;
    for (size_t i = 0; i < c->idle_count; i++)
        (void)httpc_destroy(c->idle[i]);
    (void)rest_auth_destroy(c->auth);
    pthread_mutex_destroy(&c->mutex);
    free(c->base);
    free(c->socket);
    free(c->ca);
    free(c->admin_user);
    free(c);
    return NULL;
}

static struct httpc *take(struct rest_client *c, struct error *err)
{
    struct httpc *h = NULL;
    pthread_mutex_lock(&c->mutex);
    if (c->idle_count) h = c->idle[--c->idle_count];
    pthread_mutex_unlock(&c->mutex);
    return h ? h : httpc_new(NULL, err);
}

static void give(struct rest_client *c, struct httpc *h)
{
    pthread_mutex_lock(&c->mutex);
    if (c->idle_count < IDLE_MAX) {
        c->idle[c->idle_count++] = h;
        h = NULL;
    }
    pthread_mutex_unlock(&c->mutex);
    (void)httpc_destroy(h);
}

/* What became of it, in the terms of rest_client.h. */
static int settle(struct rest_client *c, int rc, struct error *err)
{
    int code = rc;
    switch (rc) {
    case ERR_UNAVAILABLE:
    case ERR_INVALID: // the CA file: an operator mends it
        code = ERR_UNAVAILABLE;
        rest_client_forget_version(c); // who comes back may be another release
        break;
    case ERR_LIMIT:
        break;
    default: // out of memory too: in the middle, perhaps
        code = ERR_OUTCOME_UNKNOWN;
        break;
    }
    if (err) err->code = code;
    return c->socket ? error_prefix(err, "%s%s", unix_prefix, c->socket) : code;
}

static int perform(struct rest_client *c,
                   struct httpc_request *request,
                   struct buf *text,
                   struct rest_answer *answer,
                   struct error *err)
{
    size_t start = text->len;
    struct error local;
    struct httpc *h = take(c, err);
    if (!h) return ERR_UNAVAILABLE;
    int status = httpc_perform(h, request, text, &local);
    give(c, h);
    if (status < 0) {
        int rc = settle(c, status, &local);
        if (err) *err = local;
        return rc;
    }
    *answer = (struct rest_answer){status, {buf_str(text) + start, text->len - start}};
    return 0;
}

int rest_client_send(struct rest_client *c,
                     const struct rest_request *r,
                     long long deadline_ms,
                     struct buf *text,
                     struct rest_answer *answer,
                     struct error *err)
{
    static const char *const parts[] = {[REST_SLURM] = "slurm", [REST_SLURMDB] = "slurmdb"};
    char url[URL_MAX], name[128];
    struct buf token = BUF_INIT(HEADER_MAX);
    const char *user = r->user ? r->user : c->admin_user;
    long long left_ms = deadline_ms - clock_mono_ms();
    if (left_ms <= 0) return error_set(err, ERR_UNAVAILABLE, "slurmrestd: no time is left");
    int n = snprintf(
        url, sizeof(url), "%s/%s/v0.0.%u%s", c->base, parts[r->part], r->version->number, r->path);
    int m = snprintf(name, sizeof(name), "X-SLURM-USER-NAME: %s", user);
    if (n < 0 || (size_t)n >= sizeof(url) || m < 0 || (size_t)m >= sizeof(name))
        return error_set(err, ERR_UNAVAILABLE, "slurmrestd: URL or user name is too long");

    // A token is good to the end of the second that it names.
    unsigned int life_s = r->once ? (unsigned int)((left_ms + 999) / 1000) + REST_LATE_S - 1 : 0;
    int rc = rest_auth_header(c->auth, user, life_s, &token, err);
    if (rc == 0) {
        const char *headers[] = {
            name, buf_str(&token), r->body ? "Content-Type: application/json" : NULL, NULL};
        struct httpc_request request = {
            .method = r->method,
            .url = url,
            .headers = headers,
            .unix_socket = c->socket,
            .ca_file = c->ca,
            .body = r->body ? buf_str(r->body) : NULL,
            .body_len = r->body ? r->body->len : 0,
            .timeout_ms = left_ms,
            .once = r->once,
        };
        rc = perform(c, &request, text, answer, err);
    } else if (rc != ERR_UNAVAILABLE) {
        rc = ERR_UNAVAILABLE;
        if (err) err->code = rc;
    }
    buf_wipe(&token);
    return rc;
}

/* --- versions --- */

void rest_client_forget_version(struct rest_client *c)
{
    atomic_store(&c->version, NULL);
}

int rest_client_version(struct rest_client *c,
                        long long deadline_ms,
                        const struct rest_version **version,
                        struct error *err)
{
    const struct rest_version *v = atomic_load(&c->version);
    struct buf text = BUF_INIT(PING_MAX);
    struct rest_answer answer;
    struct rest_scan members;
    if (v) {
        *version = v;
        return 0;
    }
    int rc = ERR_UNSUPPORTED;
    // A version that is not served is a 404 without authentication and costs a millisecond.
    for (size_t i = 0; rc == ERR_UNSUPPORTED && (v = rest_version_at(i)); i++) {
        struct rest_request ping = {.version = v, .method = "GET", .path = "/ping"};
        buf_reset(&text);
        rc = rest_client_send(c, &ping, deadline_ms, &text, &answer, err);
        if (rc == 0 && answer.status == 404) rc = ERR_UNSUPPORTED;
    }
    if (rc == ERR_UNSUPPORTED)
        rc = error_set(err, ERR_UNAVAILABLE, "slurmrestd serves no API version that is known here");
    // Something that is no slurmrestd, or does not want us, does not say which version it serves.
    if (rc == 0 && rest_scan_begin(&members, answer.body, '{', NULL) < 0)
        rc = rest_decode_verdict(&answer, err);
    if (rc < 0) {
        if (err) err->code = ERR_UNAVAILABLE;
        rc = ERR_UNAVAILABLE;
    } else {
        atomic_store(&c->version, v);
        *version = v;
    }
    buf_free(&text);
    return rc;
}
