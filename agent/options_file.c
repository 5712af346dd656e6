/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The configuration file: lines of `key = value`, where the key is a flag without its dashes.
 * '#' begins a comment, at the beginning of a line or after a blank. A value may be in double
 * quotes (\" and \\ are then one character) or in single quotes (nothing is special).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/options_private.h"
#include "agent/util/file.h"

enum {
    FILE_BYTES_MAX = 1024 * 1024, // the sample, with every comment, is below 20 KiB
    NAME_BYTES_MAX = 64,          // the longest name that the search for the nearest one takes
};

/* ------------------------------------------------------------------------------- nearest name */

static size_t least(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Levenshtein's distance. Both are shorter than NAME_BYTES_MAX. */
static size_t distance(const char *a, size_t a_len, const char *b)
{
    size_t b_len = strlen(b);
    size_t row[NAME_BYTES_MAX + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t above = row[j];
            row[j] = least(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[b_len];
}

const char *option_nearest(const char *name, size_t len)
{
    if (len >= NAME_BYTES_MAX) return NULL;
    const char *best = NULL;
    size_t best_distance = len / 3 + 1; // further away it is a guess that helps nobody
    for (size_t i = 0; i < OPTION_COUNT + option_alias_count; i++) {
        const char *flag =
            i < OPTION_COUNT ? option_table[i].flag : option_aliases[i - OPTION_COUNT].flag;
        if (strlen(flag) < 2 || strlen(flag) >= NAME_BYTES_MAX) continue;
        size_t d = distance(name, len, flag);
        if (d < best_distance || (d == best_distance && !best)) {
            best = flag;
            best_distance = d;
        }
    }
    return best;
}

/* -------------------------------------------------------------------------------------- lines */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static char *skip_blanks(char *p)
{
    while (is_blank(*p))
        p++;
    return p;
}

/* Only blanks or a comment. */
static bool is_rest(char *p)
{
    p = skip_blanks(p);
    return *p == '\0' || *p == '#';
}

/* Take the quoted text at `p` out of its quotes, in place. NULL if it is not well formed. */
static char *unquote(char *p)
{
    char quote = *p;
    char *in = p + 1, *out = p;
    for (char c; (c = *in++) != quote;) {
        if (c == '\\' && quote == '"') {
            c = *in++;
            if (c != '"' && c != '\\') return NULL;
        }
        if (c == '\0') return NULL;
        *out++ = c;
    }
    if (!is_rest(in)) return NULL;
    *out = '\0';
    return p;
}

/* The value that begins at `p`: quoted, or up to a comment or the end of the line. */
static char *take_value(char *p)
{
    p = skip_blanks(p);
    if (*p == '"' || *p == '\'') return unquote(p);
    char *end = p;
    for (char *q = p; *q && !(*q == '#' && (q == p || is_blank(q[-1]))); q++)
        if (!is_blank(*q)) end = q + 1;
    *end = '\0';
    return p;
}

static void
complain_unknown_key(struct options_loader *l, unsigned int line, const char *key, size_t len)
{
    const char *near = option_nearest(key, len);
    options_complain(l,
                     "%s:%u: %.*s: unknown key%s%s%s",
                     l->o->config,
                     line,
                     len > NAME_BYTES_MAX ? NAME_BYTES_MAX : (int)len,
                     key,
                     near ? ", did you mean " : "; --help lists those there are",
                     near ? near : "",
                     near ? "?" : "");
}

/* True if this line may set the option. */
static bool may_set(struct options_loader *l, const struct option_origin *origin, enum option_id id)
{
    const struct option *opt = &option_table[id];
    const struct option_origin *now = &l->origin[id];
    const char *config = l->o->config;
    if (opt->flags & OPTION_COMMAND || strlen(origin->name) < 2) {
        options_complain(l, "%s:%u: %s: a flag, not a key", config, origin->line, origin->name);
        return false;
    }
    if (now->level == OPTION_FILE && !option_type_of(opt)->repeatable) {
        options_complain(l,
                         "%s:%u: %s: given twice, first as %s in line %u",
                         config,
                         origin->line,
                         origin->name,
                         now->name,
                         now->line);
        return false;
    }
    return true;
}

static void read_line(struct options_loader *l, char *text, unsigned int line)
{
    char *key = skip_blanks(text);
    if (*key == '\0' || *key == '#') return;
    size_t len = strcspn(key, "= \t\r");
    char *equals = skip_blanks(key + len);
    if (len == 0 || *equals != '=') {
        options_complain(l, "%s:%u: expected a line of the form: key = value", l->o->config, line);
        return;
    }
    struct option_origin origin = {.level = OPTION_FILE, .line = line};
    int id = option_by_flag(key, len, &origin.name);
    if (id < 0) {
        complain_unknown_key(l, line, key, len);
        return;
    }
    if (!may_set(l, &origin, (enum option_id)id)) return;
    char *value = take_value(equals + 1);
    if (value)
        options_set(l, (enum option_id)id, &origin, value);
    else
        options_complain(
            l, "%s:%u: %s: bad quotes, expected \"...\" or '...'", l->o->config, line, origin.name);
}

/* --------------------------------------------------------------------------------- the file */

/* A file with a secret in it is for its owner, and at most its group, which is the daemon's. */
static void check_mode(struct options_loader *l, int fd)
{
    struct stat st;
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (option_table[i].type != OPTION_TYPE_SECRET || l->origin[i].level != OPTION_FILE)
            continue;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & 0037)) continue;
        options_complain(l,
                         "%s:%u: %s: the file's mode %04o is too open for a secret, expected 0600 "
                         "or 0640",
                         l->o->config,
                         l->origin[i].line,
                         l->origin[i].name,
                         (unsigned int)(st.st_mode & 07777));
    }
}

static void read_lines(struct options_loader *l, struct buf *b)
{
    if (b->len == 0) return;
    char *p = (char *)b->data, *end = p + b->len;
    for (unsigned int line = 1; p < end; line++) {
        char *newline = memchr(p, '\n', (size_t)(end - p));
        char *stop = newline ? newline : end;
        *stop = '\0';
        if (strlen(p) != (size_t)(stop - p)) {
            options_complain(l, "%s:%u: a zero byte: no text file", l->o->config, line);
            return;
        }
        read_line(l, p, line);
        p = stop + 1;
    }
}

void options_read_file(struct options_loader *l)
{
    struct buf b = BUF_INIT(FILE_BYTES_MAX);
    struct error err = {0};
    bool asked_for = l->origin[OPTION_config].level != OPTION_DEFAULT;
    int fd = open(l->o->config, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        if (asked_for || errno != ENOENT)
            options_complain(l, "%s: %s", l->o->config, strerror(errno));
        return;
    }
    if (file_read_fd(fd, l->o->config, &b, &err) < 0)
        options_complain(l, "%s", err.text);
    else
        read_lines(l, &b);
    check_mode(l, fd);
    (void)close(fd);
    buf_wipe(&b);
}
