/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/plugins/host.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define SANITIZED 1 // its libraries come too
#else
#define SANITIZED 0
#endif

/* ---- What the plugins take from slurmctld. */

slurm_conf_t slurm_conf;
int host_errors;
char host_last_error[1024];
void slurm_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void slurm_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
void slurm_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

void slurm_info(const char *format, ...)
{
}

void slurm_debug(const char *format, ...)
{
}

void slurm_error(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(host_last_error, sizeof(host_last_error), format, ap);
    va_end(ap);
    __atomic_add_fetch(&host_errors, 1, __ATOMIC_SEQ_CST);
}

node_record_t host_node;

node_record_t *find_node_record(char *name)
{
    return strcmp(name, "n1") == 0 ? &host_node : NULL;
}

/* ---- A job. */

char host_base[64], host_spool[120], host_comment[256];
job_record_t host_job;
static char job_name[256];
static __typeof__(*host_job.details) details; // its type has another name from 24.11 on

static void make_job(void)
{
    memset(&host_job, 0, sizeof(host_job));
    strcpy(job_name, NAME);
    strcpy(host_comment, COMMENT);
    details.submit_time = 1000;
    host_job.details = &details;
    host_job.name = job_name;
    host_job.comment = host_comment;
    host_job.job_id = 42;
    host_job.restart_cnt = 1;
    host_job.job_state = 0x8005;
    host_job.exit_code = 0x300;
    host_job.user_id = 1000;
    host_job.start_time = 1010;
    host_job.end_time = 1100;
}

/* ---- Plugins. Some are never unloaded (nodelete): fini() and what follows must leave them usable.
 */

enum { PLUGINS_MAX = 4 };
static void *loaded[PLUGINS_MAX];

void *host_open(const char *name)
{
    char path[1024];
    (void)snprintf(path, sizeof(path), PLUGIN_DIR "/%s_deepsquare.so", name);
    void *plugin = dlopen(path, RTLD_NOW);
    if (!plugin) fail_msg("%s", dlerror());
    return plugin;
}

void *host_load(const char *name)
{
    void *plugin = host_open(name);
    int i = 0;
    while (loaded[i])
        i++;
    assert_true(i < PLUGINS_MAX);
    loaded[i] = plugin;
    int (*init)(void) = (int (*)(void))host_symbol(plugin, "init");
    assert_int_equal(init(), 0);
    return plugin;
}

void *host_symbol(void *plugin, const char *name)
{
    void *symbol = dlsym(plugin, name);
    if (!symbol) fail_msg("no symbol %s", name);
    return symbol;
}

long long host_fini_ms(void *plugin)
{
    void (*fini)(void) = (void (*)(void))host_symbol(plugin, "fini");
    long long before = host_mono_ns();
    fini();
    return (host_mono_ns() - before) / 1000000;
}

void host_set_forwarder(const char *program_and_params)
{
    char text[1024];
    (void)snprintf(text, sizeof(text), "forwarder=%s", program_and_params);
    free(slurm_conf.job_comp_params);
    slurm_conf.job_comp_params = strdup(text);
}

int host_set_location(void *jobcomp, const char *location)
{
    free(slurm_conf.job_comp_loc);
    slurm_conf.job_comp_loc = strdup(location);
    /* With an argument up to 22.05, without one later: passing one does no harm. */
    int (*fn)(char *) = (int (*)(char *))dlsym(jobcomp, "jobcomp_p_set_location");
    if (!fn) fn = (int (*)(char *))host_symbol(jobcomp, "slurm_jobcomp_set_location");
    return fn(slurm_conf.job_comp_loc);
}

host_end_fn host_end_hook(void *jobcomp)
{
    static const char *const names[] = {"jobcomp_p_record_job_end", "jobcomp_p_log_record"};
    for (size_t i = 0; i < 2; i++) {
        void *hook = dlsym(jobcomp, names[i]);
        if (hook) return (host_end_fn)hook;
    }
    return (host_end_fn)host_symbol(jobcomp, "slurm_jobcomp_log_record");
}

/* ---- Around a test. */

int host_setup(void **state)
{
    (void)state;
    strcpy(host_base, "/tmp/test_plugins.XXXXXX");
    if (!mkdtemp(host_base)) return -1;
    (void)snprintf(host_spool, sizeof(host_spool), "%s/deepsquare", host_base);
    program_invocation_short_name = "slurmctld";
    slurm_conf.state_save_location = host_base;
    slurm_conf.cluster_name = "lab";
    slurm_conf.job_comp_type = "jobcomp/deepsquare";
    host_set_forwarder("/bin/true");
    host_errors = 0;
    host_last_error[0] = '\0';
    make_job();
    return 0;
}

int host_teardown(void **state)
{
    (void)state;
    char command[200];
    for (int i = 0; i < PLUGINS_MAX && loaded[i]; i++) {
        (void)host_fini_ms(loaded[i]);
        dlclose(loaded[i]);
        loaded[i] = NULL;
    }
    (void)snprintf(
        command, sizeof(command), "chmod -R u+w %s 2>&-; rm -rf %s 2>&-", host_base, host_base);
    for (int i = 0; i < 100; i++) {         // a forwarder may be writing its last acknowledgements
        if (system(command) == 0) return 0; // NOLINT: our own name
        (void)poll(NULL, 0, 100);
    }
    return -1;
}

void host_make_script(char *path, size_t size, const char *text)
{
    (void)snprintf(path, size, "%s/forwarder", host_base);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
}

int host_read_spool(struct record *last)
{
    struct spool_reader *reader = spool_reader_new(host_spool);
    struct spool_pos pos;
    struct record r;
    int n = 0;
    (void)spool_reader_scan(reader);
    for (; spool_reader_next(reader, &r, &pos) == 1; n++)
        *last = r;
    assert_int_equal(spool_reader_stats(reader)->corrupt_bytes, 0);
    spool_reader_destroy(reader);
    return n;
}

static bool begins_with_one(const char *text, const char *const *names)
{
    for (; *names; names++)
        if (strncmp(text, *names, strlen(*names)) == 0) return true;
    return false;
}

/* Run a command on the plugin's file; call `check` with each line. Returns how many there were. */
static int each_line(const char *command,
                     const char *name,
                     bool (*check)(const char *, const void *),
                     const void *with)
{
    char full[1200], line[256];
    int lines = 0;
    (void)snprintf(full, sizeof(full), "%s '" PLUGIN_DIR "/%s_deepsquare.so'", command, name);
    FILE *p = popen(full, "r"); // NOLINT
    assert_non_null(p);
    for (; fgets(line, sizeof(line), p); lines++)
        if (!check(line, with)) fail_msg("%s: %s", name, line);
    assert_int_equal(pclose(p), 0);
    return lines;
}

static bool is_libc(const char *line, const void *with)
{
    return !strstr(line, "(NEEDED)") || strstr(line, "[libc.so") ||
           strstr(line, "[libpthread.so") || SANITIZED;
}

static bool is_known_symbol(const char *line, const void *with)
{
    return begins_with_one(strrchr(line, ' ') + 1, with);
}

void host_check_linkage(const char *name, const char *const *names)
{
    assert_true(each_line("readelf -dW", name, is_libc, NULL) > 0);
    assert_true(each_line("nm -D --defined-only", name, is_known_symbol, names) > 0);
}

long long host_mono_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (long long)ts.tv_sec * 1000000000 + ts.tv_nsec;
}
