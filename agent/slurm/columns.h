/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The columns that squeue and sacct have in common. All return 0 or ERR_PROTO. */
#ifndef SLURM_COLUMNS_H
#define SLURM_COLUMNS_H

#include <stddef.h>
#include <stdint.h>

enum { COLUMNS_FIELD_MAX = 20 }; // of what Slurm itself writes, but for sacct's states

/*
 * Exactly `width` bytes, whatever they are, and `end`; *text moves behind it. `out` has room for
 * width + 1 and gets them without the blanks that fill them up.
 */
int columns_fixed(const char **text, size_t width, char end, char *out);

/* Seconds since the epoch; 0 for "N/A", "Unknown", "NONE". */
int columns_time(const char *field, int64_t *seconds);

/* A time that passed, "[[days-]hours:]minutes:seconds"; 0 for "INVALID". */
int columns_elapsed(const char *field, uint64_t *seconds);

/*
 * Minutes of a time limit, [[DAYS-]HOURS:]MINUTES:SECONDS; 0 for words ("UNLIMITED", "INVALID").
 */
int columns_limit(const char *field, uint64_t *minutes);

/*
 * squeue up to 24.05: the number as of wait(2); later, and sacct: "code:signal", or nothing while
 * there is none.
 */
int columns_exit(const char *field, uint32_t *wait_status);

/* Base state or flag; a flag that only a job with nodes has comes with SLURM_RUNNING. */
int columns_state(const char *field, uint32_t *state);

#endif
