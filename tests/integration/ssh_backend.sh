#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The SSH backend on a real Slurm and sshd, in namespaces of their own: needs root and the packages
# slurm-wlm, munge and openssh-server; touches nothing of the machine and leaves nothing behind.
# Usage: ssh_backend.sh [COMMAND...]   (default: the test program)
set -u
skip() { echo "1..0 # SKIP $*"; exit 0; }
[ "$(id -u)" = 0 ] || skip "needs root"
for tool in sbatch slurmctld slurmd munged sshd ssh-keygen unshare; do
    command -v $tool >/dev/null || PATH=$PATH:/usr/sbin command -v $tool >/dev/null || skip "no $tool"
done
PATH=$PATH:/usr/sbin:/sbin
self=$(readlink -f "$0")
[ $# -gt 0 ] || set -- "$(realpath "${top_builddir:-.}")/tests/integration/ssh_backend_test"

if [ -z "${SSH_BACKEND_LAB:-}" ]; then
    lab=$(mktemp -d /tmp/ssh-backend.XXXXXX)
    trap 'rm -rf "$lab"' EXIT
    unshare --mount --pid --net --fork --kill-child --mount-proc true 2>/dev/null ||
        skip "no namespaces here"
    SSH_BACKEND_LAB=$lab unshare --mount --pid --net --fork --kill-child --mount-proc \
        bash "$self" "$@"
    exit $?
fi

L=$SSH_BACKEND_LAB
export SLURM_CONF=$L/etc/slurm.conf
ctl_start() { slurmctld -D -f "$SLURM_CONF" >>"$L/log/slurmctld.out" 2>&1 </dev/null & echo $! >"$L/run/ctld"; }
case ${1:-} in # control of a running lab, for the test program
ctld-kill) kill -9 "$(cat "$L/run/ctld")"; exit ;;
ctld-stop) kill -STOP "$(cat "$L/run/ctld")"; exit ;;
ctld-cont) kill -CONT "$(cat "$L/run/ctld")"; exit ;;
ctld-start)
    ctl_start
    for _ in $(seq 200); do scontrol ping 2>/dev/null | grep -q ' UP' && exit 0; sleep .2; done
    exit 1 ;;
sshd-stop) pgrep -x sshd | xargs kill -STOP; exit ;;
sshd-cont) pgrep -x sshd | xargs kill -CONT; exit ;;
sshd-kill-sessions) # one may end by itself when another is killed: an error is only what stays
    for pid in $(pgrep -x sshd | grep -vx "$(cat "$L/run/sshd")"); do
        kill "$pid" 2>/dev/null || ! kill -0 "$pid" 2>/dev/null || exit 1
    done
    exit 0 ;;
esac

ip link set lo up
ip addr add 192.0.2.1/32 dev lo # with 127.0.0.1 alone getaddrinfo() tells Slurm that there is no IPv4
mkdir -p "$L"/{etc,state,spool/n1,spool/n2,log,run,munge,home,ssh}
chmod 755 "$L" "$L"/*
chmod 700 "$L/ssh"
mount -t tmpfs none /run && mkdir -p /run/sshd
for f in passwd group shadow; do cp -p "/etc/$f" "$L/etc/$f"; done
add_user() { # name uid shell
    echo "$1:x:$2:" >>"$L/etc/group"
    echo "$1:x:$2:$2::$L/home/$1:$3" >>"$L/etc/passwd"
    echo "$1:*:19000::::::" >>"$L/etc/shadow"
    mkdir -p "$L/home/$1/.ssh"
    [ "${4:-}" = nokey ] || cat "$L/ssh/id.pub" >"$L/home/$1/.ssh/authorized_keys"
    chown -R "$2:$2" "$L/home/$1"
    chmod 700 "$L/home/$1" "$L/home/$1/.ssh"
}
ssh-keygen -q -t ed25519 -N '' -f "$L/ssh/hk"
ssh-keygen -q -t ed25519 -N '' -f "$L/ssh/id"
alice=0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266
bob=0x70997970c51812dc3a010c7d01b50e0d17dc79c8
add_user gridadmin 42000 /bin/bash
add_user $alice 42001 /bin/bash
add_user $bob 42002 /bin/sh
add_user nokey 42003 /bin/bash nokey
for f in passwd group shadow; do mount --bind "$L/etc/$f" "/etc/$f"; done
# What a user's own files say must not count.
cat >"$L/home/$alice/.bashrc" <<'C'
echo "Welcome, 99999 times"
export SBATCH_TIMELIMIT=9999 SBATCH_ARRAY_INX=1-3 SBATCH_EXCLUSIVE=yes SBATCH_ACCOUNT=nobody
export SLURM_CLUSTERS=elsewhere SLURM_EXIT_ERROR=0 SQUEUE_FORMAT=%i SECRET_OF_LOGIN=1
C

cat >"$SLURM_CONF" <<C
ClusterName=lab
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=26817
SlurmUser=gridadmin
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$L/munge/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_min_interval=0,sched_interval=1,batch_sched_delay=0,bf_interval=1
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
StateSaveLocation=$L/state
SlurmdSpoolDir=$L/spool/%n
SlurmctldPidFile=$L/state/slurmctld.pid
SlurmdPidFile=$L/run/slurmd-%n.pid
SlurmctldLogFile=$L/state/slurmctld.log
SlurmdLogFile=$L/log/slurmd-%n.log
SlurmdParameters=config_overrides
PlugStackConfig=$L/etc/plugstack.conf
MailProg=/bin/true
KillWait=2
MessageTimeout=5
MinJobAge=${MIN_JOB_AGE:-300}
JobCompType=jobcomp/none
GresTypes=gpu
NodeName=n[1-2] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[26900-26901] CPUs=32 RealMemory=20000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=2000 State=UP
PartitionName=closed Nodes=ALL Hidden=YES AllowGroups=$bob MaxTime=2000 State=UP
C
: >"$L/etc/plugstack.conf"
mkdir -p "$L/dev"
for i in 0 1; do mknod "$L/dev/gpu$i" c 1 3; done
echo "Name=gpu File=$L/dev/gpu[0-1]" >"$L/etc/gres.conf"
cat >"$L/ssh/sshd_config" <<C
Port 26022
ListenAddress 127.0.0.1
HostKey $L/ssh/hk
PidFile $L/ssh/sshd.pid
UsePAM no
PasswordAuthentication no
SetEnv SLURM_CONF=$SLURM_CONF
C
dd if=/dev/urandom of="$L/munge/munge.key" bs=1024 count=1 status=none
chmod 400 "$L/munge/munge.key"
chmod 711 "$L/munge"
chown -R gridadmin "$L/state"
munged -F --key-file="$L/munge/munge.key" --socket="$L/munge/munge.socket" --force \
    --pid-file="$L/munge/munged.pid" --seed-file="$L/munge/seed" --log-file="$L/munge/munged.log" \
    >"$L/log/munged.out" 2>&1 </dev/null &
for _ in $(seq 200); do [ -S "$L/munge/munge.socket" ] && break; sleep .1; done
cd /
ctl_start
for n in n1 n2; do slurmd -D -N $n -f "$SLURM_CONF" >"$L/log/$n.out" 2>&1 </dev/null & done
"$(command -v sshd)" -D -f "$L/ssh/sshd_config" -E "$L/log/sshd.log" </dev/null >/dev/null 2>&1 &
echo $! >"$L/run/sshd"
up() { [ -s "$L/ssh/sshd.pid" ] && timeout 2 sinfo -h -o %T 2>/dev/null | grep -q idle; }
for _ in $(seq 200); do up && break; kill -0 "$(cat "$L/run/ctld")" 2>/dev/null || break; sleep .2; done
up || { echo "Bail out! Slurm or sshd did not start"; tail -n 3 "$L"/log/*.out "$L/state/slurmctld.log" >&2; exit 1; }
echo "[127.0.0.1]:26022 $(cut -d' ' -f1,2 "$L/ssh/hk.pub")" >"$L/ssh/known_hosts"

export SSH_ADDRESS=127.0.0.1:26022 SSH_KEY_FILE=$L/ssh/id SSH_KNOWN_HOSTS=$L/ssh/known_hosts
export SSH_ADMIN_USER=gridadmin SLURM_TEST_USER=$alice SLURM_TEST_USER2=$bob
export SLURM_TEST_HOME=$L/home/$alice SLURM_TEST_CONTROL=$self SSH_BACKEND_LAB
"$@"
