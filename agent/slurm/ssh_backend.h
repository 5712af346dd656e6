/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Slurm over SSH: sbatch and scancel as the job's user, squeue, scontrol, sacct and sdiag (from
 * where sacct is) as the admin user, on the login node (agent/slurm/remote.h tells what runs
 * there). The login node needs /bin/sh, env, timeout, sed and getent in its users' PATH. The admin
 * user must see all jobs and be allowed to raise time limits (a Slurm operator).
 */
#ifndef SLURM_SSH_BACKEND_H
#define SLURM_SSH_BACKEND_H

#include "agent/slurm/backend.h"
#include "agent/util/buf.h"
#include "agent/util/secret.h"

struct slurm_ssh_options {
    const char *address; // host:port
    const char *admin_user;
    struct secret private_key; // base64 on one line; copied
    const char *known_hosts;   // NULL or "": ~/.ssh/known_hosts and the system's
    bool insecure;             // any host key will do (the caller warns)
    const char *sbatch, *scancel, *squeue, *scontrol,
        *sacct; // on the login node; NULL: by its PATH
    long long connect_timeout_ms;
    /* For tests; 0: SSH_POOL_IDLE_MS. */
    long long idle_ms;
};

/*
 * Checks the options and the key; does not connect. NULL with ERR_INVALID or ERR_NOMEM.
 *
 * More than backend.h says: when submit() gives ERR_OUTCOME_UNKNOWN, nothing of it is under way any
 * more, so a find() right after tells the truth. (It waits until its deadline for that where the
 * connection broke.) After a crash of the agent that takes until the deadline of the lost call.
 */
struct slurm_backend *slurm_ssh_new(const struct slurm_ssh_options *options, struct error *err);

/* Append the line for authorized_keys (no newline). ERR_INVALID if the key is none. */
int slurm_ssh_public_key(const struct secret *key_base64, struct buf *line, struct error *err);

struct ssh_pool;
struct ssh_pool *slurm_ssh_pool(struct slurm_backend *backend); // for metrics and tests

#endif
