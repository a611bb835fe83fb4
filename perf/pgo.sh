#!/usr/bin/env bash
# Builds relay and generator for what they do: once with counters, runs them with the workloads of perf/workloads, and once
# more with what was counted (profile-guided optimisation). What it gains: perf/README.md.
#
#   perf/pgo.sh [--seconds S] [--workload W]...
#
#   --seconds S     of each workload, after a warm-up    (default: 4)
#   --workload W    to learn from; may be repeated       (default: call, audio, video, call-datagrams, announce)
#
#   LLVM_PROFDATA    llvm-profdata of rustc's LLVM or a later one
#                    (default: that of `rustup component add llvm-tools`, else the distribution's llvm-profdata-VERSION)
#
# Takes two builds from scratch, some ten minutes on two cores. The last two lines name the programs. Exit status: 0 built,
# 2 cannot.
set -euo pipefail
profdata=${LLVM_PROFDATA:-}
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

main() {
    local seconds=4 workloads=() name
    while (($#)); do
        case $1 in
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        --workload) [[ -n ${2:-} ]] || die 2 "--workload needs a name"; workloads+=("$2"); shift 2 ;;
        -h | --help) usage ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
    done
    ((${#workloads[@]})) || workloads=(call audio video call-datagrams announce)
    lab_begin
    check_cores
    for name in "${workloads[@]}"; do read_workload "$name"; done
    find_profdata
    build_for pgo-learning -Cprofile-generate="$work/counts"
    for name in "${workloads[@]}"; do learn "$name"; done
    "$profdata" merge -o "$work/profile" "$work/counts" || die 2 "$profdata cannot merge what was counted"
    build_for pgo -Cprofile-use="$work/profile"
    echo "$moqswitch"
    echo "$loadgen"
}

find_profdata() {
    [[ -n $profdata ]] && return
    local of_rustup
    of_rustup=$(find "$(rustc --print sysroot)/lib/rustlib" -name llvm-profdata 2>/dev/null | head -n 1)
    local major
    major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    profdata=${of_rustup:-$(command -v "llvm-profdata-$major" || true)}
    [[ -n $profdata ]] || die 2 "llvm-profdata of LLVM $major is missing: rustup component add llvm-tools, or apt-get install llvm-$major"
}

# Leaves the programs in `moqswitch` and `loadgen`. With a target named, what only runs during the build is left as it is.
build_for() { # directory, flags of rustc
    local target triple
    triple=$(rustc -vV | sed -n 's/^host: //p')
    target=$(target_directory)/$1
    say "building moqswitch and loadgen with ${2%%=*}"
    RUSTFLAGS=$2 cargo build --quiet --release --manifest-path "$root/Cargo.toml" --target-dir "$target" --target "$triple" --bins -p moqswitch -p loadgen \
        || die 2 "the build failed; tuning/prepare.sh installs what it needs"
    moqswitch=$target/$triple/release/moqswitch
    loadgen=$target/$triple/release/loadgen
}

learn() { # workload
    read_workload "$1"
    say "learning from $1"
    launch_moqswitch "$moqswitch" || relay_failed
    start_load "$work/summary.json" "$seconds" "${workload[@]}"
    finish_load || say "  $(generator_fault)"
    jq -e '.frames_delivered > 0 or .calls_established > 0' "$work/summary.json" >/dev/null || die 2 "nothing came through under $1"
    # By itself: only then it writes what it counted.
    kill "$relay_pid"
    wait "$relay_pid" || die 2 "the relay did not end well: $(tail -n 1 "$work/relay.out.err")"
    relay_pid=''
}

main "$@"
