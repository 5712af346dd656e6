#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Two slurmctld with one StateSaveLocation: what one spooled, the other one's forwarder delivers, and
# there is never more than one forwarder at work. See lab.sh.
# shellcheck disable=SC2154,SC2034 # variables of lab.sh
set -u
# shellcheck source=tests/plugins/lab.sh
. "$(dirname "$0")/lab.sh"

# Two machines are, here, two host names, two addresses that each binds alone, and a /run for each.
write_conf 3901 CommunicationParameters=NoCtldInAddrAny SlurmctldTimeout=5 SlurmctldHost=
sed -i "s/^SlurmctldHost=.*/SlurmctldHost=first(127.0.0.1)\nSlurmctldHost=second(127.0.0.2)/" "$SLURM_CONF"
printf '127.0.0.1 localhost first\n127.0.0.2 second\n' > "$lab/etc/hosts"
mount --bind "$lab/etc/hosts" /etc/hosts
declare -A pids
start_host() { # name
    # shellcheck disable=SC2016 # the inner shell expands it
    unshare --uts --mount sh -c 'hostname "$1" && mount -t tmpfs none "$2/run" &&
        exec /usr/sbin/slurmctld -D -f "$SLURM_CONF" -L "$2/log/$1.log"' sh \
        "$1" "$lab" > "$lab/log/$1.out" 2>&1 &
    pids[$1]=$!
}
host_is() { scontrol ping | grep -q "($1) at $2 is $3"; }
# Every second or so: nodes and jobs are known to the one that is in charge, some time after it is.
in_charge() { host_is "$1" "$2" UP && nodes_are_up; }
one_forwarder() { [ "$(pgrep -c -x deepsquare-forw)" = 1 ]; }

start_server 3901
start_slurmd n1
start_host first
wait_for 20 host_is primary first UP
start_host second
ok "a controller and its backup run" wait_for 20 host_is backup second UP
ok "with one forwarder" wait_for 5 one_forwarder
wait_for 20 nodes_are_up
submit 1 true > /dev/null
ok "the first one's events arrive" wait_for 20 has_event 1 status=7

# 1. The backup takes over while events wait for the agent.
stop_server
for n in 2 3; do submit $n true > /dev/null; done
wait_for 30 done_jobs
before=$(now_ms)
scontrol takeover
ok "the backup takes over" wait_for 30 in_charge backup second
echo "# takeover took $(($(now_ms) - before)) ms"
ok "again with one forwarder" wait_for 5 one_forwarder
submit 4 true > /dev/null
wait_for 30 done_jobs
start_server 3901
ok "what both spooled arrives" wait_for 30 arrived 2 3 4
ok "each once" once 1 2 3 4

# 2. The first one comes back while the agent is a black hole: the backup must let go soon.
kill -STOP "$server_pid"
submit 5 true > /dev/null
wait_for 30 done_jobs
before=$(now_ms)
wait "${pids[first]}"
start_host first
ok "the first one takes control back" wait_for 30 in_charge primary first
took=$(($(now_ms) - before))
echo "# that took $took ms, with a black hole for an agent"
ok "soon" test $took -lt 10000
ok "and with one forwarder" wait_for 5 one_forwarder

# 3. The first one is killed with events in its spool, still with a black hole.
submit 6 true > /dev/null
wait_for 30 done_jobs
kill -9 "${pids[first]}"
ok "killed: the backup takes over by itself" wait_for 60 in_charge backup second
kill -CONT "$server_pid"
ok "what the killed one spooled arrives" wait_for 30 arrived 5 6
submit 7 true > /dev/null
ok "and the backup's own" wait_for 30 has_event 7 status=7
kill -TERM "${pids[second]}"
wait "${pids[second]}"
ok "no forwarder stays" wait_for 5 no_forwarder
ok "the spool is empty" sh -c "! ls '$lab/state/deepsquare' | grep -q 'seg\$'"
cat "$lab/log/first.log" "$lab/log/second.log" > "$lab/log/slurmctld.log"
lab_end
