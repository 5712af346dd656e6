/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plugins/forwarder/request.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agent/util/hex.h"
#include "proto/supervisor.pb-c.h"

/* slurm/slurm.h; the same from 20.11 to 26.05. */
enum {
    STATE_BASE = 0xff,
    BASE_PENDING = 0,
    BASE_COMPLETE = 3,
    BASE_CANCELLED = 4,
    BASE_FAILED = 5,
    BASE_TIMEOUT = 6,
    BASE_NODE_FAIL = 7,
    BASE_PREEMPTED = 8,
    BASE_BOOT_FAIL = 9,
    BASE_DEADLINE = 10,
    BASE_OUT_OF_MEMORY = 11,
    BASES,
    FLAG_REQUEUE = 1 << 10,
    FLAG_REQUEUE_HOLD = 1 << 11,
    FLAG_SPECIAL_EXIT = 1 << 12, // held after a special exit code, to be requeued
    FLAG_RESIZING = 1 << 13,
    FLAG_COMPLETING = 1 << 15,
    FLAG_POWER_UP_NODE = 1 << 18,
    FLAG_REVOKED = 1 << 19, // runs on another cluster of the federation
    FLAG_REQUEUE_FED = 1 << 20,
};

enum {
    JOB_ID_BYTES = 32,
    CLUSTER_MAX = 63, // what the agent takes
    SIGNAL_MAX = 64,
    SIGNAL_KILL = 9,
    SIGNAL_BASE = 128,
};

static const struct {
    enum request_status status;
    bool only_completing; // without COMPLETING a job that may be requeued was, and lives
} ends[BASES] = {
    [BASE_COMPLETE] = {REQUEST_FINISHED, false},
    [BASE_CANCELLED] = {REQUEST_CANCELLED, false},
    [BASE_FAILED] = {REQUEST_FAILED, false},
    [BASE_TIMEOUT] = {REQUEST_OUT_OF_CREDITS, false},
    [BASE_NODE_FAIL] = {REQUEST_FAILED, true},
    [BASE_PREEMPTED] = {REQUEST_FAILED, true},
    [BASE_BOOT_FAIL] = {REQUEST_FAILED, true},
    [BASE_DEADLINE] = {REQUEST_FAILED, false},
    [BASE_OUT_OF_MEMORY] = {REQUEST_FAILED, false},
};

static enum request_status nothing(const char **why, const char *text)
{
    *why = text;
    return REQUEST_UNSPECIFIED;
}

static enum request_status end_status(const struct record *r, const char **why)
{
    enum {
        LIVES =
            FLAG_REQUEUE | FLAG_REQUEUE_HOLD | FLAG_SPECIAL_EXIT | FLAG_REQUEUE_FED | FLAG_REVOKED
    };
    uint32_t base = r->job_state & STATE_BASE;

    if (r->job_state & FLAG_RESIZING) return nothing(why, "the job was resized");
    if (base == BASE_PENDING || (r->job_state & LIVES)) return nothing(why, "the job was requeued");
    if (base >= BASES || ends[base].status == REQUEST_UNSPECIFIED)
        return nothing(why, "the state is not an end");
    if (ends[base].only_completing && !(r->job_state & FLAG_COMPLETING) &&
        !(r->flags & RECORD_SETTLED))
        return nothing(why, "the job was probably requeued");
    // As the agent has it (agent/engine/ends.c), for servers that do not look at the record.
    bool started = r->job_state & FLAG_COMPLETING || request_duration_s(r) > 0;
    bool failed = !started || r->flags & RECORD_NOT_RUN || r->wait_status;
    if (base == BASE_COMPLETE && failed) return REQUEST_FAILED;
    return base == BASE_TIMEOUT && !started ? REQUEST_FAILED : ends[base].status;
}

/* The name as the agent wants it; "" for a start without one. False: not a grid job's. */
static bool grid_name(const struct record *r, char out[2 * JOB_ID_BYTES + 3])
{
    uint8_t id[JOB_ID_BYTES];
    out[0] = '\0';
    if (r->kind == RECORD_START && !r->name[0]) return true;
    if (hex_decode(id, sizeof(id), r->name) < 0) return false;
    (void)hex_encode(out, id, sizeof(id));
    return true;
}

enum request_status request_status(const struct record *r, const char **why)
{
    char name[2 * JOB_ID_BYTES + 3];
    *why = NULL;
    if (!grid_name(r, name)) return nothing(why, "the name is no grid job's");
    switch (r->kind) {
    case RECORD_START:
        if (r->job_state & FLAG_POWER_UP_NODE) return nothing(why, "its nodes are not up yet");
        return REQUEST_RUNNING;
    case RECORD_END:
        return end_status(r, why);
    default:
        return nothing(why, "the kind of record is unknown");
    }
}

uint64_t request_duration_s(const struct record *r)
{
    int64_t ran;
    if (r->kind != RECORD_END || r->start_s <= 0) return 0;
    if (__builtin_sub_overflow(r->end_s, r->start_s, &ran) || ran <= 0) return 0;
    if (r->suspended_s > 0 && __builtin_sub_overflow(ran, r->suspended_s, &ran)) return 0;
    return ran > 0 ? (uint64_t)ran : 0;
}

int64_t request_exit_code(const struct record *r)
{
    if (r->kind != RECORD_END) return 0;
    uint32_t sig = r->wait_status & 0x7f;
    if (sig == 0) return (r->wait_status >> 8) & 0xff;
    /* Slurm marks a task that the kernel's OOM killer ended with a signal that does not exist. */
    if (sig > SIGNAL_MAX && (r->job_state & STATE_BASE) == BASE_OUT_OF_MEMORY) sig = SIGNAL_KILL;
    return SIGNAL_BASE + (int64_t)sig;
}

/* The agent takes printable ASCII only, and so does protobuf without further checks. */
static void copy_cluster(char out[CLUSTER_MAX + 1], const char *name)
{
    size_t n = 0;
    for (; *name && n < CLUSTER_MAX; name++)
        out[n++] = *name > ' ' && *name <= '~' ? *name : '?';
    out[n] = '\0';
}

uint8_t *request_pack(const struct record *r, size_t *len, struct error *err)
{
    char name[2 * JOB_ID_BYTES + 3], cluster[CLUSTER_MAX + 1];
    const char *why;
    if (!grid_name(r, name)) {
        (void)error_set(err, ERR_INVALID, "the name is no grid job's");
        return NULL;
    }
    copy_cluster(cluster, r->cluster);

    Supervisor__V1alpha1__SlurmRecord slurm = SUPERVISOR__V1ALPHA1__SLURM_RECORD__INIT;
    slurm.state = r->job_state;
    slurm.wait_status = r->wait_status;
    slurm.restart_count = r->restart_count;
    slurm.submit_time = r->submit_s;
    slurm.start_time = r->start_s;
    slurm.end_time = r->end_s;
    slurm.user_id = r->user_id;
    slurm.cluster = cluster;
    slurm.settled = (r->flags & RECORD_SETTLED) != 0;
    slurm.not_run = (r->flags & RECORD_NOT_RUN) != 0;

    Supervisor__V1alpha1__SetJobStatusRequest request =
        SUPERVISOR__V1ALPHA1__SET_JOB_STATUS_REQUEST__INIT;
    request.name = name;
    request.id = r->job_id;
    request.duration = request_duration_s(r);
    request.status = (Supervisor__V1alpha1__JobStatus)request_status(r, &why);
    request.exit_code = request_exit_code(r);
    request.record = &slurm;

    *len = supervisor__v1alpha1__set_job_status_request__get_packed_size(&request);
    uint8_t *data = malloc(*len ? *len : 1);
    if (!data) {
        (void)error_set(err, ERR_NOMEM, "no memory for a request of %zu bytes", *len);
        return NULL;
    }
    (void)supervisor__v1alpha1__set_job_status_request__pack(&request, data);
    return data;
}
