/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plugins/common/launch.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

enum { CONFIG_ARGS_MAX = 11 }; // program, detach, endpoint, tls, insecure, ca, host override, NULL

static void build_args(const struct launch_config *c,
                       const char *const args[],
                       const char *out[LAUNCH_ARGS_MAX + CONFIG_ARGS_MAX])
{
    int n = 0;
    out[n++] = c->program;
    out[n++] = "--detach";
    for (int i = 0; i < LAUNCH_ARGS_MAX && args[i]; i++)
        out[n++] = args[i];
    out[n++] = "--endpoint";
    out[n++] = c->endpoint;
    if (c->tls) out[n++] = "--tls";
    if (c->insecure) out[n++] = "--insecure";
    if (c->ca[0]) {
        out[n++] = "--ca";
        out[n++] = c->ca;
    }
    if (c->host_override[0]) {
        out[n++] = "--host-override";
        out[n++] = c->host_override;
    }
    out[n] = NULL;
}

static int set_files(posix_spawn_file_actions_t *files, int log_fd, int end_fd)
{
    int rc = posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDWR, 0);
    if (log_fd < 0) log_fd = STDIN_FILENO;
    if (rc == 0) rc = posix_spawn_file_actions_adddup2(files, log_fd, STDOUT_FILENO);
    if (rc == 0) rc = posix_spawn_file_actions_adddup2(files, log_fd, STDERR_FILENO);
    if (rc == 0 && end_fd >= 0) rc = posix_spawn_file_actions_adddup2(files, end_fd, LAUNCH_END_FD);
    return rc;
}

static void set_attributes(posix_spawnattr_t *attr)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    (void)posix_spawnattr_setsigmask(attr, &none);
    (void)posix_spawnattr_setsigdefault(attr, &all);
    (void)posix_spawnattr_setflags(
        attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
}

int launch_forwarder(const struct launch_config *config,
                     const char *const args[],
                     int log_fd,
                     int end_fd,
                     pid_t *pid)
{
    /* Not Slurm's environment: a proxy set there is not for us. The journal's variable makes log
     * lines begin with their priority, which the keeper reads. */
    static const char *const environment[] = {
        "PATH=/usr/bin:/bin", "LC_ALL=C", "JOURNAL_STREAM=0:0", NULL};
    const char *all_args[LAUNCH_ARGS_MAX + CONFIG_ARGS_MAX];
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    int rc = posix_spawn_file_actions_init(&files);
    if (rc != 0) return rc;
    rc = posix_spawnattr_init(&attr);
    if (rc != 0) {
        (void)posix_spawn_file_actions_destroy(&files);
        return rc;
    }
    build_args(config, args, all_args);
    set_attributes(&attr);
    rc = set_files(&files, log_fd, end_fd);
    if (rc == 0)
        rc = posix_spawn(pid,
                         config->program,
                         &files,
                         &attr,
                         (char *const *)all_args,
                         (char *const *)environment);
    (void)posix_spawnattr_destroy(&attr);
    (void)posix_spawn_file_actions_destroy(&files);
    return rc;
}
