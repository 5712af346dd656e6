/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gRPC core's life, log and slices. */
#include "proto/rpc_private.h"

#include "config.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>
#ifdef HAVE_GPR_SET_LOG_FUNCTION
#include <grpc/support/log.h>
#endif

#include "agent/util/log.h"

/* Long enough for a bind error, whose errno text sits deep inside. */
struct capture {
    bool on;
    char text[2048];
};
static _Thread_local struct capture capture;

#ifdef HAVE_GPR_SET_LOG_FUNCTION
/* Any thread. Must not call gRPC. Each port scanner makes an ERROR line, hence debug for all. */
static void on_log(gpr_log_func_args *args)
{
    if (capture.on && args->severity == GPR_LOG_SEVERITY_ERROR)
        (void)snprintf(capture.text, sizeof(capture.text), "%s", args->message);
    log_debug("grpc: %s", args->message);
}
#endif

static void init_once(void)
{
#ifdef HAVE_GPR_SET_LOG_FUNCTION
    gpr_set_log_function(on_log);
#endif
}

void rpc_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, init_once);
    grpc_init();
}

void rpc_fini(void)
{
    grpc_shutdown_blocking(); // the other form leaves threads behind
}

void rpc_log_capture_begin(void)
{
    capture.on = true;
    capture.text[0] = '\0';
}

void rpc_log_capture_end(char *text, size_t size)
{
    static const char key[] = "os_error:\"";
    capture.on = false;
    const char *from = strstr(capture.text, key);
    if (from) from += sizeof(key) - 1;
    size_t len = from ? strcspn(from, "\"") : strcspn(capture.text, "{");
    if (!from) {
        from = capture.text;
        while (len > 0 && from[len - 1] == ' ')
            len--;
    }
    (void)snprintf(text, size, "%.*s", (int)len, from);
}

uint8_t *rpc_message_copy(grpc_byte_buffer *message, size_t *len)
{
    grpc_byte_buffer_reader reader;
    if (!grpc_byte_buffer_reader_init(&reader, message)) return NULL;
    grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);

    size_t n = GRPC_SLICE_LENGTH(slice);
    uint8_t *data = malloc(n + 1);
    if (data) {
        memcpy(data, GRPC_SLICE_START_PTR(slice), n);
        data[n] = '\0';
        *len = n;
    }
    grpc_slice_unref(slice);
    return data;
}

grpc_byte_buffer *rpc_message_new(const void *data, size_t len)
{
    grpc_slice slice = grpc_slice_from_copied_buffer(len ? data : "", len);
    grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return message;
}

void rpc_text_copy(char *out, size_t size, grpc_slice text)
{
    size_t len = GRPC_SLICE_LENGTH(text);
    const uint8_t *from = GRPC_SLICE_START_PTR(text);
    if (len >= size) len = size - 1;
    for (size_t i = 0; i < len; i++)
        out[i] = from[i] < 0x20 || from[i] == 0x7f ? ' ' : (char)from[i];
    out[len] = '\0';
}

gpr_timespec rpc_deadline(long long deadline_ms)
{
    gpr_timespec t = {.clock_type = GPR_CLOCK_MONOTONIC};
    if (deadline_ms < 0) deadline_ms = 0;
    t.tv_sec = deadline_ms / 1000;
    t.tv_nsec = (int32_t)(deadline_ms % 1000 * 1000000);
    return t;
}

grpc_arg rpc_arg_int(const char *key, int value)
{
    grpc_arg arg = {.type = GRPC_ARG_INTEGER};
    arg.key = (char *)key;
    arg.value.integer = value;
    return arg;
}
