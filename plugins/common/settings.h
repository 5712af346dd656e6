/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What slurm.conf and plugstack.conf say of the forwarder. Pure; libc only. */
#ifndef PLUGINS_COMMON_SETTINGS_H
#define PLUGINS_COMMON_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "plugins/common/launch.h"

/* host:port, [v6]:port or unix:/path. False, and nothing set, if it is none of these. */
bool settings_set_endpoint(struct launch_config *config, const char *endpoint);

/*
 * One option: tls, ca=/path (means tls), host-override=NAME (or host_override), insecure (TLS
 * without verification), forwarder=/path. False, and nothing set, if it is none of these or its
 * value is bad; but a bad ca= still means tls.
 */
bool settings_apply(struct launch_config *config, const char *option);

/*
 * JobCompLoc and JobCompParams (options, comma-separated; other plugins' are not expected here)
 * -> *config, of which only the program is kept unless `params` names another. NULL texts are empty
 * ones. Returns 0, or -1 with a line for the administrator in `problem`: the endpoint is then empty
 * if it was the location that is bad; a bad parameter is left out and the rest used.
 */
int settings_parse(struct launch_config *config,
                   const char *location,
                   const char *params,
                   char *problem,
                   size_t problem_size);

#endif
