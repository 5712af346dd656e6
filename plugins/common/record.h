/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A record: one event of one Slurm job, as the plugins write it to the spool and the forwarder
 * reads it. The bytes are described in doc/spool-format.md. libc only: this runs inside slurmctld.
 * No function here allocates, blocks, logs or keeps state; all are thread-safe.
 */
#ifndef PLUGINS_COMMON_RECORD_H
#define PLUGINS_COMMON_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RECORD_VERSION = 1,
    /* A grid job's name is 66 bytes, its comment 53; longer ones are users' and are cut. */
    RECORD_NAME_MAX = 128,
    RECORD_COMMENT_MAX = 128,
    RECORD_CLUSTER_MAX = 64, // Slurm itself allows 40
    RECORD_HEADER_LEN = 88,
    RECORD_MIN_LEN = RECORD_HEADER_LEN,
    RECORD_MAX_LEN = RECORD_HEADER_LEN + RECORD_NAME_MAX + RECORD_COMMENT_MAX + RECORD_CLUSTER_MAX,
};

enum record_kind { RECORD_NONE = 0, RECORD_START = 1, RECORD_END = 2 };

enum record_flag {
    RECORD_CUT_NAME = 1, // the text was longer than its bound
    RECORD_CUT_COMMENT = 2,
    RECORD_CUT_CLUSTER = 4,
    RECORD_SETTLED = 8,  // Slurm will not queue the job again by itself; without it: it may
    RECORD_NOT_RUN = 16, // the script was never run, whatever the state is
};

/* Times are seconds since the epoch, 0 = none. Numbers are Slurm's own, unchanged. */
struct record {
    uint8_t kind; // enum record_kind
    uint8_t flags;
    uint32_t job_id, restart_count; // with submit_s and cluster: the key of the event
    int64_t submit_s;
    int64_t start_s, end_s, suspended_s;
    uint32_t job_state;   // base state and flags
    uint32_t wait_status; // exit_code, as of wait(2)
    uint32_t user_id;
    uint32_t lost_before; // records that this writer could not write just before this one
    int64_t written_s;
    char name[RECORD_NAME_MAX + 1];
    char comment[RECORD_COMMENT_MAX + 1];
    char cluster[RECORD_CLUSTER_MAX + 1];
};

/* Copy a text (NULL = "") into its bounded field; a cut is flagged in r->flags. */
void record_set_name(struct record *r, const char *text);
void record_set_comment(struct record *r, const char *text);
void record_set_cluster(struct record *r, const char *text);

/* Encode into `out` (RECORD_MAX_LEN bytes). Returns the length: never fails. */
size_t record_encode(const struct record *r, uint8_t *out);

/*
 * Decode the record at the beginning of data. Returns its length; 0 if `len` bytes are not enough
 * to tell (the beginning of a record); -1 if no good record of this version begins here. *r is
 * written only on success. *crc (may be NULL): the record's checksum, as an identity.
 */
int record_decode(struct record *r, const uint8_t *data, size_t len, uint32_t *crc);

/*
 * Where the next good and complete record begins in data[from..len): its offset, or `len` if there
 * is none. With `or_partial` also where one may begin that does not end before `len`. Used to get
 * back in step behind damage.
 */
size_t record_find(const uint8_t *data, size_t from, size_t len, bool or_partial);

/* CRC-32C (Castagnoli). */
uint32_t record_crc32c(const void *data, size_t len);

#endif
