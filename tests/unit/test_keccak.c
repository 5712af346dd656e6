/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/keccak.h"

#include "tests/unit/chain_test.h"
#include "tests/unit/vectors.h"

enum { PATTERN_MAX = 10000 };

static void fill_pattern(uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)((7 * i + 3) & 0xff);
}

static const struct {
    size_t len;
    const char *digest;
} vectors[] = {
    {0, VECTOR_KECCAK_0},     {1, VECTOR_KECCAK_1},       {3, VECTOR_KECCAK_3},
    {31, VECTOR_KECCAK_31},   {32, VECTOR_KECCAK_32},     {55, VECTOR_KECCAK_55},
    {56, VECTOR_KECCAK_56},   {64, VECTOR_KECCAK_64},     {127, VECTOR_KECCAK_127},
    {128, VECTOR_KECCAK_128}, {134, VECTOR_KECCAK_134},   {135, VECTOR_KECCAK_135},
    {136, VECTOR_KECCAK_136}, {137, VECTOR_KECCAK_137},   {138, VECTOR_KECCAK_138},
    {200, VECTOR_KECCAK_200}, {271, VECTOR_KECCAK_271},   {272, VECTOR_KECCAK_272},
    {273, VECTOR_KECCAK_273}, {407, VECTOR_KECCAK_407},   {408, VECTOR_KECCAK_408},
    {409, VECTOR_KECCAK_409}, {1000, VECTOR_KECCAK_1000}, {10000, VECTOR_KECCAK_10000},
};

static void known_lengths(void **state)
{
    (void)state;
    uint8_t data[PATTERN_MAX], digest[KECCAK256_SIZE];
    fill_pattern(data, sizeof(data));
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        keccak256(data, vectors[i].len, digest);
        assert_hex(digest, sizeof(digest), vectors[i].digest);
    }
}

/* Values that are printed everywhere: the empty text, "abc", a million times 'a'. */
static void published(void **state)
{
    (void)state;
    uint8_t digest[KECCAK256_SIZE];
    keccak256("", 0, digest);
    assert_hex(digest,
               sizeof(digest),
               "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470");
    keccak256("abc", 3, digest);
    assert_hex(digest,
               sizeof(digest),
               "0x4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45");
    assert_hex(digest, sizeof(digest), VECTOR_KECCAK_ABC);

    char thousand[1000];
    memset(thousand, 'a', sizeof(thousand));
    struct keccak k;
    keccak256_init(&k);
    for (int i = 0; i < 1000; i++)
        keccak256_update(&k, thousand, sizeof(thousand));
    keccak256_final(&k, digest);
    assert_hex(digest,
               sizeof(digest),
               "0xfadae6b49f129bbb812be8407b7b2894f34aecf6dbd1f9b0f0c7e9853098fc96");
}

/* However the data are cut into pieces, the digest is the same. */
static void pieces(void **state)
{
    (void)state;
    uint8_t data[1000], digest[KECCAK256_SIZE];
    fill_pattern(data, sizeof(data));
    for (size_t step = 1; step <= 300; step++) {
        struct keccak k;
        keccak256_init(&k);
        for (size_t at = 0; at < sizeof(data); at += step)
            keccak256_update(&k, data + at, at + step > sizeof(data) ? sizeof(data) - at : step);
        keccak256_final(&k, digest);
        assert_hex(digest, sizeof(digest), VECTOR_KECCAK_1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_lengths),
        cmocka_unit_test(published),
        cmocka_unit_test(pieces),
    };
    return cmocka_run_group_tests_name("keccak", tests, NULL, NULL);
}
