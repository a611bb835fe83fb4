#!/usr/bin/env bash
# What does one change to the relay alone cost or save? Runs relays in turn under one load: builds of two commits, or one
# build with different flags.
#
#   perf/ablate.sh [--workload W] [--rounds R] [--seconds S] LABEL=PROGRAM[,FLAG...] LABEL=PROGRAM[,FLAG...]...
#
#   --workload W    one of perf/workloads                       (default: call)
#   --rounds R      of each                                     (default: 3)
#   --seconds S     measured in each run, after a warm-up       (default: 5)
#
# So `perf/ablate.sh short=target/release/moqswitch,--batch-window,200us long=target/release/moqswitch,--batch-window,1ms`.
# Prints a line for each run, and medians of those in which the generator was not the bottleneck and 99 % arrived. Exit status: 0 measured,
# 2 cannot run.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

main() {
    local name=call rounds=3 seconds=5 contenders=()
    while (($#)); do
        case $1 in
        --workload) name=${2:-}; [[ -n $name ]] || die 2 "--workload needs a name"; shift 2 ;;
        --rounds) positive "$1" "${2:-}"; rounds=$2; shift 2 ;;
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        -h | --help) usage ;;
        *=*) contenders+=("$1"); shift ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
    done
    ((${#contenders[@]} >= 2)) || die 2 "two relays or more are wanted, as LABEL=PROGRAM[,FLAG...]"
    lab_begin
    check_cores
    read_workload "$name"
    build
    local round contender
    for ((round = 1; round <= rounds; round++)); do
        for contender in "${contenders[@]}"; do run "${contender%%=*}" "${contender#*=}"; done
    done
    for contender in "${contenders[@]}"; do
        jq -es --arg name "${contender%%=*}" 'any(.[]; .name == $name and .valid and .missed_percent < 1)' "$work/runs.jsonl" >/dev/null \
            || die 2 "no run of ${contender%%=*} is a result"
    done
    jq -rs "$MEDIAN"'
        map(select(.valid and .missed_percent < 1)) | group_by(.name)[]
        | "\(.[0].name): \(map(.us) | median) µs, p99 \(map(.p99_ms) | median) ms, \(map(.rss_mib) | median) MiB, medians of \(length)"' \
        "$work/runs.jsonl"
}

run() { # label, program and flags by comma
    local command
    IFS=, read -ra command <<<"$2"
    [[ -x ${command[0]} ]] || die 2 "$1: '${command[0]}' is not a program"
    launch_moqswitch "${command[@]}" || relay_failed
    start_load "$work/summary.json" "$seconds" "${workload[@]}"
    finish_load || say "$1: $(generator_fault)"
    end_relay
    jq -c --arg name "$1" '{name: $name, us: .relay_cpu_us_per_frame, p50_ms: .one_way_ms.p50, p99_ms: .one_way_ms.p99,
        missed_percent, rss_mib: .relay_rss_mib, valid: .generator.valid}' "$work/summary.json" | tee -a "$work/runs.jsonl"
}

main "$@"
