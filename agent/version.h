/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The one place that turns the build's version into a string for --version, logs and user agents.
 */
#ifndef AGENT_VERSION_H
#define AGENT_VERSION_H

#include "config.h"

#define AGENT_NAME    PACKAGE_NAME
#define AGENT_VERSION PACKAGE_VERSION

#endif
