/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int file_read_fd(int fd, const char *path, struct buf *b, struct error *err)
{
    char chunk[4096];
    int rc = 0;
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) rc = error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
        if (n <= 0) break;
        rc = buf_put(b, chunk, (size_t)n);
        if (rc < 0) {
            (void)error_set(err, rc, "%s: larger than %zu bytes", path, b->max);
            break;
        }
    }
    explicit_bzero(chunk, sizeof(chunk));
    return rc;
}

int file_read(const char *path, struct buf *b, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return error_set(
            err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, "%s: %s", path, strerror(errno));
    int rc = file_read_fd(fd, path, b, err);
    (void)close(fd);
    return rc;
}
