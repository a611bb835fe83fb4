#!/usr/bin/env bash
# What does a hop of a mesh cost and add, and how fast does news travel? Relay A dials relay B, of moqswitch and of moq-relay in
# turn. In each round, of each:
#
#   single    N calls at A alone: CPU for each delivered frame, one-way delay
#   chain     the same calls, with one of each call at A and the other at B, so that each frame crosses the link once.
#             CPU is that of both relays. What it is more than `single` is the hop
#   joins     a broadcast of A is seen at B, heard by a first subscriber (cold), by a second one (warm), and withdrawn: ms, of
#             clients of moq-net, from the call to what comes of it
#   names     so many names of A are known at B: ms, and bytes of UDP payload on the link both ways, less what an idle link takes
#   changes   R broadcasts a second come or go: CPU of both relays, in percent of a core, and idle before; changes that B tells
#
#   perf/mesh.sh [--rounds R] [--seconds S] [--calls N] [--joins N] [--names N] [--changes R] [--without-peer] [--json FILE] [--no-history]
#
#   --rounds R       how often                                         (default: 3)
#   --seconds S      measured in single, chain and changes             (default: 5)
#   --calls N        at once, 50 frames of 200 bytes a second each way (default: 40)
#   --joins N        broadcasts in joins                               (default: 50)
#   --names N        names                                             (default: 10000)
#   --changes R      changes in a second                               (default: 1000)
#   --without-peer   moqswitch alone
#   --json FILE      writes the result
#   --no-history     does not append the result to perf/history.jsonl
#
#   MOQSWITCH, LOADGEN, MESH_PROBE   programs in place of this tree's; the last is an example of tests/interop
#   MOQ_RELAY                        moq-relay in place of that of crates.io
#   SECOND_CORE                      the core of B      (default: RELAY_CORE, which A and B share then)
#
# Clients are on LOADGEN_CORE. Where A and B share a core a frame also waits for the one or the other to have its turn, which is
# in the delay of `chain`. moq-relay has one worker. Exit status: 0 measured, 2 cannot run.
set -euo pipefail
relay=${MOQSWITCH:-} generator=${LOADGEN:-} prober=${MESH_PROBE:-} peer_program=${MOQ_RELAY:-}
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/peer.sh"

readonly SECOND_CORE=${SECOND_CORE:-$RELAY_CORE}
readonly IDLE_SECONDS=2
# For a link, or for what a probe says.
readonly WAIT_SECONDS_MAX=90

declare -A pids=() addresses=() kinds=([moqswitch]=1 [moq-relay]=1)

main() {
    local json='' with_history=1 rounds=3 seconds=5 calls=40 joins=50 names=10000 changes=1000 round kind step
    parse "$@"
    lab_begin
    check_cores
    need openssl "apt-get install openssl"
    [[ -z $json ]] || writable --json "$json"
    find_programs
    make_certificate
    printf '[calls]\nenabled = false\n[media]\ntones = false\n[cluster]\naccept = true\n' >"$work/node.toml"
    for ((round = 1; round <= rounds; round++)); do
        for kind in moqswitch moq-relay; do
            [[ -n ${kinds[$kind]:-} ]] || continue
            for step in single chain joins names changes; do
                say "round $round, $kind: $step"
                "step_$step"
                end_nodes
            done
        done
    done
    sum_up
    [[ -z $json ]] || cp "$work/result.json" "$json"
    ((!with_history)) || append_history mesh <"$work/result.json"
    print_table
}

parse() {
    while (($#)); do
        case $1 in
        --rounds) positive "$1" "${2:-}"; rounds=$2; shift 2 ;;
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        --calls) positive "$1" "${2:-}"; calls=$2; shift 2 ;;
        --joins) positive "$1" "${2:-}"; joins=$2; shift 2 ;;
        --names) positive "$1" "${2:-}"; names=$2; shift 2 ;;
        --changes) positive "$1" "${2:-}"; changes=$2; shift 2 ;;
        --without-peer) unset 'kinds[moq-relay]'; shift ;;
        --json) json=${2:-}; [[ -n $json ]] || die 2 "--json needs a file"; shift 2 ;;
        --no-history) with_history=0; shift ;;
        -h | --help) usage ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
    done
}

find_programs() {
    if [[ -n $relay && -n $generator && -n $prober ]]; then
        built_commit=$(commit) moqswitch=$relay loadgen=$generator
    else
        build
        choose_relay "$relay"
        loadgen=${generator:-$loadgen}
        cargo build --quiet --release --manifest-path "$root/Cargo.toml" --workspace --example mesh_probe \
            || die 2 "the build failed; tuning/prepare.sh installs what it needs"
        prober=${prober:-$(target_directory)/release/examples/mesh_probe}
    fi
    [[ -x $moqswitch && -x $loadgen && -x $prober ]] || die 2 "MOQSWITCH, LOADGEN or MESH_PROBE is not a program"
    [[ -z ${kinds[moq-relay]:-} ]] || find_peer "$peer_program"
}

# --- steps: each leaves a line in runs.jsonl

step_single() {
    start_node A "$RELAY_CORE"
    measure_calls A
}

step_chain() {
    start_pair
    measure_calls A B
}

measure_calls() { # nodes...
    local node flags=() from to window
    for node in "$@"; do flags+=(--relay "moql://${addresses[$node]}/"); done
    rm -f "$work/summary.json"
    start_child "$work/loadgen.out" "$loadgen" call --calls "$calls" --frame-bytes 200 --frame-rate 50 --no-catalog "${flags[@]}" \
        --relay-pid "${pids[A]}" --cores "$LOADGEN_CORE" --warm-up "${WARM_UP_SECONDS}s" --duration "$((WARM_UP_SECONDS + seconds))s" \
        --json "$work/summary.json"
    load_pid=$child_pid
    pause "$WARM_UP_SECONDS"
    load_is_on
    from=$(cpu_and_time "$@")
    # Over before the load is.
    pause "$(awk -v s="$seconds" 'BEGIN { print s * 0.9 }')"
    to=$(cpu_and_time "$@")
    finish_load || say "$(generator_fault)"
    window=$(elapsed "$from" "$to")
    jq -c --arg kind "$kind" --arg step "$step" --argjson seconds "$seconds" --argjson window "$window" '
        ((.frames_delivered + .frames_late) / $seconds) as $rate
        | {kind: $kind, step: $step, valid: (.generator.valid and .missed_percent < 1),
            us: ($window.cpu_us / ($rate * $window.seconds)), one_way_ms: .one_way_ms}' "$work/summary.json" >>"$work/runs.jsonl" \
        || die 2 "no figures of $step"
}

step_joins() {
    start_pair
    probe joins --count "$joins" | record
}

step_names() {
    local idle loaded
    name_run 1
    idle=$link_bytes
    end_nodes
    name_run "$names"
    loaded=$link_bytes
    jq -c --argjson idle "$idle" --argjson loaded "$loaded" '. + {bytes: ($loaded - $idle)}' "$work/names.json" | record
}

# With a proxy between the two that counts. It is ended as soon as the names are there, before they go again. Leaves
# `link_bytes` and names.json.
name_run() { # names
    local proxy
    start_node B "$SECOND_CORE"
    start_child "$work/link.out" taskset -c "$LOADGEN_CORE" "$loadgen" link --listen 127.0.0.1:0 --to "${addresses[B]}"
    proxy=$child_pid
    await "the proxy" grep -q 'link ready' "$work/link.out"
    start_node A "$RELAY_CORE" "$(grep -o 'ready: [^ ]*' "$work/link.out" | cut -d' ' -f2)"
    await_link
    start_child "$work/probe.out" taskset -c "$LOADGEN_CORE" "$prober" names --publish "${addresses[A]}" --subscribe "${addresses[B]}" --count "$1"
    await "the names" grep -q seen "$work/probe.out"
    kill -TERM "$proxy"
    wait "$proxy" || die 2 "the proxy lost datagrams: $(tail -n 1 "$work/link.out")"
    cp "$work/probe.out" "$work/names.json"
    link_bytes=$(sed -n 's/^link ended: .* \([0-9]*\) bytes.*/\1/p' "$work/link.out")
    end_child "$child_pid"
    [[ -n $link_bytes ]] || die 2 "the proxy does not say how much it carried"
}

step_changes() {
    local before idle from to
    start_pair
    before=$(cpu_and_time A B)
    pause "$IDLE_SECONDS"
    idle=$(elapsed "$before" "$(cpu_and_time A B)")
    start_child "$work/probe.out" taskset -c "$LOADGEN_CORE" "$prober" changes --publish "${addresses[A]}" --subscribe "${addresses[B]}" \
        --rate "$changes" --seconds "$seconds"
    await "changes" grep -q begun "$work/probe.out"
    from=$(cpu_and_time A B)
    await "the end of changes" grep -q ended "$work/probe.out"
    to=$(cpu_and_time A B)
    await "what was seen" grep -q seen "$work/probe.out"
    grep seen "$work/probe.out" | jq -c --argjson idle "$idle" --argjson window "$(elapsed "$from" "$to")" '. + {
        idle_percent: ($idle.cpu_us / $idle.seconds / 10000), percent: ($window.cpu_us / $window.seconds / 10000),
        us: ($window.cpu_us / .made)}' | record
}

record() { jq -c --arg kind "$kind" --arg step "$step" '{kind: $kind, step: $step} + .' >>"$work/runs.jsonl"; }

# --- nodes

start_pair() {
    start_node B "$SECOND_CORE"
    start_node A "$RELAY_CORE" "${addresses[B]}"
    await_link
}

start_node() { # name, core, the node to dial or nothing
    local name=$1 core=$2 link=${3:-} flags=()
    host_load=$(cut -d' ' -f1 /proc/loadavg)
    if [[ $kind == moqswitch ]]; then
        [[ -z $link ]] || flags=(--cluster-insecure --cluster-peer "moql://$link")
        start_child "$work/$name.out" taskset -c "$core" "$moqswitch" --config "$work/node.toml" --listen 127.0.0.1:0 --http 127.0.0.1:0 \
            --admin 127.0.0.1:0 --shards 1 --cores "$core" "${flags[@]}"
    else
        [[ -z $link ]] || flags=(--connect-tls-insecure --cluster-connect "moql://$link")
        start_child "$work/$name.out" taskset -c "$core" "$peer" --listen 127.0.0.1:0 --auth-public '**' --log-level warn \
            --listen-tls-cert "$work/certificate.pem" --listen-tls-key "$work/key.pem" --runtime-workers 1 "${flags[@]}"
    fi
    relay_pid=$child_pid pids[$name]=$child_pid
    if [[ $kind == moqswitch ]]; then
        await_relay grep -q ready "$work/$name.out" || node_failed "$name"
        addresses[$name]=$(grep -o 'udp=[^ ]*' "$work/$name.out" | cut -d= -f2)
    else
        await_relay find_peer_address || node_failed "$name"
        addresses[$name]=$relay_address
    fi
}

node_failed() { # name
    last_words "$work/$1.out"
    die 2 "relay $1 does not start; what it said last is above"
}

# There is one when something of A is heard at B.
await_link() {
    probe joins --count 1 >/dev/null
}

end_nodes() {
    local name
    for name in "${!pids[@]}"; do
        kill -KILL "${pids[$name]}" 2>/dev/null || true
        end_child "${pids[$name]}"
    done
    pids=() addresses=()
}

probe() { # what of it, flags...
    local asked=$1
    shift
    timeout "$WAIT_SECONDS_MAX" taskset -c "$LOADGEN_CORE" "$prober" "$asked" --publish "${addresses[A]}" --subscribe "${addresses[B]}" "$@" \
        2>"$work/probe.err" || die 2 "mesh_probe $asked: $(tail -n 3 "$work/probe.err")"
}

await() { # what, command...
    local what=$1 deadline=$((SECONDS + WAIT_SECONDS_MAX))
    shift
    until "$@"; do
        if ! kill -0 "$child_pid" 2>/dev/null || ((SECONDS >= deadline)); then
            # It may have said so with its last breath.
            "$@" && return
            last_words "$work/probe.out" 2>/dev/null || true
            die 2 "$what: never"
        fi
        pause 0.02
    done
}

# Of all threads of nodes, user and system: nanoseconds on a CPU, and what time it is.
cpu_and_time() { # nodes...
    local node files=()
    for node in "$@"; do files+=("/proc/${pids[$node]}/task/"*/schedstat); done
    # A thread may have ended meanwhile.
    echo "$({ cat "${files[@]}" 2>/dev/null || true; } | awk '{ sum += $1 } END { printf "%.0f", sum }') $(date +%s%N)"
}

elapsed() { # from, to
    jq -nc --argjson from "[${1/ /,}]" --argjson to "[${2/ /,}]" '{cpu_us: (($to[0] - $from[0]) / 1000), seconds: (($to[1] - $from[1]) / 1e9)}'
}

# --- results

sum_up() {
    jq -s --argjson stamp "$(stamp)" --argjson built "$(built_otherwise "$relay")" --argjson calls "$calls" "$MEDIAN"'
        . as $runs
        | def of($kind; $step; figure): [$runs[] | select(.kind == $kind and .step == $step and .valid != false) | figure] | median;
        $stamp + $built + {calls: $calls, runs: length, invalid: (map(select(.valid == false)) | length), mesh: (map(.kind) | unique | map(. as $kind | {
            kind: $kind,
            single_us: of($kind; "single"; .us), chain_us: of($kind; "chain"; .us),
            single_ms: {p50: of($kind; "single"; .one_way_ms.p50), p99: of($kind; "single"; .one_way_ms.p99)},
            chain_ms: {p50: of($kind; "chain"; .one_way_ms.p50), p99: of($kind; "chain"; .one_way_ms.p99)},
            announced_ms: {p50: of($kind; "joins"; .announced_ms.p50), p99: of($kind; "joins"; .announced_ms.p99)},
            withdrawn_ms: {p50: of($kind; "joins"; .withdrawn_ms.p50), p99: of($kind; "joins"; .withdrawn_ms.p99)},
            cold_join_ms: {p50: of($kind; "joins"; .cold_join_ms.p50), p99: of($kind; "joins"; .cold_join_ms.p99)},
            warm_join_ms: {p50: of($kind; "joins"; .warm_join_ms.p50), p99: of($kind; "joins"; .warm_join_ms.p99)},
            names: {count: of($kind; "names"; .count), ms: of($kind; "names"; .ms), bytes: of($kind; "names"; .bytes)},
            changes: {us: of($kind; "changes"; .us), percent: of($kind; "changes"; .percent), idle_percent: of($kind; "changes"; .idle_percent),
                made: of($kind; "changes"; .made), seen: of($kind; "changes"; .seen)}
        } | .hop_us = (if .single_us and .chain_us then .chain_us - .single_us else null end)
          | .added_ms = {p50: (if .chain_ms.p50 and .single_ms.p50 then .chain_ms.p50 - .single_ms.p50 else null end),
                p99: (if .chain_ms.p99 and .single_ms.p99 then .chain_ms.p99 - .single_ms.p99 else null end)}))}' \
        "$work/runs.jsonl" >"$work/result.json"
}

print_table() {
    jq -r '
        def figure: if . == null then "-" else . * 100 | round / 100 | tostring end;
        def both: "p50 \(.p50 | figure), p99 \(.p99 | figure) ms";
        "\(.date), commit \(.commit), \(.host), kernel \(.kernel); \(.invalid) of \(.runs) runs were the generator'"'"'s fault and do not count",
        (.mesh[] | "", .kind,
            "  frame: \(.single_us | figure) µs of CPU at one relay, \(.chain_us | figure) µs at two: the hop is \(.hop_us | figure) µs",
            "  delay: \(.single_ms | both) at one relay, \(.chain_ms | both) at two: added \(.added_ms | both)",
            "  seen at the other relay: announced \(.announced_ms | both), withdrawn \(.withdrawn_ms | both)",
            "  join: cold \(.cold_join_ms | both), warm \(.warm_join_ms | both)",
            "  \(.names.count) names: \(.names.ms | figure) ms, \(.names.bytes) bytes on the link",
            "  changes: \(.changes.us | figure) µs each, \(.changes.percent | figure) % of a core (idle \(.changes.idle_percent | figure) %); \(.changes.seen) of \(.changes.made) were told")' \
        "$work/result.json"
}

main "$@"
