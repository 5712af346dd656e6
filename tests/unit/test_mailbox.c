/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The mailbox keeps order and bounds; the pool runs or drops every task. */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/engine/mailbox.h"
#include "agent/engine/workers.h"
#include "agent/util/clock.h"

struct note {
    struct mail mail;
    int thread, number;
};

static struct note *note_new(int thread, int number)
{
    struct note *n = calloc(1, sizeof(*n));
    assert_non_null(n);
    n->thread = thread;
    n->number = number;
    return n;
}

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void test_order_and_wakeup(void **state)
{
    struct mailbox *mb = mailbox_new(10, NULL);
    assert_non_null(mb);
    assert_false(readable(mailbox_fd(mb)));
    assert_null(mailbox_drain(mb));
    for (int i = 0; i < 5; i++)
        assert_int_equal(mailbox_post(mb, &note_new(0, i)->mail, false), 0);
    assert_true(readable(mailbox_fd(mb)));
    int i = 0;
    for (struct mail *m = mailbox_drain(mb), *next; m; m = next, i++) {
        next = m->next;
        assert_int_equal(((struct note *)m)->number, i);
        mail_free(m);
    }
    assert_int_equal(i, 5);
    assert_false(readable(mailbox_fd(mb)));
    assert_null(mailbox_destroy(mb));
}

static void test_bound(void **state)
{
    struct mailbox *mb = mailbox_new(2, NULL);
    struct note *extra = note_new(0, 2);
    assert_int_equal(mailbox_post(mb, &note_new(0, 0)->mail, false), 0);
    assert_int_equal(mailbox_post(mb, &note_new(0, 1)->mail, false), 0);
    assert_int_equal(mailbox_post(mb, &extra->mail, false), ERR_BUSY);
    assert_int_equal(mailbox_post(mb, &extra->mail, true), 0);
    mailbox_destroy(mb); // frees the three: the address sanitizer watches
}

enum { THREADS = 4, NOTES = 5000 };

static struct mailbox *shared;

static void *poster(void *arg)
{
    for (int i = 0; i < NOTES; i++)
        mailbox_post(shared, &note_new((int)(intptr_t)arg, i)->mail, true);
    return NULL;
}

static void test_many_threads(void **state)
{
    pthread_t threads[THREADS];
    int seen[THREADS] = {0}, total = 0;
    shared = mailbox_new(1, NULL);
    for (intptr_t t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, poster, (void *)t), 0);
    while (total < THREADS * NOTES) {
        struct pollfd p = {.fd = mailbox_fd(shared), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 10000), 1);
        for (struct mail *m = mailbox_drain(shared), *next; m; m = next, total++) {
            struct note *n = (struct note *)m;
            next = m->next;
            assert_int_equal(n->number, seen[n->thread]++); // each thread's own order
            mail_free(m);
        }
    }
    for (int t = 0; t < THREADS; t++)
        pthread_join(threads[t], NULL);
    mailbox_destroy(shared);
}

struct job {
    struct task task;
    long ms;
};

static atomic_int ran, dropped;

static void job_run(struct task *t)
{
    usleep((unsigned int)((struct job *)t)->ms * 1000);
    atomic_fetch_add(&ran, 1);
    free(t);
}

static void job_drop(struct task *t)
{
    atomic_fetch_add(&dropped, 1);
    free(t);
}

static void add(struct workers *w, long ms)
{
    struct job *j = calloc(1, sizeof(*j));
    assert_non_null(j);
    j->task = (struct task){.run = job_run, .drop = job_drop};
    j->ms = ms;
    workers_add(w, &j->task);
}

static void test_workers_run_all(void **state)
{
    struct workers *w = workers_new(3, NULL);
    ran = dropped = 0;
    assert_non_null(w);
    for (int i = 0; i < 100; i++)
        add(w, 0);
    long long until = clock_mono_ms() + 10000;
    while (atomic_load(&ran) < 100 && clock_mono_ms() < until)
        usleep(1000);
    assert_true(workers_stop(w, clock_mono_ms() + 5000));
    assert_int_equal(ran, 100);
    assert_int_equal(dropped, 0);
}

static void test_workers_stop_drops_the_rest(void **state)
{
    struct workers *w = workers_new(1, NULL);
    ran = dropped = 0;
    for (int i = 0; i < 10; i++)
        add(w, 100);
    usleep(20000); // the first one runs
    assert_true(workers_stop(w, clock_mono_ms() + 5000));
    assert_int_equal(ran + dropped, 10);
    assert_true(dropped >= 8);
}

static void test_workers_stop_keeps_its_deadline(void **state)
{
    struct workers *w = workers_new(1, NULL);
    ran = dropped = 0;
    add(w, 500);
    usleep(20000);
    long long before = clock_mono_ms();
    assert_false(workers_stop(w, before + 50));
    assert_true(clock_mono_ms() - before < 400);
    assert_true(workers_stop(w, clock_mono_ms() + 5000)); // it ends after all
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_wakeup),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_workers_run_all),
        cmocka_unit_test(test_workers_stop_drops_the_rest),
        cmocka_unit_test(test_workers_stop_keeps_its_deadline),
    };
    return cmocka_run_group_tests_name("mailbox", tests, NULL, NULL);
}
