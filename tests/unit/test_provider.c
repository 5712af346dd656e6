/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Providers: as they are encoded, read back, compared and told. */
#include "agent/chain/provider.h"

#include <stdio.h>

#include "tests/unit/chain_test.h"
#include "tests/unit/vectors.h"

static const struct u256 largest = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};

static void add_label(struct chain_provider *p, const char *text)
{
    struct error err = {0};
    if (provider_add_label(p, text, &err) < 0) fail_msg("%s", err.text);
}

static void add_node(struct chain_provider *p, uint64_t cpus, uint64_t gpus, uint64_t mem_mb)
{
    p->nodes = realloc(p->nodes, (p->node_count + 1) * sizeof(*p->nodes));
    assert_non_null(p->nodes);
    p->nodes[p->node_count++] =
        (struct provider_node){.cpus = cpus, .gpus = gpus, .mem_mb = mem_mb};
}

/* What the vectors have. */
static struct chain_provider sample(void)
{
    struct chain_provider p = {.known = true};
    add_node(&p, 32, 0, 128000);
    add_node(&p, 64, 4, 512000);
    provider_sort_nodes(&p);
    p.prices = (struct provider_prices){.gpu = u256_from_u64(8500000000000), .cpu = largest};
    add_label(&p, "region=a-value-that-needs-more-than-one-word");
    add_label(&p, "os=linux");
    return p;
}

static struct chain_provider decode(const char *vector)
{
    struct bytes b = unhex(vector);
    struct chain_provider p = {0};
    struct error err = {0};
    if (provider_decode(b.data, b.len, &p, &err) < 0) fail_msg("%s", err.text);
    free(b.data);
    return p;
}

static void encoding(void **state)
{
    (void)state;
    struct chain_provider p = sample();
    struct buf b = BUF_INIT(4096);
    assert_int_equal(provider_encode(&b, &p), 0);
    assert_hex(b.data, b.len, VECTOR_CALL_REGISTER);
    buf_free(&b);

    b = BUF_INIT(600); // too small: an error, and no half of a call
    assert_int_equal(provider_encode(&b, &p), ERR_LIMIT);
    buf_free(&b);
    provider_free(&p);
}

/* The order on chain does not matter. */
static void decoding(void **state)
{
    (void)state;
    struct chain_provider p = decode(VECTOR_PROVIDER), wants = sample();
    struct buf text = BUF_INIT(1024);
    assert_true(p.known);
    assert_false(p.banned);
    assert_int_equal(provider_compare(&p, &wants, "; ", &text), 0);
    assert_int_equal(text.len, 0);
    provider_free(&p);
    provider_free(&wants);

    p = decode(VECTOR_PROVIDER_NONE);
    assert_false(p.known);
    provider_free(&p);

    // Columns of three lengths, and none of them what `nodes` says.
    p = decode(VECTOR_PROVIDER_ODD);
    assert_true(p.known && p.banned);
    assert_int_equal(p.node_count, 3);
    assert_int_equal(p.nodes[0].gpus, 4);
    assert_int_equal(p.nodes[0].cpus, 64);
    assert_int_equal(p.nodes[2].cpus, 1);
    assert_int_equal(p.nodes[2].mem_mb, 0);
    provider_free(&p);
}

static void damaged_answers(void **state)
{
    (void)state;
    struct bytes b = unhex(VECTOR_PROVIDER);
    for (size_t len = 0; len < b.len; len += 32) {
        struct chain_provider p = {0};
        struct error err = {0};
        uint8_t *part = malloc(len + 1); // of that size, so that a sanitizer sees a read beyond
        assert_non_null(part);
        memcpy(part, b.data, len);
        assert_int_equal(provider_decode(part, len, &p, &err), ERR_PROTO);
        assert_null(p.nodes);
        assert_true(err.text[0]);
        free(part);
    }
    for (size_t i = 0; i < b.len; i++) {
        struct chain_provider p = {0};
        b.data[i] ^= 0xff;
        (void)provider_decode(b.data, b.len, &p, NULL); // whatever it says, it ends and frees
        provider_free(&p);
        b.data[i] ^= 0xff;
    }
    free(b.data);
}

/* protocol.md D8 */
static void labels(void **state)
{
    (void)state;
    static const struct {
        const char *given, *key, *value;
    } good[] = {
        {"os=linux", "os", "linux"},
        {"GPU=NVIDIA A100", "gpu", "nvidia-a100"},
        {"my_key=a//b", "my-key", "a-b"},
        {"k1=  !(v)! ", "k1", "v"},
        {"k2=a=b", "k2", "a-b"},
        {"k3=", "k3", ""},
        {"k4", "k4", ""},
        {"-k5-=.x.", "-k5-", ".x."},
        {"Stra\xc3\x9f"
         "e=M\xc3\xbcnchen",
         "stra-e",
         "m-nchen"},
    };
    static const char *const bad[] = {"=x", "!!=x", "k9=!!", "OS=freebsd", "o_s=1\x7f", "K1=v"};
    struct chain_provider p = {0};
    struct error err = {0};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        add_label(&p, good[i].given);
        size_t at = 0;
        while (at < p.label_count && strcmp(p.labels[at].key, good[i].key) != 0)
            at++;
        if (at == p.label_count) fail_msg("%s: no key %s", good[i].given, good[i].key);
        assert_string_equal(p.labels[at].value, good[i].value);
    }
    for (size_t i = 1; i < p.label_count; i++)
        assert_true(strcmp(p.labels[i - 1].key, p.labels[i].key) < 0);
    size_t count = p.label_count;
    add_label(&p, "o-s=1");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        err.text[0] = '\0';
        if (provider_add_label(&p, bad[i], &err) != ERR_INVALID) fail_msg("%s is taken", bad[i]);
        assert_non_null(strstr(err.text, "label"));
    }
    char big[PROVIDER_LABEL_MAX + 8];
    memset(big, 'a', sizeof(big));
    big[sizeof(big) - 1] = '\0';
    assert_int_equal(provider_add_label(&p, big, &err), ERR_INVALID);
    assert_int_equal(p.label_count, count + 1);
    provider_free(&p);
}

static void check_differs(const struct chain_provider *has,
                          const struct chain_provider *wants,
                          unsigned int expected,
                          const char *words)
{
    struct buf text = BUF_INIT(2048);
    assert_int_equal(provider_compare(has, wants, " | ", &text), expected);
    assert_int_equal(provider_compare(has, wants, " | ", NULL), expected);
    assert_string_equal(buf_str(&text), words);
    buf_free(&text);
}

static void comparing(void **state)
{
    (void)state;
    struct chain_provider has = sample(), wants = sample(), none = {0};
    wants.prices.cpu = u256_from_u64(950000000000000000);
    has.prices.cpu = u256_from_u64(1000000000000000000);
    check_differs(&has, &wants, PROVIDER_PRICES, "credits a minute: CPU 1 -> 0.95");
    wants.prices.cpu = has.prices.cpu;

    wants.nodes[1].cpus = 31;
    check_differs(&has,
                  &wants,
                  PROVIDER_HARDWARE,
                  "hardware: 1 node of 64 CPUs, 4 GPUs, 512000 MB and 1 node of 32 CPUs, 0 GPUs, "
                  "128000 MB -> 1 node of 64 CPUs, 4 GPUs, 512000 MB and 1 node of 31 CPUs, 0 "
                  "GPUs, 128000 MB");
    wants.nodes[1] = wants.nodes[0];
    check_differs(&none,
                  &wants,
                  PROVIDER_HARDWARE | PROVIDER_PRICES | PROVIDER_LABELS,
                  "hardware: no nodes -> 2 nodes of 64 CPUs, 4 GPUs, 512000 MB | credits a minute: "
                  "CPU 0 -> 1 | credits a minute: GPU 0 -> 0.0000085 | label: os (none) -> linux "
                  "| label: region (none) -> a-value-that-needs-more-than-one-word");
    wants.nodes[1] = has.nodes[1];

    snprintf(wants.labels[0].value, sizeof(wants.labels[0].value), "bsd");
    wants.label_count = 1;
    add_label(&wants, "zone=b");
    check_differs(&has,
                  &wants,
                  PROVIDER_LABELS,
                  "label: os linux -> bsd | label: region a-value-that-needs-more-than-one-word -> "
                  "(none) | label: zone (none) -> b");
    provider_free(&has);
    provider_free(&wants);
}

/* A key twice, which somebody else's registration may have, is a difference and not a crash. */
static void double_key(void **state)
{
    (void)state;
    struct chain_provider has = sample(), wants = sample();
    has.labels[1] = has.labels[0];
    wants.label_count = 1;
    assert_int_equal(provider_compare(&has, &wants, "; ", NULL), PROVIDER_LABELS);
    provider_free(&has);
    provider_free(&wants);
}

static void many_kinds_of_nodes(void **state)
{
    (void)state;
    struct chain_provider p = {.known = true};
    struct buf text = BUF_INIT(2048);
    for (uint64_t i = 1; i <= 20; i++)
        add_node(&p, i, 0, 1);
    provider_sort_nodes(&p);
    provider_describe(&p, ", ", &text);
    assert_non_null(strstr(buf_str(&text), "1 node of 15 CPUs, 0 GPUs, 1 MB and 14 others, "));
    assert_non_null(strstr(buf_str(&text), "labels: none"));
    buf_free(&text);
    provider_free(&p);
}

static void prices(void **state)
{
    (void)state;
    // protocol.md C.5: ntasks * (cpus * cpu + cpus * mem * mb) + gpus * gpu
    struct provider_prices p = {
        .gpu = u256_from_u64(1000000), .cpu = u256_from_u64(1000), .mem_mb = u256_from_u64(1)};
    struct chain_claim job = {.ntasks = 3, .cpus_per_task = 2, .mem_per_cpu_mb = 50, .gpus = 4};
    struct u256 price = {{0}}, want = u256_from_u64(3 * (2 * 1000 + 2 * 50) + 4 * 1000000);
    assert_int_equal(provider_price_per_min(&p, &job, &price), 0);
    assert_int_equal(u256_cmp(price, want), 0);
    assert_false(provider_is_free(&p));
    p.cpu = largest;
    assert_int_equal(provider_price_per_min(&p, &job, &price), ERR_LIMIT);
    p.cpu = p.mem_mb = (struct u256){{0}};
    assert_true(provider_is_free(&p)); // whatever a GPU costs
    p.mem_mb = u256_from_u64(1);
    assert_false(provider_is_free(&p));
}

static void copies(void **state)
{
    (void)state;
    struct chain_provider p = sample(), copy = {0};
    assert_int_equal(provider_copy_terms(&copy, &p), 0);
    assert_null(copy.nodes);
    assert_int_equal(provider_compare(&p, &copy, "", NULL), PROVIDER_HARDWARE);
    provider_free(&p);
    assert_string_equal(copy.labels[0].key, "os");
    provider_free(&copy);
    provider_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encoding),
        cmocka_unit_test(decoding),
        cmocka_unit_test(damaged_answers),
        cmocka_unit_test(labels),
        cmocka_unit_test(comparing),
        cmocka_unit_test(double_key),
        cmocka_unit_test(many_kinds_of_nodes),
        cmocka_unit_test(prices),
        cmocka_unit_test(copies),
    };
    return cmocka_run_group_tests_name("provider", tests, NULL, NULL);
}
