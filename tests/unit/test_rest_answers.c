/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What real slurmrestd answered, for each version of its API: tests/unit/rest/v0.0.N.json, recorded
 * from Slurm 22.05.8 (37, 38), 24.05.8 (39 to 41) and 26.05.3 (42 to 45) with the same requests. Of
 * accounting's jobs and slurmctld's statistics most of what nobody reads is left out. Partitions
 * are recorded from 22.05.8 (37, 38) and 24.11.5 (40 to 42), and written after the source of the
 * others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/slurm/rest_api.h"
#include "agent/util/file.h"
#include "agent/util/jsonx.h"

/* One version's answers by name. */
struct recording {
    const struct rest_version *v;
    struct json_object *all;
};

static struct recording load(const struct rest_version *v)
{
    char path[512];
    struct buf text = BUF_INIT(1 << 20);
    struct recording r = {.v = v};
    const char *top = getenv("top_srcdir");
    (void)snprintf(
        path, sizeof(path), "%s/tests/unit/rest/v0.0.%u.json", top ? top : ".", v->number);
    assert_int_equal(file_read(path, &text, NULL), 0);
    assert_int_equal(jsonx_parse(text.data, text.len, text.len, &r.all, NULL), 0);
    buf_free(&text);
    return r;
}

/* Borrowed from the recording, until the next call. */
static struct rest_answer answer(const struct recording *r, const char *name)
{
    struct json_object *one = jsonx_find(r->all, name);
    uint64_t status;
    if (!one) fail_msg("v0.0.%u: no answer %s", r->v->number, name);
    assert_int_equal(jsonx_get_u64(one, "status", &status, NULL), 0);
    struct json_object *body = jsonx_find(one, "body");
    const char *text = json_object_is_type(body, json_type_string)
                           ? json_object_get_string(body)
                           : json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN);
    return (struct rest_answer){(int)status, {text, strlen(text)}};
}

static void assert_code(const struct recording *r, const char *name, int rc, int wanted)
{
    if (rc != wanted)
        fail_msg("v0.0.%u: %s: %s, not %s", r->v->number, name, err_text(rc), err_text(wanted));
}

static void
assert_verdict(const struct recording *r, const char *name, int wanted, const char *part)
{
    struct error err = {0};
    struct rest_answer a = answer(r, name);
    assert_code(r, name, rest_decode_verdict(&a, &err), wanted);
    if (part && !strstr(err.text, part)) fail_msg("%s: \"%s\"", name, err.text);
}

static const struct slurm_job_spec spec = {
    .name = "0xpending",
    .user = "alice",
    .comment = "supervisor 127.0.0.1:3000",
    .ntasks = 2,
    .cpus_per_task = 2,
    .mem_per_cpu_mb = 10,
    .gpus = 2,
    .time_limit_min = 7,
};

static struct rest_slice first_of(const struct rest_answer *a, const char *list)
{
    struct rest_scan scan;
    struct rest_slice one;
    assert_int_equal(rest_decode_list(a, list, &scan, NULL), 0);
    assert_int_equal(rest_scan_next(&scan, NULL, &one, NULL), 1);
    return one;
}

static void check_ping(const struct recording *r)
{
    struct rest_answer up = answer(r, "ping");
    assert_code(r, "ping", rest_decode_ping(&up, NULL), 0);
    struct rest_answer bad = answer(r, "ping_bad_token");
    assert_int_not_equal(err_class_of(rest_decode_ping(&bad, NULL)), ERR_CLASS_PERMANENT);
    assert_true(rest_decode_ping(&bad, NULL) < 0);
    assert_verdict(r, "not_served", ERR_UNSUPPORTED, "404");
}

static void check_submissions(const struct recording *r)
{
    bool strict = r->v->number <= 38;
    struct error err;
    uint64_t id = 0;
    struct rest_answer a = answer(r, "submit");
    assert_code(r, "submit", rest_decode_submit(&a, &id, &err), 0);
    assert_true(id > 0);
    a = answer(r, "refused_partition");
    assert_code(r, "refused_partition", rest_decode_submit(&a, &id, &err), ERR_REFUSED);
    assert_non_null(strstr(err.text, "Invalid partition name specified"));
    // One release takes what cannot run now, another does not; either is said.
    a = answer(r, "refused_gpus");
    int rc = rest_decode_submit(&a, &id, &err);
    assert_true(rc == 0 || rc == ERR_REFUSED);
    a = answer(r, "unknown_key");
    assert_code(r, "unknown_key", rest_decode_submit(&a, &id, &err), strict ? ERR_PROTO : 0);
    if (strict) assert_non_null(strstr(err.text, "Unknown key"));
    // 22.05 to 24.05 say that no answer came: it may have been carried out. Later it is said.
    a = answer(r, "submit_bad_token");
    rc = rest_decode_submit(&a, &id, &err);
    assert_code(
        r, "submit_bad_token", rc, r->v->number >= 42 ? ERR_UNAVAILABLE : ERR_OUTCOME_UNKNOWN);
}

static void check_grant(const struct recording *r)
{
    struct slurm_job job;
    struct rest_grant grant;
    struct error err = {0};
    struct rest_answer a = answer(r, "job_pending");
    if (rest_decode_job(r->v, first_of(&a, "jobs"), &job, &grant, &err) < 0)
        fail_msg("v0.0.%u: %s", r->v->number, err.text);
    assert_string_equal(job.name, "0xpending");
    assert_string_equal(job.user, "alice");
    assert_string_equal(job.comment, spec.comment);
    assert_int_equal(slurm_phase_of(job.state), SLURM_PHASE_WAITING);
    assert_int_equal(job.start_s, 0);
    assert_int_equal(job.end_s, 0);
    assert_true(job.submit_s > 1700000000);
    if (rest_check_grant(&spec, &job, &grant, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(grant.mem_mb, 40);

    struct slurm_job_spec more[] = {spec, spec, spec, spec, spec, spec, spec};
    more[0].user = "bob";
    more[1].ntasks = 3;
    more[2].cpus_per_task = 3;
    more[3].mem_per_cpu_mb = 11;
    more[4].gpus = 3;
    more[5].time_limit_min = 8;
    more[6].time_limit_min = 6; // more than paid for is no good either
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
        assert_int_equal(rest_check_grant(&more[i], &job, &grant, &err), ERR_REFUSED);

    a = answer(r, "job_limit_raised");
    assert_int_equal(rest_decode_job(r->v, first_of(&a, "jobs"), &job, &grant, &err), 0);
    assert_int_equal(grant.time_limit_min, 61);
}

static void check_orders(const struct recording *r)
{
    static const char *const cancels[] = {
        "cancel", "cancel_pending", "cancel_finished", "cancel_unknown"};
    for (size_t i = 0; i < sizeof(cancels) / sizeof(cancels[0]); i++) {
        struct rest_answer a = answer(r, cancels[i]);
        assert_code(r, cancels[i], rest_decode_cancel(&a, NULL), 0);
    }
    assert_verdict(r, "limit", 0, NULL);
    assert_verdict(r, "limit_by_user", ERR_REFUSED, "Access/permission denied");
    assert_verdict(r, "limit_finished", ERR_EXISTS, "Job has already finished");
    assert_verdict(r, "limit_unknown", ERR_NOTFOUND, "Invalid job id");
    assert_verdict(r, "job_unknown", ERR_NOTFOUND, "Invalid job id");
}

static void check_jobs(const struct recording *r)
{
    const bool keeps = r->v->number < 42; // what it refused; later it waits
    const struct {
        const char *name;
        enum slurm_state state;
        uint32_t wait_status;
        bool started, has_start, has_end;
    } wanted[] = {
        {"0xpending", SLURM_CANCELLED, 0, false, true, true},
        {"0xok", SLURM_COMPLETE, 0, true, true, true},
        {"0xexit3", SLURM_FAILED, 3 << 8, true, true, true},
        {"0xkilled", SLURM_FAILED, 9, true, true, true},
        {"0xcancelled", SLURM_CANCELLED, 15, true, true, true},
        {"0xrunning", SLURM_RUNNING, 0, true, true, false},
        {"0xwaiting", SLURM_CANCELLED, 0, false, true, true},
        {"0xrefused", keeps ? SLURM_FAILED : SLURM_PENDING, keeps, false, keeps, keeps},
    };
    struct rest_answer a = answer(r, "jobs");
    struct rest_scan list;
    struct rest_slice one;
    size_t seen = 0;
    assert_int_equal(rest_decode_verdict(&a, NULL), 0);
    assert_int_equal(rest_decode_list(&a, "jobs", &list, NULL), 0);
    int rc;
    while ((rc = rest_scan_next(&list, NULL, &one, NULL)) > 0) {
        struct slurm_job job;
        struct error err;
        if (rest_decode_job(r->v, one, &job, NULL, &err) < 0)
            fail_msg("v0.0.%u: %s", r->v->number, err.text);
        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
            if (strcmp(job.name, wanted[i].name) != 0) continue;
            assert_int_equal(job.state & 0xff, wanted[i].state);
            assert_int_equal(job.wait_status, wanted[i].wait_status);
            assert_int_equal(job.start_s > 0, wanted[i].has_start);
            assert_int_equal(job.end_s > 0, wanted[i].has_end);
            assert_int_equal(job.started, wanted[i].started);
            assert_int_equal(job.restarts, 0);
            assert_int_equal(job.ran_s, job.end_s ? job.end_s - job.start_s : 0);
            seen++;
        }
    }
    assert_int_equal(rc, 0);
    assert_int_equal(seen, sizeof(wanted) / sizeof(wanted[0]));
}

/* The jobs were asked for with the very query and separator of the table. */
static void check_accounting(const struct recording *r)
{
    const struct {
        const char *name;
        enum slurm_state state;
        uint32_t wait_status, old_status; // the latter where accounting tells no exit codes
        bool started, has_start, has_end;
    } wanted[] = {
        {"0xok", SLURM_COMPLETE, 0, 0, true, true, true},
        {"0xexit3", SLURM_FAILED, 3 << 8, 1 << 8, true, true, true},
        {"0xkilled", SLURM_FAILED, 9, 9, true, true, true},
        {"0xrunning", SLURM_RUNNING, 0, 0, true, true, false},
        {"0xcancelled", SLURM_CANCELLED, 0, 0, true, true, true},
        {"0xheld", SLURM_CANCELLED, 0, 0, false, false, true},
        {"0xrefused", SLURM_FAILED, 1 << 8, 1 << 8, false, r->v->number < 42, true},
        {"0xstranger", SLURM_COMPLETE, 0, 0, true, true, true},
    };
    struct rest_answer a = answer(r, "db_jobs");
    struct rest_scan list;
    struct rest_slice one;
    assert_int_equal(rest_decode_verdict(&a, NULL), 0);
    assert_int_equal(rest_decode_list(&a, "jobs", &list, NULL), 0);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        struct slurm_job job;
        struct error err;
        uint32_t status = r->v->db_exit_code ? wanted[i].wait_status : wanted[i].old_status;
        assert_int_equal(rest_scan_next(&list, NULL, &one, NULL), 1);
        if (rest_decode_accounted(r->v, one, &job, &err) < 0)
            fail_msg("v0.0.%u: %s", r->v->number, err.text);
        assert_string_equal(job.name, wanted[i].name);
        assert_int_equal(job.id, i + 1);
        assert_int_equal(job.state, wanted[i].state);
        assert_int_equal(job.wait_status, status);
        assert_int_equal(job.started, wanted[i].started);
        assert_int_equal(job.start_s > 0, wanted[i].has_start);
        assert_int_equal(job.end_s > 0, wanted[i].has_end);
        assert_true(job.submit_s > 1700000000);
        assert_string_equal(job.comment, ""); // not stored, as on most clusters
        // Up to v0.0.38 a user without an account has no name.
        if (i < 7)
            assert_string_equal(job.user, "alice");
        else
            assert_string_equal(job.user, r->v->number <= 38 ? "" : "bob");
    }
    assert_int_equal(rest_scan_next(&list, NULL, &one, NULL), 0);
}

/* "None" is told from "not now", and that from "there is no accounting". */
static void check_accounting_away(const struct recording *r)
{
    uint64_t waiting = 77;
    struct rest_scan list;
    struct rest_slice one;
    struct rest_answer a = answer(r, "db_none");
    if (r->v->number <= 38) {
        assert_verdict(r, "db_none", ERR_NOTFOUND, "Nothing found");
    } else {
        assert_verdict(r, "db_none", 0, NULL);
        assert_int_equal(rest_decode_list(&a, "jobs", &list, NULL), 0);
        assert_int_equal(rest_scan_next(&list, NULL, &one, NULL), 0);
    }
    assert_verdict(r, "db_down", ERR_UNAVAILABLE, "Unable to connect to database");
    assert_verdict(r, "db_no_jwt", ERR_UNAVAILABLE, NULL);
    assert_verdict(r, "db_not_served", ERR_UNSUPPORTED, "404");
    a = answer(r, "diag");
    assert_int_equal(rest_decode_waiting(&a, &waiting, NULL), 0);
    assert_int_equal(waiting, 0);
    a = answer(r, "diag_waiting");
    assert_int_equal(rest_decode_waiting(&a, &waiting, NULL), 0);
    assert_true(waiting > 0);
}

/* Suspended time does not count; the numbers are those of jobs that 22.05.8 suspended. */
static void check_run_times(const struct recording *r)
{
    static const struct {
        int64_t suspend_time, pre_sus_time, end_time, restarts;
        uint64_t ran_s;
    } table[] = {
        {0, 0, 112, 0, 7},
        {112, 3, 112, 1, 3}, // resumed, and over at once
        {109, 3, 112, 2, 6}, // resumed at 109
        {108, 3, 108, 0, 3}, // cancelled while suspended
        {108, 3, 100, 0, 3}, // the clock was set back
        {0, 0, 104, 70000, 0},
    };
    struct rest_answer a = answer(r, "jobs");
    struct rest_slice first = first_of(&a, "jobs");
    struct json_object *o = NULL;
    struct error err = {0};
    assert_int_equal(jsonx_parse(first.text, first.len, first.len, &o, NULL), 0);
    json_object_object_add(o, "start_time", json_object_new_int64(105));
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct slurm_job job;
        json_object_object_add(o, "suspend_time", json_object_new_int64(table[i].suspend_time));
        json_object_object_add(o, "pre_sus_time", json_object_new_int64(table[i].pre_sus_time));
        json_object_object_add(o, "end_time", json_object_new_int64(table[i].end_time));
        json_object_object_add(o, "restart_cnt", json_object_new_int64(table[i].restarts));
        const char *text = json_object_to_json_string(o);
        const struct rest_slice one = {text, strlen(text)};
        if (rest_decode_job(r->v, one, &job, NULL, &err) < 0) fail_msg("%s", err.text);
        assert_int_equal(job.ran_s, table[i].ran_s);
        assert_int_equal(job.restarts, table[i].restarts);
    }
    json_object_put(o);
}

static void check_nodes(const struct recording *r)
{
    struct slurm_node node;
    struct error err;
    bool inside = false;
    struct rest_answer a = answer(r, "nodes");
    if (rest_decode_node(first_of(&a, "nodes"), "main", &node, &inside, &err) < 0)
        fail_msg("v0.0.%u: %s", r->v->number, err.text);
    assert_true(inside);
    assert_string_equal(node.name, "n1");
    assert_int_equal(node.cpus, 64);
    assert_int_equal(node.mem_mb, 20000);
    assert_int_equal(node.gpus, 4);
    assert_int_equal(node.used_cpus, 4);
    assert_int_equal(node.used_mem_mb, 40);
    assert_int_equal(node.used_gpus, 2);
    assert_int_equal(node.flags, SLURM_NODE_NOT_RESPONDING); // it had just been resumed
    assert_int_equal(rest_decode_node(first_of(&a, "nodes"), "mai", &node, &inside, &err), 0);
    assert_false(inside);
    a = answer(r, "nodes_draining");
    assert_int_equal(rest_decode_node(first_of(&a, "nodes"), "main", &node, &inside, &err), 0);
    assert_int_equal(node.flags, SLURM_NODE_DRAIN);
}

static void check_max_time(const struct recording *r)
{
    static const struct {
        const char *recorded, *name;
        uint64_t minutes;
    } table[] = {{"partition", "main", SLURM_UNLIMITED}, {"partition_limited", "hidden", 1501}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct error err;
        uint64_t minutes = 0;
        bool is_it = false;
        struct rest_answer a = answer(r, table[i].recorded);
        struct rest_slice one = first_of(&a, "partitions");
        if (rest_decode_max_time(r->v, one, table[i].name, &minutes, &is_it, &err) < 0)
            fail_msg("v0.0.%u: %s", r->v->number, err.text);
        assert_true(is_it);
        assert_true(minutes == table[i].minutes);
        assert_int_equal(rest_decode_max_time(r->v, one, "other", &minutes, &is_it, &err), 0);
        assert_false(is_it);
    }
}

static void each_version_is_understood(void **state)
{
    const struct rest_version *v;
    size_t count = 0;
    for (; (v = rest_version_at(count)); count++) {
        struct recording r = load(v);
        assert_int_equal(v->number, 45 - count);
        check_ping(&r);
        check_submissions(&r);
        check_grant(&r);
        check_orders(&r);
        check_jobs(&r);
        check_run_times(&r);
        check_nodes(&r);
        check_max_time(&r);
        check_accounting(&r);
        check_accounting_away(&r);
        json_object_put(r.all);
    }
    assert_int_equal(count, 9); // v0.0.37 to v0.0.45
}

typedef int decode_fn(const struct recording *r, struct rest_slice one, struct error *err);

static int decode_job(const struct recording *r, struct rest_slice one, struct error *err)
{
    struct slurm_job job;
    struct rest_grant grant;
    return rest_decode_job(r->v, one, &job, &grant, err);
}

static int decode_accounted(const struct recording *r, struct rest_slice one, struct error *err)
{
    struct slurm_job job;
    return rest_decode_accounted(r->v, one, &job, err);
}

static int decode_max_time(const struct recording *r, struct rest_slice one, struct error *err)
{
    uint64_t minutes;
    bool is_it;
    return rest_decode_max_time(r->v, one, "hidden", &minutes, &is_it, err);
}

/* The first one of the answer's list, without the field, and with something else in it. */
static void check_field(const struct recording *r,
                        const char *name,
                        const char *list,
                        const char *inside, // this object; NULL: the one itself
                        const char *field,
                        decode_fn *decode)
{
    struct rest_answer a = answer(r, name);
    struct rest_slice one = first_of(&a, list);
    for (int missing = 0; missing < 2; missing++) {
        struct json_object *o = NULL;
        struct error err = {0};
        assert_int_equal(jsonx_parse(one.text, one.len, one.len, &o, NULL), 0);
        struct json_object *at = inside ? jsonx_find(o, inside) : o;
        if (missing)
            json_object_object_del(at, field);
        else // a boolean: none of them is one
            (void)json_object_object_add(at, field, json_object_new_boolean(1));
        const char *text = json_object_to_json_string(o);
        struct rest_slice changed = {text, strlen(text)};
        assert_int_equal(decode(r, changed, &err), ERR_PROTO);
        if (!strstr(err.text, field)) fail_msg("%s: %s", field, err.text);
        json_object_put(o);
    }
}

/* A field that is missing, or is something else, is named. */
static void what_is_missing_or_wrong_is_named(void **state)
{
    static const char *const fields[] = {"job_id",
                                         "name",
                                         "comment",
                                         "user_name",
                                         "job_state",
                                         "exit_code",
                                         "submit_time",
                                         "start_time",
                                         "end_time",
                                         "time_limit",
                                         "tasks",
                                         "cpus",
                                         "node_count",
                                         "memory_per_cpu",
                                         "memory_per_node",
                                         "tres_per_job",
                                         "tres_per_node",
                                         "tres_per_task",
                                         "nodes"};
    static const struct {
        const char *inside, *field;
    } accounted[] = {
        {NULL, "job_id"},
        {NULL, "name"},
        {NULL, "user"},
        {NULL, "comment"},
        {"comment", "job"},
        {NULL, "state"},
        {"state", "current"},
        {NULL, "exit_code"},
        {NULL, "nodes"},
        {NULL, "time"},
        {"time", "submission"},
        {"time", "start"},
        {"time", "end"},
    };
    const struct rest_version *v;
    for (size_t n = 0; (v = rest_version_at(n)); n++) {
        struct recording r = load(v);
        for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
            check_field(&r, "job_pending", "jobs", NULL, fields[i], decode_job);
        for (size_t i = 0; i < sizeof(accounted) / sizeof(accounted[0]); i++)
            check_field(
                &r, "db_jobs", "jobs", accounted[i].inside, accounted[i].field, decode_accounted);
        static const char limited[] = "partition_limited", list[] = "partitions";
        check_field(&r, limited, list, NULL, "name", decode_max_time);
        if (v->maximums) check_field(&r, limited, list, "maximums", "time", decode_max_time);
        check_field(
            &r, limited, list, NULL, v->maximums ? "maximums" : "max_time_limit", decode_max_time);
        json_object_put(r.all);
    }
}

/* Cut anywhere, and with each byte in turn broken: an error or another value, never a crash. */
static void broken_answers_do_no_harm(void **state)
{
    const struct rest_version *v;
    for (size_t n = 0; (v = rest_version_at(n)); n++) {
        struct recording r = load(v);
        struct rest_answer a = answer(&r, n % 2 ? "jobs" : "db_jobs");
        char *copy = malloc(a.body.len);
        assert_non_null(copy);
        for (size_t i = 0; i < a.body.len; i += 1 + i % 97) {
            struct rest_answer cut = {200, {copy, i}}, bad = {200, {copy, a.body.len}};
            struct rest_scan list;
            struct rest_slice one;
            struct slurm_job job;
            uint64_t id;
            memcpy(copy, a.body.text, a.body.len);
            assert_true(rest_decode_list(&cut, "jobs", &list, NULL) < 0);
            assert_true(rest_decode_submit(&cut, &id, NULL) < 0);
            assert_true(rest_decode_cancel(&cut, NULL) < 0);
            copy[i] = "\"{}[],:\\x\0"[i % 10];
            if (rest_decode_list(&bad, "jobs", &list, NULL) < 0) continue;
            while (rest_scan_next(&list, NULL, &one, NULL) > 0) {
                (void)rest_decode_job(v, one, &job, NULL, NULL);
                (void)rest_decode_accounted(v, one, &job, NULL);
            }
        }
        free(copy);
        json_object_put(r.all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_version_is_understood),
        cmocka_unit_test(what_is_missing_or_wrong_is_named),
        cmocka_unit_test(broken_answers_do_no_harm),
    };
    return cmocka_run_group_tests_name("rest_answers", tests, NULL, NULL);
}
