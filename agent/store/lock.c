/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The state directory's lock: one agent a directory. Held by a descriptor, so it dies with us. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/store/store_private.h"

static int busy(int fd, const char *path, struct error *err)
{
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    long pid = 0;
    if (fcntl(fd, F_GETLK, &fl) == 0 && fl.l_type != F_UNLCK) pid = (long)fl.l_pid;
    return error_set(
        err, ERR_BUSY, "%s: another agent, process %ld, uses this state directory", path, pid);
}

int store_lock(const char *dir, struct error *err)
{
    char path[4096];
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return error_set(
            err, ERR_IO, "%s: cannot make the state directory: %s", dir, strerror(errno));
    if (snprintf(path, sizeof(path), "%s/lock", dir) >= (int)sizeof(path))
        return error_set(err, ERR_LIMIT, "%s: path too long", dir);

    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_SETLK, &fl) == 0) return fd;

    int rc = errno == EACCES || errno == EAGAIN
                 ? busy(fd, path, err)
                 : error_set(err, ERR_IO, "%s: cannot lock: %s", path, strerror(errno));
    (void)close(fd);
    return rc;
}
