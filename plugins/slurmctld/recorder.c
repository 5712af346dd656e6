/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Slurm calls the hooks one at a time up to 24.11 and does not promise it later: everything here is
 * under `lock`, which nobody holds longer than one write(2).
 */
#include "config.h" // Slurm's, that is an empty one: see plugins/Makefile.inc
#ifdef PACKAGE_NAME
#error "this is our own config.h"
#endif

#include "plugins/slurmctld/recorder.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/common/node_conf.h"

#include "plugins/common/mark.h"
#include "plugins/common/spool.h"

/* slurmctld need not have it: the plugins must load all the same. */
#pragma weak find_node_record

enum { LOG_EVERY_MS = 10000 }; // failures to record: one line in this time, with their number

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct spool_writer writer = {.fd = -1}; // .dir "": closed
static char cluster[RECORD_CLUSTER_MAX + 2]; // one more than fits: the record tells that it is cut
static unsigned long failures;               // since the last line about them
static long long log_next_ms;

bool recorder_in_slurmctld(void)
{
    static const char name[] = "slurmctld";
    return strncmp(program_invocation_short_name, name, sizeof(name) - 1) == 0;
}

void recorder_log_version(const char *name)
{
    slurm_info("deepsquare: %s, for Slurm %u.%02u.%u",
               name,
               SLURM_VERSION_MAJOR(SLURM_VERSION_NUMBER),
               SLURM_VERSION_MINOR(SLURM_VERSION_NUMBER),
               SLURM_VERSION_MICRO(SLURM_VERSION_NUMBER));
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

/* As slurmctld reckons it: pre_sus_time is what the job ran until it was last stopped or resumed.
 */
static int64_t suspended_s(const job_record_t *job)
{
    if (!job->suspend_time) return 0;
    return job->suspend_time - job->start_time - job->pre_sus_time;
}

/*
 * Will Slurm leave it at this end? Up to 23.11 RequeueExit queues also those jobs again that are
 * not to be requeued.
 */
static bool is_settled(const job_record_t *job)
{
    return job->details && !job->details->requeue && !slurm_conf.requeue_exit &&
           !slurm_conf.requeue_exit_hold;
}

/*
 * A batch script that its node could not start (a required SPANK plugin failed, or no memory) is
 * COMPLETED with exit code 0. Nothing in the job tells it from one that was run; but slurmctld has
 * drained the node just before. It does the same when a process of the job could not be killed:
 * then UnkillableStepTimeout has passed since the script ended.
 */
static bool is_not_run(const job_record_t *job)
{
    static const char drained[] = "batch job complete failure";
    if ((job->job_state & JOB_STATE_BASE) != JOB_COMPLETE || !job->batch_host ||
        !find_node_record || job->end_time - job->start_time >= slurm_conf.unkillable_timeout)
        return false;
    const node_record_t *node = find_node_record(job->batch_host);
    return node && node->reason && strcmp(node->reason, drained) == 0 &&
           labs(job->end_time - node->reason_time) <= 1;
}

static uint8_t end_flags(const job_record_t *job)
{
    return (is_settled(job) ? RECORD_SETTLED : 0) | (is_not_run(job) ? RECORD_NOT_RUN : 0);
}

static void fill_record(struct record *r, enum record_kind kind, const job_record_t *job)
{
    *r = (struct record){
        .kind = (uint8_t)kind,
        .flags = kind == RECORD_END ? end_flags(job) : 0,
        .job_id = job->job_id,
        .restart_count = job->restart_cnt,
        .submit_s = job->details ? job->details->submit_time : 0,
        .start_s = job->start_time,
        .end_s = kind == RECORD_END ? job->end_time : 0, // until the end it is but the limit
        .suspended_s = suspended_s(job),
        .job_state = job->job_state,
        .wait_status = job->exit_code,
        .user_id = job->user_id,
        .written_s = time(NULL),
    };
    record_set_name(r, job->name);
    record_set_comment(r, job->comment);
    record_set_cluster(r, cluster);
}

void recorder_write(enum record_kind kind, const job_record_t *job)
{
    struct record r;
    if (!job || !mark_is_in(job->comment)) return;

    (void)pthread_mutex_lock(&lock);
    if (writer.dir[0]) {
        fill_record(&r, kind, job);
        int rc = spool_writer_append(&writer, &r);
        if (rc < 0) log_failure(rc);
    }
    (void)pthread_mutex_unlock(&lock);
}

static const char *open_spool(void)
{
    char dir[sizeof(writer.dir)];
    const char *state = slurm_conf.state_save_location;
    int n = snprintf(dir, sizeof(dir), "%s/deepsquare", state ? state : "");
    if (!state || n < 0 || (size_t)n >= sizeof(dir)) {
        slurm_error("deepsquare: StateSaveLocation is missing or too long: nothing is recorded");
        return writer.dir[0] ? writer.dir : NULL;
    }
    (void)snprintf(
        cluster, sizeof(cluster), "%s", slurm_conf.cluster_name ? slurm_conf.cluster_name : "");
    if (strcmp(dir, writer.dir) != 0) {
        spool_writer_close(&writer);
        (void)spool_writer_init(&writer, dir);
    }
    return writer.dir;
}

const char *recorder_open(void)
{
    (void)pthread_mutex_lock(&lock);
    const char *dir = open_spool();
    (void)pthread_mutex_unlock(&lock);
    return dir;
}

void recorder_close(void)
{
    (void)pthread_mutex_lock(&lock);
    spool_writer_close(&writer);
    writer.dir[0] = '\0';
    log_next_ms = 0;
    (void)pthread_mutex_unlock(&lock);
}
