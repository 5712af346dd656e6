/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The work of deepsquare-forwarder: take records from the spool, send them, several at once, and
 * forget them only when they were acknowledged, or refused for good and put into the file
 * "rejected".
 */
#ifndef PLUGINS_FORWARDER_FORWARD_H
#define PLUGINS_FORWARDER_FORWARD_H

#include <stddef.h>

#include "agent/util/error.h"
#include "plugins/common/record.h"

/*
 * Send one record; blocks at most for forward_options.call_ms. Returns the gRPC status (0 = OK), or
 * a negative ERR_* if there was none. `message`: why, for a human. Called on several threads at
 * once, never for two records of one Slurm job.
 */
typedef int (*forward_send_fn)(void *ctx, const struct record *r, char *message, size_t size);

struct forward_options {
    const char *spool;
    int end_fd, stop_fd; // readable or at its end: end. -1: none
    forward_send_fn send;
    void *ctx;

    unsigned int senders;       // threads
    size_t window;              // records in memory
    long long scan_ms;          // look at the spool at least so often, though nothing is noticed
    long long refused_ms;       // NOT_FOUND for so long: rejected
    long long refused_short_ms; // the same when the window is full
    long long backoff_ms, backoff_max_ms; // of a record that is refused or fails
    long long down_max_ms;                // in place of the latter while the agent is away
    long long flush_ms;                   // at the end, for what is still there
};

/* What the daemon uses, with the reasons; the caller adds the first five. */
extern const struct forward_options forward_defaults;

/*
 * Run until one of end_fd and stop_fd says so. Calls may still be under way on other threads
 * then: the process is expected to exit. Returns 0, or ERR_* if it could not begin.
 */
int forward_run(const struct forward_options *options, struct error *err);

#endif
