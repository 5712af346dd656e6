/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/auto.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/util/clock.h"
#include "agent/util/thread.h"

enum {
    PING_MS = 3000, // of a probe: also what stopping may take
    /* slurmrestd's part of a deadline, half of it at most: SSH must come to its turn within 30 s.
     */
    SHARE_MAX_MS = 15 * 1000,
    /* Coming back for less than this is flapping: then the next time over SSH lasts twice as long.
     */
    STABLE_MS = 60 * 1000,
    HOLD_MAX_MS = 5 * 60 * 1000,
};

struct auto_backend {
    struct slurm_backend base;
    struct slurm_auto_options o;
    pthread_t thread;
    bool thread_started;
    pthread_mutex_t mutex;
    pthread_cond_t changed_cond; // over_ssh, next_probe_ms or stopping
    bool over_ssh, stopping;
    long long since_ms; // of the last change
    long long hold_ms;  // how long to stay with SSH before the first probe
    long long next_probe_ms;
    unsigned long long changes;
};

static struct auto_backend *of(struct slurm_backend *b)
{
    return (struct auto_backend *)b;
}

/* --- which way --- */

static bool is_over_ssh(struct auto_backend *a)
{
    pthread_mutex_lock(&a->mutex);
    bool over_ssh = a->over_ssh;
    pthread_mutex_unlock(&a->mutex);
    return over_ssh;
}

static void change(struct auto_backend *a, bool over_ssh, const char *why)
{
    long long now = clock_mono_ms();
    pthread_mutex_lock(&a->mutex);
    bool is_change = a->over_ssh != over_ssh;
    if (is_change) {
        bool flapping = a->changes > 0 && now - a->since_ms < STABLE_MS;
        if (over_ssh) {
            a->hold_ms = flapping ? 2 * a->hold_ms : a->o.probe_ms;
            if (a->hold_ms > HOLD_MAX_MS) a->hold_ms = HOLD_MAX_MS;
            a->next_probe_ms = now + a->hold_ms;
        }
        a->over_ssh = over_ssh;
        a->since_ms = now;
        a->changes++;
        pthread_cond_signal(&a->changed_cond);
    }
    unsigned long long changes = a->changes;
    pthread_mutex_unlock(&a->mutex);
    if (is_change && a->o.changed) a->o.changed(a->o.ctx, over_ssh, changes, why);
}

/* SSH is out of order as well: no reason to stay with it for longer than to the next probe. */
static void hurry(struct auto_backend *a)
{
    long long soon = clock_mono_ms() + a->o.probe_ms;
    pthread_mutex_lock(&a->mutex);
    if (a->over_ssh && a->next_probe_ms > soon) {
        a->next_probe_ms = soon;
        pthread_cond_signal(&a->changed_cond);
    }
    pthread_mutex_unlock(&a->mutex);
}

static void *probe_thread(void *arg)
{
    struct auto_backend *a = arg;
    struct slurm_backend *rest = a->o.rest;
    pthread_mutex_lock(&a->mutex);
    while (!a->stopping) {
        if (!a->over_ssh) {
            (void)pthread_cond_wait(&a->changed_cond, &a->mutex);
            continue;
        }
        if (clock_mono_ms() < a->next_probe_ms) {
            (void)thread_cond_wait_until(&a->changed_cond, &a->mutex, a->next_probe_ms);
            continue;
        }
        pthread_mutex_unlock(&a->mutex);
        int rc = rest->ops->ping(rest, clock_mono_ms() + PING_MS, NULL);
        if (rc >= 0) change(a, false, "slurmrestd answers again");
        pthread_mutex_lock(&a->mutex);
        a->next_probe_ms = clock_mono_ms() + a->o.probe_ms;
    }
    pthread_mutex_unlock(&a->mutex);
    return NULL;
}

/* --- operations --- */

/* Verdicts are none, nor is "not now", nor what is wrong with ourselves. */
static bool is_outage(int rc)
{
    return rc == ERR_UNAVAILABLE || rc == ERR_PROTO || rc == ERR_IO || rc == ERR_OUTCOME_UNKNOWN;
}

typedef int (*call_fn)(struct slurm_backend *b,
                       const void *args,
                       long long deadline_ms,
                       struct error *err);

/* `repeatable`: doing it twice does no harm. */
static int call(struct auto_backend *a,
                call_fn fn,
                const void *args,
                bool repeatable,
                long long deadline_ms,
                struct error *err)
{
    struct error local = {0};
    if (!is_over_ssh(a)) {
        long long now = clock_mono_ms(), share = (deadline_ms - now) / 2;
        if (share > SHARE_MAX_MS) share = SHARE_MAX_MS;
        int rc = fn(a->o.rest, args, repeatable ? now + share : deadline_ms, &local);
        bool outage = is_outage(rc);
        bool again = repeatable ? outage || rc == ERR_BUSY : outage && rc != ERR_OUTCOME_UNKNOWN;
        if (outage) change(a, true, local.text);
        if (!again) {
            if (err) *err = local;
            return rc;
        }
    }
    int rc = fn(a->o.ssh, args, deadline_ms, err);
    if (!is_outage(rc)) return rc;
    hurry(a);
    if (local.code != ERR_BUSY) return rc;
    if (err) *err = local; // SSH is out of order: "not now" it remains
    return local.code;
}

static int do_ping(struct slurm_backend *b, const void *args, long long deadline, struct error *err)
{
    (void)args;
    return b->ops->ping(b, deadline, err);
}

static int op_ping(struct slurm_backend *b, long long deadline_ms, struct error *err)
{
    return call(of(b), do_ping, NULL, true, deadline_ms, err);
}

/* With slurmrestd it is the agent's own host that knows: nothing is out of order if it does not. */
static int op_user_exists(struct slurm_backend *base,
                          const char *user,
                          long long deadline_ms,
                          struct error *err)
{
    struct slurm_backend *rest = of(base)->o.rest, *ssh = of(base)->o.ssh;
    if (!is_over_ssh(of(base))) {
        int rc = rest->ops->user_exists(rest, user, deadline_ms, err);
        if (!is_outage(rc)) return rc;
    }
    return ssh->ops->user_exists(ssh, user, deadline_ms, err);
}

struct submit_args {
    const struct slurm_job_spec *spec;
    uint64_t *id;
};

static int
do_submit(struct slurm_backend *b, const void *args, long long deadline, struct error *err)
{
    const struct submit_args *a = args;
    return b->ops->submit(b, a->spec, deadline, a->id, err);
}

static int op_submit(struct slurm_backend *b,
                     const struct slurm_job_spec *spec,
                     long long deadline_ms,
                     uint64_t *id,
                     struct error *err)
{
    struct submit_args args = {spec, id};
    return call(of(b), do_submit, &args, false, deadline_ms, err);
}

struct find_args {
    const char *name, *user;
    struct slurm_job *job;
};

static int do_find(struct slurm_backend *b, const void *args, long long deadline, struct error *err)
{
    const struct find_args *a = args;
    return b->ops->find(b, a->name, a->user, deadline, a->job, err);
}

static int op_find(struct slurm_backend *b,
                   const char *name,
                   const char *user,
                   long long deadline_ms,
                   struct slurm_job *job,
                   struct error *err)
{
    struct find_args args = {name, user, job};
    return call(of(b), do_find, &args, true, deadline_ms, err);
}

struct query_args {
    const uint64_t *ids;
    size_t count;
    struct slurm_job *jobs;
    size_t *found;
    enum slurm_proof *proof;
};

static int
do_query(struct slurm_backend *b, const void *args, long long deadline, struct error *err)
{
    const struct query_args *a = args;
    return b->ops->query(b, a->ids, a->count, deadline, a->jobs, a->found, a->proof, err);
}

static int op_query(struct slurm_backend *b,
                    const uint64_t *ids,
                    size_t count,
                    long long deadline_ms,
                    struct slurm_job *jobs,
                    size_t *found,
                    enum slurm_proof *proof,
                    struct error *err)
{
    struct query_args args = {ids, count, jobs, found, proof};
    return call(of(b), do_query, &args, true, deadline_ms, err);
}

struct list_args {
    struct slurm_job **jobs;
    size_t *count;
};

static int do_list(struct slurm_backend *b, const void *args, long long deadline, struct error *err)
{
    const struct list_args *a = args;
    return b->ops->list(b, deadline, a->jobs, a->count, err);
}

static int op_list(struct slurm_backend *b,
                   long long deadline_ms,
                   struct slurm_job **jobs,
                   size_t *count,
                   struct error *err)
{
    struct list_args args = {jobs, count};
    return call(of(b), do_list, &args, true, deadline_ms, err);
}

struct job_args {
    uint64_t id, minutes;
    const char *user;
};

static int
do_cancel(struct slurm_backend *b, const void *args, long long deadline, struct error *err)
{
    const struct job_args *a = args;
    return b->ops->cancel(b, a->id, a->user, deadline, err);
}

static int op_cancel(struct slurm_backend *b,
                     uint64_t id,
                     const char *user,
                     long long deadline_ms,
                     struct error *err)
{
    struct job_args args = {.id = id, .user = user};
    return call(of(b), do_cancel, &args, true, deadline_ms, err);
}

static int
do_set_time_limit(struct slurm_backend *b, const void *args, long long deadline, struct error *err)
{
    const struct job_args *a = args;
    return b->ops->set_time_limit(b, a->id, a->minutes, deadline, err);
}

static int op_set_time_limit(struct slurm_backend *b,
                             uint64_t id,
                             uint64_t minutes,
                             long long deadline_ms,
                             struct error *err)
{
    struct job_args args = {.id = id, .minutes = minutes};
    return call(of(b), do_set_time_limit, &args, true, deadline_ms, err);
}

struct partition_args {
    const char *name;
    struct slurm_partition *partition;
};

static int
do_partition(struct slurm_backend *b, const void *args, long long deadline, struct error *err)
{
    const struct partition_args *a = args;
    return b->ops->partition(b, a->name, deadline, a->partition, err);
}

static int op_partition(struct slurm_backend *b,
                        const char *name,
                        long long deadline_ms,
                        struct slurm_partition *partition,
                        struct error *err)
{
    struct partition_args args = {name, partition};
    return call(of(b), do_partition, &args, true, deadline_ms, err);
}

/* --- */

static void op_destroy(struct slurm_backend *base)
{
    struct auto_backend *a = of(base);
    if (!a) return;
    if (a->thread_started) {
        pthread_mutex_lock(&a->mutex);
        a->stopping = true;
        pthread_cond_signal(&a->changed_cond);
        pthread_mutex_unlock(&a->mutex);
        (void)pthread_join(a->thread, NULL);
    }
    a->o.rest->ops->destroy(a->o.rest);
    a->o.ssh->ops->destroy(a->o.ssh);
    pthread_cond_destroy(&a->changed_cond);
    pthread_mutex_destroy(&a->mutex);
    free(a);
}

static const struct slurm_backend_ops ops = {
    .name = "auto",
    .ping = op_ping,
    .user_exists = op_user_exists,
    .submit = op_submit,
    .find = op_find,
    .query = op_query,
    .list = op_list,
    .cancel = op_cancel,
    .set_time_limit = op_set_time_limit,
    .partition = op_partition,
    .destroy = op_destroy,
};

struct slurm_backend *slurm_auto_new(const struct slurm_auto_options *options, struct error *err)
{
    struct auto_backend *a = calloc(1, sizeof(*a));
    if (!a) {
        (void)error_set(err, ERR_NOMEM, "Slurm: out of memory");
        options->rest->ops->destroy(options->rest);
        options->ssh->ops->destroy(options->ssh);
        return NULL;
    }
    a->base.ops = &ops;
    a->o = *options;
    if (!a->o.probe_ms) a->o.probe_ms = AUTO_PROBE_MS;
    pthread_mutex_init(&a->mutex, NULL);
    thread_cond_init(&a->changed_cond);
    if (thread_start(&a->thread, "slurm-probe", probe_thread, a, err) < 0) {
        op_destroy(&a->base);
        return NULL;
    }
    a->thread_started = true;
    return &a->base;
}

bool slurm_auto_way(const struct slurm_backend *backend, struct slurm_auto_way *way)
{
    struct auto_backend *a = (struct auto_backend *)backend;
    if (backend->ops != &ops) return false;
    pthread_mutex_lock(&a->mutex);
    *way = (struct slurm_auto_way){.over_ssh = a->over_ssh, .changes = a->changes};
    pthread_mutex_unlock(&a->mutex);
    return true;
}
