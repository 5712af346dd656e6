/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plugins/common/settings.h"

#include <stdio.h>
#include <string.h>

static bool is_printable(const char *text)
{
    for (; *text; text++) {
        if (*text <= ' ' || *text > '~') return false;
    }
    return true;
}

/* 1 to 65535 in decimal digits. */
static bool is_port(const char *text)
{
    unsigned int port = 0;
    size_t len = strlen(text);
    if (len == 0 || len > 5) return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return false;
        port = port * 10 + (unsigned int)(*text - '0');
    }
    return port >= 1 && port <= 65535;
}

static bool is_endpoint(const char *text)
{
    if (strnlen(text, LAUNCH_ENDPOINT_MAX) >= LAUNCH_ENDPOINT_MAX || !is_printable(text))
        return false;
    if (strncmp(text, "unix:/", 6) == 0) return text[6] != '\0';
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || !is_port(colon + 1)) return false;
    /* A path has no place in host:port (Slurm's default is a log file), nor has a scheme. */
    if (strchr(text, '/')) return false;
    /* More than one colon is IPv6, in brackets. */
    bool v6 = memchr(text, ':', (size_t)(colon - text)) != NULL;
    return !v6 || (text[0] == '[' && colon[-1] == ']');
}

/* Returns false if it does not fit or is no absolute path. */
static bool set_path(char *out, const char *value)
{
    size_t len = strnlen(value, PATH_MAX);
    if (len >= PATH_MAX || value[0] != '/') return false;
    memcpy(out, value, len + 1);
    return true;
}

static bool set_host(char *out, const char *value)
{
    size_t len = strnlen(value, LAUNCH_HOST_MAX);
    if (len == 0 || len >= LAUNCH_HOST_MAX || !is_printable(value)) return false;
    memcpy(out, value, len + 1);
    return true;
}

/* "key=" -> value, or NULL if it is not that key. */
static const char *value_of(const char *item, const char *key)
{
    size_t len = strlen(key);
    return strncasecmp(item, key, len) == 0 && item[len] == '=' ? item + len + 1 : NULL;
}

bool settings_set_endpoint(struct launch_config *c, const char *endpoint)
{
    if (!is_endpoint(endpoint)) return false;
    memcpy(c->endpoint, endpoint, strlen(endpoint) + 1);
    return true;
}

bool settings_apply(struct launch_config *c, const char *item)
{
    const char *value;
    if (strcasecmp(item, "tls") == 0) return c->tls = true;
    if (strcasecmp(item, "insecure") == 0) return c->tls = c->insecure = true;
    if ((value = value_of(item, "ca"))) {
        c->tls = true; // also if the path is bad: what was to be encrypted never goes out in clear
        return set_path(c->ca, value);
    }
    if ((value = value_of(item, "host_override")) || (value = value_of(item, "host-override")))
        return set_host(c->host_override, value);
    if ((value = value_of(item, "forwarder"))) return set_path(c->program, value);
    return false;
}

/* Returns 0, or -1 and the last bad one in `problem`. */
static int apply_params(struct launch_config *c, const char *params, char *problem, size_t size)
{
    int rc = 0;
    while (*params) {
        char item[PATH_MAX + 32];
        size_t len = strcspn(params, ",");
        bool ok = len < sizeof(item);
        if (ok) {
            memcpy(item, params, len);
            item[len] = '\0';
            ok = len == 0 || settings_apply(c, item);
        }
        if (!ok) {
            (void)snprintf(problem,
                           size,
                           "JobCompParams: \"%.*s\" is no parameter of this plugin or has a bad "
                           "value, ignoring it",
                           len < 128 ? (int)len : 128,
                           params);
            rc = -1;
        }
        params += len + (params[len] == ',');
    }
    return rc;
}

int settings_parse(struct launch_config *config,
                   const char *location,
                   const char *params,
                   char *problem,
                   size_t problem_size)
{
    if (!location) location = "";
    config->endpoint[0] = config->ca[0] = config->host_override[0] = '\0';
    config->tls = config->insecure = false;

    int rc = apply_params(config, params ? params : "", problem, problem_size);
    if (settings_set_endpoint(config, location)) return rc;
    (void)snprintf(problem,
                   problem_size,
                   "JobCompLoc=\"%.128s\" is not host:port: job records are kept in the spool and "
                   "NOT SENT until this is corrected (scontrol reconfigure)",
                   location);
    return -1;
}
