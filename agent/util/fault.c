/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Compiled with --enable-fault-injection only. */
#include "agent/util/fault.h"

#include <assert.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/util/error.h"
#include "agent/util/parse.h"

enum { EXIT_USAGE = 2, PASSAGE_MAX = 1000000, STALL_MAX_MS = 10 * 1000 };

static const struct {
    const char *name, *what;
} points[FAULT_COUNT] = {
    [FAULT_NONE] = {"", ""},
#define FAULT(id, name, what) [FAULT_##id] = {name, what},
#include "agent/util/fault.def"
#undef FAULT
};

static enum fault armed;  // not changed once there are threads
static uint64_t stall_ms; // "
static atomic_ullong passages_left;

static enum fault find(const char *name)
{
    int i = FAULT_COUNT - 1;
    while (i > FAULT_NONE && strcmp(points[i].name, name) != 0)
        i--;
    return (enum fault)i;
}

/* POINT[:PASSAGE[:STALL_MS]] */
static int arm(const char *text)
{
    char copy[128], *rest = copy;
    uint64_t passage = 1;
    (void)snprintf(copy, sizeof(copy), "%s", text);
    armed = find(strsep(&rest, ":"));
    if (armed == FAULT_NONE) return ERR_INVALID;
    if (rest && parse_u64(strsep(&rest, ":"), PASSAGE_MAX, &passage) < 0) return ERR_INVALID;
    if (rest && parse_u64(rest, STALL_MAX_MS, &stall_ms) < 0) return ERR_INVALID;
    atomic_store(&passages_left, passage);
    return passage > 0 ? 0 : ERR_INVALID;
}

static void print_list(void)
{
    for (int i = FAULT_NONE + 1; i < FAULT_COUNT; i++)
        (void)printf("%-26s %s\n", points[i].name, points[i].what);
}

void fault_init(void)
{
    const char *text = getenv("AGENT_FAULT");
    if (!text) return;
    if (strcmp(text, "list") == 0) {
        print_list();
        exit(EXIT_SUCCESS);
    }
    if (arm(text) == 0) return;
    (void)fprintf(
        stderr, "AGENT_FAULT: \"%s\" is no POINT[:PASSAGE[:STALL_MS]]; try \"list\"\n", text);
    exit(EXIT_USAGE);
}

void fault_point(enum fault point)
{
    assert(point != FAULT_NONE); // a table has a hole: a kind of turn without its points
    if (point != armed || atomic_fetch_sub(&passages_left, 1) != 1) return;
    struct timespec stall = {(time_t)stall_ms / 1000, (long)stall_ms % 1000 * 1000000};
    (void)nanosleep(&stall, NULL);
    (void)kill(getpid(), SIGKILL);
    for (;;)
        (void)pause(); // the signal may reach another thread first
}
