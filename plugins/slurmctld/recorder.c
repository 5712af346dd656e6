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
#include <string.h>
#include <time.h>

#include "plugins/common/mark.h"
#include "plugins/common/spool.h"

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

static void fill_record(struct record *r, enum record_kind kind, const job_record_t *job)
{
    *r = (struct record){
        .kind = (uint8_t)kind,
        .job_id = job->job_id,
        .restart_count = job->restart_cnt,
        .submit_s = job->details ? job->details->submit_time : 0,
        .start_s = job->start_time,
        .end_s = kind == RECORD_END ? job->end_time : 0, // until the end it is but the limit
        .suspended_s = job->tot_sus_time,
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
