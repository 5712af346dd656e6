/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * spank_deepsquare: tells the agent of the start of a grid job from the node, where neither jobcomp
 * nor prep can tell it. It acts in job_prolog alone: a process that slurmd makes for that purpose,
 * as root, before the job's first task on this node. There it starts deepsquare-forwarder --once
 * and does not wait for it; whatever goes wrong it returns success, since Slurm would requeue the
 * job and drain the node otherwise.
 *
 * Needs nothing of Slurm but spank.h. The mark of a job is in the environment from 22.05 on; in
 * older releases this plugin finds no job of the grid and does nothing.
 *
 *   optional spank_deepsquare.so endpoint=HOST:PORT [ca=/path] [tls] [host-override=NAME] ...
 */
#include <stdint.h>

#include <slurm/slurm.h> // in 20.11 the version is there
#include <slurm/spank.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/common/launch.h"
#include "plugins/common/mark.h"
#include "plugins/common/settings.h"

SPANK_PLUGIN(deepsquare, 1)

static bool apply_option(struct launch_config *config, const char *option)
{
    static const char endpoint[] = "endpoint=";
    if (strncmp(option, endpoint, sizeof(endpoint) - 1) == 0)
        return settings_set_endpoint(config, option + sizeof(endpoint) - 1);
    return settings_apply(config, option);
}

static bool read_options(struct launch_config *config, int count, char **options)
{
    *config = (struct launch_config){.program = FORWARDER_PATH};
    for (int i = 0; i < count; i++) {
        if (!apply_option(config, options[i]))
            slurm_error("deepsquare: plugstack.conf: \"%.128s\" is no option of "
                        "spank_deepsquare.so or has a bad value, ignoring it",
                        options[i]);
    }
    if (!config->endpoint[0])
        slurm_error("deepsquare: plugstack.conf: spank_deepsquare.so needs "
                    "endpoint=HOST:PORT; no starts are reported from this node");
    return config->endpoint[0];
}

/* A number that Slurm put into our environment; "0" if there is none. */
static const char *number_of(const char *variable)
{
    const char *text = getenv(variable); // slurmd's own words: a user's begin with SPANK_
    return text && *text && strspn(text, "0123456789") == strlen(text) ? text : "0";
}

static struct launch_config config; // 8 KiB: much for a stack that is not ours

extern int slurm_spank_job_prolog(spank_t spank, int argc, char **argv);
int slurm_spank_job_prolog(spank_t spank, int argc, char **argv)
{
    uint32_t job_id;
    if (!mark_is_in(getenv("SLURM_JOB_COMMENT"))) return 0;
    if (!read_options(&config, argc, argv)) return 0;
    if (spank_get_item(spank, S_JOB_ID, &job_id) != ESPANK_SUCCESS) return 0;

    char id[16];
    (void)snprintf(id, sizeof(id), "%u", (unsigned int)job_id);
    const char *args[] = {"--once",
                          "--job-id",
                          id,
                          "--restart-count",
                          number_of("SLURM_JOB_RESTART_COUNT"),
                          "--start-time",
                          number_of("SLURM_JOB_START_TIME"), // from 23.02 on
                          NULL};
    pid_t pid; // nobody waits for it: this process ends soon, and init does
    int rc = launch_forwarder(&config, args, -1, -1, &pid);
    if (rc != 0)
        slurm_error("deepsquare: cannot start %.128s: %s; the agent finds the start by its own "
                    "query",
                    config.program,
                    strerror(rc));
    return 0;
}
