/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Providers in words, for the log and for `deepsquare-agent register`. */
#include <inttypes.h>
#include <string.h>

#include "agent/chain/provider.h"

enum { GROUPS_MAX = 6 }; // kinds of nodes that are told apart in a line

/* "2 nodes of 64 CPUs, 4 GPUs, 20000 MB and 1 node of ...". Nodes are sorted: equal ones follow. */
static void put_hardware(const struct chain_provider *p, struct buf *text)
{
    size_t groups = 0;
    for (size_t i = 0, n; i < p->node_count; i += n) {
        const struct provider_node *node = &p->nodes[i];
        for (n = 1; i + n < p->node_count; n++)
            if (memcmp(node, &p->nodes[i + n], sizeof(*node)) != 0) break;
        if (groups++) (void)buf_puts(text, " and ");
        if (groups > GROUPS_MAX) {
            (void)buf_putf(text, "%zu others", p->node_count - i);
            return;
        }
        (void)buf_putf(text,
                       "%zu node%s of %" PRIu64 " CPUs, %" PRIu64 " GPUs, %" PRIu64 " MB",
                       n,
                       n == 1 ? "" : "s",
                       node->cpus,
                       node->gpus,
                       node->mem_mb);
    }
    if (p->node_count == 0) (void)buf_puts(text, "no nodes");
}

static void put_change(struct buf *text, const char *between, const char *what)
{
    if (text->len) (void)buf_puts(text, between);
    (void)buf_putf(text, "%s: ", what);
}

static bool same_hardware(const struct chain_provider *a, const struct chain_provider *b)
{
    return a->node_count == b->node_count &&
           (a->node_count == 0 ||
            memcmp(a->nodes, b->nodes, a->node_count * sizeof(*a->nodes)) == 0);
}

static unsigned int compare_hardware(const struct chain_provider *has,
                                     const struct chain_provider *wants,
                                     const char *between,
                                     struct buf *text)
{
    if (same_hardware(has, wants)) return 0;
    put_change(text, between, "hardware");
    put_hardware(has, text);
    (void)buf_puts(text, " -> ");
    put_hardware(wants, text);
    return PROVIDER_HARDWARE;
}

struct price_row {
    const char *unit;
    struct u256 has, wants;
};

static unsigned int compare_prices(const struct provider_prices *has,
                                   const struct provider_prices *wants,
                                   const char *between,
                                   struct buf *text)
{
    const struct price_row rows[] = {{"CPU", has->cpu, wants->cpu},
                                     {"GPU", has->gpu, wants->gpu},
                                     {"MB", has->mem_mb, wants->mem_mb}};
    char a[U256_FIXED_TEXT], b[U256_FIXED_TEXT];
    unsigned int differs = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (u256_cmp(rows[i].has, rows[i].wants) == 0) continue;
        differs = PROVIDER_PRICES;
        put_change(text, between, "credits a minute");
        (void)buf_putf(text,
                       "%s %s -> %s",
                       rows[i].unit,
                       u256_format_fixed(a, rows[i].has, U256_CREDIT_DECIMALS),
                       u256_format_fixed(b, rows[i].wants, U256_CREDIT_DECIMALS));
    }
    return differs;
}

static const struct provider_label *find(const struct chain_provider *p, const char *key)
{
    for (size_t i = 0; i < p->label_count; i++)
        if (strcmp(p->labels[i].key, key) == 0) return &p->labels[i];
    return NULL;
}

static bool same_labels(const struct chain_provider *a, const struct chain_provider *b)
{
    if (a->label_count != b->label_count) return false;
    for (size_t i = 0; i < a->label_count; i++)
        if (strcmp(a->labels[i].key, b->labels[i].key) != 0 ||
            strcmp(a->labels[i].value, b->labels[i].value) != 0)
            return false;
    return true;
}

static void put_label_change(struct buf *text,
                             const char *between,
                             const char *key,
                             const struct provider_label *has,
                             const struct provider_label *wants)
{
    if (has && wants && strcmp(has->value, wants->value) == 0) return;
    put_change(text, between, "label");
    (void)buf_putf(
        text, "%s %s -> %s", key, has ? has->value : "(none)", wants ? wants->value : "(none)");
}

static unsigned int compare_labels(const struct chain_provider *has,
                                   const struct chain_provider *wants,
                                   const char *between,
                                   struct buf *text)
{
    if (same_labels(has, wants)) return 0;
    for (size_t i = 0; i < has->label_count; i++) {
        const struct provider_label *l = &has->labels[i];
        // A key that is there twice, which never comes from here, is told of as gone once.
        const struct provider_label *other = find(has, l->key) == l ? find(wants, l->key) : NULL;
        put_label_change(text, between, l->key, l, other);
    }
    for (size_t i = 0; i < wants->label_count; i++)
        if (!find(has, wants->labels[i].key))
            put_label_change(text, between, wants->labels[i].key, NULL, &wants->labels[i]);
    return PROVIDER_LABELS;
}

unsigned int provider_compare(const struct chain_provider *has,
                              const struct chain_provider *wants,
                              const char *between,
                              struct buf *text)
{
    struct buf nowhere = BUF_INIT(0); // a put into it fails, and does no more
    if (!text) text = &nowhere;
    return compare_hardware(has, wants, between, text) |
           compare_prices(&has->prices, &wants->prices, between, text) |
           compare_labels(has, wants, between, text);
}

void provider_describe(const struct chain_provider *p, const char *between, struct buf *text)
{
    char cpu[U256_FIXED_TEXT], gpu[U256_FIXED_TEXT], mem[U256_FIXED_TEXT];
    put_hardware(p, text);
    (void)buf_putf(text,
                   "%scredits a minute: CPU %s, GPU %s, MB %s%slabels:",
                   between,
                   u256_format_fixed(cpu, p->prices.cpu, U256_CREDIT_DECIMALS),
                   u256_format_fixed(gpu, p->prices.gpu, U256_CREDIT_DECIMALS),
                   u256_format_fixed(mem, p->prices.mem_mb, U256_CREDIT_DECIMALS),
                   between);
    for (size_t i = 0; i < p->label_count; i++)
        (void)buf_putf(text, " %s=%s", p->labels[i].key, p->labels[i].value);
    if (p->label_count == 0) (void)buf_puts(text, " none");
}
