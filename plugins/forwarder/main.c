/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * deepsquare-forwarder: sends the events that the Slurm plugins put into their spool to the agent.
 * Started by the plugin; ends with it. Logs to stderr, which the plugin reads and passes on to
 * slurmctld's log. With --once it is started by the SPANK plugin on a node, reports one start and
 * ends; a failure goes to syslog.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <syslog.h>
#include <unistd.h>

#include "agent/util/clock.h"
#include "agent/util/log.h"
#include "agent/util/parse.h"
#include "agent/version.h"
#include "plugins/forwarder/forward.h"
#include "plugins/forwarder/lock.h"
#include "plugins/forwarder/once.h"
#include "plugins/forwarder/rejects.h"
#include "plugins/forwarder/request.h"
#include "proto/rpc_client.h"

#define METHOD "/supervisor.v1alpha1.JobAPI/SetJobStatus"

#define SLOTS "/run/deepsquare-forwarder.slots"

enum {
    CALL_MS = 10 * 1000,    // the agent answers after its commit: milliseconds
    ANSWER_MAX = 64 * 1024, // it is an empty message
    EXIT_USAGE = 2,
};

struct options {
    const char *spool, *endpoint, *dump;
    struct rpc_tls tls;
    int end_fd;
    bool detach, once;
    struct record start; // with `once`: what is known of it
};

static const char help[] =
    "Usage: deepsquare-forwarder --spool DIR --endpoint HOST:PORT [OPTION]...\n"
    "       deepsquare-forwarder --once --job-id N --endpoint HOST:PORT [OPTION]...\n"
    "Send the job events that the Slurm plugins spooled to deepsquare-agent, or the start of one "
    "job.\n"
    "It is started by the plugins; there is no need to run it by hand.\n"
    "\n"
    "  --spool DIR           the plugins' spool (StateSaveLocation/deepsquare)\n"
    "  --endpoint HOST:PORT  where the agent listens (or unix:/PATH)\n"
    "  --tls                 use TLS\n"
    "  --ca FILE             trust these CA certificates (PEM) instead of the system's\n"
    "  --host-override NAME  expect this name in the agent's certificate\n"
    "  --insecure            do not verify the agent's certificate\n"
    "  --detach              go on in the background\n"
    "  --end-fd N            end when this descriptor is at its end\n"
    "  --once                report one start, trying for 30 s at most\n"
    "  --job-id N            of that job: Slurm's id,\n"
    "  --restart-count N     how often it was requeued,\n"
    "  --start-time SECONDS  when it started, since the epoch (0, or not given: now)\n"
    "  --debug               log more\n"
    "  --dump FILE           print the records of a spool file and exit\n"
    "  --help, --version     print this, or the version, and exit\n";

enum option_id {
    OPT_SPOOL = 256,
    OPT_ENDPOINT,
    OPT_TLS,
    OPT_CA,
    OPT_HOST,
    OPT_INSECURE,
    OPT_DETACH,
    OPT_END_FD,
    OPT_ONCE,
    OPT_JOB_ID,
    OPT_RESTARTS,
    OPT_START,
    OPT_DEBUG,
    OPT_DUMP,
    OPT_HELP,
    OPT_VERSION,
};

static const struct option long_options[] = {
    {"spool", required_argument, NULL, OPT_SPOOL},
    {"endpoint", required_argument, NULL, OPT_ENDPOINT},
    {"tls", no_argument, NULL, OPT_TLS},
    {"ca", required_argument, NULL, OPT_CA},
    {"host-override", required_argument, NULL, OPT_HOST},
    {"insecure", no_argument, NULL, OPT_INSECURE},
    {"detach", no_argument, NULL, OPT_DETACH},
    {"end-fd", required_argument, NULL, OPT_END_FD},
    {"once", no_argument, NULL, OPT_ONCE},
    {"job-id", required_argument, NULL, OPT_JOB_ID},
    {"restart-count", required_argument, NULL, OPT_RESTARTS},
    {"start-time", required_argument, NULL, OPT_START},
    {"debug", no_argument, NULL, OPT_DEBUG},
    {"dump", required_argument, NULL, OPT_DUMP},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static _Noreturn void usage(const char *what, const char *detail)
{
    fprintf(stderr, "deepsquare-forwarder: %s%s (see --help)\n", what, detail);
    exit(EXIT_USAGE);
}

static _Noreturn void print_and_exit(const char *text)
{
    bool ok = fputs(text, stdout) >= 0 && fflush(stdout) == 0;
    exit(ok ? EXIT_SUCCESS : EXIT_FAILURE);
}

static uint64_t parse_number(const char *text, uint64_t max)
{
    uint64_t value;
    if (parse_u64(text, max, &value) < 0) usage("bad number: ", text);
    return value;
}

static void apply_option(struct options *o, int id, char *argument)
{
    switch (id) {
    case OPT_SPOOL:
        o->spool = argument;
        break;
    case OPT_ENDPOINT:
        o->endpoint = argument;
        break;
    case OPT_TLS:
        o->tls.enabled = true;
        break;
    case OPT_CA:
        o->tls.enabled = true;
        o->tls.ca_file = argument;
        break;
    case OPT_HOST:
        o->tls.host_override = argument;
        break;
    case OPT_INSECURE:
        o->tls.enabled = o->tls.insecure = true;
        break;
    case OPT_DETACH:
        o->detach = true;
        break;
    case OPT_END_FD:
        o->end_fd = (int)parse_number(argument, INT_MAX);
        break;
    case OPT_ONCE:
        o->once = true;
        break;
    case OPT_JOB_ID:
        o->start.job_id = (uint32_t)parse_number(argument, UINT32_MAX);
        break;
    case OPT_RESTARTS:
        o->start.restart_count = (uint32_t)parse_number(argument, UINT32_MAX);
        break;
    case OPT_START:
        o->start.start_s = (int64_t)parse_number(argument, INT64_MAX);
        break;
    case OPT_DEBUG:
        log_set_level(LOG_LEVEL_DEBUG);
        break;
    case OPT_DUMP:
        o->dump = argument;
        break;
    case OPT_HELP:
        print_and_exit(help);
    case OPT_VERSION:
        print_and_exit("deepsquare-forwarder " AGENT_VERSION "\n");
    }
}

static void parse_options(struct options *o, int argc, char **argv)
{
    opterr = 0;
    int id;
    while ((id = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
        if (id == ':') usage("this option needs a value: ", argv[optind - 1]);
        if (id == '?') usage("unknown or ambiguous option: ", argv[optind - 1]);
        apply_option(o, id, optarg);
    }
    if (optind < argc) usage("unexpected argument: ", argv[optind]);
    if (o->dump) return;
    if (o->once && o->start.job_id == 0) usage("--once needs --job-id", "");
    if (!o->once && (!o->spool || !o->spool[0])) usage("--spool is needed", "");
    if (!o->endpoint) usage("--endpoint is needed", "");
}

/* To be no child of the plugin's process, which may not reap us. Before any thread is started. */
static void go_on_in_background(void)
{
    pid_t pid = fork();
    if (pid == 0) return;
    if (pid < 0) log_error("fork: %s", strerror(errno));
    _exit(pid < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* Slurm's daemons do not mark all their descriptors close-on-exec; a lock or a socket must not live
 * on in us. */
static void close_others(int end_fd)
{
    DIR *d = opendir("/proc/self/fd");
    if (!d) return;
    const struct dirent *entry;
    while ((entry = readdir(d))) {
        uint64_t fd;
        if (parse_u64(entry->d_name, INT_MAX, &fd) < 0) continue; // "." and ".."
        if (fd > STDERR_FILENO && (int)fd != end_fd && (int)fd != dirfd(d)) (void)close((int)fd);
    }
    (void)closedir(d);
}

/* Signals to end come by descriptor; gRPC must not raise SIGPIPE. Before any thread is started. */
static int open_stop_fd(void)
{
    sigset_t set;
    (void)signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

struct sender {
    struct rpc_client *client;
    long long call_ms;
};

static int send_record(void *ctx, const struct record *r, char *message, size_t size)
{
    const struct sender *s = ctx;
    struct error err = {0};
    struct rpc_answer answer = {0};
    size_t len = 0;
    uint8_t *data = request_pack(r, &len, &err);
    int rc = data ? 0 : err.code;
    if (data)
        rc = rpc_client_call(
            s->client, METHOD, data, len, false, clock_mono_ms() + s->call_ms, &answer, &err);
    free(data);
    if (rc == 0) {
        rc = answer.status;
        (void)snprintf(message, size, "%s", answer.message);
    } else {
        (void)snprintf(message, size, "%s", err.text);
    }
    free(answer.data);
    return rc;
}

static int run_spool(const struct options *o, int stop_fd, struct error *err)
{
    struct sender sender = {rpc_client_new(o->endpoint, &o->tls, ANSWER_MAX, err), CALL_MS};
    if (!sender.client) return err->code;
    int rc = lock_take(o->spool, o->end_fd, stop_fd, err);
    if (rc < 0) return rc;

    struct forward_options forward = forward_defaults;
    forward.spool = o->spool;
    forward.end_fd = o->end_fd;
    forward.stop_fd = stop_fd;
    forward.send = send_record;
    forward.ctx = &sender;
    log_info("deepsquare-forwarder %s sends to %s%s",
             AGENT_VERSION,
             o->endpoint,
             o->tls.enabled ? " (TLS)" : "");
    return forward_run(&forward, err);
}

static int run_once(const struct options *o, struct error *err)
{
    (void)alarm(ONCE_MS / 1000 + 5); // whatever hangs: nothing of ours stays on a node
    int rc = once_take_slot(SLOTS, err);
    if (rc < 0) return rc;
    struct sender sender = {rpc_client_new(o->endpoint, &o->tls, ANSWER_MAX, err), ONCE_CALL_MS};
    if (!sender.client) return err->code;

    struct record start = o->start;
    start.kind = RECORD_START;
    start.job_state = REQUEST_STATE_RUNNING;
    if (start.start_s == 0) start.start_s = clock_wall_s();
    return once_send(&start, send_record, &sender, ONCE_MS, ONCE_CALL_MS, err);
}

static int run(const struct options *o, struct error *err)
{
    if (!o->once) {
        int rc = run_spool(o, open_stop_fd(), err);
        if (rc < 0 && rc != ERR_STOPPED) log_error("%s", err->text);
        return rc;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    int rc = run_once(o, err);
    if (rc < 0) {
        openlog("deepsquare-forwarder", LOG_PERROR | LOG_PID, LOG_DAEMON);
        syslog(LOG_WARNING,
               "start of Slurm job %u not reported to %s: %s; the agent finds it by its own query",
               o->start.job_id,
               o->endpoint,
               err->text);
    }
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {.end_fd = -1};
    struct error err = {0};
    parse_options(&o, argc, argv);
    if (o.dump) {
        if (rejects_print(o.dump, &err) == 0) return fflush(stdout) == 0 ? 0 : EXIT_FAILURE;
        fprintf(stderr, "deepsquare-forwarder: %s\n", err.text);
        return EXIT_FAILURE;
    }
    if (o.detach) go_on_in_background();
    if (o.once || o.end_fd >= 0) close_others(o.end_fd);
    int rc = run(&o, &err);
    /* Not exit(): calls may be under way on other threads, and all that matters is written. */
    _exit(rc == 0 || rc == ERR_STOPPED ? EXIT_SUCCESS
          : rc == ERR_INVALID          ? EXIT_USAGE
                                       : EXIT_FAILURE);
}
