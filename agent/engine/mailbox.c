/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/engine/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
    pthread_mutex_t mutex;
    struct mail *first, **last;
    size_t count, max;
    int fd;
};

struct mailbox *mailbox_new(size_t max, struct error *err)
{
    struct mailbox *mb = calloc(1, sizeof(*mb));
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!mb || fd < 0) {
        (void)error_set(err, ERR_NOMEM, "mailbox: %s", strerror(errno));
        if (fd >= 0) (void)close(fd);
        free(mb);
        return NULL;
    }
    pthread_mutex_init(&mb->mutex, NULL);
    mb->last = &mb->first;
    mb->max = max;
    mb->fd = fd;
    return mb;
}

void mail_free(struct mail *m)
{
    if (!m) return;
    if (m->free)
        m->free(m);
    else
        free(m);
}

struct mailbox *mailbox_destroy(struct mailbox *mb)
{
    if (!mb) return NULL;
    for (struct mail *m = mailbox_drain(mb), *next; m; m = next) {
        next = m->next;
        mail_free(m);
    }
    pthread_mutex_destroy(&mb->mutex);
    (void)close(mb->fd);
    free(mb);
    return NULL;
}

int mailbox_fd(const struct mailbox *mb)
{
    return mb->fd;
}

int mailbox_post(struct mailbox *mb, struct mail *m, bool must)
{
    m->next = NULL;
    pthread_mutex_lock(&mb->mutex);
    bool full = !must && mb->count >= mb->max;
    if (!full) {
        *mb->last = m;
        mb->last = &m->next;
        mb->count++;
    }
    pthread_mutex_unlock(&mb->mutex);
    if (full) return ERR_BUSY;
    uint64_t one = 1;
    ssize_t n = write(mb->fd, &one, sizeof(one));
    (void)n; // a full counter is readable too
    return 0;
}

struct mail *mailbox_drain(struct mailbox *mb)
{
    uint64_t n;
    ssize_t r = read(mb->fd, &n, sizeof(n));
    (void)r; // EAGAIN: nothing waits
    pthread_mutex_lock(&mb->mutex);
    struct mail *all = mb->first;
    mb->first = NULL;
    mb->last = &mb->first;
    mb->count = 0;
    pthread_mutex_unlock(&mb->mutex);
    return all;
}
