/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Hexadecimal, as Ethereum and job names use it. Encoding is lower case. */
#ifndef UTIL_HEX_H
#define UTIL_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Write "0x" + 2*len digits + NUL to `out` (at least 2*len + 3 bytes). Returns out. */
char *hex_encode(char *out, const void *data, size_t len);

/*
 * Decode exactly `len` bytes from `text`, with or without "0x" before them, either case.
 * Returns 0, or ERR_INVALID if the length or a digit is wrong (out is then untouched).
 */
int hex_decode(uint8_t *out, size_t len, const char *text);

/* Value of one digit, or -1. */
int hex_digit(char c);

#endif
