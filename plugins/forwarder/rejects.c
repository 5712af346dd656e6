/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plugins/forwarder/rejects.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/util/file.h"
#include "plugins/common/spool.h"

static int make_room(const char *path, size_t len, struct error *err)
{
    char old[PATH_MAX];
    struct stat st;
    if (stat(path, &st) != 0 || st.st_size + (off_t)len <= REJECTS_MAX) return 0;
    int n = snprintf(old, sizeof(old), "%s.old", path);
    if (n < 0 || (size_t)n >= sizeof(old) || rename(path, old) != 0)
        return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    return 0;
}

int rejects_write(const char *spool, const struct record *r, struct error *err)
{
    char path[PATH_MAX];
    uint8_t data[RECORD_MAX_LEN];
    int n = snprintf(path, sizeof(path), "%s/rejected", spool);
    if (n < 0 || (size_t)n >= sizeof(path)) return error_set(err, ERR_IO, "path too long");
    size_t len = record_encode(r, data);

    int rc = make_room(path, len, err);
    if (rc < 0) return rc;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    ssize_t written = write(fd, data, len);
    if (written != (ssize_t)len)
        rc = error_set(err, ERR_IO, "%s: %s", path, strerror(written < 0 ? errno : ENOSPC));
    (void)close(fd);
    return rc;
}

static void print_text(const char *label, const char *text)
{
    printf(" %s=\"", label);
    for (; *text; text++)
        putchar(*text >= ' ' && *text <= '~' && *text != '"' ? *text : '?');
    putchar('"');
}

static void print_record(const struct record *r)
{
    printf("kind=%s job=%u restarts=%u submit=%lld start=%lld end=%lld suspended=%lld state=0x%x "
           "wait_status=0x%x user=%u",
           r->kind == RECORD_START ? "start"
           : r->kind == RECORD_END ? "end"
                                   : "unknown",
           r->job_id,
           r->restart_count,
           (long long)r->submit_s,
           (long long)r->start_s,
           (long long)r->end_s,
           (long long)r->suspended_s,
           r->job_state,
           r->wait_status,
           r->user_id);
    print_text("name", r->name);
    print_text("comment", r->comment);
    print_text("cluster", r->cluster);
    putchar('\n');
}

int rejects_print(const char *path, struct error *err)
{
    struct buf b = BUF_INIT((size_t)SPOOL_SEGMENT_MAX + RECORD_MAX_LEN);
    int rc = file_read(path, &b, err);
    size_t at = 0, damaged = 0;
    while (rc == 0 && at < b.len) {
        struct record r;
        int len = record_decode(&r, b.data + at, b.len - at, NULL);
        if (len > 0) {
            print_record(&r);
            at += (size_t)len;
        } else {
            size_t next = record_find(b.data, at + 1, b.len, false);
            damaged += next - at;
            at = next;
        }
    }
    if (damaged > 0) printf("(%zu damaged bytes)\n", damaged);
    buf_free(&b);
    return rc;
}
