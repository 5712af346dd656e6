/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/squeue.h"

#include <stdio.h>
#include <string.h>

#include "agent/util/parse.h"

enum { FIELD_MAX = 20 };

/* The text up to the next bar, without the blanks that fill it up. NULL if it is too long. */
static const char *next_field(const char **text, char field[FIELD_MAX + 1])
{
    size_t len = strcspn(*text, "|\n");
    if (len > FIELD_MAX || (*text)[len] != '|') return NULL;
    memcpy(field, *text, len);
    *text += len + 1;
    while (len && field[len - 1] == ' ')
        len--;
    field[len] = '\0';
    return field;
}

/* Exactly `width` bytes, whatever they are, and a bar. `out` has room for width + 1. */
static int next_fixed(const char **text, size_t width, char *out)
{
    if (strnlen(*text, width + 1) <= width || (*text)[width] != '|') return ERR_PROTO;
    memcpy(out, *text, width);
    *text += width + 1;
    while (width && out[width - 1] == ' ')
        width--;
    out[width] = '\0';
    return 0;
}

/* "N/A", "Unknown", "NONE": not known. */
static int parse_time(const char *field, int64_t *seconds)
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

/* Up to 24.05 the number as of wait(2); later "code:signal", or nothing while there is none. */
static int parse_exit(const char *field, uint32_t *wait_status)
{
    uint64_t code = 0, sig = 0;
    char copy[FIELD_MAX + 1];
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

static int parse_state(const char *field, uint32_t *state)
{
    const uint32_t seen_running = SLURM_FLAG_CONFIGURING | SLURM_FLAG_COMPLETING |
                                  SLURM_FLAG_RESIZING | SLURM_FLAG_STOPPED | SLURM_FLAG_SIGNALING |
                                  SLURM_FLAG_STAGE_OUT;
    if (slurm_state_parse(field, state) < 0) return ERR_PROTO;
    if (*state & seen_running) *state |= SLURM_RUNNING;
    return 0;
}

static int parse_head(const char **text, struct slurm_job *job)
{
    char field[FIELD_MAX + 1];
    if (!next_field(text, field) || parse_u64(field, UINT32_MAX, &job->id) < 0) return ERR_PROTO;
    if (!next_field(text, field) || parse_state(field, &job->state) < 0) return ERR_PROTO;
    if (!next_field(text, field) || parse_exit(field, &job->wait_status) < 0) return ERR_PROTO;
    if (!next_field(text, field) || parse_time(field, &job->submit_s) < 0) return ERR_PROTO;
    if (!next_field(text, field) || parse_time(field, &job->start_s) < 0) return ERR_PROTO;
    if (!next_field(text, field) || parse_time(field, &job->end_s) < 0) return ERR_PROTO;
    return 0;
}

int squeue_next(const char **text, struct slurm_job *job, struct error *err)
{
    const char *at = *text;
    struct slurm_job found = {0};
    if (!*at) return 0;
    if (parse_head(&at, &found) < 0 || next_fixed(&at, SLURM_USER_MAX - 1, found.user) < 0 ||
        next_fixed(&at, SLURM_NAME_MAX - 1, found.name) < 0 ||
        next_fixed(&at, SLURM_COMMENT_MAX - 1, found.comment) < 0 || *at++ != '\n')
        return error_set(err, ERR_PROTO, "squeue: unexpected output at \"%.60s\"", *text);

    enum slurm_phase phase = slurm_phase_of(found.state);
    if (phase == SLURM_PHASE_WAITING) found.start_s = 0;
    if (phase != SLURM_PHASE_ENDED) found.end_s = 0;
    *job = found;
    *text = at;
    return 1;
}

const char *squeue_records(const char *text)
{
    static const char first[] = "JOBID               |STATE               |EXIT_CODE ";
    const char *header = strstr(text, first);
    if (!header) return NULL;
    const char *end = strchr(header, '\n');
    return end ? end + 1 : NULL;
}
