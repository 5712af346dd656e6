/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/util/error.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int code;
    enum err_class class;
    const char *text;
} table[] = {
#define ERR(name, value, text, class) {value, ERR_CLASS_##class, text},
#include "agent/util/err.def"
#undef ERR
};

const char *err_text(int code)
{
    if (code >= 0) return "success";
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].code == code) return table[i].text;
    return "unknown error";
}

enum err_class err_class_of(int code)
{
    if (code >= 0) return ERR_CLASS_NONE;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].code == code) return table[i].class;
    return ERR_CLASS_UNKNOWN;
}

/* An error's text is one line: what came from outside must not forge log lines. */
static void one_line(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = ' ';
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
    if (!err) return code;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    err->code = code;
    one_line(err->text);
    return code;
}

int error_prefix(struct error *err, const char *fmt, ...)
{
    if (!err) return ERR_IO;
    char old[sizeof(err->text)];
    memcpy(old, err->text, sizeof(old));
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(err->text))
        (void)snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %s", old);
    one_line(err->text);
    return err->code ? err->code : ERR_IO;
}
