#!/usr/bin/env bash
# Does an instrument that is not ours see the same? moq-bench of the moq repository and loadgen, under the same loads, against
# moqswitch and moq-relay.
#
#   perf/stranger.sh CHECKOUT [--workload W]... [--rounds R] [--seconds S] [--mode M] [--json FILE] [--no-history]
#
#   CHECKOUT        a checkout of github.com/moq-dev/moq that has rs/moq-bench; it is built there, with its own lock file
#   --workload W    call, audio, video; may be repeated                   (default: all)
#   --rounds R      runs of each instrument against each relay, in turn   (default: 3)
#   --seconds S     measured in each run                                  (default: 10)
#   --mode M        of moq-relay: tokio, workers-1, io-uring              (default: io-uring)
#   --json FILE     writes the result
#   --no-history    does not append the result to perf/history.jsonl
#
#   MOQSWITCH, MOQ_RELAY, RELAY_CORE, LOADGEN_CORE    as for compare.sh
#   MOQ_BENCH       a moq-bench that is built already, in place of a CHECKOUT
#
# CPU of a frame is read alike for both: user and system time of the relay's process between two moments, divided by the frames
# that arrived at subscribers between them. moq-bench counts groups that were skipped, loadgen frames that did not arrive.
# moq-bench has no delays. Exit status: 0 measured, 2 cannot run.
set -euo pipefail
relay=${MOQSWITCH:-} named_peer=${MOQ_RELAY:-} bench=${MOQ_BENCH:-}
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/peer.sh"

# Connections with one broadcast each, how many others each hears, frames a second, bytes of a frame, frames behind the first
# of a group: those of perf/workloads.
declare -rA BENCHES=(
    [call]="--connections 100 --subscribe 4 --fps 50 --frame-size 200 --group-size 0"
    [audio]="--connections 100 --subscribe 4 --fps 50 --frame-size 200 --group-size 4"
    [video]="--connections 40 --subscribe 4 --fps 30 --frame-size 10000 --group-size 29"
)
readonly NAMES=(call audio video)
# Its connections and subscriptions come up in it.
readonly START_SECONDS=5

main() {
    local checkout='' workloads=() rounds=3 seconds=10 mode=io-uring json='' with_history=1
    parse "$@"
    lab_begin
    check_cores
    [[ -z $json ]] || writable --json "$json"
    need openssl "apt-get install openssl"
    build
    choose_relay "$relay"
    find_bench
    find_peer "$named_peer"
    make_certificate
    ticks=$(getconf CLK_TCK)
    : >"$work/runs.jsonl"
    local name round contender instrument
    for name in "${workloads[@]}"; do
        for ((round = 1; round <= rounds; round++)); do
            for contender in moqswitch moq-relay; do
                for instrument in bench loadgen; do
                    say "$name, round $round: $contender by $instrument"
                    run "$name" "$contender" "$instrument"
                done
            done
        done
    done
    sum_up
    [[ -z $json ]] || cp "$work/result.json" "$json"
    ((!with_history)) || append_history stranger <"$work/result.json"
    print_table
}

parse() {
    while (($#)); do
        case $1 in
        --workload) [[ -n ${BENCHES[${2:-none}]:-} ]] || die 2 "--workload: ${NAMES[*]}"; workloads+=("$2"); shift 2 ;;
        --rounds) positive "$1" "${2:-}"; rounds=$2; shift 2 ;;
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        --mode) mode=${2:-}; [[ -n $mode && -n ${MODES[$mode]+known} ]] || die 2 "--mode: ${MODE_NAMES[*]}"; shift 2 ;;
        --json) json=${2:-}; [[ -n $json ]] || die 2 "--json needs a file"; shift 2 ;;
        --no-history) with_history=0; shift ;;
        -h | --help) usage ;;
        -*) die 2 "unknown argument '$1' (--help shows all)" ;;
        *) checkout=$1; shift ;;
        esac
    done
    ((${#workloads[@]})) || workloads=("${NAMES[@]}")
    [[ -n $bench || -n $checkout ]] || die 2 "which checkout of moq? (--help shows all)"
}

find_bench() {
    if [[ -z $bench ]]; then
        [[ -f $checkout/rs/moq-bench/Cargo.toml ]] || die 2 "$checkout has no rs/moq-bench"
        say "building moq-bench in $checkout"
        env -u CARGO_TARGET_DIR cargo build --quiet --release --manifest-path "$checkout/Cargo.toml" -p moq-bench --bin moq-bench \
            || die 2 "moq-bench does not build"
        bench=$checkout/target/release/moq-bench
    fi
    [[ -x $bench ]] || die 2 "MOQ_BENCH=$bench is not a program"
}

run() { # workload, contender, instrument
    local failure=''
    rm -f "$work/figures.json"
    if launch_either "$2"; then
        "load_$3" "$1" || failure="no figures: $(last_line "$work/loadgen.out")"
        kill -0 "$relay_pid" 2>/dev/null || failure="the relay ended under the load: $(last_line "$work/relay.out")"
    else
        failure="the relay does not start: $(last_line "$work/relay.out")"
    fi
    end_relay
    if [[ $failure ]]; then
        say "  $failure"
        return
    fi
    jq -c --arg workload "$1" --arg contender "$2" --arg instrument "$3" \
        '{workload: $workload, contender: $contender, instrument: $instrument} + .' "$work/figures.json" >>"$work/runs.jsonl"
}

load_loadgen() { # workload
    local status=0
    read_workload "$1"
    start_load "$work/summary.json" "$seconds" "${workload[@]}"
    await_load || status=$?
    ((status == 0 || status == 3)) || return 1
    jq '{us: .relay_cpu_us_per_frame, per_s: .delivered_per_s, lost: .frames_lost, of: .frames_expected, is_valid: .generator.valid}' \
        "$work/summary.json" >"$work/figures.json"
}

load_bench() { # workload
    local flags begin end
    read -ra flags <<<"${BENCHES[$1]}"
    rm -f "$work/stats.jsonl"
    start_child "$work/loadgen.out" taskset -c "$LOADGEN_CORE" "$bench" --client-connect "moql://$relay_address/" \
        --client-tls-disable-verify=true --broadcasts 1 "${flags[@]}" --startup "$((START_SECONDS - 2))s" --report 1s \
        --duration "$((START_SECONDS + seconds + 3))s" --output "$work/stats.jsonl"
    local bench_pid=$child_pid
    # From one of its reports to another: what arrived and what it cost are of the same time.
    await_report "$bench_pid" $START_SECONDS || return 1
    begin=$(cpu_ticks)
    await_report "$bench_pid" $((START_SECONDS + seconds)) || return 1
    end=$(cpu_ticks)
    end_child "$bench_pid"
    jq -s --argjson first $START_SECONDS --argjson last $((START_SECONDS + seconds)) --argjson ticks $((end - begin)) --argjson hertz "$ticks" '
        .[$first - 1] as $a | .[$last - 1] as $b | ($b.frames_recv - $a.frames_recv) as $frames
        | {us: (if $frames > 0 then $ticks / $hertz * 1e6 / $frames else null end),
            per_s: ($frames * 1000 / ($b.timestamp_ms - $a.timestamp_ms)),
            lost: ($b.groups_expected - $b.groups_present), of: $b.groups_expected, is_valid: ($frames > 0)}' \
        "$work/stats.jsonl" >"$work/figures.json"
}

await_report() { # pid, which
    local deadline=$((SECONDS + $2 + READY_SECONDS_MAX))
    until [[ -f $work/stats.jsonl ]] && (($(wc -l <"$work/stats.jsonl") >= $2)); do
        kill -0 "$1" 2>/dev/null && ((SECONDS < deadline)) || return 1
        pause 0.01
    done
}

# User and system time of the relay, all threads of it. Its name has no blank.
cpu_ticks() { awk '{ print $14 + $15 }' "/proc/$relay_pid/stat"; }

sum_up() {
    jq -s --argjson stamp "$(stamp)" --argjson built "$(built_otherwise "$relay")" --arg peer "$("$peer" --version)" --arg bench "$("$bench" --version)" "$MEDIAN"'
        def figures: {us: (map(.us) | median), us_all: map(.us), per_s: (map(.per_s) | median), lost: (map(.lost) | add), of: (map(.of) | add), rounds: length};
        $stamp + $built + {peer: $peer, bench: $bench, workloads: (group_by([.workload, .contender]) | map(
            (map(select(.instrument == "bench" and .is_valid)) | figures) as $bench
            | (map(select(.instrument == "loadgen" and .is_valid)) | figures) as $loadgen
            | {workload: .[0].workload, relay: .[0].contender, bench: $bench, loadgen: $loadgen,
                difference_percent: (if $bench.us and $loadgen.us then ($bench.us / $loadgen.us - 1) * 100 else null end)}))}' \
        "$work/runs.jsonl" >"$work/result.json"
}

print_table() {
    jq -r '
        def fixed(digits): if . == null then "-" else . * pow(10; digits) | round / pow(10; digits) end;
        def cells: map(tostring) | "| " + join(" | ") + " |";
        "\(.date), commit \(.commit), \(.host), kernel \(.kernel), load average before \(.load_average); \(.peer); \(.bench)", "",
        (["workload", "relay", "µs a frame by moq-bench", "by loadgen", "difference", "frames/s by moq-bench", "by loadgen", "groups lost of", "frames lost of", "rounds"] | cells),
        ("|" + "---|" * 10),
        (.workloads[] | [.workload, .relay, (.bench.us | fixed(1)), (.loadgen.us | fixed(1)), "\(.difference_percent | fixed(1)) %",
            (.bench.per_s | fixed(0)), (.loadgen.per_s | fixed(0)), "\(.bench.lost) of \(.bench.of)", "\(.loadgen.lost) of \(.loadgen.of)",
            ([.bench.rounds, .loadgen.rounds] | min)] | cells)' "$work/result.json"
}

main "$@"
