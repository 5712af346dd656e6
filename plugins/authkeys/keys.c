/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The agent sends a key and nothing else. Whoever answers in its place could write options
 * (environment=, command=) or lines that sshd reads in another way than we do: all of it is
 * refused, rather than the bad part left out.
 */
#include "plugins/authkeys/keys.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <openssl/evp.h>

enum {
    LINE_MAX_BYTES = 8191, // of sshd before 8.0; RSA with 16384 bits has 2.8 KB
    TYPE_MAX = 64,
    LENGTH_SIZE = 4, // before each string in a key
};

static const char type_chars[] = "abcdefghijklmnopqrstuvwxyz0123456789-@.";
static const char base64_chars[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* The first string of a key is its type. */
static bool holds_type(const uint8_t *key, size_t len, const char *type, size_t type_len)
{
    if (len <= LENGTH_SIZE + type_len) return false;
    return key[0] == 0 && key[1] == 0 && key[2] == 0 && key[3] == type_len &&
           memcmp(key + LENGTH_SIZE, type, type_len) == 0;
}

/* Why the line is none, or NULL. */
static const char *line_problem(const char *line, size_t len)
{
    if (len > LINE_MAX_BYTES) return "it is too long";
    for (size_t i = 0; i < len; i++)
        if (line[i] < ' ' || line[i] > '~') return "it has a byte that is not printable ASCII";

    size_t type_len = strspn(line, type_chars);
    if (type_len == 0 || type_len > TYPE_MAX || line[type_len] != ' ')
        return "it does not begin with the type of a key";
    const char *base64 = line + type_len + 1;
    size_t digits = strspn(base64, base64_chars);
    size_t base64_len = digits + strspn(base64 + digits, "=");
    const char *end = base64 + base64_len;
    if (end != line + len && *end != ' ') return "its key is not base64";

    uint8_t key[LINE_MAX_BYTES];
    int key_len = EVP_DecodeBlock(key, (const uint8_t *)base64, (int)base64_len);
    if (key_len < 0) return "its key is not base64";
    return holds_type(key, (size_t)key_len, line, type_len) ? NULL : "its key is of another type";
}

int keys_check(const char *text, struct error *err)
{
    if (!*text) return error_set(err, ERR_PROTO, "the answer holds no key");
    for (unsigned int number = 1; *text; number++) {
        size_t len = strcspn(text, "\n");
        const char *problem = line_problem(text, len);
        if (problem) return error_set(err, ERR_PROTO, "line %u of the answer: %s", number, problem);
        text += len + (text[len] == '\n');
    }
    return 0;
}
