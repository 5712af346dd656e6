/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/slurm/ssh.h"

#include <errno.h>
#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/slurm/remote.h"
#include "agent/util/clock.h"
#include "agent/util/fault.h"

enum {
    POLL_SLICE_MS = 200,   // libssh may hold what poll() cannot see: look again after this long
    IO_BYTES = 32 * 1024,  // one SSH data packet
    OUTPUT_GRACE_MS = 500, // after the exit status, for output that is still on its way
    KILL_MARGIN_MS = 1000, // the peer kills the command that long before our deadline
};

struct sshc {
    const struct sshc_target *target;
    ssh_session session;
    ssh_event event; // once authenticated: polls and takes packets
    ssh_key key;
    bool failed;
    char where[400]; // "user@host:port", for messages
};

static int fail(struct sshc *c, int code, const char *what, struct error *err)
{
    const char *detail = ssh_get_error(c->session);
    c->failed = true;
    return error_set(
        err, code, "%s: %s: %s", c->where, what, *detail ? detail : "connection closed");
}

static int fail_late(struct sshc *c, int code, const char *what, struct error *err)
{
    c->failed = true;
    return error_set(err, code, "%s: %s: no answer in time", c->where, what);
}

/*
 * Wait until there is something to do, a slice at most. False at the deadline.
 * libssh's functions take packets only as far as they need any (reading does not once the end of
 * the file has come, even if the exit status has not), hence the event, which takes all.
 */
static bool wait_io(struct sshc *c, long long deadline_ms)
{
    long long left = deadline_ms - clock_mono_ms();
    if (left <= 0) return false;
    int slice = left < POLL_SLICE_MS ? (int)left : POLL_SLICE_MS;
    if (c->event) {
        if (ssh_event_dopoll(c->event, slice) == SSH_ERROR) c->failed = true;
        return true;
    }
    struct pollfd p = {.fd = ssh_get_fd(c->session), .events = POLLIN};
    if (ssh_get_poll_flags(c->session) & SSH_WRITE_PENDING) p.events |= POLLOUT;
    (void)poll(&p, 1, slice);
    return true;
}

/* --- connecting --- */

static int connect_one(const struct addrinfo *ai, long long deadline_ms)
{
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    int error = 0;
    if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0) error = errno;
    if (error == EINPROGRESS) {
        long long left;
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int n = 0;
        while (n == 0 && (left = deadline_ms - clock_mono_ms()) > 0)
            n = poll(&p, 1, left < POLL_SLICE_MS ? (int)left : POLL_SLICE_MS);
        socklen_t len = sizeof(error);
        if (n > 0)
            (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
        else
            error = n == 0 ? ETIMEDOUT : errno;
    }
    if (error) {
        (void)close(fd);
        errno = error;
        return -1;
    }
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    return fd;
}

static int connect_tcp(const struct hostport *to, long long deadline_ms, struct error *err)
{
    char port[8];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    (void)snprintf(port, sizeof(port), "%u", (unsigned int)to->port);
    int rc = getaddrinfo(to->host, port, &hints, &list);
    if (rc != 0)
        return error_set(err, ERR_UNAVAILABLE, "login node %s: %s", to->host, gai_strerror(rc));
    int fd = -1;
    for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
        fd = connect_one(ai, deadline_ms);
    int error = errno;
    freeaddrinfo(list);
    if (fd >= 0) return fd;
    return error_set(err, ERR_UNAVAILABLE, "login node %s:%s: %s", to->host, port, strerror(error));
}

/* The socket belongs to the session once this returns 0. */
static int set_options(struct sshc *c, const char *user, int fd, struct error *err)
{
    const struct sshc_target *t = c->target;
    bool no = false;
    unsigned int port = t->address.port;
    ssh_session s = c->session;
    // First of all: neither ~/.ssh/config nor /etc/ssh/ssh_config decides anything here.
    int rc = ssh_options_set(s, SSH_OPTIONS_PROCESS_CONFIG, &no);
    rc |= ssh_options_set(s, SSH_OPTIONS_HOST, t->address.host);
    rc |= ssh_options_set(s, SSH_OPTIONS_PORT, &port);
    rc |= ssh_options_set(s, SSH_OPTIONS_USER, user);
    if (t->known_hosts) {
        rc |= ssh_options_set(s, SSH_OPTIONS_KNOWNHOSTS, t->known_hosts);
        rc |= ssh_options_set(s, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, t->known_hosts);
    }
    rc |= ssh_options_set(s, SSH_OPTIONS_FD, &fd);
    if (rc != SSH_OK) return fail(c, ERR_UNAVAILABLE, "SSH options", err);
    ssh_set_blocking(s, 0);
    return 0;
}

static void server_fingerprint(ssh_session s, char out[96])
{
    ssh_key key = NULL;
    unsigned char *hash = NULL;
    char *text = NULL;
    size_t len = 0;
    (void)snprintf(out, 96, "unknown");
    if (ssh_get_server_publickey(s, &key) == SSH_OK &&
        ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &hash, &len) == SSH_OK) {
        text = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, len);
        if (text) (void)snprintf(out, 96, "%s %s", ssh_key_type_to_char(ssh_key_type(key)), text);
    }
    ssh_string_free_char(text);
    ssh_clean_pubkey_hash(&hash);
    ssh_key_free(key);
}

static int check_host_key(struct sshc *c, struct error *err)
{
    const struct sshc_target *t = c->target;
    const char *file = t->known_hosts ? t->known_hosts : "~/.ssh/known_hosts";
    if (t->insecure) return 0;
    enum ssh_known_hosts_e state = ssh_session_is_known_server(c->session);
    if (state == SSH_KNOWN_HOSTS_OK) return 0;

    char print[96];
    server_fingerprint(c->session, print);
    c->failed = true;
    if (state == SSH_KNOWN_HOSTS_UNKNOWN || state == SSH_KNOWN_HOSTS_NOT_FOUND)
        return error_set(err,
                         ERR_UNAVAILABLE,
                         "the host key of [%s]:%u (%s) is not in %s: check it and add it there, "
                         "for instance with ssh-keyscan -p %u %s",
                         t->address.host,
                         (unsigned int)t->address.port,
                         print,
                         file,
                         (unsigned int)t->address.port,
                         t->address.host);
    if (state == SSH_KNOWN_HOSTS_ERROR) return fail(c, ERR_UNAVAILABLE, file, err);
    return error_set(err,
                     ERR_UNAVAILABLE,
                     "the host key of [%s]:%u (%s) is not the one in %s: somebody may be in "
                     "between; if it was changed on purpose, replace it there",
                     t->address.host,
                     (unsigned int)t->address.port,
                     print,
                     file);
}

static int authenticate(struct sshc *c, const char *user, long long deadline_ms, struct error *err)
{
    const char *pem = (const char *)c->target->key.data;
    if (ssh_pki_import_privkey_base64(pem, NULL, NULL, NULL, &c->key) != SSH_OK)
        return fail(c, ERR_UNAVAILABLE, "private key", err);
    int rc;
    while ((rc = ssh_userauth_publickey(c->session, NULL, c->key)) == SSH_AUTH_AGAIN)
        if (!wait_io(c, deadline_ms)) return fail_late(c, ERR_UNAVAILABLE, "authentication", err);
    if (rc == SSH_AUTH_SUCCESS) return 0;
    if (rc == SSH_AUTH_ERROR) return fail(c, ERR_UNAVAILABLE, "authentication", err);
    c->failed = true;
    return error_set(err,
                     ERR_UNAVAILABLE,
                     "%s: our key is refused: user %s must exist there, not be locked, and have "
                     "the key's public half in its authorized_keys",
                     c->where,
                     user);
}

static int handshake(struct sshc *c, const char *user, long long deadline_ms, struct error *err)
{
    int rc;
    while ((rc = ssh_connect(c->session)) == SSH_AGAIN)
        if (!wait_io(c, deadline_ms)) return fail_late(c, ERR_UNAVAILABLE, "handshake", err);
    if (rc != SSH_OK) return fail(c, ERR_UNAVAILABLE, "handshake", err);
    rc = check_host_key(c, err);
    return rc < 0 ? rc : authenticate(c, user, deadline_ms, err);
}

int sshc_open(const struct sshc_target *target,
              const char *user,
              long long deadline_ms,
              struct sshc **conn,
              struct error *err)
{
    long long limit = clock_mono_ms() + target->connect_timeout_ms;
    if (limit > deadline_ms) limit = deadline_ms;
    struct sshc *c = calloc(1, sizeof(*c));
    int rc = ERR_NOMEM, fd = -1;
    if (!c) return error_set(err, ERR_NOMEM, "SSH connection: out of memory");
    c->target = target;
    (void)snprintf(c->where,
                   sizeof(c->where),
                   "%s@%s:%u",
                   user,
                   target->address.host,
                   (unsigned int)target->address.port);
    c->session = ssh_new();
    if (!c->session) {
        rc = error_set(err, ERR_NOMEM, "SSH session: out of memory");
        goto out;
    }
    fd = rc = connect_tcp(&target->address, limit, err);
    if (rc < 0) goto out;
    rc = set_options(c, user, fd, err);
    if (rc < 0) goto out;
    fd = -1;
    rc = handshake(c, user, limit, err);
    if (rc < 0) goto out;
    c->event = ssh_event_new();
    if (!c->event || ssh_event_add_session(c->event, c->session) != SSH_OK) {
        rc = fail(c, ERR_UNAVAILABLE, "event", err);
        goto out;
    }
    *conn = c;
    c = NULL;
out:
    if (fd >= 0) (void)close(fd);
    (void)sshc_close(c);
    return rc;
}

struct sshc *sshc_close(struct sshc *conn)
{
    if (!conn) return NULL;
    if (conn->event) {
        (void)ssh_event_remove_session(conn->event, conn->session);
        ssh_event_free(conn->event);
    }
    if (conn->session) {
        // Not ssh_disconnect(): that leaves a socket that it was given open (from 0.10 on).
        ssh_silent_disconnect(conn->session);
        ssh_free(conn->session);
    }
    ssh_key_free(conn->key);
    free(conn);
    return NULL;
}

bool sshc_usable(const struct sshc *conn)
{
    return !conn->failed && ssh_is_connected(conn->session);
}

/* --- running --- */

struct run {
    struct sshc *c;
    ssh_channel channel;
    struct sshc_result *result;
    const struct sshc_call *call;
    char mark[REMOTE_MARK_SIZE];
    struct buf trailer; // sent after the input
    size_t sent;        // of input and trailer
    bool eof_sent, exited;
    long long exited_ms;
};

static void on_exit_status(ssh_session s, ssh_channel ch, int status, void *ctx)
{
    struct run *r = ctx;
    r->exited = true;
    r->exited_ms = clock_mono_ms();
    r->result->exit_status = status;
}

static void on_exit_signal(ssh_session s,
                           ssh_channel ch,
                           const char *sig,
                           int core,
                           const char *errmsg,
                           const char *lang,
                           void *ctx)
{
    on_exit_status(s, ch, -1, ctx);
}

static size_t to_send(const struct run *r)
{
    return r->call->input ? r->call->input_len + r->trailer.len - r->sent : 0;
}

/* Write what the peer's window and our socket take. 1 if anything moved, 0, or ERR_*. */
static int send_some(struct run *r)
{
    size_t left = to_send(r);
    if (left == 0) {
        if (r->eof_sent) return 0;
        r->eof_sent = true;
        int rc = ssh_channel_send_eof(r->channel);
        if (r->call->input) fault_point(FAULT_SUBMIT_SENT);
        return rc == SSH_ERROR ? ERR_IO : 1;
    }
    if (ssh_get_poll_flags(r->c->session) & SSH_WRITE_PENDING) return 0;
    bool tail = r->sent >= r->call->input_len;
    const uint8_t *from = tail ? r->trailer.data + (r->sent - r->call->input_len)
                               : (const uint8_t *)r->call->input + r->sent;
    size_t n = tail ? left : r->call->input_len - r->sent;
    size_t window = ssh_channel_window_size(r->channel);
    if (n > window) n = window;
    if (n > IO_BYTES) n = IO_BYTES;
    if (n == 0) return 0;
    int written = ssh_channel_write(r->channel, from, (uint32_t)n);
    if (written < 0) return written == SSH_AGAIN ? 0 : ERR_IO;
    r->sent += (size_t)written;
    return written > 0;
}

static void keep(struct buf *b, const void *data, size_t len, bool *truncated)
{
    size_t room = b->max - b->len;
    if (len > room) {
        len = room;
        if (truncated) *truncated = true;
    }
    (void)buf_put(b, data, len);
}

/* Take the packets that have come, for the callbacks: they are told the exit status. */
static void take_exit_status(ssh_channel channel)
{
#if LIBSSH_VERSION_INT >= SSH_VERSION_INT(0, 11, 0)
    (void)ssh_channel_get_exit_state(channel, NULL, NULL, NULL);
#else
    (void)ssh_channel_get_exit_status(channel);
#endif
}

/* Read what has come. 1 if anything moved, 0, or ERR_IO. */
static int receive_some(struct run *r)
{
    char data[4096];
    bool moved = false;
    for (int is_stderr = 0; is_stderr < 2; is_stderr++) {
        int n = ssh_channel_read_nonblocking(r->channel, data, sizeof(data), is_stderr);
        if (n == SSH_ERROR) return ERR_IO;
        if (n <= 0) continue;
        moved = true;
        if (is_stderr)
            keep(&r->result->errs, data, (size_t)n, NULL);
        else
            keep(&r->result->out, data, (size_t)n, &r->result->truncated);
    }
    if (moved || r->exited) return moved;
    // At end of file the reads above take no more packets, and the exit status is one.
    if (ssh_channel_is_eof(r->channel)) take_exit_status(r->channel);
    return r->exited;
}

/* The command has ended and its output is here: end of file, or nothing more for a while. */
static bool is_done(const struct run *r)
{
    if (!r->exited) return false;
    return ssh_channel_is_eof(r->channel) || ssh_channel_is_closed(r->channel) ||
           clock_mono_ms() - r->exited_ms >= OUTPUT_GRACE_MS;
}

/* Without the mark at its end the peer drops the input: then nothing was done. */
static int lost_code(const struct run *r)
{
    return to_send(r) > 0 ? ERR_UNAVAILABLE : ERR_OUTCOME_UNKNOWN;
}

static int pump(struct run *r, long long deadline_ms, struct error *err)
{
    struct sshc *c = r->c;
    for (;;) {
        // A command that is gone takes no more input: its exit status is what counts.
        int sent = r->exited ? 0 : send_some(r);
        int got = receive_some(r);
        if (got == 0 && is_done(r)) return 0;
        if (got < 0 && r->exited) return 0;
        if (got < 0 || sent < 0) return fail(c, lost_code(r), "command", err);
        if (got > 0 || sent > 0) continue;
        if (c->failed || ssh_channel_is_closed(r->channel) || !ssh_is_connected(c->session))
            return fail(c, lost_code(r), "command: ended without a status", err);
        if (!wait_io(c, deadline_ms)) return fail_late(c, lost_code(r), "command", err);
    }
}

static int start(struct run *r, const char *command, long long start_by_ms, struct error *err)
{
    struct sshc *c = r->c;
    int rc;
    while ((rc = ssh_channel_open_session(r->channel)) == SSH_AGAIN)
        if (!wait_io(c, start_by_ms)) return fail_late(c, ERR_UNAVAILABLE, "new channel", err);
    if (rc != SSH_OK) return fail(c, ERR_UNAVAILABLE, "new channel", err);
    while ((rc = ssh_channel_request_exec(r->channel, command)) == SSH_AGAIN)
        if (!wait_io(c, start_by_ms)) return fail_late(c, lost_code(r), "exec", err);
    if (rc == SSH_OK) return 0;
    bool denied = ssh_get_error_code(c->session) == SSH_REQUEST_DENIED;
    return fail(c, denied ? ERR_UNAVAILABLE : lost_code(r), "exec", err);
}

static int
build_command(struct run *r, long long deadline_ms, struct buf *command, struct error *err)
{
    long long seconds = (deadline_ms - clock_mono_ms() - KILL_MARGIN_MS) / 1000;
    if (seconds < 1) return error_set(err, ERR_UNAVAILABLE, "%s: no time left", r->c->where);
    if (seconds > REMOTE_SECONDS_MAX) seconds = REMOTE_SECONDS_MAX;
    const struct sshc_call *call = r->call;
    if (call->input) {
        int rc = remote_mark(r->mark, err);
        if (rc == 0) rc = remote_trailer(&r->trailer, call->input, call->input_len, r->mark, err);
        if (rc < 0) return rc;
    }
    return remote_command(
        command, call->argv, call->input ? r->mark : NULL, (unsigned int)seconds, err);
}

int sshc_run(struct sshc *conn,
             const struct sshc_call *call,
             long long start_by_ms,
             long long deadline_ms,
             struct sshc_result *result,
             struct error *err)
{
    struct run r = {.c = conn, .call = call, .result = result, .trailer = BUF_INIT(128)};
    struct ssh_channel_callbacks_struct cb = {
        .userdata = &r,
        .channel_exit_status_function = on_exit_status,
        .channel_exit_signal_function = on_exit_signal,
    };
    struct buf command = BUF_INIT(REMOTE_COMMAND_MAX);
    *result = (struct sshc_result){
        .exit_status = -1, .out = BUF_INIT(call->output_max), .errs = BUF_INIT(SSHC_STDERR_MAX)};
    int rc = build_command(&r, deadline_ms, &command, err);
    if (rc < 0) goto out;
    r.channel = ssh_channel_new(conn->session);
    if (!r.channel) {
        rc = fail(conn, ERR_UNAVAILABLE, "new channel", err);
        goto out;
    }
    ssh_callbacks_init(&cb);
    (void)ssh_set_channel_callbacks(r.channel, &cb);
    rc = start(&r, buf_str(&command), start_by_ms < deadline_ms ? start_by_ms : deadline_ms, err);
    if (rc == 0) rc = pump(&r, deadline_ms, err);
out:
    if (r.channel) {
        (void)ssh_remove_channel_callbacks(r.channel, &cb);
        ssh_channel_free(r.channel);
    }
    if (rc < 0) {
        buf_free(&result->out);
        buf_free(&result->errs);
    }
    buf_free(&r.trailer);
    buf_free(&command);
    return rc;
}
