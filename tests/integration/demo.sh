#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# ./demo as a newcomer runs it: it says what it should, is right, and leaves nothing behind. TAP.
set -u
cd "$(dirname "$0")/../.." || exit 1
n=0
ok() { # NAME COMMAND...
    n=$((n + 1))
    local name=$1
    shift
    if "$@"; then echo "ok $n - $name"; else echo "not ok $n - $name"; fi
}

demo() {
    out=$(./demo "$@" 2>&1)
    status=$?
    printf '%s\n' "$out" | sed 's/^/# /'
    tail=$(printf '%s\n' "$out" | tail -10)
}

says() { grep -qE "$1" <<<"$tail"; }
no_process() { ! pgrep -f "^$PWD/build/(deepsquare-agent|deepsquare-forwarder)" >/dev/null; }

# A place of its own: other grids may come and go meanwhile.
TMPDIR=$(mktemp -d) && chmod 711 "$TMPDIR"
export TMPDIR
demo
ok "exits 0" test "$status" -eq 0
ok "the job's id" says '^job +0x[0-9a-f]{64}$'
ok "the Unix user" says '^user +0x[0-9a-f]{40}$'
ok "how it was submitted" says '^submitted +over slurmrestd$'
ok "the job's output" says '^output +Hello from 0x[0-9a-f]{40}'
ok "the exit code" says '^exit code +0$'
ok "the minutes billed" says '^billed +1 minute'
ok "the status on chain" says '^status +FINISHED'
demo --backend=ssh
ok "over SSH: exits 0" test "$status" -eq 0
ok "over SSH: how it was submitted" says '^submitted +over SSH$'
ok "over SSH: the status on chain" says '^status +FINISHED'
ok "no directory is left" rmdir "$TMPDIR"
ok "no process is left" no_process
./demo --nonsense >/dev/null 2>&1
ok "a wrong argument: exit status 2" test $? -eq 2
echo "1..$n"
