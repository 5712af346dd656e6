/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How a job of the grid is told from others, in slurmctld and on the nodes. */
#ifndef PLUGINS_COMMON_MARK_H
#define PLUGINS_COMMON_MARK_H

#include <stdbool.h>
#include <string.h>

#define MARK "supervisor "

/* Does the comment of a Slurm job (NULL = none) say that the job is the grid's? */
static inline bool mark_is_in(const char *comment)
{
    return comment && strncmp(comment, MARK, sizeof(MARK) - 1) == 0;
}

#endif
