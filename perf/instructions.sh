#!/usr/bin/env bash
# How many instructions an operation takes: codec, session, fan-out. Counted by valgrind, so what
# else the machine does hardly matters and two commits can be compared by one run of each, with
# the same compiler, libc and valgrind.
#
#   perf/instructions.sh
#
# Prints {"wire_group_decode": N, ...}. Each workload (benches/instructions.rs) runs twice, a few times and many: the
# difference leaves out what happens once. Exit status: 0 counted, 1 a workload failed, 2 cannot run.
set -euo pipefail
root=$(dirname "$(dirname "$(realpath "$0")")")

if (($#)); then
    if [[ $1 == -h || $1 == --help ]]; then
        sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0"
        exit 0
    fi
    echo "instructions.sh: unknown argument '$1' (--help shows all)" >&2
    exit 2
fi

for tool in cargo valgrind jq; do
    if ! command -v "$tool" >/dev/null; then
        echo "instructions.sh: $tool is missing: apt-get install valgrind jq; cargo comes from https://rustup.rs" >&2
        exit 2
    fi
done

few=100 many=1100
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo bench --quiet --manifest-path "$root/Cargo.toml" --bench instructions --no-run --message-format=json-render-diagnostics >"$work/build" || {
    echo "instructions.sh: the build failed; tuning/prepare.sh installs what it needs" >&2
    exit 2
}
bench=$(jq -r 'select(.target.name? == "instructions") | .executable // empty' "$work/build")

# NAME TIMES: instructions of the whole process.
count() {
    if ! valgrind --tool=callgrind --callgrind-out-file="$work/profile" "$bench" "$1" "$2" >"$work/log" 2>&1; then
        echo "instructions.sh: $1 failed under valgrind:" >&2
        cat "$work/log" >&2
        return 1
    fi
    sed -n 's/^\(summary\|totals\): //p' "$work/profile" | head -n 1
}

"$bench" >"$work/names"
while read -r name; do
    base=$(count "$name" "$few")
    whole=$(count "$name" "$many")
    jq -n --arg name "$name" --argjson base "$base" --argjson whole "$whole" --argjson times $((many - few)) \
        '{($name): (($whole - $base) / $times | round)}'
done <"$work/names" >"$work/counts"
jq -s add "$work/counts"
