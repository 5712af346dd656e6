/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plugins/forwarder/once.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "agent/util/clock.h"
#include "agent/util/retry.h"
#include "plugins/forwarder/verdict.h"

enum {
    BACKOFF_MS = 500,
    BACKOFF_MAX_MS = 2000, // a call without a connection costs nothing; gRPC tries that every 5 s
    MESSAGE_MAX = 512,
};

int once_take_slot(const char *path, struct error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    for (off_t i = 0; i < ONCE_SLOTS; i++) {
        struct flock slot = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = i, .l_len = 1};
        if (fcntl(fd, F_SETLK, &slot) == 0) return 0; // fd stays open: it is the slot
        if (errno == EAGAIN || errno == EACCES) continue;
        int error = errno;
        (void)close(fd);
        return error_set(err, ERR_IO, "%s: %s", path, strerror(error));
    }
    (void)close(fd);
    return error_set(err, ERR_LIMIT, "%d others wait for the agent", ONCE_SLOTS);
}

int once_send(const struct record *start,
              forward_send_fn send,
              void *ctx,
              long long for_ms,
              long long call_ms,
              struct error *err)
{
    const long long begin_ms = clock_mono_ms();
    const long long last_ms = begin_ms + for_ms - call_ms; // a try may begin until then
    for (unsigned int attempt = 1;; attempt++) {
        char message[MESSAGE_MAX] = "";
        enum verdict verdict = verdict_of(send(ctx, start, message, sizeof(message)));
        if (verdict == VERDICT_DONE) return 0;
        if (verdict == VERDICT_POISON) return error_set(err, ERR_REFUSED, "refused: %s", message);
        long long delay = retry_delay_ms(attempt, BACKOFF_MS, BACKOFF_MAX_MS);
        long long now = clock_mono_ms();
        if (now + delay > last_ms)
            return error_set(err,
                             ERR_UNAVAILABLE,
                             "given up after %lld s: %s",
                             (now - begin_ms) / 1000,
                             message);
        (void)poll(NULL, 0, (int)delay);
    }
}
