/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Ethereum's fixed-size values. Hex texts are made with agent/util/hex.h. */
#ifndef CHAIN_TYPES_H
#define CHAIN_TYPES_H

#include <stdint.h>

struct eth_address {
    uint8_t b[20];
};

struct eth_hash { // a hash, a topic, or a job id (bytes32)
    uint8_t b[32];
};

struct chain_block {
    uint64_t number;
    struct eth_hash hash;
};

enum { ETH_ADDRESS_TEXT = 43, ETH_HASH_TEXT = 67 }; // "0x", the digits, NUL

#endif
