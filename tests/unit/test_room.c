/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whether a job fits, now or ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/engine/room.h"

/* 64 CPUs, 1000 MB and 4 GPUs each; half of the first is used, the third is drained. */
static const struct slurm_node nodes[] = {
    {.cpus = 64, .mem_mb = 1000, .gpus = 4, .used_cpus = 32, .used_mem_mb = 500, .used_gpus = 3},
    {.cpus = 64, .mem_mb = 1000, .gpus = 4},
    {.cpus = 64, .mem_mb = 1000, .gpus = 4, .flags = SLURM_NODE_DRAIN},
};

static void by_size(void **state)
{
    (void)state;
    static const struct {
        struct room_job job;
        enum room room;
    } cases[] = {
        {{96, 1, 1, 0}, ROOM_NOW},
        {{97, 1, 1, 0}, ROOM_LATER},
        {{192, 1, 1, 0}, ROOM_LATER},
        {{193, 1, 1, 0}, ROOM_NEVER},
        {{3, 32, 1, 0}, ROOM_NOW},
        {{2, 33, 1, 0}, ROOM_LATER}, // 96 CPUs are free, but a task needs one node
        {{1, 65, 1, 0}, ROOM_NEVER},
        {{1, 1, 1000, 0}, ROOM_NOW},
        {{2, 1, 501, 0}, ROOM_LATER},
        {{1, 1, 1001, 0}, ROOM_NEVER},
        {{1, 1, 1, 5}, ROOM_NOW},
        {{1, 1, 1, 6}, ROOM_LATER},
        {{1, 1, 1, 13}, ROOM_NEVER},
        {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}, ROOM_NEVER},
        {{UINT64_MAX, 2, 1, 0}, ROOM_NEVER},
        {{1, 0, 1, 0}, ROOM_NEVER},
        {{1, 1, 0, 0}, ROOM_NEVER},
    };
    struct room_promised none = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (room_for(nodes, 3, &none, &cases[i].job) != cases[i].room) fail_msg("case %zu", i);
    assert_int_equal(room_for(NULL, 0, &none, &cases[0].job), ROOM_NEVER);
}

static void by_what_is_promised(void **state)
{
    (void)state;
    struct room_promised p = {0};
    struct room_job first = {2, 16, 10, 1}, job = {64, 1, 1, 0}, one = {1, 1, 1, 5};
    room_promise(&p, &first);
    assert_int_equal(p.cpus, 32);
    assert_int_equal(p.mem_mb, 320);
    assert_int_equal(p.gpus, 1);
    assert_int_equal(room_for(nodes, 3, &p, &job), ROOM_NOW);
    job.ntasks = 65;
    assert_int_equal(room_for(nodes, 3, &p, &job), ROOM_LATER);
    assert_int_equal(room_for(nodes, 3, &p, &one), ROOM_LATER);
    job.ntasks = 192; // whether it fits at all does not depend on what is promised
    assert_int_equal(room_for(nodes, 3, &p, &job), ROOM_LATER);
    first.ntasks = UINT64_MAX;
    room_promise(&p, &first);
    assert_int_equal(p.cpus, UINT64_MAX);
}

static void unfit_nodes(void **state)
{
    (void)state;
    static const uint32_t flags[] = {
        SLURM_NODE_DOWN, SLURM_NODE_DRAIN, SLURM_NODE_NOT_RESPONDING, SLURM_NODE_RESERVED};
    struct room_promised none = {0};
    struct room_job job = {1, 1, 1, 0};
    struct slurm_node node = nodes[1];
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        node.flags = flags[i];
        assert_int_equal(room_for(&node, 1, &none, &job), ROOM_LATER);
    }
    node.flags = SLURM_NODE_POWERED_DOWN; // Slurm wakes it up
    assert_int_equal(room_for(&node, 1, &none, &job), ROOM_NOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_size),
        cmocka_unit_test(by_what_is_promised),
        cmocka_unit_test(unfit_nodes),
    };
    return cmocka_run_group_tests_name("room", tests, NULL, NULL);
}
