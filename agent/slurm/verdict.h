/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a failed Slurm command means, from its exit status and what it wrote to stderr. */
#ifndef SLURM_VERDICT_H
#define SLURM_VERDICT_H

#include "agent/util/error.h"

/*
 * `tool` is "sbatch", "scancel", ...: its lines begin with "<tool>: "; all others are noise of
 * somebody's shell and not shown. `path` is what was configured, for the message when it cannot be
 * run. Fills *err with one line of Slurm's text and returns its code:
 *   ERR_REFUSED          Slurm's verdict
 *   ERR_NOTFOUND         Slurm answered that there is no such job
 *   ERR_EXISTS           ... that the job has ended already
 *   ERR_UNAVAILABLE      surely nothing was done
 *   ERR_OUTCOME_UNKNOWN  the rest
 */
int verdict_of(
    const char *tool, const char *path, int exit_status, const char *text, struct error *err);

#endif
