/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A connection, TCP or TLS, to the host of a URL, over libcurl: verified as httpc's are, no proxy.
 * Belongs to one thread.
 */
#ifndef UTIL_STREAM_H
#define UTIL_STREAM_H

#include <stddef.h>

#include "agent/util/error.h"

struct stream;

/*
 * Connect to an http or https URL's host; its path is not used. What blocks here and below ends
 * within a second with ERR_STOPPED once `stop_fd` is readable. ERR_INVALID, ERR_UNAVAILABLE,
 * ERR_NOMEM, ERR_STOPPED return NULL.
 */
struct stream *stream_open(const char *url, long long timeout_ms, int stop_fd, struct error *err);
struct stream *stream_close(struct stream *s); // NULL allowed; returns NULL

/* All of it, or ERR_UNAVAILABLE or ERR_STOPPED. */
int stream_write(
    struct stream *s, const void *data, size_t len, long long timeout_ms, struct error *err);

/* Bytes that were read; 0: none within the time. ERR_UNAVAILABLE: it is closed or broken. */
int stream_read(struct stream *s, void *data, size_t size, long long timeout_ms, struct error *err);

#endif
