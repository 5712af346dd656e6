/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/slurm/columns.h"
#include "agent/slurm/gres.h"
#include "agent/util/parse.h"

/* Base states and flags, of squeue's sisters and of slurmrestd, over all releases. */
static const struct {
    const char *word;
    uint32_t flags;
} state_words[] = {
    {"DOWN", SLURM_NODE_DOWN},
    {"ERROR", SLURM_NODE_DOWN},
    {"FUTURE", SLURM_NODE_DOWN},
    {"UNKNOWN", SLURM_NODE_DOWN},
    {"INVAL", SLURM_NODE_DOWN},
    {"INVALID", SLURM_NODE_DOWN},
    {"INVALID_REG", SLURM_NODE_DOWN},
    {"DRAIN", SLURM_NODE_DRAIN},
    {"DRAINED", SLURM_NODE_DRAIN},
    {"DRAINING", SLURM_NODE_DRAIN},
    {"FAIL", SLURM_NODE_DRAIN},
    {"FAILING", SLURM_NODE_DRAIN},
    {"NOT_RESPONDING", SLURM_NODE_NOT_RESPONDING},
    {"POWER_DOWN", SLURM_NODE_POWERED_DOWN},
    {"POWERED_DOWN", SLURM_NODE_POWERED_DOWN},
    {"POWERING_DOWN", SLURM_NODE_POWERED_DOWN},
    {"MAINT", SLURM_NODE_RESERVED},
    {"MAINTENANCE", SLURM_NODE_RESERVED},
    {"RESERVED", SLURM_NODE_RESERVED},
};

uint32_t nodes_state_flags(const char *word, size_t len)
{
    for (size_t i = 0; i < sizeof(state_words) / sizeof(state_words[0]); i++)
        if (strlen(state_words[i].word) == len && strncasecmp(state_words[i].word, word, len) == 0)
            return state_words[i].flags;
    return 0;
}

bool nodes_list_has(const char *list, size_t len, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = list, *end = list + len; at < end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        size_t item = (size_t)((comma ? comma : end) - at);
        if (item == n && memcmp(at, name, n) == 0) return true;
        at += item + 1;
    }
    return false;
}

int nodes_add(struct slurm_node **nodes, size_t *count, const struct slurm_node *node)
{
    // Grows by doubling: a power of two is full.
    if ((*count & (*count - 1)) == 0) {
        struct slurm_node *more =
            reallocarray(*nodes, *count ? 2 * *count : 1, sizeof(struct slurm_node));
        if (!more) return ERR_NOMEM;
        *nodes = more;
    }
    (*nodes)[(*count)++] = *node;
    return 0;
}

/* --- scontrol -o -d show node: "NodeName=n1 Arch=x86_64 ... Gres=gpu:4 ... State=IDLE+DRAIN ..."
 * ---
 */

/*
 * The first value of that key in a line. Texts with blanks of others (OS, Reason, Comment) come
 * behind the keys that we read, or are the node administrator's own.
 */
static bool value_of(const char *line, size_t len, const char *key, const char **value, size_t *n)
{
    size_t k = strlen(key);
    for (const char *at = line; at + k < line + len; at++) {
        bool begins = at == line || at[-1] == ' ';
        if (!begins || memcmp(at, key, k) != 0 || at[k] != '=') continue;
        *value = at + k + 1;
        const char *blank = memchr(*value, ' ', (size_t)(line + len - *value));
        *n = (size_t)((blank ? blank : line + len) - *value);
        return true;
    }
    return false;
}

static bool number_of(const char *line, size_t len, const char *key, uint64_t *number)
{
    char text[24];
    const char *value;
    size_t n;
    if (!value_of(line, len, key, &value, &n) || n >= sizeof(text)) return false;
    memcpy(text, value, n);
    text[n] = '\0';
    return parse_u64(text, INT64_MAX, number) == 0;
}

/* "IDLE+DRAIN*", "MIXED-": signs behind the words say how it is; the star, that it is silent. */
static uint32_t state_of(const char *text, size_t len)
{
    uint32_t flags = memchr(text, '*', len) ? SLURM_NODE_NOT_RESPONDING : 0;
    for (size_t at = 0; at < len;) {
        size_t end = at;
        while (end < len && (text[end] == '_' || (text[end] >= 'A' && text[end] <= 'Z')))
            end++;
        flags |= nodes_state_flags(text + at, end - at);
        at = end + 1;
    }
    return flags;
}

/* The GPUs of a list of generic resources; 0 if the line has no such list. */
static int gpus_of(const char *line, size_t len, const char *key, uint64_t *gpus)
{
    char gres[1024];
    const char *value;
    size_t n;
    *gpus = 0;
    if (!value_of(line, len, key, &value, &n)) return 0;
    if (n >= sizeof(gres)) return ERR_PROTO;
    (void)snprintf(gres, sizeof(gres), "%.*s", (int)n, value);
    return gres_gpus(gres, gpus);
}

static int parse_line(const char *line, size_t len, struct slurm_node *node)
{
    const char *value;
    size_t n;
    *node = (struct slurm_node){0};
    if (!value_of(line, len, "NodeName", &value, &n) || n == 0 || n >= sizeof(node->name))
        return ERR_PROTO;
    memcpy(node->name, value, n);
    if (!number_of(line, len, "CPUTot", &node->cpus)) return ERR_PROTO;
    if (!number_of(line, len, "RealMemory", &node->mem_mb)) return ERR_PROTO;
    if (!value_of(line, len, "State", &value, &n)) return ERR_PROTO;
    node->flags = state_of(value, n);
    (void)number_of(line, len, "CPUAlloc", &node->used_cpus);
    (void)number_of(line, len, "AllocMem", &node->used_mem_mb);
    if (!value_of(line, len, "Gres", &value, &n)) return ERR_PROTO;
    int rc = gpus_of(line, len, "Gres", &node->gpus);
    return rc < 0 ? rc : gpus_of(line, len, "GresUsed", &node->used_gpus);
}

int nodes_parse(const char *text,
                const char *partition,
                struct slurm_node **nodes,
                size_t *count,
                struct error *err)
{
    struct slurm_node *found = NULL, node;
    size_t n = 0, len;
    int rc = 0;
    for (const char *line = text; rc == 0 && *line; line += len + (line[len] == '\n')) {
        const char *list;
        size_t list_len;
        len = strcspn(line, "\n");
        if (strncmp(line, "NodeName=", 9) != 0) continue; // noise of a shell
        if (!value_of(line, len, "Partitions", &list, &list_len) ||
            !nodes_list_has(list, list_len, partition))
            continue;
        rc = parse_line(line, len, &node);
        if (rc < 0)
            (void)error_set(
                err, rc, "scontrol: unexpected output \"%.*s\"", len < 60 ? (int)len : 60, line);
        else if ((rc = nodes_add(&found, &n, &node)) < 0)
            (void)error_set(err, rc, "nodes: out of memory");
    }
    if (rc == 0 && n == 0)
        rc = error_set(err, ERR_NOTFOUND, "there are no nodes in partition %s", partition);
    if (rc < 0) {
        free(found);
        return rc;
    }
    *nodes = found;
    *count = n;
    return 0;
}

/* --- scontrol -o show partition: "PartitionName=main ... MaxTime=1-00:00:00 MinNodes=0 ..." --- */

static int read_max_time(const char *line, size_t len, uint64_t *minutes, struct error *err)
{
    char text[COLUMNS_FIELD_MAX + 1];
    const char *value;
    size_t n;
    if (!value_of(line, len, "MaxTime", &value, &n))
        return error_set(err, ERR_PROTO, "MaxTime is missing");
    (void)snprintf(text, sizeof(text), "%.*s", n < sizeof(text) ? (int)n : 0, value);
    if (strcmp(text, "UNLIMITED") == 0) {
        *minutes = SLURM_UNLIMITED;
        return 0;
    }
    if (*text >= '0' && *text <= '9' && columns_limit(text, minutes) == 0) return 0;
    return error_set(err, ERR_PROTO, "MaxTime is \"%.*s\"", n < 60 ? (int)n : 60, value);
}

int nodes_parse_max_time(const char *text,
                         const char *partition,
                         uint64_t *minutes,
                         struct error *err)
{
    static const char key[] = "PartitionName=";
    size_t len, n;
    int rc = error_set(err, ERR_PROTO, "not shown");
    for (const char *line = text, *name; *line; line += len + (line[len] == '\n')) {
        len = strcspn(line, "\n");
        if (strncmp(line, key, sizeof(key) - 1) != 0) continue; // noise of a shell
        if (!value_of(line, len, "PartitionName", &name, &n)) continue;
        if (n != strlen(partition) || memcmp(name, partition, n) != 0) continue;
        rc = read_max_time(line, len, minutes, err);
        break;
    }
    if (rc < 0) (void)error_prefix(err, "scontrol: partition %s", partition);
    return rc;
}
