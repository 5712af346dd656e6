/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Log lines on stderr, one event a line, in logfmt:  <6>level=info msg="..." job=0x...
 * The sd-daemon priority prefix is written only when stderr is the journal. Callable from any
 * thread.
 */
#ifndef UTIL_LOG_H
#define UTIL_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARN = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

/* Messages above `max` are dropped. Default: INFO. */
void log_set_level(enum log_level max);
bool log_enabled(enum log_level level);

/* `job` is the on-chain id in hex, or NULL. The message is escaped, so it may hold foreign text. */
void log_write(enum log_level level, const char *job, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(...)          log_write(LOG_LEVEL_ERROR, NULL, __VA_ARGS__)
#define log_warn(...)           log_write(LOG_LEVEL_WARN, NULL, __VA_ARGS__)
#define log_info(...)           log_write(LOG_LEVEL_INFO, NULL, __VA_ARGS__)
#define log_debug(...)          log_write(LOG_LEVEL_DEBUG, NULL, __VA_ARGS__)
#define log_job_error(job, ...) log_write(LOG_LEVEL_ERROR, job, __VA_ARGS__)
#define log_job_warn(job, ...)  log_write(LOG_LEVEL_WARN, job, __VA_ARGS__)
#define log_job_info(job, ...)  log_write(LOG_LEVEL_INFO, job, __VA_ARGS__)
#define log_job_debug(job, ...) log_write(LOG_LEVEL_DEBUG, job, __VA_ARGS__)

/* A limiter for a message that could repeat: one static struct a place. */
struct log_limit {
    long long next_ms;       // monotonic time from which the next one may be written
    unsigned int suppressed; // how many were swallowed since
};

/*
 * True if the message may be written now (at most one in `every_ms`); *suppressed then says how
 * many were swallowed before it. Not thread-safe: one limiter belongs to one thread.
 */
bool log_limit_ok(struct log_limit *limit, long long every_ms, unsigned int *suppressed);

#endif
