/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * deepsquare-forwarder --once: report the start of one job from its node, and end, soon. A report
 * that does not get through is not worth more: the agent finds the start by its own query.
 */
#ifndef PLUGINS_FORWARDER_ONCE_H
#define PLUGINS_FORWARDER_ONCE_H

#include "plugins/forwarder/forward.h"

enum {
    ONCE_MS = 30 * 1000, // no try begins that could last longer than this
    ONCE_CALL_MS = 5 * 1000,
    /* Of these processes at once on a node. They live longer than a moment only while the agent is
     * away; 32 jobs that start within that time are many for a node. */
    ONCE_SLOTS = 32,
};

/*
 * Take one of the slots, bytes of the file `path` that are locked while the process lives.
 * ERR_LIMIT: all are taken. ERR_IO.
 */
int once_take_slot(const char *path, struct error *err);

/*
 * Send it, again and again with a growing pause, until it is taken (0), refused for good
 * (ERR_REFUSED), or `for_ms` are over (ERR_UNAVAILABLE). A try lasts up to call_ms.
 */
int once_send(const struct record *start,
              forward_send_fn send,
              void *ctx,
              long long for_ms,
              long long call_ms,
              struct error *err);

#endif
