#!/usr/bin/env bash
# How many instructions does the relay itself execute for a delivered frame of a call? Runs it under valgrind, which counts
# those of the process and not of the kernel, with a tenth of the people of the workload `call`.
#
#   perf/call-instructions.sh [--seconds S] [--relay PROGRAM] [--profile FILE]
#
#   --seconds S        counted, after connections and calls are up        (default: 12)
#   --relay PROGRAM    the relay to count                                 (default: built from this tree)
#   --profile FILE     keeps the counts by function, for callgrind_annotate
#
# Prints {"relay_call_frame": N}. How many frames share a turn is a matter of timing, so two runs differ by up to 2 %.
# Valgrind knows no AVX-512, so encryption takes more instructions than it does without it. Exit status: 0 counted, 2 cannot run.
set -euo pipefail
# A thread that waits in its ring holds up the others under valgrind, and the start takes its time.
READY_SECONDS_MAX=90
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

readonly LOAD=(conference --people 10 --hears 4 --calls 1 --frame-bytes 200 --frame-rate 50 --no-catalog)
# Valgrind takes its time to begin with, and connections are slow to come up in it.
readonly SETTLE_SECONDS=4
# Valgrind is told what to do and does it some time later.
readonly SPARE_SECONDS=10
readonly FRAMES_PER_SECOND=2000 FRAMES_PERCENT_MIN=95

main() {
    local seconds=12 relay='' profile=''
    while (($#)); do
        case $1 in
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        --relay) relay=${2:-}; [[ -x $relay ]] || die 2 "--relay: '$relay' is not a program"; shift 2 ;;
        --profile) writable "$1" "${2:-}"; profile=$2; shift 2 ;;
        -h | --help) usage ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
    done
    lab_begin
    check_cores
    need valgrind "apt-get install valgrind"
    need curl "apt-get install curl"
    build
    counted "${relay:-$moqswitch}" >"$work/counted"
    chmod +x "$work/counted"
    launch_moqswitch "$work/counted" || relay_failed
    start_load "$work/summary.json" "$((SETTLE_SECONDS + seconds + SPARE_SECONDS))" "${LOAD[@]}"
    pause $((WARM_UP_SECONDS + SETTLE_SECONDS))
    load_is_on
    count_for "$seconds"
    end_child "$load_pid"
    [[ -z $profile ]] || cp "$work/profile.1" "$profile"
}

# A program that is another one under valgrind.
counted() { # program
    printf '#!/bin/sh\nexec valgrind --fair-sched=try --tool=callgrind --instr-atstart=no --callgrind-out-file=%q %q "$@"\n' "$work/profile" "$1"
}

count_for() { # seconds
    local before after frames instructions
    callgrind -i on
    before=$(frames_out)
    pause "$1"
    after=$(frames_out)
    callgrind -i off
    load_is_on
    callgrind --dump
    frames=$((after - before))
    # A relay that cannot keep up does more in a turn, so less for a frame.
    ((frames * 100 >= $1 * FRAMES_PER_SECOND * FRAMES_PERCENT_MIN)) || die 2 "only $frames frames were delivered in $1 s"
    instructions=$(sed -n 's/^totals: //p' "$work"/profile* | sort -n | tail -n 1)
    ((instructions > 0)) || die 2 "valgrind left no counts"
    jq -n --argjson instructions "$instructions" --argjson frames "$frames" '{relay_call_frame: ($instructions / $frames | round)}'
}

callgrind() { # flags of callgrind_control
    callgrind_control "$@" "$relay_pid" >"$work/control" 2>&1 || die 2 "callgrind_control $*: $(tail -n 1 "$work/control")"
}

# That the relay has sent so far.
frames_out() {
    local address
    # Of an older relay it is at the address of everyone.
    address=$(grep -oE '(admin|http)=[^ ]*' "$work/relay.out" | sort | head -n 1 | cut -d= -f2)
    curl -sS "http://$address/metrics" | awk '/^moqswitch_frames_out_total/ { sum += $2 } END { print sum + 0 }'
}

main "$@"
