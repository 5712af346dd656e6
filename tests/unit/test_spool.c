/* SPDX-License-Identifier: GPL-3.0-or-later */
/* plugins/common/spool: nothing written is lost, whatever happens to writer, reader or disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "plugins/common/spool.h"

struct fixture {
    char base[64], dir[80];
    struct spool_writer writer;
    struct spool_reader *reader;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (!f) return -1;
    strcpy(f->base, "/tmp/test_spool.XXXXXX");
    if (!mkdtemp(f->base)) return -1;
    (void)snprintf(f->dir, sizeof(f->dir), "%s/spool", f->base);
    if (spool_writer_init(&f->writer, f->dir) != 0) return -1;
    *state = f;
    return 0;
}

static void each_file(const char *dir, const char *suffix, void (*fn)(const char *path))
{
    DIR *d = opendir(dir);
    if (!d) return;
    const struct dirent *entry;
    while ((entry = readdir(d))) {
        char path[400];
        size_t len = strlen(entry->d_name), want = strlen(suffix);
        if (entry->d_name[0] == '.' || len < want) continue;
        if (strcmp(entry->d_name + len - want, suffix) != 0) continue;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        fn(path);
    }
    closedir(d);
}

static void delete_file(const char *path)
{
    (void)unlink(path);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    spool_writer_close(&f->writer);
    spool_reader_destroy(f->reader);
    each_file(f->dir, "", delete_file);
    (void)rmdir(f->dir);
    (void)rmdir(f->base);
    free(f);
    return 0;
}

static int counted;
static char found[400]; // the last path counted
static off_t found_size;

static void count_file(const char *path)
{
    struct stat st;
    counted++;
    (void)snprintf(found, sizeof(found), "%s", path);
    if (stat(path, &st) == 0) found_size = st.st_size;
}

static int count_files(const struct fixture *f, const char *suffix)
{
    counted = 0;
    each_file(f->dir, suffix, count_file);
    return counted;
}

static struct record make_record(uint32_t job_id)
{
    struct record r = {.kind = RECORD_END, .job_id = job_id, .job_state = 0x8003};
    record_set_name(&r, "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    record_set_comment(&r, "supervisor 0x71be63f3384f5fb98995898a86b02fb2426c5788");
    record_set_cluster(&r, "lab");
    return r;
}

static int append(struct spool_writer *w, uint32_t job_id)
{
    struct record r = make_record(job_id);
    return spool_writer_append(w, &r);
}

static void restart_reader(struct fixture *f)
{
    spool_reader_destroy(f->reader);
    f->reader = spool_reader_new(f->dir);
    assert_non_null(f->reader);
    (void)spool_reader_scan(f->reader);
}

/* The next record's job, or 0. */
static uint32_t next_job(struct fixture *f, struct spool_pos *pos)
{
    struct record r;
    int rc = spool_reader_next(f->reader, &r, pos);
    if (rc == 0) {
        rc = spool_reader_scan(f->reader);
        assert_true(rc >= 0 || rc == -ENOENT); // nothing was ever written
        rc = spool_reader_next(f->reader, &r, pos);
    }
    assert_in_range(rc, 0, 1);
    return rc == 1 ? r.job_id : 0;
}

static uint32_t next_and_done(struct fixture *f)
{
    struct spool_pos pos;
    uint32_t job = next_job(f, &pos);
    if (job) assert_int_equal(spool_reader_done(f->reader, &pos), 0);
    return job;
}

static void test_append_and_read(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    restart_reader(f); // before there is a directory
    assert_int_equal(spool_reader_scan(f->reader), -ENOENT);

    for (uint32_t i = 1; i <= 10; i++)
        assert_int_equal(append(&f->writer, i), 0);
    assert_int_equal(stat(f->dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(count_files(f, ".seg"), 1);
    assert_int_equal(stat(found, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(count_files(f, ".new"), 0);

    for (uint32_t i = 1; i <= 10; i++)
        assert_int_equal(next_and_done(f), i);
    assert_int_equal(next_and_done(f), 0);
    /* All done, but its writer lives: it stays, and what comes is read. */
    assert_int_equal(count_files(f, ".seg"), 1);
    assert_int_equal(append(&f->writer, 11), 0);
    assert_int_equal(next_and_done(f), 11);
    /* Its writer is gone: so is it. */
    spool_writer_close(&f->writer);
    assert_int_equal(next_and_done(f), 0);
    assert_int_equal(count_files(f, ".seg"), 0);
    assert_int_equal(count_files(f, ".ack"), 0);
    assert_int_equal(spool_reader_stats(f->reader)->corrupt_bytes, 0);
}

static void test_restart_repeats_only_what_is_not_done(void **state)
{
    struct fixture *f = *state;
    struct spool_pos pos[10];
    for (uint32_t i = 1; i <= 10; i++)
        assert_int_equal(append(&f->writer, i), 0);
    restart_reader(f);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(next_job(f, &pos[i]), i + 1);
    /* Out of order, as answers come. */
    static const int acknowledged[] = {7, 1, 0, 5};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(spool_reader_done(f->reader, &pos[acknowledged[i]]), 0);

    static const uint32_t left[] = {3, 4, 5, 7, 9, 10, 0};
    for (int round = 0; round < 2; round++) {
        struct spool_pos any;
        restart_reader(f);
        for (size_t i = 0; i < 7; i++)
            assert_int_equal(next_job(f, &any), left[i]);
        assert_int_equal(spool_reader_stats(f->reader)->skipped, 4);
    }
    spool_writer_close(&f->writer);
    restart_reader(f);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(next_and_done(f), left[i]);
    assert_int_equal(count_files(f, ""), 0);
}

/* The acknowledgements cut off at any byte cost a repetition, never a loss. */
static void test_torn_acknowledgements(void **state)
{
    struct fixture *f = *state;
    struct spool_pos pos;
    for (uint32_t i = 1; i <= 3; i++)
        assert_int_equal(append(&f->writer, i), 0);
    restart_reader(f);
    for (uint32_t i = 1; i <= 2; i++) {
        assert_int_equal(next_job(f, &pos), i);
        assert_int_equal(spool_reader_done(f->reader, &pos), 0);
    }
    assert_int_equal(count_files(f, ".ack"), 1);
    assert_int_equal(found_size, 16);
    char path[400];
    strcpy(path, found);
    for (off_t size = 15; size >= 8; size--) {
        assert_int_equal(truncate(path, size), 0);
        restart_reader(f);
        assert_int_equal(next_job(f, &pos), 2); // again
    }
    assert_int_equal(truncate(path, 13), 0);
    restart_reader(f);
    assert_int_equal(next_job(f, &pos), 2);
    assert_int_equal(spool_reader_done(f->reader, &pos), 0); // behind the torn entry
    restart_reader(f);
    assert_int_equal(next_job(f, &pos), 3);
}

static void write_segment(struct fixture *f, const uint8_t *data, size_t len)
{
    char path[120];
    (void)mkdir(f->dir, 0700);
    (void)snprintf(path, sizeof(path), "%s/0000000000000001.seg", f->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
    (void)snprintf(path, sizeof(path), "%s/0000000000000001.ack", f->dir);
    (void)unlink(path);
}

static size_t encode_job(uint32_t job_id, uint8_t *out)
{
    struct record r = make_record(job_id);
    return record_encode(&r, out);
}

/* Two records, the third cut at every byte. */
static void test_torn_at_every_byte(void **state)
{
    struct fixture *f = *state;
    uint8_t data[3 * RECORD_MAX_LEN];
    size_t len = encode_job(1, data);
    (void)encode_job(2, data + len);
    (void)encode_job(3, data + 2 * len);
    for (size_t cut = 0; cut < len; cut++) {
        write_segment(f, data, 2 * len + cut);
        restart_reader(f);
        assert_int_equal(next_and_done(f), 1);
        assert_int_equal(next_and_done(f), 2);
        assert_int_equal(next_and_done(f), 0);
        assert_int_equal(spool_reader_stats(f->reader)->torn, cut > 0);
        assert_int_equal(count_files(f, ""), 0);
    }
}

/* The middle one of three unfinished, with the third right behind. */
static void test_torn_in_the_middle(void **state)
{
    struct fixture *f = *state;
    uint8_t data[3 * RECORD_MAX_LEN];
    for (size_t cut = 1;; cut++) {
        size_t len = encode_job(1, data);
        (void)encode_job(2, data + len);
        if (cut == len) break;
        (void)encode_job(3, data + len + cut);
        write_segment(f, data, 2 * len + cut);
        restart_reader(f);
        assert_int_equal(next_and_done(f), 1);
        assert_int_equal(next_and_done(f), 3);
        assert_int_equal(next_and_done(f), 0);
        assert_int_equal(spool_reader_stats(f->reader)->corrupt_bytes, cut);
    }
}

/* One byte wrong at every position of the middle record: the others survive. */
static void test_corrupt_at_every_byte(void **state)
{
    struct fixture *f = *state;
    uint8_t data[3 * RECORD_MAX_LEN];
    size_t len = encode_job(1, data);
    (void)encode_job(2, data + len);
    (void)encode_job(3, data + 2 * len);
    for (size_t at = len; at < 2 * len; at++) {
        data[at] ^= 0xff;
        write_segment(f, data, 3 * len);
        data[at] ^= 0xff;
        restart_reader(f);
        assert_int_equal(next_and_done(f), 1);
        assert_int_equal(next_and_done(f), 3);
        assert_int_equal(next_and_done(f), 0);
        assert_int_equal(spool_reader_stats(f->reader)->corrupt_bytes, len);
        assert_int_equal(count_files(f, ""), 0);
    }
}

/* More rubbish than the reader holds in memory, of the kind that looks like records. */
static void test_rubbish(void **state)
{
    struct fixture *f = *state;
    enum { RUBBISH = 200 * 1000 };
    uint8_t *data = malloc(RUBBISH + 2 * RECORD_MAX_LEN);
    assert_non_null(data);
    unsigned int seed = 1;
    for (size_t i = 0; i < RUBBISH; i++)
        data[i] = (uint8_t)(rand_r(&seed) >> 8);
    for (size_t i = 0; i + 4 < RUBBISH; i += 997)
        memcpy(data + i, "DSQR", 4);
    size_t len = encode_job(5, data + RUBBISH);
    len += encode_job(6, data + RUBBISH + len);
    write_segment(f, data, RUBBISH + len);
    restart_reader(f);
    assert_int_equal(next_and_done(f), 5);
    assert_int_equal(next_and_done(f), 6);
    assert_int_equal(next_and_done(f), 0);
    assert_int_equal(spool_reader_stats(f->reader)->corrupt_bytes, RUBBISH);
    assert_int_equal(count_files(f, ""), 0);
    free(data);
}

/* Someone writing: a part of a record is not damage yet. */
static void test_half_written_by_a_living_writer(void **state)
{
    struct fixture *f = *state;
    uint8_t data[RECORD_MAX_LEN];
    struct spool_pos pos;
    assert_int_equal(append(&f->writer, 1), 0);
    restart_reader(f);
    assert_int_equal(next_and_done(f), 1);
    size_t len = encode_job(2, data);
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(next_job(f, &pos), 0);
        assert_int_equal(write(f->writer.fd, data + i, 1), 1);
    }
    assert_int_equal(next_and_done(f), 2);
    assert_int_equal(spool_reader_stats(f->reader)->corrupt_bytes, 0);
    assert_int_equal(spool_reader_stats(f->reader)->torn, 0);
}

static void test_two_writers(void **state)
{
    struct fixture *f = *state;
    struct spool_writer other;
    bool seen[201] = {false};
    assert_int_equal(spool_writer_init(&other, f->dir), 0);
    for (uint32_t i = 1; i <= 200; i++)
        assert_int_equal(append(i % 2 ? &f->writer : &other, i), 0);
    assert_int_equal(count_files(f, ".seg"), 2);
    restart_reader(f);
    uint32_t last[2] = {0, 0}, job;
    int n = 0;
    while ((job = next_and_done(f)) != 0) {
        assert_in_range(job, 1, 200);
        assert_false(seen[job]);
        assert_true(job > last[job % 2]); // each writer's in order
        seen[job] = true;
        last[job % 2] = job;
        n++;
    }
    assert_int_equal(n, 200);
    /* The older one lives on, while the newer ends: nothing may be deleted under it. */
    spool_writer_close(&other);
    assert_int_equal(next_and_done(f), 0);
    assert_int_equal(count_files(f, ".seg"), 1);
    assert_int_equal(append(&f->writer, 201), 0);
    assert_int_equal(next_and_done(f), 201);
}

/* A process that is killed gives up its lock; its successor makes a segment of its own. */
static void test_writer_killed(void **state)
{
    struct fixture *f = *state;
    for (uint32_t round = 0; round < 3; round++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            for (uint32_t i = 1; i <= 5; i++)
                (void)append(&f->writer, round * 5 + i);
            raise(SIGKILL);
        }
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
    assert_int_equal(count_files(f, ".seg"), 3);
    restart_reader(f);
    for (uint32_t i = 1; i <= 15; i++)
        assert_int_equal(next_and_done(f), i);
    assert_int_equal(next_and_done(f), 0);
    assert_int_equal(count_files(f, ""), 0);
}

/* Four processes write while this one reads, acknowledges and is restarted again and again. */
static void test_concurrent(void **state)
{
    struct fixture *f = *state;
    enum { WRITERS = 4, EACH = 3000 };
    static uint8_t seen[WRITERS * EACH + 1];
    memset(seen, 0, sizeof(seen));
    for (uint32_t w = 0; w < WRITERS; w++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            int failed = 0;
            for (uint32_t i = 1; i <= EACH; i++) {
                failed |= append(&f->writer, w * EACH + i) != 0;
                if (i % 500 == 0) spool_writer_close(&f->writer);
            }
            _exit(failed);
        }
    }
    uint32_t got = 0, calls = 0;
    restart_reader(f);
    for (int writers = WRITERS; got < WRITERS * EACH;) {
        int status;
        if (writers > 0 && waitpid(-1, &status, WNOHANG) > 0) {
            assert_int_equal(status, 0);
            writers--;
        }
        uint32_t job = next_and_done(f);
        if (++calls % 777 == 0) restart_reader(f);
        if (job == 0) {
            struct timespec ms = {.tv_nsec = 1000000};
            if (writers == 0) assert_true(calls < 1000000);
            nanosleep(&ms, NULL);
            continue;
        }
        assert_int_equal(seen[job], 0); // acknowledged at once: never twice
        seen[job] = 1;
        got++;
    }
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    assert_int_equal(next_and_done(f), 0);
    assert_int_equal(count_files(f, ""), 0);
    assert_int_equal(spool_reader_stats(f->reader)->corrupt_bytes, 0);
}

/* In place of the library's: something may happen just before a lock is tried. */
static void (*before_flock)(struct fixture *f);
static struct fixture *before_flock_fixture;

int flock(int fd, int operation)
{
    void (*fn)(struct fixture *) = before_flock;
    before_flock = NULL;
    if (fn) fn(before_flock_fixture);
    return (int)syscall(SYS_flock, fd, operation);
}

static void write_and_give_up(struct fixture *f)
{
    assert_int_equal(append(&f->writer, 2), 0);
    spool_writer_close(&f->writer);
}

/* The last record is written, and the segment given up, between the reader's look and its lock. */
static void test_last_record_before_the_end(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(append(&f->writer, 1), 0);
    restart_reader(f);
    assert_int_equal(next_and_done(f), 1);
    before_flock = write_and_give_up;
    before_flock_fixture = f;
    assert_int_equal(next_and_done(f), 2);
    assert_null(before_flock);
    assert_int_equal(next_and_done(f), 0);
    assert_int_equal(count_files(f, ""), 0);
}

static void set_size_limit(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The disk is full at every byte of the third record, and then is not. */
static void test_disk_full_and_free_again(void **state)
{
    struct fixture *f = *state;
    uint8_t data[RECORD_MAX_LEN];
    size_t len = encode_job(1, data);
    for (size_t room = 0; room < len; room += 7) {
        struct record r;
        struct spool_pos pos;
        assert_int_equal(append(&f->writer, 1), 0);
        assert_int_equal(append(&f->writer, 2), 0);
        set_size_limit(2 * len + room);
        assert_true(append(&f->writer, 3) < 0); // and no SIGXFSZ
        set_size_limit(0);
        assert_true(append(&f->writer, 4) < 0);
        assert_true(append(&f->writer, 5) < 0);
        set_size_limit(RLIM_INFINITY);
        f->writer.next_open_ms = 0; // a second later
        assert_int_equal(append(&f->writer, 6), 0);
        assert_int_equal(append(&f->writer, 7), 0);

        restart_reader(f);
        assert_int_equal(next_and_done(f), 1);
        assert_int_equal(next_and_done(f), 2);
        assert_int_equal(spool_reader_next(f->reader, &r, &pos), 1);
        assert_int_equal(r.job_id, 6);
        assert_int_equal(r.lost_before, 3);
        assert_int_equal(spool_reader_done(f->reader, &pos), 0);
        assert_int_equal(next_and_done(f), 7);
        assert_int_equal(next_and_done(f), 0);
        assert_int_equal(spool_reader_stats(f->reader)->lost, 3);
        assert_int_equal(spool_reader_stats(f->reader)->torn, room > 0);
        spool_writer_close(&f->writer);
        assert_int_equal(next_and_done(f), 0);
        assert_int_equal(count_files(f, ""), 0);
    }
}

/* The reader cannot write its acknowledgements: records are repeated, segments still deleted. */
static void test_disk_full_for_the_reader(void **state)
{
    struct fixture *f = *state;
    struct spool_pos pos;
    for (uint32_t i = 1; i <= 3; i++)
        assert_int_equal(append(&f->writer, i), 0);
    restart_reader(f);
    assert_int_equal(next_job(f, &pos), 1);
    signal(SIGXFSZ, SIG_IGN);
    set_size_limit(3);
    assert_true(spool_reader_done(f->reader, &pos) < 0);
    set_size_limit(RLIM_INFINITY);
    assert_int_equal(spool_reader_stats(f->reader)->io_errors, 1);
    spool_writer_close(&f->writer);
    assert_int_equal(next_and_done(f), 2);
    assert_int_equal(next_and_done(f), 3);
    assert_int_equal(next_and_done(f), 0);
    assert_int_equal(count_files(f, ""), 0);
}

static void test_segments_are_bounded(void **state)
{
    struct fixture *f = *state;
    enum { RECORDS = 12000 }; // 2.5 MB
    for (uint32_t i = 1; i <= RECORDS; i++)
        assert_int_equal(append(&f->writer, i), 0);
    assert_int_equal(count_files(f, ".seg"), 3);
    assert_true(found_size <= SPOOL_SEGMENT_MAX);
    restart_reader(f);
    for (uint32_t i = 1; i <= RECORDS; i++)
        assert_int_equal(next_and_done(f), i);
    assert_int_equal(next_and_done(f), 0);
    assert_int_equal(count_files(f, ".seg"), 1); // the writer's own
}

static void test_cap(void **state)
{
    struct fixture *f = *state;
    char path[200];
    (void)mkdir(f->dir, 0700);
    for (int i = 0; i < SPOOL_SEGMENTS_MAX; i++) {
        (void)snprintf(path, sizeof(path), "%s/%016x.seg", f->dir, i);
        close(open(path, O_WRONLY | O_CREAT, 0600));
    }
    assert_int_equal(append(&f->writer, 1), -ENOBUFS);
    restart_reader(f); // they are empty and nobody's
    assert_int_equal(next_and_done(f), 0);
    assert_int_equal(count_files(f, ""), 0);
    assert_int_equal(append(&f->writer, 2), -ENOBUFS); // asked again only after a second
    f->writer.next_open_ms = 0;
    assert_int_equal(append(&f->writer, 3), 0);
    assert_int_equal(next_and_done(f), 3);
    assert_int_equal(spool_reader_stats(f->reader)->lost, 2);
}

/* An administrator deletes file or directory under the writer. */
static void test_deleted_under_the_writer(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(append(&f->writer, 1), 0);
    each_file(f->dir, "", delete_file);
    assert_int_equal(append(&f->writer, 2), 0);
    restart_reader(f);
    assert_int_equal(next_and_done(f), 2);
    each_file(f->dir, "", delete_file);
    assert_int_equal(rmdir(f->dir), 0);
    assert_int_equal(append(&f->writer, 3), 0);
    assert_int_equal(next_and_done(f), 3);
}

static void test_left_overs_are_cleaned(void **state)
{
    struct fixture *f = *state;
    char path[200];
    (void)mkdir(f->dir, 0700);
    static const struct timespec old[2] = {{.tv_sec = 1700000000}, {.tv_sec = 1700000000}};
    (void)snprintf(path, sizeof(path), "%s/00000000000000aa.new", f->dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(futimens(fd, old), 0);
    close(fd);
    (void)snprintf(path, sizeof(path), "%s/00000000000000aa.ack", f->dir);
    close(open(path, O_WRONLY | O_CREAT, 0600));
    (void)snprintf(path, sizeof(path), "%s/not-ours.seg", f->dir);
    close(open(path, O_WRONLY | O_CREAT, 0600));
    restart_reader(f);
    assert_int_equal(next_and_done(f), 0);
    assert_int_equal(count_files(f, ""), 1);
    assert_string_equal(strrchr(found, '/'), "/not-ours.seg");
}

/*
 * The reader may not read, and then not delete, for a while: nothing is lost, nothing handed out
 * twice. Root has all rights: be nobody.
 */
static void test_no_rights_for_the_reader(void **state)
{
    struct fixture *f = *state;
    enum { NOBODY = 65534 };
    bool root = geteuid() == 0;
    if (root) {
        assert_int_equal(chown(f->base, NOBODY, NOBODY), 0);
        assert_int_equal(seteuid(NOBODY), 0);
    }
    assert_int_equal(append(&f->writer, 1), 0);
    assert_int_equal(append(&f->writer, 2), 0);
    spool_writer_close(&f->writer);
    assert_int_equal(chmod(f->dir, 0), 0);
    restart_reader(f);
    assert_int_equal(spool_reader_scan(f->reader), -EACCES);
    assert_int_equal(chmod(f->dir, 0500), 0);
    assert_int_equal(next_job(f, &(struct spool_pos){0}), 1);
    struct spool_pos pos;
    assert_int_equal(next_job(f, &pos), 2);
    assert_true(spool_reader_done(f->reader, &pos) < 0); // no acknowledgement can be written
    assert_true(spool_reader_stats(f->reader)->io_errors > 0);
    assert_int_equal(next_job(f, &pos), 0); // and yet not twice
    assert_int_equal(chmod(f->dir, 0700), 0);
    restart_reader(f);
    assert_int_equal(next_and_done(f), 1);
    assert_int_equal(next_and_done(f), 2);
    assert_int_equal(next_and_done(f), 0);
    assert_int_equal(count_files(f, ""), 0);
    if (root) assert_int_equal(seteuid(0), 0);
}

/* A writer is about to lock its new file: the reader, which looks just then, must not be quicker.
 */
static void test_new_file_of_a_living_writer(void **state)
{
    struct fixture *f = *state;
    char path[200];
    (void)mkdir(f->dir, 0700);
    (void)snprintf(path, sizeof(path), "%s/00000000000000aa.new", f->dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    restart_reader(f);
    assert_int_equal(count_files(f, ".new"), 1);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
}

static void test_no_directory_for_it(void **state)
{
    struct fixture *f = *state;
    struct spool_writer w;
    char dir[200];
    (void)snprintf(dir, sizeof(dir), "%s/missing/spool", f->base);
    assert_int_equal(spool_writer_init(&w, dir), 0);
    assert_int_equal(append(&w, 1), -ENOENT);
    assert_int_equal(append(&w, 1), -ENOENT);
    assert_int_equal(w.lost, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_append_and_read),
        T(test_restart_repeats_only_what_is_not_done),
        T(test_torn_acknowledgements),
        T(test_torn_at_every_byte),
        T(test_torn_in_the_middle),
        T(test_corrupt_at_every_byte),
        T(test_rubbish),
        T(test_half_written_by_a_living_writer),
        T(test_two_writers),
        T(test_writer_killed),
        T(test_concurrent),
        T(test_last_record_before_the_end),
        T(test_disk_full_and_free_again),
        T(test_disk_full_for_the_reader),
        T(test_segments_are_bounded),
        T(test_cap),
        T(test_deleted_under_the_writer),
        T(test_left_overs_are_cleaned),
        T(test_no_rights_for_the_reader),
        T(test_new_file_of_a_living_writer),
        T(test_no_directory_for_it),
    };
    return cmocka_run_group_tests_name("spool", tests, NULL, NULL);
}
