/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Records that the agent will not take: kept for a human, bounded, in the spool's directory. */
#ifndef PLUGINS_FORWARDER_REJECTS_H
#define PLUGINS_FORWARDER_REJECTS_H

#include "agent/util/error.h"
#include "plugins/common/record.h"

/* Of each of the two files "rejected" and "rejected.old": some 4,500 records. */
enum { REJECTS_MAX = 1024 * 1024 };

/* Append to "rejected", which becomes "rejected.old" when full. Returns 0 or ERR_IO. */
int rejects_write(const char *spool, const struct record *r, struct error *err);

/* Print the records of a file (a segment or "rejected"), one a line. Returns 0 or ERR_*. */
int rejects_print(const char *path, struct error *err);

#endif
