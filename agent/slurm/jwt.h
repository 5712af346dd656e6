/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Tokens for auth/jwt, as `scontrol token` makes them: HS256 over {"exp","iat","sun"}. Whoever
 * holds the key can be any user of the cluster, root too: neither key nor token appears in any
 * message.
 */
#ifndef SLURM_JWT_H
#define SLURM_JWT_H

#include <stdint.h>

#include "agent/util/buf.h"
#include "agent/util/error.h"
#include "agent/util/secret.h"

/*
 * Append a token for `user`, of letters, digits and _.- only, good from `now_s` for `life_s`
 * seconds. `key` is used byte for byte. ERR_INVALID, ERR_NOMEM.
 */
int jwt_mint(const struct secret *key,
             const char *user,
             int64_t now_s,
             unsigned int life_s,
             struct buf *token,
             struct error *err);

#endif
