#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The systemd unit as systemd-analyze reads it: no unknown or misspelled setting, and a sandbox that
# stays as tight as it is. Needs no systemd that runs.
built=${top_builddir:-.}
unit=$built/etc/deepsquare-agent.service
if ! command -v systemd-analyze >/dev/null; then
    echo "1..0 # SKIP no systemd-analyze here"
    exit 0
fi
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
. "${top_srcdir:-.}/tests/unit/tap.sh"

# Nothing is installed yet: its program is the one that was built.
program="$(cd "$built" && pwd)/deepsquare-agent"
sed "s|=[^ ]*/sbin/deepsquare-agent|=$program|" "$unit" >"$dir/deepsquare-agent.service"
# What it does not know it tells, but does not fail for.
verify() {
    systemd-analyze verify --man=no "$dir/$1" 2>&1 | grep "$1" && return 1
    return 0
}
unknown_is_seen() { ! verify wrong.service; }
exposure() {
    systemd-analyze security --offline=true --no-pager --threshold="$1" "$dir/deepsquare-agent.service"
}

echo "1..5"
result "every setting is known to systemd" verify deepsquare-agent.service
sed 's/^UMask=/UMsk=/' "$dir/deepsquare-agent.service" >"$dir/wrong.service"
result "and one that is not would be seen" unknown_is_seen
result "its exposure is 1.5 of 10 at most" exposure 15
result "all names were filled in" sh -c "! grep -n '@[a-z]*@' $unit $built/etc/tmpfiles.d/deepsquare-agent.conf"
result "systemctl start agent works" grep -qx 'Alias=agent.service' "$unit"
