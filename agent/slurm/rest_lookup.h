/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where the slurmrestd backend looks for jobs: in the queue, then in accounting. See backend.h. */
#ifndef SLURM_REST_LOOKUP_H
#define SLURM_REST_LOOKUP_H

#include "agent/slurm/rest_ask.h"

int rest_find(struct slurm_backend *base,
              const char *name,
              const char *user,
              long long deadline_ms,
              struct slurm_job *job,
              struct error *err);
int rest_query(struct slurm_backend *base,
               const uint64_t *ids,
               size_t count,
               long long deadline_ms,
               struct slurm_job *jobs,
               size_t *found,
               enum slurm_proof *proof,
               struct error *err);
int rest_list(struct slurm_backend *base,
              long long deadline_ms,
              struct slurm_job **jobs,
              size_t *count,
              struct error *err);

/* That job in the queue, and what it was given (`grant` may be NULL); ERR_NOTFOUND. */
int rest_get_job(struct rest_backend *b,
                 uint64_t id,
                 long long deadline_ms,
                 struct slurm_job *job,
                 struct rest_grant *grant,
                 struct error *err);

/* All jobs with our mark in the queue, for rest_queue.h; ctx is the backend. */
int rest_fetch_queue(
    void *ctx, long long deadline_ms, struct slurm_job **jobs, size_t *count, struct error *err);

#endif
