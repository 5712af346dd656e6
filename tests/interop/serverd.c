/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The agent's gRPC server alone, for interoperability tests:
 *   serverd [LISTEN [CERT KEY]]
 * Prints "port N", then each event as "event JOB ID STATUS DURATION EXIT_CODE"; jobs whose id
 * begins with 0xdead are unknown. Events are answered in batches by another thread, as by a commit.
 * Commands on stdin: "serving", "not-serving"; the end of stdin stops it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/server/server.h"

enum { CALLS_MAX = 16384, COMMIT_US = 5000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct server_call *call;
    int code;
} waiting[CALLS_MAX];
static size_t count;
static bool stopping;

static void on_event(void *ctx, struct server_call *call, const struct server_job_event *e)
{
    (void)pthread_mutex_lock(&lock);
    (void)printf("event %s %llu %d %llu %lld\n",
                 e->job,
                 (unsigned long long)e->slurm_id,
                 (int)e->status,
                 (unsigned long long)e->duration_s,
                 (long long)e->exit_code);
    bool full = count == CALLS_MAX;
    if (!full) {
        waiting[count].call = call;
        waiting[count++].code = strncmp(e->job, "0xdead", 6) == 0 ? ERR_NOTFOUND : 0;
    }
    (void)pthread_mutex_unlock(&lock);
    if (full) server_reply(call, ERR_BUSY, "too many");
}

static void *commit(void *arg)
{
    for (bool stop = false; !stop;) {
        (void)usleep(COMMIT_US);
        (void)pthread_mutex_lock(&lock);
        for (size_t i = 0; i < count; i++)
            server_reply(waiting[i].call, waiting[i].code, "no such job");
        count = 0;
        stop = stopping;
        (void)pthread_mutex_unlock(&lock);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    struct server_ops ops = {.job_event = on_event};
    struct server_options o = {
        .listen_address = argc > 1 ? argv[1] : "127.0.0.1:0",
        .tls = argc > 3,
        .cert_file = argc > 3 ? argv[2] : NULL,
        .key_file = argc > 3 ? argv[3] : NULL,
        .authorized_keys = "ssh-ed25519 AAAA agent\n",
    };
    struct server *s = server_start(&o, &ops, NULL, &err);
    if (!s) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    pthread_t thread;
    if (pthread_create(&thread, NULL, commit, NULL) != 0) return 1;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)printf("port %d\n", server_port(s));

    char line[64];
    while (fgets(line, sizeof(line), stdin)) {
        if (strcmp(line, "serving\n") == 0) server_set_serving(s, true);
        if (strcmp(line, "not-serving\n") == 0) server_set_serving(s, false);
    }
    (void)server_stop(s, 2000);
    (void)pthread_mutex_lock(&lock);
    stopping = true;
    (void)pthread_mutex_unlock(&lock);
    (void)pthread_join(thread, NULL);
    return 0;
}
