/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/util/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/util/clock.h"

static _Atomic int max_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level max)
{
    atomic_store(&max_level, (int)max);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load(&max_level);
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_ERROR:
        return "error";
    case LOG_LEVEL_WARN:
        return "warning";
    case LOG_LEVEL_INFO:
        return "info";
    case LOG_LEVEL_DEBUG:
        return "debug";
    }
    return "info";
}

/* Copy as the inside of a logfmt string: quotes and backslashes escaped, control bytes as \xNN. */
static size_t escape(char *out, size_t size, const char *in)
{
    size_t n = 0;
    for (; *in && n + 5 < size; in++) {
        unsigned char c = (unsigned char)*in;
        if (c == '"' || c == '\\') {
            out[n++] = '\\';
            out[n++] = (char)c;
        } else if (c < 0x20 || c == 0x7f) {
            n += (size_t)snprintf(out + n, size - n, "\\x%02x", c);
        } else {
            out[n++] = (char)c;
        }
    }
    out[n] = '\0';
    return n;
}

/* The journal stamps and ranks lines itself: it wants the priority, a terminal wants the time. */
static int line_head(char *out, size_t size, enum log_level level)
{
    if (getenv("JOURNAL_STREAM")) return snprintf(out, size, "<%d>", (int)level);
    struct timespec ts;
    struct tm tm;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    (void)gmtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(out, size, "time=%Y-%m-%dT%H:%M:%S", &tm);
    return (int)n + snprintf(out + n, size - n, ".%03ldZ ", ts.tv_nsec / 1000000);
}

void log_write(enum log_level level, const char *job, const char *fmt, ...)
{
    if (!log_enabled(level)) return;

    char msg[1536], esc[2048], line[2560];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    (void)escape(esc, sizeof(esc), msg);

    int n = line_head(line, sizeof(line), level);
    n += snprintf(line + n,
                  sizeof(line) - (size_t)n,
                  "level=%s msg=\"%s\"%s%.80s\n",
                  level_name(level),
                  esc,
                  job ? " job=" : "",
                  job ? job : "");
    // One write a line, so that lines of several threads do not mix.
    ssize_t w = write(STDERR_FILENO, line, (size_t)n);
    (void)w; // nowhere to report a failing log
}

bool log_limit_ok(struct log_limit *limit, long long every_ms, unsigned int *suppressed)
{
    long long now = clock_mono_ms();
    if (now < limit->next_ms) {
        limit->suppressed++;
        return false;
    }
    *suppressed = limit->suppressed;
    limit->suppressed = 0;
    limit->next_ms = now + every_ms;
    return true;
}
