/* SPDX-License-Identifier: GPL-3.0-or-later */
/* GPUs in Slurm's lists of generic resources, of jobs and of nodes. Pure. */
#ifndef SLURM_GRES_H
#define SLURM_GRES_H

#include <stdint.h>

/*
 * The GPUs of a list such as "gpu:a100:4(S:0-1),shard:8", "gres:gpu:2", "gres/gpu=2"; 0 if it has
 * none. ERR_PROTO if a number of GPUs cannot be read.
 */
int gres_gpus(const char *list, uint64_t *count);

#endif
