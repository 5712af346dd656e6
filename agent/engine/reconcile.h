/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is to be done where the store, Slurm and the contract do not agree about a job: a const
 * table (state here, state on chain, state in Slurm) -> action. Pure: no I/O, no clock, no threads.
 * The same table is printed in doc/reconciliation.md, and a test compares the two. survey.c finds
 * out what the three say, and acts.
 */
#ifndef ENGINE_RECONCILE_H
#define ENGINE_RECONCILE_H

#include "agent/engine/fsm.h"

/* RECONCILE_CHAIN_VIEW(name, what the contract says of the job) */
#define RECONCILE_CHAIN_VIEWS(VIEW)                                          \
    VIEW(UNKNOWN, "not known: it cannot be asked, or its answer is too old") \
    VIEW(NONE, "there is no such job")                                       \
    VIEW(OTHER, "another provider's, META_SCHEDULED, SCHEDULED or RUNNING")  \
    VIEW(PENDING, "nobody's")                                                \
    VIEW(META_SCHEDULED, "offered to us, not claimed")                       \
    VIEW(SCHEDULED, "ours, not started")                                     \
    VIEW(RUNNING, "ours, started")                                           \
    VIEW(FINAL, "CANCELLED, FINISHED, FAILED, OUT_OF_CREDITS or PANICKED")

/* RECONCILE_SLURM_VIEW(name, what Slurm says of the job) */
#define RECONCILE_SLURM_VIEWS(VIEW)                                                                \
    VIEW(WAITING, "in the queue, not started")                                                     \
    VIEW(RUNNING, "in the queue, started")                                                         \
    VIEW(ENDED, "in the queue or in accounting, ended")                                            \
    VIEW(ABSENT, "proved to be neither in the queue nor in accounting, twice, a grace time apart") \
    VIEW(UNKNOWN, "not known: Slurm cannot be asked, or has not proved anything yet")

/* RECONCILE_ACTION(name, event of the state machine, what is done) */
#define RECONCILE_ACTIONS(ACTION)                                                                \
    ACTION(NOTHING, NONE, "they agree, or what the state does by itself settles it")             \
    ACTION(WAIT, NONE, "not enough is known; looked at again")                                   \
    ACTION(                                                                                      \
        CLAIM, CLAIM, "taken up from its ClaimJobEvent, if that is in the blocks that are read") \
    ACTION(FOUND, FOUND, "taken up from what the contract and Slurm say of it")                  \
    ACTION(ADOPT, SUBMITTED, "its Slurm job is in Slurm already")                                \
    ACTION(STARTED, STARTED, "as Slurm says")                                                    \
    ACTION(END, END, "as Slurm says")                                                            \
    ACTION(LOST, LOST, "PANICKED is reported, with the time that it is known to have run")       \
    ACTION(GONE, GONE, "given up; its Slurm job, if there may be one, is cancelled")             \
    ACTION(STRAY, STRAY, "its Slurm job is cancelled")                                           \
    ACTION(REPORT, UNREPORTED, "the contract has not what was reported: it is reported again")   \
    ACTION(GIVE_BACK, GIVE_BACK, "the contract wants it run, and here it is over: refuseJob")    \
    ACTION(CONFIRM, CONFIRMED, "the contract agrees with the last report")

enum reconcile_chain {
#define VIEW(name, meaning) RECONCILE_CHAIN_##name,
    RECONCILE_CHAIN_VIEWS(VIEW)
#undef VIEW
        RECONCILE_CHAIN_COUNT,
};

enum reconcile_slurm {
#define VIEW(name, meaning) RECONCILE_SLURM_##name,
    RECONCILE_SLURM_VIEWS(VIEW)
#undef VIEW
        RECONCILE_SLURM_COUNT,
};

enum reconcile_action {
    RECONCILE_UNDECIDED = 0, // of no cell
#define ACTION(name, event, meaning) RECONCILE_##name,
    RECONCILE_ACTIONS(ACTION)
#undef ACTION
        RECONCILE_ACTION_COUNT,
};

/* `state` JOB_NONE: the store does not know the job. */
enum reconcile_action
reconcile_decide(enum job_state state, enum reconcile_chain chain, enum reconcile_slurm slurm);

/* The event that the action is; EV_NONE for NOTHING and WAIT. */
enum job_event reconcile_event(enum reconcile_action action);

const char *reconcile_action_name(enum reconcile_action action);
const char *reconcile_action_meaning(enum reconcile_action action);
const char *reconcile_chain_name(enum reconcile_chain chain);
const char *reconcile_chain_meaning(enum reconcile_chain chain);
const char *reconcile_slurm_name(enum reconcile_slurm slurm);
const char *reconcile_slurm_meaning(enum reconcile_slurm slurm);

#endif
