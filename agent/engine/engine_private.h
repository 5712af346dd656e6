/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Shared by the files of agent/engine only. */
#ifndef ENGINE_ENGINE_PRIVATE_H
#define ENGINE_ENGINE_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/chain/blocks.h"
#include "agent/chain/txpolicy.h"
#include "agent/engine/engine.h"
#include "agent/engine/fsm.h"
#include "agent/engine/mailbox.h"
#include "agent/engine/reconcile.h"
#include "agent/engine/workers.h"
#include "agent/util/log.h"

/* What the contract said of a job when it was asked after the last report. */
struct chain_bill {
    bool known;
    uint8_t status;
    uint64_t start_s, end_s;
    struct u256 cost, price_per_min; // price: 0 = not known
    bool price_of_then;              // of the end, which it is billed by; or that of now
};

/* A job that is not done, and what only this process knows of it. */
struct live_job {
    struct job row;
    struct live_job *next;      // of the hash bucket
    bool busy;                  // a worker is at it: nothing else is begun
    bool touched;               // look at its intent before the turn ends
    unsigned int attempts;      // failures in a row
    long long retry_at_ms;      // not before; 0 = at once
    long long unknown_since_ms; // a submission's outcome is unknown since; 0 = it is not
    int64_t waited_until_s;     // when it was last seen to wait in Slurm (wall clock); 0 = never
    struct chain_bill bill;
    bool in_snapshot; // capacity.c: it ran when the nodes were last asked for

    /* Reconciliation: survey.c. */
    bool inherited;              // not claimed by this process: it may be in Slurm already
    bool held;                   // likewise, and the contract was not asked yet: nothing is begun
    bool listed;                 // a listing had a job of its name
    bool probing;                // the contract is being asked
    long long probe_at_ms;       // the contract is to be asked then; 0 = no need
    unsigned int asked, shown;   // rounds of the query that asked for it, and that showed it
    enum reconcile_slurm slurm;  // as round `shown` had it
    int64_t running_s;           // Slurm last showed it running then, wall clock; 0 = never
    enum slurm_proof proof;      // of its absence
    long long absent_since_ms;   // proved in every round since; 0 = it is not
    enum reconcile_action doubt; // was decided once, and is done if it is decided again
    long long doubt_since_ms;
};

/* A call that is not mined yet. */
struct live_tx {
    struct tx row;
    struct live_tx *next;                              // in the order in which they were wanted
    bool handed;                                       // to the sender, as far as it is
    unsigned int setbacks;                             // in a row: made anew, or not to be signed
    long long retry_at_ms;                             // not before; 0 = at once
    struct tx_attempt last;                            // SIGNED: what is sent
    struct chain_attempt attempts[CHAIN_ATTEMPTS_MAX]; // the last one last
    size_t attempt_count;
};

/* What is done once the turn is committed. */
struct action {
    struct action *next;
    void (*run)(struct engine *e, struct action *a);
    void (*drop)(struct action *a); // instead, if it could not be committed; NULL: nothing to do
};

enum { JOB_BUCKETS = 1024 };

/* When store, Slurm and chain are compared: survey.c. */
struct survey {
    bool listing, probing;       // a task is under way
    long long list_at_ms;        // the next listing
    long long listed_ms;         // the last one; 0 = none yet
    long long all_at_ms;         // every job is due then
    long long probe_after_ms;    // the next task of probes: not before
    struct slurm_job *strangers; // of the last listing: the contract is yet to be asked about them
    size_t stranger_count;
    unsigned int round; // of the batched query
    bool shows_ours;    // Slurm has shown this process a job of ours
    struct log_limit stranger_limit, blind_limit;
};

/* The partition as it was when Slurm was asked. */
struct live_partition {
    struct slurm_partition is; // no nodes: not asked for yet
    long long at_ms;
};

/* What is free of it, with --claim.only-if-free. */
struct live_capacity {
    struct live_partition seen;
    bool looking;      // a worker is at it
    bool granted;      // one claim may be sent
    long long next_ms; // not before, after one that did not fit
    struct log_limit limit;
};

/* How we stand with the ProviderManager. */
struct live_registration {
    enum registration_state state; // as last decided
    bool checking, again;          // a worker is at it; its answer is not to be used
    long long next_ms;             // of the next check
    bool polled;                   // what follows is as a poll said
    bool valid, waiting, open;
    bool checked;     // since that poll last changed
    bool zero_prices; // approved with these: a claim would revert
    /* In the store. Times of the wall clock, 0 = none. */
    int64_t last_ms, differs_since_ms;
    bool was_approved, human_asked;
    char told[1024]; // the last line of the log about it
    struct log_limit closed_limit, grace_limit;
};

struct engine {
    struct engine_options o;
    struct mailbox *mailbox;
    struct workers *workers;
    struct chain *chain;
    atomic_bool stopping;

    struct live_job *jobs[JOB_BUCKETS];
    size_t job_count;
    struct live_tx *txs, **last_tx;
    struct action *actions, **last_action;
    bool out_of_memory; // a turn could not be completed: it must not be committed

    /* The chain as last seen. */
    bool chain_up;
    struct chain_ready ready;
    struct chain_poll poll;
    long long polled_at_ms; // when it came; 0 = none yet
    struct blocks blocks;   // whose logs were read
    bool account_known;
    struct chain_account account;
    uint64_t nonces_told; // nonces below it that are not ours were told of
    struct {              // nonce that ours wait for, if nobody has taken it; since when
        enum tx_gap kind;
        uint64_t nonce, head;
        long long at_ms;
    } gap;
    struct {
        enum purse_state state, told;
        struct u256 spent; // on that day, a number of days since the epoch, UTC
        int64_t day;
        struct log_limit limit;
    } purse;
    long long claims_paused_until_ms[TX_KIND_COUNT]; // of the claiming kinds
    uint64_t bill_grace_min;                         // of the contract, as last read: register.c
    uint64_t claimed_block; // of the last claim: the queue lengths of a block before it are old

    struct live_registration registration;
    struct live_capacity capacity;
    struct live_partition layout; // as of a job that was looked at: what it can ever hold

    /* Slurm as last seen. */
    bool slurm_up, slurm_known;
    bool slurm_asked; // a query or ping is under way
    long long slurm_next_ms;

    struct survey survey;
    char status[256]; // as last told
    long long prune_at_ms, alive_at_ms;
    struct log_limit claim_limit, slurm_limit, event_limit, sign_limit, early_limit;
    uint64_t early_dropped; // events that were kept, and gave way to newer ones
};

/* Messages: what kind of mail this is. */
enum mail_kind {
    MAIL_CHAIN_READY = 1,
    MAIL_CHAIN_POLL,
    MAIL_CHAIN_LOGS,
    MAIL_CHAIN_REORG,
    MAIL_CHAIN_DOWN,
    MAIL_TX_PREPARED,
    MAIL_TX_REJECTED,
    MAIL_TX_MINED,
    MAIL_TX_STUCK,
    MAIL_TX_VOID,
    MAIL_ACCOUNT,
    MAIL_PLUGIN_EVENT,
    MAIL_JOB_TASK,
    MAIL_SLURM_TASK,
    MAIL_LISTING,
    MAIL_PROBES,
    MAIL_REGISTER_TASK,
    MAIL_CAPACITY_TASK,
    MAIL_KIND_COUNT,
};

/* jobs.c: the table of live jobs and their passage through the state machine. */
struct live_job *engine_job_find(struct engine *e, const char *id);
struct live_job *engine_job_add(struct engine *e, const struct job *row);
void engine_job_drop(struct engine *e, struct live_job *j);
void engine_jobs_free(struct engine *e);

/*
 * Move a job by an event: new state and journal are written, the intent is looked at before the
 * turn ends. False if the state machine forbids the pair; that is logged, and nothing changes.
 */
bool engine_job_event_apply(struct engine *e,
                            struct live_job *j,
                            enum job_event event,
                            const char *detail);

/* What made it DONE, if it is, may be gone from the chain: the contract is asked. */
void engine_job_unsettle(struct engine *e, struct live_job *j, const char *why);

/* The account of a job that nothing is left to do for; `reported`: its end was, and is mined. */
void engine_job_close_bill(struct engine *e, const struct live_job *j, bool reported);

/* Give up on what was tried for now: EV_RETRY, and wait (longer each time, at least min_ms). */
void engine_job_retry(
    struct engine *e, struct live_job *j, long long min_ms, const char *what, const char *why);

/* Begin what the states of touched or due jobs ask for; forget the ones that are done. */
void engine_jobs_pursue(struct engine *e);

/* Reports that were put off are tried again at once: what they were refused for has changed. */
void engine_jobs_report_now(struct engine *e);

/* When the next job is due (clock_mono_ms), or LLONG_MAX. */
long long engine_jobs_next_ms(const struct engine *e);

/* Slurm has it, as far as we know: it is queried, and its time limit kept right. */
bool engine_job_in_slurm(const struct live_job *j);

/* It may yet be submitted. */
bool engine_job_before_slurm(const struct live_job *j);

/* The time limit that Slurm must have: what earlier attempts spent is not there to be spent again.
 */
uint64_t engine_job_slurm_limit_min(const struct job *job);

/* outbox.c: what is to be said to the contract, and what came of it. */
void engine_outbox_free(struct engine *e);
void engine_outbox_claim(struct engine *e); // as many claims as the queue and the limits allow
bool engine_outbox_register(struct engine *e, struct buf *call); // false: no room, no memory
void engine_outbox_report(struct engine *e, struct live_job *j);
size_t engine_outbox_claims(const struct engine *e); // under way, of jobs
bool engine_outbox_has_hash(const struct engine *e, const struct eth_hash *tx);
bool engine_outbox_has_job(const struct engine *e, const char *job, enum tx_kind kind);
uint64_t engine_outbox_end_block(struct engine *e, const struct job *job); // 0: not by us
struct live_tx *engine_tx_find(struct engine *e, uint64_t id);
struct live_tx *engine_tx_add(struct engine *e, const struct tx *row);
/* Store a call that is to be made once, as its key says; ERR_EXISTS if that is under way. */
int engine_tx_want(struct engine *e, struct tx *row, bool again);
void engine_tx_close(struct engine *e, struct live_tx *t, enum tx_state state, const char *reason);
void engine_on_tx_rejected(struct engine *e, struct mail *m);
void engine_outbox_unreport(struct engine *e, const struct tx *tx); // it is un-mined
void engine_on_tx_mined(struct engine *e, struct mail *m);

/* inflight.c: nonces, signatures, and what the sender has in hand. */
int engine_inflight_load(struct engine *e, struct error *err);
void engine_inflight_unmine(struct engine *e, struct live_tx *t);
void engine_inflight_pursue(struct engine *e); // hand over what may be in flight
long long engine_inflight_next_ms(const struct engine *e);
void engine_on_account(struct engine *e, struct mail *m);
void engine_on_tx_prepared(struct engine *e, struct mail *m);
void engine_on_tx_stuck(struct engine *e, struct mail *m);
void engine_on_tx_void(struct engine *e, struct mail *m);

/* purse.c: balance and spending. */
int engine_purse_load(struct engine *e, struct error *err); // anew, too: the store knows better
void engine_purse_pay(struct engine *e, struct u256 cost);
void engine_purse_look(struct engine *e); // the account or the jobs have changed
bool engine_purse_allows_jobs(const struct engine *e);

/* register.c: being registered as a provider. */
void engine_register_load(struct engine *e);
void engine_register_check(struct engine *e); // if it is time
void engine_register_soon(struct engine *e);  // what is to be registered has changed
long long engine_register_next_ms(const struct engine *e);
void engine_on_register_task(struct engine *e, struct mail *m);
void engine_register_poll(struct engine *e);                     // e->poll is new
void engine_register_done(struct engine *e, const char *revert); // NULL: it is mined
bool engine_register_lets_claim(const struct engine *e, enum tx_kind kind);
const char *engine_register_status(const struct engine *e); // "; ..." or ""

/* capacity.c: how many claims may be sent now; looks for room if it does not know. */
uint64_t engine_capacity_grant(struct engine *e);
/*
 * 0 if the partition can run the job when nothing else runs there, else ERR_REFUSED and the reason
 * for the customer. For any thread.
 */
int engine_capacity_check(const struct slurm_partition *p,
                          const struct job *row,
                          struct error *err);
bool engine_capacity_fits(const struct engine *e, const struct job *row); // by what was learnt
void engine_capacity_learn(struct engine *e, struct slurm_partition *p);  // takes the nodes
void engine_on_capacity_task(struct engine *e, struct mail *m);

/* from_chain.c */
extern const struct chain_ops engine_chain_ops;
void engine_on_chain_ready(struct engine *e, struct mail *m);
void engine_on_chain_poll(struct engine *e, struct mail *m);
void engine_on_chain_logs(struct engine *e, struct mail *m);
void engine_on_chain_down(struct engine *e, struct mail *m);
void engine_chain_event(struct engine *e, const struct chain_event *ev);

/* The row of a claim in `block`; `old` is the job's earlier life here, or NULL. */
struct job engine_job_of_claim(const struct eth_hash *id,
                               const struct chain_claim *claim,
                               uint64_t block,
                               const struct job *old);

/* reorg.c: what a reorganisation takes back. */
void engine_on_chain_reorg(struct engine *e, struct mail *m);
void engine_reorg_check(struct engine *e, uint64_t from); // blocks from there on were read
/* Is a receipt of that block, as far as is known, of the chain? */
bool engine_reorg_has(const struct engine *e, uint64_t block, const struct eth_hash *hash);

struct reorg_mail {
    struct mail mail;
    uint64_t fork;
};

/* Mail of the sender: what became of transaction `id`. */
struct tx_mail {
    struct mail mail;
    uint64_t id;
    struct chain_fees fees;            // PREPARED, STUCK
    struct eth_hash hash;              // MINED, STUCK, VOID: the attempt
    const char *why;                   // VOID; static
    struct u256 cost;                  // MINED
    const char *revert_name;           // REJECTED, MINED and reverted
    char revert[CHAIN_ERROR_TEXT_MAX]; // "
    bool ok;                           // MINED
    uint64_t block;
    struct eth_hash block_hash;
    int64_t block_time_s;
    struct chain_event *events; // owned
    size_t event_count;
};

struct account_mail {
    struct mail mail;
    struct chain_account account;
};

/* The time that a block mined now would bear. */
int64_t engine_chain_now_s(const struct engine *e);

/* news.c: what was told of a Slurm job. `who` told it, for people. */
void engine_news_take(struct engine *e, struct live_job *j, const struct news *n, const char *who);

/* Keep news in the store that cannot be taken yet; `known`: its job is in the store. */
void engine_news_keep(struct engine *e, const char *job, bool known, const struct news *n);
void engine_news_replay(struct engine *e, struct live_job *j); // its Slurm id is known now

/*
 * Slurm answered, and knows nothing of the job, which it had: an end that was told before is the
 * last one. True if there was one.
 */
bool engine_news_missing(struct engine *e, struct live_job *j);

/* Are they of the Slurm job that was submitted for it? */
bool engine_news_is_of(const struct job *row, const struct news *n);

/* Log news that name another Slurm job than ours: somebody named his job like a customer's. */
void engine_news_foreign(struct engine *e, const char *job, uint64_t named, uint64_t ours);

/* from_plugins.c */
void engine_on_plugin_event(struct engine *e, struct mail *m);

/* from_slurm.c */
void engine_on_slurm_task(struct engine *e, struct mail *m);
void engine_slurm_soon(struct engine *e); // query within a second
void engine_slurm_ask(struct engine *e);  // ping or query if one is due
long long engine_slurm_next_ms(const struct engine *e);
void engine_slurm_watch(struct engine *e); // a job is in Slurm: do not rest until the next query
void engine_slurm_see(struct engine *e, const struct slurm_job *s); // what an answer says of a job

/*
 * Is it the job that was submitted? Its id may be another's by now, which has another name, or was
 * another's before, which was submitted earlier. (A job that is put back into the queue counts as
 * submitted then.)
 */
bool engine_job_is(const struct job *row, const struct slurm_job *s);

/* From one question to the next: with so many jobs in Slurm, a minute at rest. */
long long engine_slurm_pause_ms(bool up, size_t jobs, long long query_interval_ms);

/* A Slurm operation told whether slurmctld can be reached. */
void engine_slurm_seen(struct engine *e, bool up, const char *why);

/* tasks.c: what workers do for a job. */
void engine_task_start(struct engine *e, struct live_job *j, enum job_intent intent);
void engine_on_job_task(struct engine *e, struct mail *m);

/* survey.c: reconciliation */
void engine_survey_inherit(struct live_job *j); // held until the contract was asked about it
void engine_survey_want(struct live_job *j, long long at_ms); // ask about it then, or sooner
void engine_survey_want(struct live_job *j, long long at_ms); // ask about it then, or sooner
void engine_survey_all(struct engine *e);  // the chain was away: ask about every job
void engine_survey_list(struct engine *e); // Slurm was away: list its jobs
void engine_survey_ask(struct engine *e);  // begin what is due
long long engine_survey_next_ms(const struct engine *e);
void engine_survey_free(struct engine *e);
void engine_on_listing(struct engine *e, struct mail *m);
void engine_on_probes(struct engine *e, struct mail *m);

/* What a round of the batched query showed of a job; what it proved of those that it did not; and
 * that it could not be made. */
void engine_survey_shown(struct engine *e, struct live_job *j, const struct slurm_job *s);
void engine_survey_missing(struct engine *e, enum slurm_proof proof);
void engine_survey_blind(struct engine *e);

/* tell.c: after the turn, tell the customer the job's reason. */
void engine_tell_customer(struct engine *e, const struct job *job);

/* engine.c */
void *engine_alloc(struct engine *e, size_t size); // zeroed; marks the turn on failure
void engine_after_commit(struct engine *e, struct action *a);
bool engine_work(struct engine *e, struct task *t); // after the commit; false, dropped: no memory
void engine_post(struct engine *e, struct mail *m); // must be taken
/* What waited for the commit is done, or dropped if there was none. */
void engine_act(struct engine *e, bool committed);

#endif
