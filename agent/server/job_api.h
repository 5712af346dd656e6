/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * supervisor.v1alpha1.JobAPI: what happened to a job, said by the plugins of either generation.
 * Messages are checked here and become a struct server_job_event.
 */
#ifndef SERVER_JOB_API_H
#define SERVER_JOB_API_H

#include <stddef.h>
#include <stdint.h>

#include "proto/rpc_server.h"

/* With `ctx` a struct server. */
void job_api_set_job_status(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len);
void job_api_send_job_start(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len);
void job_api_send_job_result(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len);
void job_api_send_job_fail(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len);

#endif
