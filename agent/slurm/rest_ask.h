/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How the slurmrestd backend asks and orders: for the backend's own files alone. */
#ifndef SLURM_REST_ASK_H
#define SLURM_REST_ASK_H

#include "agent/slurm/backend.h"
#include "agent/slurm/rest_client.h"
#include "agent/slurm/rest_queue.h"

struct rest_backend {
    struct slurm_backend base;
    struct rest_client *client;
    struct rest_queue *queue;
    char host[256];
};

static inline struct rest_backend *rest_backend_of(struct slurm_backend *b)
{
    return (struct rest_backend *)b;
}

/* `answer` is a view of `text`. */
struct rest_reply {
    const struct rest_version *version;
    struct buf text;
    struct rest_answer answer;
};

/*
 * GET request->path, as the admin user, by the newest version unless the request has one. The
 * reply, of at most max_bytes, is to be freed whatever comes of it. What its errors say counts:
 *   ERR_NOTFOUND     there is no such job
 *   ERR_UNSUPPORTED  slurmrestd does not serve this part of the API (of slurmdb's)
 *   ERR_LIMIT        the answer is larger than that
 * or as rest_as_question().
 */
int rest_ask(struct rest_backend *b,
             struct rest_request *request,
             size_t max_bytes,
             long long deadline_ms,
             struct rest_reply *reply,
             struct error *err);
void rest_reply_free(struct rest_reply *reply);

/* A question has no outcome that could be unknown: it can simply be asked again. */
int rest_as_question(int rc, struct error *err);

/* What an answer says of an order: a version that is not served any more did nothing. */
int rest_as_order(struct rest_backend *b, int rc, struct error *err);

#endif
