/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Credentials of both sides, from PEM files that are checked first. */
#include "proto/rpc_private.h"

#include "config.h"

#include <fcntl.h>
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

grpc_server_credentials *rpc_server_creds(const struct rpc_server_options *o, struct error *err)
{
    if (!o->tls) return grpc_insecure_server_credentials_create();
    if (!o->cert_file || !o->cert_file[0] || !o->key_file || !o->key_file[0]) {
        (void)error_set(err, ERR_INVALID, "TLS needs a certificate file and a key file");
        return NULL;
    }

    grpc_server_credentials *creds = NULL;
    struct buf certs = BUF_INIT(PEM_MAX), key = BUF_INIT(PEM_MAX);
    if (read_certs(o->cert_file, &certs, err) < 0) goto out;
    if (read_key(o->key_file, &certs, &key, err) < 0) goto out;
    grpc_ssl_pem_key_cert_pair pair = {buf_str(&key), buf_str(&certs)};
    creds = grpc_ssl_server_credentials_create_ex(
        NULL, &pair, 1, GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE, NULL);
    if (!creds) (void)error_set(err, ERR_INVALID, "TLS: gRPC refuses the certificate");
out:
    buf_free(&certs);
    buf_wipe(&key);
    return creds;
}
