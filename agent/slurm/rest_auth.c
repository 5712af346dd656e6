/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/rest_auth.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/slurm/backend.h"
#include "agent/slurm/jwt.h"
#include "agent/util/clock.h"

enum {
    TOKEN_LIFE_S = 300,
    TOKEN_SPARE_S = 150, // a kept token is good for this long at least: clocks and queues
    TOKEN_MAX = 16 * 1024,
    CACHE_SLOTS = 64, // by the user's name; two that meet in one slot are minted in turn
};

static const char header_name[] = "X-SLURM-USER-TOKEN: ";

struct slot {
    char user[SLURM_USER_MAX];
    int64_t expires_s;
    struct secret token;
};

struct rest_auth {
    struct secret key; // empty: the token file
    char *token_file;
    pthread_mutex_t mutex;
    struct secret token; // of the file
    struct stat seen;    // the file it was read from
    struct slot cache[CACHE_SLOTS];
};

/* --- the file --- */

static bool has_changed(const struct rest_auth *a)
{
    struct stat st;
    if (!a->token.len || stat(a->token_file, &st) < 0) return true;
    const struct stat *old = &a->seen;
    return st.st_ino != old->st_ino || st.st_dev != old->st_dev || st.st_size != old->st_size ||
           memcmp(&st.st_mtim, &old->st_mtim, sizeof(st.st_mtim)) != 0 ||
           memcmp(&st.st_ctim, &old->st_ctim, sizeof(st.st_ctim)) != 0;
}

/* A token goes into a header: nothing may be in it that could end the header's line. */
static bool token_ok(const struct secret *s)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.=+/";
    return s->len > 0 && s->len < TOKEN_MAX && strspn((const char *)s->data, allowed) == s->len;
}

static int read_token(struct rest_auth *a, struct error *err)
{
    struct secret token = {0};
    struct stat st = {0};
    // Before reading: if the file changes in between, it is read once more the next time.
    if (stat(a->token_file, &st) < 0)
        return error_set(err, ERR_UNAVAILABLE, "%s: %s", a->token_file, strerror(errno));
    int rc = secret_read_file(&token, a->token_file, err);
    if (rc == 0 && !token_ok(&token))
        rc = error_set(err, ERR_INVALID, "%s: not a token", a->token_file);
    secret_wipe(&a->token);
    if (rc == 0) {
        a->token = token;
        a->seen = st;
        return 0;
    }
    secret_wipe(&token);
    if (err) err->code = ERR_UNAVAILABLE; // an operator mends it: no verdict on any job
    return ERR_UNAVAILABLE;
}

/* --- minting --- */

static int mint(struct rest_auth *a,
                const char *user,
                unsigned int life_s,
                struct buf *token,
                struct error *err)
{
    return jwt_mint(&a->key, user, clock_wall_s(), life_s, token, err);
}

static struct slot *slot_of(struct rest_auth *a, const char *user)
{
    unsigned int hash = 5381;
    for (const char *at = user; *at; at++)
        hash = hash * 33 + (unsigned char)*at;
    return &a->cache[hash % CACHE_SLOTS];
}

static int put_cached(struct rest_auth *a, const char *user, struct buf *header, struct error *err)
{
    struct slot *s = slot_of(a, user);
    int64_t now = clock_wall_s();
    // A token from the future: the clock was set back, and slurmctld's may have been too.
    bool good = s->token.len && strcmp(s->user, user) == 0 && s->expires_s - now > TOKEN_SPARE_S &&
                s->expires_s - now <= TOKEN_LIFE_S;
    if (!good) {
        struct buf token = BUF_INIT(TOKEN_MAX);
        int rc = mint(a, user, TOKEN_LIFE_S, &token, err);
        if (rc == 0) rc = secret_set(&s->token, token.data, token.len);
        buf_wipe(&token);
        if (rc < 0) return rc;
        (void)snprintf(s->user, sizeof(s->user), "%s", user);
        s->expires_s = now + TOKEN_LIFE_S;
    }
    return buf_put(header, s->token.data, s->token.len);
}

/* --- */

struct rest_auth *rest_auth_new(const struct secret *key, const char *token_file, struct error *err)
{
    struct rest_auth *a = calloc(1, sizeof(*a));
    if (!a) {
        (void)error_set(err, ERR_NOMEM, "slurmrestd: out of memory");
        return NULL;
    }
    pthread_mutex_init(&a->mutex, NULL);
    int rc;
    if (key && key->len) {
        rc = secret_set(&a->key, key->data, key->len);
        if (rc < 0) (void)error_set(err, rc, "JWT key: %s", err_text(rc));
    } else if (token_file && *token_file) {
        a->token_file = strdup(token_file);
        rc = a->token_file ? read_token(a, err) : error_set(err, ERR_NOMEM, "out of memory");
    } else {
        rc = error_set(err, ERR_INVALID, "slurmrestd: neither JWT key nor token");
    }
    return rc < 0 ? rest_auth_destroy(a) : a;
}

struct rest_auth *rest_auth_destroy(struct rest_auth *a)
{
    if (!a) return NULL;
    secret_wipe(&a->key);
    secret_wipe(&a->token);
    for (size_t i = 0; i < CACHE_SLOTS; i++)
        secret_wipe(&a->cache[i].token);
    pthread_mutex_destroy(&a->mutex);
    free(a->token_file);
    free(a);
    return NULL;
}

int rest_auth_header(struct rest_auth *a,
                     const char *user,
                     unsigned int life_s,
                     struct buf *header,
                     struct error *err)
{
    int rc = buf_puts(header, header_name);
    pthread_mutex_lock(&a->mutex);
    if (rc == 0 && a->key.len && life_s)
        rc = mint(a, user, life_s < TOKEN_LIFE_S ? life_s : TOKEN_LIFE_S, header, err);
    else if (rc == 0 && a->key.len)
        rc = put_cached(a, user, header, err);
    else if (rc == 0 && has_changed(a))
        rc = read_token(a, err);
    if (rc == 0 && !a->key.len) rc = buf_put(header, a->token.data, a->token.len);
    pthread_mutex_unlock(&a->mutex);
    return rc;
}
