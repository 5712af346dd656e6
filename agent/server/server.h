/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The agent's gRPC server: JobAPI (events of the plugins), SshAPI, Health. An event is handed to
 * `job_event` on the gRPC thread; the call is answered later, from any thread, by server_reply(),
 * once the event is committed.
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/util/error.h"

/* proto/supervisor.proto's JobStatus, which is not the contract's. */
enum server_job_status {
    SERVER_JOB_UNSPECIFIED = 0,
    SERVER_JOB_PENDING,
    SERVER_JOB_META_SCHEDULED,
    SERVER_JOB_SCHEDULED,
    SERVER_JOB_RUNNING,
    SERVER_JOB_CANCELLING,
    SERVER_JOB_CANCELLED,
    SERVER_JOB_FINISHED,
    SERVER_JOB_FAILED,
    SERVER_JOB_OUT_OF_CREDITS,
    SERVER_JOB_PANICKED,
};

/* One event of a plugin. Fields that the sender's generation does not have are 0, has_* false. */
struct server_job_event {
    char job[67]; // 0x and 64 lower-case digits: checked; "": a start that slurm_id alone names
    uint64_t slurm_id;
    enum server_job_status status;
    uint64_t duration_s;
    int64_t exit_code; // old senders: the raw wait(2) status
    /* What our own plugins add (fields 100 and up). */
    bool has_record;
    uint32_t slurm_state; // raw job_state
    uint32_t wait_status;
    uint32_t restart_count;
    int64_t submit_s, start_s, end_s;
    uint32_t user_id;
    bool settled; // Slurm will not queue the job again by itself
    bool not_run; // its script was never run
    char cluster[64];
};

struct server_call; // one waiting call

struct server_ops {
    /* Must not block, must lead to exactly one server_reply(call, ...). */
    void (*job_event)(void *ctx, struct server_call *call, const struct server_job_event *event);
};

struct server_options {
    const char *listen_address; // host:port, :port = all interfaces
    bool tls;
    const char *cert_file, *key_file; // PEM
    const char *authorized_keys;      // answer of SshAPI, with newline; "" = NOT_FOUND
};

struct server;

/* Bind and serve. Fails with the reason (address in use, bad certificate). */
struct server *server_start(const struct server_options *options,
                            const struct server_ops *ops,
                            void *ctx,
                            struct error *err);

/*
 * Take a TLS certificate and key from these files for the connections that come from now on. 1:
 * another certificate than before; 0: the same; or ERR_*, and the old one stays. Any thread.
 */
int server_set_certificate(struct server *s,
                           const char *cert_file,
                           const char *key_file,
                           struct error *err);

/* The port in use (for listen addresses with port 0). */
int server_port(const struct server *s);

/* Health: SERVING or NOT_SERVING; watchers are told. Any thread. */
void server_set_serving(struct server *s, bool serving);

/* Answer a call: code 0, or an ERR_* that is mapped to a gRPC status with `message`. Any thread,
 * once. */
void server_reply(struct server_call *call, int code, const char *message);

/* Stop: NOT_SERVING to watchers, no new calls, waits up to grace_ms for calls owed, then cancels.
 */
struct server *server_stop(struct server *s, long long grace_ms);

#endif
