/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The specification is that of jsonrpc.org; the error codes of reverts are EIP-1474's and geth's.
 */
#include "agent/chain/jsonrpc.h"

#include <assert.h>
#include <ctype.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/chain/ethjson.h"
#include "agent/chain/rpcerr.h"
#include "agent/util/buf.h"
#include "agent/util/httpc.h"
#include "agent/util/jsonx.h"

enum {
    // A raw transaction is at most 128 kB (geth), twice that in hex; 100 of ordinary size fit.
    JSONRPC_REQUEST_MAX = 8 * 1024 * 1024,
    // Revert data of ours is under 1 kB; a longer one is not a reason anybody reads.
    JSONRPC_REVERT_MAX = 64 * 1024,
    JSONRPC_EXCERPT_MAX = 120, // bytes of a foreign body in an error text
    // geth: 3 is "execution reverted" with data; others say it in the message.
    JSONRPC_CODE_REVERTED = 3,
};

struct jsonrpc {
    struct httpc *http;
    char *endpoint;
    long long timeout_ms;
    char origin[HTTPC_ORIGIN_MAX];
    struct buf body;
    bool refused; // the last perform() was told that there were too many
    long long retry_after_ms;
};

struct jsonrpc_batch {
    struct buf text; // the requests, comma-separated
    int error;       // first failure of jsonrpc_add
    int count;
    const char *methods[JSONRPC_BATCH_MAX]; // static texts
    struct jsonrpc_answer answers[JSONRPC_BATCH_MAX];
    struct json_object *document; // holds all results
};

struct jsonrpc *jsonrpc_new(const char *endpoint, long long timeout_ms, struct error *err)
{
    char origin[HTTPC_ORIGIN_MAX];
    if (httpc_origin(endpoint, origin) < 0) {
        error_set(err, ERR_INVALID, "chain endpoint: not an http or https URL");
        return NULL;
    }
    struct jsonrpc *c = calloc(1, sizeof(*c));
    if (!c) goto fail;
    c->timeout_ms = timeout_ms;
    c->body = BUF_INIT(JSONRPC_ANSWER_MAX);
    memcpy(c->origin, origin, sizeof(origin));
    c->endpoint = strdup(endpoint);
    c->http = httpc_new(NULL, err);
    if (c->endpoint && c->http) return c;
fail:
    error_set(err, ERR_NOMEM, "chain endpoint: out of memory");
    return jsonrpc_destroy(c);
}

struct jsonrpc *jsonrpc_destroy(struct jsonrpc *c)
{
    if (!c) return NULL;
    httpc_destroy(c->http);
    buf_free(&c->body);
    free(c->endpoint);
    free(c);
    return NULL;
}

void jsonrpc_stop(struct jsonrpc *c)
{
    httpc_stop(c->http);
}

void jsonrpc_set_timeout(struct jsonrpc *c, long long timeout_ms)
{
    c->timeout_ms = timeout_ms;
}

const char *jsonrpc_origin(const struct jsonrpc *c)
{
    return c->origin;
}

struct jsonrpc_batch *jsonrpc_batch_new(struct error *err)
{
    struct jsonrpc_batch *b = calloc(1, sizeof(*b));
    if (!b)
        error_set(err, ERR_NOMEM, "JSON-RPC: out of memory");
    else
        b->text = BUF_INIT(JSONRPC_REQUEST_MAX);
    return b;
}

static void drop_answers(struct jsonrpc_batch *b)
{
    for (int i = 0; i < b->count; i++)
        free(b->answers[i].data);
    memset(b->answers, 0, sizeof(b->answers));
    json_object_put(b->document);
    b->document = NULL;
}

void jsonrpc_batch_reset(struct jsonrpc_batch *b)
{
    drop_answers(b);
    buf_reset(&b->text);
    b->error = 0;
    b->count = 0;
}

struct jsonrpc_batch *jsonrpc_batch_destroy(struct jsonrpc_batch *b)
{
    if (!b) return NULL;
    drop_answers(b);
    buf_free(&b->text);
    free(b);
    return NULL;
}

static int __attribute__((format(printf, 2, 0)))
put_params(struct buf *b, const char *fmt, va_list ap)
{
    char *params = NULL;
    if (vasprintf(&params, fmt, ap) < 0) return ERR_NOMEM;
    int rc = buf_puts(b, params);
    free(params);
    return rc;
}

int jsonrpc_add(struct jsonrpc_batch *b, const char *method, const char *params_fmt, ...)
{
    if (!b->error && b->count >= JSONRPC_BATCH_MAX) b->error = ERR_LIMIT;
    if (b->error) return b->error;

    int rc = buf_putf(&b->text,
                      "%s{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"%s\",\"params\":",
                      b->count ? "," : "",
                      b->count,
                      method);
    va_list ap;
    va_start(ap, params_fmt);
    if (rc == 0) rc = put_params(&b->text, params_fmt, ap);
    va_end(ap);
    if (rc == 0) rc = buf_puts(&b->text, "}");
    if (rc < 0) return b->error = rc;
    b->methods[b->count] = method;
    return b->count++;
}

void jsonrpc_fail(struct jsonrpc_batch *b, int code)
{
    if (!b->error) b->error = code;
}

/* A foreign text for a message: one line, short. */
static const char *excerpt(char out[JSONRPC_EXCERPT_MAX + 1], const char *text)
{
    size_t n = 0;
    for (; text[n] && n < JSONRPC_EXCERPT_MAX; n++)
        out[n] = isprint((unsigned char)text[n]) ? text[n] : ' ';
    out[n] = '\0';
    return out;
}

static int check_status(struct jsonrpc *c, int status, struct error *err)
{
    if (status == 200) return 0;
    c->retry_after_ms = httpc_retry_after_ms(c->http);
    c->refused = status == 429 || (status == 503 && c->retry_after_ms > 0);
    char head[JSONRPC_EXCERPT_MAX + 1];
    bool later = status == 408 || status == 429 || status >= 500;
    return error_set(err,
                     later ? ERR_UNAVAILABLE : ERR_REFUSED,
                     "%s: HTTP %d%s%s",
                     c->origin,
                     status,
                     c->body.len ? ": " : "",
                     excerpt(head, buf_str(&c->body)));
}

/*
 * The revert's data: a string in `data` of most nodes, an object around it in some older ones. Data
 * that is no hex is left out: the message then says what there is to say.
 */
static int take_revert_data(struct jsonrpc_answer *a, const struct json_object *error)
{
    struct json_object *data = jsonx_find(error, "data");
    if (json_object_is_type(data, json_type_object)) data = jsonx_find(data, "data");
    const char *hex;
    if (!data || jsonx_as_string(data, "data", &hex, NULL) < 0) return 0;
    struct buf b = BUF_INIT(JSONRPC_REVERT_MAX);
    int rc = eth_json_bytes(data, "data", &b, NULL);
    if (rc == 0) a->data = (uint8_t *)buf_steal(&b, &a->data_len);
    buf_free(&b);
    return rc == ERR_NOMEM ? rc : 0;
}

static bool is_revert(const struct jsonrpc_answer *a, const struct json_object *error)
{
    if (a->code == JSONRPC_CODE_REVERTED || strcasestr(a->message, "revert")) return true;
    // Hex in `data` is what a contract returned; other errors have other things there, if any.
    const char *hex;
    const struct json_object *data = jsonx_find(error, "data");
    return data && jsonx_as_string(data, "data", &hex, NULL) == 0 && strncmp(hex, "0x", 2) == 0;
}

/*
 * A message may quote what a contract reverted with, any bytes: a stranger's contract must not make
 * an answer unreadable. What is not printable becomes a blank.
 */
static int
read_message(struct jsonrpc_answer *a, const struct json_object *error, struct error *err)
{
    struct json_object *message = jsonx_find(error, "message");
    if (!message) return 0;
    if (!json_object_is_type(message, json_type_string))
        return error_set(err, ERR_PROTO, "an error whose message is no string");
    const char *text = json_object_get_string(message);
    size_t len = (size_t)json_object_get_string_len(message);
    if (len >= sizeof(a->message)) len = sizeof(a->message) - 1;
    for (size_t i = 0; i < len; i++)
        a->message[i] = isprint((unsigned char)text[i]) ? text[i] : ' ';
    while (len > 0 && a->message[len - 1] == ' ')
        len--;
    a->message[len] = '\0';
    return 0;
}

static int read_error(struct jsonrpc_answer *a, const struct json_object *error, struct error *err)
{
    if (jsonx_get_i64(error, "code", &a->code, err) < 0) return ERR_PROTO;
    if (read_message(a, error, err) < 0) return ERR_PROTO;
    a->kind = is_revert(a, error) ? JSONRPC_REVERTED : JSONRPC_ERROR;
    if (a->kind == JSONRPC_REVERTED && take_revert_data(a, error) < 0)
        return error_set(err, ERR_NOMEM, "JSON-RPC: out of memory");
    return 0;
}

/* Some providers say in JSON what others say with HTTP 429. */
static bool is_rate(const struct jsonrpc_answer *a)
{
    return a->kind == JSONRPC_ERROR && rpc_error_kind(a->code, a->message) == RPC_ERROR_RATE;
}

/* One response object, to the request it names. ERR_BUSY: there were too many. */
static int read_one(struct jsonrpc_batch *b, const struct json_object *o, struct error *err)
{
    uint64_t id;
    struct json_object *error = jsonx_find(o, "error");
    if (error && !jsonx_find(o, "id")) { // the server could not tell what it answers
        struct jsonrpc_answer a = {0};
        char head[JSONRPC_EXCERPT_MAX + 1];
        int rc = read_error(&a, error, err);
        free(a.data);
        if (rc < 0) return rc;
        return error_set(err,
                         is_rate(&a) ? ERR_BUSY : ERR_REFUSED,
                         "node error %lld: %s",
                         (long long)a.code,
                         excerpt(head, a.message));
    }
    if (jsonx_get_u64(o, "id", &id, err) < 0) return ERR_PROTO;
    if (id >= (uint64_t)b->count)
        return error_set(err, ERR_PROTO, "answer to request %llu", (unsigned long long)id);
    struct jsonrpc_answer *a = &b->answers[id];
    if (a->kind != JSONRPC_NONE)
        return error_set(err, ERR_PROTO, "two answers to %s", b->methods[id]);
    if (error) return read_error(a, error, err);
    if (!json_object_object_get_ex(o, "result", &a->result))
        return error_set(err, ERR_PROTO, "%s: neither result nor error", b->methods[id]);
    a->kind = JSONRPC_RESULT;
    return 0;
}

static int read_all(struct jsonrpc_batch *b, struct error *err)
{
    if (!json_object_is_type(b->document, json_type_array)) return read_one(b, b->document, err);
    for (size_t i = 0; i < json_object_array_length(b->document); i++) {
        int rc = read_one(b, json_object_array_get_idx(b->document, i), err);
        if (rc < 0) return rc;
    }
    return 0;
}

static int check_complete(const struct jsonrpc_batch *b, struct error *err)
{
    for (int i = 0; i < b->count; i++)
        if (b->answers[i].kind == JSONRPC_NONE)
            return error_set(err, ERR_PROTO, "no answer to %s", b->methods[i]);
    for (int i = 0; i < b->count; i++)
        if (is_rate(&b->answers[i]))
            return error_set(err, ERR_BUSY, "%s: %s", b->methods[i], b->answers[i].message);
    return 0;
}

/* Returns the HTTP status. */
static int exchange(struct jsonrpc *c, struct jsonrpc_batch *b, struct error *err)
{
    static const char *const headers[] = {
        "Content-Type: application/json", "Accept: application/json", NULL};
    struct buf text = BUF_INIT(JSONRPC_REQUEST_MAX + 2);
    if (b->count == 1)
        buf_put(&text, b->text.data, b->text.len);
    else
        buf_putf(&text, "[%s]", buf_str(&b->text));
    int rc = buf_error(&text);
    if (rc < 0) {
        buf_free(&text);
        return error_set(err, rc, "JSON-RPC request: %s", err_text(rc));
    }
    struct httpc_request request = {.url = c->endpoint,
                                    .headers = headers,
                                    .body = text.data,
                                    .body_len = text.len,
                                    .timeout_ms = c->timeout_ms};
    buf_reset(&c->body);
    rc = httpc_perform(c->http, &request, &c->body, err);
    buf_free(&text);
    return rc;
}

static int read_body(struct jsonrpc *c, struct jsonrpc_batch *b, struct error *err)
{
    int rc = jsonx_parse(c->body.data, c->body.len, JSONRPC_ANSWER_MAX, &b->document, err);
    if (rc == 0) rc = read_all(b, err);
    return rc < 0 ? rc : check_complete(b, err);
}

/* Some say 400, and in JSON why. */
static int read_answer(struct jsonrpc *c, struct jsonrpc_batch *b, int status, struct error *err)
{
    int rc = status == 200 || status == 400 ? read_body(c, b, err) : ERR_PROTO;
    if (status != 200 && rc == ERR_PROTO) return check_status(c, status, err);
    if (rc == ERR_BUSY) {
        c->refused = true;
        rc = err->code = ERR_UNAVAILABLE;
    }
    if (rc < 0) (void)error_prefix(err, "%s", c->origin);
    return rc;
}

int jsonrpc_perform(struct jsonrpc *c, struct jsonrpc_batch *b, struct error *err)
{
    struct error local = {0};
    if (!err) err = &local;
    drop_answers(b);
    c->refused = false;
    c->retry_after_ms = 0;
    if (b->error) return error_set(err, b->error, "JSON-RPC request: %s", err_text(b->error));
    if (b->count == 0) return 0;

    int rc = exchange(c, b, err);
    if (rc >= 0) rc = read_answer(c, b, rc, err);
    if (rc < 0) drop_answers(b);
    buf_free(&c->body); // may be large, and is not needed between requests
    return rc;
}

bool jsonrpc_was_refused(const struct jsonrpc *c, long long *retry_after_ms)
{
    *retry_after_ms = c->retry_after_ms;
    return c->refused;
}

int jsonrpc_count(const struct jsonrpc_batch *b)
{
    return b->count;
}

const char *jsonrpc_method(const struct jsonrpc_batch *b, int index)
{
    assert(index >= 0 && index < b->count);
    return b->methods[index];
}

const struct jsonrpc_answer *jsonrpc_answer(const struct jsonrpc_batch *b, int index)
{
    assert(index >= 0 && index < b->count);
    return &b->answers[index];
}

int jsonrpc_result(const struct jsonrpc_batch *b,
                   int index,
                   struct json_object **result,
                   struct error *err)
{
    const struct jsonrpc_answer *a = jsonrpc_answer(b, index);
    if (a->kind == JSONRPC_RESULT) {
        *result = a->result;
        return 0;
    }
    return error_set(err,
                     ERR_REFUSED,
                     "%s: node error %lld: %s",
                     b->methods[index],
                     (long long)a->code,
                     a->message);
}
