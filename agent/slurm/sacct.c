/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/sacct.h"

#include <string.h>

#include "agent/slurm/columns.h"
#include "agent/util/parse.h"

enum { STATE_WIDTH = 40 };

static int next_short(const char **text, char field[COLUMNS_FIELD_MAX + 1])
{
    return columns_fixed(text, COLUMNS_FIELD_MAX, ' ', field);
}

/* "CANCELLED by 1000" is the only state of several words. */
static int next_state(const char **text, uint32_t *state)
{
    char field[STATE_WIDTH + 1];
    if (columns_fixed(text, STATE_WIDTH, ' ', field) < 0) return ERR_PROTO;
    field[strcspn(field, " ")] = '\0';
    return columns_state(field, state);
}

static int parse_head(const char **text, struct slurm_job *job)
{
    char field[COLUMNS_FIELD_MAX + 1];
    if (next_short(text, field) < 0 || parse_u64(field, UINT32_MAX, &job->id) < 0 ||
        next_state(text, &job->state) < 0)
        return ERR_PROTO;
    if (next_short(text, field) < 0 || columns_exit(field, &job->wait_status) < 0) return ERR_PROTO;
    int64_t *const times[] = {&job->submit_s, &job->start_s, &job->end_s};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
        if (next_short(text, field) < 0 || columns_time(field, times[i]) < 0) return ERR_PROTO;
    if (next_short(text, field) < 0 || parse_u64(field, UINT32_MAX, &job->ran_s) < 0 ||
        next_short(text, field) < 0)
        return ERR_PROTO;
    job->started = slurm_has_nodes(field);
    return 0;
}

int sacct_next(const char **text, struct slurm_job *job, struct error *err)
{
    const char *at = *text;
    struct slurm_job found = {0};
    if (!*at) return 0;
    if (parse_head(&at, &found) < 0 ||
        columns_fixed(&at, SLURM_USER_MAX - 1, ' ', found.user) < 0 ||
        columns_fixed(&at, SLURM_NAME_MAX - 1, ' ', found.name) < 0 ||
        columns_fixed(&at, SLURM_COMMENT_MAX - 1, ' ', found.comment) < 0 || *at++ != '\n')
        return error_set(err, ERR_PROTO, "sacct: unexpected output at \"%.60s\"", *text);
    slurm_job_drop_expected(&found);
    *job = found;
    *text = at;
    return 1;
}

const char *sacct_records(const char *text)
{
    static const char first[] = "JobIDRaw             State ";
    static const char rule[] = "-------------------- ----";
    const char *header = strstr(text, first);
    const char *line = header ? strchr(header, '\n') : NULL;
    if (!line || strncmp(++line, rule, sizeof(rule) - 1) != 0) return NULL;
    line = strchr(line, '\n');
    return line ? line + 1 : NULL;
}

bool sacct_is_disabled(const char *errors)
{
    return strstr(errors, "Slurm accounting storage is disabled") != NULL;
}

int sdiag_dbd_queue(const char *text, uint64_t *waiting, struct error *err)
{
    static const char key[] = "DBD Agent queue size:";
    char number[COLUMNS_FIELD_MAX + 1];
    const char *at = strstr(text, key);
    if (at) {
        at += sizeof(key) - 1;
        at += strspn(at, " ");
        size_t len = strcspn(at, " \r\n");
        if (len < sizeof(number)) {
            memcpy(number, at, len);
            number[len] = '\0';
            if (parse_u64(number, UINT32_MAX, waiting) == 0) return 0;
        }
    }
    return error_set(err, ERR_PROTO, "sdiag does not tell how much waits for slurmdbd");
}
