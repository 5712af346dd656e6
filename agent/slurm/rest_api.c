/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table of versions, and what is sent. */
#include "agent/slurm/rest_api.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// clang-format off
static const char all_told[] = "skip_steps=true"; // where the rest is so unless it is asked for
static const char all_asked[] =
    "skip_steps=true&show_duplicates=true&disable_truncate_usage_time=true";

static const char comma[] = "%2C", again[] = "&step=";

static const struct rest_version versions[] = {
    // number, gpus_key, no_requeue_key, launcher_env, update_env, state_list, maximums,
    // exit_object, db_exit_code, db_query, db_next_id
    {45, false, false, true,  false, true,  true,  true,  true,  all_asked, again}, // Slurm 26.05
    {44, false, false, true,  false, true,  true,  true,  true,  all_asked, again}, // 25.11 and 26.05
    {43, false, false, true,  false, true,  true,  true,  true,  all_asked, again}, // 25.05 to 26.05
    {42, false, false, true,  false, true,  true,  true,  true,  all_asked, again}, // 24.11 to 26.05
    {41, false, false, true,  false, true,  true,  true,  true,  all_asked, again}, // 24.05 to 25.11
    {40, false, false, true,  false, true,  true,  true,  true,  all_asked, again}, // 23.11 to 25.05
    {39, false, false, false, true,  false, true,  false, false, all_told,  comma}, // 23.02 to 24.05
    {38, true,  true,  false, false, false, false, false, false, all_told,  comma}, // 22.05 to 23.11
    {37, true,  true,  false, false, false, false, false, false, all_told,  comma}, // 21.08 to 23.02
};
// clang-format on

const struct rest_version *rest_version_at(size_t index)
{
    return index < sizeof(versions) / sizeof(versions[0]) ? &versions[index] : NULL;
}

/* Takes `value`; NULL, the sign of a lack of memory, sets *failed. */
static void add(struct json_object *o, const char *key, struct json_object *value, bool *failed)
{
    if (!o || !value || json_object_object_add(o, key, value) != 0) {
        json_object_put(value);
        *failed = true;
    }
}

static void add_string(struct json_object *o, const char *key, const char *text, bool *failed)
{
    add(o, key, json_object_new_string(text), failed);
}

static void add_u64(struct json_object *o, const char *key, uint64_t value, bool *failed)
{
    add(o, key, json_object_new_int64((int64_t)value), failed);
}

__attribute__((format(printf, 4, 5))) static void
add_text(struct json_object *o, const char *key, bool *failed, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0) text = NULL;
    va_end(ap);
    add(o, key, text ? json_object_new_string(text) : NULL, failed);
    free(text);
}

/* As sbatch has it from 23.11 on, so that mpirun's srun leaves the tasks to mpirun. */
static const struct {
    const char *name, *value;
} launcher_env[] = {
    {"HYDRA_BOOTSTRAP", "slurm"},
    {"HYDRA_LAUNCHER_EXTRA_ARGS", "--external-launcher"},
    {"I_MPI_HYDRA_BOOTSTRAP", "slurm"},
    {"I_MPI_HYDRA_BOOTSTRAP_EXEC_EXTRA_ARGS", "--external-launcher"},
    {"OMPI_MCA_plm_slurm_args", "--external-launcher"},
    {"PRTE_MCA_plm_slurm_args", "--external-launcher"},
};

/*
 * What a login gives (agent/slurm/remote.h lets these through), and what sbatch itself adds: srun
 * and programs in the job read it there, and slurmd knows none of it.
 */
static struct json_object *make_environment(const struct rest_version *v,
                                            const struct slurm_job_spec *s,
                                            const struct rest_job_env *env,
                                            bool *failed)
{
    struct json_object *o = json_object_new_object();
    const char *shell = env->user->shell;
    add_string(o, "HOME", env->user->home, failed);
    add_string(o, "USER", s->user, failed);
    add_string(o, "LOGNAME", s->user, failed);
    add_string(o, "SHELL", *shell ? shell : "/bin/sh", failed);
    add_string(o, "PATH", "/usr/local/bin:/usr/bin:/bin", failed);
    add_string(o, "LANG", "C.UTF-8", failed);
    add_text(o, "SLURM_CPUS_PER_TASK", failed, "%" PRIu64, s->cpus_per_task);
    if (s->gpus) add_text(o, "SLURM_GPUS", failed, "%" PRIu64, s->gpus);
    add_string(o, "SLURM_PRIO_PROCESS", "0", failed);
    add_string(o, "SLURM_SUBMIT_DIR", env->user->home, failed);
    add_string(o, "SLURM_SUBMIT_HOST", env->host, failed);
    add_string(o, "SLURM_UMASK", "0022", failed);
    for (size_t i = 0; v->launcher_env && i < sizeof(launcher_env) / sizeof(launcher_env[0]); i++)
        add_string(o, launcher_env[i].name, launcher_env[i].value, failed);
    return o;
}

/* As sbatch makes it absolute. */
static void
add_output(struct json_object *job, const struct slurm_job_spec *s, const char *home, bool *failed)
{
    if (s->output[0] == '/')
        add_string(job, "standard_output", s->output, failed);
    else
        add_text(job, "standard_output", failed, "%s/%s", home, s->output);
}

static struct json_object *make_job(const struct rest_version *v,
                                    const struct slurm_job_spec *s,
                                    const struct rest_job_env *env,
                                    bool *failed)
{
    struct json_object *job = json_object_new_object();
    add_string(job, "name", s->name, failed);
    add_string(job, "comment", s->comment, failed);
    add_string(job, "partition", s->partition, failed);
    add_string(job, "current_working_directory", env->user->home, failed);
    add_string(job, "standard_input", "/dev/null", failed);
    add_output(job, s, env->user->home, failed);
    add(job, "environment", make_environment(v, s, env, failed), failed);
    add_u64(job, "tasks", s->ntasks, failed);
    add_u64(job, "cpus_per_task", s->cpus_per_task, failed);
    add_u64(job, "memory_per_cpu", s->mem_per_cpu_mb, failed);
    add_u64(job, "time_limit", s->time_limit_min, failed);
    if (s->gpus && v->gpus_key)
        add_text(job, "gpus", failed, "%" PRIu64, s->gpus);
    else if (s->gpus)
        add_text(job, "tres_per_job", failed, "gres:gpu:%" PRIu64, s->gpus);
    if (v->no_requeue_key)
        add(job, "no_requeue", json_object_new_boolean(1), failed);
    else
        add(job, "requeue", json_object_new_boolean(0), failed);
    return job;
}

int rest_encode_submit(const struct rest_version *v,
                       const struct slurm_job_spec *spec,
                       const struct buf *script,
                       const struct rest_job_env *env,
                       struct buf *body,
                       struct error *err)
{
    // json-c writes bytes above ASCII as they are, and slurmrestd hands them on as they are.
    bool failed = false;
    size_t len = 0;
    struct json_object *o = json_object_new_object();
    add(o, "script", json_object_new_string_len(buf_str(script), (int)script->len), &failed);
    add(o, "job", make_job(v, spec, env, &failed), &failed);
    const char *text = failed
                           ? NULL
                           : json_object_to_json_string_length(
                                 o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
    int rc = text ? buf_put(body, text, len) : ERR_NOMEM;
    json_object_put(o);
    return rc < 0 ? error_set(err, rc, "submission: %s", err_text(rc)) : 0;
}

int rest_encode_limit(const struct rest_version *v, uint64_t minutes, struct buf *body)
{
    return buf_putf(body,
                    "{\"time_limit\":%" PRIu64 "%s}",
                    minutes,
                    v->update_env ? ",\"environment\":[]" : "");
}
