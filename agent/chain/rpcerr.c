/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/rpcerr.h"

#include <string.h>

#include "agent/chain/txpolicy.h"

/*
 * The first entry whose text is in the message decides, whatever the code: -32005 is a rate limit
 * to some and a range limit to others, -32000 and -32603 are anything. Case does not matter. Who
 * says it is noted where it is not geth and what descends from it (bor, coreth, op-geth, ...).
 */
static const struct {
    const char *text;
    enum rpc_error_kind kind;
} words[] = {
    /* Verdicts on calls; those on transactions are in txpolicy.c. */
    {"revert", RPC_ERROR_VERDICT},
    {"gas required exceeds", RPC_ERROR_VERDICT},
    {"out of gas", RPC_ERROR_VERDICT},
    {"invalid opcode", RPC_ERROR_VERDICT},
    {"exceeds the configured cap", RPC_ERROR_VERDICT},

    /* Rates, before ranges: "limit exceeded" is of both. */
    {"too many requests", RPC_ERROR_RATE},
    {"rate limit", RPC_ERROR_RATE},
    {"rate-limit", RPC_ERROR_RATE},
    {"request rate", RPC_ERROR_RATE},          // infura
    {"daily request count", RPC_ERROR_RATE},   // infura
    {"request limit reached", RPC_ERROR_RATE}, // quicknode
    {"requests per second", RPC_ERROR_RATE},
    {"compute units per second", RPC_ERROR_RATE}, // alchemy
    {"monthly capacity", RPC_ERROR_RATE},         // alchemy
    {"RPS limit", RPC_ERROR_RATE},                // chainstack
    {"throttled", RPC_ERROR_RATE},

    /* Ranges of eth_getLogs, and its answers. */
    {"block range", RPC_ERROR_TOO_MUCH},        // alchemy, ankr, publicnode, chainstack, erigon
    {"range is too large", RPC_ERROR_TOO_MUCH}, // merkle
    {"range too large", RPC_ERROR_TOO_MUCH},
    {"range allowed", RPC_ERROR_TOO_MUCH}, // blast: "exceeds the range allowed for your plan"
    {"ranges over", RPC_ERROR_TOO_MUCH},   // drpc
    {"max range", RPC_ERROR_TOO_MUCH},     // cloudflare: "Max range: 800"
    {"exceed maximum", RPC_ERROR_TOO_MUCH},
    {"exceeds max", RPC_ERROR_TOO_MUCH},     // "query exceeds max results", besu's -32005
    {"too many blocks", RPC_ERROR_TOO_MUCH}, // avalanche: "requested too many blocks from"
    {"number of requested blocks", RPC_ERROR_TOO_MUCH}, // thirdweb
    {"limit the query to", RPC_ERROR_TOO_MUCH},         // coinbase
    {"limited to", RPC_ERROR_TOO_MUCH},                 // quicknode, 1rpc, blockpi
    {"blocks distance", RPC_ERROR_TOO_MUCH},
    {"smaller than size", RPC_ERROR_TOO_MUCH}, // harmony
    {"more than", RPC_ERROR_TOO_MUCH},         // infura: "query returned more than 10000 results"
    {"too many results", RPC_ERROR_TOO_MUCH},
    {"too many logs", RPC_ERROR_TOO_MUCH},    // nethermind
    {"exceeds limit of", RPC_ERROR_TOO_MUCH}, // arbitrum: "logs matched by query exceeds limit of"
    {"response size", RPC_ERROR_TOO_MUCH},    // alchemy, 1rpc
    {"response too large", RPC_ERROR_TOO_MUCH},  // optimism, geth's batches
    {"response is too big", RPC_ERROR_TOO_MUCH}, // ankr
    {"content too large", RPC_ERROR_TOO_MUCH},
    {"timed out", RPC_ERROR_TOO_MUCH},
    {"timeout", RPC_ERROR_TOO_MUCH},
    {"deadline exceeded", RPC_ERROR_TOO_MUCH},

    /* The node's own trouble. */
    {"header not found", RPC_ERROR_FAULT},
    {"header for hash not found", RPC_ERROR_FAULT},
    {"block not found", RPC_ERROR_FAULT},
    {"unknown block", RPC_ERROR_FAULT},
    {"cannot query unfinalized data", RPC_ERROR_FAULT}, // avalanche
    {"missing trie node", RPC_ERROR_FAULT},
    {"state is not available", RPC_ERROR_FAULT},
    {"state not available", RPC_ERROR_FAULT},
    {"world state unavailable", RPC_ERROR_FAULT}, // besu
    {"pruned", RPC_ERROR_FAULT},
    {"no backend", RPC_ERROR_FAULT},
    {"not healthy", RPC_ERROR_FAULT},
    {"service unavailable", RPC_ERROR_FAULT},
    {"temporarily unavailable", RPC_ERROR_FAULT},
    {"still syncing", RPC_ERROR_FAULT},
    {"unauthorized", RPC_ERROR_FAULT},
    {"api key", RPC_ERROR_FAULT},
    {"project id", RPC_ERROR_FAULT}, // infura
    {"internal error", RPC_ERROR_FAULT},
    {"internal server error", RPC_ERROR_FAULT},
};

/* Codes that mean the same to all who use them, for messages that say nothing. */
static const struct {
    int64_t code;
    enum rpc_error_kind kind;
} codes[] = {
    {429, RPC_ERROR_RATE},         // alchemy: HTTP's number in JSON
    {-32029, RPC_ERROR_RATE},      // gateways
    {-32005, RPC_ERROR_TOO_MUCH},  // EIP-1474: limit exceeded
    {35, RPC_ERROR_TOO_MUCH},      // drpc
    {-32601, RPC_ERROR_NO_METHOD}, // JSON-RPC
    {-32004, RPC_ERROR_NO_METHOD}, // EIP-1474: method not supported
    {-32603, RPC_ERROR_FAULT},     // JSON-RPC: internal error
    {-32002, RPC_ERROR_FAULT},     // EIP-1474: resource unavailable
};

enum rpc_error_kind rpc_error_kind(int64_t code, const char *message)
{
    if (tx_answer_of(message) != TX_ANSWER_LATER) return RPC_ERROR_VERDICT;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcasestr(message, words[i].text)) return words[i].kind;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i].code == code) return codes[i].kind;
    return RPC_ERROR_UNKNOWN;
}
