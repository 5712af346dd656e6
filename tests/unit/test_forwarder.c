/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * deepsquare-forwarder without the network: what is said of a record, in which order and how often
 * records are sent, and what becomes of those that are refused. The forwarder runs in a child, as
 * it ends only with its process; its "agent" is a function.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/util/buf.h"
#include "agent/util/clock.h"
#include "agent/util/file.h"
#include "plugins/common/spool.h"
#include "plugins/forwarder/forward.h"
#include "plugins/forwarder/lock.h"
#include "plugins/forwarder/rejects.h"
#include "plugins/forwarder/request.h"
#include "plugins/forwarder/window.h"
#include "proto/supervisor.pb-c.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif

#define NAME "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

/* ---- What is said of a record. */

static enum request_status status_of(uint8_t kind, uint32_t state)
{
    struct record r = {.kind = kind, .job_state = state};
    const char *why;
    record_set_name(&r, NAME);
    enum request_status status = request_status(&r, &why);
    assert_int_equal(status == REQUEST_UNSPECIFIED, why != NULL);
    return status;
}

/* The records that were seen of a running Slurm (22.05 and 26.05). */
static void test_status_table(void **state)
{
    (void)state;
    static const struct {
        uint32_t job_state;
        enum request_status status;
    } cases[] = {
        {0x8003, REQUEST_FINISHED},    {0x0003, REQUEST_FAILED},
        {0x8005, REQUEST_FAILED},      {0x0004, REQUEST_CANCELLED},
        {0x8004, REQUEST_CANCELLED},   {0x8006, REQUEST_OUT_OF_CREDITS},
        {0x000a, REQUEST_FAILED},      {0x800b, REQUEST_FAILED},
        {0x0400, REQUEST_UNSPECIFIED}, {0x0008, REQUEST_UNSPECIFIED},
        {0x8008, REQUEST_FAILED},      {0x8007, REQUEST_FAILED},
        {0x0007, REQUEST_UNSPECIFIED}, {0x0009, REQUEST_UNSPECIFIED},
        {0x8009, REQUEST_FAILED},      {0x2001, REQUEST_UNSPECIFIED},
        {0x0001, REQUEST_UNSPECIFIED}, {0x0002, REQUEST_UNSPECIFIED},
        {0x8405, REQUEST_UNSPECIFIED}, {0x000c, REQUEST_UNSPECIFIED},
        {0x00ff, REQUEST_UNSPECIFIED}, {0x80003, REQUEST_UNSPECIFIED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(status_of(RECORD_END, cases[i].job_state), cases[i].status);
    // All of them, with what the record adds: test_ends.c.
    struct record r = {.kind = RECORD_END, .job_state = 0x0007, .flags = RECORD_SETTLED};
    const char *why;
    record_set_name(&r, NAME);
    assert_int_equal(request_status(&r, &why), REQUEST_FAILED);
    assert_int_equal(status_of(RECORD_START, 0x4001), REQUEST_RUNNING);
    assert_int_equal(status_of(RECORD_START, 0x44001), REQUEST_UNSPECIFIED); // nodes power up
    assert_int_equal(status_of(9, 0x8003), REQUEST_UNSPECIFIED);
}

static void test_only_grid_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool good;
    } cases[] = {{NAME, true}, {&NAME[2], true}, {"", false}, {"myjob", false}, {NAME "0", false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct record r = {.kind = RECORD_END, .job_state = 0x8003};
        const char *why;
        record_set_name(&r, cases[i].name);
        assert_int_equal(request_status(&r, &why) != REQUEST_UNSPECIFIED, cases[i].good);
    }
}

static void test_duration(void **state)
{
    (void)state;
    static const struct {
        int64_t start, end, suspended;
        uint64_t duration;
    } cases[] = {{1000, 1061, 0, 61},
                 {1000, 1061, 11, 50},
                 {0, 1061, 0, 0},
                 {1000, 1000, 0, 0},
                 {1000, 999, 0, 0},
                 {1000, 1061, 100, 0},
                 {1000, 1061, -5, 61},
                 {1000, INT64_MAX, 0, (uint64_t)INT64_MAX - 1000},
                 {1, INT64_MIN, 0, 0},
                 {-5, 10, 0, 0},
                 {1000, 2000, INT64_MIN, 1000}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct record r = {.kind = RECORD_END,
                           .start_s = cases[i].start,
                           .end_s = cases[i].end,
                           .suspended_s = cases[i].suspended};
        assert_int_equal(request_duration_s(&r), cases[i].duration);
    }
}

static void test_exit_code(void **state)
{
    (void)state;
    static const struct {
        uint32_t state, wait_status;
        int64_t code;
    } cases[] = {{0x8003, 0, 0},
                 {0x8005, 0x300, 3},
                 {0x8005, 0xff00, 255},
                 {0x8005, 9, 137},
                 {0x8005, 0x8b, 139},
                 {0x8005, 15, 143},
                 {0x800b, 253, 137},
                 {0x8005, 0xfb5, 181},
                 {0x8005, 0xffffffff, 255}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct record r = {
            .kind = RECORD_END, .job_state = cases[i].state, .wait_status = cases[i].wait_status};
        assert_int_equal(request_exit_code(&r), cases[i].code);
    }
}

static void test_packed(void **state)
{
    (void)state;
    struct record r = {.kind = RECORD_END,
                       .job_id = 42,
                       .restart_count = 3,
                       .submit_s = 90,
                       .start_s = 100,
                       .end_s = 161,
                       .suspended_s = 1,
                       .job_state = 0x8005,
                       .wait_status = 0x300,
                       .user_id = 1000};
    record_set_name(&r, "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff");
    record_set_cluster(&r,
                       "la\xff"
                       "b");
    size_t len;
    uint8_t *data = request_pack(&r, &len, NULL);
    assert_non_null(data);
    Supervisor__V1alpha1__SetJobStatusRequest *m =
        supervisor__v1alpha1__set_job_status_request__unpack(NULL, len, data);
    assert_non_null(m);
    assert_string_equal(m->name, NAME);
    assert_int_equal(m->id, 42);
    assert_int_equal(m->duration, 60);
    assert_int_equal(m->status, REQUEST_FAILED);
    assert_int_equal(m->exit_code, 3);
    assert_non_null(m->record);
    assert_int_equal(m->record->state, 0x8005);
    assert_int_equal(m->record->wait_status, 0x300);
    assert_int_equal(m->record->restart_count, 3);
    assert_int_equal(m->record->submit_time, 90);
    assert_int_equal(m->record->start_time, 100);
    assert_int_equal(m->record->end_time, 161);
    assert_int_equal(m->record->user_id, 1000);
    assert_string_equal(m->record->cluster, "la?b");
    supervisor__v1alpha1__set_job_status_request__free_unpacked(m, NULL);
    free(data);
}

/* Seen on a node, where a job's name is not known. */
static void test_start_without_name(void **state)
{
    (void)state;
    struct record r = {.kind = RECORD_START, .job_id = 42, .start_s = 100, .job_state = 1};
    const char *why;
    size_t len;
    assert_int_equal(request_status(&r, &why), REQUEST_RUNNING);
    uint8_t *data = request_pack(&r, &len, NULL);
    assert_non_null(data);
    Supervisor__V1alpha1__SetJobStatusRequest *m =
        supervisor__v1alpha1__set_job_status_request__unpack(NULL, len, data);
    assert_non_null(m);
    assert_string_equal(m->name, "");
    assert_int_equal(m->id, 42);
    assert_int_equal(m->status, REQUEST_RUNNING);
    assert_int_equal(m->record->start_time, 100);
    supervisor__v1alpha1__set_job_status_request__free_unpacked(m, NULL);
    free(data);

    record_set_name(&r, "myjob"); // a name that is no grid job's is another thing
    assert_int_equal(request_status(&r, &why), REQUEST_UNSPECIFIED);
    assert_null(request_pack(&r, &len, NULL));
}

/* ---- The window. */

static void add(struct window *w, uint32_t job, uint32_t restart)
{
    struct record r = {.job_id = job, .restart_count = restart};
    struct spool_pos pos = {0};
    assert_true(window_add(w, &r, &pos));
}

static void test_window_order(void **state)
{
    (void)state;
    struct window *w = window_new(6);
    struct spool_pos pos = {0};
    struct record r = {0};
    add(w, 1, 0);
    add(w, 1, 1);
    add(w, 1025, 0); // same bucket
    add(w, 1, 2);
    add(w, 2, 0);
    add(w, 1025, 1);
    assert_true(window_is_full(w));
    assert_false(window_add(w, &r, &pos));

    struct window_item *a = window_take(w, 0), *b = window_take(w, 0), *c = window_take(w, 0);
    assert_int_equal(a->record.job_id, 1);
    assert_int_equal(b->record.job_id, 1025);
    assert_int_equal(c->record.job_id, 2);
    assert_null(window_take(w, 0)); // the others are behind these

    window_retry(w, a, 100);
    assert_int_equal(window_next_due(w), 100);
    assert_null(window_take(w, 99));
    assert_false(window_has_ready(w, 99));
    window_remove(w, b);
    struct window_item *d = window_take(w, 99);
    assert_int_equal(d->record.job_id, 1025);
    assert_int_equal(d->record.restart_count, 1);
    assert_true(window_has_ready(w, 100));
    assert_ptr_equal(window_take(w, 100), a);
    window_remove(w, a);
    a = window_take(w, 100);
    assert_int_equal(a->record.restart_count, 1);
    window_retry(w, a, 0); // at once
    assert_ptr_equal(window_take(w, 0), a);
    window_remove(w, c);
    window_remove(w, d);
    window_remove(w, a);
    a = window_take(w, 0);
    assert_int_equal(a->record.restart_count, 2);
    window_remove(w, a);
    assert_int_equal(window_count(w), 0);
    assert_int_equal(window_next_due(w), -1);
    window_destroy(w);
}

/* ---- Sending. */

enum { JOBS = 2000 };

/* Shared with the child. */
struct agent {
    atomic_int down; // answers UNAVAILABLE
    atomic_int calls;
    atomic_int duplicates, disorder; // taken again; two of a job at once or out of order
    atomic_int slow_ms;
    atomic_int busy[JOBS + 1], tries[JOBS + 1], taken[JOBS + 1], order[JOBS + 1];
    int (*answer)(uint32_t job, int attempt); // NULL: always OK
};

struct lab {
    char base[64], dir[80];
    struct spool_writer writer;
    struct agent *agent;
    pid_t pid;
    int end; // our end of the pipe
    long long scan_ms;
};

static int fake_send(void *ctx, const struct record *r, char *message, size_t size)
{
    struct agent *a = ctx;
    uint32_t job = r->job_id % (JOBS + 1);
    (void)snprintf(message, size, "test");
    atomic_fetch_add(&a->calls, 1);
    if (atomic_fetch_add(&a->busy[job], 1) != 0) atomic_fetch_add(&a->disorder, 1);
    if (atomic_load(&a->slow_ms) > 0) (void)poll(NULL, 0, atomic_load(&a->slow_ms));
    int status = atomic_load(&a->down) ? 14 : 0;
    if (status == 0 && a->answer) status = a->answer(job, atomic_fetch_add(&a->tries[job], 1));
    if (status == 0) {
        int before = atomic_exchange(&a->order[job], (int)r->restart_count + 1);
        if (before > (int)r->restart_count) {
            atomic_fetch_add(&a->duplicates, 1);
        } else {
            if (before != (int)r->restart_count) atomic_fetch_add(&a->disorder, 1);
            atomic_fetch_add(&a->taken[job], 1);
        }
    }
    atomic_fetch_sub(&a->busy[job], 1);
    return status;
}

static int setup(void **state)
{
    struct lab *l = calloc(1, sizeof(*l));
    if (!l) return -1;
    strcpy(l->base, "/tmp/test_forwarder.XXXXXX");
    if (!mkdtemp(l->base)) return -1;
    (void)snprintf(l->dir, sizeof(l->dir), "%s/spool", l->base);
    if (spool_writer_init(&l->writer, l->dir) != 0) return -1;
    l->agent =
        mmap(NULL, sizeof(*l->agent), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (l->agent == MAP_FAILED) return -1;
    l->end = -1;
    l->scan_ms = 20;
    *state = l;
    return 0;
}

static int teardown(void **state)
{
    struct lab *l = *state;
    if (l->pid > 0) {
        kill(l->pid, SIGKILL);
        waitpid(l->pid, NULL, 0);
    }
    if (l->end >= 0) close(l->end);
    spool_writer_close(&l->writer);
    DIR *d = opendir(l->dir);
    const struct dirent *entry;
    while (d && (entry = readdir(d)))
        (void)unlinkat(dirfd(d), entry->d_name, 0);
    if (d) closedir(d);
    (void)rmdir(l->dir);
    (void)rmdir(l->base);
    munmap(l->agent, sizeof(*l->agent));
    free(l);
    return 0;
}

static void start_forwarder(struct lab *l, size_t window)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    l->pid = fork();
    assert_true(l->pid >= 0);
    if (l->pid == 0) {
        close(fds[1]);
        if (!freopen("/dev/null", "w", stderr)) _exit(3);
        struct forward_options o = forward_defaults;
        o.spool = l->dir;
        o.end_fd = fds[0];
        o.send = fake_send;
        o.ctx = l->agent;
        o.window = window;
        o.scan_ms = l->scan_ms;
        o.refused_ms = 400;
        o.refused_short_ms = 100;
        o.backoff_ms = 10;
        o.backoff_max_ms = o.down_max_ms = 50;
        o.flush_ms = 300;
        _exit(forward_run(&o, NULL) == 0 ? 0 : 1);
    }
    close(fds[0]);
    l->end = fds[1];
}

/* Returns the milliseconds that it took. */
static long long stop_forwarder(struct lab *l)
{
    int status;
    long long before = clock_mono_ms();
    close(l->end);
    l->end = -1;
    assert_int_equal(waitpid(l->pid, &status, 0), l->pid);
    assert_int_equal(status, 0);
    l->pid = 0;
    return clock_mono_ms() - before;
}

static void append(struct lab *l, uint32_t job, uint32_t restart)
{
    struct record r = {
        .kind = RECORD_END, .job_id = job, .restart_count = restart, .job_state = 0x8003};
    record_set_name(&r, NAME);
    assert_int_equal(spool_writer_append(&l->writer, &r), 0);
}

static void sleep_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

/* Records that were taken in order, each once. No counter: a kill could come just before it. */
static int delivered(const struct lab *l)
{
    int n = 0;
    for (int job = 0; job <= JOBS; job++)
        n += atomic_load(&l->agent->order[job]);
    return n;
}

static void wait_delivered(struct lab *l, int n)
{
    for (int i = 0; i < 6000 && delivered(l) < n; i++)
        sleep_ms(10);
    assert_int_equal(delivered(l), n);
}

static int count_records(const struct lab *l)
{
    struct spool_reader *reader = spool_reader_new(l->dir);
    struct record r;
    struct spool_pos pos;
    int n = 0;
    (void)spool_reader_scan(reader);
    while (spool_reader_next(reader, &r, &pos) == 1)
        n++;
    spool_reader_destroy(reader);
    return n;
}

static int count_rejected(const struct lab *l)
{
    char path[120];
    struct buf b = BUF_INIT(2 * REJECTS_MAX);
    struct record r;
    int n = 0, len;
    (void)snprintf(path, sizeof(path), "%s/rejected", l->dir);
    if (file_read(path, &b, NULL) == 0) {
        for (size_t at = 0; at < b.len; at += (size_t)len, n++) {
            len = record_decode(&r, b.data + at, b.len - at, NULL);
            assert_true(len > 0);
        }
    }
    buf_free(&b);
    return n;
}

static void test_all_in_order_once(void **state)
{
    struct lab *l = *state;
    for (uint32_t i = 0; i < 3000; i++)
        append(l, 1 + i % 300, i / 300);
    start_forwarder(l, 64);
    wait_delivered(l, 3000);
    append(l, 301, 0);
    wait_delivered(l, 3001);
    assert_in_range(stop_forwarder(l), 0, 1500); // nothing to flush
    assert_int_equal(atomic_load(&l->agent->duplicates), 0);
    assert_int_equal(atomic_load(&l->agent->disorder), 0);
    assert_int_equal(atomic_load(&l->agent->calls), 3001);
    assert_int_equal(count_records(l), 0);
}

static void test_agent_down_for_a_while(void **state)
{
    struct lab *l = *state;
    atomic_store(&l->agent->down, 1);
    atomic_store(&l->agent->slow_ms, 5);
    for (uint32_t i = 1; i <= 500; i++)
        append(l, i, 0);
    start_forwarder(l, 64);
    sleep_ms(500);
    /* The first burst, and then one at a time, every 25 to 50 ms. */
    assert_in_range(atomic_load(&l->agent->calls), 2, 16 + 30);
    assert_int_equal(count_records(l), 500);
    atomic_store(&l->agent->down, 0);
    wait_delivered(l, 500);
    sleep_ms(100);
    (void)stop_forwarder(l);
    assert_int_equal(atomic_load(&l->agent->duplicates), 0);
    assert_int_equal(count_records(l), 0);
}

static void test_stops_while_agent_is_down(void **state)
{
    struct lab *l = *state;
    atomic_store(&l->agent->down, 1);
    append(l, 1, 0);
    start_forwarder(l, 64);
    sleep_ms(100);
    assert_in_range(stop_forwarder(l), 0, 1500);
    assert_int_equal(count_records(l), 1);
}

/* Calls that hang do not keep it. */
static void test_stops_while_calls_hang(void **state)
{
    struct lab *l = *state;
    atomic_store(&l->agent->slow_ms, 4000);
    for (uint32_t i = 1; i <= 50; i++)
        append(l, i, 0);
    start_forwarder(l, 64);
    sleep_ms(100);
    assert_in_range(stop_forwarder(l), 250, 2000); // flush_ms is 300
    assert_int_equal(count_records(l), 50);
}

static int answer_poison(uint32_t job, int attempt)
{
    (void)attempt;
    return job % 10 == 7 ? 3 : 0;
}

static void test_poison_is_put_aside(void **state)
{
    struct lab *l = *state;
    l->agent->answer = answer_poison;
    for (uint32_t i = 1; i <= 100; i++)
        append(l, i, 0);
    start_forwarder(l, 16);
    wait_delivered(l, 90);
    sleep_ms(100);
    (void)stop_forwarder(l);
    assert_int_equal(atomic_load(&l->agent->calls), 100);
    assert_int_equal(count_rejected(l), 10);
    assert_int_equal(count_records(l), 0);
}

static int answer_late(uint32_t job, int attempt)
{
    return job % 2 && attempt < 4 ? 5 : 0;
}

/* The agent learns of the job after the event: NOT_FOUND is not the end. */
static void test_not_found_then_found(void **state)
{
    struct lab *l = *state;
    l->agent->answer = answer_late;
    for (uint32_t i = 1; i <= 20; i++) {
        append(l, i, 0);
        append(l, i, 1);
    }
    start_forwarder(l, 64);
    wait_delivered(l, 40);
    sleep_ms(50);
    (void)stop_forwarder(l);
    assert_int_equal(atomic_load(&l->agent->disorder), 0);
    assert_int_equal(count_rejected(l), 0);
    assert_int_equal(count_records(l), 0);
}

static int answer_unknown(uint32_t job, int attempt)
{
    (void)attempt;
    return job <= 100 ? 5 : 0;
}

/* Many that the agent will never know, more than fit into memory: the others get through. */
static void test_flood_of_unknown(void **state)
{
    struct lab *l = *state;
    l->agent->answer = answer_unknown;
    for (uint32_t i = 1; i <= 150; i++)
        append(l, i, 0);
    start_forwarder(l, 32);
    wait_delivered(l, 50);
    for (int i = 0; i < 200 && count_records(l) > 0; i++)
        sleep_ms(10);
    (void)stop_forwarder(l);
    assert_int_equal(count_rejected(l), 100);
    assert_int_equal(count_records(l), 0);
}

static int answer_internal(uint32_t job, int attempt)
{
    (void)attempt;
    return job == 5 ? 13 : 0;
}

/* One record at which the agent always fails holds up nobody, and is never given up. */
static void test_one_record_fails(void **state)
{
    struct lab *l = *state;
    l->agent->answer = answer_internal;
    for (uint32_t i = 1; i <= 500; i++)
        append(l, i, 0);
    start_forwarder(l, 16);
    wait_delivered(l, 499);
    sleep_ms(600);
    (void)stop_forwarder(l);
    assert_true(atomic_load(&l->agent->tries[5]) > 3);
    assert_int_equal(count_rejected(l), 0);
    assert_int_equal(count_records(l), 1);
}

static void test_killed_again_and_again(void **state)
{
    struct lab *l = *state;
    atomic_store(&l->agent->slow_ms, 1);
    for (uint32_t i = 1; i <= JOBS; i++)
        append(l, i, 0);
    int kills = 0;
    while (delivered(l) < JOBS && kills < 50) {
        start_forwarder(l, 256);
        sleep_ms(30);
        kill(l->pid, SIGKILL);
        waitpid(l->pid, NULL, 0);
        close(l->end);
        for (int i = 0; i <= JOBS; i++) // calls that died with it
            atomic_store(&l->agent->busy[i], 0);
        kills++;
    }
    start_forwarder(l, 256);
    wait_delivered(l, JOBS);
    sleep_ms(200);
    (void)stop_forwarder(l);
    assert_true(kills > 1);
    /* At most what was sent or acknowledged and not yet written down: the window. */
    assert_in_range(atomic_load(&l->agent->duplicates), 0, kills * 256);
    assert_int_equal(count_records(l), 0);
}

/* Whoever writes to the spool, and whenever: it is noticed, not found at the next look. */
static void test_notices_what_is_written(void **state)
{
    struct lab *l = *state;
    struct spool_writer other; // of another plugin
    l->scan_ms = 60 * 1000;
    assert_int_equal(mkdir(l->dir, 0700), 0); // as lock_take() does
    start_forwarder(l, 16);
    sleep_ms(200);
    append(l, 1, 0);
    wait_delivered(l, 1);
    append(l, 2, 0);
    wait_delivered(l, 2);
    other = l->writer;
    assert_int_equal(spool_writer_init(&l->writer, l->dir), 0);
    append(l, 3, 0);
    wait_delivered(l, 3);
    spool_writer_close(&l->writer);
    l->writer = other;
    append(l, 4, 0);
    wait_delivered(l, 4);
    (void)stop_forwarder(l);
    assert_int_equal(atomic_load(&l->agent->calls), 4);
}

static long peak_memory_kb(pid_t pid)
{
    char path[64], line[256];
    long kb = -1;
    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, "VmHWM:", 6) == 0) kb = strtol(line + 6, NULL, 10);
    }
    if (f) fclose(f);
    return kb;
}

/* 100,000 wait, and the agent does not answer: memory does not grow with them. */
static void test_many_waiting_in_flat_memory(void **state)
{
    struct lab *l = *state;
    enum { MANY = 100 * 1000 };
    for (uint32_t i = 0; i < MANY; i++)
        append(l, 1 + i % JOBS, i / JOBS);
    atomic_store(&l->agent->down, 1);
    start_forwarder(l, 4096);
    sleep_ms(300);
    long kb = peak_memory_kb(l->pid);
    atomic_store(&l->agent->down, 0);
    long long before = clock_mono_ms();
    wait_delivered(l, MANY);
    print_message("# 100000 records delivered in %lld ms, peak memory %ld kB, then %ld kB\n",
                  clock_mono_ms() - before,
                  kb,
                  peak_memory_kb(l->pid));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
    assert_in_range(peak_memory_kb(l->pid), 1, 16 * 1024);
#endif
    sleep_ms(100);
    (void)stop_forwarder(l);
    assert_int_equal(atomic_load(&l->agent->duplicates), 0);
    assert_int_equal(atomic_load(&l->agent->disorder), 0);
    assert_int_equal(count_records(l), 0);
}

/* A second one waits, without working, until the first one goes. */
static void test_lock(void **state)
{
    struct lab *l = *state;
    int first[2], second[2], status;
    assert_int_equal(pipe(first), 0);
    assert_int_equal(pipe(second), 0);
    pid_t a = fork();
    if (a == 0) {
        close(first[1]);
        if (!freopen("/dev/null", "w", stderr)) _exit(3);
        if (lock_take(l->dir, -1, -1, NULL) != 0) _exit(1);
        char byte;
        _exit(read(first[0], &byte, 1) == 0 ? 0 : 2);
    }
    for (int i = 0; i < 200 && access(l->dir, F_OK) != 0; i++)
        sleep_ms(5);
    sleep_ms(50);
    pid_t b = fork();
    if (b == 0) {
        close(first[1]);
        close(second[1]);
        if (!freopen("/dev/null", "w", stderr)) _exit(3);
        _exit(lock_take(l->dir, second[0], -1, NULL) == 0 ? 0 : 1);
    }
    sleep_ms(150);
    assert_int_equal(waitpid(b, &status, WNOHANG), 0); // waits
    close(first[1]);
    assert_int_equal(waitpid(a, &status, 0), a);
    assert_int_equal(status, 0);
    assert_int_equal(waitpid(b, &status, 0), b);
    assert_int_equal(status, 0); // got it

    /* And one that is told to end while it waits does. */
    assert_int_equal(lock_take(l->dir, -1, -1, NULL), 0);
    pid_t c = fork();
    if (c == 0) {
        close(second[1]);
        if (!freopen("/dev/null", "w", stderr)) _exit(3);
        _exit(lock_take(l->dir, second[0], -1, NULL) == ERR_STOPPED ? 0 : 1);
    }
    close(second[1]);
    assert_int_equal(waitpid(c, &status, 0), c);
    assert_int_equal(status, 0);
}

static void test_rejects_are_bounded(void **state)
{
    struct lab *l = *state;
    struct record r = {.kind = RECORD_END, .job_id = 1};
    struct stat st;
    char path[120];
    record_set_name(&r, NAME);
    assert_int_equal(mkdir(l->dir, 0700), 0);
    for (int i = 0; i < 20 * 1000; i++)
        assert_int_equal(rejects_write(l->dir, &r, NULL), 0);
    (void)snprintf(path, sizeof(path), "%s/rejected", l->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_in_range(st.st_size, 1, REJECTS_MAX);
    (void)snprintf(path, sizeof(path), "%s/rejected.old", l->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_in_range(st.st_size, REJECTS_MAX - RECORD_MAX_LEN, REJECTS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        cmocka_unit_test(test_status_table),
        cmocka_unit_test(test_only_grid_names),
        cmocka_unit_test(test_duration),
        cmocka_unit_test(test_exit_code),
        cmocka_unit_test(test_packed),
        cmocka_unit_test(test_start_without_name),
        cmocka_unit_test(test_window_order),
        T(test_all_in_order_once),
        T(test_agent_down_for_a_while),
        T(test_stops_while_agent_is_down),
        T(test_stops_while_calls_hang),
        T(test_poison_is_put_aside),
        T(test_not_found_then_found),
        T(test_flood_of_unknown),
        T(test_one_record_fails),
        T(test_killed_again_and_again),
        T(test_notices_what_is_written),
        T(test_many_waiting_in_flat_memory),
        T(test_lock),
        T(test_rejects_are_bounded),
    };
    return cmocka_run_group_tests_name("forwarder", tests, NULL, NULL);
}
