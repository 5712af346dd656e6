/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A secret: bytes that are never printed, locked into memory where that is allowed, wiped at the
 * end. */
#ifndef UTIL_SECRET_H
#define UTIL_SECRET_H

#include <stddef.h>
#include <stdint.h>

#include "agent/util/error.h"

struct secret {
    uint8_t *data; // NUL-terminated for convenience; NULL if empty
    size_t len;
};

enum { SECRET_MAX = 64 * 1024 }; // a private key or token; a certificate bundle is no secret

/* Copy `len` bytes in. The caller wipes its own copy. Returns 0, ERR_LIMIT or ERR_NOMEM. */
int secret_set(struct secret *s, const void *data, size_t len);

/*
 * Read a file of mode 0600 or stricter (owner: root or us), without its trailing newline.
 * A systemd credential is such a file. ERR_DENIED names the mode or owner that was wrong.
 */
int secret_read_file(struct secret *s, const char *path, struct error *err);

/* The same, byte for byte: a binary key may well end in what looks like a newline. */
int secret_read_bytes(struct secret *s, const char *path, struct error *err);

void secret_wipe(struct secret *s);

#endif
