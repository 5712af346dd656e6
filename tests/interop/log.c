/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The client of the grid's logger alone, for interoperability tests:
 *   log URL TEXT TIMEOUT_MS [plain | insecure | CA [NAME]]
 * Prints "ok" or "error TEXT". The job is 0x11...11, the customer 0x22...22.
 */
#include <stdio.h>
#include <string.h>

#include "agent/customer/logger.h"
#include "agent/util/clock.h"
#include "agent/util/parse.h"

#define JOB  "0x1111111111111111111111111111111111111111111111111111111111111111"
#define USER "0x2222222222222222222222222222222222222222"

int main(int argc, char **argv)
{
    uint64_t timeout_ms;
    if (argc < 4 || parse_u64(argv[3], 1000000, &timeout_ms) < 0) {
        (void)fprintf(stderr, "usage: %s URL TEXT TIMEOUT_MS [TLS...]\n", argv[0]);
        return 2;
    }
    const char *tls = argc > 4 ? argv[4] : "plain";
    struct error err = {0};
    struct customer_logger_options o = {
        .tls = strcmp(tls, "plain") != 0,
        .insecure = strcmp(tls, "insecure") == 0,
        .ca_file = tls,
        .host_override = argc > 5 ? argv[5] : NULL,
    };
    struct customer_logger *l = customer_logger_new(&o, &err);
    long long deadline_ms = clock_mono_ms() + (long long)timeout_ms;
    if (l) (void)customer_logger_write(l, argv[1], JOB, USER, argv[2], deadline_ms, &err);
    if (err.code == 0)
        (void)printf("ok\n");
    else
        (void)printf("error %s\n", err.text);
    customer_logger_destroy(l);
    return 0;
}
