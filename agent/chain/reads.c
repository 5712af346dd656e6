/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Blocking reads: what we are registered as, how reports are billed, and which job is next. */
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

#include "agent/chain/chain_private.h"
#include "agent/util/buf.h"

enum {
    CALLDATA_MAX = 256,          // a selector and one word
    ANSWER_MAX = 8 * 1024 * 1024 // a provider with as many nodes and labels as are decoded
};

static void add_question(struct jsonrpc_batch *b,
                         struct chain *c,
                         const struct eth_address *from,
                         const struct eth_address *to,
                         const char *signature)
{
    struct buf data = BUF_INIT(CALLDATA_MAX);
    if (contract_call_address(&data, signature, &c->options.provider) < 0)
        jsonrpc_fail(b, ERR_NOMEM);
    (void)chain_add_call_from(b, "eth_call", from, to, data.data, data.len, ",\"latest\"");
    buf_free(&data);
}

/*
 * The return data of answer `index`. ERR_NOTFOUND if the contract reverts with `none`, its word
 * for that there is nothing.
 */
static int answer_bytes(const struct jsonrpc_batch *b,
                        int index,
                        const char *what,
                        const char *none,
                        struct buf *data,
                        struct error *err)
{
    const struct jsonrpc_answer *a = jsonrpc_answer(b, index);
    struct json_object *result;
    if (a->kind == JSONRPC_REVERTED) {
        char text[CHAIN_ERROR_TEXT_MAX];
        const char *name = contract_revert_text(a->data, a->data_len, text, sizeof(text));
        int rc = strcmp(name, none) == 0 ? ERR_NOTFOUND : ERR_REFUSED;
        return error_set(err, rc, "%s: %s", what, text);
    }
    int rc = jsonrpc_result(b, index, &result, err);
    return rc < 0 ? rc : eth_json_bytes(result, what, data, err);
}

static int read_provider(const struct jsonrpc_batch *b,
                         int index,
                         const char *what,
                         struct chain_provider *p,
                         struct error *err)
{
    struct buf data = BUF_INIT(ANSWER_MAX);
    int rc = answer_bytes(b, index, what, "NoProvider", &data, err);
    if (rc == 0) rc = provider_decode(data.data, data.len, p, err);
    buf_free(&data);
    return rc == ERR_NOTFOUND ? 0 : rc;
}

static int
read_bool(const struct jsonrpc_batch *b, int index, const char *what, bool *v, struct error *err)
{
    struct buf data = BUF_INIT(CALLDATA_MAX);
    uint64_t word = 0;
    int rc = answer_bytes(b, index, what, "", &data, err);
    if (rc == 0) rc = contract_decode_u64(data.data, data.len, &word, err);
    if (rc == 0) *v = word != 0;
    buf_free(&data);
    return rc;
}

void chain_standing_free(struct chain_standing *s)
{
    provider_free(&s->approved);
    provider_free(&s->waiting);
}

static int read_standing(const struct jsonrpc_batch *b, struct chain_standing *s, struct error *err)
{
    struct chain_standing found = {0};
    int rc = read_provider(b, 0, "getProvider", &found.approved, err);
    if (rc == 0) rc = read_provider(b, 1, "getWaitingForApprovalProvider", &found.waiting, err);
    if (rc == 0) rc = read_bool(b, 2, "isValidForScheduling", &found.valid, err);
    if (rc < 0)
        chain_standing_free(&found);
    else
        *s = found;
    return rc;
}

int chain_standing_get(struct chain *c, struct chain_standing *s, struct error *err)
{
    struct chain_contracts at;
    int rc = chain_reader_enter(c, &at, err);
    if (rc < 0) return rc;
    const struct eth_address *self = &c->options.provider, *manager = &at.provider_manager;
    struct jsonrpc_batch *b = jsonrpc_batch_new(err);
    rc = b ? 0 : ERR_NOMEM;
    if (rc == 0) {
        add_question(b, c, self, manager, "getProvider(address)");
        add_question(b, c, self, manager, "getWaitingForApprovalProvider(address)");
        add_question(b, c, self, manager, "isValidForScheduling(address)");
        rc = pool_perform(c->reader, b, err);
    }
    if (rc == 0) rc = read_standing(b, s, err);
    jsonrpc_batch_destroy(b);
    chain_reader_leave(c);
    return rc < 0 ? error_prefix(err, "ProviderManager") : 0;
}

/* The word that a view without arguments returns, in *data. ERR_NOTFOUND: there is no such view. */
static int ask_view(struct chain *c,
                    struct jsonrpc_batch *b,
                    const struct eth_address *to,
                    const char *signature,
                    struct buf *data,
                    struct error *err)
{
    struct buf call = BUF_INIT(CALLDATA_MAX);
    if (contract_call_plain(&call, signature) < 0) jsonrpc_fail(b, ERR_NOMEM);
    (void)chain_add_call(b, "eth_call", c, to, call.data, call.len, ",\"latest\"");
    buf_free(&call);
    int rc = pool_perform(c->reader, b, err);
    if (rc < 0) return rc;
    rc = answer_bytes(b, 0, signature, "", data, err);
    // What an address without code answers, and a contract that does not know the function.
    bool none = rc == 0 ? data->len == 0 : jsonrpc_answer(b, 0)->kind == JSONRPC_REVERTED;
    return none ? error_set(err, ERR_NOTFOUND, "%s: there is no such function", signature) : rc;
}

static int
read_bill_grace(struct chain *c, struct jsonrpc_batch *b, uint64_t *minutes, struct error *err)
{
    struct buf data = BUF_INIT(CALLDATA_MAX);
    struct eth_address constants;
    uint64_t found;
    int rc = ask_view(c, b, &c->options.metascheduler, "constants()", &data, err);
    if (rc == 0) rc = contract_decode_address(data.data, data.len, &constants, err);
    buf_reset(&data);
    jsonrpc_batch_reset(b);
    if (rc == 0) rc = ask_view(c, b, &constants, "billDurationDeltaMinute()", &data, err);
    if (rc == 0) rc = contract_decode_u64(data.data, data.len, &found, err);
    buf_free(&data);
    if (rc == 0 && found > CHAIN_BILL_GRACE_MAX_MIN)
        rc = error_set(err, ERR_LIMIT, "billDurationDeltaMinute() is %" PRIu64, found);
    if (rc == 0) *minutes = found;
    return rc;
}

int chain_bill_grace_get(struct chain *c, uint64_t *minutes, struct error *err)
{
    struct chain_contracts at;
    int rc = chain_reader_enter(c, &at, err);
    if (rc < 0) return rc;
    struct jsonrpc_batch *b = jsonrpc_batch_new(err);
    rc = b ? read_bill_grace(c, b, minutes, err) : ERR_NOMEM;
    jsonrpc_batch_destroy(b);
    chain_reader_leave(c);
    return rc < 0 ? error_prefix(err, "Constants") : 0;
}

/*
 * No function tells what a queue holds. But the MetaScheduler's own call would take the next one
 * out and return it, and a node carries out a question in anybody's name without any effect.
 */
static int next_id(struct chain *c,
                   struct jsonrpc_batch *b,
                   const struct chain_contracts *at,
                   struct eth_hash *id,
                   struct error *err)
{
    struct buf data = BUF_INIT(CALLDATA_MAX);
    const struct eth_address *as = &c->options.metascheduler;
    add_question(b, c, as, &at->queues, "popNextClaimableJob(address)");
    int rc = pool_perform(c->reader, b, err);
    if (rc == 0) rc = answer_bytes(b, 0, "popNextClaimableJob", "NoJob", &data, err);
    if (rc == 0) rc = contract_decode_hash(data.data, data.len, id, err);
    buf_free(&data);
    return rc;
}

int chain_next_claim(struct chain *c, struct chain_job *job, struct error *err)
{
    struct chain_contracts at;
    struct eth_hash id;
    int rc = chain_reader_enter(c, &at, err);
    if (rc < 0) return rc;
    struct jsonrpc_batch *b = jsonrpc_batch_new(err);
    rc = b ? next_id(c, b, &at, &id, err) : ERR_NOMEM;
    jsonrpc_batch_destroy(b);
    chain_reader_leave(c);
    return rc < 0 ? rc : chain_job_get(c, &id, job, err);
}
