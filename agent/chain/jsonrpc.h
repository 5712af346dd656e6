/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A JSON-RPC 2.0 client over HTTP for an Ethereum node. Requests are gathered in a batch and go out
 * as one HTTP request (a batch of one as a plain request). Only requests that may be repeated
 * belong here: one that finds its kept connection dead is sent again.
 */
#ifndef CHAIN_JSONRPC_H
#define CHAIN_JSONRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/util/error.h"

struct json_object;
struct jsonrpc;

/*
 * `endpoint` is an http or https URL, copied. ERR_INVALID (no such URL) and ERR_NOMEM return NULL.
 */
struct jsonrpc *jsonrpc_new(const char *endpoint, long long timeout_ms, struct error *err);
struct jsonrpc *jsonrpc_destroy(struct jsonrpc *c); // NULL allowed; returns NULL

/* Another deadline for what comes next. */
void jsonrpc_set_timeout(struct jsonrpc *c, long long timeout_ms);

/* From any thread: end what is under way, fail everything later with ERR_STOPPED. */
void jsonrpc_stop(struct jsonrpc *c);

enum {
    JSONRPC_BATCH_MAX = 100, // requests; nodes allow 100 (some providers) to 1000 (geth)
    JSONRPC_MESSAGE_MAX = 256,
    /*
     * Bytes of one answer. geth stops a batch at 25 MB; a log of ours is about 1.5 kB of JSON, so
     * this holds some 20,000 of them.
     */
    JSONRPC_ANSWER_MAX = 32 * 1024 * 1024,
};

enum jsonrpc_kind {
    JSONRPC_NONE = 0, // not performed yet
    JSONRPC_RESULT,
    JSONRPC_ERROR,    // the node's error: code and message; about the node or the transaction
    JSONRPC_REVERTED, // the contract's verdict on eth_call or eth_estimateGas: `data`
};

struct jsonrpc_answer {
    enum jsonrpc_kind kind;
    struct json_object *result; // RESULT: NULL is JSON's null
    int64_t code;               // ERROR, REVERTED
    char message[JSONRPC_MESSAGE_MAX];
    uint8_t *data; // REVERTED: return data of the revert, or NULL: the node gave none
    size_t data_len;
};

struct jsonrpc_batch;

struct jsonrpc_batch *jsonrpc_batch_new(struct error *err);
struct jsonrpc_batch *jsonrpc_batch_destroy(struct jsonrpc_batch *b); // NULL allowed; returns NULL
void jsonrpc_batch_reset(struct jsonrpc_batch *b); // empties it; answers are gone

/*
 * Add a request; `params_fmt` makes the JSON array of its parameters. Returns its index. A failure
 * (ERR_LIMIT: the batch is full, ERR_NOMEM) sticks and is what jsonrpc_perform() then returns, so
 * the result need not be looked at.
 */
int jsonrpc_add(struct jsonrpc_batch *b, const char *method, const char *params_fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The request could not even be made: jsonrpc_perform() shall return `code`. */
void jsonrpc_fail(struct jsonrpc_batch *b, int code);

/*
 * Send the batch and read all answers, in any order. Blocks up to the deadline. 0 if each request
 * has an answer, which may be an error of its own; else no answer can be used:
 *   ERR_UNAVAILABLE      no connection, or the node said "later" (HTTP 408, 429, 5xx, or an answer
 *                        that says "too many requests")
 *   ERR_OUTCOME_UNKNOWN  sent, and no answer
 *   ERR_REFUSED          another HTTP status, or one error for the whole batch
 *   ERR_PROTO, ERR_LIMIT the answer is malformed, too large
 *   ERR_STOPPED, ERR_NOMEM
 */
int jsonrpc_perform(struct jsonrpc *c, struct jsonrpc_batch *b, struct error *err);

/*
 * Did the last jsonrpc_perform() fail since the node wants to be asked less? *retry_after_ms is
 * when it may be asked again, 0 if it did not say.
 */
bool jsonrpc_was_refused(const struct jsonrpc *c, long long *retry_after_ms);

/* Requests in the batch, and the method of request `index`. */
int jsonrpc_count(const struct jsonrpc_batch *b);
const char *jsonrpc_method(const struct jsonrpc_batch *b, int index);

/* The answer to request `index`; borrowed until the batch is reset or destroyed. */
const struct jsonrpc_answer *jsonrpc_answer(const struct jsonrpc_batch *b, int index);

/*
 * The result of request `index`, or, if it is no result, the node's error as ERR_REFUSED
 * ("eth_getLogs: node error -32000: ...").
 */
int jsonrpc_result(const struct jsonrpc_batch *b,
                   int index,
                   struct json_object **result,
                   struct error *err);

/* "https://host:port" of the endpoint: what may be shown of it. */
const char *jsonrpc_origin(const struct jsonrpc *c);

#endif
