/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/engine/fsm.h"

static const struct {
    const char *name, *meaning;
} events[EV_COUNT] = {[EV_NONE] = {"NONE", ""},
#define JOB_EVENT(name, meaning) [EV_##name] = {#name, meaning},
                      JOB_EVENTS(JOB_EVENT)
#undef JOB_EVENT
};

static const char *const state_meanings[JOB_STATE_COUNT] = {[JOB_NONE] = "not known",
#define JOB_STATE(name, meaning) [JOB_##name] = (meaning),
                                                            JOB_STATES(JOB_STATE)
#undef JOB_STATE
};

static const char *const intents[INTENT_COUNT] = {
    "nothing", "fetch", "look", "submit", "report", "confirm", "cancel"};

const char *job_event_name(enum job_event event)
{
    return (unsigned int)event < EV_COUNT ? events[event].name : "NONE";
}

const char *job_event_meaning(enum job_event event)
{
    return (unsigned int)event < EV_COUNT ? events[event].meaning : "";
}

const char *job_state_meaning(enum job_state state)
{
    return (unsigned int)state < JOB_STATE_COUNT ? state_meanings[state] : "";
}

const char *job_intent_name(enum job_intent intent)
{
    return (unsigned int)intent < INTENT_COUNT ? intents[intent] : "nothing";
}

static const enum job_intent state_intents[JOB_STATE_COUNT] = {
    [JOB_CLAIMED] = INTENT_FETCH,
    [JOB_FETCHED] = INTENT_LOOK,
    [JOB_SUBMITTING] = INTENT_SUBMIT,
    [JOB_RUNNING] = INTENT_REPORT,
    [JOB_ENDED] = INTENT_REPORT,
    [JOB_REFUSED] = INTENT_REPORT,
    [JOB_CANCELLING] = INTENT_CANCEL,
    [JOB_STOPPING] = INTENT_CANCEL,
    [JOB_REPORTED] = INTENT_CONFIRM,
};

enum job_intent fsm_intent(enum job_state state)
{
    return (unsigned int)state < JOB_STATE_COUNT ? state_intents[state] : INTENT_NONE;
}

/*
 * A pair that is not here is a mistake somewhere, and is logged as one. Pairs that change nothing
 * are here on purpose: each is a duplicate, or a message that crossed another on its way.
 */
static const unsigned char next[JOB_STATE_COUNT][EV_COUNT] = {
    [JOB_NONE] =
        {
            [EV_CLAIM] = JOB_CLAIMED,
            [EV_CLAIM_BAD] = JOB_ENDED,
            [EV_FOUND] = JOB_SUBMITTED,
            [EV_STRAY] = JOB_CANCELLING,
        },
    [JOB_CLAIMED] =
        {
            [EV_SCRIPT] = JOB_FETCHED,
            [EV_SCRIPT_BAD] = JOB_ENDED,
            [EV_RETRY] = JOB_CLAIMED,
            [EV_GONE] = JOB_DONE,
            [EV_TOP_UP] = JOB_CLAIMED,
            [EV_SUBMITTED] = JOB_SUBMITTED,
            [EV_LOST] = JOB_ENDED,
            [EV_CANCEL_REQUEST] = JOB_CLAIMED,
        },
    [JOB_FETCHED] =
        {
            [EV_DISPATCH] = JOB_SUBMITTING,
            [EV_SUBMIT_REFUSED] = JOB_REFUSED,
            [EV_RETRY] = JOB_FETCHED,
            [EV_GONE] = JOB_DONE,
            [EV_TOP_UP] = JOB_FETCHED,
            [EV_SUBMITTED] = JOB_SUBMITTED,
            [EV_LOST] = JOB_ENDED,
            [EV_CANCEL_REQUEST] = JOB_FETCHED,
        },
    [JOB_SUBMITTING] =
        {
            [EV_SUBMITTED] = JOB_SUBMITTED,
            [EV_SUBMIT_REFUSED] = JOB_REFUSED,
            [EV_SUBMIT_UNKNOWN] = JOB_SUBMITTING,
            [EV_RETRY] = JOB_SUBMITTING,
            [EV_GONE] = JOB_CANCELLING,
            [EV_TOP_UP] = JOB_SUBMITTING,
            [EV_LOST] = JOB_ENDED,
            [EV_CANCEL_REQUEST] = JOB_SUBMITTING,
        },
    [JOB_SUBMITTED] =
        {
            [EV_STARTED] = JOB_RUNNING,
            [EV_END] = JOB_ENDED,
            [EV_GONE] = JOB_CANCELLING,
            [EV_RETRY] = JOB_SUBMITTED,
            [EV_CANCEL_REQUEST] = JOB_STOPPING,
            [EV_TOP_UP] = JOB_SUBMITTED,
            [EV_EXTENDED] = JOB_SUBMITTED,
            [EV_LOST] = JOB_ENDED,
        },
    [JOB_RUNNING] =
        {
            [EV_STARTED] = JOB_RUNNING,
            [EV_END] = JOB_ENDED,
            [EV_RUNNING_REPORTED] = JOB_RUNNING,
            [EV_RETRY] = JOB_RUNNING,
            [EV_GONE] = JOB_CANCELLING,
            [EV_CANCEL_REQUEST] = JOB_STOPPING,
            [EV_TOP_UP] = JOB_RUNNING,
            [EV_EXTENDED] = JOB_RUNNING,
            [EV_LOST] = JOB_ENDED,
            [EV_UNREPORTED] = JOB_RUNNING,
        },
    [JOB_STOPPING] =
        {
            [EV_STARTED] = JOB_STOPPING,
            [EV_END] = JOB_ENDED,
            [EV_RUNNING_REPORTED] = JOB_STOPPING,
            [EV_RETRY] = JOB_STOPPING,
            [EV_GONE] = JOB_CANCELLING,
            [EV_CANCEL_REQUEST] = JOB_STOPPING,
            [EV_CANCELLED] = JOB_STOPPING,
            [EV_TOP_UP] = JOB_STOPPING,
            [EV_EXTENDED] = JOB_STOPPING,
            [EV_LOST] = JOB_ENDED,
            [EV_UNREPORTED] = JOB_STOPPING,
        },
    [JOB_ENDED] =
        {
            [EV_STARTED] = JOB_ENDED,
            [EV_END] = JOB_ENDED,
            [EV_RUNNING_REPORTED] = JOB_ENDED,
            [EV_END_REPORTED] = JOB_REPORTED,
            [EV_RETRY] = JOB_ENDED,
            [EV_GONE] = JOB_DONE,
            [EV_CANCEL_REQUEST] = JOB_ENDED,
            [EV_CANCELLED] = JOB_ENDED,
            [EV_TOP_UP] = JOB_ENDED,
            [EV_EXTENDED] = JOB_ENDED,
            [EV_UNREPORTED] = JOB_ENDED,
        },
    [JOB_REFUSED] =
        {
            [EV_RUNNING_REPORTED] = JOB_REFUSED,
            [EV_END_REPORTED] = JOB_REPORTED,
            [EV_RETRY] = JOB_REFUSED,
            [EV_GONE] = JOB_DONE,
            [EV_TOP_UP] = JOB_REFUSED,
            [EV_LOST] = JOB_ENDED,
        },
    [JOB_CANCELLING] =
        {
            [EV_SUBMITTED] = JOB_CANCELLING,
            [EV_SUBMIT_REFUSED] = JOB_DONE,
            [EV_SUBMIT_UNKNOWN] = JOB_CANCELLING,
            [EV_STARTED] = JOB_CANCELLING,
            [EV_END] = JOB_DONE,
            [EV_RUNNING_REPORTED] = JOB_CANCELLING,
            [EV_RETRY] = JOB_CANCELLING,
            [EV_GONE] = JOB_CANCELLING,
            [EV_CANCELLED] = JOB_DONE,
            [EV_CANCEL_REQUEST] = JOB_CANCELLING,
            [EV_TOP_UP] = JOB_CANCELLING,
            [EV_EXTENDED] = JOB_CANCELLING,
        },
    [JOB_REPORTED] =
        {
            [EV_CLAIM] = JOB_CLAIMED,
            [EV_CLAIM_BAD] = JOB_ENDED,
            [EV_STARTED] = JOB_REPORTED,
            [EV_RUNNING_REPORTED] = JOB_REPORTED,
            [EV_END] = JOB_REPORTED,
            [EV_CONFIRMED] = JOB_DONE,
            [EV_RETRY] = JOB_REPORTED,
            [EV_GONE] = JOB_REPORTED,
            [EV_CANCEL_REQUEST] = JOB_REPORTED,
            [EV_CANCELLED] = JOB_REPORTED,
            [EV_TOP_UP] = JOB_REPORTED,
            [EV_EXTENDED] = JOB_REPORTED,
            [EV_UNREPORTED] = JOB_ENDED,
            [EV_GIVE_BACK] = JOB_REFUSED,
        },
    [JOB_DONE] =
        {
            [EV_CLAIM] = JOB_CLAIMED,       [EV_CLAIM_BAD] = JOB_ENDED,
            [EV_STARTED] = JOB_DONE,        [EV_END] = JOB_DONE,
            [EV_GONE] = JOB_DONE,           [EV_CANCEL_REQUEST] = JOB_DONE,
            [EV_CANCELLED] = JOB_DONE,      [EV_TOP_UP] = JOB_DONE,
            [EV_EXTENDED] = JOB_DONE,       [EV_SCRIPT] = JOB_DONE,
            [EV_SCRIPT_BAD] = JOB_DONE,     [EV_DISPATCH] = JOB_DONE,
            [EV_SUBMIT_REFUSED] = JOB_DONE, [EV_RETRY] = JOB_DONE,
            [EV_CONFIRMED] = JOB_DONE,      [EV_FOUND] = JOB_SUBMITTED,
            [EV_STRAY] = JOB_CANCELLING,    [EV_LOST] = JOB_ENDED,
            [EV_GIVE_BACK] = JOB_REFUSED,   [EV_UNREPORTED] = JOB_ENDED,
            [EV_UNSETTLED] = JOB_REPORTED,  [EV_RUNNING_REPORTED] = JOB_DONE,
        },
};

enum job_state fsm_next(enum job_state state, enum job_event event)
{
    if ((unsigned int)state >= JOB_STATE_COUNT || (unsigned int)event >= EV_COUNT) return JOB_NONE;
    return (enum job_state)next[state][event];
}
