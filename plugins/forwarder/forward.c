/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One thread, the one in forward_run(), owns the spool; the senders take records from the window
 * and put them onto the list of what is done. The window, that list and the backoff are under
 * `lock`, which nobody holds during I/O.
 *
 * Backoff: while the agent cannot be reached one record at a time is tried, and only when
 * `hold_until_ms` has come. A record that alone is refused waits by itself and holds up only later
 * records of the same job.
 */
#include "plugins/forwarder/forward.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "agent/util/clock.h"
#include "agent/util/log.h"
#include "agent/util/retry.h"
#include "agent/util/thread.h"
#include "plugins/common/spool.h"
#include "plugins/forwarder/rejects.h"
#include "plugins/forwarder/request.h"
#include "plugins/forwarder/verdict.h"
#include "plugins/forwarder/window.h"

const struct forward_options forward_defaults = {
    .end_fd = -1,
    .stop_fd = -1,
    .senders = 16,  // the agent commits what waits together: the more at once, the better
    .window = 4096, // 2 MB; some ten minutes of a busy cluster's refused records
    .scan_ms = 5000,
    .refused_ms = 10 * 60 * 1000,  // an agent that restarts from a backup learns its jobs by then
    .refused_short_ms = 60 * 1000, // it normally knows a job within seconds
    .backoff_ms = 500,
    .backoff_max_ms = 30 * 1000,
    .down_max_ms = 5 * 1000, // one call: costs nobody anything, and its return is noticed soon
    .flush_ms = 1000,        // another forwarder may wait for the lock; the rest stays in the spool
};

enum {
    SENDERS_MAX = 64,
    ALARM_S = 5,           // whatever hangs: this long after the last flush we are gone
    LOAD_BATCH = 256,      // records read before the done ones are looked at again
    FAILURES_IN_A_ROW = 8, // records that fail one after the other: it is the agent, not they
    LOG_EVERY_MS = 10 * 1000,
    LOG_DOWN_EVERY_MS = 60 * 1000,
    MESSAGE_MAX = 512,
};

struct forwarder {
    const struct forward_options *o;
    struct spool_reader *reader;
    int event_fd; // something is on `done`
    int watch_fd; // inotify: something was written to the spool; -1: not told

    pthread_mutex_t lock;
    pthread_cond_t work; // something may be taken, earlier than the senders think
    struct window *window;
    struct window_item *done, *done_last;
    unsigned int sending;
    unsigned int failures;        // of the agent, since it last answered
    unsigned int failures_in_row; // of records, since one was taken
    unsigned int epoch;           // counts failures of the agent: those of one moment are one
    long long hold_until_ms;
    struct log_limit down_limit;

    /* The main thread's. */
    bool ending;
    struct spool_stats logged;
    struct log_limit reject_limit, lost_limit, damage_limit, error_limit, scan_limit;
};

/* ---- The senders. All with the lock held. */

static void put_done(struct forwarder *f, struct window_item *item)
{
    item->next = NULL;
    *(f->done ? &f->done_last->next : &f->done) = item;
    f->done_last = item;
    uint64_t one = 1;
    ssize_t n = write(f->event_fd, &one, sizeof(one));
    (void)n; // fails only when it is set already
}

static void reject(struct forwarder *f, struct window_item *item, const char *why)
{
    item->reject = true;
    (void)snprintf(item->why, sizeof(item->why), "%s", why);
    put_done(f, item);
}

static void on_agent_failed(struct forwarder *f, unsigned int epoch, const char *message)
{
    if (epoch != f->epoch) return; // went out before we knew
    f->epoch++;
    f->failures++;
    long long delay = retry_delay_ms(f->failures, f->o->backoff_ms, f->o->down_max_ms);
    f->hold_until_ms = clock_mono_ms() + delay;
    unsigned int suppressed;
    if (log_limit_ok(&f->down_limit, LOG_DOWN_EVERY_MS, &suppressed))
        log_warn("the agent takes no events: %s; %zu wait in memory, the rest in the spool",
                 message,
                 window_count(f->window));
}

static void on_agent_answered(struct forwarder *f)
{
    if (f->failures > 0) {
        log_info("the agent takes events again");
        f->down_limit = (struct log_limit){0};
        f->epoch++;
        (void)pthread_cond_broadcast(&f->work);
    }
    f->failures = 0;
    f->hold_until_ms = 0;
}

static void retry_later(struct forwarder *f, struct window_item *item)
{
    item->attempts++;
    long long delay = retry_delay_ms(item->attempts, f->o->backoff_ms, f->o->backoff_max_ms);
    window_retry(f->window, item, clock_mono_ms() + delay);
}

static void on_refused(struct forwarder *f, struct window_item *item, const char *message)
{
    long long now = clock_mono_ms();
    if (item->refused_since_ms == 0) item->refused_since_ms = now;
    if (now - item->refused_since_ms >= f->o->refused_ms)
        reject(f, item, message);
    else
        retry_later(f, item);
}

static void conclude(struct forwarder *f,
                     struct window_item *item,
                     int status,
                     unsigned int epoch,
                     const char *message)
{
    enum verdict verdict = verdict_of(status);
    if (verdict == VERDICT_RECORD_FAILED && ++f->failures_in_row >= FAILURES_IN_A_ROW)
        verdict = VERDICT_AGENT_FAILED;
    if (verdict == VERDICT_DONE || verdict == VERDICT_REFUSED || verdict == VERDICT_POISON) {
        f->failures_in_row = 0;
        on_agent_answered(f);
    }

    switch (verdict) {
    case VERDICT_DONE:
        put_done(f, item);
        break;
    case VERDICT_REFUSED:
        on_refused(f, item, message);
        break;
    case VERDICT_POISON:
        reject(f, item, message);
        break;
    case VERDICT_RECORD_FAILED:
        retry_later(f, item);
        break;
    case VERDICT_AGENT_FAILED:
        on_agent_failed(f, epoch, message);
        window_retry(f->window, item, 0);
        break;
    }
}

static bool may_send(const struct forwarder *f, long long now)
{
    return now >= f->hold_until_ms && (f->failures == 0 || f->sending == 0);
}

/* Until when a sender that found nothing sleeps, if nobody wakes it. */
static long long sleep_until(const struct forwarder *f, long long now)
{
    if (now < f->hold_until_ms) return f->hold_until_ms;
    long long due = window_next_due(f->window);
    long long longest = now + f->o->scan_ms;
    return due > now && due < longest ? due : longest;
}

static void *send_records(void *arg)
{
    struct forwarder *f = arg;
    pthread_mutex_lock(&f->lock);
    for (;;) { // until the process exits
        long long now = clock_mono_ms();
        struct window_item *item = may_send(f, now) ? window_take(f->window, now) : NULL;
        if (!item) {
            (void)thread_cond_wait_until(&f->work, &f->lock, sleep_until(f, now));
            continue;
        }
        unsigned int epoch = f->epoch;
        f->sending++;
        pthread_mutex_unlock(&f->lock);

        char message[MESSAGE_MAX] = "";
        int status = f->o->send(f->o->ctx, &item->record, message, sizeof(message));

        pthread_mutex_lock(&f->lock);
        f->sending--;
        conclude(f, item, status, epoch, message);
    }
    return NULL;
}

/* ---- The main thread. */

/* Put away what the senders are done with. */
static void settle(struct forwarder *f)
{
    uint64_t count;
    ssize_t n = read(f->event_fd, &count, sizeof(count));
    (void)n; // non-blocking
    pthread_mutex_lock(&f->lock);
    struct window_item *item = f->done;
    f->done = NULL;
    pthread_mutex_unlock(&f->lock);

    while (item) {
        struct window_item *next = item->next;
        struct error err = {0};
        unsigned int more;
        if (item->reject) {
            int rc = rejects_write(f->o->spool, &item->record, &err);
            if (log_limit_ok(&f->reject_limit, 1000, &more))
                log_warn("Slurm job %u, named %s: event given up: %s (%u like it not shown)%s%s",
                         item->record.job_id,
                         item->record.name,
                         item->why,
                         more,
                         rc < 0 ? "; not kept either: " : "",
                         rc < 0 ? err.text : "");
        } else {
            log_debug("Slurm job %u: event acknowledged", item->record.job_id);
        }
        (void)spool_reader_done(f->reader, &item->pos); // failures are in its statistics
        pthread_mutex_lock(&f->lock);
        window_remove(f->window, item);
        (void)pthread_cond_signal(&f->work);
        pthread_mutex_unlock(&f->lock);
        item = next;
    }
}

/* Full of records of jobs that the agent does not know: others must not wait behind them. */
static void make_room(struct forwarder *f)
{
    pthread_mutex_lock(&f->lock);
    struct window_item *item =
        window_take_refused(f->window, clock_mono_ms() - f->o->refused_short_ms);
    if (item) reject(f, item, "unknown to the agent, and too many are");
    pthread_mutex_unlock(&f->lock);
}

static void take_record(struct forwarder *f, const struct record *r, const struct spool_pos *pos)
{
    const char *why;
    if (request_status(r, &why) == REQUEST_UNSPECIFIED) {
        log_debug("Slurm job %u, state 0x%x: nothing to tell: %s", r->job_id, r->job_state, why);
        (void)spool_reader_done(f->reader, pos);
        return;
    }
    pthread_mutex_lock(&f->lock);
    (void)window_add(f->window, r, pos); // the caller saw that there is room
    (void)pthread_cond_signal(&f->work);
    pthread_mutex_unlock(&f->lock);
}

static bool is_full(struct forwarder *f)
{
    pthread_mutex_lock(&f->lock);
    bool full = window_is_full(f->window);
    pthread_mutex_unlock(&f->lock);
    return full;
}

static bool next_record(struct forwarder *f, struct record *r, struct spool_pos *pos)
{
    if (spool_reader_next(f->reader, r, pos) == 1) return true;
    int rc = spool_reader_scan(f->reader);
    unsigned int more;
    if (rc < 0 && rc != -ENOENT && log_limit_ok(&f->scan_limit, LOG_DOWN_EVERY_MS, &more))
        log_error("cannot read the spool %s: %s", f->o->spool, strerror(-rc));
    return rc > 0 && spool_reader_next(f->reader, r, pos) == 1;
}

/* Fill the window. Returns whether there may be more to read at once. */
static bool load(struct forwarder *f)
{
    struct record r;
    struct spool_pos pos;
    for (int i = 0; i < LOAD_BATCH; i++) {
        if (is_full(f)) {
            make_room(f);
            return false;
        }
        if (!next_record(f, &r, &pos)) return false;
        take_record(f, &r, &pos);
    }
    return true;
}

static bool is_news(struct log_limit *limit, uint64_t now, uint64_t told)
{
    unsigned int more;
    return now != told && log_limit_ok(limit, LOG_EVERY_MS, &more);
}

/* Tell what the spool has met, when there is something new. */
static void log_stats(struct forwarder *f)
{
    const struct spool_stats *s = spool_reader_stats(f->reader);
    struct spool_stats *l = &f->logged;
    if (is_news(&f->lost_limit, s->lost, l->lost)) {
        log_error("%llu records could not be written by the plugin, for want of space or rights",
                  (unsigned long long)(s->lost - l->lost));
        l->lost = s->lost;
    }
    if (is_news(&f->damage_limit, s->corrupt_bytes + s->torn, l->corrupt_bytes + l->torn)) {
        log_error("the spool is damaged: %llu bytes in %llu places skipped, %llu unfinished "
                  "records; the good ones are kept",
                  (unsigned long long)(s->corrupt_bytes - l->corrupt_bytes),
                  (unsigned long long)(s->corrupt_runs - l->corrupt_runs),
                  (unsigned long long)(s->torn - l->torn));
        l->corrupt_bytes = s->corrupt_bytes;
        l->corrupt_runs = s->corrupt_runs;
        l->torn = s->torn;
    }
    if (is_news(&f->error_limit, s->io_errors, l->io_errors)) {
        log_error("%llu errors in the spool %s, the last: %s",
                  (unsigned long long)(s->io_errors - l->io_errors),
                  f->o->spool,
                  strerror(s->last_errno));
        l->io_errors = s->io_errors;
    }
}

/*
 * A plugin does not tell us that it wrote: the kernel does, whichever plugin it was. The directory
 * may have been replaced, so it is named again now and then; without inotify, too, all is well but
 * slower.
 */
static void watch_spool(struct forwarder *f)
{
    if (f->watch_fd >= 0) (void)inotify_add_watch(f->watch_fd, f->o->spool, IN_MODIFY | IN_ONLYDIR);
}

static void drain(int fd)
{
    char data[4096];
    while (read(fd, data, sizeof(data)) > 0)
        continue;
}

/* Sleep until there is something to do. Sets f->ending. */
static void wait_events(struct forwarder *f, long long timeout_ms)
{
    struct pollfd p[] = {{.fd = f->event_fd, .events = POLLIN},
                         {.fd = f->watch_fd, .events = POLLIN},
                         {.fd = f->ending ? -1 : f->o->end_fd, .events = POLLIN},
                         {.fd = f->ending ? -1 : f->o->stop_fd, .events = POLLIN}};
    if (poll(p, 4, (int)timeout_ms) == 0) watch_spool(f);
    if (p[1].revents) drain(f->watch_fd);
    if (p[2].revents || p[3].revents) f->ending = true;
}

/* Is there anything that could be sent before the end? */
static bool is_idle(struct forwarder *f)
{
    pthread_mutex_lock(&f->lock);
    long long now = clock_mono_ms();
    bool idle = f->sending == 0 && !f->done &&
                (now < f->hold_until_ms || !window_has_ready(f->window, now));
    pthread_mutex_unlock(&f->lock);
    return idle;
}

static void main_loop(struct forwarder *f)
{
    long long end_ms = 0;
    for (;;) {
        settle(f);
        bool more = load(f);
        log_stats(f);
        long long now = clock_mono_ms();
        if (f->ending && end_ms == 0) {
            end_ms = now + f->o->flush_ms;
            (void)alarm((unsigned int)(f->o->flush_ms / 1000) + ALARM_S); // nobody waits for us
        }
        if (f->ending && (now >= end_ms || (!more && is_idle(f)))) return;
        long long wait = more ? 0 : f->o->scan_ms;
        if (f->ending && wait > end_ms - now) wait = end_ms - now;
        if (f->ending && wait > 50) wait = 50; // waiting records become due
        wait_events(f, wait);
    }
}

static int start(struct forwarder *f, struct error *err)
{
    f->reader = spool_reader_new(f->o->spool);
    f->window = window_new(f->o->window);
    if (!f->reader || !f->window) return error_set(err, ERR_NOMEM, "no memory for the window");
    f->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (f->event_fd < 0) return error_set(err, ERR_IO, "eventfd: %s", strerror(errno));
    f->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (f->watch_fd < 0)
        log_warn("inotify: %s; the spool is looked at every %lld ms instead",
                 strerror(errno),
                 f->o->scan_ms);
    watch_spool(f);

    for (unsigned int i = 0; i < f->o->senders && i < SENDERS_MAX; i++) {
        pthread_t thread;
        int rc = thread_start(&thread, "sender", send_records, f, err);
        if (rc < 0) return rc;
        (void)pthread_detach(thread);
    }
    return 0;
}

int forward_run(const struct forward_options *options, struct error *err)
{
    /* Never freed: senders may be in a call when we return, and the process exits. */
    static struct forwarder f;
    f = (struct forwarder){.o = options, .event_fd = -1};
    pthread_mutex_init(&f.lock, NULL);
    thread_cond_init(&f.work);
    int rc = start(&f, err);
    if (rc == 0) main_loop(&f);
    return rc;
}
