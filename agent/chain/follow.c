/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Following the chain: logs from the cursor to the last confirmed block, in order, each block once;
 * with them the hashes of the last BLOCKS_MAX blocks. Where the chain was reorganised they are read
 * again from the fork on.
 *
 * A node is not taken at its word: blocks must be linked by their parents' hashes, logs must bear
 * the hash of their block, and a claim that a receipt told must be among the logs. What does not
 * fit is asked again at the next poll, of another node if there is one; nothing is skipped.
 */
#include <json-c/json.h>
#include <string.h>

#include "agent/chain/rpcerr.h"
#include "agent/chain/watch_private.h"
#include "agent/util/fault.h"
#include "agent/util/hex.h"

enum {
    // Chunks of logs between two polls: a long catch-up must not hide head, nonce and queues.
    CHUNKS_MAX = 20,
    // Blocks that are asked for by hash in one request: some providers allow few to a batch.
    HASHES_MAX = 16,
    // Answers that do not fit, in a row, before another node is preferred.
    DOUBTS_MAX = 3,
    // Polls whose logs lacked what a receipt has, before that is given up.
    MISSES_MAX = 30,
    // Blocks below the oldest known one that are read again, too, if that is gone itself.
    DEEPER_BLOCKS = 192,
};

/* ---- blocks ---- */

static int add_block(struct watch *w, uint64_t number)
{
    return jsonrpc_add(
        w->batch, "eth_getBlockByNumber", "[\"0x%llx\",false]", (unsigned long long)number);
}

/* The block of that number and, unless NULL, its parent's hash. ERR_BUSY: the node has it not
 * (yet). */
static int read_block(struct watch *w,
                      int index,
                      uint64_t number,
                      struct chain_block *block,
                      struct eth_hash *parent,
                      struct error *err)
{
    struct json_object *o;
    int rc = jsonrpc_result(w->batch, index, &o, err);
    if (rc < 0) return rc;
    if (!o)
        return error_set(
            err, ERR_BUSY, "the node does not have block %llu", (unsigned long long)number);
    rc = eth_json_get_u64(o, "number", &block->number, err);
    if (rc == 0) rc = eth_json_get_hash(o, "hash", &block->hash, err);
    if (rc == 0 && parent) rc = eth_json_get_hash(o, "parentHash", parent, err);
    if (rc == 0 && block->number != number)
        rc = error_set(err, ERR_PROTO, "eth_getBlockByNumber: another block");
    return rc;
}

static bool same_hash(const struct eth_hash *a, const struct eth_hash *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static int changed(struct error *err)
{
    return error_set(err, ERR_BUSY, "the chain changed while it was read");
}

/* ---- reorganisations ---- */

int follow_add_check(struct watch *w)
{
    const struct chain_block *top = blocks_top(&w->blocks);
    return top ? add_block(w, top->number) : -1;
}

/* Look for the last block of list[from..to] that the chain still has; *fork is left if there is
 * none. */
static int
search_fork(struct watch *w, size_t from, size_t to, uint64_t *fork, bool *found, struct error *err)
{
    jsonrpc_batch_reset(w->batch);
    for (size_t i = from; i <= to; i++)
        add_block(w, w->blocks.list[i].number);
    int rc = pool_perform(w->rpc, w->batch, err);
    for (size_t i = to + 1; rc == 0 && i-- > from;) {
        const struct chain_block *ours = &w->blocks.list[i];
        struct chain_block now;
        rc = read_block(w, (int)(i - from), ours->number, &now, NULL, err);
        if (rc == ERR_BUSY) { // a shorter chain
            rc = 0;
            continue;
        }
        if (rc < 0 || !same_hash(&ours->hash, &now.hash)) continue;
        *fork = ours->number;
        *found = true;
        break;
    }
    return rc;
}

/* Where it forked is not known if none of the hashes is the chain's any more: well below them. */
static int find_fork(struct watch *w, uint64_t *fork, bool *known, struct error *err)
{
    bool found = false;
    int rc = 0;
    size_t left = w->blocks.count;
    uint64_t oldest = w->blocks.list[0].number;
    while (left > 0 && !found && rc == 0) {
        size_t from = left > HASHES_MAX ? left - HASHES_MAX : 0;
        rc = search_fork(w, from, left - 1, fork, &found, err);
        left = from;
    }
    *known = found;
    if (!found) *fork = oldest > DEEPER_BLOCKS + 1 ? oldest - 1 - DEEPER_BLOCKS : 0;
    return rc;
}

/* Claims that are no longer where they were are told anew, by receipts and logs. */
static void drop_places(struct places *p, uint64_t above)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->list[i].block > above) p->list[i].block = UINT64_MAX; // never asked for
}

static int reorganised(struct watch *w, struct error *err)
{
    uint64_t fork = 0, top = blocks_top(&w->blocks)->number;
    bool known;
    int rc = find_fork(w, &fork, &known, err);
    if (rc < 0) return rc;
    if (fork == top) return changed(err);
    if (known)
        log_warn("chain: reorganised: %llu blocks are gone, block %llu is the last that stayed",
                 (unsigned long long)(top - fork),
                 (unsigned long long)fork);
    else
        log_warn("chain: reorganised deeper than the %zu blocks that are remembered: all from "
                 "block %llu on is read again, what was before is taken as it was",
                 w->blocks.count,
                 (unsigned long long)(fork + 1));
    blocks_cut(&w->blocks, fork);
    w->next = fork + 1;
    drop_places(&w->seen, fork);
    pthread_mutex_lock(&w->lock);
    drop_places(&w->told, fork);
    pthread_mutex_unlock(&w->lock);
    fault_point(FAULT_REORG_BEFORE);
    w->c->ops.reorg(w->c->ctx, fork);
    fault_point(FAULT_REORG_AFTER);
    return 0;
}

int follow_check(struct watch *w, int index, const struct chain_block *head, struct error *err)
{
    const struct chain_block *top = blocks_top(&w->blocks);
    const struct chain_block *same = blocks_find(&w->blocks, head->number);
    struct chain_block now;
    if (!top) return head->number + 1 < w->next ? error_set(err, ERR_BUSY, "behind") : 0;
    if (head->number < top->number) // behind, or a chain that is shorter for now
        return same && !same_hash(&same->hash, &head->hash) ? reorganised(w, err)
                                                            : error_set(err, ERR_BUSY, "behind");
    int rc = read_block(w, index, top->number, &now, NULL, err);
    if (rc < 0) return rc;
    return same_hash(&top->hash, &now.hash) ? 0 : reorganised(w, err);
}

/* ---- claims that receipts told ---- */

static void places_add(struct places *p, const struct place *place)
{
    p->list[p->next] = *place;
    p->next = (p->next + 1) % EXPECTED_MAX;
    if (p->count < EXPECTED_MAX) p->count++;
}

static bool places_have(const struct places *p, const struct place *place)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->list[i].block == place->block && p->list[i].log_index == place->log_index)
            return true;
    return false;
}

static struct place place_of(const struct chain_event *e)
{
    return (struct place){
        .block = e->block, .log_index = e->log_index, .block_hash = e->block_hash};
}

void watch_expect(struct watch *w, const struct chain_event *events, size_t count)
{
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < count; i++) {
        struct place place = place_of(&events[i]);
        if (events[i].kind == CHAIN_EVENT_CLAIM) places_add(&w->told, &place);
    }
    pthread_mutex_unlock(&w->lock);
}

static void note_claims(struct watch *w, const struct eth_events *events)
{
    for (size_t i = 0; i < events->count; i++) {
        const struct chain_event *e = &events->list[i];
        struct place place = place_of(e);
        if (e->kind == CHAIN_EVENT_CLAIM &&
            memcmp(&e->provider, &w->c->options.provider, sizeof(e->provider)) == 0)
            places_add(&w->seen, &place);
    }
}

/* ---- logs ---- */

static void add_logs_request(struct watch *w, uint64_t from, uint64_t to)
{
    static const enum chain_event_kind kinds[] = {
        CHAIN_EVENT_CLAIM, CHAIN_EVENT_CANCEL, CHAIN_EVENT_TOP_UP, CHAIN_EVENT_TRANSITION};
    char topics[4][ETH_HASH_TEXT], scheduler[ETH_ADDRESS_TEXT], jobs[ETH_ADDRESS_TEXT];
    for (int i = 0; i < 4; i++) {
        struct eth_hash t = contract_topic(kinds[i]);
        hex_encode(topics[i], t.b, sizeof(t.b));
    }
    jsonrpc_add(
        w->batch,
        "eth_getLogs",
        "[{\"fromBlock\":\"0x%llx\",\"toBlock\":\"0x%llx\",\"address\":[\"%s\",\"%s\"],"
        "\"topics\":[[\"%s\",\"%s\",\"%s\",\"%s\"]]}]",
        (unsigned long long)from,
        (unsigned long long)to,
        hex_encode(scheduler, w->c->options.metascheduler.b, sizeof(w->c->options.metascheduler.b)),
        hex_encode(jobs, w->ready.jobs.b, sizeof(w->ready.jobs.b)),
        topics[0],
        topics[1],
        topics[2],
        topics[3]);
}

/* What one request asks for: logs of from..to and, near the head, the blocks themselves. */
struct chunk {
    uint64_t from, to;
    struct chain_block blocks[HASHES_MAX];
    size_t block_count;
    struct eth_events events;
};

enum { CHUNK_HEAD, CHUNK_LOGS, CHUNK_BLOCKS };

/* Far behind the head hashes are of no use: those blocks are final before we are through. */
static struct chunk plan_chunk(const struct watch *w, uint64_t last)
{
    struct chunk k = {.from = w->next};
    bool deep = k.from + BLOCKS_MAX <= w->head.number;
    uint64_t border = deep ? w->head.number - BLOCKS_MAX : k.from + HASHES_MAX - 1;
    k.to = logspan_to(&w->span, k.from, last < border ? last : border);
    k.block_count = deep ? 0 : (size_t)(k.to - k.from + 1);
    return k;
}

static int read_blocks(struct watch *w, struct chunk *k, struct error *err)
{
    const struct chain_block *before = blocks_top(&w->blocks);
    if (before && before->number + 1 != k->from) before = NULL;
    for (size_t i = 0; i < k->block_count; i++) {
        struct eth_hash parent;
        int rc = read_block(w, CHUNK_BLOCKS + (int)i, k->from + i, &k->blocks[i], &parent, err);
        if (rc < 0) return rc;
        if (before && !same_hash(&parent, &before->hash)) return changed(err);
        before = &k->blocks[i];
    }
    return 0;
}

static int check_events(const struct chunk *k, struct error *err)
{
    for (size_t i = 0; i < k->events.count; i++) {
        const struct chain_event *e = &k->events.list[i];
        if (e->block < k->from || e->block > k->to)
            return error_set(err, ERR_PROTO, "a log of a block that was not asked for");
        if (k->block_count && !same_hash(&k->blocks[e->block - k->from].hash, &e->block_hash))
            return changed(err);
    }
    return 0;
}

/*
 * The head is asked in the same request: behind a load balancer the node that answers may not have
 * these blocks yet, and would answer with no logs instead of an error.
 */
static int fetch_chunk(struct watch *w, struct chunk *k, struct error *err)
{
    uint64_t head;
    struct json_object *logs;
    struct eth_emitters emitters = {.metascheduler = w->c->options.metascheduler,
                                    .jobs = w->ready.jobs};
    jsonrpc_batch_reset(w->batch);
    jsonrpc_add(w->batch, "eth_blockNumber", "[]");
    add_logs_request(w, k->from, k->to);
    for (size_t i = 0; i < k->block_count; i++)
        add_block(w, k->from + i);
    int rc = pool_perform_slow(w->rpc, w->batch, err);
    if (rc == 0) rc = chain_result_u64(w->batch, CHUNK_HEAD, &head, err);
    if (rc < 0) return rc;
    if (head < k->to) return error_set(err, ERR_BUSY, "eth_getLogs: the node is behind its head");
    rc = jsonrpc_result(w->batch, CHUNK_LOGS, &logs, err);
    if (rc == 0) rc = eth_events_add(&k->events, logs, &emitters, err);
    if (rc == 0) rc = read_blocks(w, k, err);
    return rc < 0 ? rc : check_events(k, err);
}

/* The hash of a block, if it is known: one of the chunk (NULL: none), or one that was read before.
 */
static const struct eth_hash *hash_of(const struct watch *w, const struct chunk *k, uint64_t number)
{
    if (k && k->block_count && number >= k->from && number <= k->to)
        return &k->blocks[number - k->from].hash;
    const struct chain_block *block = blocks_find(&w->blocks, number);
    return block ? &block->hash : NULL;
}

/* A claim up to block `last` that a receipt told and no log has, or NULL. Under the lock. */
static struct place *find_missing(struct watch *w, const struct chunk *k, uint64_t last)
{
    struct place *first = NULL;
    for (size_t i = 0; i < w->told.count; i++) {
        struct place *p = &w->told.list[i];
        if (p->block > last || (first && p->block >= first->block) || places_have(&w->seen, p))
            continue;
        // A receipt of a block that is not in the chain is the receipt's fault.
        const struct eth_hash *hash = hash_of(w, k, p->block);
        if (!hash || same_hash(hash, &p->block_hash)) first = p;
    }
    return first;
}

/*
 * Logs that lack what a receipt has are read again, from that block on. A node that says so for
 * ever must not keep us from all that comes after: what the receipt told is known anyway.
 */
static int check_missing(struct watch *w, const struct chunk *k, struct error *err)
{
    uint64_t block = 0;
    bool give_up = w->misses >= MISSES_MAX;
    pthread_mutex_lock(&w->lock);
    struct place *p = find_missing(w, k, k ? k->to : w->next - 1);
    if (p) block = p->block;
    if (p && give_up) p->block = UINT64_MAX;
    pthread_mutex_unlock(&w->lock);
    if (!p) return 0;
    if (give_up) {
        log_error(
            "chain: %s: the logs of block %llu lack a claim of ours that its receipt has, for "
            "%d polls: taken as they are",
            pool_origin(w->rpc),
            (unsigned long long)block,
            MISSES_MAX);
        return 0;
    }
    w->misses++;
    if (block < w->next) {
        w->next = block;
        blocks_cut(&w->blocks, block - 1);
    }
    error_set(err,
              ERR_NOTFOUND,
              "the logs of block %llu lack a claim of ours that its receipt has",
              (unsigned long long)block);
    return ERR_NOTFOUND;
}

/* Is the answer a complaint that the range is too large, or may it be one? */
static bool is_too_much(const struct watch *w, int rc, const struct error *err)
{
    int64_t code = 0;
    if (rc == ERR_LIMIT) return true;
    if (rc != ERR_REFUSED) return false;
    if (jsonrpc_count(w->batch) > CHUNK_LOGS) code = jsonrpc_answer(w->batch, CHUNK_LOGS)->code;
    enum rpc_error_kind kind = rpc_error_kind(code, err->text);
    return kind == RPC_ERROR_TOO_MUCH || kind == RPC_ERROR_UNKNOWN;
}

static void tell(struct watch *w, const struct chunk *k, bool again)
{
    fault_point(FAULT_LOGS_BEFORE);
    w->c->ops.logs(w->c->ctx,
                   &(struct chain_logs){.from = k->from,
                                        .to = k->to,
                                        .events = k->events.list,
                                        .count = k->events.count,
                                        .blocks = k->blocks,
                                        .block_count = k->block_count,
                                        .again = again});
    fault_point(FAULT_LOGS_AFTER);
    logspan_answered(&w->span, k->to - k->from + 1);
}

/* The blocks were read: they are reported with their logs, and only now the next ones come. */
static void take_chunk(struct watch *w, struct chunk *k)
{
    for (size_t i = 0; i < k->block_count; i++)
        blocks_push(&w->blocks, &k->blocks[i]);
    if (k->block_count == 0) w->blocks.count = 0;
    tell(w, k, false);
    w->next = k->to + 1;
    w->doubts = w->misses = 0;
}

/* Fewer blocks are asked for if these were, or may have been, too many; returns what is left of the
 * failure. */
static int ask_for_fewer(struct watch *w, const struct chunk *k, int rc, const struct error *err)
{
    uint64_t blocks = k->to - k->from + 1;
    if (is_too_much(w, rc, err) && logspan_refused(&w->span, blocks)) {
        log_debug("chain: %s; asking for %llu blocks at once",
                  err->text,
                  (unsigned long long)w->span.now);
        return 0;
    }
    if (rc == ERR_OUTCOME_UNKNOWN) // perhaps it took too long
        (void)logspan_refused(&w->span, blocks);
    return rc;
}

static int next_chunk(struct watch *w, uint64_t last, struct error *err)
{
    struct chunk k = plan_chunk(w, last);
    int rc = fetch_chunk(w, &k, err);
    if (rc == 0) note_claims(w, &k.events);
    if (rc == 0) rc = check_missing(w, &k, err);
    if (rc == 0)
        take_chunk(w, &k);
    else
        rc = ask_for_fewer(w, &k, rc, err);
    eth_events_free(&k.events);
    return rc;
}

/* ---- blocks that are read again ---- */

void watch_read_again(struct watch *w, uint64_t from)
{
    pthread_mutex_lock(&w->lock);
    if (from < w->again_from) w->again_from = from;
    pthread_mutex_unlock(&w->lock);
}

static uint64_t take_again(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    uint64_t from = w->again_from;
    w->again_from = UINT64_MAX;
    pthread_mutex_unlock(&w->lock);
    return from;
}

/* False: nothing is left. What cannot be read again is let be: it must not keep us from the rest.
 */
static bool read_again(struct watch *w)
{
    struct error err = {0};
    struct chunk k = {.from = take_again(w)};
    if (k.from >= w->next) return false;
    k.to = logspan_to(&w->span, k.from, w->next - 1);
    int rc = fetch_chunk(w, &k, &err);
    uint64_t left = rc == 0 ? k.to + 1 : k.from;
    if (rc == 0)
        tell(w, &k, true);
    else
        rc = ask_for_fewer(w, &k, rc, &err);
    if (rc < 0)
        log_warn("chain: blocks from %llu on cannot be read again: %s",
                 (unsigned long long)k.from,
                 err.text);
    else if (left < w->next)
        watch_read_again(w, left);
    eth_events_free(&k.events);
    return rc == 0;
}

/* Ask again at the next poll; of another node, if this one goes on like that. */
static int doubt(struct watch *w, bool lacks, const struct error *err)
{
    unsigned int more;
    w->more = false;
    if (lacks || ++w->doubts % DOUBTS_MAX == 0) pool_blame(w->rpc, err->text);
    if (lacks && log_limit_ok(&w->doubt_limit, WATCH_WARN_EVERY_MS, &more))
        log_warn("chain: %s: %s; asking again", pool_origin(w->rpc), err->text);
    return 0;
}

int follow_read(struct watch *w, struct error *err)
{
    uint64_t unconfirmed = w->c->options.confirmations - 1;
    if (w->head.number < unconfirmed) return 0;
    uint64_t last = w->head.number - unconfirmed;
    int rc = check_missing(w, NULL, err); // of blocks that were read before the receipt came
    for (int i = 0; i < CHUNKS_MAX && w->next <= last && rc == 0; i++) {
        if (watch_is_stopping(w)) return error_set(err, ERR_STOPPED, "stopped");
        rc = next_chunk(w, last, err);
    }
    for (int i = 0; rc == 0 && i < CHUNKS_MAX; i++)
        if (!read_again(w)) break;
    w->more = rc == 0 && w->next <= last;
    return rc == ERR_BUSY || rc == ERR_NOTFOUND ? doubt(w, rc == ERR_NOTFOUND, err) : rc;
}
