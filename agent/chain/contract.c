/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Contracts v1.2.0 as encodings. Selectors and topics below are checked by test_contract.c. */
#include "agent/chain/contract.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/chain/abi.h"
#include "agent/util/hex.h"

/*
 * Entries of JobDefinition.uses and .affinity. Each costs its customer two or three storage slots
 * of 20,000 gas and more; no block has room for this many, and the data's own size bounds it too.
 */
enum { LABELS_MAX = 4096 };

const char *chain_job_status_name(unsigned int status)
{
    static const char *const names[] = {
        [CHAIN_JOB_PENDING] = "PENDING",
        [CHAIN_JOB_META_SCHEDULED] = "META_SCHEDULED",
        [CHAIN_JOB_SCHEDULED] = "SCHEDULED",
        [CHAIN_JOB_RUNNING] = "RUNNING",
        [CHAIN_JOB_CANCELLED] = "CANCELLED",
        [CHAIN_JOB_FINISHED] = "FINISHED",
        [CHAIN_JOB_FAILED] = "FAILED",
        [CHAIN_JOB_OUT_OF_CREDITS] = "OUT_OF_CREDITS",
        [CHAIN_JOB_PANICKED] = "PANICKED",
    };
    return status < sizeof(names) / sizeof(names[0]) ? names[status] : "?";
}

void contract_copy_printable(char *out, size_t size, const uint8_t *data, size_t len)
{
    size_t n = len < size - 1 ? len : size - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = data[i] >= 0x20 && data[i] < 0x7f ? (char)data[i] : '?';
    out[n] = '\0';
}

/* Structs */

static int get_label(struct abi_frame *f, const char *what)
{
    const uint8_t *data;
    size_t len;
    (void)abi_get_bytes(f, what, f->len, &data, &len);
    return abi_get_bytes(f, what, f->len, &data, &len);
}

static int skip_uses(struct abi_frame *f)
{
    struct abi_frame uses, label;
    size_t count;
    int rc = abi_get_array(f, "uses", LABELS_MAX, &count, &uses);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = abi_get_tuple(&uses, "uses", &label);
        if (rc == 0) rc = get_label(&label, "uses");
    }
    return rc;
}

static int skip_affinity(struct abi_frame *f)
{
    struct abi_frame affinities, affinity, label;
    size_t count;
    uint8_t op[2];
    int rc = abi_get_array(f, "affinity", LABELS_MAX, &count, &affinities);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = abi_get_tuple(&affinities, "affinity", &affinity);
        if (rc == 0) rc = abi_get_tuple(&affinity, "affinity label", &label);
        if (rc == 0) rc = get_label(&label, "affinity label");
        if (rc == 0) rc = abi_get_fixed(&affinity, "affinity op", op, sizeof(op));
    }
    return rc;
}

/* The struct JobDefinition, behind an offset. */
/*
 * The customer's own text. One that we could not use must not hide the claim: the job would stay
 * SCHEDULED for ever. It is empty then, and the job fails for that reason.
 */
static void get_location(struct abi_frame *f, struct chain_claim *c)
{
    const uint8_t *text;
    size_t len;
    if (abi_get_bytes(f, "batchLocationHash", f->len, &text, &len) < 0) return;
    if (len >= sizeof(c->location_hash) || memchr(text, '\0', len)) len = 0;
    memcpy(c->location_hash, text, len);
    c->location_hash[len] = '\0';
}

static int get_definition(struct abi_frame *f, struct chain_claim *c)
{
    struct abi_frame d;
    int rc = abi_get_tuple(f, "definition", &d);
    if (rc < 0) return rc;
    (void)abi_get_u64(&d, "gpus", &c->gpus);
    (void)abi_get_u64(&d, "memPerCpu", &c->mem_per_cpu_mb);
    (void)abi_get_u64(&d, "cpusPerTask", &c->cpus_per_task);
    (void)abi_get_u64(&d, "ntasks", &c->ntasks);
    get_location(&d, c);
    (void)abi_get_u8(&d, "storageType", &c->storage_type);
    rc = skip_uses(&d);
    return rc < 0 ? rc : skip_affinity(&d);
}

/* Events */

static int decode_claim(struct abi_frame *f, struct chain_event *e)
{
    (void)abi_get_address(f, "customerAddr", &e->claim.customer);
    (void)abi_get_address(f, "providerAddr", &e->provider);
    (void)abi_get_bytes32(f, "jobId", &e->job);
    (void)abi_get_u64(f, "maxDurationMinute", &e->claim.max_duration_min);
    e->claim.provider = e->provider;
    return get_definition(f, &e->claim);
}

static int decode_cancel(struct abi_frame *f, struct chain_event *e)
{
    (void)abi_skip(f, "customerAddr");
    (void)abi_get_address(f, "providerAddr", &e->provider);
    return abi_get_bytes32(f, "jobId", &e->job);
}

static int decode_top_up(struct abi_frame *f, struct chain_event *e)
{
    (void)abi_get_bytes32(f, "jobId", &e->job);
    (void)abi_get_address(f, "providerAddr", &e->provider);
    return abi_get_u64(f, "maxDurationMinute", &e->top_up_min);
}

static int decode_transition(struct abi_frame *f, struct chain_event *e)
{
    (void)abi_get_bytes32(f, "jobId", &e->job);
    (void)abi_get_u8(f, "from", &e->from);
    return abi_get_u8(f, "to", &e->to);
}

/* No parameter of these is indexed: topic0 is all the topics there are. */
static const struct event_type {
    enum chain_event_kind kind;
    const char *name;
    int (*decode)(struct abi_frame *f, struct chain_event *e);
    struct eth_hash topic; // keccak-256 of the event's signature
} event_types[] = {
    {CHAIN_EVENT_CLAIM,
     "ClaimJobEvent",
     decode_claim,
     {{0xc8, 0xd7, 0xc7, 0xc2, 0x91, 0x4e, 0x1a, 0xa1, 0x46, 0x2f, 0xe7,
       0x99, 0x9f, 0x8a, 0x18, 0xa0, 0xf1, 0x04, 0x3d, 0x7d, 0x94, 0xab,
       0x69, 0x2c, 0x3a, 0xc9, 0xaf, 0x84, 0x6f, 0x1b, 0xe8, 0xc7}}},
    {CHAIN_EVENT_CANCEL,
     "ClaimNextCancellingJobEvent",
     decode_cancel,
     {{0x29, 0x0f, 0xa7, 0x51, 0xf5, 0x8f, 0xe2, 0xa1, 0xf5, 0x75, 0x8b,
       0x40, 0x1e, 0xb3, 0x11, 0x0d, 0xbb, 0xb7, 0x1b, 0x68, 0x54, 0x02,
       0x82, 0x85, 0x6c, 0x0d, 0xcd, 0xcc, 0x70, 0x11, 0xe0, 0x7d}}},
    {CHAIN_EVENT_TOP_UP,
     "ClaimNextTopUpJobEvent",
     decode_top_up,
     {{0xa4, 0x2f, 0x2b, 0x4a, 0x7e, 0xe7, 0xf9, 0x18, 0x57, 0xa4, 0xc9,
       0x8f, 0xc7, 0x1f, 0xc4, 0x85, 0x46, 0xa2, 0x84, 0xd5, 0xdb, 0x48,
       0xdd, 0x77, 0xb7, 0xab, 0x81, 0x03, 0x0a, 0x49, 0x44, 0x70}}},
    {CHAIN_EVENT_TRANSITION,
     "JobTransitionEvent",
     decode_transition,
     {{0x0b, 0xba, 0x91, 0x7f, 0x0a, 0x1e, 0x0f, 0xc0, 0xd5, 0x1a, 0x75,
       0x27, 0x3e, 0x70, 0x88, 0xa4, 0xdf, 0xec, 0xb0, 0x10, 0x69, 0x9e,
       0x60, 0xac, 0x9c, 0x58, 0x52, 0x64, 0x29, 0xf6, 0xc3, 0x7f}}},
};
enum { EVENT_TYPES = sizeof(event_types) / sizeof(event_types[0]) };

struct eth_hash contract_topic(enum chain_event_kind kind)
{
    for (size_t i = 0; i < EVENT_TYPES; i++)
        if (event_types[i].kind == kind) return event_types[i].topic;
    assert(false); // no kind of log has this number
    return (struct eth_hash){{0}};
}

static const struct event_type *find_event_type(const struct chain_raw_log *log)
{
    if (log->topic_count == 0) return NULL;
    for (size_t i = 0; i < EVENT_TYPES; i++)
        if (memcmp(&event_types[i].topic, &log->topics[0], sizeof(log->topics[0])) == 0)
            return &event_types[i];
    return NULL;
}

int contract_decode_event(const struct chain_raw_log *log,
                          struct chain_event *event,
                          struct error *err)
{
    const struct event_type *type = find_event_type(log);
    if (!type) {
        *event = (struct chain_event){.kind = CHAIN_EVENT_NONE};
        return ERR_NOTFOUND;
    }
    if (log->topic_count != 1)
        return error_set(err, ERR_PROTO, "%s: %u topics, expected 1", type->name, log->topic_count);

    struct chain_event e = {
        .kind = type->kind,
        .block = log->block,
        .log_index = log->log_index,
        .block_hash = log->block_hash,
        .tx = log->tx,
    };
    struct abi_decoder d;
    struct abi_frame top;
    abi_decode(&d, &top, log->data, log->data_len, err);
    if (type->decode(&top, &e) < 0) {
        (void)error_prefix(err, "%s", type->name);
        return d.rc;
    }
    *event = e;
    return 0;
}

/* Calls */

static int put_selector(struct buf *b, const char *signature)
{
    uint8_t selector[ABI_SELECTOR];
    abi_selector(signature, selector);
    return buf_put(b, selector, sizeof(selector));
}

int contract_call_plain(struct buf *b, const char *signature)
{
    return put_selector(b, signature);
}

int contract_call_address(struct buf *b, const char *signature, const struct eth_address *a)
{
    (void)put_selector(b, signature);
    struct abi_writer w = abi_encode(b, 1);
    abi_put_address(&w, a);
    return buf_error(b);
}

int contract_call_job(struct buf *b, const char *signature, const struct eth_hash *job)
{
    (void)put_selector(b, signature);
    struct abi_writer w = abi_encode(b, 1);
    abi_put_bytes32(&w, job);
    return buf_error(b);
}

int contract_call_set_status(struct buf *b,
                             const struct eth_hash *job,
                             enum chain_job_status status,
                             uint64_t duration_min,
                             const char *last_error,
                             int64_t exit_code)
{
    if (!last_error) last_error = "";
    (void)put_selector(b, "providerSetJobStatus(bytes32,uint8,uint64,string,int64)");
    struct abi_writer w = abi_encode(b, 5);
    abi_put_bytes32(&w, job);
    abi_put_u64(&w, (uint64_t)status);
    abi_put_u64(&w, duration_min);
    abi_put_bytes(&w, last_error, strlen(last_error));
    abi_put_i64(&w, exit_code);
    return buf_error(b);
}

/* Return data */

/* An account without code answers every call with nothing at all. */
static int check_answer(size_t len, struct error *err)
{
    if (len > 0) return 0;
    return error_set(err, ERR_PROTO, "empty answer: is there a contract at this address?");
}

int contract_decode_address(const uint8_t *data,
                            size_t len,
                            struct eth_address *a,
                            struct error *err)
{
    struct abi_decoder d;
    struct abi_frame top;
    if (check_answer(len, err) < 0) return ERR_PROTO;
    abi_decode(&d, &top, data, len, err);
    return abi_get_address(&top, "answer", a);
}

int contract_decode_u64(const uint8_t *data, size_t len, uint64_t *v, struct error *err)
{
    struct abi_decoder d;
    struct abi_frame top;
    if (check_answer(len, err) < 0) return ERR_PROTO;
    abi_decode(&d, &top, data, len, err);
    return abi_get_u64(&top, "answer", v);
}

int contract_decode_hash(const uint8_t *data, size_t len, struct eth_hash *v, struct error *err)
{
    struct abi_decoder d;
    struct abi_frame top;
    if (check_answer(len, err) < 0) return ERR_PROTO;
    abi_decode(&d, &top, data, len, err);
    return abi_get_bytes32(&top, "answer", v);
}

static int get_cost(struct abi_frame *f, struct chain_job *job)
{
    bool delegate;
    struct u256 max = {{0}}, pending = {{0}};
    (void)abi_get_u256(f, "maxCost", &max);
    (void)abi_get_u256(f, "finalCost", &job->final_cost);
    (void)abi_get_u256(f, "pendingTopUp", &pending);
    if (u256_sub(max, pending, &job->paid) < 0) job->paid = u256_from_u64(0);
    return abi_get_bool(f, "delegateSpendingAuthority", &delegate);
}

static int get_times(struct abi_frame *f, struct chain_job *job)
{
    (void)abi_get_u64(f, "submit", &job->submit_s);
    (void)abi_get_u64(f, "start", &job->start_s);
    (void)abi_get_u64(f, "end", &job->end_s);
    (void)abi_skip(f, "cancelRequestTimestamp");
    (void)abi_get_u64(f, "blockNumberStateChange", &job->changed_block);
    return abi_skip(f, "panicTimestamp");
}

static int get_job(struct abi_frame *top, struct chain_job *job)
{
    struct abi_frame f;
    const uint8_t *text = NULL;
    size_t len = 0;
    int rc = abi_get_tuple(top, "Job", &f);
    if (rc < 0) return rc;
    (void)abi_get_bytes32(&f, "jobId", &job->id);
    (void)abi_get_u8(&f, "status", &job->status);
    (void)abi_get_address(&f, "customerAddr", &job->customer);
    (void)abi_get_address(&f, "providerAddr", &job->provider);
    (void)get_definition(&f, &job->definition);
    (void)get_cost(&f, job);
    (void)get_times(&f, job);
    (void)abi_skip(&f, "jobName");
    (void)abi_get_bool(&f, "hasCancelRequest", &job->has_cancel_request);
    (void)abi_get_bytes(&f, "lastError", f.len, &text, &len);
    rc = abi_get_i64(&f, "exitCode", &job->exit_code);
    if (rc < 0) return rc;
    job->definition.customer = job->customer;
    job->definition.provider = job->provider;
    contract_copy_printable(job->last_error, sizeof(job->last_error), text, len);
    return 0;
}

int contract_decode_job(const uint8_t *data, size_t len, struct chain_job *job, struct error *err)
{
    struct chain_job j = {.status = 0};
    struct abi_decoder d;
    struct abi_frame top;
    if (check_answer(len, err) < 0) return ERR_PROTO;
    abi_decode(&d, &top, data, len, err);
    if (get_job(&top, &j) < 0) return d.rc;
    *job = j;
    return 0;
}

/* Reverts */

/* Custom errors of all contracts. Arguments: u a number, a an address; all are static. */
static const struct error_type {
    uint32_t selector;
    const char *name;
    const char *args;
} error_types[] = {
    {0xbdb90210, "AlreadyDone", ""},
    {0xa24a13a6, "ArrayLengthMismatch", ""},
    {0x7064572b, "Banned", ""},
    {0x7897ef6d, "CustomerMetaSchedulerProviderOnly", ""},
    {0x89423319, "CustomerOnly", "aa"},
    {0x3db2a12a, "Empty", ""},
    {0x03eb8b54, "InsufficientFunds", "uu"},
    {0x71c8f460, "InvalidJob", ""},
    {0xd208e590, "InvalidJobDefinition", ""},
    {0xe01ba5fa, "InvalidNodesCount", ""},
    {0x5b23e576, "InvalidTotalCpus", ""},
    {0x785f1be0, "InvalidTotalMem", ""},
    {0x2fef82f8, "InvalidTransition", "uu"},
    {0x8c6824c2, "JobHotStatusOnly", "u"},
    {0x32e3065c, "JobProviderOnly", "aa"},
    {0x090713fe, "MetaScheduledScheduledStatusOnly", "u"},
    {0x3abe75b3, "NewJobRequestDisabled", ""},
    {0x97736927, "NoJob", ""},
    {0x3a43ca41, "NoProvider", ""},
    {0x42f99019, "NoSpendingAuthority", ""},
    {0xb4120f14, "OutOfBounds", ""},
    {0xef341f6d, "ProviderNotJoined", ""},
    {0x9003b68a, "RemainingTimeAboveLimit", "uu"},
    {0x14475eb7, "RunningColdStatusOnly", "u"},
    {0xed3e2aad, "RunningScheduledStatusOnly", "u"},
    {0x2a856fc9, "SameStatusError", ""},
    {0x2a9126eb, "WaitingApprovalOnly", ""},
};
enum { ERROR_TYPES = sizeof(error_types) / sizeof(error_types[0]) };

/* Solidity's own, with formats of their own. */
enum { SELECTOR_ERROR = 0x08c379a0, SELECTOR_PANIC = 0x4e487b71 };

static void __attribute__((format(printf, 3, 4)))
append(char *text, size_t size, const char *fmt, ...)
{
    size_t used = strlen(text);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text + used, size - used, fmt, ap);
    va_end(ap);
}

static int append_argument(struct abi_frame *f, char kind, char *text, size_t size)
{
    struct u256 number;
    struct eth_address address;
    char digits[U256_DEC_TEXT];
    _Static_assert(sizeof(digits) >= ETH_ADDRESS_TEXT, "either kind of argument fits");
    int rc = kind == 'a' ? abi_get_address(f, "argument", &address)
                         : abi_get_u256(f, "argument", &number);
    if (rc < 0) return rc;
    append(text,
           size,
           "%s",
           kind == 'a' ? hex_encode(digits, address.b, sizeof(address.b))
                       : u256_format_dec(digits, number));
    return 0;
}

static const char *
custom_text(const struct error_type *type, struct abi_frame *f, char *text, size_t size)
{
    append(text, size, "%s(", type->name);
    for (const char *arg = type->args; *arg; arg++) {
        append(text, size, "%s", arg == type->args ? "" : ", ");
        if (append_argument(f, *arg, text, size) < 0) {
            append(text, size, "malformed");
            break;
        }
    }
    append(text, size, ")");
    return type->name;
}

static const char *error_text(struct abi_frame *f, char *text, size_t size)
{
    const uint8_t *message;
    size_t len;
    append(text, size, "Error: ");
    size_t used = strlen(text);
    if (abi_get_bytes(f, "message", f->len, &message, &len) < 0)
        append(text, size, "malformed");
    else
        contract_copy_printable(text + used, size - used, message, len);
    return "Error";
}

static const char *panic_text(struct abi_frame *f, char *text, size_t size)
{
    uint64_t code;
    if (abi_get_u64(f, "code", &code) < 0)
        append(text, size, "Panic(malformed)");
    else
        append(text, size, "Panic(0x%02" PRIx64 ")", code);
    return "Panic";
}

const char *contract_revert_text(const uint8_t *data, size_t len, char *text, size_t size)
{
    assert(size > 0);
    text[0] = '\0';
    if (len == 0) {
        append(text, size, "reverted without a reason");
        return "";
    }
    if (len < ABI_SELECTOR) {
        append(text, size, "reverted with %zu bytes that are no error", len);
        return "";
    }
    uint32_t selector =
        (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
    struct abi_decoder d;
    struct abi_frame f;
    abi_decode(&d, &f, data + ABI_SELECTOR, len - ABI_SELECTOR, NULL);
    if (selector == SELECTOR_ERROR) return error_text(&f, text, size);
    if (selector == SELECTOR_PANIC) return panic_text(&f, text, size);
    for (size_t i = 0; i < ERROR_TYPES; i++)
        if (error_types[i].selector == selector)
            return custom_text(&error_types[i], &f, text, size);
    append(text, size, "unknown error 0x%08" PRIx32 " of %zu bytes", selector, len);
    return "";
}
