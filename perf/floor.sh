#!/usr/bin/env bash
# How far from the floor is a delivered frame? Runs the relay under `call` and `video` in turn with a bare forwarder
# (benches/floor.rs: as many datagrams of the same size in, as many sealed and out, none opened, no QUIC), which is 1.0.
#
#   perf/floor.sh [--rounds R] [--seconds S] [--no-history]
#
#   --rounds R      of each                                     (default: 3)
#   --seconds S     measured in each run, after a warm-up       (default: 5)
#   --no-history    does not append the medians to perf/history.jsonl
#
#   MOQSWITCH    a relay to measure instead of this tree's, such as perf/pgo.sh builds
#
# Prints medians over rounds and their ratio. Exit status: 0 measured, 2 cannot run.
set -euo pipefail
relay=${MOQSWITCH:-}
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

main() {
    local rounds seconds with_history round name
    parse_rounds "$@"
    lab_begin
    check_cores
    build
    find_floor
    for ((round = 1; round <= rounds; round++)); do
        for name in call video; do
            say "$name, round $round"
            measure_floor "$name"
            measure_relay "$name"
        done
    done
    jq -s "$MEDIAN"'
        group_by(.workload) | map({
            workload: .[0].workload, floor_us: map(.floor_us // empty) | median, relay_us: map(.relay_us // empty) | median
        } | .multiple = (if .relay_us then .relay_us / .floor_us else null end))' "$work/runs.jsonl" >"$work/result.json"
    jq -e 'all(.[]; .multiple)' "$work/result.json" >/dev/null || die 2 "no run of one workload is a result, see above"
    jq -r '.[] | "\(.workload): floor \(.floor_us * 100 | round / 100) µs, relay \(.relay_us // 0 | . * 100 | round / 100) µs, multiple \(.multiple // 0 | . * 100 | round / 100)"' \
        "$work/result.json"
    ((!with_history)) || jq -c --argjson built "$(built_otherwise "$relay")" '{floor: .} + $built' "$work/result.json" | append_history floor
}

# Leaves the bench in `floor`, and the relay in `moqswitch`.
find_floor() {
    choose_relay "$relay"
    cargo bench --quiet --manifest-path "$root/Cargo.toml" --bench floor --no-run --message-format=json-render-diagnostics >"$work/built" \
        || die 2 "the build failed; tuning/prepare.sh installs what it needs"
    floor=$(jq -r 'select(.target.name? == "floor") | .executable // empty' "$work/built")
}

measure_floor() { # workload
    "$floor" --seconds "$seconds" --core "$RELAY_CORE" --driver-core "$LOADGEN_CORE" "$1" >"$work/floor.out" 2>"$work/floor.err" \
        || die 2 "the bare forwarder failed: $(tail -n 2 "$work/floor.err" | head -n 1)"
    jq -c --arg workload "$1" '{workload: $workload, floor_us: .us_per_frame}' "$work/floor.out" >>"$work/runs.jsonl"
}

measure_relay() { # workload
    read_workload "$1"
    launch_moqswitch "$moqswitch" || relay_failed
    start_load "$work/summary.json" "$seconds" "${workload[@]}"
    if ! finish_load; then
        say "  $(generator_fault)"
    elif ! jq -e '.missed_percent < 1' "$work/summary.json" >/dev/null; then
        say "  $(jq .missed_percent "$work/summary.json") % of the frames did not arrive"
    else
        jq -c --arg workload "$1" '{workload: $workload, relay_us: .relay_cpu_us_per_frame}' "$work/summary.json" >>"$work/runs.jsonl"
    fi
    end_relay
}

main "$@"
