/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/rpc_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "agent/util/clock.h"
#include "agent/util/parse.h"
#include "proto/health.pb-c.h"

/* ---- sanitizers ---- */

/*
 * Read by the sanitizers' runtimes. c-ares leaks a name's 10 bytes a resolution. gRPC is not built
 * with the thread sanitizer, which therefore must not judge what it does by itself.
 */
const char *__lsan_default_suppressions(void);
const char *__tsan_default_options(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libcares\n";
}

const char *__tsan_default_options(void)
{
    return "ignore_noninstrumented_modules=1";
}

/* ---- certificates ---- */

static EVP_PKEY *new_key(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_non_null(key);
    return key;
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(cert, e, -1), 1);
    X509_EXTENSION_free(e);
}

/* Signed by itself, a CA, if there is no issuer. */
static X509 *new_cert(const char *name, const char *san, EVP_PKEY *key, X509 *issuer, EVP_PKEY *by)
{
    static long serial = 1;
    X509 *cert = X509_new();
    assert_non_null(cert);
    X509_NAME *subject = X509_get_subject_name(cert);
    (void)X509_set_version(cert, 2);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
    (void)X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    (void)X509_gmtime_adj(X509_getm_notAfter(cert), 24 * 3600);
    (void)X509_set_pubkey(cert, key);
    (void)X509_NAME_add_entry_by_txt(
        subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    (void)X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) : subject);
    if (san) add_extension(cert, issuer, NID_subject_alt_name, san);
    if (!issuer) add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE");
    assert_true(X509_sign(cert, issuer ? by : key, EVP_sha256()) > 0);
    return cert;
}

static FILE *create(char path[128], const struct fixture_tls *t, const char *name)
{
    (void)snprintf(path, 128, "%s/%s", t->dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fchmod(fileno(f), 0600), 0);
    return f;
}

static void put_cert(char path[128], const struct fixture_tls *t, const char *name, X509 *cert)
{
    FILE *f = create(path, t, name);
    assert_int_equal(PEM_write_X509(f, cert), 1);
    (void)fclose(f);
    X509_free(cert);
}

static void put_key(char path[128], const struct fixture_tls *t, const char *name, EVP_PKEY *key)
{
    FILE *f = create(path, t, name);
    assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    (void)fclose(f);
    EVP_PKEY_free(key);
}

static void
put_text(char path[128], const struct fixture_tls *t, const char *name, const char *text)
{
    FILE *f = create(path, t, name);
    (void)fputs(text, f);
    (void)fclose(f);
}

void fixture_tls_new(struct fixture_tls *t)
{
    (void)snprintf(t->dir, sizeof(t->dir), "/tmp/deepsquare-test-XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    EVP_PKEY *ca_key = new_key(), *key = new_key(), *other_key = new_key();
    X509 *ca = new_cert("Test CA", NULL, ca_key, NULL, NULL);
    put_cert(t->cert, t, "cert.pem", new_cert("a", "DNS:localhost,IP:127.0.0.1", key, ca, ca_key));
    put_cert(t->named, t, "named.pem", new_cert("b", "DNS:grid.example", key, ca, ca_key));
    put_cert(t->other_ca, t, "other-ca.pem", new_cert("Other", NULL, other_key, NULL, NULL));
    put_cert(t->ca, t, "ca.pem", ca);
    put_key(t->key, t, "key.pem", key);
    put_key(t->other_key, t, "other-key.pem", other_key);
    EVP_PKEY_free(ca_key);
    put_text(t->garbage,
             t,
             "garbage.pem",
             "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    put_text(t->text, t, "text.pem", "no certificate\n");
}

void fixture_tls_remove(const struct fixture_tls *t)
{
    const char *files[] = {
        t->ca, t->other_ca, t->cert, t->key, t->named, t->other_key, t->garbage, t->text};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        (void)unlink(files[i]);
    (void)rmdir(t->dir);
}

/* ---- calls ---- */

const char *fixture_target(char out[64], int port)
{
    (void)snprintf(out, 64, "localhost:%d", port);
    return out;
}

struct rpc_client *fixture_client(int port, const struct rpc_tls *tls)
{
    char target[64];
    struct error err = {0};
    struct rpc_client *c = rpc_client_new(fixture_target(target, port), tls, 1024 * 1024, &err);
    if (!c) fail_msg("%s", err.text);
    return c;
}

int fixture_call(struct rpc_client *c,
                 const char *method,
                 const void *data,
                 size_t len,
                 long long timeout_ms,
                 struct rpc_answer *answer)
{
    struct rpc_answer own = {0};
    struct error err = {0};
    long long deadline_ms = clock_mono_ms() + timeout_ms;
    if (rpc_client_call(c, method, data, len, false, deadline_ms, &own, &err) < 0)
        fail_msg("%s: %s", method, err.text);
    int status = own.status;
    if (answer)
        *answer = own;
    else
        free(own.data);
    return status;
}

long long fixture_slow(void)
{
    uint64_t n = 1;
    const char *text = getenv("TEST_SLOW");
    return text && parse_u64(text, 1000, &n) == 0 && n > 0 ? (long long)n : 1;
}

/* ---- Health/Watch ---- */

struct fixture_watch {
    grpc_channel *channel;
    grpc_completion_queue *cq;
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_byte_buffer *message;
    grpc_status_code status;
    grpc_slice details;
    bool ended; // the status has come
};

/* The addresses serve as tags. */
static void *const TAG_START = (void *)1, *const TAG_STATUS = (void *)2,
                   *const TAG_MESSAGE = (void *)3;

static void start(struct fixture_watch *w, const grpc_op *ops, size_t n, void *tag)
{
    assert_int_equal(grpc_call_start_batch(w->call, ops, n, tag, NULL), GRPC_CALL_OK);
}

static void receive(struct fixture_watch *w)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &w->message;
    start(w, &op, 1, TAG_MESSAGE);
}

struct fixture_watch *fixture_watch_open(int port, const char *service)
{
    char target[64];
    struct fixture_watch *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    grpc_init();
    grpc_channel_credentials *creds = grpc_insecure_credentials_create();
    w->channel = grpc_channel_create(fixture_target(target, port), creds, NULL);
    grpc_channel_credentials_release(creds);
    w->cq = grpc_completion_queue_create_for_next(NULL);
    w->call =
        grpc_channel_create_call(w->channel,
                                 NULL,
                                 GRPC_PROPAGATE_DEFAULTS,
                                 w->cq,
                                 grpc_slice_from_static_string("/grpc.health.v1.Health/Watch"),
                                 NULL,
                                 gpr_inf_future(GPR_CLOCK_MONOTONIC),
                                 NULL);
    grpc_metadata_array_init(&w->initial);
    grpc_metadata_array_init(&w->trailing);
    w->details = grpc_empty_slice();

    Grpc__Health__V1__HealthCheckRequest r = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    uint8_t data[256];
    r.service = (char *)service;
    grpc_slice slice = grpc_slice_from_copied_buffer(
        (char *)data, grpc__health__v1__health_check_request__pack(&r, data));
    grpc_byte_buffer *request = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);

    grpc_op ops[4] = {{.op = GRPC_OP_RECV_STATUS_ON_CLIENT}};
    ops[0].data.recv_status_on_client.trailing_metadata = &w->trailing;
    ops[0].data.recv_status_on_client.status = &w->status;
    ops[0].data.recv_status_on_client.status_details = &w->details;
    start(w, ops, 1, TAG_STATUS);
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &w->initial;
    start(w, ops, 4, TAG_START);
    grpc_byte_buffer_destroy(request);
    receive(w);
    return w;
}

static int take(struct fixture_watch *w)
{
    grpc_slice slice;
    if (!w->message) return -1;
    grpc_byte_buffer *m = w->message;
    grpc_byte_buffer_reader reader;
    w->message = NULL;
    assert_int_equal(grpc_byte_buffer_reader_init(&reader, m), 1);
    slice = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    Grpc__Health__V1__HealthCheckResponse *r = grpc__health__v1__health_check_response__unpack(
        NULL, GRPC_SLICE_LENGTH(slice), GRPC_SLICE_START_PTR(slice));
    grpc_slice_unref(slice);
    grpc_byte_buffer_destroy(m);
    assert_non_null(r);
    int status = (int)r->status;
    grpc__health__v1__health_check_response__free_unpacked(r, NULL);
    receive(w);
    return status;
}

int fixture_watch_next(struct fixture_watch *w, long long timeout_ms)
{
    gpr_timespec until =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
    for (;;) {
        grpc_event e = grpc_completion_queue_next(w->cq, until, NULL);
        if (e.type == GRPC_QUEUE_TIMEOUT) return -2;
        assert_int_equal(e.type, GRPC_OP_COMPLETE);
        if (e.tag == TAG_STATUS) w->ended = true;
        if (e.tag == TAG_MESSAGE) return take(w);
    }
}

int fixture_watch_status(struct fixture_watch *w)
{
    while (!w->ended) {
        grpc_event e = grpc_completion_queue_next(w->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (e.tag == TAG_STATUS) w->ended = true;
    }
    return (int)w->status;
}

void fixture_watch_close(struct fixture_watch *w)
{
    (void)grpc_call_cancel(w->call, NULL);
    (void)fixture_watch_status(w);
    grpc_completion_queue_shutdown(w->cq);
    while (grpc_completion_queue_next(w->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_byte_buffer_destroy(w->message);
    grpc_call_unref(w->call);
    grpc_completion_queue_destroy(w->cq);
    grpc_channel_destroy(w->channel);
    grpc_metadata_array_destroy(&w->initial);
    grpc_metadata_array_destroy(&w->trailing);
    grpc_slice_unref(w->details);
    grpc_shutdown_blocking();
    free(w);
}
