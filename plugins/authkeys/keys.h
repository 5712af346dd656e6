/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What sshd may be handed as authorized_keys. Pure. */
#ifndef PLUGINS_AUTHKEYS_KEYS_H
#define PLUGINS_AUTHKEYS_KEYS_H

#include "agent/util/error.h"

/*
 * Is `text` nothing but lines of "type base64 [comment]", each ended by a newline (the last one's
 * may be missing)? No options, no blank lines, no comments of their own, no byte outside printable
 * ASCII; the base64 must hold a key of that type. 0, or ERR_PROTO with the line that is not so.
 */
int keys_check(const char *text, struct error *err);

#endif
