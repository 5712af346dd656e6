/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A fetch is a loop of attempts. What an attempt ends with is either a verdict on the job
 * (PERMANENT: its text goes on chain), or "again" (the server may be back soon), or "later" (the
 * caller's business). Only NOT_FOUND and what is wrong with the script itself are verdicts:
 * whatever else a server says may be its own or our misconfiguration, and must not cost a customer
 * his job.
 */
#include "agent/customer/customer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/util/clock.h"
#include "agent/util/parse.h"
#include "agent/util/retry.h"
#include "proto/customer.pb-c.h"
#include "proto/rpc_client.h"
#include "proto/rpc_status.h"
#include "proto/sbatchapi.pb-c.h"

enum {
    /* One attempt: 5 MiB over a slow line fit; a server that hangs is asked again. */
    ATTEMPT_MS = 20 * 1000,
    RETRY_FIRST_MS = 200,
    RETRY_MAX_MS = 5 * 1000,
    /* A JSON object with a nonce has some 60 bytes. */
    CHALLENGE_MAX = 4096,
    /* Of an answer: what is around the script. */
    ANSWER_OVERHEAD = 64 * 1024,
    SIGNATURE_LEN = 65,
};

struct customer {
    struct rpc_client *rpc;
    struct customer_options options; // strings in it are gone after customer_new()
};

/* One customer_fetch(). */
struct fetch {
    struct customer *c;
    const struct customer_request *request;
    enum customer_api api; // AUTO until the server told
    long long deadline_ms;
    bool again; // the last attempt's error may pass soon
};

struct customer *customer_new(const struct customer_options *options, struct error *err)
{
    size_t max_answer;
    if (options->max_script_bytes == 0 || !options->sign) {
        (void)error_set(err, ERR_INVALID, "customer API: no script size limit or no signer");
        return NULL;
    }
    // Twice the limit is received, so that a script just above it is measured and not guessed.
    if (__builtin_mul_overflow(options->max_script_bytes, 2, &max_answer) ||
        __builtin_add_overflow(max_answer, ANSWER_OVERHEAD, &max_answer))
        max_answer = SIZE_MAX;

    struct customer *c = calloc(1, sizeof(*c));
    if (!c) {
        (void)error_set(err, ERR_NOMEM, "customer API: out of memory");
        return NULL;
    }
    c->options = *options;
    struct rpc_tls tls = {
        .enabled = options->tls,
        .insecure = options->tls_insecure,
        .ca_file = options->ca_file,
        .host_override = options->host_override,
    };
    c->rpc = rpc_client_new(options->endpoint, &tls, max_answer, err);
    if (c->rpc) return c;
    (void)error_prefix(err, "customer API");
    return customer_destroy(c);
}

struct customer *customer_destroy(struct customer *c)
{
    if (!c) return NULL;
    rpc_client_destroy(c->rpc);
    free(c);
    return NULL;
}

static const char *after_slash(const char *method)
{
    return strrchr(method, '/') + 1;
}

/* The answer would not fit in memory set aside for it. gRPC's own status, with a text that has been
 * the same in all releases; a server's RESOURCE_EXHAUSTED is something else. */
static bool answer_too_large(const struct rpc_answer *a)
{
    return a->status == RPC_RESOURCE_EXHAUSTED && strstr(a->message, "larger than max");
}

static int too_large(const struct customer *c, struct error *err)
{
    return error_set(err,
                     ERR_LIMIT,
                     "the job's script is larger than this provider's limit of %zu bytes",
                     c->options.max_script_bytes);
}

/* A status that says nothing about the job. */
static int
server_error(struct fetch *f, const char *method, const struct rpc_answer *a, struct error *err)
{
    f->again = a->status == RPC_UNAVAILABLE || a->status == RPC_DEADLINE_EXCEEDED;
    return error_set(err,
                     ERR_UNAVAILABLE,
                     "customer API: %s: gRPC status %d: %.300s",
                     after_slash(method),
                     a->status,
                     a->message);
}

/* The status of a request for the script, not OK. */
static int
script_error(struct fetch *f, const char *method, const struct rpc_answer *a, struct error *err)
{
    if (a->status == RPC_NOT_FOUND)
        return error_set(err, ERR_NOTFOUND, "the job's script was not found: %.200s", a->message);
    if (answer_too_large(a)) return too_large(f->c, err);
    return server_error(f, method, a, err);
}

/* One call. 0: `answer` has a status, of any kind. */
static int call(struct fetch *f,
                const char *method,
                const void *request,
                size_t len,
                struct rpc_answer *answer,
                struct error *err)
{
    long long until_ms = clock_mono_ms() + ATTEMPT_MS;
    if (until_ms > f->deadline_ms) until_ms = f->deadline_ms;
    int rc = rpc_client_call(f->c->rpc, method, request, len, false, until_ms, answer, err);
    return rc < 0 ? error_prefix(err, "customer API: %s", after_slash(method)) : rc;
}

/* ---- the script ---- */

static int take_body(const struct customer *c,
                     const ProtobufCBinaryData *body,
                     struct buf *out,
                     struct error *err)
{
    if (body->len == 0) return error_set(err, ERR_INVALID, "the job's script is empty");
    if (body->len > c->options.max_script_bytes) return too_large(c, err);
    if (memchr(body->data, '\0', body->len))
        return error_set(err, ERR_INVALID, "the job's script holds a NUL byte");
    *out = BUF_INIT(c->options.max_script_bytes);
    if (buf_put(out, body->data, body->len) < 0)
        return error_set(err, ERR_NOMEM, "the job's script: out of memory");
    return 0;
}

/* The job can run without its logger: what is not host:port is left away. */
static void take_logger_url(const ProtobufCBinaryData *url, char *out, size_t size)
{
    struct hostport hp;
    out[0] = '\0';
    if (url->len == 0 || url->len >= size || memchr(url->data, '\0', url->len)) return;
    memcpy(out, url->data, url->len);
    out[url->len] = '\0';
    if (parse_hostport(out, &hp) < 0 || hp.host[0] == '\0' || hp.port == 0) out[0] = '\0';
}

/* ---- sbatchapi.v1alpha1 ---- */

/*
 * The server chooses what we sign. The EIP-191 prefix keeps it from being a transaction; that it
 * must be a JSON object keeps it from being another service's text (the logger's "read:0x...").
 */
static int check_challenge(const ProtobufCBinaryData *challenge, struct error *err)
{
    size_t len = challenge->len;
    while (len > 0 && challenge->data[len - 1] == '\n')
        len--;
    if (len < 2 || len > CHALLENGE_MAX || challenge->data[0] != '{' ||
        challenge->data[len - 1] != '}')
        return error_set(err, ERR_PROTO, "customer API: Challenge: not a JSON object");
    return 0;
}

static int get_sbatch(struct fetch *f,
                      const ProtobufCBinaryData *challenge,
                      struct customer_script *script,
                      struct error *err)
{
    static const char method[] = "/sbatchapi.v1alpha1.SBatchAPI/GetSBatch";
    const struct customer_options *o = &f->c->options;
    struct rpc_answer a = {0};
    uint8_t signature[SIGNATURE_LEN];
    if (o->sign(o->sign_ctx, challenge->data, challenge->len, signature, err) < 0) {
        (void)error_prefix(err, "customer API: cannot sign the challenge");
        if (err) err->code = ERR_UNAVAILABLE; // not the job's fault
        return ERR_UNAVAILABLE;
    }

    Sbatchapi__V1alpha1__GetSBatchRequest r = SBATCHAPI__V1ALPHA1__GET_SBATCH_REQUEST__INIT;
    r.batch_location_hash = (char *)f->request->location_hash;
    r.signed_challenge = (ProtobufCBinaryData){SIGNATURE_LEN, signature};
    r.challenge = *challenge;
    r.provider_address = (ProtobufCBinaryData){sizeof(o->provider), (uint8_t *)o->provider};
    r.customer_address =
        (ProtobufCBinaryData){sizeof(f->request->customer), (uint8_t *)f->request->customer};
    r.job_id = (char *)f->request->job_id;
    size_t size = sbatchapi__v1alpha1__get_sbatch_request__get_packed_size(&r);
    uint8_t *data = malloc(size);
    if (!data) return error_set(err, ERR_NOMEM, "customer API: out of memory");
    (void)sbatchapi__v1alpha1__get_sbatch_request__pack(&r, data);
    int rc = call(f, method, data, size, &a, err);
    free(data);
    if (rc < 0) return rc;
    if (a.status != RPC_OK) return script_error(f, method, &a, err);

    Sbatchapi__V1alpha1__GetSBatchResponse *answer =
        sbatchapi__v1alpha1__get_sbatch_response__unpack(NULL, a.len, a.data);
    free(a.data);
    if (!answer) return error_set(err, ERR_PROTO, "customer API: GetSBatch: malformed answer");
    rc = take_body(f->c, &answer->sbatch, &script->body, err);
    if (rc == 0)
        take_logger_url(&answer->grid_logger_url, script->logger_url, sizeof(script->logger_url));
    sbatchapi__v1alpha1__get_sbatch_response__free_unpacked(answer, NULL);
    return rc;
}

static int fetch_job_batch(struct fetch *f, struct customer_script *script, struct error *err);

static int fetch_sbatch(struct fetch *f, struct customer_script *script, struct error *err)
{
    static const char method[] = "/sbatchapi.v1alpha1.AuthAPI/Challenge";
    struct rpc_answer a = {0};
    int rc = call(f, method, NULL, 0, &a, err);
    if (rc < 0) return rc;
    if (a.status == RPC_UNIMPLEMENTED && f->api == CUSTOMER_API_AUTO) {
        f->api = CUSTOMER_API_CUSTOMER;
        return fetch_job_batch(f, script, err);
    }
    // Not a verdict on the job, whatever it is: nobody has named the job yet.
    if (a.status != RPC_OK) return server_error(f, method, &a, err);

    Sbatchapi__V1alpha1__ChallengeResponse *answer =
        sbatchapi__v1alpha1__challenge_response__unpack(NULL, a.len, a.data);
    free(a.data);
    if (!answer) return error_set(err, ERR_PROTO, "customer API: Challenge: malformed answer");
    rc = check_challenge(&answer->challenge, err);
    if (rc == 0) rc = get_sbatch(f, &answer->challenge, script, err);
    sbatchapi__v1alpha1__challenge_response__free_unpacked(answer, NULL);
    return rc;
}

/* ---- customer.v1alpha1 ---- */

static int fetch_job_batch(struct fetch *f, struct customer_script *script, struct error *err)
{
    static const char method[] = "/customer.v1alpha1.JobAPI/FetchJobBatch";
    struct rpc_answer a = {0};
    Customer__V1alpha1__FetchJobBatchRequest r = CUSTOMER__V1ALPHA1__FETCH_JOB_BATCH_REQUEST__INIT;
    r.job_location_hash = (char *)f->request->location_hash;
    size_t size = customer__v1alpha1__fetch_job_batch_request__get_packed_size(&r);
    uint8_t *data = malloc(size + 1); // an empty hash is an empty message
    if (!data) return error_set(err, ERR_NOMEM, "customer API: out of memory");
    (void)customer__v1alpha1__fetch_job_batch_request__pack(&r, data);
    int rc = call(f, method, data, size, &a, err);
    free(data);
    if (rc < 0) return rc;
    if (a.status != RPC_OK) return script_error(f, method, &a, err);

    Customer__V1alpha1__FetchJobBatchResponse *answer =
        customer__v1alpha1__fetch_job_batch_response__unpack(NULL, a.len, a.data);
    free(a.data);
    if (!answer) return error_set(err, ERR_PROTO, "customer API: FetchJobBatch: malformed answer");
    rc = take_body(f->c, &answer->body, &script->body, err);
    customer__v1alpha1__fetch_job_batch_response__free_unpacked(answer, NULL);
    return rc;
}

/* ---- the loop ---- */

static void sleep_ms(long long ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&ts, &ts) != 0)
        ;
}

int customer_fetch(struct customer *c,
                   const struct customer_request *request,
                   long long deadline_ms,
                   struct customer_script *script,
                   struct error *err)
{
    struct fetch f = {.c = c, .request = request, .deadline_ms = deadline_ms};
    struct error local = {0};
    if (!err) err = &local;
    f.api = c->options.api;
    for (unsigned int attempt = 1;; attempt++) {
        struct customer_script got = {0};
        f.again = false;
        int rc = f.api == CUSTOMER_API_CUSTOMER ? fetch_job_batch(&f, &got, err)
                                                : fetch_sbatch(&f, &got, err);
        if (rc == 0) {
            *script = got;
            return 0;
        }
        long long wait_ms = retry_delay_ms(attempt, RETRY_FIRST_MS, RETRY_MAX_MS);
        if (!f.again || clock_mono_ms() + wait_ms >= deadline_ms) return rc;
        f.api = c->options.api; // it may have been upgraded meanwhile
        sleep_ms(wait_ms);
    }
}
