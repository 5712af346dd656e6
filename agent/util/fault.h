/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Fault points: places at which a test has this process die, at once and without a trace, as by a
 * power failure. They do something in a build with --enable-fault-injection only: elsewhere neither
 * their names nor a variable that arms one is in the program.
 *
 *   AGENT_FAULT=chain.broadcast.after:3      die when this point is passed for the third time
 *   AGENT_FAULT=turn.tx_mined.before:1:100   and let the other threads go on for 100 ms before
 *   AGENT_FAULT=list                         print all points and exit
 */
#ifndef UTIL_FAULT_H
#define UTIL_FAULT_H

enum fault {
    FAULT_NONE = 0,
#define FAULT(id, name, what) FAULT_##id,
#include "agent/util/fault.def"
#undef FAULT
    FAULT_COUNT,
};

#ifdef ENABLE_FAULT_INJECTION

/* Read AGENT_FAULT. First of all, before there are threads. */
void fault_init(void);

/* The point is passed: returns unless it is armed and this is the passage that was asked for. */
void fault_point(enum fault point);

#else
#define fault_init()       ((void)0)
#define fault_point(point) ((void)(point))
#endif

#endif
