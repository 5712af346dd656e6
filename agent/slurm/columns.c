/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/columns.h"

#include <stdio.h>
#include <string.h>

#include "agent/slurm/state.h"
#include "agent/util/error.h"
#include "agent/util/parse.h"

int columns_fixed(const char **text, size_t width, char end, char *out)
{
    if (strnlen(*text, width + 1) <= width || (*text)[width] != end) return ERR_PROTO;
    memcpy(out, *text, width);
    *text += width + 1;
    while (width && out[width - 1] == ' ')
        width--;
    out[width] = '\0';
    return 0;
}

int columns_time(const char *field, int64_t *seconds)
{
    *seconds = 0;
    if (!strcmp(field, "N/A") || !strcmp(field, "Unknown") || !strcmp(field, "None") ||
        !strcmp(field, "NONE"))
        return 0;
    uint64_t value;
    if (parse_u64(field, INT64_MAX, &value) < 0) return ERR_PROTO;
    *seconds = (int64_t)value;
    return 0;
}

int columns_elapsed(const char *field, uint64_t *seconds)
{
    uint64_t days = 0, sum = 0, part;
    char copy[COLUMNS_FIELD_MAX + 1];
    size_t parts = 0;
    *seconds = 0;
    if (!strcmp(field, "INVALID")) return 0; // of a start that is ahead of squeue's own clock
    (void)snprintf(copy, sizeof(copy), "%s", field);
    char *clock = copy, *dash = strchr(copy, '-');
    if (dash) {
        *dash = '\0';
        clock = dash + 1;
        if (parse_u64(copy, UINT32_MAX, &days) < 0) return ERR_PROTO;
    }
    for (char *next; clock; clock = next, parts++) {
        if ((next = strchr(clock, ':'))) *next++ = '\0';
        if (parse_u64(clock, 59, &part) < 0) return ERR_PROTO;
        sum = sum * 60 + part;
    }
    if (parts < 2 || parts > 3 || (dash && parts != 3)) return ERR_PROTO;
    *seconds = days * 86400 + sum;
    return 0;
}

int columns_limit(const char *field, uint64_t *minutes)
{
    uint64_t seconds = 0;
    *minutes = 0;
    if (*field < '0' || *field > '9') return 0;
    int rc = columns_elapsed(field, &seconds);
    *minutes = seconds / 60;
    return rc;
}

int columns_exit(const char *field, uint32_t *wait_status)
{
    uint64_t code = 0, sig = 0;
    char copy[COLUMNS_FIELD_MAX + 1];
    *wait_status = 0;
    if (!*field) return 0;
    (void)snprintf(copy, sizeof(copy), "%s", field);
    char *colon = strchr(copy, ':');
    if (!colon) {
        if (parse_u64(copy, UINT32_MAX, &code) < 0) return ERR_PROTO;
        if (code < 0xfffffffe) *wait_status = (uint32_t)code; // else NO_VAL or INFINITE
        return 0;
    }
    *colon = '\0';
    if (parse_u64(copy, 255, &code) < 0 || parse_u64(colon + 1, 127, &sig) < 0) return ERR_PROTO;
    *wait_status = (uint32_t)(code << 8 | sig);
    return 0;
}

int columns_state(const char *field, uint32_t *state)
{
    const uint32_t seen_running = SLURM_FLAG_CONFIGURING | SLURM_FLAG_COMPLETING |
                                  SLURM_FLAG_RESIZING | SLURM_FLAG_STOPPED | SLURM_FLAG_SIGNALING |
                                  SLURM_FLAG_STAGE_OUT;
    if (slurm_state_parse(field, state) < 0) return ERR_PROTO;
    if (*state & seen_running) *state |= SLURM_RUNNING;
    return 0;
}
