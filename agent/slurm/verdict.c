/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/verdict.h"

#include <stdbool.h>
#include <string.h>

#include "agent/util/buf.h"

enum {
    TEXT_MAX = 400,          // leaves room for a prefix in struct error
    SIGNAL_STATUS_MAX = 192, // 128 + 64; scancel's own statuses (Slurm's errno, cut) are above
};

/*
 * Messages that are no refusal, by a part of their text (slurm_errno.c and the commands themselves;
 * the same in 20.11 to 26.05 unless they are listed twice). The first that matches counts.
 */
static const struct {
    const char *part;
    int code;
} table[] = {
    // The answer may have been lost, or it is not known how far the request came.
    {"Unable to contact slurm controller", ERR_OUTCOME_UNKNOWN},
    {"Socket timed out", ERR_OUTCOME_UNKNOWN},
    {"Zero Bytes were transmitted", ERR_OUTCOME_UNKNOWN},
    {"Connection refused", ERR_OUTCOME_UNKNOWN},
    {"Connection reset", ERR_OUTCOME_UNKNOWN},
    {"Connection timed out", ERR_OUTCOME_UNKNOWN},
    {"Broken pipe", ERR_OUTCOME_UNKNOWN},
    {"Communication connection failure", ERR_OUTCOME_UNKNOWN},
    {"Communication shutdown failure", ERR_OUTCOME_UNKNOWN},
    {"Message send failure", ERR_OUTCOME_UNKNOWN},
    {"Message receive failure", ERR_OUTCOME_UNKNOWN},
    {"Unexpected message received", ERR_OUTCOME_UNKNOWN},
    {"Header lengths are longer than data received", ERR_OUTCOME_UNKNOWN},
    {"Incompatible versions of client and server code", ERR_UNAVAILABLE},
    {"Insane message length", ERR_OUTCOME_UNKNOWN},
    {"slurm_persist_conn", ERR_OUTCOME_UNKNOWN},
    {"Slurm backup controller in standby mode", ERR_UNAVAILABLE},
    // slurmctld, or the command before it asked, said "not now".
    {"Resource temporarily unavailable", ERR_UNAVAILABLE},
    {"temporarily unable to accept job", ERR_OUTCOME_UNKNOWN}, // was still retrying
    {"job queue full", ERR_OUTCOME_UNKNOWN},                   // likewise
    {"Slurm control configuration", ERR_UNAVAILABLE},
    {"Unable to establish configuration source", ERR_UNAVAILABLE},
    {"Could not establish a configuration source", ERR_UNAVAILABLE},
    {"Unable to process configuration file", ERR_UNAVAILABLE},
    {"Munge encode failed", ERR_UNAVAILABLE},
    {"authentication error", ERR_UNAVAILABLE}, // munge or clocks; nobody's job is at fault
    {"Authentication error", ERR_UNAVAILABLE},
    {"Invalid authentication credential", ERR_UNAVAILABLE},
    {"Invalid user id", ERR_UNAVAILABLE},       // slurmctld's name service does not know him (yet)
    {"Batch script is empty", ERR_UNAVAILABLE}, // we checked: it did not get through whole
    // About one job.
    {"already completing or completed", ERR_EXISTS},
    {"Job has already finished", ERR_EXISTS},
    {"Invalid job id specified", ERR_NOTFOUND},
};

/* The lines, joined, without "<tool>: error: ". */
static void gather(const char *tool, bool own_lines, const char *text, struct buf *out)
{
    size_t n = strlen(tool);
    while (*text) {
        size_t len = strcspn(text, "\r\n");
        const char *line = text;
        text += len + strspn(text + len, "\r\n");
        bool own = len > n + 2 && strncmp(line, tool, n) == 0 && strncmp(line + n, ": ", 2) == 0;
        if (own_lines && !own) continue;
        if (own) {
            line += n + 2;
            len -= n + 2;
        }
        static const char *const prefixes[] = {"error: ", "fatal: "};
        for (size_t i = 0; i < 2; i++) {
            if (len > 7 && strncmp(line, prefixes[i], 7) == 0) {
                line += 7;
                len -= 7;
            }
        }
        if (out->len && out->len < out->max) (void)buf_puts(out, "; ");
        size_t room = out->max - out->len;
        (void)buf_put(out, line, len < room ? len : room);
    }
}

int verdict_of(const char *tool,
               const char *path,
               bool own_lines,
               int exit_status,
               const char *text,
               struct error *err)
{
    struct buf said = BUF_INIT(TEXT_MAX);
    int code = ERR_OUTCOME_UNKNOWN;
    gather(tool, own_lines, text, &said);
    if (exit_status == 126 || exit_status == 127) {
        code = error_set(err,
                         ERR_UNAVAILABLE,
                         "%s cannot be run on the login node (exit status %d): check the path",
                         path,
                         exit_status);
    } else if (exit_status > 128 && exit_status <= SIGNAL_STATUS_MAX) {
        code = error_set(err, code, "%s was ended by signal %d", tool, exit_status - 128);
    } else if (said.len == 0) {
        size_t len = strcspn(text, "\r\n");
        code = error_set(err,
                         code,
                         "%s ended with status %d and said nothing%s%.*s",
                         tool,
                         exit_status,
                         len ? "; the login shell said: " : "",
                         len < 200 ? (int)len : 200,
                         text);
    } else {
        code = ERR_REFUSED;
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
            if (strstr(buf_str(&said), table[i].part)) {
                code = table[i].code;
                break;
            }
        }
        code = error_set(err, code, "%s", buf_str(&said));
    }
    buf_free(&said);
    return code;
}
