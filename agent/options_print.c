/* SPDX-License-Identifier: GPL-3.0-or-later */
/* --help, --print-config and the sample file: the table as text. */
#include <string.h>

#include "agent/options_private.h"
#include "agent/version.h"

enum {
    TEXT_COLUMNS = 90,
    ORIGIN_COLUMN = 64,          // of --print-config, where the value leaves room
    VALUE_BYTES_MAX = 64 * 1024, // 64 labels of 255 bytes, 8 endpoints: a quarter of it
};

/* A title of settings, not of commands. */
static bool is_settings_title(size_t i)
{
    return option_entries[i].title &&
           !(option_table[option_entries[i + 1].id].flags & OPTION_COMMAND);
}

/* The words of `text` in lines that begin with `indent`. */
static void put_wrapped(FILE *out, const char *indent, const char *text)
{
    size_t column = 0, margin = strlen(indent);
    for (const char *p = text; *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        if (column && column + 1 + len > TEXT_COLUMNS) {
            (void)fputc('\n', out);
            column = 0;
        }
        (void)fprintf(out, "%s%.*s", column ? " " : indent, (int)len, p);
        column += len + (column ? 1 : margin);
        p += len;
    }
    if (column) (void)fputc('\n', out);
}

/* "[default: X; environment: Y; also: --z]", or nothing. */
static void put_facts(struct buf *b, enum option_id id, bool with_default)
{
    const struct option *opt = &option_table[id];
    const char *comma = "";
    const char *required = opt->flags & OPTION_REQUIRED   ? "required"
                           : opt->flags & OPTION_FOR_REST ? "required for slurmrestd"
                           : opt->flags & OPTION_FOR_SSH  ? "required for SSH"
                                                          : NULL;
    (void)buf_puts(b, "[");
    if (opt->flags & OPTION_RELOAD) (void)buf_puts(b, "reloadable; ");
    if (required)
        (void)buf_putf(
            b, "%s%s; ", required, opt->type == OPTION_TYPE_SECRET ? ", this or the file" : "");
    if (opt->flags & OPTION_LATER) (void)buf_puts(b, "not used by this version; ");
    if (with_default && *opt->def &&
        (opt->type != OPTION_TYPE_BOOL || !(opt->flags & OPTION_COMMAND)))
        (void)buf_putf(b, "default: %s; ", opt->def);
    if (opt->env) (void)buf_putf(b, "environment: %s; ", opt->env);
    for (size_t i = 0; i < option_alias_count; i++) {
        const struct option_alias *a = &option_aliases[i];
        if (a->id != id) continue;
        (void)buf_putf(b, "%s%s%s", *comma ? comma : "also: ", option_dashes(a->flag), a->flag);
        if (a->env) (void)buf_putf(b, ", %s", a->env);
        comma = ", ";
    }
    if (!*comma && b->len >= 2) b->data[b->len -= 2] = '\0'; // the last "; "
    if (b->len == 1)
        buf_reset(b);
    else
        (void)buf_puts(b, "]");
}

/* --------------------------------------------------------------------------------------- help */

static void help_option(FILE *out, enum option_id id)
{
    const struct option *opt = &option_table[id];
    struct buf facts = BUF_INIT(4096);
    if (opt->type != OPTION_TYPE_BOOL)
        (void)fprintf(out, "  --%s %s\n", opt->flag, opt->arg);
    else if (opt->flags & OPTION_COMMAND)
        (void)fprintf(out, "  --%s\n", opt->flag);
    else
        (void)fprintf(out, "  --%s[=true|false]\n", opt->flag);
    put_wrapped(out, "        ", opt->help);
    put_facts(&facts, id, true);
    put_wrapped(out, "        ", buf_str(&facts));
    buf_free(&facts);
}

void options_print_help(FILE *out)
{
    (void)fprintf(out, "Usage: %s [COMMAND] [--OPTION VALUE | --OPTION=VALUE]...\n\n", AGENT_NAME);
    put_wrapped(out,
                "",
                "Offers a Slurm cluster on the DeepSquare Grid: claims the jobs that the "
                "MetaScheduler assigns to it, submits them to Slurm, and reports what became of "
                "them.");
    (void)fputc('\n', out);
    put_wrapped(
        out,
        "",
        "A value is taken from the flag, else from the environment, else from the "
        "configuration file (lines of KEY = VALUE, where the key is the flag without its "
        "dashes), else it is the default. A DURATION is a number with ms, s, m or h. What is "
        "reloadable is read again at SIGHUP; all else takes a restart.");
    (void)fputs("\nWithout a command the agent runs. Commands:\n", out);
    for (int i = OPTIONS_COMMAND_RUN + 1; i < OPTIONS_COMMAND_COUNT; i++) {
        (void)fprintf(out, "  %s\n", option_commands[i].word);
        put_wrapped(out, "        ", option_commands[i].help);
    }
    for (size_t i = 0; i < option_entry_count; i++)
        if (option_entries[i].title)
            (void)fprintf(out, "\n%s:\n", option_entries[i].title);
        else
            help_option(out, option_entries[i].id);
}

/* ------------------------------------------------------------------------------ configuration */

/* Quoted where the bare value would be read otherwise. */
static void put_value(struct buf *out, const char *value)
{
    size_t len = strlen(value);
    bool bare = !strchr(value, '#') && *value != '"' && *value != '\'' && *value != ' ' &&
                (len == 0 || value[len - 1] != ' ');
    if (bare) {
        (void)buf_puts(out, value);
        return;
    }
    (void)buf_puts(out, "\"");
    for (; *value; value++)
        (void)buf_putf(out, "%s%c", *value == '"' || *value == '\\' ? "\\" : "", *value);
    (void)buf_puts(out, "\"");
}

static void put_origin(FILE *out, const struct options_loader *l, const struct option_origin *from)
{
    switch (from->level) {
    case OPTION_DEFAULT:
        (void)fputs("default", out);
        break;
    case OPTION_FOUND:
        (void)fputs("found", out);
        break;
    case OPTION_FILE:
        (void)fprintf(out, "%s:%u", l->o->config, from->line);
        break;
    case OPTION_ENV:
        (void)fprintf(out, "environment %s", from->name);
        break;
    case OPTION_FLAG:
        (void)fprintf(out, "flag %s%s", option_dashes(from->name), from->name);
        break;
    }
}

static void put_setting(struct options_loader *l, enum option_id id, const char *value)
{
    const struct option *opt = &option_table[id];
    struct buf line = BUF_INIT(VALUE_BYTES_MAX);
    (void)buf_putf(&line, "%s%s = ", opt->type == OPTION_TYPE_SECRET ? "#" : "", opt->flag);
    put_value(&line, value);
    (void)fprintf(l->out, "%-*s # ", ORIGIN_COLUMN, buf_str(&line));
    put_origin(l->out, l, &l->origin[id]);
    (void)fputc('\n', l->out);
    buf_free(&line);
}

static void print_setting(struct options_loader *l, enum option_id id)
{
    const struct option *opt = &option_table[id];
    struct buf value = BUF_INIT(VALUE_BYTES_MAX);
    if (opt->flags & OPTION_COMMAND) return;
    if (opt->type == OPTION_TYPE_SECRET)
        (void)buf_puts(&value, option_is_set(l->o, id) ? "***" : "");
    else
        option_type_of(opt)->format(option_member(l->o, id), &value);
    put_setting(l, id, buf_str(&value));
    buf_free(&value);
}

void options_print_config(struct options_loader *l)
{
    (void)fprintf(
        l->out, "# Configuration of %s %s, without its secrets.\n", AGENT_NAME, AGENT_VERSION);
    for (size_t i = 0; i < option_entry_count; i++) {
        if (is_settings_title(i))
            (void)fprintf(l->out, "\n# %s\n", option_entries[i].title);
        else if (!option_entries[i].title)
            print_setting(l, option_entries[i].id);
    }
}

/* ------------------------------------------------------------------------------------- sample */

static void sample_option(FILE *out, enum option_id id)
{
    const struct option *opt = &option_table[id];
    struct buf facts = BUF_INIT(4096);
    if (opt->flags & OPTION_COMMAND) return;
    (void)fputc('\n', out);
    put_wrapped(out, "# ", opt->help);
    put_facts(&facts, id, false);
    put_wrapped(out, "# ", buf_str(&facts));
    (void)fprintf(out, "#%s =%s%s\n", opt->flag, *opt->def ? " " : "", opt->def);
    buf_free(&facts);
}

void options_print_sample(FILE *out)
{
    (void)fputs(
        "# Configuration of deepsquare-agent: lines of KEY = VALUE.\n"
        "# A flag or an environment variable wins over what is set here. What is commented\n"
        "# out below is the default. After a change: systemctl reload deepsquare-agent, which "
        "says\n"
        "# what takes a restart.\n",
        out);
    for (size_t i = 0; i < option_entry_count; i++) {
        if (is_settings_title(i))
            (void)fprintf(out, "\n## %s\n", option_entries[i].title);
        else if (!option_entries[i].title)
            sample_option(out, option_entries[i].id);
    }
}
