/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/backend.h"

void slurm_job_drop_expected(struct slurm_job *job)
{
    enum slurm_phase phase = slurm_phase_of(job->state);
    bool queued = phase == SLURM_PHASE_WAITING || phase == SLURM_PHASE_AGAIN;
    if (queued) job->start_s = 0;
    if (phase != SLURM_PHASE_ENDED) job->end_s = 0;
    if (phase != SLURM_PHASE_ENDED && phase != SLURM_PHASE_AGAIN) job->ran_s = 0;
}
