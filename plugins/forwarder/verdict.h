/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What an answer of the agent means for the record that was sent. */
#ifndef PLUGINS_FORWARDER_VERDICT_H
#define PLUGINS_FORWARDER_VERDICT_H

enum verdict {
    VERDICT_AGENT_FAILED = 0, // cannot be reached, overloaded, not our agent: try later
    VERDICT_DONE,
    VERDICT_REFUSED, // does not know the job (yet)
    VERDICT_POISON,  // will never take it
    VERDICT_RECORD_FAILED,
};

/* A gRPC status, or a negative ERR_* if there was none. */
enum verdict verdict_of(int status);

#endif
