/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows of `jobs` and `scripts`. */
#include <string.h>

#include "agent/store/store_private.h"
#include "agent/util/clock.h"

static const char *const state_names[JOB_STATE_COUNT] = {[JOB_NONE] = "NONE",
#define JOB_STATE(name, meaning) [JOB_##name] = #name,
                                                         JOB_STATES(JOB_STATE)
#undef JOB_STATE
};

const char *job_state_name(enum job_state state)
{
    return (unsigned int)state < JOB_STATE_COUNT ? state_names[state] : "NONE";
}

enum job_state job_state_parse(const char *name)
{
    for (int i = JOB_NONE + 1; i < JOB_STATE_COUNT; i++)
        if (strcmp(state_names[i], name) == 0) return (enum job_state)i;
    return JOB_NONE;
}

int store_job_put(struct store *s, const struct job *job)
{
    sqlite3_stmt *st = s->stmt[STMT_JOB_PUT];
    int64_t now = clock_wall_ms();
    (void)sqlite3_bind_text(st, 1, job->id, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(st, 2, job_state_name(job->state), -1, SQLITE_STATIC);
    (void)sqlite3_bind_blob(st, 3, job->customer, sizeof(job->customer), SQLITE_STATIC);
    store_bind_u64(s, st, 4, job->claim_block);
    store_bind_u64(s, st, 5, job->limit_min);
    store_bind_u64(s, st, 6, job->ntasks);
    store_bind_u64(s, st, 7, job->cpus_per_task);
    store_bind_u64(s, st, 8, job->mem_per_cpu_mb);
    store_bind_u64(s, st, 9, job->gpus);
    (void)sqlite3_bind_text(st, 10, job->location_hash, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(st, 11, job->logger_url, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(st, 12, job->user, -1, SQLITE_STATIC);
    store_bind_u64(s, st, 13, job->slurm_id);
    (void)sqlite3_bind_int64(st, 14, job->start_s);
    (void)sqlite3_bind_int64(st, 15, job->end_s);
    (void)sqlite3_bind_int(st, 16, job->ran);
    (void)sqlite3_bind_int(st, 17, job->end_status);
    store_bind_u64(s, st, 18, job->duration_s);
    (void)sqlite3_bind_int(st, 19, job->exit_code);
    (void)sqlite3_bind_text(st, 20, job->reason, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int(st, 21, (int)job->running_report);
    (void)sqlite3_bind_int(st, 22, (int)job->end_report);
    (void)sqlite3_bind_int64(st, 23, job->running_block_s);
    store_bind_u64(s, st, 24, job->billed_min);
    store_bind_u64(s, st, 25, job->prev_slurm_id);
    (void)sqlite3_bind_int64(st, 26, job->created_ms ? job->created_ms : now);
    (void)sqlite3_bind_int64(st, 27, now);
    store_bind_u64(s, st, 28, job->slurm_limit_min);
    (void)sqlite3_bind_int64(st, 29, job->submit_s);
    store_bind_u64(s, st, 30, job->restarts);
    store_bind_u64(s, st, 31, job->spent_s);
    store_bind_u64(s, st, 32, job->claim_at);
    store_bind_u64(s, st, 33, job->done_at);
    return store_run(s, STMT_JOB_PUT, "job");
}

/* The columns in the order of the schema. */
static int read_job(sqlite3_stmt *st, struct job *job)
{
    char state[32];
    struct job j = {
        .claim_block = (uint64_t)sqlite3_column_int64(st, 3),
        .limit_min = (uint64_t)sqlite3_column_int64(st, 4),
        .ntasks = (uint64_t)sqlite3_column_int64(st, 5),
        .cpus_per_task = (uint64_t)sqlite3_column_int64(st, 6),
        .mem_per_cpu_mb = (uint64_t)sqlite3_column_int64(st, 7),
        .gpus = (uint64_t)sqlite3_column_int64(st, 8),
        .slurm_id = (uint64_t)sqlite3_column_int64(st, 12),
        .start_s = sqlite3_column_int64(st, 13),
        .end_s = sqlite3_column_int64(st, 14),
        .ran = sqlite3_column_int(st, 15) != 0,
        .end_status = (uint8_t)sqlite3_column_int(st, 16),
        .duration_s = (uint64_t)sqlite3_column_int64(st, 17),
        .exit_code = sqlite3_column_int(st, 18),
        .running_report = (enum report)sqlite3_column_int(st, 20),
        .end_report = (enum report)sqlite3_column_int(st, 21),
        .running_block_s = sqlite3_column_int64(st, 22),
        .billed_min = (uint64_t)sqlite3_column_int64(st, 23),
        .prev_slurm_id = (uint64_t)sqlite3_column_int64(st, 24),
        .created_ms = sqlite3_column_int64(st, 25),
        .updated_ms = sqlite3_column_int64(st, 26),
        .slurm_limit_min = (uint64_t)sqlite3_column_int64(st, 27),
        .submit_s = sqlite3_column_int64(st, 28),
        .restarts = (uint64_t)sqlite3_column_int64(st, 29),
        .spent_s = (uint64_t)sqlite3_column_int64(st, 30),
        .claim_at = (uint64_t)sqlite3_column_int64(st, 31),
        .done_at = (uint64_t)sqlite3_column_int64(st, 32),
    };
    if (store_column_text(st, 0, j.id, sizeof(j.id)) < 0 ||
        store_column_text(st, 1, state, sizeof(state)) < 0 ||
        store_column_blob(st, 2, j.customer, sizeof(j.customer)) < 0 ||
        store_column_text(st, 9, j.location_hash, sizeof(j.location_hash)) < 0 ||
        store_column_text(st, 10, j.logger_url, sizeof(j.logger_url)) < 0 ||
        store_column_text(st, 11, j.user, sizeof(j.user)) < 0 ||
        store_column_text(st, 19, j.reason, sizeof(j.reason)) < 0)
        return ERR_CORRUPT;
    j.state = job_state_parse(state);
    if (j.state == JOB_NONE || j.running_report > REPORT_DONE || j.end_report > REPORT_DONE)
        return ERR_CORRUPT;
    *job = j;
    return 0;
}

int store_job_get(struct store *s, const char *id, struct job *job)
{
    sqlite3_stmt *st = s->stmt[STMT_JOB_GET];
    (void)sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    int step = sqlite3_step(st);
    int rc = step == SQLITE_ROW    ? read_job(st, job)
             : step == SQLITE_DONE ? ERR_NOTFOUND
                                   : store_fail(s, step, "job");
    (void)sqlite3_reset(st);
    return rc;
}

static int each_job(struct store *s,
                    sqlite3_stmt *st,
                    void (*fn)(void *ctx, const struct job *job),
                    void *ctx,
                    size_t *unreadable)
{
    struct job job;
    int step;
    *unreadable = 0;
    while ((step = sqlite3_step(st)) == SQLITE_ROW)
        if (read_job(st, &job) == 0)
            fn(ctx, &job);
        else
            ++*unreadable;
    (void)sqlite3_reset(st);
    return step == SQLITE_DONE ? 0 : store_fail(s, step, "jobs");
}

int store_jobs_open(struct store *s,
                    void (*fn)(void *ctx, const struct job *job),
                    void *ctx,
                    size_t *unreadable)
{
    return each_job(s, s->stmt[STMT_JOBS_OPEN], fn, ctx, unreadable);
}

int store_jobs_done(struct store *s,
                    uint64_t above,
                    void (*fn)(void *ctx, const struct job *job),
                    void *ctx)
{
    size_t unreadable;
    store_bind_u64(s, s->stmt[STMT_JOBS_DONE], 1, above);
    return each_job(s, s->stmt[STMT_JOBS_DONE], fn, ctx, &unreadable);
}

int store_top_up_add(
    struct store *s, const char *job, uint64_t block, uint64_t log_index, uint64_t minutes)
{
    sqlite3_stmt *st = s->stmt[STMT_TOP_UP_ADD];
    store_bind_u64(s, st, 1, block);
    store_bind_u64(s, st, 2, log_index);
    (void)sqlite3_bind_text(st, 3, job, -1, SQLITE_STATIC);
    store_bind_u64(s, st, 4, minutes);
    int rc = store_run(s, STMT_TOP_UP_ADD, "top-up");
    return rc < 0 || sqlite3_changes(s->db) ? rc : ERR_EXISTS;
}

int store_top_ups_count(struct store *s, const char *job, uint64_t *count)
{
    return store_find_u64(s, STMT_TOP_UPS_COUNT, job, count, "top-ups");
}

int store_top_ups_undo(struct store *s,
                       uint64_t above,
                       void (*fn)(void *ctx, const char *job, uint64_t minutes),
                       void *ctx)
{
    sqlite3_stmt *st = s->stmt[STMT_TOP_UPS_ABOVE];
    char job[JOB_ID_TEXT];
    int step;
    store_bind_u64(s, st, 1, above);
    while ((step = sqlite3_step(st)) == SQLITE_ROW)
        if (store_column_text(st, 0, job, sizeof(job)) == 0)
            fn(ctx, job, (uint64_t)sqlite3_column_int64(st, 1));
    (void)sqlite3_reset(st);
    if (step != SQLITE_DONE) return store_fail(s, step, "top-ups");
    store_bind_u64(s, s->stmt[STMT_TOP_UPS_CUT], 1, above);
    return store_run(s, STMT_TOP_UPS_CUT, "top-ups");
}

int store_claims_undo(struct store *s, uint64_t above)
{
    store_bind_u64(s, s->stmt[STMT_CLAIMS_UNDO], 1, above);
    return store_run(s, STMT_CLAIMS_UNDO, "claims");
}

int store_script_put(struct store *s, const char *job, const void *body, size_t len)
{
    sqlite3_stmt *st = s->stmt[STMT_SCRIPT_PUT];
    (void)sqlite3_bind_text(st, 1, job, -1, SQLITE_STATIC);
    (void)sqlite3_bind_blob64(st, 2, body, len, SQLITE_STATIC);
    return store_run(s, STMT_SCRIPT_PUT, "script");
}

int store_script_get(struct store *s, const char *job, struct buf *body)
{
    sqlite3_stmt *st = s->stmt[STMT_SCRIPT_GET];
    (void)sqlite3_bind_text(st, 1, job, -1, SQLITE_STATIC);
    int step = sqlite3_step(st);
    int rc = ERR_NOTFOUND;
    if (step == SQLITE_ROW)
        rc = buf_put(body, sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0));
    else if (step != SQLITE_DONE)
        rc = store_fail(s, step, "script");
    (void)sqlite3_reset(st);
    return rc;
}

int store_script_drop(struct store *s, const char *job)
{
    (void)sqlite3_bind_text(s->stmt[STMT_SCRIPT_DROP], 1, job, -1, SQLITE_STATIC);
    return store_run(s, STMT_SCRIPT_DROP, "script");
}
