/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A provider as the ProviderManager keeps one: hardware, prices, labels. Pure. Nodes have no names
 * on chain and their order means nothing, so they are kept sorted, as labels are: what is equal
 * compares equal, whoever registered it.
 */
#ifndef CHAIN_PROVIDER_H
#define CHAIN_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/chain/contract.h"
#include "agent/chain/u256.h"
#include "agent/util/buf.h"
#include "agent/util/error.h"

struct provider_node {
    uint64_t gpus, cpus, mem_mb;
};

struct provider_prices { // wei of the credit token, a minute
    struct u256 gpu, cpu, mem_mb;
};

enum { PROVIDER_LABEL_MAX = 256 }; // bytes of a key or a value, with NUL: the option takes no more

struct provider_label {
    char key[PROVIDER_LABEL_MAX], value[PROVIDER_LABEL_MAX];
};

struct chain_provider {
    bool known;  // false: the contract has none, and the rest is empty
    bool banned; // never of what is wanted
    struct provider_node *nodes;
    size_t node_count;
    struct provider_prices prices;
    struct provider_label *labels;
    size_t label_count;
};

void provider_free(struct chain_provider *p); // leaves it empty; NULL allowed

/* A copy of prices and labels, without nodes. 0 or ERR_NOMEM. */
int provider_copy_terms(struct chain_provider *to, const struct chain_provider *from);

/* Into the order that comparisons rely on: the largest nodes first. */
void provider_sort_nodes(struct chain_provider *p);

/*
 * Add the label of "KEY=VALUE". Of both, runs of letters, digits, '.' and '-' are kept, in lower
 * case, joined by '-' ("My GPU!" -> "my-gpu"). ERR_INVALID with text: nothing is left of the key
 * (or of a value that is not empty), or the key is there already: whoever reads two of a kind
 * takes either.
 */
int provider_add_label(struct chain_provider *p, const char *text, struct error *err);

/* Do jobs without GPUs cost nothing? The contract cannot hand out such: claims revert. */
bool provider_is_free(const struct provider_prices *prices);

/* What a minute of such a job costs; ERR_LIMIT if that is beyond 256 bits. */
int provider_price_per_min(const struct provider_prices *prices,
                           const struct chain_claim *job,
                           struct u256 *out);

/* Calldata of register(...). 0, or the buffer's error. */
int provider_encode(struct buf *b, const struct chain_provider *p);

/*
 * Return data of getProvider and its like. An address of zero is a provider that is not there:
 * known is false. ERR_PROTO, ERR_NOMEM. Frees nothing that *p had.
 */
int provider_decode(const uint8_t *data, size_t len, struct chain_provider *p, struct error *err);

int provider_decode_prices(const uint8_t *data,
                           size_t len,
                           struct provider_prices *prices,
                           struct error *err);

enum { PROVIDER_HARDWARE = 1, PROVIDER_PRICES = 2, PROVIDER_LABELS = 4 };

/*
 * In what two providers differ: a sum of the above, 0 if in nothing. Appends each difference as
 * "what: has -> wants" to `text` (may be NULL), `between` between them.
 */
unsigned int provider_compare(const struct chain_provider *has,
                              const struct chain_provider *wants,
                              const char *between,
                              struct buf *text);

/* "2 nodes of 64 CPUs, 4 GPUs, 20000 MB", then prices and labels, `between` between them. */
void provider_describe(const struct chain_provider *p, const char *between, struct buf *text);

#endif
