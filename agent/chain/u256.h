/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Unsigned 256-bit integers, for money and the ABI. No operation wraps silently. */
#ifndef CHAIN_U256_H
#define CHAIN_U256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct u256 {
    uint64_t w[4]; // w[0] is the least significant
};

enum { U256_DEC_TEXT = 79, U256_HEX_TEXT = 67, U256_FIXED_TEXT = 81 }; // longest texts, with NUL

enum { U256_CREDIT_DECIMALS = 18 }; // of the credit token

struct u256 u256_from_u64(uint64_t v);
struct u256 u256_from_be(const uint8_t bytes[32]);
void u256_to_be(uint8_t bytes[32], struct u256 v);
int u256_to_u64(struct u256 v, uint64_t *out); // ERR_LIMIT if it does not fit
bool u256_is_zero(struct u256 v);
int u256_cmp(struct u256 a, struct u256 b); // <0, 0, >0

/* 0, or ERR_LIMIT on overflow (underflow, division by zero), *out untouched. */
int u256_add(struct u256 a, struct u256 b, struct u256 *out);
int u256_sub(struct u256 a, struct u256 b, struct u256 *out);
int u256_mul(struct u256 a, struct u256 b, struct u256 *out);
int u256_div(struct u256 a, struct u256 b, struct u256 *quotient, struct u256 *remainder);

/* Decimal digits, or "0x" and hex digits (the quantity form of JSON-RPC). ERR_INVALID, ERR_LIMIT.
 */
int u256_parse(const char *text, struct u256 *out);
char *u256_format_dec(char out[U256_DEC_TEXT], struct u256 v);
char *u256_format_hex(char out[U256_HEX_TEXT], struct u256 v); // no leading zeros: "0x0"

/* With `decimals` (below 78) of the digits behind a point, and no zeros at the end: "4.04", "0". */
char *u256_format_fixed(char out[U256_FIXED_TEXT], struct u256 v, unsigned int decimals);

#endif
