/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plugins/forwarder/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/util/log.h"
#include "agent/util/thread.h"

struct waiter {
    int lock_fd, event_fd;
    int result; // errno of flock, written before the event
};

/* flock() has no time-out and no descriptor to poll: let a thread sleep in it. */
static void *wait_for_lock(void *arg)
{
    struct waiter *w = arg;
    while (flock(w->lock_fd, LOCK_EX) != 0 && (w->result = errno) == EINTR)
        w->result = 0;
    uint64_t one = 1;
    ssize_t n = write(w->event_fd, &one, sizeof(one));
    (void)n;
    return NULL;
}

static int wait_or_stop(int lock_fd, int end_fd, int stop_fd, struct error *err)
{
    static struct waiter w; // the thread may outlive us
    pthread_t thread;
    w = (struct waiter){.lock_fd = lock_fd, .event_fd = eventfd(0, EFD_CLOEXEC)};
    if (w.event_fd < 0) return error_set(err, ERR_IO, "eventfd: %s", strerror(errno));
    int rc = thread_start(&thread, "lock", wait_for_lock, &w, err);
    if (rc < 0) return rc;

    for (;;) {
        struct pollfd p[] = {{.fd = w.event_fd, .events = POLLIN},
                             {.fd = end_fd, .events = POLLIN},
                             {.fd = stop_fd, .events = POLLIN}};
        (void)poll(p, 3, -1);
        if (p[0].revents) break;
        if (p[1].revents || p[2].revents) {
            (void)pthread_detach(thread);
            return error_set(err, ERR_STOPPED, "told to end while waiting for the spool");
        }
    }
    (void)pthread_join(thread, NULL);
    (void)close(w.event_fd);
    return w.result == 0 ? 0 : error_set(err, ERR_IO, "lock: %s", strerror(w.result));
}

int lock_take(const char *spool, int end_fd, int stop_fd, struct error *err)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/lock", spool);
    if (n < 0 || (size_t)n >= sizeof(path)) return error_set(err, ERR_IO, "path too long");
    if (mkdir(spool, 0700) != 0 && errno != EEXIST)
        return error_set(err, ERR_IO, "%s: %s", spool, strerror(errno));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));

    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return 0; // fd stays open: it is the lock
    int rc;
    if (errno == EWOULDBLOCK) {
        log_info("another forwarder has the spool %s: waiting until it goes", spool);
        rc = wait_or_stop(fd, end_fd, stop_fd, err);
        if (rc == 0) log_info("the spool %s is ours now", spool);
    } else {
        rc = error_set(err, ERR_IO, "%s: cannot lock: %s", path, strerror(errno));
    }
    if (rc < 0 && rc != ERR_STOPPED) (void)close(fd);
    return rc;
}
