/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The keeper's thread alone has to do with the forwarder; the others talk to it through `wanted`
 * and an eventfd.
 *
 * The forwarder is not our child: what we start makes a copy of itself in the background and ends.
 * (From Slurm 23.11 on slurmctld executes itself anew at a reconfigure, and would not know a child
 * of before, nor reap it.) It is known by two pipes. The log pipe is at its end when it has ended;
 * the end pipe, whose sending end this process alone has, tells it to end when that is closed, or
 * gone with the process. No signal is sent: there is no pid that could be another one's by now.
 */
#include "plugins/common/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    BACKOFF_MIN_MS = 1000,
    BACKOFF_MAX_MS = 30000,
    STEADY_MS = 60000, // one that ran this long starts the backoff anew
    GRACE_MS = 1300,   // that its last words are waited for, before another one is started
    REAP_MS = 20,      // what we started ends soon: look so often
    LINE_MAX_LEN = 1024,
    /* Lines passed on in one interval: more would let a fault flood slurmctld's log. */
    LINES_MAX = 50,
    LINES_INTERVAL_MS = 10000,
    FIRST_FD = 10, // ours are kept above those the child gets by number (LAUNCH_END_FD)
};

struct keeper {
    keeper_log_fn log;
    int event_fd; // something changed in `wanted` or `stopping`

    pthread_mutex_t lock;
    struct keeper_config wanted;
    bool changed, stopping;

    /* The thread's own. */
    struct keeper_config config;
    pid_t pid;            // of what we started; 0: reaped
    int log_fd, end_send; // -1: no forwarder runs
    long long started_ms, start_at_ms, backoff_ms;
    char line[LINE_MAX_LEN];
    size_t line_len;
    long long lines_until_ms;
    unsigned int lines, lines_dropped;
};

static long long mono_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (long long)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- What the forwarder says. */

static void say(struct keeper *k, enum keeper_level level, const char *line)
{
    pthread_mutex_lock(&k->lock);
    if (!k->stopping) k->log(level, line);
    pthread_mutex_unlock(&k->lock);
}

/* "<3>text" -> level and text, as sd-daemon has it. */
static enum keeper_level line_level(const char **line)
{
    const char *p = *line;
    if (p[0] != '<' || p[1] < '0' || p[1] > '7' || p[2] != '>') return KEEPER_INFO;
    *line += 3;
    if (p[1] <= '4') return KEEPER_ERROR;
    return p[1] == '7' ? KEEPER_DEBUG : KEEPER_INFO;
}

static void flush_line(struct keeper *k)
{
    k->line[k->line_len] = '\0';
    k->line_len = 0;
    const char *line = k->line;
    if (*line == '\0') return;

    long long now = mono_ms();
    if (now >= k->lines_until_ms) {
        if (k->lines_dropped > 0) {
            char text[64];
            (void)snprintf(text, sizeof(text), "(%u lines more)", k->lines_dropped);
            say(k, KEEPER_INFO, text);
        }
        k->lines = k->lines_dropped = 0;
        k->lines_until_ms = now + LINES_INTERVAL_MS;
    }
    if (k->lines++ < LINES_MAX) {
        enum keeper_level level = line_level(&line);
        say(k, level, line);
    } else {
        k->lines_dropped++;
    }
}

/* Pass on what there is. Returns false at the end: the forwarder is gone. */
static bool read_log(struct keeper *k)
{
    char data[4096];
    ssize_t n = read(k->log_fd, data, sizeof(data));
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    for (ssize_t i = 0; i < n; i++) {
        if (data[i] == '\n' || k->line_len == sizeof(k->line) - 1) flush_line(k);
        if (data[i] != '\n') k->line[k->line_len++] = data[i];
    }
    return n > 0;
}

/* ---- Starting. */

/* A pipe whose descriptors the child's fixed ones do not overwrite. */
static int make_pipe(int fds[2])
{
    int low[2];
    if (pipe2(low, O_CLOEXEC | O_NONBLOCK) != 0) return -errno;
    int rc = 0;
    for (int i = 0; i < 2; i++) {
        fds[i] = fcntl(low[i], F_DUPFD_CLOEXEC, FIRST_FD);
        if (fds[i] < 0) rc = -errno;
        (void)close(low[i]);
    }
    for (int i = 0; rc < 0 && i < 2; i++) {
        if (fds[i] >= 0) (void)close(fds[i]);
        fds[i] = -1;
    }
    return rc;
}

/* Returns 0 or an errno. */
static int launch(struct keeper *k)
{
    const char *args[] = {"--spool", k->config.spool, "--end-fd", "3", NULL};
    _Static_assert(LAUNCH_END_FD == 3, "the argument says so");
    int log[2], end[2];
    int rc = -make_pipe(log);
    if (rc != 0) return rc;
    rc = -make_pipe(end);
    if (rc == 0) {
        rc = launch_forwarder(&k->config.launch, args, log[1], end[0], &k->pid);
        (void)close(end[0]);
        if (rc != 0) (void)close(end[1]);
    }
    (void)close(log[1]);
    if (rc != 0) {
        (void)close(log[0]);
        k->pid = 0;
        return rc;
    }
    k->log_fd = log[0];
    k->end_send = end[1];
    return 0;
}

static void start_later(struct keeper *k, const char *what)
{
    char text[256];
    (void)snprintf(
        text, sizeof(text), "%.200s; started again in %lld s", what, k->backoff_ms / 1000);
    say(k, KEEPER_ERROR, text);
    k->start_at_ms = mono_ms() + k->backoff_ms;
    k->backoff_ms *= 2;
    if (k->backoff_ms > BACKOFF_MAX_MS) k->backoff_ms = BACKOFF_MAX_MS;
}

static void start(struct keeper *k)
{
    char text[256];
    int rc = launch(k);
    k->started_ms = mono_ms();
    if (rc == 0) return;
    (void)snprintf(
        text, sizeof(text), "cannot start %.128s: %s", k->config.launch.program, strerror(rc));
    start_later(k, text);
}

/* What was started, not the forwarder. ECHILD: someone else reaped it, or SIGCHLD is ignored. */
static void reap(struct keeper *k)
{
    if (k->pid != 0 && waitpid(k->pid, NULL, WNOHANG) != 0) k->pid = 0;
}

/* ---- Ending. */

static void forget(struct keeper *k)
{
    if (k->line_len > 0) flush_line(k);
    if (k->log_fd >= 0) (void)close(k->log_fd);
    if (k->end_send >= 0) (void)close(k->end_send);
    k->log_fd = k->end_send = -1;
}

/* Its end of the log pipe closed: it has ended, or is about to. */
static void on_gone(struct keeper *k)
{
    forget(k);
    if (mono_ms() - k->started_ms >= STEADY_MS) k->backoff_ms = BACKOFF_MIN_MS;
    start_later(k, "ended");
}

/* The next one may be started in any case: it waits for the lock that this one has. */
static void end_forwarder(struct keeper *k)
{
    if (k->log_fd < 0) return;
    (void)close(k->end_send);
    k->end_send = -1;
    long long until = mono_ms() + GRACE_MS;
    for (long long now = mono_ms(); now < until; now = mono_ms()) {
        struct pollfd p = {.fd = k->log_fd, .events = POLLIN};
        if (poll(&p, 1, (int)(until - now)) > 0 && !read_log(k)) break;
    }
    forget(k);
}

/* ---- The thread. */

static void destroy(struct keeper *k)
{
    if (k->event_fd >= 0) (void)close(k->event_fd);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

static bool same_config(const struct keeper_config *a, const struct keeper_config *b)
{
    const struct launch_config *l = &a->launch, *m = &b->launch;
    return strcmp(l->program, m->program) == 0 && strcmp(a->spool, b->spool) == 0 &&
           strcmp(l->endpoint, m->endpoint) == 0 && strcmp(l->ca, m->ca) == 0 &&
           strcmp(l->host_override, m->host_override) == 0 && l->tls == m->tls &&
           l->insecure == m->insecure;
}

/* Take over what the others want. Returns false when it is to stop. */
static bool take_wishes(struct keeper *k)
{
    uint64_t count;
    ssize_t n = read(k->event_fd, &count, sizeof(count));
    (void)n; // non-blocking, and what is wanted is in *k

    pthread_mutex_lock(&k->lock);
    bool changed = k->changed && !same_config(&k->config, &k->wanted);
    if (changed) k->config = k->wanted;
    k->changed = false;
    bool stopping = k->stopping;
    pthread_mutex_unlock(&k->lock);

    if (stopping) return false;
    if (changed) {
        end_forwarder(k);
        k->backoff_ms = BACKOFF_MIN_MS;
        k->start_at_ms = 0;
    }
    return true;
}

static int poll_timeout(const struct keeper *k)
{
    if (k->pid != 0) return REAP_MS;
    if (k->log_fd >= 0 || !k->config.launch.endpoint[0]) return -1;
    long long wait = k->start_at_ms - mono_ms();
    return wait > 0 ? (int)wait : 0;
}

static void *run(void *arg)
{
    struct keeper *k = arg;
    while (take_wishes(k)) {
        if (k->log_fd < 0 && k->config.launch.endpoint[0] && mono_ms() >= k->start_at_ms) start(k);
        struct pollfd p[2] = {{.fd = k->event_fd, .events = POLLIN},
                              {.fd = k->log_fd, .events = POLLIN}};
        (void)poll(p, 2, poll_timeout(k));
        reap(k);
        if (p[1].revents != 0 && !read_log(k)) on_gone(k);
    }
    forget(k);
    if (k->pid != 0) (void)waitpid(k->pid, NULL, 0);
    destroy(k);
    return NULL;
}

static int start_thread(struct keeper *k)
{
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, old;
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); // signals are Slurm's
    int rc = pthread_create(&thread, &attr, run, k);
    if (rc == 0) (void)pthread_setname_np(thread, "deepsquare");
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attr);
    return rc;
}

struct keeper *keeper_start(keeper_log_fn log)
{
    struct keeper *k = calloc(1, sizeof(*k));
    if (!k) return NULL;
    (void)pthread_mutex_init(&k->lock, NULL);
    k->log = log;
    k->log_fd = k->end_send = -1;
    k->backoff_ms = BACKOFF_MIN_MS;
    k->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = k->event_fd < 0 ? errno : start_thread(k);
    if (rc != 0) {
        destroy(k);
        errno = rc;
        return NULL;
    }
    return k;
}

static void poke(struct keeper *k)
{
    uint64_t one = 1;
    ssize_t n = write(k->event_fd, &one, sizeof(one));
    (void)n; // fails only when it is set already
}

void keeper_configure(struct keeper *k, const struct keeper_config *config)
{
    pthread_mutex_lock(&k->lock);
    k->wanted = *config;
    k->changed = true;
    pthread_mutex_unlock(&k->lock);
    poke(k);
}

void keeper_stop(struct keeper *k)
{
    if (!k) return;
    pthread_mutex_lock(&k->lock);
    k->stopping = true;
    poke(k);
    pthread_mutex_unlock(&k->lock); // and from here on it is the thread's
}
