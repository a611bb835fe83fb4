# shellcheck shell=bash disable=SC2034 # what is set here is used by those who source this
# What the scripts of this directory share: options, programs, a relay and a load on a core of their own each, and what a
# figure is stamped with. Source it, then call `lab_begin`. Whatever happens, what was started is ended by its pid.

# The host's cores: one for the relay, another for the generator.
readonly RELAY_CORE=${RELAY_CORE:-0}
readonly LOADGEN_CORE=${LOADGEN_CORE:-1}
# Left out of the figures at the beginning of each run: connections and calls come up in it.
readonly WARM_UP_SECONDS=3
READY_SECONDS_MAX=${READY_SECONDS_MAX:-20}
readonly END_SECONDS_MAX=2
# Samples in a second of CPU; no round number, so that nothing periodic keeps step with it.
readonly SAMPLE_HERTZ=997

# Without symbolic links, as perf names what it finds.
lab_directory=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$lab_directory")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/moqswitch
history_file=$lab_directory/history.jsonl
work=''

# Each function that starts something leaves what is known of it here.
relay_pid='' relay_address='' load_pid=''
built_commit='' host_load=''

lab_begin() {
    work=$(mktemp -d -t moqswitch-perf.XXXXXX)
    trap lab_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    # Programs are built and configured alike, by flags alone, never by this shell's environment.
    unset RUST_LOG RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
    local name
    while read -r name; do unset "$name"; done < <(compgen -e MOQ_; compgen -e MOQSWITCH_; compgen -e CARGO_PROFILE_; compgen -e CARGO_TARGET_ | grep _RUSTFLAGS)
    local tool
    for tool in cargo git jq taskset; do
        need "$tool" "apt-get install jq git util-linux; cargo comes from https://rustup.rs"
    done
}

check_cores() {
    local core
    for core in "$RELAY_CORE" "$LOADGEN_CORE"; do
        taskset -c "$core" true 2>/dev/null || die 2 "core $core cannot be used; set RELAY_CORE and LOADGEN_CORE to two that can"
    done
    [[ $RELAY_CORE != "$LOADGEN_CORE" ]] || die 2 "relay and generator need a core each: RELAY_CORE and LOADGEN_CORE differ"
}

lab_end() {
    local status=$? pid
    trap '' INT TERM HUP
    for pid in $(jobs -rp); do end_child "$pid"; done
    rm -rf "$work"
    exit "$status"
}

die() { # status, text
    echo "${0##*/}: $2" >&2
    exit "$1"
}

# The comment at the top of a script is its help.
usage() {
    awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
    exit 0
}

need() { # tool, what to do when it is missing
    command -v "$1" >/dev/null || die 2 "$1 is missing: $2"
}

# The options of scripts that run something in rounds; leaves `rounds`, `seconds` and `with_history`.
parse_rounds() { # arguments...
    rounds=3 seconds=5 with_history=1
    while (($#)); do
        case $1 in
        --rounds) positive "$1" "${2:-}"; rounds=$2; shift 2 ;;
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        --no-history) with_history=0; shift ;;
        -h | --help) usage ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
    done
}

positive() { # option, value
    [[ ${2:-} =~ ^[1-9][0-9]{0,4}$ ]] || die 2 "$1 needs a whole number from 1 on, not '${2:-}'"
}

# A file that is written only at the end of a long run has to be writable at its beginning.
writable() { # option, file
    [[ -n ${2:-} ]] || die 2 "$1 needs a file"
    if [[ -e $2 ]]; then [[ -f $2 && -w $2 ]]; else [[ -w $(dirname "$2") ]]; fi || die 2 "$1: cannot write '$2'"
}

say() { echo "$*" >&2; }

pause() { read -rt "$1" <> <(:) || true; } # seconds

# --- programs

target_directory() { realpath -m "${CARGO_TARGET_DIR:-$root/target}"; }

build() {
    say "building moqswitch and loadgen"
    built_commit=$(commit)
    cargo build --quiet --release --manifest-path "$root/Cargo.toml" --workspace \
        || die 2 "the build failed; tuning/prepare.sh installs what it needs"
    local target
    target=$(target_directory)
    moqswitch=$target/release/moqswitch
    loadgen=$target/release/loadgen
}

# A relay that MOQSWITCH named takes the place of the one just built.
choose_relay() { # program, or nothing
    moqswitch=${1:-$moqswitch}
    [[ -x $moqswitch ]] || die 2 "MOQSWITCH=$moqswitch is not a program"
}

# The relay with frame pointers, for usable stacks: the same code and profile otherwise, in a directory of its own so that
# neither build makes the other anew.
build_with_frame_pointers() {
    say "building moqswitch with frame pointers"
    local target
    target=$(target_directory)/frame-pointers
    built_commit=$(commit)
    RUSTFLAGS="-C force-frame-pointers=yes" CFLAGS="${CFLAGS:-} -fno-omit-frame-pointer" CXXFLAGS="${CXXFLAGS:-} -fno-omit-frame-pointer" \
        cargo build --quiet --release --manifest-path "$root/Cargo.toml" --target-dir "$target" -p moqswitch \
        || die 2 "the build failed; tuning/prepare.sh installs what it needs"
    moqswitch_profiled=$target/release/moqswitch
}

# Installs a program from crates.io into the cache once, and leaves its path in `installed`.
install_crate() { # directory of the cache, crate, version, program, further flags of cargo install...
    local crate=$2 version=$3 program=$4 directory=$cache/$1/$2-$3
    shift 4
    installed=$directory/bin/$program
    [[ -x $installed ]] && return
    say "installing $crate $version into $directory"
    local command=(env -u CARGO_TARGET_DIR cargo install "$crate" --version "$version" --root "$directory" "$@")
    "${command[@]}" --locked >&2 && return
    # A registry that mirrors crates.io need not have every version that is locked.
    say "trying again with dependencies other than the locked ones"
    "${command[@]}" >&2
}

# For jq: null of nothing.
readonly MEDIAN='def median: map(select(. != null)) | sort | if length == 0 then null else (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2 end;'

# --- workloads

workload_names() { awk '!/^#/ && NF { print $1 }' "$lab_directory/workloads"; }

# Leaves the flags of a workload in `workload`.
read_workload() { # name
    local line
    line=$(awk -v name="$1" '!/^#/ && $1 == name { sub(/^[^ ]+ +/, ""); print }' "$lab_directory/workloads")
    [[ -n $line ]] || die 2 "no workload '$1'; perf/workloads has: $(workload_names | tr '\n' ' ')"
    read -ra workload <<<"$line"
}

# --- processes

# Runs a command in the background, where it can be waited for and ended; its pid is left in `child_pid`. What it says on
# standard error is in the file with `.err` behind its name.
start_child() { # output file, command...
    local output=$1
    shift
    # Emptied before the child does so: nobody takes the words of an earlier one for its.
    : >"$output"
    "$@" </dev/null >"$output" 2>"$output.err" &
    child_pid=$!
}

last_words() { # output file
    cat "$1" "$1.err" | tail -n 5 >&2
}

end_child() { # pid
    local deadline=$((SECONDS + END_SECONDS_MAX))
    kill "$1" 2>/dev/null || true
    while kill -0 "$1" 2>/dev/null; do
        if ((SECONDS >= deadline)); then
            kill -KILL "$1" 2>/dev/null || true
            break
        fi
        pause 0.05
    done
    wait "$1" 2>/dev/null || true
}

# --- relays, on a core of their own

start_moqswitch() { # program
    launch_moqswitch "$1" || relay_failed
}

# Fails when it does not come up.
launch_moqswitch() { # program, further flags...
    local program=$1
    shift
    launch_relay "$program" --listen 127.0.0.1:0 --http 127.0.0.1:0 --shards 1 --cores "$RELAY_CORE" "$@"
    await_relay grep -q ready "$work/relay.out" || return 1
    relay_address=$(grep -o 'udp=[^ ]*' "$work/relay.out" | cut -d= -f2)
}

launch_relay() { # program, flags...
    host_load=$(cut -d' ' -f1 /proc/loadavg)
    start_child "$work/relay.out" taskset -c "$RELAY_CORE" "$@"
    relay_pid=$child_pid
}

# At once: a relay that drains waits for sessions, and none of them is of any interest any more.
end_relay() {
    kill -KILL "$relay_pid" 2>/dev/null || true
    end_child "$relay_pid"
    relay_pid=''
}

# Waits until a command succeeds; fails when the relay ends before, or takes too long.
await_relay() { # command...
    local deadline=$((SECONDS + READY_SECONDS_MAX))
    until "$@"; do
        kill -0 "$relay_pid" 2>/dev/null && ((SECONDS < deadline)) || return 1
        pause 0.05
    done
}

relay_failed() {
    last_words "$work/relay.out"
    die 2 "the relay does not start; what it said last is above"
}

# --- load

# How the generator connects: moql is raw QUIC, https WebTransport.
load_scheme=moql

# Starts the generator, pinned; the summary will be in a file.
start_load() { # summary file, seconds measured, flags...
    local summary=$1 seconds=$2
    shift 2
    rm -f "$summary"
    start_child "$work/loadgen.out" "$loadgen" "$@" --relay "$load_scheme://$relay_address/" --relay-pid "$relay_pid" \
        --cores "$LOADGEN_CORE" --warm-up "${WARM_UP_SECONDS}s" --duration "$((WARM_UP_SECONDS + seconds))s" --json "$summary"
    load_pid=$child_pid
}

# Waits for the generator. 0: there are figures, and they are of the relay. 3: the generator was the bottleneck. What it
# says of its thresholds (status 1) is for the caller to see in the summary. Anything else is an error.
finish_load() {
    local status=0
    await_load || status=$?
    ((status == 0 || status == 3)) || load_failed "$status"
    return "$status"
}

# The same, and any other status when there are no figures.
await_load() {
    local status=0
    wait "$load_pid" || status=$?
    ((status == 1)) || return "$status"
}

load_failed() { # status
    last_words "$work/loadgen.out"
    die 2 "loadgen ended with status $1; what it said last is above"
}

# What is to be watched under load has to be loaded.
load_is_on() {
    kill -0 "$load_pid" 2>/dev/null && return
    finish_load || true
    die 2 "the load ended too early; it says: $(tail -n 1 "$work/loadgen.out")"
}

# Why the figures of the last run are not of the relay.
generator_fault() {
    jq -r '.generator | "the generator was the bottleneck: late by \(.lag_ms_p99) ms (p99), by \(.setup_lag_ms.p99) ms with setting up, \(.socket_drops) datagrams dropped"' \
        "$work/summary.json"
}

# --- profiles

check_perf() {
    need perf "apt-get install linux-perf"
    perf record -q -N -e cpu-clock -o "$work/probe.data" -- true 2>"$work/probe.out" \
        || die 2 "perf may not record: $(tail -n 1 "$work/probe.out"); run as root, or set kernel.perf_event_paranoid to 1 or less"
}

# Samples of the relay while it is on a CPU, with stacks by frame pointers.
record_on_cpu() { # file, seconds
    load_is_on
    start_child "$work/perf.out" perf record -q -N -e cpu-clock -F $SAMPLE_HERTZ --call-graph fp -p "$relay_pid" -o "$1" -- sleep "$2"
    wait "$child_pid" || die 2 "perf record failed: $(tail -n 1 "$work/perf.out.err")"
}

# The stacks of a recording as text: symbols and objects from the innermost frame out, an empty line after each.
print_stacks() { # file, further flags of perf script...
    local file=$1
    shift
    perf script -i "$file" --no-inline "$@" 2>/dev/null
}

# --- what a figure is stamped with

# Of the files as they are; figures appended by a run do not change what is measured.
commit() {
    local name
    name=$(git -C "$root" rev-parse --short HEAD 2>/dev/null) || { echo none; return; }
    git -C "$root" diff --quiet HEAD -- . ':!perf/history.jsonl' || name+=-dirty
    echo "$name"
}

# As JSON: the commit that was built, whatever was edited since. The load average is of the minute before the relay of a
# run was started, so it has the run before in it.
stamp() {
    jq -nc --arg date "$(date -u +%Y-%m-%dT%H:%M:%SZ)" --arg commit "${built_commit:-$(commit)}" --arg kernel "$(uname -r)" \
        --arg cpu "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)" --argjson cores "$(nproc)" \
        --argjson load "${host_load:-$(cut -d' ' -f1 /proc/loadavg)}" \
        '{date: $date, commit: $commit, host: "\($cpu), \($cores) cores", kernel: $kernel, load_average: $load}'
}

# As JSON, what a relay is that this tree's build did not make; nothing for one that it made.
built_otherwise() { # program, or nothing
    [[ -z $1 ]] || jq -nc --arg sha256 "$(sha256sum "$1" | cut -c 1-16)" --arg program "$1" '{built_otherwise: {program: $program, sha256: $sha256}}'
    [[ -n $1 ]] || echo '{}'
}

# Appends a line to the history: the stamp, the kind, and what is on standard input.
append_history() { # kind
    jq -c --arg kind "$1" --argjson stamp "$(stamp)" '{kind: $kind} + $stamp + .' >>"$history_file"
}
