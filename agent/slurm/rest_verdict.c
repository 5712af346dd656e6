/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What answers mean: slurmrestd's HTTP status is not the verdict, its errors are. */
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

#include "agent/slurm/rest_private.h"
#include "agent/util/jsonx.h"

enum {
    OTHER_MAX = 256 << 10, // bytes of an answer that is no list, or of a list's errors
    TEXT_MAX = 400,        // leaves room for a prefix in struct error
};

/* Slurm's error numbers that are no refusal (slurm_errno.h; the same from 20.11 to 26.05). */
static const struct {
    int64_t first, last;
    int code;
} numbers[] = {
    {11, 11, ERR_BUSY},            // EAGAIN
    {1001, 1001, ERR_UNAVAILABLE}, // no connection
    {1005, 1005, ERR_UNAVAILABLE}, // versions do not fit
    {1007, 1007, ERR_UNAVAILABLE}, // not authenticated
    {1800, 1800, ERR_UNAVAILABLE}, // no connection to slurmctld
    {1000, 1999, ERR_OUTCOME_UNKNOWN},
    {2007, 2007, ERR_BUSY}, // the queue is full
    {2010, 2010, ERR_BUSY}, // slurmctld's name service does not know the user (yet)
    {2017, 2017, ERR_NOTFOUND},
    {2019, 2019, ERR_BUSY}, // slurmctld cannot write its files
    {2021, 2021, ERR_EXISTS},
    {2027, 2027, ERR_UNAVAILABLE}, // in standby
    {2084, 2084, ERR_EXISTS},
    {2131, 2131, ERR_UNAVAILABLE}, // in standby
    {2000, 2999, ERR_REFUSED},
    {6000, 6999, ERR_UNAVAILABLE}, // not authenticated
    {7000, 7999, ERR_UNAVAILABLE}, // the database
    {9003, 9003, ERR_NOTFOUND},    // an empty answer
    {9000, 9999, ERR_PROTO},       // slurmrestd did not understand the request
};

static int code_of(int64_t number)
{
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (number >= numbers[i].first && number <= numbers[i].last) return numbers[i].code;
    return ERR_OUTCOME_UNKNOWN;
}

/* It has had several names, some of them within one release. Not all have it. */
static bool error_number(const struct json_object *e, int64_t *number)
{
    static const char *const names[] = {"error_number", "error_code", "errno", "code"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (jsonx_find(e, names[i]) && jsonx_get_i64(e, names[i], number, NULL) == 0 &&
            *number != 0)
            return true;
    return false;
}

static void gather_text(const struct json_object *e, struct buf *said)
{
    static const char *const names[] = {"error", "description", "message"};
    const char *text;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (jsonx_get_string(e, names[i], &text, NULL) < 0 || !*text) continue;
        if (said->len && said->len + 2 < said->max) (void)buf_puts(said, "; ");
        size_t len = strlen(text), room = said->max - said->len;
        (void)buf_put(said, text, len < room ? len : room);
        return;
    }
}

/* Of an array of errors: the first number counts, all texts are shown. */
static int judge(const struct json_object *errors, struct error *err)
{
    struct buf said = BUF_INIT(TEXT_MAX);
    int64_t number = 0;
    int code = ERR_OUTCOME_UNKNOWN;
    bool numbered = false;
    if (!json_object_is_type(errors, json_type_array))
        return error_set(err, ERR_PROTO, "slurmrestd: 'errors' is no array");
    size_t count = json_object_array_length(errors);
    for (size_t i = 0; i < count; i++) {
        const struct json_object *e = json_object_array_get_idx(errors, i);
        gather_text(e, &said);
        if (!numbered && (numbered = error_number(e, &number))) code = code_of(number);
    }
    if (count == 0)
        code = 0;
    else if (!said.len)
        code = error_set(err, code, "slurmrestd: error %" PRId64 " without a text", number);
    else
        code = error_set(err, code, "%s", buf_str(&said));
    buf_free(&said);
    return code;
}

/* An answer without JSON: slurmrestd itself, or something between it and us. */
static int judge_text(const struct rest_answer *a, struct error *err)
{
    static const struct {
        int status, code;
    } table[] = {
        {400, ERR_PROTO},
        {401, ERR_UNAVAILABLE},
        {403, ERR_UNAVAILABLE},
        {404, ERR_UNSUPPORTED},
        {413, ERR_REFUSED},
        {429, ERR_BUSY},
    };
    int code = ERR_OUTCOME_UNKNOWN, len = 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].status == a->status) code = table[i].code;
    while ((size_t)len < a->body.len && len < 100 && a->body.text[len] >= ' ')
        len++;
    return error_set(err,
                     code,
                     "slurmrestd: HTTP status %d%s%.*s",
                     a->status,
                     len ? ": " : "",
                     len,
                     a->body.text);
}

/* The whole of a small answer. ERR_PROTO if it is no JSON object. */
static int parse_answer(const struct rest_answer *a, struct json_object **out, struct error *err)
{
    int rc = rest_parse(a->body, OTHER_MAX, out, err);
    if (rc == 0 && !json_object_is_type(*out, json_type_object)) {
        json_object_put(*out);
        rc = error_set(err, ERR_PROTO, "slurmrestd: the answer is no JSON object");
    }
    return rc;
}

static int judge_object(const struct rest_answer *a, struct json_object *o, struct error *err)
{
    struct json_object *errors;
    int rc = jsonx_get_array(o, "errors", &errors, err);
    if (rc == 0) rc = judge(errors, err);
    if (rc == 0 && a->status >= 400)
        rc = error_set(err, ERR_OUTCOME_UNKNOWN, "slurmrestd: HTTP status %d", a->status);
    return rc;
}

/* Only the errors are parsed: the rest may be large. */
int rest_decode_verdict(const struct rest_answer *a, struct error *err)
{
    struct rest_scan members;
    struct rest_slice key, value, found = {0};
    struct json_object *errors = NULL;
    int rc = rest_scan_begin(&members, a->body, '{', NULL);
    while (rc >= 0 && (rc = rest_scan_next(&members, &key, &value, NULL)) > 0)
        if (key.len == strlen("errors") && memcmp(key.text, "errors", key.len) == 0) found = value;
    if (rc < 0 || !found.text) return judge_text(a, err);
    rc = rest_parse(found, OTHER_MAX, &errors, err);
    if (rc == 0) rc = judge(errors, err);
    json_object_put(errors);
    if (rc == 0 && a->status >= 400)
        rc = error_set(err, ERR_OUTCOME_UNKNOWN, "slurmrestd: HTTP status %d", a->status);
    return rc;
}

int rest_decode_submit(const struct rest_answer *a, uint64_t *id, struct error *err)
{
    struct json_object *o = NULL;
    uint64_t found = 0;
    int rc = parse_answer(a, &o, NULL);
    if (rc == ERR_NOMEM) return error_set(err, ERR_OUTCOME_UNKNOWN, "JSON: out of memory");
    if (rc < 0) return judge_text(a, err);
    if (jsonx_find(o, "job_id")) rc = jsonx_get_u64(o, "job_id", &found, err);
    if (rc < 0 || found > UINT32_MAX) {
        rc = error_set(err, ERR_OUTCOME_UNKNOWN, "slurmrestd: 'job_id' is not a Slurm id");
    } else if (found > 0) {
        *id = found;
    } else {
        rc = judge_object(a, o, err);
        if (rc == 0)
            rc = error_set(err, ERR_OUTCOME_UNKNOWN, "slurmrestd: neither 'job_id' nor an error");
    }
    json_object_put(o);
    return rc;
}

/* From v0.0.42 on each job's own result is in `status`. */
static int judge_status(struct json_object *o, struct error *err)
{
    struct json_object *list = jsonx_find(o, "status");
    if (!json_object_is_type(list, json_type_array)) return 0;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *e = jsonx_find(json_object_array_get_idx(list, i), "error");
        int64_t number;
        if (!e || !error_number(e, &number)) continue;
        int code = code_of(number);
        struct buf said = BUF_INIT(TEXT_MAX);
        gather_text(e, &said);
        code = error_set(err, code, "%s", said.len ? buf_str(&said) : "the job was not cancelled");
        buf_free(&said);
        return code;
    }
    return 0;
}

int rest_decode_cancel(const struct rest_answer *a, struct error *err)
{
    struct json_object *o = NULL;
    int rc = parse_answer(a, &o, NULL);
    if (rc == ERR_NOMEM) return error_set(err, rc, "JSON: out of memory");
    if (rc < 0) return judge_text(a, err);
    rc = judge_object(a, o, err);
    if (rc == 0) rc = judge_status(o, err);
    json_object_put(o);
    return rc == ERR_NOTFOUND || rc == ERR_EXISTS ? 0 : rc;
}

/* "ping" up to v0.0.38, then "pinged", then "responding". */
static bool is_up(const struct json_object *ping)
{
    const char *text = "";
    bool responding = false;
    if (jsonx_get_string(ping, "ping", &text, NULL) == 0 && strcmp(text, "UP") == 0) return true;
    if (jsonx_get_bool(ping, "responding", &responding, NULL) == 0) return responding;
    return jsonx_get_string(ping, "pinged", &text, NULL) == 0 && strcmp(text, "UP") == 0;
}

int rest_decode_ping(const struct rest_answer *a, struct error *err)
{
    struct json_object *o = NULL, *pings;
    int rc = parse_answer(a, &o, NULL);
    if (rc == ERR_NOMEM) return error_set(err, rc, "JSON: out of memory");
    if (rc < 0) return judge_text(a, err);
    rc = judge_object(a, o, err);
    if (rc == 0) rc = jsonx_get_array(o, "pings", &pings, err);
    bool up = false;
    for (size_t i = 0; rc == 0 && i < json_object_array_length(pings); i++)
        up = up || is_up(json_object_array_get_idx(pings, i));
    if (rc == 0 && !up)
        rc = error_set(err, ERR_UNAVAILABLE, "slurmrestd is up, but slurmctld does not answer it");
    json_object_put(o);
    return rc;
}
