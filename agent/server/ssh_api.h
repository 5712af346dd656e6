/* SPDX-License-Identifier: GPL-3.0-or-later */
/* supervisor.v1alpha1.SshAPI: the public key that sshd on the login node must accept. */
#ifndef SERVER_SSH_API_H
#define SERVER_SSH_API_H

#include <stddef.h>
#include <stdint.h>

#include "proto/rpc_server.h"

/* With `ctx` a struct server. */
void ssh_api_fetch_authorized_keys(void *ctx,
                                   struct rpc_call *call,
                                   const uint8_t *request,
                                   size_t len);

#endif
