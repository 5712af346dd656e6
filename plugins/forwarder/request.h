/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a record says, as the agent's SetJobStatus wants it. Pure. */
#ifndef PLUGINS_FORWARDER_REQUEST_H
#define PLUGINS_FORWARDER_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "agent/util/error.h"
#include "plugins/common/record.h"

/* supervisor.v1alpha1.JobStatus; not the contract's numbers. */
enum request_status {
    REQUEST_UNSPECIFIED = 0,
    REQUEST_RUNNING = 4,
    REQUEST_CANCELLED = 6,
    REQUEST_FINISHED = 7,
    REQUEST_FAILED = 8,
    REQUEST_OUT_OF_CREDITS = 9,
};

/* job_state of a start that was seen on a node, where Slurm says no more. */
enum { REQUEST_STATE_RUNNING = 1 };

/*
 * The status to send, or REQUEST_UNSPECIFIED and in *why (static text) the reason why nothing is to
 * be sent: not a grid job's name, or a record that ends an attempt but not the job. A start may
 * come without a name: the agent then goes by Slurm's id.
 */
enum request_status request_status(const struct record *r, const char **why);

/* Seconds that the job ran: end - start, without the time it was suspended. 0 if it never ran. */
uint64_t request_duration_s(const struct record *r);

/* wait(2) status -> 0-255, or 128 + signal. */
int64_t request_exit_code(const struct record *r);

/*
 * The serialized SetJobStatusRequest (malloc'ed, caller frees; *len bytes). Only for records that
 * are to be sent. NULL: no memory.
 */
uint8_t *request_pack(const struct record *r, size_t *len, struct error *err);

#endif
