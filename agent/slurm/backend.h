/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the agent asks of Slurm, whatever the way: SSH, slurmrestd, or one for the other. Every
 * operation blocks up to its deadline, may be called from several threads at once, and tells three
 * kinds of failure apart by its code's class (agent/util/err.def):
 *   PERMANENT  Slurm's verdict (ERR_REFUSED: text is Slurm's), or a user that is not there
 *   TRANSIENT  nothing was done (unreachable, not authenticated)
 *   UNKNOWN    ERR_OUTCOME_UNKNOWN: the request may have been carried out
 */
#ifndef SLURM_BACKEND_H
#define SLURM_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/slurm/state.h"
#include "agent/util/error.h"

struct slurm_job_spec {
    const char *name;    // the on-chain id: 0x and 64 digits
    const char *user;    // Unix user to run as
    const char *comment; // carries the mark "supervisor "
    const char *partition;
    const char *output; // path template of sbatch, relative to the user's home
    const void *script;
    size_t script_len;
    uint64_t ntasks, cpus_per_task, mem_per_cpu_mb;
    uint64_t gpus; // per job; 0 = none
    uint64_t time_limit_min;
};

enum { SLURM_NAME_MAX = 128, SLURM_USER_MAX = 64, SLURM_COMMENT_MAX = 256 };

struct slurm_job {
    uint64_t id;
    char name[SLURM_NAME_MAX];
    char user[SLURM_USER_MAX];
    char comment[SLURM_COMMENT_MAX];
    uint32_t state;                   // enum slurm_state and flags, as of state.h
    uint32_t wait_status;             // as of wait(2)
    int64_t submit_s, start_s, end_s; // of the present attempt; 0 = not (yet) known
    uint64_t limit_min;               // time limit; 0 = none, or not known
    uint64_t ran_s;                   // of this attempt, without the time it was suspended
    bool started;                     // it was given nodes in this attempt
    uint32_t restarts;                // attempts before it
    uint64_t spent_s;                 // what they ran: by accounting, the queue tells 0
};

/* What is proved of the ids that a query left out. */
enum slurm_proof {
    SLURM_PROOF_NONE = 0,   // accounting cannot be asked, or is not up to date: nothing
    SLURM_PROOF_QUEUE,      // the queue has them not; the cluster has no accounting
    SLURM_PROOF_ACCOUNTING, // nor has accounting, which is up to date, an end of them
};

/* Clear the times that Slurm only expects: of a job that waits all, of one that runs its end. */
void slurm_job_drop_expected(struct slurm_job *job);

enum { SLURM_NODE_NAME_MAX = 256 };

enum { // of a node, any number of them
    SLURM_NODE_DOWN = 1 << 0,
    SLURM_NODE_DRAIN = 1 << 1, // takes no new jobs
    SLURM_NODE_NOT_RESPONDING = 1 << 2,
    SLURM_NODE_POWERED_DOWN = 1 << 3, // comes up when a job needs it
    SLURM_NODE_RESERVED = 1 << 4,     // for maintenance or by a reservation
};

struct slurm_node {
    char name[SLURM_NODE_NAME_MAX];
    uint64_t cpus, mem_mb, gpus;                // as configured, whatever runs there
    uint64_t used_cpus, used_mem_mb, used_gpus; // of these, by jobs
    uint32_t flags;
};

#define SLURM_UNLIMITED UINT64_MAX

struct slurm_partition {
    struct slurm_node *nodes; // of all, whatever their state
    size_t count;
    uint64_t max_time_min; // of a job, or SLURM_UNLIMITED
};

struct slurm_backend;

struct slurm_backend_ops {
    const char *name; // "ssh", "rest", "auto"
    /* Is slurmctld there and does it answer us? */
    int (*ping)(struct slurm_backend *b, long long deadline_ms, struct error *err);
    /* Does the Unix user exist where jobs are submitted? 0, ERR_NOTFOUND, or transient. */
    int (*user_exists)(struct slurm_backend *b,
                       const char *user,
                       long long deadline_ms,
                       struct error *err);
    int (*submit)(struct slurm_backend *b,
                  const struct slurm_job_spec *spec,
                  long long deadline_ms,
                  uint64_t *id,
                  struct error *err);
    /*
     * The job of that name and user that carries our mark, in any state; of several the newest. The
     * queue is asked first; of a job that has left it (MinJobAge after its end), accounting, if the
     * cluster has slurmdbd: there a job without a comment counts too, since most clusters store
     * none. What Slurm keeps of a submission that it refused is no job. 0 found; ERR_NOTFOUND none:
     * the queue has answered, and accounting, up to date, where there is one (it has not the job if
     * that never became eligible, or is older than 30 days); ERR_BUSY: the queue has no such job,
     * and accounting cannot be asked now (slurmdbd is down) or is not up to date; else unknown.
     */
    int (*find)(struct slurm_backend *b,
                const char *name,
                const char *user,
                long long deadline_ms,
                struct slurm_job *job,
                struct error *err);
    /*
     * All of `ids` in one request of the queue, and those that have left it in one of accounting,
     * of which only ends count. Fills jobs[0..*found) (at least `count` slots) in any order; left
     * out is what the queue does not know and accounting has no end of (yet), or what it does not
     * know while accounting cannot be asked: that alone is no failure, and *proof tells the two
     * apart (SLURM_PROOF_QUEUE if none is left out). An id may be another's job by now:
     * look at its name.
     */
    int (*query)(struct slurm_backend *b,
                 const uint64_t *ids,
                 size_t count,
                 long long deadline_ms,
                 struct slurm_job *jobs,
                 size_t *found,
                 enum slurm_proof *proof,
                 struct error *err);
    /*
     * All jobs in the queue that carry our mark, of any agent, in any state, as an array that the
     * caller frees (NULL if none). Costly: all jobs of the cluster are read for it.
     */
    int (*list)(struct slurm_backend *b,
                long long deadline_ms,
                struct slurm_job **jobs,
                size_t *count,
                struct error *err);
    /* As `user`, the job's owner. A job that has ended already: 0. */
    int (*cancel)(struct slurm_backend *b,
                  uint64_t id,
                  const char *user,
                  long long deadline_ms,
                  struct error *err);
    int (*set_time_limit)(struct slurm_backend *b,
                          uint64_t id,
                          uint64_t minutes,
                          long long deadline_ms,
                          struct error *err);
    /*
     * The partition of that name; the caller frees its nodes. ERR_NOTFOUND if there is none, or no
     * node in it.
     */
    int (*partition)(struct slurm_backend *b,
                     const char *name,
                     long long deadline_ms,
                     struct slurm_partition *partition,
                     struct error *err);
    void (*destroy)(struct slurm_backend *b);
};

/* Every backend begins with this. Deadlines are clock_mono_ms() values. */
struct slurm_backend {
    const struct slurm_backend_ops *ops;
};

#endif
