/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/contract.h"

#include <stdio.h>

#include "agent/chain/abi.h"
#include "agent/chain/keccak.h"
#include "tests/unit/chain_test.h"
#include "tests/unit/vectors.h"

#define DEFINITION \
    "(uint64,uint64,uint64,uint64,string,uint8,(string,string)[],((string,string),bytes2)[])"
#define JOB      "0x00000000000000000000000000000000000000000000000000000000000000a7"
#define CUSTOMER "0x1111111111111111111111111111111111111111"
#define PROVIDER "0x2222222222222222222222222222222222222222"

/* As deployed. */
static void selectors(void **state)
{
    (void)state;
    static const struct {
        uint32_t selector;
        const char *signature;
    } facts[] = {
        {0xa217fddf, "DEFAULT_ADMIN_ROLE()"},
        {0xe052888c, "METASCHEDULER_ROLE()"},
        {0xdaea85c5, "approve(address)"},
        {0x97c3ccd8, "ban(address)"},
        {0x5fae1450, "cancelJob(bytes32)"},
        {0x5e1b2d65, "claimNextCancellingJob()"},
        {0x5d3a7180, "claimNextJob()"},
        {0xebd4bf00, "claimNextTopUpJob()"},
        {0x72de5b2f, "constants()"},
        {0xd651fd61,
         "create((bytes32,uint8,address,address,(uint64,uint64,uint64,uint64,str"
         "ing,uint8,(string,string)[],((string,string),bytes2)[]),(uint256,uint2"
         "56,uint256,bool),(uint256,uint256,uint256,uint256,uint256,uint256),byt"
         "es32,bool,string,int64))"},
        {0xa06d083c, "credit()"},
        {0x4c6dad12, "enableRequestNewJob()"},
        {0x8eaa6ac0, "get(bytes32)"},
        {0x89a33883, "getByCustomer(address)"},
        {0x4c2a0b7b, "getCancellingJobQueueSize(address)"},
        {0x79490261, "getClaimableJobQueueSize(address)"},
        {0x6830cdc4, "getJobCount(address)"},
        {0x95473b2b, "getLabels(address)"},
        {0x55f21eb7, "getProvider(address)"},
        {0xe5500e40, "getProviderHardware(address)"},
        {0x106859b6, "getProviderPrices(address)"},
        {0x248a9ca3, "getRoleAdmin(bytes32)"},
        {0xc3345ca3, "getTopUpJobQueueSize(address)"},
        {0xf77dd4c0, "getWaitingForApprovalProvider(address)"},
        {0x2f2ff15d, "grantRole(bytes32,address)"},
        {0x20a5f919, "hasCancellingJob(address)"},
        {0x6502e50b, "hasNextClaimableJob(address)"},
        {0x91d14854, "hasRole(bytes32,address)"},
        {0xc7070e2c, "hasTopUpJob(address)"},
        {0x3f6edb5f, "incJobCount(address)"},
        {0x97f735d5, "isBanned(address)"},
        {0x21457c7e, "isValidForScheduling(address)"},
        {0x220f0e4c, "isWaitingForApproval(address)"},
        {0x7c8fce23, "jobs()"},
        {0xd1cee546, "metaSchedule(bytes32,address)"},
        {0x54b4a0d2, "panicJob(bytes32,string)"},
        {0xde1a4d46, "popNextCancellingJob(address)"},
        {0xbd69abf4, "popNextClaimableJob(address)"},
        {0x22d398d4, "popNextTopUpJob(address)"},
        {0xe2eaf3e7, "providerJobQueues()"},
        {0x13151ec9, "providerManager()"},
        {0xe1c0fdd4, "providerSetJobStatus(bytes32,uint8,uint64,string,int64)"},
        {0x2b72522e, "pushCancellingJob(address,bytes32)"},
        {0x65b4fc49, "pushClaimableJob(address,bytes32)"},
        {0x27fed931, "pushTopUpJob(address,bytes32)"},
        {0x1f92a63f, "refuseJob(bytes32)"},
        {0x94f9b055,
         "register((uint64,uint64[],uint64[],uint64[]),(uint256,uint256,uint256)"
         ",(string,string)[])"},
        {0x29092d0e, "remove(address)"},
        {0x36568abe, "renounceRole(bytes32,address)"},
        {0xd9943788,
         "requestNewJob((uint64,uint64,uint64,uint64,string,uint8,(string,string"
         ")[],((string,string),bytes2)[]),uint256,bytes32,bool)"},
        {0xd547741f, "revokeRole(bytes32,address)"},
        {0xb7090331, "setCost(bytes32,(uint256,uint256,uint256,bool))"},
        {0x49c70dfa, "setCustomerAddr(bytes32,address)"},
        {0xfbae3f97,
         "setDefinition(bytes32,(uint64,uint64,uint64,uint64,string,uint8,(strin"
         "g,string)[],((string,string),bytes2)[]))"},
        {0x329af326, "setDelegateSpendingAuthority(bytes32,bool)"},
        {0x0bba4dc5, "setEnableRequestNewJob(bool)"},
        {0x6bfbf785, "setExitCode(bytes32,int64)"},
        {0x8e4de1ca, "setHasCancelRequest(bytes32,bool)"},
        {0x2074ba14, "setJobName(bytes32,bytes32)"},
        {0xe1908676, "setJobStatus(bytes32,uint8)"},
        {0xb613a721, "setLastError(bytes32,string)"},
        {0x5aae4bbd, "setProviderAddr(bytes32,address)"},
        {0x6d20cb17, "setTime(bytes32,(uint256,uint256,uint256,uint256,uint256,uint256))"},
        {0x01ffc9a7, "supportsInterface(bytes4)"},
        {0x18263c59, "timeoutJob(bytes32)"},
        {0x2fecc4f6, "topUpJob(bytes32,uint256)"},
        {0x69ee1bf9, "topUpJobDelegate(bytes32)"},
        {0xb9f14557, "unban(address)"},
        {0x9a1e0218,
         "update((bytes32,uint8,address,address,(uint64,uint64,uint64,uint64,str"
         "ing,uint8,(string,string)[],((string,string),bytes2)[]),(uint256,uint2"
         "56,uint256,bool),(uint256,uint256,uint256,uint256,uint256,uint256),byt"
         "es32,bool,string,int64))"},
        {0xd77836ce, "withdrawAdmin(uint256)"},
    };
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        struct buf b = BUF_INIT(4);
        char expected[11];
        (void)snprintf(expected, sizeof(expected), "0x%08x", facts[i].selector);
        assert_int_equal(contract_call_plain(&b, facts[i].signature), 0);
        assert_hex(b.data, b.len, expected);
        buf_free(&b);
    }
}

static void topics(void **state)
{
    (void)state;
    static const struct {
        enum chain_event_kind kind;
        const char *topic, *signature;
    } facts[] = {
        {CHAIN_EVENT_CLAIM,
         "0xc8d7c7c2914e1aa1462fe7999f8a18a0f1043d7d94ab692c3ac9af846f1be8c7",
         "ClaimJobEvent(address,address,bytes32,uint64," DEFINITION ")"},
        {CHAIN_EVENT_CANCEL,
         "0x290fa751f58fe2a1f5758b401eb3110dbbb71b68540282856c0dcdcc7011e07d",
         "ClaimNextCancellingJobEvent(address,address,bytes32)"},
        {CHAIN_EVENT_TOP_UP,
         "0xa42f2b4a7ee7f91857a4c98fc71fc48546a284d5db48dd77b7ab81030a494470",
         "ClaimNextTopUpJobEvent(bytes32,address,uint64)"},
        {CHAIN_EVENT_TRANSITION,
         "0x0bba917f0a1e0fc0d51a75273e7088a4dfecb010699e60ac9c58526429f6c37f",
         "JobTransitionEvent(bytes32,uint8,uint8)"},
    };
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        struct eth_hash topic = contract_topic(facts[i].kind);
        uint8_t digest[KECCAK256_SIZE];
        assert_hex(topic.b, sizeof(topic.b), facts[i].topic);
        keccak256(facts[i].signature, strlen(facts[i].signature), digest);
        assert_hex(digest, sizeof(digest), facts[i].topic);
    }
}

static void status_names(void **state)
{
    (void)state;
    assert_string_equal(chain_job_status_name(0), "PENDING");
    assert_string_equal(chain_job_status_name(CHAIN_JOB_META_SCHEDULED), "META_SCHEDULED");
    assert_string_equal(chain_job_status_name(3), "RUNNING");
    assert_string_equal(chain_job_status_name(8), "PANICKED");
    assert_string_equal(chain_job_status_name(9), "?");
    assert_string_equal(chain_job_status_name(0xffffffff), "?");
}

static int decode_event(enum chain_event_kind kind,
                        const uint8_t *data,
                        size_t len,
                        struct chain_event *event,
                        struct error *err)
{
    struct chain_raw_log log = {
        .topics = {contract_topic(kind)},
        .topic_count = 1,
        .data = data,
        .data_len = len,
        .block = 12,
        .log_index = 34,
        .block_hash = {{5}},
        .tx = {{6}},
    };
    return contract_decode_event(&log, event, err);
}

static void decode_event_vector(enum chain_event_kind kind, const char *hex, struct chain_event *e)
{
    struct bytes data = unhex(hex);
    struct error err = {0};
    memset(e, 0x5a, sizeof(*e));
    if (decode_event(kind, data.data, data.len, e, &err) != 0) fail_msg("%s", err.text);
    assert_int_equal(e->kind, kind);
    assert_int_equal(e->block, 12);
    assert_int_equal(e->log_index, 34);
    assert_int_equal(e->block_hash.b[0], 5);
    assert_int_equal(e->tx.b[0], 6);
    assert_hex(e->job.b, sizeof(e->job.b), JOB);
    free(data.data);
}

static void assert_definition(const struct chain_claim *c)
{
    assert_hex(c->customer.b, 20, CUSTOMER);
    assert_hex(c->provider.b, 20, PROVIDER);
    assert_int_equal(c->gpus, 2);
    assert_int_equal(c->mem_per_cpu_mb, 4096);
    assert_int_equal(c->cpus_per_task, 8);
    assert_int_equal(c->ntasks, 3);
    assert_int_equal(c->storage_type, 1);
    assert_string_equal(c->location_hash, "0a1b2c3d4e5f");
}

static void claim_events(void **state)
{
    (void)state;
    struct chain_event e;
    decode_event_vector(CHAIN_EVENT_CLAIM, VECTOR_EVENT_CLAIM, &e);
    assert_hex(e.provider.b, 20, PROVIDER);
    assert_int_equal(e.claim.max_duration_min, 90);
    assert_definition(&e.claim);

    decode_event_vector(CHAIN_EVENT_CLAIM, VECTOR_EVENT_CLAIM_PLAIN, &e);
    assert_int_equal(e.claim.max_duration_min, 0);
    assert_int_equal(e.claim.gpus, 0);
    assert_int_equal(e.claim.ntasks, 1);
    assert_string_equal(e.claim.location_hash, "");
}

static void other_events(void **state)
{
    (void)state;
    struct chain_event e;
    decode_event_vector(CHAIN_EVENT_CANCEL, VECTOR_EVENT_CANCEL, &e);
    assert_hex(e.provider.b, 20, PROVIDER);
    decode_event_vector(CHAIN_EVENT_TOP_UP, VECTOR_EVENT_TOP_UP, &e);
    assert_hex(e.provider.b, 20, PROVIDER);
    assert_int_equal(e.top_up_min, 30);
    decode_event_vector(CHAIN_EVENT_TRANSITION, VECTOR_EVENT_TRANSITION, &e);
    assert_int_equal(e.from, CHAIN_JOB_SCHEDULED);
    assert_int_equal(e.to, CHAIN_JOB_RUNNING);
}

static void events_of_others(void **state)
{
    (void)state;
    struct chain_event e = {.kind = CHAIN_EVENT_CLAIM};
    struct chain_raw_log log = {.topics = {{{1}}}, .topic_count = 1};
    assert_int_equal(contract_decode_event(&log, &e, NULL), ERR_NOTFOUND);
    assert_int_equal(e.kind, CHAIN_EVENT_NONE);
    e.kind = CHAIN_EVENT_CLAIM;
    log.topics[0] = contract_topic(CHAIN_EVENT_CANCEL); // there, but not counted
    log.topic_count = 0;
    assert_int_equal(contract_decode_event(&log, &e, NULL), ERR_NOTFOUND);
    assert_int_equal(e.kind, CHAIN_EVENT_NONE);

    // Our topic with indexed parameters is another contract's event of the same name.
    struct bytes data = unhex(VECTOR_EVENT_CANCEL);
    struct error err = {0};
    log.topic_count = 2;
    log.data = data.data;
    log.data_len = data.len;
    assert_int_equal(contract_decode_event(&log, &e, &err), ERR_PROTO);
    assert_non_null(strstr(err.text, "ClaimNextCancellingJobEvent: 2 topics"));
    free(data.data);
}

/* The head of the claim's definition begins at word 5; its fifth word is the string's offset. */
static void oversized_location(void **state)
{
    (void)state;
    for (size_t len = CHAIN_LOCATION_MAX - 1; len <= CHAIN_LOCATION_MAX; len++) {
        char location[CHAIN_LOCATION_MAX];
        memset(location, 'x', sizeof(location));
        const struct eth_address a = address_of(PROVIDER);
        const struct eth_hash job = hash_of(JOB);
        struct buf b = BUF_INIT(8192);
        struct abi_writer w = abi_encode(&b, 5);
        abi_put_address(&w, &a);
        abi_put_address(&w, &a);
        abi_put_bytes32(&w, &job);
        abi_put_u64(&w, 1);
        struct abi_writer d = abi_put_tuple(&w, 8);
        for (int i = 0; i < 4; i++)
            abi_put_u64(&d, 1);
        abi_put_bytes(&d, location, len);
        abi_put_u64(&d, 0);
        (void)abi_put_array(&d, 0, 1);
        (void)abi_put_array(&d, 0, 1);

        struct chain_event e = {.kind = CHAIN_EVENT_NONE};
        struct error err = {0};
        int rc = decode_event(CHAIN_EVENT_CLAIM, b.data, b.len, &e, &err);
        assert_int_equal(rc, 0); // the claim is seen, its location is empty if it cannot be used
        assert_int_equal(strlen(e.claim.location_hash), len < CHAIN_LOCATION_MAX ? len : 0);
        assert_int_equal(e.claim.max_duration_min, 1);
        buf_free(&b);
    }
}

/* Cut anywhere, no vector decodes (but for what lies in the padding of the last string). */
static void truncated(void **state)
{
    (void)state;
    static const struct {
        enum chain_event_kind kind;
        const char *hex;
    } vectors[] = {
        {CHAIN_EVENT_CLAIM, VECTOR_EVENT_CLAIM},
        {CHAIN_EVENT_CLAIM, VECTOR_EVENT_CLAIM_PLAIN},
        {CHAIN_EVENT_CANCEL, VECTOR_EVENT_CANCEL},
        {CHAIN_EVENT_TOP_UP, VECTOR_EVENT_TOP_UP},
        {CHAIN_EVENT_TRANSITION, VECTOR_EVENT_TRANSITION},
    };
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct bytes full = unhex(vectors[i].hex);
        for (size_t len = 0; len + ABI_WORD <= full.len; len++) {
            uint8_t *data = malloc(len + 1); // malloc(0) may be NULL
            assert_non_null(data);
            memcpy(data, full.data, len);
            struct chain_event e = {.block = 99};
            struct error err = {0};
            assert_int_equal(decode_event(vectors[i].kind, data, len, &e, &err), ERR_PROTO);
            assert_string_not_equal(err.text, "");
            assert_int_equal(e.block, 99);
            free(data);
        }
        free(full.data);
    }
}

/* What is skipped must still be what the ABI says. */
static void broken_affinity(void **state)
{
    (void)state;
    static const uint8_t op[] = {'=', '=', 0, 0, 0};
    struct bytes data = unhex(VECTOR_EVENT_CLAIM);
    struct chain_event e = {.kind = CHAIN_EVENT_NONE};
    struct error err = {0};
    uint8_t *at = memmem(data.data, data.len, op, sizeof(op));
    assert_non_null(at);
    at[2] = 1;
    assert_int_equal(decode_event(CHAIN_EVENT_CLAIM, data.data, data.len, &e, &err), ERR_PROTO);
    assert_non_null(strstr(err.text, "affinity op"));
    at[2] = 0;
    uint8_t *value = memmem(data.data, data.len, "linux", 5);
    assert_non_null(value);
    value[-1] = 200; // its length: it reaches over what follows
    assert_int_equal(decode_event(CHAIN_EVENT_CLAIM, data.data, data.len, &e, &err), ERR_PROTO);
    value[-1] = 5;
    assert_int_equal(decode_event(CHAIN_EVENT_CLAIM, data.data, data.len, &e, &err), 0);
    free(data.data);
}

static void jobs(void **state)
{
    (void)state;
    struct chain_job job;
    struct error err = {0};
    struct bytes data = unhex(VECTOR_JOB);
    if (contract_decode_job(data.data, data.len, &job, &err) != 0) fail_msg("%s", err.text);
    free(data.data);
    assert_hex(job.id.b, sizeof(job.id.b), JOB);
    assert_int_equal(job.status, CHAIN_JOB_FAILED);
    assert_hex(job.customer.b, 20, CUSTOMER);
    assert_hex(job.provider.b, 20, PROVIDER);
    assert_definition(&job.definition);
    assert_int_equal(job.submit_s, 1700000000);
    assert_int_equal(job.start_s, 1700000100);
    assert_int_equal(job.end_s, 1700000200);
    assert_int_equal(job.changed_block, 77);
    assert_int_equal(u256_cmp(job.final_cost, u256_from_u64(90)), 0);
    assert_int_equal(u256_cmp(job.paid, u256_from_u64(100 - 10)), 0);
    assert_true(job.has_cancel_request);
    assert_string_equal(job.last_error, "it failed");
    assert_int_equal(job.exit_code, -9);

    data = unhex(VECTOR_JOB_PLAIN);
    if (contract_decode_job(data.data, data.len, &job, &err) != 0) fail_msg("%s", err.text);
    free(data.data);
    assert_int_equal(job.status, CHAIN_JOB_PENDING);
    assert_int_equal(job.start_s, 0);
    assert_false(job.has_cancel_request);
    assert_string_equal(job.last_error, "");
    assert_int_equal(job.exit_code, 0);
}

static void broken_jobs(void **state)
{
    (void)state;
    struct bytes full = unhex(VECTOR_JOB);
    struct chain_job job = {.status = 77};
    struct error err;
    for (size_t len = 0; len + ABI_WORD <= full.len; len++) {
        err = (struct error){0};
        assert_int_equal(contract_decode_job(full.data, len, &job, &err), ERR_PROTO);
        assert_string_not_equal(err.text, "");
    }
    // Word 1 + 1 is the status; word 1 + 17 hasCancelRequest; 1 + 19 the exit code's sign.
    static const size_t words[] = {2, 17, 19};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        full.data[words[i] * ABI_WORD + 8] ^= 1;
        assert_int_equal(contract_decode_job(full.data, full.len, &job, &err), ERR_PROTO);
        full.data[words[i] * ABI_WORD + 8] ^= 1;
    }
    assert_int_equal(contract_decode_job(full.data, full.len, &job, &err), 0);
    free(full.data);
}

/* lastError is another provider's text: one line, printable, cut. */
static void last_error_text(void **state)
{
    (void)state;
    struct bytes data = unhex(VECTOR_JOB);
    uint8_t *text = memmem(data.data, data.len, "it failed", 9);
    assert_non_null(text);
    memcpy(text, "a\nb\0c\x1b\xffz", 8);
    struct chain_job job;
    assert_int_equal(contract_decode_job(data.data, data.len, &job, NULL), 0);
    assert_string_equal(job.last_error, "a?b?c??zd");
    free(data.data);
}

static void calls(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(1024);
    const struct eth_hash job = hash_of(JOB);
    const struct eth_address provider = address_of(PROVIDER);

    assert_int_equal(contract_call_plain(&b, "claimNextJob()"), 0);
    assert_hex(b.data, b.len, VECTOR_CALL_CLAIM);
    buf_reset(&b);
    assert_int_equal(contract_call_address(&b, "getClaimableJobQueueSize(address)", &provider), 0);
    assert_hex(b.data, b.len, VECTOR_CALL_ADDRESS);
    buf_reset(&b);
    assert_int_equal(contract_call_job(&b, "refuseJob(bytes32)", &job), 0);
    assert_hex(b.data, b.len, VECTOR_CALL_REFUSE);
    buf_free(&b);
}

static void status_calls(void **state)
{
    (void)state;
    static const struct {
        enum chain_job_status status;
        uint64_t minutes;
        const char *text;
        int64_t exit_code;
        const char *expected;
    } known[] = {
        {CHAIN_JOB_RUNNING, 0, "", 0, VECTOR_CALL_STATUS_PLAIN},
        {CHAIN_JOB_RUNNING, 0, NULL, 0, VECTOR_CALL_STATUS_PLAIN},
        {CHAIN_JOB_FAILED,
         61,
         "exit status 1: a text that is longer than one word",
         -9,
         VECTOR_CALL_STATUS_ERROR},
        {CHAIN_JOB_FINISHED,
         UINT64_MAX,
         "0123456789abcdef0123456789abcdef",
         INT64_MAX,
         VECTOR_CALL_STATUS_32},
    };
    const struct eth_hash job = hash_of(JOB);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct buf b = BUF_INIT(1024);
        assert_int_equal(
            contract_call_set_status(
                &b, &job, known[i].status, known[i].minutes, known[i].text, known[i].exit_code),
            0);
        assert_hex(b.data, b.len, known[i].expected);
        buf_free(&b);
    }
    struct buf small = BUF_INIT(100);
    assert_int_equal(contract_call_set_status(&small, &job, CHAIN_JOB_FAILED, 0, "text", 1),
                     ERR_LIMIT);
    buf_free(&small);
}

static void answers(void **state)
{
    (void)state;
    struct error err = {0};
    struct eth_address a = {{7}};
    uint64_t v = 7;
    uint8_t word[32] = {0};
    assert_int_equal(contract_decode_u64(NULL, 0, &v, &err), ERR_PROTO);
    assert_non_null(strstr(err.text, "empty answer"));
    assert_int_equal(contract_decode_address(NULL, 0, &a, &err), ERR_PROTO);
    assert_int_equal(contract_decode_u64(word, 31, &v, &err), ERR_PROTO);
    word[31] = 5;
    assert_int_equal(contract_decode_u64(word, sizeof(word), &v, &err), 0);
    assert_int_equal(v, 5);
    assert_int_equal(contract_decode_address(word, sizeof(word), &a, &err), 0);
    assert_int_equal(a.b[19], 5);
    word[11] = 1;
    assert_int_equal(contract_decode_u64(word, sizeof(word), &v, &err), ERR_PROTO);
    assert_int_equal(contract_decode_address(word, sizeof(word), &a, &err), ERR_PROTO);
    assert_int_equal(v, 5);
    assert_int_equal(a.b[19], 5);
}

static void assert_revert(const char *hex, const char *name, const char *text)
{
    char out[CHAIN_ERROR_TEXT_MAX];
    struct bytes data = unhex(hex);
    assert_string_equal(contract_revert_text(data.data, data.len, out, sizeof(out)), name);
    assert_string_equal(out, text);
    free(data.data);
}

static void reverts(void **state)
{
    (void)state;
    assert_revert(VECTOR_REVERT_TRANSITION, "InvalidTransition", "InvalidTransition(2, 5)");
    assert_revert(
        VECTOR_REVERT_PROVIDER, "JobProviderOnly", "JobProviderOnly(" CUSTOMER ", " PROVIDER ")");
    assert_revert(VECTOR_REVERT_FUNDS,
                  "InsufficientFunds",
                  "InsufficientFunds(1157920892373161954235709850086879078532699846656405640394575"
                  "84007913129639935, 100000000000000000000)");
    assert_revert(VECTOR_REVERT_ERROR, "Error", "Error: AccessControl: account is missing role");
    assert_revert(VECTOR_REVERT_PANIC, "Panic", "Panic(0x12)");
    assert_revert("0x", "", "reverted without a reason");
    assert_revert("0x2fef82", "", "reverted with 3 bytes that are no error");
    assert_revert("0xdeadbeef00", "", "unknown error 0xdeadbeef of 5 bytes");
    assert_revert("0x2fef82f8", "InvalidTransition", "InvalidTransition(malformed)");
    assert_revert("0x4e487b71", "Panic", "Panic(malformed)");
    assert_revert("0x08c379a0", "Error", "Error: malformed");
}

/* All of them, as the contracts declare them: name and number of arguments. */
static void all_custom_errors(void **state)
{
    (void)state;
    static const struct {
        uint32_t selector;
        const char *signature;
    } facts[] = {
        {0xbdb90210, "AlreadyDone()"},
        {0xa24a13a6, "ArrayLengthMismatch()"},
        {0x7064572b, "Banned()"},
        {0x7897ef6d, "CustomerMetaSchedulerProviderOnly()"},
        {0x89423319, "CustomerOnly(address,address)"},
        {0x3db2a12a, "Empty()"},
        {0x03eb8b54, "InsufficientFunds(uint256,uint256)"},
        {0x71c8f460, "InvalidJob()"},
        {0xd208e590, "InvalidJobDefinition()"},
        {0xe01ba5fa, "InvalidNodesCount()"},
        {0x5b23e576, "InvalidTotalCpus()"},
        {0x785f1be0, "InvalidTotalMem()"},
        {0x2fef82f8, "InvalidTransition(uint8,uint8)"},
        {0x8c6824c2, "JobHotStatusOnly(uint8)"},
        {0x32e3065c, "JobProviderOnly(address,address)"},
        {0x090713fe, "MetaScheduledScheduledStatusOnly(uint8)"},
        {0x3abe75b3, "NewJobRequestDisabled()"},
        {0x97736927, "NoJob()"},
        {0x3a43ca41, "NoProvider()"},
        {0x42f99019, "NoSpendingAuthority()"},
        {0xb4120f14, "OutOfBounds()"},
        {0xef341f6d, "ProviderNotJoined()"},
        {0x9003b68a, "RemainingTimeAboveLimit(uint256,uint256)"},
        {0x14475eb7, "RunningColdStatusOnly(uint8)"},
        {0xed3e2aad, "RunningScheduledStatusOnly(uint8)"},
        {0x2a856fc9, "SameStatusError()"},
        {0x2a9126eb, "WaitingApprovalOnly()"},
    };
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        const char *signature = facts[i].signature;
        size_t name_len = strcspn(signature, "(");
        uint8_t data[4 + 2 * ABI_WORD] = {0}, selector[ABI_SELECTOR];
        abi_selector(signature, selector);
        for (int k = 0; k < 4; k++)
            data[k] = (uint8_t)(facts[i].selector >> (24 - 8 * k));
        assert_memory_equal(data, selector, sizeof(selector));

        char text[CHAIN_ERROR_TEXT_MAX], expected[CHAIN_ERROR_TEXT_MAX];
        const char *zero =
            strstr(signature, "address") ? "0x0000000000000000000000000000000000000000" : "0";
        bool one = signature[name_len + 1] != ')', two = strchr(signature, ',');
        (void)snprintf(expected,
                       sizeof(expected),
                       "%.*s(%s%s%s)",
                       (int)name_len,
                       signature,
                       one ? zero : "",
                       two ? ", " : "",
                       two ? zero : "");
        const char *name = contract_revert_text(data, sizeof(data), text, sizeof(text));
        assert_string_equal(text, expected);
        assert_int_equal(strlen(name), name_len);
        assert_memory_equal(name, signature, name_len);
    }
}

/* A contract may say what it likes: one line comes out, and it fits. */
static void hostile_message(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(8192);
    assert_int_equal(contract_call_plain(&b, "Error(string)"), 0);
    struct abi_writer w = abi_encode(&b, 1);
    char message[2000];
    memset(message, 'm', sizeof(message));
    memcpy(message, "\nlevel=error\r\t\x1b[31m\x7f\xc3\xa9", 22);
    abi_put_bytes(&w, message, sizeof(message));
    char text[CHAIN_ERROR_TEXT_MAX];
    assert_string_equal(contract_revert_text(b.data, b.len, text, sizeof(text)), "Error");
    assert_int_equal(strlen(text), sizeof(text) - 1);
    for (const char *p = text; *p; p++)
        assert_in_range(*p, 0x20, 0x7e);
    assert_non_null(strstr(text, "Error: ?level=error???[31m???mm"));
    for (size_t size = 1; size < 20; size++) {
        memset(text, 'x', sizeof(text));
        (void)contract_revert_text(b.data, b.len, text, size);
        assert_int_equal(strlen(text), size - 1);
        assert_int_equal(text[size], 'x');
    }
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selectors),
        cmocka_unit_test(topics),
        cmocka_unit_test(status_names),
        cmocka_unit_test(claim_events),
        cmocka_unit_test(other_events),
        cmocka_unit_test(events_of_others),
        cmocka_unit_test(oversized_location),
        cmocka_unit_test(truncated),
        cmocka_unit_test(broken_affinity),
        cmocka_unit_test(jobs),
        cmocka_unit_test(broken_jobs),
        cmocka_unit_test(last_error_text),
        cmocka_unit_test(calls),
        cmocka_unit_test(status_calls),
        cmocka_unit_test(answers),
        cmocka_unit_test(reverts),
        cmocka_unit_test(all_custom_errors),
        cmocka_unit_test(hostile_message),
    };
    return cmocka_run_group_tests_name("contract", tests, NULL, NULL);
}
