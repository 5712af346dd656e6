/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What counts as the URL of an endpoint. */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/options_private.h"
#include "agent/util/parse.h"

static bool is_graphic(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= 0x20 || *text == 0x7f) return false;
    return true;
}

bool option_is_url(const char *text, const char *scheme)
{
    size_t len = strlen(scheme);
    if (strncmp(text, scheme, len) != 0) return false;
    if (text[len] == 's') len++;
    if (strncmp(text + len, "://", 3) != 0) return false;
    if (!is_graphic(text) || strpbrk(text, "\"'<>\\^`{|}")) return false;

    char authority[320]; // a DNS name is at most 255 bytes
    const char *begin = text + len + 3;
    size_t n = strcspn(begin, "/?#");
    const char *at = memrchr(begin, '@', n);
    if (at) {
        n -= (size_t)(at + 1 - begin);
        begin = at + 1;
    }
    if (n == 0 || n > sizeof(authority) - 4) return false;
    memcpy(authority, begin, n);
    authority[n] = '\0';
    const char *colon = strrchr(authority, ':');
    if (!colon || strchr(colon, ']')) memcpy(authority + n, ":80", sizeof(":80"));
    struct hostport hp;
    return parse_hostport(authority, &hp) == 0 && hp.host[0] && hp.port != 0;
}

bool option_is_rest_url(const char *text)
{
    if (strncmp(text, "unix:", 5) == 0) {
        struct sockaddr_un address;
        return text[5] == '/' && is_graphic(text) && strlen(text + 5) < sizeof(address.sun_path);
    }
    // A path could only be a proxy's, and credentials would be shown by --print-config.
    if (!option_is_url(text, "http") || strpbrk(text, "@?#")) return false;
    return strcspn(strchr(text, '/') + 2, "/") == strlen(strchr(text, '/') + 2);
}
