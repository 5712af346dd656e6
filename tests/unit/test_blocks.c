/* SPDX-License-Identifier: GPL-3.0-or-later */
/* agent/chain/blocks.c and logspan.c: what is remembered of the chain, and how much is asked at
 * once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/chain/blocks.h"
#include "agent/chain/logspan.h"

static void push(struct blocks *b, uint64_t number)
{
    struct chain_block block = {.number = number, .hash = {{(uint8_t)number}}};
    blocks_push(b, &block);
}

static void test_blocks(void **state)
{
    (void)state;
    struct blocks b = {0};
    assert_null(blocks_top(&b));
    assert_null(blocks_find(&b, 0));
    for (uint64_t n = 7; n < 7 + 2 * BLOCKS_MAX; n++)
        push(&b, n);
    uint64_t top = 6 + 2 * BLOCKS_MAX, oldest = top - BLOCKS_MAX + 1;
    assert_int_equal(b.count, BLOCKS_MAX);
    assert_int_equal(blocks_top(&b)->number, top);
    for (uint64_t n = oldest; n <= top; n++)
        assert_int_equal(blocks_find(&b, n)->hash.b[0], (uint8_t)n);
    assert_null(blocks_find(&b, oldest - 1));
    assert_null(blocks_find(&b, top + 1));
    blocks_cut(&b, top - 3);
    assert_int_equal(blocks_top(&b)->number, top - 3);
    push(&b, top - 2); // goes on
    assert_int_equal(b.count, BLOCKS_MAX - 2);
    push(&b, top + 5); // does not
    assert_int_equal(b.count, 1);
    assert_int_equal(blocks_find(&b, top + 5)->number, top + 5);
    blocks_cut(&b, 0);
    assert_null(blocks_top(&b));
}

static void test_span_without_complaints(void **state)
{
    (void)state;
    struct logspan s;
    logspan_init(&s, 2000);
    assert_int_equal(logspan_to(&s, 1, 5000), 2000);
    assert_int_equal(logspan_to(&s, 1, 2000), 2000);
    assert_int_equal(logspan_to(&s, 1999, 2000), 2000);
    assert_int_equal(logspan_to(&s, UINT64_MAX - 1, UINT64_MAX), UINT64_MAX);
    for (int i = 0; i < 100; i++)
        logspan_answered(&s, 2000);
    assert_int_equal(s.now, 2000);
    logspan_init(&s, 0);
    assert_int_equal(logspan_to(&s, 5, 9), 5);
}

static void test_span_shrinks_and_grows(void **state)
{
    (void)state;
    struct logspan s;
    logspan_init(&s, 2000);
    assert_true(logspan_refused(&s, 2000));
    assert_true(logspan_refused(&s, 1000));
    assert_int_equal(s.now, 500);
    for (int i = 1; i < LOGSPAN_GROW_AFTER; i++)
        logspan_answered(&s, 500);
    assert_int_equal(s.now, 500);
    logspan_answered(&s, 20); // a short one shows nothing
    assert_int_equal(s.now, 500);
    logspan_answered(&s, 500);
    assert_int_equal(s.now, 1000);
    for (int i = 0; i < LOGSPAN_GROW_AFTER; i++)
        logspan_answered(&s, 1000);
    assert_int_equal(s.now, 2000);
}

/* A node with a limit is asked for too much once in a while, not half of the time. */
static void test_span_of_a_node_with_a_limit(void **state)
{
    (void)state;
    struct logspan s;
    unsigned int requests = 0, complaints = 0;
    logspan_init(&s, 2000);
    for (uint64_t next = 1; next <= 100000;) {
        uint64_t to = logspan_to(&s, next, 100000), blocks = to - next + 1;
        requests++;
        if (blocks > 1023) {
            complaints++;
            assert_true(logspan_refused(&s, blocks));
            continue;
        }
        logspan_answered(&s, blocks);
        next = to + 1;
    }
    assert_in_range(complaints, 1, requests / 12);
    assert_in_range(requests, 100, 160);
}

static void test_span_is_not_the_trouble(void **state)
{
    (void)state;
    struct logspan s;
    unsigned int tries = 1;
    logspan_init(&s, 2000);
    while (logspan_refused(&s, s.now))
        tries++;
    assert_int_equal(tries, 11);
    assert_int_equal(s.now, 2000); // else all that comes later would be asked one by one
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_span_without_complaints),
        cmocka_unit_test(test_span_shrinks_and_grows),
        cmocka_unit_test(test_span_of_a_node_with_a_limit),
        cmocka_unit_test(test_span_is_not_the_trouble),
    };
    return cmocka_run_group_tests_name("blocks", tests, NULL, NULL);
}
