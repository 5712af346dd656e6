/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/ethjson.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "agent/util/hex.h"
#include "agent/util/jsonx.h"
#include "agent/util/log.h"

enum {
    // Events of one eth_getLogs: 20,000 are 30 MB; a range that has more is asked for in halves.
    ETH_EVENTS_MAX = 20000,
    // Data of one log. The largest that can be decoded is some kB, a block's gas allows megabytes.
    ETH_LOG_DATA_MAX = 256 * 1024,
};

int eth_json_u256(const struct json_object *v,
                  const char *what,
                  struct u256 *out,
                  struct error *err)
{
    const char *text;
    int rc = jsonx_as_string(v, what, &text, err);
    if (rc < 0) return rc;
    if (strncmp(text, "0x", 2) != 0 || u256_parse(text, out) < 0)
        return error_set(err, ERR_PROTO, "%s: '%.80s' is no quantity", what, text);
    return 0;
}

int eth_json_u64(const struct json_object *v, const char *what, uint64_t *out, struct error *err)
{
    struct u256 big;
    int rc = eth_json_u256(v, what, &big, err);
    if (rc < 0) return rc;
    if (u256_to_u64(big, out) < 0)
        return error_set(err, ERR_PROTO, "%s does not fit 64 bits", what);
    return 0;
}

static int
fixed(const struct json_object *v, const char *what, uint8_t *out, size_t len, struct error *err)
{
    const char *text;
    int rc = jsonx_as_string(v, what, &text, err);
    if (rc < 0) return rc;
    if (strncmp(text, "0x", 2) != 0 || hex_decode(out, len, text) < 0)
        return error_set(err, ERR_PROTO, "%s: '%.80s' is not 0x and %zu bytes", what, text, len);
    return 0;
}

int eth_json_hash(const struct json_object *v,
                  const char *what,
                  struct eth_hash *out,
                  struct error *err)
{
    return fixed(v, what, out->b, sizeof(out->b), err);
}

int eth_json_bytes(const struct json_object *v, const char *what, struct buf *b, struct error *err)
{
    const char *text;
    int rc = jsonx_as_string(v, what, &text, err);
    if (rc < 0) return rc;
    size_t digits = strlen(text);
    if (strncmp(text, "0x", 2) != 0 || digits % 2 != 0)
        return error_set(err, ERR_PROTO, "%s is not 0x and bytes", what);
    size_t len = digits / 2 - 1, before = b->len;
    uint8_t *at = buf_reserve(b, len);
    if (!at) return error_set(err, buf_error(b), "%s: %zu bytes", what, len);
    if (hex_decode(at, len, text) < 0) {
        b->len = before;
        return error_set(err, ERR_PROTO, "%s is not hexadecimal", what);
    }
    return 0;
}

int eth_json_get_u64(const struct json_object *o,
                     const char *name,
                     uint64_t *out,
                     struct error *err)
{
    const char *text; // for the error that says it is missing
    int rc = jsonx_get_string(o, name, &text, err);
    return rc < 0 ? rc : eth_json_u64(jsonx_find(o, name), name, out, err);
}

int eth_json_get_hash(const struct json_object *o,
                      const char *name,
                      struct eth_hash *out,
                      struct error *err)
{
    const char *text;
    int rc = jsonx_get_string(o, name, &text, err);
    return rc < 0 ? rc : eth_json_hash(jsonx_find(o, name), name, out, err);
}

int eth_json_get_address(const struct json_object *o,
                         const char *name,
                         struct eth_address *out,
                         struct error *err)
{
    const char *text;
    int rc = jsonx_get_string(o, name, &text, err);
    return rc < 0 ? rc : fixed(jsonx_find(o, name), name, out->b, sizeof(out->b), err);
}

static int read_topics(const struct json_object *o, struct chain_raw_log *log, struct error *err)
{
    struct json_object *topics;
    int rc = jsonx_get_array(o, "topics", &topics, err);
    if (rc < 0) return rc;
    size_t n = json_object_array_length(topics);
    if (n > sizeof(log->topics) / sizeof(log->topics[0]))
        return error_set(err, ERR_PROTO, "a log with %zu topics", n);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = eth_json_hash(json_object_array_get_idx(topics, i), "topic", &log->topics[i], err);
    log->topic_count = (unsigned int)n;
    return rc;
}

/* All but the data. */
static int read_log(const struct json_object *o, struct chain_raw_log *log, struct error *err)
{
    int rc = read_topics(o, log, err);
    if (rc == 0 && jsonx_find(o, "removed")) rc = jsonx_get_bool(o, "removed", &log->removed, err);
    if (rc < 0 || log->removed) return rc;
    rc = eth_json_get_address(o, "address", &log->address, err);
    if (rc == 0) rc = eth_json_get_hash(o, "transactionHash", &log->tx, err);
    if (rc == 0) rc = eth_json_get_hash(o, "blockHash", &log->block_hash, err);
    if (rc == 0) rc = eth_json_get_u64(o, "blockNumber", &log->block, err);
    if (rc == 0) rc = eth_json_get_u64(o, "logIndex", &log->log_index, err);
    return rc;
}

static struct chain_event *next_event(struct eth_events *events, struct error *err)
{
    if (events->count == events->room) {
        if (events->room >= ETH_EVENTS_MAX) {
            error_set(err, ERR_LIMIT, "more than %d events at once", ETH_EVENTS_MAX);
            return NULL;
        }
        size_t room = events->room ? events->room * 2 : 16;
        if (room > ETH_EVENTS_MAX) room = ETH_EVENTS_MAX;
        struct chain_event *list = reallocarray(events->list, room, sizeof(*list));
        if (!list) {
            error_set(err, ERR_NOMEM, "events: out of memory");
            return NULL;
        }
        events->list = list;
        events->room = room;
    }
    struct chain_event *e = &events->list[events->count];
    memset(e, 0, sizeof(*e));
    return e;
}

static bool is_topic(const struct chain_raw_log *log, enum chain_event_kind kind)
{
    struct eth_hash topic = contract_topic(kind);
    return log->topic_count > 0 && memcmp(&log->topics[0], &topic, sizeof(topic)) == 0;
}

/* Is it from the contract that emits this kind? */
static bool is_ours(const struct chain_raw_log *log, const struct eth_emitters *from)
{
    const struct eth_address *emitter = NULL;
    if (is_topic(log, CHAIN_EVENT_TRANSITION))
        emitter = &from->jobs;
    else if (is_topic(log, CHAIN_EVENT_CLAIM) || is_topic(log, CHAIN_EVENT_CANCEL) ||
             is_topic(log, CHAIN_EVENT_TOP_UP))
        emitter = &from->metascheduler;
    return emitter && memcmp(&log->address, emitter, sizeof(*emitter)) == 0;
}

static void log_poison(const struct chain_raw_log *log, const struct error *why)
{
    char tx[ETH_HASH_TEXT];
    log_error("chain: an event of ours cannot be decoded, ignoring it: transaction %s, block %llu, "
              "log %llu: %s",
              hex_encode(tx, log->tx.b, sizeof(log->tx.b)),
              (unsigned long long)log->block,
              (unsigned long long)log->log_index,
              why->text);
}

static int add_log(struct eth_events *events,
                   const struct json_object *o,
                   const struct eth_emitters *from,
                   struct buf *data,
                   struct error *err)
{
    struct chain_raw_log log = {0};
    struct error why = {0};
    int rc = read_log(o, &log, err);
    if (rc < 0) return error_prefix(err, "log");
    if (log.removed || !is_ours(&log, from)) return 0;
    struct chain_event *event = next_event(events, err);
    if (!event) return err->code;

    buf_reset(data);
    rc = eth_json_bytes(jsonx_find(o, "data"), "data", data, &why);
    if (rc == 0) {
        log.data = data->data;
        log.data_len = data->len;
        rc = contract_decode_event(&log, event, &why);
    }
    if (rc == ERR_NOMEM) return error_set(err, rc, "log: %s", why.text);
    if (rc == 0)
        events->count++;
    else if (rc != ERR_NOTFOUND)
        log_poison(&log, &why);
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct chain_event *x = a, *y = b;
    if (x->block != y->block) return x->block < y->block ? -1 : 1;
    if (x->log_index != y->log_index) return x->log_index < y->log_index ? -1 : 1;
    return 0;
}

int eth_events_add(struct eth_events *events,
                   const struct json_object *logs,
                   const struct eth_emitters *from,
                   struct error *err)
{
    struct error local = {0};
    if (!err) err = &local;
    if (!json_object_is_type(logs, json_type_array))
        return error_set(err, ERR_PROTO, "the logs are no array");
    struct buf data = BUF_INIT(ETH_LOG_DATA_MAX);
    int rc = 0;
    for (size_t i = 0; i < json_object_array_length(logs) && rc == 0; i++)
        rc = add_log(events, json_object_array_get_idx(logs, i), from, &data, err);
    buf_free(&data);
    if (events->count > 1) qsort(events->list, events->count, sizeof(events->list[0]), by_place);
    return rc;
}

void eth_events_free(struct eth_events *events)
{
    free(events->list);
    *events = (struct eth_events){0};
}
