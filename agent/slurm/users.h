/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which Unix user runs a customer's jobs: his address put into a template, or what a file says.
 * The file has lines "0xaddress user"; blank lines and lines that begin with '#' are skipped, and
 * anything else that is wrong (an address twice, a bad name) makes the whole file wrong: a job must
 * not run as the wrong user because half of an edit was saved.
 */
#ifndef SLURM_USERS_H
#define SLURM_USERS_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/slurm/backend.h"
#include "agent/util/error.h"

#define USERS_TEMPLATE_DEFAULT "{customer}" // lower-case 0x address

struct users;

/*
 * `map_path` NULL or "": the template decides; else the file alone does. Reads the file.
 * NULL with ERR_INVALID, ERR_NOTFOUND, ERR_IO.
 */
struct users *users_new(const char *template, const char *map_path, struct error *err);
struct users *users_destroy(struct users *u); // returns NULL

/*
 * Any thread. Reads the file again if it has changed. ERR_NOTFOUND: the file does not have that
 * customer. ERR_UNAVAILABLE: the file is wrong or gone now; nobody is looked up until it is right.
 */
int users_find(struct users *u,
               const uint8_t customer[20],
               char user[SLURM_USER_MAX],
               struct error *err);

/*
 * Letters, digits, '_', '.', '-'; begins with a letter, digit or '_'; not digits only (a uid to
 * some tools); not root; at most 63 bytes.
 */
bool users_name_ok(const char *name);
int users_check_name(const char *name, struct error *err); // 0, or ERR_INVALID with text

#endif
