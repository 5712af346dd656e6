/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table in memory, and the order of things: command line, file, environment, checks. */
#include "agent/options.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/options_private.h"
#include "agent/version.h"

enum {
    COMPLAINTS_MAX = 50, // lines of one start: a wrong file given as the configuration is one error
    QUOTE_MAX = 80,      // bytes of a bad value that a message repeats
    STRAY_MAX = 20,      // a stray argument that is longer may be a secret: it is not repeated
};

const struct option option_table[OPTION_COUNT] = {
#define OPT(field, type, flag, env, def, flags, min, max, arg, help) \
    [OPTION_##field] = {OPTION_TYPE_##type,                          \
                        flag,                                        \
                        env,                                         \
                        def,                                         \
                        flags,                                       \
                        min,                                         \
                        max,                                         \
                        arg,                                         \
                        help,                                        \
                        offsetof(struct options, field)},
#include "agent/options.def"
};

const struct option_alias option_aliases[] = {
#define ALIAS(field, flag, env) {OPTION_##field, flag, env},
#include "agent/options.def"
};
const size_t option_alias_count = sizeof(option_aliases) / sizeof(option_aliases[0]);

const struct option_command option_commands[OPTIONS_COMMAND_COUNT] = {
    [OPTIONS_COMMAND_REGISTER] =
        {"register",
         "Print what the contract has of this provider, what it should have, and in what the two "
         "differ. The exit status is 0 if they do not differ, 1 if they do, 2 if that cannot be "
         "told. Without --dry-run, and while the agent does not run, the agent is also made to "
         "register at its next start, whatever it would do by itself."},
    [OPTIONS_COMMAND_BILLING] =
        {"billing",
         "Print what each finished job took by Slurm's measure, what was reported of it, and what "
         "the contract billed; lines in which these do not agree are marked. Works while the "
         "agent runs."},
    [OPTIONS_COMMAND_HEALTH] =
        {"health",
         "Ask the agent that runs on this host whether it serves. The exit status is 0 if it does, "
         "1 if it does not yet or no longer, 2 if nothing answers."},
};

const struct option_entry option_entries[] = {
#define GROUP(title)                                                 {title, 0},
#define OPT(field, type, flag, env, def, flags, min, max, arg, help) {NULL, OPTION_##field},
#include "agent/options.def"
};
const size_t option_entry_count = sizeof(option_entries) / sizeof(option_entries[0]);

/* ------------------------------------------------------------------------------------ access */

const struct option_type *option_type_of(const struct option *opt)
{
    return &option_types[opt->type];
}

void *option_member(struct options *o, enum option_id id)
{
    return (char *)o + option_table[id].offset;
}

bool option_is_set(struct options *o, enum option_id id)
{
    const struct option_type *type = option_type_of(&option_table[id]);
    return !type->is_set || type->is_set(option_member(o, id));
}

static bool same_name(const char *known, const char *name, size_t len)
{
    return strncmp(known, name, len) == 0 && known[len] == '\0';
}

int option_by_flag(const char *name, size_t len, const char **known)
{
    for (int i = 0; i < OPTION_COUNT; i++)
        if (same_name(option_table[i].flag, name, len)) {
            *known = option_table[i].flag;
            return i;
        }
    for (size_t i = 0; i < option_alias_count; i++)
        if (same_name(option_aliases[i].flag, name, len)) {
            *known = option_aliases[i].flag;
            return (int)option_aliases[i].id;
        }
    return -1;
}

const char *option_dashes(const char *flag)
{
    return flag[1] ? "--" : "-";
}

const char *option_origin_text(const struct options_loader *l,
                               const struct option_origin *origin,
                               char text[OPTION_ORIGIN_TEXT])
{
    const char *name = origin->name;
    switch (origin->level) {
    case OPTION_DEFAULT:
        (void)snprintf(text, OPTION_ORIGIN_TEXT, "default");
        break;
    case OPTION_FOUND:
        (void)snprintf(text, OPTION_ORIGIN_TEXT, "--%s (found)", name);
        break;
    case OPTION_FILE:
        (void)snprintf(text, OPTION_ORIGIN_TEXT, "%s:%u: %s", l->o->config, origin->line, name);
        break;
    case OPTION_ENV:
        (void)snprintf(text, OPTION_ORIGIN_TEXT, "%s", name);
        break;
    case OPTION_FLAG:
        (void)snprintf(text, OPTION_ORIGIN_TEXT, "%s%s", option_dashes(name), name);
        break;
    }
    return text;
}

/* ---------------------------------------------------------------------------------- messages */

/* One line, whatever was quoted in it. */
static void blank_controls(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

void options_complain(struct options_loader *l, const char *fmt, ...)
{
    if (l->errors++ >= COMPLAINTS_MAX) return;
    char text[2 * OPTION_ORIGIN_TEXT];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    blank_controls(text);
    (void)fprintf(l->err, "%s: %s\n", AGENT_NAME, text);
}

void options_warn(struct options_loader *l, const char *fmt, ...)
{
    char text[2 * OPTION_ORIGIN_TEXT];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    blank_controls(text);
    if (option_list_add(&l->o->warnings, text, strlen(text)) < 0)
        options_complain(l, "%s", err_text(ERR_NOMEM));
}

static void complain_value(struct options_loader *l,
                           const struct option *opt,
                           const struct option_origin *origin,
                           const char *text)
{
    char from[OPTION_ORIGIN_TEXT];
    struct buf expected = BUF_INIT(1024);
    option_type_of(opt)->expected(opt, &expected);
    (void)option_origin_text(l, origin, from);
    if (opt->type == OPTION_TYPE_SECRET || opt->type == OPTION_TYPE_SECRET_FILE)
        options_complain(l, "%s: bad value (not shown), expected %s", from, buf_str(&expected));
    else
        options_complain(l,
                         "%s: bad value \"%.*s\"%s, expected %s",
                         from,
                         QUOTE_MAX,
                         text,
                         strlen(text) > QUOTE_MAX ? "..." : "",
                         buf_str(&expected));
    buf_free(&expected);
}

/* ------------------------------------------------------------------------------------ values */

/* Nothing is a good value if the default is nothing, or where the table says so. */
static int set_empty(const struct option *opt, void *member)
{
    const struct option_type *type = option_type_of(opt);
    if (!type->clear || (*opt->def && !(opt->flags & OPTION_EMPTY_OK))) return ERR_INVALID;
    type->clear(member);
    return 0;
}

void options_set(struct options_loader *l,
                 enum option_id id,
                 const struct option_origin *origin,
                 const char *text)
{
    const struct option *opt = &option_table[id];
    const struct option_type *type = option_type_of(opt);
    struct option_origin *now = &l->origin[id];
    bool first = now->level != origin->level;
    void *member = option_member(l->o, id);
    int rc = *text ? type->parse(opt, text, member, first) : set_empty(opt, member);
    if (rc == ERR_NOMEM)
        options_complain(l, "%s", err_text(rc));
    else if (rc < 0)
        complain_value(l, opt, origin, text);
    else
        *now = *origin;
}

void options_set_default(struct options_loader *l, enum option_id id)
{
    l->origin[id] = (struct option_origin){.level = OPTION_DEFAULT, .name = option_table[id].flag};
    options_set(l, id, &l->origin[id], option_table[id].def);
}

/* ------------------------------------------------------------------------------- environment */

static void set_env(struct options_loader *l, enum option_id id, const char *name)
{
    // An empty variable counts as none: unit files and container specifications leave such.
    const char *text = name ? getenv(name) : NULL;
    if (!text || !*text) return;
    const struct option_origin *now = &l->origin[id];
    if (now->level == OPTION_ENV && strcmp(now->name, name) != 0) {
        options_complain(
            l, "%s and %s are both set and mean the same option: give one", now->name, name);
        return;
    }
    options_set(l, id, &(struct option_origin){.level = OPTION_ENV, .name = name}, text);
}

static void set_from_env(struct options_loader *l)
{
    for (int i = 0; i < OPTION_COUNT; i++)
        if (!(option_table[i].flags & OPTION_COMMAND)) set_env(l, i, option_table[i].env);
    for (size_t i = 0; i < option_alias_count; i++)
        set_env(l, option_aliases[i].id, option_aliases[i].env);
    if (l->running) options_keep_given_secrets(l); // the start took them out of it
}

/* Our environment is readable in /proc and would be inherited by children. */
static void scrub_env(void)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        const struct option *opt = &option_table[i];
        if (opt->type != OPTION_TYPE_SECRET) continue;
        char *text;
        while ((text = getenv(opt->env)) != NULL) {
            explicit_bzero(text, strlen(text));
            (void)unsetenv(opt->env);
        }
    }
}

/* ------------------------------------------------------------------------------ command line */

struct flag {
    enum option_id id;
    const char *name;
    char *value; // in argv; NULL: a boolean without one
};

struct flags {
    struct flag *flags;
    size_t count;
};

static bool is_flag(const char *arg)
{
    return arg[0] == '-' && arg[1] != '\0';
}

static const char *skip_dashes(const char *arg)
{
    return arg + (arg[1] == '-' ? 2 : 1);
}

static void complain_unknown_flag(struct options_loader *l, const char *arg, size_t len)
{
    const char *name = skip_dashes(arg);
    const char *near = option_nearest(name, len);
    options_complain(l,
                     "%.*s: unknown flag%s%s%s",
                     (int)(name - arg) + (len > QUOTE_MAX ? QUOTE_MAX : (int)len),
                     arg,
                     near ? ", did you mean --" : "; --help lists those there are",
                     near ? near : "",
                     near ? "?" : "");
}

/* A word that belongs to no flag: most often the value of a boolean. */
static void complain_stray(struct options_loader *l, char **argv, int i)
{
    char text[STRAY_MAX + 3];
    if (strlen(argv[i]) <= STRAY_MAX)
        (void)snprintf(text, sizeof(text), "\"%s\"", argv[i]);
    else
        (void)snprintf(text, sizeof(text), "number %d", i);
    const char *before = i > 1 && is_flag(argv[i - 1]) ? argv[i - 1] : NULL;
    int len = before ? (int)strcspn(before, "=") : 0;
    options_complain(l,
                     "unexpected argument %s%s%.*s%s",
                     text,
                     before ? " after " : "",
                     len,
                     before ? before : "",
                     before && !before[len] ? ": a boolean takes its value after a '='" : "");
}

/* The value of argv[*i], which may be the next argument: *i is then advanced. */
static bool take_value(struct options_loader *l, int argc, char **argv, int *i, struct flag *flag)
{
    const struct option *opt = &option_table[flag->id];
    char *equals = strchr(argv[*i], '=');
    flag->value = equals ? equals + 1 : NULL;
    if (equals || opt->type == OPTION_TYPE_BOOL) return true;

    const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    const char *known;
    if (!next ||
        (is_flag(next) &&
         option_by_flag(skip_dashes(next), strcspn(skip_dashes(next), "="), &known) >= 0)) {
        options_complain(l,
                         "%s%s: its value is missing, expected %s",
                         option_dashes(flag->name),
                         flag->name,
                         opt->arg);
        return false;
    }
    flag->value = argv[++*i];
    return true;
}

/* Is the first argument a command's word? */
static bool take_command(struct options_loader *l, int argc, char **argv)
{
    for (int i = OPTIONS_COMMAND_RUN + 1; argc > 1 && i < OPTIONS_COMMAND_COUNT; i++)
        if (strcmp(argv[1], option_commands[i].word) == 0) {
            l->o->command = (enum options_command)i;
            return true;
        }
    return false;
}

static void scan_flags(struct options_loader *l, struct flags *f, int argc, char **argv)
{
    for (int i = take_command(l, argc, argv) ? 2 : 1; i < argc; i++) {
        if (!is_flag(argv[i])) {
            complain_stray(l, argv, i);
            continue;
        }
        const char *name = skip_dashes(argv[i]);
        size_t len = strcspn(name, "=");
        struct flag *flag = &f->flags[f->count];
        int id = option_by_flag(name, len, &flag->name);
        if (id < 0) {
            complain_unknown_flag(l, argv[i], len);
            // What follows is its value, perhaps a secret: it must not be shown as a stray word.
            if (!name[len] && i + 1 < argc && !is_flag(argv[i + 1])) i++;
            continue;
        }
        flag->id = (enum option_id)id;
        if (take_value(l, argc, argv, &i, flag)) f->count++;
    }
}

static void set_from_flags(struct options_loader *l, const struct flags *f, bool commands)
{
    for (size_t i = 0; i < f->count; i++) {
        const struct flag *flag = &f->flags[i];
        if (!(option_table[flag->id].flags & OPTION_COMMAND) == commands) continue;
        options_set(l,
                    flag->id,
                    &(struct option_origin){.level = OPTION_FLAG, .name = flag->name},
                    flag->value ? flag->value : "true");
    }
}

/* The process list shows the command line to everyone. */
static void scrub_flags(const struct flags *f)
{
    for (size_t i = 0; i < f->count; i++)
        if (option_table[f->flags[i].id].type == OPTION_TYPE_SECRET)
            memset(f->flags[i].value, '*', strlen(f->flags[i].value));
}

/* ---------------------------------------------------------------------------------- the whole */

/* Commands that need no configuration. True if one was given. */
static bool run_early_command(struct options_loader *l)
{
    if (l->o->help)
        options_print_help(l->out);
    else if (l->o->version)
        (void)fprintf(l->out, "%s %s\n", AGENT_NAME, AGENT_VERSION);
    else if (l->o->print_sample_config)
        options_print_sample(l->out);
    else
        return false;
    return true;
}

/* Flags that go with one command only. */
static void check_command(struct options_loader *l)
{
    static const struct {
        enum option_id id;
        enum options_command command;
    } rows[] = {{OPTION_dry_run, OPTIONS_COMMAND_REGISTER},
                {OPTION_since, OPTIONS_COMMAND_BILLING}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (l->origin[rows[i].id].level != OPTION_DEFAULT && l->o->command != rows[i].command)
            options_complain(l,
                             "--%s goes with the command %s",
                             option_table[rows[i].id].flag,
                             option_commands[rows[i].command].word);
}

static enum options_result finish(struct options_loader *l)
{
    struct options *o = l->o;
    bool bare = o->print_config || o->command == OPTIONS_COMMAND_BILLING ||
                o->command == OPTIONS_COMMAND_HEALTH;
    check_command(l);
    options_settle_secrets(l, !bare && !l->running);
    if (l->running) options_keep_secrets(l);
    if (l->errors) return OPTIONS_EXIT_USAGE;
    if (o->print_config) {
        options_print_config(l);
        return OPTIONS_EXIT_OK;
    }
    if (bare) return OPTIONS_RUN;
    options_check(l);
    if (l->errors) return OPTIONS_EXIT_USAGE;
    if (o->check_config) {
        for (size_t i = 0; i < o->warnings.count; i++)
            (void)fprintf(l->err, "%s: warning: %s\n", AGENT_NAME, o->warnings.items[i]);
        (void)fprintf(l->out, "%s: the configuration is good\n", AGENT_NAME);
        return OPTIONS_EXIT_OK;
    }
    if (o->trace) o->log_level = LOG_LEVEL_DEBUG;
    return OPTIONS_RUN;
}

static enum options_result
load(struct options_loader *l, int argc, char **argv, const char *default_config)
{
    struct options *o = l->o;
    struct flags f = {.flags = calloc((size_t)argc + 1, sizeof(*f.flags))};
    enum options_result result = OPTIONS_EXIT_USAGE;

    *o = (struct options){0};
    if (!f.flags) {
        options_complain(l, "%s", err_text(ERR_NOMEM));
        goto out;
    }
    for (int i = 0; i < OPTION_COUNT; i++)
        options_set_default(l, i);
    if (default_config) options_set(l, OPTION_config, &l->origin[OPTION_config], default_config);
    assert(l->errors == 0); // a default of the table that does not parse is our own mistake

    scan_flags(l, &f, argc, argv);
    set_env(l, OPTION_config, option_table[OPTION_config].env);
    set_from_flags(l, &f, true);
    if (run_early_command(l)) {
        result = OPTIONS_EXIT_OK;
        goto out;
    }
    options_read_file(l);
    set_from_env(l);
    set_from_flags(l, &f, false);
    result = finish(l);
out:
    scrub_flags(&f);
    scrub_env();
    free(f.flags);
    if (fflush(l->out) != 0 && result == OPTIONS_EXIT_OK) result = OPTIONS_EXIT_USAGE;
    if (result != OPTIONS_RUN) options_free(o);
    return result;
}

enum options_result options_load_from(
    struct options *o, int argc, char **argv, const char *default_config, FILE *out, FILE *err)
{
    struct options_loader l = {.o = o, .out = out, .err = err};
    return load(&l, argc, argv, default_config);
}

int options_reload(struct options *fresh,
                   const struct options *running,
                   int argc,
                   char **argv,
                   void (*tell)(const char *reason))
{
    char *text = NULL, *rest;
    size_t size = 0;
    FILE *err = open_memstream(&text, &size);
    if (!err) {
        tell(strerror(errno));
        return ERR_INVALID;
    }
    struct options_loader l = {.o = fresh, .running = running, .out = stdout, .err = err};
    enum options_result result = load(&l, argc, argv, NULL);
    (void)fclose(err);
    rest = text;
    for (char *line; result != OPTIONS_RUN && (line = strsep(&rest, "\n")) != NULL;)
        if (*line) tell(line + sizeof(AGENT_NAME ": ") - 1);
    free(text);
    return result == OPTIONS_RUN ? 0 : ERR_INVALID;
}

enum options_result options_load(struct options *o, int argc, char **argv)
{
    return options_load_from(o, argc, argv, NULL, stdout, stderr);
}

void options_free(struct options *o)
{
    if (!o) return;
    for (int i = 0; i < OPTION_COUNT; i++) {
        const struct option_type *type = option_type_of(&option_table[i]);
        if (type->clear) type->clear(option_member(o, i));
    }
    option_list_clear(&o->warnings);
    *o = (struct options){0};
}
