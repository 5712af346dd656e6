/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The smallest main() on the options, for tests/unit/options_cli.sh. Prints what the daemon would
 * see: the warnings, its own command line, its environment and a few values.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/options.h"

/* A file of /proc with its zero bytes shown as blanks. */
static void show(const char *title, const char *path)
{
    char chunk[4096];
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    (void)printf("%s: ", title);
    while (fd >= 0 && (n = read(fd, chunk, sizeof(chunk))) > 0)
        for (ssize_t i = 0; i < n; i++)
            (void)putchar(chunk[i] ? chunk[i] : ' ');
    (void)putchar('\n');
    if (fd >= 0) (void)close(fd);
}

int main(int argc, char **argv)
{
    struct options o;
    enum options_result result = options_load(&o, argc, argv);
    if (result == OPTIONS_EXIT_USAGE) return OPTIONS_STATUS_USAGE;
    if (result == OPTIONS_EXIT_OK) return 0;
    for (size_t i = 0; i < o.warnings.count; i++)
        (void)printf("warning: %s\n", o.warnings.items[i]);
    show("cmdline", "/proc/self/cmdline");
    show("environ", "/proc/self/environ");
    (void)printf("listen %s\nkey of %zu bytes\nlog level %d\nworkers %llu\n",
                 o.grpc_listen_address,
                 o.eth_private_key.len,
                 (int)o.log_level,
                 (unsigned long long)o.workers);
    options_free(&o);
    return 0;
}
