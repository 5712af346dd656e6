/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm_setup.h"

#include "agent/slurm/auto.h"
#include "agent/slurm/rest_backend.h"
#include "agent/slurm/ssh_backend.h"

static struct slurm_backend *make_rest(const struct options *o, struct error *err)
{
    struct slurm_rest_options rest = {
        .endpoint = o->slurm_rest_endpoint,
        .ca = o->slurm_rest_ca,
        .token_file = o->slurm_rest_token_file,
        .admin_user = o->slurm_rest_admin_user,
    };
    const char *path = o->slurm_rest_jwt_key_file;
    if (path && secret_read_bytes(&rest.jwt_key, path, err) < 0) {
        (void)error_prefix(err, "--slurm.rest.jwt-key-file");
        return NULL;
    }
    struct slurm_backend *b = slurm_rest_new(&rest, err);
    secret_wipe(&rest.jwt_key);
    return b;
}

static struct slurm_backend *
make_ssh(const struct options *o, struct buf *authorized_keys, struct error *err)
{
    struct slurm_ssh_options ssh = {
        .address = o->slurm_ssh_address,
        .admin_user = o->slurm_ssh_admin_user,
        .private_key = o->slurm_ssh_private_key,
        .known_hosts = o->slurm_ssh_known_hosts,
        .insecure = o->slurm_ssh_insecure,
        .sbatch = o->slurm_batch,
        .scancel = o->slurm_cancel,
        .squeue = o->slurm_squeue,
        .scontrol = o->slurm_control,
        .sacct = o->slurm_sacct,
        .connect_timeout_ms = o->slurm_timeout_ms,
    };
    if (slurm_ssh_public_key(&ssh.private_key, authorized_keys, err) < 0) return NULL;
    int rc = buf_puts(authorized_keys, "\n");
    if (rc < 0) {
        (void)error_set(err, rc, "SSH key: %s", err_text(rc));
        return NULL;
    }
    return slurm_ssh_new(&ssh, err);
}

static void log_change(void *ctx, bool over_ssh, unsigned long long changes, const char *why)
{
    (void)ctx;
    if (over_ssh)
        log_warn("slurmrestd is out of order, Slurm is reached over SSH (change %llu of way): %s",
                 changes,
                 why);
    else
        log_info("Slurm is reached over slurmrestd again (change %llu of way): %s", changes, why);
}

struct slurm_backend *
slurm_setup(const struct options *o, struct buf *authorized_keys, struct error *err)
{
    bool over_rest = o->slurm_backend != OPTION_SLURM_SSH && o->slurm_rest_endpoint;
    bool over_ssh = o->slurm_backend != OPTION_SLURM_REST && o->slurm_ssh_address;
    struct slurm_backend *rest = over_rest ? make_rest(o, err) : NULL;
    if (over_rest && !rest) return NULL;
    struct slurm_backend *ssh = over_ssh ? make_ssh(o, authorized_keys, err) : NULL;
    if (over_ssh && !ssh) {
        if (rest) rest->ops->destroy(rest);
        return NULL;
    }
    if (!rest || !ssh) return rest ? rest : ssh;
    struct slurm_auto_options both = {.rest = rest, .ssh = ssh, .changed = log_change};
    return slurm_auto_new(&both, err);
}
