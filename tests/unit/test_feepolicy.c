/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is offered, raised and kept back, in numbers, and for many more as properties. */
#include "agent/chain/feepolicy.h"

#include "agent/util/error.h"
#include "tests/unit/chain_test.h"

#define GWEI UINT64_C(1000000000)

static const struct fee_caps no_caps;
static const struct u256 huge = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};

static struct u256 u(uint64_t v)
{
    return u256_from_u64(v);
}

static void assert_u(struct u256 got, uint64_t want)
{
    uint64_t v;
    assert_int_equal(u256_to_u64(got, &v), 0);
    assert_int_equal(v, want);
}

static struct fee_market market(uint64_t base, uint64_t tip)
{
    return (struct fee_market){.eip1559 = true, .base_fee = u(base), .tip = u(tip)};
}

static struct fee_caps caps(uint64_t max_fee, uint64_t max_tip)
{
    return (struct fee_caps){.max_fee = u(max_fee), .max_tip = u(max_tip)};
}

static struct chain_fees fees(uint64_t max_fee, uint64_t tip)
{
    return (struct chain_fees){.eip1559 = true,
                               .gas_limit = 77,
                               .max_fee_per_gas = u(max_fee),
                               .max_priority_fee_per_gas = u(tip)};
}

static void tips(void **state)
{
    (void)state;
    struct u256 suggested = u(7), rewards[5] = {u(9), u(0), u(3), u(5), u(0)};
    assert_u(fee_tip(&suggested, rewards, 5), 7);
    assert_u(fee_tip(NULL, rewards, 5), 5); // of 3, 5, 9
    struct u256 even[2] = {u(8), u(2)}, zeros[3] = {{{0}}};
    assert_u(fee_tip(NULL, even, 2), 8);
    assert_u(fee_tip(NULL, zeros, 3), GWEI);
    assert_u(fee_tip(NULL, NULL, 0), GWEI);
    suggested = u(0); // a chain without tips may say so
    assert_u(fee_tip(&suggested, NULL, 0), 0);
}

static void offers(void **state)
{
    (void)state;
    static const struct {
        uint64_t base, tip, cap, tip_cap;
        int rc;
        uint64_t max_fee, max_tip;
    } cases[] = {
        {100, 5, 0, 0, 0, 205, 5},
        {100, 500, 0, 90, 0, 256, 56}, // the tip is cut: four raises lead to 90
        {100, 50, 0, 90, 0, 250, 50},
        {100, 5, 150, 0, 0, 150, 5},
        {100, 5, 100, 0, 0, 100, 5}, // it can still be mined
        {100, 5, 99, 0, ERR_LIMIT, 0, 0},
        {100, 500, 120, 0, 0, 120, 120}, // no more tip than fee
        {0, 0, 0, 0, 0, 0, 0},           // a chain that is free
        {0, 5, 10, 8, 0, 4, 4},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fee_market m = market(cases[i].base, cases[i].tip);
        struct fee_caps c = caps(cases[i].cap, cases[i].tip_cap);
        struct chain_fees f = fees(1, 1);
        assert_int_equal(fee_offer(&m, &c, &f), cases[i].rc);
        if (cases[i].rc < 0) { // untouched
            assert_u(f.max_fee_per_gas, 1);
            continue;
        }
        assert_true(f.eip1559);
        assert_u(f.max_fee_per_gas, cases[i].max_fee);
        assert_u(f.max_priority_fee_per_gas, cases[i].max_tip);
    }
    // An absurd base fee is an offer under a cap only.
    struct fee_market absurd = {.eip1559 = true, .base_fee = huge};
    struct fee_caps c = caps(10, 0);
    struct chain_fees f;
    assert_int_equal(fee_offer(&absurd, &no_caps, &f), ERR_LIMIT);
    assert_int_equal(fee_offer(&absurd, &c, &f), ERR_LIMIT);
    absurd.base_fee = u(1);
    absurd.tip = huge;
    assert_int_equal(fee_offer(&absurd, &no_caps, &f), ERR_LIMIT);
    assert_int_equal(fee_offer(&absurd, &c, &f), 0);
    assert_u(f.max_fee_per_gas, 10);
}

static void legacy_offers(void **state)
{
    (void)state;
    struct fee_market m = {.gas_price = u(50), .base_fee = u(9), .tip = u(9)};
    struct fee_caps c = caps(50, 1);
    struct chain_fees f;
    assert_int_equal(fee_offer(&m, &c, &f), 0);
    assert_false(f.eip1559);
    assert_u(f.max_fee_per_gas, 50);
    assert_true(u256_is_zero(f.max_priority_fee_per_gas));
    c = caps(49, 0);
    assert_int_equal(fee_offer(&m, &c, &f), ERR_LIMIT);
}

static void raises(void **state)
{
    (void)state;
    static const struct {
        uint64_t fee, tip, base, now, cap, tip_cap;
        int rc;
        uint64_t max_fee, max_tip;
    } cases[] = {
        {800, 80, 10, 1, 0, 0, 0, 900, 90}, // 12.5 %
        {801, 81, 10, 1, 0, 0, 0, 902, 92}, // rounded up
        {800, 0, 10, 0, 0, 0, 0, 900, 1},   // geth wants more of both
        {7, 7, 0, 0, 0, 0, 0, 8, 8},
        {800, 80, 1000, 90, 0, 0, 0, 2090, 90}, // the chain asks for more than 12.5 %
        {800, 80, 10, 95, 0, 0, 0, 900, 95},    //
        {800, 80, 10, 9999, 0, 0, 0, 10019, 9999},
        {800, 80, 10, 1, 900, 90, 0, 900, 90}, // just within the caps
        {800, 80, 10, 1, 899, 0, ERR_LIMIT, 0, 0},
        {800, 80, 10, 1, 0, 89, ERR_LIMIT, 0, 0},
        {800, 80, 1000, 1, 950, 0, ERR_LIMIT, 0, 0}, // dearer than the caps: not mined either way
        {800, 80, 950, 1, 950, 0, 0, 950, 90},       // as much as the caps let it
        {800, 800, 10, 1, 0, 0, 0, 900, 900},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fee_market m = market(cases[i].base, cases[i].now);
        struct fee_caps c = caps(cases[i].cap, cases[i].tip_cap);
        struct chain_fees old = fees(cases[i].fee, cases[i].tip), f = fees(1, 1);
        assert_int_equal(fee_raise(&old, &m, &c, &f), cases[i].rc);
        if (cases[i].rc < 0) {
            assert_u(f.max_fee_per_gas, 1);
            continue;
        }
        assert_u(f.max_fee_per_gas, cases[i].max_fee);
        assert_u(f.max_priority_fee_per_gas, cases[i].max_tip);
        assert_int_equal(f.gas_limit, 77);
        assert_true(f.eip1559);
    }
}

/* However tight the tip's cap is: nodes ask for a tenth more of both. */
static void room_for_four_raises(void **state)
{
    (void)state;
    for (uint64_t cap = 20; cap < 3 * GWEI; cap += cap < 2000 ? 1 : cap / 3 + 7) {
        struct fee_market m = market(100, UINT32_MAX);
        struct fee_caps c = caps(0, cap);
        struct chain_fees f, first;
        assert_int_equal(fee_offer(&m, &c, &f), 0);
        first = f;
        for (int i = 0; i < 4; i++) {
            struct chain_fees old = f;
            assert_int_equal(fee_raise(&old, &m, &c, &f), 0);
            assert_true(u256_cmp(f.max_priority_fee_per_gas, u(cap)) <= 0);
        }
        assert_int_equal(fee_raise(&f, &m, &c, &first), ERR_LIMIT);
    }
}

static void legacy_raises(void **state)
{
    (void)state;
    // A legacy transaction stays one, also where the chain has a base fee by now.
    struct fee_market m = {.eip1559 = true, .base_fee = u(5), .tip = u(5), .gas_price = u(100)};
    struct chain_fees old = {.gas_limit = 77, .max_fee_per_gas = u(40)}, f;
    struct fee_caps c = caps(44, 1);
    assert_int_equal(fee_raise(&old, &m, &no_caps, &f), 0);
    assert_false(f.eip1559);
    assert_u(f.max_fee_per_gas, 100);
    m.gas_price = u(1);
    assert_int_equal(fee_raise(&old, &m, &no_caps, &f), 0);
    assert_u(f.max_fee_per_gas, 45);
    assert_true(u256_is_zero(f.max_priority_fee_per_gas));
    assert_int_equal(fee_raise(&old, &m, &c, &f), ERR_LIMIT);
}

/* More than geth's 10 % of both fields, never above a cap, a tip that is no more than the fee. */
static void raises_as_nodes_want_them(void **state)
{
    (void)state;
    uint64_t seed = 7;
    unsigned int raised = 0;
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = 1 + next_random(&seed) % 60;
        uint64_t fee = next_random(&seed) >> (64 - bits), tip = fee ? next_random(&seed) % fee : 0;
        struct fee_market m = market(next_random(&seed) >> 8, next_random(&seed) >> 30);
        struct fee_caps c = caps(next_random(&seed) % 3 ? next_random(&seed) >> 4 : 0,
                                 next_random(&seed) % 3 ? next_random(&seed) >> 20 : 0);
        struct chain_fees old = fees(fee, tip), f;
        if (fee_raise(&old, &m, &c, &f) < 0) continue;
        uint64_t new_fee, new_tip;
        raised++;
        assert_int_equal(u256_to_u64(f.max_fee_per_gas, &new_fee), 0);
        assert_int_equal(u256_to_u64(f.max_priority_fee_per_gas, &new_tip), 0);
        assert_true(new_fee > fee && (unsigned __int128)new_fee * 8 >= (unsigned __int128)fee * 9);
        assert_true(new_tip > tip && (unsigned __int128)new_tip * 8 >= (unsigned __int128)tip * 9);
        assert_true(new_tip <= new_fee);
        assert_true(u256_is_zero(c.max_fee) || u256_cmp(f.max_fee_per_gas, c.max_fee) <= 0);
        assert_true(u256_is_zero(c.max_tip) ||
                    u256_cmp(f.max_priority_fee_per_gas, c.max_tip) <= 0);
        assert_false(fee_is_priced_out(&f, &m));
    }
    assert_true(raised > 1000);
}

static void priced_out(void **state)
{
    (void)state;
    struct fee_market m = market(100, 1);
    struct chain_fees f = fees(99, 1);
    assert_true(fee_is_priced_out(&f, &m));
    f = fees(100, 1);
    assert_false(fee_is_priced_out(&f, &m));
    f = fees(99, 1);
    m.eip1559 = false;
    assert_false(fee_is_priced_out(&f, &m));
}

static void gas(void **state)
{
    (void)state;
    uint64_t limit = 0;
    assert_int_equal(fee_gas_limit(100000, &limit), 0);
    assert_int_equal(limit, 135000);
    assert_int_equal(fee_gas_limit(21000, &limit), 0);
    assert_int_equal(limit, 36250);
    assert_int_equal(fee_gas_limit(UINT64_MAX, &limit), ERR_LIMIT);
    assert_int_equal(fee_gas_limit(UINT64_MAX / 5 * 4, &limit), ERR_LIMIT);
    assert_int_equal(limit, 36250);
    assert_u(fee_cost(150000, u(20 * GWEI)), 150000 * 20 * GWEI);
    assert_int_equal(u256_cmp(fee_cost(2, huge), huge), 0);
}

static void purses(void **state)
{
    (void)state;
    // At 10 wei a gas a report may cost 3 million.
    static const struct {
        uint64_t balance, min_balance, reports, spent, max_spend;
        enum purse_state want;
        uint64_t needed;
    } cases[] = {
        {24000000, 0, 0, 0, 0, PURSE_OK, 24000000}, // eight reports at least
        {23999999, 0, 0, 0, 0, PURSE_LOW, 24000000},
        {23999999, 0, 8, 0, 0, PURSE_LOW, 24000000},
        {30000000, 0, 10, 0, 0, PURSE_OK, 30000000},
        {29999999, 0, 10, 0, 0, PURSE_LOW, 30000000},
        {50000000, 50000000, 10, 0, 0, PURSE_OK, 50000000},
        {49999999, 50000000, 10, 0, 0, PURSE_LOW, 50000000},
        {50000000, 0, 0, 7, 8, PURSE_OK, 24000000},
        {50000000, 0, 0, 8, 8, PURSE_SPENT, 24000000},
        {50000000, 0, 0, 9, 8, PURSE_SPENT, 24000000},
        {1, 0, 0, 9, 8, PURSE_LOW, 24000000}, // what is worse is said
    };
    struct u256 needed;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct purse p = {.balance = u(cases[i].balance),
                          .min_balance = u(cases[i].min_balance),
                          .price = u(10),
                          .reports = cases[i].reports,
                          .spent = u(cases[i].spent),
                          .max_spend = u(cases[i].max_spend)};
        assert_int_equal(fee_purse(&p, &needed), cases[i].want);
        assert_u(needed, cases[i].needed);
    }
    // A chain that is free needs no balance.
    struct purse none = {.reports = 0};
    assert_int_equal(fee_purse(&none, &needed), PURSE_OK);
    none.price = huge;
    assert_int_equal(fee_purse(&none, &needed), PURSE_LOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tips),
        cmocka_unit_test(offers),
        cmocka_unit_test(legacy_offers),
        cmocka_unit_test(raises),
        cmocka_unit_test(room_for_four_raises),
        cmocka_unit_test(legacy_raises),
        cmocka_unit_test(raises_as_nodes_want_them),
        cmocka_unit_test(priced_out),
        cmocka_unit_test(gas),
        cmocka_unit_test(purses),
    };
    return cmocka_run_group_tests_name("feepolicy", tests, NULL, NULL);
}
