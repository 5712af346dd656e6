/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A SPANK plugin for tests, to be required in plugstack.conf: it fails on the nodes, in init, for
 * every job for which there is a file with its id in the directory that is its argument.
 */
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "slurm/spank.h"

extern const char plugin_name[], plugin_type[];
extern const unsigned int plugin_version, spank_plugin_version;
SPANK_PLUGIN(fail, 1)

int slurm_spank_init(spank_t spank, int argc, char **argv)
{
    char path[4096];
    uint32_t id;
    if (spank_context() != S_CTX_REMOTE || argc != 1) return 0;
    if (spank_get_item(spank, S_JOB_ID, &id) != ESPANK_SUCCESS) return 0;
    (void)snprintf(path, sizeof(path), "%s/%u", argv[0], id);
    return access(path, F_OK) == 0 ? -1 : 0;
}
