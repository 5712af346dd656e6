/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What `deepsquare-agent COMMAND` does. Each prints to stdout, blocks, and returns the exit status.
 */
#ifndef AGENT_COMMANDS_H
#define AGENT_COMMANDS_H

#include "agent/options.h"

int command_register(const struct options *o); // 0 nothing differs, 1 something does, 2 no answer
int command_billing(const struct options *o);  // 0, or 2
int command_health(const struct options *o);   // 0 serving, 1 not, 2 no answer

#endif
