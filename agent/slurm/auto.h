/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Slurm over slurmrestd, and over SSH while that is out of order. An operation that slurmrestd did
 * not answer is done over SSH at once, but for a submission whose outcome is unknown: the caller
 * has to look for the job first. From then on everything goes over SSH, and a thread pings
 * slurmrestd until it answers again. What Slurm refuses is a verdict, whichever way it came. "Not
 * now" (ERR_BUSY) is no outage; SSH is asked all the same, which may know more of accounting.
 */
#ifndef SLURM_AUTO_H
#define SLURM_AUTO_H

#include <stdbool.h>

#include "agent/slurm/backend.h"

struct slurm_auto_options {
    struct slurm_backend *rest, *ssh; // both; taken, also on failure
    /* Told of each change, from any thread and without any lock held; may be NULL. `changes`: how
     * many there were, with this one. */
    void (*changed)(void *ctx, bool over_ssh, unsigned long long changes, const char *why);
    void *ctx;
    long long probe_ms; // between two pings; 0: AUTO_PROBE_MS
};

enum { AUTO_PROBE_MS = 5000 };

/* Starts with slurmrestd. NULL with ERR_NOMEM. */
struct slurm_backend *slurm_auto_new(const struct slurm_auto_options *options, struct error *err);

struct slurm_auto_way {
    bool over_ssh;
    unsigned long long changes; // from one to the other, ever
};

/* Which way Slurm is reached now. False for a backend that is no such one. Any thread. */
bool slurm_auto_way(const struct slurm_backend *backend, struct slurm_auto_way *way);

#endif
