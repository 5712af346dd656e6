/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/jwt.h"

#include <inttypes.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <string.h>

enum {
    CLAIMS_MAX = 256,
    // Of base64: four bytes for each three begun, and a NUL.
    BASE64_MAX = (CLAIMS_MAX + 2) / 3 * 4 + 1,
};

/* base64url without padding (RFC 7515). At most CLAIMS_MAX bytes. */
static int put_base64url(struct buf *out, const void *data, size_t len)
{
    unsigned char text[BASE64_MAX];
    int n = EVP_EncodeBlock(text, data, (int)len);
    while (n > 0 && text[n - 1] == '=')
        n--;
    for (int i = 0; i < n; i++) {
        if (text[i] == '+') text[i] = '-';
        if (text[i] == '/') text[i] = '_';
    }
    int rc = buf_put(out, text, (size_t)n);
    explicit_bzero(text, sizeof(text));
    return rc;
}

static int put_signature(struct buf *token, size_t start, const struct secret *key)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    if (!HMAC(EVP_sha256(),
              key->data,
              (int)key->len,
              token->data + start,
              token->len - start,
              mac,
              &len))
        return ERR_NOMEM;
    int rc = buf_put_u8(token, '.');
    if (rc == 0) rc = put_base64url(token, mac, len);
    explicit_bzero(mac, sizeof(mac));
    return rc;
}

static bool user_ok(const char *user)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    size_t len = strlen(user);
    return len > 0 && len <= 128 && strspn(user, allowed) == len;
}

int jwt_mint(const struct secret *key,
             const char *user,
             int64_t now_s,
             unsigned int life_s,
             struct buf *token,
             struct error *err)
{
    static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    struct buf claims = BUF_INIT(CLAIMS_MAX);
    size_t start = token->len;
    if (!key->len || key->len > INT_MAX) return error_set(err, ERR_INVALID, "JWT key: empty");
    if (!user_ok(user)) return error_set(err, ERR_INVALID, "\"%.64s\" is no user name", user);
    int rc = buf_putf(&claims,
                      "{\"exp\":%" PRId64 ",\"iat\":%" PRId64 ",\"sun\":\"%s\"}",
                      now_s + life_s,
                      now_s,
                      user);
    if (rc == 0) rc = put_base64url(token, header, sizeof(header) - 1);
    if (rc == 0) rc = buf_put_u8(token, '.');
    if (rc == 0) rc = put_base64url(token, claims.data, claims.len);
    if (rc == 0) rc = put_signature(token, start, key);
    buf_free(&claims);
    return rc < 0 ? error_set(err, rc, "JWT: %s", err_text(rc)) : 0;
}
