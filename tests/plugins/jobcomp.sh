#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The jobcomp plugin in a real slurmctld, with slurmd and jobs: which events reach a JobAPI, and what
# a dead, slow or restarted agent, forwarder or slurmctld costs. In namespaces of its own: needs
# root, Slurm of the version the plugin was built for, and munge; skipped otherwise. TAP.
set -u
build=${top_builddir:-.}
self=$(readlink -f "$0")
plugin=$build/.libs/jobcomp_deepsquare.so
version_h=$build/plugins/gen/include/slurm/slurm_version.h

skip() { echo "1..0 # SKIP $1"; exit 0; }

if [ -z "${JOBCOMP_LAB:-}" ]; then
    [ -f "$plugin" ] || skip "configured without --with-slurm-src"
    [ -x "$build/tests/plugins/job_api_server" ] || skip "no job_api_server"
    [ "$(id -u)" = 0 ] || skip "needs root"
    for tool in /usr/sbin/slurmctld /usr/sbin/slurmd munged unshare; do
        command -v $tool > /dev/null || skip "no $tool"
    done
    n=$(awk '/#define SLURM_VERSION_NUMBER/ {print $3}' "$version_h" 2> /dev/null)
    built=$(printf '%d.%02d.%d' $((n >> 16)) $((n >> 8 & 255)) $((n & 255)))
    installed=$(/usr/sbin/slurmctld -V | awk '{print $2}')
    [ "$built" = "$installed" ] || skip "built for Slurm $built, installed is $installed"
    unshare --mount --pid --net --fork --kill-child --mount-proc true 2> /dev/null ||
        skip "no namespaces here"
    JOBCOMP_LAB=$(mktemp -d /tmp/jobcomp.XXXXXX)
    export JOBCOMP_LAB
    unshare --mount --pid --net --fork --kill-child --mount-proc bash "$self"
    rc=$?
    if [ $rc = 0 ]; then rm -rf "$JOBCOMP_LAB"; else echo "# left: $JOBCOMP_LAB"; fi
    exit $rc
fi

# ---- Inside the namespaces.
lab=$JOBCOMP_LAB
export SLURM_CONF=$lab/etc/slurm.conf
tests=0
failed=0
name() { printf '0x%064x' "$1"; }
comment="supervisor 0x71be63f3384f5fb98995898a86b02fb2426c5788"

ok() { # what command...
    local what=$1
    shift
    tests=$((tests + 1))
    if "$@"; then echo "ok $tests - $what"; else
        echo "not ok $tests - $what"
        failed=1
    fi
}
wait_for() { # seconds command...
    local until=$((SECONDS + $1))
    shift
    while [ $SECONDS -le $until ]; do
        "$@" && return 0
        sleep .1
    done
    return 1
}

ip link set lo up
# slurmctld asks getaddrinfo() with AI_ADDRCONFIG, which wants an address that is not 127.0.0.1.
ip addr add 192.0.2.1/32 dev lo
chmod 755 "$lab"
mkdir -p "$lab"/{etc,state,spool,log,run,munge,plugins}
chmod 711 "$lab/munge"
head -c 1024 /dev/urandom > "$lab/munge/munge.key"
chmod 400 "$lab/munge/munge.key"
cp "$plugin" "$lab/plugins/"
: > "$lab/etc/plugstack.conf"

write_conf() { # port
    cat > "$SLURM_CONF" <<C
ClusterName=lab
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=26817
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$lab/munge/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,sched_interval=1,batch_sched_delay=0,bf_interval=1
ReturnToService=2
StateSaveLocation=$lab/state
SlurmdSpoolDir=$lab/spool/%n
SlurmctldPidFile=$lab/run/slurmctld.pid
SlurmdPidFile=$lab/run/slurmd.pid
SlurmctldLogFile=$lab/log/slurmctld.log
SlurmdLogFile=$lab/log/slurmd.log
SlurmctldDebug=info
SlurmdParameters=config_overrides
PluginDir=$lab/plugins:$(dirname "$(find /usr/lib -name auth_munge.so | head -1)")
PlugStackConfig=$lab/etc/plugstack.conf
MailProg=/bin/true
KillWait=2
JobCompType=jobcomp/deepsquare
JobCompLoc=127.0.0.1:$1
JobCompParams=forwarder=$build/deepsquare-forwarder
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port=26900 CPUs=64 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
C
}

server_pid=
start_server() { # port
    "$build/tests/plugins/job_api_server" "127.0.0.1:$1" "$lab/answer" >> "$lab/events" &
    server_pid=$!
}
stop_server() {
    kill -CONT "$server_pid" 2> /dev/null
    kill -9 "$server_pid" 2> /dev/null
    wait "$server_pid" 2> /dev/null
}
ctld_pid=
start_ctld() {
    /usr/sbin/slurmctld -D -f "$SLURM_CONF" > "$lab/log/ctld.out" 2>&1 &
    ctld_pid=$!
    wait_for 20 sh -c 'timeout 5 sinfo -h -o %T 2> /dev/null | grep -qE "idle|mix|alloc"'
}
stop_ctld() { # milliseconds into $took
    local before
    before=$(date +%s%3N)
    kill -TERM "$ctld_pid"
    wait "$ctld_pid" 2> /dev/null
    took=$(($(date +%s%3N) - before))
}
forwarder_pid() { pgrep -x -P "$ctld_pid" deepsquare-forw; }
no_forwarder() { ! pgrep -x deepsquare-forw > /dev/null; }
has_forwarder() { forwarder_pid > /dev/null; }
submit() { # number script [sbatch option...]
    local n=$1 script=$2
    shift 2
    sbatch --parsable -D /tmp -o /dev/null -J "$(name "$n")" --comment "$comment" "$@" \
        --wrap "$script" 2>> "$lab/log/sbatch.err"
}
events() { grep -c "^name=$(name "$1") .*answer=0" "$lab/events"; }
has_event() { grep -q "^name=$(name "$1") .*$2.* answer=0" "$lab/events"; }
done_jobs() { [ "$(squeue -h | wc -l)" = 0 ]; }

munged -F --key-file="$lab/munge/munge.key" --socket="$lab/munge/munge.socket" \
    --pid-file="$lab/munge/pid" --seed-file="$lab/munge/seed" --log-file="$lab/munge/log" \
    --num-threads=2 --force > /dev/null 2>&1 &
wait_for 5 test -S "$lab/munge/munge.socket"
write_conf 3901
touch "$lab/events"
start_server 3901
mkdir -p "$lab/spool/n1"
/usr/sbin/slurmd -D -N n1 -f "$SLURM_CONF" > "$lab/log/slurmd.out" 2>&1 &
ok "slurmctld runs with the plugin" start_ctld
ok "the forwarder was started" wait_for 5 has_forwarder
ok "nothing of gRPC, TLS or C++ is in slurmctld" \
    sh -c "! grep -E 'libgrpc|libstdc|libssl|libprotobuf' /proc/$ctld_pid/maps"

# 1. The ends of jobs, and only of ours.
submit 1 "sleep 1" > /dev/null
submit 2 "exit 3" > /dev/null
submit 3 'kill -9 $$' > /dev/null
held=$(submit 4 true -H)
run=$(submit 5 "sleep 100")
sbatch --parsable -D /tmp -o /dev/null -J "$(name 6)" --wrap true > /dev/null 2>&1
scancel "$held"
wait_for 20 sh -c "squeue -h -j $run -o %T | grep -q RUNNING"
sleep 1
scancel "$run"
wait_for 30 done_jobs
ok "a job that succeeds: FINISHED" wait_for 10 has_event 1 "duration=[12] status=7 exit_code=0"
ok "exit 3: FAILED, 3" wait_for 10 has_event 2 "status=8 exit_code=3 state=0x8005"
ok "killed by a signal: FAILED, 137" wait_for 10 has_event 3 "status=8 exit_code=137"
ok "cancelled while pending: CANCELLED, 0 s" wait_for 10 has_event 4 "duration=0 status=6"
ok "cancelled while running: CANCELLED" wait_for 10 has_event 5 "duration=[1-9][0-9]* status=6"
ok "without the comment: nothing" sh -c "! grep -q '^name=$(name 6) ' '$lab/events'"

# 2. Requeued: the attempt's end is not the job's.
again=$(submit 7 "sleep 3" --requeue)
wait_for 20 sh -c "squeue -h -j $again -o %T | grep -q RUNNING"
scontrol requeue "$again"
sleep 2
scontrol update "jobid=$again" starttime=now 2> /dev/null
scontrol release "$again" 2> /dev/null
wait_for 200 done_jobs
ok "requeued: one end, of the second attempt" wait_for 10 has_event 7 "status=7 .* restarts=1"
ok "requeued: no other" test "$(events 7)" = 1

# 3. The forwarder is killed.
kill -9 "$(forwarder_pid)"
submit 8 true > /dev/null
ok "forwarder killed: the event arrives" wait_for 15 has_event 8 status=7

# 4. The agent is away while jobs end and slurmctld is restarted.
stop_server
for n in 10 11 12 13 14; do submit $n true > /dev/null; done
wait_for 30 done_jobs
stop_ctld
echo "# slurmctld ended after $took ms, with the agent dead"
ok "slurmctld ends soon with the agent dead" test "$took" -lt 6000
ok "and no forwarder stays" wait_for 3 no_forwarder
start_ctld
submit 15 true > /dev/null
wait_for 30 done_jobs
start_server 3901
arrived() { for n in "$@"; do [ "$(events "$n")" -ge 1 ] || return 1; done; }
ok "all events arrive, those from before the restart too" \
    wait_for 45 arrived 10 11 12 13 14 15
once() { for n in "$@"; do [ "$(events "$n")" = 1 ] || return 1; done; }
ok "each once" once 10 11 12 13 14 15

# 5. The agent knows the job later; and never.
echo 5 > "$lab/answer"
submit 20 true > /dev/null
wait_for 30 grep -q "^name=$(name 20) .*answer=5" "$lab/events"
rm "$lab/answer"
ok "NOT_FOUND at first: acknowledged later" wait_for 20 has_event 20 status=7
echo 3 > "$lab/answer"
submit 21 true > /dev/null
wait_for 30 test -s "$lab/state/deepsquare/rejected"
rm "$lab/answer"
ok "INVALID_ARGUMENT: put aside" \
    sh -c "'$build/deepsquare-forwarder' --dump '$lab/state/deepsquare/rejected' | grep -q '$(name 21)'"

# 6. A black hole: connected, and silent. slurmctld must not notice.
kill -STOP "$server_pid"
before=$(date +%s%3N)
for n in 30 31 32 33 34 35 36 37 38 39; do submit $n true > /dev/null; done
wait_for 30 done_jobs
echo "# ten jobs took $(($(date +%s%3N) - before)) ms, with a black hole for an agent"
before=$(date +%s%3N)
scontrol reconfigure
reconfigure=$(($(date +%s%3N) - before))
echo "# scontrol reconfigure: $reconfigure ms"
ok "reconfigure does not wait for it" test "$reconfigure" -lt 3000
stop_ctld
echo "# slurmctld ended after $took ms, with a black hole for an agent"
ok "slurmctld ends soon with a black hole" test "$took" -lt 6000
ok "and no forwarder stays" wait_for 3 no_forwarder

# 7. slurmctld itself is killed with events in the spool.
start_ctld
submit 40 true > /dev/null
wait_for 30 done_jobs
kill -9 "$ctld_pid"
wait "$ctld_pid" 2> /dev/null
ok "slurmctld killed: the forwarder ends" wait_for 5 no_forwarder
start_ctld
kill -CONT "$server_pid"
ok "the events of then and before arrive" wait_for 60 arrived 30 31 32 33 34 35 36 37 38 39 40

# 8. A new address: taken at reconfigure, with what waits.
stop_server
submit 50 true > /dev/null
wait_for 30 done_jobs
write_conf 3902
start_server 3902
scontrol reconfigure
ok "a new JobCompLoc is used" wait_for 20 has_event 50 status=7
sed -i 's/^JobCompLoc=.*/JobCompLoc=nonsense/' "$SLURM_CONF"
scontrol reconfigure
ok "a bad JobCompLoc is told" wait_for 5 grep -q "NOT SENT" "$lab/log/slurmctld.log"
ok "and nothing is sent" wait_for 5 no_forwarder
submit 51 true > /dev/null
wait_for 30 done_jobs
write_conf 3902
scontrol reconfigure
ok "corrected: what was kept is sent" wait_for 20 has_event 51 status=7

# 9. Nothing is left.
sleep 1
stop_ctld
echo "# slurmctld ended after $took ms"
ok "the spool is empty" sh -c "! ls '$lab/state/deepsquare' | grep -q 'seg\$'"
ok "slurmctld never complained of a plugin" \
    sh -c "! grep -iE 'cannot create jobcomp|context not initialized|symbol' '$lab/log/slurmctld.log'"
stop_server
echo "1..$tests"
[ $failed = 0 ] || tail -n 40 "$lab/log/slurmctld.log" | sed 's/^/# /'
exit $failed
