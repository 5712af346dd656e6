/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The sender's decisions: nodes' own words, every step of every view, lines of nonces. */
#include "agent/chain/txpolicy.h"

#include "tests/unit/chain_test.h"

/* As nodes word it. */
static const struct {
    enum tx_answer answer;
    const char *message;
} said[] = {
    {TX_ANSWER_TAKEN, NULL},
    {TX_ANSWER_TAKEN, "already known"},
    {TX_ANSWER_TAKEN, "AlreadyKnown"},
    {TX_ANSWER_TAKEN, "Known transaction"},
    {TX_ANSWER_TAKEN, "known transaction: 0x0123"},
    {TX_ANSWER_TAKEN, "transaction already imported"},
    {TX_ANSWER_TAKEN, "Transaction with the same hash was already imported."},
    {TX_ANSWER_TAKEN, "INTERNAL_ERROR: existing tx with same hash"},
    {TX_ANSWER_TAKEN, "tx already in mempool"},
    {TX_ANSWER_TAKEN, "Pool(AlreadyImported)"},
    {TX_ANSWER_NONCE_USED, "nonce too low"},
    {TX_ANSWER_NONCE_USED, "nonce too low: next nonce 185, tx nonce 184"},
    {TX_ANSWER_NONCE_USED, "nonce too low: address 0xabc current nonce (5) > tx nonce (3)"},
    {TX_ANSWER_NONCE_USED, "Nonce too low. Expected nonce to be 5 but got 3."},
    {TX_ANSWER_NONCE_USED, "Transaction nonce is too low. Try incrementing the nonce."},
    {TX_ANSWER_NONCE_USED, "OldNonce, Current nonce: 5, nonce of rejected tx: 3"},
    {TX_ANSWER_NONCE_USED, "invalid transaction nonce"},
    {TX_ANSWER_NONCE_USED, "Pool(Stale)"},
    {TX_ANSWER_NONCE_USED, "nonce has already been used"},
    {TX_ANSWER_NONCE_USED, "the tx doesn't have the correct nonce. account has nonce of: 5"},
    {TX_ANSWER_NONCE_USED, "transaction already finalized"},
    {TX_ANSWER_NONCE_AHEAD, "nonce too high"},
    {TX_ANSWER_NONCE_AHEAD,
     "Nonce too high. Expected nonce to be 3 but got 5. Note that "
     "transactions can't be queued when automining."},
    {TX_ANSWER_NONCE_AHEAD, "NonceGap, Future nonce. Expected nonce: 5"},
    {TX_ANSWER_OCCUPIED, "replacement transaction underpriced"},
    {TX_ANSWER_OCCUPIED,
     "Replacement transaction underpriced. A gasPrice/maxFeePerGas of at least "
     "10 is necessary to replace the existing transaction with nonce 3."},
    {TX_ANSWER_OCCUPIED,
     "Transaction gas price 5 is too low. There is another transaction with "
     "same nonce in the queue with gas price 6."},
    {TX_ANSWER_OCCUPIED, "INTERNAL_ERROR: could not replace existing tx"},
    {TX_ANSWER_OCCUPIED, "OwnNonceAlreadyUsed"},
    {TX_ANSWER_FEE_LOW, "transaction underpriced"},
    {TX_ANSWER_FEE_LOW, "max fee per gas less than block base fee"},
    {TX_ANSWER_FEE_LOW,
     "max fee per gas less than block base fee: address 0xabc, maxFeePerGas: 1, "
     "baseFee: 7"},
    {TX_ANSWER_FEE_LOW,
     "Transaction maxFeePerGas (1) is too low for the next block, which has a "
     "baseFeePerGas of 7"},
    {TX_ANSWER_FEE_LOW, "FeeTooLow, MaxFeePerGas too low. MaxFeePerGas: 1, BaseFee: 2"},
    {TX_ANSWER_FEE_LOW, "Gas price below configured minimum gas price"},
    {TX_ANSWER_FEE_LOW, "gas price too low"},
    {TX_ANSWER_FEE_LOW,
     "Transaction gas price is too low. It does not satisfy your node's minimal "
     "gas price (minimal: 2 got: 1)."},
    {TX_ANSWER_FEE_LOW, "gasprice is less than gas price minimum floor"},
    {TX_ANSWER_NO_FUNDS, "insufficient funds for gas * price + value"},
    {TX_ANSWER_NO_FUNDS, "Insufficient funds for gas * price + value"},
    {TX_ANSWER_NO_FUNDS,
     "insufficient funds for gas * price + value: balance 1, tx cost 2, "
     "overshot 1"},
    {TX_ANSWER_NO_FUNDS, "InsufficientFunds, Account balance: 0, cumulative cost: 5"},
    {TX_ANSWER_NO_FUNDS, "Upfront cost exceeds account balance"},
    {TX_ANSWER_NO_FUNDS, "Sender doesn't have enough funds to send tx. The max upfront cost is: 5"},
    {TX_ANSWER_NO_FUNDS, "not enough funds for gas"},
    {TX_ANSWER_NO_FUNDS, "transaction would cause overdraft"},
    {TX_ANSWER_NO_FUNDS, "insufficient balance for transfer"},
    {TX_ANSWER_BAD, "intrinsic gas too low"},
    {TX_ANSWER_BAD, "exceeds block gas limit"},
    {TX_ANSWER_BAD, "Transaction requires at least 21644 gas but got 21000"},
    {TX_ANSWER_BAD, "GasLimitExceeded, Gas limit: 1, gas limit of rejected tx: 2"},
    {TX_ANSWER_BAD, "Transaction gas is too low. There is not enough gas to cover minimal cost"},
    {TX_ANSWER_BAD, "transaction gas limit too high (cap: 16777216, tx: 20000000)"},
    {TX_ANSWER_LATER, "txpool is full"},
    {TX_ANSWER_LATER, "tx fee (1.20 ether) exceeds the configured cap (1.00 ether)"},
    {TX_ANSWER_LATER, "Internal error"},
    {TX_ANSWER_LATER, ""},
};

static void answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++)
        if (tx_answer_of(said[i].message) != said[i].answer)
            fail_msg("'%s' is taken for %d", said[i].message, (int)tx_answer_of(said[i].message));
}

static void steps(void **state)
{
    (void)state;
    static const struct {
        struct tx_view view; // bump_after 3
        enum tx_step want;
    } cases[] = {
        {{.answer = TX_ANSWER_NONE}, TX_STEP_SEND},
        {{.answer = TX_ANSWER_NONE, .next = true, .blocks = 99}, TX_STEP_SEND},
        {{.answer = TX_ANSWER_TAKEN}, TX_STEP_WAIT},
        {{.answer = TX_ANSWER_TAKEN, .looks = TX_CHECK_LOOKS}, TX_STEP_CHECK},
        {{.answer = TX_ANSWER_TAKEN, .looks = 99, .known = TX_KNOWN_YES}, TX_STEP_WAIT},
        {{.answer = TX_ANSWER_TAKEN, .known = TX_KNOWN_NO}, TX_STEP_SEND},
        // Stuck: not without having asked, and only what waits for nothing below it.
        {{.answer = TX_ANSWER_TAKEN, .next = true, .blocks = 2}, TX_STEP_WAIT},
        {{.answer = TX_ANSWER_TAKEN, .next = true, .blocks = 3}, TX_STEP_CHECK},
        {{.answer = TX_ANSWER_TAKEN, .next = true, .blocks = 3, .known = TX_KNOWN_YES},
         TX_STEP_RAISE},
        {{.answer = TX_ANSWER_TAKEN, .next = true, .blocks = 3, .known = TX_KNOWN_NO},
         TX_STEP_SEND},
        {{.answer = TX_ANSWER_TAKEN, .blocks = 99, .known = TX_KNOWN_YES}, TX_STEP_WAIT},
        {{.answer = TX_ANSWER_TAKEN, .priced_out = true, .blocks = 3, .known = TX_KNOWN_YES},
         TX_STEP_RAISE},
        {{.answer = TX_ANSWER_TAKEN, .priced_out = true, .blocks = 2, .known = TX_KNOWN_YES},
         TX_STEP_WAIT},
        {{.answer = TX_ANSWER_TAKEN, .next = true, .idle_ms = TX_IDLE_MS, .known = TX_KNOWN_YES},
         TX_STEP_RAISE},
        {{.answer = TX_ANSWER_TAKEN, .next = true, .idle_ms = TX_IDLE_MS - 1}, TX_STEP_WAIT},
        // A used nonce: the looks decide, whatever the broadcast said.
        {{.answer = TX_ANSWER_NONE, .nonce_used = true, .looks = 1}, TX_STEP_WAIT},
        {{.answer = TX_ANSWER_TAKEN, .nonce_used = true, .looks = 2}, TX_STEP_WAIT},
        {{.answer = TX_ANSWER_TAKEN, .nonce_used = true, .looks = 3}, TX_STEP_VOID},
        {{.answer = TX_ANSWER_NO_FUNDS, .nonce_used = true, .looks = 3}, TX_STEP_VOID},
        {{.answer = TX_ANSWER_BAD, .nonce_used = true, .looks = 1}, TX_STEP_WAIT},
        {{.answer = TX_ANSWER_NONCE_USED}, TX_STEP_WAIT},
        {{.answer = TX_ANSWER_NONCE_USED, .looks = TX_CHECK_LOOKS}, TX_STEP_CHECK},
        {{.answer = TX_ANSWER_NONCE_USED, .known = TX_KNOWN_NO}, TX_STEP_SEND},
        // Another one is in its place.
        {{.answer = TX_ANSWER_OCCUPIED}, TX_STEP_WAIT},
        {{.answer = TX_ANSWER_OCCUPIED, .looks = TX_CHECK_LOOKS}, TX_STEP_SEND},
        {{.answer = TX_ANSWER_OCCUPIED, .next = true, .blocks = 3}, TX_STEP_RAISE},
        {{.answer = TX_ANSWER_OCCUPIED, .blocks = 3}, TX_STEP_WAIT},
        // Too cheap: why, or else not more than once a block.
        {{.answer = TX_ANSWER_FEE_LOW}, TX_STEP_WAIT},
        {{.answer = TX_ANSWER_FEE_LOW, .priced_out = true}, TX_STEP_RAISE},
        {{.answer = TX_ANSWER_FEE_LOW, .blocks = 1}, TX_STEP_RAISE},
        {{.answer = TX_ANSWER_FEE_LOW, .idle_ms = TX_IDLE_MS}, TX_STEP_RAISE},
        {{.answer = TX_ANSWER_NO_FUNDS, .next = true, .blocks = 99, .idle_ms = TX_IDLE_MS},
         TX_STEP_SEND},
        {{.answer = TX_ANSWER_NONCE_AHEAD, .blocks = 99, .priced_out = true}, TX_STEP_SEND},
        {{.answer = TX_ANSWER_LATER, .next = true, .blocks = 99}, TX_STEP_SEND},
        {{.answer = TX_ANSWER_BAD}, TX_STEP_VOID},
        // A nonce that a node lied about.
        {{.answer = TX_ANSWER_TAKEN, .out_of_line = true, .blocks = 2, .looks = 2}, TX_STEP_WAIT},
        {{.answer = TX_ANSWER_TAKEN, .out_of_line = true, .blocks = 3}, TX_STEP_VOID},
        {{.answer = TX_ANSWER_NONCE_AHEAD, .out_of_line = true, .looks = TX_CHECK_LOOKS},
         TX_STEP_VOID},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tx_view v = cases[i].view;
        v.bump_after = 3;
        if (tx_step_of(&v) != cases[i].want) fail_msg("case %zu: step %d", i, (int)tx_step_of(&v));
    }
}

/* Of every view: what must never happen, and what must happen some day. */
static void steps_of_every_view(void **state)
{
    (void)state;
    for (unsigned int bits = 0; bits < 1 << 13; bits++) {
        struct tx_view v = {
            .answer = (enum tx_answer)(bits & 7),
            .nonce_used = bits >> 3 & 1,
            .next = bits >> 4 & 1,
            .priced_out = bits >> 5 & 1,
            .known = (enum tx_known)((bits >> 6 & 3) % 3),
            .blocks = bits >> 8 & 1 ? 5 : 4,
            .idle_ms = bits >> 9 & 1 ? TX_IDLE_MS : 0,
            .looks = (unsigned int[]){1, 2, TX_OVERTAKEN_LOOKS, TX_CHECK_LOOKS}[bits >> 10 & 3],
            .out_of_line = bits >> 12 & 1,
            .bump_after = 5,
        };
        enum tx_step step = tx_step_of(&v);
        bool stuck = v.blocks >= 5 || v.idle_ms >= TX_IDLE_MS;
        // Nothing is sent, raised or given up while a receipt may be on its way.
        if (v.nonce_used) assert_true(step == TX_STEP_WAIT || step == TX_STEP_VOID);
        if (step == TX_STEP_VOID)
            assert_true(v.nonce_used ? v.looks >= TX_OVERTAKEN_LOOKS
                                     : v.answer == TX_ANSWER_BAD || v.out_of_line);
        // More money is offered only where it helps.
        if (step == TX_STEP_RAISE) {
            assert_true(v.answer == TX_ANSWER_FEE_LOW || (stuck && (v.next || v.priced_out)));
            assert_true(v.answer != TX_ANSWER_NO_FUNDS);
            if (v.answer == TX_ANSWER_TAKEN) assert_int_equal(v.known, TX_KNOWN_YES);
        }
        // What no node has is sent again.
        if (!v.nonce_used && !v.out_of_line && v.answer == TX_ANSWER_TAKEN &&
            v.known == TX_KNOWN_NO)
            assert_int_equal(step, TX_STEP_SEND);
        // Nothing waits for ever: after enough looks and blocks something is done.
        v.nonce_used = false;
        v.next = true;
        v.blocks = 5;
        assert_int_not_equal(tx_step_of(&v), TX_STEP_WAIT);
    }
}

#define LINE(m, p, ...)                                                     \
    {                                                                       \
        .mined = m, .pending = p, .ours = (const uint64_t[]){__VA_ARGS__},  \
        .count = sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t) \
    }
#define EMPTY(m, p)              \
    {                            \
        .mined = m, .pending = p \
    }

static void next_nonces(void **state)
{
    (void)state;
    const struct {
        struct tx_line line;
        uint64_t want;
    } cases[] = {
        {EMPTY(0, 0), 0},
        {EMPTY(7, 7), 7},
        {EMPTY(7, 0), 7}, // a node that does not know "pending"
        {EMPTY(7, 9), 9}, // two of somebody else's
        {EMPTY(7, 7 + TX_LINE_MAX), 7 + TX_LINE_MAX},
        {EMPTY(7, 8 + TX_LINE_MAX), 7}, // that cannot be
        {LINE(7, 7, 7, 8, 9), 10},      // not sent yet
        {LINE(7, 10, 7, 8, 9), 10},     // sent
        {LINE(7, 9, 7, 8, 9), 10},
        {LINE(7, 12, 7, 8, 9), 12}, // and two of somebody else's behind
        {LINE(7, 7, 8, 9), 7},      // a gap is filled first
        {LINE(7, 8, 8, 9), 10},     // what fills it is not ours
        {LINE(7, 7, 7, 9), 8},
        {LINE(7, 8, 7, 9, 11), 8},
        {LINE(7, 8, 7, 8, 9, 11), 10},
        {LINE(7, 7, 3, 4), 7}, // mined, or overtaken: their looks tell
        {LINE(7, 7, 6, 7), 8},
        {LINE(7, 7, 1000), 7},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (tx_next_nonce(&cases[i].line) != cases[i].want)
            fail_msg("case %zu: nonce %d", i, (int)tx_next_nonce(&cases[i].line));
}

static void gaps(void **state)
{
    (void)state;
    const struct {
        struct tx_line line;
        enum tx_gap want;
    } cases[] = {
        {EMPTY(7, 7), TX_GAP_NONE},
        {EMPTY(7, 9), TX_GAP_NONE}, // nothing of ours waits
        {LINE(7, 7, 7, 8), TX_GAP_NONE},
        {LINE(7, 7, 8), TX_GAP_EMPTY},
        {LINE(7, 0, 8), TX_GAP_EMPTY},
        {LINE(7, 9, 8), TX_GAP_FOREIGN},
        {LINE(7, 8, 8), TX_GAP_FOREIGN},
        {LINE(7, 8 + TX_LINE_MAX, 8), TX_GAP_EMPTY},
        {LINE(7, 7, 7, 9), TX_GAP_NONE}, // later: 7 is mined first
        {LINE(7, 7, 5, 6), TX_GAP_NONE},
        {LINE(7, 7, 5, 8), TX_GAP_EMPTY},
        {LINE(7, 7, 5, 7, 8), TX_GAP_NONE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (tx_gap_of(&cases[i].line) != cases[i].want)
            fail_msg("case %zu: gap %d", i, (int)tx_gap_of(&cases[i].line));

    assert_false(tx_fill_is_due(TX_GAP_NONE, 1000, TX_IDLE_MS, 3));
    assert_false(tx_fill_is_due(TX_GAP_EMPTY, 2, TX_IDLE_MS - 1, 3));
    assert_true(tx_fill_is_due(TX_GAP_EMPTY, 3, 0, 3));
    assert_true(tx_fill_is_due(TX_GAP_EMPTY, 0, TX_IDLE_MS, 3));
    assert_false(tx_fill_is_due(TX_GAP_FOREIGN, 29, 10LL * TX_IDLE_MS - 1, 3));
    assert_true(tx_fill_is_due(TX_GAP_FOREIGN, 30, 0, 3));
    assert_true(tx_fill_is_due(TX_GAP_FOREIGN, 0, 10LL * TX_IDLE_MS, 3));
}

static void out_of_line(void **state)
{
    (void)state;
    const struct tx_line line = EMPTY(7, 9);
    assert_false(tx_is_out_of_line(&line, 0));
    assert_false(tx_is_out_of_line(&line, 9 + TX_LINE_MAX));
    assert_true(tx_is_out_of_line(&line, 10 + TX_LINE_MAX));
    assert_true(tx_is_out_of_line(&line, UINT64_MAX));
}

/*
 * An account with a foreign hand on it: whatever happens in whatever order, no nonce is taken
 * twice, the lowest free one is taken, and once it is quiet the line has no gap that is not seen.
 */
static void random_lines(void **state)
{
    (void)state;
    uint64_t seed = 11;
    for (int round = 0; round < 2000; round++) {
        enum { FREE, OURS, FOREIGN } slots[200] = {FREE};
        uint64_t mined = 0;
        for (int step = 0; step < 100; step++) {
            uint64_t ours[200], pending = mined, n = next_random(&seed) % 8;
            size_t count = 0;
            while (pending < 200 && slots[pending] != FREE)
                pending++;
            for (uint64_t i = mined; i < 200; i++)
                if (slots[i] == OURS) ours[count++] = i;
            // What the node tells of its pool may be old.
            struct tx_line line = {.mined = mined,
                                   .pending = next_random(&seed) % 2 ? pending : mined,
                                   .ours = ours,
                                   .count = count};
            uint64_t nonce = tx_next_nonce(&line);
            assert_true(nonce >= mined && nonce < 200);
            assert_int_not_equal(slots[nonce], OURS);
            if (line.pending == pending) assert_int_equal(slots[nonce], FREE);
            for (uint64_t i = pending; i < nonce; i++)
                assert_int_not_equal(slots[i], FREE);
            if (slots[mined] == FREE && count > 0) assert_int_equal(tx_gap_of(&line), TX_GAP_EMPTY);
            if (slots[mined] == OURS) assert_int_equal(tx_gap_of(&line), TX_GAP_NONE);

            if (n < 4 && slots[nonce] == FREE)
                slots[nonce] = OURS;
            else if (n == 4)
                slots[mined + next_random(&seed) % 5] = FOREIGN; // it may replace ours
            else if (n == 5)
                slots[mined + next_random(&seed) % 5] = FREE; // a node forgot it
            else if (slots[mined] != FREE && mined < 90)
                mined++;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(steps),
        cmocka_unit_test(steps_of_every_view),
        cmocka_unit_test(next_nonces),
        cmocka_unit_test(gaps),
        cmocka_unit_test(out_of_line),
        cmocka_unit_test(random_lines),
    };
    return cmocka_run_group_tests_name("txpolicy", tests, NULL, NULL);
}
