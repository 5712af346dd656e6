/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gRPC core's life, log and slices; PEM files. */
#include "proto/rpc_private.h"

#include "config.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>
#ifdef HAVE_GPR_SET_LOG_FUNCTION
#include <grpc/support/log.h>
#endif

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "agent/util/file.h"
#include "agent/util/log.h"

/* Long enough for a bind error, whose errno text sits deep inside. */
struct capture {
    bool on;
    char text[2048];
};
static _Thread_local struct capture capture;

#ifdef HAVE_GPR_SET_LOG_FUNCTION
/* Any thread. Must not call gRPC. Each port scanner makes an ERROR line, hence debug for all. */
static void on_log(gpr_log_func_args *args)
{
    if (capture.on && args->severity == GPR_LOG_SEVERITY_ERROR)
        (void)snprintf(capture.text, sizeof(capture.text), "%s", args->message);
    log_debug("grpc: %s", args->message);
}
#endif

static void init_once(void)
{
#ifdef HAVE_GPR_SET_LOG_FUNCTION
    gpr_set_log_function(on_log);
#endif
}

void rpc_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, init_once);
    grpc_init();
}

void rpc_fini(void)
{
    grpc_shutdown_blocking(); // the other form leaves threads behind
}

void rpc_log_capture_begin(void)
{
    capture.on = true;
    capture.text[0] = '\0';
}

void rpc_log_capture_end(char *text, size_t size)
{
    static const char key[] = "os_error:\"";
    capture.on = false;
    const char *from = strstr(capture.text, key);
    if (from) from += sizeof(key) - 1;
    int len = from ? (int)strcspn(from, "\"") : (int)strcspn(capture.text, "{");
    (void)snprintf(text, size, "%.*s", len, from ? from : capture.text);
}

uint8_t *rpc_message_copy(grpc_byte_buffer *message, size_t *len)
{
    grpc_byte_buffer_reader reader;
    if (!grpc_byte_buffer_reader_init(&reader, message)) return NULL;
    grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);

    size_t n = GRPC_SLICE_LENGTH(slice);
    uint8_t *data = malloc(n + 1);
    if (data) {
        memcpy(data, GRPC_SLICE_START_PTR(slice), n);
        data[n] = '\0';
        *len = n;
    }
    grpc_slice_unref(slice);
    return data;
}

grpc_byte_buffer *rpc_message_new(const void *data, size_t len)
{
    grpc_slice slice = grpc_slice_from_copied_buffer(len ? data : "", len);
    grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return message;
}

void rpc_text_copy(char *out, size_t size, grpc_slice text)
{
    size_t len = GRPC_SLICE_LENGTH(text);
    const uint8_t *from = GRPC_SLICE_START_PTR(text);
    if (len >= size) len = size - 1;
    for (size_t i = 0; i < len; i++)
        out[i] = from[i] < 0x20 || from[i] == 0x7f ? ' ' : (char)from[i];
    out[len] = '\0';
}

gpr_timespec rpc_deadline(long long deadline_ms)
{
    gpr_timespec t = {.clock_type = GPR_CLOCK_MONOTONIC};
    if (deadline_ms < 0) deadline_ms = 0;
    t.tv_sec = deadline_ms / 1000;
    t.tv_nsec = (int32_t)(deadline_ms % 1000 * 1000000);
    return t;
}

grpc_arg rpc_arg_int(const char *key, int value)
{
    grpc_arg arg = {.type = GRPC_ARG_INTEGER};
    arg.key = (char *)key;
    arg.value.integer = value;
    return arg;
}

/* No password: a daemon has nobody to ask, and OpenSSL would ask on the terminal. */
static int no_password(char *out, int size, int writing, void *arg)
{
    return -1;
}

/* Why OpenSSL failed; forgets the rest. */
static const char *tls_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return text ? text : "unknown reason";
}

int rpc_read_certs(const char *path, struct buf *pem, struct error *err)
{
    int rc = file_read(path, pem, err);
    if (rc < 0) return rc;

    size_t count = 0;
    BIO *bio = BIO_new_mem_buf(buf_str(pem), (int)pem->len);
    if (!bio) return error_set(err, ERR_NOMEM, "%s: out of memory", path);
    for (X509 *cert; (cert = PEM_read_bio_X509(bio, NULL, no_password, NULL)); count++)
        X509_free(cert);
    BIO_free(bio);

    bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (at_end) ERR_clear_error();
    if (count == 0 && at_end) return error_set(err, ERR_INVALID, "%s: no PEM certificate", path);
    if (!at_end)
        return error_set(
            err, ERR_INVALID, "%s: certificate %zu: %s", path, count + 1, tls_reason());
    return 0;
}

static int read_private(const char *path, struct buf *key, struct error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0) {
        int rc = error_set(err, ERR_NOTFOUND, "%s: %m", path);
        if (fd >= 0) (void)close(fd);
        return rc;
    }
    int rc = st.st_mode & S_IRWXO
                 ? error_set(err, ERR_DENIED, "%s: a private key that everybody may use", path)
                 : file_read_fd(fd, path, key, err);
    (void)close(fd);
    return rc;
}

int rpc_read_key(const char *path, const struct buf *certs, struct buf *key, struct error *err)
{
    X509 *cert = NULL;
    EVP_PKEY *pkey = NULL;
    BIO *cert_bio = NULL, *key_bio = NULL;
    int rc = read_private(path, key, err);
    if (rc < 0) goto out;

    cert_bio = BIO_new_mem_buf(buf_str(certs), (int)certs->len);
    key_bio = BIO_new_mem_buf(buf_str(key), (int)key->len);
    if (cert_bio) cert = PEM_read_bio_X509(cert_bio, NULL, no_password, NULL);
    if (key_bio) pkey = PEM_read_bio_PrivateKey(key_bio, NULL, no_password, NULL);
    if (!cert || !pkey)
        rc = error_set(err, ERR_INVALID, "%s: no PEM private key (%s)", path, tls_reason());
    else if (X509_check_private_key(cert, pkey) != 1)
        rc = error_set(err, ERR_INVALID, "%s: not the key of the certificate", path);
out:
    ERR_clear_error();
    X509_free(cert);
    EVP_PKEY_free(pkey);
    BIO_free(cert_bio);
    BIO_free(key_bio);
    if (rc < 0) buf_wipe(key);
    return rc;
}
