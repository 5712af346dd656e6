/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Shared by the files that read slurmrestd's answers. */
#ifndef SLURM_REST_PRIVATE_H
#define SLURM_REST_PRIVATE_H

#include "agent/slurm/rest_api.h"

struct json_object;

/*
 * Parse a slice of at most `max` bytes. Bytes above ASCII become '?': texts of users are in it, and
 * Slurm does not care whether they are UTF-8, nor may one of them make the whole unreadable.
 */
int rest_parse(struct rest_slice s, size_t max, struct json_object **out, struct error *err);

#endif
