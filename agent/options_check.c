/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What one value alone does not show: where secrets come from, what is missing, what clashes. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/options_private.h"
#include "agent/register_setup.h"
#include "agent/util/hex.h"

/* ------------------------------------------------------------------------------------ secrets */

/* Of a secret and its file the higher level counts; the other one is forgotten. */
static void
settle_secret(struct options_loader *l, enum option_id id, enum option_id file_id, bool read_file)
{
    char from[OPTION_ORIGIN_TEXT], file_from[OPTION_ORIGIN_TEXT];
    struct error err = {0};
    (void)option_origin_text(l, &l->origin[id], from);
    (void)option_origin_text(l, &l->origin[file_id], file_from);
    if (!option_is_set(l->o, file_id)) return;
    if (option_is_set(l->o, id)) {
        if (l->origin[id].level == l->origin[file_id].level) {
            options_complain(l, "%s and %s are both given: give one", from, file_from);
            return;
        }
        bool file_wins = l->origin[file_id].level > l->origin[id].level;
        enum option_id loser = file_wins ? id : file_id;
        option_type_of(&option_table[loser])->clear(option_member(l->o, loser));
        options_set_default(l, loser);
        if (!file_wins) return;
    }
    const char *path = *(char **)option_member(l->o, file_id);
    if (read_file && secret_read_file(option_member(l->o, id), path, &err) < 0)
        options_complain(l, "%s: %s", file_from, err.text);
}

void options_settle_secrets(struct options_loader *l, bool read_files)
{
    options_find_secrets(l);
    for (int i = 0; i + 1 < OPTION_COUNT; i++) {
        if (option_table[i].type != OPTION_TYPE_SECRET) continue;
        if (l->origin[i].level == OPTION_FLAG && option_is_set(l->o, i))
            options_warn(l,
                         "%s%s: a secret in a flag is shown by the process list, use --%s",
                         option_dashes(l->origin[i].name),
                         l->origin[i].name,
                         option_table[i + 1].flag);
        settle_secret(l, i, i + 1, read_files);
    }
}

static void complain_secret(struct options_loader *l, enum option_id id, const char *expected)
{
    char from[OPTION_ORIGIN_TEXT];
    bool from_file = option_is_set(l->o, id + 1);
    (void)option_origin_text(l, &l->origin[from_file ? id + 1 : id], from);
    options_complain(l, "%s: bad value (not shown), expected %s", from, expected);
}

static void check_eth_key(struct options_loader *l)
{
    uint8_t key[32], any = 0;
    const struct secret *s = &l->o->eth_private_key;
    if (!s->len) return;
    bool ok =
        strlen((char *)s->data) == s->len && hex_decode(key, sizeof(key), (char *)s->data) == 0;
    for (size_t i = 0; ok && i < sizeof(key); i++)
        any |= key[i];
    explicit_bzero(key, sizeof(key));
    if (!any) complain_secret(l, OPTION_eth_private_key, "64 hexadecimal digits, not all zero");
}

/* Base64 on one line, as the reference's; from a file also the key as ssh-keygen writes it. */
static void check_ssh_key(struct options_loader *l)
{
    static const char pem[] = "-----BEGIN ";
    const struct secret *s = &l->o->slurm_ssh_private_key;
    if (!s->len || strncmp((char *)s->data, pem, sizeof(pem) - 1) == 0) return;
    const char *text = (const char *)s->data;
    size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    size_t pad = strspn(text + n, "=");
    if (n + pad != s->len || n == 0 || pad > 2 || (n + pad) % 4)
        complain_secret(l, OPTION_slurm_ssh_private_key, "a private key, base64 on one line");
}

/* ----------------------------------------------------------------------------------- required */

static void complain_missing(struct options_loader *l, enum option_id id)
{
    const struct option *opt = &option_table[id];
    // Of a secret only the recommended form is named: the row behind it.
    const struct option *give = opt->type == OPTION_TYPE_SECRET ? opt + 1 : opt;
    const char *stop = strstr(opt->help, ". "); // the help's first sentence is what it is
    options_complain(l,
                     "--%s is missing%s%s%s, expected %s by that flag, %s, or %s in %s: %.*s",
                     give->flag,
                     *opt->def ? " (the default, " : "",
                     opt->def,
                     *opt->def ? ", is none)" : "",
                     give->arg,
                     give->env,
                     give->flag,
                     l->o->config,
                     stop ? (int)(stop + 1 - opt->help) : (int)strlen(opt->help),
                     opt->help);
}

/* All rows with this flag must be set. */
static void check_required(struct options_loader *l, unsigned int flag)
{
    for (int i = 0; i < OPTION_COUNT; i++)
        if (option_table[i].flags & flag && !option_is_set(l->o, i)) complain_missing(l, i);
}

/* A way to Slurm, and the options that are about it alone. */
struct way {
    enum option_slurm_backend backend;
    unsigned int flag;
    enum option_id ids[6];
};

static const struct way ways[] = {
    {OPTION_SLURM_REST,
     OPTION_FOR_REST,
     {OPTION_slurm_rest_endpoint,
      OPTION_slurm_rest_ca,
      OPTION_slurm_rest_jwt_key_file,
      OPTION_slurm_rest_token_file,
      OPTION_slurm_rest_admin_user,
      OPTION_slurm_rest_endpoint}},
    {OPTION_SLURM_SSH,
     OPTION_FOR_SSH,
     {OPTION_slurm_ssh_address,
      OPTION_slurm_ssh_admin_user,
      OPTION_slurm_ssh_private_key,
      OPTION_slurm_ssh_private_key_file,
      OPTION_slurm_ssh_known_hosts,
      OPTION_slurm_ssh_insecure}},
};

/* With auto a way is used as soon as any of its options is given. */
static bool is_used(const struct options_loader *l, const struct way *way)
{
    if (l->o->slurm_backend != OPTION_SLURM_AUTO) return l->o->slurm_backend == way->backend;
    for (size_t i = 0; i < sizeof(way->ids) / sizeof(way->ids[0]); i++)
        if (l->origin[way->ids[i]].level > OPTION_FOUND) return true;
    return false;
}

static void check_rest(struct options_loader *l)
{
    bool key = option_is_set(l->o, OPTION_slurm_rest_jwt_key_file);
    bool token = option_is_set(l->o, OPTION_slurm_rest_token_file);
    if (key == token)
        options_complain(l,
                         "--slurm.rest.jwt-key-file and --slurm.rest.token-file: %s, give one",
                         key ? "both are given" : "both are missing");
}

/* ----------------------------------------------------------------------------- whole picture */

/* A file that will be read must be readable, and is found out now rather than at the first job. */
static void check_file(struct options_loader *l, enum option_id id, bool used)
{
    if (!used || !option_is_set(l->o, id)) return;
    char from[OPTION_ORIGIN_TEXT];
    const char *path = *(char **)option_member(l->o, id);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        options_complain(
            l, "%s: %s: %s", option_origin_text(l, &l->origin[id], from), path, strerror(errno));
    else
        (void)close(fd);
}

static void check_slurm(struct options_loader *l)
{
    const struct way *rest = &ways[0], *ssh = &ways[1];
    bool over_rest = is_used(l, rest), over_ssh = is_used(l, ssh);
    if (!over_rest && !over_ssh)
        options_complain(l,
                         "--slurm.rest.endpoint and --slurm.ssh.address are missing: the agent "
                         "needs a way to Slurm, slurmrestd or a login node, or both");
    if (over_rest) {
        check_required(l, rest->flag);
        check_rest(l);
    }
    if (over_ssh) check_required(l, ssh->flag);
    check_file(l, OPTION_slurm_rest_ca, over_rest);
    check_file(l, OPTION_slurm_rest_jwt_key_file, over_rest);
    check_file(l, OPTION_slurm_rest_token_file, over_rest);
    check_file(l,
               OPTION_slurm_ssh_known_hosts,
               over_ssh && !l->o->slurm_ssh_insecure &&
                   l->origin[OPTION_slurm_ssh_known_hosts].level != OPTION_DEFAULT);
}

static void check_tls(struct options_loader *l)
{
    static const enum option_id ids[] = {OPTION_tls_key_file, OPTION_tls_cert_file};
    char from[OPTION_ORIGIN_TEXT];
    if (!l->o->tls) return;
    (void)option_origin_text(l, &l->origin[OPTION_tls], from);
    for (size_t i = 0; i < 2; i++) {
        if (!option_is_set(l->o, ids[i]))
            options_complain(l,
                             "--%s is missing: %s asks for it, give the key and the certificate",
                             option_table[ids[i]].flag,
                             from);
        check_file(l, ids[i], true);
    }
}

static void check_registration(struct options_loader *l)
{
    static const struct u256 zero;
    struct chain_provider terms = {0};
    struct registration_rules rules;
    struct error err = {0};
    if (register_setup(l->o, &terms, &rules, &err) < 0)
        options_complain(l, "%s", err.text);
    else if (u256_cmp(terms.prices.gpu, zero) == 0)
        options_warn(l, "--metascheduler.gpu-price-per-min is 0: GPUs are given for nothing");
    provider_free(&terms);
}

static void warn_insecure(struct options_loader *l)
{
    const struct options *o = l->o;
    if (o->customer_tls && o->customer_tls_insecure)
        options_warn(l, "--customer.tls.insecure: the customer API's certificate is not verified");
    if (o->customer_logger_tls && o->customer_logger_tls_insecure)
        options_warn(l, "--customer.logger.tls.insecure: the logger's certificate is not verified");
    if (o->slurm_ssh_insecure)
        options_warn(l,
                     "--slurm.ssh.insecure: the login node's host key is not verified: whoever "
                     "answers gets the customers' scripts");
}

static void warn_unused(struct options_loader *l)
{
    char from[OPTION_ORIGIN_TEXT];
    for (int i = 0; i < OPTION_COUNT; i++)
        if (option_table[i].flags & OPTION_LATER && l->origin[i].level != OPTION_DEFAULT)
            options_warn(l,
                         "%s: accepted, but this version makes no use of it",
                         option_origin_text(l, &l->origin[i], from));
}

void options_check(struct options_loader *l)
{
    const struct options *o = l->o;
    check_required(l, OPTION_REQUIRED);
    check_slurm(l);
    check_eth_key(l);
    check_ssh_key(l);
    check_tls(l);
    check_file(l, OPTION_customer_tls_ca, o->customer_tls && !o->customer_tls_insecure);
    check_file(l,
               OPTION_customer_logger_tls_ca,
               o->customer_logger_tls && !o->customer_logger_tls_insecure);
    check_file(l, OPTION_slurm_user_map, true);
    check_registration(l);
    warn_insecure(l);
    warn_unused(l);
}
