/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The client's half of the WebSocket protocol (RFC 6455), as far as a subscription needs it: the
 * handshake's texts and frames. Pure.
 */
#ifndef CHAIN_WSFRAME_H
#define CHAIN_WSFRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/util/buf.h"
#include "agent/util/error.h"

enum {
    WS_KEY_TEXT = 25,      // 16 bytes in base64, NUL
    WS_FRAME_MAX = 65536,  // a head with its bloom filter is 2 kB
    WS_ANSWER_MAX = 16384, // of the handshake
};

enum ws_opcode {
    WS_CONTINUATION = 0,
    WS_TEXT = 1,
    WS_BINARY = 2,
    WS_CLOSE = 8,
    WS_PING = 9,
    WS_PONG = 10,
};

/* The request for `target` ("/path?query") of "host:port"; `nonce` is 16 random bytes. */
int ws_put_request(struct buf *b, const char *host, const char *target, const uint8_t nonce[16]);

/*
 * The server's answer, NUL-terminated: its length once it is complete and says yes, 0: more is
 * needed. ERR_REFUSED with its status line, ERR_PROTO.
 */
int ws_check_answer(const char *answer, const uint8_t nonce[16], struct error *err);

/* One frame of a client: masked, final. */
int ws_put_frame(
    struct buf *b, enum ws_opcode opcode, const void *data, size_t len, const uint8_t mask[4]);

struct ws_frame {
    enum ws_opcode opcode;
    bool final;
    const uint8_t *data; // borrowed
    size_t len;
};

/* The frame at the beginning of `data`: its length in all, 0: more is needed. ERR_PROTO, ERR_LIMIT.
 */
int ws_read_frame(const uint8_t *data, size_t len, struct ws_frame *frame, struct error *err);

#endif
