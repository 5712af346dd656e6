/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Telling a customer why his job was refused, through the logger that the customer API named for
 * it. Best effort: tried once, on a worker, beside everything else; the job does not wait for it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/customer/logger.h"
#include "agent/engine/engine_private.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"
#include "agent/util/hex.h"

enum { TELL_MS = 15 * 1000 };

struct tell_task {
    struct task task;
    struct customer_logger *logger;
    char url[256], id[JOB_ID_TEXT], customer[ETH_ADDRESS_TEXT], text[JOB_REASON_MAX + 32];
};

static void run(struct task *task)
{
    struct tell_task *t = (struct tell_task *)task;
    struct error err = {0};
    fault_point(FAULT_TELL_BEFORE);
    int rc = customer_logger_write(
        t->logger, t->url, t->id, t->customer, t->text, clock_mono_ms() + TELL_MS, &err);
    fault_point(FAULT_TELL_AFTER);
    if (rc < 0)
        log_job_warn(t->id, "its customer could not be told the reason: %s; going on", err.text);
    free(t);
}

static void drop(struct task *task)
{
    free(task);
}

void engine_tell_customer(struct engine *e, const struct job *job)
{
    if (!e->o.logger || !job->logger_url[0]) return;
    struct tell_task *t = engine_alloc(e, sizeof(*t));
    if (!t) return;
    t->task = (struct task){.run = run, .drop = drop};
    t->logger = e->o.logger;
    memcpy(t->url, job->logger_url, sizeof(t->url));
    memcpy(t->id, job->id, sizeof(t->id));
    (void)hex_encode(t->customer, job->customer, sizeof(job->customer));
    (void)snprintf(t->text, sizeof(t->text), "The job was refused: %s", job->reason);
    (void)engine_work(e, &t->task);
}
