/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/util/stream.h"

#include <curl/curl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "agent/util/clock.h"
#include "agent/util/httpc.h"

struct stream {
    CURL *easy;
    curl_socket_t fd;
    int stop_fd;
    char origin[HTTPC_ORIGIN_MAX];
    char text[CURL_ERROR_SIZE];
};

static bool is_stopped(const struct stream *s)
{
    struct pollfd p = {.fd = s->stop_fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return is_stopped(arg);
}

static int stopped(const struct stream *s, struct error *err)
{
    return error_set(err, ERR_STOPPED, "%s: stopped", s->origin);
}

static int broken(const struct stream *s, CURLcode rc, struct error *err)
{
    const char *why = rc == CURLE_OK ? "closed" : s->text[0] ? s->text : curl_easy_strerror(rc);
    return error_set(err, ERR_UNAVAILABLE, "%s: %s", s->origin, why);
}

static int set_up(struct stream *s, const char *url, long long timeout_ms)
{
    CURL *e = s->easy = curl_easy_init();
    if (!e || curl_easy_setopt(e, CURLOPT_URL, url) || curl_easy_setopt(e, CURLOPT_PROXY, ""))
        return ERR_NOMEM;
    (void)curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
    (void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    (void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, s->text);
    (void)curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(e, CURLOPT_XFERINFODATA, s);
    return 0;
}

struct stream *stream_open(const char *url, long long timeout_ms, int stop_fd, struct error *err)
{
    httpc_init();
    struct stream *s = calloc(1, sizeof(*s));
    if (!s) {
        error_set(err, ERR_NOMEM, "connection: out of memory");
        return NULL;
    }
    s->stop_fd = stop_fd;
    if (httpc_origin(url, s->origin) < 0) {
        error_set(err, ERR_INVALID, "%s", s->origin);
        return stream_close(s);
    }
    if (set_up(s, url, timeout_ms) < 0) {
        error_set(err, ERR_NOMEM, "%s: out of memory", s->origin);
        return stream_close(s);
    }
    CURLcode rc = curl_easy_perform(s->easy);
    if (rc == CURLE_OK) rc = curl_easy_getinfo(s->easy, CURLINFO_ACTIVESOCKET, &s->fd);
    if (rc == CURLE_OK && s->fd != CURL_SOCKET_BAD) return s;
    (void)(is_stopped(s) ? stopped(s, err) : broken(s, rc, err));
    return stream_close(s);
}

struct stream *stream_close(struct stream *s)
{
    if (!s) return NULL;
    curl_easy_cleanup(s->easy);
    free(s);
    return NULL;
}

/* 1: ready, 0: not within the time, ERR_STOPPED. */
static int wait_for(struct stream *s, short events, long long until_ms, struct error *err)
{
    struct pollfd p[] = {{.fd = s->fd, .events = events}, {.fd = s->stop_fd, .events = POLLIN}};
    long long left_ms = until_ms - clock_mono_ms();
    if (left_ms < 0) left_ms = 0;
    int n = poll(p, 2, left_ms > INT_MAX ? INT_MAX : (int)left_ms);
    if (n > 0 && p[1].revents) return stopped(s, err);
    return n > 0;
}

int stream_write(
    struct stream *s, const void *data, size_t len, long long timeout_ms, struct error *err)
{
    long long until_ms = clock_mono_ms() + timeout_ms;
    for (size_t done = 0; done < len;) {
        size_t n = 0;
        CURLcode rc = curl_easy_send(s->easy, (const char *)data + done, len - done, &n);
        done += n;
        if (rc == CURLE_OK) continue;
        if (rc != CURLE_AGAIN) return broken(s, rc, err);
        int ready = wait_for(s, POLLOUT, until_ms, err);
        if (ready < 0) return ready;
        if (ready == 0) return broken(s, CURLE_OPERATION_TIMEDOUT, err);
    }
    return 0;
}

int stream_read(struct stream *s, void *data, size_t size, long long timeout_ms, struct error *err)
{
    long long until_ms = clock_mono_ms() + timeout_ms;
    for (;;) { // TLS may hold bytes that the socket does not show
        size_t n = 0;
        CURLcode rc = curl_easy_recv(s->easy, data, size, &n);
        if (rc == CURLE_OK && n > 0) return (int)n;
        if (rc != CURLE_AGAIN) return broken(s, rc, err);
        int ready = wait_for(s, POLLIN, until_ms, err);
        if (ready <= 0) return ready;
    }
}
