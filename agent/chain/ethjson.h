/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Ethereum's values in JSON: "0x..." texts to numbers, hashes, bytes, logs. All from a node, none
 * trusted: 0, or ERR_PROTO with text that names the value.
 */
#ifndef CHAIN_ETHJSON_H
#define CHAIN_ETHJSON_H

#include <stddef.h>
#include <stdint.h>

#include "agent/chain/contract.h"
#include "agent/chain/types.h"
#include "agent/chain/u256.h"
#include "agent/util/buf.h"
#include "agent/util/error.h"

struct json_object;

/* The value itself; `what` names it in the error. */
int eth_json_u64(const struct json_object *v, const char *what, uint64_t *out, struct error *err);
int eth_json_u256(const struct json_object *v,
                  const char *what,
                  struct u256 *out,
                  struct error *err);
int eth_json_hash(const struct json_object *v,
                  const char *what,
                  struct eth_hash *out,
                  struct error *err);
/* Appends to `b`. ERR_LIMIT above b->max, ERR_NOMEM. */
int eth_json_bytes(const struct json_object *v, const char *what, struct buf *b, struct error *err);

/* A field of an object, which must be there. */
int eth_json_get_u64(const struct json_object *o,
                     const char *name,
                     uint64_t *out,
                     struct error *err);
int eth_json_get_hash(const struct json_object *o,
                      const char *name,
                      struct eth_hash *out,
                      struct error *err);
int eth_json_get_address(const struct json_object *o,
                         const char *name,
                         struct eth_address *out,
                         struct error *err);

/*
 * A growing list of events of ours. The events of an emitter other than `metascheduler` (claims,
 * cancels, top-ups) and `jobs` (transitions) are somebody else's and left out.
 */
struct eth_events {
    struct chain_event *list;
    size_t count, room;
};

struct eth_emitters {
    struct eth_address metascheduler, jobs;
};

/*
 * Decode the logs of a JSON array (of eth_getLogs or a receipt) and append those of ours, in the
 * order (block, log index). Logs that are removed are skipped; so is one that has our topic and
 * cannot be decoded: that is logged, and nobody may stop us with it. ERR_PROTO if the node's JSON
 * itself is malformed, ERR_LIMIT above the number of events we hold, ERR_NOMEM; what was appended
 * by then stays.
 */
int eth_events_add(struct eth_events *events,
                   const struct json_object *logs,
                   const struct eth_emitters *from,
                   struct error *err);

void eth_events_free(struct eth_events *events);

#endif
