#!/usr/bin/env bash
# Where does the relay spend its time under a load, and what does it wait for?
#
#   perf/profile.sh [--seconds S] [--output DIRECTORY] [WORKLOAD | loadgen command and flags...]
#
#   --seconds S           recorded on CPU, and as long off CPU       (default: 10)
#   --output DIRECTORY    for the flame graphs and the recordings    (default: profile in cargo's target directory)
#   WORKLOAD              one of perf/workloads                      (default: call)
#
# Leaves flame graphs (SVG, to be opened in a browser), and prints the objects and symbols that take most. Off CPU needs
# root and scheduler tracepoints; without, it says SKIP and why. Exit status: 0 done, 2 cannot run.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

readonly INFERNO_VERSION=0.12.8
readonly SYMBOLS_SHOWN=30

main() {
    local seconds=10 output='' load=()
    parse "$@"
    lab_begin
    check_cores
    choose_load
    output=${output:-$(target_directory)/profile}
    mkdir -p "$output" 2>/dev/null || die 2 "--output: cannot make '$output'"
    [[ -w $output ]] || die 2 "--output: cannot write into '$output'"
    check_perf
    install_crate tools inferno "$INFERNO_VERSION" inferno-flamegraph \
        || die 2 "cannot install inferno $INFERNO_VERSION, see above"
    build
    build_with_frame_pointers

    start_moqswitch "$moqswitch_profiled"
    start_load "$work/summary.json" $((2 * seconds + 5)) "${load[@]}"
    pause "$WARM_UP_SECONDS"
    record_on_cpu "$output/on-cpu.data" "$seconds"
    record_off_cpu
    finish_load || say "$(generator_fault); the shares below are of a relay that did not get its load"
    end_relay
    draw_on_cpu
    draw_off_cpu
    print_tables
}

parse() {
    while (($#)); do
        case $1 in
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        --output) output=${2:-}; [[ -n $output ]] || die 2 "--output needs a directory"; shift 2 ;;
        -h | --help) usage ;;
        -*) die 2 "unknown argument '$1' (--help shows all); flags of loadgen come after its command" ;;
        *) break ;;
        esac
    done
    load=("${@:-call}")
}

# A single name is a workload, or else a command of loadgen.
choose_load() {
    if ((${#load[@]} == 1)) && workload_names | grep -qx -- "${load[0]}"; then
        read_workload "${load[0]}"
        load=("${workload[@]}")
    fi
    say "load: ${load[*]}"
}

# Every switch on the relay's core: an event of a thread that goes has its stack, that of one that comes its name only.
record_off_cpu() {
    off_cpu_skipped=''
    local threads
    threads=$(echo "/proc/$relay_pid/task/"*)
    off_cpu_threads=${threads//"/proc/$relay_pid/task/"/}
    if ! perf record -q -N -e sched:sched_switch -C "$RELAY_CORE" -o "$work/probe.data" -- true >"$work/probe.out" 2>&1; then
        off_cpu_skipped="no sched:sched_switch here: $(grep . "$work/probe.out" | head -n 1)"
        return
    fi
    start_child "$work/perf.out" perf record -q -N -e sched:sched_switch --call-graph fp -C "$RELAY_CORE" \
        -o "$output/off-cpu.data" -- sleep "$seconds"
    wait "$child_pid" || off_cpu_skipped="perf record failed: $(tail -n 1 "$work/perf.out.err")"
}

draw_on_cpu() {
    print_stacks "$output/on-cpu.data" >"$work/on-cpu.stacks"
    [[ -s $work/on-cpu.stacks ]] || die 2 "no samples: the relay did not run"
    "${installed%/*}/inferno-collapse-perf" "$work/on-cpu.stacks" >"$output/on-cpu.folded" 2>"$work/inferno.out"
    "$installed" --title "moqswitch, on CPU: ${load[*]}" "$output/on-cpu.folded" >"$output/on-cpu.svg"
}

draw_off_cpu() {
    [[ -z $off_cpu_skipped ]] || return 0
    print_stacks "$output/off-cpu.data" -F comm,tid,time,event,trace,ip,sym \
        | awk -v threads="$off_cpu_threads" -f "$lab_directory/off-cpu.awk" >"$output/off-cpu.folded"
    if [[ ! -s $output/off-cpu.folded ]]; then
        off_cpu_skipped="the relay never left its core"
        return
    fi
    "$installed" --title "moqswitch, off CPU: ${load[*]}" --countname µs --colors blue \
        "$output/off-cpu.folded" >"$output/off-cpu.svg"
}

print_tables() {
    jq -r '"\(.date), commit \(.commit), \(.host), kernel \(.kernel)"' <<<"$(stamp)"
    echo
    echo "On CPU, $(grep -c '^$' "$work/on-cpu.stacks") samples, self time:"
    report dso 8
    echo
    report symbol "$SYMBOLS_SHOWN"
    echo
    if [[ -z $off_cpu_skipped ]]; then
        echo "Off CPU, milliseconds by reason:"
        awk '{ split($0, frame, ";"); ms[frame[2]] += $NF / 1000 } END { for (why in ms) printf "%10.1f  %s\n", ms[why], why }' \
            "$output/off-cpu.folded" | sort -rn
    else
        echo "SKIP off CPU: $off_cpu_skipped"
    fi
    echo
    echo "$output/on-cpu.svg"
    [[ -n $off_cpu_skipped ]] || echo "$output/off-cpu.svg"
}

report() { # sort key, lines
    perf report -i "$output/on-cpu.data" --no-children --sort "$1" --stdio -g none 2>/dev/null \
        | awk -v lines="$2" '/^#/ || !/%/ { next } lines-- > 0 { print substr($0, 1, 130) }'
}

main "$@"
