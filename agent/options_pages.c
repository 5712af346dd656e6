/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A tool of the build: man pages and completions from the one table of options. Copies a template
 * from stdin to stdout, and puts a list in the place of each line that is "@NAME@".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/options_private.h"

static bool is_command(const struct option *opt)
{
    return opt->flags & OPTION_COMMAND;
}

static bool is_file(const struct option *opt)
{
    return opt->type == OPTION_TYPE_FILE || opt->type == OPTION_TYPE_SECRET_FILE;
}

/* The words of an ARGUMENT like "a|b|c". */
static bool is_choice(const struct option *opt)
{
    return strchr(opt->arg, '|') != NULL;
}

/* -------------------------------------------------------------------------------------- mdoc */

/* A line for each sentence, none of which is taken for a macro. */
static void put_text(const char *text)
{
    bool at_start = true;
    for (; *text; text++) {
        if (at_start && (*text == '.' || *text == '\'')) (void)fputs("\\&", stdout);
        at_start = *text == '.' && text[1] == ' ';
        if (*text == '\\')
            (void)fputs("\\e", stdout);
        else
            (void)putchar(*text);
        if (!at_start) continue;
        (void)putchar('\n');
        text++;
    }
    (void)putchar('\n');
}

static void put_facts(enum option_id id)
{
    const struct option *opt = &option_table[id];
    bool needed = opt->flags & (OPTION_REQUIRED | OPTION_FOR_REST | OPTION_FOR_SSH);
    if (needed)
        (void)printf("Required%s%s.\n",
                     opt->flags & OPTION_FOR_REST  ? " for slurmrestd"
                     : opt->flags & OPTION_FOR_SSH ? " for SSH"
                                                   : "",
                     opt->type == OPTION_TYPE_SECRET ? ", this or the file" : "");
    if (opt->flags & OPTION_LATER) (void)puts("Not used by this version.");
    if (opt->flags & OPTION_RELOAD) (void)puts("Reloadable.");
    if (*opt->def && !(is_command(opt) && opt->type == OPTION_TYPE_BOOL))
        (void)printf("Default:\n.Li %s .\n", opt->def);
    if (opt->env) (void)printf("Environment:\n.Ev %s .\n", opt->env);
    for (size_t i = 0; i < option_alias_count; i++) {
        const struct option_alias *a = &option_aliases[i];
        if (a->id != id) continue;
        (void)printf("Also:\n.%s %s%s", is_command(opt) ? "Fl" : "Cm", "", a->flag);
        (void)printf(a->env ? " ,\n.Ev %s .\n" : " .\n", a->env);
    }
}

static void put_item(enum option_id id)
{
    const struct option *opt = &option_table[id];
    if (!is_command(opt))
        (void)printf(".It Cm %s No = Ar %s\n", opt->flag, opt->arg);
    else if (opt->type == OPTION_TYPE_BOOL)
        (void)printf(".It Fl -%s\n", opt->flag);
    else
        (void)printf(".It Fl -%s Ar %s\n", opt->flag, opt->arg);
    put_text(opt->help);
    put_facts(id);
}

static void put_commands(void)
{
    for (int i = OPTIONS_COMMAND_RUN + 1; i < OPTIONS_COMMAND_COUNT; i++) {
        (void)printf(".It Cm %s\n", option_commands[i].word);
        put_text(option_commands[i].help);
    }
}

static void put_flags(void)
{
    for (int i = 0; i < OPTION_COUNT; i++)
        if (is_command(&option_table[i])) put_item(i);
}

static void put_settings(void)
{
    bool in_list = false;
    for (size_t i = 0; i < option_entry_count; i++) {
        if (!option_entries[i].title) {
            if (!is_command(&option_table[option_entries[i].id])) put_item(option_entries[i].id);
            continue;
        }
        if (in_list) (void)puts(".El");
        in_list = !is_command(&option_table[option_entries[i + 1].id]);
        if (in_list) (void)printf(".Ss %s\n.Bl -tag -width Ds\n", option_entries[i].title);
    }
    if (in_list) (void)puts(".El");
}

/* ------------------------------------------------------------------------------- completions */

static void put_bash_words(void)
{
    for (int i = OPTIONS_COMMAND_RUN + 1; i < OPTIONS_COMMAND_COUNT; i++)
        (void)printf("    commands+=' %s'\n", option_commands[i].word);
    for (int i = 0; i < OPTION_COUNT; i++)
        (void)printf("    flags+=' --%s'\n", option_table[i].flag);
    for (size_t i = 0; i < option_alias_count; i++)
        if (option_aliases[i].flag[1]) (void)printf("    flags+=' --%s'\n", option_aliases[i].flag);
}

/* What the value of a flag may be, as a case of `prev`. */
static void put_bash_values(void)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        const struct option *opt = &option_table[i];
        if (opt->type == OPTION_TYPE_BOOL) continue;
        (void)printf("    --%s) ", opt->flag);
        if (is_file(opt)) {
            (void)fputs("files=1", stdout);
        } else if (is_choice(opt)) {
            (void)fputs("values='", stdout);
            for (const char *p = opt->arg; *p; p++)
                (void)putchar(*p == '|' ? ' ' : *p);
            (void)putchar('\'');
        } else {
            (void)fputs("values=", stdout);
        }
        (void)puts(" ;;");
    }
}

/* Inside '...[...]' and '...:...': what ends them. */
static void put_zsh_quoted(const char *text, size_t len, const char *special)
{
    for (size_t i = 0; i < len && text[i]; i++) {
        if (strchr(special, text[i])) (void)putchar('\\');
        if (text[i] == '\'')
            (void)fputs("'\\''", stdout);
        else
            (void)putchar(text[i]);
    }
}

static void put_zsh_flags(void)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        const struct option *opt = &option_table[i];
        const char *stop = strstr(opt->help, ". "); // the first sentence
        (void)printf("    '%s--%s%s[",
                     option_type_of(opt)->repeatable ? "*" : "",
                     opt->flag,
                     opt->type == OPTION_TYPE_BOOL ? "" : "=");
        put_zsh_quoted(
            opt->help, stop ? (size_t)(stop - opt->help) : strlen(opt->help) - 1, "[]\\");
        (void)putchar(']');
        if (opt->type != OPTION_TYPE_BOOL) {
            (void)putchar(':');
            put_zsh_quoted(is_choice(opt) ? "value" : opt->arg, SIZE_MAX, ":\\[]");
            (void)fputs(is_file(opt) ? ":_files" : is_choice(opt) ? ":(" : ":", stdout);
            for (const char *p = opt->arg; is_choice(opt) && *p; p++)
                (void)putchar(*p == '|' ? ' ' : *p);
            if (is_choice(opt)) (void)putchar(')');
        }
        (void)puts("' \\");
    }
}

static void put_zsh_commands(void)
{
    for (int i = OPTIONS_COMMAND_RUN + 1; i < OPTIONS_COMMAND_COUNT; i++)
        (void)printf("%s%s", i > 1 ? " " : "    '1::command:(", option_commands[i].word);
    (void)puts(")'");
}

/* ---------------------------------------------------------------------------------- template */

static const struct {
    const char *line;
    void (*put)(void);
} places[] = {
    {"@commands@\n", put_commands},
    {"@flags@\n", put_flags},
    {"@settings@\n", put_settings},
    {"@bash-words@\n", put_bash_words},
    {"@bash-values@\n", put_bash_values},
    {"@zsh-flags@\n", put_zsh_flags},
    {"@zsh-commands@\n", put_zsh_commands},
};

static void copy_line(const char *line)
{
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (strcmp(line, places[i].line) == 0) {
            places[i].put();
            return;
        }
    (void)fputs(line, stdout);
}

int main(void)
{
    char line[1024];
    while (fgets(line, sizeof(line), stdin))
        copy_line(line);
    return ferror(stdin) || fflush(stdout) != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
