/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A host that looks like slurmctld to our plugins: what they take from it, a job, a state
 * directory. Built with Slurm's headers, as the plugins are.
 */
#ifndef TESTS_PLUGINS_HOST_H
#define TESTS_PLUGINS_HOST_H

#include "config.h" // Slurm's, that is an empty one: see plugins/Makefile.inc
#ifdef PACKAGE_NAME
#error "this is our own config.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "src/slurmctld/slurmctld.h"

#include "plugins/common/spool.h"

#define NAME    "0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define COMMENT "supervisor 0x71be63f3384f5fb98995898a86b02fb2426c5788"

extern char host_base[64], host_spool[120]; // StateSaveLocation, and the spool in it
extern job_record_t host_job;               // one of ours that failed; set up anew for each test
extern char host_comment[256];
extern node_record_t host_node; // the one node, n1
extern int host_errors;         // that the plugins logged
extern char host_last_error[1024];

/* cmocka's: a fresh state directory and job; JobCompParams runs /bin/true as the forwarder. */
int host_setup(void **state);
int host_teardown(void **state); // also ends every plugin that was loaded

/* Open PLUGIN_DIR/<name>_deepsquare.so; and call its init() as well. */
void *host_open(const char *name);
void *host_load(const char *name);
void *host_symbol(void *plugin, const char *name); // must exist

/* fini(). Returns the milliseconds that it took. */
long long host_fini_ms(void *plugin);

/* JobCompLoc and JobCompParams, as at start or reconfigure. */
void host_set_forwarder(const char *program_and_params);
int host_set_location(void *jobcomp, const char *location);

/* The hook for ends, whatever its name is here. */
typedef int (*host_end_fn)(job_record_t *job, uint32_t event);
host_end_fn host_end_hook(void *jobcomp);

/* Write a shell script into the state directory; its path goes to `path`. */
void host_make_script(char *path, size_t size, const char *text);

/* Read what is in the spool and return how many; *last is the last one. */
int host_read_spool(struct record *last);

/* The plugin is linked with libc alone, and exports what begins with one of `names` (NULL at the
 * end). */
void host_check_linkage(const char *name, const char *const *names);

long long host_mono_ns(void);

#endif
