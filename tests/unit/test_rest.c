/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The slurmrestd backend against a stub that fails as a server can, and its pure parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/slurm/gres.h"
#include "agent/slurm/nodes.h"
#include "agent/slurm/rest_api.h"
#include "agent/slurm/rest_backend.h"
#include "agent/slurm/rest_queue.h"
#include "agent/util/clock.h"
#include "agent/util/jsonx.h"
#include "tests/unit/http_stub.h"

#define NAME "0x00000000000000000000000000000000000000000000000000000000000000aa"
#define USER "nobody" // every host has him

enum { TIMEOUT_MS = 5000, SEEN_MAX = 64 };

/* ------------------------------------------------------------------------------- pure parts */

static void gpus_are_counted(void **state)
{
    static const struct {
        const char *text;
        uint64_t count;
        int rc;
    } cases[] = {
        {"", 0, 0},
        {"gpu:4", 4, 0},
        {"gpu", 1, 0},
        {"gpu:a100", 1, 0},
        {"gpu:a100:4(S:0-1)", 4, 0},
        {"gpu:a100:2(IDX:0,3),gpu:v100:1,shard:8", 3, 0},
        {"gres:gpu:2", 2, 0},
        {"gres/gpu=2", 2, 0},
        {"gres/gpu:tesla:2", 2, 0},
        {"(null)", 0, 0},
        {"license:9,gpumem:5,mps:100", 0, 0},
        {"gpu:1K", 1024, 0},
        {"gpu:99999999999", 0, ERR_PROTO},
        {"gpu:3x", 0, ERR_PROTO},
        {",,gpu:2,", 2, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t count = 0;
        int rc = gres_gpus(cases[i].text, &count);
        if (rc != cases[i].rc || count != cases[i].count)
            fail_msg("\"%s\": %d, %" PRIu64, cases[i].text, rc, count);
    }
}

static void nodes_of_scontrol(void **state)
{
    static const char text[] =
        "Welcome!\n"
        "NodeName=n1 Arch=x86_64 CoresPerSocket=1 CPUAlloc=6 CPUEfctv=64 CPUTot=64 CPULoad=0.10 "
        "Gres=gpu:4(S:0) GresDrain=N/A GresUsed=gpu:3(IDX:0-2) NodeAddr=127.0.0.1 "
        "OS=Linux 6.1 #1 SMP RealMemory=20000 AllocMem=120 "
        "State=IDLE ThreadsPerCore=1 Partitions=main,debug BootTime=None\n"
        "NodeName=n2 CPUTot=8 Gres=(null) RealMemory=1000 State=MIXED+DRAIN* Partitions=main "
        "Reason=CPUTot=1 State=IDLE is what he wrote\n"
        "NodeName=n3 CPUTot=8 Gres=(null) RealMemory=1000 State=DOWN Partitions=other\n"
        "NodeName=n4 CPUTot=8 Gres=(null) RealMemory=1000 State=IDLE+POWERED_DOWN~ "
        "Partitions=main\n"
        "NodeName=n5 CPUTot=8 Gres=(null) RealMemory=1000 State=FUTURE\n";
    struct slurm_node *nodes = NULL;
    struct error err;
    size_t n = 0;
    assert_int_equal(nodes_parse(text, "main", &nodes, &n, &err), 0);
    assert_int_equal(n, 3);
    assert_string_equal(nodes[0].name, "n1");
    assert_int_equal(nodes[0].cpus, 64);
    assert_int_equal(nodes[0].mem_mb, 20000);
    assert_int_equal(nodes[0].gpus, 4);
    assert_int_equal(nodes[0].used_cpus, 6);
    assert_int_equal(nodes[0].used_mem_mb, 120);
    assert_int_equal(nodes[0].used_gpus, 3);
    assert_int_equal(nodes[0].flags, 0);
    assert_int_equal(nodes[1].cpus, 8);
    assert_int_equal(nodes[1].used_cpus + nodes[1].used_mem_mb + nodes[1].used_gpus, 0);
    assert_int_equal(nodes[1].flags, SLURM_NODE_DRAIN | SLURM_NODE_NOT_RESPONDING);
    assert_int_equal(nodes[2].flags, SLURM_NODE_POWERED_DOWN);
    free(nodes);
    assert_int_equal(nodes_parse(text, "mai", &nodes, &n, &err), ERR_NOTFOUND);
    assert_int_equal(nodes_parse("", "main", &nodes, &n, &err), ERR_NOTFOUND);
    assert_int_equal(nodes_parse("NodeName=n1 Partitions=main\n", "main", &nodes, &n, &err),
                     ERR_PROTO);
}

static void max_time_of_scontrol(void **state)
{
    static const struct {
        const char *text;
        uint64_t minutes; // 0: an error that has `says`
        const char *says;
    } cases[] = {
        {"Welcome!\nPartitionName=other MaxTime=1:00\nPartitionName=main AllowGroups=ALL "
         "DefaultTime=NONE MaxNodes=UNLIMITED MaxTime=1-01:01:00 MinNodes=0\n",
         1501,
         NULL},
        {"PartitionName=main MaxTime=UNLIMITED MinNodes=0", SLURM_UNLIMITED, NULL},
        {"PartitionName=main MaxTime=00:03:00\n", 3, NULL},
        {"PartitionName=main MaxTime=INVALID\n", 0, "MaxTime is \"INVALID\""},
        {"PartitionName=main MaxTime=3\n", 0, "MaxTime is \"3\""},
        {"PartitionName=main MaxTime=UNLIMITEDUNLIMITEDUNLIMITED\n", 0, "MaxTime is \"UNLIM"},
        {"PartitionName=main DefMaxTime=00:03:00\n", 0, "MaxTime is missing"},
        {"PartitionName=mainly MaxTime=00:03:00\n", 0, "partition main: not shown"},
        {"", 0, "partition main: not shown"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = {0};
        uint64_t minutes = 0;
        int rc = nodes_parse_max_time(cases[i].text, "main", &minutes, &err);
        if (cases[i].says) assert_non_null(strstr(err.text, cases[i].says));
        assert_int_equal(rc, cases[i].says ? ERR_PROTO : 0);
        assert_true(minutes == cases[i].minutes);
    }
}

/* A number that is none of Slurm's. */
static void max_time_of_slurmrestd(void **state)
{
    static const struct {
        unsigned int version;
        const char *text, *says;
    } cases[] = {
        {38, "{\"name\":\"main\",\"max_time_limit\":-2}", "'max_time_limit' is -2"},
        {45,
         "{\"name\":\"main\",\"maximums\":{\"time\":{\"set\":false,\"infinite\":false,\"number\":0}"
         "}}",
         "'time' is not set"},
        {45, "{\"name\":\"main\",\"maximums\":{\"time\":-1}}", "'time'"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct rest_slice one = {cases[i].text, strlen(cases[i].text)};
        struct error err = {0};
        uint64_t minutes = 0;
        bool is_it = false;
        const struct rest_version *v;
        for (size_t n = 0; (v = rest_version_at(n)) && v->number != cases[i].version;)
            n++;
        assert_int_equal(rest_decode_max_time(v, one, "main", &minutes, &is_it, &err), ERR_PROTO);
        assert_non_null(strstr(err.text, "partition main"));
        assert_non_null(strstr(err.text, cases[i].says));
    }
}

static void the_body_fits_the_version(void **state)
{
    const struct slurm_job_spec spec = {.name = NAME,
                                        .user = USER,
                                        .comment = "supervisor a:1",
                                        .partition = "main",
                                        .output = "out-%j",
                                        .ntasks = 2,
                                        .cpus_per_task = 3,
                                        .mem_per_cpu_mb = 4,
                                        .gpus = 5,
                                        .time_limit_min = 6};
    const struct passwd_entry user = {.uid = 1, .home = "/home/x", .shell = ""};
    const struct rest_job_env env = {.user = &user, .host = "host"};
    const struct rest_version *v;
    struct buf script = BUF_INIT(100);
    assert_int_equal(buf_puts(&script, "#!/bin/sh\necho \"\303\251\\\"\n"), 0);
    for (size_t i = 0; (v = rest_version_at(i)); i++) {
        struct buf body = BUF_INIT(4096);
        struct json_object *o, *job, *environment;
        const char *text;
        uint64_t number;
        bool yes;
        assert_int_equal(rest_encode_submit(v, &spec, &script, &env, &body, NULL), 0);
        assert_int_equal(jsonx_parse(body.data, body.len, body.len, &o, NULL), 0);
        assert_int_equal(jsonx_get_string(o, "script", &text, NULL), 0);
        assert_string_equal(text, buf_str(&script));
        assert_int_equal(jsonx_get_object(o, "job", &job, NULL), 0);
        assert_int_equal(jsonx_get_object(job, "environment", &environment, NULL), 0);
        assert_int_equal(jsonx_get_string(environment, "SHELL", &text, NULL), 0);
        assert_string_equal(text, "/bin/sh");
        assert_int_equal(jsonx_get_string(environment, "SLURM_GPUS", &text, NULL), 0);
        assert_string_equal(text, "5");
        assert_int_equal(jsonx_find(environment, "OMPI_MCA_plm_slurm_args") != NULL,
                         v->number >= 40);
        assert_int_equal(jsonx_get_string(job, "standard_output", &text, NULL), 0);
        assert_string_equal(text, "/home/x/out-%j");
        assert_int_equal(jsonx_get_u64(job, "time_limit", &number, NULL), 0);
        assert_int_equal(number, 6);
        bool old = v->number <= 38;
        assert_int_equal(jsonx_find(job, "gpus") != NULL, old);
        assert_int_equal(jsonx_find(job, "tres_per_job") != NULL, !old);
        assert_int_equal(jsonx_get_string(job, old ? "gpus" : "tres_per_job", &text, NULL), 0);
        assert_string_equal(text, old ? "5" : "gres:gpu:5");
        // "requeue":false means the contrary to the old ones.
        assert_int_equal(jsonx_find(job, "requeue") != NULL, !old);
        assert_int_equal(jsonx_get_bool(job, old ? "no_requeue" : "requeue", &yes, NULL), 0);
        assert_int_equal(yes, old);
        json_object_put(o);
        buf_free(&body);
    }
    buf_free(&script);
}

static void verdicts_of_odd_answers(void **state)
{
    static const struct {
        int status;
        const char *body;
        int code;
    } cases[] = {
        {200, "{\"errors\":[]}", 0},
        {200, "{\"errors\":[{\"error\":\"no\",\"error_code\":2002}]}", ERR_REFUSED},
        {500,
         "{\"errors\":[{\"error_number\":-1,\"error\":\"Unable to find JobId\"}]}",
         ERR_OUTCOME_UNKNOWN},
        {500, "{\"errors\":[{\"error_number\":1800}]}", ERR_UNAVAILABLE},
        {500, "{\"errors\":[{\"description\":\"x\"},{\"errno\":2007}]}", ERR_BUSY},
        {500, "{\"errors\":[]}", ERR_OUTCOME_UNKNOWN},
        {500, "{}", ERR_OUTCOME_UNKNOWN},
        {200, "{\"errors\":{}}", ERR_PROTO},
        {400, "Unable to parse query.", ERR_PROTO},
        {401, "Authentication failure", ERR_UNAVAILABLE},
        {404, "Unable find requested URL.", ERR_UNSUPPORTED},
        {502, "<html>Bad Gateway</html>", ERR_OUTCOME_UNKNOWN},
        {200, "", ERR_OUTCOME_UNKNOWN},
        {503, "", ERR_OUTCOME_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = {0};
        struct rest_answer a = {cases[i].status, {cases[i].body, strlen(cases[i].body)}};
        int rc = rest_decode_verdict(&a, &err);
        if (rc != cases[i].code) fail_msg("case %zu: %d %s", i, rc, err.text);
        assert_int_equal(rc < 0, err.text[0] != '\0');
    }
}

/* Those who wait share a fetch, which began after they asked. */
struct fetches {
    atomic_int begun, code;
};

static int slow_fetch(
    void *ctx, long long deadline_ms, struct slurm_job **jobs, size_t *count, struct error *err)
{
    struct fetches *f = ctx;
    int number = ++f->begun;
    (void)usleep(100 * 1000);
    if (f->code < 0) return error_set(err, f->code, "fetch %d", number);
    *jobs = calloc(1, sizeof(**jobs));
    (*jobs)->id = (uint64_t)number;
    *count = 1;
    return 0;
}

struct asker {
    struct rest_queue *q;
    struct fetches *f;
    int begun_before, rc;
    uint64_t got;
};

static void *ask_queue(void *arg)
{
    struct asker *a = arg;
    struct rest_snapshot *s;
    a->begun_before = a->f->begun;
    a->rc = rest_queue_get(a->q, clock_mono_ms() + TIMEOUT_MS, &s, NULL);
    if (a->rc < 0) return NULL;
    a->got = s->jobs[0].id;
    rest_queue_release(a->q, s);
    return NULL;
}

static void lookups_share_a_fetch(void **state)
{
    struct fetches f = {0};
    struct rest_queue *q = rest_queue_new(slow_fetch, &f);
    pthread_t threads[20];
    struct asker askers[20];
    for (int i = 0; i < 20; i++) {
        askers[i] = (struct asker){.q = q, .f = &f};
        assert_int_equal(pthread_create(&threads[i], NULL, ask_queue, &askers[i]), 0);
        if (i == 9) (void)usleep(50 * 1000); // the others ask while the first fetch is under way
    }
    for (int i = 0; i < 20; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(askers[i].rc, 0);
        assert_true((int)askers[i].got > askers[i].begun_before);
    }
    assert_in_range(f.begun, 2, 3);
    f.code = ERR_UNAVAILABLE;
    struct asker late = {.q = q, .f = &f};
    (void)ask_queue(&late);
    assert_int_equal(late.rc, ERR_UNAVAILABLE);
    assert_null(rest_queue_destroy(q));
}

/* ------------------------------------------------------------------------------- the backend */

struct fixture {
    struct http_stub *stub;
    struct slurm_backend *b;
    struct error err;
    atomic_uint version;   // that the stub serves
    pthread_mutex_t mutex; // of what it has seen
    char seen[SEEN_MAX][160];
    char users[SEEN_MAX][32];
    unsigned int seen_count;
    atomic_bool cut_submit, close_after_ping, text_500, slow, huge;
    atomic_int waiting;          // for slurmdbd, of slurmctld
    _Atomic(const char *) db;    // what accounting answers; NULL: it is not served
    _Atomic(const char *) gpus;  // of the job, as the stub tells it
    _Atomic(const char *) extra; // more jobs in the queue
};

static const char job_format[] =
    "{\"job_id\":5,\"name\":\"%s\",\"comment\":\"supervisor a:1\",\"user_name\":\"%s\","
    "\"user_id\":65534,\"job_state\":\"PENDING\",\"exit_code\":0,\"submit_time\":100,"
    "\"start_time\":0,\"end_time\":0,\"suspend_time\":0,\"pre_sus_time\":0,\"restart_cnt\":0,"
    "\"nodes\":\"\",\"time_limit\":6,\"tasks\":1,\"cpus\":1,\"node_count\":1,"
    "\"memory_per_cpu\":10,\"memory_per_node\":null,\"tres_per_job\":\"%s\","
    "\"tres_per_node\":\"\",\"tres_per_task\":\"\"}";

static void note(struct fixture *f, const struct http_stub_request *q)
{
    const char *user = strstr(q->head, "X-SLURM-USER-NAME: ");
    assert_non_null(user);
    assert_non_null(strstr(q->head, "X-SLURM-USER-TOKEN: eyJ"));
    pthread_mutex_lock(&f->mutex);
    assert_true(f->seen_count < SEEN_MAX);
    (void)snprintf(f->seen[f->seen_count], 160, "%.9s %.140s", q->method, q->path);
    user += strlen("X-SLURM-USER-NAME: ");
    (void)snprintf(f->users[f->seen_count++], 32, "%.*s", (int)strcspn(user, "\r"), user);
    pthread_mutex_unlock(&f->mutex);
}

static void put_blanks(struct buf *b, size_t len)
{
    char *blanks = malloc(len);
    assert_non_null(blanks);
    memset(blanks, ' ', len);
    (void)buf_put(b, blanks, len);
    free(blanks);
}

static void handle(void *ctx, const struct http_stub_request *q, struct http_stub_reply *r)
{
    struct fixture *f = ctx;
    unsigned int version;
    int len = 0;
    note(f, q);
    if (f->db && sscanf(q->path, "/slurmdb/v0.0.%u/jobs%n", &version, &len) == 1 && len &&
        version == f->version) {
        (void)buf_puts(&r->body, f->db);
        return;
    }
    if (sscanf(q->path, "/slurm/v0.0.%u%n", &version, &len) != 1 || version != f->version) {
        r->status = 404;
        (void)buf_puts(&r->body, "Unable find requested URL.");
        return;
    }
    const char *path = q->path + len;
    if (f->text_500) {
        r->status = 500;
        (void)buf_puts(&r->body, "oops");
    } else if (!strcmp(path, "/ping")) {
        (void)buf_puts(&r->body, "{\"errors\":[],\"pings\":[{\"ping\":\"UP\"}]}");
        r->close_after = f->close_after_ping;
    } else if (!strcmp(path, "/job/submit")) {
        r->cut = f->cut_submit;
        if (f->huge) put_blanks(&r->body, 1 << 20);
        (void)buf_puts(&r->body, "{\"errors\":[],\"job_id\":5,\"step_id\":\"BATCH\"}");
    } else if (!strcmp(path, "/diag")) {
        (void)buf_putf(
            &r->body, "{\"errors\":[],\"statistics\":{\"dbd_agent_queue_size\":%d}}", f->waiting);
    } else if (!strcmp(path, "/jobs")) {
        if (f->huge) put_blanks(&r->body, 65 << 20);
        (void)buf_puts(&r->body, "{\"errors\":[],\"jobs\":[");
        (void)buf_putf(&r->body, job_format, NAME, USER, f->gpus);
        (void)buf_putf(&r->body, "%s]}", f->extra ? f->extra : "");
    } else {
        (void)buf_puts(&r->body, "{\"errors\":[],\"jobs\":[");
        (void)buf_putf(&r->body, job_format, NAME, USER, f->gpus);
        (void)buf_puts(&r->body, "]}");
    }
    if (f->slow) r->delay_ms = 20000;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct slurm_rest_options o = {0};
    char endpoint[64];
    pthread_mutex_init(&f->mutex, NULL);
    f->version = 38;
    f->gpus = "gres:gpu:1";
    f->stub = http_stub_start(0, handle, f);
    (void)snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%d/", http_stub_port(f->stub));
    o.endpoint = endpoint;
    (void)secret_set(&o.jwt_key, "key", 3);
    f->b = slurm_rest_new(&o, &f->err);
    secret_wipe(&o.jwt_key);
    *state = f;
    return f->b ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->b->ops->destroy(f->b);
    if (f->stub) (void)http_stub_stop(f->stub);
    pthread_mutex_destroy(&f->mutex);
    free(f);
    return 0;
}

static long long soon(void)
{
    return clock_mono_ms() + TIMEOUT_MS;
}

static int submit(struct fixture *f, uint64_t *id)
{
    static const char script[] = "#!/bin/sh\n#SBATCH --time=9\ntrue\n";
    const struct slurm_job_spec spec = {.name = NAME,
                                        .user = USER,
                                        .comment = "supervisor a:1",
                                        .partition = "main",
                                        .output = "out-%j",
                                        .script = script,
                                        .script_len = sizeof(script) - 1,
                                        .ntasks = 1,
                                        .cpus_per_task = 1,
                                        .mem_per_cpu_mb = 10,
                                        .gpus = 1,
                                        .time_limit_min = 6};
    *id = 0;
    return f->b->ops->submit(f->b, &spec, soon(), id, &f->err);
}

static unsigned int seen(struct fixture *f, const char *request)
{
    unsigned int n = 0;
    pthread_mutex_lock(&f->mutex);
    for (unsigned int i = 0; i < f->seen_count; i++)
        n += strcmp(f->seen[i], request) == 0;
    pthread_mutex_unlock(&f->mutex);
    return n;
}

/* As whom it was sent the last time; the text stays. */
static const char *user_of(struct fixture *f, const char *request)
{
    const char *user = NULL;
    pthread_mutex_lock(&f->mutex);
    for (unsigned int i = 0; i < f->seen_count; i++)
        if (strcmp(f->seen[i], request) == 0) user = f->users[i];
    pthread_mutex_unlock(&f->mutex);
    if (!user) fail_msg("no %s", request);
    return user;
}

static void the_newest_version_is_taken_and_taken_anew(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(f->b->ops->ping(f->b, soon(), &f->err), 0);
    assert_int_equal(seen(f, "GET /slurm/v0.0.45/ping"), 1);
    assert_int_equal(seen(f, "GET /slurm/v0.0.39/ping"), 1);
    assert_int_equal(seen(f, "GET /slurm/v0.0.38/ping"), 2);
    assert_int_equal(f->b->ops->ping(f->b, soon(), &f->err), 0);
    assert_int_equal(seen(f, "GET /slurm/v0.0.45/ping"), 1); // remembered
    f->version = 39;
    assert_int_equal(f->b->ops->ping(f->b, soon(), &f->err), ERR_UNAVAILABLE);
    assert_int_equal(f->b->ops->ping(f->b, soon(), &f->err), 0);
    assert_int_equal(seen(f, "GET /slurm/v0.0.39/ping"), 3);
    f->version = 36; // whose update renames jobs
    (void)f->b->ops->ping(f->b, soon(), &f->err);
    assert_int_equal(f->b->ops->ping(f->b, soon(), &f->err), ERR_UNAVAILABLE);
    assert_non_null(strstr(f->err.text, "no API version"));
    assert_int_equal(seen(f, "GET /slurm/v0.0.36/ping"), 0);
}

static void each_request_is_from_whom_it_must_be(void **state)
{
    struct fixture *f = *state;
    struct slurm_job job;
    uint64_t id;
    assert_int_equal(submit(f, &id), 0);
    assert_int_equal(id, 5);
    assert_string_equal(user_of(f, "POST /slurm/v0.0.38/job/submit"), USER);
    assert_string_equal(user_of(f, "GET /slurm/v0.0.38/job/5"), "root"); // read back
    assert_int_equal(f->b->ops->find(f->b, NAME, USER, soon(), &job, &f->err), 0);
    assert_string_equal(user_of(f, "GET /slurm/v0.0.38/jobs"), "root");
    assert_int_equal(f->b->ops->cancel(f->b, 5, USER, soon(), &f->err), 0);
    assert_string_equal(user_of(f, "DELETE /slurm/v0.0.38/job/5"), USER); // and no signal
    assert_int_equal(f->b->ops->set_time_limit(f->b, 5, 9, soon(), &f->err), 0);
    assert_string_equal(user_of(f, "POST /slurm/v0.0.38/job/5"), "root");
}

static void bad_names_send_nothing(void **state)
{
    struct fixture *f = *state;
    struct slurm_job job;
    assert_int_equal(f->b->ops->cancel(f->b, 5, "root", soon(), &f->err), ERR_INVALID);
    assert_int_equal(f->b->ops->cancel(f->b, 5, "a\r\nX: y", soon(), &f->err), ERR_INVALID);
    assert_int_equal(f->b->ops->find(f->b, NAME, "a b", soon(), &job, &f->err), ERR_INVALID);
    assert_int_equal(f->b->ops->user_exists(f->b, "no-such-user", soon(), &f->err), ERR_NOTFOUND);
    assert_int_equal(f->b->ops->user_exists(f->b, USER, soon(), &f->err), 0);
    pthread_mutex_lock(&f->mutex);
    assert_int_equal(f->seen_count, 0);
    pthread_mutex_unlock(&f->mutex);
}

/* slurmctld would run the job of a name that it does not know as nobody. */
static void the_job_of_an_unknown_user_is_not_sent(void **state)
{
    struct fixture *f = *state;
    const struct slurm_job_spec spec = {.name = NAME,
                                        .user = "no-such-user",
                                        .comment = "supervisor a:1",
                                        .partition = "main",
                                        .output = "out-%j",
                                        .script = "#!/bin/sh\n",
                                        .script_len = 10,
                                        .ntasks = 1,
                                        .cpus_per_task = 1,
                                        .mem_per_cpu_mb = 10,
                                        .time_limit_min = 6};
    uint64_t id = 77;
    assert_int_equal(f->b->ops->submit(f->b, &spec, soon(), &id, &f->err), ERR_NOTFOUND);
    assert_int_equal(id, 77);
    pthread_mutex_lock(&f->mutex);
    assert_int_equal(f->seen_count, 0);
    pthread_mutex_unlock(&f->mutex);
}

static void a_lost_answer_is_unknown_and_not_sent_again(void **state)
{
    struct fixture *f = *state;
    uint64_t id;
    f->cut_submit = true;
    assert_int_equal(submit(f, &id), ERR_OUTCOME_UNKNOWN);
    assert_int_equal(seen(f, "POST /slurm/v0.0.38/job/submit"), 1);
    assert_null(strstr(f->err.text, "eyJ"));
}

static void a_kept_connection_that_died_is_no_second_submission(void **state)
{
    struct fixture *f = *state;
    uint64_t id;
    f->close_after_ping = true;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(f->b->ops->ping(f->b, soon(), &f->err), 0);
        assert_int_equal(submit(f, &id), 0);
    }
    assert_int_equal(seen(f, "POST /slurm/v0.0.38/job/submit"), 5);
}

static void nobody_there_is_nothing_done(void **state)
{
    struct fixture *f = *state;
    struct slurm_job job;
    uint64_t id;
    assert_int_equal(f->b->ops->ping(f->b, soon(), &f->err), 0);
    f->stub = http_stub_stop(f->stub);
    assert_int_equal(submit(f, &id), ERR_UNAVAILABLE);
    assert_int_equal(f->b->ops->find(f->b, NAME, USER, soon(), &job, &f->err), ERR_UNAVAILABLE);
    assert_int_equal(f->b->ops->ping(f->b, clock_mono_ms() - 1, &f->err), ERR_UNAVAILABLE);
}

static void questions_are_never_unknown(void **state)
{
    struct fixture *f = *state;
    struct slurm_job job;
    size_t n;
    enum slurm_proof proof;
    uint64_t ids[] = {5}, id;
    assert_int_equal(f->b->ops->ping(f->b, soon(), &f->err), 0);
    f->text_500 = true;
    assert_int_equal(f->b->ops->ping(f->b, soon(), &f->err), ERR_UNAVAILABLE);
    assert_int_equal(f->b->ops->find(f->b, NAME, USER, soon(), &job, &f->err), ERR_UNAVAILABLE);
    assert_int_equal(f->b->ops->query(f->b, ids, 1, soon(), &job, &n, &proof, &f->err),
                     ERR_UNAVAILABLE);
    assert_int_equal(submit(f, &id), ERR_OUTCOME_UNKNOWN);
    assert_int_equal(f->b->ops->cancel(f->b, 5, USER, soon(), &f->err), ERR_OUTCOME_UNKNOWN);
    f->text_500 = false;
    f->slow = true;
    long long began = clock_mono_ms();
    assert_int_equal(f->b->ops->find(f->b, NAME, USER, began + 300, &job, &f->err),
                     ERR_UNAVAILABLE);
    assert_true(clock_mono_ms() - began < 3000);
}

static void a_job_with_less_than_was_paid_for_does_not_run(void **state)
{
    struct fixture *f = *state;
    uint64_t id;
    f->gpus = ""; // the key was ignored
    assert_int_equal(submit(f, &id), ERR_REFUSED);
    assert_non_null(strstr(f->err.text, "0 GPUs, not 1"));
    assert_int_equal(seen(f, "DELETE /slurm/v0.0.38/job/5"), 1);
    assert_string_equal(user_of(f, "DELETE /slurm/v0.0.38/job/5"), USER);
}

/* What other users may put into their jobs' names and comments. */
static void the_jobs_of_others_do_no_harm(void **state)
{
    struct fixture *f = *state;
    struct buf extra = BUF_INIT(64 * 1024);
    struct slurm_job job;
    static const char broken[] =
        ",{\"job_id\":9,\"name\":\"\377\376\",\"comment\":\"supervisor \200]}\\\"\"";
    // Another's job of our name and mark, newer than ours.
    (void)buf_puts(&extra, ",");
    (void)buf_putf(&extra, job_format, NAME, "mallory", "");
    (void)buf_puts(&extra, broken);
    (void)buf_puts(&extra,
                   ",\"user_name\":\"\",\"user_id\":7,\"job_state\":\"RUNNING\",\"exit_code\":0,"
                   "\"submit_time\":1,\"start_time\":1,\"end_time\":0,\"suspend_time\":0,\"pre_sus_"
                   "time\":0,\"restart_cnt\":0,\"nodes\":\"n1\"}");
    // One that is none of ours and not what a job looks like: it is not even read.
    (void)buf_puts(&extra, ",{\"job_id\":\"x\",\"comment\":\"other\"}");
    f->extra = buf_str(&extra);
    assert_int_equal(f->b->ops->find(f->b, NAME, USER, soon(), &job, &f->err), 0);
    assert_int_equal(job.id, 5);
    assert_string_equal(job.user, USER);
    assert_int_equal(f->b->ops->find(f->b, NAME, "alice", soon(), &job, &f->err), ERR_NOTFOUND);
    assert_int_equal(f->b->ops->find(f->b, "0xbb", USER, soon(), &job, &f->err), ERR_NOTFOUND);
    // The list has all that bear the mark, whoever they are.
    struct slurm_job *jobs = NULL;
    size_t count = 0;
    assert_int_equal(f->b->ops->list(f->b, soon(), &jobs, &count, &f->err), 0);
    assert_int_equal(count, 3);
    assert_string_equal(jobs[0].user, USER);
    assert_string_equal(jobs[1].user, "mallory");
    free(jobs);
    buf_free(&extra);
}

static void many_ids_are_one_request(void **state)
{
    struct fixture *f = *state;
    uint64_t ids[40];
    struct slurm_job jobs[40];
    enum slurm_proof proof = SLURM_PROOF_ACCOUNTING;
    size_t found = 0;
    for (uint64_t i = 0; i < 40; i++)
        ids[i] = i + 1;
    assert_int_equal(f->b->ops->query(f->b, ids, 40, soon(), jobs, &found, &proof, &f->err), 0);
    assert_int_equal(found, 1);
    assert_int_equal(jobs[0].id, 5);
    assert_int_equal(proof, SLURM_PROOF_QUEUE); // there is no slurmdbd
    assert_int_equal(seen(f, "GET /slurm/v0.0.38/jobs"), 1);
    assert_int_equal(f->b->ops->query(f->b, ids + 4, 1, soon(), jobs, &found, &proof, &f->err), 0);
    assert_int_equal(found, 1);
    assert_int_equal(seen(f, "GET /slurm/v0.0.38/job/5"), 1);
    assert_int_equal(f->b->ops->query(f->b, ids + 3, 2, soon(), jobs, &found, &proof, &f->err), 0);
    assert_int_equal(found, 1);
    assert_int_equal(seen(f, "GET /slurm/v0.0.38/jobs"), 2);
    assert_int_equal(seen(f, "GET /slurm/v0.0.38/job/4"), 0);
}

/* Jobs are still asked for, one by one; but none is looked for by its name, and none said. */
static void a_queue_may_be_too_large(void **state)
{
    struct fixture *f = *state;
    static const uint64_t ids[] = {4, 5};
    struct slurm_job jobs[2];
    enum slurm_proof proof = SLURM_PROOF_NONE;
    size_t found = 0;
    const long long late = clock_mono_ms() + 12 * TIMEOUT_MS; // it is a lot to send
    f->huge = true;
    assert_int_equal(f->b->ops->query(f->b, ids, 2, late, jobs, &found, &proof, &f->err), 0);
    assert_int_equal(found, 1);
    assert_int_equal(jobs[0].id, 5);
    assert_int_equal(f->b->ops->find(f->b, NAME, USER, late, jobs, &f->err), ERR_UNAVAILABLE);
    uint64_t id; // an answer that is too long was one all the same
    assert_int_equal(submit(f, &id), ERR_OUTCOME_UNKNOWN);
}

static const char accounted[] =
    "{\"errors\":[],\"jobs\":[{\"job_id\":7,\"name\":\"0xbb\",\"user\":\"" USER
    "\",\"nodes\":\"n1\","
    "\"comment\":{\"job\":null},\"state\":{\"current\":\"COMPLETED\"},"
    "\"exit_code\":{\"status\":\"SUCCESS\",\"return_code\":0},"
    "\"time\":{\"submission\":1,\"start\":2,\"end\":3,\"elapsed\":1}}]}";

static void accounting_is_asked_in_the_words_of_the_version(void **state)
{
    struct fixture *f = *state;
    static const uint64_t ids[] = {7, 8};
    struct slurm_job jobs[2];
    enum slurm_proof proof = SLURM_PROOF_NONE;
    size_t found;
    f->db = accounted;
    assert_int_equal(f->b->ops->find(f->b, "0xbb", USER, soon(), jobs, &f->err), 0);
    assert_int_equal(jobs[0].id, 7);
    assert_int_equal(jobs[0].end_s, 3);
    static const char named[] =
        "GET /slurmdb/v0.0.38/jobs?skip_steps=true&job_name=0xbb&start_time=now-30days";
    assert_int_equal(seen(f, named), 1);
    assert_string_equal(user_of(f, named), "root");
    assert_int_equal(f->b->ops->query(f->b, ids, 2, soon(), jobs, &found, &proof, &f->err), 0);
    assert_int_equal(found, 1);
    assert_int_equal(proof, SLURM_PROOF_ACCOUNTING);
    assert_int_equal(seen(f, "GET /slurmdb/v0.0.38/jobs?skip_steps=true&step=7%2C8"), 1);
}

static void what_accounting_says_instead_is_not_none(void **state)
{
    static const struct {
        const char *says; // NULL: it is not served
        int waiting, code;
    } cases[] = {
        {"{\"errors\":[],\"jobs\":[]}", 0, ERR_NOTFOUND},
        {"{\"errors\":[{\"error_number\":9003}],\"jobs\":[]}", 0, ERR_NOTFOUND},
        {NULL, 0, ERR_NOTFOUND},
        {NULL, 1, ERR_BUSY}, // there is a slurmdbd, though slurmrestd does not say so
        {"{\"errors\":[],\"jobs\":[]}", 1, ERR_BUSY},
        {"{\"errors\":[{\"error_number\":7000}],\"jobs\":[]}", 0, ERR_BUSY},
        {"{\"errors\":[{\"error_number\":1007}],\"jobs\":[]}", 0, ERR_BUSY},
        {"{\"errors\":[]}", 0, ERR_BUSY},
        {"{\"errors\":[],\"jobs\":[{}]}", 0, ERR_BUSY},
        {"oops", 0, ERR_BUSY},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slurm_job job;
        f->db = cases[i].says;
        f->waiting = cases[i].waiting;
        int rc = f->b->ops->find(f->b, "0xcc", USER, soon(), &job, &f->err);
        if (rc != cases[i].code) fail_msg("case %zu: %s", i, f->err.text);
    }
}

static void bad_options_are_refused(void **state)
{
    static const char *const bad[] = {"", "host:1", "ftp://a", "unix:run/x"};
    struct slurm_rest_options o = {0};
    struct error err;
    assert_int_equal(secret_set(&o.jwt_key, "key", 3), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        o.endpoint = bad[i];
        assert_null(slurm_rest_new(&o, &err));
        assert_int_equal(err.code, ERR_INVALID);
    }
    o.endpoint = "http://a:1";
    o.admin_user = "a b";
    assert_null(slurm_rest_new(&o, &err));
    secret_wipe(&o.jwt_key);
    o.admin_user = NULL;
    assert_null(slurm_rest_new(&o, &err)); // neither key nor token
}

#define WITH_STUB(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpus_are_counted),
        cmocka_unit_test(nodes_of_scontrol),
        cmocka_unit_test(max_time_of_scontrol),
        cmocka_unit_test(max_time_of_slurmrestd),
        cmocka_unit_test(the_body_fits_the_version),
        cmocka_unit_test(verdicts_of_odd_answers),
        cmocka_unit_test(lookups_share_a_fetch),
        WITH_STUB(the_newest_version_is_taken_and_taken_anew),
        WITH_STUB(each_request_is_from_whom_it_must_be),
        WITH_STUB(bad_names_send_nothing),
        WITH_STUB(the_job_of_an_unknown_user_is_not_sent),
        WITH_STUB(a_lost_answer_is_unknown_and_not_sent_again),
        WITH_STUB(a_kept_connection_that_died_is_no_second_submission),
        WITH_STUB(nobody_there_is_nothing_done),
        WITH_STUB(questions_are_never_unknown),
        WITH_STUB(a_job_with_less_than_was_paid_for_does_not_run),
        WITH_STUB(the_jobs_of_others_do_no_harm),
        WITH_STUB(many_ids_are_one_request),
        WITH_STUB(a_queue_may_be_too_large),
        WITH_STUB(accounting_is_asked_in_the_words_of_the_version),
        WITH_STUB(what_accounting_says_instead_is_not_none),
        cmocka_unit_test(bad_options_are_refused),
    };
    return cmocka_run_group_tests_name("rest", tests, NULL, NULL);
}
