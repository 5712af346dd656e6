/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The spool: a directory of append-only segment files between the plugins, which write, and
 * deepsquare-forwarder, which reads and deletes. Files and the argument why no record is lost are
 * in doc/spool-format.md. libc only. Functions return >= 0 or -errno.
 */
#ifndef PLUGINS_COMMON_SPOOL_H
#define PLUGINS_COMMON_SPOOL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plugins/common/record.h"

enum {
    /* About 4,500 records: small enough to be re-read at once, large enough to be made seldom. */
    SPOOL_SEGMENT_MAX = 1024 * 1024,
    /* With the above 1 GiB, some 4.6 million records: months of a busy cluster without an agent. */
    SPOOL_SEGMENTS_MAX = 1024,
};

/* ---- Writing: in a plugin. No memory is allocated; nothing waits for anything but the disk. */

struct spool_writer {
    char dir[PATH_MAX];
    int fd;                 // our segment, locked; -1: none yet
    uint32_t lost;          // records not written since the last one that was
    long long next_open_ms; // after a failure: no new segment before this (CLOCK_MONOTONIC)
    int open_error;         // that failure, -errno
};

/* Remember the directory; touches no file. -ENAMETOOLONG. */
int spool_writer_init(struct spool_writer *w, const char *dir);

/*
 * Append one record with one write(2), making directory and segment when needed. On failure
 * (-ENOSPC, -EDQUOT, -EACCES, -ENOBUFS = SPOOL_SEGMENTS_MAX reached, ...) the record is lost, and
 * counted in the next one that is written. One thread at a time.
 */
int spool_writer_append(struct spool_writer *w, const struct record *r);

/* Give up the segment, so that the reader may finish it. The writer may be used again. */
void spool_writer_close(struct spool_writer *w);

/* ---- Reading: in the forwarder, one reader a spool (its lock is the forwarder's), one thread. */

struct spool_reader;

/* Where a record is, and its checksum: what acknowledging needs. */
struct spool_pos {
    uint64_t segment;
    uint32_t offset;
    uint32_t crc;
};

struct spool_stats {
    uint64_t records;       // handed out
    uint64_t done;          // acknowledged since
    uint64_t skipped;       // had been acknowledged to an earlier reader
    uint64_t lost;          // not written, by the writers' own account
    uint64_t corrupt_bytes; // skipped to get back in step
    uint64_t corrupt_runs;
    uint64_t torn;      // unfinished records at the end of closed segments
    uint64_t io_errors; // of files that could not be read, written or synced
    int last_errno;     // of the last of these
};

/* Does not need the directory to exist. NULL: no memory (errno). */
struct spool_reader *spool_reader_new(const char *dir);
struct spool_reader *spool_reader_destroy(struct spool_reader *r);

/*
 * Look for new segments. Returns how many are known, or -errno of the directory (-ENOENT: nothing
 * was ever spooled). Needed before the first next(), and again whenever next() has nothing more.
 */
int spool_reader_scan(struct spool_reader *r);

/*
 * The next record that is not acknowledged: 1 and *rec, *pos, or 0 when there is none now. What it
 * hands out is on disk (fdatasync) or counted in io_errors. Each record is handed out once by one
 * reader, in the order written.
 */
int spool_reader_next(struct spool_reader *r, struct record *rec, struct spool_pos *pos);

/*
 * A record is done with: never hand it out again, also after a restart. Deletes the segment when it
 * was the last of a closed one. Returns 0 or -errno: then it may be handed out again after a
 * restart, which the receiver must bear.
 */
int spool_reader_done(struct spool_reader *r, const struct spool_pos *pos);

const struct spool_stats *spool_reader_stats(const struct spool_reader *r);

/* ---- Names, for both. */

enum { SPOOL_NAME_LEN = 32 };

/* "<16 hex digits>.<suffix>" */
void spool_name(char out[SPOOL_NAME_LEN], uint64_t segment, const char *suffix);

/* The number in a name with that suffix; false if it is not such a name. */
bool spool_name_parse(const char *name, const char *suffix, uint64_t *segment);

#define SPOOL_SEGMENT_SUFFIX "seg"
#define SPOOL_ACK_SUFFIX     "ack"
#define SPOOL_NEW_SUFFIX     "new"

#endif
