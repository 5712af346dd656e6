/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The one place that quotes arguments for the remote user's login shell. */
#ifndef SLURM_QUOTE_H
#define SLURM_QUOTE_H

#include "agent/util/buf.h"
#include "agent/util/error.h"

/*
 * Append `arg` in single quotes, with a blank before it if `out` is not empty, so that sh, bash,
 * dash, zsh, ksh, csh and fish all read it back as one word. Only printable ASCII, and no '!' nor
 * two backslashes in a row nor a backslash before a quote or at the end (csh and fish read those
 * differently inside quotes): anything else is ERR_INVALID, and nothing that we send needs it.
 */
int quote_append(struct buf *out, const char *arg, struct error *err);

#endif
