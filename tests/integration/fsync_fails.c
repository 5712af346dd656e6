/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * For LD_PRELOAD: a disk whose fsync() fails with EIO as long as the file $FSYNC_FAILS exists. If
 * it says "lose", what was appended to the file $FSYNC_LOSES since its last good fsync() is gone,
 * as it may be on a real disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct stat durable; // the file that loses, as it was last made durable

static const char *path_of(const char *variable)
{
    const char *path = getenv(variable);
    return path ? path : "/dev/null/none";
}

__attribute__((constructor)) static void begin(void)
{
    (void)stat(path_of("FSYNC_LOSES"), &durable); // what an earlier process has left
}

static int is_failing(char word[8])
{
    int fd = open(path_of("FSYNC_FAILS"), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, word, 7);
    word[n > 0 ? n : 0] = '\0';
    (void)close(fd);
    return 1;
}

static int is_loser(const struct stat *st)
{
    struct stat now;
    return stat(path_of("FSYNC_LOSES"), &now) == 0 && now.st_ino == st->st_ino;
}

static int sync_or_fail(int fd, long how)
{
    char word[8];
    struct stat st;
    int loser = fstat(fd, &st) == 0 && is_loser(&st);
    if (!is_failing(word)) {
        if (loser) durable = st;
        return (int)syscall(how, fd);
    }
    off_t size = durable.st_ino == st.st_ino ? durable.st_size : 0;
    if (loser && strcmp(word, "lose") == 0 && st.st_size > size && ftruncate(fd, size) != 0)
        abort();
    errno = EIO;
    return -1;
}

int fsync(int fd)
{
    return sync_or_fail(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return sync_or_fail(fd, SYS_fdatasync);
}
