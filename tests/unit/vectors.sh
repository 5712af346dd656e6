#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Expected values of the chain tests, made by an implementation that is not ours: cast of Foundry.
#   CAST=/path/to/cast tests/unit/vectors.sh           compares with tests/unit/vectors.h (TAP)
#   CAST=/path/to/cast tests/unit/vectors.sh --write   writes tests/unit/vectors.h anew
# Without CAST the comparison is skipped: the unit tests need the header only.
set -eu
header="${top_srcdir:-$(dirname "$0")/../..}/tests/unit/vectors.h"

if [ -z "${CAST:-}" ]; then
    echo "1..0 # SKIP no cast"
    exit 0
fi

mode=${1:-compare}
number=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The literals of `#define NAME` in the header, joined.
committed() {
    awk -v name="$1" '
        $1 == "#define" { here = ($2 == name) }
        here { while (match($0, /"[^"]*"/)) {
                   printf "%s", substr($0, RSTART + 1, RLENGTH - 2)
                   $0 = substr($0, RSTART + RLENGTH) } }' "$header"
}

write_define() {
    printf '\n#define %s' "$1"
    printf '%s\n' "$2" | fold -w 88 | awk '{ printf " \\\n    \"%s\"", $0 } END { print "" }'
}

# vector NAME ARG...: what `cast ARG...` prints.
vector() {
    name=$1
    shift
    number=$((number + 1))
    if ! value=$("$CAST" "$@" </dev/null 2>"$work/stderr"); then
        sed 's/^/# /' "$work/stderr"
        echo "not ok $number - $name: cast failed"
        exit 1
    fi
    if [ "$mode" = --write ]; then
        write_define "$name" "$value" >>"$work/vectors.h"
    elif [ "$(committed "$name")" = "$value" ]; then
        echo "ok $number - $name"
    else
        echo "not ok $number - $name: cast $* says $value"
    fi
}

# N bytes, the i-th being 7 i + 3 modulo 256, as test_keccak.c makes them.
pattern() {
    awk -v n="$1" 'BEGIN { printf "0x"; for (i = 0; i < n; i++) printf "%02x", (7 * i + 3) % 256 }'
}

key=0x4646464646464646464646464646464646464646464646464646464646464646
other_key=0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318
to=0x3707aB457CF457275b7ec32e203c54df80C299d5
customer=0x1111111111111111111111111111111111111111
provider=0x2222222222222222222222222222222222222222
job=0x00000000000000000000000000000000000000000000000000000000000000a7
definition='(uint64,uint64,uint64,uint64,string,uint8,(string,string)[],((string,string),bytes2)[])'
cost='(uint256,uint256,uint256,bool)'
time='(uint256,uint256,uint256,uint256,uint256,uint256)'
claim="f(address,address,bytes32,uint64,$definition)"
job_type="f((bytes32,uint8,address,address,$definition,$cost,$time,bytes32,bool,string,int64))"
full_definition='(2,4096,8,3,"0a1b2c3d4e5f",1,[("os","linux"),("arch","amd64")],[(("zone","eu-west-with-a-name-longer-than-one-word"),0x3d3d)])'
plain_definition='(0,1,1,1,"",0,[],[])'
times='(1700000000,1700000100,1700000200,0,77,0)'
set_status='providerSetJobStatus(bytes32,uint8,uint64,string,int64)'
hardware='(uint64,uint64[],uint64[],uint64[])'
register="register($hardware,(uint256,uint256,uint256),(string,string)[])"
nonce='{"message":"login","nonce":"AAECAwQFBgcICQoLDA0ODw=="}'
max_u256=115792089237316195423570985008687907853269984665640564039457584007913129639935

# Keccak: around the block's 136 bytes and its multiples, and beyond.
for n in 0 1 3 31 32 55 56 64 127 128 134 135 136 137 138 200 271 272 273 407 408 409 1000 10000; do
    vector "VECTOR_KECCAK_$n" keccak "$(pattern $n)"
done
vector VECTOR_KECCAK_ABC keccak abc

# RLP, besides the published ones.
vector VECTOR_RLP_55 to-rlp "\"$(pattern 55)\""
vector VECTOR_RLP_56 to-rlp "\"$(pattern 56)\""
vector VECTOR_RLP_1000 to-rlp "\"$(pattern 1000)\""
vector VECTOR_RLP_NESTED to-rlp "[\"$(pattern 3)\",[\"$(pattern 60)\",[]],\"0x7f\",\"0x80\",\"0x\"]"

# Calldata.
vector VECTOR_CALL_CLAIM calldata 'claimNextJob()'
vector VECTOR_CALL_ADDRESS calldata 'getClaimableJobQueueSize(address)' $provider
vector VECTOR_CALL_REFUSE calldata 'refuseJob(bytes32)' $job
vector VECTOR_CALL_STATUS_PLAIN calldata "$set_status" $job 3 0 '' 0
vector VECTOR_CALL_STATUS_ERROR calldata -- "$set_status" $job 6 61 \
    'exit status 1: a text that is longer than one word' -9
vector VECTOR_CALL_STATUS_32 calldata "$set_status" $job 5 18446744073709551615 \
    '0123456789abcdef0123456789abcdef' 9223372036854775807
vector VECTOR_CALL_REGISTER calldata "$register" '(2,[4,0],[64,32],[512000,128000])' \
    "(8500000000000,$max_u256,0)" '[("os","linux"),("region","a-value-that-needs-more-than-one-word")]'

# Event data.
vector VECTOR_EVENT_CLAIM abi-encode "$claim" $customer $provider $job 90 "$full_definition"
vector VECTOR_EVENT_CLAIM_PLAIN abi-encode "$claim" $customer $provider $job 0 "$plain_definition"
vector VECTOR_EVENT_CANCEL abi-encode 'f(address,address,bytes32)' $customer $provider $job
vector VECTOR_EVENT_TOP_UP abi-encode 'f(bytes32,address,uint64)' $job $provider 30
vector VECTOR_EVENT_TRANSITION abi-encode 'f(bytes32,uint8,uint8)' $job 2 3

# Return data.
vector VECTOR_JOB abi-encode "$job_type" \
    "($job,6,$customer,$provider,$full_definition,(100,90,10,true),$times,$job,true,\"it failed\",-9)"
vector VECTOR_JOB_PLAIN abi-encode "$job_type" \
    "($job,0,$customer,$provider,$plain_definition,(100,0,0,false),(1,0,0,0,1,0),$job,false,\"\",0)"
provider_type="f((address,$hardware,(uint256,uint256,uint256),(string,string)[],bool))"
vector VECTOR_PROVIDER abi-encode "$provider_type" \
    "($provider,(2,[0,4],[32,64],[128000,512000]),(8500000000000,$max_u256,0),[(\"region\",\"a-value-that-needs-more-than-one-word\"),(\"os\",\"linux\")],false)"
vector VECTOR_PROVIDER_ODD abi-encode "$provider_type" \
    "($provider,(7,[4],[64,32,1],[]),(1,2,3),[(\"os\",\"\")],true)"
vector VECTOR_PROVIDER_NONE abi-encode "$provider_type" \
    '(0x0000000000000000000000000000000000000000,(0,[],[],[]),(0,0,0),[],false)'

# Reverts.
vector VECTOR_REVERT_TRANSITION calldata 'InvalidTransition(uint8,uint8)' 2 5
vector VECTOR_REVERT_PROVIDER calldata 'JobProviderOnly(address,address)' $customer $provider
vector VECTOR_REVERT_FUNDS calldata 'InsufficientFunds(uint256,uint256)' $max_u256 100000000000000000000
vector VECTOR_REVERT_ERROR calldata 'Error(string)' 'AccessControl: account is missing role'
vector VECTOR_REVERT_PANIC calldata 'Panic(uint256)' 18

# Signatures.
for k in $key $other_key; do
    [ $k = $key ] && tag= || tag=_OTHER
    vector "VECTOR_ADDRESS$tag" wallet address --private-key $k
    vector "VECTOR_TX_LEGACY$tag" mktx --private-key $k --legacy --chain 179188 --nonce 9 \
        --gas-limit 200000 --gas-price 20000000000 $to 0x5d3a7180
    vector "VECTOR_TX_1559$tag" mktx --private-key $k --chain 179188 --nonce 0 \
        --gas-limit 500000 --gas-price 30000000000 --priority-gas-price 1500000000 $to \
        "0xe1c0fdd4$(pattern 256 | cut -c 3-)"
    vector "VECTOR_MESSAGE$tag" wallet sign --private-key $k hello
done
vector VECTOR_MESSAGE_EMPTY wallet sign --private-key $key ''
vector VECTOR_MESSAGE_LOGIN wallet sign --private-key $key "$nonce"
vector VECTOR_MESSAGE_LONG wallet sign --private-key $key "$(pattern 1000)"

if [ "$mode" = --write ]; then
    {
        echo '/* SPDX-License-Identifier: GPL-3.0-or-later */'
        echo '/* Written by tests/unit/vectors.sh, which has the commands: do not edit. */'
        echo '#ifndef TESTS_VECTORS_H'
        echo '#define TESTS_VECTORS_H'
        echo '// clang-format off'
        cat "$work/vectors.h"
        printf '\n// clang-format on\n#endif\n'
    } >"$header"
else
    echo "1..$number"
fi
