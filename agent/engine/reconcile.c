/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/engine/reconcile.h"

struct text {
    const char *name, *meaning;
};

static const struct text chain_texts[RECONCILE_CHAIN_COUNT] = {
#define VIEW(name, meaning) [RECONCILE_CHAIN_##name] = {#name, meaning},
    RECONCILE_CHAIN_VIEWS(VIEW)
#undef VIEW
};

static const struct text slurm_texts[RECONCILE_SLURM_COUNT] = {
#define VIEW(name, meaning) [RECONCILE_SLURM_##name] = {#name, meaning},
    RECONCILE_SLURM_VIEWS(VIEW)
#undef VIEW
};

static const struct {
    struct text text;
    enum job_event event;
} actions[RECONCILE_ACTION_COUNT] = {
#define ACTION(name, event, meaning) [RECONCILE_##name] = {{#name, meaning}, EV_##event},
    RECONCILE_ACTIONS(ACTION)
#undef ACTION
};

/* waiting, running, ended, absent, unknown: the order of enum reconcile_slurm */
#define ROW(w, r, e, a, u)                                                        \
    {                                                                             \
        RECONCILE_##w, RECONCILE_##r, RECONCILE_##e, RECONCILE_##a, RECONCILE_##u \
    }
#define ALL(x) ROW(x, x, x, x, x)

#define NOT_OURS(row)                                                                             \
    [RECONCILE_CHAIN_NONE] = row, [RECONCILE_CHAIN_OTHER] = row, [RECONCILE_CHAIN_PENDING] = row, \
    [RECONCILE_CHAIN_META_SCHEDULED] = row

/*
 * Nothing was submitted, as far as the store knows: it may be older than what happened. A job that
 * the contract says has started is never submitted (again).
 */
#define BEFORE_SUBMISSION                                                         \
    {                                                                             \
        [RECONCILE_CHAIN_UNKNOWN] = ROW(ADOPT, ADOPT, ADOPT, WAIT, WAIT),         \
        NOT_OURS(ROW(ADOPT, ADOPT, GONE, GONE, GONE)),                            \
        [RECONCILE_CHAIN_SCHEDULED] = ROW(ADOPT, ADOPT, ADOPT, NOTHING, NOTHING), \
        [RECONCILE_CHAIN_RUNNING] = ROW(ADOPT, ADOPT, ADOPT, LOST, WAIT),         \
        [RECONCILE_CHAIN_FINAL] = ROW(ADOPT, ADOPT, GONE, GONE, GONE),            \
    }

#define STARTED_HERE                                                                               \
    {                                                                                              \
        [RECONCILE_CHAIN_UNKNOWN] = ROW(NOTHING, NOTHING, END, WAIT, WAIT),                        \
        NOT_OURS(ALL(GONE)), [RECONCILE_CHAIN_SCHEDULED] = ROW(REPORT, REPORT, END, LOST, REPORT), \
        [RECONCILE_CHAIN_RUNNING] = ROW(NOTHING, NOTHING, END, LOST, WAIT),                        \
        [RECONCILE_CHAIN_FINAL] = ALL(GONE),                                                       \
    }

static const unsigned char table[JOB_STATE_COUNT][RECONCILE_CHAIN_COUNT][RECONCILE_SLURM_COUNT] =
    {
        [JOB_NONE] =
            {
                [RECONCILE_CHAIN_UNKNOWN] = ROW(WAIT, WAIT, WAIT, NOTHING, NOTHING),
                [RECONCILE_CHAIN_NONE] = ALL(NOTHING), // nobody's: whose it is cannot be told
                [RECONCILE_CHAIN_OTHER] = ROW(STRAY, STRAY, NOTHING, NOTHING, NOTHING),
                [RECONCILE_CHAIN_PENDING] = ROW(STRAY, STRAY, NOTHING, NOTHING, NOTHING),
                [RECONCILE_CHAIN_META_SCHEDULED] = ROW(STRAY, STRAY, NOTHING, NOTHING, NOTHING),
                [RECONCILE_CHAIN_SCHEDULED] = ROW(FOUND, FOUND, FOUND, CLAIM, CLAIM),
                [RECONCILE_CHAIN_RUNNING] = ROW(FOUND, FOUND, FOUND, CLAIM, CLAIM),
                [RECONCILE_CHAIN_FINAL] = ROW(STRAY, STRAY, NOTHING, NOTHING, NOTHING),
            },
        [JOB_CLAIMED] = BEFORE_SUBMISSION,
        [JOB_FETCHED] = BEFORE_SUBMISSION,
        [JOB_SUBMITTING] =
            {
                [RECONCILE_CHAIN_UNKNOWN] = ROW(ADOPT, ADOPT, ADOPT, WAIT, WAIT),
                NOT_OURS(ALL(GONE)), // CANCELLING looks for the Slurm job
                [RECONCILE_CHAIN_SCHEDULED] = ROW(ADOPT, ADOPT, ADOPT, NOTHING, NOTHING),
                [RECONCILE_CHAIN_RUNNING] = ROW(ADOPT, ADOPT, ADOPT, LOST, WAIT),
                [RECONCILE_CHAIN_FINAL] = ALL(GONE),
            },
        [JOB_SUBMITTED] =
            {
                [RECONCILE_CHAIN_UNKNOWN] = ROW(NOTHING, STARTED, END, WAIT, WAIT),
                NOT_OURS(ALL(GONE)),
                [RECONCILE_CHAIN_SCHEDULED] = ROW(NOTHING, STARTED, END, LOST, WAIT),
                [RECONCILE_CHAIN_RUNNING] = ROW(NOTHING, STARTED, END, LOST, WAIT),
                [RECONCILE_CHAIN_FINAL] = ALL(GONE),
            },
        [JOB_RUNNING] = STARTED_HERE,
        [JOB_STOPPING] = STARTED_HERE,
        [JOB_ENDED] =
            {
                [RECONCILE_CHAIN_UNKNOWN] = ALL(NOTHING),
                NOT_OURS(ALL(GONE)),
                [RECONCILE_CHAIN_SCHEDULED] = ALL(REPORT),
                [RECONCILE_CHAIN_RUNNING] = ALL(NOTHING),
                [RECONCILE_CHAIN_FINAL] = ALL(NOTHING), // by our report, or its verdict will say so
            },
        [JOB_REFUSED] =
            {
                [RECONCILE_CHAIN_UNKNOWN] = ALL(NOTHING),
                [RECONCILE_CHAIN_NONE] = ALL(GONE),
                [RECONCILE_CHAIN_OTHER] = ALL(GONE),
                [RECONCILE_CHAIN_PENDING] = ALL(NOTHING), // by our refusal, or likewise
                [RECONCILE_CHAIN_META_SCHEDULED] = ALL(NOTHING),
                [RECONCILE_CHAIN_SCHEDULED] = ALL(NOTHING),
                [RECONCILE_CHAIN_RUNNING] = ALL(LOST), // it cannot be refused any more
                [RECONCILE_CHAIN_FINAL] = ALL(GONE),
            },
        [JOB_CANCELLING] =
            {
                [RECONCILE_CHAIN_UNKNOWN] = ALL(NOTHING),
                NOT_OURS(ALL(NOTHING)),
                [RECONCILE_CHAIN_SCHEDULED] = ALL(WAIT), // claimed again: once it is DONE
                [RECONCILE_CHAIN_RUNNING] = ALL(WAIT),
                [RECONCILE_CHAIN_FINAL] = ALL(NOTHING),
            },
        [JOB_REPORTED] =
            {
                [RECONCILE_CHAIN_UNKNOWN] = ALL(NOTHING),
                NOT_OURS(ALL(CONFIRM)),
                [RECONCILE_CHAIN_SCHEDULED] = ALL(REPORT),
                [RECONCILE_CHAIN_RUNNING] = ALL(REPORT),
                [RECONCILE_CHAIN_FINAL] = ALL(CONFIRM),
            },
        [JOB_DONE] =
            {
                [RECONCILE_CHAIN_UNKNOWN] = ROW(WAIT, WAIT, NOTHING, NOTHING, NOTHING),
                NOT_OURS(ROW(STRAY, STRAY, NOTHING, NOTHING, NOTHING)),
                [RECONCILE_CHAIN_SCHEDULED] = ROW(STRAY, STRAY, GIVE_BACK, GIVE_BACK, GIVE_BACK),
                [RECONCILE_CHAIN_RUNNING] = ROW(FOUND, FOUND, LOST, LOST, LOST),
                [RECONCILE_CHAIN_FINAL] = ROW(STRAY, STRAY, NOTHING, NOTHING, NOTHING),
            },
};

enum reconcile_action
reconcile_decide(enum job_state state, enum reconcile_chain chain, enum reconcile_slurm slurm)
{
    if ((unsigned int)state >= JOB_STATE_COUNT || (unsigned int)chain >= RECONCILE_CHAIN_COUNT ||
        (unsigned int)slurm >= RECONCILE_SLURM_COUNT)
        return RECONCILE_WAIT;
    return (enum reconcile_action)table[state][chain][slurm];
}

enum job_event reconcile_event(enum reconcile_action action)
{
    return (unsigned int)action < RECONCILE_ACTION_COUNT ? actions[action].event : EV_NONE;
}

const char *reconcile_action_name(enum reconcile_action action)
{
    return (unsigned int)action < RECONCILE_ACTION_COUNT ? actions[action].text.name : "?";
}

const char *reconcile_action_meaning(enum reconcile_action action)
{
    return (unsigned int)action < RECONCILE_ACTION_COUNT ? actions[action].text.meaning : "";
}

const char *reconcile_chain_name(enum reconcile_chain chain)
{
    return (unsigned int)chain < RECONCILE_CHAIN_COUNT ? chain_texts[chain].name : "?";
}

const char *reconcile_chain_meaning(enum reconcile_chain chain)
{
    return (unsigned int)chain < RECONCILE_CHAIN_COUNT ? chain_texts[chain].meaning : "";
}

const char *reconcile_slurm_name(enum reconcile_slurm slurm)
{
    return (unsigned int)slurm < RECONCILE_SLURM_COUNT ? slurm_texts[slurm].name : "?";
}

const char *reconcile_slurm_meaning(enum reconcile_slurm slurm)
{
    return (unsigned int)slurm < RECONCILE_SLURM_COUNT ? slurm_texts[slurm].meaning : "";
}
