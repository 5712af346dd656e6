/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever a node may send: the first byte says as what the rest is decoded. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/chain/contract.h"
#include "agent/chain/provider.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) abort();
}

/* A verdict is 0, or ERR_PROTO with a text. */
static void check_verdict(int rc, const struct error *err)
{
    require(rc == 0 || (rc == ERR_PROTO && err->code == ERR_PROTO && err->text[0]));
}

static void check_line(const char *text, size_t size)
{
    size_t len = strnlen(text, size);
    require(len < size);
    for (size_t i = 0; i < len; i++)
        require(text[i] >= 0x20 && text[i] < 0x7f);
}

static void as_event(unsigned int kind, const uint8_t *data, size_t size)
{
    struct chain_raw_log log = {
        .topics = {contract_topic((enum chain_event_kind)kind)},
        .topic_count = 1,
        .data = data,
        .data_len = size,
    };
    struct chain_event event = {.kind = CHAIN_EVENT_NONE};
    struct error err = {0};
    int rc = contract_decode_event(&log, &event, &err);
    check_verdict(rc, &err);
    require(event.kind == (rc == 0 ? kind : CHAIN_EVENT_NONE));
    const char *location = event.claim.location_hash;
    require(memchr(location, '\0', sizeof(event.claim.location_hash)) != NULL);
}

static void as_job(const uint8_t *data, size_t size)
{
    struct chain_job job = {.status = 0};
    struct error err = {0};
    check_verdict(contract_decode_job(data, size, &job, &err), &err);
    require(memchr(job.definition.location_hash, '\0', CHAIN_LOCATION_MAX) != NULL);
    check_line(job.last_error, sizeof(job.last_error));
}

static void as_revert(const uint8_t *data, size_t size)
{
    char text[CHAIN_ERROR_TEXT_MAX], small[16];
    const char *name = contract_revert_text(data, size, text, sizeof(text));
    require(text[0] != '\0' && strncmp(text, name, strlen(name)) == 0);
    check_line(text, sizeof(text));
    (void)contract_revert_text(data, size, small, sizeof(small));
    require(strncmp(text, small, sizeof(small) - 1) == 0);
}

static void as_answer(const uint8_t *data, size_t size)
{
    struct eth_address address;
    uint64_t number;
    struct error err = {0};
    check_verdict(contract_decode_address(data, size, &address, &err), &err);
    check_verdict(contract_decode_u64(data, size, &number, &err), &err);
}

static void as_provider(const uint8_t *data, size_t size)
{
    struct chain_provider p = {0}, none = {0};
    struct buf text = BUF_INIT(64 * 1024);
    struct error err = {0};
    int rc = provider_decode(data, size, &p, &err);
    check_verdict(rc, &err);
    require(rc == 0 || (!p.nodes && !p.labels));
    require(provider_compare(&p, &p, "; ", NULL) == 0);
    (void)provider_compare(&none, &p, "; ", &text);
    provider_describe(&p, "; ", &text);
    check_line(buf_str(&text), text.len + 1);
    buf_free(&text);
    provider_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    unsigned int as = data[0] % 8U;
    data++;
    size--;
    if (as == 0)
        as_job(data, size);
    else if (as <= CHAIN_EVENT_TRANSITION)
        as_event(as, data, size);
    else if (as == 5)
        as_revert(data, size);
    else if (as == 7)
        as_provider(data, size);
    else
        as_answer(data, size);
    return 0;
}
