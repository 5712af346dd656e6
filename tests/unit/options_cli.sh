#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The command line as a user meets it: messages, exit status, what /proc shows afterwards.
prog=${top_builddir:-.}/tests/unit/options_main
top=${top_srcdir:-.}
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
. "${top_srcdir:-.}/tests/unit/tap.sh"

# A clean environment: nothing of the caller's is taken for an option. No file of this machine.
run() {
    env -i PATH="$PATH" AGENT_CONFIG=/dev/null "$@" >"$dir/out" 2>"$dir/err"
    status=$?
}

status_is() { [ "$status" -eq "$1" ]; }
lines_are() { [ "$(wc -l <"$dir/$1")" -eq "$2" ]; }
has() { grep -qF -e "$2" "$dir/$1"; }
hasnt() { ! grep -qF -e "$2" "$dir/$1"; }

key=4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318
echo "$key" >"$dir/key" && chmod 0600 "$dir/key"
echo "bm90IGEga2V5" >"$dir/ssh" && chmod 0600 "$dir/ssh"
contract=0x00000000000000000000000000000000000000aa
cat >"$dir/conf" <<END
metascheduler.smart-contract = $contract
slurm.ssh.address = "login.example.com:22"
slurm.ssh.admin-user = slurm
slurm.ssh.private-key-file = $dir/ssh
eth.private-key-file = $dir/key
workers = 5
END

echo "1..35"

run "$prog"
result "without options: exit status 2" status_is 2
result "without options: a line for each missing one" lines_are err 3
result "the contract's default is no address" has err \
    "--metascheduler.smart-contract is missing (the default, 0x, is none), expected ADDRESS"
result "nothing on stdout" lines_are out 0

run "$prog" --help
result "--help: exit status 0" status_is 0
result "--help: nothing on stderr" lines_are err 0
result "--help: fits 100 columns" [ "$(awk 'length > 100' "$dir/out" | wc -l)" -eq 0 ]
run "$prog" -h
result "-h is --help" has out "--grpc.listen-address HOST:PORT"

run "$prog" --version
result "--version" has out "deepsquare-agent "

run "$prog" --config "$dir/conf"
result "a good file: runs" status_is 0
result "a good file: no warnings" hasnt out "warning"
result "a value of the file" has out "workers 5"
result "the key was read" has out "key of 64 bytes"

run WORKERS=6 "$prog" --config "$dir/conf"
result "the environment wins over the file" has out "workers 6"
run WORKERS=6 "$prog" --config="$dir/conf" --workers 7
result "the flag wins over the environment" has out "workers 7"
run AGENT_CONFIG="$dir/conf" "$prog"
result "AGENT_CONFIG" has out "workers 5"

sed -i '/eth.private-key-file/d' "$dir/conf"
run "$prog" --config "$dir/conf" --eth.private-key "$key"
result "a secret in a flag: runs" status_is 0
result "a secret in a flag: a warning" has out "warning: --eth.private-key: a secret in a flag"
result "a secret in a flag: gone from /proc/self/cmdline" hasnt out "$key"
run ETH_PRIVATE_KEY=$key "$prog" --config "$dir/conf"
result "a secret in the environment: runs" has out "key of 64 bytes"
result "a secret in the environment: gone from /proc/self/environ" hasnt out "$key"

run ETH_PRIVATE_KEY=$key "$prog" --config "$dir/conf" --check-config
result "--check-config: good" has out "the configuration is good"
run "$prog" --config "$dir/conf" --check-config
result "--check-config: a missing one" status_is 2

run ETH_PRIVATE_KEY=$key "$prog" --config "$dir/conf" --print-config
result "--print-config: no secrets" hasnt out "$key"
result "--print-config: the secret's place" \
    grep -q '^#eth.private-key = \*\*\*  *# environment ETH_PRIVATE_KEY$' "$dir/out"

mkdir -m 0700 "$dir/secrets" "$dir/given"
run "$prog" --config "$dir/conf"
result "a secret that nothing names and that is nowhere: missing" has err \
    "--eth.private-key-file is missing"
cp -p "$dir/key" "$dir/secrets/eth.private-key"
run "$prog" --config "$dir/conf"
result "a secret of the directory secrets is found" has out "key of 64 bytes"
run "$prog" --config "$dir/conf" --print-config
result "and --print-config says so" \
    grep -q "^eth.private-key-file = $dir/secrets/eth.private-key  *# found$" "$dir/out"
chmod 0644 "$dir/secrets/eth.private-key"
run "$prog" --config "$dir/conf"
result "it must not be open to others" has err "--eth.private-key-file (found): $dir/secrets/eth.private-key: mode 0644"
cp -p "$dir/key" "$dir/given/secret_eth.private-key"
run CREDENTIALS_DIRECTORY="$dir/given" "$prog" --config "$dir/conf"
result "as a credential it wins" has out "key of 64 bytes"
run "$prog" --config "$dir/conf" --eth.private-key-file "$dir/ssh"
result "one that is named wins over it" has err "--eth.private-key-file: bad value (not shown)"
rm -r "$dir/secrets" "$dir/given"

run "$prog" --slurm.ssh.adress login:22
result "an unknown flag: exit status 2" status_is 2
result "an unknown flag: the nearest one" has err \
    "--slurm.ssh.adress: unknown flag, did you mean --slurm.ssh.address?"

echo "worker = 5" >>"$dir/conf"
run "$prog" --config "$dir/conf"
result "an unknown key: file, line and the nearest one" has err \
    "$dir/conf:6: worker: unknown key, did you mean workers?"

run "$prog" --print-sample-config
result "etc/agent.conf is what --print-sample-config prints" cmp -s "$dir/out" "$top/etc/agent.conf"
