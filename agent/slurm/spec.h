/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is common to all ways of submission. */
#ifndef SLURM_SPEC_H
#define SLURM_SPEC_H

#include <stdbool.h>

#include "agent/slurm/backend.h"

/* The comment of every job of ours begins with this. */
#define SLURM_SPEC_MARK "supervisor "

/*
 * Bounds of what Slurm is asked for: 0 means "no limit" for a time and "all of the node" for
 * memory, and numbers that are too big wrap, so that what it would do is not what was paid for.
 * ERR_INVALID with text.
 */
int slurm_spec_check(const struct slurm_job_spec *spec, struct error *err);

bool slurm_spec_is_marked(const char *comment);

/* Append to an array that begins as NULL and 0, and is freed by the caller. 0 or ERR_NOMEM. */
int slurm_jobs_add(struct slurm_job **jobs, size_t *count, const struct slurm_job *job);

#endif
