/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/users.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/util/file.h"
#include "agent/util/hex.h"

enum {
    MAP_MAX = 8 * 1024 * 1024, // bytes: some 100,000 customers
    ADDRESS_TEXT = 42,
};

static const char placeholder[] = "{customer}";

struct entry {
    uint8_t address[20];
    char user[SLURM_USER_MAX];
};

struct map {
    struct entry *entries; // sorted by address
    size_t count, cap;
};

struct users {
    char prefix[SLURM_USER_MAX], suffix[SLURM_USER_MAX]; // of the template
    bool has_placeholder;
    char *path; // NULL: the template decides
    pthread_mutex_t mutex;
    struct stat seen; // of the file that `map` was read from
    bool valid;
    struct map map;
};

bool users_name_ok(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    static const char digits[] = "0123456789";
    size_t len = strlen(name);
    if (len == 0 || len >= SLURM_USER_MAX || strcmp(name, "root") == 0) return false;
    if (!strchr(letters, name[0]) && !strchr(digits, name[0])) return false;
    if (strspn(name, digits) == len) return false;
    for (size_t i = 0; i < len; i++)
        if (!strchr(letters, name[i]) && !strchr(digits, name[i]) && name[i] != '.' &&
            name[i] != '-')
            return false;
    return true;
}

int users_check_name(const char *name, struct error *err)
{
    if (users_name_ok(name)) return 0;
    return error_set(err, ERR_INVALID, "\"%.64s\" is no user name", name);
}

/* --- template --- */

static int expand(const struct users *u,
                  const uint8_t customer[20],
                  char user[SLURM_USER_MAX],
                  struct error *err)
{
    char address[ADDRESS_TEXT + 1];
    (void)hex_encode(address, customer, 20);
    int n = snprintf(
        user, SLURM_USER_MAX, "%s%s%s", u->prefix, u->has_placeholder ? address : "", u->suffix);
    if (n < 0 || n >= SLURM_USER_MAX || !users_name_ok(user))
        return error_set(err, ERR_INVALID, "\"%.64s\" is no user name", user);
    return 0;
}

static int set_template(struct users *u, const char *template, struct error *err)
{
    char user[SLURM_USER_MAX];
    static const uint8_t zero[20];
    const char *at = strstr(template, placeholder);
    size_t head = at ? (size_t)(at - template) : strlen(template);
    const char *tail = at ? at + sizeof(placeholder) - 1 : "";
    u->has_placeholder = at != NULL;
    if (head >= sizeof(u->prefix) || strlen(tail) >= sizeof(u->suffix))
        return error_set(err, ERR_INVALID, "user template \"%.64s\": too long", template);
    memcpy(u->prefix, template, head);
    memcpy(u->suffix, tail, strlen(tail) + 1);
    if (expand(u, zero, user, err) < 0)
        return error_prefix(err, "user template \"%.64s\"", template);
    return 0;
}

/* --- map file --- */

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, 20); // the address comes first in both
}

static int add_entry(struct map *m, const struct entry *e)
{
    if (m->count == m->cap) {
        size_t cap = m->cap ? 2 * m->cap : 64;
        struct entry *more = reallocarray(m->entries, cap, sizeof(*more));
        if (!more) return ERR_NOMEM;
        m->entries = more;
        m->cap = cap;
    }
    m->entries[m->count++] = *e;
    return 0;
}

/* One line, NUL-terminated. What is wrong with it, or NULL. */
static const char *parse_line(const char *line, struct entry *e, bool *skip)
{
    char address[ADDRESS_TEXT + 1];
    line += strspn(line, " \t");
    *skip = *line == '\0' || *line == '#';
    if (*skip) return NULL;
    if (strcspn(line, " \t") != ADDRESS_TEXT) return "expected \"0xaddress user\"";
    memcpy(address, line, ADDRESS_TEXT);
    address[ADDRESS_TEXT] = '\0';
    if (strncmp(address, "0x", 2) != 0 || hex_decode(e->address, 20, address) < 0)
        return "the first word is no address (0x and 40 hexadecimal digits)";
    line += ADDRESS_TEXT;
    line += strspn(line, " \t");
    size_t len = strcspn(line, " \t");
    if (line[len + strspn(line + len, " \t")] != '\0') return "more than two words";
    if (len == 0 || len >= sizeof(e->user)) return "no user name, or too long a one";
    memcpy(e->user, line, len);
    e->user[len] = '\0';
    return users_name_ok(e->user) ? NULL : "not a user name that is allowed";
}

static int parse_map(char *text, const char *path, struct map *m, struct error *err)
{
    unsigned int number = 0;
    for (char *line = text; *line;) {
        char *end = strchr(line, '\n');
        char *next = end ? end + 1 : line + strlen(line);
        if (end) *end = '\0';
        struct entry e = {0};
        bool skip;
        number++;
        const char *wrong = parse_line(line, &e, &skip);
        if (wrong) return error_set(err, ERR_INVALID, "%s:%u: %s", path, number, wrong);
        if (!skip && add_entry(m, &e) < 0)
            return error_set(err, ERR_NOMEM, "%s: out of memory", path);
        line = next;
    }
    if (m->count) qsort(m->entries, m->count, sizeof(m->entries[0]), compare);
    for (size_t i = 1; i < m->count; i++) {
        if (compare(&m->entries[i - 1], &m->entries[i]) != 0) continue;
        char address[ADDRESS_TEXT + 1];
        (void)hex_encode(address, m->entries[i].address, 20);
        return error_set(err, ERR_INVALID, "%s: %s is there twice", path, address);
    }
    return 0;
}

static int read_map(struct users *u, struct error *err)
{
    struct buf text = BUF_INIT(MAP_MAX);
    struct map map = {0};
    struct stat st;
    int rc, fd = open(u->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        rc = error_set(
            err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, "%s: %s", u->path, strerror(errno));
        goto out;
    }
    rc = file_read_fd(fd, u->path, &text, err);
    if (rc < 0) goto out;
    if (strlen(buf_str(&text)) != text.len) {
        rc = error_set(err, ERR_INVALID, "%s: contains a NUL byte", u->path);
        goto out;
    }
    rc = text.len ? parse_map((char *)text.data, u->path, &map, err) : 0;
    if (rc < 0) goto out;
    free(u->map.entries);
    u->map = map;
    map = (struct map){0};
    u->seen = st;
    u->valid = true;
out:
    if (rc < 0) u->valid = false;
    free(map.entries);
    if (fd >= 0) (void)close(fd);
    buf_free(&text);
    return rc;
}

static bool has_changed(const struct users *u)
{
    struct stat st;
    if (!u->valid || stat(u->path, &st) < 0) return true;
    const struct stat *old = &u->seen;
    return st.st_ino != old->st_ino || st.st_dev != old->st_dev || st.st_size != old->st_size ||
           memcmp(&st.st_mtim, &old->st_mtim, sizeof(st.st_mtim)) != 0 ||
           memcmp(&st.st_ctim, &old->st_ctim, sizeof(st.st_ctim)) != 0;
}

/* --- */

struct users *users_new(const char *template, const char *map_path, struct error *err)
{
    struct users *u = calloc(1, sizeof(*u));
    if (!u) {
        (void)error_set(err, ERR_NOMEM, "users: out of memory");
        return NULL;
    }
    pthread_mutex_init(&u->mutex, NULL);
    int rc;
    if (map_path && *map_path) {
        u->path = strdup(map_path);
        rc = u->path ? read_map(u, err) : error_set(err, ERR_NOMEM, "users: out of memory");
    } else {
        rc = set_template(u, template, err);
    }
    return rc < 0 ? users_destroy(u) : u;
}

struct users *users_destroy(struct users *u)
{
    if (!u) return NULL;
    pthread_mutex_destroy(&u->mutex);
    free(u->map.entries);
    free(u->path);
    free(u);
    return NULL;
}

int users_find(struct users *u,
               const uint8_t customer[20],
               char user[SLURM_USER_MAX],
               struct error *err)
{
    if (!u->path) return expand(u, customer, user, err);
    int rc = 0;
    pthread_mutex_lock(&u->mutex);
    if (has_changed(u) && read_map(u, err) < 0) {
        if (err) err->code = ERR_UNAVAILABLE; // an operator mends it: no verdict on the job
        rc = ERR_UNAVAILABLE;
        goto out;
    }
    const struct entry *e =
        u->map.count ? bsearch(customer, u->map.entries, u->map.count, sizeof(*e), compare) : NULL;
    if (e) {
        memcpy(user, e->user, sizeof(e->user));
    } else {
        char address[ADDRESS_TEXT + 1];
        (void)hex_encode(address, customer, 20);
        rc = error_set(err, ERR_NOTFOUND, "%s has no user for customer %s", u->path, address);
    }
out:
    pthread_mutex_unlock(&u->mutex);
    return rc;
}
