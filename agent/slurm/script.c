/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/script.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static const char *flaw_of(const char *script, size_t len)
{
    if (len == 0) return "the script is empty";
    if (len < 3 || memcmp(script, "#!", 2) != 0)
        return "the script does not begin with #! and the path of an interpreter (for instance "
               "#!/bin/sh)";
    if (memchr(script, '\0', len)) return "the script contains a NUL byte";
    if (memmem(script, len, "\r\n", 2)) return "the script has DOS line ends (CR LF)";
    return NULL;
}

/* As sbatch sees it: the first byte that is no white space decides. */
static bool is_command(const uint8_t *line, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isspace(line[i])) return line[i] != '#';
    return false;
}

static void disarm(uint8_t *script, size_t len)
{
    for (size_t at = 0; at < len;) {
        uint8_t *line = script + at;
        const uint8_t *end = memchr(line, '\n', len - at);
        size_t n = end ? (size_t)(end - line) : len - at;
        if (is_command(line, n)) return;
        if (n >= 2 && line[0] == '#' && line[1] >= 'A' && line[1] <= 'Z') line[1] = '#';
        at += n + 1;
    }
}

int script_prepare(const void *script, size_t len, struct buf *out, struct error *err)
{
    const char *flaw = flaw_of(script, len);
    if (flaw) return error_set(err, ERR_REFUSED, "%s", flaw);
    size_t start = out->len;
    int rc = buf_put(out, script, len);
    if (rc < 0) return error_set(err, rc, "script of %zu bytes: %s", len, err_text(rc));
    disarm(out->data + start, len);
    return 0;
}
