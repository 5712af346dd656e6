/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/feepolicy.h"

#include <stdlib.h>

#include "agent/util/error.h"

enum {
    DEFAULT_TIP_WEI = 1000000000, // 1 gwei, the usual one
    // How far the base fee may grow before a transaction waits: it doubles in 6 full blocks.
    BASE_FEE_FACTOR = 2,
    RAISE_DIVISOR = 8, // 12.5 % more: nodes ask for 10 % at least
    TIP_RAISES = 4,    // that fit under the tip's cap: before each the base fee may double
    // What the head's state needs may be more when the transaction is mined a few blocks later.
    GAS_MARGIN_DIVISOR = 4,
    GAS_MARGIN = 10000,
    // The dearest report takes 289,000 (protocol C.6).
    REPORT_GAS = 300000,
    REPORTS_MIN = 8, // so that an idle provider knows before its first claim
};

static const struct u256 most = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};

static struct u256 min(struct u256 a, struct u256 b)
{
    return u256_cmp(a, b) < 0 ? a : b;
}

static struct u256 max(struct u256 a, struct u256 b)
{
    return u256_cmp(a, b) > 0 ? a : b;
}

/* Sums and products that would overflow are the largest number: more than any cap or balance. */
static struct u256 add(struct u256 a, struct u256 b)
{
    struct u256 sum = most;
    (void)u256_add(a, b, &sum);
    return sum;
}

static struct u256 times(struct u256 a, uint64_t n)
{
    struct u256 product = most;
    (void)u256_mul(a, u256_from_u64(n), &product);
    return product;
}

static struct u256 capped(struct u256 v, struct u256 cap)
{
    return u256_is_zero(cap) ? v : min(v, cap);
}

static bool is_above(struct u256 v, struct u256 cap)
{
    return !u256_is_zero(cap) && u256_cmp(v, cap) > 0;
}

static int by_size(const void *a, const void *b)
{
    const struct u256 *x = a, *y = b;
    return u256_cmp(*x, *y);
}

struct u256 fee_tip(const struct u256 *suggested, struct u256 rewards[], size_t count)
{
    size_t zeros = 0;
    if (suggested) return *suggested;
    if (count > 1) qsort(rewards, count, sizeof(rewards[0]), by_size);
    while (zeros < count && u256_is_zero(rewards[zeros]))
        zeros++;
    return zeros < count ? rewards[zeros + (count - zeros) / 2] : u256_from_u64(DEFAULT_TIP_WEI);
}

/* What is not above `v` once it is raised: 8/9 of it, rounded down. */
static struct u256 lowered(struct u256 v)
{
    struct u256 part = {{0}}, rest = {{0}}, left = {{0}};
    (void)u256_div(v, u256_from_u64(RAISE_DIVISOR + 1), &part, &rest);
    if (!u256_is_zero(rest)) part = add(part, u256_from_u64(1));
    (void)u256_sub(v, part, &left);
    return left;
}

/*
 * The tip to begin with. Nodes take a replacement only if both fields are raised: with a tip at its
 * cap a transaction that the base fee has left behind could not be replaced.
 */
static struct u256 first_tip(struct u256 tip, struct u256 cap)
{
    if (u256_is_zero(cap)) return tip;
    for (int i = 0; i < TIP_RAISES; i++)
        cap = lowered(cap);
    return min(tip, cap);
}

static int offer_1559(const struct fee_market *m, const struct fee_caps *caps, struct chain_fees *f)
{
    struct u256 tip = first_tip(m->tip, caps->max_tip);
    if (is_above(m->base_fee, caps->max_fee)) return ERR_LIMIT;
    f->max_fee_per_gas = capped(add(times(m->base_fee, BASE_FEE_FACTOR), tip), caps->max_fee);
    f->max_priority_fee_per_gas = min(tip, f->max_fee_per_gas);
    return u256_cmp(f->max_fee_per_gas, most) == 0 ? ERR_LIMIT : 0;
}

static int
offer_legacy(const struct fee_market *m, const struct fee_caps *caps, struct chain_fees *f)
{
    f->max_fee_per_gas = m->gas_price;
    return is_above(m->gas_price, caps->max_fee) ? ERR_LIMIT : 0;
}

int fee_offer(const struct fee_market *m, const struct fee_caps *caps, struct chain_fees *fees)
{
    struct chain_fees f = {.eip1559 = m->eip1559};
    int rc = m->eip1559 ? offer_1559(m, caps, &f) : offer_legacy(m, caps, &f);
    if (rc == 0) *fees = f;
    return rc;
}

/* 1/8 more, rounded up, and more than before in any case. */
static struct u256 raised(struct u256 v)
{
    struct u256 eighth = {{0}}, rest = {{0}};
    (void)u256_div(v, u256_from_u64(RAISE_DIVISOR), &eighth, &rest);
    if (!u256_is_zero(rest) || u256_is_zero(eighth)) eighth = add(eighth, u256_from_u64(1));
    return add(v, eighth);
}

int fee_raise(const struct chain_fees *old,
              const struct fee_market *m,
              const struct fee_caps *caps,
              struct chain_fees *fees)
{
    struct chain_fees f = *old, now;
    struct fee_market same = *m;
    same.eip1559 = old->eip1559;
    if (fee_offer(&same, caps, &now) < 0) return ERR_LIMIT;
    f.max_fee_per_gas = max(raised(old->max_fee_per_gas), now.max_fee_per_gas);
    if (old->eip1559) {
        f.max_priority_fee_per_gas =
            max(raised(old->max_priority_fee_per_gas), now.max_priority_fee_per_gas);
        f.max_fee_per_gas = max(f.max_fee_per_gas, f.max_priority_fee_per_gas);
        if (is_above(f.max_priority_fee_per_gas, caps->max_tip)) return ERR_LIMIT;
    }
    if (is_above(f.max_fee_per_gas, caps->max_fee) || u256_cmp(f.max_fee_per_gas, most) == 0)
        return ERR_LIMIT;
    *fees = f;
    return 0;
}

bool fee_is_priced_out(const struct chain_fees *fees, const struct fee_market *m)
{
    return m->eip1559 && u256_cmp(fees->max_fee_per_gas, m->base_fee) < 0;
}

int fee_gas_limit(uint64_t estimate, uint64_t *limit)
{
    uint64_t n;
    if (__builtin_add_overflow(estimate, estimate / GAS_MARGIN_DIVISOR, &n) ||
        __builtin_add_overflow(n, (uint64_t)GAS_MARGIN, &n))
        return ERR_LIMIT;
    *limit = n;
    return 0;
}

struct u256 fee_cost(uint64_t gas, struct u256 price)
{
    return times(price, gas);
}

enum purse_state fee_purse(const struct purse *p, struct u256 *needed)
{
    uint64_t reports = p->reports < REPORTS_MIN ? REPORTS_MIN : p->reports;
    *needed = max(p->min_balance, times(times(p->price, REPORT_GAS), reports));
    if (u256_cmp(p->balance, *needed) < 0) return PURSE_LOW;
    if (!u256_is_zero(p->max_spend) && u256_cmp(p->spent, p->max_spend) >= 0) return PURSE_SPENT;
    return PURSE_OK;
}
