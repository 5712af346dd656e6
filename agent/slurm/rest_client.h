/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Requests to slurmrestd: connections that are kept, who asks, and which version of the API. Any
 * thread; blocks until the deadline at most.
 */
#ifndef SLURM_REST_CLIENT_H
#define SLURM_REST_CLIENT_H

#include "agent/slurm/rest_api.h"
#include "agent/slurm/rest_auth.h"
#include "agent/util/buf.h"

struct rest_client;

/* Takes `auth`, also on failure. `ca` NULL or "": the system's. */
struct rest_client *rest_client_new(const char *endpoint,
                                    const char *ca,
                                    const char *admin_user,
                                    struct rest_auth *auth,
                                    struct error *err);
struct rest_client *rest_client_destroy(struct rest_client *c); // returns NULL

/*
 * The newest version of the API that both know. Asked for once, and again when slurmrestd was away
 * or stopped serving it. ERR_UNAVAILABLE.
 */
int rest_client_version(struct rest_client *c,
                        long long deadline_ms,
                        const struct rest_version **version,
                        struct error *err);

enum rest_part { REST_SLURM, REST_SLURMDB }; // of the API: slurmctld's, slurmdbd's

struct rest_request {
    const struct rest_version *version;
    const char *method;
    enum rest_part part;
    const char *path;       // behind /slurm/v0.0.N
    const char *user;       // NULL: the admin user
    const struct buf *body; // NULL: none
    bool once;              // must not be sent twice, nor be carried out after the deadline
};

/*
 * Send, and append the answer to `text` (up to its max), of which `answer` then is a view. 0 once
 * there is an answer, or
 *   ERR_UNAVAILABLE      nothing was sent
 *   ERR_OUTCOME_UNKNOWN  it was sent, and no whole answer came
 *   ERR_LIMIT            the answer is too large; it was carried out
 */
int rest_client_send(struct rest_client *c,
                     const struct rest_request *request,
                     long long deadline_ms,
                     struct buf *text,
                     struct rest_answer *answer,
                     struct error *err);

/* The version that was used is not served (any more). */
void rest_client_forget_version(struct rest_client *c);

#endif
