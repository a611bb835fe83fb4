#!/usr/bin/env bash
# What does a delivered frame cost moqswitch, and what does it cost moq-relay, under the same load?
#
#   perf/compare.sh [--workload W]... [--rounds R] [--seconds S] [--modes LIST] [--json FILE] [--no-history]
#
#   --workload W    one of perf/workloads; may be repeated          (default: all)
#   --rounds R      runs of each contender, in turn                 (default: 3)
#   --seconds S     measured in each run, after a warm-up           (default: 10)
#   --modes LIST    modes of moq-relay, by comma                    (default: tokio,workers-1,io-uring)
#   --json FILE     writes the result
#   --no-history    does not append each run to perf/history.jsonl
#
#   MOQSWITCH       the moqswitch to compare, such as perf/pgo.sh builds    (default: built from this tree)
#   MOQ_RELAY       the moq-relay to compare with    (default: installed from crates.io into a cache, once)
#   RELAY_CORE, LOADGEN_CORE    cores of the two     (default: 0 and 1)
#
# Each run has a fresh relay on its core, and takes about 5 s more than is measured: three rounds of all are half an hour.
# A run in which the generator was the bottleneck is repeated once, and left out when it is again; so is one in which the
# relay does not start, ends or does not answer. The table has medians over rounds, and moq-relay in the mode that costs
# least for each frame among those that set up every call and delivered 99 % of the frames that the load has. moq-relay is
# built as `cargo install` does it, with its authors' profile. Exit status: 0 measured, 2 cannot run.
#
# Columns: frames/s that moqswitch delivered; µs of relay CPU, user and system, for each frame that arrived; p99 of the delay
# from when the schedule wanted a frame sent, and by how much the generator was late itself at its p99, which is in that
# delay; resident memory at the end; frames that were owed to listeners and did not arrive, of all rounds.
set -euo pipefail
relay=${MOQSWITCH:-} named_peer=${MOQ_RELAY:-}
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/peer.sh"

# Of the frames of the load, for a mode to be compared with.
readonly DELIVERED_PERCENT_MIN=99

main() {
    local workloads=() modes=() rounds=3 seconds=10 json='' with_history=1
    parse "$@"
    lab_begin
    check_cores
    [[ -z $json ]] || writable --json "$json"
    local name
    for name in "${workloads[@]}"; do read_workload "$name"; done
    need openssl "apt-get install openssl"
    build
    choose_relay "$relay"
    find_peer "$named_peer"
    make_certificate
    local stamp round contender
    stamp=$(stamp)
    for name in "${workloads[@]}"; do
        for ((round = 1; round <= rounds; round++)); do
            for contender in moqswitch "${modes[@]}"; do
                measure "$name" "$contender" "$round"
            done
        done
        # What is known so far is not lost when a later workload goes wrong.
        sum_up
    done
    print_table "$work/result.json"
    [[ -z $relay ]] || echo "moqswitch was not built here: $(built_otherwise "$relay")"
}

sum_up() {
    jq -s --argjson stamp "$stamp" --arg peer "$("$peer" --version)" --argjson delivered_percent_min $DELIVERED_PERCENT_MIN \
        -f "$lab_directory/compare.jq" "$work/runs.jsonl" >"$work/result.json"
    [[ -z $json ]] || cp "$work/result.json" "$json"
}

parse() {
    local mode
    while (($#)); do
        case $1 in
        --workload) [[ -n ${2:-} ]] || die 2 "--workload needs a name"; workloads+=("$2"); shift 2 ;;
        --rounds) positive "$1" "${2:-}"; rounds=$2; shift 2 ;;
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        --modes) [[ -n ${2:-} ]] || die 2 "--modes needs a list"; IFS=, read -ra modes <<<"$2"; shift 2 ;;
        --json) json=${2:-}; [[ -n $json ]] || die 2 "--json needs a file"; shift 2 ;;
        --no-history) with_history=0; shift ;;
        -h | --help) usage ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
    done
    ((${#modes[@]})) || modes=("${MODE_NAMES[@]}")
    for mode in "${modes[@]}"; do
        [[ -n $mode && -n ${MODES[$mode]+known} ]] || die 2 "no mode '$mode' of moq-relay; there are: ${MODE_NAMES[*]}"
    done
    ((${#workloads[@]})) || readarray -t workloads < <(workload_names)
}

measure() { # workload, contender, round
    local status failure
    for _ in 1 2; do
        say "$1, round $3: $2"
        status=0 failure=''
        if launch "$2"; then
            read_workload "$1"
            start_load "$work/summary.json" "$seconds" "${workload[@]}"
            await_load || status=$?
            kill -0 "$relay_pid" 2>/dev/null || failure="the relay ended under the load: $(last_line "$work/relay.out")"
            ((status == 0 || status == 3)) || failure=${failure:-"no figures: $(last_line "$work/loadgen.out")"}
        else
            failure="the relay does not start: $(last_line "$work/relay.out")"
        fi
        end_relay
        if [[ $failure ]]; then
            say "  $failure"
            record_failure "$@" "$failure"
            return
        fi
        record "$@"
        ((status)) || return 0
        say "  $(generator_fault)"
    done
}

launch() { # contender
    if [[ $1 == moqswitch ]]; then launch_moqswitch "$moqswitch"; else launch_peer "$1"; fi
}

# One run, as it goes into the history.
record() { # workload, contender, round
    jq -c --arg workload "$1" --arg contender "$2" --argjson round "$3" '
        (.frames_delivered + .frames_late) as $arrived | {
            workload: $workload, contender: $contender, round: $round,
            figures: {
                seconds, frames_expected, frames_arrived: $arrived, frames_late, frames_lost, frames_skipped, frames_corrupt,
                calls_failed, connections_lost, delivered_per_s,
                relay_us_per_frame: (if $arrived > 0 then .relay_cpu_us_per_frame else null end),
                relay_cpu_percent, relay_rss_mib,
                one_way_p50_ms: .one_way_ms.p50, one_way_p99_ms: .one_way_ms.p99, announced_p99_ms: .announced_ms.p99,
                generator_lag_p99_ms: .generator.lag_ms_p99, generator_cpu_percent: .generator.cpu_percent,
                generator_socket_drops: .generator.socket_drops, is_valid: .generator.valid
            }
        }' "$work/summary.json" >"$work/run.json"
    keep_run "$@"
}

# One that has no figures, and why.
record_failure() { # workload, contender, round, reason
    jq -nc --arg workload "$1" --arg contender "$2" --argjson round "$3" --arg failure "$4" \
        '{workload: $workload, contender: $contender, round: $round, failure: $failure}' >"$work/run.json"
    keep_run "$@"
}

keep_run() {
    cat "$work/run.json" >>"$work/runs.jsonl"
    [[ $2 != moqswitch ]] || jq -c --argjson built "$(built_otherwise "$relay")" '. + $built' "$work/run.json" >"$work/kept.json"
    [[ $2 == moqswitch ]] || cp "$work/run.json" "$work/kept.json"
    ((!with_history)) || append_history compare <"$work/kept.json"
}

print_table() { # result
    jq -r '"\(.date), commit \(.commit), \(.host), kernel \(.kernel), load average before \(.load_average); \(.peer)",
        "µs: relay CPU for each delivered frame. Pairs: moqswitch / moq-relay.", ""' "$1"
    jq -r --argjson minimum $DELIVERED_PERCENT_MIN '
        def fixed(digits): if . == null then "-" else
            (. * pow(10; digits) | round | tostring) as $text
            | if digits == 0 then $text
              else ("0" * ([digits + 1 - ($text | length), 0] | max) // "") + $text | .[:-digits] + "." + .[-digits:] end
            end;
        def cells: "| " + join(" | ") + " |";
        (["workload", "frames/s", "moqswitch, µs", "moq-relay, µs", "its mode", "ratio", "p99, ms", "generator late, ms",
            "RSS, MiB", "not arrived", "rounds"] | cells),
        ("|" + "---|" * 11),
        (.workloads[] | [.name, (.delivered_per_s | fixed(0)), (.ours_us | fixed(1)), (.peer_us | fixed(1)), .peer_mode // "-",
            (.ratio | fixed(2)) + (if .is_peer_overloaded then " *" else "" end), "\(.ours_p99_ms | fixed(2)) / \(.peer_p99_ms | fixed(2))",
            "\(.ours_lag_ms | fixed(2)) / \(.peer_lag_ms | fixed(2))",
            "\(.ours_rss_mib | fixed(0)) / \(.peer_rss_mib | fixed(0))", "\(.ours_lost // "-") / \(.peer_lost // "-")",
            "\(.rounds)"] | cells),
        (.workloads[] | .notes[] as $note | "\n\(.name): \($note)"),
        "\nEach mode of moq-relay: µs for each frame that arrived, and how many of the load did.\n",
        (["workload", "mode", "µs", "delivered", "calls failed", "connections lost", "p99, ms", "generator late, ms", "rounds"] | cells),
        ("|" + "---|" * 9),
        (.workloads[] | .name as $name | .modes | sort_by(.us)[] | [$name, .mode, (.us | fixed(1)),
            "\(.delivered_percent | fixed(1)) %", "\(.calls_failed)", "\(.connections_lost)", (.p99_ms | fixed(2)),
            (.generator_lag_p99_ms | fixed(2)), "\(.rounds)"] | cells)
    ' "$1"
}

main "$@"
