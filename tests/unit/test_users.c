/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/slurm/users.h"

#define A "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
#define B "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"

static const uint8_t a[20] = {0xf3, 0x9f, 0xd6, 0xe5, 0x1a, 0xad, 0x88, 0xf6, 0xf4, 0xce,
                              0x6a, 0xb8, 0x82, 0x72, 0x79, 0xcf, 0xff, 0xb9, 0x22, 0x66};
static const uint8_t b[20] = {0x70, 0x99, 0x79, 0x70, 0xc5, 0x18, 0x12, 0xdc, 0x3a, 0x01,
                              0x0c, 0x7d, 0x01, 0xb5, 0x0e, 0x0d, 0x17, 0xdc, 0x79, 0xc8};
static struct error err;
static char path[] = "/tmp/test_users.XXXXXX";

static void put(const char *text)
{
    char next[64];
    (void)snprintf(next, sizeof(next), "%s.new", path);
    FILE *f = fopen(next, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(next, path), 0);
}

static void test_template(void **state)
{
    char user[SLURM_USER_MAX];
    struct users *u = users_new(USERS_TEMPLATE_DEFAULT, NULL, &err);
    assert_non_null(u);
    assert_int_equal(users_find(u, a, user, &err), 0);
    assert_string_equal(user, A);
    (void)users_destroy(u);
    u = users_new("grid-{customer}.x", "", &err);
    assert_non_null(u);
    assert_int_equal(users_find(u, b, user, &err), 0);
    assert_string_equal(user, "grid-0x70997970c51812dc3a010c7d01b50e0d17dc79c8.x");
    (void)users_destroy(u);
    u = users_new("griduser", NULL, &err);
    assert_non_null(u);
    assert_int_equal(users_find(u, b, user, &err), 0);
    assert_string_equal(user, "griduser");
    (void)users_destroy(u);
    static const char *const bad[] = {"",
                                      "root",
                                      "-{customer}",
                                      "{customer}{customer}",
                                      "{user}",
                                      "a b",
                                      "123",
                                      "a-name-that-is-too-long-{customer}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_null(users_new(bad[i], NULL, &err));
        assert_int_equal(err.code, ERR_INVALID);
    }
}

static void test_map(void **state)
{
    char user[SLURM_USER_MAX] = "";
    put("# customers\n\n" A "  alice\n\t" B "\tbob_2 \n");
    struct users *u = users_new("x", path, &err);
    assert_non_null(u);
    assert_int_equal(users_find(u, a, user, &err), 0);
    assert_string_equal(user, "alice");
    assert_int_equal(users_find(u, b, user, &err), 0);
    assert_string_equal(user, "bob_2");

    put(A " carol\n");
    assert_int_equal(users_find(u, a, user, &err), 0);
    assert_string_equal(user, "carol");
    assert_int_equal(users_find(u, b, user, &err), ERR_NOTFOUND);
    assert_non_null(strstr(err.text, "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"));

    put(A " carol\n" B " root\n");
    assert_int_equal(users_find(u, a, user, &err), ERR_UNAVAILABLE);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(err.text, ":2: "));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(users_find(u, a, user, &err), ERR_UNAVAILABLE);
    put("");
    assert_int_equal(users_find(u, a, user, &err), ERR_NOTFOUND);
    put(B " dave");
    assert_int_equal(users_find(u, b, user, &err), 0);
    assert_string_equal(user, "dave");
    (void)users_destroy(u);
}

static void test_map_refuses(void **state)
{
    static const char *const bad[] = {
        A "\n",
        A " \n",
        A " a b\n",
        A " root\n",
        A " -a\n",
        A " a$b\n",
        A " a/b\n",
        A " 1000\n",
        "f39fd6e51aad88f6f4ce6ab8827279cfffb92266aa a\n",
        "0xf39fd6e51aad88f6f4ce6ab8827279cfffb9226 a\n",
        "0xg39fd6e51aad88f6f4ce6ab8827279cfffb92266 a\n",
        "alice " A "\n",
        A " alice\r\n",
        A " alice\n" A " bob\n",
        A " aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put(bad[i]);
        if (users_new("x", path, &err)) fail_msg("taken: %s", bad[i]);
        assert_int_equal(err.code, ERR_INVALID);
    }
    assert_int_equal(unlink(path), 0);
    assert_null(users_new("x", path, &err));
    assert_int_equal(err.code, ERR_NOTFOUND);
}

static int setup(void **state)
{
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_template),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_map_refuses),
    };
    return cmocka_run_group_tests_name("users", tests, setup, NULL);
}
