/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A partition and its nodes as scontrol and slurmrestd show them. Pure. */
#ifndef SLURM_NODES_H
#define SLURM_NODES_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/slurm/backend.h"
#include "agent/util/error.h"

/* Flags of a state's part: "IDLE", "drained", "NOT_RESPONDING", "POWERED_DOWN"; 0 for most. */
uint32_t nodes_state_flags(const char *word, size_t len);

/* Is `name` one of the list's, which has commas? */
bool nodes_list_has(const char *list, size_t len, const char *name);

/*
 * Those nodes of `scontrol -o -d show node` that are in the partition, in an array to be freed.
 * ERR_PROTO, ERR_NOTFOUND (none is), ERR_NOMEM.
 */
int nodes_parse(const char *text,
                const char *partition,
                struct slurm_node **nodes,
                size_t *count,
                struct error *err);

/* MaxTime of that partition in `scontrol -o show partition`. ERR_PROTO if it has none. */
int nodes_parse_max_time(const char *text,
                         const char *partition,
                         uint64_t *minutes,
                         struct error *err);

/* Append one to a growing array; 0 or ERR_NOMEM. */
int nodes_add(struct slurm_node **nodes, size_t *count, const struct slurm_node *node);

#endif
