/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/server/ssh_api.h"

#include <stdlib.h>

#include "agent/server/server_private.h"
#include "proto/supervisor.pb-c.h"

void ssh_api_fetch_authorized_keys(void *ctx,
                                   struct rpc_call *call,
                                   const uint8_t *request,
                                   size_t len)
{
    const struct server *s = ctx;
    Supervisor__V1alpha1__FetchAuthorizedKeysRequest *r =
        supervisor__v1alpha1__fetch_authorized_keys_request__unpack(NULL, len, request);
    if (!r) {
        server_reply_invalid(call, "malformed FetchAuthorizedKeysRequest");
        return;
    }
    supervisor__v1alpha1__fetch_authorized_keys_request__free_unpacked(r, NULL);
    if (s->authorized_keys[0] == '\0') {
        rpc_call_reply(call, RPC_NOT_FOUND, "the agent uses no SSH key", NULL, 0);
        return;
    }

    Supervisor__V1alpha1__FetchAuthorizedKeysResponse answer =
        SUPERVISOR__V1ALPHA1__FETCH_AUTHORIZED_KEYS_RESPONSE__INIT;
    answer.authorized_keys = s->authorized_keys;
    size_t size = supervisor__v1alpha1__fetch_authorized_keys_response__get_packed_size(&answer);
    uint8_t *data = malloc(size);
    if (data) {
        (void)supervisor__v1alpha1__fetch_authorized_keys_response__pack(&answer, data);
        rpc_call_reply(call, RPC_OK, NULL, data, size);
    } else {
        rpc_call_reply(call, RPC_UNAVAILABLE, "out of memory", NULL, 0);
    }
    free(data);
}
