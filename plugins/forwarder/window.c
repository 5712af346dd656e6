/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plugins/forwarder/window.h"

#include <assert.h>
#include <stdlib.h>

enum { BUCKETS = 1024 }; // for some thousand records: chains of a few

struct list {
    struct window_item *first, *last;
};

struct window {
    struct list ready, waiting, unused;
    struct window_item *buckets[BUCKETS];
    struct window_item *items;
    size_t capacity, count;
    long long next_due_ms; // not above the first due time of `waiting`
};

static void list_append(struct list *l, struct window_item *item)
{
    item->next = NULL;
    item->prev = l->last;
    *(l->last ? &l->last->next : &l->first) = item;
    l->last = item;
}

static void list_prepend(struct list *l, struct window_item *item)
{
    item->prev = NULL;
    item->next = l->first;
    *(l->first ? &l->first->prev : &l->last) = item;
    l->first = item;
}

static void list_remove(struct list *l, struct window_item *item)
{
    *(item->prev ? &item->prev->next : &l->first) = item->next;
    *(item->next ? &item->next->prev : &l->last) = item->prev;
    item->next = item->prev = NULL;
}

struct window *window_new(size_t capacity)
{
    struct window *w = calloc(1, sizeof(*w));
    if (!w) return NULL;
    w->items = calloc(capacity, sizeof(*w->items));
    if (!w->items) return window_destroy(w);
    w->capacity = capacity;
    for (size_t i = 0; i < capacity; i++)
        list_append(&w->unused, &w->items[i]);
    return w;
}

struct window *window_destroy(struct window *w)
{
    if (!w) return NULL;
    free(w->items);
    free(w);
    return NULL;
}

bool window_is_full(const struct window *w)
{
    return w->unused.first == NULL;
}

size_t window_count(const struct window *w)
{
    return w->count;
}

/* Where the pointer to the job's first record is, or would be put. */
static struct window_item **find_job(struct window *w, uint32_t job_id)
{
    struct window_item **p = &w->buckets[job_id % BUCKETS];
    while (*p && (*p)->record.job_id != job_id)
        p = &(*p)->hash_next;
    return p;
}

bool window_add(struct window *w, const struct record *record, const struct spool_pos *pos)
{
    struct window_item *item = w->unused.first;
    if (!item) return false;
    list_remove(&w->unused, item);
    *item = (struct window_item){.record = *record, .pos = *pos};
    w->count++;

    struct window_item **job = find_job(w, record->job_id);
    if (!*job) {
        *job = item;
        list_append(&w->ready, item);
        return true;
    }
    struct window_item *last = *job;
    while (last->behind)
        last = last->behind;
    last->behind = item;
    return true;
}

/* Make those ready whose time has come. */
static void wake_due(struct window *w, long long now_ms)
{
    if (!w->waiting.first || now_ms < w->next_due_ms) return;
    long long next = -1;
    for (struct window_item *item = w->waiting.first, *following; item; item = following) {
        following = item->next;
        if (item->due_ms <= now_ms) {
            list_remove(&w->waiting, item);
            list_append(&w->ready, item);
        } else if (next < 0 || item->due_ms < next) {
            next = item->due_ms;
        }
    }
    w->next_due_ms = next;
}

struct window_item *window_take(struct window *w, long long now_ms)
{
    wake_due(w, now_ms);
    struct window_item *item = w->ready.first;
    if (item) list_remove(&w->ready, item);
    return item;
}

bool window_has_ready(const struct window *w, long long now_ms)
{
    return w->ready.first || (w->waiting.first && w->next_due_ms <= now_ms);
}

long long window_next_due(const struct window *w)
{
    return w->waiting.first ? w->next_due_ms : -1;
}

void window_retry(struct window *w, struct window_item *item, long long due_ms)
{
    item->due_ms = due_ms;
    if (due_ms == 0) {
        list_prepend(&w->ready, item);
        return;
    }
    if (!w->waiting.first || due_ms < w->next_due_ms) w->next_due_ms = due_ms;
    list_append(&w->waiting, item);
}

void window_remove(struct window *w, struct window_item *item)
{
    struct window_item **job = find_job(w, item->record.job_id);
    assert(*job == item); // only the first record of a job is ever taken

    struct window_item *behind = item->behind;
    if (behind) {
        behind->hash_next = item->hash_next;
        *job = behind;
        list_append(&w->ready, behind);
    } else {
        *job = item->hash_next;
    }
    list_append(&w->unused, item);
    w->count--;
}

struct window_item *window_take_refused(struct window *w, long long before_ms)
{
    struct window_item *oldest = NULL;
    for (struct window_item *item = w->waiting.first; item; item = item->next) {
        if (item->refused_since_ms == 0 || item->refused_since_ms > before_ms) continue;
        if (!oldest || item->refused_since_ms < oldest->refused_since_ms) oldest = item;
    }
    if (oldest) list_remove(&w->waiting, oldest);
    return oldest;
}
