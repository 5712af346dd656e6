/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Threads: named, all signals blocked, stopped by message and joined. */
#ifndef UTIL_THREAD_H
#define UTIL_THREAD_H

#include <pthread.h>

#include "agent/util/error.h"

/* Start `fn(arg)` on a joinable thread of that name (at most 15 bytes). Returns 0 or ERR_NOMEM. */
int thread_start(
    pthread_t *thread, const char *name, void *(*fn)(void *), void *arg, struct error *err);

/* Initialise a condition variable that pthread_cond_timedwait uses with CLOCK_MONOTONIC. */
void thread_cond_init(pthread_cond_t *cond);

/*
 * Wait on `cond` until signalled or until clock_mono_ms() reaches `deadline_ms`; the mutex is held
 * before and after. Returns 0, or ETIMEDOUT. A spurious wake-up returns 0: the caller loops.
 */
int thread_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, long long deadline_ms);

#endif
