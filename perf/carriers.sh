#!/usr/bin/env bash
# What does WebTransport cost a delivered frame beside raw QUIC? Runs one relay under the same load over both, in turn.
#
#   perf/carriers.sh [--workload W] [--rounds R] [--seconds S] [--no-history]
#
#   --workload W    one of perf/workloads; without, each of call, audio, video, call-datagrams
#   --rounds R      of each                                     (default: 3)
#   --seconds S     measured in each run, after a warm-up       (default: 5)
#   --no-history    does not append the medians to perf/history.jsonl
#
#   MOQSWITCH    a relay to measure instead of this tree's, such as perf/pgo.sh builds
#
# Prints medians over rounds. Runs in which the generator was the bottleneck or less than 99 % arrived are left out. Exit
# status: 0 measured, 2 cannot run.
set -euo pipefail
relay=${MOQSWITCH:-}
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

main() {
    local rounds seconds with_history round name names=(call audio video call-datagrams)
    if [[ ${1:-} == --workload ]]; then
        (($# >= 2)) || die 2 "--workload needs a name"
        names=("$2")
        shift 2
    fi
    parse_rounds "$@"
    lab_begin
    check_cores
    build
    choose_relay "$relay"
    for ((round = 1; round <= rounds; round++)); do
        for name in "${names[@]}"; do
            for load_scheme in moql https; do
                say "$name, round $round: $load_scheme"
                measure "$name"
            done
        done
    done
    sum_up
    ((!with_history)) || jq -c --argjson built "$(built_otherwise "$relay")" '{carriers: .} + $built' "$work/result.json" | append_history carriers
}

measure() { # workload
    read_workload "$1"
    launch_moqswitch "$moqswitch" || relay_failed
    start_load "$work/summary.json" "$seconds" "${workload[@]}"
    finish_load || true
    jq -c --arg workload "$1" --arg scheme "$load_scheme" 'select(.generator.valid and .missed_percent < 1)
        | {workload: $workload, scheme: $scheme, us: .relay_cpu_us_per_frame, p99_ms: .one_way_ms.p99}' \
        "$work/summary.json" >>"$work/runs.jsonl"
    end_relay
}

sum_up() {
    jq -s "$MEDIAN"'
        group_by(.workload) | map(
            def of($scheme): map(select(.scheme == $scheme));
            {workload: .[0].workload,
                quic_us: (of("moql") | map(.us) | median), web_us: (of("https") | map(.us) | median),
                quic_p99_ms: (of("moql") | map(.p99_ms) | median), web_p99_ms: (of("https") | map(.p99_ms) | median)}
            | if .quic_us and .web_us then .web_costs = .web_us / .quic_us else . end)' "$work/runs.jsonl" >"$work/result.json"
    jq -e 'length > 0 and all(.[]; .web_costs)' "$work/result.json" >/dev/null || die 2 "no run of one carrier is a result: $(jq -c . "$work/result.json")"
    jq -r 'def figure: . * 100 | round / 100;
        .[] | "\(.workload): raw QUIC \(.quic_us | figure) µs, WebTransport \(.web_us | figure) µs for a delivered frame, \(.web_costs | figure) times; p99 \(.quic_p99_ms | figure), \(.web_p99_ms | figure) ms"' \
        "$work/result.json"
}

main "$@"
