/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is told of Slurm jobs, through the engine's own code and a real store, without its threads:
 * events twice, too early, in another order, of another job, of an attempt that is not the last.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/engine/engine_private.h"
#include "agent/util/file.h"

#define JOB   "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define OTHER "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddee00"
enum { ID = 42, PREV = 41, NO_ANSWER = 999 };

static char dir[64];
static struct engine *engine;
static int last_reply;

/* In the place of the server's. */
void server_reply(struct server_call *call, int code, const char *message)
{
    assert_ptr_equal(call, &last_reply);
    last_reply = code;
    if (code < 0) assert_true(strlen(message) > 10);
}

static void open_engine(void)
{
    struct engine_options o = {.query_interval_ms = 3600 * 1000, .comment = "supervisor x"};
    struct error err = {0};
    o.store = store_open(dir, &err);
    if (!o.store) fail_msg("%s", err.text);
    engine = engine_new(&o, &err);
    if (!engine) fail_msg("%s", err.text);
}

static void close_engine(void)
{
    struct store *s = engine->o.store;
    engine = engine_destroy(engine);
    store_close(s);
}

static void reopen(void)
{
    close_engine();
    open_engine();
}

static int setup(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/test_news.XXXXXX");
    if (!mkdtemp(dir)) return -1;
    open_engine();
    return 0;
}

static int teardown(void **state)
{
    char command[100];
    close_engine();
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command); // NOLINT: our own name
}

/* What a turn is but for what jobs ask for: of the actions there are only replies. */
static void commit(void)
{
    struct error err = {0};
    if (store_commit(engine->o.store, &err) < 0) fail_msg("%s", err.text);
    engine_act(engine, true);
}

static int send_event(struct server_job_event ev, const char *job)
{
    snprintf(ev.job, sizeof(ev.job), "%s", job);
    last_reply = NO_ANSWER;
    engine_job_event(engine, (struct server_call *)&last_reply, &ev);
    store_begin(engine->o.store);
    for (struct mail *m = mailbox_drain(engine->mailbox), *next; m; m = next) {
        next = m->next;
        engine_on_plugin_event(engine, m);
        mail_free(m);
    }
    commit();
    return last_reply;
}

static void query(const struct news *n)
{
    store_begin(engine->o.store);
    engine_news_take(engine, engine_job_find(engine, JOB), n, "a query");
    commit();
}

static void not_found(void)
{
    store_begin(engine->o.store);
    engine_news_missing(engine, engine_job_find(engine, JOB));
    commit();
}

static struct job *row(void)
{
    struct live_job *j = engine_job_find(engine, JOB);
    assert_non_null(j);
    return &j->row;
}

/* In SUBMITTED its Slurm id is known, in SUBMITTING it is not. */
static struct job *have_job(enum job_state state)
{
    struct job job = {.state = state, .limit_min = 60, .slurm_limit_min = 60, .id = JOB};
    if (state != JOB_SUBMITTING) job.slurm_id = ID;
    store_begin(engine->o.store);
    assert_int_equal(store_job_put(engine->o.store, &job), 0);
    commit();
    assert_non_null(engine_job_add(engine, &job));
    return row();
}

/* The answer of the submission, as engine_on_job_task() takes it. */
static void submitted(uint64_t id)
{
    struct live_job *j = engine_job_find(engine, JOB);
    store_begin(engine->o.store);
    j->row.slurm_id = id;
    assert_true(engine_job_event_apply(engine, j, EV_SUBMITTED, "test"));
    engine_news_replay(engine, j);
    commit();
}

static int kept(const char *job)
{
    struct news list[EARLY_PER_JOB_MAX];
    return store_early_get(engine->o.store, job, list, EARLY_PER_JOB_MAX);
}

static const struct server_job_event the_start = {.slurm_id = ID,
                                                  .status = SERVER_JOB_RUNNING,
                                                  .has_record = true,
                                                  .slurm_state = 0x4001, // RUNNING, CONFIGURING
                                                  .submit_s = 100,
                                                  .start_s = 110};
static const struct server_job_event the_end = {.slurm_id = ID,
                                                .status = SERVER_JOB_FAILED,
                                                .has_record = true,
                                                .slurm_state = 0x8005,
                                                .wait_status = 3 << 8,
                                                .submit_s = 100,
                                                .start_s = 110,
                                                .end_s = 180,
                                                .duration_s = 60,
                                                .settled = true};

static void assert_the_end(void)
{
    assert_int_equal(row()->state, JOB_ENDED);
    assert_int_equal(row()->end_status, CHAIN_JOB_FAILED);
    assert_int_equal(row()->exit_code, 3);
    assert_int_equal(row()->duration_s, 60);
    assert_int_equal(row()->end_s, 180);
    assert_int_equal(row()->start_s, 110);
    assert_true(row()->ran);
    assert_int_equal(kept(JOB), 0);
}

static void test_told_twice(void **state)
{
    have_job(JOB_SUBMITTED);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(send_event(the_start, JOB), 0);
        assert_int_equal(row()->state, JOB_RUNNING);
        assert_int_equal(row()->start_s, 110);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(send_event(the_end, JOB), 0);
        assert_the_end();
    }
    struct server_job_event other = the_end;
    other.slurm_state = 0x8003; // what ended stays as it ended
    other.wait_status = 0;
    assert_int_equal(send_event(other, JOB), 0);
    assert_the_end();
}

static void test_end_before_start(void **state)
{
    have_job(JOB_SUBMITTED);
    assert_int_equal(send_event(the_end, JOB), 0);
    assert_the_end();
    assert_int_equal(send_event(the_start, JOB), 0);
    assert_the_end();
}

static void test_before_the_submission_is_answered(void **state)
{
    have_job(JOB_SUBMITTING);
    assert_int_equal(send_event(the_end, JOB), 0);
    assert_int_equal(send_event(the_start, JOB), 0);
    assert_int_equal(send_event(the_end, JOB), 0);
    assert_int_equal(row()->state, JOB_SUBMITTING);
    assert_int_equal(kept(JOB), 2);
    reopen(); // an acknowledged event is in the store
    submitted(ID);
    assert_the_end();
}

static void test_before_the_job_is_known(void **state)
{
    assert_int_equal(send_event(the_end, JOB), 0);
    assert_int_equal(kept(JOB), 1);
    have_job(JOB_SUBMITTING);
    submitted(ID);
    assert_the_end();
}

static void test_early_and_of_another_slurm_job(void **state)
{
    struct server_job_event forged = the_end;
    have_job(JOB_SUBMITTING);
    forged.slurm_id = ID + 1;
    forged.slurm_state = 0x8003;
    assert_int_equal(send_event(forged, JOB), 0);
    assert_int_equal(kept(JOB), 1);
    submitted(ID);
    assert_int_equal(row()->state, JOB_SUBMITTED);
    assert_int_equal(kept(JOB), 0);
    assert_true(engine->event_limit.next_ms > 0); // it was logged
    assert_int_equal(send_event(the_end, JOB), 0);
    assert_the_end();
}

/* An array task or a component of a heterogeneous job has an id of its own, whatever its name is.
 */
static void test_of_another_slurm_job(void **state)
{
    struct server_job_event forged = the_end;
    have_job(JOB_SUBMITTED);
    forged.slurm_id = ID + 1;
    assert_int_equal(send_event(forged, JOB), ERR_DENIED);
    forged.settled = false;
    assert_int_equal(send_event(forged, JOB), ERR_DENIED);
    forged.has_record = false;
    assert_int_equal(send_event(forged, JOB), ERR_DENIED);
    forged = the_start;
    forged.slurm_id = ID - 1;
    assert_int_equal(send_event(forged, JOB), ERR_DENIED);
    assert_int_equal(row()->state, JOB_SUBMITTED);
    assert_int_equal(kept(JOB), 0);
}

/* slurmctld lost its state, and began its ids again. */
static void test_of_an_earlier_job_of_that_id(void **state)
{
    struct server_job_event old = the_end;
    have_job(JOB_SUBMITTED)->submit_s = 100;
    old.submit_s = 99;
    assert_int_equal(send_event(old, JOB), ERR_DENIED);
    assert_int_equal(row()->state, JOB_SUBMITTED);
    assert_int_equal(send_event(the_end, JOB), 0);
    assert_the_end();
}

static void test_of_an_earlier_claim(void **state)
{
    struct server_job_event old = the_end;
    have_job(JOB_SUBMITTING)->prev_slurm_id = PREV;
    old.slurm_id = PREV;
    assert_int_equal(send_event(old, JOB), 0);
    assert_int_equal(kept(JOB), 0);
    submitted(ID);
    assert_int_equal(send_event(old, JOB), 0);
    assert_int_equal(row()->state, JOB_SUBMITTED);
}

static void test_of_a_job_that_is_done(void **state)
{
    struct job job = {.state = JOB_DONE, .slurm_id = ID, .id = JOB};
    struct server_job_event forged = the_end;
    store_begin(engine->o.store);
    store_job_put(engine->o.store, &job);
    commit();
    assert_int_equal(send_event(the_end, JOB), 0);
    forged.slurm_id = ID + 1;
    assert_int_equal(send_event(forged, JOB), ERR_DENIED);
    assert_int_equal(kept(JOB), 0);
}

static void keep_bill(void *ctx, const struct bill *b)
{
    *(struct bill *)ctx = *b;
}

/* It was taken away, and is done since its cancel: what it ran is told later, before or after the
 * engine has let go of it. */
static void assert_a_late_end_is_in_the_bill(bool forgotten)
{
    struct bill bill = {0};
    have_job(JOB_CANCELLING)->start_s = 110;
    struct live_job *j = engine_job_find(engine, JOB);
    store_begin(engine->o.store);
    assert_true(engine_job_event_apply(engine, j, EV_CANCELLED, "test"));
    commit();
    assert_int_equal(row()->state, JOB_DONE);
    if (forgotten) engine_job_drop(engine, j);
    assert_int_equal(send_event(the_end, JOB), 0);
    assert_int_equal(store_bills_since(engine->o.store, 0, keep_bill, &bill), 0);
    assert_int_equal(bill.duration_s, 60);
    assert_int_equal(bill.suspended_s, 10);
    assert_int_equal(bill.end_s, 180);
}

static void test_of_a_job_that_was_taken_away(void **state)
{
    assert_a_late_end_is_in_the_bill(false);
}

static void test_of_a_job_that_was_taken_away_long_ago(void **state)
{
    assert_a_late_end_is_in_the_bill(true);
}

/* RequeueExit is set: it might be queued again, but for the cancel that is under way. */
static void test_unsettled_of_a_job_that_is_taken_away(void **state)
{
    struct bill bill = {0};
    struct server_job_event ev = the_end;
    have_job(JOB_CANCELLING)->start_s = 110;
    ev.settled = false;
    assert_int_equal(send_event(ev, JOB), 0);
    assert_int_equal(row()->state, JOB_CANCELLING);
    store_begin(engine->o.store);
    assert_true(engine_job_event_apply(engine, engine_job_find(engine, JOB), EV_CANCELLED, "test"));
    commit();
    assert_int_equal(store_bills_since(engine->o.store, 0, keep_bill, &bill), 0);
    assert_int_equal(bill.duration_s, 60);
    assert_int_equal(kept(JOB), 0);
}

static void test_of_a_job_that_was_never_submitted(void **state)
{
    have_job(JOB_REFUSED)->slurm_id = 0;
    assert_int_equal(send_event(the_end, JOB), ERR_DENIED);
    assert_int_equal(kept(JOB), 0);
}

static void test_absurd_numbers(void **state)
{
    struct server_job_event bad[7];
    have_job(JOB_SUBMITTED);
    for (size_t i = 0; i < 7; i++)
        bad[i] = the_end;
    bad[0].slurm_id = 0;
    bad[1].slurm_id = 1ULL << 32;
    bad[2].duration_s = UINT64_MAX;
    bad[3].submit_s = -1;
    bad[4].start_s = INT64_MIN;
    bad[5].end_s = INT64_MAX;
    bad[6].slurm_id = UINT64_MAX;
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(send_event(bad[i], JOB), ERR_INVALID);
        assert_int_equal(send_event(bad[i], OTHER), ERR_INVALID);
    }
    assert_int_equal(row()->state, JOB_SUBMITTED);
    assert_int_equal(kept(OTHER), 0);
    struct server_job_event odd = the_end; // no state of Slurm's
    odd.slurm_state = 0xfe;
    assert_int_equal(send_event(odd, JOB), 0);
    assert_int_equal(row()->state, JOB_SUBMITTED);
}

static void test_a_flood_of_unknown_jobs(void **state)
{
    struct server_job_event ev = the_end;
    char id[JOB_ID_TEXT];
    have_job(JOB_SUBMITTING);
    assert_int_equal(send_event(the_end, JOB), 0);
    for (unsigned int i = 0; i < EARLY_UNKNOWN_MAX + 10; i++) {
        snprintf(id, sizeof(id), "0x%064x", i);
        ev.slurm_id = i + 1;
        assert_int_equal(send_event(ev, id), 0);
    }
    assert_int_equal(engine->early_dropped, 10);
    assert_true(engine->early_limit.next_ms > 0); // it was logged
    submitted(ID);
    assert_the_end();
}

/* ---- ends that may not be the last ---- */

static struct news seen(uint32_t state, int64_t restarts)
{
    return (struct news){.slurm_id = ID,
                         .state = state,
                         .restarts = restarts,
                         .submit_s = 100,
                         .start_s = 110,
                         .started = true,
                         .settled = true};
}

static void test_unsettled_and_the_last(void **state)
{
    struct server_job_event ev = the_end;
    struct news n = seen(SLURM_RUNNING, 0);
    have_job(JOB_SUBMITTED);
    engine->slurm_next_ms = LLONG_MAX;
    ev.settled = false;
    assert_int_equal(send_event(ev, JOB), 0);
    assert_int_equal(row()->state, JOB_SUBMITTED);
    assert_int_equal(kept(JOB), 1);
    assert_true(engine->slurm_next_ms < LLONG_MAX); // it is asked soon
    query(&n);                                      // it is being cleaned up
    assert_int_equal(row()->state, JOB_RUNNING);
    assert_int_equal(kept(JOB), 1);
    n = seen(SLURM_FAILED, 0);
    n.wait_status = 3 << 8;
    n.end_s = 180;
    n.ran_s = 60;
    query(&n);
    assert_the_end();
}

static void test_unsettled_and_forgotten(void **state)
{
    struct server_job_event ev = the_end;
    have_job(JOB_SUBMITTED);
    not_found(); // proves nothing by itself
    assert_int_equal(row()->state, JOB_SUBMITTED);
    ev.settled = false;
    assert_int_equal(send_event(ev, JOB), 0);
    reopen();
    not_found();
    assert_the_end();
}

/* RequeueExit: a record that looks final, and then the job is queued again. */
static void test_unsettled_and_queued_again(void **state)
{
    struct server_job_event ev = the_end;
    struct news n = seen(SLURM_PENDING, 1);
    have_job(JOB_SUBMITTED);
    assert_int_equal(send_event(the_start, JOB), 0);
    ev.settled = false;
    assert_int_equal(send_event(ev, JOB), 0);
    n.submit_s = 180; // when it was queued again
    n.start_s = 0;
    n.started = false;
    query(&n);
    assert_int_equal(row()->state, JOB_RUNNING);
    assert_int_equal(row()->restarts, 1);
    assert_int_equal(row()->spent_s, 70);
    assert_int_equal(engine_job_slurm_limit_min(row()), 59);
    assert_int_equal(kept(JOB), 0);
    assert_int_equal(send_event(ev, JOB), 0); // told again, too late
    not_found();
    assert_int_equal(row()->state, JOB_RUNNING);

    reopen();
    n = seen(SLURM_RUNNING, 1);
    n.submit_s = 180;
    n.start_s = 300;
    query(&n);
    query(&n);
    assert_int_equal(row()->start_s, 300);
    assert_int_equal(row()->spent_s, 70);
    ev = the_end;
    ev.restart_count = 1;
    ev.submit_s = 180;
    ev.start_s = 300;
    ev.end_s = 360;
    assert_int_equal(send_event(ev, JOB), 0);
    assert_int_equal(row()->state, JOB_ENDED);
    assert_int_equal(row()->duration_s, 130); // of both attempts
}

static void test_the_limit_of_later_attempts(void **state)
{
    const struct {
        uint64_t spent_s, limit_min;
    } table[] = {{0, 60}, {59, 60}, {60, 59}, {3540, 1}, {3600, 1}, {1 << 30, 1}};
    struct job job = {.limit_min = 60};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        job.spent_s = table[i].spent_s;
        assert_int_equal(engine_job_slurm_limit_min(&job), table[i].limit_min);
    }
}

/* Its start was missed: it is after the last look at which it waited. */
static void test_an_attempt_between_two_looks(void **state)
{
    struct news n = seen(SLURM_PENDING, 0);
    have_job(JOB_SUBMITTED);
    query(&n);
    int64_t looked_s = engine_job_find(engine, JOB)->waited_until_s;
    assert_true(looked_s > 1700000000);
    n = seen(SLURM_PENDING, 1);
    n.submit_s = looked_s + 9;
    query(&n);
    assert_int_equal(row()->spent_s, 9);
    n = seen(SLURM_PENDING, 3); // of two attempts at once nothing is known
    n.submit_s = looked_s + 5000;
    query(&n);
    assert_int_equal(row()->spent_s, 9);
    assert_int_equal(row()->restarts, 3);
}

/* What only accounting saw; and numbers of it that cannot be. */
static void test_attempts_that_nobody_saw(void **state)
{
    struct news n = seen(SLURM_COMPLETE, 3);
    have_job(JOB_SUBMITTED);
    n.spent_s = 40;
    n.ran_s = 2;
    n.end_s = 500;
    query(&n);
    assert_int_equal(row()->state, JOB_ENDED);
    assert_int_equal(row()->restarts, 3);
    assert_int_equal(row()->duration_s, 42);
    assert_true(row()->ran);
}

static void test_absurd_durations(void **state)
{
    struct news n = seen(SLURM_COMPLETE, 1);
    have_job(JOB_SUBMITTED);
    n.spent_s = UINT64_MAX;
    n.ran_s = UINT64_MAX;
    query(&n);
    assert_int_equal(row()->duration_s, 2u << 30);
}

/* ---- senders that know but a status ---- */

static void test_the_generations_of_2022_and_later(void **state)
{
    const struct server_job_event start = {.slurm_id = ID, .status = SERVER_JOB_RUNNING};
    const struct server_job_event fail = {.slurm_id = ID, .status = SERVER_JOB_FAILED};
    const struct server_job_event pending = {.slurm_id = ID, .status = SERVER_JOB_PENDING};
    struct news n = seen(SLURM_FAILED, 0);
    have_job(JOB_SUBMITTING);
    assert_int_equal(send_event(pending, JOB), 0);
    assert_int_equal(kept(JOB), 0);
    assert_int_equal(send_event(start, JOB), 0);
    assert_int_equal(kept(JOB), 1);
    submitted(ID);
    assert_int_equal(row()->state, JOB_RUNNING);
    assert_true(row()->start_s > 0);
    // The reference's plugin calls a requeue FINISHED: no end of its is taken unseen.
    assert_int_equal(send_event(fail, JOB), 0);
    assert_int_equal(row()->state, JOB_RUNNING);
    n.wait_status = 9;
    n.ran_s = 5;
    query(&n);
    assert_int_equal(row()->state, JOB_ENDED);
    assert_int_equal(row()->exit_code, 137);
    assert_int_equal(row()->duration_s, 5);
}

static void test_a_result_of_a_forgotten_job(void **state)
{
    const struct server_job_event result = {
        .slurm_id = ID, .status = SERVER_JOB_FINISHED, .duration_s = 61};
    have_job(JOB_SUBMITTED);
    assert_int_equal(send_event(result, JOB), 0);
    assert_int_equal(row()->state, JOB_SUBMITTED);
    not_found();
    assert_int_equal(row()->state, JOB_ENDED);
    assert_int_equal(row()->end_status, CHAIN_JOB_FINISHED);
    assert_int_equal(row()->duration_s, 61);
    assert_true(row()->ran);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_told_twice),
        TEST(test_end_before_start),
        TEST(test_before_the_submission_is_answered),
        TEST(test_before_the_job_is_known),
        TEST(test_early_and_of_another_slurm_job),
        TEST(test_of_another_slurm_job),
        TEST(test_of_an_earlier_job_of_that_id),
        TEST(test_of_an_earlier_claim),
        TEST(test_of_a_job_that_is_done),
        TEST(test_of_a_job_that_was_taken_away),
        TEST(test_of_a_job_that_was_taken_away_long_ago),
        TEST(test_unsettled_of_a_job_that_is_taken_away),
        TEST(test_of_a_job_that_was_never_submitted),
        TEST(test_absurd_numbers),
        TEST(test_a_flood_of_unknown_jobs),
        TEST(test_unsettled_and_the_last),
        TEST(test_unsettled_and_forgotten),
        TEST(test_unsettled_and_queued_again),
        TEST(test_the_limit_of_later_attempts),
        TEST(test_an_attempt_between_two_looks),
        TEST(test_attempts_that_nobody_saw),
        TEST(test_absurd_durations),
        TEST(test_the_generations_of_2022_and_later),
        TEST(test_a_result_of_a_forgotten_job),
    };
    return cmocka_run_group_tests_name("news", tests, NULL, NULL);
}
