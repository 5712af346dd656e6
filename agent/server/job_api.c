/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/server/job_api.h"

#include <string.h>

#include "agent/server/server_private.h"
#include "agent/util/hex.h"
#include "proto/supervisor.pb-c.h"

/* A node that tells of a start does not know the job's name: Slurm's id stands for it. */
static bool may_lack_name(const struct server_job_event *event)
{
    return event->has_record && event->status == SERVER_JOB_RUNNING && event->slurm_id != 0;
}

/* Hand the event over, or answer why not. The engine sees well-formed events only. */
static void
deliver(struct server *s, struct rpc_call *call, const char *name, struct server_job_event *event)
{
    uint8_t id[32];
    // Both forms are in use: Slurm's job name carries the 0x, some senders cut it off.
    if (hex_decode(id, sizeof(id), name) == 0) {
        (void)hex_encode(event->job, id, sizeof(id));
    } else if (*name || !may_lack_name(event)) {
        server_reply_invalid(call, "the job's name is not 0x and 64 hexadecimal digits");
        return;
    }
    if (event->status <= SERVER_JOB_UNSPECIFIED || event->status > SERVER_JOB_PANICKED) {
        server_reply_invalid(call, "the job's status is missing or unknown");
        return;
    }
    s->ops.job_event(s->ctx, (struct server_call *)call, event);
}

/* A cluster's name goes into logs and keys: short, printable ASCII. */
static int copy_cluster(char *out, size_t size, const char *name)
{
    size_t n = strlen(name);
    if (n >= size) return ERR_INVALID;
    for (size_t i = 0; i < n; i++)
        if (name[i] <= ' ' || name[i] > '~') return ERR_INVALID;
    memcpy(out, name, n + 1);
    return 0;
}

static int copy_record(struct server_job_event *event, const Supervisor__V1alpha1__SlurmRecord *r)
{
    event->has_record = true;
    event->slurm_state = r->state;
    event->wait_status = r->wait_status;
    event->restart_count = r->restart_count;
    event->submit_s = r->submit_time;
    event->start_s = r->start_time;
    event->end_s = r->end_time;
    event->user_id = r->user_id;
    event->settled = r->settled;
    event->not_run = r->not_run;
    return copy_cluster(event->cluster, sizeof(event->cluster), r->cluster);
}

void job_api_set_job_status(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len)
{
    Supervisor__V1alpha1__SetJobStatusRequest *r =
        supervisor__v1alpha1__set_job_status_request__unpack(NULL, len, request);
    if (!r) {
        server_reply_invalid(call, "malformed SetJobStatusRequest");
        return;
    }
    struct server_job_event event = {
        .slurm_id = r->id,
        .status = (enum server_job_status)r->status,
        .duration_s = r->duration,
        .exit_code = r->exit_code,
    };
    if (r->record && copy_record(&event, r->record) < 0)
        server_reply_invalid(call, "the cluster's name is too long or not printable");
    else
        deliver(ctx, call, r->name, &event);
    supervisor__v1alpha1__set_job_status_request__free_unpacked(r, NULL);
}

void job_api_send_job_start(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len)
{
    Supervisor__V1alpha1__SendJobStartRequest *r =
        supervisor__v1alpha1__send_job_start_request__unpack(NULL, len, request);
    if (!r) {
        server_reply_invalid(call, "malformed SendJobStartRequest");
        return;
    }
    struct server_job_event event = {.slurm_id = r->job_id, .status = SERVER_JOB_RUNNING};
    deliver(ctx, call, r->job_name, &event);
    supervisor__v1alpha1__send_job_start_request__free_unpacked(r, NULL);
}

void job_api_send_job_result(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len)
{
    Supervisor__V1alpha1__SendJobResultRequest *r =
        supervisor__v1alpha1__send_job_result_request__unpack(NULL, len, request);
    if (!r) {
        server_reply_invalid(call, "malformed SendJobResultRequest");
        return;
    }
    struct server_job_event event = {
        .slurm_id = r->job_id, .status = SERVER_JOB_FINISHED, .duration_s = r->job_duration};
    deliver(ctx, call, r->job_name, &event);
    supervisor__v1alpha1__send_job_result_request__free_unpacked(r, NULL);
}

void job_api_send_job_fail(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len)
{
    Supervisor__V1alpha1__SendJobFailRequest *r =
        supervisor__v1alpha1__send_job_fail_request__unpack(NULL, len, request);
    if (!r) {
        server_reply_invalid(call, "malformed SendJobFailRequest");
        return;
    }
    struct server_job_event event = {.slurm_id = r->job_id, .status = SERVER_JOB_FAILED};
    deliver(ctx, call, r->job_name, &event);
    supervisor__v1alpha1__send_job_fail_request__free_unpacked(r, NULL);
}
