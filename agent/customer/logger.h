/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Client of the grid's logger (logger.v1alpha1, LoggerAPI/Write): tells a customer what happened to
 * his job. Each job names its logger, in the answer that brought its script.
 */
#ifndef CUSTOMER_LOGGER_H
#define CUSTOMER_LOGGER_H

#include <stdbool.h>

#include "agent/util/error.h"

struct customer_logger_options {
    bool tls;
    bool insecure;             // no verification; ca and override are then ignored
    const char *ca_file;       // NULL or "": the system's roots
    const char *host_override; // name that the certificate must bear; NULL or "": the url's host
};

struct customer_logger;

/* Checks the CA file. Does not connect. The strings are copied. */
struct customer_logger *customer_logger_new(const struct customer_logger_options *options,
                                            struct error *err);
struct customer_logger *customer_logger_destroy(struct customer_logger *l); // returns NULL

/*
 * Write `text`, one message a line, in one call of its own connection; blocks until `deadline_ms`
 * (clock_mono_ms) at most. No retry: after ERR_CLASS_TRANSIENT nothing or a part was written. An
 * error says nothing about the job. Any thread, several at once.
 *   url       host:port from the network, not trusted: a host name or address and a port, or
 *             ERR_INVALID and nothing is sent
 *   log_name  the job's id, 0x and 64 digits
 *   user      the customer's address, 0x and 40 lower-case digits
 *   text      of any bytes: empty lines are left out, a line is cut at 1 KiB, and if there are
 *             more than 64, "..." takes the place of the 64th and the rest. Without any line
 *             nothing is done: 0.
 */
int customer_logger_write(struct customer_logger *l,
                          const char *url,
                          const char *log_name,
                          const char *user,
                          const char *text,
                          long long deadline_ms,
                          struct error *err);

#endif
