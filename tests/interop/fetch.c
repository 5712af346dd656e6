/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The client of the customer API alone, for interoperability tests:
 *   fetch ENDPOINT auto|sbatch|customer TIMEOUT_MS [plain | insecure | CA [NAME]]
 * Prints "ok LOGGER_URL" and the script, or "permanent TEXT" or "transient TEXT". The location hash
 * is "hash-1"; the signature is no signature.
 */
#include <stdio.h>
#include <string.h>

#include "agent/customer/customer.h"
#include "agent/util/clock.h"
#include "agent/util/parse.h"

enum { MAX_SCRIPT = 100 * 1000 };

#define JOB "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static int sign(void *ctx, const void *msg, size_t len, uint8_t signature[65], struct error *err)
{
    memset(signature, 0x51, 64);
    signature[64] = 1;
    return 0;
}

static int run(const struct customer_options *o, long long timeout_ms)
{
    struct error err = {0};
    struct customer_script script = {0};
    struct customer_request request = {.job_id = JOB, .location_hash = "hash-1"};
    struct customer *c = customer_new(o, &err);
    memset(request.customer, 0xbb, sizeof(request.customer));
    int rc =
        c ? customer_fetch(c, &request, clock_mono_ms() + timeout_ms, &script, &err) : err.code;
    if (rc == 0) {
        (void)printf("ok %s\n", script.logger_url);
        (void)fwrite(script.body.data, 1, script.body.len, stdout);
    } else {
        bool permanent = err_class_of(rc) == ERR_CLASS_PERMANENT;
        (void)printf("%s %s\n", permanent ? "permanent" : "transient", err.text);
    }
    buf_free(&script.body);
    customer_destroy(c);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t timeout_ms;
    if (argc < 4 || parse_u64(argv[3], 1000000, &timeout_ms) < 0) {
        (void)fprintf(stderr, "usage: %s ENDPOINT API TIMEOUT_MS [TLS...]\n", argv[0]);
        return 2;
    }
    const char *tls = argc > 4 ? argv[4] : "plain";
    struct customer_options o = {
        .endpoint = argv[1],
        .tls = strcmp(tls, "plain") != 0,
        .tls_insecure = strcmp(tls, "insecure") == 0,
        .ca_file = tls,
        .host_override = argc > 5 ? argv[5] : NULL,
        .max_script_bytes = MAX_SCRIPT,
        .sign = sign,
    };
    if (strcmp(argv[2], "sbatch") == 0) o.api = CUSTOMER_API_SBATCH;
    if (strcmp(argv[2], "customer") == 0) o.api = CUSTOMER_API_CUSTOMER;
    memset(o.provider, 0xaa, sizeof(o.provider));
    return run(&o, (long long)timeout_ms);
}
