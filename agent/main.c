/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * deepsquare-agent: reads its options, makes the parts and wires them, tells systemd that it is
 * ready, and runs the engine until a signal says stop; SIGHUP has it read its options again.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "agent/commands.h"
#include "agent/engine/engine.h"
#include "agent/options.h"
#include "agent/register_setup.h"
#include "agent/slurm/users.h"
#include "agent/slurm_setup.h"
#include "agent/util/fault.h"
#include "agent/util/hex.h"
#include "agent/version.h"

enum {
    SERVER_GRACE_MS = 2000, // for calls that wait for an answer
    /*
     * A submission that was under way when the agent was killed ends by itself within one Slurm
     * time-out (agent/slurm/remote.h); slurmctld gets this much more to show its job.
     */
    SUBMIT_MARGIN_MS = 5000,
};

struct parts {
    int argc;
    char **argv;
    struct options options;
    struct signer *signer;
    struct store *store;
    struct slurm_backend *slurm;
    struct users *users;
    struct customer *customer;
    struct customer_logger *logger;
    struct chain_provider terms; // prices and labels to register
    struct engine *engine;
    struct server *server;
    struct buf authorized_keys;
    char comment[SLURM_COMMENT_MAX];
};

/* No core file and no tracer of the same user: both would show the keys. */
static void guard_memory(void)
{
    struct rlimit none = {0, 0};
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)setrlimit(RLIMIT_CORE, &none);
}

/* Signals are blocked in every thread and read here. Returns a descriptor, or -1. */
static int block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* From here on a second signal ends the process at once: nothing that is durable is lost by it. */
static void unblock_signals(int fd)
{
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        continue;
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    (void)sigprocmask(SIG_UNBLOCK, &stop, NULL);
}

static void log_warnings(const struct options *o)
{
    for (size_t i = 0; i < o->warnings.count; i++)
        log_warn("%s", o->warnings.items[i]);
}

static int
sign_message(void *ctx, const void *msg, size_t len, uint8_t signature[65], struct error *err)
{
    return signer_sign_message(ctx, msg, len, signature, err);
}

static int
find_user(void *ctx, const uint8_t customer[20], char *user, size_t size, struct error *err)
{
    char found[SLURM_USER_MAX];
    int rc = users_find(ctx, customer, found, err);
    if (rc < 0) return rc;
    (void)snprintf(user, size, "%s", found);
    return 0;
}

static int make_slurm(struct parts *p, struct error *err)
{
    const struct options *o = &p->options;
    p->authorized_keys = BUF_INIT(16 * 1024);
    p->slurm = slurm_setup(o, &p->authorized_keys, err);
    p->users = p->slurm ? users_new(o->slurm_user, o->slurm_user_map, err) : NULL;
    return p->users ? 0 : ERR_INVALID;
}

static int make_customer(struct parts *p, struct error *err)
{
    const struct options *o = &p->options;
    struct customer_options c = {
        .endpoint = o->customer_endpoint,
        .tls = o->customer_tls,
        .tls_insecure = o->customer_tls_insecure,
        .ca_file = o->customer_tls_ca,
        .host_override = o->customer_tls_server_host_override,
        .api = o->customer_api,
        .max_script_bytes = o->customer_max_script_size,
        .sign = sign_message,
        .sign_ctx = p->signer,
    };
    struct eth_address self = signer_address(p->signer);
    memcpy(c.provider, self.b, sizeof(c.provider));
    struct customer_logger_options logger = {
        .tls = o->customer_logger_tls,
        .insecure = o->customer_logger_tls_insecure,
        .ca_file = o->customer_logger_tls_ca,
        .host_override = o->customer_logger_tls_server_host_override,
    };
    p->customer = customer_new(&c, err);
    p->logger = p->customer ? customer_logger_new(&logger, err) : NULL;
    return p->logger ? 0 : ERR_INVALID;
}

static void tell_status(void *ctx, const char *text)
{
    fault_point(FAULT_STATUS_BEFORE);
    (void)sd_notifyf(0, "STATUS=%s", text);
    fault_point(FAULT_STATUS_AFTER);
}

static void tell_alive(void)
{
    (void)sd_notify(0, "WATCHDOG=1");
}

/* How often systemd wants to hear that the loop goes round; 0: it does not. */
static long long alive_every_ms(void)
{
    uint64_t watchdog_us = 0;
    if (sd_watchdog_enabled(0, &watchdog_us) <= 0) return 0;
    return (long long)(watchdog_us / 1000 / 3);
}

static struct engine_options engine_options(struct parts *p, const struct registration_rules *rules)
{
    const struct options *o = &p->options;
    return (struct engine_options){
        .store = p->store,
        .signer = p->signer,
        .chain = {.endpoints = o->metascheduler_endpoint.items,
                  .endpoint_count = o->metascheduler_endpoint.count,
                  .ws_endpoint = o->metascheduler_endpoint_ws,
                  .max_lag = o->metascheduler_max_lag,
                  .confirmations = o->metascheduler_confirmations,
                  .metascheduler = o->metascheduler_smart_contract.value,
                  .provider = signer_address(p->signer),
                  .poll_interval_ms = o->metascheduler_poll_interval_ms,
                  .logs_range = o->metascheduler_logs_range,
                  .look_back = o->metascheduler_look_back,
                  .timeout_ms = o->metascheduler_timeout_ms,
                  .caps = {.max_fee = o->eth_max_fee_per_gas,
                           .max_tip = o->eth_max_priority_fee_per_gas},
                  .bump_after = o->eth_bump_after},
        .slurm = p->slurm,
        .customer = p->customer,
        .logger = p->logger,
        .user_of = find_user,
        .user_ctx = p->users,
        .status = tell_status,
        .alive = tell_alive,
        .alive_every_ms = alive_every_ms(),
        .partition = o->slurm_partition,
        .output = o->slurm_output,
        .comment = p->comment,
        .registration = {.terms = &p->terms,
                         .rules = *rules,
                         .by_itself = o->register_auto,
                         .interval_ms = o->register_interval_ms},
        .workers = (unsigned int)o->workers,
        .claim_batch = (unsigned int)o->claim_batch,
        .max_jobs = (unsigned int)o->claim_max_jobs,
        .min_balance = o->eth_min_balance,
        .max_spend_per_day = o->eth_max_spend_per_day,
        .only_if_free = o->claim_only_if_free,
        .query_interval_ms = o->slurm_query_interval_ms,
        .slurm_timeout_ms = o->slurm_timeout_ms,
        .customer_timeout_ms = o->customer_timeout_ms,
        .submit_grace_ms = o->slurm_timeout_ms + SUBMIT_MARGIN_MS,
        .reconcile_interval_ms = o->reconcile_interval_ms,
        .reconcile_grace_ms = o->reconcile_grace_ms,
        .comment_is_ours = !strstr(o->public_address, "example.com"),
    };
}

static int make_engine(struct parts *p, struct error *err)
{
    struct registration_rules rules;
    (void)snprintf(p->comment, sizeof(p->comment), "supervisor %s", p->options.public_address);
    if (register_setup(&p->options, &p->terms, &rules, err) < 0) return ERR_INVALID;
    struct engine_options e = engine_options(p, &rules);
    p->engine = engine_new(&e, err);
    return p->engine ? 0 : ERR_INVALID;
}

static int make_server(struct parts *p, struct error *err)
{
    static const struct server_ops ops = {.job_event = engine_job_event};
    struct server_options s = {
        .listen_address = p->options.grpc_listen_address,
        .tls = p->options.tls,
        .cert_file = p->options.tls_cert_file,
        .key_file = p->options.tls_key_file,
        .authorized_keys = buf_str(&p->authorized_keys),
    };
    p->server = server_start(&s, &ops, p->engine, err);
    return p->server ? 0 : ERR_INVALID;
}

static int make_parts(struct parts *p, struct error *err)
{
    char self[ETH_ADDRESS_TEXT], contract[ETH_ADDRESS_TEXT];
    p->signer = signer_new(&p->options.eth_private_key, err);
    if (!p->signer) return ERR_INVALID;
    p->store = store_open(p->options.state_dir, err);
    if (!p->store || make_slurm(p, err) < 0 || make_customer(p, err) < 0 ||
        make_engine(p, err) < 0 || make_server(p, err) < 0)
        return ERR_INVALID;
    struct eth_address address = signer_address(p->signer);
    log_info("%s %s: provider %s, contract %s, gRPC on %s (port %d)",
             AGENT_NAME,
             AGENT_VERSION,
             hex_encode(self, address.b, sizeof(address.b)),
             hex_encode(contract, p->options.metascheduler_smart_contract.value.b, 20),
             p->options.grpc_listen_address,
             server_port(p->server));
    return 0;
}

/* --------------------------------------------------------------------------------- reload */

static void tell_refusal(const char *reason)
{
    log_error("the configuration is bad, none of it is taken over: %s", reason);
}

/* Values that wait for a restart are not shown: an endpoint may have a key in it. */
static void tell_difference(const char *flag, const char *was, const char *is, bool now)
{
    if (now)
        log_info("configuration: %s is \"%s\" now, it was \"%s\"", flag, is, was);
    else
        log_warn("configuration: %s differs, which the agent must be restarted for", flag);
}

/* All or nothing: what can be refused comes first. */
static void read_again(struct parts *p)
{
    struct options fresh;
    struct chain_provider terms = {0};
    struct registration_rules rules;
    struct error err = {0};
    if (options_reload(&fresh, &p->options, p->argc, p->argv, tell_refusal) < 0) return;
    int rc = register_setup(&fresh, &terms, &rules, &err);
    if (rc == 0 && p->options.tls && fresh.tls)
        rc = server_set_certificate(p->server, fresh.tls_cert_file, fresh.tls_key_file, &err);
    if (rc < 0) {
        tell_refusal(err.text);
        provider_free(&terms);
        options_free(&fresh);
        return;
    }
    if (rc == 1) log_info("configuration: the gRPC server has another certificate now");
    log_warnings(&fresh);
    options_adopt(&p->options, &fresh, tell_difference);
    provider_free(&p->terms);
    p->terms = terms;
    log_set_level(p->options.log_level);
    struct engine_options e = engine_options(p, &rules);
    engine_reload(p->engine, &e);
    log_info("the configuration was read again");
}

static void reload(struct parts *p)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    (void)sd_notifyf(
        0, "RELOADING=1\nMONOTONIC_USEC=%lld", now.tv_sec * 1000000LL + now.tv_nsec / 1000);
    read_again(p);
    (void)sd_notify(0, "READY=1");
}

/* Do what the next signal asks for. False: stop. */
static bool obey_signal(struct parts *p, int fd)
{
    struct signalfd_siginfo info;
    if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info)) return true;
    if (info.ssi_signo != SIGHUP) return false;
    reload(p);
    return true;
}

static int run(struct parts *p, int signal_fd, struct error *err)
{
    int rc = engine_start(p->engine, err);
    if (rc < 0) return rc;
    server_set_serving(p->server, true);
    fault_point(FAULT_READY_BEFORE);
    (void)sd_notify(0, "READY=1");
    fault_point(FAULT_READY_AFTER);
    do
        rc = engine_run(p->engine, signal_fd, err);
    while (rc == 0 && obey_signal(p, signal_fd));
    fault_point(FAULT_STOPPING_BEFORE);
    (void)sd_notify(0, "STOPPING=1");
    fault_point(FAULT_STOPPING_AFTER);
    unblock_signals(signal_fd);
    if (rc == 0) log_info("stopping");
    return rc;
}

/* False: a worker is still in a call, and nothing that it uses may be freed. */
static bool free_parts(struct parts *p)
{
    bool ended = engine_stop(p->engine);
    p->server = server_stop(p->server, SERVER_GRACE_MS);
    if (!ended) return false;
    p->engine = engine_destroy(p->engine);
    provider_free(&p->terms);
    p->logger = customer_logger_destroy(p->logger);
    p->customer = customer_destroy(p->customer);
    p->users = users_destroy(p->users);
    if (p->slurm) p->slurm->ops->destroy(p->slurm);
    p->store = store_close(p->store);
    p->signer = signer_destroy(p->signer);
    buf_free(&p->authorized_keys);
    options_free(&p->options);
    return true;
}

/* The exit status of a command. */
static int run_command(struct options *o)
{
    static int (*const commands[OPTIONS_COMMAND_COUNT])(const struct options *o) = {
        [OPTIONS_COMMAND_REGISTER] = command_register,
        [OPTIONS_COMMAND_BILLING] = command_billing,
        [OPTIONS_COMMAND_HEALTH] = command_health,
    };
    log_set_level(o->trace ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
    (void)signal(SIGPIPE, SIG_IGN);
    int status = commands[o->command](o);
    options_free(o);
    return fflush(stdout) == 0 ? status : OPTIONS_STATUS_USAGE;
}

int main(int argc, char **argv)
{
    struct parts parts = {.argc = argc, .argv = argv};
    struct error err = {0};
    fault_init();
    guard_memory();
    switch (options_load(&parts.options, argc, argv)) {
    case OPTIONS_RUN:
        break;
    case OPTIONS_EXIT_OK:
        return EXIT_SUCCESS;
    case OPTIONS_EXIT_USAGE:
        return OPTIONS_STATUS_USAGE;
    }
    if (parts.options.command != OPTIONS_COMMAND_RUN) return run_command(&parts.options);
    log_set_level(parts.options.log_level);
    log_warnings(&parts.options);

    int signal_fd = block_signals();
    int rc = signal_fd < 0 ? error_set(&err, ERR_IO, "signalfd: %s", strerror(errno))
                           : make_parts(&parts, &err);
    if (rc == 0) rc = run(&parts, signal_fd, &err);
    if (rc < 0) log_error("%s", err.text);
    if (!free_parts(&parts)) _exit(rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
