/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * squeue's output, as asked for by SQUEUE_FORMAT: one record a job, first what Slurm itself writes
 * ('|' after each field), then the user's own data in fields of fixed width. squeue neither escapes
 * nor forbids newlines and bars in names and comments, so a record is read by its widths and never
 * by its lines: no job can forge another one's record.
 */
#ifndef SLURM_SQUEUE_H
#define SLURM_SQUEUE_H

#include <stddef.h>

#include "agent/slurm/backend.h"
#include "agent/util/error.h"

/* The widths are SLURM_USER_MAX - 1, SLURM_NAME_MAX - 1 and SLURM_COMMENT_MAX - 1. */
#define SQUEUE_FORMAT                                                                           \
    "JobID:20|,State:20|,exit_code:20|,SubmitTime:20|,StartTime:20|,EndTime:20|,TimeLimit:20|," \
    "TimeUsed:20|,RestartCnt:20|,NodeList:20|,UserName:63|,Name:127|,Comment:255|"

/* Bytes of one record at most, with its newline: bounds what an answer may take. */
enum { SQUEUE_RECORD_MAX = 10 * 21 + 64 + 128 + 256 + 1 };

/*
 * Take the next record at *text (NUL-terminated), which moves behind it. Times must be seconds
 * since the epoch (SLURM_TIME_FORMAT=%s). Returns 1 for a record, 0 at the end, ERR_PROTO.
 * start_s and end_s are 0 where Slurm only expects them. squeue shows COMPLETING instead of the
 * state that the job came to; such a job is given as still RUNNING, to be asked for again.
 */
int squeue_next(const char **text, struct slurm_job *job, struct error *err);

/* Behind the header line, before which there may be noise of a shell; NULL if there is none. */
const char *squeue_records(const char *text);

#endif
