/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/util/jsonx.h"

#include <json-c/json.h>
#include <limits.h>
#include <string.h>

static bool only_blanks(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!strchr(" \t\r\n", text[i]) || text[i] == '\0') return false;
    return true;
}

/* json-c stops behind the first value: what follows may be blanks only. */
static int parse_all(struct json_tokener *t,
                     const char *text,
                     size_t len,
                     struct json_object **out,
                     struct error *err)
{
    struct json_object *o = json_tokener_parse_ex(t, text, (int)len);
    size_t end = json_tokener_get_parse_end(t);
    enum json_tokener_error e = json_tokener_get_error(t);
    if (e == json_tokener_continue && len > 0) {
        // A bare number is known to be over only when something follows it.
        o = json_tokener_parse_ex(t, " ", 1);
        e = json_tokener_get_error(t);
        end = len;
    }
    if (e != json_tokener_success) {
        json_object_put(o);
        const char *why = len == 0 || e == json_tokener_continue ? "it ends too early"
                                                                 : json_tokener_error_desc(e);
        return error_set(err, ERR_PROTO, "not JSON: %s, at byte %zu", why, end);
    }
    if (!only_blanks(text + end, len - end)) {
        json_object_put(o);
        return error_set(err, ERR_PROTO, "not JSON: something follows it, at byte %zu", end);
    }
    *out = o;
    return 0;
}

int jsonx_parse(
    const void *text, size_t len, size_t max_bytes, struct json_object **out, struct error *err)
{
    if (len > max_bytes || len > INT_MAX)
        return error_set(err, ERR_LIMIT, "JSON of %zu bytes, above %zu", len, max_bytes);
    struct json_tokener *t = json_tokener_new_ex(JSONX_DEPTH_MAX);
    if (!t) return error_set(err, ERR_NOMEM, "JSON: out of memory");
    int flags = JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS;
#ifdef JSON_TOKENER_VALIDATE_UTF8
    flags |= JSON_TOKENER_VALIDATE_UTF8;
#endif
    json_tokener_set_flags(t, flags);
    int rc = parse_all(t, text, len, out, err);
    json_tokener_free(t);
    return rc;
}

struct json_object *jsonx_find(const struct json_object *o, const char *name)
{
    struct json_object *v = NULL;
    if (!json_object_is_type(o, json_type_object)) return NULL;
    return json_object_object_get_ex(o, name, &v) ? v : NULL;
}

/* The field, if it has that type; else ERR_PROTO says what it is instead. */
static int get(const struct json_object *o,
               const char *name,
               enum json_type type,
               struct json_object **out,
               struct error *err)
{
    if (!json_object_is_type(o, json_type_object))
        return error_set(err,
                         ERR_PROTO,
                         "'%s' wanted of a JSON %s, not an object",
                         name,
                         json_type_to_name(json_object_get_type(o)));
    struct json_object *v = NULL;
    if (!json_object_object_get_ex(o, name, &v))
        return error_set(err, ERR_PROTO, "'%s' is missing", name);
    if (!json_object_is_type(v, type))
        return error_set(err,
                         ERR_PROTO,
                         "'%s' is a JSON %s, not %s",
                         name,
                         json_type_to_name(json_object_get_type(v)),
                         json_type_to_name(type));
    *out = v;
    return 0;
}

int jsonx_get_object(const struct json_object *o,
                     const char *name,
                     struct json_object **out,
                     struct error *err)
{
    return get(o, name, json_type_object, out, err);
}

int jsonx_get_array(const struct json_object *o,
                    const char *name,
                    struct json_object **out,
                    struct error *err)
{
    return get(o, name, json_type_array, out, err);
}

int jsonx_as_string(const struct json_object *v,
                    const char *what,
                    const char **out,
                    struct error *err)
{
    if (!json_object_is_type(v, json_type_string))
        return error_set(err,
                         ERR_PROTO,
                         "%s is a JSON %s, not string",
                         what,
                         json_type_to_name(json_object_get_type(v)));
    // json-c's getter for strings takes no const, though it changes nothing on a string.
    struct json_object *s = (struct json_object *)v;
    const char *text = json_object_get_string(s);
    if (strlen(text) != (size_t)json_object_get_string_len(s))
        return error_set(err, ERR_PROTO, "%s has a NUL in it", what);
    *out = text;
    return 0;
}

int jsonx_get_string(const struct json_object *o,
                     const char *name,
                     const char **out,
                     struct error *err)
{
    struct json_object *v;
    int rc = get(o, name, json_type_string, &v, err);
    return rc < 0 ? rc : jsonx_as_string(v, name, out, err);
}

int jsonx_get_bool(const struct json_object *o, const char *name, bool *out, struct error *err)
{
    struct json_object *v;
    int rc = get(o, name, json_type_boolean, &v, err);
    if (rc == 0) *out = json_object_get_boolean(v);
    return rc;
}

int jsonx_get_i64(const struct json_object *o, const char *name, int64_t *out, struct error *err)
{
    struct json_object *v;
    int rc = get(o, name, json_type_int, &v, err);
    if (rc < 0) return rc;
    // json-c cuts a number that is too large down to the largest, which is then one we refuse.
    int64_t n = json_object_get_int64(v);
    if (n == INT64_MAX || n == INT64_MIN)
        return error_set(err, ERR_PROTO, "'%s' is too large a number", name);
    *out = n;
    return 0;
}

int jsonx_get_u64(const struct json_object *o, const char *name, uint64_t *out, struct error *err)
{
    int64_t n = 0;
    int rc = jsonx_get_i64(o, name, &n, err);
    if (rc < 0) return rc;
    if (n < 0) return error_set(err, ERR_PROTO, "'%s' is negative", name);
    *out = (uint64_t)n;
    return 0;
}
