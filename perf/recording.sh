#!/usr/bin/env bash
# What does it cost to record calls, and what is in the files? In each round:
#
#   without   N calls between telephones that all last: loss, delay, CPU and memory
#   with      the same, and every call is recorded: the same figures, and what is in the descriptions of recordings
#   killed    the same, and the switch is killed while they talk: how much each file lacks
#
#   perf/recording.sh [--calls N] [--seconds S] [--rounds R] [--json FILE] [--no-history]
#
#   --calls N       calls at once                                  (default: 200)
#   --seconds S     measured in each step, after calls are up      (default: 20)
#   --rounds R      how often                                      (default: 3)
#   --json FILE     writes the result
#   --no-history    does not append the result to perf/history.jsonl
#
#   MOQSWITCH, LOADGEN   programs in place of this tree's
#   RECORDINGS           where recordings go, a directory of the disk to measure    (default: the temporary directory)
#
# Telephones speak PCMU, with pauses. The switch has one core, and the generator with its sockets another. Exit status: 0
# measured, 1 a file is missing or lacks more than a second, 2 cannot run.
set -euo pipefail
switch=${MOQSWITCH:-} generator=${LOADGEN:-} place=${RECORDINGS:-}
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

main() {
    local json='' with_history=1 calls=200 seconds=20 rounds=3 round step
    parse "$@"
    lab_begin
    check_cores
    [[ -z $json ]] || writable --json "$json"
    if [[ -n $switch && -n $generator ]]; then
        built_commit=$(commit) moqswitch=$switch loadgen=$generator
    else
        build
        choose_relay "$switch"
    fi
    place=$(mktemp -d -p "${place:-$work}" recordings.XXXXXX)
    for ((round = 1; round <= rounds; round++)); do
        for step in without with killed; do
            say "round $round: $step"
            "step_$step"
        done
    done
    rm -rf "$place"
    jq -n --argjson stamp "$(stamp)" --argjson built "$(built_otherwise "$switch")" --slurpfile steps "$work/steps.jsonl" \
        '$stamp + $built + {recording: $steps}' >"$work/result.json"
    [[ -z $json ]] || cp "$work/result.json" "$json"
    ((!with_history)) || append_history recording <"$work/result.json"
    print_table
    jq -e 'all(.recording[] | select(.step == "killed"); .missing == 0 and .lacks_ms_max <= 1000)' "$work/result.json" >/dev/null \
        || die 1 "a killed switch left files that are not there, or lack more than a second"
}

parse() {
    while (($#)); do
        case $1 in
        --calls) positive "$1" "${2:-}"; calls=$2; shift 2 ;;
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        --rounds) positive "$1" "${2:-}"; rounds=$2; shift 2 ;;
        --json) json=${2:-}; [[ -n $json ]] || die 2 "--json needs a file"; shift 2 ;;
        --no-history) with_history=0; shift ;;
        -h | --help) usage ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
    done
}

step_without() {
    printf '' >"$work/switch.toml"
    load without
    local status=0
    await_load || status=$?
    ((status == 0 || status == 3)) || load_failed "$status"
    end_relay
    figures without '{}'
}

step_with() {
    record_all
    load with
    local status=0
    await_load || status=$?
    ((status == 0 || status == 3)) || load_failed "$status"
    # Those that end with the load are written to their ends.
    pause 2
    end_relay
    figures with "$(descriptions | jq -sc '{recordings: length, unfinished: map(select(.state != "complete")) | length,
        recorded: [.[].legs[].frames] | add, unrecorded: [.[].legs[].dropped] | add, bytes: [.[].files[].bytes] | add}')"
    rm -rf "${place:?}"/*
}

step_killed() {
    record_all
    load killed
    pause $((warm_up + 3))
    load_is_on
    local killed_ms file
    killed_ms=$(date +%s%3N)
    kill -KILL "$relay_pid"
    end_relay
    end_child "$load_pid"
    # Of PCMU of two channels a millisecond has 16 bytes, behind a header of 58.
    descriptions | jq -r '"\(.startMs) \(.files[0].name // "none")"' | while read -r start_ms name; do
        file=$(find "$place" -name "$name" -printf '%s')
        [[ -n $file ]] || { echo missing; continue; }
        echo $((killed_ms - start_ms - (file - 58) / 16))
    done | jq -Rsc --argjson calls "$calls" 'split("\n") | map(select(. != "")) | {step: "killed", calls: $calls,
        files: length, missing: map(select(. == "missing")) | length, lacks_ms_max: map(tonumber? // empty) | max}' >>"$work/steps.jsonl"
    rm -rf "${place:?}"/*
}

record_all() {
    printf '[[profiles]]\nfrom = "_."\nrecord = true\n' >"$work/dialplan.toml"
    # Telephones of the generator do not say what they speak.
    printf '[calls]\ncodecs = ["pcmu"]\ndialplan = "%s"\n[recording]\ndirectory = "%s"\ncalls = 10000\n' "$work/dialplan.toml" "$place" >"$work/switch.toml"
}

# Calls begin over some seconds, and last.
load() { # step
    local http_address
    warm_up=$((calls / 20 + 5))
    cat >"$work/$1.toml" <<END
duration = '$((warm_up + seconds))s'
warm_up = '${warm_up}s'
arrivals = { pattern = 'constant', rate = 20.0 }
hold = { distribution = 'forever' }
limits = { concurrent = $calls }
shape = { kind = 'two-party' }
audio = { media = { codec = 'pcmu' }, pauses = true }
phone = { answer = { distribution = 'fixed', time = '100ms' } }
END
    launch_moqswitch "$moqswitch" --config "$work/switch.toml" || relay_failed
    http_address=$(grep -o 'http=[^ ]*' "$work/relay.out" | cut -d= -f2)
    start_child "$work/loadgen.out" "$loadgen" run "$work/$1.toml" --relay "moql://$relay_address/" --ws "ws://$http_address/ws" \
        --relay-pid "$relay_pid" --cores "$LOADGEN_CORE" --json "$work/$1.json"
    load_pid=$child_pid
}

descriptions() {
    find "$place" -name '*.json' -exec cat {} +
}

figures() { # step, what else is known
    jq -c --arg step "$1" --argjson more "$2" '{step: $step, established: .calls_established, failed: .calls_failed,
        expected: .frames_expected, lost: .frames_lost, skipped: .frames_skipped, late: .frames_late, one_way_ms: .one_way_ms,
        cpu_percent: .relay_cpu_percent, rss_mib: .relay_rss_mib, generator_percent: .generator.cpu_percent,
        valid: .generator.valid} + $more' "$work/$1.json" >>"$work/steps.jsonl"
}

print_table() {
    jq -r '
        def figure: if . == null then "-" else . * 100 | round / 100 | tostring end;
        "\(.date), commit \(.commit), \(.host), kernel \(.kernel)", "",
        (.recording[] | if .step == "killed" then
            "killed: \(.files) recordings, \(.missing) without a file; each lacks \(.lacks_ms_max) ms at most"
        else
            "\(.step): \(.established) calls, \(.failed) failed; of \(.expected) frames \(.lost + .skipped) lost, \(.late) late; one way p50 \(.one_way_ms.p50 | figure), p99 \(.one_way_ms.p99 | figure) ms; switch \(.cpu_percent | figure) % of a core, \(.rss_mib | figure) MiB\(if .valid then "" else "; THE GENERATOR WAS THE BOTTLENECK" end)",
            (select(.recordings) | "    \(.recordings) recordings, \(.unfinished) not complete; \(.recorded) frames came, \(.unrecorded) of them are not in the files; \(.bytes) bytes")
        end)' "$work/result.json"
}

main "$@"
