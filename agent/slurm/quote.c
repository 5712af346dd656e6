/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/quote.h"

#include <stdbool.h>

static bool is_portable(const char *at)
{
    if (at[0] < 0x20 || at[0] > 0x7e || at[0] == '!') return false;
    return at[0] != '\\' || (at[1] != '\\' && at[1] != '\'' && at[1] != '\0');
}

int quote_append(struct buf *out, const char *arg, struct error *err)
{
    for (const char *at = arg; *at; at++)
        if (!is_portable(at))
            return error_set(err,
                             ERR_INVALID,
                             "argument \"%s\": character 0x%02x cannot be quoted for every shell",
                             arg,
                             (unsigned int)(unsigned char)*at);
    if (out->len) (void)buf_puts(out, " ");
    (void)buf_puts(out, "'");
    for (const char *at = arg; *at; at++) {
        if (*at == '\'')
            (void)buf_puts(out, "'\\''");
        else
            (void)buf_put(out, at, 1);
    }
    (void)buf_puts(out, "'");
    if (buf_error(out))
        return error_set(err, buf_error(out), "command line: %s", err_text(buf_error(out)));
    return 0;
}
