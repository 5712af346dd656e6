/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/util/clock.h"
#include "agent/util/log.h"

static char text[16384]; // what was logged since capture()
static int pipe_fds[2], real_stderr;

static void capture(void)
{
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
    real_stderr = dup(STDERR_FILENO);
    assert_true(dup2(pipe_fds[1], STDERR_FILENO) >= 0);
}

static const char *captured(void)
{
    assert_true(dup2(real_stderr, STDERR_FILENO) >= 0);
    ssize_t n = read(pipe_fds[0], text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    (void)close(real_stderr);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
    return text;
}

static int reset(void **state)
{
    log_set_level(LOG_LEVEL_INFO);
    return setenv("JOURNAL_STREAM", "1:2", 1);
}

static void lines_for_the_journal_have_a_priority(void **state)
{
    capture();
    log_error("a %d", 1);
    log_warn("b");
    log_info("c");
    assert_string_equal(captured(),
                        "<3>level=error msg=\"a 1\"\n<4>level=warning msg=\"b\"\n"
                        "<6>level=info msg=\"c\"\n");
}

static void lines_elsewhere_have_the_time(void **state)
{
    (void)unsetenv("JOURNAL_STREAM");
    capture();
    log_info("c");
    const char *line = captured();
    int year, month, day, hour, minute, second, ms, n = 0;
    assert_int_equal(sscanf(line,
                            "time=%4d-%2d-%2dT%2d:%2d:%2d.%3dZ level=info msg=\"c\"%n",
                            &year,
                            &month,
                            &day,
                            &hour,
                            &minute,
                            &second,
                            &ms,
                            &n),
                     7);
    assert_int_equal(n, (int)strlen(line) - 1);
    assert_true(year >= 2022 && month >= 1 && month <= 12 && hour < 24 && ms < 1000);
}

static void the_job_follows_the_message(void **state)
{
    capture();
    log_job_info("0xab", "claimed");
    log_job_error("0xcd", "x");
    assert_string_equal(captured(),
                        "<6>level=info msg=\"claimed\" job=0xab\n"
                        "<3>level=error msg=\"x\" job=0xcd\n");
}

static void levels_above_the_maximum_are_dropped(void **state)
{
    capture();
    assert_false(log_enabled(LOG_LEVEL_DEBUG));
    log_debug("no");
    log_set_level(LOG_LEVEL_DEBUG);
    assert_true(log_enabled(LOG_LEVEL_DEBUG));
    log_debug("yes");
    log_set_level(LOG_LEVEL_ERROR);
    assert_false(log_enabled(LOG_LEVEL_WARN));
    log_warn("no");
    log_job_warn("0x1", "no");
    log_error("yes");
    assert_string_equal(captured(), "<7>level=debug msg=\"yes\"\n<3>level=error msg=\"yes\"\n");
}

static void foreign_text_cannot_forge_a_line(void **state)
{
    capture();
    log_info("%s", "a\nlevel=error msg=\"b\" \\ \x01\x7f\t");
    assert_string_equal(
        captured(), "<6>level=info msg=\"a\\x0alevel=error msg=\\\"b\\\" \\\\ \\x01\\x7f\\x09\"\n");
}

static void long_messages_are_cut_to_one_line(void **state)
{
    static const char fill[] = {'a', '\n', '"'};
    for (size_t i = 0; i < sizeof(fill); i++) {
        char long_text[6000];
        memset(long_text, fill[i], sizeof(long_text) - 1);
        long_text[sizeof(long_text) - 1] = '\0';
        capture();
        log_job_info(long_text, "%s", long_text);
        const char *line = captured();
        size_t len = strlen(line);
        assert_true(len > 1000 && len < 2560);
        assert_int_equal(line[len - 1], '\n');
        assert_non_null(strstr(line, "\" job="));
    }
}

static void repeated_messages_are_limited_and_counted(void **state)
{
    struct log_limit limit = {0};
    unsigned int suppressed = 99;
    assert_true(log_limit_ok(&limit, 60000, &suppressed));
    assert_int_equal(suppressed, 0);
    for (int i = 0; i < 5; i++)
        assert_false(log_limit_ok(&limit, 60000, &suppressed));
    limit.next_ms = clock_mono_ms(); // the minute is over
    assert_true(log_limit_ok(&limit, 60000, &suppressed));
    assert_int_equal(suppressed, 5);
    assert_false(log_limit_ok(&limit, 60000, &suppressed));
    assert_int_equal(limit.suppressed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(lines_for_the_journal_have_a_priority, reset),
        cmocka_unit_test_setup(lines_elsewhere_have_the_time, reset),
        cmocka_unit_test_setup(the_job_follows_the_message, reset),
        cmocka_unit_test_setup(levels_above_the_maximum_are_dropped, reset),
        cmocka_unit_test_setup(foreign_text_cannot_forge_a_line, reset),
        cmocka_unit_test_setup(long_messages_are_cut_to_one_line, reset),
        cmocka_unit_test_setup(repeated_messages_are_limited_and_counted, reset),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
