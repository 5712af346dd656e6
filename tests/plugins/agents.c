/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/plugins/agents.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t server;

/* Takes the port that is free now; nobody else here looks for one at this moment. */
static void free_port(char location[AGENTS_LOCATION_MAX])
{
    int fd = agents_open_black_hole(location);
    close(fd);
}

static bool listens(const char *location)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)strtoul(strchr(location, ':') + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
    close(fd);
    return good;
}

void agents_start_server(char location[AGENTS_LOCATION_MAX], const char *log)
{
    free_port(location);
    server = fork();
    assert_true(server >= 0);
    if (server == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        (void)dup2(fd, STDOUT_FILENO);
        execl(SERVER_BUILT, SERVER_BUILT, location, "/nonexistent", NULL);
        _exit(127);
    }
    for (int i = 0; i < 500 && !listens(location); i++)
        poll(NULL, 0, 20);
    assert_true(listens(location));
}

void agents_stop_server(void)
{
    kill(server, SIGKILL);
    assert_int_equal(waitpid(server, NULL, 0), server);
}

int agents_open_black_hole(char location[AGENTS_LOCATION_MAX])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    (void)snprintf(location, AGENTS_LOCATION_MAX, "127.0.0.1:%d", ntohs(a.sin_port));
    return fd;
}
