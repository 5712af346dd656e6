/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What accounting answers: sacct's records, as asked for by SACCT_FORMAT, and how much of it is
 * still under way to slurmdbd. Pure. As with squeue (agent/slurm/squeue.h) a record is read by its
 * widths and never by its lines or by a separator, of which sacct escapes none: no job can forge
 * another one's record.
 */
#ifndef SLURM_SACCT_H
#define SLURM_SACCT_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/slurm/backend.h"
#include "agent/util/error.h"

/* The widths are SLURM_USER_MAX - 1, SLURM_NAME_MAX - 1 and SLURM_COMMENT_MAX - 1. */
#define SACCT_FORMAT                                                                   \
    "JobIDRaw%-20,State%-40,ExitCode%-20,Submit%-20,Start%-20,End%-20,ElapsedRaw%-20," \
    "NodeList%-20,User%-63,JobName%-127,Comment%-255"

/* Bytes of one record, with its newline: bounds what an answer may take. */
enum { SACCT_RECORD_MAX = 7 * 21 + 41 + 64 + 128 + 256 + 1 };

/*
 * Take the next record at *text (NUL-terminated), which moves behind it. Times must be seconds
 * since the epoch (SLURM_TIME_FORMAT=%s). Returns 1 for a record, 0 at the end, ERR_PROTO. The
 * comment is "" unless AccountingStoreFlags has job_comment.
 */
int sacct_next(const char **text, struct slurm_job *job, struct error *err);

/* Behind the two lines of the header, before which there may be noise of a shell; NULL: none. */
const char *sacct_records(const char *text);

/* Does a failed sacct say, by what it wrote to stderr, that the cluster has no accounting? */
bool sacct_is_disabled(const char *errors);

/* From sdiag's output: records that slurmctld has yet to bring to slurmdbd. ERR_PROTO if untold. */
int sdiag_dbd_queue(const char *text, uint64_t *waiting, struct error *err);

#endif
