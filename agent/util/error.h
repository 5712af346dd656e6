/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Errors: a function returns >= 0 or a negative ERR_*; the optional last argument carries text for
 * a human. Foreign codes (SQLite, libcurl, libssh, gRPC) are mapped in the one file that calls
 * them.
 */
#ifndef UTIL_ERROR_H
#define UTIL_ERROR_H

enum err_code {
#define ERR(name, value, text, class) ERR_##name = (value),
#include "agent/util/err.def"
#undef ERR
};

enum err_class { ERR_CLASS_NONE = 0, ERR_CLASS_PERMANENT, ERR_CLASS_TRANSIENT, ERR_CLASS_UNKNOWN };

struct error {
    int code;       // 0 or ERR_*
    char text[512]; // one line, no newline; says what failed and on what
};

/* The general text of a code; never NULL. */
const char *err_text(int code);

/* What may be done after `code`. ERR_CLASS_NONE for codes >= 0. */
enum err_class err_class_of(int code);

/* Fill *err (may be NULL) and return `code`, so that `return error_set(err, ERR_X, "...")` works.
 */
int error_set(struct error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "<text>: " before what *err says (no-op on NULL); returns err's code, or ERR_IO if none. */
int error_prefix(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
