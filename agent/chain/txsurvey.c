/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Head, nonce, pool, balance and fees in one HTTP request: what the sender's decisions rest on. */
#include <json-c/json.h>
#include <string.h>

#include "agent/chain/txsender_private.h"
#include "agent/util/clock.h"
#include "agent/util/jsonx.h"

enum {
    // All is asked for with each new head, and at least this often, for a balance may grow.
    SURVEY_POLLS = 10,
    SURVEY_MIN_MS = 1000,
    SURVEY_MAX_MS = 30000,
    // A head that is older this often in a row is no slow node's: the chain was set back.
    BEHIND_MAX = 10,
};

enum {
    ASK_BLOCK,
    ASK_NONCE,
    ASK_PENDING, // from here on only in a survey of all
    ASK_BALANCE,
    ASK_GAS_PRICE,
    ASK_TIP,
    ASK_HISTORY
};

static long long every_ms(const struct txsender *s)
{
    long long ms = s->c->options.poll_interval_ms * SURVEY_POLLS;
    if (ms > SURVEY_MAX_MS) return SURVEY_MAX_MS;
    return ms < SURVEY_MIN_MS ? SURVEY_MIN_MS : ms;
}

static void add_requests(struct txsender *s, bool all)
{
    jsonrpc_batch_reset(s->batch);
    jsonrpc_add(s->batch, "eth_getBlockByNumber", "[\"latest\",false]");
    chain_add_nonce(s->batch, s->c);
    if (!all) return;
    chain_add_account(s->batch, s->c, "eth_getTransactionCount", "pending");
    chain_add_account(s->batch, s->c, "eth_getBalance", "latest");
    jsonrpc_add(s->batch, "eth_gasPrice", "[]");
    jsonrpc_add(s->batch, "eth_maxPriorityFeePerGas", "[]");
    jsonrpc_add(s->batch, "eth_feeHistory", "[\"0x%x\",\"latest\",[50]]", FEE_REWARDS_MAX);
}

static int result_u256(struct txsender *s, int index, struct u256 *out, struct error *err)
{
    struct json_object *v;
    int rc = jsonrpc_result(s->batch, index, &v, err);
    return rc < 0 ? rc : eth_json_u256(v, "an amount", out, err);
}

/* One number for each block, each in a list of its own. What is not so is left out. */
static size_t read_rewards(struct txsender *s, struct u256 rewards[FEE_REWARDS_MAX])
{
    size_t n = 0;
    struct json_object *history, *list;
    if (jsonrpc_result(s->batch, ASK_HISTORY, &history, NULL) < 0 ||
        jsonx_get_array(history, "reward", &list, NULL) < 0)
        return 0;
    for (size_t i = 0; i < json_object_array_length(list) && n < FEE_REWARDS_MAX; i++) {
        struct json_object *of_block = json_object_array_get_idx(list, i);
        if (json_object_is_type(of_block, json_type_array) &&
            eth_json_u256(json_object_array_get_idx(of_block, 0), "reward", &rewards[n], NULL) == 0)
            n++;
    }
    return n;
}

static int read_market(struct txsender *s, struct fee_market *m, struct error *err)
{
    struct u256 tip, rewards[FEE_REWARDS_MAX];
    int has_price = result_u256(s, ASK_GAS_PRICE, &m->gas_price, err);
    if (!m->eip1559) return has_price;
    bool has_tip = result_u256(s, ASK_TIP, &tip, NULL) == 0;
    m->tip = fee_tip(has_tip ? &tip : NULL, rewards, read_rewards(s, rewards));
    // A node without eth_gasPrice: what a replacement of the old kind would offer.
    if (has_price < 0 && u256_add(m->base_fee, m->tip, &m->gas_price) < 0) return has_price;
    return 0;
}

static int read_head(struct txsender *s, struct chain_account *a, struct error *err)
{
    struct json_object *block;
    int rc = jsonrpc_result(s->batch, ASK_BLOCK, &block, err);
    if (rc == 0) rc = eth_json_get_u64(block, "number", &a->head, err);
    if (rc < 0) return error_prefix(err, "latest block");
    struct json_object *base = jsonx_find(block, "baseFeePerGas");
    a->market.eip1559 = base != NULL;
    if (base) rc = eth_json_u256(base, "baseFeePerGas", &a->market.base_fee, err);
    if (rc < 0) return rc;
    rc = chain_result_u64(s->batch, ASK_NONCE, &a->mined, err);
    return rc < 0 ? error_prefix(err, "nonce") : 0;
}

static int read_all(struct txsender *s, struct chain_account *a, struct error *err)
{
    if (chain_result_u64(s->batch, ASK_PENDING, &a->pending, NULL) < 0 || a->pending < a->mined)
        a->pending = a->mined;
    int rc = result_u256(s, ASK_BALANCE, &a->balance, err);
    if (rc < 0) return error_prefix(err, "balance");
    rc = read_market(s, &a->market, err);
    return rc < 0 ? error_prefix(err, "fees") : 0;
}

/* Money came in: what waited for it is sent at once. */
static void note_balance(struct txsender *s, const struct chain_account *a)
{
    if (!s->broke || u256_cmp(a->balance, s->account.balance) <= 0) return;
    s->broke = false;
    for (size_t i = 0; i < s->tracks.count; i++)
        s->tracks.items[i]->due_ms = 0;
}

/* The clocks that "blocks since" is told from. */
static void note_progress(struct txsender *s, const struct chain_account *a, long long now)
{
    if (!s->surveyed || a->head != s->account.head) s->head_ms = now;
    if (s->surveyed && a->mined == s->account.mined) return;
    s->line_head = a->head;
    s->line_ms = now;
}

static bool is_behind(struct txsender *s, const struct chain_account *a)
{
    if (s->surveyed && a->head < s->account.head && ++s->behind < BEHIND_MAX) return true;
    s->behind = 0;
    return false;
}

static int ask(struct txsender *s, bool all, struct error *err)
{
    struct chain_account a = s->account;
    long long now = clock_mono_ms();
    add_requests(s, all);
    int rc = pool_perform(s->rpc, s->batch, err);
    if (rc == 0) rc = read_head(s, &a, err);
    if (rc == 0 && all) rc = read_all(s, &a, err);
    if (rc < 0) return rc;
    if (is_behind(s, &a))
        return error_set(err, ERR_BUSY, "the node is behind the block that was seen");
    bool news = a.head != s->account.head || a.mined != s->account.mined;
    if (all) note_balance(s, &a);
    note_progress(s, &a, now);
    s->account = a;
    s->want_survey = !all && news; // the engine hears of it before what follows from it
    if (!all) return 0;
    s->surveyed = true;
    s->survey_due_ms = now + every_ms(s);
    s->c->ops.account(s->c->ctx, &a);
    return 0;
}

int txsurvey_run(struct txsender *s, struct error *err)
{
    bool all = !s->surveyed || s->want_survey || clock_mono_ms() >= s->survey_due_ms;
    int rc = ask(s, all, err);
    return rc == 0 && s->want_survey ? ask(s, true, err) : rc;
}
