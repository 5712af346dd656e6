/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Credentials of both sides, from PEM files that are checked first. */
#include "proto/rpc_private.h"

#include "config.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <grpc/grpc_security.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "agent/util/buf.h"
#include "agent/util/file.h"

enum { PEM_MAX = 1024 * 1024 }; // a bundle of all public roots has some 220 KiB

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

/*
 * Read a PEM file and check that it holds certificates, every one readable: gRPC does not say that
 * it could not read one, its calls just fail.
 */
static int read_certs(const char *path, struct buf *pem, struct error *err)
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

/* Read a private key that fits the first certificate of `certs`. */
static int read_key(const char *path, const struct buf *certs, struct buf *key, struct error *err)
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

/* Neither chain nor name is checked: three switches, or the name still is. */
static grpc_channel_credentials *unverified(struct error *err)
{
#ifdef HAVE_GRPC_TLS_CERTIFICATE_VERIFIER_NO_OP_CREATE
    grpc_tls_credentials_options *o = grpc_tls_credentials_options_create();
    grpc_tls_credentials_options_set_verify_server_cert(o, 0);
    grpc_tls_credentials_options_set_check_call_host(o, 0);
    grpc_tls_certificate_verifier *v = grpc_tls_certificate_verifier_no_op_create();
    grpc_tls_credentials_options_set_certificate_verifier(o, v);
    grpc_tls_certificate_verifier_release(v);
    return grpc_tls_credentials_create(o);
#else
    (void)error_set(err, ERR_UNSUPPORTED, "TLS without verification: not in this gRPC release");
    return NULL;
#endif
}

grpc_channel_credentials *rpc_channel_creds(const struct rpc_tls *tls, struct error *err)
{
    if (!tls || !tls->enabled) return grpc_insecure_credentials_create();
    if (tls->insecure) return unverified(err);

    grpc_channel_credentials *creds = NULL;
    struct buf pem = BUF_INIT(PEM_MAX);
    bool own_ca = tls->ca_file && tls->ca_file[0];
    if (own_ca && read_certs(tls->ca_file, &pem, err) < 0) goto out;
    creds = grpc_ssl_credentials_create_ex(own_ca ? buf_str(&pem) : NULL, NULL, NULL, NULL);
    if (!creds) (void)error_set(err, ERR_INVALID, "TLS: gRPC refuses the credentials");
out:
    buf_free(&pem);
    return creds;
}

/* ---- the server's certificate ---- */

struct rpc_identity {
    pthread_mutex_t lock;
    struct buf certs, key; // the key only until gRPC has fetched it
};

struct rpc_identity *rpc_identity_new(void)
{
    struct rpc_identity *id = calloc(1, sizeof(*id));
    if (!id) return NULL;
    id->certs = BUF_INIT(PEM_MAX);
    id->key = BUF_INIT(PEM_MAX);
    (void)pthread_mutex_init(&id->lock, NULL);
    return id;
}

void rpc_identity_free(struct rpc_identity *id)
{
    if (!id) return;
    buf_free(&id->certs);
    buf_wipe(&id->key);
    (void)pthread_mutex_destroy(&id->lock);
    free(id);
}

static void swap(struct buf *a, struct buf *b)
{
    struct buf c = *a;
    *a = *b;
    *b = c;
}

int rpc_identity_read(struct rpc_identity *id,
                      const char *cert_file,
                      const char *key_file,
                      struct error *err)
{
    if (!cert_file || !cert_file[0] || !key_file || !key_file[0])
        return error_set(err, ERR_INVALID, "TLS needs a certificate file and a key file");
    struct buf certs = BUF_INIT(PEM_MAX), key = BUF_INIT(PEM_MAX);
    int rc = read_certs(cert_file, &certs, err);
    if (rc == 0) rc = read_key(key_file, &certs, &key, err);
    if (rc < 0) goto out;
    (void)pthread_mutex_lock(&id->lock);
    rc = strcmp(buf_str(&id->certs), buf_str(&certs)) != 0;
    if (rc) {
        swap(&id->certs, &certs);
        swap(&id->key, &key);
    }
    (void)pthread_mutex_unlock(&id->lock);
out:
    buf_free(&certs);
    buf_wipe(&key);
    return rc;
}

/* gRPC asks at each handshake, on a thread of its own, and keeps what it got last. */
static grpc_ssl_certificate_config_reload_status fetch(void *arg,
                                                       grpc_ssl_server_certificate_config **config)
{
    struct rpc_identity *id = arg;
    grpc_ssl_certificate_config_reload_status status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    (void)pthread_mutex_lock(&id->lock);
    if (id->key.len) {
        grpc_ssl_pem_key_cert_pair pair = {buf_str(&id->key), buf_str(&id->certs)};
        // It aborts without roots, although no client is asked for a certificate.
        *config = grpc_ssl_server_certificate_config_create(buf_str(&id->certs), &pair, 1);
        status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
        buf_wipe(&id->key);
    }
    (void)pthread_mutex_unlock(&id->lock);
    return status;
}

grpc_server_credentials *rpc_server_creds(struct rpc_identity *id)
{
    if (!id) return grpc_insecure_server_credentials_create();
    return grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE, fetch, id));
}
