/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is done to a customer's script before it is submitted: it is checked, and the lines that
 * sbatch or slurmctld would read as options are disarmed, since they could ask for more than was
 * paid for. doc/decisions/batch-script.md tells why this way.
 *
 * Slurm reads options (#SBATCH, #SLURM, #DW, #BB, #BB_LUA) from the comment lines before the first
 * line that is neither blank nor a comment, and only where '#' is the line's first byte and capital
 * letters follow. In exactly these lines the first letter is replaced by a second '#':
 * "#SBATCH --time=9" becomes "##BATCH --time=9". Length, line numbers and everything else stay.
 * (#PBS and #BSUB are honoured further down too: sbatch's --ignore-pbs is for these.)
 */
#ifndef SLURM_SCRIPT_H
#define SLURM_SCRIPT_H

#include <stddef.h>

#include "agent/util/buf.h"
#include "agent/util/error.h"

/*
 * Append the script as it is to be submitted. ERR_REFUSED, with a text fit for the customer, where
 * no Slurm would take or run it: empty, without "#!" on line 1, with a NUL or DOS line ends.
 * How big a script may be is Slurm's to say (max_script_size, 4 MiB by default).
 */
int script_prepare(const void *script, size_t len, struct buf *out, struct error *err);

#endif
