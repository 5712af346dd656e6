/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How the SSH backend runs a command on the login node: for the backend's own files alone. */
#ifndef SLURM_SSH_COMMAND_H
#define SLURM_SSH_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/slurm/backend.h"
#include "agent/slurm/ssh.h"
#include "agent/slurm/ssh_pool.h"
#include "agent/util/error.h"

enum {
    SSH_SHORT_OUTPUT = 4 * 1024, // of commands whose output we hardly read
    SSH_ARGS_MAX = 24,
};

enum ssh_tool {
    SSH_SBATCH,
    SSH_SCANCEL,
    SSH_SQUEUE,
    SSH_SCONTROL,
    SSH_SACCT,
    SSH_SDIAG,
    SSH_TOOL_COUNT,
};
extern const char *const ssh_tool_names[SSH_TOOL_COUNT];

struct ssh_backend {
    struct slurm_backend base;
    struct ssh_pool *pool;
    char *admin_user;
    char *paths[SSH_TOOL_COUNT];
};

static inline struct ssh_backend *ssh_backend_of(struct slurm_backend *b)
{
    return (struct ssh_backend *)b;
}

/* A command line under way; begins as {0}, and is freed by ssh_run(). */
struct ssh_args {
    const char *argv[SSH_ARGS_MAX + 1];
    char *owned[SSH_ARGS_MAX];
    size_t count;
    bool failed;
};

__attribute__((format(printf, 2, 3))) void ssh_args_add(struct ssh_args *a, const char *fmt, ...);

struct ssh_command {
    enum ssh_tool tool;
    const char *user;
    const void *input;
    size_t input_len;
    size_t output_max;
};

/* Run it; takes the arguments. 0 with the result (to be freed), whatever its exit status. */
int ssh_run(struct ssh_backend *b,
            struct ssh_args *args,
            const struct ssh_command *cmd,
            long long deadline_ms,
            struct sshc_result *result,
            struct error *err);
void ssh_result_free(struct sshc_result *result);

/* What a failed command says; -1 (a signal) counts as killed. */
int ssh_verdict(struct ssh_backend *b,
                enum ssh_tool tool,
                const struct sshc_result *result,
                struct error *err);

/* A question has no outcome that could be unknown: it can simply be asked again. */
int ssh_as_question(int rc, struct error *err);

#endif
