/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the plugins in slurmctld share: a job_record_t becomes a record in the spool. Each plugin
 * has its own copy with its own segment. Needs Slurm's headers of the exact version.
 */
#ifndef PLUGINS_SLURMCTLD_RECORDER_H
#define PLUGINS_SLURMCTLD_RECORDER_H

#include <stdbool.h>

#include "src/slurmctld/slurmctld.h"

#include "slurm/slurm_errno.h"
#include "slurm/spank.h" // slurm_info() and so on: exported by every release

#include "plugins/common/record.h"

#define SLURM_VERSION_AT_LEAST(major, minor) \
    (SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM((major), (minor), 0))

/* fini() returns nothing from 25.11 on. */
#if SLURM_VERSION_AT_LEAST(25, 11)
#define FINI_TYPE        void
#define FINI_RETURN(...) return
#else
#define FINI_TYPE        int
#define FINI_RETURN(...) return SLURM_SUCCESS
#endif

/*
 * Are we loaded into slurmctld? The same files are loaded into slurmd (prep) and, by any user, into
 * sacct -c (jobcomp): these have no spool.
 */
bool recorder_in_slurmctld(void);

/* One line at load time: which plugin, and for which Slurm. */
void recorder_log_version(const char *name);

/*
 * Take the spool's directory and the cluster's name from slurm_conf, which must not change
 * meanwhile. May be called again. Returns the directory (static; valid until recorder_close()), or
 * NULL, which is logged: then nothing is recorded.
 */
const char *recorder_open(void);

/*
 * Append a record of the job, if it is the grid's (NULL: it is not). Under Slurm's job lock: one
 * write(2), no waiting for anything but the disk. A failure is logged, seldom, and the number of
 * records lost goes into the next record. Any thread.
 */
void recorder_write(enum record_kind kind, const job_record_t *job);

/* Give up the segment, so that the forwarder may finish it, and record nothing more. */
void recorder_close(void);

#endif
