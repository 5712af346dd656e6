/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/rest_ask.h"

int rest_as_question(int rc, struct error *err)
{
    if (rc >= 0 || rc == ERR_NOMEM || rc == ERR_PROTO || rc == ERR_BUSY) return rc;
    if (err) err->code = ERR_UNAVAILABLE;
    return ERR_UNAVAILABLE;
}

int rest_as_order(struct rest_backend *b, int rc, struct error *err)
{
    if (rc != ERR_UNSUPPORTED) return rc;
    rest_client_forget_version(b->client);
    if (err) err->code = ERR_UNAVAILABLE;
    return ERR_UNAVAILABLE;
}

int rest_ask(struct rest_backend *b,
             struct rest_request *request,
             size_t max_bytes,
             long long deadline_ms,
             struct rest_reply *reply,
             struct error *err)
{
    *reply = (struct rest_reply){.text = BUF_INIT(max_bytes)};
    request->method = "GET";
    int rc =
        request->version ? 0 : rest_client_version(b->client, deadline_ms, &request->version, err);
    if (rc < 0) return rc;
    reply->version = request->version;
    rc = rest_client_send(b->client, request, deadline_ms, &reply->text, &reply->answer, err);
    if (rc == 0) rc = rest_decode_verdict(&reply->answer, err);
    if (request->part == REST_SLURM) rc = rest_as_order(b, rc, err);
    return rc == ERR_NOTFOUND || rc == ERR_UNSUPPORTED || rc == ERR_LIMIT
               ? rc
               : rest_as_question(rc, err);
}

void rest_reply_free(struct rest_reply *reply)
{
    buf_free(&reply->text);
}
