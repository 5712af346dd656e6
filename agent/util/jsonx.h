/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading foreign JSON strictly, over json-c. A field that is missing or of another type is an
 * error that names it; nothing is converted. The texts and objects that accessors hand out belong
 * to the document.
 */
#ifndef UTIL_JSONX_H
#define UTIL_JSONX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/util/error.h"

struct json_object; // of <json-c/json.h>; released with json_object_put()

enum { JSONX_DEPTH_MAX = 32 }; // our protocols nest less than 15 deep; the parser's stack is that

/*
 * Parse the whole of `text` (at most max_bytes), one value and blanks. ERR_LIMIT if longer,
 * ERR_PROTO if it is not JSON, nests too deep or has something behind it, ERR_NOMEM. The value null
 * is a NULL in *out.
 */
int jsonx_parse(
    const void *text, size_t len, size_t max_bytes, struct json_object **out, struct error *err);

/* A field's value, or NULL if `o` is no object, has no such field, or the field is null. */
struct json_object *jsonx_find(const struct json_object *o, const char *name);

/* Fields of object `o`: 0, or ERR_PROTO with text; *out untouched on failure. */
int jsonx_get_object(const struct json_object *o,
                     const char *name,
                     struct json_object **out,
                     struct error *err);
int jsonx_get_array(const struct json_object *o,
                    const char *name,
                    struct json_object **out,
                    struct error *err);
/* Also fails on a string with a NUL in it. */
int jsonx_get_string(const struct json_object *o,
                     const char *name,
                     const char **out,
                     struct error *err);
int jsonx_get_bool(const struct json_object *o, const char *name, bool *out, struct error *err);
/* Whole numbers only; a number beyond int64 (or below 0) is ERR_PROTO. */
int jsonx_get_i64(const struct json_object *o, const char *name, int64_t *out, struct error *err);
int jsonx_get_u64(const struct json_object *o, const char *name, uint64_t *out, struct error *err);

/* The value itself as a string, `what` being its name in the error text. As jsonx_get_string. */
int jsonx_as_string(const struct json_object *v,
                    const char *what,
                    const char **out,
                    struct error *err);

#endif
