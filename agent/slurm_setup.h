/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Making the backend of Slurm that the options ask for. */
#ifndef AGENT_SLURM_SETUP_H
#define AGENT_SLURM_SETUP_H

#include "agent/options.h"
#include "agent/slurm/backend.h"
#include "agent/util/buf.h"
#include "agent/util/error.h"

/*
 * The backend (to be destroyed by its op), and in `authorized_keys` the line for authorized_keys if
 * SSH is used. Reads key files, does not connect; warns of what is insecure, and logs each change
 * between slurmrestd and SSH. NULL on error.
 */
struct slurm_backend *
slurm_setup(const struct options *o, struct buf *authorized_keys, struct error *err);

#endif
