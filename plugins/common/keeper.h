/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Keeps deepsquare-forwarder running beside a plugin: one thread that starts it, reads what it
 * logs, starts it again when it dies (after 1 s, doubling to 30 s) and ends it. libc only.
 */
#ifndef PLUGINS_COMMON_KEEPER_H
#define PLUGINS_COMMON_KEEPER_H

#include <limits.h>

#include "plugins/common/launch.h"

/* What the forwarder is started with. */
struct keeper_config {
    struct launch_config launch; // endpoint "": no forwarder is run
    char spool[PATH_MAX];
};

enum keeper_level { KEEPER_ERROR, KEEPER_INFO, KEEPER_DEBUG };

/* Called from the keeper's thread, with one line without newline. */
typedef void (*keeper_log_fn)(enum keeper_level level, const char *line);

struct keeper;

/* Start the thread; no forwarder yet. NULL if there are no resources (errno). Does not block. */
struct keeper *keeper_start(keeper_log_fn log);

/* Run the forwarder with these from now on (a running one is ended if they differ). Does not block.
 */
void keeper_configure(struct keeper *k, const struct keeper_config *config);

/*
 * End forwarder and thread. Does not wait for either: slurmctld's end, and the way back from a
 * backup controller, hang on that. The forwarder finds its pipe at its end, has a second to flush,
 * and goes. `log` is not called any more.
 */
void keeper_stop(struct keeper *k);

#endif
