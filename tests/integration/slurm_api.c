/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Calls a function of Slurm's own library that no command of Slurm's has:
 *   slurm_api LIBRARY FUNCTION JOB_ID NUMBER
 * FUNCTION takes a job's id and a number, as slurm_requeue() does (with flags), and
 * slurm_complete_job() (with an exit status). Exits with 0 if it returned 0.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>

#include "agent/util/parse.h"

int main(int argc, char **argv)
{
    uint64_t id, number;
    if (argc != 5 || parse_u64(argv[3], UINT32_MAX, &id) < 0 ||
        parse_u64(argv[4], UINT32_MAX, &number) < 0)
        return 2;
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
    void (*init)(const char *conf) =
        library ? (void (*)(const char *))dlsym(library, "slurm_init") : NULL; // 22.05 and newer
    int (*fn)(uint32_t, uint32_t) =
        library ? (int (*)(uint32_t, uint32_t))dlsym(library, argv[2]) : NULL;
    if (!fn) {
        (void)fprintf(stderr, "slurm_api: %s\n", dlerror());
        return 2;
    }
    if (init) init(NULL);
    errno = 0;
    int rc = fn((uint32_t)id, (uint32_t)number);
    if (rc != 0) (void)fprintf(stderr, "slurm_api: %s: %d, errno %d\n", argv[2], rc, errno);
    return rc != 0;
}
