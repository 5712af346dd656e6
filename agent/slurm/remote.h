/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What runs on the login node around a Slurm command. Pure: builds text, runs nothing.
 *
 *   /bin/sh -c '<wrapper>' sh [<sed program>] timeout -s KILL <seconds> <argv...>
 *
 * - The environment is emptied but for HOME, USER, LOGNAME, SHELL, PATH, LANG and SLURM_CONF. What
 *   the user's shell start-up files set (SBATCH_TIMELIMIT, SLURM_CLUSTERS, ...) has no effect, and
 *   since sbatch hands its environment to the job, a job starts with these and nothing of ours.
 * - `timeout` ends a command that hangs: after a deadline has passed here, nothing of that call is
 *   still to happen there. Without it a submission that waited for slurmctld could go through after
 *   we looked for it, did not find it and submitted again.
 * - Input ends with a mark. A connection that breaks in the middle of a script looks to the command
 *   like the end of the script, and sbatch would take the half of it: sed holds all of the input
 *   back until it has seen the mark, and gives out nothing without.
 */
#ifndef SLURM_REMOTE_H
#define SLURM_REMOTE_H

#include <stddef.h>

#include "agent/util/buf.h"
#include "agent/util/error.h"

enum {
    REMOTE_MARK_SIZE = 35,             // "0x", 32 digits, NUL
    REMOTE_COMMAND_MAX = 64 * 1024,    // 1000 job ids of 10 digits and the rest; ARG_MAX is 128 KiB
    REMOTE_SECONDS_MAX = 24 * 60 * 60, // no deadline of ours is longer
};

/*
 * Append the command line for `argv` (NULL-terminated; the first words may be NAME=value for its
 * environment, "timeout" comes after these). `mark` is NULL for a command without input.
 */
int remote_command(struct buf *out,
                   const char *const *argv,
                   const char *mark,
                   unsigned int seconds,
                   struct error *err);

/* A fresh random mark: no script contains it. */
int remote_mark(char mark[REMOTE_MARK_SIZE], struct error *err);

/* What has to follow `input` on the wire: a newline if there is none, the mark, a newline. */
int remote_trailer(
    struct buf *out, const void *input, size_t len, const char *mark, struct error *err);

#endif
