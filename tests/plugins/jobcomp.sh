#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The jobcomp plugin in a real slurmctld, with slurmd and jobs: which events reach a JobAPI, and what
# a dead, slow or restarted agent, forwarder or slurmctld costs. See lab.sh.
# shellcheck disable=SC2154,SC2034 # variables of lab.sh
set -u
# shellcheck source=tests/plugins/lab.sh
. "$(dirname "$0")/lab.sh"

write_conf 3901
start_server 3901
start_slurmd n1
ok "slurmctld runs with the plugin" start_ctld
ok "the forwarder was started" wait_for 5 has_forwarder
ok "nothing of gRPC, TLS or C++ is in slurmctld" \
    sh -c "! grep -E 'libgrpc|libstdc|libssl|libprotobuf' /proc/$ctld_pid/maps"

# 1. The ends of jobs, and only of ours.
brief=$(submit 1 "sleep 1")
submit 2 "exit 3" > /dev/null
submit 3 'kill -9 $$' > /dev/null
held=$(submit 4 true -H)
run=$(submit 5 "sleep 100")
sbatch --parsable -D /tmp -o /dev/null -J "$(name 6)" --wrap true > /dev/null 2>&1
scancel "$held"
wait_for 20 is_running "$run"
sleep 1
scancel "$run"
wait_for 30 done_jobs
ok "a job that succeeds: FINISHED" wait_for 10 has_event 1 "duration=$(run_time "$brief") status=7 exit_code=0"
ok "exit 3: FAILED, 3" wait_for 10 has_event 2 "status=8 exit_code=3 state=0x8005"
ok "killed by a signal: FAILED, 137" wait_for 10 has_event 3 "status=8 exit_code=137"
ok "cancelled while pending: CANCELLED, 0 s" wait_for 10 has_event 4 "duration=0 status=6"
ok "cancelled while running: CANCELLED" wait_for 10 has_event 5 "duration=[1-9][0-9]* status=6"
ok "without the comment: nothing" sh -c "! grep -q '^name=$(name 6) ' '$lab/events'"

# 2. Requeued: the attempt's end is not the job's.
again=$(submit 7 "$until_again" --requeue)
wait_for 20 is_running "$again"
scontrol requeue "$again"
wait_for 20 is_again "$again"
sleep 2 # the nodes would not take it at once
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
ok "slurmctld ends soon with the agent dead" test "$took" -lt 2000
ok "and no forwarder stays" wait_for 3 no_forwarder
start_ctld
submit 15 true > /dev/null
start_server 3901
ok "all events arrive, those from before the restart too" \
    wait_for 45 arrived 10 11 12 13 14 15
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
before=$(now_ms)
for n in 30 31 32 33 34 35 36 37 38 39; do submit $n true > /dev/null; done
wait_for 30 done_jobs
echo "# ten jobs took $(($(now_ms) - before)) ms, with a black hole for an agent"
before=$(now_ms)
scontrol reconfigure
reconfigure=$(($(now_ms) - before))
echo "# scontrol reconfigure: $reconfigure ms"
ok "reconfigure does not wait for it" test "$reconfigure" -lt 3000
stop_ctld
echo "# slurmctld ended after $took ms, with a black hole for an agent"
ok "slurmctld ends within 2 s with a black hole" test "$took" -lt 2000
ok "and no forwarder stays" wait_for 3 no_forwarder

# 7. slurmctld itself is killed with events in the spool.
start_ctld
kill_ctld
ok "slurmctld killed: the forwarder ends" wait_for 5 no_forwarder
start_ctld
kill -CONT "$server_pid"
ok "the events of before arrive" wait_for 60 arrived 30 31 32 33 34 35 36 37 38 39

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

# 9. The disk is full when a job ends.
stop_ctld
mount -t tmpfs -o size=64k none "$lab/state/deepsquare"
start_ctld
submit 60 true > /dev/null
ok "on a small disk an event arrives" wait_for 20 has_event 60 status=7
head -c 100000 /dev/zero > "$lab/state/deepsquare/filler" 2> /dev/null
submit 61 true --array=1-30 > /dev/null # more than the last page of the segment has room for
wait_for 30 done_jobs
ok "full: the log says so" \
    wait_for 5 grep -q "could not be written to .*No space left" "$lab/log/slurmctld.log"
rm "$lab/state/deepsquare/filler"
sleep 1.1 # it tries again then
submit 64 true > /dev/null
ok "with room again an event arrives" wait_for 20 has_event 64 status=7
ok "and the number of those lost is told" wait_for 5 grep -qE \
    "forwarder: .*[1-9][0-9]* records could not be written" "$lab/log/slurmctld.log"
ok "the forwarder bore it" has_forwarder

# 10. slurmctld is killed at any moment while jobs end. It forgets some of them itself; but those
# whose end it had told the plugin (its log line comes after that) are told to the agent. In the first
# round there is one at least.
told=()
has_told() { tail -c +$((from + 1)) "$lab/log/slurmctld.log" | grep -qE "$ends"; }
for round in 1 2 3; do
    from=$(stat -c %s "$lab/log/slurmctld.log")
    declare -A ids=()
    for n in $(seq ${round}01 ${round}10); do
        id=$(submit "$n" true) && ids[$n]=$id
    done
    ends="_job_complete: JobId=($(IFS='|' && echo "${ids[*]}")) done"
    [ $round -gt 1 ] || wait_for 60 has_told
    sleep "0.$((RANDOM % 10))"
    kill_ctld
    log=$(tail -c +$((from + 1)) "$lab/log/slurmctld.log")
    for n in "${!ids[@]}"; do
        [[ $log != *"_job_complete: JobId=${ids[$n]} done"* ]] || told+=("$n")
    done
    write_conf 3902 "FirstJobId=${round}000" # it would give out ids again that the node knows
    start_ctld
done
echo "# ${#told[@]} of 30 jobs had ended before their slurmctld was killed"
ok "slurmctld killed: what it had told the plugin arrives" wait_for 30 arrived "${told[@]}"
ok "that was something" test "${#told[@]}" -gt 0

# 11. Nothing is left.
sleep 1
stop_ctld
echo "# slurmctld ended after $took ms"
ok "the spool is empty" sh -c "! ls '$lab/state/deepsquare' | grep -q 'seg\$'"
ok "slurmctld never complained of a plugin" \
    sh -c "! grep -iE 'cannot create jobcomp|context not initialized|symbol' '$lab/log/slurmctld.log'"
lab_end
