/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One backend for the other, over two that answer what they are told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/slurm/auto.h"
#include "agent/util/clock.h"

enum { PROBE_MS = 50, LONG_MS = 10000 };

/* Counts calls; answers `code`, after `delay_ms` or the deadline. */
struct fake {
    struct slurm_backend base;
    atomic_int code, calls, pings;
    atomic_int delay_ms;
    atomic_llong deadline_ms; // of the last call
};

static struct fake *fake_of(struct slurm_backend *b)
{
    return (struct fake *)b;
}

static int act(struct slurm_backend *b, long long deadline_ms, struct error *err)
{
    struct fake *f = fake_of(b);
    f->calls++;
    f->deadline_ms = deadline_ms;
    if (f->delay_ms) (void)usleep((useconds_t)f->delay_ms * 1000);
    return f->code < 0 ? error_set(err, f->code, "%s says no", b->ops->name) : f->code;
}

static int fake_ping(struct slurm_backend *b, long long deadline_ms, struct error *err)
{
    struct fake *f = fake_of(b);
    f->pings++;
    return f->code < 0 ? error_set(err, f->code, "no ping") : 0;
}

static int
fake_user(struct slurm_backend *b, const char *user, long long deadline_ms, struct error *err)
{
    return act(b, deadline_ms, err);
}

static int fake_submit(struct slurm_backend *b,
                       const struct slurm_job_spec *spec,
                       long long deadline_ms,
                       uint64_t *id,
                       struct error *err)
{
    int rc = act(b, deadline_ms, err);
    if (rc == 0) *id = 7;
    return rc;
}

static int fake_find(struct slurm_backend *b,
                     const char *name,
                     const char *user,
                     long long deadline_ms,
                     struct slurm_job *job,
                     struct error *err)
{
    return act(b, deadline_ms, err);
}

static int fake_query(struct slurm_backend *b,
                      const uint64_t *ids,
                      size_t count,
                      long long deadline_ms,
                      struct slurm_job *jobs,
                      size_t *found,
                      enum slurm_proof *proof,
                      struct error *err)
{
    *found = count;
    *proof = SLURM_PROOF_QUEUE;
    return act(b, deadline_ms, err);
}

static int fake_list(struct slurm_backend *b,
                     long long deadline_ms,
                     struct slurm_job **jobs,
                     size_t *count,
                     struct error *err)
{
    return act(b, deadline_ms, err);
}

static int fake_cancel(struct slurm_backend *b,
                       uint64_t id,
                       const char *user,
                       long long deadline_ms,
                       struct error *err)
{
    return act(b, deadline_ms, err);
}

static int fake_limit(struct slurm_backend *b,
                      uint64_t id,
                      uint64_t minutes,
                      long long deadline_ms,
                      struct error *err)
{
    return act(b, deadline_ms, err);
}

static int fake_partition(struct slurm_backend *b,
                          const char *name,
                          long long deadline_ms,
                          struct slurm_partition *partition,
                          struct error *err)
{
    return act(b, deadline_ms, err);
}

static void fake_destroy(struct slurm_backend *b)
{
    free(b);
}

#define FAKE_OPS(title)                                                                    \
    {                                                                                      \
        .name = title, .ping = fake_ping, .user_exists = fake_user, .submit = fake_submit, \
        .find = fake_find, .query = fake_query, .list = fake_list, .cancel = fake_cancel,  \
        .set_time_limit = fake_limit, .partition = fake_partition, .destroy = fake_destroy \
    }

static const struct slurm_backend_ops rest_ops = FAKE_OPS("rest"), ssh_ops = FAKE_OPS("ssh");

struct fixture {
    struct fake *rest, *ssh;
    struct slurm_backend *b;
    atomic_int to_ssh, to_rest, to_rest_ever;
    struct error err;
};

static void on_change(void *ctx, bool over_ssh, unsigned long long changes, const char *why)
{
    struct fixture *f = ctx;
    assert_true(changes == (unsigned long long)(f->to_ssh + f->to_rest_ever + 1));
    if (!over_ssh) f->to_rest_ever++;
    if (over_ssh)
        f->to_ssh++;
    else
        f->to_rest++;
    assert_true(*why != '\0');
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->rest = calloc(1, sizeof(*f->rest));
    f->ssh = calloc(1, sizeof(*f->ssh));
    f->rest->base.ops = &rest_ops;
    f->ssh->base.ops = &ssh_ops;
    struct slurm_auto_options o = {.rest = &f->rest->base,
                                   .ssh = &f->ssh->base,
                                   .changed = on_change,
                                   .ctx = f,
                                   .probe_ms = PROBE_MS};
    f->b = slurm_auto_new(&o, &f->err);
    *state = f;
    return f->b ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->b->ops->destroy(f->b);
    free(f);
    return 0;
}

static unsigned long long changes_of(struct fixture *f)
{
    struct slurm_auto_way way = {.changes = 77};
    assert_true(slurm_auto_way(f->b, &way));
    return way.changes;
}

static long long soon(void)
{
    return clock_mono_ms() + LONG_MS;
}

enum op { SUBMIT, FIND, QUERY, LIST, CANCEL, LIMIT, PARTITION, OPS };

static int call(struct fixture *f, enum op op)
{
    struct slurm_job_spec spec = {0};
    struct slurm_job job, *jobs;
    struct slurm_partition partition;
    enum slurm_proof proof;
    uint64_t id = 1;
    size_t n;
    switch (op) {
    case SUBMIT:
        return f->b->ops->submit(f->b, &spec, soon(), &id, &f->err);
    case FIND:
        return f->b->ops->find(f->b, "n", "u", soon(), &job, &f->err);
    case QUERY:
        return f->b->ops->query(f->b, &id, 1, soon(), &job, &n, &proof, &f->err);
    case LIST:
        return f->b->ops->list(f->b, soon(), &jobs, &n, &f->err);
    case CANCEL:
        return f->b->ops->cancel(f->b, 1, "u", soon(), &f->err);
    case LIMIT:
        return f->b->ops->set_time_limit(f->b, 1, 2, soon(), &f->err);
    default:
        return f->b->ops->partition(f->b, "p", soon(), &partition, &f->err);
    }
}

static void wait_for_rest(struct fixture *f)
{
    long long until = clock_mono_ms() + LONG_MS;
    while (!f->to_rest && clock_mono_ms() < until)
        (void)usleep(1000);
    assert_int_equal(f->to_rest, 1);
}

static void slurmrestd_goes_first(void **state)
{
    struct fixture *f = *state;
    for (enum op op = 0; op < OPS; op++)
        assert_int_equal(call(f, op), 0);
    assert_int_equal(f->rest->calls, OPS);
    assert_int_equal(f->ssh->calls, 0);
    assert_int_equal(f->b->ops->ping(f->b, soon(), &f->err), 0);
    assert_int_equal(f->rest->pings, 1);
    struct slurm_auto_way way;
    assert_true(slurm_auto_way(f->b, &way));
    assert_int_equal(way.changes, 0);
    assert_false(way.over_ssh);
    assert_false(slurm_auto_way(&f->ssh->base, &way));
}

static void a_verdict_is_no_outage(void **state)
{
    static const int verdicts[] = {
        ERR_REFUSED, ERR_NOTFOUND, ERR_EXISTS, ERR_INVALID, ERR_DENIED, ERR_NOMEM};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
        f->rest->code = verdicts[i];
        for (enum op op = 0; op < OPS; op++) {
            assert_int_equal(call(f, op), verdicts[i]);
            assert_string_equal(f->err.text, "rest says no");
        }
    }
    assert_int_equal(f->ssh->calls, 0);
    assert_int_equal(changes_of(f), 0);
}

/* slurmrestd is in order; but SSH may know more, and nothing was done that could be done twice. */
static void not_now_is_no_outage(void **state)
{
    struct fixture *f = *state;
    f->rest->code = ERR_BUSY;
    assert_int_equal(call(f, SUBMIT), ERR_BUSY);
    assert_int_equal(f->ssh->calls, 0);
    assert_int_equal(call(f, FIND), 0);
    assert_int_equal(f->ssh->calls, 1);
    f->ssh->code = ERR_BUSY;
    assert_int_equal(call(f, FIND), ERR_BUSY);
    assert_string_equal(f->err.text, "ssh says no");
    f->ssh->code = ERR_UNAVAILABLE;
    assert_int_equal(call(f, FIND), ERR_BUSY);
    assert_string_equal(f->err.text, "rest says no");
    assert_int_equal(f->rest->calls, 4);
    assert_int_equal(changes_of(f), 0);
}

static void an_outage_is_bridged_in_the_same_call(void **state)
{
    struct fixture *f = *state;
    for (enum op op = 0; op < OPS; op++) {
        f->to_rest = 0;
        f->rest->code = ERR_UNAVAILABLE;
        int before = f->ssh->calls;
        assert_int_equal(call(f, op), 0);
        assert_int_equal(f->ssh->calls, before + 1);
        int rest_calls = f->rest->calls;
        assert_int_equal(call(f, op), 0); // straight over SSH
        assert_int_equal(f->rest->calls, rest_calls);
        assert_int_equal(f->to_ssh, (int)op + 1); // told once
        f->rest->code = 0;
        wait_for_rest(f);
        assert_int_equal(call(f, op), 0);
        assert_int_equal(f->rest->calls, rest_calls + 1);
        if (op == FIND) break; // from here on it is flapping, and takes longer each time
    }
    assert_int_equal(changes_of(f), 4);
}

static void an_unknown_outcome_is_not_submitted_again(void **state)
{
    struct fixture *f = *state;
    f->rest->code = ERR_OUTCOME_UNKNOWN;
    assert_int_equal(call(f, SUBMIT), ERR_OUTCOME_UNKNOWN);
    assert_string_equal(f->err.text, "rest says no");
    assert_int_equal(f->ssh->calls, 0);
    assert_int_equal(call(f, FIND), 0); // but looked for, over SSH
    assert_int_equal(f->ssh->calls, 1);
}

static void orders_that_can_be_repeated_are(void **state)
{
    struct fixture *f = *state;
    f->rest->code = ERR_OUTCOME_UNKNOWN;
    assert_int_equal(call(f, CANCEL), 0);
    assert_int_equal(f->ssh->calls, 1);
}

static void both_out_of_order(void **state)
{
    struct fixture *f = *state;
    f->rest->code = f->ssh->code = ERR_UNAVAILABLE;
    assert_int_equal(call(f, FIND), ERR_UNAVAILABLE);
    assert_string_equal(f->err.text, "ssh says no");
    f->ssh->code = ERR_REFUSED;
    assert_int_equal(call(f, SUBMIT), ERR_REFUSED);
    assert_int_equal(changes_of(f), 1);
    f->rest->code = 0;
    wait_for_rest(f);
}

static void ssh_comes_to_its_turn_within_the_deadline(void **state)
{
    struct fixture *f = *state;
    long long now = clock_mono_ms();
    assert_int_equal(call(f, FIND), 0);
    assert_in_range(f->rest->deadline_ms - now, LONG_MS / 2 - 100, LONG_MS / 2 + 1000);
    assert_int_equal(call(f, SUBMIT), 0); // all of it: it must not be cut short
    assert_in_range(f->rest->deadline_ms - now, LONG_MS - 100, LONG_MS + 1000);
    struct slurm_job job;
    now = clock_mono_ms();
    assert_int_equal(f->b->ops->find(f->b, "n", "u", now + 600000, &job, &f->err), 0);
    assert_true(f->rest->deadline_ms - now < 20000);
}

static void a_name_service_that_fails_is_no_outage(void **state)
{
    struct fixture *f = *state;
    f->rest->code = ERR_UNAVAILABLE;
    assert_int_equal(f->b->ops->user_exists(f->b, "u", soon(), &f->err), 0);
    assert_int_equal(f->ssh->calls, 1);
    assert_int_equal(changes_of(f), 0);
    f->rest->code = ERR_NOTFOUND;
    assert_int_equal(f->b->ops->user_exists(f->b, "u", soon(), &f->err), ERR_NOTFOUND);
    assert_int_equal(f->ssh->calls, 1);
}

static void flapping_is_damped(void **state)
{
    struct fixture *f = *state;
    long long began = clock_mono_ms(), last = 0;
    for (int i = 0; i < 4; i++) {
        long long start = clock_mono_ms();
        f->to_rest = 0;
        f->rest->code = ERR_UNAVAILABLE;
        assert_int_equal(call(f, FIND), 0);
        f->rest->code = 0;
        wait_for_rest(f);
        last = clock_mono_ms() - start;
    }
    assert_true(last >= 8 * PROBE_MS - 10); // 50, 100, 200, 400 ms
    assert_true(clock_mono_ms() - began < LONG_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(slurmrestd_goes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(a_verdict_is_no_outage, setup, teardown),
        cmocka_unit_test_setup_teardown(not_now_is_no_outage, setup, teardown),
        cmocka_unit_test_setup_teardown(an_outage_is_bridged_in_the_same_call, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_outcome_is_not_submitted_again, setup, teardown),
        cmocka_unit_test_setup_teardown(orders_that_can_be_repeated_are, setup, teardown),
        cmocka_unit_test_setup_teardown(both_out_of_order, setup, teardown),
        cmocka_unit_test_setup_teardown(ssh_comes_to_its_turn_within_the_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_service_that_fails_is_no_outage, setup, teardown),
        cmocka_unit_test_setup_teardown(flapping_is_damped, setup, teardown),
    };
    return cmocka_run_group_tests_name("auto", tests, NULL, NULL);
}
