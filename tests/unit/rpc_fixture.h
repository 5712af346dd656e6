/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the tests of gRPC share: certificates, a client, a reader of Health/Watch. */
#ifndef TESTS_RPC_FIXTURE_H
#define TESTS_RPC_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/rpc_client.h"

/* Files in a directory of its own, all PEM. */
struct fixture_tls {
    char dir[64];
    char ca[128];             // signed both certificates
    char other_ca[128];       // signed none
    char cert[128], key[128]; // DNS:localhost, IP:127.0.0.1
    char named[128];          // DNS:grid.example, same key
    char other_key[128];      // of no certificate here
    char garbage[128];        // looks like a certificate, is none
    char text[128];           // no PEM at all
};

void fixture_tls_new(struct fixture_tls *t);
void fixture_tls_remove(const struct fixture_tls *t);

/* "localhost:port" */
const char *fixture_target(char out[64], int port);

struct rpc_client *fixture_client(int port, const struct rpc_tls *tls);

/* A call that must lead to a status; the answer's data, if any, is freed unless `answer` given. */
int fixture_call(struct rpc_client *c,
                 const char *method,
                 const void *data,
                 size_t len,
                 long long timeout_ms,
                 struct rpc_answer *answer);

/* How many times as long things may take: TEST_SLOW (valgrind, sanitizers) or 1. */
long long fixture_slow(void);

struct fixture_watch;

struct fixture_watch *fixture_watch_open(int port, const char *service);

/* The next serving status; -1: the stream has ended, -2: nothing within timeout_ms. */
int fixture_watch_next(struct fixture_watch *w, long long timeout_ms);

/* After -1: the gRPC status that it ended with. */
int fixture_watch_status(struct fixture_watch *w);

/* Cancels it if it has not ended. */
void fixture_watch_close(struct fixture_watch *w);

#endif
