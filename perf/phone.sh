#!/usr/bin/env bash
# What do telephones cost a switch, and how soon are their calls set up? Steps:
#
#   idle      N phones with a socket that do nothing: CPU of the process, and of its calls thread, memory for each
#   set-ups   calls that come at a rate and last some seconds: `call` to ringing, answer to first frame, what was lost
#   up        calls that all last: what so many cost, and what becomes of their frames
#   beside    calls of speech that last, first alone, then beside calls that come at half of the rate from a second generator
#
#   perf/phone.sh [--steps S,...] [--idle N] [--rate R] [--talk S] [--up N] [--beside N] [--frames R] [--seconds S] [--json FILE]
#                 [--no-history]
#
#   --steps S,...   which of them                                       (default: all)
#   --idle N        phones of `idle`                                    (default: 10000)
#   --rate R        calls that begin in a second                        (default: 200)
#   --talk S        how long those last, in the mean, seconds           (default: 1)
#   --up N          calls of `up`                                   (default: 1000)
#   --beside N      calls of `beside`                               (default: 200)
#   --frames R      frames in a second that each party sends        (default: 10)
#   --seconds S     measured in each step, after phones are registered  (default: 20)
#   --json FILE     writes the result
#   --no-history    does not append the result to perf/history.jsonl
#
#   MOQSWITCH    a switch to measure instead of this tree's
#
# Calls speak little by default: at 200 set-ups a second with 50 frames a second from each party the generator, which has one core
# for its sessions and their signalling, is the bottleneck, and what is measured here is signalling. `--frames 50` is speech.
#
# The whole switch, shard, calls thread and all, has one core, and the generator with its sockets another. Memory for each
# phone is a slope: resident memory with N idle phones less that with a tenth of them. Exit status: 0 measured, 2 cannot run.
set -euo pipefail
switch=${MOQSWITCH:-}
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

main() {
    local json='' with_history=1 steps=idle,set-ups,up,beside idle=10000 rate=200 talk=1 up=1000 beside=200 frames=10 seconds=20 step
    parse "$@"
    lab_begin
    check_cores
    [[ -z $json ]] || writable --json "$json"
    build
    choose_relay "$switch"
    for step in ${steps//,/ }; do
        say "$step"
        "step_${step//-/_}"
    done
    jq -n --argjson stamp "$(stamp)" --argjson built "$(built_otherwise "$switch")" --slurpfile steps "$work/steps.jsonl" \
        '$stamp + $built + {phone: $steps}' >"$work/result.json"
    [[ -z $json ]] || cp "$work/result.json" "$json"
    ((!with_history)) || append_history phone <"$work/result.json"
    print_table
}

parse() {
    while (($#)); do
        case $1 in
        --steps) steps=${2:-}; [[ $steps =~ ^(idle|set-ups|up|beside)(,(idle|set-ups|up|beside))*$ ]] || die 2 "--steps: idle, set-ups, up, beside"; shift 2 ;;
        --idle) positive "$1" "${2:-}"; idle=$2; shift 2 ;;
        --rate) positive "$1" "${2:-}"; rate=$2; shift 2 ;;
        --talk) positive "$1" "${2:-}"; talk=$2; shift 2 ;;
        --up) positive "$1" "${2:-}"; up=$2; shift 2 ;;
        --beside) positive "$1" "${2:-}"; beside=$2; shift 2 ;;
        --frames) positive "$1" "${2:-}"; frames=$2; shift 2 ;;
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        --json) json=${2:-}; [[ -n $json ]] || die 2 "--json needs a file"; shift 2 ;;
        --no-history) with_history=0; shift ;;
        -h | --help) usage ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
    done
}

# Phones against a fresh switch; the summary is in a file, the CPU of its threads in the recording beside it.
phones() { # name, scenario, further flags...
    local name=$1 status=0
    printf '%s\n' "$2" >"$work/$name.toml"
    shift 2
    start_moqswitch "$moqswitch"
    [[ -z ${neighbour:-} ]] || { printf '%s\n' "$neighbour" >"$work/neighbour.toml"; generate neighbour; }
    local neighbour_pid=${load_pid:-}
    generate "$name" "$@"
    await_load || status=$?
    # Its figures are of no interest, but that it was there is.
    [[ -z ${neighbour:-} ]] || { load_pid=$neighbour_pid await_load || (($? == 3)) || die 2 "the second generator ended early"; }
    end_relay
    load_pid=''
    ((status == 0 || status == 3)) || load_failed "$status"
}

generate() { # name, further flags...
    local name=$1 http_address
    shift
    http_address=$(grep -o 'http=[^ ]*' "$work/relay.out" | cut -d= -f2)
    start_child "$work/loadgen.out" "$loadgen" run "$work/$name.toml" --relay "moql://$relay_address/" --ws "ws://$http_address/ws" \
        --relay-pid "$relay_pid" --cores "$LOADGEN_CORE" --json "$work/$name.json" --jsonl "$work/$name.jsonl" "$@"
    load_pid=$child_pid
}

scenario() { # answer, hold, arrivals, concurrent, warm-up, further keys of the telephones
    cat <<END
duration = '$(($5 + seconds))s'
warm_up = '$5s'
arrivals = { $3 }
hold = { $2 }
limits = { concurrent = $4 }
shape = { kind = 'two-party' }
audio = { media = { codec = 'fixed', bytes = 200, rate = $frames.0 } }
phone = { answer = { $1 }${6:+, $6} }
END
}

step_idle() {
    local few=$((idle / 10))
    # One call, so that there is something to be counted at all.
    local one
    one=$(scenario "distribution = 'fixed', time = '100ms'" "distribution = 'forever'" "pattern = 'constant', rate = 1.0" 1 5)
    phones idle_few "$one" --idle "$few"
    phones idle "$one" --idle "$idle"
    jq -c --argjson phones "$idle" --argjson few "$few" --slurpfile before "$work/idle_few.json" --slurpfile threads "$work/idle.jsonl" '
        ($threads | map(select(.host and .interval >= 5)) | [first, last]) as $ends
        | (($ends[1].interval - $ends[0].interval)) as $s
        | def cpu($name): [$ends[] | [.host.relay_threads[] | select(.name == $name) | .cpu_seconds] | add // 0] | (.[1] - .[0]) * 100 / $s;
        {step: "idle", phones: .phones.registered, cpu_percent: .relay_cpu_percent, calls_thread_percent: cpu("calls"),
            control_thread_percent: cpu("control"), rss_mib: .relay_rss_mib,
            kib_each: ((.relay_rss_mib - $before[0].relay_rss_mib) * 1024 / ($phones - $few)), register_ms_p99: .register_ms.p99,
            sockets_lost: .phones.sockets_lost, valid: .generator.valid}' "$work/idle.json" >>"$work/steps.jsonl"
}

step_set_ups() {
    # Well above what is up on average: none is to be blocked.
    phones set_ups "$(scenario "distribution = 'exponential', mean = '300ms'" "distribution = 'exponential', mean = '${talk}s'" \
        "pattern = 'poisson', rate = $rate.0" $((rate * (talk + 2) * 3 / 2)) 5)"
    figures set-ups set_ups
}

step_up() {
    phones up "$(scenario "distribution = 'fixed', time = '100ms'" "distribution = 'forever'" \
        "pattern = 'constant', rate = 50.0" "$up" $((up / 50 + 5)))"
    figures up up
}

step_beside() {
    local frames=50 lasting calling neighbour=''
    lasting=$(scenario "distribution = 'fixed', time = '100ms'" "distribution = 'forever'" "pattern = 'constant', rate = 50.0" "$beside" \
        $((beside / 50 + 5)))
    phones alone "$lasting"
    figures alone alone
    frames=10
    calling=$(scenario "distribution = 'exponential', mean = '300ms'" "distribution = 'exponential', mean = '${talk}s'" \
        "pattern = 'poisson', rate = $((rate / 2)).0" $((rate * (talk + 2))) $((beside / 50 + 5)) \
        "first_number = 8000000000")
    neighbour=$calling
    phones beside "$lasting"
    figures beside beside
    figures "which came" neighbour
}

figures() { # step, file
    jq -c --arg step "$1" '{step: $step, phones: .phones.registered, attempted: .calls_attempted, established: .calls_established,
        failed: .calls_failed, blocked: .calls_blocked, dropped: .phones.calls_dropped, ends_untold: .phones.ends_untold,
        expected: .frames_expected, lost: .frames_lost, skipped: .frames_skipped, late: .frames_late,
        ringing_ms: .ringing_ms, accepted_ms: .accepted_ms, heard_ms: .heard_ms, hang_up_ms: .hang_up_ms, one_way_ms: .one_way_ms, mos_p1: .mos.p1,
        cpu_percent: .relay_cpu_percent, rss_mib: .relay_rss_mib, generator_percent: .generator.cpu_percent,
        lag_ms_p99: .generator.lag_ms_p99, setup_lag_ms_p99: .generator.setup_lag_ms.p99, valid: .generator.valid, reasons}' \
        "$work/$2.json" >>"$work/steps.jsonl"
}

print_table() {
    jq -r '
        def figure: if . == null then "-" else . * 100 | round / 100 | tostring end;
        "\(.date), commit \(.commit), \(.host), kernel \(.kernel)", "",
        (.phone[] | if .step == "idle" then
            "\(.step): \(.phones) phones, CPU \(.cpu_percent | figure) % of a core (calls thread \(.calls_thread_percent | figure), control thread \(.control_thread_percent | figure)), \(.kib_each | figure) KiB each, registered within \(.register_ms_p99 | figure) ms (p99), \(.sockets_lost) sockets lost"
        else
            "\(.step): \(.established) of \(.attempted) calls, \(.failed) failed, \(.blocked) blocked, \(.dropped + .ends_untold) dropped; of \(.expected) frames \(.lost + .skipped) lost, \(.late) late",
            "    ringing p50 \(.ringing_ms.p50 | figure), p99 \(.ringing_ms.p99 | figure) ms; heard p50 \(.heard_ms.p50 | figure), p99 \(.heard_ms.p99 | figure) ms; one way p50 \(.one_way_ms.p50 | figure), p99 \(.one_way_ms.p99 | figure) ms",
            "    switch \(.cpu_percent | figure) % of a core, generator \(.generator_percent | figure) %, late by \(.lag_ms_p99 | figure) ms with frames and \(.setup_lag_ms_p99 | figure) ms with signalling (p99)\(if .valid then "" else ": IT WAS THE BOTTLENECK" end)"
        end)' "$work/result.json"
}

main "$@"
