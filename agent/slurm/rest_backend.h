/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Slurm over slurmrestd: submissions and cancellations as the job's user, everything else as the
 * admin user, who must see all jobs and be allowed to raise time limits (root, SlurmUser or an
 * operator). Users are looked up on the agent's own host, which must know those of the cluster:
 * slurmctld would take an unknown name for nobody.
 */
#ifndef SLURM_REST_BACKEND_H
#define SLURM_REST_BACKEND_H

#include "agent/slurm/backend.h"
#include "agent/util/secret.h"

struct slurm_rest_options {
    const char *endpoint;   // http://host:port, https://host:port or unix:/path
    const char *ca;         // CA certificates (PEM) for https; NULL or "": the system's
    struct secret jwt_key;  // the key file's bytes, copied; empty: the token file
    const char *token_file; // holds root's or SlurmUser's token; read anew when it changes
    const char *admin_user; // NULL or "": root
};

/*
 * Checks the options; does not connect. NULL with ERR_INVALID, ERR_UNAVAILABLE (the token file),
 * ERR_NOMEM.
 *
 * More than backend.h says: with a JWT key a submission is signed to be good until its deadline
 * (and REST_LATE_S, of slurmctld's clock): what slurmrestd or slurmctld come to later than that is
 * refused as expired, so that find() tells the truth from then on. With a token file nothing bounds
 * a slurmrestd that was stopped for hours.
 */
struct slurm_backend *slurm_rest_new(const struct slurm_rest_options *options, struct error *err);

enum { REST_LATE_S = 2 };

#endif
