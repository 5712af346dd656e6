/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * deepsquare-authorized-keys: sshd's AuthorizedKeysCommand. Asks the agent for the public key that
 * it logs in with, so that no customer's account needs an authorized_keys file.
 *
 * sshd waits for us without a limit of its own, throws the keys away if the exit status is not 0,
 * and throws our stderr away: hence a deadline for everything, and syslog.
 */
#include <getopt.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "agent/util/clock.h"
#include "agent/util/error.h"
#include "agent/util/parse.h"
#include "agent/version.h"
#include "plugins/authkeys/keys.h"
#include "proto/rpc_client.h"
#include "proto/rpc_status.h"
#include "proto/supervisor.pb-c.h"

#define PROGRAM "deepsquare-authorized-keys"
#define METHOD  "/supervisor.v1alpha1.SshAPI/FetchAuthorizedKeys"

enum {
    CALL_MS = 3000, // somebody waits for his login; the agent answers within milliseconds
    ALARM_S = 5,    // what else may hang (the user database, a file on NFS): the end of it all
    ANSWER_MAX = 64 * 1024,
    EXIT_USAGE = 2,
};

struct options {
    const char *endpoint, *user;
    struct rpc_tls tls;
};

static const char help[] =
    "Usage: " PROGRAM " --supervisor.endpoint HOST:PORT [OPTION]... [USER]\n"
    "Print the SSH key with which deepsquare-agent logs in, for sshd's AuthorizedKeysCommand.\n"
    "USER is who logs in; no key is printed for root. The agent has 3 s to answer.\n"
    "\n"
    "  --supervisor.endpoint HOST:PORT  where the agent listens (or unix:/PATH)\n"
    "                                   [SUPERVISOR_ENDPOINT]\n"
    "  --supervisor.tls[=BOOL]          use TLS [SUPERVISOR_TLS_ENABLE; default: true]\n"
    "  --supervisor.tls.insecure[=BOOL] do not verify the agent's certificate: whoever answers "
    "can\n"
    "                                   log in as any user [SUPERVISOR_TLS_INSECURE]\n"
    "  --supervisor.tls.ca FILE         trust these CA certificates (PEM) instead of the system's\n"
    "                                   [SUPERVISOR_CA]\n"
    "  --supervisor.tls.server-host-override NAME\n"
    "                                   expect this name in the agent's certificate; empty: the\n"
    "                                   endpoint's [SUPERVISOR_SERVER_HOST_OVERRIDE; default:\n"
    "                                   supervisor.example.com]\n"
    "  --help, --version                print this, or the version, and exit\n";

/* To syslog, as sshd's own lines, and to stderr, for who tries it by hand. */
static void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *fmt, ...)
{
    va_list ap;
    openlog(PROGRAM, LOG_PERROR | LOG_PID, LOG_AUTH);
    va_start(ap, fmt);
    vsyslog(LOG_ERR, fmt, ap);
    va_end(ap);
}

/* ---- options ---- */

enum option_id { OPT_ENDPOINT, OPT_TLS, OPT_INSECURE, OPT_CA, OPT_HOST, OPT_HELP, OPT_VERSION };

static const struct option long_options[] = {
    {"supervisor.endpoint", required_argument, NULL, OPT_ENDPOINT},
    {"supervisor.tls", optional_argument, NULL, OPT_TLS},
    {"supervisor.tls.insecure", optional_argument, NULL, OPT_INSECURE},
    {"supervisor.tls.ca", required_argument, NULL, OPT_CA},
    {"supervisor.tls.server-host-override", required_argument, NULL, OPT_HOST},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static const char *const variables[] = {
    [OPT_ENDPOINT] = "SUPERVISOR_ENDPOINT",
    [OPT_TLS] = "SUPERVISOR_TLS_ENABLE",
    [OPT_INSECURE] = "SUPERVISOR_TLS_INSECURE",
    [OPT_CA] = "SUPERVISOR_CA",
    [OPT_HOST] = "SUPERVISOR_SERVER_HOST_OVERRIDE",
};

static _Noreturn void usage(const char *what, const char *detail)
{
    complain("%s%s (see --help)", what, detail);
    exit(EXIT_USAGE);
}

static _Noreturn void print_and_exit(const char *text)
{
    bool ok = fputs(text, stdout) >= 0 && fflush(stdout) == 0;
    exit(ok ? EXIT_SUCCESS : EXIT_FAILURE);
}

static bool boolean(int id, const char *text)
{
    bool value;
    if (!text) return true;
    if (parse_bool(text, &value) < 0) usage("not a boolean: ", long_options[id].name);
    return value;
}

static void apply_option(struct options *o, int id, const char *text)
{
    switch (id) {
    case OPT_ENDPOINT:
        o->endpoint = text;
        break;
    case OPT_TLS:
        o->tls.enabled = boolean(id, text);
        break;
    case OPT_INSECURE:
        o->tls.insecure = boolean(id, text);
        break;
    case OPT_CA:
        o->tls.ca_file = text;
        break;
    case OPT_HOST:
        o->tls.host_override = text;
        break;
    case OPT_HELP:
        print_and_exit(help);
    case OPT_VERSION:
        print_and_exit(PROGRAM " " AGENT_VERSION "\n");
    }
}

static void parse_options(struct options *o, int argc, char **argv)
{
    for (int id = 0; id < (int)(sizeof(variables) / sizeof(variables[0])); id++) {
        const char *text = getenv(variables[id]);
        if (text && *text) apply_option(o, id, text);
    }
    opterr = 0;
    int id;
    while ((id = getopt_long_only(argc, argv, ":", long_options, NULL)) != -1) {
        if (id == ':') usage("this option needs a value: ", argv[optind - 1]);
        if (id == '?') usage("unknown or ambiguous option: ", argv[optind - 1]);
        apply_option(o, id, optarg);
    }
    if (optind < argc) o->user = argv[optind++];
    if (optind < argc) usage("unexpected argument: ", argv[optind]);
    if (!o->endpoint || !*o->endpoint) usage("--supervisor.endpoint is needed", "");
}

/* ---- the keys ---- */

/* The agent never logs in as root: who has its key must not either. */
static bool is_root(const char *user)
{
    const struct passwd *pw = getpwnam(user);
    return pw && pw->pw_uid == 0;
}

static int print_keys(const struct rpc_answer *answer, struct error *err)
{
    Supervisor__V1alpha1__FetchAuthorizedKeysResponse *keys =
        supervisor__v1alpha1__fetch_authorized_keys_response__unpack(
            NULL, answer->len, answer->data);
    if (!keys) return error_set(err, ERR_PROTO, "the answer is malformed");

    const char *text = keys->authorized_keys;
    int rc = keys_check(text, err);
    if (rc == 0) {
        bool ended = text[strlen(text) - 1] == '\n';
        (void)printf("%s%s", text, ended ? "" : "\n");
        if (fflush(stdout) != 0) rc = error_set(err, ERR_IO, "cannot write: %m");
    }
    supervisor__v1alpha1__fetch_authorized_keys_response__free_unpacked(keys, NULL);
    return rc;
}

static int fetch_keys(const struct options *o, struct error *err)
{
    struct rpc_answer answer = {0};
    struct rpc_client *client = rpc_client_new(o->endpoint, &o->tls, ANSWER_MAX, err);
    if (!client) return err->code;
    int rc =
        rpc_client_call(client, METHOD, NULL, 0, false, clock_mono_ms() + CALL_MS, &answer, err);
    if (rc == 0 && answer.status != RPC_OK)
        rc = error_set(err, rpc_status_error(answer.status), "%s", answer.message);
    if (rc == 0) rc = print_keys(&answer, err);
    free(answer.data);
    return rc; // the client stays: to close it could wait for a thread that hangs
}

int main(int argc, char **argv)
{
    struct options o = {.tls = {.enabled = true, .host_override = "supervisor.example.com"}};
    struct error err = {0};
    (void)alarm(ALARM_S);
    (void)signal(SIGPIPE, SIG_IGN);
    parse_options(&o, argc, argv);
    if (o.user && is_root(o.user)) return EXIT_SUCCESS;

    int rc = fetch_keys(&o, &err);
    if (rc < 0) complain("no key from %s: %s", o.endpoint, err.text);
    /* Not exit(): gRPC's threads may be in a look-up that has no end. */
    _exit(rc == 0 ? EXIT_SUCCESS : rc == ERR_INVALID ? EXIT_USAGE : EXIT_FAILURE);
}
