/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * All jobs of ours at one moment. slurmrestd cannot look a job up by its name, so that a look-up is
 * a GET of the cluster's whole queue: those who wait at the same time share one, which began after
 * each of them had asked. Any thread.
 */
#ifndef SLURM_REST_QUEUE_H
#define SLURM_REST_QUEUE_H

#include <stddef.h>

#include "agent/slurm/backend.h"

struct rest_queue;

/* Fetches: fills *jobs with an array (to be freed by the queue) of `count` jobs with our mark. */
typedef int (*rest_queue_fetch_fn)(
    void *ctx, long long deadline_ms, struct slurm_job **jobs, size_t *count, struct error *err);

struct rest_queue *rest_queue_new(rest_queue_fetch_fn fetch, void *ctx);
struct rest_queue *rest_queue_destroy(struct rest_queue *q); // returns NULL

struct rest_snapshot {
    struct slurm_job *jobs;
    size_t count;
    unsigned int users; // who still reads it
};

/* A state of the queue not older than this call. Blocks; to be released. */
int rest_queue_get(struct rest_queue *q,
                   long long deadline_ms,
                   struct rest_snapshot **snapshot,
                   struct error *err);
void rest_queue_release(struct rest_queue *q, struct rest_snapshot *snapshot);

#endif
