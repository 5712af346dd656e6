/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a cluster is registered as, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/engine/registration.h"

static const struct slurm_node cluster[] = {
    {.name = "n1", .cpus = 32, .mem_mb = 1000, .gpus = 0},
    {.name = "n2", .cpus = 64, .mem_mb = 3000, .gpus = 4, .flags = SLURM_NODE_DOWN},
    {.name = "n3", .cpus = 32, .mem_mb = 1000, .gpus = 0, .flags = SLURM_NODE_POWERED_DOWN},
};

static struct chain_provider make(const struct registration_rules *rules)
{
    struct chain_provider p = {0};
    struct error err = {0};
    if (registration_hardware(cluster, 3, rules, &p, &err) < 0) fail_msg("%s", err.text);
    return p;
}

static void
check_node(const struct chain_provider *p, size_t i, uint64_t cpus, uint64_t gpus, uint64_t mem_mb)
{
    assert_true(i < p->node_count);
    assert_int_equal(p->nodes[i].cpus, cpus);
    assert_int_equal(p->nodes[i].gpus, gpus);
    assert_int_equal(p->nodes[i].mem_mb, mem_mb);
}

static void as_configured(void **state)
{
    (void)state;
    struct chain_provider p = make(&(struct registration_rules){0});
    assert_int_equal(p.node_count, 3); // a node that is down is registered all the same
    check_node(&p, 0, 64, 4, 3000);
    check_node(&p, 1, 32, 0, 1000);
    check_node(&p, 2, 32, 0, 1000);
    provider_free(&p);
}

static void without_what_is_down(void **state)
{
    (void)state;
    struct chain_provider p = make(&(struct registration_rules){.skip_down = true});
    assert_int_equal(p.node_count, 2); // one that sleeps to save power is up
    check_node(&p, 0, 32, 0, 1000);
    check_node(&p, 1, 32, 0, 1000);
    provider_free(&p);

    struct slurm_node down[] = {cluster[0], cluster[2]};
    down[0].flags = SLURM_NODE_NOT_RESPONDING;
    down[1].flags = SLURM_NODE_DRAIN;
    struct registration_rules rules = {.skip_down = true};
    assert_int_equal(registration_hardware(down, 2, &rules, &p, NULL), ERR_NOTFOUND);
    assert_null(p.nodes);
}

/* A total is spread over the nodes in proportion to what they have. */
static void totals(void **state)
{
    (void)state;
    struct chain_provider p =
        make(&(struct registration_rules){.cpus = 65, .gpus = 3, .mem_mb = 501});
    check_node(&p, 0, 32, 3, 300);
    check_node(&p, 1, 17, 0, 101); // what rounding left
    check_node(&p, 2, 16, 0, 100);
    provider_free(&p);
    // More than there is, by the same rule.
    p = make(&(struct registration_rules){.cpus = 256});
    check_node(&p, 0, 128, 4, 3000);
    check_node(&p, 1, 64, 0, 1000);
    provider_free(&p);
    // Of what no node has, each gets as much.
    struct slurm_node plain[] = {cluster[0], cluster[2]};
    struct registration_rules rules = {.gpus = 3};
    assert_int_equal(registration_hardware(plain, 2, &rules, &p, NULL), 0);
    check_node(&p, 0, 32, 2, 1000);
    check_node(&p, 1, 32, 1, 1000);
    provider_free(&p);
}

/* The reference's way: so many nodes, and totals. */
static void equal_nodes(void **state)
{
    (void)state;
    struct chain_provider p =
        make(&(struct registration_rules){.nodes = 2, .cpus = 129, .mem_mb = 4001});
    assert_int_equal(p.node_count, 2);
    check_node(&p, 0, 65, 2, 2001);
    check_node(&p, 1, 64, 2, 2000); // GPUs: what Slurm has
    provider_free(&p);
    p = make(&(struct registration_rules){.nodes = 5, .cpus = 5, .gpus = 1, .mem_mb = 10});
    assert_int_equal(p.node_count, 5);
    check_node(&p, 0, 1, 1, 2);
    check_node(&p, 4, 1, 0, 2);
    provider_free(&p);
}

/* Nothing of it depends on the order that slurmrestd or scontrol gives. */
static void any_order(void **state)
{
    (void)state;
    struct slurm_node turned[] = {cluster[2], cluster[1], cluster[0]};
    struct registration_rules rules = {.cpus = 65, .gpus = 3};
    struct chain_provider a = make(&rules), b = {0};
    assert_int_equal(registration_hardware(turned, 3, &rules, &b, NULL), 0);
    assert_int_equal(provider_compare(&a, &b, "", NULL), 0);
    provider_free(&a);
    provider_free(&b);
}

static void too_large(void **state)
{
    (void)state;
    struct slurm_node nodes[] = {cluster[0], cluster[0]};
    nodes[0].mem_mb = nodes[1].mem_mb = UINT64_MAX;
    struct registration_rules rules = {.mem_mb = 100};
    struct chain_provider p = {0};
    assert_int_equal(registration_hardware(nodes, 2, &rules, &p, NULL), 0);
    provider_free(&p);
}

/* ---- when ---- */

enum { HOUR = 3600 * 1000 };

static const struct registration_facts ok = {
    .known = true, .by_itself = true, .now_ms = 100L * HOUR, .interval_ms = HOUR};

static void check(struct registration_facts f, enum registration_state want)
{
    assert_int_equal(registration_decide(&f), want);
}

static void when_registered(void **state)
{
    (void)state;
    struct registration_facts f = ok;
    f.approved = f.was_approved = true;
    check(f, REGISTRATION_GOOD);
    f.waiting = true;
    check(f, REGISTRATION_WAITING);
    f.approved = f.was_approved = false;
    check(f, REGISTRATION_WAITING);
    f.known = false; // Slurm cannot be asked: what is on chain stands
    f.differs = PROVIDER_HARDWARE;
    check(f, REGISTRATION_WAITING);
}

static void when_not_registered(void **state)
{
    (void)state;
    struct registration_facts f = ok;
    check(f, REGISTRATION_DUE);
    f.known = false;
    check(f, REGISTRATION_NONE);
    f = ok;
    f.by_itself = false;
    check(f, REGISTRATION_NONE);
    f.asked = true;
    check(f, REGISTRATION_DUE);
    f.under_way = true;
    check(f, REGISTRATION_SENT);
    f = ok;
    f.last_ms = f.now_ms - HOUR + 1; // it was sent, and is not there: not at once again
    check(f, REGISTRATION_NONE);
    f.last_ms = f.now_ms - HOUR;
    check(f, REGISTRATION_DUE);
}

static void when_terms_differ(void **state)
{
    (void)state;
    struct registration_facts f = ok;
    f.approved = f.was_approved = true;
    f.differs = PROVIDER_PRICES | PROVIDER_LABELS;
    check(f, REGISTRATION_DUE); // nobody's prices change by themselves
    f.last_ms = f.now_ms - HOUR + 1;
    check(f, REGISTRATION_DIFFERS);
    f.asked = true;
    check(f, REGISTRATION_DUE);
    f.asked = false;
    f.last_ms -= 1;
    check(f, REGISTRATION_DUE);
    f.by_itself = false;
    check(f, REGISTRATION_DIFFERS);
}

/* Nodes come and go. */
static void when_hardware_differs(void **state)
{
    (void)state;
    struct registration_facts f = ok;
    f.approved = f.was_approved = true;
    f.differs = PROVIDER_HARDWARE;
    f.differs_since_ms = f.now_ms - HOUR + 1;
    check(f, REGISTRATION_DIFFERS);
    f.differs |= PROVIDER_PRICES; // what is registered would have the hardware in it
    check(f, REGISTRATION_DIFFERS);
    f.differs_since_ms -= 1;
    check(f, REGISTRATION_DUE);
    f.differs_since_ms = f.now_ms;
    f.asked = true;
    check(f, REGISTRATION_DUE);
}

static void when_the_operator_says_no(void **state)
{
    (void)state;
    struct registration_facts f = ok;
    f.approved = f.banned = f.was_approved = true;
    f.differs = PROVIDER_PRICES;
    f.asked = true;
    check(f, REGISTRATION_BANNED); // the contract would refuse it
    f = ok;
    f.was_approved = true;
    check(f, REGISTRATION_REMOVED);
    f.asked = true;
    check(f, REGISTRATION_DUE);
    f.asked = false;
    f.waiting = true; // it was asked for, and waits
    check(f, REGISTRATION_WAITING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_configured),
        cmocka_unit_test(without_what_is_down),
        cmocka_unit_test(totals),
        cmocka_unit_test(equal_nodes),
        cmocka_unit_test(any_order),
        cmocka_unit_test(too_large),
        cmocka_unit_test(when_registered),
        cmocka_unit_test(when_not_registered),
        cmocka_unit_test(when_terms_differ),
        cmocka_unit_test(when_hardware_differs),
        cmocka_unit_test(when_the_operator_says_no),
    };
    return cmocka_run_group_tests_name("registration", tests, NULL, NULL);
}
