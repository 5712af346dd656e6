/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/slurm/script.h"

static struct error err;

static void test_disarms(void **state)
{
    static const struct {
        const char *in, *out;
    } table[] = {
        {"#!/bin/sh\n#SBATCH --time=9\ntrue\n", "#!/bin/sh\n##BATCH --time=9\ntrue\n"},
        {"#!/bin/sh\n#SBATCH", "#!/bin/sh\n##BATCH"},
        {"#!/bin/sh\n#SLURM -t 9\n#DW jobdw\n#BB_LUA x\n#PBS -l y\n#BSUB -W 9\n",
         "#!/bin/sh\n##LURM -t 9\n##W jobdw\n##B_LUA x\n##BS -l y\n##SUB -W 9\n"},
        // Blank lines and indented comments do not end the block, a command does.
        {"#!/bin/sh\n\n  \t\v\n  # note\n#SBATCH -a 1\n",
         "#!/bin/sh\n\n  \t\v\n  # note\n##BATCH -a 1\n"},
        {"#!/bin/sh\ntrue\n#SBATCH -a 1\n", "#!/bin/sh\ntrue\n#SBATCH -a 1\n"},
        {"#!/bin/sh\ncat <<E\n#SBATCH -a 1\nE\n", "#!/bin/sh\ncat <<E\n#SBATCH -a 1\nE\n"},
        // What Slurm does not read stays: other comments, an encoding line, an indented one.
        {"#!/usr/bin/python3\n#coding: latin-1\n# SBATCH\n #SBATCH\n##SBATCH\n#\n",
         "#!/usr/bin/python3\n#coding: latin-1\n# SBATCH\n #SBATCH\n##SBATCH\n#\n"},
        {"#!/bin/sh", "#!/bin/sh"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct buf out = BUF_INIT(1024);
        assert_int_equal(script_prepare(table[i].in, strlen(table[i].in), &out, &err), 0);
        assert_string_equal(buf_str(&out), table[i].out);
        buf_free(&out);
    }
}

static void test_refuses(void **state)
{
    static const struct {
        const char *in;
        size_t len;
        const char *part;
    } table[] = {
        {"", 0, "empty"},
        {"#!", 2, "#!"},
        {"true\n", 5, "#!"},
        {"\n#!/bin/sh\n", 11, "#!"},
        {"#!/bin/sh\n\0\n", 12, "NUL"},
        {"#!/bin/sh\r\ntrue\r\n", 17, "DOS"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct buf out = BUF_INIT(1024);
        assert_int_equal(script_prepare(table[i].in, table[i].len, &out, &err), ERR_REFUSED);
        assert_non_null(strstr(err.text, table[i].part));
        assert_int_equal(out.len, 0);
    }
    struct buf small = BUF_INIT(4);
    assert_int_equal(script_prepare("#!/bin/sh\n", 10, &small, &err), ERR_LIMIT);
    buf_free(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disarms),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests_name("script", tests, NULL, NULL);
}
