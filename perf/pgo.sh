#!/usr/bin/env bash
# Builds relay and generator for what they do: once with counters, runs them with the workloads of perf/workloads, and once
# more with what was counted (profile-guided optimisation). Then, if llvm-bolt is installed, counts once more in the relay so
# built and puts its machine code into the order in which it runs, BoringSSL's included. What it gains: perf/README.md.
#
#   perf/pgo.sh [--seconds S] [--workload W]... [--no-bolt]
#
#   --seconds S     of each workload, after a warm-up    (default: 4)
#   --workload W    to learn from; may be repeated       (default: call, audio, video, call-datagrams, announce)
#   --no-bolt       leaves the relay as the linker made it
#
#   LLVM_PROFDATA    llvm-profdata of rustc's LLVM or a later one
#                    (default: that of `rustup component add llvm-tools`, else the distribution's llvm-profdata-VERSION)
#   LLVM_BOLT        llvm-bolt 19 or later, beside which there is merge-fdata
#                    (default: the latest of /usr/lib/llvm-VERSION/bin)
#
# Takes two builds from scratch, some ten minutes on two cores. The last two lines name the programs. Exit status: 0 built,
# 2 cannot.
set -euo pipefail
profdata=${LLVM_PROFDATA:-} bolt=${LLVM_BOLT:-}
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

# The first with all that is asked of it here.
readonly BOLT_VERSION_MIN=19

main() {
    local seconds=4 workloads=() with_bolt=1 name
    while (($#)); do
        case $1 in
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        --workload) [[ -n ${2:-} ]] || die 2 "--workload needs a name"; workloads+=("$2"); shift 2 ;;
        --no-bolt) with_bolt=0; shift ;;
        -h | --help) usage ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
    done
    ((${#workloads[@]})) || workloads=(call audio video call-datagrams announce)
    lab_begin
    check_cores
    for name in "${workloads[@]}"; do read_workload "$name"; done
    find_profdata
    ((!with_bolt)) || find_bolt
    build_for pgo-learning -Cprofile-generate="$work/counts"
    for name in "${workloads[@]}"; do learn "$name"; done
    "$profdata" merge -o "$work/profile" "$work/counts" || die 2 "$profdata cannot merge what was counted"
    local flags=-Cprofile-use=$work/profile
    # With relocations the code can still be moved.
    ((!with_bolt)) || flags+=" -Clink-arg=-Wl,--emit-relocs"
    build_for pgo "$flags"
    ((!with_bolt)) || reorder
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

# Asked for by name it has to be there; otherwise it is done without.
find_bolt() {
    local directory version
    if [[ -z $bolt ]]; then
        for directory in /usr/lib/llvm-*/bin; do
            [[ ! -x $directory/llvm-bolt ]] || bolt+=$directory/llvm-bolt$'\n'
        done
        bolt=$(sort -V <<<"$bolt" | tail -n 1)
        [[ -n $bolt ]] || { without_bolt "llvm-bolt is not there"; return; }
    fi
    bolt=$(realpath "$bolt")
    [[ -x $bolt && -x $(dirname "$bolt")/merge-fdata ]] || die 2 "LLVM_BOLT: '$bolt' is no program with a merge-fdata beside it"
    version=$("$bolt" --version | sed -n 's/.*LLVM version \([0-9]*\).*/\1/p')
    ((version >= BOLT_VERSION_MIN)) || without_bolt "$bolt is of version ${version:-unknown}"
}

without_bolt() { # why
    say "$1, $BOLT_VERSION_MIN is needed (apt-get install bolt-$BOLT_VERSION_MIN): the code stays in the linker's order"
    with_bolt=0
}

# Leaves the relay with its code in the order in which it runs in `moqswitch`.
reorder() {
    local built=$moqswitch name
    moqswitch=$built.counting
    bolted "$built" -instrument -o "$moqswitch" --instrumentation-file="$work/order" --instrumentation-file-append-pid
    for name in "${workloads[@]}"; do learn "$name"; done
    local counts=("$work"/order.*)
    ((${#counts[@]} == ${#workloads[@]})) || die 2 "of ${#workloads[@]} workloads ${#counts[@]} were counted"
    "$(dirname "$bolt")/merge-fdata" "${counts[@]}" >"$work/order" 2>"$work/merge.err" \
        || die 2 "merge-fdata: $(tail -n 1 "$work/merge.err")"
    rm "$moqswitch"
    moqswitch=$built.ordered
    bolted "$built" -o "$moqswitch" -data="$work/order" -reorder-blocks=ext-tsp -reorder-functions=cdsort -split-functions \
        -split-all-cold -split-eh -icf=1 -update-debug-sections
}

bolted() { # arguments of llvm-bolt...
    "$bolt" "$@" >"$work/bolt.out" 2>&1 || die 2 "$bolt: $(tail -n 1 "$work/bolt.out") (--no-bolt does without)"
}

# Leaves the programs in `moqswitch` and `loadgen`. With a target named, what only runs during the build is left as it is.
build_for() { # directory, flags of rustc
    local target triple
    triple=$(rustc -vV | sed -n 's/^host: //p')
    target=$(target_directory)/$1
    local way=${2%% *}
    say "building moqswitch and loadgen with ${way%%=*}"
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
