/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The reading side of the spool: segments in order, what was acknowledged, getting past damage. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "plugins/common/spool.h"

enum {
    BUFFER_SIZE = 64 * 1024, // one read, one fdatasync: some 280 records
    RETRY_S = 5,             // a segment that cannot be read is tried again after this
    NEW_S = 60,              // a file on its way to its name is so for milliseconds
    ACK_ENTRY_LEN = 8,       // offset and checksum, 4 bytes each, little-endian
    /* Two records begin at least RECORD_MIN_LEN apart, so none shares a slot. */
    ACK_SLOTS = SPOOL_SEGMENT_MAX / RECORD_MIN_LEN + 1,
};

/* A segment file that is not deleted yet. */
struct segment {
    uint64_t number;
    off_t offset;     // how far it was handed out
    uint32_t pending; // handed out and not done
    bool finished;    // read to its end, and no writer has it
    time_t retry_at;  // CLOCK_MONOTONIC seconds; 0: now
};

struct spool_reader {
    char dir[PATH_MAX];
    int dir_fd;
    struct segment *segments; // by number, ascending
    size_t count, capacity;
    struct spool_stats stats;

    /* The segment that is open: its number, and what of it is in memory. */
    int fd;
    uint64_t open_number;
    off_t synced;       // fdatasync'ed up to here
    off_t buffer_start; // offset of buffer[0] in the file
    size_t buffer_len;
    uint32_t acked[ACK_SLOTS]; // checksum of the record acknowledged at that place; 0: none
    uint8_t buffer[BUFFER_SIZE];
};

static time_t mono_s(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

static int io_error(struct spool_reader *r, int error)
{
    r->stats.io_errors++;
    r->stats.last_errno = error;
    return -error;
}

struct spool_reader *spool_reader_new(const char *dir)
{
    if (strnlen(dir, PATH_MAX) >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    struct spool_reader *r = calloc(1, sizeof(*r));
    if (!r) return NULL;
    memcpy(r->dir, dir, strlen(dir) + 1);
    r->fd = r->dir_fd = -1;
    return r;
}

static void close_segment(struct spool_reader *r)
{
    if (r->fd >= 0) (void)close(r->fd);
    r->fd = -1;
    r->buffer_len = 0;
}

struct spool_reader *spool_reader_destroy(struct spool_reader *r)
{
    if (!r) return NULL;
    close_segment(r);
    if (r->dir_fd >= 0) (void)close(r->dir_fd);
    free(r->segments);
    free(r);
    return NULL;
}

const struct spool_stats *spool_reader_stats(const struct spool_reader *r)
{
    return &r->stats;
}

/* ---- The list of segments. */

/* Index of the first segment with that number or a higher one. */
static size_t find_segment(const struct spool_reader *r, uint64_t number)
{
    size_t low = 0, high = r->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->segments[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool has_segment(const struct spool_reader *r, uint64_t number)
{
    size_t i = find_segment(r, number);
    return i < r->count && r->segments[i].number == number;
}

/* Returns 1 if it is new, 0 if known, or -ENOMEM. */
static int add_segment(struct spool_reader *r, uint64_t number)
{
    if (has_segment(r, number)) return 0;
    if (r->count == r->capacity) {
        size_t capacity = r->capacity ? r->capacity * 2 : 64;
        struct segment *grown = reallocarray(r->segments, capacity, sizeof(*grown));
        if (!grown) return -ENOMEM;
        r->segments = grown;
        r->capacity = capacity;
    }
    size_t i = find_segment(r, number);
    memmove(&r->segments[i + 1], &r->segments[i], (r->count - i) * sizeof(*r->segments));
    r->segments[i] = (struct segment){.number = number};
    r->count++;
    return 1;
}

/* Delete a finished segment of which nothing is pending. If that fails it stays in the list. */
static bool drop_segment(struct spool_reader *r, size_t i)
{
    char name[SPOOL_NAME_LEN];
    uint64_t number = r->segments[i].number;

    spool_name(name, number, SPOOL_SEGMENT_SUFFIX);
    if (unlinkat(r->dir_fd, name, 0) != 0 && errno != ENOENT) {
        (void)io_error(r, errno);
        return false;
    }
    spool_name(name, number, SPOOL_ACK_SUFFIX);
    (void)unlinkat(r->dir_fd, name, 0);
    if (r->fd >= 0 && r->open_number == number) close_segment(r);
    memmove(&r->segments[i], &r->segments[i + 1], (r->count - i - 1) * sizeof(*r->segments));
    r->count--;
    return true;
}

/* Those that could not be deleted before. */
static void drop_finished(struct spool_reader *r)
{
    for (size_t i = r->count; i-- > 0;) {
        if (r->segments[i].finished && r->segments[i].pending == 0) (void)drop_segment(r, i);
    }
}

/* ---- Looking into the directory. */

/*
 * A segment whose writer died while making it. A living one holds the lock, but not yet in the
 * moment in which we may first see the name: hands off what is young.
 */
static void clean_new(struct spool_reader *r, const char *name)
{
    struct stat st;
    int fd = openat(r->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return;
    if (fstat(fd, &st) == 0 && st.st_mtime + NEW_S < time(NULL) &&
        flock(fd, LOCK_EX | LOCK_NB) == 0)
        (void)unlinkat(r->dir_fd, name, 0);
    (void)close(fd);
}

static bool segment_exists(const struct spool_reader *r, uint64_t number)
{
    char name[SPOOL_NAME_LEN];
    struct stat st;
    spool_name(name, number, SPOOL_SEGMENT_SUFFIX);
    return fstatat(r->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

/* Returns 1 if the entry is a segment not seen before, 0, or -ENOMEM. */
static int scan_entry(struct spool_reader *r, const char *name)
{
    uint64_t number;
    if (spool_name_parse(name, SPOOL_SEGMENT_SUFFIX, &number)) return add_segment(r, number);
    if (spool_name_parse(name, SPOOL_NEW_SUFFIX, &number)) clean_new(r, name);
    if (spool_name_parse(name, SPOOL_ACK_SUFFIX, &number) && !has_segment(r, number) &&
        !segment_exists(r, number))
        (void)unlinkat(r->dir_fd, name, 0); // we died between the two unlinks
    return 0;
}

/* The directory may have been replaced: open it by name each time. */
static int reopen_dir(struct spool_reader *r)
{
    int fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    if (r->dir_fd >= 0) (void)close(r->dir_fd);
    r->dir_fd = fd;
    return 0;
}

int spool_reader_scan(struct spool_reader *r)
{
    int rc = reopen_dir(r);
    if (rc < 0) return rc;
    DIR *d = opendir(r->dir);
    if (!d) return -errno;

    drop_finished(r);
    bool found = false;
    const struct dirent *entry;
    while (rc >= 0 && (entry = readdir(d))) {
        rc = scan_entry(r, entry->d_name);
        found |= rc == 1;
    }
    (void)closedir(d);
    /* The names must be as durable as the records. */
    if (found && fsync(r->dir_fd) != 0) (void)io_error(r, errno);
    return rc < 0 ? rc : (int)r->count;
}

/* ---- Acknowledgements. */

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_u32(uint8_t *p, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

static void load_acks(struct spool_reader *r, uint64_t number)
{
    memset(r->acked, 0, sizeof(r->acked));
    char name[SPOOL_NAME_LEN];
    spool_name(name, number, SPOOL_ACK_SUFFIX);
    int fd = openat(r->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return;

    uint8_t entries[ACK_ENTRY_LEN * 512];
    ssize_t n;
    while ((n = read(fd, entries, sizeof(entries))) > 0) {
        for (ssize_t i = 0; i + ACK_ENTRY_LEN <= n; i += ACK_ENTRY_LEN) {
            uint32_t slot = get_u32(entries + i) / RECORD_MIN_LEN;
            if (slot < ACK_SLOTS) r->acked[slot] = get_u32(entries + i + 4);
        }
    }
    (void)close(fd);
}

static bool is_acked(const struct spool_reader *r, off_t offset, uint32_t crc)
{
    off_t slot = offset / RECORD_MIN_LEN;
    return slot < ACK_SLOTS && crc != 0 && r->acked[slot] == crc;
}

static int append_ack(struct spool_reader *r, const struct spool_pos *pos)
{
    char name[SPOOL_NAME_LEN];
    spool_name(name, pos->segment, SPOOL_ACK_SUFFIX);
    int fd = openat(r->dir_fd, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return io_error(r, errno);

    /* An entry that a crash or a full disk cut off would shift all that follow. */
    int rc = 0;
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_size % ACK_ENTRY_LEN != 0 &&
        ftruncate(fd, st.st_size - st.st_size % ACK_ENTRY_LEN) != 0)
        rc = io_error(r, errno);

    uint8_t entry[ACK_ENTRY_LEN];
    put_u32(entry, pos->offset);
    put_u32(entry + 4, pos->crc);
    if (rc == 0) {
        ssize_t n = write(fd, entry, sizeof(entry));
        if (n != (ssize_t)sizeof(entry)) rc = io_error(r, n < 0 ? errno : ENOSPC);
    }
    (void)close(fd);
    return rc;
}

int spool_reader_done(struct spool_reader *r, const struct spool_pos *pos)
{
    size_t i = find_segment(r, pos->segment);
    if (i == r->count || r->segments[i].number != pos->segment) return 0;

    struct segment *s = &r->segments[i];
    if (s->pending > 0) s->pending--;
    r->stats.done++;
    if (s->finished && s->pending == 0 && drop_segment(r, i)) return 0;
    return append_ack(r, pos);
}

/* ---- Reading one segment. */

/* Make `s` the open one. Returns 0, or -errno; -ENOENT: someone deleted it. */
static int open_segment(struct spool_reader *r, const struct segment *s)
{
    if (r->fd >= 0 && r->open_number == s->number) return 0;
    close_segment(r);

    char name[SPOOL_NAME_LEN];
    spool_name(name, s->number, SPOOL_SEGMENT_SUFFIX);
    /* Writable, because a lock over NFS needs that. */
    r->fd = openat(r->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (r->fd < 0) return -errno;
    r->open_number = s->number;
    r->synced = r->buffer_start = s->offset;
    load_acks(r, s->number);
    return 0;
}

/* Read on from s->offset. Returns how many bytes there are in memory from there, or -errno. */
static ssize_t fill(struct spool_reader *r, const struct segment *s)
{
    r->buffer_len = 0;
    r->buffer_start = s->offset;
    ssize_t n = pread(r->fd, r->buffer, sizeof(r->buffer), s->offset);
    if (n < 0) return -errno;
    r->buffer_len = (size_t)n;
    if (s->offset + n > r->synced) {
        /* Sending what a power failure takes back is less bad than not sending: go on. */
        if (fdatasync(r->fd) != 0) (void)io_error(r, errno);
        r->synced = s->offset + n;
    }
    return n;
}

static void skip_damage(struct spool_reader *r, struct segment *s, size_t bytes)
{
    s->offset += (off_t)bytes;
    r->stats.corrupt_bytes += bytes;
    r->stats.corrupt_runs++;
}

/*
 * At the end of what there is, with `rest` bytes that are no complete record (0: none). Returns 1
 * if there is something to read on, 0 if not.
 */
static int at_tail(struct spool_reader *r, struct segment *s, size_t rest)
{
    const uint8_t *data = r->buffer + (s->offset - r->buffer_start);
    if (rest > 0) {
        size_t next = record_find(data, 1, rest, false);
        if (next < rest) { // unfinished, and yet something was written behind it
            skip_damage(r, s, next);
            return 1;
        }
    }
    if (flock(r->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) (void)io_error(r, errno);
        return 0; // its writer lives
    }
    /* The writer is gone for good; but it may have written between our read and our lock. */
    struct stat st;
    if (fstat(r->fd, &st) == 0 && st.st_size > s->offset + (off_t)rest) return 1;
    if (rest > 0) r->stats.torn++;
    s->offset += (off_t)rest;
    s->finished = true;
    close_segment(r);
    return 0;
}

/* Decode at s->offset. Returns as record_decode(), after a fresh read where that may help. */
static int decode_here(struct spool_reader *r,
                       const struct segment *s,
                       struct record *rec,
                       uint32_t *crc,
                       size_t *rest,
                       int *error)
{
    *error = 0;
    for (bool fresh = false;; fresh = true) {
        size_t used = (size_t)(s->offset - r->buffer_start);
        *rest = r->buffer_len > used ? r->buffer_len - used : 0;
        int rc = *rest > 0 ? record_decode(rec, r->buffer + used, *rest, crc) : 0;
        if (rc != 0 || fresh) return rc;
        ssize_t n = fill(r, s);
        if (n < 0) *error = (int)n;
        if (n < 0) return 0;
    }
}

/* Returns 1 and a record, 0 if there is none now, or -errno. */
static int
read_segment(struct spool_reader *r, struct segment *s, struct record *rec, struct spool_pos *pos)
{
    int rc = open_segment(r, s);
    if (rc < 0) return rc;
    for (;;) {
        uint32_t crc = 0;
        size_t rest;
        int error;
        int len = decode_here(r, s, rec, &crc, &rest, &error);
        if (error < 0) return error;
        if (len == 0) {
            if (!at_tail(r, s, rest)) return 0;
            continue;
        }
        if (len < 0) {
            const uint8_t *data = r->buffer + (s->offset - r->buffer_start);
            skip_damage(r, s, record_find(data, 1, rest, true));
            continue;
        }
        off_t at = s->offset;
        s->offset += len;
        if (is_acked(r, at, crc)) {
            r->stats.skipped++;
            continue;
        }
        *pos = (struct spool_pos){s->number, (uint32_t)at, crc};
        s->pending++;
        r->stats.records++;
        r->stats.lost += rec->lost_before;
        return 1;
    }
}

int spool_reader_next(struct spool_reader *r, struct record *rec, struct spool_pos *pos)
{
    size_t i = 0;
    while (i < r->count) {
        struct segment *s = &r->segments[i];
        if (s->finished || (s->retry_at != 0 && mono_s() < s->retry_at)) {
            i++;
            continue;
        }
        s->retry_at = 0;
        int rc = read_segment(r, s, rec, pos);
        if (rc == 1) return 1;
        if (rc == -ENOENT) s->finished = true;
        if (rc < 0 && rc != -ENOENT) {
            (void)io_error(r, -rc);
            s->retry_at = mono_s() + RETRY_S;
            close_segment(r);
        }
        if (!s->finished || s->pending > 0 || !drop_segment(r, i)) i++;
    }
    return 0;
}
