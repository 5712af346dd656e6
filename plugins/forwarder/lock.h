/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One forwarder a spool: a lock on the file "lock" in its directory, for the process's life. */
#ifndef PLUGINS_FORWARDER_LOCK_H
#define PLUGINS_FORWARDER_LOCK_H

#include "agent/util/error.h"

/*
 * Take the lock, making the directory if need be. If another forwarder has it (the one of a
 * slurmctld that is going away, also on another host), wait until it goes; give up, with
 * ERR_STOPPED, when end_fd or stop_fd is readable or at its end (-1: none). Else 0 or ERR_IO.
 * Another thread may be left waiting after ERR_STOPPED: the process is expected to exit.
 */
int lock_take(const char *spool, int end_fd, int stop_fd, struct error *err);

#endif
