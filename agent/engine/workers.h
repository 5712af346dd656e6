/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A bounded pool of threads for calls that block. A task runs once, on some thread; what comes of
 * it is a message that the task posts itself.
 */
#ifndef ENGINE_WORKERS_H
#define ENGINE_WORKERS_H

#include <stdbool.h>

#include "agent/util/error.h"

struct task {
    struct task *next;
    void (*run)(struct task *t);  // owns `t` from here on
    void (*drop)(struct task *t); // instead of run, when the pool stops first
};

struct workers;

struct workers *workers_new(unsigned int threads, struct error *err);

/* Queue a task. Never blocks; the queue is bounded by the number of jobs, one task each. */
void workers_add(struct workers *w, struct task *t);

/*
 * Drop what is queued and wait for what runs, until `deadline_ms` (clock_mono_ms). Returns true if
 * all threads ended (the pool is then freed); false if some still run: their process must end
 * without freeing what they use.
 */
bool workers_stop(struct workers *w, long long deadline_ms);

#endif
