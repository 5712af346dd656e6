/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One SSH connection to the login node, over libssh: public key only, no agent, no ssh_config, host
 * key checked. Runs one command at a time; used by one thread at a time. Every call ends by its
 * deadline (clock_mono_ms()), whether the peer answers or not; only the resolver, for an address
 * that is a name, may take longer.
 */
#ifndef SLURM_SSH_H
#define SLURM_SSH_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/util/buf.h"
#include "agent/util/error.h"
#include "agent/util/parse.h"
#include "agent/util/secret.h"

/* Where to connect and as what; outlives the connections made with it. */
struct sshc_target {
    struct hostport address;
    struct secret key;       // PEM, as of sshc_key_load()
    const char *known_hosts; // NULL: ~/.ssh/known_hosts and the system's
    bool insecure;           // any host key will do
    long long connect_timeout_ms;
};

struct sshc_call {
    const char *const *argv; // NULL-terminated, as of remote_command()
    const void *input;       // NULL: none
    size_t input_len;
    size_t output_max; // bytes of stdout that are kept
};

struct sshc_result {
    int exit_status;      // -1: ended by a signal
    bool truncated;       // stdout was longer than output_max
    struct buf out, errs; // the caller frees both; of stderr the first SSHC_STDERR_MAX bytes
};

enum { SSHC_STDERR_MAX = 16 * 1024 }; // Slurm's messages are a few lines

struct sshc;

/* Connect and authenticate. ERR_UNAVAILABLE, with a text that says what the operator can do. */
int sshc_open(const struct sshc_target *target,
              const char *user,
              long long deadline_ms,
              struct sshc **conn,
              struct error *err);

struct sshc *sshc_close(struct sshc *conn); // does not wait for the peer; returns NULL

/* False once something failed: the connection is of no more use. */
bool sshc_usable(const struct sshc *conn);

/*
 * Run a command with no terminal. 0 when its exit status is known; ERR_UNAVAILABLE when it surely
 * was not run, or was run without the end of its input (see remote.h); ERR_OUTCOME_UNKNOWN.
 * `start_by_ms` bounds the wait for the peer to accept the command. The peer kills the command a
 * little before the deadline.
 */
int sshc_run(struct sshc *conn,
             const struct sshc_call *call,
             long long start_by_ms,
             long long deadline_ms,
             struct sshc_result *result,
             struct error *err);

/*
 * The PEM text of a private key that is given as base64 on one line (or as PEM already), checked.
 * Keys with a passphrase are refused. ERR_INVALID.
 */
int sshc_key_load(const struct secret *key_base64, struct secret *pem, struct error *err);

#endif
