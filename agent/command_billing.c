/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * `deepsquare-agent billing`: the table of what was billed, against what Slurm measured. Reads the
 * store beside a running agent.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/chain/contract.h"
#include "agent/chain/u256.h"
#include "agent/commands.h"
#include "agent/engine/bill.h"
#include "agent/store/store.h"

enum { OK = 0, NO_ANSWER = 2 };

struct sums {
    size_t jobs, marked;
    uint64_t seconds, minutes;
    struct u256 cost;
};

/* Midnight of YYYY-MM-DD, here; 0 without a date. */
static int parse_since(const char *text, int64_t *since_ms)
{
    struct tm tm = {.tm_isdst = -1};
    *since_ms = 0;
    if (!text || !*text) return 0;
    const char *rest = strptime(text, "%Y-%m-%d", &tm);
    time_t at = rest && !*rest ? mktime(&tm) : -1;
    if (at < 0) return ERR_INVALID;
    *since_ms = (int64_t)at * 1000;
    return 0;
}

static const char *time_text(char text[20], int64_t at_s)
{
    time_t at = (time_t)at_s;
    struct tm tm;
    if (at_s <= 0 || !localtime_r(&at, &tm) || !strftime(text, 20, "%Y-%m-%d %H:%M:%S", &tm))
        return "-";
    return text;
}

/* "-" for what is not there. */
static const char *number_text(char text[24], bool there, uint64_t v)
{
    if (!there) return "-";
    (void)snprintf(text, 24, "%" PRIu64, v);
    return text;
}

static void add(struct sums *s, const struct bill *b, struct u256 cost, bool marked)
{
    s->jobs++;
    s->marked += marked;
    s->seconds += b->duration_s;
    if (b->confirmed && b->billed_min != UINT64_MAX) s->minutes += b->billed_min;
    (void)u256_add(s->cost, cost, &s->cost);
}

static void print_bill(void *ctx, const struct bill *b)
{
    char done[20], start[20], slurm[24], named[24], billed[24], credits[U256_FIXED_TEXT], why[160];
    struct u256 cost = {{0}};
    if (b->confirmed) (void)u256_parse(b->cost_wei, &cost);
    bool marked = bill_difference(b, why, sizeof(why))[0];
    add(ctx, b, cost, marked);
    (void)printf("%-19s  %8s  %-19s %8" PRIu64 " %9" PRIu64 " %6" PRIu64 " %7" PRIu64
                 " %8s %6s %12s  %-14s  %s%s%s\n",
                 time_text(done, b->done_ms / 1000),
                 number_text(slurm, b->slurm_id != 0, b->slurm_id),
                 time_text(start, b->start_s),
                 b->duration_s,
                 b->suspended_s,
                 b->limit_min,
                 bill_measured_min(b->duration_s),
                 number_text(named, b->reported, b->minutes),
                 number_text(billed, b->confirmed && b->billed_min != UINT64_MAX, b->billed_min),
                 b->confirmed ? u256_format_fixed(credits, cost, U256_CREDIT_DECIMALS) : "-",
                 b->confirmed ? chain_job_status_name(b->chain_status) : "-",
                 b->job,
                 marked ? "  <-- " : "",
                 why);
}

static void print_sums(const struct sums *s)
{
    char credits[U256_FIXED_TEXT];
    (void)printf("%zu job%s, %zu marked; %" PRIu64 " seconds measured; %" PRIu64
                 " minutes and %s credits billed\n",
                 s->jobs,
                 s->jobs == 1 ? "" : "s",
                 s->marked,
                 s->seconds,
                 s->minutes,
                 u256_format_fixed(credits, s->cost, U256_CREDIT_DECIMALS));
}

int command_billing(const struct options *o)
{
    struct error err = {0};
    struct sums sums = {0};
    int64_t since_ms;
    if (parse_since(o->since, &since_ms) < 0) {
        (void)fprintf(stderr, "deepsquare-agent: --since %s: expected YYYY-MM-DD\n", o->since);
        return NO_ANSWER;
    }
    struct store *store = store_open_readonly(o->state_dir, &err);
    if (!store) {
        (void)fprintf(stderr, "deepsquare-agent: %s\n", err.text);
        return NO_ANSWER;
    }
    (void)printf("%-19s  %8s  %-19s %8s %9s %6s %7s %8s %6s %12s  %-14s  %s\n",
                 "done",
                 "Slurm",
                 "started",
                 "seconds",
                 "suspended",
                 "limit",
                 "minutes",
                 "reported",
                 "billed",
                 "credits",
                 "status",
                 "job");
    int rc = store_bills_since(store, since_ms, print_bill, &sums);
    if (rc < 0)
        (void)fprintf(stderr, "deepsquare-agent: the table cannot be read: %s\n", err_text(rc));
    else
        print_sums(&sums);
    (void)store_close(store);
    return rc < 0 ? NO_ANSWER : OK;
}
