/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Client of the customer API: fetches a job's script. Speaks sbatchapi.v1alpha1 (signed challenge)
 * and customer.v1alpha1 (October 2022).
 */
#ifndef CUSTOMER_CUSTOMER_H
#define CUSTOMER_CUSTOMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/util/buf.h"
#include "agent/util/error.h"

enum customer_api { CUSTOMER_API_AUTO = 0, CUSTOMER_API_SBATCH, CUSTOMER_API_CUSTOMER };

struct customer_options {
    const char *endpoint; // host:port
    bool tls;
    bool tls_insecure;         // no verification; ca and override are then ignored
    const char *ca_file;       // NULL or "": the system's roots
    const char *host_override; // name that the certificate must bear; NULL or "": the endpoint's
    enum customer_api api;
    size_t max_script_bytes;
    uint8_t provider[20]; // our address
    /* EIP-191 signature of `msg`, 65 bytes, v in {0,1}. Called on the fetching thread. */
    int (*sign)(void *ctx, const void *msg, size_t len, uint8_t signature[65], struct error *err);
    void *sign_ctx;
};

struct customer_request {
    const char *job_id;        // 0x and 64 digits
    const char *location_hash; // batchLocationHash
    uint8_t customer[20];
};

struct customer_script {
    struct buf body;
    char logger_url[256]; // host:port of the customer's logger; "" if none
};

struct customer;

/* Checks the CA file. Does not connect. */
struct customer *customer_new(const struct customer_options *options, struct error *err);
struct customer *customer_destroy(struct customer *c); // returns NULL

/*
 * Fetch a script; blocks until `deadline_ms` (clock_mono_ms) at most, retrying UNAVAILABLE and
 * DEADLINE_EXCEEDED with backoff within it. Any thread, several at once.
 * PERMANENT errors are verdicts on the job, their text fit for the customer: NOT_FOUND, an empty
 * script, one above the limit, one with a NUL byte. TRANSIENT: try again later (UNAUTHENTICATED
 * too, since a restarted server forgets its nonces). On success the caller frees script->body.
 */
int customer_fetch(struct customer *c,
                   const struct customer_request *request,
                   long long deadline_ms,
                   struct customer_script *script,
                   struct error *err);

#endif
