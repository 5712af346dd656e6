/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Keccak-f[1600] with rate 1088 (FIPS 202, section 3, gives the same permutation). */
#include "agent/chain/keccak.h"

#include <string.h>

enum { ROUNDS = 24 };

static const uint64_t round_constants[ROUNDS] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000,
    0x000000000000808b, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
    0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
    0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003,
    0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
};

/* rho and pi walk the lanes in one cycle from lane 1: where each goes, and how far it is turned. */
static const struct {
    uint8_t lane, turn;
} walk[24] = {
    {10, 1},  {7, 3},   {11, 6},  {17, 10}, {18, 15}, {3, 21},  {5, 28},  {16, 36},
    {8, 45},  {21, 55}, {24, 2},  {4, 14},  {15, 27}, {23, 41}, {19, 56}, {13, 8},
    {12, 25}, {2, 43},  {20, 62}, {14, 18}, {22, 39}, {9, 61},  {6, 20},  {1, 44},
};

static uint64_t rotate_left(uint64_t v, unsigned int n)
{
    return v << n | v >> (64 - n); // n is 1..63 here
}

static void theta(uint64_t a[25])
{
    uint64_t column[5];
    for (int x = 0; x < 5; x++)
        column[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
    for (int x = 0; x < 5; x++) {
        uint64_t d = column[(x + 4) % 5] ^ rotate_left(column[(x + 1) % 5], 1);
        for (int y = 0; y < 25; y += 5)
            a[x + y] ^= d;
    }
}

static void rho_pi(uint64_t a[25])
{
    uint64_t moving = a[1];
    for (int i = 0; i < 24; i++) {
        uint64_t next = a[walk[i].lane];
        a[walk[i].lane] = rotate_left(moving, walk[i].turn);
        moving = next;
    }
}

static void chi(uint64_t a[25])
{
    for (int y = 0; y < 25; y += 5) {
        uint64_t row[5];
        memcpy(row, a + y, sizeof(row));
        for (int x = 0; x < 5; x++)
            a[x + y] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5]);
    }
}

static void permute(uint64_t a[25])
{
    for (int round = 0; round < ROUNDS; round++) {
        theta(a);
        rho_pi(a);
        chi(a);
        a[0] ^= round_constants[round];
    }
}

static void absorb_byte(struct keccak *k, size_t at, uint8_t byte)
{
    k->lanes[at / 8] ^= (uint64_t)byte << (8 * (at % 8));
}

void keccak256_init(struct keccak *k)
{
    *k = (struct keccak){.filled = 0};
}

void keccak256_update(struct keccak *k, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++) {
        absorb_byte(k, k->filled++, bytes[i]);
        if (k->filled < KECCAK256_RATE) continue;
        permute(k->lanes);
        k->filled = 0;
    }
}

void keccak256_final(struct keccak *k, uint8_t digest[KECCAK256_SIZE])
{
    absorb_byte(k, k->filled, 0x01);
    absorb_byte(k, KECCAK256_RATE - 1, 0x80);
    permute(k->lanes);
    for (size_t i = 0; i < KECCAK256_SIZE; i++)
        digest[i] = (uint8_t)(k->lanes[i / 8] >> (8 * (i % 8)) & 0xff);
}

void keccak256(const void *data, size_t len, uint8_t digest[KECCAK256_SIZE])
{
    struct keccak k;
    keccak256_init(&k);
    keccak256_update(&k, data, len);
    keccak256_final(&k, digest);
}
