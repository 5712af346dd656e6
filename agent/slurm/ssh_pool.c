/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/ssh_pool.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/slurm/backend.h"
#include "agent/util/clock.h"
#include "agent/util/thread.h"

struct slot {
    bool taken;        // connecting, in use, or idle
    bool busy;         // connecting or in use: belongs to one thread
    struct sshc *conn; // NULL while connecting
    char user[SLURM_USER_MAX];
    long long idle_since_ms;
};

struct ssh_pool {
    struct sshc_target target;
    char *known_hosts;
    long long idle_ms;
    pthread_t reaper;
    bool reaper_runs;
    pthread_mutex_t mutex; // of all below
    pthread_cond_t change; // a slot became idle or free; stop
    bool stop;
    uint64_t opened;
    struct slot slots[SSH_POOL_MAX];
};

/* Take a connection out of the slot, which is free then. The caller closes it without the lock. */
static struct sshc *empty_slot(struct slot *s)
{
    struct sshc *conn = s->conn;
    *s = (struct slot){0};
    return conn;
}

/* When the next idle connection is due, and its slot if it is due now. */
static struct slot *next_due(struct ssh_pool *p, long long now_ms, long long *wake_ms)
{
    *wake_ms = now_ms + p->idle_ms;
    for (size_t i = 0; i < SSH_POOL_MAX; i++) {
        struct slot *s = &p->slots[i];
        if (!s->taken || s->busy) continue;
        long long due = s->idle_since_ms + p->idle_ms;
        if (due <= now_ms) return s;
        if (due < *wake_ms) *wake_ms = due;
    }
    return NULL;
}

static void *reap(void *arg)
{
    struct ssh_pool *p = arg;
    pthread_mutex_lock(&p->mutex);
    while (!p->stop) {
        long long wake_ms;
        struct slot *s = next_due(p, clock_mono_ms(), &wake_ms);
        if (!s) {
            (void)thread_cond_wait_until(&p->change, &p->mutex, wake_ms);
            continue;
        }
        struct sshc *conn = empty_slot(s);
        pthread_cond_broadcast(&p->change);
        pthread_mutex_unlock(&p->mutex);
        (void)sshc_close(conn);
        pthread_mutex_lock(&p->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

struct ssh_pool *ssh_pool_new(struct sshc_target *target, long long idle_ms, struct error *err)
{
    struct ssh_pool *p = calloc(1, sizeof(*p));
    char *known_hosts = target->known_hosts ? strdup(target->known_hosts) : NULL;
    if (!p || (target->known_hosts && !known_hosts)) {
        (void)error_set(err, ERR_NOMEM, "SSH connections: out of memory");
        free(known_hosts);
        free(p);
        return NULL;
    }
    p->target = *target;
    target->key = (struct secret){0};
    p->target.known_hosts = p->known_hosts = known_hosts;
    p->idle_ms = idle_ms;
    pthread_mutex_init(&p->mutex, NULL);
    thread_cond_init(&p->change);
    if (thread_start(&p->reaper, "ssh-idle", reap, p, err) < 0) return ssh_pool_destroy(p);
    p->reaper_runs = true;
    return p;
}

struct ssh_pool *ssh_pool_destroy(struct ssh_pool *pool)
{
    if (!pool) return NULL;
    if (pool->reaper_runs) {
        pthread_mutex_lock(&pool->mutex);
        pool->stop = true;
        pthread_cond_broadcast(&pool->change);
        pthread_mutex_unlock(&pool->mutex);
        (void)pthread_join(pool->reaper, NULL);
    }
    for (size_t i = 0; i < SSH_POOL_MAX; i++) {
        assert(!pool->slots[i].busy);
        (void)sshc_close(empty_slot(&pool->slots[i]));
    }
    pthread_cond_destroy(&pool->change);
    pthread_mutex_destroy(&pool->mutex);
    secret_wipe(&pool->target.key);
    free(pool->known_hosts);
    free(pool);
    return NULL;
}

/* An idle connection of that user, else a free slot, else the longest idle one. */
static struct slot *choose_slot(struct ssh_pool *p, const char *user)
{
    struct slot *free_slot = NULL, *own = NULL, *oldest = NULL;
    for (size_t i = 0; i < SSH_POOL_MAX; i++) {
        struct slot *s = &p->slots[i];
        if (s->busy) continue;
        if (!s->taken)
            free_slot = s;
        else if (strcmp(s->user, user) == 0)
            own = s;
        else if (!oldest || s->idle_since_ms < oldest->idle_since_ms)
            oldest = s;
    }
    if (own) return own;
    return free_slot ? free_slot : oldest;
}

/*
 * A slot that is ours, with a connection of that user if there was one. Without `reuse` (one of his
 * was stale: so are the others, most likely) such a connection is given up too. What is given up
 * comes out by *evicted, to be closed.
 */
static struct slot *acquire(
    struct ssh_pool *p, const char *user, bool reuse, long long deadline_ms, struct sshc **evicted)
{
    struct slot *s;
    *evicted = NULL;
    pthread_mutex_lock(&p->mutex);
    while (!(s = choose_slot(p, user))) {
        if (thread_cond_wait_until(&p->change, &p->mutex, deadline_ms) == ETIMEDOUT) break;
    }
    if (s) {
        if (!s->taken || !reuse || strcmp(s->user, user) != 0) *evicted = empty_slot(s);
        s->taken = s->busy = true;
        (void)snprintf(s->user, sizeof(s->user), "%s", user);
    }
    pthread_mutex_unlock(&p->mutex);
    return s;
}

/* Give the slot back: idle with its connection, or free without one. */
static void release(struct ssh_pool *p, struct slot *s, bool keep)
{
    struct sshc *conn = NULL;
    pthread_mutex_lock(&p->mutex);
    if (keep) {
        s->busy = false;
        s->idle_since_ms = clock_mono_ms();
    } else {
        conn = empty_slot(s);
    }
    pthread_cond_broadcast(&p->change);
    pthread_mutex_unlock(&p->mutex);
    (void)sshc_close(conn);
}

static int open_slot(
    struct ssh_pool *p, struct slot *s, const char *user, long long deadline_ms, struct error *err)
{
    struct sshc *conn = NULL;
    int rc = sshc_open(&p->target, user, deadline_ms, &conn, err);
    pthread_mutex_lock(&p->mutex);
    s->conn = conn;
    if (rc == 0) p->opened++;
    pthread_mutex_unlock(&p->mutex);
    return rc;
}

static int run_once(struct ssh_pool *p,
                    const char *user,
                    const struct sshc_call *call,
                    bool reuse,
                    long long deadline_ms,
                    struct sshc_result *result,
                    bool *was_reused,
                    struct error *err)
{
    struct sshc *evicted = NULL;
    struct slot *s = acquire(p, user, reuse, deadline_ms, &evicted);
    (void)sshc_close(evicted);
    if (!s) return error_set(err, ERR_BUSY, "all %d SSH connections are in use", (int)SSH_POOL_MAX);
    *was_reused = s->conn != NULL;
    int rc = s->conn ? 0 : open_slot(p, s, user, deadline_ms, err);
    if (rc == 0) {
        // A peer that is gone without a word must not eat the time that a fresh one would need.
        long long start_by = clock_mono_ms() + p->target.connect_timeout_ms;
        rc = sshc_run(s->conn, call, start_by, deadline_ms, result, err);
    }
    release(p, s, s->conn && sshc_usable(s->conn));
    return rc;
}

int ssh_pool_run(struct ssh_pool *pool,
                 const char *user,
                 const struct sshc_call *call,
                 long long deadline_ms,
                 struct sshc_result *result,
                 struct error *err)
{
    bool was_reused = false;
    int rc = run_once(pool, user, call, true, deadline_ms, result, &was_reused, err);
    if (rc != ERR_UNAVAILABLE || !was_reused) return rc;
    return run_once(pool, user, call, false, deadline_ms, result, &was_reused, err);
}

void ssh_pool_count(struct ssh_pool *pool, struct ssh_pool_counts *counts)
{
    pthread_mutex_lock(&pool->mutex);
    *counts = (struct ssh_pool_counts){.opened = pool->opened};
    for (size_t i = 0; i < SSH_POOL_MAX; i++)
        counts->open += pool->slots[i].taken;
    pthread_mutex_unlock(&pool->mutex);
}
