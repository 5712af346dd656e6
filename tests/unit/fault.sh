#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Fault points: all of them in a build with --enable-fault-injection, nothing of them in any other.
# That each one is passed, and what follows from dying there, is tests/integration/crash.
prog=${top_builddir:-.}/deepsquare-agent
def=${top_srcdir:-.}/agent/util/fault.def
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
. "${top_srcdir:-.}/tests/unit/tap.sh"

arm() {
    AGENT_FAULT=$1 "$prog" --version >"$dir/out" 2>"$dir/err"
    status=$?
}

# How many points the table has: two of each FAULT_AROUND.
in_table() { awk '/^FAULT\(/ { n++ } /^FAULT_AROUND\(/ { n += 2 } END { print n }' "$def"; }
distinct() { cut -d' ' -f1 "$dir/out" | sort -u | wc -l; }
refused() { arm "$1" && [ "$status" -eq 2 ] && grep -q 'POINT\[:PASSAGE' "$dir/err"; }
ignored() { arm "$1" && [ "$status" -eq 0 ] && grep -q '^deepsquare-agent ' "$dir/out"; }
has() { grep -qF -e "$1" "$prog"; }
has_not() { ! has "$1"; }
has_no_symbol() { nm "$prog" >"$dir/nm" && grep -q ' main$' "$dir/nm" && ! grep -q ' fault_' "$dir/nm"; }

if grep -q -e '-DENABLE_FAULT_INJECTION' "${top_builddir:-.}/Makefile"; then
    echo "1..6"
    arm list
    result "the list has every point of the table once" [ "$(distinct)" -eq "$(in_table)" ]
    result "a point that there is not is refused" refused store.comit.before
    result "so is a passage that is no number" refused store.commit.before:x
    result "and the 0th" refused store.commit.before:0
    result "and a time that is none" refused store.commit.before:1:s
    result "an armed point that is not passed does nothing" ignored store.commit.before:2:50
else
    echo "1..4"
    result "the variable does nothing" ignored list
    result "its name is not in the program" has_not AGENT_FAULT
    result "nor is a point's" has_not turn.timer.before
    result "nor a symbol" has_no_symbol
fi
