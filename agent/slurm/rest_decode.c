/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How jobs, nodes and partitions are read. */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/slurm/gres.h"
#include "agent/slurm/nodes.h"
#include "agent/slurm/rest_private.h"
#include "agent/util/jsonx.h"

enum {
    OBJECT_MAX = 1 << 20, // of one job or node: 3 KB, and more where its job has many nodes
};

static const uint64_t NO_VAL = 0xfffffffe; // Slurm's "there is none", where it slips through

/* --- JSON --- */

int rest_parse(struct rest_slice s, size_t max, struct json_object **out, struct error *err)
{
    if (s.len > max) return error_set(err, ERR_PROTO, "a JSON value of %zu bytes", s.len);
    char *copy = malloc(s.len + 1);
    if (!copy) return error_set(err, ERR_NOMEM, "JSON: out of memory");
    for (size_t i = 0; i < s.len; i++)
        copy[i] = (unsigned char)s.text[i] < 0x80 ? s.text[i] : '?';
    int rc = jsonx_parse(copy, s.len, max, out, err);
    free(copy);
    return rc;
}

struct number {
    bool set, infinite;
    uint64_t value;
};

/*
 * A number in any of its forms: integer, null, or {"set":,"infinite":,"number":}. v0.0.39 has both
 * beside each other, which is why the form is not in the table of versions.
 */
static int
get_number(const struct json_object *o, const char *name, struct number *n, struct error *err)
{
    struct json_object *v = NULL;
    int rc;
    *n = (struct number){0};
    if (!json_object_object_get_ex(o, name, &v))
        return error_set(err, ERR_PROTO, "'%s' is missing", name);
    if (!v) return 0;
    if (!json_object_is_type(v, json_type_object)) {
        if ((rc = jsonx_get_u64(o, name, &n->value, err)) < 0) return rc;
        n->set = true;
        return 0;
    }
    if ((rc = jsonx_get_bool(v, "set", &n->set, err)) < 0 ||
        (rc = jsonx_get_bool(v, "infinite", &n->infinite, err)) < 0 ||
        (rc = jsonx_get_u64(v, "number", &n->value, err)) < 0)
        return error_prefix(err, "'%s'", name);
    return 0;
}

/* The same for a field that must say something. */
static int
get_set_number(const struct json_object *o, const char *name, uint64_t *value, struct error *err)
{
    struct number n;
    int rc = get_number(o, name, &n, err);
    if (rc < 0) return rc;
    if (n.infinite) return error_set(err, ERR_PROTO, "'%s' is infinite", name);
    *value = n.set ? n.value : 0;
    return 0;
}

static int copy_string(
    const struct json_object *o, const char *name, char *out, size_t size, struct error *err)
{
    const char *text;
    int rc = jsonx_get_string(o, name, &text, err);
    if (rc == 0) (void)snprintf(out, size, "%s", text);
    return rc;
}

/* --- jobs --- */

static int get_state(const struct rest_version *v,
                     const struct json_object *o,
                     const char *field,
                     uint32_t *state,
                     struct error *err)
{
    // Of a single name a flag hides the state that it is about; see squeue_next().
    const uint32_t seen_running = SLURM_FLAG_CONFIGURING | SLURM_FLAG_COMPLETING |
                                  SLURM_FLAG_RESIZING | SLURM_FLAG_STOPPED | SLURM_FLAG_SIGNALING |
                                  SLURM_FLAG_STAGE_OUT;
    struct json_object *list;
    const char *name;
    uint32_t one;
    int rc;
    *state = 0;
    if (!v->state_list) {
        if ((rc = jsonx_get_string(o, field, &name, err)) < 0) return rc;
        if (slurm_state_parse(name, state) < 0)
            return error_set(err, ERR_PROTO, "'%s' is \"%.40s\"", field, name);
        if (*state & seen_running) *state |= SLURM_RUNNING;
        return 0;
    }
    if ((rc = jsonx_get_array(o, field, &list, err)) < 0) return rc;
    if (json_object_array_length(list) == 0)
        return error_set(err, ERR_PROTO, "'%s' is empty", field);
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        rc = jsonx_as_string(json_object_array_get_idx(list, i), field, &name, err);
        if (rc < 0) return rc;
        if (slurm_state_parse(name, &one) == 0)
            *state |= one; // flags that are newer than we are say nothing to us
        else if (i == 0)
            return error_set(err, ERR_PROTO, "'%s' is \"%.40s\"", field, name);
    }
    return 0;
}

static int get_exit_object(const struct json_object *o, uint32_t *wait_status, struct error *err)
{
    struct json_object *e, *sig;
    struct number code, id;
    int rc;
    if ((rc = jsonx_get_object(o, "exit_code", &e, err)) < 0 ||
        (rc = get_number(e, "return_code", &code, err)) < 0 ||
        (rc = jsonx_get_object(e, "signal", &sig, err)) < 0 ||
        (rc = get_number(sig, "id", &id, err)) < 0)
        return rc;
    uint64_t c = code.set ? code.value : 0, s = id.set ? id.value : 0;
    if (c > 255 || s > 127)
        return error_set(err, ERR_PROTO, "'exit_code' is %" PRIu64 ":%" PRIu64, c, s);
    *wait_status = (uint32_t)(c << 8 | s);
    return 0;
}

static int get_exit(const struct rest_version *v,
                    const struct json_object *o,
                    uint32_t *wait_status,
                    struct error *err)
{
    struct number n;
    *wait_status = 0;
    if (v->exit_object) return get_exit_object(o, wait_status, err);
    int rc = get_number(o, "exit_code", &n, err);
    if (rc == 0 && n.set && n.value < NO_VAL) *wait_status = (uint32_t)n.value;
    return rc;
}

/* Submission, start and end, by their names. */
static int get_times(const struct json_object *o,
                     const char *const names[3],
                     struct slurm_job *job,
                     struct error *err)
{
    int64_t *const times[] = {&job->submit_s, &job->start_s, &job->end_s};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct number n;
        int rc = get_number(o, names[i], &n, err);
        if (rc < 0) return rc;
        *times[i] = n.set && n.value != NO_VAL && n.value <= INT64_MAX ? (int64_t)n.value : 0;
    }
    return 0;
}

/* Which attempt of the job this is, and what it ran without the time that it was suspended. */
static int get_attempt(const struct json_object *o, struct slurm_job *job, struct error *err)
{
    struct number changed, before; // when it was last suspended or resumed; what it ran until then
    uint64_t restarts;
    int rc;
    if ((rc = get_number(o, "suspend_time", &changed, err)) < 0 ||
        (rc = get_number(o, "pre_sus_time", &before, err)) < 0 ||
        (rc = get_set_number(o, "restart_cnt", &restarts, err)) < 0)
        return rc;
    bool stopped = changed.set && changed.value && changed.value <= INT64_MAX;
    int64_t from_s = stopped ? (int64_t)changed.value : job->start_s;
    uint64_t since_s = job->end_s > from_s ? (uint64_t)(job->end_s - from_s) : 0;
    job->ran_s = job->start_s ? (stopped && before.set ? before.value : 0) + since_s : 0;
    job->restarts = restarts < UINT32_MAX ? (uint32_t)restarts : UINT32_MAX;
    slurm_job_drop_expected(job);
    return 0;
}

static int get_nodes(const struct json_object *o, struct slurm_job *job, struct error *err)
{
    const char *nodes;
    int rc = jsonx_get_string(o, "nodes", &nodes, err);
    if (rc == 0) job->started = slurm_has_nodes(nodes);
    return rc;
}

/* Empty where slurmrestd's host does not know the uid. */
static int get_user(const struct json_object *o, struct slurm_job *job, struct error *err)
{
    uint64_t uid;
    int rc = copy_string(o, "user_name", job->user, sizeof(job->user), err);
    if (rc < 0 || job->user[0]) return rc;
    if ((rc = jsonx_get_u64(o, "user_id", &uid, err)) < 0) return rc;
    (void)snprintf(job->user, sizeof(job->user), "%" PRIu64, uid);
    return 0;
}

static int multiply(uint64_t a, uint64_t b, uint64_t *product, struct error *err)
{
    if (!__builtin_mul_overflow(a, b, product)) return 0;
    return error_set(err, ERR_PROTO, "a number of the job is out of range");
}

/* Whichever way the job asks for them. */
static int get_gpus(const struct json_object *o,
                    const struct rest_grant *g,
                    uint64_t nodes,
                    uint64_t *gpus,
                    struct error *err)
{
    const struct {
        const char *name;
        uint64_t times;
    } table[] = {{"tres_per_job", 1}, {"tres_per_node", nodes}, {"tres_per_task", g->ntasks}};
    *gpus = 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const char *text;
        uint64_t one, all;
        int rc = jsonx_get_string(o, table[i].name, &text, err);
        if (rc < 0) return rc;
        if (gres_gpus(text, &one) < 0)
            return error_set(err, ERR_PROTO, "'%s' is \"%.40s\"", table[i].name, text);
        if ((rc = multiply(one, table[i].times, &all, err)) < 0) return rc;
        if (all > *gpus) *gpus = all;
    }
    return 0;
}

static int get_grant(const struct json_object *o, struct rest_grant *g, struct error *err)
{
    struct number limit, per_cpu, per_node;
    uint64_t nodes;
    int rc;
    *g = (struct rest_grant){0};
    if ((rc = get_number(o, "time_limit", &limit, err)) < 0 ||
        (rc = get_set_number(o, "tasks", &g->ntasks, err)) < 0 ||
        (rc = get_set_number(o, "cpus", &g->cpus, err)) < 0 ||
        (rc = get_set_number(o, "node_count", &nodes, err)) < 0 ||
        (rc = get_number(o, "memory_per_cpu", &per_cpu, err)) < 0 ||
        (rc = get_number(o, "memory_per_node", &per_node, err)) < 0)
        return rc;
    g->has_time_limit = limit.set && !limit.infinite;
    g->time_limit_min = g->has_time_limit ? limit.value : 0;
    rc = per_cpu.set ? multiply(per_cpu.value, g->cpus, &g->mem_mb, err)
                     : multiply(per_node.set ? per_node.value : 0, nodes, &g->mem_mb, err);
    return rc < 0 ? rc : get_gpus(o, g, nodes, &g->gpus, err);
}

/* Minutes; 0 for none, and where it is not told. */
static int get_limit(const struct json_object *o, struct slurm_job *job, struct error *err)
{
    struct number n;
    job->limit_min = 0;
    if (!json_object_object_get_ex(o, "time_limit", NULL)) return 0;
    int rc = get_number(o, "time_limit", &n, err);
    if (rc == 0 && n.set && !n.infinite) job->limit_min = n.value;
    return rc;
}

static int decode_job(const struct rest_version *v,
                      const struct json_object *o,
                      struct slurm_job *job,
                      struct rest_grant *grant,
                      struct error *err)
{
    static const char *const times[] = {"submit_time", "start_time", "end_time"};
    int rc;
    if ((rc = jsonx_get_u64(o, "job_id", &job->id, err)) < 0 ||
        (rc = copy_string(o, "name", job->name, sizeof(job->name), err)) < 0 ||
        (rc = copy_string(o, "comment", job->comment, sizeof(job->comment), err)) < 0 ||
        (rc = get_user(o, job, err)) < 0 ||
        (rc = get_state(v, o, "job_state", &job->state, err)) < 0 ||
        (rc = get_exit(v, o, &job->wait_status, err)) < 0 || (rc = get_nodes(o, job, err)) < 0 ||
        (rc = get_times(o, times, job, err)) < 0 || (rc = get_attempt(o, job, err)) < 0 ||
        (rc = get_limit(o, job, err)) < 0)
        return rc;
    return grant ? get_grant(o, grant, err) : 0;
}

int rest_decode_job(const struct rest_version *v,
                    struct rest_slice object,
                    struct slurm_job *job,
                    struct rest_grant *grant,
                    struct error *err)
{
    struct json_object *o = NULL;
    struct slurm_job found = {0};
    int rc = rest_parse(object, OBJECT_MAX, &o, err);
    if (rc < 0) return rc;
    rc = decode_job(v, o, &found, grant, err);
    json_object_put(o);
    if (rc < 0) return error_prefix(err, "slurmrestd: job %" PRIu64, found.id);
    *job = found;
    return 0;
}

/* --- accounting --- */

/* As copy_string(); null is "". */
static int copy_optional(
    const struct json_object *o, const char *name, char *out, size_t size, struct error *err)
{
    struct json_object *value = NULL;
    out[0] = '\0';
    if (json_object_object_get_ex(o, name, &value) && !value) return 0;
    return copy_string(o, name, out, size, err);
}

/* Up to v0.0.39 whatever exited is a "SUCCESS" with 0; only a signal's number is told. */
static int get_accounted_exit(const struct rest_version *v,
                              const struct json_object *o,
                              struct slurm_job *job,
                              struct error *err)
{
    struct json_object *e, *sig;
    uint64_t number = 0;
    if (v->db_exit_code) return get_exit_object(o, &job->wait_status, err);
    int rc = jsonx_get_object(o, "exit_code", &e, err);
    if (rc == 0 && (sig = jsonx_find(e, "signal")))
        rc = jsonx_get_u64(sig, "signal_id", &number, err);
    if (rc == 0 && number > 127) rc = error_set(err, ERR_PROTO, "'signal_id' is %" PRIu64, number);
    if (rc < 0) return rc;
    job->wait_status = number ? (uint32_t)number : job->state == SLURM_FAILED ? 1 << 8 : 0;
    return 0;
}

static int decode_accounted(const struct rest_version *v,
                            const struct json_object *o,
                            struct slurm_job *job,
                            struct error *err)
{
    static const char *const times[] = {"submission", "start", "end"};
    struct json_object *comment, *state, *time;
    struct number elapsed;
    int rc;
    if ((rc = jsonx_get_u64(o, "job_id", &job->id, err)) < 0 ||
        (rc = copy_string(o, "name", job->name, sizeof(job->name), err)) < 0 ||
        (rc = copy_optional(o, "user", job->user, sizeof(job->user), err)) < 0 ||
        (rc = jsonx_get_object(o, "comment", &comment, err)) < 0 ||
        (rc = copy_optional(comment, "job", job->comment, sizeof(job->comment), err)) < 0 ||
        (rc = jsonx_get_object(o, "state", &state, err)) < 0 ||
        (rc = get_state(v, state, "current", &job->state, err)) < 0 ||
        (rc = get_accounted_exit(v, o, job, err)) < 0 || (rc = get_nodes(o, job, err)) < 0 ||
        (rc = jsonx_get_object(o, "time", &time, err)) < 0 ||
        (rc = get_times(time, times, job, err)) < 0 ||
        (rc = get_number(time, "elapsed", &elapsed, err)) < 0)
        return rc;
    job->ran_s = elapsed.set ? elapsed.value : 0;
    slurm_job_drop_expected(job);
    return 0;
}

int rest_decode_accounted(const struct rest_version *v,
                          struct rest_slice object,
                          struct slurm_job *job,
                          struct error *err)
{
    struct json_object *o = NULL;
    struct slurm_job found = {0};
    int rc = rest_parse(object, OBJECT_MAX, &o, err);
    if (rc < 0) return rc;
    rc = decode_accounted(v, o, &found, err);
    json_object_put(o);
    if (rc < 0) return error_prefix(err, "slurmdb: job %" PRIu64, found.id);
    *job = found;
    return 0;
}

int rest_decode_waiting(const struct rest_answer *a, uint64_t *count, struct error *err)
{
    struct json_object *o = NULL, *statistics;
    int rc = rest_parse(a->body, OBJECT_MAX, &o, err);
    if (rc == 0) rc = jsonx_get_object(o, "statistics", &statistics, err);
    if (rc == 0) rc = jsonx_get_u64(statistics, "dbd_agent_queue_size", count, err);
    json_object_put(o);
    return rc < 0 ? error_prefix(err, "slurmrestd: diag") : 0;
}

/* --- what was given --- */

int rest_check_grant(const struct slurm_job_spec *s,
                     const struct slurm_job *job,
                     const struct rest_grant *g,
                     struct error *err)
{
    const struct {
        const char *what;
        uint64_t got, wanted;
        bool ok;
    } table[] = {
        {"minutes of time limit",
         g->time_limit_min,
         s->time_limit_min,
         g->has_time_limit && g->time_limit_min == s->time_limit_min},
        {"tasks", g->ntasks, s->ntasks, g->ntasks == s->ntasks},
        {"CPUs", g->cpus, s->ntasks * s->cpus_per_task, g->cpus >= s->ntasks * s->cpus_per_task},
        {"MB of memory",
         g->mem_mb,
         s->ntasks * s->cpus_per_task * s->mem_per_cpu_mb,
         g->mem_mb / s->mem_per_cpu_mb >= s->ntasks * s->cpus_per_task},
        {"GPUs", g->gpus, s->gpus, g->gpus >= s->gpus},
    };
    if (strcmp(job->user, s->user) != 0)
        return error_set(
            err, ERR_REFUSED, "Slurm took the job for user %.64s, not %s", job->user, s->user);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (!table[i].ok)
            return error_set(err,
                             ERR_REFUSED,
                             "Slurm gave the job %" PRIu64 " %s, not %" PRIu64,
                             table[i].got,
                             table[i].what,
                             table[i].wanted);
    return 0;
}

/* --- nodes --- */

static uint32_t flags_of(const struct json_object *o, const char *name)
{
    struct json_object *v = jsonx_find(o, name);
    uint32_t flags = 0;
    const char *word;
    if (jsonx_as_string(v, name, &word, NULL) == 0) return nodes_state_flags(word, strlen(word));
    if (!json_object_is_type(v, json_type_array)) return 0;
    for (size_t i = 0; i < json_object_array_length(v); i++)
        if (jsonx_as_string(json_object_array_get_idx(v, i), name, &word, NULL) == 0)
            flags |= nodes_state_flags(word, strlen(word));
    return flags;
}

static bool has_partition(struct json_object *list, const char *partition)
{
    const char *name;
    for (size_t i = 0; i < json_object_array_length(list); i++)
        if (jsonx_as_string(json_object_array_get_idx(list, i), "", &name, NULL) == 0 &&
            strcmp(name, partition) == 0)
            return true;
    return false;
}

static int decode_node(const struct json_object *o, struct slurm_node *node, struct error *err)
{
    const char *gres, *used = "";
    int rc;
    if ((rc = copy_string(o, "name", node->name, sizeof(node->name), err)) < 0 ||
        (rc = get_set_number(o, "cpus", &node->cpus, err)) < 0 ||
        (rc = get_set_number(o, "real_memory", &node->mem_mb, err)) < 0 ||
        (rc = get_set_number(o, "alloc_cpus", &node->used_cpus, err)) < 0 ||
        (rc = get_set_number(o, "alloc_memory", &node->used_mem_mb, err)) < 0 ||
        (rc = jsonx_get_string(o, "gres", &gres, err)) < 0)
        return rc;
    if (!jsonx_find(o, "state")) return error_set(err, ERR_PROTO, "'state' is missing");
    node->flags = flags_of(o, "state") | flags_of(o, "state_flags"); // the latter up to v0.0.38
    (void)jsonx_as_string(jsonx_find(o, "gres_used"), "gres_used", &used, NULL);
    if (gres_gpus(gres, &node->gpus) < 0 || gres_gpus(used, &node->used_gpus) < 0)
        return error_set(err, ERR_PROTO, "'gres' is \"%.60s\", used \"%.60s\"", gres, used);
    return 0;
}

int rest_decode_node(struct rest_slice object,
                     const char *partition,
                     struct slurm_node *node,
                     bool *in_partition,
                     struct error *err)
{
    struct json_object *o = NULL, *list;
    struct slurm_node found = {0};
    int rc = rest_parse(object, OBJECT_MAX, &o, err);
    if (rc < 0) return rc;
    rc = decode_node(o, &found, err);
    if (rc == 0) rc = jsonx_get_array(o, "partitions", &list, err);
    if (rc == 0) {
        *in_partition = has_partition(list, partition);
        *node = found;
    } else {
        (void)error_prefix(err, "slurmrestd: node %s", found.name);
    }
    json_object_put(o);
    return rc;
}

/* --- partitions --- */

static int get_max_time(const struct rest_version *v,
                        const struct json_object *o,
                        uint64_t *minutes,
                        struct error *err)
{
    struct json_object *maximums;
    struct number n;
    int64_t limit;
    int rc;
    if (v->maximums) {
        if ((rc = jsonx_get_object(o, "maximums", &maximums, err)) < 0) return rc;
        if ((rc = get_number(maximums, "time", &n, err)) < 0)
            return error_prefix(err, "'maximums'");
        if (!n.set && !n.infinite)
            return error_set(err, ERR_PROTO, "'maximums': 'time' is not set");
    } else {
        if ((rc = jsonx_get_i64(o, "max_time_limit", &limit, err)) < 0) return rc;
        if (limit < -1) return error_set(err, ERR_PROTO, "'max_time_limit' is %" PRId64, limit);
        n = (struct number){.infinite = limit < 0, .value = (uint64_t)limit};
    }
    *minutes = n.infinite ? SLURM_UNLIMITED : n.value;
    return 0;
}

int rest_decode_max_time(const struct rest_version *v,
                         struct rest_slice object,
                         const char *name,
                         uint64_t *minutes,
                         bool *is_it,
                         struct error *err)
{
    struct json_object *o = NULL;
    const char *text;
    int rc = rest_parse(object, OBJECT_MAX, &o, err);
    if (rc < 0) return rc;
    rc = jsonx_get_string(o, "name", &text, err);
    if (rc == 0) *is_it = strcmp(text, name) == 0;
    if (rc == 0 && *is_it) rc = get_max_time(v, o, minutes, err);
    json_object_put(o);
    if (rc < 0) (void)error_prefix(err, "slurmrestd: partition %s", name);
    return rc;
}

/* --- lists --- */

int rest_decode_list(const struct rest_answer *a,
                     const char *name,
                     struct rest_scan *list,
                     struct error *err)
{
    struct rest_scan members;
    struct rest_slice key, value, found = {0};
    int rc = rest_scan_begin(&members, a->body, '{', err);
    while (rc >= 0 && (rc = rest_scan_next(&members, &key, &value, err)) > 0)
        if (key.len == strlen(name) && memcmp(key.text, name, key.len) == 0) found = value;
    if (rc < 0) return error_prefix(err, "slurmrestd");
    if (!found.text) return error_set(err, ERR_PROTO, "slurmrestd: '%s' is missing", name);
    rc = rest_scan_begin(list, found, '[', err);
    return rc < 0 ? error_prefix(err, "slurmrestd: '%s'", name) : 0;
}
