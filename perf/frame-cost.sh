#!/usr/bin/env bash
# Where does each microsecond of a delivered frame go: the kernel's sending and receiving, QUIC, cryptography, each of our
# layers?
#
#   perf/frame-cost.sh [--workload W] [--seconds S] [--rounds R] [--json FILE] [--no-history]
#
#   --workload W    one of perf/workloads                       (default: call)
#   --seconds S     measured, and then recorded, in each round  (default: 10)
#   --rounds R      of which the microseconds are the median    (default: 3)
#   --json FILE     writes the result
#   --no-history    does not append the result to perf/history.jsonl
#
# Microseconds are of the release build undisturbed; shares are of samples (perf) of the same code built with frame
# pointers. perf/frame-classes says which stack is what. Exit status: 0 measured, 1 more than 5 % are of no class, or
# in the kernel for something that is not ours, 2 cannot run.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

# Of samples that no rule is for, in user space and in the kernel.
readonly UNCLASSIFIED_PERCENT_MAX=5

main() {
    local name=call seconds=10 rounds=3 json='' with_history=1
    parse "$@"
    lab_begin
    check_cores
    [[ -z $json ]] || writable --json "$json"
    read_workload "$name"
    check_perf
    need addr2line "apt-get install binutils"
    build
    build_with_frame_pointers
    local round
    for ((round = 1; round <= rounds; round++)); do
        say "$name, round $round"
        run "$moqswitch" us
        run "$moqswitch_profiled" profiled-us
    done
    [[ -s $work/us && -s $work/profiled-us ]] || die 2 "no round counts: in all of them the generator was the bottleneck"
    sum_up >"$work/result.json"
    [[ -z $json ]] || cp "$work/result.json" "$json"
    ((!with_history)) || append_history frame-cost <"$work/result.json"
    print_table
    jq -e --argjson maximum $UNCLASSIFIED_PERCENT_MAX \
        '.unclassified_percent <= $maximum and .kernel_other_percent <= $maximum' "$work/result.json" >/dev/null \
        || die 1 "too much is of no class: add the frames above to perf/frame-classes"
}

parse() {
    while (($#)); do
        case $1 in
        --workload) name=${2:-}; [[ -n $name ]] || die 2 "--workload needs a name"; shift 2 ;;
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        --rounds) positive "$1" "${2:-}"; rounds=$2; shift 2 ;;
        --json) json=${2:-}; [[ -n $json ]] || die 2 "--json needs a file"; shift 2 ;;
        --no-history) with_history=0; shift ;;
        -h | --help) usage ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
    done
}

# One load on a relay, once more when the generator was the bottleneck. Its microseconds for each frame go into the file
# named; of the relay with frame pointers, the classes of its samples as well.
run() { # program, file
    for _ in 1 2; do
        local status=0
        start_moqswitch "$1"
        start_load "$work/summary.json" "$((seconds + 1))" "${workload[@]}"
        if [[ $2 == profiled-us ]]; then
            pause "$WARM_UP_SECONDS"
            record_on_cpu "$work/perf.data" "$seconds"
        fi
        finish_load || status=$?
        end_relay
        if ((!status)); then
            jq -e 'select(.frames_delivered > 0).relay_cpu_us_per_frame' "$work/summary.json" >>"$work/$2" \
                || die 2 "no frame was delivered under '$name'"
            [[ $2 != profiled-us ]] || classify
            return
        fi
        say "  $(generator_fault)"
    done
}

classify() {
    print_stacks "$work/perf.data" -F ip,sym,dso >"$work/stacks"
    find_origins
    awk -v rules="$lab_directory/frame-classes" -v origins="$work/origins" -f "$lab_directory/frame-cost.awk" \
        "$work/stacks" >>"$work/classes"
}

# What the compiler inlined where: most of quiche's and of our own functions have no frame of their own.
find_origins() {
    local program=$moqswitch_profiled text address
    # Stacks have offsets in the file; the debug information has addresses, which are apart by as much as the segment is.
    text=$(readelf -lW "$program" | awk '$1 == "LOAD" && / R E / { print $3 " - " $2 }')
    grep -F " ($program)" "$work/stacks" | awk '{ print $1 }' | sort -u >"$work/addresses" \
        || die 2 "no sample is of $program, as perf names it"
    # A frame's address is where its call returns to: the call is before it.
    while read -r address; do printf '%x\n' $((0x$address + text - 1)); done <"$work/addresses" \
        | addr2line -a -i -e "$program" \
        | awk -v addresses="$work/addresses" -v root="$root" -f "$lab_directory/origins.awk" >"$work/origins"
}

sum_up() {
    grep -v '^?' "$work/classes" | jq -R 'split(" ") | {class: .[0], samples: (.[1] | tonumber)}' >"$work/classes.json"
    jq -s --argjson stamp "$(stamp)" --arg workload "$name" --slurpfile us "$work/us" --slurpfile profiled "$work/profiled-us" '
        def median: sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2;
        (map(.samples) | add) as $all | ($us | median) as $median
        | def part: (map(.samples) | add // 0) as $samples
            | {percent: (100 * $samples / $all), us: ($median * $samples / $all), samples: $samples};
        $stamp + {
            workload: $workload, us_per_frame: $median, us_per_frame_profiled: ($profiled | median), samples: $all,
            rounds: ([($us | length), ($profiled | length)] | min),
            unclassified_percent: (map(select(.class == "unclassified")) | part.percent),
            kernel_other_percent: (map(select(.class == "kernel-other")) | part.percent),
            together: {
                kernel: (map(select(.class | startswith("kernel-"))) | part),
                transport: (map(select(.class == "quiche" or .class == "crypto")) | part),
                ours: (map(select(.class | startswith("ours-"))) | part)
            },
            classes: (group_by(.class) | map({class: .[0].class} + part) | sort_by(-.samples))
        }' "$work/classes.json"
}

print_table() {
    jq -r '
        def fixed(digits): (. * pow(10; digits) | round / pow(10; digits) | tostring);
        "\(.date), commit \(.commit), \(.host), kernel \(.kernel)",
        "\(.workload): \(.us_per_frame | fixed(1)) µs of relay CPU for each delivered frame (\(.us_per_frame_profiled | fixed(1)) while profiled, with frame pointers); \(.samples) samples, \(.rounds) rounds",
        "",
        "| class | share | µs |", "|---|---|---|",
        (.classes[] | "| \(.class) | \(.percent | fixed(1)) % | \(.us | fixed(2)) |"),
        "",
        "together: kernel \(.together.kernel.us | fixed(1)) µs, quiche and crypto \(.together.transport.us | fixed(1)) µs, our own layers \(.together.ours.us | fixed(1)) µs",
        "without a rule: \(.unclassified_percent | fixed(1)) % in user space, \(.kernel_other_percent | fixed(1)) % in the kernel"
    ' "$work/result.json"
    if grep -q '^?' "$work/classes"; then
        printf '\nWithout a rule, samples by innermost frame:\n'
        awk '/^[?]/ { count = $2; sub(/^[?] [0-9]+ /, ""); samples[$0] += count }
            END { for (frame in samples) print samples[frame], frame }' "$work/classes" | sort -rn | head -n 8
    fi
}

main "$@"
