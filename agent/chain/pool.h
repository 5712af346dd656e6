/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Several nodes of one chain behind one call. A client belongs to one thread and has a connection
 * to each node; what its requests show of the nodes is shared by all clients, and endpoints.c
 * decides who is asked. With more than one node a thread probes those that are not in use.
 *
 * Once the chain is pinned, every batch asks for the chain's id too, and what a node of another
 * chain answers is not handed out.
 */
#ifndef CHAIN_POOL_H
#define CHAIN_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/chain/endpoints.h"
#include "agent/chain/jsonrpc.h"
#include "agent/util/error.h"

struct pool;
struct pool_client;

struct pool_options {
    char *const *urls;    // http or https, in order of preference; copied
    size_t count;         // 1 to ENDPOINTS_MAX
    long long timeout_ms; // deadline of a request
    long long poll_ms;    // how often the chain is polled: the pace of failover and of probes
    uint64_t max_lag;     // blocks that a node may be behind the others
    uint64_t chain_id;    // 0: not known yet, see pool_pin_chain()
};

/* ERR_INVALID (a URL) and ERR_NOMEM return NULL. */
struct pool *pool_start(const struct pool_options *options, struct error *err);
struct pool *pool_stop(struct pool *p); // after its clients; NULL allowed; returns NULL

/* From here on only nodes of this chain are used. ERR_REFUSED: those of another are already. */
int pool_pin_chain(struct pool *p, uint64_t chain_id, struct error *err);

struct pool_client *pool_client_new(struct pool *p, struct error *err);
struct pool_client *pool_client_destroy(struct pool_client *c); // NULL allowed; returns NULL

/* From any thread: end what is under way, fail everything later with ERR_STOPPED. */
void pool_client_stop(struct pool_client *c);

/*
 * As jsonrpc_perform(): on the best node, or, should that fail, on the next that is well. The batch
 * must have room for one more request. While another node is well the deadline is short, so that
 * one that hangs is left within a poll; pool_perform_slow() has patience all the same.
 * ERR_UNAVAILABLE also if all nodes want to be left alone.
 */
int pool_perform(struct pool_client *c, struct jsonrpc_batch *b, struct error *err);
int pool_perform_slow(struct pool_client *c, struct jsonrpc_batch *b, struct error *err);

/*
 * For answers that must fit each other: pool_perform() asks only the one node that is pinned, the
 * best, until it is pinned anew. pool_pin_next() pins one that was not tried since pool_pin_best(),
 * false: there is none.
 */
void pool_pin_best(struct pool_client *c);
bool pool_pin_next(struct pool_client *c);

/* Which node answered last, of 0 to count - 1; its "https://host:port". */
size_t pool_node(const struct pool_client *c);
const char *pool_origin(const struct pool_client *c);

/* The node that was asked last answered what cannot be: as good as no answer. */
void pool_blame(struct pool_client *c, const char *why);

/* The head that the node that was asked last told. */
void pool_tell_head(struct pool_client *c, uint64_t head);

#endif
