/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Users as the name service of the agent's own host knows them. Any thread; may block. */
#ifndef SLURM_PASSWD_H
#define SLURM_PASSWD_H

#include <sys/types.h>

#include "agent/util/error.h"

enum { PASSWD_TEXT_MAX = 1024 };

struct passwd_entry {
    uid_t uid;
    char home[PASSWD_TEXT_MAX];
    char shell[PASSWD_TEXT_MAX];
};

/*
 * 0; ERR_NOTFOUND if the name service says that there is none; ERR_UNAVAILABLE if it does not
 * answer; ERR_DENIED if it is uid 0 by another name.
 */
int passwd_find(const char *user, struct passwd_entry *entry, struct error *err);

#endif
