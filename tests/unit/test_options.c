/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The option table: every row by every way and in every order of precedence, every row with bad
 * values, the reference's names, and the rules of the configuration file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/options_private.h"

#define KEY_HEX     "4646464646464646464646464646464646464646464646464646464646464646"
#define SSH_BASE64  "c3NoLWtleQ=="
#define ADDRESS_HEX "0x00000000000000000000000000000000000000aa"

enum { ARGS_MAX = 48, SAMPLES = 3 };

static char dir[] = "/tmp/test_options.XXXXXX";

/* ------------------------------------------------------------------------------------ fixture */

struct run {
    struct options o;
    char *argv[ARGS_MAX];
    int argc;
    char *out, *err; // what was printed
    enum options_result result;
};

static const char *path_in(const char *name)
{
    static char paths[8][256];
    static unsigned int next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

static const char *write_bytes(const char *name, const void *data, size_t len, mode_t mode)
{
    const char *path = path_in(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
    return path;
}

static const char *write_text(const char *name, const char *text)
{
    return write_bytes(name, text, strlen(text), 0600);
}

static void run_arg(struct run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void run_arg(struct run *r, const char *fmt, ...)
{
    va_list ap;
    assert_true(r->argc < ARGS_MAX - 1);
    va_start(ap, fmt);
    assert_true(vasprintf(&r->argv[r->argc++], fmt, ap) >= 0);
    va_end(ap);
}

static void run_begin(struct run *r)
{
    *r = (struct run){0};
    run_arg(r, "agent");
}

static void run_load(struct run *r)
{
    size_t out_len, err_len;
    FILE *out = open_memstream(&r->out, &out_len);
    FILE *err = open_memstream(&r->err, &err_len);
    assert_non_null(out);
    assert_non_null(err);
    r->result = options_load_from(&r->o, r->argc, r->argv, "/nonexistent/agent.conf", out, err);
    (void)fclose(out);
    (void)fclose(err);
}

static void run_end(struct run *r)
{
    options_free(&r->o);
    for (int i = 0; i < r->argc; i++)
        free(r->argv[i]);
    free(r->out);
    free(r->err);
}

static bool is_about_rest(enum option_id id)
{
    return strncmp(option_table[id].flag, "slurm.rest.", 11) == 0;
}

/* What the agent cannot start without, as flags, but for the option `but` (-1: all). */
static void run_required(struct run *r, int but)
{
    const char *const values[][2] = {
        {"metascheduler.smart-contract", ADDRESS_HEX},
        {"eth.private-key-file", path_in("secret0")},
        {"slurm.ssh.address", "login:22"},
        {"slurm.ssh.admin-user", "slurm"},
        {"slurm.ssh.private-key-file", path_in("ssh0")},
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        const char *known;
        int id = option_by_flag(values[i][0], strlen(values[i][0]), &known);
        assert_true(id >= 0);
        bool pair = option_table[id].type == OPTION_TYPE_SECRET_FILE && id == but + 1;
        if (id != but && !pair) run_arg(r, "--%s=%s", values[i][0], values[i][1]);
    }
    // Any option of slurmrestd makes it a way that must be complete.
    if (but == OPTION_slurm_backend || (but >= 0 && is_about_rest((enum option_id)but))) {
        if (but != OPTION_slurm_rest_endpoint) run_arg(r, "--slurm.rest.endpoint=http://rest:6820");
        if (but != OPTION_slurm_rest_jwt_key_file && but != OPTION_slurm_rest_token_file)
            run_arg(r, "--slurm.rest.jwt-key-file=%s", path_in("file0"));
    }
    if (but == OPTION_res_nodes) {
        run_arg(r, "--res.cpus=8");
        run_arg(r, "--res.mem=8");
    }
    if (but == OPTION_tls) {
        run_arg(r, "--tls.key-file=%s", path_in("file0"));
        run_arg(r, "--tls.cert-file=%s", path_in("file0"));
    }
}

/* All is well: RUN, and nothing printed. */
static void assert_runs(const struct run *r)
{
    if (r->result != OPTIONS_RUN) fail_msg("%s", r->err);
    assert_string_equal(r->err, "");
    assert_string_equal(r->out, "");
}

static void assert_usage(const struct run *r, const char *part)
{
    assert_int_equal(r->result, OPTIONS_EXIT_USAGE);
    if (!strstr(r->err, part)) fail_msg("\"%s\" is not in: %s", part, r->err);
}

static int setup(void **state)
{
    assert_non_null(mkdtemp(dir));
    (void)unsetenv("AGENT_CONFIG");
    for (int i = 0; i < OPTION_COUNT; i++)
        if (option_table[i].env) (void)unsetenv(option_table[i].env);
    for (size_t i = 0; i < option_alias_count; i++)
        if (option_aliases[i].env) (void)unsetenv(option_aliases[i].env);
    for (int i = 0; i < SAMPLES; i++) {
        char name[16], text[80];
        (void)snprintf(name, sizeof(name), "file%d", i);
        (void)write_text(name, "x");
        (void)snprintf(name, sizeof(name), "secret%d", i);
        (void)snprintf(text, sizeof(text), "%064d\n", i + 1);
        (void)write_text(name, text);
        (void)snprintf(name, sizeof(name), "ssh%d", i);
        (void)snprintf(text, sizeof(text), "AAA%c\n", 'A' + i);
        (void)write_text(name, text);
    }
    return 0;
}

static int teardown(void **state)
{
    char command[64];
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

/* ------------------------------------------------------------------------------------ samples */

/* Copy, with the digit `n` for each '@'. */
static void expand(char text[256], const char *format, int n)
{
    (void)snprintf(text, 256, "%s", format);
    for (char *p = text; *p; p++)
        if (*p == '@') *p = (char)('0' + n);
}

/* The nth good value of a row; different n, different values. None is the default. */
static const char *sample(int id, int n, char text[256])
{
    static const char *const formats[OPTION_TYPE_COUNT] = {
        [OPTION_TYPE_STRING] = "text @.out",
        [OPTION_TYPE_DECIMAL] = "10@",
        [OPTION_TYPE_WEI] = "2@.5gwei",
        [OPTION_TYPE_LISTEN] = "127.0.0.1:800@",
        [OPTION_TYPE_HOSTPORT] = "host@:22",
        [OPTION_TYPE_URLS] = "http://host@:8545/path?a=b",
        [OPTION_TYPE_WS_URL] = "wss://host@/ws",
        [OPTION_TYPE_REST_URL] = "https://host@:6820",
        [OPTION_TYPE_ADDRESS] = "0x000000000000000000000000000000000000000@",
        [OPTION_TYPE_ABS_PATH] = "/opt/slurm-23/bin/x@",
        [OPTION_TYPE_NAME] = "name-@.x",
        [OPTION_TYPE_USER_TEMPLATE] = "ds-@-{customer}",
        [OPTION_TYPE_LABELS] = "zone=z@,b.c=d e",
    };
    const struct option *opt = &option_table[id];
    unsigned long long number = opt->min + (unsigned int)n + 1;
    if (strtoull(opt->def, NULL, 10) > opt->min &&
        strtoull(opt->def, NULL, 10) <= opt->min + SAMPLES)
        number += SAMPLES;
    switch (opt->type) {
    case OPTION_TYPE_BOOL: // the first is not the default, the others are
        return (strcmp(opt->def, "true") == 0) == (n == 0) ? "false" : "true";
    case OPTION_TYPE_U64:
    case OPTION_TYPE_SIZE:
        (void)snprintf(text, 256, "%llu", number);
        return text;
    case OPTION_TYPE_DURATION:
        (void)snprintf(text, 256, "%llums", number);
        return text;
    case OPTION_TYPE_FILE:
        (void)snprintf(text, 256, "%s/file%d", dir, n);
        return text;
    case OPTION_TYPE_SECRET:
        if (id == OPTION_eth_private_key)
            (void)snprintf(text, 256, "0x%064d", n + 10);
        else
            (void)snprintf(text, 256, "BBB%c", 'A' + n);
        return text;
    case OPTION_TYPE_SECRET_FILE:
        (void)snprintf(
            text, 256, "%s/%s%d", dir, id == OPTION_eth_private_key_file ? "secret" : "ssh", n);
        return text;
    case OPTION_TYPE_LOG_LEVEL:
        return (const char *const[]){"error", "warning", "debug"}[n];
    case OPTION_TYPE_CUSTOMER_API:
        return n == 0 ? "sbatch" : "customer";
    case OPTION_TYPE_SLURM_BACKEND:
        return n == 0 ? "rest" : "ssh";
    default:
        assert_non_null(formats[opt->type]);
        expand(text, formats[opt->type], n + 1);
        return text;
    }
}

/* A bad value of the row, or NULL if anything goes. */
static const char *bad_sample(int id, int n, char text[256])
{
    static const char *const bad[OPTION_TYPE_COUNT][7] = {
        [OPTION_TYPE_STRING] = {"a\001b", "\177"},
        [OPTION_TYPE_BOOL] = {"maybe", "2", "truefalse"},
        [OPTION_TYPE_U64] = {"x", "-1", "1.5", "18446744073709551616", "1 "},
        [OPTION_TYPE_SIZE] = {"x", "0", "-1", "5MB", "65MiB", "18014398509481984KiB", "MiB"},
        [OPTION_TYPE_DURATION] = {"x", "1d", "-1s", "999999999h", "ms", "1.5s"},
        [OPTION_TYPE_DECIMAL] = {"x", "-1", "0x10", "1e18", "1.0"},
        [OPTION_TYPE_WEI] = {"x", "-1", "gwei", "1.5", "1e9", "1 gwei", ".5gwei"},
        [OPTION_TYPE_LISTEN] = {"3000", "host", ":65536", ":x", "::1:30", "a b:1"},
        [OPTION_TYPE_HOSTPORT] = {"host", ":22", "host:0", "host:65536", "a/b:1", "http://a:1"},
        [OPTION_TYPE_URLS] =
            {"host:1", "ftp://a", "http://", "http://a,", "http://a b", "http://:1"},
        [OPTION_TYPE_WS_URL] = {"http://a", "ws://", "wsss://a", "ws://a:x"},
        [OPTION_TYPE_REST_URL] = {"host:6820",
                                  "unix:run/x",
                                  "unix:",
                                  "http://a/b",
                                  "http://u:p@a",
                                  "http://a?b",
                                  "ftp://a"},
        [OPTION_TYPE_ADDRESS] = {"0x12",
                                 "x",
                                 "0x0000000000000000000000000000000000000000",
                                 "0x00000000000000000000000000000000000000ag"},
        [OPTION_TYPE_ABS_PATH] = {"sbatch", "./sbatch", "/a b", "/a;b", "/a$b", "/a'b"},
        [OPTION_TYPE_FILE] = {"a\001b"},
        [OPTION_TYPE_NAME] = {"-x", "a b", "a;b", "a/b", "a\001"},
        [OPTION_TYPE_USER_TEMPLATE] = {"{foo}", "a b", "-a", "{customer", "a}", "$x"},
        [OPTION_TYPE_SECRET_FILE] = {"c2VjcmV0LXRleHQ", "a\001b"},
        [OPTION_TYPE_LABELS] = {"a", "=b", "a=b,a=c", "a=b,", "a b=c"},
        [OPTION_TYPE_LOG_LEVEL] = {"trace", "err", "Error", "error|warning"},
        [OPTION_TYPE_CUSTOMER_API] = {"rest", "AUTO"},
        [OPTION_TYPE_SLURM_BACKEND] = {"slurmrestd", "AUTO", "auto|rest"},
    };
    const struct option *opt = &option_table[id];
    bool number = opt->type == OPTION_TYPE_U64 || opt->type == OPTION_TYPE_SIZE ||
                  opt->type == OPTION_TYPE_DURATION;
    if (n < 7) return bad[opt->type][n];
    if (!number) return NULL;
    if (n == 7 && opt->min == 0) n++;
    if (n > 8) return NULL;
    (void)snprintf(text,
                   256,
                   "%llu%s",
                   (unsigned long long)(n == 7 ? opt->min - 1 : opt->max + 1),
                   opt->type == OPTION_TYPE_DURATION ? "ms" : "");
    return text;
}

/* The row's value in `o` is the one that `text` stands for. */
static void assert_value(struct options *o, int id, const char *text)
{
    const struct option *opt = &option_table[id];
    struct buf is = BUF_INIT(4096), expected = BUF_INIT(4096);
    struct options scratch = {0};
    if (opt->type == OPTION_TYPE_SECRET) {
        const struct secret *s = option_member(o, id);
        assert_int_equal(s->len, strlen(text));
        assert_string_equal((char *)s->data, text);
        return;
    }
    assert_int_equal(option_type_of(opt)->parse(opt, text, option_member(&scratch, id), true), 0);
    option_type_of(opt)->format(option_member(&scratch, id), &expected);
    option_type_of(opt)->format(option_member(o, id), &is);
    assert_string_equal(buf_str(&is), buf_str(&expected));
    if (opt->type == OPTION_TYPE_SECRET_FILE) { // and it was read
        const struct secret *s = option_member(o, id - 1);
        char first_line[80] = "";
        FILE *f = fopen(text, "r");
        assert_non_null(f);
        assert_non_null(fgets(first_line, sizeof(first_line), f));
        (void)fclose(f);
        first_line[strcspn(first_line, "\n")] = '\0';
        assert_string_equal((char *)s->data, first_line);
    }
    options_free(&scratch);
    buf_free(&is);
    buf_free(&expected);
}

/* Every name that an option has, in turn. */
struct name {
    int id;
    const char *flag, *env;
};

static bool name_at(size_t i, struct name *name)
{
    if (i < OPTION_COUNT)
        *name = (struct name){(int)i, option_table[i].flag, option_table[i].env};
    else if (i < OPTION_COUNT + option_alias_count) {
        const struct option_alias *a = &option_aliases[i - OPTION_COUNT];
        *name = (struct name){(int)a->id, a->flag, a->env};
    } else
        return false;
    return true;
}

/* --------------------------------------------------------------------------------- every row */

enum { BY_FILE = 1, BY_ENV = 2, BY_FLAG = 4, BY_ALL = 7 };

/*
 * Load with `values[n]` at the levels of `levels` (n: 0 file, 1 environment, 2 flag) and check that
 * the highest level's is taken.
 */
static void
check_levels(const struct name *name, unsigned int levels, bool joined, const char *values[3])
{
    struct run r;
    char line[512];
    const char *flag = name->flag, *dashes = flag[1] ? "--" : "-";
    int highest = levels & BY_FLAG ? 2 : levels & BY_ENV ? 1 : 0;
    run_begin(&r);
    run_required(&r, name->id);
    if (levels & BY_FILE) {
        (void)snprintf(line, sizeof(line), "\n  %s = %s\n", flag, values[0]);
        run_arg(&r, "--config=%s", write_text("conf", line));
    }
    if (levels & BY_ENV) (void)setenv(name->env, values[1], 1);
    if (levels & BY_FLAG && joined)
        run_arg(&r, "%s%s=%s", dashes, flag, values[2]);
    else if (levels & BY_FLAG && option_table[name->id].type != OPTION_TYPE_BOOL) {
        run_arg(&r, "%s%s", dashes, flag);
        run_arg(&r, "%s", values[2]);
    } else if (levels & BY_FLAG && strcmp(values[2], "true") == 0)
        run_arg(&r, "%s%s", dashes, flag);
    else if (levels & BY_FLAG)
        run_arg(&r, "%s%s=off", dashes, flag);
    run_load(&r);
    if (levels & BY_ENV) (void)unsetenv(name->env);
    if (r.result != OPTIONS_RUN) fail_msg("--%s, levels %u: %s", flag, levels, r.err);
    assert_value(&r.o, name->id, values[highest]);
    run_end(&r);
}

static void every_option_by_every_way(void **state)
{
    struct name name;
    size_t checked = 0;
    for (size_t i = 0; name_at(i, &name); i++) {
        char text[3][256];
        if (option_table[name.id].flags & OPTION_COMMAND) continue;
        for (unsigned int levels = 1; levels <= BY_ALL; levels++) {
            if (levels & BY_ENV && !name.env) continue;
            if (levels & BY_FILE && !name.flag[1]) continue; // one letter: a flag only
            int highest = levels & BY_FLAG ? 2 : levels & BY_ENV ? 1 : 0;
            // Once with the winner away from the default, once (for booleans) with it.
            for (int turn = 0; turn < 2; turn++) {
                const char *values[3];
                for (int n = 0; n < 3; n++) {
                    int which = (n - highest + 3 + turn) % 3;
                    if (option_table[name.id].type == OPTION_TYPE_BOOL)
                        which = (n == highest) == (turn == 0) ? 0 : 1;
                    values[n] = sample(name.id, which, text[n]);
                }
                check_levels(&name, levels, true, values);
                check_levels(&name, levels, false, values);
                checked += 2;
            }
        }
    }
    // Nothing was passed over: a row has 7 sets of levels, 2 turns, 2 forms; aliases come on top.
    size_t rows = 0;
    for (int id = 0; id < OPTION_COUNT; id++)
        rows += !(option_table[id].flags & OPTION_COMMAND);
    assert_true(rows > 50);
    assert_true(checked > 28 * rows);
}

static void samples_are_not_defaults(void **state)
{
    for (int id = 0; id < OPTION_COUNT; id++) {
        const struct option *opt = &option_table[id];
        char a[256], b[256];
        if (opt->type == OPTION_TYPE_SECRET || opt->flags & OPTION_COMMAND) continue;
        assert_string_not_equal(sample(id, 0, a), opt->def);
        assert_string_not_equal(sample(id, 0, a), sample(id, 1, b));
    }
}

static void every_default_is_loaded(void **state)
{
    struct run r;
    run_begin(&r);
    run_required(&r, -1);
    run_load(&r);
    assert_runs(&r);
    for (int id = 0; id < OPTION_COUNT; id++) {
        const struct option *opt = &option_table[id];
        if (opt->flags & (OPTION_REQUIRED | OPTION_FOR_SSH | OPTION_COMMAND)) continue;
        if (opt->type == OPTION_TYPE_SECRET_FILE) continue;
        if (*opt->def)
            assert_value(&r.o, id, opt->def);
        else
            assert_false(option_is_set(&r.o, (enum option_id)id));
    }
    assert_int_equal(r.o.warnings.count, 0);
    assert_int_equal(r.o.customer_max_script_size, 5242880);
    assert_int_equal(r.o.metascheduler_poll_interval_ms, 2000);
    assert_int_equal(r.o.log_level, LOG_LEVEL_INFO);
    run_end(&r);
}

/* A bad value stops the start, and the message names the place and what was expected. */
static void every_option_refuses_bad_values(void **state)
{
    struct name name;
    size_t checked = 0;
    for (size_t i = 0; name_at(i, &name); i++) {
        const struct option *opt = &option_table[name.id];
        char text[256], line[512], place[512];
        const char *bad;
        if (opt->flags & OPTION_COMMAND) continue;
        for (int n = 0; (bad = bad_sample(name.id, n, text)) || n < 7; n++) {
            if (!bad) continue;
            for (int way = 0; way < 3; way++) {
                struct run r;
                if ((way == 0 && !name.flag[1]) || (way == 1 && !name.env)) continue;
                if (way == 0 && strpbrk(bad, " \001\177")) continue; // blanks are trimmed there
                run_begin(&r);
                run_required(&r, name.id);
                (void)snprintf(line, sizeof(line), "# 1\n%s=%s", name.flag, bad);
                if (way == 0) run_arg(&r, "--config=%s", write_text("conf", line));
                if (way == 1) (void)setenv(name.env, bad, 1);
                if (way == 2) run_arg(&r, "--%s=%s", name.flag, bad);
                run_load(&r);
                if (way == 1) (void)unsetenv(name.env);
                if (way == 0)
                    (void)snprintf(
                        place, sizeof(place), "%s:2: %s: bad value ", path_in("conf"), name.flag);
                else
                    (void)snprintf(place,
                                   sizeof(place),
                                   "deepsquare-agent: %s%s: bad value ",
                                   way == 1 ? "" : option_dashes(name.flag),
                                   way == 1 ? name.env : name.flag);
                if (r.result != OPTIONS_EXIT_USAGE) fail_msg("--%s took \"%s\"", name.flag, bad);
                assert_usage(&r, place);
                assert_usage(&r, ", expected ");
                if (opt->type == OPTION_TYPE_SECRET_FILE) assert_null(strstr(r.err, bad));
                assert_ptr_equal(strchr(r.err, '\n'), r.err + strlen(r.err) - 1);
                run_end(&r);
                checked++;
            }
        }
    }
    assert_true(checked > 500);
}

/* cli.md of the reference: flag, environment, default. Written down again on purpose. */
static void the_reference_names_are_all_there(void **state)
{
    static const char *const names[][3] = {
        {"grpc.listen-address", "LISTEN_ADDRESS", ":3000"},
        {"tls", "TLS_ENABLE", "false"},
        {"tls.key-file", "TLS_KEY", ""},
        {"tls.cert-file", "TLS_CERT", ""},
        {"metascheduler.endpoint", "METASCHEDULER_ENDPOINT", "https://testnet.deepsquare.run/rpc"},
        {"metascheduler.smart-contract", "METASCHEDULER_SMART_CONTRACT", "0x"},
        {"eth.private-key", "ETH_PRIVATE_KEY", ""},
        {"customer.endpoint", "CUSTOMER_ENDPOINT", "127.0.0.1:443"},
        {"customer.tls", "CUSTOMER_TLS_ENABLE", "true"},
        {"customer.tls.insecure", "CUSTOMER_TLS_INSECURE", "false"},
        {"customer.tls.ca", "CUSTOMER_CA", ""},
        {"customer.tls.server-host-override",
         "CUSTOMER_SERVER_HOST_OVERRIDE",
         "customer.deepsquare.io"},
        {"slurm.ssh.address", "SLURM_SSH_ADDRESS", ""},
        {"slurm.ssh.admin-user", "SLURM_SSH_ADMIN_USER", ""},
        {"slurm.ssh.private-key", "SLURM_SSH_PRIVATE_KEY", ""},
        {"slurm.batch", "SLURM_SBATCH_PATH", "/usr/bin/sbatch"},
        {"slurm.cancel", "SLURM_SCANCEL_PATH", "/usr/bin/scancel"},
        {"slurm.squeue", "SLURM_SQUEUE_PATH", "/usr/bin/squeue"},
        {"slurm.control", "SLURM_SCONTROL_PATH", "/usr/bin/scontrol"},
        {"res.nodes", "TOTAL_NODES", "0"},
        {"res.cpus", "TOTAL_CPUS", "0"},
        {"res.gpus", "TOTAL_GPUS", "0"},
        {"res.mem", "TOTAL_MEMORY", "0"},
        {"help", NULL, "false"},
        {"h", NULL, "false"},
        {"metascheduler.endpoint.rpc",
         "METASCHEDULER_ENDPOINT_RPC",
         "https://testnet.deepsquare.run/rpc"},
        {"metascheduler.endpoint.ws", "METASCHEDULER_ENDPOINT_WS", ""},
        {"metascheduler.private-key", NULL, ""}, // ETH_PRIVATE_KEY, as eth.private-key
        {"metascheduler.label", "METASCHEDULER_LABELS", ""},
        {"label", NULL, ""},
        {"l", NULL, ""},
        {"metascheduler.cpu-price-per-min",
         "METASCHEDULER_CPU_PRICE_PER_MIN",
         "950000000000000000"},
        {"metascheduler.gpu-price-per-min",
         "METASCHEDULER_GPU_PRICE_PER_MIN",
         "8500000000000000000"},
        {"metascheduler.mem-price-per-min", "METASCHEDULER_MEM_PRICE_PER_MIN", "80000000000000"},
        {"sbatch.endpoint", "SBATCH_ENDPOINT", "127.0.0.1:443"},
        {"sbatch.tls", "SBATCH_TLS_ENABLE", "true"},
        {"sbatch.tls.ca", "SBATCH_CA", ""},
        {"sbatch.tls.insecure", "SBATCH_TLS_INSECURE", "false"},
        {"slurm.partition", "SLURM_PARTITION", "main"},
        {"slurm.info", "SLURM_SINFO_PATH", "/usr/bin/sinfo"},
        {"slurm.sacct", "SLURM_SACCT_PATH", "/usr/bin/sacct"},
        {"public-address", "PUBLIC_ADDRESS", "supervisor.example.com:3000"},
        {"trace", "TRACE", "false"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct name name = {.id = -1};
        size_t at = 0;
        while (name_at(at, &name) && strcmp(name.flag, names[i][0]) != 0)
            at++;
        if (!name.flag || strcmp(name.flag, names[i][0]) != 0) fail_msg("no --%s", names[i][0]);
        if (names[i][1])
            assert_string_equal(name.env, names[i][1]);
        else
            assert_null(name.env);
        assert_string_equal(option_table[name.id].def, names[i][2]);
    }
}

static void names_are_unique(void **state)
{
    struct name a, b;
    for (size_t i = 0; name_at(i, &a); i++) {
        for (size_t j = i + 1; name_at(j, &b); j++) {
            assert_string_not_equal(a.flag, b.flag);
            if (a.env && b.env) assert_string_not_equal(a.env, b.env);
        }
    }
}

/* -------------------------------------------------------------------------------- whole picture */

static void all_that_is_missing_is_listed(void **state)
{
    struct run r;
    unsigned int lines = 0;
    run_begin(&r);
    run_load(&r);
    assert_usage(&r, "--metascheduler.smart-contract is missing (the default, 0x, is none)");
    assert_usage(&r, "--eth.private-key-file is missing, expected FILE");
    assert_usage(&r, "--slurm.rest.endpoint and --slurm.ssh.address are missing");
    for (const char *p = r.err; (p = strchr(p, '\n')); p++)
        lines++;
    assert_int_equal(lines, 3);
    assert_null(r.o.grpc_listen_address); // emptied
    run_end(&r);
}

static void each_missing_one_is_named_alone(void **state)
{
    for (int id = 0; id < OPTION_COUNT; id++) {
        struct run r;
        char part[128];
        if (!(option_table[id].flags & (OPTION_REQUIRED | OPTION_FOR_REST | OPTION_FOR_SSH)))
            continue;
        run_begin(&r);
        run_required(&r, id);
        run_load(&r);
        (void)snprintf(part, sizeof(part), "deepsquare-agent: --%s", option_table[id].flag);
        assert_usage(&r, part);
        assert_usage(&r, "is missing");
        assert_ptr_equal(strchr(r.err, '\n'), r.err + strlen(r.err) - 1);
        run_end(&r);
    }
}

/* Which ways to Slurm are taken, and whether what they need is there. */
static void ways_to_slurm(void **state)
{
    enum { REST = 1, KEY = 2, TOKEN = 4, SSH = 8, SSH_USER = 16, SSH_KEY = 32, CA = 64 };
    static const struct {
        unsigned int bit;
        const char *flag;
    } given[] = {
        {REST, "--slurm.rest.endpoint=unix:/run/slurmrestd.sock"},
        {KEY, "--slurm.rest.jwt-key-file="},
        {TOKEN, "--slurm.rest.token-file="},
        {SSH, "--slurm.ssh.address=login:22"},
        {SSH_USER, "--slurm.ssh.admin-user=slurm"},
        {SSH_KEY, "--slurm.ssh.private-key-file="},
        {CA, "--slurm.rest.ca="},
    };
    static const struct {
        const char *backend;
        unsigned int bits;
        const char *part; // of the only complaint; NULL: it runs
    } cases[] = {
        {"auto", REST | KEY, NULL},
        {"auto", REST | TOKEN, NULL},
        {"auto", SSH | SSH_USER | SSH_KEY, NULL},
        {"auto", REST | KEY | CA | SSH | SSH_USER | SSH_KEY, NULL},
        {"rest", REST | KEY, NULL},
        {"rest", REST | KEY | SSH, NULL}, // SSH is not looked at
        {"ssh", SSH | SSH_USER | SSH_KEY, NULL},
        {"ssh", SSH | SSH_USER | SSH_KEY | REST, NULL},
        {"auto", 0, "--slurm.rest.endpoint and --slurm.ssh.address are missing"},
        {"auto", REST, "--slurm.rest.token-file: both are missing"},
        {"auto", REST | KEY | TOKEN, "--slurm.rest.token-file: both are given"},
        {"auto", KEY | SSH | SSH_USER | SSH_KEY, "--slurm.rest.endpoint is missing"},
        {"auto", REST | KEY | SSH_USER | SSH_KEY, "--slurm.ssh.address is missing"},
        {"auto", REST | KEY | SSH | SSH_USER, "--slurm.ssh.private-key-file is missing"},
        {"rest", SSH | SSH_USER | SSH_KEY | KEY, "--slurm.rest.endpoint is missing"},
        {"ssh", REST | KEY | SSH | SSH_KEY, "--slurm.ssh.admin-user is missing"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct run r;
        run_begin(&r);
        run_arg(&r, "--metascheduler.smart-contract=%s", ADDRESS_HEX);
        run_arg(&r, "--eth.private-key-file=%s", path_in("secret0"));
        run_arg(&r, "--slurm.backend=%s", cases[i].backend);
        for (size_t n = 0; n < sizeof(given) / sizeof(given[0]); n++) {
            if (!(cases[i].bits & given[n].bit)) continue;
            bool is_file = given[n].flag[strlen(given[n].flag) - 1] == '=';
            run_arg(&r, "%s%s", given[n].flag, is_file ? path_in("ssh0") : "");
        }
        run_load(&r);
        if (!cases[i].part && r.result != OPTIONS_RUN) fail_msg("case %zu: %s", i, r.err);
        if (cases[i].part) {
            assert_usage(&r, cases[i].part);
            assert_ptr_equal(strchr(r.err, '\n'), r.err + strlen(r.err) - 1);
        }
        run_end(&r);
    }
}

static void load_with(struct run *r, const char *arg, const char *second)
{
    run_begin(r);
    run_required(r, -1);
    if (arg) run_arg(r, "%s", arg);
    if (second) run_arg(r, "%s", second);
    run_load(r);
}

static void flags_are_parsed_strictly(void **state)
{
    static const char *const bad[][3] = {
        {"--slurm.ssh.adress=x:1",
         NULL,
         "--slurm.ssh.adress: unknown flag, did you mean --slurm.ssh.address?"},
        {"--zzzzzzzzzzzzzz", NULL, "--zzzzzzzzzzzzzz: unknown flag; --help lists"},
        {"--", NULL, "--: unknown flag"},
        {"--=x", NULL, "--: unknown flag"},
        {"serve", NULL, "unexpected argument \"serve\""},
        {"--tls",
         "true",
         "unexpected argument \"true\" after --tls: a boolean takes its value after a '='"},
        {"--workers", NULL, "--workers: its value is missing, expected THREADS"},
        {"--workers", "--tls", "--workers: its value is missing, expected THREADS"},
        {"--workers=", NULL, "--workers: bad value \"\", expected a number from 4 to 64"},
        {"--tls=", NULL, "--tls: bad value \"\", expected true or false"},
        {"--wor\nkers=1", NULL, "--wor?kers: unknown flag"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct run r;
        load_with(&r, bad[i][0], bad[i][1]);
        assert_usage(&r, bad[i][2]);
        run_end(&r);
    }
}

static void a_stray_secret_is_not_shown(void **state)
{
    struct run r;
    load_with(&r, "--eth.private-kee", KEY_HEX);
    assert_usage(&r, "--eth.private-kee: unknown flag, did you mean --eth.private-key?");
    assert_null(strstr(r.err, KEY_HEX));
    assert_null(strstr(r.err, "unexpected"));
    run_end(&r);
    load_with(&r, "--secret", "short");
    assert_usage(&r, "--secret: unknown flag");
    assert_null(strstr(r.err, "short"));
    run_end(&r);
    load_with(&r, "--eth.private-kee=" KEY_HEX, NULL);
    assert_usage(&r, "--eth.private-kee: unknown flag");
    assert_null(strstr(r.err, KEY_HEX));
    run_end(&r);
    load_with(&r, "--eth.private-key=", KEY_HEX);
    assert_usage(&r, "unexpected argument number");
    assert_null(strstr(r.err, KEY_HEX));
    run_end(&r);
}

static void the_last_of_repeated_flags_counts(void **state)
{
    struct run r;
    load_with(&r, "--workers=5", "-workers=6"); // one dash is as good as two, as in Go
    assert_runs(&r);
    assert_int_equal(r.o.workers, 6);
    run_end(&r);
}

static void labels_add_up_within_a_level(void **state)
{
    struct run r;
    run_begin(&r);
    run_required(&r, -1);
    run_arg(&r, "--config=%s", write_text("conf", "label = f=1\nmetascheduler.label = g=2\n"));
    run_load(&r);
    assert_runs(&r);
    assert_int_equal(r.o.metascheduler_label.count, 2);
    assert_string_equal(r.o.metascheduler_label.items[0], "f=1");
    assert_string_equal(r.o.metascheduler_label.items[1], "g=2");
    assert_null(r.o.metascheduler_label.items[2]);
    assert_int_equal(r.o.warnings.count, 0);
    run_end(&r);

    run_begin(&r);
    run_required(&r, -1);
    run_arg(&r, "--config=%s", path_in("conf"));
    run_arg(&r, "-l");
    run_arg(&r, "a=1,b=2");
    run_arg(&r, "--label=c=x=y");
    run_load(&r);
    assert_runs(&r);
    assert_int_equal(r.o.metascheduler_label.count, 3);
    assert_string_equal(r.o.metascheduler_label.items[2], "c=x=y");
    run_end(&r);

    load_with(&r, "--label=a=1", "--metascheduler.label=a=2");
    assert_usage(&r, "--metascheduler.label: bad value \"a=2\"");
    run_end(&r);
}

static void what_is_not_used_is_told(void **state)
{
    struct run r;
    load_with(&r, "--slurm.info=/opt/sinfo", NULL);
    assert_runs(&r);
    assert_int_equal(r.o.warnings.count, 1);
    assert_non_null(strstr(r.o.warnings.items[0], "--slurm.info: accepted, but"));
    run_end(&r);
}

/* What the contract would refuse, or choke on, is found out before anything is sent. */
static void registration_is_checked(void **state)
{
    static const struct {
        const char *a, *b, *complaint;
    } bad[] = {
        {"--metascheduler.cpu-price-per-min=0", "--metascheduler.mem-price-per-min=00", "both 0"},
        {"--res.nodes=2", "--res.cpus=8", "--res.nodes needs --res.cpus and --res.mem"},
        {"--res.nodes=2", "--res.mem=8", "--res.nodes needs --res.cpus and --res.mem"},
        {"--label=a_b=1", "--label=A.B=2,a-b=3", "there is a label \"a-b\" already"},
        {"--label=a=!", NULL, "nothing is left of its value"},
        {"--label=___=x", NULL, "nothing is left of its key"},
    };
    struct run r;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        load_with(&r, bad[i].a, bad[i].b);
        assert_usage(&r, bad[i].complaint);
        run_end(&r);
    }
    load_with(&r, "--metascheduler.cpu-price-per-min=0", NULL); // memory has a price
    assert_runs(&r);
    assert_int_equal(r.o.warnings.count, 0);
    run_end(&r);
    load_with(&r, "--metascheduler.gpu-price-per-min=0", NULL);
    assert_runs(&r);
    assert_int_equal(r.o.warnings.count, 1);
    assert_non_null(strstr(r.o.warnings.items[0], "GPUs are given for nothing"));
    run_end(&r);
    load_with(&r, "--res.cpus=8", NULL);
    assert_runs(&r);
    run_end(&r);
}

/* A word before the flags. */
static void commands(void **state)
{
    struct run r;
    run_begin(&r);
    run_arg(&r, "register");
    run_required(&r, -1);
    run_arg(&r, "--dry-run");
    run_load(&r);
    assert_runs(&r);
    assert_int_equal(r.o.command, OPTIONS_COMMAND_REGISTER);
    assert_true(r.o.dry_run);
    run_end(&r);

    run_begin(&r);
    run_arg(&r, "billing"); // without anything that the agent needs to run
    run_arg(&r, "--since=2026-01-31");
    run_load(&r);
    assert_runs(&r);
    assert_int_equal(r.o.command, OPTIONS_COMMAND_BILLING);
    assert_string_equal(r.o.since, "2026-01-31");
    run_end(&r);

    load_with(&r, NULL, NULL);
    assert_runs(&r);
    assert_int_equal(r.o.command, OPTIONS_COMMAND_RUN);
    run_end(&r);

    load_with(&r, "--dry-run", NULL);
    assert_usage(&r, "--dry-run goes with the command register");
    run_end(&r);
    load_with(&r, "--since=2026-01-31", NULL);
    assert_usage(&r, "--since goes with the command billing");
    run_end(&r);
    load_with(&r, "register", NULL); // not the first word
    assert_usage(&r, "unexpected argument \"register\"");
    run_end(&r);
}

static void the_limits_of_lists_and_numbers(void **state)
{
    static const char max[] =
        "115792089237316195423570985008687907853269984665640564039457584007913129639935";
    static const char above[] =
        "115792089237316195423570985008687907853269984665640564039457584007913129639936";
    struct buf b = BUF_INIT(4096);
    struct run r;
    (void)buf_putf(&b, "--metascheduler.cpu-price-per-min=00%s", max);
    load_with(&r, buf_str(&b), NULL);
    assert_runs(&r);
    assert_string_equal(r.o.metascheduler_cpu_price_per_min, max);
    run_end(&r);
    buf_reset(&b);
    (void)buf_putf(&b, "--metascheduler.cpu-price-per-min=%s", above);
    load_with(&r, buf_str(&b), NULL);
    assert_usage(&r, "below 2^256");
    run_end(&r);
    buf_reset(&b);
    (void)buf_puts(&b, "--label=k0=v");
    for (int i = 1; i < 65; i++)
        (void)buf_putf(&b, ",k%d=v", i);
    load_with(&r, buf_str(&b), NULL);
    assert_usage(&r, "at most 64");
    run_end(&r);
    load_with(&r, "--customer.max-script-size=2KiB", "--slurm.timeout=90");
    assert_runs(&r);
    assert_int_equal(r.o.customer_max_script_size, 2048);
    assert_int_equal(r.o.slurm_timeout_ms, 90000);
    run_end(&r);
    buf_free(&b);
}

static void amounts_of_wei(void **state)
{
    static const struct {
        const char *given, *wei, *printed;
    } good[] = {
        {"0", "0", "0"},
        {"7", "7", "7"},
        {"7wei", "7", "7"},
        {"1500000000", "1500000000", "1500000000"},
        {"2000000000", "2000000000", "2gwei"},
        {"1.5gwei", "1500000000", "1500000000"},
        {"0.000000001gwei", "1", "1"},
        {"30gwei", "30000000000", "30gwei"},
        {"0.25ether", "250000000000000000", "250000000gwei"},
        {"100ether", "100000000000000000000", "100ether"},
        {"0ether", "0", "0"},
        {"0.000000000000000001ether", "1", "1"},
    };
    const struct option_type *type = &option_types[OPTION_TYPE_WEI];
    const struct option *opt = &option_table[OPTION_eth_max_fee_per_gas];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct u256 v;
        char digits[U256_DEC_TEXT];
        struct buf b = BUF_INIT(100);
        assert_int_equal(type->parse(opt, good[i].given, &v, true), 0);
        assert_string_equal(u256_format_dec(digits, v), good[i].wei);
        type->format(&v, &b);
        assert_string_equal(buf_str(&b), good[i].printed);
        buf_free(&b);
    }
    static const char *const bad[] = {
        "0.0000000001gwei",
        "1.gwei",
        "1.1.1gwei",
        "1.0wei",
        "1GWEI",
        "115792089237316195423570985008687907853269984665640564039457584007913129639936",
        "1157920892373161954235709850086879078532699846656405640394575840079ether"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct u256 v = u256_from_u64(5);
        assert_int_equal(type->parse(opt, bad[i], &v, true), ERR_INVALID);
        assert_int_equal(u256_cmp(v, u256_from_u64(5)), 0);
    }
}

static void urls_of_all_shapes(void **state)
{
    static const char *const good[] = {"http://a",
                                       "https://user:pass@host:8545/x@y:z?k=v#f",
                                       "http://[::1]:8545/",
                                       "http://[::1]",
                                       "https://a.b-c/d",
                                       "http://127.0.0.1:8545,https://b"};
    static const char *const bad[] = {"",
                                      "http:/a",
                                      "HTTP//a",
                                      "http://@",
                                      "http://a:0",
                                      "http://a:65536",
                                      "http://::1/",
                                      "http://a\"b",
                                      "httpss://a",
                                      "https:///path",
                                      ",http://a",
                                      "http://a,,http://b"};
    struct run r;
    char arg[256];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        (void)snprintf(arg, sizeof(arg), "--metascheduler.endpoint=%s", good[i]);
        load_with(&r, arg, NULL);
        assert_runs(&r);
        assert_int_equal(r.o.warnings.count, 0);
        run_end(&r);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)snprintf(arg, sizeof(arg), "--metascheduler.endpoint=%s", bad[i]);
        load_with(&r, arg, NULL);
        assert_usage(&r, "--metascheduler.endpoint: bad value");
        run_end(&r);
    }
}

static void tls_needs_key_and_certificate(void **state)
{
    struct run r;
    char arg[300];
    load_with(&r, "--tls", NULL);
    assert_usage(&r, "--tls.key-file is missing: --tls asks for it");
    assert_usage(&r, "--tls.cert-file is missing: --tls asks for it");
    run_end(&r);
    (void)snprintf(arg, sizeof(arg), "--tls.key-file=%s", path_in("file0"));
    load_with(&r, "--tls", arg);
    assert_usage(&r, "--tls.cert-file is missing");
    assert_null(strstr(r.err, "--tls.key-file is missing"));
    run_end(&r);
    load_with(&r, arg, NULL); // not asked for: fine
    assert_runs(&r);
    run_end(&r);
}

static void files_that_are_used_must_be_readable(void **state)
{
    static const char *const flags[] = {
        "--customer.tls.ca=/nonexistent/x",
        "--customer.logger.tls.ca=/nonexistent/x",
        "--slurm.user-map=/nonexistent/x",
        "--slurm.ssh.known-hosts=/nonexistent/x",
    };
    struct run r;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        load_with(&r, flags[i], NULL);
        assert_usage(&r, "/nonexistent/x: No such file");
        run_end(&r);
    }
    load_with(&r, flags[0], "--customer.tls.insecure"); // then it is ignored
    assert_runs(&r);
    assert_non_null(strstr(r.o.warnings.items[0], "--customer.tls.insecure"));
    run_end(&r);
    load_with(&r, flags[1], "--customer.logger.tls.insecure");
    assert_runs(&r);
    assert_non_null(strstr(r.o.warnings.items[0], "--customer.logger.tls.insecure"));
    run_end(&r);
    load_with(&r, flags[1], "--customer.logger.tls=false"); // neither is it used
    assert_runs(&r);
    assert_int_equal(r.o.warnings.count, 0);
    run_end(&r);
    load_with(&r, flags[3], "--slurm.ssh.insecure");
    assert_runs(&r);
    assert_non_null(strstr(r.o.warnings.items[0], "--slurm.ssh.insecure"));
    run_end(&r);
}

static void trace_is_log_level_debug(void **state)
{
    struct run r;
    load_with(&r, "--log.level=error", "--trace");
    assert_runs(&r);
    assert_int_equal(r.o.log_level, LOG_LEVEL_DEBUG);
    run_end(&r);
}

static void aliases_in_the_environment_must_not_clash(void **state)
{
    struct run r;
    (void)setenv("CUSTOMER_ENDPOINT", "a:1", 1);
    (void)setenv("SBATCH_ENDPOINT", "b:1", 1);
    load_with(&r, NULL, NULL);
    assert_usage(&r, "CUSTOMER_ENDPOINT and SBATCH_ENDPOINT are both set");
    run_end(&r);
    (void)setenv("CUSTOMER_ENDPOINT", "", 1); // empty is not set
    load_with(&r, NULL, NULL);
    assert_runs(&r);
    assert_string_equal(r.o.customer_endpoint, "b:1");
    run_end(&r);
    (void)unsetenv("CUSTOMER_ENDPOINT");
    (void)unsetenv("SBATCH_ENDPOINT");
}

/* ------------------------------------------------------------------------------------ secrets */

static void a_secret_and_its_file_clash_at_one_level(void **state)
{
    struct run r;
    load_with(&r, "--eth.private-key=" KEY_HEX, NULL); // beside the required --...-file
    assert_usage(&r, "--eth.private-key and --eth.private-key-file are both given");
    run_end(&r);

    (void)setenv("ETH_PRIVATE_KEY", KEY_HEX, 1);
    (void)setenv("ETH_PRIVATE_KEY_FILE", path_in("secret1"), 1);
    run_begin(&r);
    run_required(&r, OPTION_eth_private_key);
    run_load(&r);
    assert_usage(&r, "ETH_PRIVATE_KEY and ETH_PRIVATE_KEY_FILE are both given");
    run_end(&r);
    (void)unsetenv("ETH_PRIVATE_KEY_FILE");

    run_begin(&r);
    run_required(&r, OPTION_eth_private_key);
    run_arg(&r,
            "--config=%s",
            write_text("conf", "eth.private-key = 1\nmetascheduler.private-key-file = /x\n"));
    run_load(&r);
    assert_usage(&r, ":1: eth.private-key and ");
    assert_usage(&r, ":2: metascheduler.private-key-file are both given");
    run_end(&r);
}

static void the_higher_level_of_secret_and_file_wins(void **state)
{
    struct run r;
    (void)setenv("ETH_PRIVATE_KEY", KEY_HEX, 1);
    load_with(&r, NULL, NULL); // the file, by a flag
    assert_runs(&r);
    assert_int_equal(r.o.eth_private_key.data[63], '1');
    assert_non_null(r.o.eth_private_key_file);
    run_end(&r);

    (void)setenv("ETH_PRIVATE_KEY_FILE", "/nonexistent", 1); // loses, and is not read
    run_begin(&r);
    run_required(&r, OPTION_eth_private_key);
    run_arg(&r, "--eth.private-key=%s", KEY_HEX);
    run_load(&r);
    (void)unsetenv("ETH_PRIVATE_KEY_FILE");
    assert_runs(&r);
    assert_string_equal((char *)r.o.eth_private_key.data, KEY_HEX);
    assert_false(option_is_set(&r.o, OPTION_eth_private_key_file));
    run_end(&r);
}

static void secrets_leave_argv_and_environment(void **state)
{
    struct run r;
    static char in_env[] = "SLURM_SSH_PRIVATE_KEY=" SSH_BASE64;
    assert_int_equal(putenv(in_env), 0); // the very bytes that /proc shows
    run_begin(&r);
    run_required(&r, OPTION_eth_private_key);
    run_arg(&r, "--eth.private-key");
    run_arg(&r, KEY_HEX);
    run_load(&r);
    assert_runs(&r);
    assert_string_equal((char *)r.o.eth_private_key.data, KEY_HEX);
    for (int i = 0; i < r.argc; i++)
        assert_null(strstr(r.argv[i], KEY_HEX));
    assert_int_equal(strspn(r.argv[r.argc - 1], "*"), strlen(KEY_HEX));
    assert_null(getenv("SLURM_SSH_PRIVATE_KEY"));
    for (size_t i = sizeof("SLURM_SSH_PRIVATE_KEY="); i < sizeof(in_env); i++)
        assert_int_equal(in_env[i], 0);
    assert_int_equal(r.o.warnings.count, 1);
    assert_non_null(strstr(r.o.warnings.items[0], "use --eth.private-key-file"));
    assert_null(strstr(r.o.warnings.items[0], KEY_HEX));
    run_end(&r);

    // Also when nothing comes of it.
    (void)setenv("ETH_PRIVATE_KEY", KEY_HEX, 1);
    load_with(&r, "--bogus", "--eth.private-key=" KEY_HEX);
    assert_int_equal(r.result, OPTIONS_EXIT_USAGE);
    assert_null(strstr(r.argv[r.argc - 1], "46"));
    assert_null(getenv("ETH_PRIVATE_KEY"));
    run_end(&r);
}

static void bad_secrets_are_named_not_shown(void **state)
{
    static const char *const keys[] = {
        "4646",
        "zz46464646464646464646464646464646464646464646464646464646464646",
        "0000000000000000000000000000000000000000000000000000000000000000",
        KEY_HEX "0"};
    struct run r;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        run_begin(&r);
        run_required(&r, OPTION_eth_private_key);
        run_arg(&r, "--eth.private-key=%s", keys[i]);
        run_load(&r);
        assert_usage(&r, "--eth.private-key: bad value (not shown), expected");
        assert_null(strstr(r.err, keys[i]));
        run_end(&r);
    }
    run_begin(&r);
    run_required(&r, OPTION_slurm_ssh_private_key);
    run_arg(&r, "--slurm.ssh.private-key=not*base64");
    run_load(&r);
    assert_usage(&r, "--slurm.ssh.private-key: bad value (not shown), expected a private key");
    run_end(&r);

    run_begin(&r);
    run_required(&r, OPTION_eth_private_key);
    run_arg(&r, "--eth.private-key-file=%s", write_text("badkey", "46zz\n"));
    run_load(&r);
    assert_usage(&r, "--eth.private-key-file: bad value (not shown), expected 64 hexadecimal");
    assert_null(strstr(r.err, "46zz"));
    run_end(&r);
}

static void secret_files_must_be_private(void **state)
{
    struct run r;
    run_begin(&r);
    run_required(&r, OPTION_eth_private_key);
    run_arg(&r, "--eth.private-key-file=%s", write_bytes("open", KEY_HEX, 64, 0644));
    run_load(&r);
    assert_usage(&r, "mode 0644 is too open");
    run_end(&r);

    // The same of a configuration file with a secret in it, and only then.
    static const char conf[] = "eth.private-key = " KEY_HEX "\n";
    for (int open_mode = 0; open_mode < 2; open_mode++) {
        run_begin(&r);
        run_required(&r, OPTION_eth_private_key);
        run_arg(&r,
                "--config=%s",
                write_bytes("conf", conf, sizeof(conf) - 1, open_mode ? 0644 : 0640));
        run_load(&r);
        if (open_mode)
            assert_usage(&r, "conf:1: eth.private-key: the file's mode 0644 is too open");
        else
            assert_runs(&r);
        assert_null(strstr(r.err, KEY_HEX));
        run_end(&r);
    }
    run_begin(&r);
    run_required(&r, -1);
    run_arg(&r, "--config=%s", write_bytes("conf", "workers = 9\n", 12, 0644));
    run_load(&r);
    assert_runs(&r);
    run_end(&r);
}

/* ----------------------------------------------------------------------------------- the file */

static void load_conf(struct run *r, const void *text, size_t len)
{
    run_begin(r);
    run_required(r, -1);
    run_arg(r, "--config=%s", write_bytes("conf", text, len, 0600));
    run_load(r);
}

static void the_form_of_the_file(void **state)
{
    static const struct {
        const char *text, *output; // of slurm.output; NULL: refused
    } cases[] = {
        {"slurm.output = a", "a"},
        {"slurm.output=a\n", "a"},
        {"\t slurm.output\t=\ta b \t\r\n", "a b"},
        {"# slurm.output = x\n\n   # y\nslurm.output = a # comment\n", "a"},
        {"slurm.output = a#b\n", "a#b"},
        {"slurm.output = \"a # b\" # comment\n", "a # b"},
        {"slurm.output = \" a\\\"b\\\\c \"\n", " a\"b\\c "},
        {"slurm.output = \"\\\\x\"\n", "\\x"},
        {"slurm.output = 'a\"b\\c'", "a\"b\\c"},
        {"slurm.output = a=b", "a=b"},
        {"slurm.output = \"a", NULL},
        {"slurm.output = 'a\" b", NULL},
        {"slurm.output = \"a\" b", NULL},
        {"slurm.output = \"a\\n\"", NULL},
        {"slurm.output = \"a\\", NULL},
        {"slurm.output", NULL},
        {"slurm.output a", NULL},
        {"= a", NULL},
        {"slurm.output =", NULL}, // its default is something
        {"--slurm.output = a", NULL},
        {"[section]", NULL},
    };
    struct run r;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        load_conf(&r, cases[i].text, strlen(cases[i].text));
        if (cases[i].output) {
            assert_runs(&r);
            assert_string_equal(r.o.slurm_output, cases[i].output);
        } else
            assert_usage(&r, "conf:1: ");
        run_end(&r);
    }
}

static void an_empty_file_is_fine(void **state)
{
    struct run r;
    load_conf(&r, "", 0);
    assert_runs(&r);
    run_end(&r);
    load_conf(&r, "\n", 1);
    assert_runs(&r);
    run_end(&r);
}

static void errors_of_the_file_name_the_line(void **state)
{
    struct run r;
    static const char conf[] = "tls = false\nslurm.partion = x\nworkers = 5\nworkers = 6\n"
                               "customer.endpoint = a:1\nsbatch.endpoint = a:1\nhelp = true\n"
                               "l = a=b\nzzzzzzzzzz = 1\nconfig = /x\n\nworkers";
    load_conf(&r, conf, sizeof(conf) - 1);
    assert_usage(&r, "conf:2: slurm.partion: unknown key, did you mean slurm.partition?");
    assert_usage(&r, "conf:4: workers: given twice, first as workers in line 3");
    assert_usage(&r, "conf:6: sbatch.endpoint: given twice, first as customer.endpoint in line 5");
    assert_usage(&r, "conf:7: help: a flag, not a key");
    assert_usage(&r, "conf:8: l: a flag, not a key");
    assert_usage(&r, "conf:9: zzzzzzzzzz: unknown key; --help lists");
    assert_usage(&r, "conf:10: config: a flag, not a key");
    assert_usage(&r, "conf:12: expected a line of the form: key = value");
    run_end(&r);
    load_conf(&r, "tls\0= true\n", 11);
    assert_usage(&r, "conf:1: a zero byte");
    run_end(&r);
}

static void the_file_must_be_there_if_asked_for(void **state)
{
    struct run r;
    load_with(&r, "--config=/nonexistent/x", NULL);
    assert_usage(&r, "/nonexistent/x: No such file or directory");
    run_end(&r);
    (void)setenv("AGENT_CONFIG", "/nonexistent/y", 1);
    load_with(&r, NULL, NULL);
    assert_usage(&r, "/nonexistent/y: No such file or directory");
    run_end(&r);
    (void)setenv("AGENT_CONFIG", write_text("conf2", "workers = 11\n"), 1);
    load_with(&r, NULL, NULL);
    assert_runs(&r);
    assert_int_equal(r.o.workers, 11);
    run_end(&r);
    run_begin(&r); // the flag wins
    run_required(&r, -1);
    run_arg(&r, "--config=%s", write_text("conf", "workers = 12\n"));
    run_load(&r);
    assert_runs(&r);
    assert_int_equal(r.o.workers, 12);
    run_end(&r);
    (void)unsetenv("AGENT_CONFIG");
    load_with(&r, "--config=/", NULL);
    assert_usage(&r, "/: Is a directory");
    run_end(&r);
}

static void a_flood_of_errors_is_cut(void **state)
{
    struct buf b = BUF_INIT(1 << 21);
    struct run r;
    unsigned int lines = 0;
    for (int i = 0; i < 5000; i++)
        (void)buf_puts(&b, "x\n");
    load_conf(&r, b.data, b.len);
    assert_int_equal(r.result, OPTIONS_EXIT_USAGE);
    for (const char *p = r.err; (p = strchr(p, '\n')); p++)
        lines++;
    assert_int_equal(lines, 50);
    run_end(&r);
    while (b.len <= 1 << 20)
        (void)buf_puts(&b, "# a long file of comments\n");
    load_conf(&r, b.data, b.len);
    assert_usage(&r, "conf: larger than 1048576 bytes");
    run_end(&r);
    buf_free(&b);
}

/* Mutations of a good file: never a crash, and an error or a run, nothing between. */
static void broken_files_never_crash(void **state)
{
    static const char base[] = "# x\nworkers = 5\nslurm.output = \"a\\\"b\" # c\nlabel = a=b,c=d\n"
                               "metascheduler.endpoint = http://a:1,https://[::1]:2/x\n"
                               "customer.max-script-size = 5MiB\nslurm.user = 'a{customer}'\n";
    uint32_t seed = 1;
    for (int round = 0; round < 2000; round++) {
        char text[sizeof(base)];
        struct run r;
        memcpy(text, base, sizeof(text));
        for (int n = 0; n < 4; n++) {
            seed = seed * 1664525u + 1013904223u;
            text[(seed >> 8) % (sizeof(base) - 1)] =
                seed & 1 ? "\"'\\#=\n\0 {,:"[(seed >> 24) % 12] : (char)(seed >> 24);
        }
        load_conf(&r, text, sizeof(text) - 1);
        assert_int_not_equal(r.result, OPTIONS_EXIT_OK);
        assert_true((r.result == OPTIONS_RUN) == (*r.err == '\0'));
        run_end(&r);
    }
}

/* ----------------------------------------------------------------------------------- printing */

static void help_names_every_option(void **state)
{
    struct run r;
    struct name name;
    run_begin(&r);
    run_arg(&r, "--bogus"); // help all the same
    run_arg(&r, "-h");
    run_load(&r);
    assert_int_equal(r.result, OPTIONS_EXIT_OK);
    for (size_t i = 0; name_at(i, &name); i++) {
        char flag[80];
        (void)snprintf(flag, sizeof(flag), "%s%s", option_dashes(name.flag), name.flag);
        if (!strstr(r.out, flag)) fail_msg("%s is not in --help", flag);
        if (name.env && !strstr(r.out, name.env)) fail_msg("%s is not in --help", name.env);
        assert_true(strlen(option_table[name.id].help) > 5);
    }
    for (const char *line = r.out; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 100);
    run_end(&r);
}

/* The printed configuration without its comments. */
static void settings_of(const char *text, struct buf *out)
{
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        const char *comment = memmem(line, len, " # ", 3);
        size_t keep = comment ? (size_t)(comment - line) : len;
        while (keep && line[keep - 1] == ' ')
            keep--;
        if (*line != '#' && keep) {
            (void)buf_put(out, line, keep);
            (void)buf_puts(out, "\n");
        }
        line += len + (line[len] == '\n');
    }
}

static void the_printed_configuration_can_be_fed_back(void **state)
{
    struct run r, again;
    struct buf first = BUF_INIT(65536), second = BUF_INIT(65536);
    (void)setenv("WORKERS", "13", 1);
    run_begin(&r);
    run_required(&r, OPTION_slurm_ssh_private_key);
    run_arg(&r, "--slurm.ssh.private-key=%s", SSH_BASE64);
    run_arg(&r, "--config=%s", write_text("conf", "claim.batch = 3\n"));
    run_arg(&r, "--slurm.output= \"quo#ted\\ ");
    run_arg(&r, "-l");
    run_arg(&r, "a=b #c,d=e");
    run_arg(&r, "--print-config");
    run_load(&r);
    (void)unsetenv("WORKERS");
    assert_int_equal(r.result, OPTIONS_EXIT_OK);
    assert_string_equal(r.err, "");
    assert_null(strstr(r.out, SSH_BASE64));
    assert_non_null(strstr(r.out, "\n#slurm.ssh.private-key = ***"));
    assert_non_null(strstr(r.out, "# flag --slurm.ssh.private-key\n"));
    assert_non_null(strstr(r.out, "# environment WORKERS\n"));
    assert_non_null(strstr(r.out, "conf:1\n"));
    assert_non_null(strstr(r.out, "# flag -l\n"));

    run_begin(&again);
    run_arg(&again, "--config=%s", write_text("conf", r.out));
    run_arg(&again, "--print-config");
    run_load(&again);
    if (again.result != OPTIONS_EXIT_OK) fail_msg("%s", again.err);
    settings_of(r.out, &first);
    settings_of(again.out, &second);
    assert_true(first.len > 1000);
    assert_string_equal(buf_str(&first), buf_str(&second));
    buf_free(&first);
    buf_free(&second);
    run_end(&r);
    run_end(&again);
}

/* All of the sample, uncommented, is a good file that says what the defaults are. */
static void the_sample_is_the_defaults(void **state)
{
    struct run r, plain;
    struct buf conf = BUF_INIT(65536), first = BUF_INIT(65536), second = BUF_INIT(65536);
    run_begin(&r);
    run_arg(&r, "--print-sample-config");
    run_load(&r);
    assert_int_equal(r.result, OPTIONS_EXIT_OK);
    for (const char *line = r.out; *line; line += strcspn(line, "\n") + 1) {
        bool key = line[0] == '#' && line[1] >= 'a' && line[1] <= 'z';
        if (key) (void)buf_put(&conf, line + 1, strcspn(line, "\n"));
    }
    run_end(&r);
    run_begin(&plain);
    run_arg(&plain, "--print-config");
    run_load(&plain);
    run_begin(&r);
    run_arg(&r, "--config=%s", write_bytes("conf", conf.data, conf.len, 0600));
    run_arg(&r, "--print-config");
    run_load(&r);
    if (r.result != OPTIONS_EXIT_OK) fail_msg("%s", r.err);
    settings_of(r.out, &first);
    settings_of(plain.out, &second);
    assert_string_equal(buf_str(&first), buf_str(&second));
    run_end(&r);
    run_end(&plain);
    buf_free(&conf);
    buf_free(&first);
    buf_free(&second);
}

static void check_config_says_whether_it_is_good(void **state)
{
    struct run r;
    load_with(&r, "--check-config", "--slurm.ssh.insecure");
    assert_int_equal(r.result, OPTIONS_EXIT_OK);
    assert_string_equal(r.out, "deepsquare-agent: the configuration is good\n");
    assert_non_null(strstr(r.err, "warning: --slurm.ssh.insecure"));
    run_end(&r);
    load_with(&r, "--check-config", "--workers=1");
    assert_usage(&r, "--workers: bad value");
    run_end(&r);
    load_with(&r, "--version", NULL);
    assert_int_equal(r.result, OPTIONS_EXIT_OK);
    assert_int_equal(strncmp(r.out, "deepsquare-agent ", 17), 0);
    run_end(&r);
}

/* ------------------------------------------------------------------------------------- reload */

static char told[4096];

static void tell_reason(const char *reason)
{
    size_t n = strlen(told);
    (void)snprintf(told + n, sizeof(told) - n, "%s\n", reason);
}

static void tell_difference(const char *flag, const char *was, const char *is, bool now)
{
    size_t n = strlen(told);
    (void)snprintf(
        told + n, sizeof(told) - n, "%s: %s -> %s%s\n", flag, was, is, now ? "" : " later");
}

/* An agent that runs with the file's first text and is told to read the second one. */
static int reload(struct run *r, const char *first, const char *second, struct options *fresh)
{
    const char *conf = write_text("reload.conf", first);
    run_begin(r);
    run_arg(r, "--metascheduler.smart-contract=" ADDRESS_HEX);
    run_arg(r, "--slurm.ssh.address=login:22");
    run_arg(r, "--slurm.ssh.admin-user=slurm");
    run_arg(r, "--config=%s", conf);
    run_arg(r, "--eth.private-key=%s", KEY_HEX);
    (void)setenv("SLURM_SSH_PRIVATE_KEY", SSH_BASE64, 1);
    run_load(r);
    assert_runs(r);
    (void)write_text("reload.conf", second);
    told[0] = '\0';
    return options_reload(fresh, &r->o, r->argc, r->argv, tell_reason);
}

static void a_reload_takes_what_may_change(void **state)
{
    struct run r;
    struct options fresh;
    int rc = reload(&r,
                    "workers = 5\nclaim.batch = 7\nmetascheduler.label = a=b\n",
                    "claim.batch = 9\nmetascheduler.label = a=b,c=d\nslurm.partition = gpu\n"
                    "log.level = debug\n",
                    &fresh);
    assert_string_equal(told, "");
    assert_int_equal(rc, 0);
    // Secrets of flags and environment are gone from there, and are kept.
    assert_string_equal((char *)fresh.eth_private_key.data, KEY_HEX);
    assert_string_equal((char *)fresh.slurm_ssh_private_key.data, SSH_BASE64);
    options_adopt(&r.o, &fresh, tell_difference);
    assert_string_equal(told,
                        "claim.batch: 7 -> 9\n"
                        "metascheduler.label: a=b -> a=b,c=d\n"
                        "slurm.partition: main -> gpu later\n"
                        "workers: 5 -> 8 later\n"
                        "log.level: info -> debug\n");
    assert_int_equal(r.o.claim_batch, 9);
    assert_int_equal(r.o.metascheduler_label.count, 2);
    assert_int_equal(r.o.log_level, LOG_LEVEL_DEBUG);
    assert_string_equal(r.o.slurm_partition, "main");
    assert_int_equal(r.o.workers, 5);
    assert_null(fresh.slurm_partition);

    // Once more: what waits for a restart is told again, the rest is as it should be.
    told[0] = '\0';
    assert_int_equal(options_reload(&fresh, &r.o, r.argc, r.argv, tell_reason), 0);
    options_adopt(&r.o, &fresh, tell_difference);
    assert_string_equal(told, "slurm.partition: main -> gpu later\nworkers: 5 -> 8 later\n");
    run_end(&r);
}

static void a_reload_refuses_a_bad_file_whole(void **state)
{
    static const struct {
        const char *text, *reason;
    } bad[] = {
        {"claim.batch = 9\nclaim.batch = 10\n", "reload.conf:2: claim.batch: given twice"},
        {"claim.batch = 9\nclaim.max-jobs = many\n", "reload.conf:2: claim.max-jobs: bad value"},
        {"claim.batch = 9\nworker = 3\n", "reload.conf:2: worker: unknown key"},
        {"claim.batch = 9\ntls = true\n", "--tls.key-file is missing"},
        {"claim.batch = 9\nres.nodes = 4\n", "--res.nodes needs --res.cpus"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct run r;
        struct options fresh;
        assert_int_equal(reload(&r, "claim.batch = 7\n", bad[i].text, &fresh), ERR_INVALID);
        if (!strstr(told, bad[i].reason)) fail_msg("%s: %s", bad[i].text, told);
        assert_null(strstr(told, "deepsquare-agent: "));
        assert_int_equal(r.o.claim_batch, 7);
        assert_null(fresh.config);
        run_end(&r);
    }
}

/* Every row that says so, and no other. */
static void a_reload_changes_reloadable_options_only(void **state)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        const struct option *opt = &option_table[i];
        struct run r, s;
        char text[256];
        if (opt->flags & OPTION_COMMAND || !option_type_of(opt)->format) continue;
        load_with(&r, NULL, NULL);
        run_begin(&s);
        run_required(&s, i);
        run_arg(&s, "--%s=%s", opt->flag, sample(i, opt->type != OPTION_TYPE_BOOL, text));
        run_load(&s);
        assert_runs(&r);
        assert_runs(&s);
        struct buf was = BUF_INIT(4096), is = BUF_INIT(4096), wanted = BUF_INIT(4096);
        option_type_of(opt)->format(option_member(&r.o, i), &was);
        option_type_of(opt)->format(option_member(&s.o, i), &wanted);
        told[0] = '\0';
        options_adopt(&r.o, &s.o, tell_difference);
        option_type_of(opt)->format(option_member(&r.o, i), &is);
        if (!strstr(told, opt->flag)) fail_msg("%s: not told: %s", opt->flag, told);
        assert_string_equal(buf_str(&is), buf_str(opt->flags & OPTION_RELOAD ? &wanted : &was));
        buf_free(&was);
        buf_free(&is);
        buf_free(&wanted);
        run_end(&r);
        run_end(&s);
    }
}

static void freeing_is_idempotent(void **state)
{
    struct run r;
    load_with(&r, NULL, NULL);
    assert_runs(&r);
    options_free(&r.o);
    assert_null(r.o.eth_private_key.data);
    assert_int_equal(r.o.eth_private_key.len, 0);
    options_free(&r.o);
    options_free(NULL);
    run_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_are_not_defaults),
        cmocka_unit_test(names_are_unique),
        cmocka_unit_test(the_reference_names_are_all_there),
        cmocka_unit_test(every_default_is_loaded),
        cmocka_unit_test(every_option_by_every_way),
        cmocka_unit_test(every_option_refuses_bad_values),
        cmocka_unit_test(all_that_is_missing_is_listed),
        cmocka_unit_test(each_missing_one_is_named_alone),
        cmocka_unit_test(ways_to_slurm),
        cmocka_unit_test(flags_are_parsed_strictly),
        cmocka_unit_test(a_stray_secret_is_not_shown),
        cmocka_unit_test(the_last_of_repeated_flags_counts),
        cmocka_unit_test(labels_add_up_within_a_level),
        cmocka_unit_test(what_is_not_used_is_told),
        cmocka_unit_test(registration_is_checked),
        cmocka_unit_test(commands),
        cmocka_unit_test(the_limits_of_lists_and_numbers),
        cmocka_unit_test(amounts_of_wei),
        cmocka_unit_test(urls_of_all_shapes),
        cmocka_unit_test(tls_needs_key_and_certificate),
        cmocka_unit_test(files_that_are_used_must_be_readable),
        cmocka_unit_test(trace_is_log_level_debug),
        cmocka_unit_test(aliases_in_the_environment_must_not_clash),
        cmocka_unit_test(a_secret_and_its_file_clash_at_one_level),
        cmocka_unit_test(the_higher_level_of_secret_and_file_wins),
        cmocka_unit_test(secrets_leave_argv_and_environment),
        cmocka_unit_test(bad_secrets_are_named_not_shown),
        cmocka_unit_test(secret_files_must_be_private),
        cmocka_unit_test(the_form_of_the_file),
        cmocka_unit_test(an_empty_file_is_fine),
        cmocka_unit_test(errors_of_the_file_name_the_line),
        cmocka_unit_test(the_file_must_be_there_if_asked_for),
        cmocka_unit_test(a_flood_of_errors_is_cut),
        cmocka_unit_test(broken_files_never_crash),
        cmocka_unit_test(help_names_every_option),
        cmocka_unit_test(the_printed_configuration_can_be_fed_back),
        cmocka_unit_test(the_sample_is_the_defaults),
        cmocka_unit_test(check_config_says_whether_it_is_good),
        cmocka_unit_test(a_reload_takes_what_may_change),
        cmocka_unit_test(a_reload_refuses_a_bad_file_whole),
        cmocka_unit_test(a_reload_changes_reloadable_options_only),
        cmocka_unit_test(freeing_is_idempotent),
    };
    return cmocka_run_group_tests_name("options", tests, setup, teardown);
}
