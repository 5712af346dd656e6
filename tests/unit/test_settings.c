/* SPDX-License-Identifier: GPL-3.0-or-later */
/* JobCompLoc, JobCompParams, and the options of plugstack.conf. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/common/settings.h"

static struct launch_config config;
static char problem[512];

static int parse(const char *location, const char *params)
{
    problem[0] = '\0';
    config = (struct launch_config){.program = "/default"};
    return settings_parse(&config, location, params, problem, sizeof(problem));
}

static void test_good_locations(void **state)
{
    (void)state;
    static const char *const good[] = {
        "agent:3000", "127.0.0.1:1", "[::1]:65535", "a.b-c.example:443", "unix:/run/agent.sock"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(parse(good[i], NULL), 0);
        assert_string_equal(config.endpoint, good[i]);
        assert_string_equal(config.program, "/default");
        assert_false(config.tls);
    }
}

static void test_bad_locations(void **state)
{
    (void)state;
    char long_host[400];
    memset(long_host, 'a', sizeof(long_host));
    strcpy(long_host + sizeof(long_host) - 4, ":80");
    const char *const bad[] = {NULL,
                               "",
                               "agent",
                               ":80",
                               "agent:",
                               "agent:0",
                               "agent:65536",
                               "agent:123456",
                               "agent:80x",
                               "a b:80",
                               "::1:80",
                               "http://agent:80",
                               "/var/log/slurm_jobcomp.log",
                               "unix:/",
                               "unix:relative",
                               "agent\n:80",
                               long_host};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse(bad[i], "tls"), -1);
        assert_string_equal(config.endpoint, "");
        assert_non_null(strstr(problem, "NOT SENT"));
    }
}

static void test_params(void **state)
{
    (void)state;
    assert_int_equal(parse("a:1", "tls,ca=/etc/ca.pem,host_override=grid.example,forwarder=/x/f"),
                     0);
    assert_true(config.tls);
    assert_false(config.insecure);
    assert_string_equal(config.ca, "/etc/ca.pem");
    assert_string_equal(config.host_override, "grid.example");
    assert_string_equal(config.program, "/x/f");

    assert_int_equal(parse("a:1", "host-override=grid.example"), 0);
    assert_string_equal(config.host_override, "grid.example");
    assert_int_equal(parse("a:1", "CA=/etc/ca.pem"), 0);
    assert_true(config.tls);
    assert_int_equal(parse("a:1", "insecure,,"), 0);
    assert_true(config.tls && config.insecure);
    assert_int_equal(parse("a:1", ""), 0);
    assert_false(config.tls);
}

static void test_bad_params_leave_the_rest(void **state)
{
    (void)state;
    static const char *const bad[] = {"nonsense",
                                      "ca=relative",
                                      "ca=",
                                      "host_override=",
                                      "host_override=a b",
                                      "tls=yes",
                                      "forwarder=bin/sh",
                                      "tlsx",
                                      "ca"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse("a:1", bad[i]), -1);
        assert_non_null(strstr(problem, bad[i]));
        assert_string_equal(config.endpoint, "a:1");
        assert_string_equal(config.program, "/default");
    }
    char params[6000];
    memset(params, 'x', sizeof(params));
    strcpy(params + sizeof(params) - 5, ",tls");
    assert_int_equal(parse("a:1", params), -1);
    assert_true(config.tls);
}

/* Who names a CA wants TLS: a mistake in its path must not turn that off. */
static void test_bad_ca_is_no_clear_text(void **state)
{
    (void)state;
    assert_int_equal(parse("a:1", "ca=relative"), -1);
    assert_true(config.tls);
    assert_string_equal(config.ca, "");
    assert_int_equal(parse("a:1", "tls,ca=relative"), -1);
    assert_true(config.tls);
}

static void test_single_options(void **state)
{
    (void)state;
    struct launch_config before;
    (void)parse("a:1", "tls");
    before = config;
    assert_false(settings_set_endpoint(&config, "nonsense"));
    assert_false(settings_apply(&config, "endpoint=b:2"));
    assert_false(settings_apply(&config, ""));
    assert_memory_equal(&config, &before, sizeof(config));
    assert_true(settings_set_endpoint(&config, "b:2"));
    assert_string_equal(config.endpoint, "b:2");
    assert_true(settings_apply(&config, "insecure"));
    assert_true(config.insecure);
}

/* A reconfigure starts from nothing but the program. */
static void test_old_values_do_not_stay(void **state)
{
    (void)state;
    assert_int_equal(parse("a:1", "insecure,ca=/x,host_override=h"), 0);
    assert_int_equal(settings_parse(&config, "b:2", "", problem, sizeof(problem)), 0);
    assert_string_equal(config.endpoint, "b:2");
    assert_string_equal(config.ca, "");
    assert_string_equal(config.host_override, "");
    assert_false(config.tls || config.insecure);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_locations),
        cmocka_unit_test(test_bad_locations),
        cmocka_unit_test(test_params),
        cmocka_unit_test(test_bad_params_leave_the_rest),
        cmocka_unit_test(test_bad_ca_is_no_clear_text),
        cmocka_unit_test(test_single_options),
        cmocka_unit_test(test_old_values_do_not_stay),
    };
    return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
