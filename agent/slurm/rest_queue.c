/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/rest_queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "agent/util/thread.h"

struct rest_queue {
    rest_queue_fetch_fn fetch;
    void *ctx;
    pthread_mutex_t mutex;
    pthread_cond_t done_cond;
    bool running;
    unsigned long long started, done; // numbers of the last fetch that was begun, and ended
    struct rest_snapshot *last;       // of fetch number `done`; NULL: it failed
    struct error error;               // ... for this
};

struct rest_queue *rest_queue_new(rest_queue_fetch_fn fetch, void *ctx)
{
    struct rest_queue *q = calloc(1, sizeof(*q));
    if (!q) return NULL;
    q->fetch = fetch;
    q->ctx = ctx;
    pthread_mutex_init(&q->mutex, NULL);
    thread_cond_init(&q->done_cond);
    return q;
}

/* With the mutex held. */
static void drop(struct rest_snapshot *s)
{
    if (!s || --s->users > 0) return;
    free(s->jobs);
    free(s);
}

struct rest_queue *rest_queue_destroy(struct rest_queue *q)
{
    if (!q) return NULL;
    drop(q->last);
    pthread_cond_destroy(&q->done_cond);
    pthread_mutex_destroy(&q->mutex);
    free(q);
    return NULL;
}

void rest_queue_release(struct rest_queue *q, struct rest_snapshot *snapshot)
{
    pthread_mutex_lock(&q->mutex);
    drop(snapshot);
    pthread_mutex_unlock(&q->mutex);
}

/* Fetch for all who wait; the mutex is held before and after, and free meanwhile. */
static void lead(struct rest_queue *q, long long deadline_ms)
{
    struct error err = {0};
    q->running = true;
    unsigned long long number = ++q->started;
    pthread_mutex_unlock(&q->mutex);
    struct rest_snapshot *s = calloc(1, sizeof(*s));
    int rc = s ? q->fetch(q->ctx, deadline_ms, &s->jobs, &s->count, &err)
               : error_set(&err, ERR_NOMEM, "queue: out of memory");
    if (rc < 0) {
        free(s);
        s = NULL;
    } else {
        s->users = 1;
    }
    pthread_mutex_lock(&q->mutex);
    drop(q->last);
    q->last = s;
    q->error = err;
    q->done = number;
    q->running = false;
    pthread_cond_broadcast(&q->done_cond);
}

int rest_queue_get(struct rest_queue *q,
                   long long deadline_ms,
                   struct rest_snapshot **snapshot,
                   struct error *err)
{
    int rc = 0;
    pthread_mutex_lock(&q->mutex);
    unsigned long long wanted = q->started + 1;
    while (q->done < wanted && rc == 0) {
        if (!q->running)
            lead(q, deadline_ms);
        else if (thread_cond_wait_until(&q->done_cond, &q->mutex, deadline_ms) == ETIMEDOUT &&
                 q->done < wanted)
            rc = error_set(err, ERR_UNAVAILABLE, "slurmrestd: no answer in time");
    }
    if (rc == 0 && !q->last) {
        rc = q->error.code;
        if (err) *err = q->error;
    }
    if (rc == 0) {
        q->last->users++;
        *snapshot = q->last;
    }
    pthread_mutex_unlock(&q->mutex);
    return rc;
}
