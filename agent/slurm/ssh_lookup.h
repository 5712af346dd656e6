/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where the SSH backend looks for jobs: in the queue, then in accounting. See backend.h. */
#ifndef SLURM_SSH_LOOKUP_H
#define SLURM_SSH_LOOKUP_H

#include "agent/slurm/backend.h"

int ssh_find(struct slurm_backend *base,
             const char *name,
             const char *user,
             long long deadline_ms,
             struct slurm_job *job,
             struct error *err);
int ssh_query(struct slurm_backend *base,
              const uint64_t *ids,
              size_t count,
              long long deadline_ms,
              struct slurm_job *jobs,
              size_t *found,
              enum slurm_proof *proof,
              struct error *err);
int ssh_list(struct slurm_backend *base,
             long long deadline_ms,
             struct slurm_job **jobs,
             size_t *count,
             struct error *err);

#endif
