/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/txpolicy.h"

#include <string.h>

enum { FOREIGN_PATIENCE = 10 };

/*
 * Words of geth, Erigon, Reth and anvil, Nethermind, Besu, OpenEthereum, Arbitrum, Avalanche,
 * Klaytn, Substrate, zkSync, Hardhat and Ganache. The first that fits counts: "replacement
 * transaction underpriced" before "underpriced".
 */
static const struct {
    const char *words;
    enum tx_answer answer;
} answers[] = {
    {"already known", TX_ANSWER_TAKEN},
    {"alreadyknown", TX_ANSWER_TAKEN},
    {"known transaction", TX_ANSWER_TAKEN},
    {"already imported", TX_ANSWER_TAKEN},
    {"alreadyimported", TX_ANSWER_TAKEN},
    {"already in mempool", TX_ANSWER_TAKEN},
    {"already exist", TX_ANSWER_TAKEN},
    {"existing tx with same hash", TX_ANSWER_TAKEN},
    {"replacement", TX_ANSWER_OCCUPIED},
    {"same nonce", TX_ANSWER_OCCUPIED},
    {"could not replace", TX_ANSWER_OCCUPIED},
    {"ownnoncealreadyused", TX_ANSWER_OCCUPIED},
    {"nonce too high", TX_ANSWER_NONCE_AHEAD},
    {"nonce is too high", TX_ANSWER_NONCE_AHEAD},
    {"noncegap", TX_ANSWER_NONCE_AHEAD},
    {"nonce gap", TX_ANSWER_NONCE_AHEAD},
    {"future nonce", TX_ANSWER_NONCE_AHEAD},
    {"nonce too low", TX_ANSWER_NONCE_USED},
    {"nonce is too low", TX_ANSWER_NONCE_USED},
    {"oldnonce", TX_ANSWER_NONCE_USED},
    {"pool(stale)", TX_ANSWER_NONCE_USED},
    {"stale nonce", TX_ANSWER_NONCE_USED},
    {"already been used", TX_ANSWER_NONCE_USED},
    {"already finalized", TX_ANSWER_NONCE_USED},
    {"transaction nonce", TX_ANSWER_NONCE_USED}, // "invalid ...", either way: the looks tell
    {"invalid nonce", TX_ANSWER_NONCE_USED},
    {"correct nonce", TX_ANSWER_NONCE_USED},
    {"insufficient funds", TX_ANSWER_NO_FUNDS},
    {"insufficientfunds", TX_ANSWER_NO_FUNDS},
    {"insufficient balance", TX_ANSWER_NO_FUNDS},
    {"enough funds", TX_ANSWER_NO_FUNDS},
    {"upfront cost", TX_ANSWER_NO_FUNDS},
    {"overdraft", TX_ANSWER_NO_FUNDS},
    {"out of balance", TX_ANSWER_NO_FUNDS},
    {"intrinsic gas", TX_ANSWER_BAD},
    {"block gas limit", TX_ANSWER_BAD},
    {"gaslimitexceeded", TX_ANSWER_BAD},
    {"gas limit too high", TX_ANSWER_BAD},
    {"gas is too low", TX_ANSWER_BAD},
    {"enough gas", TX_ANSWER_BAD},
    {"floor data gas", TX_ANSWER_BAD},
    {"requires at least", TX_ANSWER_BAD},
    {"oversized data", TX_ANSWER_BAD},
    {"underpriced", TX_ANSWER_FEE_LOW},
    {"base fee", TX_ANSWER_FEE_LOW},
    {"basefee", TX_ANSWER_FEE_LOW},
    {"feetoolow", TX_ANSWER_FEE_LOW},
    {"fee too low", TX_ANSWER_FEE_LOW},
    {"price too low", TX_ANSWER_FEE_LOW},
    {"price is too low", TX_ANSWER_FEE_LOW},
    {"minimum gas price", TX_ANSWER_FEE_LOW},
    {"gas price minimum", TX_ANSWER_FEE_LOW},
    {"unacceptable gas price", TX_ANSWER_FEE_LOW},
};

enum tx_answer tx_answer_of(const char *message)
{
    if (!message) return TX_ANSWER_TAKEN;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
        if (strcasestr(message, answers[i].words)) return answers[i].answer;
    return TX_ANSWER_LATER;
}

static bool is_stuck(uint64_t blocks, long long idle_ms, uint64_t bump_after)
{
    return blocks >= bump_after || idle_ms >= TX_IDLE_MS;
}

/* One that a node took. More fees help only one that is still there: else it is sent again. */
static enum tx_step step_of_taken(const struct tx_view *v, bool stuck)
{
    if (v->known == TX_KNOWN_NO) return TX_STEP_SEND;
    if (stuck) return v->known == TX_KNOWN_YES ? TX_STEP_RAISE : TX_STEP_CHECK;
    return v->known == TX_KNOWN_UNASKED && v->looks >= TX_CHECK_LOOKS ? TX_STEP_CHECK
                                                                      : TX_STEP_WAIT;
}

enum tx_step tx_step_of(const struct tx_view *v)
{
    if (v->nonce_used) return v->looks >= TX_OVERTAKEN_LOOKS ? TX_STEP_VOID : TX_STEP_WAIT;
    bool late = is_stuck(v->blocks, v->idle_ms, v->bump_after);
    bool stuck = late && (v->next || v->priced_out);
    if (v->out_of_line && (late || v->looks >= TX_CHECK_LOOKS)) return TX_STEP_VOID;
    switch (v->answer) {
    case TX_ANSWER_TAKEN:
    case TX_ANSWER_NONCE_USED: // the count does not say so: it is another node's, or of before
        return step_of_taken(v, stuck);
    case TX_ANSWER_OCCUPIED:
        return stuck ? TX_STEP_RAISE : v->looks >= TX_CHECK_LOOKS ? TX_STEP_SEND : TX_STEP_WAIT;
    case TX_ANSWER_BAD:
        return TX_STEP_VOID;
    case TX_ANSWER_FEE_LOW: // at once if the base fee explains it, else no more than once a block
        return v->priced_out || is_stuck(v->blocks, v->idle_ms, 1) ? TX_STEP_RAISE : TX_STEP_WAIT;
    case TX_ANSWER_NONE:
    case TX_ANSWER_NONCE_AHEAD:
    case TX_ANSWER_NO_FUNDS: // more fees would only need more funds
    case TX_ANSWER_LATER:
        break;
    }
    return TX_STEP_SEND;
}

/* What the pool says is believed as far as it can be true. */
static uint64_t first_free(const struct tx_line *line)
{
    bool plausible = line->pending > line->mined && line->pending - line->mined <= TX_LINE_MAX;
    return plausible ? line->pending : line->mined;
}

uint64_t tx_next_nonce(const struct tx_line *line)
{
    uint64_t nonce = first_free(line);
    for (size_t i = 0; i < line->count; i++)
        if (line->ours[i] == nonce) nonce++;
    return nonce;
}

bool tx_is_out_of_line(const struct tx_line *line, uint64_t nonce)
{
    uint64_t first = first_free(line);
    return nonce > first && nonce - first > TX_LINE_MAX;
}

enum tx_gap tx_gap_of(const struct tx_line *line)
{
    size_t i = 0;
    while (i < line->count && line->ours[i] < line->mined) // those are mined, or overtaken
        i++;
    if (i == line->count || line->ours[i] == line->mined) return TX_GAP_NONE;
    return first_free(line) > line->mined ? TX_GAP_FOREIGN : TX_GAP_EMPTY;
}

bool tx_fill_is_due(enum tx_gap gap, uint64_t blocks, long long idle_ms, uint64_t bump_after)
{
    switch (gap) {
    case TX_GAP_EMPTY:
        return is_stuck(blocks, idle_ms, bump_after);
    case TX_GAP_FOREIGN:
        return is_stuck(blocks / FOREIGN_PATIENCE, idle_ms / FOREIGN_PATIENCE, bump_after);
    case TX_GAP_NONE:
        break;
    }
    return false;
}
