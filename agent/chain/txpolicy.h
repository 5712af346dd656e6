/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the sender decides, purely: what a node's answer to a broadcast means, what is next for a
 * signed transaction, and which nonces are free, missing or absurd. State in, action out.
 */
#ifndef CHAIN_TXPOLICY_H
#define CHAIN_TXPOLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- answers ---- */

enum tx_answer {
    TX_ANSWER_NONE = 0,    // it was not sent yet
    TX_ANSWER_TAKEN,       // the node has it, be it from before
    TX_ANSWER_NONCE_USED,  // by whom, the receipts tell
    TX_ANSWER_NONCE_AHEAD, // the node keeps none that waits for one below it
    TX_ANSWER_OCCUPIED,    // another one of this nonce waits there, and offers as much or more
    TX_ANSWER_FEE_LOW,     // less than the node takes
    TX_ANSWER_NO_FUNDS,    // the account could not pay for it
    TX_ANSWER_BAD,         // no node will take these bytes: gas limit, size
    TX_ANSWER_LATER,       // any other trouble
};

/*
 * What eth_sendRawTransaction's answer means; `message` is the error's, NULL if there was none.
 * Codes do not help: "nonce too low" comes as -32000, -32003, -32010 and -32603.
 */
enum tx_answer tx_answer_of(const char *message);

/* ---- a signed transaction ---- */

enum {
    // The receipt's index may be written a moment after the account's nonce.
    TX_OVERTAKEN_LOOKS = 3,
    // Looks without a receipt before the node is asked whether it still has the transaction.
    TX_CHECK_LOOKS = 10,
    // A chain may make blocks only for transactions: one that waits there waits without blocks.
    TX_IDLE_MS = 60000,
};

/* Whether the node has it. */
enum tx_known { TX_KNOWN_UNASKED = 0, TX_KNOWN_YES, TX_KNOWN_NO };

struct tx_view {
    enum tx_answer answer; // to the last broadcast
    bool nonce_used;       // as the node counts
    unsigned int looks;    // in a row, this one included, that saw the nonce as now, and no receipt
    enum tx_known known;   // as of this look
    bool next;             // its nonce is the next one to be mined
    bool out_of_line;      // its nonce is one that the account cannot reach soon
    bool priced_out;       // it offers less than the base fee
    uint64_t blocks;       // since these bytes were first sent or, if later, since it was `next`
    long long idle_ms;     // since then, if there was no block
    uint64_t bump_after;   // blocks
};

enum tx_step {
    TX_STEP_WAIT = 1,
    TX_STEP_CHECK, // ask whether the node has it
    TX_STEP_SEND,  // broadcast the bytes, again if they were
    TX_STEP_RAISE, // replace it: the same call and nonce, more fees
    TX_STEP_VOID,  // it cannot be mined: the call is to be made anew
};

/* Of a transaction without a receipt that is due to be looked at. */
enum tx_step tx_step_of(const struct tx_view *v);

/* ---- nonces ---- */

enum {
    TX_IN_FLIGHT_MAX = 64, // signed and not mined: what nodes keep for one account (geth)
    // Nonces above the mined ones that can be right: ours, and a foreign hand's full pool.
    TX_LINE_MAX = TX_IN_FLIGHT_MAX + 256,
};

/* The account's line of nonces. */
struct tx_line {
    uint64_t mined;       // transactions of the account that are mined: the next nonce to be mined
    uint64_t pending;     // the same with those in the node's pool that follow without a gap
    const uint64_t *ours; // nonces of what is ours in flight, ascending
    size_t count;
};

/*
 * The lowest nonce that nobody has taken: not mined, not ours, not in the pool. So a gap is the
 * next one to be filled, and there is no counter that could drift.
 */
uint64_t tx_next_nonce(const struct tx_line *line);

/* This nonce of ours is so far above the line that a node must have lied when it was chosen. */
bool tx_is_out_of_line(const struct tx_line *line, uint64_t nonce);

enum tx_gap {
    TX_GAP_NONE = 0,
    TX_GAP_EMPTY,   // ours wait for a nonce that nobody has taken: a gap
    TX_GAP_FOREIGN, // ours wait for somebody else's transaction that waits in the pool
};

enum tx_gap tx_gap_of(const struct tx_line *line);

/*
 * Is it time to fill that gap, as of `blocks` (or ms without a block) since it was first seen?
 * Somebody's transaction that waits for its fee is given ten times as long before it is replaced.
 */
bool tx_fill_is_due(enum tx_gap gap, uint64_t blocks, long long idle_ms, uint64_t bump_after);

#endif
