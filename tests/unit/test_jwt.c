/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tokens for slurmrestd: their form, the key's bytes, and where they are kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/slurm/jwt.h"
#include "agent/slurm/rest_auth.h"

static char dir[] = "/tmp/test_jwt.XXXXXX";

static const char *write_file(const char *name, const void *data, size_t len)
{
    static char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    (void)unlink(path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fchmod(fileno(f), 0600), 0);
    assert_int_equal(fclose(f), 0);
    return path;
}

static int setup(void **state)
{
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    char command[64];
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

/* The form of Slurm's own: header, and exp, iat, sun in this order. */
static void a_token_is_as_scontrol_makes_it(void **state)
{
    struct secret key = {0};
    struct buf token = BUF_INIT(1024);
    assert_int_equal(secret_set(&key, "0123456789abcdef0123456789abcdef", 32), 0);
    assert_int_equal(jwt_mint(&key, "alice", 1700000000, 300, &token, NULL), 0);
    // Signature by: openssl dgst -sha256 -mac HMAC
    assert_string_equal(buf_str(&token),
                        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
                        "eyJleHAiOjE3MDAwMDAzMDAsImlhdCI6MTcwMDAwMDAwMCwic3VuIjoiYWxpY2UifQ."
                        "RmjblUzyNCvl2inEpovgtlSmlb4mSapLz0aM3DFfIo4");
    buf_free(&token);
    secret_wipe(&key);
}

/* A random key ends in 0x0a once in 256 times. */
static void a_key_counts_byte_for_byte(void **state)
{
    static const char with_newline[] = "0123456789abcdef0123456789abcde\n";
    struct secret key = {0}, trimmed = {0};
    struct buf a = BUF_INIT(1024), b = BUF_INIT(1024);
    const char *path = write_file("key", with_newline, 32);
    assert_int_equal(secret_read_bytes(&key, path, NULL), 0);
    assert_int_equal(key.len, 32);
    assert_memory_equal(key.data, with_newline, 32);
    assert_int_equal(secret_read_file(&trimmed, path, NULL), 0);
    assert_int_equal(trimmed.len, 31);
    assert_int_equal(jwt_mint(&key, "root", 1, 300, &a, NULL), 0);
    assert_int_equal(jwt_mint(&trimmed, "root", 1, 300, &b, NULL), 0);
    assert_string_not_equal(buf_str(&a), buf_str(&b));
    static const char zeros[] = "\0\n\0\n";
    assert_int_equal(secret_read_bytes(&key, write_file("key", zeros, 4), NULL), 0);
    assert_int_equal(key.len, 4);
    buf_free(&a);
    buf_free(&b);
    secret_wipe(&key);
    secret_wipe(&trimmed);
}

static void what_would_break_the_claims_is_refused(void **state)
{
    static const char *const bad[] = {"", "a\"b", "a b", "a\nb", "a\\b", "\303\251"};
    struct secret key = {0}, empty = {0};
    struct buf token = BUF_INIT(1024);
    struct error err;
    assert_int_equal(secret_set(&key, "k", 1), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(jwt_mint(&key, bad[i], 1, 1, &token, &err), ERR_INVALID);
    assert_int_equal(jwt_mint(&empty, "alice", 1, 1, &token, &err), ERR_INVALID);
    assert_int_equal(token.len, 0);
    secret_wipe(&key);
}

static char *header_of(struct rest_auth *a, const char *user, unsigned int life_s)
{
    struct buf header = BUF_INIT(20000);
    assert_int_equal(rest_auth_header(a, user, life_s, &header, NULL), 0);
    return buf_steal(&header, NULL);
}

/* The claim `exp`, less `iat`. */
static long life_of(const char *header)
{
    unsigned char claims[256] = {0};
    char text[256] = {0};
    const char *begin = strchr(header, '.') + 1;
    size_t n = strcspn(begin, ".");
    assert_true(n < sizeof(text) - 4);
    memcpy(text, begin, n);
    while (n % 4)
        text[n++] = '=';
    assert_true(EVP_DecodeBlock(claims, (unsigned char *)text, (int)n) > 0);
    long exp, iat;
    assert_int_equal(sscanf((char *)claims, "{\"exp\":%ld,\"iat\":%ld,", &exp, &iat), 2);
    return exp - iat;
}

static void tokens_are_kept_and_short_ones_are_not(void **state)
{
    struct secret key = {0};
    assert_int_equal(secret_set(&key, "key", 3), 0);
    struct rest_auth *a = rest_auth_new(&key, NULL, NULL);
    assert_non_null(a);
    char *one = header_of(a, "alice", 0), *two = header_of(a, "bob", 0);
    assert_int_equal(strncmp(one, "X-SLURM-USER-TOKEN: eyJ", 23), 0);
    assert_string_not_equal(one, two);
    (void)sleep(1); // another second would make another token
    char *again = header_of(a, "alice", 0), *brief = header_of(a, "alice", 7);
    assert_string_equal(one, again);
    assert_int_equal(life_of(one), 300);
    assert_int_equal(life_of(brief), 7);
    char *longest = header_of(a, "alice", 100000);
    assert_int_equal(life_of(longest), 300);
    // Many users: those who share a place take it from each other, and get their own tokens.
    for (int i = 0; i < 500; i++) {
        char user[16];
        (void)snprintf(user, sizeof(user), "user%d", i);
        free(header_of(a, user, 0));
    }
    char *after = header_of(a, "alice", 0);
    assert_int_equal(life_of(after), 300);
    free(one);
    free(two);
    free(again);
    free(brief);
    free(longest);
    free(after);
    secret_wipe(&key);
    assert_null(rest_auth_destroy(a));
}

static void a_token_file_is_read_again_when_it_changes(void **state)
{
    struct buf header = BUF_INIT(20000);
    struct error err;
    const char *path = write_file("token", "first.token\n", 12);
    struct rest_auth *a = rest_auth_new(NULL, path, &err);
    assert_non_null(a);
    char *text = header_of(a, "alice", 5);
    assert_string_equal(text, "X-SLURM-USER-TOKEN: first.token");
    free(text);
    (void)write_file("token", "second.token", 12);
    text = header_of(a, "alice", 0);
    assert_string_equal(text, "X-SLURM-USER-TOKEN: second.token");
    free(text);
    // While it is wrong nothing can be asked; it is no verdict on anybody's job.
    static const char *const wrong[] = {"", "\n", "two words", "a\r\nX-Evil: 1"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        (void)write_file("token", wrong[i], strlen(wrong[i]));
        assert_int_equal(rest_auth_header(a, "alice", 0, &header, &err), ERR_UNAVAILABLE);
        assert_null(strstr(err.text, "Evil"));
        buf_reset(&header);
    }
    (void)write_file("token", "third", 5);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(rest_auth_header(a, "alice", 0, &header, &err), ERR_UNAVAILABLE);
    buf_reset(&header);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rest_auth_header(a, "alice", 0, &header, &err), ERR_UNAVAILABLE);
    buf_free(&header);
    (void)write_file("token", "fourth", 6);
    text = header_of(a, "alice", 0);
    assert_string_equal(text, "X-SLURM-USER-TOKEN: fourth");
    free(text);
    assert_null(rest_auth_destroy(a));
    assert_null(rest_auth_new(NULL, "/nonexistent/token", &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_null(rest_auth_new(NULL, NULL, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_as_scontrol_makes_it),
        cmocka_unit_test(a_key_counts_byte_for_byte),
        cmocka_unit_test(what_would_break_the_claims_is_refused),
        cmocka_unit_test(tokens_are_kept_and_short_ones_are_not),
        cmocka_unit_test(a_token_file_is_read_again_when_it_changes),
    };
    return cmocka_run_group_tests_name("jwt", tests, setup, teardown);
}
