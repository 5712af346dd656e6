/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/wsframe.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum { ACCEPT_TEXT = 29, SHA1_BYTES = 20, STATUS_TEXT = 80 }; // of the latter what is shown

static void make_key(char key[WS_KEY_TEXT], const uint8_t nonce[16])
{
    (void)EVP_EncodeBlock((unsigned char *)key, nonce, 16);
}

/* RFC 6455, 4.2.2: the key and a fixed text, hashed. */
static int make_accept(char accept[ACCEPT_TEXT], const uint8_t nonce[16])
{
    char key[WS_KEY_TEXT], text[WS_KEY_TEXT + 40];
    unsigned char hash[EVP_MAX_MD_SIZE];
    make_key(key, nonce);
    int n = snprintf(text, sizeof(text), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    if (EVP_Digest(text, (size_t)n, hash, NULL, EVP_sha1(), NULL) != 1) return ERR_NOMEM;
    (void)EVP_EncodeBlock((unsigned char *)accept, hash, SHA1_BYTES);
    return 0;
}

int ws_put_request(struct buf *b, const char *host, const char *target, const uint8_t nonce[16])
{
    char key[WS_KEY_TEXT];
    make_key(key, nonce);
    return buf_putf(b,
                    "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n",
                    target,
                    host,
                    key);
}

/* The value of a header, or "". */
static void find_header(const char *answer, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);
    *out = '\0';
    for (const char *at = answer; (at = strstr(at, "\r\n"));) {
        at += 2;
        if (strncasecmp(at, name, len) != 0 || at[len] != ':') continue;
        at += len + 1;
        at += strspn(at, " \t");
        (void)snprintf(out, size, "%.*s", (int)strcspn(at, " \t\r"), at);
        return;
    }
}

int ws_check_answer(const char *answer, const uint8_t nonce[16], struct error *err)
{
    char accept[ACCEPT_TEXT], value[64];
    const char *end = strstr(answer, "\r\n\r\n");
    if (!end && strlen(answer) >= WS_ANSWER_MAX)
        return error_set(err, ERR_PROTO, "WebSocket: the answer's head has no end");
    if (!end) return 0;
    int line = (int)strcspn(answer, "\r");
    if (strncmp(answer, "HTTP/1.1 101", strlen("HTTP/1.1 101")) != 0)
        return error_set(
            err, ERR_REFUSED, "WebSocket: %.*s", line < STATUS_TEXT ? line : STATUS_TEXT, answer);
    int rc = make_accept(accept, nonce);
    if (rc < 0) return error_set(err, rc, "WebSocket: no SHA-1");
    find_header(answer, "Sec-WebSocket-Accept", value, sizeof(value));
    if (strcmp(value, accept) != 0)
        return error_set(err, ERR_PROTO, "WebSocket: the server does not speak it");
    return (int)(end - answer) + 4;
}

int ws_put_frame(
    struct buf *b, enum ws_opcode opcode, const void *data, size_t len, const uint8_t mask[4])
{
    uint8_t head[8] = {(uint8_t)(0x80 | opcode)};
    size_t n = 2;
    if (len > UINT16_MAX) return ERR_LIMIT;
    if (len < 126) {
        head[1] = (uint8_t)(0x80 | len);
    } else {
        head[1] = 0x80 | 126;
        head[2] = (uint8_t)(len >> 8);
        head[3] = (uint8_t)len;
        n = 4;
    }
    memcpy(head + n, mask, 4);
    int rc = buf_put(b, head, n + 4);
    uint8_t *out = rc == 0 ? buf_reserve(b, len) : NULL;
    for (size_t i = 0; out && i < len; i++)
        out[i] = ((const uint8_t *)data)[i] ^ mask[i % 4];
    return buf_error(b);
}

static bool is_known(unsigned int opcode)
{
    return opcode <= WS_BINARY || (opcode >= WS_CLOSE && opcode <= WS_PONG);
}

int ws_read_frame(const uint8_t *data, size_t len, struct ws_frame *frame, struct error *err)
{
    if (len < 2) return 0;
    unsigned int opcode = data[0] & 0x0f, short_len = data[1] & 0x7f;
    size_t n = 2 + (short_len == 126 ? 2u : short_len == 127 ? 8u : 0u);
    bool is_control = opcode >= WS_CLOSE;
    if (data[0] & 0x70 || !is_known(opcode) || data[1] & 0x80 ||
        (is_control && (short_len > 125 || !(data[0] & 0x80))))
        return error_set(err, ERR_PROTO, "WebSocket: a frame that no server may send");
    if (len < n) return 0;
    uint64_t body = short_len;
    if (n > 2) {
        body = 0;
        for (size_t i = 2; i < n; i++)
            body = body << 8 | data[i];
    }
    if (body > WS_FRAME_MAX)
        return error_set(err, ERR_LIMIT, "WebSocket: a frame above %d bytes", WS_FRAME_MAX);
    if (len - n < body) return 0;
    *frame = (struct ws_frame){.opcode = (enum ws_opcode)opcode,
                               .final = data[0] & 0x80,
                               .data = data + n,
                               .len = (size_t)body};
    return (int)(n + body);
}
