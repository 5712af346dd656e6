/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/util/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/util/buf.h"
#include "agent/util/file.h"

int secret_set(struct secret *s, const void *data, size_t len)
{
    if (len > SECRET_MAX) return ERR_LIMIT;
    uint8_t *copy = calloc(1, len + 1);
    if (!copy) return ERR_NOMEM;
    (void)mlock(copy, len + 1); // best effort: the limit may be 0
    memcpy(copy, data, len);
    copy[len] = '\0';
    secret_wipe(s);
    s->data = copy;
    s->len = len;
    return 0;
}

static int check_owner_and_mode(int fd, const char *path, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0) return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode)) return error_set(err, ERR_DENIED, "%s: not a regular file", path);
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return error_set(err,
                         ERR_DENIED,
                         "%s: owned by uid %u, expected root or uid %u",
                         path,
                         (unsigned int)st.st_uid,
                         (unsigned int)geteuid());
    // systemd gives credentials mode 0440 to units that run as root: group root only.
    mode_t allowed = st.st_gid == 0 && st.st_uid == 0 ? 0740 : 0700;
    if (st.st_mode & 0777 & ~allowed)
        return error_set(err,
                         ERR_DENIED,
                         "%s: mode %04o is too open for a secret, expected 0600",
                         path,
                         (unsigned int)(st.st_mode & 07777));
    return 0;
}

static int read_file(struct secret *s, const char *path, bool trim, struct error *err)
{
    struct buf b = BUF_INIT(SECRET_MAX);
    int rc;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        rc = error_set(
            err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, "%s: %s", path, strerror(errno));
        goto out;
    }
    rc = check_owner_and_mode(fd, path, err);
    if (rc < 0) goto out;
    rc = file_read_fd(fd, path, &b, err);
    if (rc < 0) goto out;
    while (trim && b.len && (b.data[b.len - 1] == '\n' || b.data[b.len - 1] == '\r'))
        b.len--;
    if (b.len == 0) {
        rc = error_set(err, ERR_INVALID, "%s: empty", path);
        goto out;
    }
    rc = secret_set(s, b.data, b.len);
    if (rc < 0) (void)error_set(err, rc, "%s: %s", path, err_text(rc));
out:
    if (fd >= 0) (void)close(fd);
    buf_wipe(&b);
    return rc;
}

int secret_read_file(struct secret *s, const char *path, struct error *err)
{
    return read_file(s, path, true, err);
}

int secret_read_bytes(struct secret *s, const char *path, struct error *err)
{
    return read_file(s, path, false, err);
}

void secret_wipe(struct secret *s)
{
    if (!s || !s->data) return;
    explicit_bzero(s->data, s->len + 1);
    (void)munlock(s->data, s->len + 1);
    free(s->data);
    s->data = NULL;
    s->len = 0;
}
