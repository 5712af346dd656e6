/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/ssh_command.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/slurm/verdict.h"

const char *const ssh_tool_names[SSH_TOOL_COUNT] = {
    [SSH_SBATCH] = "sbatch",
    [SSH_SCANCEL] = "scancel",
    [SSH_SQUEUE] = "squeue",
    [SSH_SCONTROL] = "scontrol",
    [SSH_SACCT] = "sacct",
    [SSH_SDIAG] = "sdiag",
};

void ssh_args_add(struct ssh_args *a, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (a->count == SSH_ARGS_MAX || vasprintf(&text, fmt, ap) < 0) {
        a->failed = true;
    } else {
        a->argv[a->count] = text;
        a->owned[a->count++] = text;
    }
    va_end(ap);
}

static void ssh_args_free(struct ssh_args *a)
{
    for (size_t i = 0; i < a->count; i++)
        free(a->owned[i]);
}

int ssh_run(struct ssh_backend *b,
            struct ssh_args *args,
            const struct ssh_command *cmd,
            long long deadline_ms,
            struct sshc_result *result,
            struct error *err)
{
    struct sshc_call call = {
        .argv = args->argv,
        .input = cmd->input,
        .input_len = cmd->input_len,
        .output_max = cmd->output_max,
    };
    int rc = args->failed ? error_set(err, ERR_NOMEM, "command: out of memory")
                          : ssh_pool_run(b->pool, cmd->user, &call, deadline_ms, result, err);
    ssh_args_free(args);
    return rc;
}

void ssh_result_free(struct sshc_result *result)
{
    buf_free(&result->out);
    buf_free(&result->errs);
}

int ssh_verdict(struct ssh_backend *b,
                enum ssh_tool tool,
                const struct sshc_result *result,
                struct error *err)
{
    int status = result->exit_status < 0 ? 128 + 9 : result->exit_status;
    bool own_lines = tool == SSH_SBATCH || tool == SSH_SCANCEL;
    return verdict_of(
        ssh_tool_names[tool], b->paths[tool], own_lines, status, buf_str(&result->errs), err);
}

int ssh_as_question(int rc, struct error *err)
{
    if (rc >= 0 || rc == ERR_NOMEM || rc == ERR_INVALID || rc == ERR_PROTO) return rc;
    if (err) err->code = ERR_UNAVAILABLE;
    return ERR_UNAVAILABLE;
}
