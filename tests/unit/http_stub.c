/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/http_stub.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/util/clock.h"
#include "agent/util/parse.h"
#include "agent/util/thread.h"

enum { CONNECTIONS_MAX = 256, HEAD_MAX = 16 * 1024, BODY_MAX = 16 * 1024 * 1024 };

struct connection {
    struct http_stub *stub;
    pthread_t thread;
    int fd;
    unsigned int number;
};

struct http_stub {
    int fd, port;
    http_stub_fn fn;
    void *ctx;
    pthread_t thread;
    pthread_mutex_t handler; // one call at a time
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop;
    unsigned int requests, count;
    struct connection connections[CONNECTIONS_MAX];
};

/* Up to the empty line; what was read of the body stays behind it. Returns the head's length. */
static size_t read_head(int fd, char *head, size_t *got)
{
    *got = 0;
    for (;;) {
        head[*got] = '\0';
        char *end = strstr(head, "\r\n\r\n");
        if (end) return (size_t)(end - head) + 4;
        if (*got >= HEAD_MAX) return 0;
        ssize_t n = recv(fd, head + *got, HEAD_MAX - *got, 0);
        if (n <= 0) return 0;
        *got += (size_t)n;
    }
}

static size_t content_length(const char *head)
{
    uint64_t len = 0;
    char digits[24];
    const char *at = strcasestr(head, "\r\nContent-Length: ");
    if (!at) return 0;
    at += strlen("\r\nContent-Length: ");
    (void)snprintf(digits, sizeof(digits), "%.*s", (int)strspn(at, "0123456789"), at);
    return parse_u64(digits, BODY_MAX, &len) == 0 ? (size_t)len : 0;
}

static bool send_all(int fd, const void *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = send(fd, (const char *)data + done, len - done, MSG_NOSIGNAL);
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

static bool stopped_within(struct http_stub *s, long long ms)
{
    long long until = clock_mono_ms() + ms;
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    while (!s->stop && rc == 0)
        rc = thread_cond_wait_until(&s->changed, &s->lock, until);
    bool stop = s->stop;
    pthread_mutex_unlock(&s->lock);
    return stop;
}

/* False: the connection is to be closed. */
static bool answer(struct connection *c, struct http_stub_request *request)
{
    struct http_stub *s = c->stub;
    struct http_stub_reply r = {.status = 200, .body = BUF_INIT(128 * 1024 * 1024)};
    pthread_mutex_lock(&s->handler);
    request->number = ++s->requests;
    s->fn(s->ctx, request, &r);
    pthread_mutex_unlock(&s->handler);

    bool keep = !r.cut;
    if (r.delay_ms > 0 && stopped_within(s, r.delay_ms)) keep = false;
    if (keep) {
        char head[512];
        int n = snprintf(head,
                         sizeof(head),
                         "HTTP/1.1 %d Stub\r\nContent-Length: %zu\r\n%s\r\n",
                         r.status,
                         r.body.len,
                         r.header ? r.header : "");
        size_t len = r.cut_body ? r.body.len / 2 : r.body.len;
        keep = send_all(c->fd, head, (size_t)n) && send_all(c->fd, r.body.data, len);
    }
    buf_free(&r.body);
    return keep && !r.cut_body && !r.close_after;
}

static bool serve_one(struct connection *c, char *head)
{
    size_t got;
    size_t head_len = read_head(c->fd, head, &got);
    if (head_len == 0) return false;
    struct http_stub_request request = {.connection = c->number, .head = head};
    if (sscanf(head, "%15s %255s", request.method, request.path) != 2) return false;
    size_t body_len = content_length(head);
    char *body = malloc(body_len + 1);
    assert(body);
    size_t have = got - head_len < body_len ? got - head_len : body_len;
    memcpy(body, head + head_len, have);
    while (have < body_len) {
        ssize_t n = recv(c->fd, body + have, body_len - have, 0);
        if (n <= 0) break;
        have += (size_t)n;
    }
    body[have] = '\0';
    request.body = body;
    request.body_len = have;
    bool keep = have == body_len && answer(c, &request);
    free(body);
    return keep;
}

static void *connection_main(void *arg)
{
    struct connection *c = arg;
    char *head = malloc(HEAD_MAX + 1);
    assert(head);
    while (serve_one(c, head))
        ;
    free(head);
    (void)shutdown(c->fd, SHUT_RDWR); // closed when all is over: the number must not be reused
    return NULL;
}

static void *accept_main(void *arg)
{
    struct http_stub *s = arg;
    for (;;) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) return NULL;
        pthread_mutex_lock(&s->lock);
        assert(s->count < CONNECTIONS_MAX);
        struct connection *c = &s->connections[s->count++];
        *c = (struct connection){.stub = s, .fd = fd, .number = s->count};
        int rc = thread_start(&c->thread, "stub-conn", connection_main, c, NULL);
        assert(rc == 0);
        (void)rc;
        if (s->stop) (void)shutdown(fd, SHUT_RDWR);
        pthread_mutex_unlock(&s->lock);
    }
}

struct http_stub *http_stub_start(int port, http_stub_fn fn, void *ctx)
{
    struct http_stub *s = calloc(1, sizeof(*s));
    assert(s);
    int one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    s->fn = fn;
    s->ctx = ctx;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(s->fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(s->fd, 64) < 0) {
        close(s->fd);
        free(s);
        return NULL;
    }
    (void)getsockname(s->fd, (struct sockaddr *)&a, &len);
    s->port = ntohs(a.sin_port);
    pthread_mutex_init(&s->handler, NULL);
    pthread_mutex_init(&s->lock, NULL);
    thread_cond_init(&s->changed);
    int rc = thread_start(&s->thread, "stub-accept", accept_main, s, NULL);
    assert(rc == 0);
    (void)rc;
    return s;
}

struct http_stub *http_stub_stop(struct http_stub *s)
{
    if (!s) return NULL;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->changed);
    for (unsigned int i = 0; i < s->count; i++)
        (void)shutdown(s->connections[i].fd, SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
    (void)shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    for (unsigned int i = 0; i < s->count; i++) {
        pthread_join(s->connections[i].thread, NULL);
        close(s->connections[i].fd);
    }
    close(s->fd);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->handler);
    free(s);
    return NULL;
}

int http_stub_port(const struct http_stub *s)
{
    return s->port;
}
