/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Fees, purely: what a transaction offers, what one that replaces it offers, and whether there is
 * money for more claims. All amounts in wei, the smallest unit of the chain's coin.
 */
#ifndef CHAIN_FEEPOLICY_H
#define CHAIN_FEEPOLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/chain/u256.h"

/* What the node says a transaction costs. */
struct fee_market {
    bool eip1559;          // the head block has a base fee
    struct u256 base_fee;  // of the head block; it is burnt
    struct u256 tip;       // that gets a transaction into a block soon
    struct u256 gas_price; // for transactions of the old kind
};

/* The most that may be offered; 0: no limit. */
struct fee_caps {
    struct u256 max_fee, max_tip;
};

/* What a transaction offers. */
struct chain_fees {
    bool eip1559;
    uint64_t gas_limit;
    struct u256 max_fee_per_gas; // legacy: gasPrice
    struct u256 max_priority_fee_per_gas;
};

enum { FEE_REWARDS_MAX = 10 }; // blocks of eth_feeHistory that are looked at

/*
 * The tip: what the node suggests (eth_maxPriorityFeePerGas; NULL: it does not), else the median of
 * what recent blocks took (eth_feeHistory; zeros are of empty blocks), else 1 gwei. Sorts rewards.
 */
struct u256 fee_tip(const struct u256 *suggested, struct u256 rewards[], size_t count);

/*
 * What to offer at first, but for the gas limit: the tip leaves room below its cap for four raises.
 * ERR_LIMIT: the chain asks more than the caps.
 */
int fee_offer(const struct fee_market *m, const struct fee_caps *caps, struct chain_fees *fees);

/*
 * What to offer in place of `old`: 1/8 more of both fields at least (nodes ask for 1/10), or what
 * the chain asks now if that is more. The kind and the gas limit stay. ERR_LIMIT: not within the
 * caps.
 */
int fee_raise(const struct chain_fees *old,
              const struct fee_market *m,
              const struct fee_caps *caps,
              struct chain_fees *fees);

/* It offers less than the base fee: no block can take it. */
bool fee_is_priced_out(const struct chain_fees *fees, const struct fee_market *m);

/* The limit for a call that needs `estimate` now. ERR_LIMIT: absurd. */
int fee_gas_limit(uint64_t estimate, uint64_t *limit);

/* What a receipt says it cost. UINT256_MAX if that overflows. */
struct u256 fee_cost(uint64_t gas, struct u256 price);

/* ---- the purse ---- */

struct purse {
    struct u256 balance;     // of the account
    struct u256 min_balance; // below it nothing is claimed
    struct u256 price;       // of one gas, as fee_offer() has it
    uint64_t reports;        // that are owed or may be: two for each job in hand
    struct u256 spent;       // since the day began
    struct u256 max_spend;   // a day; 0: no limit
};

enum purse_state {
    PURSE_OK = 0,
    PURSE_LOW,   // below min_balance, or below what the reports that are owed may cost
    PURSE_SPENT, // the day's limit is reached
};

/* May more be claimed? Reports go out in any case: they are money earned. */
enum purse_state fee_purse(const struct purse *p, struct u256 *needed);

#endif
