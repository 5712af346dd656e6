/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/remote.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "agent/slurm/quote.h"
#include "agent/util/hex.h"

/* No single quote, '!' or backslash in these: quote_append() wants none. */
#define CLEAN_ENV                                                                          \
    "exec env -i ${HOME:+HOME=\"$HOME\"} ${USER:+USER=\"$USER\"} "                         \
    "${LOGNAME:+LOGNAME=\"$LOGNAME\"} ${SHELL:+SHELL=\"$SHELL\"} ${PATH:+PATH=\"$PATH\"} " \
    "${LANG:+LANG=\"$LANG\"} ${SLURM_CONF:+SLURM_CONF=\"$SLURM_CONF\"} \"$@\""

static const char plain[] = CLEAN_ENV;
static const char feeding[] = "p=$1; shift; LC_ALL=C sed -n \"$p\" | " CLEAN_ENV;

static bool is_assignment(const char *word)
{
    size_t n = strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
    return n && word[n] == '=';
}

int remote_command(struct buf *out,
                   const char *const *argv,
                   const char *mark,
                   unsigned int seconds,
                   struct error *err)
{
    char program[128], limit[16];
    // Gather all lines in the hold space; at the last one print them if the mark is behind them.
    (void)snprintf(program, sizeof(program), "H;${x;s/^\\n//;s/\\n%s$//p;}", mark ? mark : "");
    (void)snprintf(limit, sizeof(limit), "%u", seconds);

    const char *head[] = {"/bin/sh", "-c", mark ? feeding : plain, "sh", mark ? program : NULL};
    for (size_t i = 0; i < sizeof(head) / sizeof(head[0]) && head[i]; i++) {
        int rc = quote_append(out, head[i], err);
        if (rc < 0) return rc;
    }
    for (; *argv && is_assignment(*argv); argv++) {
        int rc = quote_append(out, *argv, err);
        if (rc < 0) return rc;
    }
    const char *timeout[] = {"timeout", "-s", "KILL", limit};
    for (size_t i = 0; i < sizeof(timeout) / sizeof(timeout[0]); i++) {
        int rc = quote_append(out, timeout[i], err);
        if (rc < 0) return rc;
    }
    for (; *argv; argv++) {
        int rc = quote_append(out, *argv, err);
        if (rc < 0) return rc;
    }
    return 0;
}

int remote_mark(char mark[REMOTE_MARK_SIZE], struct error *err)
{
    unsigned char bytes[16];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return error_set(err, ERR_IO, "getrandom failed");
    (void)hex_encode(mark, bytes, sizeof(bytes));
    return 0;
}

int remote_trailer(
    struct buf *out, const void *input, size_t len, const char *mark, struct error *err)
{
    const char *text = input;
    if (len && text[len - 1] != '\n') (void)buf_puts(out, "\n");
    int rc = buf_putf(out, "%s\n", mark);
    return rc < 0 ? error_set(err, rc, "input: %s", err_text(rc)) : 0;
}
