/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Starting deepsquare-forwarder from a plugin. libc only. */
#ifndef PLUGINS_COMMON_LAUNCH_H
#define PLUGINS_COMMON_LAUNCH_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

enum { LAUNCH_ENDPOINT_MAX = 256, LAUNCH_HOST_MAX = 256, LAUNCH_END_FD = 3 };

/* Which program, and how it reaches the agent. Bounded, NUL-terminated; "" = not given. */
struct launch_config {
    char program[PATH_MAX];
    char endpoint[LAUNCH_ENDPOINT_MAX];
    char ca[PATH_MAX];
    char host_override[LAUNCH_HOST_MAX];
    bool tls, insecure;
};

/*
 * Start it with the arguments `args` (at most LAUNCH_ARGS_MAX, NULL-terminated) and those that the
 * config stands for: in a session of its own, so that no signal to a group of the plugin's process
 * reaches it, with all signals at their defaults, an environment of its own, and /dev/null as
 * standard input. What is started ends as soon as it has a copy of itself in the background, which
 * is nobody's child; *pid is to be reaped. Output and errors go to log_fd (-1: /dev/null); end_fd
 * (-1: none) becomes LAUNCH_END_FD. Both must be above LAUNCH_END_FD. Other descriptors without
 * close-on-exec the forwarder closes itself. Does not wait for it. Returns 0 and *pid, or an errno.
 */
int launch_forwarder(const struct launch_config *config,
                     const char *const args[],
                     int log_fd,
                     int end_fd,
                     pid_t *pid);

enum { LAUNCH_ARGS_MAX = 8 };

#endif
