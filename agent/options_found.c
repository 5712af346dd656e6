/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Secrets that nothing names are found by their option's name, so that an administrator has one
 * place to put them: /etc/deepsquare-agent/secrets/eth.private-key. The systemd unit hands over the
 * files of that directory as credentials, and "secret" is what it calls them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/options_private.h"

enum { PATH_BYTES_MAX = 4096 };

/* The option's name without "-file", in one of the places. False: there is none. */
static bool find(struct options_loader *l, const struct option *opt, char path[PATH_BYTES_MAX])
{
    const char *given = getenv("CREDENTIALS_DIRECTORY"), *config = l->o->config;
    const char *slash = strrchr(config, '/');
    int dir_len = slash ? (int)(slash - config) : 1, name_len = (int)strlen(opt->flag) - 5;
    const struct {
        const char *dir;
        int dir_len;
        const char *prefix;
    } places[] = {
        {given, given ? (int)strlen(given) : 0, "secret_"},
        {given, given ? (int)strlen(given) : 0, ""},
        {slash ? config : ".", dir_len, "secrets/"},
    };
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (!places[i].dir) continue;
        int len = snprintf(path,
                           PATH_BYTES_MAX,
                           "%.*s/%s%.*s",
                           places[i].dir_len,
                           places[i].dir,
                           places[i].prefix,
                           name_len,
                           opt->flag);
        if (len < PATH_BYTES_MAX && access(path, F_OK) == 0) return true;
    }
    return false;
}

/* Does the site say by itself where this secret is? */
static bool is_given(struct options_loader *l, enum option_id id)
{
    if (id == OPTION_slurm_rest_jwt_key_file && option_is_set(l->o, OPTION_slurm_rest_token_file))
        return true;
    bool has_value = option_table[id].type == OPTION_TYPE_SECRET_FILE;
    return option_is_set(l->o, id) || (has_value && option_is_set(l->o, id - 1));
}

void options_find_secrets(struct options_loader *l)
{
    char path[PATH_BYTES_MAX];
    for (int i = 0; i < OPTION_COUNT; i++) {
        const struct option *opt = &option_table[i];
        if (!(opt->flags & OPTION_FOUND_BY_NAME) || is_given(l, i) || !find(l, opt, path)) continue;
        options_set(l, i, &(struct option_origin){.level = OPTION_FOUND, .name = opt->flag}, path);
    }
}
