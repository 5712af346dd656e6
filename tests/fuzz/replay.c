/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs a fuzz target without a fuzzer: each file of tests/fuzz/corpus/FUZZ_NAME/ as it is, then
 * mutations of it from a fixed seed, so that every run exercises the same hostile data. Prints TAP.
 * Build with -DFUZZ_NAME='"..."'. For real fuzzing link the target with -fsanitize=fuzzer instead
 * and give it the corpus directory.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/util/buf.h"
#include "agent/util/error.h"
#include "agent/util/file.h"

enum {
    FILES_MAX = 256,
    INPUT_MAX = 64 * 1024,
    MUTATIONS = 10000, // of each file: a target needs some microseconds
    TIME_LIMIT_S = 120 // a target that hangs is killed, which fails the test
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct buf corpus[FILES_MAX];
static char *names[FILES_MAX];
static size_t files;
static uint64_t seed = 0x6465657073717561;

/* splitmix64 */
static uint64_t next_random(void)
{
    uint64_t z = seed += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static size_t below(size_t n)
{
    return n ? (size_t)(next_random() % n) : 0;
}

/* From memory of exactly its size, so that a sanitizer sees any read beyond it. */
static void run(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    if (!copy) abort();
    if (len) memcpy(copy, data, len);
    (void)LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

static void set_byte(uint8_t *data, size_t *len)
{
    static const uint8_t values[] = {0, 1, 0x1f, 0x20, 0x21, 0x40, 0x7f, 0x80, 0xe0, 0xfe, 0xff};
    if (*len) data[below(*len)] = values[below(sizeof(values))];
}

static void flip_bit(uint8_t *data, size_t *len)
{
    if (*len) data[below(*len)] ^= (uint8_t)(1U << below(8));
}

static void cut(uint8_t *data, size_t *len)
{
    (void)data;
    *len = below(*len + 1);
}

/* One of the 32-byte words that end with the input; what stands before them has any length. */
static uint8_t *some_word(uint8_t *data, size_t len)
{
    return data + len - 32 * (1 + below(len / 32));
}

/* A word becomes a number: small, near the length, or with many ones. */
static void set_word(uint8_t *data, size_t *len)
{
    if (*len < 32) return;
    uint8_t *word = some_word(data, *len);
    size_t pick = below(3);
    size_t value = pick == 0 ? below(256) : pick == 1 ? *len - below(*len + 1) : SIZE_MAX;
    memset(word, 0, 32);
    for (int i = 0; i < 8; i++)
        word[31 - i] = (uint8_t)((uint64_t)value >> (8 * i) & 0xff);
    if (pick == 2) memset(word + below(25), 0xff, 8);
}

static void copy_word(uint8_t *data, size_t *len)
{
    if (*len >= 32) memmove(some_word(data, *len), some_word(data, *len), 32);
}

/* The rest of another file. */
static void splice(uint8_t *data, size_t *len)
{
    const struct buf *other = &corpus[below(files)];
    size_t from = below(other->len + 1), at = below(*len + 1);
    size_t n = other->len - from;
    if (at + n > INPUT_MAX) n = INPUT_MAX - at;
    if (n) memcpy(data + at, other->data + from, n);
    *len = at + n;
}

static void mutate(uint8_t *data, size_t *len)
{
    static void (*const mutators[])(uint8_t * data, size_t * len) = {
        set_byte, set_byte, flip_bit, flip_bit, set_word, set_word, copy_word, cut, splice};
    for (size_t n = 1 + below(4); n; n--)
        mutators[below(sizeof(mutators) / sizeof(mutators[0]))](data, len);
}

static void run_file(size_t i)
{
    static uint8_t data[INPUT_MAX];
    run(corpus[i].data, corpus[i].len);
    for (int n = 0; n < MUTATIONS; n++) {
        size_t len = corpus[i].len;
        memcpy(data, corpus[i].data, len);
        mutate(data, &len);
        run(data, len);
    }
    printf("ok %zu - %s and %d mutations\n", i + 1, names[i], (int)MUTATIONS);
}

static int is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* In order of name: the sequence of mutations must be the same everywhere. */
static int load(const char *directory)
{
    struct dirent **entries = NULL;
    int n = scandir(directory, &entries, is_input, alphasort);
    for (int i = 0; i < n; i++) {
        char path[4096];
        struct error err = {0};
        (void)snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);
        if (files < FILES_MAX) {
            corpus[files] = BUF_INIT(INPUT_MAX);
            names[files] = strdup(entries[i]->d_name);
            if (file_read(path, &corpus[files], &err) < 0) printf("Bail out! %s\n", err.text);
            if (err.code || !names[files]) return -1;
            files++;
        }
        free(entries[i]);
    }
    free(entries);
    if (files == 0) printf("Bail out! no files in %s\n", directory);
    return files ? 0 : -1;
}

int main(void)
{
    const char *top = getenv("top_srcdir");
    char directory[2048];
    (void)snprintf(
        directory, sizeof(directory), "%s/tests/fuzz/corpus/%s", top ? top : ".", FUZZ_NAME);
    if (load(directory) < 0) return 1;
    (void)alarm(TIME_LIMIT_S);
    printf("1..%zu\n", files);
    for (size_t i = 0; i < files; i++)
        run_file(i);
    for (size_t i = 0; i < files; i++) {
        buf_free(&corpus[i]);
        free(names[i]);
    }
    return 0;
}
