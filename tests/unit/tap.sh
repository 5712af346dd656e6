# SPDX-License-Identifier: GPL-3.0-or-later
# For the tests that are shell scripts: a line of TAP for each test point. $dir: a directory of the test's.
# shellcheck shell=sh
n=0

# result NAME CONDITION...: what the condition says, and a program before it in out and err, is shown
# where it fails.
result() {
    tap_name=$1
    shift
    n=$((n + 1))
    if "$@" >"${dir:?}/said" 2>&1; then
        echo "ok $n - $tap_name"
    else
        echo "not ok $n - $tap_name"
        for tap_file in said out err; do
            [ ! -f "$dir/$tap_file" ] || sed "s/^/# $tap_file: /" "$dir/$tap_file"
        done
    fi
}
