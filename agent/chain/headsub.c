/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/headsub.h"

#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/chain/wsframe.h"
#include "agent/util/clock.h"
#include "agent/util/jsonx.h"
#include "agent/util/log.h"
#include "agent/util/retry.h"
#include "agent/util/stream.h"
#include "agent/util/thread.h"

enum {
    TIMEOUT_MS = 10000, // of connecting, and of each step of the handshake
    QUIET_MS = 30000,   // without a byte for that long: ping; for twice that: connect again
    // Blocks that come faster, or a server that floods us, cause no more polls than this.
    POKE_EVERY_MS = 100,
    RETRY_BASE_MS = 1000,
    RETRY_MAX_MS = 60000,
    URL_MAX = 2048,
};

struct headsub {
    char url[URL_MAX];            // http or https: what curl connects to
    char host[512], target[1024]; // of the request
    void (*poke)(void *ctx);
    void *ctx;
    pthread_t thread;
    int stop_fd; // eventfd

    // The thread's own.
    struct stream *stream;
    uint8_t *data; // what was read: WS_FRAME_MAX and a frame's head
    size_t len;
    bool told;    // the log says that it does not work
    bool waiting; // a poke is due
    long long poked_ms;
    unsigned int attempt;
};

enum { DATA_MAX = WS_FRAME_MAX + 16 };

static int send_frame(
    struct headsub *h, enum ws_opcode opcode, const void *data, size_t len, struct error *err)
{
    uint8_t mask[4];
    struct buf b = BUF_INIT(WS_FRAME_MAX + 16);
    int rc = getrandom(mask, sizeof(mask), 0) == sizeof(mask) ? 0 : ERR_IO;
    if (rc == 0) rc = ws_put_frame(&b, opcode, data, len, mask);
    if (rc < 0)
        error_set(err, rc, "WebSocket: %s", err_text(rc));
    else
        rc = stream_write(h->stream, b.data, b.len, TIMEOUT_MS, err);
    buf_free(&b);
    return rc;
}

/* More bytes: their number, 0: none in time. */
static int read_more(struct headsub *h, long long timeout_ms, struct error *err)
{
    int n = stream_read(h->stream, h->data + h->len, DATA_MAX - h->len, timeout_ms, err);
    if (n > 0) h->len += (size_t)n;
    return n;
}

static void consume(struct headsub *h, size_t n)
{
    h->len -= n;
    memmove(h->data, h->data + n, h->len);
}

static int shake_hands(struct headsub *h, struct error *err)
{
    uint8_t nonce[16];
    struct buf b = BUF_INIT(4096);
    long long until_ms = clock_mono_ms() + TIMEOUT_MS;
    if (getrandom(nonce, sizeof(nonce), 0) != sizeof(nonce))
        return error_set(err, ERR_IO, "WebSocket: no random bytes");
    int rc = ws_put_request(&b, h->host, h->target, nonce);
    if (rc == 0) rc = stream_write(h->stream, b.data, b.len, TIMEOUT_MS, err);
    buf_free(&b);
    while (rc == 0) {
        h->data[h->len] = '\0';
        rc = ws_check_answer((const char *)h->data, nonce, err);
        if (rc != 0) break;
        rc = read_more(h, until_ms - clock_mono_ms(), err);
        if (rc == 0) rc = error_set(err, ERR_UNAVAILABLE, "WebSocket: no answer in time");
        if (rc > 0) rc = 0;
    }
    if (rc < 0) return rc;
    consume(h, (size_t)rc);
    static const char subscribe[] =
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_subscribe\",\"params\":[\"newHeads\"]}";
    return send_frame(h, WS_TEXT, subscribe, sizeof(subscribe) - 1, err);
}

/* A message of the server: an error, or the one thing that we asked for. */
static int take_text(struct headsub *h, const struct ws_frame *f, struct error *err)
{
    struct json_object *o = NULL;
    int rc = jsonx_parse(f->data, f->len, WS_FRAME_MAX, &o, err);
    const struct json_object *error = rc == 0 ? jsonx_find(o, "error") : NULL;
    const char *text;
    if (error) {
        if (jsonx_get_string(error, "message", &text, NULL) < 0) text = "no reason given";
        rc = error_set(err, ERR_REFUSED, "eth_subscribe: %.120s", text);
    }
    if (rc == 0) h->waiting = true;
    json_object_put(o);
    return rc;
}

static int take_frame(struct headsub *h, const struct ws_frame *f, struct error *err)
{
    switch (f->opcode) {
    case WS_PING:
        return send_frame(h, WS_PONG, f->data, f->len, err);
    case WS_CLOSE:
        return error_set(err, ERR_UNAVAILABLE, "WebSocket: closed by the server");
    case WS_TEXT:
        // In pieces or not: something came.
        if (f->final) return take_text(h, f, err);
        h->waiting = true;
        return 0;
    default:
        return 0;
    }
}

static int take_frames(struct headsub *h, struct error *err)
{
    struct ws_frame f;
    int n;
    while ((n = ws_read_frame(h->data, h->len, &f, err)) > 0) {
        int rc = take_frame(h, &f, err);
        if (rc < 0) return rc;
        consume(h, (size_t)n);
    }
    return n;
}

static void poke_if_due(struct headsub *h)
{
    long long now_ms = clock_mono_ms();
    if (!h->waiting || now_ms - h->poked_ms < POKE_EVERY_MS) return;
    h->waiting = false;
    h->poked_ms = now_ms;
    h->poke(h->ctx);
}

/* Until it breaks. */
static int listen_to(struct headsub *h, struct error *err)
{
    long long heard_ms = clock_mono_ms();
    bool pinged = false;
    for (;;) {
        int rc = take_frames(h, err);
        if (rc < 0) return rc;
        poke_if_due(h);
        int n = read_more(h, h->waiting ? POKE_EVERY_MS : QUIET_MS, err);
        if (n < 0) return n;
        long long quiet_ms = clock_mono_ms() - heard_ms;
        if (n > 0) {
            heard_ms = clock_mono_ms();
            pinged = false;
            h->attempt = 0;
            if (h->told) log_info("chain: new heads come over WebSocket again");
            h->told = false;
        } else if (quiet_ms >= 2 * QUIET_MS) {
            return error_set(err, ERR_UNAVAILABLE, "WebSocket: it went silent");
        } else if (quiet_ms >= QUIET_MS && !pinged) {
            pinged = true;
            rc = send_frame(h, WS_PING, "", 0, err);
            if (rc < 0) return rc;
        }
    }
}

static bool wait_ms(struct headsub *h, long long ms)
{
    struct pollfd p = {.fd = h->stop_fd, .events = POLLIN};
    return poll(&p, 1, (int)ms) == 0;
}

static void *headsub_main(void *arg)
{
    struct headsub *h = arg;
    for (;;) {
        struct error err = {0};
        h->len = 0;
        h->waiting = false;
        h->stream = stream_open(h->url, TIMEOUT_MS, h->stop_fd, &err);
        int rc = h->stream ? shake_hands(h, &err) : err.code;
        if (rc == 0) rc = listen_to(h, &err);
        h->stream = stream_close(h->stream);
        if (rc == ERR_STOPPED) return NULL;
        h->attempt++;
        if (!h->told)
            log_warn("chain: no new heads over WebSocket, polling goes on as before: %s", err.text);
        h->told = true;
        if (!wait_ms(h, retry_delay_ms(h->attempt, RETRY_BASE_MS, RETRY_MAX_MS))) return NULL;
    }
}

/* ws://host:port/path?query: what to connect to, host and target of the request. */
static int split_url(struct headsub *h, const char *url, struct error *err)
{
    const char *host = strstr(url, "://");
    if (strncmp(url, "ws", 2) != 0 || !host || strchr(url, '@')) goto bad;
    host += 3;
    size_t host_len = strcspn(host, "/?#");
    const char *target = host + host_len;
    const char *slash = *target == '/' ? "" : "/";
    if (snprintf(h->url, sizeof(h->url), "http%s", url + 2) >= (int)sizeof(h->url) ||
        snprintf(h->host, sizeof(h->host), "%.*s", (int)host_len, host) >= (int)sizeof(h->host) ||
        snprintf(h->target, sizeof(h->target), "%s%s", slash, target) >= (int)sizeof(h->target))
        goto bad;
    return 0;
bad:
    return error_set(err,
                     ERR_INVALID,
                     "chain WebSocket endpoint: no ws or wss URL, with a user in it, or too long");
}

static struct headsub *headsub_free(struct headsub *h)
{
    if (h->stop_fd >= 0) close(h->stop_fd);
    free(h->data);
    free(h);
    return NULL;
}

struct headsub *
headsub_start(const char *url, void (*poke)(void *ctx), void *ctx, struct error *err)
{
    struct headsub *h = calloc(1, sizeof(*h));
    if (!h) {
        error_set(err, ERR_NOMEM, "chain WebSocket endpoint: out of memory");
        return NULL;
    }
    h->poke = poke;
    h->ctx = ctx;
    h->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    h->data = malloc(DATA_MAX + 1);
    if (split_url(h, url, err) < 0) return headsub_free(h);
    if (h->stop_fd < 0 || !h->data) {
        error_set(err, ERR_NOMEM, "chain WebSocket endpoint: no memory or descriptor");
        return headsub_free(h);
    }
    if (thread_start(&h->thread, "chain-ws", headsub_main, h, err) < 0) return headsub_free(h);
    return h;
}

struct headsub *headsub_stop(struct headsub *h)
{
    uint64_t one = 1;
    if (!h) return NULL;
    ssize_t n = write(h->stop_fd, &one, sizeof(one));
    (void)n; // full means readable already
    pthread_join(h->thread, NULL);
    return headsub_free(h);
}
