#!/usr/bin/env bash
# How well does moqswitch use GSO and GRO: how many datagrams leave with each send, and come with each receive?
#
#   perf/trains.sh [--workload W]... [--seconds S] [--json FILE]
#
#   --workload W    one of perf/workloads; may be repeated   (default: call, audio and video)
#   --seconds S     counted of each workload                 (default: 5)
#   --json FILE     writes the result, with the distributions
#
# Needs bpftrace, root and a kernel with BPF and tracepoints; without, it says SKIP and why, and ends with status 0.
#
# Columns: sends and receives in a second; datagrams in all of them, and in one on average; the numbers of datagrams in one
# that are most frequent, and how frequent. Exit status: 0 measured or skipped, 2 cannot run.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

# Probes come one after the other, and count from the first full second on.
readonly PROBE_SECONDS=4

main() {
    local workloads=() seconds=5 json=''
    parse "$@"
    lab_begin
    check_cores
    [[ -z $json ]] || writable --json "$json"
    local name
    for name in "${workloads[@]}"; do read_workload "$name"; done
    check_bpftrace
    build
    for name in "${workloads[@]}"; do measure "$name"; done
    jq -s --argjson stamp "$(stamp)" '$stamp + {workloads: .}' "$work/results" >"$work/result.json"
    [[ -z $json ]] || cp "$work/result.json" "$json"
    print_table
}

parse() {
    while (($#)); do
        case $1 in
        --workload) [[ -n ${2:-} ]] || die 2 "--workload needs a name"; workloads+=("$2"); shift 2 ;;
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        --json) json=${2:-}; [[ -n $json ]] || die 2 "--json needs a file"; shift 2 ;;
        -h | --help) usage ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
    done
    ((${#workloads[@]})) || workloads=(call audio video)
}

check_bpftrace() {
    command -v bpftrace >/dev/null || skip "bpftrace is missing: apt-get install bpftrace"
    ((EUID == 0)) || skip "bpftrace needs root"
    local script
    for script in train receive; do
        # Loads and attaches, then ends at once: process 0 sends nothing that is looked at.
        timeout 30 bpftrace "$lab_directory/$script.bt" 0 0 >"$work/probe.out" 2>&1 \
            || skip "$script.bt does not run on this kernel: $(grep -v RLIMIT "$work/probe.out" | tail -n 1)"
    done
}

skip() { # reason
    echo "SKIP: $1"
    exit 0
}

# Once more when the generator was the bottleneck: how long trains are depends on when senders send.
measure() { # workload
    local status
    read_workload "$1"
    for _ in 1 2; do
        say "$1"
        status=0
        probe || status=$?
        if ((!status)); then
            add_up "$1"
            return
        fi
        say "  $(generator_fault)"
    done
    die 2 "$1: the generator was the bottleneck twice; that is no result"
}

# Status of the load.
probe() {
    start_moqswitch "$moqswitch"
    start_load "$work/summary.json" $((seconds + 2 * PROBE_SECONDS)) "${workload[@]}"
    local train receive status=0
    pause "$WARM_UP_SECONDS"
    start_child "$work/train.out" bpftrace -f json "$lab_directory/train.bt" "$relay_pid" "$seconds"
    train=$child_pid
    start_child "$work/receive.out" bpftrace -f json "$lab_directory/receive.bt" "$relay_pid" "$seconds"
    receive=$child_pid
    if ! { wait "$train" && wait "$receive"; }; then
        die 2 "bpftrace failed: $(cat "$work/train.out.err" "$work/receive.out.err" | tail -n 1)"
    fi
    load_is_on
    finish_load || status=$?
    end_relay
    return "$status"
}

add_up() { # workload
    {
        jq -n --arg name "$1" --argjson seconds "$seconds" '{name: $name, seconds: $seconds}'
        grep -h '"@' "$work/train.out" | jq -s '{send: (map(.data) | add)}'
        grep -h '"@' "$work/receive.out" | jq -s '{receive: (map(.data) | add)}'
    } | jq -s 'add
        | def plain(events; distribution): {
              per_s: (events / $seconds), datagrams_per_s: (."@datagrams" / $seconds),
              datagrams: (."@datagrams" / events),
              distribution: (distribution | map(select(.count > 0)))
          };
        .send |= plain(."@sends"; ."@segments_per_send") | .receive |= plain(."@receives"; ."@datagrams_per_receive")
        ' --argjson seconds "$seconds" >>"$work/results"
}

print_table() {
    jq -r '"\(.date), commit \(.commit), \(.host), kernel \(.kernel)\n"' "$work/result.json"
    jq -r '
        def tenths: . * 10 | round / 10;
        def share: (map(.count) | add) as $all
            | sort_by(-.count)[:4] | map("\(.min): \(100 * .count / $all | round) %") | join(", ");
        (["workload", "", "per s", "datagrams/s", "datagrams each", "most often"] | "| " + join(" | ") + " |"),
        "|---|---|---|---|---|---|",
        (.workloads[] | .name as $name | [["sends", .send], ["receives", .receive]][]
            | [$name, .[0], (.[1].per_s | round), (.[1].datagrams_per_s | round), (.[1].datagrams * 100 | round / 100),
                (.[1].distribution | share)]
            | "| " + (map(tostring) | join(" | ")) + " |")
    ' "$work/result.json"
}

main "$@"
