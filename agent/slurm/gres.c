/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/gres.h"

#include <stdio.h>
#include <string.h>

#include "agent/util/error.h"
#include "agent/util/parse.h"

/* Up to the next comma that is not in parentheses: "gpu:2(IDX:0,3),shard:1". */
static size_t item_len(const char *text)
{
    size_t i = 0, depth = 0;
    for (; text[i] && (depth || text[i] != ','); i++) {
        if (text[i] == '(') depth++;
        if (text[i] == ')' && depth) depth--;
    }
    return i;
}

/* One item without its parentheses, NUL-terminated. */
static int item_gpus(const char *item, uint64_t *count)
{
    char number[24];
    *count = 0;
    if (strncmp(item, "gres:", 5) == 0 || strncmp(item, "gres/", 5) == 0) item += 5;
    if (strncmp(item, "gpu", 3) != 0) return 0;
    item += 3;
    if (*item == '\0') {
        *count = 1;
        return 0;
    }
    if (*item != ':' && *item != '=') return 0; // another resource: "gpumem"
    const char *last = item;
    for (const char *at = item; *at; at++)
        if (*at == ':' || *at == '=') last = at;
    size_t digits = strspn(last + 1, "0123456789");
    const char *unit = last + 1 + digits;
    if (digits == 0) { // a type, and no number: one
        *count = 1;
        return 0;
    }
    if (digits >= sizeof(number) || strlen(unit) > 1 || (*unit && !strchr("KMG", *unit)))
        return ERR_PROTO;
    (void)snprintf(number, sizeof(number), "%.*s", (int)digits, last + 1);
    if (parse_u64(number, UINT32_MAX, count) < 0) return ERR_PROTO;
    if (*unit) *count <<= *unit == 'K' ? 10 : *unit == 'M' ? 20 : 30;
    return 0;
}

int gres_gpus(const char *list, uint64_t *count)
{
    char item[128];
    uint64_t sum = 0, one;
    for (const char *at = list; *at;) {
        size_t len = item_len(at), keep = strcspn(at, "(,");
        if (keep < sizeof(item)) { // no name of a GPU's type is longer
            (void)snprintf(item, sizeof(item), "%.*s", (int)keep, at);
            if (item_gpus(item, &one) < 0) return ERR_PROTO;
            sum += one;
        }
        at += len;
        if (*at == ',') at++;
    }
    *count = sum;
    return 0;
}
