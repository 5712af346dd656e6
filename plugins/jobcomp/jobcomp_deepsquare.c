/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * jobcomp/deepsquare: hands the ends (from Slurm 25.05 on also the starts) of grid jobs to
 * deepsquare-forwarder, by way of a spool. Loaded into slurmctld; the hooks run under its job write
 * lock, so they do one bounded write(2) and no network, DNS, fork or fsync, and whatever goes wrong
 * they return success: a job must not suffer because we are down.
 *
 * One source for Slurm 20.11 to 26.05, built against the exact version (doc/spool-format.md says
 * what is recorded). Symbols that each release wants: see its src/common/slurm_jobcomp.c or
 * src/interfaces/jobcomp.c.
 */
#include "config.h" // Slurm's, that is an empty one: see plugins/Makefile.inc
#ifdef PACKAGE_NAME
#error "this is our own config.h"
#endif

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "plugins/common/keeper.h"
#include "plugins/common/settings.h"
#include "plugins/slurmctld/recorder.h"

/* 20.11 prefixed the functions otherwise. */
#if SLURM_VERSION_AT_LEAST(21, 8)
#define HOOK(name) jobcomp_p_##name
#else
#define HOOK(name) slurm_jobcomp_##name
#endif

extern const char plugin_name[], plugin_type[];
extern const uint32_t plugin_version;
const char plugin_name[] = "DeepSquare job completion plugin";
const char plugin_type[] = "jobcomp/deepsquare";
const uint32_t plugin_version = SLURM_VERSION_NUMBER;

/* Under `lock`; the hooks do not take it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct keeper *keeper;
static struct keeper_config config;

static void keeper_log(enum keeper_level level, const char *line)
{
    switch (level) {
    case KEEPER_ERROR:
        slurm_error("deepsquare: forwarder: %s", line);
        break;
    case KEEPER_INFO:
        slurm_info("deepsquare: forwarder: %s", line);
        break;
    case KEEPER_DEBUG:
        slurm_debug("deepsquare: forwarder: %s", line);
        break;
    }
}

static void configure(const char *location)
{
    const char *spool = recorder_in_slurmctld() ? recorder_open() : NULL;
    if (!spool) return;

    char problem[512];
    (void)snprintf(config.spool, sizeof(config.spool), "%s", spool);
    (void)snprintf(config.launch.program, sizeof(config.launch.program), "%s", FORWARDER_PATH);
    if (settings_parse(
            &config.launch, location, slurm_conf.job_comp_params, problem, sizeof(problem)) != 0)
        slurm_error("deepsquare: %s", problem);

    if (!keeper) keeper = keeper_start(keeper_log);
    if (keeper)
        keeper_configure(keeper, &config);
    else
        slurm_error("deepsquare: cannot start the forwarder's keeper: %s; records are kept in %s "
                    "until the next reconfigure",
                    strerror(errno),
                    config.spool);
}

static int set_location(const char *location)
{
    (void)pthread_mutex_lock(&lock);
    configure(location);
    (void)pthread_mutex_unlock(&lock);
    return SLURM_SUCCESS;
}

/* ---- Slurm's symbols. */

extern int init(void);
int init(void)
{
    /* Must not fail: Slurm 22.05 would run on and silently lose every event. What is to be done is
     * done by set_location(), which Slurm calls next. */
    recorder_log_version(plugin_name);
    return SLURM_SUCCESS;
}

extern FINI_TYPE fini(void);
FINI_TYPE fini(void)
{
    (void)pthread_mutex_lock(&lock);
    struct keeper *old = keeper;
    keeper = NULL;
    (void)pthread_mutex_unlock(&lock);
    recorder_close(); // first, so that the forwarder may finish the segment
    keeper_stop(old);
    FINI_RETURN(SLURM_SUCCESS);
}

#if SLURM_VERSION_AT_LEAST(23, 2)
extern int HOOK(set_location)(void);
int HOOK(set_location)(void)
{
    return set_location(slurm_conf.job_comp_loc);
}
#else
extern int HOOK(set_location)(char *location);
int HOOK(set_location)(char *location)
{
    return set_location(location);
}
#endif

/* A resized job ends nothing: only its allocation changes. */
static void record_end(const job_record_t *job)
{
    if (job && !(job->job_state & JOB_RESIZING)) recorder_write(RECORD_END, job);
}

#if SLURM_VERSION_AT_LEAST(25, 5)
extern int HOOK(record_job_end)(job_record_t *job, uint32_t event);
int HOOK(record_job_end)(job_record_t *job, uint32_t event)
{
    (void)event;
    record_end(job);
    return SLURM_SUCCESS;
}

extern int HOOK(record_job_start)(job_record_t *job, uint32_t event);
int HOOK(record_job_start)(job_record_t *job, uint32_t event)
{
    (void)event;
    recorder_write(RECORD_START, job);
    return SLURM_SUCCESS;
}
#else
extern int HOOK(log_record)(job_record_t *job);
int HOOK(log_record)(job_record_t *job)
{
    record_end(job);
    return SLURM_SUCCESS;
}
#endif

/* For sacct -c only: there is no history here. The return type is a list, whatever its name. */
extern void *HOOK(get_jobs)(void *condition);
void *HOOK(get_jobs)(void *condition)
{
    (void)condition;
    slurm_error("deepsquare: this plugin keeps no history of jobs");
    return NULL;
}

#if !SLURM_VERSION_AT_LEAST(22, 5)
extern int HOOK(archive)(void *condition);
int HOOK(archive)(void *condition)
{
    (void)condition;
    return SLURM_SUCCESS;
}
#endif
