/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The life of a job: a const table (state, event) -> next state, and for each state what is to be
 * done in it. Pure: no I/O, no clock, no threads. The same table is printed in doc/job-states.md,
 * and a test compares the two.
 */
#ifndef ENGINE_FSM_H
#define ENGINE_FSM_H

#include "agent/store/job.h"

/* JOB_EVENT(name, what happened) */
#define JOB_EVENTS(JOB_EVENT)                                                     \
    JOB_EVENT(CLAIM, "ClaimJobEvent of ours")                                     \
    JOB_EVENT(CLAIM_BAD, "a claim that cannot be run: 0 minutes, absurd numbers") \
    JOB_EVENT(SCRIPT, "the script was fetched")                                   \
    JOB_EVENT(SCRIPT_BAD, "the customer API has no usable script")                \
    JOB_EVENT(DISPATCH, "a submission begins")                                    \
    JOB_EVENT(SUBMITTED, "Slurm took the job, or has it already")                 \
    JOB_EVENT(SUBMIT_REFUSED, "Slurm's verdict, or no such Unix user")            \
    JOB_EVENT(SUBMIT_UNKNOWN, "a submission whose outcome is not known")          \
    JOB_EVENT(RETRY, "what was tried had no effect; it is tried again later")     \
    JOB_EVENT(STARTED, "Slurm started the job")                                   \
    JOB_EVENT(END, "Slurm ended the job")                                         \
    JOB_EVENT(RUNNING_REPORTED, "RUNNING is mined")                               \
    JOB_EVENT(END_REPORTED, "the last report is mined")                           \
    JOB_EVENT(CONFIRMED, "the contract agrees with the last report")              \
    JOB_EVENT(GONE, "the contract wants no more of this job from us")             \
    JOB_EVENT(CANCEL_REQUEST, "its customer cancels it while it runs")            \
    JOB_EVENT(CANCELLED, "its Slurm job is cancelled, or there is none")          \
    JOB_EVENT(TOP_UP, "more time was paid for")                                   \
    JOB_EVENT(EXTENDED, "Slurm knows the time that was paid for")                 \
    JOB_EVENT(FOUND, "not known here, and ours: so say the contract and Slurm")   \
    JOB_EVENT(STRAY, "Slurm has it still, and the contract wants it no more")     \
    JOB_EVENT(LOST, "Slurm has it not, and will not tell of an end")              \
    JOB_EVENT(UNREPORTED, "the contract has not what was reported")               \
    JOB_EVENT(GIVE_BACK, "the contract wants it run, and here it is over")        \
    JOB_EVENT(UNSETTLED, "what ended it may be gone from the chain")

enum job_event {
    EV_NONE = 0,
#define JOB_EVENT(name, meaning) EV_##name,
    JOB_EVENTS(JOB_EVENT)
#undef JOB_EVENT
        EV_COUNT,
};

/* What is to be done in a state. Each is idempotent: a restart asks for it again. */
enum job_intent {
    INTENT_NONE = 0, // nothing, or Slurm is awaited
    INTENT_FETCH,    // fetch the script
    INTENT_LOOK,     // note what bears its name in Slurm already: none of it is this claim's
    INTENT_SUBMIT,   // submit it; once that may have been done, look it up by name first
    INTENT_REPORT,   // see to it that the transactions that are owed are in the outbox
    INTENT_CONFIRM,  // ask the contract
    INTENT_CANCEL,   // cancel the Slurm job
    INTENT_EXTEND,   // tell Slurm the time limit; beside the state's own intent
    INTENT_COUNT,
};

const char *job_event_name(enum job_event event);
const char *job_event_meaning(enum job_event event);
const char *job_state_meaning(enum job_state state);
const char *job_intent_name(enum job_intent intent);

/* The state after `event`, or JOB_NONE if the pair is not allowed: that is to be logged and
 * counted. */
enum job_state fsm_next(enum job_state state, enum job_event event);

enum job_intent fsm_intent(enum job_state state);

#endif
