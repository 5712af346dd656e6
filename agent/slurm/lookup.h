/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How a job is looked up, whichever way: the queue first, then accounting. A way fetches records;
 * what they mean, and when "none" may be said, is decided here.
 */
#ifndef SLURM_LOOKUP_H
#define SLURM_LOOKUP_H

#include "agent/slurm/backend.h"

enum {
    LOOKUP_IDS_MAX = 1000, // of one question
    LOOKUP_DAYS = 30,      // by name accounting looks back so far: far longer than a job waits
};

/* By name and user, by ids, or, with neither, for all jobs (of the queue only). */
struct lookup_question {
    const char *name, *user;
    const uint64_t *ids;
    size_t count; // LOOKUP_IDS_MAX at most
};

/* Takes one record of an answer. */
typedef void lookup_take_fn(void *ctx, const struct slurm_job *job);

/* Hands every record of the answer to `take`; there may be others than the question is about. */
typedef int lookup_ask_fn(struct slurm_backend *b,
                          const struct lookup_question *question,
                          long long deadline_ms,
                          lookup_take_fn *take,
                          void *ctx,
                          struct error *err);

struct lookup_source {
    lookup_ask_fn *queue;
    lookup_ask_fn *accounting; // ERR_NOTFOUND: the cluster has none
    /* How many records slurmctld has yet to bring to slurmdbd. */
    int (*waiting)(struct slurm_backend *b,
                   long long deadline_ms,
                   uint64_t *count,
                   struct error *err);
};

/* As of struct slurm_backend_ops. */
int lookup_find(const struct lookup_source *s,
                struct slurm_backend *b,
                const char *name,
                const char *user,
                long long deadline_ms,
                struct slurm_job *job,
                struct error *err);
int lookup_query(const struct lookup_source *s,
                 struct slurm_backend *b,
                 const uint64_t *ids,
                 size_t count,
                 long long deadline_ms,
                 struct slurm_job *jobs,
                 size_t *found,
                 enum slurm_proof *proof,
                 struct error *err);
int lookup_list(const struct lookup_source *s,
                struct slurm_backend *b,
                long long deadline_ms,
                struct slurm_job **jobs,
                size_t *count,
                struct error *err);

#endif
