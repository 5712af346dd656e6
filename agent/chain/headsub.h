/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A subscription to new heads over WebSocket: a thread that calls `poke` when there is one. Only a
 * hint: what it says is not looked at, and its loss changes nothing.
 */
#ifndef CHAIN_HEADSUB_H
#define CHAIN_HEADSUB_H

#include "agent/util/error.h"

struct headsub;

/* `url`: ws or wss, copied. `poke` is called on the thread. ERR_INVALID, ERR_NOMEM return NULL. */
struct headsub *
headsub_start(const char *url, void (*poke)(void *ctx), void *ctx, struct error *err);
struct headsub *headsub_stop(struct headsub *h); // joins; NULL allowed; returns NULL

#endif
