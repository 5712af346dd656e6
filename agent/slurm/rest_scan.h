/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Walking through a large JSON text without building all of it: the jobs of a whole cluster come in
 * one answer (3 KB a job), and a few of them are ours. Only the structure is checked here; what is
 * taken out of it goes through agent/util/jsonx.h. Pure, nothing is allocated.
 */
#ifndef SLURM_REST_SCAN_H
#define SLURM_REST_SCAN_H

#include <stddef.h>

#include "agent/util/error.h"

struct rest_slice {
    const char *text; // not NUL-terminated
    size_t len;
};

struct rest_scan {
    const char *at, *end;
    char close; // '}' or ']'
    int first;
};

/* Begin with an object or array, which is all of `value` but for blanks. 0 or ERR_PROTO. */
int rest_scan_begin(struct rest_scan *s, struct rest_slice value, char open, struct error *err);

/*
 * The next member of the object (key without its quotes, escapes as they are), or the next element
 * of the array (`key` NULL). 1, 0 at the end, ERR_PROTO.
 */
int rest_scan_next(struct rest_scan *s,
                   struct rest_slice *key,
                   struct rest_slice *value,
                   struct error *err);

#endif
