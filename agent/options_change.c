/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A reload: what differs, and which of it may change while the agent runs (OPTION_RELOAD). */
#include <string.h>

#include "agent/options_private.h"

enum { VALUE_BYTES_MAX = 64 * 1024 }; // as that of --print-config

static void keep_secret(struct options_loader *l, enum option_id id)
{
    const struct secret *had = option_member((struct options *)l->running, id);
    struct secret *has = option_member(l->o, id);
    secret_wipe(has);
    if (had->len && secret_set(has, had->data, had->len) < 0)
        options_complain(l, "%s", err_text(ERR_NOMEM));
}

void options_keep_given_secrets(struct options_loader *l)
{
    struct options *running = (struct options *)l->running; // is only read
    for (int i = 0; i + 1 < OPTION_COUNT; i++) {
        const struct option *opt = &option_table[i];
        if (opt->type != OPTION_TYPE_SECRET || !option_is_set(running, i) ||
            option_is_set(running, i + 1))
            continue;
        keep_secret(l, i);
        l->origin[i] = (struct option_origin){.level = OPTION_ENV, .name = opt->env};
    }
}

void options_keep_secrets(struct options_loader *l)
{
    for (int i = 0; i < OPTION_COUNT; i++)
        if (option_table[i].type == OPTION_TYPE_SECRET) keep_secret(l, i);
}

static size_t member_size(enum option_id id)
{
    static const size_t sizes[OPTION_COUNT] = {
#define OPT(field, type, flag, env, def, flags, min, max, arg, help) sizeof(OPTION_CTYPE_##type),
#include "agent/options.def"
    };
    return sizes[id];
}

/* By bytes: no member points into itself. */
static void swap_members(struct options *a, struct options *b, enum option_id id)
{
    unsigned char keep[sizeof(struct u256) + sizeof(struct option_address)];
    size_t size = member_size(id);
    memcpy(keep, option_member(a, id), size);
    memcpy(option_member(a, id), option_member(b, id), size);
    memcpy(option_member(b, id), keep, size);
}

void options_adopt(struct options *running,
                   struct options *fresh,
                   void (*tell)(const char *flag, const char *was, const char *is, bool now))
{
    struct buf was = BUF_INIT(VALUE_BYTES_MAX), is = BUF_INIT(VALUE_BYTES_MAX);
    for (int i = 0; i < OPTION_COUNT; i++) {
        const struct option *opt = &option_table[i];
        const struct option_type *type = option_type_of(opt);
        if (opt->flags & OPTION_COMMAND || !type->format) continue; // or a secret
        buf_reset(&was);
        buf_reset(&is);
        type->format(option_member(running, i), &was);
        type->format(option_member(fresh, i), &is);
        if (strcmp(buf_str(&was), buf_str(&is)) == 0) continue;
        bool now = opt->flags & OPTION_RELOAD;
        if (now) swap_members(running, fresh, i);
        tell(opt->flag, buf_str(&was), buf_str(&is), now);
    }
    buf_free(&was);
    buf_free(&is);
    options_free(fresh);
}
