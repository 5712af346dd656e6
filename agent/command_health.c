/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * `deepsquare-agent health`: asks the agent of this host over its own gRPC server. For the health
 * check of a container, and for scripts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/commands.h"
#include "agent/util/clock.h"
#include "agent/util/parse.h"
#include "proto/health.pb-c.h"
#include "proto/rpc_client.h"
#include "proto/rpc_status.h"

enum {
    SERVING = 0,
    NOT_SERVING = 1,
    NO_ANSWER = 2,
    TIMEOUT_MS = 5000,      // answered from memory; longer is as good as dead
    MAX_ANSWER_BYTES = 100, // one number
};

/* Where the server of these options is reached from this host. */
static int find_target(char *target, size_t size, const char *listen, struct error *err)
{
    struct hostport hp;
    int n;
    if (strncmp(listen, "unix:/", 6) == 0) {
        n = snprintf(target, size, "%s", listen);
    } else {
        if (parse_hostport(listen, &hp) < 0 || hp.port == 0)
            return error_set(err, ERR_INVALID, "--grpc.listen-address=%s: no port", listen);
        bool all = !hp.host[0] || strcmp(hp.host, "0.0.0.0") == 0;
        const char *host = all ? "127.0.0.1" : strcmp(hp.host, "::") == 0 ? "::1" : hp.host;
        n = snprintf(target, size, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, hp.port);
    }
    return n < 0 || (size_t)n >= size ? error_set(err, ERR_INVALID, "%s: too long", listen) : 0;
}

static int ask(const char *target, bool tls, bool *serving, struct error *err)
{
    // The certificate need not name this host's loopback, and nothing secret is sent.
    struct rpc_tls how = {.enabled = tls, .insecure = true};
    struct rpc_answer answer = {0};
    struct rpc_client *client = rpc_client_new(target, &how, MAX_ANSWER_BYTES, err);
    if (!client) return ERR_INVALID;
    int rc = rpc_client_call(client,
                             "/grpc.health.v1.Health/Check",
                             NULL,
                             0,
                             false,
                             clock_mono_ms() + TIMEOUT_MS,
                             &answer,
                             err);
    if (rc == 0 && answer.status != RPC_OK)
        rc = error_set(err, rpc_status_error(answer.status), "%s: %s", target, answer.message);
    if (rc == 0) {
        Grpc__Health__V1__HealthCheckResponse *r =
            grpc__health__v1__health_check_response__unpack(NULL, answer.len, answer.data);
        *serving =
            r && r->status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
        if (r) grpc__health__v1__health_check_response__free_unpacked(r, NULL);
    }
    free(answer.data);
    (void)rpc_client_destroy(client);
    return rc;
}

int command_health(const struct options *o)
{
    char target[320];
    bool serving = false;
    struct error err = {0};
    int rc = find_target(target, sizeof(target), o->grpc_listen_address, &err);
    if (rc == 0) rc = ask(target, o->tls, &serving, &err);
    if (rc < 0) {
        (void)fprintf(stderr, "no answer: %s\n", err.text);
        return NO_ANSWER;
    }
    (void)printf("%s\n", serving ? "serving" : "not serving");
    return serving ? SERVING : NOT_SERVING;
}
