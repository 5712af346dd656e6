/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A JobAPI for tests: prints each SetJobStatus as a line and answers with the gRPC status that is
 * in a file (a number; none: OK; -1: not at all).
 *
 * Usage: job_api_server LISTEN_ADDRESS STATUS_FILE
 * First line: "port N". Then: "name=... id=... duration=... status=... exit_code=... state=0x...
 * restarts=... cluster=... answer=...".
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/rpc_server.h"
#include "proto/supervisor.pb-c.h"

static int wanted_status(const char *path)
{
    char text[32] = "0";
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    if (!fgets(text, sizeof(text), f)) text[0] = '0';
    fclose(f);
    return (int)strtol(text, NULL, 10);
}

static void print_request(const Supervisor__V1alpha1__SetJobStatusRequest *r, int answer)
{
    printf("name=%s id=%llu duration=%llu status=%d exit_code=%lld",
           r->name,
           (unsigned long long)r->id,
           (unsigned long long)r->duration,
           (int)r->status,
           (long long)r->exit_code);
    if (r->record)
        printf(" state=0x%x restarts=%u cluster=%s",
               r->record->state,
               r->record->restart_count,
               r->record->cluster);
    printf(" answer=%d\n", answer);
    (void)fflush(stdout);
}

static void set_job_status(void *ctx, struct rpc_call *call, const uint8_t *request, size_t len)
{
    Supervisor__V1alpha1__SetJobStatusRequest *r =
        supervisor__v1alpha1__set_job_status_request__unpack(NULL, len, request);
    int answer = wanted_status(ctx);
    if (!r) {
        rpc_call_reply(call, RPC_INVALID_ARGUMENT, "malformed", NULL, 0);
        return;
    }
    print_request(r, answer);
    supervisor__v1alpha1__set_job_status_request__free_unpacked(r, NULL);
    if (answer == 0)
        rpc_call_reply(call, RPC_OK, NULL, "", 0);
    else if (answer > 0)
        rpc_call_reply(call, (enum rpc_status)answer, "as the test wants it", NULL, 0);
}

int main(int argc, char **argv)
{
    static const struct rpc_method methods[] = {
        {.path = "/supervisor.v1alpha1.JobAPI/SetJobStatus", .fn = set_job_status},
    };
    if (argc != 3) return 2;
    struct rpc_server_options options = {.listen_address = argv[1],
                                         .methods = methods,
                                         .method_count = 1,
                                         .ctx = argv[2],
                                         .max_request = 4096};
    struct error err = {0};
    struct rpc_server *s = rpc_server_start(&options, &err);
    if (!s) {
        fprintf(stderr, "job_api_server: %s\n", err.text);
        return 1;
    }
    printf("port %d\n", rpc_server_port(s));
    (void)fflush(stdout);
    for (;;)
        (void)pause(); // until killed
}
