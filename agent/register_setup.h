/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the options say about registration. */
#ifndef AGENT_REGISTER_SETUP_H
#define AGENT_REGISTER_SETUP_H

#include "agent/engine/registration.h"
#include "agent/options.h"

/*
 * Prices and labels, to be freed with provider_free(), and the rules for the hardware. ERR_INVALID
 * with text that names the option, ERR_NOMEM.
 */
int register_setup(const struct options *o,
                   struct chain_provider *terms,
                   struct registration_rules *rules,
                   struct error *err);

#endif
