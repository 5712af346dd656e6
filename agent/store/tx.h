/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the store keeps of a transaction: the call, in `outbox`, and each signed form of it, in
 * `attempts`. */
#ifndef STORE_TX_H
#define STORE_TX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/store/job.h"

enum tx_kind {
    TX_NONE = 0,
    TX_CLAIM,        // claimNextJob; belongs to no job yet
    TX_RUNNING,      // providerSetJobStatus RUNNING
    TX_END,          // providerSetJobStatus with the end
    TX_REFUSE,       // refuseJob
    TX_CLAIM_CANCEL, // claimNextCancellingJob
    TX_CLAIM_TOP_UP, // claimNextTopUpJob
    TX_FILL,         // nothing, sent to ourselves: a nonce that others of ours wait for
    TX_REGISTER,     // register, to the ProviderManager; belongs to no job
    TX_KIND_COUNT,
};

enum tx_state {
    TX_WANTED = 0, // the call is decided; no nonce, nothing signed
    TX_SIGNED,     // nonce taken and bytes signed, in one commit; only such bytes are ever sent
    TX_MINED,      // in a block, executed
    TX_REVERTED,   // in a block, reverted
    TX_REJECTED,   // the contract would revert: never sent
    TX_STATE_COUNT,
};

const char *tx_kind_name(enum tx_kind kind);
const char *tx_state_name(enum tx_state state);

enum {
    /*
     * A status with its error text is under 1 KiB; a registration takes 96 bytes a node and some
     * 250 a label: 300 nodes. More would cost 5 million gas, which not every block has room for.
     */
    TX_DATA_MAX = 32 * 1024,
    TX_KEY_MAX = 128, // a word, a job id, a number
    TX_WEI_TEXT = 79, // decimal, below 2^256
};

struct tx {
    uint64_t id;
    char key[TX_KEY_MAX]; // what is to be done once; no two rows have the same
    enum tx_kind kind;
    enum tx_state state;
    char job[JOB_ID_TEXT]; // "" if it belongs to none
    uint8_t data[TX_DATA_MAX];
    size_t data_len;
    uint64_t block; // MINED, REVERTED: in which
    uint8_t block_hash[32];
    char reason[JOB_REASON_MAX]; // why reverted or rejected
};

/* A call as it was signed once: with that nonce, at those fees. */
struct tx_attempt {
    uint64_t nonce;
    uint8_t hash[32];
    bool eip1559;
    uint64_t gas_limit;
    char max_fee_wei[TX_WEI_TEXT], max_tip_wei[TX_WEI_TEXT]; // of a gas
    uint8_t raw[TX_DATA_MAX + 512]; // the envelope around the call is under 300 bytes
    size_t raw_len;
};

#endif
