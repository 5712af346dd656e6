/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The SSH key as it is configured: base64 on one line of a private key file. */
#include <libssh/libssh.h>
#include <openssl/evp.h>
#include <string.h>

#include "agent/slurm/ssh.h"
#include "agent/slurm/ssh_backend.h"

static int decode_base64(const struct secret *text, struct buf *out)
{
    int n = 0, last = 0, ok = 0;
    EVP_ENCODE_CTX *ctx = EVP_ENCODE_CTX_new();
    uint8_t *to = buf_reserve(out, text->len);
    if (ctx && to) {
        EVP_DecodeInit(ctx);
        ok = EVP_DecodeUpdate(ctx, to, &n, text->data, (int)text->len) >= 0 &&
             EVP_DecodeFinal(ctx, to + n, &last) == 1;
        out->len = ok ? (size_t)(n + last) : 0;
        to[out->len] = '\0';
    }
    EVP_ENCODE_CTX_free(ctx);
    return ok && out->len ? 0 : ERR_INVALID;
}

/* NULL if it is none, or needs a passphrase. */
static ssh_key import(const char *pem)
{
    ssh_key key = NULL;
    return ssh_pki_import_privkey_base64(pem, NULL, NULL, NULL, &key) == SSH_OK ? key : NULL;
}

int sshc_key_load(const struct secret *key_base64, struct secret *pem, struct error *err)
{
    static const char begin[] = "-----BEGIN ";
    struct buf text = BUF_INIT(SECRET_MAX);
    ssh_key key = NULL;
    int rc;
    if (!key_base64->data || key_base64->len == 0)
        return error_set(err, ERR_INVALID, "SSH private key: none given");
    if (key_base64->len >= sizeof(begin) &&
        memcmp(key_base64->data, begin, sizeof(begin) - 1) == 0) {
        rc = buf_put(&text, key_base64->data, key_base64->len);
        if (rc == 0) rc = buf_puts(&text, "\n"); // a secret file loses its last one
    } else {
        rc = decode_base64(key_base64, &text);
    }
    if (rc < 0) {
        rc = error_set(err, ERR_INVALID, "SSH private key: not base64");
        goto out;
    }
    key = import(buf_str(&text));
    if (!key) {
        rc = error_set(err,
                       ERR_INVALID,
                       "SSH private key: neither an OpenSSH nor a PEM private key without a "
                       "passphrase (expected: base64 -w0 of the key file)");
        goto out;
    }
    rc = secret_set(pem, text.data, text.len);
    if (rc < 0) (void)error_set(err, rc, "SSH private key: %s", err_text(rc));
out:
    ssh_key_free(key);
    buf_wipe(&text);
    return rc;
}

int slurm_ssh_public_key(const struct secret *key_base64, struct buf *line, struct error *err)
{
    struct secret pem = {0};
    ssh_key key = NULL, pub = NULL;
    char *b64 = NULL;
    int rc = sshc_key_load(key_base64, &pem, err);
    if (rc < 0) goto out;
    key = import((const char *)pem.data);
    if (!key || ssh_pki_export_privkey_to_pubkey(key, &pub) != SSH_OK ||
        ssh_pki_export_pubkey_base64(pub, &b64) != SSH_OK) {
        rc = error_set(err, ERR_INVALID, "SSH private key: its public half cannot be made");
        goto out;
    }
    rc = buf_putf(line, "%s %s deepsquare-agent", ssh_key_type_to_char(ssh_key_type(pub)), b64);
    if (rc < 0) (void)error_set(err, rc, "public key: %s", err_text(rc));
out:
    ssh_string_free_char(b64);
    ssh_key_free(pub);
    ssh_key_free(key);
    secret_wipe(&pem);
    return rc;
}
