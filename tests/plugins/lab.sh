# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: GPL-3.0-or-later
# For the tests of the plugins in real Slurm daemons: source it first. It runs the script that
# sources it again in namespaces of its own, with munged running, and helps with slurmctld, slurmd,
# jobs, and a JobAPI that notes what it is told. Needs root, Slurm of the version that the plugins
# were built for, and munge; else the script is skipped. TAP.
#
#   lab_end            last: the plan, and the end of slurmctld's log if something failed
build=${top_builddir:-.}

skip() {
    echo "1..0 # SKIP $1"
    exit 0
}

if [ -z "${PLUGIN_LAB:-}" ]; then
    [ -f "$build/.libs/spank_deepsquare.so" ] || skip "configured without --with-slurm-src"
    [ -x "$build/tests/plugins/job_api_server" ] || skip "no job_api_server"
    [ "$(id -u)" = 0 ] || skip "needs root"
    for tool in /usr/sbin/slurmctld /usr/sbin/slurmd munged unshare; do
        command -v $tool > /dev/null || skip "no $tool"
    done
    n=$(awk '/#define SLURM_VERSION_NUMBER/ {print $3}' \
        "$build/plugins/gen/include/slurm/slurm_version.h" 2> /dev/null)
    built=$(printf '%d.%02d.%d' $((n >> 16)) $((n >> 8 & 255)) $((n & 255)))
    installed=$(/usr/sbin/slurmctld -V | awk '{print $2}')
    [ "$built" = "$installed" ] || skip "built for Slurm $built, installed is $installed"
    in_namespaces=(unshare --mount --pid --net --fork --kill-child --mount-proc)
    "${in_namespaces[@]}" true 2> /dev/null || skip "no namespaces here"
    PLUGIN_LAB=$(mktemp -d /tmp/plugins.XXXXXX)
    export PLUGIN_LAB
    "${in_namespaces[@]}" bash "$0"
    rc=$?
    if [ $rc = 0 ]; then rm -rf "$PLUGIN_LAB"; else echo "# left: $PLUGIN_LAB"; fi
    exit $rc
fi

# ---- Inside the namespaces.
lab=$PLUGIN_LAB
export SLURM_CONF=$lab/etc/slurm.conf
forwarder=$build/deepsquare-forwarder
tests=0
failed=0

ok() { # what command...
    local what=$1
    shift
    tests=$((tests + 1))
    if "$@"; then echo "ok $tests - $what"; else
        echo "not ok $tests - $what"
        failed=1
    fi
}
wait_for() { # seconds command...: on a machine with nothing else to do; others take longer
    local seconds=$((4 * $1))
    shift
    poll_for $seconds "$@"
}
poll_for() { # seconds command...
    local until=$((SECONDS + $1))
    shift
    while [ $SECONDS -le $until ]; do
        "$@" && return 0
        sleep .1
    done
    return 1
}
now_ms() { date +%s%3N; }

ip link set lo up
# slurmctld asks getaddrinfo() with AI_ADDRCONFIG, which wants an address that is not 127.0.0.1.
ip addr add 192.0.2.1/32 dev lo
chmod 755 "$lab"
mkdir -p "$lab"/{etc,state,spool,log,run,munge,plugins,out}
chmod 711 "$lab/munge"
head -c 1024 /dev/urandom > "$lab/munge/munge.key"
chmod 400 "$lab/munge/munge.key"
cp "$build"/.libs/*_deepsquare.so "$lab/plugins/"
: > "$lab/etc/plugstack.conf"
touch "$lab/events"
munged -F --key-file="$lab/munge/munge.key" --socket="$lab/munge/munge.socket" \
    --pid-file="$lab/munge/pid" --seed-file="$lab/munge/seed" --log-file="$lab/munge/log" \
    --num-threads=2 --force > /dev/null 2>&1 &
wait_for 5 test -S "$lab/munge/munge.socket"

lab_nodes=1
# write_conf PORT [LINE...]: slurm.conf, with the agent at that port of 127.0.0.1. A line replaces
# the one with the same key.
write_conf() {
    local port=$1 line
    shift
    cat > "$SLURM_CONF" << C
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
SlurmdPidFile=$lab/run/slurmd-%n.pid
SlurmctldLogFile=$lab/log/slurmctld.log
SlurmdLogFile=$lab/log/slurmd-%n.log
SlurmctldDebug=info
DebugFlags=NO_CONF_HASH
SlurmdParameters=config_overrides
PluginDir=$lab/plugins:$(dirname "$(find /usr/lib -name auth_munge.so | head -1)")
PlugStackConfig=$lab/etc/plugstack.conf
MailProg=/bin/true
KillWait=2
JobCompType=jobcomp/deepsquare
JobCompLoc=127.0.0.1:$port
JobCompParams=forwarder=$forwarder
NodeName=n[1-$lab_nodes] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[26901-$((26900 + lab_nodes))] CPUs=64 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
C
    for line in "$@"; do
        sed -i "/^${line%%=*}=/d" "$SLURM_CONF"
        echo "$line" >> "$SLURM_CONF"
    done
}

# ---- A JobAPI. Its answer is in the file $lab/answer (none: OK).
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

# ---- Daemons.
slurmd_pids=()
start_slurmd() { # node [its own slurm.conf]
    mkdir -p "$lab/spool/$1"
    /usr/sbin/slurmd -D -N "$1" -f "${2:-$SLURM_CONF}" > "$lab/log/slurmd-$1.out" 2>&1 &
    slurmd_pids+=($!)
}
nodes_are_up() { [ "$(timeout 5 sinfo -h -N -o %T 2> /dev/null | grep -cxE "idle|mixed|allocated")" = $lab_nodes ]; }
# slurmctld asks the nodes some seconds after its start, and gives them no jobs until then: let those
# that run tell of themselves.
wake_nodes() {
    local i
    for i in "${!slurmd_pids[@]}"; do
        ! grep -q "slurmd started" "$lab/log/slurmd-n$((i + 1)).log" || kill -HUP "${slurmd_pids[i]}"
    done
    poll_for 1 nodes_are_up
}
start_ctld() {
    /usr/sbin/slurmctld -D -f "$SLURM_CONF" > "$lab/log/ctld.out" 2>&1 &
    ctld_pid=$!
    wait_for 5 scontrol ping > /dev/null
    poll_for 1 nodes_are_up || wait_for 20 wake_nodes
}
stop_ctld() { # milliseconds into $took
    local before
    before=$(now_ms)
    kill -TERM "$ctld_pid"
    wait "$ctld_pid" 2> /dev/null
    took=$(($(now_ms) - before))
}
kill_ctld() {
    kill -9 "$ctld_pid"
    wait "$ctld_pid" 2> /dev/null
}
forwarder_pid() { pgrep -f -- "deepsquare-forwarder .*--spool"; }
no_forwarder() { ! pgrep -x deepsquare-forw > /dev/null; }
has_forwarder() { forwarder_pid > /dev/null; }

# ---- Jobs. Ours have a number, from which their name is made.
name() { printf '0x%064x' "$1"; }
comment="supervisor 0x71be63f3384f5fb98995898a86b02fb2426c5788"
submit() { # number script [sbatch option...]
    local n=$1 script=$2
    shift 2
    sbatch --parsable -D /tmp -o /dev/null -J "$(name "$n")" --comment "$comment" "$@" \
        --wrap "$script" 2>> "$lab/log/sbatch.err"
}
# A job that runs until end_jobs, however long things take, and one that ends by itself only when it is
# queued again.
until_told="until [ -e $lab/out/end ]; do sleep .1; done"
end_jobs() { touch "$lab/out/end" && wait_for 30 done_jobs && rm "$lab/out/end"; }
until_again='[ "$SLURM_RESTART_COUNT" = 1 ] || sleep 100'
is_again() { scontrol -o show job "$1" | grep -q "JobState=PENDING .* Restarts=1 "; }
run_time() { # of a job that has ended, in seconds, as Slurm has it
    scontrol -o show job "$1" | sed -nE 's/.* RunTime=(..):(..):(..) .*/\1 \2 \3/p' |
        awk '{print $1 * 3600 + $2 * 60 + $3}'
}
is_running() { squeue -h -j "$1" -o %T | grep -q RUNNING; }
done_jobs() { [ "$(squeue -h | wc -l)" = 0 ]; }

# ---- What the JobAPI took.
events() { grep -c "^name=$(name "$1") .*answer=0" "$lab/events"; }
has_event() { grep -q "^name=$(name "$1") .*$2.* answer=0" "$lab/events"; }
arrived() { for n in "$@"; do [ "$(events "$n")" -ge 1 ] || return 1; done; }
once() { for n in "$@"; do [ "$(events "$n")" = 1 ] || return 1; done; }

lab_end() {
    stop_server
    echo "1..$tests"
    [ $failed = 0 ] || tail -n 40 "$lab/log/slurmctld.log" | sed 's/^/# /'
    exit $failed
}
