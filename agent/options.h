/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The agent's options. Each is taken from its flag, else its environment variable, else the
 * configuration file, else its default: agent/options.def is the table. Used by main(), before any
 * thread is started.
 */
#ifndef AGENT_OPTIONS_H
#define AGENT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/chain/types.h"
#include "agent/chain/u256.h"
#include "agent/customer/customer.h"
#include "agent/util/log.h"
#include "agent/util/secret.h"

struct option_list {
    char **items; // `count` texts, then NULL; NULL if empty
    size_t count;
};

struct option_address {
    struct eth_address value;
    bool set;
};

enum option_slurm_backend { // the words of --slurm.backend, in their order
    OPTION_SLURM_AUTO = 0,
    OPTION_SLURM_REST,
    OPTION_SLURM_SSH,
};

/* The member's type by the table's type. A text that is not given is NULL. */
#define OPTION_CTYPE_STRING        char *
#define OPTION_CTYPE_BOOL          bool
#define OPTION_CTYPE_U64           uint64_t
#define OPTION_CTYPE_SIZE          uint64_t  // bytes
#define OPTION_CTYPE_DURATION      long long // ms
#define OPTION_CTYPE_DECIMAL       char *    // decimal digits, below 2^256
#define OPTION_CTYPE_WEI           struct u256
#define OPTION_CTYPE_LISTEN        char * // host:port, the host may be empty, the port 0
#define OPTION_CTYPE_HOSTPORT      char * // host:port, neither is
#define OPTION_CTYPE_URLS          struct option_list // http:// or https://
#define OPTION_CTYPE_WS_URL        char *             // ws:// or wss://
#define OPTION_CTYPE_REST_URL      char *             // http://, https:// or unix:/path
#define OPTION_CTYPE_ADDRESS       struct option_address
#define OPTION_CTYPE_ABS_PATH      char * // absolute, of conservative characters
#define OPTION_CTYPE_FILE          char * // a path on this machine
#define OPTION_CTYPE_NAME          char * // letters, digits and _.- only, no '-' first
#define OPTION_CTYPE_USER_TEMPLATE char *
#define OPTION_CTYPE_SECRET        struct secret
#define OPTION_CTYPE_SECRET_FILE   char *             // where the secret was read from
#define OPTION_CTYPE_LABELS        struct option_list // "key=value", keys are unique
#define OPTION_CTYPE_LOG_LEVEL     enum log_level
#define OPTION_CTYPE_CUSTOMER_API  enum customer_api
#define OPTION_CTYPE_SLURM_BACKEND enum option_slurm_backend

enum options_command { // the word that may stand before the flags
    OPTIONS_COMMAND_RUN = 0,
    OPTIONS_COMMAND_REGISTER,
    OPTIONS_COMMAND_BILLING, // of the options only their own are checked, and no secret is read:
    OPTIONS_COMMAND_HEALTH,  // the same
    OPTIONS_COMMAND_COUNT,
};

struct options {
#define OPT(field, type, flag, env, def, flags, min, max, arg, help) OPTION_CTYPE_##type field;
#include "agent/options.def"
    enum options_command command;
    struct option_list warnings; // one line each, for main to log; no secrets in them
};

enum options_result {
    OPTIONS_RUN = 0,    // *o is complete and valid
    OPTIONS_EXIT_OK,    // --help and the like: what was asked for is on stdout
    OPTIONS_EXIT_USAGE, // the reasons are on stderr, a line each; the exit status is 2
};

enum { OPTIONS_STATUS_USAGE = 2 };

/*
 * Fill *o. Unless the result is OPTIONS_RUN, *o is empty again. Blocks for local files only.
 * Secrets are overwritten in argv and in the environment, whatever the result.
 */
enum options_result options_load(struct options *o, int argc, char **argv);

/*
 * Load again what options_load() loaded into *running, with its arguments. 0: *fresh is complete
 * and valid, its secrets are the running ones. ERR_INVALID: *fresh is empty, each reason was told.
 * Blocks for local files.
 */
int options_reload(struct options *fresh,
                   const struct options *running,
                   int argc,
                   char **argv,
                   void (*tell)(const char *reason));

/*
 * Take from *fresh what may change while the agent runs, and tell each difference: `now` is false
 * for one that waits for the next start, and stays out of *running. *fresh is freed.
 */
void options_adopt(struct options *running,
                   struct options *fresh,
                   void (*tell)(const char *flag, const char *was, const char *is, bool now));

/* Free, and wipe the secrets. *o is empty afterwards; an empty one, or NULL, is fine. */
void options_free(struct options *o);

#endif
