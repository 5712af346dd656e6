/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/spec.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/slurm/users.h"

bool slurm_spec_is_marked(const char *comment)
{
    return strncmp(comment, SLURM_SPEC_MARK, sizeof(SLURM_SPEC_MARK) - 1) == 0;
}

int slurm_jobs_add(struct slurm_job **jobs, size_t *count, const struct slurm_job *job)
{
    if ((*count & (*count - 1)) == 0) { // grows by doubling: a power of two is full
        struct slurm_job *more = reallocarray(*jobs, *count ? 2 * *count : 1, sizeof(**jobs));
        if (!more) return ERR_NOMEM;
        *jobs = more;
    }
    (*jobs)[(*count)++] = *job;
    return 0;
}

int slurm_spec_check(const struct slurm_job_spec *s, struct error *err)
{
    const struct {
        const char *name;
        uint64_t value, min, max;
    } table[] = {
        {"ntasks", s->ntasks, 1, 1 << 30},
        {"cpus per task", s->cpus_per_task, 1, 0xfff0},            // 16 bits in Slurm
        {"memory per cpu (MB)", s->mem_per_cpu_mb, 1, 1ULL << 40}, // bit 63 is a flag
        {"gpus", s->gpus, 0, 1 << 30},
        {"time limit (minutes)", s->time_limit_min, 1, 366 * 24 * 60 * 10}, // ten years
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].value < table[i].min || table[i].value > table[i].max)
            return error_set(err,
                             ERR_INVALID,
                             "%s: %" PRIu64 " is out of range (%" PRIu64 " to %" PRIu64 ")",
                             table[i].name,
                             table[i].value,
                             table[i].min,
                             table[i].max);
    if (strlen(s->name) >= SLURM_NAME_MAX || strlen(s->comment) >= SLURM_COMMENT_MAX ||
        !slurm_spec_is_marked(s->comment))
        return error_set(err, ERR_INVALID, "job name or comment is not one of ours");
    return users_check_name(s->user, err);
}
