#!/usr/bin/env bash
# What does each attack cost the callers of a relay? 50 calls go through it, without the attack and with it in turn.
# Some relays are smaller than they are by default, so that an attack reaches a limit: `flags_of` below.
#
#   tests/attacks.sh [--rounds R] [--seconds S] [--write] [ATTACK]...
#
#   --rounds R     of each, with and without in turn                              (default: 3)
#   --seconds S    of each run, at least; some attacks take longer                (default: 10)
#   --write        writes the table of tests/ATTACKS.md anew from what was run
#   ATTACK         names of attacks; without one all (`attack` without arguments lists them)
#
#   MOQSWITCH      another relay                                                  (default: built from this tree)
#   RELAY_FLAGS    further flags of the relay
#
# Where an attack is a flood, the rounds without it have the same flood against a socket beside the relay: what sending it
# costs this host is no cost of the relay's. Everything is on loopback, and ends with the script.
# A row fails when an innocent frame is lost, when the median p99 is twice the one without and more than 10 ms above it, when
# memory is not back within 10 % and 8 MiB after a minute, when the attack sent nothing or found what must not be (it says
# what), when what has to be counted, logged or closed was not, or when the relay has ended. Where frames are lost without the
# attack, too, the host is what loses them, and the row has no result.
# Exit status: 0 all rows hold, 1 one does not, 2 cannot run, or a row has no result.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR/../perf
source "$(dirname "${BASH_SOURCE[0]}")/../perf/lab.sh"

readonly CALLS=50
readonly FLOODS=' garbage resets initials versions half-open '
# Attacks that begin when the calls are up: while memory is full nobody comes in, which is what is stated.
readonly LATE=' full-memory '
# A pause after which memory has to be back.
REST_SECONDS=${REST_SECONDS:-60}

main() {
    local rounds=3 seconds=10 write=0 attacks=()
    while (($#)); do
        case $1 in
        --rounds) positive "$1" "${2:-}"; rounds=$2; shift 2 ;;
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        --write) write=1; shift ;;
        -h | --help) usage ;;
        -*) die 2 "unknown argument '$1' (--help shows all)" ;;
        *) attacks+=("$1"); shift ;;
        esac
    done
    lab_begin
    check_cores
    need python3 "apt-get install python3"
    # Ten thousand connections have as many files.
    ulimit -n "$(ulimit -Hn)"
    build
    choose_relay "${MOQSWITCH:-}"
    cargo build --quiet --release --manifest-path "$root/Cargo.toml" --workspace --example attack || die 2 "the build of the attacks failed"
    attack=$(target_directory)/release/examples/attack
    local known name status failed=0 unknown=0
    mapfile -t known < <("$attack" | cut -d ' ' -f 1)
    ((${#attacks[@]})) || attacks=("${known[@]}")
    for name in "${attacks[@]}"; do
        [[ " ${known[*]} " == *" $name "* ]] || die 2 "no attack is called '$name'"
    done
    for name in "${attacks[@]}"; do
        status=0
        row "$name" "$rounds" "$seconds" || status=$?
        case $status in
        0) ;;
        2) unknown=1 ;;
        *) failed=1 ;;
        esac
    done
    rounds_run=$rounds seconds_run=$seconds
    ((write)) && write_table
    ((failed == 0)) || return 1
    ((unknown == 0)) || return 2
}

# 0: it holds, 1: it does not, 2: nobody can say.
row() { # attack, rounds, seconds
    local name=$1 round
    local seconds
    seconds=$(max "$3" "$(seconds_of "$name")")
    say "$name: $2 rounds of $seconds s"
    : >"$work/runs"
    # shellcheck disable=SC2046,SC2086 # flags are words
    launch_moqswitch "$(program_of "$name")" $(flags_of "$name") ${RELAY_FLAGS:-} || relay_failed
    http_address=$(grep -o ' http=[^ ]*' "$work/relay.out" | cut -d= -f2)
    admin_address=$(grep -o ' admin=[^ ]*' "$work/relay.out" | cut -d= -f2)
    decoy
    local before peak after
    dropped >"$work/dropped"
    # Once, so that what every relay holds after its first calls is not taken for the attack's.
    calls 3 /dev/null
    before=$(resident)
    peak=$before
    for ((round = 1; round <= rounds; round++)); do
        run_once "$name" without "$seconds"
        run_once "$name" with "$seconds"
        peak=$(max "$peak" "$(high_water)")
    done
    pause "$REST_SECONDS"
    kill -0 "$relay_pid" 2>/dev/null || { say "$name: the relay has ended"; return 1; }
    after=$(resident)
    dropped >"$work/dropped.after"
    local is_logged=true
    grep -qF "$(words_of "$name")" "$work/relay.out" "$work/relay.out.err" || is_logged=false
    end_relay
    kill "$decoy_pid" 2>/dev/null || true
    jq -s --arg name "$name" --argjson need "$(needs "$name")" --slurpfile was "$work/dropped" --slurpfile is "$work/dropped.after" --argjson logged "$is_logged" --argjson before "$before" --argjson peak "$peak" --argjson after "$after" "$MEDIAN"'
        def of($kind; f): map(select(.kind == $kind) | f);
        ($is[0] | with_entries(.value -= ($was[0][.key] // 0)) | with_entries(select(.value > 0))) as $counted |
        {attack: $name, counted: $counted, logged: $logged, failed: (of("with"; .failed // empty) | last), refused: (of("with"; .refused) | max), late: (of("with"; .late) | max), sent: (of("with"; .sent) | median), closed: (of("with"; .closed) | max), code: (of("with"; .code) | last),
         lost_without: (of("without"; .lost) | add), lost_with: (of("with"; .lost) | add),
         p99_without: (of("without"; .p99) | median), p99_with: (of("with"; .p99) | median),
         rss_before: $before, rss_peak: $peak, rss_after: $after}
        | (all(.p99_without, .p99_with, .lost_with, .lost_without; type == "number") and .failed == null and (.sent // 0) > 0
            and ($need.counted == null or ($counted[$need.counted] // 0) > 0) and $logged and (.closed // 0) >= $need.closed
            and .rss_after <= .rss_before * 1.1 + 8) as $defended
        | (.lost_with == 0 and (.p99_with <= 2 * .p99_without or .p99_with <= .p99_without + 10)) as $unharmed
        | .holds = if $defended | not then "no" elif .lost_without > 0 then "no result" elif $unharmed then "yes" else "no" end
        ' "$work/runs" | tee -a "$work/table"
    case $(jq -rs 'last.holds' "$work/table") in
    yes) return 0 ;;
    'no result') return 2 ;;
    *) return 1 ;;
    esac
}

# What the relay has to have said; nothing is always said.
words_of() { # attack
    case $1 in
    files) echo 'Too many open files' ;;
    full-memory) echo 'the memory of the relay is full, and this session holds most' ;;
    esac
}

# The least that an attack takes to do what it is there for.
seconds_of() { # attack
    case $1 in
    idle) echo 25 ;;
    stops) echo 24 ;;
    full-memory) echo 15 ;;
    *) echo 1 ;;
    esac
}

flags_of() { # attack
    case $1 in
    # Room for its ten thousand and for the calls.
    idle) echo --limits-connections 12000 ;;
    full-memory) echo --limits-memory 27MiB ;;
    esac
}

# A relay with few files, where those are what runs out: fewer than the connections that it would take.
program_of() { # attack
    [[ $1 == files ]] || { echo "$moqswitch"; return; }
    printf '#!/bin/sh\nulimit -n 300\nexec "%s" "$@"\n' "$moqswitch" >"$work/few-files"
    chmod +x "$work/few-files"
    echo "$work/few-files"
}

# What has to be seen: a cause that is counted, and sessions that are closed.
needs() { # attack
    case $1 in
    full-memory) echo '{"counted":"memory","closed":1}' ;;
    optimistic-acks) echo '{"counted":null,"closed":1}' ;;
    updates | fetches | probes) echo '{"counted":"operation_limit","closed":1}' ;;
    *) echo '{"counted":null,"closed":0}' ;;
    esac
}

# By cause, what the relay has dropped, as JSON.
dropped() {
    # shellcheck disable=SC2016
    python3 -c '
import json, re, sys, urllib.request
counts = {}
for line in urllib.request.urlopen("http://" + sys.argv[1] + "/metrics", timeout=10).read().decode().splitlines():
    found = re.match(r"moqswitch_drops_total\{.*cause=\"(\w+)\".*\} (\S+)", line)
    if found:
        counts[found[1]] = counts.get(found[1], 0) + int(float(found[2]))
print(json.dumps(counts))' "$admin_address" || echo '{}'
}

run_once() { # attack, with or without, seconds
    local target=$relay_address began=0 attacking=''
    [[ $LATE == *" $1 "* ]] && began=$(($3 / 3))
    [[ $2 == without ]] && target=$decoy_address
    if [[ $2 == with || $FLOODS == *" $1 "* ]]; then
        {
            pause "$began"
            exec taskset -c "$LOADGEN_CORE" "$attack" "$1" --relay "$target" --http "$http_address" --seconds "$(($3 + 2 - began))"
        } >"$work/attack.json" 2>"$work/attack.err" &
        attacking=$!
    else
        echo '{"sent":0,"closed":0,"code":null}' >"$work/attack.json"
    fi
    ((began)) || pause 1
    calls "$3" "$work/calls.json"
    local failed=''
    if [[ -n $attacking ]] && ! wait "$attacking"; then
        failed=$(tail -n 1 "$work/attack.err")
        say "$1: $failed"
    fi
    jq -c --arg kind "$2" --arg failed "$failed" --slurpfile attack "$work/attack.json" \
        '{kind: $kind, lost: (.frames_lost + .frames_late), p99: .one_way_ms.p99}
            + (if $failed == "" then {} else {failed: $failed} end) + ($attack[0] // {} | {sent, refused, closed, code, late: (.late // 0)})' \
        "$work/calls.json" | tee -a "$work/runs" >&2
}

calls() { # seconds, file
    rm -f "$work/summary.json"
    taskset -c "$LOADGEN_CORE" "$loadgen" call --calls "$CALLS" --duration "$1s" --relay "moql://$relay_address/" \
        --json "$work/summary.json" >/dev/null 2>"$work/loadgen.err" || true
    [[ -s $work/summary.json ]] || die 2 "loadgen: $(tail -n 1 "$work/loadgen.err")"
    cp "$work/summary.json" "$2" 2>/dev/null || true
}

# A socket that takes what is sent to it and answers nothing.
decoy() {
    # shellcheck disable=SC2016
    taskset -c "$RELAY_CORE" python3 -c '
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
time.sleep(3600)' >"$work/decoy" &
    decoy_pid=$!
    until [[ -s $work/decoy ]]; do pause 0.05; done
    decoy_address=127.0.0.1:$(<"$work/decoy")
}

resident() { awk '/^VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$relay_pid/status"; }
high_water() { awk '/^VmHWM/ { printf "%.1f", $2 / 1024 }' "/proc/$relay_pid/status"; }
max() { awk -v a="$1" -v b="$2" 'BEGIN { print (a + 0 > b + 0 ? a : b) }'; }

write_table() {
    local file=$root/tests/ATTACKS.md
    {
        heading
        echo "| attack | sent | refused | sessions closed (code) | what the relay counted as dropped | innocent frames lost or late, without / with | p99 in ms, without / with | RSS in MiB, before / peak / after | holds |"
        echo "|---|---|---|---|---|---|---|---|---|"
        jq -r '"| \(.attack) | \(.sent) | \(.refused // 0) | \(.closed // 0) (\(.code // "-")) | \(.counted | to_entries | map("\(.key) \(.value)") | join(", ")) | \(.lost_without) / \(.lost_with) | \(.p99_without) / \(.p99_with) | \(.rss_before) / \(.rss_peak) / \(.rss_after) | \(.holds)\(if .failed then ": \(.failed)" else "" end) |"' "$work/table"
    } >"$work/ATTACKS.md"
    cp "$work/ATTACKS.md" "$file"
}

# What the figures are of, and what they say.
heading() {
    local others='nobody else worked on the host'
    awk '{ exit !($1 > 2) }' /proc/loadavg && others='**others worked on the host meanwhile**: look at what is lost, less at times'
    cat <<END
# What attacks cost the callers

Written by \`tests/attacks.sh --write\`; [README.md](README.md#attacks) says what it does.

- $(date -u +%F), commit $(git -C "$root" rev-parse --short HEAD), $(uname -sr), $(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1); $others.
- One shard on a core of its own, the attack and $CALLS calls on the other. Each row: $rounds_run rounds of $seconds_run s or more without
  the attack and with it in turn, and $REST_SECONDS s of rest before memory is looked at for the last time. \`attack\` without
  arguments says what each does and how much of it.
- A row holds when no frame of the calls is lost or late, the median p99 is at most twice that without or 10 ms above it,
  memory is back within 10 % and 8 MiB, and the attack found nothing that must not be. Where frames are lost without the
  attack, too, there is no result.
- \`idle\` has ten thousand connections before a relay with room for 12 000; \`full-memory\` has 80 MiB before one whose
  \`limits.memory\` is 27 MiB; \`files\` has 2000 before one that may open 300 files.

END
}

main "$@"
