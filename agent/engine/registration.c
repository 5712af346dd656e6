/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/engine/registration.h"

#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128;

static bool counts(const struct slurm_node *node, const struct registration_rules *rules)
{
    uint32_t out = SLURM_NODE_DOWN | SLURM_NODE_DRAIN | SLURM_NODE_NOT_RESPONDING;
    return !(rules->skip_down && node->flags & out);
}

/* A column of the nodes' shares, by its offset. */
static uint64_t *share(const struct chain_provider *p, size_t i, size_t offset)
{
    return (uint64_t *)(void *)((char *)&p->nodes[i] + offset);
}

static uint64_t sum_of(const struct chain_provider *p, size_t offset)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < p->node_count; i++)
        if (__builtin_add_overflow(sum, *share(p, i, offset), &sum)) return UINT64_MAX;
    return sum;
}

/*
 * Spread `total` in proportion to what each has, or evenly if none has anything. Each gets the
 * difference of two rounded running sums, so that the shares add up to the total.
 */
static void spread(const struct chain_provider *p, size_t offset, uint64_t total)
{
    uint64_t sum = sum_of(p, offset), weights = sum ? sum : p->node_count, seen = 0, given = 0;
    for (size_t i = 0; i < p->node_count; i++) {
        uint64_t *v = share(p, i, offset);
        seen += sum ? *v : 1;
        uint64_t until = (uint64_t)((u128)total * seen / weights);
        *v = until - given;
        given = until;
    }
}

/* As many nodes as the rules say, without anything yet. */
static void make_equal(struct chain_provider *p,
                       const struct registration_rules *rules,
                       struct provider_node *nodes)
{
    struct provider_node totals = {
        .gpus = rules->gpus ? rules->gpus : sum_of(p, offsetof(struct provider_node, gpus)),
        .cpus = rules->cpus,
        .mem_mb = rules->mem_mb,
    };
    free(p->nodes);
    p->nodes = nodes;
    p->node_count = rules->nodes;
    spread(p, offsetof(struct provider_node, gpus), totals.gpus);
    spread(p, offsetof(struct provider_node, cpus), totals.cpus);
    spread(p, offsetof(struct provider_node, mem_mb), totals.mem_mb);
}

static void apply_totals(struct chain_provider *p, const struct registration_rules *rules)
{
    if (rules->gpus) spread(p, offsetof(struct provider_node, gpus), rules->gpus);
    if (rules->cpus) spread(p, offsetof(struct provider_node, cpus), rules->cpus);
    if (rules->mem_mb) spread(p, offsetof(struct provider_node, mem_mb), rules->mem_mb);
}

int registration_hardware(const struct slurm_node *nodes,
                          size_t count,
                          const struct registration_rules *rules,
                          struct chain_provider *p,
                          struct error *err)
{
    struct chain_provider found = {.nodes = calloc(count + 1, sizeof(*found.nodes))};
    struct provider_node *equal = rules->nodes ? calloc(rules->nodes, sizeof(*equal)) : NULL;
    if (!found.nodes || (rules->nodes && !equal)) {
        free(found.nodes);
        free(equal);
        return error_set(err, ERR_NOMEM, "registration: %s", err_text(ERR_NOMEM));
    }
    for (size_t i = 0; i < count; i++)
        if (counts(&nodes[i], rules))
            found.nodes[found.node_count++] = (struct provider_node){
                .gpus = nodes[i].gpus, .cpus = nodes[i].cpus, .mem_mb = nodes[i].mem_mb};
    provider_sort_nodes(&found); // the shares must not depend on the order that Slurm gives
    if (rules->nodes)
        make_equal(&found, rules, equal);
    else
        apply_totals(&found, rules);
    provider_sort_nodes(&found);
    // The contract refuses such a registration.
    if (sum_of(&found, offsetof(struct provider_node, cpus)) == 0 ||
        sum_of(&found, offsetof(struct provider_node, mem_mb)) == 0) {
        free(found.nodes);
        return error_set(err, ERR_NOTFOUND, "no node of the partition counts, or has any memory");
    }
    p->nodes = found.nodes;
    p->node_count = found.node_count;
    return 0;
}

/* Something is to be registered: is it time? */
static bool is_due(const struct registration_facts *f)
{
    if (f->asked) return true;
    if (!f->by_itself) return false;
    if (f->last_ms && f->now_ms - f->last_ms < f->interval_ms) return false;
    bool on_chain = f->approved || f->waiting;
    bool may_pass = on_chain && f->differs & PROVIDER_HARDWARE;
    return !may_pass || f->now_ms - f->differs_since_ms >= f->interval_ms;
}

enum registration_state registration_decide(const struct registration_facts *f)
{
    bool on_chain = f->approved || f->waiting;
    if (f->under_way) return REGISTRATION_SENT;
    if (f->banned) return REGISTRATION_BANNED;
    if (!on_chain && f->was_approved && !f->asked) return REGISTRATION_REMOVED;
    if (on_chain && (!f->known || !f->differs))
        return f->waiting ? REGISTRATION_WAITING : REGISTRATION_GOOD;
    if (f->known && is_due(f)) return REGISTRATION_DUE;
    return on_chain ? REGISTRATION_DIFFERS : REGISTRATION_NONE;
}
