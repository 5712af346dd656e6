/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a node's error object is about. Nodes and providers agree on neither codes nor words: one
 * table holds the common ones. Pure.
 */
#ifndef CHAIN_RPCERR_H
#define CHAIN_RPCERR_H

#include <stdint.h>

enum rpc_error_kind {
    RPC_ERROR_UNKNOWN = 0, // nothing follows from it
    RPC_ERROR_VERDICT,     // about the transaction: another node would say the same
    RPC_ERROR_TOO_MUCH,    // the question is too large: ask for less at once
    RPC_ERROR_RATE,        // too many questions: leave this node alone for a while
    RPC_ERROR_FAULT,       // this node cannot answer; another may
    RPC_ERROR_NO_METHOD,   // this node does not know the method
};

enum rpc_error_kind rpc_error_kind(int64_t code, const char *message);

#endif
