/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is written is for the customer's eyes and comes once a job at most, so a connection is made
 * for each call and nothing is kept. Whose the logger is, is the customer API's word alone: it is a
 * stranger, that may get these lines and nothing else.
 */
#include "agent/customer/logger.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/util/clock.h"
#include "agent/util/parse.h"
#include "proto/logger.pb-c.h"
#include "proto/rpc_client.h"
#include "proto/rpc_status.h"

enum {
    /* sbatch's complaints have a few lines; a wrapper's or a plugin's must not become a novel. */
    LINES_MAX = 64,
    LINE_BYTES_MAX = 1024,
    /* WriteResponse has no fields. */
    ANSWER_MAX = 4096,
    /* DNS names end at 253. */
    HOST_MAX = 253,
    /* "[" host "]:65535" */
    TARGET_SIZE = HOST_MAX + 10,
};

struct customer_logger {
    bool tls, insecure;
    char *ca_file, *host_override; // never NULL
};

struct customer_logger *customer_logger_destroy(struct customer_logger *l)
{
    if (!l) return NULL;
    free(l->ca_file);
    free(l->host_override);
    free(l);
    return NULL;
}

static struct rpc_client *
connect_to(const struct customer_logger *l, const char *target, struct error *err)
{
    struct rpc_tls tls = {
        .enabled = l->tls,
        .insecure = l->insecure,
        .ca_file = l->ca_file,
        .host_override = l->host_override,
    };
    return rpc_client_new(target, &tls, ANSWER_MAX, err);
}

struct customer_logger *customer_logger_new(const struct customer_logger_options *options,
                                            struct error *err)
{
    struct customer_logger *l = calloc(1, sizeof(*l));
    if (l) {
        l->tls = options->tls;
        l->insecure = options->insecure;
        l->ca_file = strdup(options->ca_file ? options->ca_file : "");
        l->host_override = strdup(options->host_override ? options->host_override : "");
    }
    if (!l || !l->ca_file || !l->host_override) {
        (void)error_set(err, ERR_NOMEM, "logger: out of memory");
        return customer_logger_destroy(l);
    }
    // A client for nobody reads the files, and connects with its first call only.
    struct rpc_client *trial = connect_to(l, "localhost:1", err);
    if (!trial) {
        (void)error_prefix(err, "logger");
        return customer_logger_destroy(l);
    }
    rpc_client_destroy(trial);
    return l;
}

/* ---- the url ---- */

static bool host_ok(const char *host, bool is_v6)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    struct in6_addr v6;
    size_t len = strlen(host);
    if (is_v6) return inet_pton(AF_INET6, host, &v6) == 1;
    return len > 0 && len <= HOST_MAX && host[strspn(host, allowed)] == '\0' && host[0] != '.' &&
           host[0] != '-' && !strstr(host, "..");
}

/* The target is put together anew from what was understood. The url itself is nobody's to read. */
static int make_target(char out[TARGET_SIZE], const char *url, struct error *err)
{
    struct hostport hp;
    bool v6 = url[0] == '[';
    if (parse_hostport(url, &hp) < 0 || hp.port == 0 || !host_ok(hp.host, v6))
        return error_set(err, ERR_INVALID, "the logger's address is not host:port");
    (void)snprintf(out, TARGET_SIZE, v6 ? "[%s]:%u" : "%s:%u", hp.host, hp.port);
    return 0;
}

/* ---- the lines ---- */

struct line {
    const char *text;
    size_t len;
};

/* A cut takes no character in two. */
static size_t cut(const char *text, size_t len)
{
    if (len <= LINE_BYTES_MAX) return len;
    size_t n = LINE_BYTES_MAX;
    while (n > LINE_BYTES_MAX - 3 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    return n;
}

static size_t split(const char *text, struct line lines[LINES_MAX])
{
    size_t count = 0;
    while (*text) {
        size_t len = strcspn(text, "\n");
        struct line line = {text, len};
        if (line.len > 0 && text[line.len - 1] == '\r') line.len--;
        text += len + (text[len] == '\n');
        if (line.len == 0) continue;
        if (count == LINES_MAX) {
            lines[count - 1] = (struct line){"...", 3};
            break;
        }
        line.len = cut(line.text, line.len);
        lines[count++] = line;
    }
    return count;
}

static void free_messages(struct rpc_message *messages, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free((void *)messages[i].data);
}

/* Times a nanosecond apart keep the lines in order where they are sorted by time. */
static int pack(const char *log_name,
                const char *user,
                const struct line *lines,
                size_t count,
                struct rpc_message *messages)
{
    int64_t now_ns = clock_wall_ms() * 1000000;
    for (size_t i = 0; i < count; i++) {
        Logger__V1alpha1__WriteRequest r = LOGGER__V1ALPHA1__WRITE_REQUEST__INIT;
        r.log_name = (char *)log_name;
        r.user = (char *)user;
        r.data = (ProtobufCBinaryData){lines[i].len, (uint8_t *)lines[i].text};
        r.timestamp = now_ns + (int64_t)i;
        size_t len = logger__v1alpha1__write_request__get_packed_size(&r);
        uint8_t *data = malloc(len);
        if (!data) {
            free_messages(messages, i);
            return ERR_NOMEM;
        }
        (void)logger__v1alpha1__write_request__pack(&r, data);
        messages[i] = (struct rpc_message){data, len};
    }
    return 0;
}

/* ---- the call ---- */

static int send_to(const struct customer_logger *l,
                   const char *target,
                   const struct rpc_message *messages,
                   size_t count,
                   long long deadline_ms,
                   struct error *err)
{
    static const char method[] = "/logger.v1alpha1.LoggerAPI/Write";
    struct rpc_answer a = {0};
    struct rpc_client *c = connect_to(l, target, err);
    if (!c) return error_prefix(err, "logger %s", target);
    int rc = rpc_client_stream(c, method, messages, count, deadline_ms, &a, err);
    rpc_client_destroy(c);
    if (rc < 0) return error_prefix(err, "logger %s", target);
    free(a.data);
    if (a.status == RPC_OK) return 0;
    return error_set(err,
                     rpc_status_error(a.status),
                     "logger %s: gRPC status %d: %.200s",
                     target,
                     a.status,
                     a.message);
}

int customer_logger_write(struct customer_logger *l,
                          const char *url,
                          const char *log_name,
                          const char *user,
                          const char *text,
                          long long deadline_ms,
                          struct error *err)
{
    char target[TARGET_SIZE];
    struct line lines[LINES_MAX];
    struct rpc_message messages[LINES_MAX];
    struct error local = {0};
    if (!err) err = &local; // error_prefix() returns its code
    int rc = make_target(target, url, err);
    size_t count = split(text, lines);
    if (rc < 0 || count == 0) return rc;
    if (pack(log_name, user, lines, count, messages) < 0)
        return error_set(err, ERR_NOMEM, "logger: out of memory");
    rc = send_to(l, target, messages, count, deadline_ms, err);
    free_messages(messages, count);
    return rc;
}
