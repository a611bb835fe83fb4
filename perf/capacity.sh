#!/usr/bin/env bash
# How much does a core carry with a delay that people accept, and how long is the delay when the core is not full?
#
#   perf/capacity.sh [--steps S,...] [--load L]... [--workload W]... [--rounds R] [--seconds S] [--mode M] [--json FILE] [--no-history]
#
#   --steps S,...   capacity, latency                                          (default: both)
#   --load L        of capacity: two-party, broadcast, video; may be repeated  (default: all)
#   --workload W    of latency: one of perf/scenarios/capacity; may be repeated (default: all)
#   --rounds R      searches and runs of each contender, in turn               (default: 3)
#   --seconds S     measured in each run                                       (default: 6)
#   --mode M        of moq-relay: tokio, workers-1, io-uring                   (default: io-uring)
#   --json FILE     writes the result
#   --no-history    does not append the result to perf/history.jsonl
#
#   MOQSWITCH, MOQ_RELAY, RELAY_CORE, LOADGEN_CORE    as for compare.sh
#
# capacity: `loadgen capacity` doubles and halves the load until the objective is missed; each search has a fresh relay.
# The objectives: two-party p99 20 ms; broadcast and video p99 50 ms; no call fails, no frame is lost. A number
# behind which there is a + is a lower bound: the generator, on its one core, was at its limit before the relay.
# latency: both relays under 10, 30, 60 and 90 % of what moq-relay carries of a workload with a p99 of 50 ms. `announce` has
# the delay until a publisher is known to the others, the rest that of frames. A run of which the generator was late is
# repeated once, then left out. A search takes some two minutes, a run 15 s.
# Exit status: 0 measured, 2 cannot run.
set -euo pipefail
relay=${MOQSWITCH:-} named_peer=${MOQ_RELAY:-}
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/peer.sh"

readonly SCENARIOS=$lab_directory/scenarios/capacity
readonly LOADS=(two-party broadcast video)
readonly SHARES=(10 30 60 90)
# What a unit of the load is in the unit of the result: 50 listeners; 20 subscriptions of 30 frames of 10 kB in a second.
declare -rA UNITS=([two-party]=calls [broadcast]=listeners [video]=Gbit/s)
declare -rA FACTORS=([two-party]=1 [broadcast]=50 [video]=0.048)
declare -rA DELAYS=([two-party]=20 [broadcast]=50 [video]=50)
readonly DELAY_MAX_MS=50
readonly RAMP_SECONDS=3

main() {
    local steps=capacity,latency loads=() workloads=() rounds=3 seconds=6 mode=io-uring json='' with_history=1
    parse "$@"
    lab_begin
    check_cores
    [[ -z $json ]] || writable --json "$json"
    need openssl "apt-get install openssl"
    build
    choose_relay "$relay"
    find_peer "$named_peer"
    make_certificate
    : >"$work/searches.jsonl"
    : >"$work/runs.jsonl"
    local step
    for step in ${steps//,/ }; do
        "step_$step"
        # What is known so far is not lost when the rest goes wrong.
        sum_up
        [[ -z $json ]] || cp "$work/result.json" "$json"
    done
    ((!with_history)) || append_history capacity <"$work/result.json"
    print_table
}

parse() {
    local name
    while (($#)); do
        case $1 in
        --steps) steps=${2:-}; [[ $steps =~ ^(capacity|latency)(,(capacity|latency))*$ ]] || die 2 "--steps: capacity, latency"; shift 2 ;;
        --load) [[ -n ${UNITS[${2:-none}]:-} ]] || die 2 "--load: ${LOADS[*]}"; loads+=("$2"); shift 2 ;;
        --workload) [[ -f $SCENARIOS/${2:-none}.toml ]] || die 2 "--workload: $(scenario_names)"; workloads+=("$2"); shift 2 ;;
        --rounds) positive "$1" "${2:-}"; rounds=$2; shift 2 ;;
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        --mode) mode=${2:-}; [[ -n $mode && -n ${MODES[$mode]+known} ]] || die 2 "--mode: ${MODE_NAMES[*]}"; shift 2 ;;
        --json) json=${2:-}; [[ -n $json ]] || die 2 "--json needs a file"; shift 2 ;;
        --no-history) with_history=0; shift ;;
        -h | --help) usage ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
    done
    ((${#loads[@]})) || loads=("${LOADS[@]}")
    if ((!${#workloads[@]})); then
        for name in "$SCENARIOS"/*.toml; do workloads+=("$(basename "$name" .toml)"); done
    fi
}

scenario_names() { basename -s .toml "$SCENARIOS"/*.toml | tr '\n' ' '; }

step_capacity() {
    local load round contender
    for load in "${loads[@]}"; do
        for ((round = 1; round <= rounds; round++)); do
            for contender in moqswitch moq-relay; do
                say "capacity of $load, round $round: $contender"
                search "$load" "$contender" "${DELAYS[$load]}"
            done
        done
    done
}

step_latency() {
    local name capacity share round contender calls
    for name in "${workloads[@]}"; do
        say "latency of $name: what does moq-relay carry?"
        search "$name" moq-relay $DELAY_MAX_MS latency
        capacity=$(jq -r '.calls // 0' "$work/search.json")
        if ((capacity == 0)); then
            say "  it carries none"
            continue
        fi
        for share in "${SHARES[@]}"; do
            # At least one; the share that was run is in the result.
            calls=$(((capacity * share + 50) / 100))
            ((calls)) || calls=1
            for ((round = 1; round <= rounds; round++)); do
                for contender in moqswitch moq-relay; do
                    say "latency of $name at $share %, round $round: $contender"
                    run "$name" "$contender" "$share" "$calls" "$capacity"
                done
            done
        done
    done
}

# The most calls with which a contender meets the objective; leaves what was found in `search.json`.
search() { # scenario, contender, p99 in ms, purpose
    local status=0
    printf '%s\n' "thresholds = ['calls_failed == 0', 'frames_lost == 0', 'one_way_ms.p99 <= $3']" \
        'repeats = 1' 'calls_min = 1' "ramp = '${RAMP_SECONDS}s'" "measure = '${seconds}s'" >"$work/objective.toml"
    rm -f "$work/found.json"
    if launch_either "$2"; then
        start_child "$work/loadgen.out" "$loadgen" capacity --slo "$work/objective.toml" --scenario "$SCENARIOS/$1.toml" \
            --relay "moql://$relay_address/" --relay-pid "$relay_pid" --cores "$LOADGEN_CORE" --json "$work/found.json"
        load_pid=$child_pid
        await_load || status=$?
    else
        say "  the relay does not start: $(last_line "$work/relay.out")"
    fi
    end_relay
    if [[ ! -s $work/found.json ]]; then
        say "  no result (status $status): $(last_line "$work/loadgen.out")"
        echo '{}' >"$work/search.json"
        return
    fi
    jq -c --arg load "$1" --arg contender "$2" --arg purpose "${4:-capacity}" \
        '{load: $load, contender: $contender, purpose: $purpose, calls, is_lower_bound, fails_at, trials}' "$work/found.json" >"$work/search.json"
    cat "$work/search.json" >>"$work/searches.jsonl"
}

run() { # scenario, contender, share, calls, capacity
    local status failure
    for _ in 1 2; do
        status=0 failure=''
        if launch_either "$2"; then
            start_load "$work/summary.json" "$((seconds + RAMP_SECONDS))" run "$SCENARIOS/$1.toml" --calls "$4" --rate "$((($4 + RAMP_SECONDS - 1) / RAMP_SECONDS))"
            await_load || status=$?
            kill -0 "$relay_pid" 2>/dev/null || failure="the relay ended under the load"
            ((status == 0 || status == 3)) || failure=${failure:-"no figures: $(last_line "$work/loadgen.out")"}
        else
            failure="the relay does not start: $(last_line "$work/relay.out")"
        fi
        end_relay
        if [[ $failure ]]; then
            say "  $failure"
            return
        fi
        ((status)) || break
        say "  $(generator_fault)"
    done
    jq -c --arg workload "$1" --arg contender "$2" --argjson share "$3" --argjson calls "$4" --argjson capacity "$5" '
        (if $workload == "announce" then .announced_ms else .one_way_ms end) as $delay
        | {workload: $workload, contender: $contender, share: $share, calls: $calls, capacity: $capacity,
            p50_ms: $delay.p50, p99_ms: $delay.p99, frames_lost, relay_cpu_percent, us: .relay_cpu_us_per_frame,
            lag_p99_ms: .generator.lag_ms_p99, is_valid: .generator.valid}' "$work/summary.json" >>"$work/runs.jsonl"
}

sum_up() {
    local load factors units
    factors=$(for load in "${LOADS[@]}"; do jq -nc --arg load "$load" --argjson factor "${FACTORS[$load]}" '{($load): $factor}'; done | jq -s add)
    units=$(for load in "${LOADS[@]}"; do jq -nc --arg load "$load" --arg unit "${UNITS[$load]}" '{($load): $unit}'; done | jq -s add)
    jq -n --argjson stamp "$(stamp)" --argjson built "$(built_otherwise "$relay")" --arg peer "$("$peer" --version)" --arg mode "$mode" --argjson factors "$factors" --argjson units "$units" \
        --slurpfile searches "$work/searches.jsonl" --slurpfile runs "$work/runs.jsonl" "$MEDIAN"'
        def most($load; $contender): [$searches[] | select(.purpose == "capacity" and .load == $load and .contender == $contender)]
            | {value: (map((.calls // 0) * $factors[$load]) | median), bound: any(.is_lower_bound), all: map((.calls // 0) * $factors[$load])};
        def entry($load): most($load; "moqswitch") as $ours | most($load; "moq-relay") as $peer
            | {ours: $ours.value, peer: $peer.value, ratio: (if ($peer.value // 0) > 0 then $ours.value / $peer.value else null end),
                unit: $units[$load], ours_is_lower_bound: $ours.bound, peer_is_lower_bound: $peer.bound, ours_all: $ours.all, peer_all: $peer.all};
        def side(contender): map(select(.contender == contender and .is_valid));
        $stamp + $built + {peer: $peer, mode: $mode,
            capacity: ([$searches[] | select(.purpose == "capacity").load] | unique | map({(.): entry(.)}) | add // {}),
            latency: ($runs | group_by([.workload, .share]) | map(side("moqswitch") as $ours | side("moq-relay") as $peer | {
                workload: .[0].workload, share: .[0].share, calls: .[0].calls, peer_capacity: .[0].capacity,
                ours_p50_ms: ($ours | map(.p50_ms) | median), ours_p99_ms: ($ours | map(.p99_ms) | median),
                peer_p50_ms: ($peer | map(.p50_ms) | median), peer_p99_ms: ($peer | map(.p99_ms) | median),
                ours_cpu_percent: ($ours | map(.relay_cpu_percent) | median), peer_cpu_percent: ($peer | map(.relay_cpu_percent) | median),
                ours_lost: ($ours | map(.frames_lost) | add), peer_lost: ($peer | map(.frames_lost) | add),
                ours_lag_p99_ms: ($ours | map(.lag_p99_ms) | median), peer_lag_p99_ms: ($peer | map(.lag_p99_ms) | median),
                rounds: ([$ours, $peer | length] | min)}))}' >"$work/result.json"
}

print_table() {
    jq -r '
        def fixed(digits): if . == null then "-" else . * pow(10; digits) | round / pow(10; digits) end;
        def cells: map(tostring) | "| " + join(" | ") + " |";
        def plus(bound): if bound then "\(.)+" else . end;
        "\(.date), commit \(.commit), \(.host), kernel \(.kernel), load average before \(.load_average); \(.peer), \(.mode)", "",
        (if .capacity == {} then empty else
            (["the most", "moqswitch", "moq-relay", "ratio"] | cells), ("|" + "---|" * 4),
            (.capacity | to_entries[] | .value as $v | ["\(.key), \($v.unit)", ($v.ours | fixed(2) | plus($v.ours_is_lower_bound)),
                ($v.peer | fixed(2) | plus($v.peer_is_lower_bound)), ($v.ratio | fixed(2))] | cells), "" end),
        (if .latency == [] then empty else
            "Pairs: moqswitch / moq-relay.", "",
            (["workload", "of what the peer carries", "p50, ms", "p99, ms", "of a core", "generator late, ms", "lost", "rounds"] | cells),
            ("|" + "---|" * 8),
            (.latency[] | [.workload, "\(.share) %: \(.calls) of \(.peer_capacity)", "\(.ours_p50_ms | fixed(2)) / \(.peer_p50_ms | fixed(2))",
                "\(.ours_p99_ms | fixed(2)) / \(.peer_p99_ms | fixed(2))", "\(.ours_cpu_percent | fixed(0)) / \(.peer_cpu_percent | fixed(0)) %",
                "\(.ours_lag_p99_ms | fixed(2)) / \(.peer_lag_p99_ms | fixed(2))", "\(.ours_lost // "-") / \(.peer_lost // "-")", .rounds] | cells) end)
    ' "$work/result.json"
}

main "$@"
