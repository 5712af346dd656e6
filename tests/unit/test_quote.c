/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Quoting, and the command line around a Slurm command: both tried on the real /bin/sh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/slurm/quote.h"
#include "agent/slurm/remote.h"

static struct error err;

/* Run a command line with this input; its output as a string. */
static void run(const char *command, const void *input, size_t len, struct buf *out)
{
    char path[] = "/tmp/test_quote.XXXXXX", line[4096], data[4096];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, input, len), len);
    (void)close(fd);
    assert_true((size_t)snprintf(line, sizeof(line), "%s <%s", command, path) < sizeof(line));
    FILE *f = popen(line, "r");
    assert_non_null(f);
    size_t n;
    while ((n = fread(data, 1, sizeof(data), f)) > 0)
        assert_int_equal(buf_put(out, data, n), 0);
    (void)pclose(f);
    (void)unlink(path);
}

static void test_quote_round_trip(void **state)
{
    static const char *const words[] = {
        "plain",
        "",
        "two words",
        "it's",
        "''",
        "$HOME `id`",
        "a;b|c&d>e",
        "*?[a]{b}~",
        "\"double\" #no",
        "--comment=supervisor x",
        "%s\\n",
        "H;${x;p;}",
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct buf line = BUF_INIT(1024), out = BUF_INIT(1024), want = BUF_INIT(1024);
        assert_int_equal(quote_append(&line, "printf", &err), 0);
        assert_int_equal(quote_append(&line, "<%s>", &err), 0);
        assert_int_equal(quote_append(&line, words[i], &err), 0);
        run(buf_str(&line), "", 0, &out);
        (void)buf_putf(&want, "<%s>", words[i]);
        assert_string_equal(buf_str(&out), buf_str(&want));
        buf_free(&line);
        buf_free(&out);
        buf_free(&want);
    }
}

static void test_quote_refuses(void **state)
{
    static const char *const words[] = {
        "a\nb",
        "a\tb",
        "bell\a",
        "\x7f",
        "caf\xc3\xa9",
        "wow!",
        "end\\",
        "two\\\\",
        "\\'",
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct buf line = BUF_INIT(1024);
        assert_int_equal(quote_append(&line, words[i], &err), ERR_INVALID);
        assert_int_equal(line.len, 0);
    }
    struct buf small = BUF_INIT(4);
    assert_int_equal(quote_append(&small, "longer", &err), ERR_LIMIT);
    buf_free(&small);
}

static void test_clean_environment(void **state)
{
    static const char *const argv[] = {"SLURM_TIME_FORMAT=%s", "env", NULL};
    struct buf line = BUF_INIT(4096), out = BUF_INIT(65536);
    (void)setenv("SBATCH_TIMELIMIT", "9999", 1);
    (void)setenv("SLURM_CLUSTERS", "elsewhere", 1);
    (void)setenv("SLURM_CONF", "/a b/slurm.conf", 1);
    (void)setenv("HOME", "/home/o'neil $x", 1);
    assert_int_equal(remote_command(&line, argv, NULL, 5, &err), 0);
    run(buf_str(&line), "", 0, &out);
    assert_null(strstr(buf_str(&out), "SBATCH_"));
    assert_null(strstr(buf_str(&out), "SLURM_CLUSTERS"));
    assert_non_null(strstr(buf_str(&out), "SLURM_CONF=/a b/slurm.conf\n"));
    assert_non_null(strstr(buf_str(&out), "HOME=/home/o'neil $x\n"));
    assert_non_null(strstr(buf_str(&out), "SLURM_TIME_FORMAT=%s\n"));
    assert_non_null(strstr(buf_str(&out), "PATH="));
    buf_free(&line);
    buf_free(&out);
}

/* What `cat` in sbatch's place is given of the first `cut` bytes of a script on the wire. */
static void feed(const char *script, size_t cut, struct buf *out)
{
    static const char *const argv[] = {"cat", NULL};
    char mark[REMOTE_MARK_SIZE];
    struct buf line = BUF_INIT(4096), wire = BUF_INIT(1 << 20);
    assert_int_equal(remote_mark(mark, &err), 0);
    assert_int_equal(remote_command(&line, argv, mark, 5, &err), 0);
    (void)buf_puts(&wire, script);
    assert_int_equal(remote_trailer(&wire, script, strlen(script), mark, &err), 0);
    buf_reset(out);
    run(buf_str(&line), wire.data, wire.len - cut, out);
    buf_free(&line);
    buf_free(&wire);
}

static void test_input_whole_or_not_at_all(void **state)
{
    static const char *const scripts[] = {
        "#!/bin/sh\ntrue\n", "#!/bin/sh\n\n\n", "#!/bin/sh\nH;${x;s/^\\n//}\n\ttab 'quote' $x\n"};
    struct buf out = BUF_INIT(1 << 20);
    for (size_t i = 0; i < 3; i++) {
        feed(scripts[i], 0, &out);
        assert_string_equal(buf_str(&out), scripts[i]);
        // From the last digit of the mark (behind it is only its newline) down to one byte.
        size_t wire = strlen(scripts[i]) + REMOTE_MARK_SIZE;
        for (size_t cut = 2; cut < wire; cut += 5) {
            feed(scripts[i], cut, &out);
            assert_string_equal(buf_str(&out), "");
        }
    }
    feed("#!/bin/sh\nno newline", 0, &out);
    assert_string_equal(buf_str(&out), "#!/bin/sh\nno newline\n");
    buf_free(&out);
}

static void test_hanging_command_is_killed(void **state)
{
    static const char *const argv[] = {"sleep", "30", NULL};
    struct buf line = BUF_INIT(4096);
    assert_int_equal(remote_command(&line, argv, NULL, 1, &err), 0);
    int status = system(buf_str(&line));
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 137);
    buf_free(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quote_round_trip),
        cmocka_unit_test(test_quote_refuses),
        cmocka_unit_test(test_clean_environment),
        cmocka_unit_test(test_input_whole_or_not_at_all),
        cmocka_unit_test(test_hanging_command_is_killed),
    };
    return cmocka_run_group_tests_name("quote", tests, NULL, NULL);
}
