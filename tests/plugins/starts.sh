#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The starts of jobs, told by the prep plugin in slurmctld and by the SPANK plugin on a node, in real
# daemons: what is told, what it costs, and that no job, node or process suffers while the agent is
# dead, a black hole or not whom it says it is. Node n2 has the SPANK plugin, n1 has not. See lab.sh.
# shellcheck disable=SC2154,SC2034 # variables of lab.sh
set -u
# shellcheck source=tests/plugins/lab.sh
. "$(dirname "$0")/lab.sh"

lab_nodes=2
second_conf=$lab/etc/second.conf
write_confs() { # line...
    write_conf 3901 LogTimeFormat=iso8601_ms "$@"
    sed "s|^PlugStackConfig=.*|PlugStackConfig=$lab/etc/second.plugstack|" "$SLURM_CONF" > "$second_conf"
}
start_daemons() {
    slurmd_pids=()
    start_slurmd n1
    start_slurmd n2 "$second_conf"
    start_ctld
}
# Each prolog reads the file anew. The script counts how often it is started.
cat > "$lab/etc/counting" << C
#!/bin/sh
echo "\$*" >> "$lab/out/started"
exec "$forwarder" "\$@"
C
chmod 755 "$lab/etc/counting"
touch "$lab/out/started"
spank_options() { # option...
    echo "optional spank_deepsquare.so forwarder=$lab/etc/counting $*" > "$lab/etc/second.plugstack"
}
onces_started() { wc -l < "$lab/out/started"; }
one_more_may_try() { [ "$(pgrep -fc -- "--once --job-id")" -lt 32 ]; } # a new one gives up at once then
no_onces() { ! pgrep -f -- "--once --job-id" > /dev/null; }
told_by_ctld() { grep -q "^name=$(name "$1") .*status=4 .*state=0x4001 ${2:-}.*answer=0" "$lab/events"; }
told_by_node() { grep -q "^name= id=$1 .*status=4 .*${2:-}.* answer=0" "$lab/events"; }
starts_of() { grep -c "^name=$(name "$1") .*status=4 " "$lab/events"; }
no_node_suffers() { [ "$(sinfo -h -N -o %T | grep -cxE "idle|mixed|allocated|completing")" = 2 ]; }
median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

# How much later does a job run on n2 than on n1? The median of pairs, in ms, into $added; under load
# from elsewhere the best of up to six times nine pairs.
run_time() { # node: from srun's start to the job's
    local before
    before=$(now_ms)
    echo $(($(srun -Q -w "$1" -D /tmp -J "$(name 9)" --comment "$comment" date +%s%3N) - before))
}
measure_pairs() {
    local pairs one two
    added=1000
    for _ in 1 2 3 4 5 6; do
        pairs=$(for _ in 1 2 3 4 5 6 7 8 9; do
            one=$(run_time n1)
            two=$(run_time n2)
            echo $((two - one))
        done)
        pairs=$(median <<< "$pairs")
        [ "$pairs" -ge $added ] || added=$pairs
        [ $added -ge 50 ] || break
    done
}
spank_adds_little() { # what the agent is
    local before
    before=$(onces_started)
    measure_pairs
    echo "# SPANK adds $added ms to a job's start, agent $1"
    ok "agent $1: all jobs ran, and each told of itself" test $(($(onces_started) - before)) -ge 9
    ok "agent $1: SPANK adds less than 50 ms to a job's start" test "$added" -lt 50
    ok "agent $1: no node suffers" no_node_suffers
}
# From slurmctld's word that it started a batch job on n1 to the job's own first one: median of 5, ms.
# Under load from elsewhere the best of these.
batch_start() {
    local id n from
    for n in 1 2 3 4 5; do
        id=$(submit 8 "date +%s%3N > $lab/out/$n" -w n1)
        wait_for 20 done_jobs
        from=$(sed -nE "s/^.([^]]*).*(Started|Allocate) JobId=$id .*/\1/p" "$lab/log/slurmctld.log")
        echo $(($(cat "$lab/out/$n") - $(date -d "$from" +%s%3N)))
    done | median
}

# A run by hand, with nobody to tell: its end is looked at below.
"$forwarder" --once --job-id 77 --endpoint 127.0.0.1:1 > "$lab/out/by_hand" 2>&1 &
by_hand=$!

# 1. SPANK, with an agent.
start_server 3901
spank_options endpoint=127.0.0.1:3901
write_confs
ok "the daemons run" start_daemons
id=$(submit 1 "$until_told" -w n2)
ok "SPANK tells of a start" wait_for 20 told_by_node "$id" restarts=0
ok "while the job runs" is_running "$id"
end_jobs
ok "once" test "$(grep -c "^name= id=$id " "$lab/events")" = 1
before=$(onces_started)
sbatch -Q -D /tmp -o /dev/null -w n2 --wrap true
sbatch -Q -D /tmp -o /dev/null -w n2 -J "$(name 2)" --comment "not supervisor" --wrap true
submit 3 true -w n1 > /dev/null
wait_for 20 done_jobs
ok "jobs that are not ours, or not on that node, start no process" \
    test "$(onces_started)" = "$before"
spank_adds_little up

# 2. SPANK, without. Processes of all three stay until they give up.
spank_options endpoint=127.0.0.1:1
spank_adds_little dead
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -keyout "$lab/etc/key.pem" -out "$lab/etc/cert.pem" 2> /dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=other \
    -keyout "$lab/etc/other.key" -out "$lab/etc/other.pem" 2> /dev/null
openssl s_server -quiet -accept 3904 -cert "$lab/etc/cert.pem" -key "$lab/etc/key.pem" \
    > /dev/null 2>&1 < <(sleep 1000) &
spank_options endpoint=localhost:3904 "ca=$lab/etc/other.pem"
spank_adds_little "with a wrong certificate"
kill -STOP "$server_pid"
spank_options endpoint=127.0.0.1:3901
spank_adds_little "a black hole"
kill -CONT "$server_pid"

# 3. A mistake in plugstack.conf. (First those of before have to give up.)
wait_for 30 one_more_may_try
spank_options endpoint=127.0.0.1:3901 endpiont=127.0.0.1:3
id=$(submit 4 true -w n2)
ok "an unknown option: the log names it" wait_for 20 grep -q \
    'error: .*plugstack.conf: "endpiont=127.0.0.1:3" is no option' "$lab/log/slurmd-n2.log"
ok "and the rest is used" wait_for 20 told_by_node "$id"
spank_options endpoint=127.0.0.1:3901

# 4. prep. Both nodes load it too.
without=$(batch_start)
stop_ctld
kill "${slurmd_pids[@]}"
wait "${slurmd_pids[@]}"
write_confs PrEpPlugins=prep/script,prep/deepsquare
ok "the daemons run with prep" start_daemons
with=$(batch_start)
for _ in 1 2 3 4 5; do
    [ $((with - without)) -ge 50 ] || break
    more=$(batch_start)
    [ "$more" -ge "$with" ] || with=$more
done
echo "# batch jobs start after $without ms, with prep after $with ms"
ok "prep adds less than 50 ms to a job's start" test $((with - without)) -lt 50
id=$(submit 11 "$until_told" -w n1)
ok "prep tells of a start" wait_for 20 told_by_ctld 11 restarts=0
ok "while the job runs" is_running "$id"
end_jobs
wait_for 20 has_event 11 status=7
ok "start and end, each once, in this order" test "$(sed -n "s/^name=$(name 11) .*\(status=.\).*/\1/p" \
    "$lab/events" | tr '\n' ' ')" = "status=4 status=7 "
sbatch -Q -D /tmp -o /dev/null -J "$(name 12)" --comment "not supervisor" --wrap true
submit 13 true -w n1 --array=1-2 > /dev/null
again=$(submit 14 "$until_again" -w n2 --requeue)
wait_for 20 is_running "$again"
scontrol requeue "$again"
wait_for 20 is_again "$again"
sleep 2 # the nodes would not take it at once

# 5. prep and SPANK both, a job that is started twice; and the agent away for a while.
scontrol update "jobid=$again" starttime=now 2> /dev/null
scontrol release "$again" 2> /dev/null
ok "requeued: both starts are told by prep" wait_for 60 told_by_ctld 14 restarts=1
ok "and the first" told_by_ctld 14 restarts=0
ok "and both by SPANK" wait_for 10 told_by_node "$again" restarts=1
ok "array: a start for each task" test "$(starts_of 13)" = 2
ok "not ours: nothing" test "$(grep -c "^name=$(name 12) " "$lab/events")" = 0
wait_for 20 done_jobs
stop_server
submit 15 true -w n1 > /dev/null
ok "with a dead agent the job runs" wait_for 20 done_jobs
start_server 3901
ok "and its start arrives later" wait_for 30 told_by_ctld 15
ok "once" test "$(starts_of 15)" = 1
ok "no node suffers" no_node_suffers

# 6. Nothing stays.
wait "$by_hand"
ok "what gives up says so, in one line" test "$(grep -c . "$lab/out/by_hand")" = 1
# Of its last try: a loaded machine may end that before it is refused.
ok "and why" grep -qiE "start of Slurm job 77 not reported to 127.0.0.1:1: .*(refused|deadline|connect)" "$lab/out/by_hand"
ok "no process outlives its deadline" wait_for 40 no_onces
ok "and none is a zombie" sh -c "! ps -e -o stat=,comm= | grep '^Z.*deepsquare'"
stop_ctld
ok "nobody complained of a plugin" sh -c "! grep -iE 'prep.*error|plugin_load|symbol' \
    '$lab/log/slurmctld.log' '$lab/log/slurmd-n1.log' '$lab/log/slurmd-n2.log'"
lab_end
