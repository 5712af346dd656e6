/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * slurmrestd's API from v0.0.37 to v0.0.45: what is sent and how answers are read. Pure: no I/O.
 * v0.0.36 is left out since its update renames jobs.
 */
#ifndef SLURM_REST_API_H
#define SLURM_REST_API_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/slurm/backend.h"
#include "agent/slurm/passwd.h"
#include "agent/slurm/rest_scan.h"
#include "agent/util/buf.h"

/* How a version says it. Numbers as integer or {set,infinite,number} are taken in all of them. */
struct rest_version {
    unsigned int number; // 38: v0.0.38
    /* Up to v0.0.38 unknown keys are refused, later ones ignore them: never send the other's. */
    bool gpus_key;       // "gpus":"2", else "tres_per_job":"gres:gpu:2"
    bool no_requeue_key; // "no_requeue":true, else "requeue":false
    bool launcher_env;   // srun takes --external-launcher, which mpirun must be told to give it
    bool update_env;     // an update must have an environment too, which slurmctld ignores
    bool state_list;     // job_state is a list, else one name, where a flag hides the state
    bool maximums;       // a partition has "maximums":{"time":}, else "max_time_limit", -1 for none
    bool exit_object;    // exit_code is {return_code,signal}, else a number as of wait(2)
    bool db_exit_code;   // accounting tells exit codes, else signals only
    const char *db_query;   // of accounting: all of a job's records, with its own times, no steps
    const char *db_next_id; // between two ids of step=
};

/* Newest first; NULL at the end. */
const struct rest_version *rest_version_at(size_t index);

/* What a job is given besides the specification. */
struct rest_job_env {
    const struct passwd_entry *user;
    const char *host; // of submission
};

/* Append the body of a submission, `script` being prepared. */
int rest_encode_submit(const struct rest_version *v,
                       const struct slurm_job_spec *spec,
                       const struct buf *script,
                       const struct rest_job_env *env,
                       struct buf *body,
                       struct error *err);

/* Append the body of an update of the time limit. */
int rest_encode_limit(const struct rest_version *v, uint64_t minutes, struct buf *body);

/* An answer: HTTP status and body. */
struct rest_answer {
    int status;
    struct rest_slice body;
};

/*
 * What the answer's status and `errors` say: 0 if it reports no error, else (with Slurm's text)
 *   ERR_REFUSED          Slurm's verdict
 *   ERR_NOTFOUND         there is no such job, or none at all
 *   ERR_EXISTS           the job has ended already
 *   ERR_BUSY             slurmctld says "not now"
 *   ERR_UNAVAILABLE      nothing was done: not authenticated, slurmctld not reached
 *   ERR_PROTO            slurmrestd did not understand us; nothing was done
 *   ERR_UNSUPPORTED      this API version is not served
 *   ERR_OUTCOME_UNKNOWN  the rest
 */
int rest_decode_verdict(const struct rest_answer *answer, struct error *err);

/*
 * A submission's answer: 0 with the id if there is one, whatever else it says (a job that cannot
 * start yet comes with errors), else as rest_decode_verdict().
 */
int rest_decode_submit(const struct rest_answer *answer, uint64_t *id, struct error *err);

/* A cancellation's answer; ERR_EXISTS and ERR_NOTFOUND are 0: the job has ended. */
int rest_decode_cancel(const struct rest_answer *answer, struct error *err);

/* 0 if a slurmctld is up, else ERR_UNAVAILABLE. */
int rest_decode_ping(const struct rest_answer *answer, struct error *err);

/* What a job was given, as slurmctld understood it. */
struct rest_grant {
    bool has_time_limit; // false: unlimited
    uint64_t time_limit_min, ntasks, cpus, mem_mb, gpus;
};

/* One job object. Texts are shortened to their fields' size, bytes above ASCII become '?'. */
int rest_decode_job(const struct rest_version *v,
                    struct rest_slice object,
                    struct slurm_job *job,
                    struct rest_grant *grant, // may be NULL
                    struct error *err);

/*
 * One job object of accounting, likewise. A job that FAILED with an exit code that is not told has
 * ended with 1; a user who is not told is "".
 */
int rest_decode_accounted(const struct rest_version *v,
                          struct rest_slice object,
                          struct slurm_job *job,
                          struct error *err);

/* How many records slurmctld has yet to bring to slurmdbd. */
int rest_decode_waiting(const struct rest_answer *answer, uint64_t *count, struct error *err);

/* ERR_REFUSED, naming the first thing, if the job has another user or less than was asked for. */
int rest_check_grant(const struct slurm_job_spec *spec,
                     const struct slurm_job *job,
                     const struct rest_grant *grant,
                     struct error *err);

/* One node object; *in_partition says whether it belongs to `partition`. */
int rest_decode_node(struct rest_slice object,
                     const char *partition,
                     struct slurm_node *node,
                     bool *in_partition,
                     struct error *err);

/* MaxTime of one partition object; *is_it says whether that has this name. */
int rest_decode_max_time(const struct rest_version *v,
                         struct rest_slice object,
                         const char *name,
                         uint64_t *minutes,
                         bool *is_it,
                         struct error *err);

/* The array `name` of the answer's outermost object. ERR_PROTO if it has none. */
int rest_decode_list(const struct rest_answer *answer,
                     const char *name,
                     struct rest_scan *list,
                     struct error *err);

#endif
