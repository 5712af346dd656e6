/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reconciliation: shared by survey.c, strangers.c and probe.c. */
#ifndef ENGINE_SURVEY_H
#define ENGINE_SURVEY_H

#include "agent/engine/engine_private.h"

/* A question about one job, of the contract, and where that is not enough of Slurm; and answers. */
struct probe {
    char id[JOB_ID_TEXT];
    uint8_t customer[20];
    char user[JOB_USER_MAX]; // "": as of the customer
    uint64_t claim_block;
    bool stranger;        // from a listing, not known here
    bool by_name;         // look for it in Slurm by its name, too
    bool by_name_if_runs; // only if the contract says RUNNING
    /* Found out. */
    enum reconcile_chain chain;
    struct chain_job job;       // unless UNKNOWN or NONE
    enum reconcile_slurm named; // by its name; UNKNOWN if it was not looked for
    struct slurm_job slurm;     // as found by name; a stranger's: as listed
};

/* probe.c: on workers */
struct probe_task;
void engine_list_start(struct engine *e);
struct probe_task *engine_probes_new(struct engine *e, size_t max);
struct probe *engine_probes_add(struct probe_task *t);            // NULL if there is no room
bool engine_probes_start(struct engine *e, struct probe_task *t); // false, and freed, if empty
enum reconcile_slurm engine_slurm_view(uint32_t state);           // of a job's state in Slurm

/* survey.c */
void engine_survey_probed(struct engine *e, const struct probe *probes, size_t count);

/* What is taken from the two into a job's row; and a cancel that the contract knows of. */
void engine_survey_note_chain(struct live_job *j, const struct probe *p);
void engine_survey_note_slurm(struct live_job *j, const struct slurm_job *s);
void engine_survey_pass_cancel_on(struct engine *e, struct live_job *j, const struct probe *p);

/* strangers.c */
void engine_strangers_listed(struct engine *e, const struct slurm_job *jobs, size_t count);
void engine_strangers_ask(struct engine *e, struct probe_task *t);
void engine_strangers_settle(struct engine *e, const struct probe *p);

#endif
