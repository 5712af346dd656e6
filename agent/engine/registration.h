/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What this cluster is registered as, and when. Pure: no I/O, no clock. A registration waits for
 * the operator's approval, so that one too many costs more than gas: what is momentary must not
 * lead to one.
 */
#ifndef ENGINE_REGISTRATION_H
#define ENGINE_REGISTRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/chain/provider.h"
#include "agent/slurm/backend.h"
#include "agent/util/error.h"

/* --res.*: 0 = as Slurm has it. */
struct registration_rules {
    uint64_t nodes; // not 0: cpus and mem_mb are not either
    uint64_t cpus, gpus, mem_mb;
    bool skip_down; // leave out nodes that are down, drained or silent
};

/*
 * Fill the nodes of *p (which has none yet) from the partition's: its nodes as configured, each
 * total of the rules spread over them in proportion to what they have; or, if the rules say how
 * many nodes there are, as many equal ones. ERR_NOTFOUND: nothing is left to register, ERR_NOMEM.
 */
int registration_hardware(const struct slurm_node *nodes,
                          size_t count,
                          const struct registration_rules *rules,
                          struct chain_provider *p,
                          struct error *err);

enum registration_state {
    REGISTRATION_UNKNOWN = 0, // the contract was not read yet
    REGISTRATION_GOOD,        // approved, and nothing differs
    REGISTRATION_WAITING,     // registered as wanted; the operator has not approved it yet
    REGISTRATION_DIFFERS, // something differs, and it is not yet, or never, registered by itself
    REGISTRATION_NONE,    // not registered, likewise
    REGISTRATION_DUE,     // to be registered now
    REGISTRATION_SENT,    // the transaction is under way
    REGISTRATION_BANNED,  // by the operator; the contract takes no registration either
    REGISTRATION_REMOVED, // by the operator; only a human asks again
};

struct registration_facts {
    bool approved, waiting, banned; // as the contract says
    bool was_approved;              // ever
    bool known;                     // what is wanted is known
    unsigned int differs;           // from what waits, else from what is approved: PROVIDER_*
    bool by_itself;                 // false: only when asked for
    bool asked;                     // a human asked for it
    bool under_way;                 // the transaction is in the outbox
    int64_t now_ms;
    int64_t last_ms;          // of our last registration; 0 = none
    int64_t differs_since_ms; // the hardware has differed without a break since then
    int64_t interval_ms;      // between two registrations, and for hardware to differ
};

enum registration_state registration_decide(const struct registration_facts *f);

#endif
