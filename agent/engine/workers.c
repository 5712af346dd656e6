/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/engine/workers.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "agent/util/thread.h"

struct workers {
    pthread_mutex_t mutex;
    pthread_cond_t wake; // for the threads: a task waits, or stop
    pthread_cond_t idle; // for stop: a thread ended
    struct task *first, **last;
    bool stopping;
    unsigned int started, running;
    pthread_t threads[];
};

/* The next task, or NULL to stop. Called with the mutex held. */
static struct task *next_task(struct workers *w)
{
    while (!w->first && !w->stopping)
        pthread_cond_wait(&w->wake, &w->mutex);
    struct task *t = w->first;
    if (!t) return NULL;
    w->first = t->next;
    if (!w->first) w->last = &w->first;
    return t;
}

static void *work(void *arg)
{
    struct workers *w = arg;
    struct task *t;
    pthread_mutex_lock(&w->mutex);
    while ((t = next_task(w))) {
        pthread_mutex_unlock(&w->mutex);
        t->run(t);
        pthread_mutex_lock(&w->mutex);
    }
    w->running--;
    pthread_cond_signal(&w->idle);
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

struct workers *workers_new(unsigned int threads, struct error *err)
{
    struct workers *w = calloc(1, sizeof(*w) + threads * sizeof(w->threads[0]));
    if (!w) {
        (void)error_set(err, ERR_NOMEM, "workers: out of memory");
        return NULL;
    }
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->wake, NULL);
    thread_cond_init(&w->idle);
    w->last = &w->first;
    for (unsigned int i = 0; i < threads; i++) {
        pthread_mutex_lock(&w->mutex);
        w->running++;
        pthread_mutex_unlock(&w->mutex);
        if (thread_start(&w->threads[i], "worker", work, w, err) == 0) {
            w->started++;
            continue;
        }
        pthread_mutex_lock(&w->mutex);
        w->running--;
        pthread_mutex_unlock(&w->mutex);
        if (i > 0) break; // fewer than asked for do
        (void)workers_stop(w, 0);
        return NULL;
    }
    return w;
}

void workers_add(struct workers *w, struct task *t)
{
    t->next = NULL;
    pthread_mutex_lock(&w->mutex);
    *w->last = t;
    w->last = &t->next;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
}

bool workers_stop(struct workers *w, long long deadline_ms)
{
    if (!w) return true;
    pthread_mutex_lock(&w->mutex);
    w->stopping = true;
    struct task *dropped = w->first;
    w->first = NULL;
    w->last = &w->first;
    pthread_cond_broadcast(&w->wake);
    int rc = 0;
    while (w->running && rc != ETIMEDOUT)
        rc = thread_cond_wait_until(&w->idle, &w->mutex, deadline_ms);
    bool ended = w->running == 0;
    pthread_mutex_unlock(&w->mutex);

    for (struct task *next; dropped; dropped = next) {
        next = dropped->next;
        dropped->drop(dropped);
    }
    if (!ended) return false;
    for (unsigned int i = 0; i < w->started; i++)
        (void)pthread_join(w->threads[i], NULL);
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->wake);
    pthread_cond_destroy(&w->idle);
    free(w);
    return true;
}
