/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows of `early_events`. */
#include "agent/store/store_private.h"
#include "agent/util/clock.h"

enum { FLAG_BEGINS = 1, FLAG_STARTED = 2, FLAG_NOT_RUN = 4, FLAG_SETTLED = 8 };

static int run_counted(struct store *s, enum store_stmt which, const char *what)
{
    int rc = store_run(s, which, what);
    return rc < 0 ? rc : sqlite3_changes(s->db);
}

static void bind_news(struct store *s, sqlite3_stmt *st, const struct news *n)
{
    int flags = (n->begins ? FLAG_BEGINS : 0) | (n->started ? FLAG_STARTED : 0) |
                (n->not_run ? FLAG_NOT_RUN : 0) | (n->settled ? FLAG_SETTLED : 0);
    store_bind_u64(s, st, 4, n->slurm_id);
    (void)sqlite3_bind_int64(st, 5, n->state);
    (void)sqlite3_bind_int64(st, 6, n->wait_status);
    (void)sqlite3_bind_int64(st, 7, n->restarts);
    (void)sqlite3_bind_int64(st, 8, n->submit_s);
    (void)sqlite3_bind_int64(st, 9, n->start_s);
    (void)sqlite3_bind_int64(st, 10, n->end_s);
    store_bind_u64(s, st, 11, n->ran_s);
    (void)sqlite3_bind_int(st, 12, flags);
}

int store_early_add(struct store *s, const char *job, bool known, const struct news *news)
{
    sqlite3_stmt *add = s->stmt[STMT_EARLY_ADD], *trim = s->stmt[STMT_EARLY_TRIM_JOB];
    (void)sqlite3_bind_int64(add, 1, clock_wall_ms());
    (void)sqlite3_bind_text(add, 2, job, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int(add, 3, known);
    bind_news(s, add, news);
    int rc = store_run(s, STMT_EARLY_ADD, "early event");
    if (rc < 0) return rc;
    (void)sqlite3_bind_text(trim, 1, job, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int(trim, 2, EARLY_PER_JOB_MAX);
    int dropped = run_counted(s, STMT_EARLY_TRIM_JOB, "early events of a job");
    if (dropped < 0 || known) return dropped;
    (void)sqlite3_bind_int(s->stmt[STMT_EARLY_TRIM_UNKNOWN], 1, EARLY_UNKNOWN_MAX);
    rc = run_counted(s, STMT_EARLY_TRIM_UNKNOWN, "early events");
    return rc < 0 ? rc : rc + dropped;
}

static struct news read_news(sqlite3_stmt *st)
{
    int flags = sqlite3_column_int(st, 8);
    return (struct news){
        .slurm_id = (uint64_t)sqlite3_column_int64(st, 0),
        .state = (uint32_t)sqlite3_column_int64(st, 1),
        .wait_status = (uint32_t)sqlite3_column_int64(st, 2),
        .restarts = sqlite3_column_int64(st, 3),
        .submit_s = sqlite3_column_int64(st, 4),
        .start_s = sqlite3_column_int64(st, 5),
        .end_s = sqlite3_column_int64(st, 6),
        .ran_s = (uint64_t)sqlite3_column_int64(st, 7),
        .begins = flags & FLAG_BEGINS,
        .started = flags & FLAG_STARTED,
        .not_run = flags & FLAG_NOT_RUN,
        .settled = flags & FLAG_SETTLED,
    };
}

int store_early_get(struct store *s, const char *job, struct news *news, size_t max)
{
    sqlite3_stmt *st = s->stmt[STMT_EARLY_GET];
    size_t n = 0;
    int step = SQLITE_DONE;
    (void)sqlite3_bind_text(st, 1, job, -1, SQLITE_STATIC);
    while (n < max && (step = sqlite3_step(st)) == SQLITE_ROW)
        news[n++] = read_news(st);
    (void)sqlite3_reset(st);
    return step == SQLITE_DONE || step == SQLITE_ROW ? (int)n : store_fail(s, step, "early events");
}

int store_early_drop(struct store *s, const char *job)
{
    (void)sqlite3_bind_text(s->stmt[STMT_EARLY_DROP], 1, job, -1, SQLITE_STATIC);
    return store_run(s, STMT_EARLY_DROP, "early events");
}

int store_early_prune(struct store *s, int64_t before_ms)
{
    (void)sqlite3_bind_int64(s->stmt[STMT_PRUNE_EARLY], 1, before_ms);
    return run_counted(s, STMT_PRUNE_EARLY, "prune early events");
}
