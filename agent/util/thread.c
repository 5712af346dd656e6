/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/util/thread.h"

#include <signal.h>
#include <string.h>
#include <time.h>

int thread_start(
    pthread_t *thread, const char *name, void *(*fn)(void *), void *arg, struct error *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(thread, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) return error_set(err, ERR_NOMEM, "thread %s: %s", name, strerror(rc));
    (void)pthread_setname_np(*thread, name);
    return 0;
}

void thread_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

int thread_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, long long deadline_ms)
{
    struct timespec ts = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000};
    return pthread_cond_timedwait(cond, mutex, &ts);
}
