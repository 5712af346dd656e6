/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading whole files, bounded. */
#ifndef UTIL_FILE_H
#define UTIL_FILE_H

#include "agent/util/buf.h"
#include "agent/util/error.h"

/* Append the file's bytes to `b`, up to b->max: ERR_LIMIT beyond it, ERR_NOTFOUND, ERR_IO. */
int file_read(const char *path, struct buf *b, struct error *err);

/* The same from an open descriptor, which stays open; `path` is for messages. */
int file_read_fd(int fd, const char *path, struct buf *b, struct error *err);

#endif
