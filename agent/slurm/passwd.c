/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/passwd.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

enum { ENTRY_MAX = 16 * 1024 }; // bytes of one passwd line; glibc suggests 1 KiB

int passwd_find(const char *user, struct passwd_entry *entry, struct error *err)
{
    char text[ENTRY_MAX];
    struct passwd pw, *found = NULL;
    int rc = getpwnam_r(user, &pw, text, sizeof(text), &found);
    if (!found && (rc == 0 || rc == ENOENT || rc == ESRCH))
        return error_set(err, ERR_NOTFOUND, "there is no user %s on this host", user);
    if (!found)
        return error_set(
            err, ERR_UNAVAILABLE, "user %s: the name service says %s", user, strerror(rc));
    if (pw.pw_uid == 0) return error_set(err, ERR_DENIED, "user %s has uid 0", user);
    if (pw.pw_dir[0] != '/' || strlen(pw.pw_dir) >= sizeof(entry->home) ||
        strlen(pw.pw_shell) >= sizeof(entry->shell))
        return error_set(err, ERR_UNAVAILABLE, "user %s has no usable home or shell", user);
    entry->uid = pw.pw_uid;
    (void)snprintf(entry->home, sizeof(entry->home), "%s", pw.pw_dir);
    (void)snprintf(entry->shell, sizeof(entry->shell), "%s", pw.pw_shell);
    return 0;
}
