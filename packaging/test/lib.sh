# SPDX-License-Identifier: GPL-3.0-or-later
# For the tests of the packages: TAP (counted in $points, failed if $status), and the Slurm that they are
# built for. $top: the source tree.
# shellcheck shell=bash disable=SC2034 # status is the test's

# point NAME COMMAND...: one test point; the command's output is shown where it fails.
point() {
    local name=$1 out
    shift
    points=$((points + 1))
    if out=$("$@" 2>&1); then
        echo "ok $points - $name (at $SECONDS s)"
    else
        printf '%s\n' "$out" | tail -n 40 | sed 's/^/# /'
        echo "not ok $points - $name"
        status=1
    fi
}

slurm_version() { dpkg-query -W -f '${source:Upstream-Version}' slurmctld; }
slurm_src() { echo "${top:?}/build/slurm-src-$(slurm_version)"; }
