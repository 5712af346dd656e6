/* SPDX-License-Identifier: GPL-3.0-or-later */
/* agent/chain/wsframe.c and headsub.c: WebSocket, as RFC 6455 has it, and servers that do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/chain/headsub.h"
#include "agent/chain/wsframe.h"
#include "agent/util/clock.h"
#include "agent/util/log.h"
#include "tests/unit/http_stub.h"

/* The example of the RFC, 1.3. */
static const uint8_t nonce[16] = "the sample nonce";
#define ANSWER                                                                          \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "sec-websocket-accept:  s3pPLMBiTxaQ9kYGzzhZRbK+xOo= \r\n"

static void test_request(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(1024);
    assert_int_equal(ws_put_request(&b, "server.example.com:80", "/chat?k=1", nonce), 0);
    assert_string_equal(buf_str(&b),
                        "GET /chat?k=1 HTTP/1.1\r\nHost: server.example.com:80\r\n"
                        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        "Sec-WebSocket-Version: 13\r\n\r\n");
    buf_free(&b);
}

static void test_answer(void **state)
{
    (void)state;
    struct error err = {0};
    char text[WS_ANSWER_MAX + 1];
    assert_int_equal(ws_check_answer("", nonce, &err), 0);
    assert_int_equal(ws_check_answer(ANSWER, nonce, &err), 0);
    assert_int_equal(ws_check_answer(ANSWER "\r\nmore", nonce, &err), strlen(ANSWER) + 2);
    assert_int_equal(ws_check_answer("HTTP/1.1 403 Forbidden\r\n\r\n", nonce, &err), ERR_REFUSED);
    assert_string_equal(err.text, "WebSocket: HTTP/1.1 403 Forbidden");
    assert_int_equal(ws_check_answer("HTTP/1.1 101 x\r\n\r\n", nonce, &err), ERR_PROTO);
    uint8_t other[16] = {0};
    assert_int_equal(ws_check_answer(ANSWER "\r\n", other, &err), ERR_PROTO);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(ws_check_answer(text, nonce, &err), ERR_PROTO);
}

static void check_frame(const void *data, size_t len, int want, enum ws_opcode opcode, size_t body)
{
    struct ws_frame f = {0};
    uint8_t *copy = malloc(len ? len : 1); // exactly as long: a sanitizer sees what is beyond
    memcpy(copy, data, len);
    for (size_t n = 0; want > 0 && n < (size_t)want; n++)
        assert_int_equal(ws_read_frame(copy, n, &f, NULL), 0);
    assert_int_equal(ws_read_frame(copy, len, &f, NULL), want);
    if (want > 0) {
        assert_int_equal(f.opcode, opcode);
        assert_int_equal(f.len, body);
    }
    free(copy);
}

static void test_frames_of_the_server(void **state)
{
    (void)state;
    static uint8_t big[4 + 300] = {0x81, 126, 1, 44};
    check_frame("\x81\x05Hello", 7, 7, WS_TEXT, 5);
    check_frame("\x81\x05Hello\x89", 8, 7, WS_TEXT, 5);
    check_frame("\x01\x03Hel", 5, 5, WS_TEXT, 3);
    check_frame("\x89\x00", 2, 2, WS_PING, 0);
    check_frame(big, sizeof(big), sizeof(big), WS_TEXT, 300);
    check_frame("\x81\x7f\0\0\0\0\0\0\0\x01x", 11, 11, WS_TEXT, 1);
    check_frame("\x81\x85maskHello", 11, ERR_PROTO, 0, 0); // masked
    check_frame("\xc1\x00", 2, ERR_PROTO, 0, 0);           // an extension's bit
    check_frame("\x83\x00", 2, ERR_PROTO, 0, 0);           // no such opcode
    check_frame("\x09\x00", 2, ERR_PROTO, 0, 0);           // a ping in pieces
    check_frame("\x89\x7e", 2, ERR_PROTO, 0, 0);           // a ping above 125 bytes
    check_frame("\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10, ERR_LIMIT, 0, 0);
    check_frame("\x81\x7f\0\0\0\0\0\x01\0\x01", 10, ERR_LIMIT, 0, 0);
}

static void test_frames_of_the_client(void **state)
{
    (void)state;
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d}; // the RFC's example, 5.7
    struct buf b = BUF_INIT(100000);
    assert_int_equal(ws_put_frame(&b, WS_TEXT, "Hello", 5, mask), 0);
    assert_int_equal(b.len, 11);
    assert_memory_equal(b.data, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11);
    buf_reset(&b);
    assert_int_equal(ws_put_frame(&b, WS_TEXT, mask, 0, mask), 0);
    assert_int_equal(b.len, 6);
    static const uint8_t zeros[70000] = {0};
    buf_reset(&b);
    assert_int_equal(ws_put_frame(&b, WS_TEXT, zeros, 1000, mask), 0);
    assert_memory_equal(b.data, "\x81\xfe\x03\xe8", 4);
    assert_int_equal(ws_put_frame(&b, WS_TEXT, zeros, 70000, mask), ERR_LIMIT);
    buf_free(&b);
}

/* Any bytes: no read beyond them, no frame longer than what is there. */
static void test_any_bytes(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 20000; i++) {
        uint8_t data[24];
        for (size_t k = 0; k < sizeof(data); k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            data[k] = (uint8_t)(seed >> 56);
        }
        struct ws_frame f;
        int n = ws_read_frame(data, sizeof(data), &f, NULL);
        assert_true(n <= (int)sizeof(data));
        if (n > 0) assert_true(f.data + f.len <= data + n);
    }
}

static void handle(void *ctx, const struct http_stub_request *q, struct http_stub_reply *r)
{
    (void)q;
    atomic_fetch_add((atomic_int *)ctx, 1);
    r->status = 404;
}

static void poke(void *ctx)
{
    atomic_fetch_add((atomic_int *)ctx, 1);
}

/* A server that is none, or not there: tried again, no poke, and it stops at once. */
static void test_no_server(void **state)
{
    (void)state;
    atomic_int asked = 0, pokes = 0;
    char url[64];
    struct error err = {0};
    log_set_level(0);
    struct http_stub *stub = http_stub_start(0, handle, &asked);
    (void)snprintf(url, sizeof(url), "ws://127.0.0.1:%d", http_stub_port(stub));
    struct headsub *h = headsub_start(url, poke, &pokes, &err);
    assert_non_null(h);
    long long until = clock_mono_ms() + 8000;
    while (atomic_load(&asked) < 2 && clock_mono_ms() < until)
        usleep(10000);
    assert_true(atomic_load(&asked) >= 2);
    http_stub_stop(stub);
    usleep(100000);
    long long began = clock_mono_ms();
    assert_null(headsub_stop(h));
    assert_in_range(clock_mono_ms() - began, 0, 2000);
    assert_int_equal(atomic_load(&pokes), 0);
    assert_null(headsub_stop(NULL));
}

static void test_bad_urls(void **state)
{
    (void)state;
    struct error err = {0};
    assert_null(headsub_start("http://127.0.0.1/", poke, NULL, &err));
    assert_null(headsub_start("ws:127.0.0.1", poke, NULL, &err));
    assert_null(headsub_start("ws://user:secret@127.0.0.1", poke, NULL, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_null(strstr(err.text, "secret"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_frames_of_the_server),
        cmocka_unit_test(test_frames_of_the_client),
        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_no_server),
        cmocka_unit_test(test_bad_urls),
    };
    return cmocka_run_group_tests_name("wsframe", tests, NULL, NULL);
}
