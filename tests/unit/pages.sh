#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Man pages and completions: clean, and complete.
export LC_ALL=C
top=${top_srcdir:-.} built=${top_builddir:-.}
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
. "${top_srcdir:-.}/tests/unit/tap.sh"

# result_with PROGRAM NAME CONDITION...: skipped where the program is not installed.
result_with() {
    if command -v "$1" >/dev/null; then
        result "${@:2}"
    else
        n=$((n + 1))
        echo "ok $n - $2 # SKIP no $1 here"
    fi
}

# What the program itself prints: keys of settings, and flags.
env -i PATH="$PATH" "$built/tests/unit/options_main" --print-sample-config | sed -n 's/^#\([a-z][^ ]*\) =.*/\1/p' | sort >"$dir/keys"
env -i PATH="$PATH" "$built/tests/unit/options_main" --help | sed -n 's/^  \(--[a-z][^ []*\).*/\1/p' | sort >"$dir/flags"

pages=("$top"/doc/man/*.8 "$built"/doc/man/deepsquare-agent.8 "$built"/doc/man/agent.conf.5)
lint() { mandoc -Tlint -W warning "${pages[@]}"; }
items() { sed -n "s/^\.It $1 \([^ ]*\).*/$2\1/p" "$3" | sort; }
every_key() { diff "$dir/keys" <(items Cm '' "$built/doc/man/agent.conf.5" | grep -vx 'BOOL'); }
every_flag() { diff "$dir/flags" <(cat <(sed 's/^/--/' "$dir/keys") <(items Fl - "$built/doc/man/deepsquare-agent.8") | sort); }
nothing_left() { ! grep -nE '^@[a-z-]*@$' "${pages[@]}" "$built"/etc/completion/*deepsquare-agent; }

# bash, as readline calls it: what it offers for the last of these words.
offers() {
    bash -uc '. "$1"; shift
        [[ $(complete -p deepsquare-agent) == *"-F _deepsquare_agent "* ]] || exit 1
        COMP_WORDS=(deepsquare-agent "$@") COMP_CWORD=$#
        _deepsquare_agent
        printf "%s\n" "${COMPREPLY[@]}"' - "$built/etc/completion/deepsquare-agent" "$@"
}
offers_all_flags() { [ -z "$(comm -23 "$dir/flags" <(offers -- | sort) | tee /dev/stderr)" ]; }
offers_words() { [ "$(offers re)" = register ] && [ -z "$(offers --workers 5 re)" ]; }
offers_choices() { [ "$(offers --log.level = d)" = debug ] && [ "$(offers --slurm.backend '' | tr '\n' ' ')" = "auto rest ssh " ]; }
offers_files() { touch "$dir/agent.conf" && [ "$(offers --config "$dir/ag")" = "$dir/agent.conf" ] && [ -z "$(offers --workers "$dir/ag")" ]; }
zsh_has_flags() { diff "$dir/flags" <(sed -n "s/^    '\**\(--[^=[]*\).*/\1/p" "$built/etc/completion/_deepsquare-agent" | sort); }

echo "1..10"
result_with mandoc "the man pages have no mistakes" lint
result "agent.conf(5) has every key, and no other" every_key
result "deepsquare-agent(8) has every flag that is no key" every_flag
result "all lists were put in" nothing_left
result "bash: all flags" offers_all_flags
result "bash: commands, as the first word only" offers_words
result "bash: the words of a choice" offers_choices
result "bash: files where a file is wanted" offers_files
result_with zsh "zsh: it parses" zsh -n "$built/etc/completion/_deepsquare-agent"
result "zsh: all flags" zsh_has_flags
