#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Rules of the tree that a script can check. Prints TAP.
set -u
cd "$(dirname "$0")/.." || exit 1
n=0

# report NAME OFFENDERS: one test; the offenders are its diagnosis.
report() {
    n=$((n + 1))
    if [ -z "$2" ]; then
        echo "ok $n - $1"
    else
        echo "not ok $n - $1"
        printf '%s\n' "$2" | head -20 | sed 's/^/#   /'
    fi
}

mapfile -t files < <(git ls-files -co --exclude-standard)
mapfile -t c_files < <(printf '%s\n' "${files[@]}" | grep -E '\.[ch]$')
mapfile -t text_files < <(printf '%s\n' "${files[@]}" | grep -vE '^LICENSE$|package-lock\.json$|/corpus/')

# Layers (doc/architecture.md): what each directory may include.
layer() { # DIR ALLOWED-REGEX
    grep -nE '^#include "' "$1"/*.[ch] "$1"/*/*.[ch] 2>/dev/null |
        grep -vE "#include \"($2)"
}
report "layers: util includes util only" "$(layer agent/util 'agent/util/')"
report "layers: store" "$(layer agent/store 'agent/(util|store)/')"
report "layers: chain" "$(layer agent/chain 'agent/(util|chain)/')"
report "layers: slurm" "$(layer agent/slurm 'agent/(util|slurm)/')"
report "layers: customer" "$(layer agent/customer 'agent/(util|customer)/|proto/')"
report "layers: proto" "$(layer proto 'agent/util/|proto/|config\.h')"
report "layers: server" "$(layer agent/server 'agent/(util|server)/|proto/')"
report "layers: engine" "$(layer agent/engine 'agent/(util|store|chain|slurm|customer|server|engine)/')"
report "layers: plugins/common is libc only" "$(layer plugins/common 'plugins/common/')"
report "layers: plugins/authkeys" "$(layer plugins/authkeys 'agent/util/|agent/version\.h|plugins/authkeys/|proto/')"
report "layers: only proto/ includes gRPC" \
    "$(grep -nE '#include <grpc' "${c_files[@]}" | grep -vE '^(proto|tests)/')"
report "layers: only store/ includes SQLite" \
    "$(grep -nE '#include <sqlite3' "${c_files[@]}" | grep -vE '^(agent/store/|tests/)')"

report "every source file has its SPDX line" "$(
    for f in "${text_files[@]}"; do
        case $f in
        *.c | *.h | *.def | *.proto | *.sol | *.mjs | *.sh | *.inc | *.ac | *.am | check | demo | .ci/run | tests/devnet/enter | tests/devnet/install)
            head -3 "$f" | grep -q 'SPDX-License-Identifier: GPL-3.0-or-later\|SPDX-License-Identifier: GPL-2.0-or-later' || echo "$f" ;;
        esac
    done)"

if command -v clang-format >/dev/null; then
    report "clang-format has nothing to change" "$(
        for f in "${c_files[@]}"; do
            clang-format --dry-run -Werror "$f" >/dev/null 2>&1 || echo "$f"
        done)"
else
    n=$((n + 1))
    echo "ok $n - clang-format # SKIP not installed"
fi

report "no function that the style forbids" "$(
    grep -nwE 'atoi|atol|sprintf|vsprintf|strcpy|strcat|strtok|gets|alloca|pthread_cancel' \
        "${c_files[@]}" | grep -E '(atoi|atol|sprintf|vsprintf|strcpy|strcat|strtok|gets|alloca|pthread_cancel) ?\(' |
        grep -vE '^tests/')"
report "no file of C over 700 lines" "$(
    wc -l "${c_files[@]}" | awk '$1 > 700 && $2 != "total" && $2 !~ /^tests\// {print}')"
report "shell scripts pass shellcheck" "$(
    if command -v shellcheck >/dev/null; then
        for f in "${files[@]}"; do
            case $f in *.sh | check | demo | .ci/run | tests/devnet/enter | tests/devnet/install | tests/devnet/debian-root | \
                tests/*/run | packaging/*/build | packaging/*/test | packaging/test/run | packaging/test/boot)
                shellcheck -S warning "$f" 2>&1 | grep -E '^In ' ;;
            esac
        done
    fi)"
report "no registry, download address or path of a machine is named" "$(
    grep -nE 'registry\.npmjs|deb\.debian\.org|"resolved"|/work/(main|wt|shared|build)' "${files[@]}" 2>/dev/null |
        grep -v '^tests/style.sh')"
report "doc/operations.md knows every warning and every option of the reference" "$(tests/operations.pl 2>&1)"
report "no merge is left half done" "$(grep -nE '^(<<<<<<<|>>>>>>>) ' "${files[@]}" 2>/dev/null)"
echo "1..$n"
