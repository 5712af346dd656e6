/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/squeue.h"

#include <string.h>

#include "agent/slurm/columns.h"
#include "agent/util/parse.h"

/* The text up to the next bar, without the blanks that fill it up. NULL if it is too long. */
static const char *next_field(const char **text, char field[COLUMNS_FIELD_MAX + 1])
{
    size_t len = strcspn(*text, "|\n");
    if (len > COLUMNS_FIELD_MAX || (*text)[len] != '|') return NULL;
    memcpy(field, *text, len);
    *text += len + 1;
    while (len && field[len - 1] == ' ')
        len--;
    field[len] = '\0';
    return field;
}

static int parse_head(const char **text, struct slurm_job *job)
{
    char field[COLUMNS_FIELD_MAX + 1];
    uint64_t restarts;
    if (!next_field(text, field) || parse_u64(field, UINT32_MAX, &job->id) < 0) return ERR_PROTO;
    if (!next_field(text, field) || columns_state(field, &job->state) < 0) return ERR_PROTO;
    if (!next_field(text, field) || columns_exit(field, &job->wait_status) < 0) return ERR_PROTO;
    if (!next_field(text, field) || columns_time(field, &job->submit_s) < 0) return ERR_PROTO;
    if (!next_field(text, field) || columns_time(field, &job->start_s) < 0) return ERR_PROTO;
    if (!next_field(text, field) || columns_time(field, &job->end_s) < 0) return ERR_PROTO;
    if (!next_field(text, field) || columns_limit(field, &job->limit_min) < 0) return ERR_PROTO;
    if (!next_field(text, field) || columns_elapsed(field, &job->ran_s) < 0) return ERR_PROTO;
    if (!next_field(text, field) || parse_u64(field, UINT16_MAX, &restarts) < 0) return ERR_PROTO;
    if (!next_field(text, field)) return ERR_PROTO;
    job->restarts = (uint32_t)restarts;
    job->started = slurm_has_nodes(field);
    return 0;
}

int squeue_next(const char **text, struct slurm_job *job, struct error *err)
{
    const char *at = *text;
    struct slurm_job found = {0};
    if (!*at) return 0;
    if (parse_head(&at, &found) < 0 ||
        columns_fixed(&at, SLURM_USER_MAX - 1, '|', found.user) < 0 ||
        columns_fixed(&at, SLURM_NAME_MAX - 1, '|', found.name) < 0 ||
        columns_fixed(&at, SLURM_COMMENT_MAX - 1, '|', found.comment) < 0 || *at++ != '\n')
        return error_set(err, ERR_PROTO, "squeue: unexpected output at \"%.60s\"", *text);

    slurm_job_drop_expected(&found);
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
