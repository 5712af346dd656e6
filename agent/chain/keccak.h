/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Keccak-256 as Ethereum uses it: the original padding (0x01), not SHA-3's (0x06), which is why
 * libcrypto's SHA3-256 will not do.
 */
#ifndef CHAIN_KECCAK_H
#define CHAIN_KECCAK_H

#include <stddef.h>
#include <stdint.h>

enum { KECCAK256_SIZE = 32, KECCAK256_RATE = 136 }; // bytes: the digest, one block

struct keccak {
    uint64_t lanes[25];
    size_t filled; // bytes of the current block, < KECCAK256_RATE
};

void keccak256_init(struct keccak *k);
void keccak256_update(struct keccak *k, const void *data, size_t len);
void keccak256_final(struct keccak *k, uint8_t digest[KECCAK256_SIZE]); // init before reuse

/* All of it at once. */
void keccak256(const void *data, size_t len, uint8_t digest[KECCAK256_SIZE]);

#endif
