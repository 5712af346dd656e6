/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Shared by the files of the options module, and by its tests. */
#ifndef AGENT_OPTIONS_PRIVATE_H
#define AGENT_OPTIONS_PRIVATE_H

#include <stdio.h>

#include "agent/options.h"
#include "agent/util/buf.h"
#include "agent/util/error.h"

/* The rows of the table: OPTION_<field>. */
enum option_id {
#define OPT(field, type, flag, env, def, flags, min, max, arg, help) OPTION_##field,
#include "agent/options.def"
    OPTION_COUNT
};

enum option_type_id {
    OPTION_TYPE_STRING,
    OPTION_TYPE_BOOL,
    OPTION_TYPE_U64,
    OPTION_TYPE_SIZE,
    OPTION_TYPE_DURATION,
    OPTION_TYPE_DECIMAL,
    OPTION_TYPE_WEI,
    OPTION_TYPE_LISTEN,
    OPTION_TYPE_HOSTPORT,
    OPTION_TYPE_URLS,
    OPTION_TYPE_WS_URL,
    OPTION_TYPE_REST_URL,
    OPTION_TYPE_ADDRESS,
    OPTION_TYPE_ABS_PATH,
    OPTION_TYPE_FILE,
    OPTION_TYPE_NAME,
    OPTION_TYPE_USER_TEMPLATE,
    OPTION_TYPE_SECRET,
    OPTION_TYPE_SECRET_FILE,
    OPTION_TYPE_LABELS,
    OPTION_TYPE_LOG_LEVEL,
    OPTION_TYPE_CUSTOMER_API,
    OPTION_TYPE_SLURM_BACKEND,
    OPTION_TYPE_COUNT
};

enum {
    OPTION_REQUIRED = 1,       // the agent does not start without it
    OPTION_EMPTY_OK = 2,       // may be set to nothing although its default is not nothing
    OPTION_COMMAND = 4,        // says what to do: no key of the file, not printed as configuration
    OPTION_LATER = 8,          // accepted and checked, but no part of the agent uses it yet
    OPTION_FOR_REST = 16,      // required if slurmrestd is used
    OPTION_FOR_SSH = 32,       // required if SSH is used
    OPTION_RELOAD = 128,       // may change while the agent runs: SIGHUP
    OPTION_FOUND_BY_NAME = 64, // X-file: without it the file X among the secrets, if there is one
};

struct option {
    enum option_type_id type;
    const char *flag, *env; // env may be NULL
    const char *def;
    unsigned int flags;
    uint64_t min, max;
    const char *arg, *help;
    size_t offset; // of the member in struct options
};

struct option_alias {
    enum option_id id;
    const char *flag, *env; // env may be NULL
};

/* The table's rows and the titles between them, in order. */
struct option_entry {
    const char *title; // NULL: a row
    enum option_id id;
};

/* What a type does. `member` points into struct options. */
struct option_type {
    /*
     * Check `text` (not empty) and put it into the member, which is untouched on failure.
     * `first`: a list is replaced rather than added to. 0, ERR_INVALID, ERR_NOMEM.
     */
    int (*parse)(const struct option *opt, const char *text, void *member, bool first);
    /* Append the value as the parser takes it; nothing if there is none. NULL: a secret. */
    void (*format)(const void *member, struct buf *out);
    /* To "none": frees and wipes. NULL: this type always has a value. */
    void (*clear)(void *member);
    bool (*is_set)(const void *member); // NULL: always
    /* What a good value looks like, to follow "expected ". */
    void (*expected)(const struct option *opt, struct buf *out);
    bool repeatable;
};

extern const struct option option_table[OPTION_COUNT];
extern const struct option_alias option_aliases[];
extern const size_t option_alias_count;
extern const struct option_entry option_entries[];
extern const size_t option_entry_count;
extern const struct option_type option_types[OPTION_TYPE_COUNT];

/* The words of the commands, and what each does; none for OPTIONS_COMMAND_RUN. */
struct option_command {
    const char *word, *help;
};
extern const struct option_command option_commands[OPTIONS_COMMAND_COUNT];

/* Where a value comes from; a later level wins over an earlier one. */
enum option_level { OPTION_DEFAULT = 0, OPTION_FOUND, OPTION_FILE, OPTION_ENV, OPTION_FLAG };

struct option_origin {
    enum option_level level;
    const char *name;  // of the flag, the variable or the key that was used; borrowed
    unsigned int line; // in the file
};

struct options_loader {
    struct options *o;
    const struct options *running; // a reload: whose secrets are kept; NULL: the start
    struct option_origin origin[OPTION_COUNT];
    FILE *out, *err;
    unsigned int errors;
};

enum { OPTION_ORIGIN_TEXT = 4400 }; // the longest path of a file, a key, and a line number

/* options.c */
const struct option_type *option_type_of(const struct option *opt);
void *option_member(struct options *o, enum option_id id);
bool option_is_set(struct options *o, enum option_id id);
/* The option of that flag or file key (aliases included), or -1; *known is the table's spelling. */
int option_by_flag(const char *name, size_t len, const char **known);
const char *option_dashes(const char *flag); // "-" for a flag of one letter, else "--"
/* "--flag", "VARIABLE", "FILE:LINE: key", "default". Returns text. */
const char *option_origin_text(const struct options_loader *l,
                               const struct option_origin *origin,
                               char text[OPTION_ORIGIN_TEXT]);
/* Print one line about what is wrong and count it. */
void options_complain(struct options_loader *l, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void options_warn(struct options_loader *l, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Append a copy to the list; 0 or ERR_NOMEM. */
int option_list_add(struct option_list *list, const char *text, size_t len);
void option_list_clear(struct option_list *list);
void options_set_default(struct options_loader *l, enum option_id id);
/* Set the option from text, complaining if it does not fit. */
void options_set(struct options_loader *l,
                 enum option_id id,
                 const struct option_origin *origin,
                 const char *text);
/* options_load() with other streams and another default configuration file. */
enum options_result options_load_from(
    struct options *o, int argc, char **argv, const char *default_config, FILE *out, FILE *err);

/* options_change.c: the secrets that the agent has, which are not read again. */
void options_keep_given_secrets(struct options_loader *l); // those that are of no file of their own
void options_keep_secrets(struct options_loader *l);

/* options_url.c: scheme or schemes (scheme and an s), ://host[:port], and what may follow, with
 * nothing in it that would have to be escaped. */
bool option_is_url(const char *text, const char *scheme);
/* http://host:port, https://host:port or unix:/path, and no more. */
bool option_is_rest_url(const char *text);

/* options_file.c: read o->config; a missing file is fine unless it was asked for. */
void options_read_file(struct options_loader *l);
/* The known key that looks most like `name`, or NULL if none does. For flags too. */
const char *option_nearest(const char *name, size_t len);

/* options_found.c: set the paths of secrets that nothing names and that are where they should be.
 */
void options_find_secrets(struct options_loader *l);

/* options_check.c: read secrets from their files; what a value alone does not show. */
void options_settle_secrets(struct options_loader *l, bool read_files);
void options_check(struct options_loader *l);

/* options_print.c */
void options_print_help(FILE *out);
void options_print_config(struct options_loader *l);
void options_print_sample(FILE *out);

#endif
