/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The one way into the engine: many threads post, the engine drains. Messages keep the order in
 * which they were posted.
 */
#ifndef ENGINE_MAILBOX_H
#define ENGINE_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/util/error.h"

/* Every message begins with this. */
struct mail {
    struct mail *next;
    int kind;                     // the owner's enum
    void (*free)(struct mail *m); // NULL: free()
};

struct mailbox;

/* Optional messages are refused beyond `max` waiting ones. */
struct mailbox *mailbox_new(size_t max, struct error *err);
struct mailbox *mailbox_destroy(struct mailbox *mb); // frees what is left; returns NULL

/* Readable while messages wait: for poll(). */
int mailbox_fd(const struct mailbox *mb);

/*
 * Hand over `m`. `must`: it is taken whatever the number waiting (answers to our own requests,
 * whose number is bounded already). Returns 0, or ERR_BUSY: the caller keeps `m`. Any thread; never
 * blocks.
 */
int mailbox_post(struct mailbox *mb, struct mail *m, bool must);

/* Take all messages, oldest first (NULL if none). The caller frees each with mail_free(). */
struct mail *mailbox_drain(struct mailbox *mb);

void mail_free(struct mail *m);

#endif
