/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The records that are being sent: a fixed number, in the order read, each in one of the states
 * ready, taken (a sender has it), waiting (for its next try), blocked (an earlier record of the
 * same Slurm job is not done). Memory is allocated once. No locks: the caller's.
 */
#ifndef PLUGINS_FORWARDER_WINDOW_H
#define PLUGINS_FORWARDER_WINDOW_H

#include <stdbool.h>
#include <stddef.h>

#include "plugins/common/record.h"
#include "plugins/common/spool.h"

struct window_item {
    struct record record;
    struct spool_pos pos;
    unsigned int attempts;      // that were answered with a failure of this record
    long long refused_since_ms; // NOT_FOUND since then; 0: not
    long long due_ms;           // waiting: until then
    bool reject;                // the sender's verdict: not acknowledged, but given up
    char why[160];              // with it

    /* The window's own. */
    struct window_item *next, *prev; // in the list of its state
    struct window_item *behind;      // the next record of the same job, blocked
    struct window_item *hash_next;   // chain of jobs; only the first record of a job is in it
};

struct window;

struct window *window_new(size_t capacity); // NULL: no memory
struct window *window_destroy(struct window *w);

/* Returns false when it is full. */
bool window_add(struct window *w, const struct record *record, const struct spool_pos *pos);
bool window_is_full(const struct window *w);
size_t window_count(const struct window *w);

/* The next record to send, now taken, or NULL. */
struct window_item *window_take(struct window *w, long long now_ms);

/* Is there a record that could be taken now? */
bool window_has_ready(const struct window *w, long long now_ms);

/* When the first waiting record is due; -1 if none waits. */
long long window_next_due(const struct window *w);

/* A taken record waits until due_ms (0: ready at once, before all others). */
void window_retry(struct window *w, struct window_item *item, long long due_ms);

/* A taken record is done with: its place is free, the next one of its job ready. */
void window_remove(struct window *w, struct window_item *item);

/* Take the waiting record that has been refused longest, if since `before_ms` or earlier. */
struct window_item *window_take_refused(struct window *w, long long before_ms);

#endif
