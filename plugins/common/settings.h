/* SPDX-License-Identifier: GPL-3.0-or-later */
/* JobCompLoc and JobCompParams of slurm.conf -> how the forwarder is run. Pure; libc only. */
#ifndef PLUGINS_JOBCOMP_SETTINGS_H
#define PLUGINS_JOBCOMP_SETTINGS_H

#include <stddef.h>

#include "plugins/common/keeper.h"

/*
 * Fill endpoint and options of *config; program and spool are kept unless `params` names another
 * program. NULL texts are empty ones. Returns 0, or -1 with a line for the administrator in
 * `problem`: the endpoint is then empty if it was the location that is bad; a bad parameter is left
 * out and the rest used.
 *
 * location: host:port, [v6]:port or unix:/path
 * params:   comma-separated: tls, ca=/path (means tls), host_override=NAME, insecure (TLS without
 *           verification), forwarder=/path. Other plugins' parameters are not expected here.
 */
int settings_parse(struct keeper_config *config,
                   const char *location,
                   const char *params,
                   char *problem,
                   size_t problem_size);

#endif
