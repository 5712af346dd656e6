/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the answers of queue and accounting mean, over a source that answers what it is told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "agent/slurm/lookup.h"

#define NAME "0xaa"
#define USER "alice"
#define MARK "supervisor a:1"

enum { JOBS_MAX = 8 };

struct answer {
    int code;
    struct slurm_job jobs[JOBS_MAX];
    size_t count;
    int calls;
    struct lookup_question last; // its ids are gone
};

/* The source's own state: set anew by each test. */
static struct answer queue, accounting;
static struct {
    uint64_t count[3]; // of the first, second and later calls
    int code, calls;
    int accounting_calls; // when it was asked first
} waiting;
static struct error err;

static int answer(struct answer *a,
                  const struct lookup_question *q,
                  lookup_take_fn *take,
                  void *ctx,
                  struct error *e)
{
    a->calls++;
    a->last = *q;
    if (a->code < 0) return error_set(e, a->code, "it says no");
    for (size_t i = 0; i < a->count; i++)
        take(ctx, &a->jobs[i]);
    return 0;
}

static int ask_queue(struct slurm_backend *b,
                     const struct lookup_question *q,
                     long long deadline_ms,
                     lookup_take_fn *take,
                     void *ctx,
                     struct error *e)
{
    return answer(&queue, q, take, ctx, e);
}

static int ask_accounting(struct slurm_backend *b,
                          const struct lookup_question *q,
                          long long deadline_ms,
                          lookup_take_fn *take,
                          void *ctx,
                          struct error *e)
{
    return answer(&accounting, q, take, ctx, e);
}

static int
ask_waiting(struct slurm_backend *b, long long deadline_ms, uint64_t *count, struct error *e)
{
    int n = waiting.calls < 2 ? waiting.calls : 2;
    if (!waiting.calls++) waiting.accounting_calls = accounting.calls;
    if (waiting.code < 0) return error_set(e, waiting.code, "no diagnosis");
    *count = waiting.count[n];
    return 0;
}

static const struct lookup_source source = {ask_queue, ask_accounting, ask_waiting};

static int setup(void **state)
{
    memset(&queue, 0, sizeof(queue));
    memset(&accounting, 0, sizeof(accounting));
    memset(&waiting, 0, sizeof(waiting));
    memset(&err, 0, sizeof(err));
    return 0;
}

static struct slurm_job *
add(struct answer *a, uint64_t id, const char *name, const char *user, const char *comment)
{
    struct slurm_job *j = &a->jobs[a->count++];
    *j = (struct slurm_job){.id = id, .submit_s = (int64_t)id, .started = true};
    j->state = SLURM_RUNNING;
    (void)strncpy(j->name, name, sizeof(j->name) - 1);
    (void)strncpy(j->user, user, sizeof(j->user) - 1);
    (void)strncpy(j->comment, comment, sizeof(j->comment) - 1);
    return j;
}

/* The id that is found, or the error. */
static long long find(void)
{
    struct slurm_job job = {.id = 77};
    int rc = lookup_find(&source, NULL, NAME, USER, 0, &job, &err);
    if (rc < 0) assert_int_equal(job.id, 77);
    return rc < 0 ? rc : (long long)job.id;
}

static void the_newest_of_that_name_and_user_with_our_mark(void **state)
{
    (void)add(&queue, 9, "0xab", USER, MARK);
    (void)add(&queue, 8, NAME, "bob", MARK);
    (void)add(&queue, 7, NAME, USER, "");
    (void)add(&queue, 6, NAME, USER, "mine");
    (void)add(&queue, 2, NAME, USER, MARK);
    (void)add(&queue, 3, NAME, USER, MARK);
    add(&queue, 1, NAME, USER, MARK)->submit_s = 5; // ids began again: it is the newest
    assert_int_equal(find(), 1);
    assert_int_equal(accounting.calls, 0);
    assert_string_equal(queue.last.name, NAME);
    assert_string_equal(queue.last.user, USER);
}

static void accounting_is_asked_for_what_the_queue_has_not(void **state)
{
    (void)add(&accounting, 3, NAME, USER, ""); // most clusters store no comments
    (void)add(&accounting, 4, NAME, USER, "mine");
    (void)add(&accounting, 2, NAME, USER, MARK);
    assert_int_equal(find(), 3);
    assert_int_equal(waiting.calls, 1);
    assert_int_equal(waiting.accounting_calls, 0); // before accounting
}

static void a_resized_job_has_several_records(void **state)
{
    struct slurm_job *j;
    (j = add(&accounting, 3, NAME, USER, ""))->state = SLURM_COMPLETE;
    j->wait_status = 1;
    add(&accounting, 3, NAME, USER, "")->state = SLURM_RUNNING | SLURM_FLAG_RESIZING;
    struct slurm_job job;
    assert_int_equal(lookup_find(&source, NULL, NAME, USER, 0, &job, &err), 0);
    assert_int_equal(job.state, SLURM_COMPLETE);
    accounting.jobs[2] = accounting.jobs[0]; // in the other order
    accounting.jobs[0] = accounting.jobs[1];
    accounting.jobs[1] = accounting.jobs[2];
    assert_int_equal(lookup_find(&source, NULL, NAME, USER, 0, &job, &err), 0);
    assert_int_equal(job.state, SLURM_COMPLETE);
}

static void none_is_said_by_all_or_not_at_all(void **state)
{
    static const struct {
        int queue, accounting, waiting;
        uint64_t count[3];
        int said;
    } cases[] = {
        {0, 0, 0, {0}, ERR_NOTFOUND},
        {0, ERR_NOTFOUND, 0, {0}, ERR_NOTFOUND},               // the cluster has none
        {0, ERR_NOTFOUND, ERR_UNAVAILABLE, {0}, ERR_NOTFOUND}, // nor is that of interest then
        {0, ERR_NOTFOUND, 0, {2, 2, 2}, ERR_BUSY},             // but it has one
        {0, 0, 0, {2, 1, 0}, ERR_NOTFOUND},                    // it has caught up
        {0, 0, 0, {2, 1, 1}, ERR_BUSY},
        {0, 0, ERR_UNAVAILABLE, {0}, ERR_BUSY},
        {0, ERR_UNAVAILABLE, 0, {0}, ERR_BUSY},
        {0, ERR_PROTO, 0, {0}, ERR_BUSY},
        {ERR_UNAVAILABLE, 0, 0, {0}, ERR_UNAVAILABLE},
        {ERR_PROTO, 0, 0, {0}, ERR_PROTO},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)setup(state);
        queue.code = cases[i].queue;
        accounting.code = cases[i].accounting;
        waiting.code = cases[i].waiting;
        memcpy(waiting.count, cases[i].count, sizeof(waiting.count));
        if (find() != cases[i].said) fail_msg("case %zu: %lld %s", i, find(), err.text);
        assert_int_equal(err.code, cases[i].said);
    }
}

/* While a newer record is under way to slurmdbd an older one must not be taken for the last. */
static void an_old_record_is_not_believed_while_others_wait(void **state)
{
    (void)add(&accounting, 3, NAME, USER, "");
    waiting.count[0] = waiting.count[1] = waiting.count[2] = 1;
    assert_int_equal(find(), ERR_BUSY);
    assert_non_null(strstr(err.text, "1 records of slurmctld wait for slurmdbd"));
}

/* In whatever order accounting tells of them; as 22.05.8 recorded a job that was requeued twice. */
static void attempts_are_added_up(void **state)
{
    static const struct {
        int64_t submit_s;
        uint32_t job_state;
        uint64_t ran_s;
    } records[] = {{10, SLURM_FLAG_REQUEUE, 3}, {20, SLURM_NODE_FAIL, 5}, {30, SLURM_FAILED, 7}};
    static const size_t orders[][4] = {
        {0, 1, 2, 2}, {2, 1, 0, 2}, {1, 2, 0, 2}, {1, 0, 2, 2}}; // one of them is told twice
    static const uint64_t ids[] = {5};
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        struct slurm_job job;
        enum slurm_proof proof;
        size_t found;
        (void)setup(state);
        for (size_t k = 0; k < 4; k++) {
            struct slurm_job *j = add(&accounting, 5, NAME, USER, "");
            j->submit_s = records[orders[i][k]].submit_s;
            j->state = records[orders[i][k]].job_state;
            j->ran_s = records[orders[i][k]].ran_s;
        }
        assert_int_equal(lookup_query(&source, NULL, ids, 1, 0, &job, &found, &proof, &err), 0);
        assert_int_equal(found, 1);
        assert_int_equal(job.state, SLURM_FAILED);
        assert_int_equal(job.ran_s, 7);
        assert_int_equal(job.spent_s, 8);
        assert_int_equal(job.restarts, 2);
    }
}

/* Resizing makes no attempt, and a job that got the id later has nothing to do with the first. */
static void what_is_no_attempt_is_not_added(void **state)
{
    static const uint64_t ids[] = {5};
    struct slurm_job job, *j;
    enum slurm_proof proof;
    size_t found;
    j = add(&accounting, 5, NAME, USER, "");
    j->state = SLURM_RUNNING | SLURM_FLAG_RESIZING;
    j->submit_s = 9;
    j->ran_s = 4;
    j = add(&accounting, 5, NAME, USER, "");
    j->state = SLURM_COMPLETE;
    j->submit_s = 10;
    assert_int_equal(lookup_query(&source, NULL, ids, 1, 0, &job, &found, &proof, &err), 0);
    assert_int_equal(job.restarts, 0);
    assert_int_equal(job.spent_s, 0);
    j = add(&accounting, 5, "0xab", USER, "");
    j->state = SLURM_COMPLETE;
    j->submit_s = 40;
    assert_int_equal(lookup_query(&source, NULL, ids, 1, 0, &job, &found, &proof, &err), 0);
    assert_string_equal(job.name, "0xab");
    assert_int_equal(job.spent_s, 0);
}

static void what_slurm_refused_is_no_job(void **state)
{
    struct slurm_job *j = add(&queue, 3, NAME, USER, MARK);
    j->state = SLURM_FAILED;
    j->started = false;
    *add(&accounting, 3, NAME, USER, "") = *j;
    assert_int_equal(find(), ERR_NOTFOUND);
    j->state = SLURM_CANCELLED; // it waited
    assert_int_equal(find(), 3);
    j->state = SLURM_FAILED; // it ran
    j->started = true;
    assert_int_equal(find(), 3);
}

static void a_job_of_nobody_may_be_ours(void **state)
{
    (void)add(&accounting, 3, NAME, "", "");
    assert_int_equal(find(), ERR_BUSY);
    assert_non_null(strstr(err.text, "whose job 3 is"));
    (void)add(&accounting, 2, NAME, USER, "");
    assert_int_equal(find(), 2);
}

static void a_bad_user_is_not_asked_for(void **state)
{
    struct slurm_job job;
    assert_int_equal(lookup_find(&source, NULL, NAME, "a b", 0, &job, &err), ERR_INVALID);
    assert_int_equal(queue.calls, 0);
}

static void ends_come_from_accounting_too(void **state)
{
    static const uint64_t ids[] = {1, 2, 3, 4};
    struct slurm_job jobs[4];
    enum slurm_proof proof = SLURM_PROOF_NONE;
    size_t found = 77;
    (void)add(&queue, 2, "a", USER, MARK);
    (void)add(&queue, 9, "b", USER, MARK); // was not asked for
    add(&accounting, 1, "c", USER, "")->state = SLURM_COMPLETE;
    (void)add(&accounting, 3, "d", USER, ""); // alive, so it says, but not in the queue
    add(&accounting, 9, "e", USER, "")->state = SLURM_COMPLETE;
    assert_int_equal(lookup_query(&source, NULL, ids, 4, 0, jobs, &found, &proof, &err), 0);
    assert_int_equal(found, 2);
    assert_int_equal(jobs[0].id, 2);
    assert_int_equal(jobs[1].id, 1);
    assert_int_equal(queue.calls, 1);
    assert_int_equal(accounting.calls, 1);
    assert_int_equal(accounting.last.count, 3);
    assert_int_equal(waiting.accounting_calls, 0); // that was asked before
    assert_int_equal(proof, SLURM_PROOF_ACCOUNTING);
    // Where none is left out, accounting was not asked.
    assert_int_equal(lookup_query(&source, NULL, ids + 1, 1, 0, jobs, &found, &proof, &err), 0);
    assert_int_equal(found, 1);
    assert_int_equal(proof, SLURM_PROOF_QUEUE);
    assert_int_equal(accounting.calls, 1);

    accounting.code = ERR_UNAVAILABLE; // the queue has answered: no failure
    assert_int_equal(lookup_query(&source, NULL, ids, 4, 0, jobs, &found, &proof, &err), 0);
    assert_int_equal(found, 1);
    assert_int_equal(proof, SLURM_PROOF_NONE);
    queue.code = ERR_UNAVAILABLE;
    found = 77;
    assert_int_equal(lookup_query(&source, NULL, ids, 4, 0, jobs, &found, &proof, &err),
                     ERR_UNAVAILABLE);
    assert_int_equal(found, 77);
}

static void what_a_query_proves(void **state)
{
    static const struct {
        int accounting, waiting;
        uint64_t count;
        size_t found;
        enum slurm_proof proof;
    } cases[] = {
        {0, 0, 0, 1, SLURM_PROOF_ACCOUNTING},
        {0, 0, 1, 1, SLURM_PROOF_NONE}, // but an end that is known is one
        {0, ERR_UNAVAILABLE, 0, 1, SLURM_PROOF_NONE},
        {ERR_NOTFOUND, 0, 0, 0, SLURM_PROOF_QUEUE},
        {ERR_NOTFOUND, ERR_UNAVAILABLE, 0, 0, SLURM_PROOF_QUEUE},
        {ERR_NOTFOUND, 0, 1, 0, SLURM_PROOF_NONE}, // it has one
        {ERR_UNAVAILABLE, 0, 0, 0, SLURM_PROOF_NONE},
    };
    static const uint64_t ids[] = {1, 2};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slurm_job jobs[2];
        enum slurm_proof proof = SLURM_PROOF_NONE;
        size_t found = 77;
        (void)setup(state);
        add(&accounting, 1, "a", USER, "")->state = SLURM_COMPLETE;
        accounting.code = cases[i].accounting;
        waiting.code = cases[i].waiting;
        waiting.count[0] = waiting.count[1] = waiting.count[2] = cases[i].count;
        assert_int_equal(lookup_query(&source, NULL, ids, 2, 0, jobs, &found, &proof, &err), 0);
        if (found != cases[i].found || proof != cases[i].proof)
            fail_msg("case %zu: %zu, %d", i, found, (int)proof);
    }
}

static void all_of_ours_are_listed(void **state)
{
    struct slurm_job *jobs = NULL;
    size_t count = 77;
    assert_int_equal(lookup_list(&source, NULL, 0, &jobs, &count, &err), 0);
    assert_null(jobs);
    assert_int_equal(count, 0);
    (void)add(&queue, 1, "a", USER, MARK);
    (void)add(&queue, 2, "b", USER, "mine");
    (void)add(&queue, 3, "c", "bob", MARK);
    assert_int_equal(lookup_list(&source, NULL, 0, &jobs, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_int_equal(jobs[1].id, 3);
    free(jobs);
    queue.code = ERR_UNAVAILABLE;
    assert_int_equal(lookup_list(&source, NULL, 0, &jobs, &count, &err), ERR_UNAVAILABLE);
}

static void accounting_is_left_alone_while_the_queue_has_all(void **state)
{
    static const uint64_t ids[] = {1, 2};
    struct slurm_job jobs[2];
    enum slurm_proof proof;
    size_t found;
    (void)add(&queue, 2, "a", USER, MARK);
    (void)add(&queue, 1, "b", USER, MARK);
    assert_int_equal(lookup_query(&source, NULL, ids, 2, 0, jobs, &found, &proof, &err), 0);
    assert_int_equal(found, 2);
    assert_int_equal(accounting.calls, 0);
    assert_int_equal(queue.calls, 1);
}

static void a_question_has_a_thousand_ids_at_most(void **state)
{
    static uint64_t ids[2 * LOOKUP_IDS_MAX + 1];
    static struct slurm_job jobs[2 * LOOKUP_IDS_MAX + 1];
    const size_t n = sizeof(ids) / sizeof(ids[0]);
    enum slurm_proof proof;
    size_t found;
    for (size_t i = 0; i < n; i++)
        ids[i] = i + 1;
    (void)add(&queue, n, "a", USER, MARK);
    (void)add(&queue, 1, "b", USER, MARK);
    assert_int_equal(lookup_query(&source, NULL, ids, n, 0, jobs, &found, &proof, &err), 0);
    assert_int_equal(found, 2);
    assert_int_equal(queue.calls, 3);
    assert_int_equal(queue.last.count, 1);
    assert_int_equal(accounting.calls, 2); // the last question's id was found
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_newest_of_that_name_and_user_with_our_mark, setup),
        cmocka_unit_test_setup(accounting_is_asked_for_what_the_queue_has_not, setup),
        cmocka_unit_test_setup(a_resized_job_has_several_records, setup),
        cmocka_unit_test_setup(none_is_said_by_all_or_not_at_all, setup),
        cmocka_unit_test_setup(an_old_record_is_not_believed_while_others_wait, setup),
        cmocka_unit_test_setup(attempts_are_added_up, setup),
        cmocka_unit_test_setup(what_is_no_attempt_is_not_added, setup),
        cmocka_unit_test_setup(what_slurm_refused_is_no_job, setup),
        cmocka_unit_test_setup(a_job_of_nobody_may_be_ours, setup),
        cmocka_unit_test_setup(a_bad_user_is_not_asked_for, setup),
        cmocka_unit_test_setup(ends_come_from_accounting_too, setup),
        cmocka_unit_test_setup(what_a_query_proves, setup),
        cmocka_unit_test_setup(all_of_ours_are_listed, setup),
        cmocka_unit_test_setup(accounting_is_left_alone_while_the_queue_has_all, setup),
        cmocka_unit_test_setup(a_question_has_a_thousand_ids_at_most, setup),
    };
    return cmocka_run_group_tests_name("lookup", tests, NULL, NULL);
}
