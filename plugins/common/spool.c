/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The writing side of the spool. Runs inside slurmctld, under its job lock. */
#include "plugins/common/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    OPEN_RETRY_MS = 1000, // making a segment reads the directory: not for every record that fails
    OPEN_ATTEMPTS = 3,    // each fails only when another writer or the cleaner took the same name
    NAME_DIGITS = 16,
};

static int digit_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

void spool_name(char out[SPOOL_NAME_LEN], uint64_t segment, const char *suffix)
{
    (void)snprintf(out, SPOOL_NAME_LEN, "%016llx.%.8s", (unsigned long long)segment, suffix);
}

bool spool_name_parse(const char *name, const char *suffix, uint64_t *segment)
{
    uint64_t value = 0;
    for (int i = 0; i < NAME_DIGITS; i++) {
        int d = digit_value(name[i]);
        if (d < 0) return false;
        value = value << 4 | (uint64_t)d;
    }
    if (name[NAME_DIGITS] != '.' || strcmp(name + NAME_DIGITS + 1, suffix) != 0) return false;
    *segment = value;
    return true;
}

static long long mono_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (long long)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int spool_writer_init(struct spool_writer *w, const char *dir)
{
    *w = (struct spool_writer){.fd = -1};
    if (strnlen(dir, sizeof(w->dir)) >= sizeof(w->dir)) return -ENAMETOOLONG;
    memcpy(w->dir, dir, strlen(dir) + 1);
    return 0;
}

void spool_writer_close(struct spool_writer *w)
{
    if (w->fd >= 0) (void)close(w->fd); // also gives up the lock
    w->fd = -1;
}

static int open_dir(const char *path)
{
    enum { FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };
    int fd = open(path, FLAGS);
    if (fd < 0 && errno == ENOENT) {
        if (mkdir(path, 0700) != 0 && errno != EEXIST) return -errno;
        fd = open(path, FLAGS);
    }
    return fd < 0 ? -errno : fd;
}

/*
 * The number for a new segment: above all there are, and not below the time in microseconds, so
 * that a number is not used again after everything was deleted.
 */
static int next_number(int dir_fd, uint64_t *number)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    uint64_t next = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;

    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    DIR *d = fdopendir(fd);
    if (!d) {
        int rc = -errno;
        (void)close(fd);
        return rc;
    }
    int count = 0;
    const struct dirent *entry;
    while ((entry = readdir(d))) {
        uint64_t seen;
        if (!spool_name_parse(entry->d_name, SPOOL_SEGMENT_SUFFIX, &seen)) continue;
        count++;
        if (seen >= next && seen < UINT64_MAX) next = seen + 1;
    }
    (void)closedir(d);
    *number = next;
    return count < SPOOL_SEGMENTS_MAX ? 0 : -ENOBUFS;
}

/*
 * A new, empty, locked file under its final name. It is locked before anyone can see that name:
 * whoever later gets the lock knows that its writer is gone. Returns the descriptor, -EAGAIN when
 * the name was taken meanwhile, or -errno.
 */
static int create_segment(int dir_fd, uint64_t number)
{
    char fresh[SPOOL_NAME_LEN], final[SPOOL_NAME_LEN];
    spool_name(fresh, number, SPOOL_NEW_SUFFIX);
    spool_name(final, number, SPOOL_SEGMENT_SUFFIX);

    int fd = openat(dir_fd, fresh, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return errno == EEXIST ? -EAGAIN : -errno;

    int rc = 0;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        rc = -EAGAIN; // any other failure: no locks here, so no reader gets one and deletes
    } else if (linkat(dir_fd, fresh, dir_fd, final, 0) != 0) {
        rc = errno == EEXIST || errno == ENOENT ? -EAGAIN : -errno;
    }
    (void)unlinkat(dir_fd, fresh, 0);
    if (rc == 0) return fd;
    (void)close(fd);
    return rc;
}

static int open_segment(struct spool_writer *w)
{
    int dir_fd = open_dir(w->dir);
    if (dir_fd < 0) return dir_fd;

    int rc = -EAGAIN;
    for (int i = 0; i < OPEN_ATTEMPTS && rc == -EAGAIN; i++) {
        uint64_t number = 0;
        rc = next_number(dir_fd, &number);
        if (rc == 0) rc = create_segment(dir_fd, number);
    }
    (void)close(dir_fd);
    if (rc < 0) return rc;
    w->fd = rc;
    return 0;
}

/* Have a segment that takes `len` more bytes. */
static int have_segment(struct spool_writer *w, size_t len)
{
    struct stat st;
    if (w->fd >= 0) {
        /* st_nlink 0: someone deleted the file under us; what we wrote there would be lost. */
        if (fstat(w->fd, &st) != 0 || st.st_nlink == 0 ||
            st.st_size + (off_t)len > SPOOL_SEGMENT_MAX)
            spool_writer_close(w);
    }
    if (w->fd < 0) {
        long long now = mono_ms();
        if (now < w->next_open_ms) return w->open_error;
        int rc = open_segment(w);
        w->open_error = rc;
        w->next_open_ms = rc < 0 ? now + OPEN_RETRY_MS : 0;
        if (rc < 0) return rc;
    }
    return 0;
}

/* A write that begins at the file size limit raises SIGXFSZ, which would end slurmctld. */
static int check_size_limit(int fd)
{
    struct rlimit limit;
    struct stat st;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return 0;
    if (fstat(fd, &st) != 0) return -errno;
    return (rlim_t)st.st_size >= limit.rlim_cur ? -EFBIG : 0;
}

static int write_record(struct spool_writer *w, const uint8_t *data, size_t len)
{
    int rc = check_size_limit(w->fd);
    if (rc < 0) return rc;
    ssize_t n = write(w->fd, data, len);
    if (n == (ssize_t)len) return 0;
    if (n < 0) return -errno;
    /* A part of it: nothing may follow, so that only the end of a closed segment can be torn. And
     * not a new segment for each record while the disk stays full. */
    spool_writer_close(w);
    w->next_open_ms = mono_ms() + OPEN_RETRY_MS;
    return w->open_error = -ENOSPC;
}

int spool_writer_append(struct spool_writer *w, const struct record *r)
{
    uint8_t data[RECORD_MAX_LEN];
    struct record copy = *r;
    copy.lost_before = w->lost;
    size_t len = record_encode(&copy, data);

    int rc = have_segment(w, len);
    if (rc == 0) rc = write_record(w, data, len);
    if (rc == 0)
        w->lost = 0;
    else if (w->lost < UINT32_MAX)
        w->lost++;
    return rc;
}
