/* SPDX-License-Identifier: GPL-3.0-or-later */
/* agent/customer/logger against a server that collects what is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/customer/logger.h"
#include "agent/util/clock.h"
#include "proto/logger.pb-c.h"
#include "proto/rpc_status.h"
#include "tests/unit/rpc_fixture.h"
#include "tests/unit/rpc_sink.h"

#define JOB  "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define USER "0x00112233445566778899aabbccddeeff00112233"

static struct fixture_tls tls_files;
static struct rpc_sink *sink;
static const struct customer_logger_options plain;

static int set_up(void **state)
{
    sink = rpc_sink_start(NULL, NULL);
    return 0;
}

static int tear_down(void **state)
{
    sink = rpc_sink_stop(sink);
    return 0;
}

static int write_to(const struct customer_logger_options *o,
                    const char *url,
                    const char *text,
                    long long timeout_ms,
                    struct error *err)
{
    memset(err, 0, sizeof(*err));
    struct customer_logger *l = customer_logger_new(o, err);
    if (!l) fail_msg("%s", err->text);
    long long deadline_ms = clock_mono_ms() + timeout_ms;
    int rc = customer_logger_write(l, url, JOB, USER, text, deadline_ms, err);
    assert_null(customer_logger_destroy(l));
    assert_int_equal(rc, err->code);
    return rc;
}

static int write_text(const char *text, struct error *err)
{
    char url[64];
    return write_to(
        &plain, fixture_target(url, rpc_sink_port(sink)), text, 20000 * fixture_slow(), err);
}

/* The i-th message, unpacked; all of its fields but the line are right. */
static size_t line_at(size_t i, char line[2048], int64_t *time_ns)
{
    const struct rpc_sink_seen *seen = rpc_sink_seen(sink);
    assert_true(i < seen->count);
    Logger__V1alpha1__WriteRequest *r = logger__v1alpha1__write_request__unpack(
        NULL, seen->messages[i].len, seen->messages[i].data);
    assert_non_null(r);
    assert_string_equal(r->log_name, JOB);
    assert_string_equal(r->user, USER);
    size_t len = r->data.len;
    assert_true(len < 2048);
    memcpy(line, r->data.data, len);
    line[len] = '\0';
    *time_ns = r->timestamp;
    logger__v1alpha1__write_request__free_unpacked(r, NULL);
    return len;
}

static void expect_lines(const char *const *lines, size_t count)
{
    char line[2048];
    int64_t time_ns, last_ns = 0;
    const struct rpc_sink_seen *seen = rpc_sink_seen(sink);
    assert_string_equal(seen->method, "/logger.v1alpha1.LoggerAPI/Write");
    assert_int_equal(seen->calls, 1);
    assert_true(seen->to_the_end);
    assert_int_equal(seen->count, count);
    for (size_t i = 0; i < count; i++) {
        (void)line_at(i, line, &time_ns);
        assert_string_equal(line, lines[i]);
        assert_true(time_ns > last_ns);
        last_ns = time_ns;
    }
}

/* ---- the text ---- */

static void test_one_line(void **state)
{
    static const char *const lines[] = {"sbatch: error: Invalid partition name specified: x"};
    char line[2048];
    int64_t time_ns, before_ns = clock_wall_ms() * 1000000;
    struct error err;
    assert_int_equal(write_text(lines[0], &err), 0);
    expect_lines(lines, 1);
    (void)line_at(0, line, &time_ns);
    assert_true(time_ns >= before_ns);
    assert_true(time_ns <= clock_wall_ms() * 1000000);
}

static void test_lines(void **state)
{
    static const char *const lines[] = {"one", " two\xc3\xa4 ", "\xff\x01\r", "three"};
    struct error err;
    assert_int_equal(write_text("\n\none\r\n two\xc3\xa4 \n\r\n\xff\x01\r\r\n\nthree\n\n", &err),
                     0);
    expect_lines(lines, 4);
}

static void test_no_line(void **state)
{
    static const char *const empty[] = {"", "\n", "\r\n\n\r\n"};
    struct error err;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(write_text(empty[i], &err), 0);
    assert_int_equal(rpc_sink_seen(sink)->calls, 0);
    assert_int_equal(write_to(&plain, "nonsense", "", 1000, &err), ERR_INVALID);
}

static void test_long_lines(void **state)
{
    static const struct {
        size_t before; // this many a, then the tail
        const char *tail;
        size_t len; // what is left
    } cases[] = {
        {1024, "", 1024},
        {1025, "", 1024},
        {100000, "", 1024},
        {1022, "\xc3\xa4", 1024},
        {1023, "\xc3\xa4", 1023}, // not half a character
        {1021, "\xe2\x82\xac z", 1024},
        {1022, "\xe2\x82\xac z", 1022},
        {1023, "\xf0\x9f\x98\x80", 1023},
        {1021, "\xf0\x9f\x98\x80", 1021},
        {1020, "\x80\x80\x80\x80\x80", 1021}, // no character at all: cut somewhere
    };
    static char text[100000 + 16];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[2048];
        int64_t time_ns;
        struct error err;
        memset(text, 'a', cases[i].before);
        (void)snprintf(text + cases[i].before, 16, "%s\nend", cases[i].tail);
        rpc_sink_plan(sink, &(struct rpc_sink_plan){.reads = SIZE_MAX});
        assert_int_equal(write_text(text, &err), 0);
        assert_int_equal(rpc_sink_seen(sink)->count, 2);
        assert_int_equal(line_at(0, line, &time_ns), cases[i].len);
        assert_memory_equal(line, text, cases[i].len);
        (void)line_at(1, line, &time_ns);
        assert_string_equal(line, "end");
    }
}

static void test_many_lines(void **state)
{
    static const size_t counts[] = {63, 64, 65, 1000};
    static char text[16 * 1000];
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        char line[2048];
        int64_t time_ns;
        struct error err;
        size_t at = 0, want = counts[i] < 64 ? counts[i] : 64;
        for (size_t n = 0; n < counts[i]; n++)
            at += (size_t)snprintf(text + at, sizeof(text) - at, "line %zu\n", n + 1);
        rpc_sink_plan(sink, &(struct rpc_sink_plan){.reads = SIZE_MAX});
        assert_int_equal(write_text(text, &err), 0);
        assert_int_equal(rpc_sink_seen(sink)->count, want);
        (void)line_at(62, line, &time_ns);
        assert_string_equal(line, "line 63");
        (void)line_at(want - 1, line, &time_ns);
        if (counts[i] == 64) assert_string_equal(line, "line 64");
        if (counts[i] > 64) assert_string_equal(line, "...");
    }
}

/* ---- the url ---- */

static int listen_unix(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    (void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(listen(fd, 5), 0);
    return fd;
}

/* No url leads to a socket of this machine, such as munge's. */
static void test_unix_sockets(void **state)
{
    static const char *const forms[] = {"unix:%s", "unix://%s", "unix:%s:1", "unix:%s%%00:1", "%s"};
    char path[100], url[200];
    struct error err;
    (void)snprintf(path, sizeof(path), "%s/socket", tls_files.dir);
    int fd = listen_unix(path);
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void)snprintf(url, sizeof(url), forms[i], path);
#pragma GCC diagnostic pop
        assert_int_equal(write_to(&plain, url, "x", 1000, &err), ERR_INVALID);
        assert_int_equal(accept(fd, NULL, NULL), -1);
    }
    (void)close(fd);
    (void)unlink(path);
}

static void test_bad_urls(void **state)
{
    static const char *const bad[] = {
        "",
        "host",
        ":443",
        "host:",
        "host:0",
        "host:00",
        "host:65536",
        "host:99999999",
        "host:-1",
        "host:+1",
        "host: 1",
        "host:1 ",
        " host:1",
        "ho st:1",
        "host:1x",
        "host:0x1",
        "http://h:1",
        "https://h:1",
        "dns:h:1",
        "dns:///h:1",
        "ipv4:1:2",
        "ipv6:[::1]:1",
        "vsock:1:2",
        "unix:x:1",
        "unix-abstract:x:1",
        "h/x:1",
        "u@h:1",
        "h%41:1",
        "h?:1",
        "h#:1",
        "h,i:1",
        "\"h\":1",
        "h\n:1",
        "h:1\n",
        "h\x7f:1",
        "h\xc3\xa4:1",
        ".h:1",
        "h..i:1",
        "-h:1",
        "..:1",
        "::1:1",
        "[::1]",
        "[::1:1",
        "[]:1",
        "[h]:1",
        "[::1%lo]:1",
        "[::g]:1",
        "[::1]x:1",
        "[[::1]]:1",
        "*:1",
    };
    static char longest[400];
    struct error err;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (write_to(&plain, bad[i], "x", 2000, &err) != ERR_INVALID)
            fail_msg("%s: %d %s", bad[i], err.code, err.text);
        assert_string_equal(err.text, "the logger's address is not host:port");
    }
    for (size_t n = 254; n < 390; n += 5) {
        memset(longest, 'a', n);
        memcpy(longest + n, ":443", 5);
        assert_int_equal(write_to(&plain, longest, "x", 2000, &err), ERR_INVALID);
    }
    assert_int_equal(rpc_sink_seen(sink)->calls, 0);
}

static void test_good_urls(void **state)
{
    static const char *const hosts[] = {"localhost", "127.0.0.1", "LOCALHOST"};
    char url[300];
    struct error err;
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(url, sizeof(url), "%s:%d", hosts[i], rpc_sink_port(sink));
        if (write_to(&plain, url, "x", 20000 * fixture_slow(), &err) < 0) fail_msg("%s", err.text);
    }
    assert_int_equal(rpc_sink_seen(sink)->calls, 3);
    // Well formed, and nobody is there.
    (void)snprintf(url, sizeof(url), "[::1]:%d", rpc_sink_port(sink)); // it is on IPv4 only
    assert_int_equal(write_to(&plain, url, "x", 20000, &err), ERR_UNAVAILABLE);
    memset(url, 'a', 253);
    url[63] = url[127] = url[191] = '.';
    (void)snprintf(url + 253, sizeof(url) - 253, ":65535");
    int rc = write_to(&plain, url, "x", 1000 * fixture_slow(), &err);
    assert_int_not_equal(rc, 0);
    assert_int_not_equal(rc, ERR_INVALID);
}

/* ---- what may go wrong ---- */

static void test_statuses(void **state)
{
    static const struct {
        int status, code;
    } cases[] = {
        {RPC_UNAUTHENTICATED, ERR_DENIED},
        {RPC_INVALID_ARGUMENT, ERR_INVALID},
        {RPC_UNIMPLEMENTED, ERR_UNSUPPORTED},
        {RPC_UNAVAILABLE, ERR_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err;
        rpc_sink_plan(sink, &(struct rpc_sink_plan){.status = cases[i].status});
        assert_int_equal(write_text("a\nb\n", &err), cases[i].code);
        assert_non_null(strstr(err.text, "logger localhost:"));
        assert_non_null(strstr(err.text, "said the server"));
        assert_int_equal(rpc_sink_seen(sink)->calls, 1); // asked once
    }
}

static void test_silent(void **state)
{
    char url[64];
    struct error err;
    (void)fixture_target(url, rpc_sink_port(sink));
    rpc_sink_plan(sink, &(struct rpc_sink_plan){.reads = SIZE_MAX, .mute = true});
    long long began_ms = clock_mono_ms();
    assert_int_equal(write_to(&plain, url, "x", 300, &err), ERR_OUTCOME_UNKNOWN);
    assert_true(clock_mono_ms() - began_ms >= 290);
    assert_true(clock_mono_ms() - began_ms < 3000 * fixture_slow());
    assert_int_equal(write_to(&plain, url, "x", 0, &err), ERR_OUTCOME_UNKNOWN);
}

static void test_nobody_there(void **state)
{
    char url[64];
    struct error err;
    (void)fixture_target(url, rpc_sink_port(sink));
    sink = rpc_sink_stop(sink);
    long long began_ms = clock_mono_ms();
    assert_int_equal(write_to(&plain, url, "x", 60000, &err), ERR_UNAVAILABLE);
    assert_true(clock_mono_ms() - began_ms < 5000 * fixture_slow());
    assert_int_equal(customer_logger_write(NULL, "nonsense", JOB, USER, "x", 0, NULL), ERR_INVALID);
}

/* ---- TLS and options ---- */

static void expect_tls(const struct customer_logger_options *o, const char *host, int code)
{
    char url[64];
    struct error err;
    (void)snprintf(url, sizeof(url), "%s:%d", host, rpc_sink_port(sink));
    int rc = write_to(o, url, "x", 20000 * fixture_slow(), &err);
    if (rc != code) fail_msg("%s: %d %s", url, rc, err.text);
}

static void test_tls(void **state)
{
    rpc_sink_stop(sink);
    sink = rpc_sink_start(tls_files.cert, tls_files.key); // for localhost and 127.0.0.1
    struct customer_logger_options o = {.tls = true, .ca_file = tls_files.ca};
    expect_tls(&o, "localhost", 0);
    expect_tls(&o, "127.0.0.1", 0);
    o.host_override = "";
    expect_tls(&o, "localhost", 0);
    o.host_override = "else.example";
    expect_tls(&o, "localhost", ERR_UNAVAILABLE);
    o = (struct customer_logger_options){.tls = true, .ca_file = tls_files.other_ca};
    expect_tls(&o, "localhost", ERR_UNAVAILABLE);
    o.ca_file = NULL; // the system's
    expect_tls(&o, "localhost", ERR_UNAVAILABLE);
    o.insecure = true;
    expect_tls(&o, "localhost", 0);
    expect_tls(&plain, "localhost", ERR_UNAVAILABLE);

    rpc_sink_stop(sink);
    sink = rpc_sink_start(tls_files.named, tls_files.key); // for grid.example
    o = (struct customer_logger_options){.tls = true, .ca_file = tls_files.ca};
    expect_tls(&o, "localhost", ERR_UNAVAILABLE);
    o.host_override = "grid.example";
    expect_tls(&o, "127.0.0.1", 0);
    o.insecure = true;
    o.ca_file = "/nonexistent";
    o.host_override = "else.example";
    expect_tls(&o, "localhost", 0);
}

static void test_options(void **state)
{
    char url[64], ca[128];
    struct error err = {0};
    struct customer_logger_options o = {.tls = true, .ca_file = tls_files.garbage};
    assert_null(customer_logger_new(&o, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_non_null(strstr(err.text, "garbage.pem"));
    o.ca_file = "/nonexistent";
    assert_null(customer_logger_new(&o, &err));
    assert_null(customer_logger_destroy(NULL));

    // The options' strings are the caller's again.
    rpc_sink_stop(sink);
    sink = rpc_sink_start(tls_files.cert, tls_files.key);
    (void)snprintf(ca, sizeof(ca), "%s", tls_files.ca);
    o.ca_file = ca;
    struct customer_logger *l = customer_logger_new(&o, &err);
    assert_non_null(l);
    memset(ca, 'x', sizeof(ca) - 1);
    (void)fixture_target(url, rpc_sink_port(sink));
    long long deadline_ms = clock_mono_ms() + 20000 * fixture_slow();
    assert_int_equal(customer_logger_write(l, url, JOB, USER, "x", deadline_ms, &err), 0);
    customer_logger_destroy(l);
}

struct caller {
    pthread_t thread;
    struct customer_logger *logger;
    int rc;
};

static void *call(void *arg)
{
    struct caller *c = arg;
    char url[64];
    long long deadline_ms = clock_mono_ms() + 60000 * fixture_slow();
    (void)fixture_target(url, rpc_sink_port(sink));
    c->rc = customer_logger_write(c->logger, url, JOB, USER, "a\nb\n", deadline_ms, NULL);
    return NULL;
}

static void test_several_at_once(void **state)
{
    struct caller callers[8];
    struct error err = {0};
    struct customer_logger *l = customer_logger_new(&plain, &err);
    assert_non_null(l);
    for (size_t i = 0; i < 8; i++) {
        callers[i].logger = l;
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].rc, 0);
    }
    assert_int_equal(rpc_sink_seen(sink)->count, 16);
    customer_logger_destroy(l);
}

static int group_set_up(void **state)
{
    fixture_tls_new(&tls_files);
    return 0;
}

static int group_tear_down(void **state)
{
    fixture_tls_remove(&tls_files);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_line),
        TEST(test_lines),
        TEST(test_no_line),
        TEST(test_long_lines),
        TEST(test_many_lines),
        TEST(test_unix_sockets),
        TEST(test_bad_urls),
        TEST(test_good_urls),
        TEST(test_statuses),
        TEST(test_silent),
        TEST(test_nobody_there),
        TEST(test_tls),
        TEST(test_options),
        TEST(test_several_at_once),
    };
    return cmocka_run_group_tests_name("logger", tests, group_set_up, group_tear_down);
}
