/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reorganisations: what was read from blocks that are gone from the chain is taken back.
 * Transactions of ours are in flight again, as the same bytes, and their reports are under way;
 * claims are awaited again, and their jobs go on meanwhile; top-ups are forgotten, and told anew by
 * the blocks that came instead; jobs that were done with are not, perhaps. Whether a job is still
 * ours is then asked of the contract (survey.c). Nothing here submits or cancels anything.
 */
#include <inttypes.h>
#include <string.h>

#include "agent/engine/engine_private.h"
#include "agent/util/clock.h"

bool engine_reorg_has(const struct engine *e, uint64_t block, const struct eth_hash *hash)
{
    const struct chain_block *known = blocks_find(&e->blocks, block);
    return !known || memcmp(&known->hash, hash, sizeof(*hash)) == 0;
}

static bool is_gone(const struct engine *e, const struct tx *row)
{
    struct eth_hash hash;
    memcpy(hash.b, row->block_hash, sizeof(hash.b));
    return !engine_reorg_has(e, row->block, &hash);
}

struct search {
    struct engine *e;
    bool all;
    struct live_tx *first; // of those that were found; the rest follow it
};

static void find_tx(void *ctx, const struct tx *row)
{
    struct search *s = ctx;
    if (!s->all && !is_gone(s->e, row)) return;
    struct live_tx *t = engine_tx_add(s->e, row);
    if (!s->first) s->first = t;
}

/* Those that were mined above `above`: all of them, or those in blocks that have another hash. */
static void unmine(struct engine *e, uint64_t above, bool all)
{
    struct search s = {.e = e, .all = all};
    (void)store_txs_mined(e->o.store, above, find_tx, &s);
    for (struct live_tx *t = s.first; t; t = t->next) {
        log_job_warn(t->row.job[0] ? t->row.job : NULL,
                     "%s is mined no more, block %" PRIu64 " is gone: sent again",
                     tx_kind_name(t->row.kind),
                     t->row.block);
        engine_outbox_unreport(e, &t->row);
        engine_inflight_unmine(e, t);
    }
    if (s.first) (void)engine_purse_load(e, NULL); // they have cost nothing yet
}

/* A receipt may have come from a block that was gone by then. */
void engine_reorg_check(struct engine *e, uint64_t from)
{
    unmine(e, from > 0 ? from - 1 : 0, false);
}

static void undo_top_up(void *ctx, const char *job, uint64_t minutes)
{
    struct live_job *j = engine_job_find(ctx, job);
    if (j) j->row.limit_min = j->row.limit_min > minutes ? j->row.limit_min - minutes : 0;
}

static void take_up(void *ctx, const struct job *row)
{
    if (!engine_job_find(ctx, row->id)) (void)engine_job_add(ctx, row);
}

/*
 * A job may be DONE by what others did in blocks that are gone: its customer cancelled it, say.
 * It is REPORTED again, so that the next process asks, too; while a worker is at it it stays DONE,
 * and is asked about all the same. Heads run ahead of done_at by a few blocks, and who is asked
 * about for nothing is DONE again.
 */
static void take_up_done(struct engine *e, uint64_t fork)
{
    uint64_t above = fork > BLOCKS_MAX ? fork - BLOCKS_MAX : 0;
    (void)store_jobs_done(e->o.store, above, take_up, e);
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (struct live_job *j = e->jobs[i]; j; j = j->next)
            engine_job_unsettle(e, j, "blocks are gone");
}

static void undo_jobs(struct engine *e, uint64_t fork)
{
    (void)store_claims_undo(e->o.store, fork);
    (void)store_top_ups_undo(e->o.store, fork, undo_top_up, e);
    take_up_done(e, fork);
    for (size_t i = 0; i < JOB_BUCKETS; i++)
        for (struct live_job *j = e->jobs[i]; j; j = j->next) {
            if (j->row.claim_at > fork && j->row.claim_at != JOB_CLAIM_GONE) {
                j->row.claim_at = JOB_CLAIM_GONE;
                j->held = true; // not submitted before the contract agrees
                log_job_warn(j->row.id, "its claim is gone from the chain; it goes on meanwhile");
            }
            (void)store_job_put(e->o.store, &j->row);
            engine_survey_want(j, clock_mono_ms());
        }
}

void engine_on_chain_reorg(struct engine *e, struct mail *m)
{
    uint64_t fork = ((const struct reorg_mail *)m)->fork;
    e->claimed_block = 0;
    blocks_cut(&e->blocks, fork);
    (void)store_blocks_cut(e->o.store, fork);
    (void)store_meta_put_u64(e->o.store, "cursor", fork);
    unmine(e, fork, true);
    undo_jobs(e, fork);
}
