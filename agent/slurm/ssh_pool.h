/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Connections to the login node, kept by user: a new one costs about 200 ms and a login, a command
 * over one that is there about 15 ms. Any thread; several at once (each has a connection of its
 * own while it runs a command). A thread of the pool closes what was idle for a minute.
 */
#ifndef SLURM_SSH_POOL_H
#define SLURM_SSH_POOL_H

#include <stdint.h>

#include "agent/slurm/ssh.h"

enum {
    // sshd's default MaxStartups drops at random from the 11th unauthenticated connection on.
    SSH_POOL_MAX = 10,
    SSH_POOL_IDLE_MS = 60 * 1000,
};

struct ssh_pool;

/* Takes the key out of `target`; its known_hosts is copied. `idle_ms`: SSH_POOL_IDLE_MS. */
struct ssh_pool *ssh_pool_new(struct sshc_target *target, long long idle_ms, struct error *err);

/* Nobody may be in ssh_pool_run() any more. Returns NULL. */
struct ssh_pool *ssh_pool_destroy(struct ssh_pool *pool);

/*
 * sshc_run() over a connection of that user. A connection that turns out to be stale is replaced
 * once. ERR_BUSY: all connections were in use until the deadline.
 */
int ssh_pool_run(struct ssh_pool *pool,
                 const char *user,
                 const struct sshc_call *call,
                 long long deadline_ms,
                 struct sshc_result *result,
                 struct error *err);

struct ssh_pool_counts {
    uint64_t opened;   // connections since the start
    unsigned int open; // now, in use or idle
};

void ssh_pool_count(struct ssh_pool *pool, struct ssh_pool_counts *counts);

#endif
