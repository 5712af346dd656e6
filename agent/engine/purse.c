/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The account's money: what is left, and what today's transactions cost. With too little of it, or
 * when the day's limit is reached, no new job is claimed. What is owed for the jobs in hand goes
 * on: reports are money earned.
 */
#include "agent/engine/engine_private.h"
#include "agent/util/clock.h"

enum { DAY_S = 24 * 3600, TELL_EVERY_MS = 10 * 1000 };

static void roll_day(struct engine *e)
{
    int64_t day = clock_wall_s() / DAY_S;
    if (day == e->purse.day) return;
    e->purse.day = day;
    e->purse.spent = u256_from_u64(0);
}

void engine_purse_pay(struct engine *e, struct u256 cost)
{
    roll_day(e);
    (void)u256_add(e->purse.spent, cost, &e->purse.spent);
}

static void add_cost(void *ctx, const char *cost_wei)
{
    struct u256 cost;
    if (u256_parse(cost_wei, &cost) == 0) engine_purse_pay(ctx, cost);
}

int engine_purse_load(struct engine *e, struct error *err)
{
    roll_day(e);
    e->purse.spent = u256_from_u64(0);
    int rc = store_costs_since(e->o.store, e->purse.day * DAY_S * 1000, add_cost, e);
    return rc < 0 ? error_set(err, rc, "store: costs cannot be read") : 0;
}

static struct u256 gas_price(const struct engine *e)
{
    struct chain_fees fees;
    bool fits = fee_offer(&e->account.market, &e->o.chain.caps, &fees) == 0;
    return fits ? fees.max_fee_per_gas : e->o.chain.caps.max_fee;
}

static void tell(const struct purse *p, enum purse_state now, struct u256 needed)
{
    char a[U256_DEC_TEXT], b[U256_DEC_TEXT];
    switch (now) {
    case PURSE_LOW:
        log_warn("the account has %s wei, which is less than the %s it should have for the reports "
                 "of its jobs (or --eth.min-balance): no new jobs are claimed until it is funded",
                 u256_format_dec(a, p->balance),
                 u256_format_dec(b, needed));
        break;
    case PURSE_SPENT:
        log_warn("today's transactions cost %s wei, --eth.max-spend-per-day is %s: no new jobs are "
                 "claimed before midnight UTC, reports go on",
                 u256_format_dec(a, p->spent),
                 u256_format_dec(b, p->max_spend));
        break;
    case PURSE_OK:
        log_info("the account has %s wei: jobs are claimed again", u256_format_dec(a, p->balance));
        break;
    }
}

void engine_purse_look(struct engine *e)
{
    struct u256 needed;
    unsigned int more;
    if (!e->account_known) return;
    roll_day(e);
    const struct purse p = {.balance = e->account.balance,
                            .min_balance = e->o.min_balance,
                            .price = gas_price(e),
                            .reports = 2 * (e->job_count + engine_outbox_claims(e)),
                            .spent = e->purse.spent,
                            .max_spend = e->o.max_spend_per_day};
    enum purse_state now = fee_purse(&p, &needed);
    e->purse.state = now;
    // With more jobs in hand more is needed: it may come and go.
    bool tells = now == PURSE_OK || log_limit_ok(&e->purse.limit, TELL_EVERY_MS, &more);
    if (now == e->purse.told || !tells) return;
    e->purse.told = now;
    tell(&p, now, needed);
}

bool engine_purse_allows_jobs(const struct engine *e)
{
    return e->account_known && e->purse.state == PURSE_OK;
}
