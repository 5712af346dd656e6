/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * prep/deepsquare: records the start of grid jobs, for Slurm before 25.05, whose jobcomp plugins
 * are told of ends only. It acts in slurmctld alone; slurmd loads it too, since PrEpPlugins is one
 * setting for both, and gets nothing but success from it. The hook runs under slurmctld's job write
 * lock: see plugins/slurmctld/recorder.h for what it costs.
 *
 * It starts no forwarder: that of the jobcomp plugin reads the spool and sees what is written there
 * by whom ever. One source for Slurm 20.11 to 26.05, whose six symbols are the same.
 */
#include "config.h" // Slurm's, that is an empty one: see plugins/Makefile.inc
#ifdef PACKAGE_NAME
#error "this is our own config.h"
#endif

#include <string.h>

#include "plugins/slurmctld/recorder.h"

/* Of prep.h, which in old releases wants more headers than there are out of a build of Slurm. */
enum { CALL_PROLOG_SLURMCTLD = 3 };

extern const char plugin_name[], plugin_type[];
extern const uint32_t plugin_version;
const char plugin_name[] = "DeepSquare job start plugin";
const char plugin_type[] = "prep/deepsquare";
const uint32_t plugin_version = SLURM_VERSION_NUMBER;

static bool recording;

/* "jobcomp/deepsquare", or without the first word, as newer releases allow. */
static bool has_jobcomp(void)
{
    const char *type = slurm_conf.job_comp_type ? slurm_conf.job_comp_type : "";
    const char *slash = strchr(type, '/');
    return strcmp(slash ? slash + 1 : type, "deepsquare") == 0;
}

extern int init(void);
int init(void)
{
    if (!recorder_in_slurmctld()) return SLURM_SUCCESS;
    recorder_log_version(plugin_name);
    if (!has_jobcomp())
        slurm_error("deepsquare: prep/deepsquare needs JobCompType=jobcomp/deepsquare, which sends "
                    "what it records; no starts are recorded");
    else
        recording = recorder_open() != NULL;
    return SLURM_SUCCESS; // else slurmctld would not start
}

extern FINI_TYPE fini(void);
FINI_TYPE fini(void)
{
    recording = false;
    recorder_close();
    FINI_RETURN(SLURM_SUCCESS);
}

/* ---- Slurm's symbols. Pointers to Slurm's types that are not looked at are void *. */

extern int prep_p_register_callbacks(void *callbacks);
int prep_p_register_callbacks(void *callbacks)
{
    (void)callbacks;
    return SLURM_SUCCESS;
}

/* A hook that is not required costs nothing: Slurm does not even start a thread for it. */
extern void prep_p_required(int type, bool *required);
void prep_p_required(int type, bool *required)
{
    if (type == CALL_PROLOG_SLURMCTLD && recording) *required = true;
}

extern int prep_p_prolog_slurmctld(job_record_t *job, bool *async);
int prep_p_prolog_slurmctld(job_record_t *job, bool *async)
{
    *async = false;
    recorder_write(RECORD_START, job);
    return SLURM_SUCCESS;
}

extern int prep_p_epilog_slurmctld(job_record_t *job, bool *async);
int prep_p_epilog_slurmctld(job_record_t *job, bool *async)
{
    (void)job;
    *async = false;
    return SLURM_SUCCESS;
}

extern int prep_p_prolog(void *env, void *credential);
int prep_p_prolog(void *env, void *credential)
{
    (void)env;
    (void)credential;
    return SLURM_SUCCESS;
}

extern int prep_p_epilog(void *env, void *credential);
int prep_p_epilog(void *env, void *credential)
{
    (void)env;
    (void)credential;
    return SLURM_SUCCESS;
}
