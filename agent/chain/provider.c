/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/provider.h"

#include <stdlib.h>
#include <string.h>

#include "agent/chain/abi.h"
#include "agent/util/hex.h"

enum {
    /* Of an answer. Registering a node costs some 17,000 gas: no block has room for so many. */
    NODES_MAX = 65536,
    LABELS_MAX = 1024,
};

void provider_free(struct chain_provider *p)
{
    if (!p) return;
    free(p->nodes);
    free(p->labels);
    *p = (struct chain_provider){0};
}

int provider_copy_terms(struct chain_provider *to, const struct chain_provider *from)
{
    struct provider_label *labels = calloc(from->label_count + 1, sizeof(*labels));
    if (!labels) return ERR_NOMEM;
    if (from->label_count) memcpy(labels, from->labels, from->label_count * sizeof(*labels));
    *to = (struct chain_provider){
        .known = true, .prices = from->prices, .labels = labels, .label_count = from->label_count};
    return 0;
}

static int larger_first(uint64_t a, uint64_t b)
{
    return (a < b) - (a > b);
}

static int order_nodes(const void *left, const void *right)
{
    const struct provider_node *a = left, *b = right;
    int order = larger_first(a->gpus, b->gpus);
    if (order == 0) order = larger_first(a->cpus, b->cpus);
    return order ? order : larger_first(a->mem_mb, b->mem_mb);
}

void provider_sort_nodes(struct chain_provider *p)
{
    if (p->node_count) qsort(p->nodes, p->node_count, sizeof(*p->nodes), order_nodes);
}

/* ---- labels ---- */

static int order_labels(const void *left, const void *right)
{
    const struct provider_label *a = left, *b = right;
    int order = strcmp(a->key, b->key);
    return order ? order : strcmp(a->value, b->value);
}

/* Not isalnum(): what is kept must not depend on a locale. */
static char kept(char c)
{
    if (c >= 'A' && c <= 'Z') return (char)(c - 'A' + 'a');
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ? c : '\0';
}

/* protocol.md D8. `out` has room for what is longer than it anyway. */
static void reduce(char out[PROVIDER_LABEL_MAX], const char *text, size_t len)
{
    size_t n = 0;
    bool gap = false;
    for (size_t i = 0; i < len && n + 2 < PROVIDER_LABEL_MAX; i++) {
        char c = kept(text[i]);
        if (c && gap && n) out[n++] = '-';
        if (c) out[n++] = c;
        gap = !c;
    }
    out[n] = '\0';
}

int provider_add_label(struct chain_provider *p, const char *text, struct error *err)
{
    struct provider_label label, *more;
    size_t key = strcspn(text, "=");
    const char *value = text + key + (text[key] == '=');
    if (strlen(text) >= PROVIDER_LABEL_MAX)
        return error_set(err, ERR_INVALID, "label \"%.40s...\" is too long", text);
    reduce(label.key, text, key);
    reduce(label.value, value, strlen(value));
    if (!label.key[0] || (*value && !label.value[0]))
        return error_set(err,
                         ERR_INVALID,
                         "label \"%s\": nothing is left of its %s but letters, digits, '.' and '-'",
                         text,
                         label.key[0] ? "value" : "key");
    for (size_t i = 0; i < p->label_count; i++)
        if (strcmp(p->labels[i].key, label.key) == 0)
            return error_set(
                err, ERR_INVALID, "label \"%s\": there is a label \"%s\" already", text, label.key);
    more = reallocarray(p->labels, p->label_count + 1, sizeof(*more));
    if (!more) return error_set(err, ERR_NOMEM, "labels: %s", err_text(ERR_NOMEM));
    p->labels = more;
    p->labels[p->label_count++] = label;
    qsort(p->labels, p->label_count, sizeof(*p->labels), order_labels);
    return 0;
}

/* ---- prices ---- */

bool provider_is_free(const struct provider_prices *prices)
{
    return u256_is_zero(prices->cpu) && u256_is_zero(prices->mem_mb);
}

int provider_price_per_min(const struct provider_prices *prices,
                           const struct chain_claim *job,
                           struct u256 *out)
{
    struct u256 cpus, mem_mb, cpu_part, mem_part, gpu_part, sum;
    struct u256 tasks = u256_from_u64(job->ntasks);
    if (u256_mul(tasks, u256_from_u64(job->cpus_per_task), &cpus) < 0 ||
        u256_mul(cpus, u256_from_u64(job->mem_per_cpu_mb), &mem_mb) < 0 ||
        u256_mul(cpus, prices->cpu, &cpu_part) < 0 ||
        u256_mul(mem_mb, prices->mem_mb, &mem_part) < 0 ||
        u256_mul(u256_from_u64(job->gpus), prices->gpu, &gpu_part) < 0 ||
        u256_add(cpu_part, mem_part, &sum) < 0 || u256_add(sum, gpu_part, &sum) < 0)
        return ERR_LIMIT;
    *out = sum;
    return 0;
}

/* ---- encoding ---- */

static void put_column(struct abi_writer *hardware, const struct chain_provider *p, size_t offset)
{
    struct abi_writer column = abi_put_array(hardware, p->node_count, 1);
    for (size_t i = 0; i < p->node_count; i++) {
        uint64_t v;
        memcpy(&v, (const char *)&p->nodes[i] + offset, sizeof(v));
        abi_put_u64(&column, v);
    }
}

int provider_encode(struct buf *b, const struct chain_provider *p)
{
    (void)contract_call_plain(b,
                              "register((uint64,uint64[],uint64[],uint64[]),(uint256,uint256,"
                              "uint256),(string,string)[])");
    struct abi_writer top = abi_encode(b, 5);
    struct abi_writer hardware = abi_put_tuple(&top, 4);
    abi_put_u64(&hardware, p->node_count);
    put_column(&hardware, p, offsetof(struct provider_node, gpus));
    put_column(&hardware, p, offsetof(struct provider_node, cpus));
    put_column(&hardware, p, offsetof(struct provider_node, mem_mb));
    abi_put_u256(&top, p->prices.gpu); // a static tuple lies in the head
    abi_put_u256(&top, p->prices.cpu);
    abi_put_u256(&top, p->prices.mem_mb);
    struct abi_writer labels = abi_put_array(&top, p->label_count, 1);
    for (size_t i = 0; i < p->label_count; i++) {
        struct abi_writer label = abi_put_tuple(&labels, 2);
        abi_put_bytes(&label, p->labels[i].key, strlen(p->labels[i].key));
        abi_put_bytes(&label, p->labels[i].value, strlen(p->labels[i].value));
    }
    return buf_error(b);
}

/* ---- decoding ---- */

/* A column may be longer than another in a contract that does not compare them: zeros then. */
static int get_hardware(struct abi_frame *f, struct chain_provider *p)
{
    static const size_t offsets[] = {offsetof(struct provider_node, gpus),
                                     offsetof(struct provider_node, cpus),
                                     offsetof(struct provider_node, mem_mb)};
    struct abi_frame hardware, columns[3];
    size_t counts[3], rows = 0;
    int rc = abi_get_tuple(f, "providerHardware", &hardware);
    if (rc == 0) rc = abi_skip(&hardware, "nodes");
    for (int i = 0; rc == 0 && i < 3; i++) {
        rc = abi_get_array(&hardware, "node's share", NODES_MAX, &counts[i], &columns[i]);
        if (rc == 0 && counts[i] > rows) rows = counts[i];
    }
    if (rc < 0) return rc;
    p->nodes = calloc(rows + 1, sizeof(*p->nodes));
    if (!p->nodes) return ERR_NOMEM;
    p->node_count = rows;
    for (int i = 0; i < 3; i++)
        for (size_t row = 0; rc == 0 && row < counts[i]; row++) {
            uint64_t v = 0;
            rc = abi_get_u64(&columns[i], "node's share", &v);
            memcpy((char *)&p->nodes[row] + offsets[i], &v, sizeof(v));
        }
    return rc;
}

static int get_prices(struct abi_frame *f, struct provider_prices *prices)
{
    (void)abi_get_u256(f, "gpuPricePerMin", &prices->gpu);
    (void)abi_get_u256(f, "cpuPricePerMin", &prices->cpu);
    return abi_get_u256(f, "memPricePerMin", &prices->mem_mb);
}

static int get_text(struct abi_frame *f, const char *what, char out[PROVIDER_LABEL_MAX])
{
    const uint8_t *text;
    size_t len;
    int rc = abi_get_bytes(f, what, f->len, &text, &len);
    if (rc == 0) contract_copy_printable(out, PROVIDER_LABEL_MAX, text, len);
    return rc;
}

static int get_labels(struct abi_frame *f, struct chain_provider *p)
{
    struct abi_frame labels, label;
    size_t count;
    int rc = abi_get_array(f, "labels", LABELS_MAX, &count, &labels);
    if (rc < 0) return rc;
    p->labels = calloc(count + 1, sizeof(*p->labels));
    if (!p->labels) return ERR_NOMEM;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = abi_get_tuple(&labels, "label", &label);
        if (rc == 0) rc = get_text(&label, "label's key", p->labels[i].key);
        if (rc == 0) rc = get_text(&label, "label's value", p->labels[i].value);
        p->label_count = i + 1;
    }
    return rc;
}

static int get_provider(struct abi_frame *top, struct chain_provider *p)
{
    static const struct eth_address nobody;
    struct eth_address address = nobody;
    struct abi_frame f;
    int rc = abi_get_tuple(top, "Provider", &f);
    if (rc == 0) rc = abi_get_address(&f, "addr", &address);
    if (rc < 0 || memcmp(&address, &nobody, sizeof(nobody)) == 0) return rc;
    p->known = true;
    rc = get_hardware(&f, p);
    if (rc == 0) rc = get_prices(&f, &p->prices);
    if (rc == 0) rc = get_labels(&f, p);
    return rc == 0 ? abi_get_bool(&f, "isBanned", &p->banned) : rc;
}

int provider_decode(const uint8_t *data, size_t len, struct chain_provider *p, struct error *err)
{
    struct chain_provider found = {0};
    struct abi_decoder d;
    struct abi_frame top;
    abi_decode(&d, &top, data, len, err);
    int rc = get_provider(&top, &found);
    if (rc < 0) {
        provider_free(&found);
        return rc == ERR_NOMEM ? error_set(err, rc, "provider: %s", err_text(rc)) : rc;
    }
    provider_sort_nodes(&found);
    if (found.label_count)
        qsort(found.labels, found.label_count, sizeof(*found.labels), order_labels);
    *p = found;
    return 0;
}

int provider_decode_prices(const uint8_t *data,
                           size_t len,
                           struct provider_prices *prices,
                           struct error *err)
{
    struct provider_prices found = {0};
    struct abi_decoder d;
    struct abi_frame top;
    abi_decode(&d, &top, data, len, err);
    int rc = get_prices(&top, &found);
    if (rc == 0) *prices = found;
    return rc;
}
