/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who a request to slurmrestd is from: a token minted for that user from the cluster's JWT key, or
 * one service token (root's or SlurmUser's, which may speak for anybody). Any thread.
 */
#ifndef SLURM_REST_AUTH_H
#define SLURM_REST_AUTH_H

#include "agent/util/buf.h"
#include "agent/util/error.h"
#include "agent/util/secret.h"

struct rest_auth;

/* Exactly one of `key` (copied) and `token_file` (read anew when it changes). */
struct rest_auth *
rest_auth_new(const struct secret *key, const char *token_file, struct error *err);
struct rest_auth *rest_auth_destroy(struct rest_auth *a); // returns NULL

/*
 * Append the header with the token for `user`. `life_s` 0: one that lives for some minutes, kept
 * for the next time; else one that lives just so long: the cluster does not do afterwards what came
 * too late. (A service token lives as long as it lives.) The caller wipes `header`. ERR_UNAVAILABLE
 * while the token file cannot be used.
 */
int rest_auth_header(struct rest_auth *a,
                     const char *user,
                     unsigned int life_s,
                     struct buf *header,
                     struct error *err);

#endif
