/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/util/secret.h"

static char dir[] = "/tmp/test_secret.XXXXXX";
static char path[64];

static int make_dir(void **state)
{
    if (!mkdtemp(dir)) return -1;
    (void)snprintf(path, sizeof(path), "%s/secret", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)unlink(path);
    return rmdir(dir);
}

static void put_file(const void *data, size_t len, mode_t mode)
{
    (void)unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
}

static void setting_copies_and_terminates(void **state)
{
    struct secret s = {0};
    char text[] = "abc";
    assert_int_equal(secret_set(&s, text, 3), 0);
    text[0] = 'x';
    assert_string_equal((char *)s.data, "abc");
    assert_int_equal(s.len, 3);
    assert_int_equal(secret_set(&s, s.data + 1, 2), 0); // from itself
    assert_string_equal((char *)s.data, "bc");
    secret_wipe(&s);
    assert_null(s.data);
    assert_int_equal(s.len, 0);
    secret_wipe(&s);
    secret_wipe(NULL);
}

static void the_limit_is_exact(void **state)
{
    struct secret s = {0};
    char *data = calloc(1, SECRET_MAX + 1);
    assert_non_null(data);
    assert_int_equal(secret_set(&s, data, SECRET_MAX), 0);
    assert_int_equal(secret_set(&s, data, SECRET_MAX + 1), ERR_LIMIT);
    assert_int_equal(s.len, SECRET_MAX); // kept
    secret_wipe(&s);
    put_file(data, SECRET_MAX + 1, 0600);
    assert_int_equal(secret_read_file(&s, path, NULL), ERR_LIMIT);
    assert_null(s.data);
    free(data);
}

static void files_are_read_without_the_newline(void **state)
{
    static const struct {
        const char *file;
        size_t len;
    } cases[] = {
        {"key", 3}, {"key\n", 3}, {"key\r\n", 3}, {"key\n\n", 3}, {" key \n", 5}, {"k\ny", 3}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct secret s = {0};
        put_file(cases[i].file, strlen(cases[i].file), 0600);
        assert_int_equal(secret_read_file(&s, path, NULL), 0);
        assert_int_equal(s.len, cases[i].len);
        assert_memory_equal(s.data, cases[i].file, s.len);
        assert_int_equal(s.data[s.len], 0);
        secret_wipe(&s);
    }
}

static void bytes_may_be_zero(void **state)
{
    struct secret s = {0};
    put_file("a\0b", 3, 0400);
    assert_int_equal(secret_read_file(&s, path, NULL), 0);
    assert_int_equal(s.len, 3);
    secret_wipe(&s);
}

static void open_modes_are_refused(void **state)
{
    static const mode_t bad[] = {0604, 0602, 0601, 0660, 0620, 0644, 0666, 0777};
    static const mode_t good[] = {0600, 0400, 0700, 0500};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct secret s = {0};
        struct error err = {0};
        char mode[8];
        put_file("key", 3, bad[i]);
        assert_int_equal(secret_read_file(&s, path, &err), ERR_DENIED);
        (void)snprintf(mode, sizeof(mode), "%04o", (unsigned int)bad[i]);
        assert_non_null(strstr(err.text, path));
        assert_non_null(strstr(err.text, mode));
        assert_null(s.data);
    }
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct secret s = {0};
        put_file("key", 3, good[i]);
        assert_int_equal(secret_read_file(&s, path, NULL), 0);
        secret_wipe(&s);
    }
}

static void group_read_is_for_roots_group_only(void **state)
{
    struct secret s = {0};
    struct stat st;
    put_file("key", 3, 0640);
    assert_int_equal(stat(path, &st), 0);
    bool roots = st.st_uid == 0 && st.st_gid == 0;
    assert_int_equal(secret_read_file(&s, path, NULL), roots ? 0 : ERR_DENIED);
    secret_wipe(&s);
    if (geteuid() != 0) return;
    assert_int_equal(chown(path, 0, 65534), 0);
    assert_int_equal(secret_read_file(&s, path, NULL), ERR_DENIED);
    put_file("key", 3, 0600);
    assert_int_equal(chown(path, 65534, 0), 0);
    struct error err = {0};
    assert_int_equal(secret_read_file(&s, path, &err), ERR_DENIED);
    assert_non_null(strstr(err.text, "uid 65534"));
    assert_null(s.data);
}

static void what_is_no_secret_file(void **state)
{
    struct secret s = {0};
    struct error err = {0};
    assert_int_equal(secret_read_file(&s, "/nonexistent/secret", &err), ERR_NOTFOUND);
    assert_non_null(strstr(err.text, "/nonexistent/secret"));
    assert_int_equal(secret_read_file(&s, dir, &err), ERR_DENIED);
    assert_int_equal(secret_read_file(&s, "/dev/null", &err), ERR_DENIED);
    put_file("", 0, 0600);
    assert_int_equal(secret_read_file(&s, path, &err), ERR_INVALID);
    put_file("\n\r\n", 3, 0600);
    assert_int_equal(secret_read_file(&s, path, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "empty"));
    (void)unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0); // must not block
    assert_int_equal(secret_read_file(&s, path, &err), ERR_DENIED);
    assert_null(s.data);
}

static void a_failure_keeps_the_old_one(void **state)
{
    struct secret s = {0};
    assert_int_equal(secret_set(&s, "old", 3), 0);
    assert_int_equal(secret_read_file(&s, "/nonexistent/secret", NULL), ERR_NOTFOUND);
    assert_string_equal((char *)s.data, "old");
    put_file("new", 3, 0600);
    assert_int_equal(secret_read_file(&s, path, NULL), 0);
    assert_string_equal((char *)s.data, "new");
    secret_wipe(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(setting_copies_and_terminates),
        cmocka_unit_test(the_limit_is_exact),
        cmocka_unit_test(files_are_read_without_the_newline),
        cmocka_unit_test(bytes_may_be_zero),
        cmocka_unit_test(open_modes_are_refused),
        cmocka_unit_test(group_read_is_for_roots_group_only),
        cmocka_unit_test(what_is_no_secret_file),
        cmocka_unit_test(a_failure_keeps_the_old_one),
    };
    return cmocka_run_group_tests_name("secret", tests, make_dir, remove_dir);
}
