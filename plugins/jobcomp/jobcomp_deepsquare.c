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
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "src/slurmctld/slurmctld.h"

#include "slurm/slurm_errno.h"
#include "slurm/spank.h" // slurm_info() and so on: exported by every release

#include "plugins/common/keeper.h"
#include "plugins/common/record.h"
#include "plugins/common/spool.h"
#include "plugins/jobcomp/settings.h"

#define SLURM_VERSION_AT_LEAST(major, minor) \
    (SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM((major), (minor), 0))

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

/* A job of the grid has a comment that begins so. */
#define MARK     "supervisor "
#define MARK_LEN (sizeof(MARK) - 1)

enum { LOG_EVERY_MS = 10000 }; // failures to record: one line in this time, with their number

/*
 * Slurm calls the hooks one at a time up to 24.11 and does not promise it later: everything below
 * is under `lock`, which nobody holds longer than one write(2).
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct spool_writer writer = {.fd = -1};
static struct keeper *keeper;
static struct keeper_config config;
static unsigned long failures; // since the last line about them
static long long log_next_ms;

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

/* sacct -c loads this plugin too, as any user: only slurmctld has a spool and a forwarder. */
static bool in_slurmctld(void)
{
    static const char name[] = "slurmctld";
    return strncmp(program_invocation_short_name, name, sizeof(name) - 1) == 0;
}

static void log_failure(int rc)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    long long now = (long long)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
    failures++;
    if (now < log_next_ms) return;
    slurm_error("deepsquare: %lu job record(s) could not be written to %s: %s. The agent has to "
                "find out by its own queries",
                failures,
                writer.dir,
                strerror(-rc));
    failures = 0;
    log_next_ms = now + LOG_EVERY_MS;
}

static bool is_ours(const job_record_t *job)
{
    return job && job->comment && strncmp(job->comment, MARK, MARK_LEN) == 0;
}

static void fill_record(struct record *r, enum record_kind kind, const job_record_t *job)
{
    *r = (struct record){
        .kind = (uint8_t)kind,
        .job_id = job->job_id,
        .restart_count = job->restart_cnt,
        .submit_s = job->details ? job->details->submit_time : 0,
        .start_s = job->start_time,
        .end_s = job->end_time,
        .suspended_s = job->tot_sus_time,
        .job_state = job->job_state,
        .wait_status = job->exit_code,
        .user_id = job->user_id,
        .written_s = time(NULL),
    };
    record_set_name(r, job->name);
    record_set_comment(r, job->comment);
    record_set_cluster(r, slurm_conf.cluster_name);
}

static void write_record(enum record_kind kind, const job_record_t *job)
{
    struct record r;
    fill_record(&r, kind, job);

    (void)pthread_mutex_lock(&lock);
    if (writer.dir[0]) {
        int rc = spool_writer_append(&writer, &r);
        if (rc < 0) log_failure(rc);
        if (keeper) keeper_wake(keeper);
    }
    (void)pthread_mutex_unlock(&lock);
}

/* A resized job ends nothing: only its allocation changes. */
static void record_end(const job_record_t *job)
{
    if (is_ours(job) && !(job->job_state & JOB_RESIZING)) write_record(RECORD_END, job);
}

/* Where the spool is, now that slurm.conf is read. */
static void set_spool(void)
{
    char dir[sizeof(config.spool)];
    const char *state = slurm_conf.state_save_location;
    int n = snprintf(dir, sizeof(dir), "%s/deepsquare", state ? state : "");
    if (!state || n < 0 || (size_t)n >= sizeof(dir)) {
        slurm_error("deepsquare: StateSaveLocation is missing or too long: nothing is recorded");
        return;
    }
    if (strcmp(dir, writer.dir) == 0) return;
    spool_writer_close(&writer);
    (void)spool_writer_init(&writer, dir);
    memcpy(config.spool, dir, (size_t)n + 1);
}

static void configure(const char *location)
{
    if (!in_slurmctld()) return;
    set_spool();
    if (!writer.dir[0]) return;

    char problem[512];
    (void)snprintf(config.program, sizeof(config.program), "%s", FORWARDER_PATH);
    if (settings_parse(&config, location, slurm_conf.job_comp_params, problem, sizeof(problem)) !=
        0)
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
    slurm_info("deepsquare: %s, for Slurm %u.%02u.%u",
               plugin_name,
               SLURM_VERSION_MAJOR(SLURM_VERSION_NUMBER),
               SLURM_VERSION_MINOR(SLURM_VERSION_NUMBER),
               SLURM_VERSION_MICRO(SLURM_VERSION_NUMBER));
    return SLURM_SUCCESS;
}

#if SLURM_VERSION_AT_LEAST(25, 11)
extern void fini(void);
void fini(void)
#else
extern int fini(void);
int fini(void)
#endif
{
    (void)pthread_mutex_lock(&lock);
    struct keeper *old = keeper;
    keeper = NULL;
    spool_writer_close(&writer); // so that the forwarder may finish the segment
    writer.dir[0] = '\0';
    log_next_ms = 0;
    (void)pthread_mutex_unlock(&lock);
    keeper_stop(old);
#if !SLURM_VERSION_AT_LEAST(25, 11)
    return SLURM_SUCCESS;
#endif
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
    if (is_ours(job)) write_record(RECORD_START, job);
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
