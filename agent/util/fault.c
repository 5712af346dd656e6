/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Compiled with --enable-fault-injection only. */
#include "agent/util/fault.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/util/parse.h"

enum { EXIT_USAGE = 2 };

static const struct {
    const char *name, *what;
} points[FAULT_COUNT] = {
#define FAULT(id, name, what) {name, what},
#include "agent/util/fault.def"
#undef FAULT
};

static enum fault armed = FAULT_COUNT; // none; not changed once there are threads
static atomic_ullong passages_left;

static enum fault find(const char *name, size_t len)
{
    int i = 0;
    while (i < FAULT_COUNT && (strncmp(points[i].name, name, len) != 0 || points[i].name[len]))
        i++;
    return (enum fault)i;
}

static void print_list(void)
{
    for (int i = 0; i < FAULT_COUNT; i++)
        (void)printf("%-26s %s\n", points[i].name, points[i].what);
}

void fault_init(void)
{
    uint64_t passage = 1;
    const char *text = getenv("AGENT_FAULT");
    if (!text) return;
    if (strcmp(text, "list") == 0) {
        print_list();
        exit(EXIT_SUCCESS);
    }
    size_t len = strcspn(text, ":");
    armed = find(text, len);
    if (armed == FAULT_COUNT || (text[len] && parse_u64(text + len + 1, 1000000, &passage) < 0) ||
        passage == 0) {
        (void)fprintf(stderr, "AGENT_FAULT: \"%s\" is no POINT[:PASSAGE]; try \"list\"\n", text);
        exit(EXIT_USAGE);
    }
    atomic_store(&passages_left, passage);
}

void fault_point(enum fault point)
{
    if (point != armed || atomic_fetch_sub(&passages_left, 1) != 1) return;
    (void)kill(getpid(), SIGKILL);
    for (;;)
        (void)pause(); // the signal may reach another thread first
}
