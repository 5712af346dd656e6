/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a failed Slurm command means, from its exit status and what it wrote to stderr. */
#ifndef SLURM_VERDICT_H
#define SLURM_VERDICT_H

#include <stdbool.h>

#include "agent/util/error.h"

/*
 * `tool` is its name for messages, `path` what was configured. `own_lines`: only lines that begin
 * with "<tool>: " count, as sbatch and scancel write them; the rest is noise of the customer's
 * shell. (squeue and scontrol, run by the admin user, do not always write the prefix.) Fills *err
 * with one line of Slurm's text and returns its code: ERR_REFUSED          Slurm's verdict
 *   ERR_NOTFOUND         Slurm answered that there is no such job
 *   ERR_EXISTS           ... that the job has ended already
 *   ERR_UNAVAILABLE      surely nothing was done
 *   ERR_OUTCOME_UNKNOWN  the rest
 */
int verdict_of(const char *tool,
               const char *path,
               bool own_lines,
               int exit_status,
               const char *text,
               struct error *err);

#endif
