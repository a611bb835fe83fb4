#!/usr/bin/env bash
# Upgrades a relay that carries calls, and says what became of them.
#
#   tests/upgrade.sh [--calls N] [--upgrades N] [--shards N] [--cases LIST] [--profile debug|release] [--logs DIRECTORY]
#
#   --calls     two-party calls that are up, 100; at most 20 of them where a process is killed
#   --upgrades  in a row, 5
#   --shards    of the relay, 2
#   --cases     some of: upgrades, before, old, after, draining, port; all by default
#   --profile   whose programs, release
#   --logs      where the log of all processes and the last summary are kept, nowhere
#
# upgrades: one after the other, in one run of calls. Nothing may be lost.
# before:   the new process is killed (kill -9) at several times before it serves. Nothing may be lost.
# old:      the old process is killed (kill -9) at several times while the new one starts. The calls are lost once and come
#           back at the new one, which is said.
# after:    the new process is killed when it serves. Its calls come back at the old one, which is said.
# draining: the old process is killed while its calls leave it.
# port:     a client's port changes each second while two processes run. Nothing may be lost.
#
# Frames are lost too where the machine has no cores to spare: the line says so if the load generator was late.
#
# Everything is on loopback, on ports of its own. Exit status 0: as said; 1: not; 2: it cannot run.
set -euo pipefail

calls=100 upgrades=5 shards=2 cases=upgrades,before,old,after,draining,port profile=release logs=''
while (($#)); do
    case $1 in
    --calls) calls=$2 ;;
    --upgrades) upgrades=$2 ;;
    --shards) shards=$2 ;;
    --cases) cases=$2 ;;
    --profile) profile=$2 ;;
    --logs) logs=$(realpath -m "$2") ;;
    *) sed -n '2,24s/^# \{0,1\}//p' "$0" && exit 2 ;;
    esac
    shift 2
done

cd "$(dirname "$0")/.."
built=${CARGO_TARGET_DIR:-target}/$profile
for needed in "$built/moqswitch" "$built/loadgen"; do
    [[ -x $needed ]] || { echo "$needed is missing: cargo build --workspace --bins" >&2 && exit 2; }
done
command -v jq >/dev/null || { echo "jq is missing" >&2 && exit 2; }
here=$(mktemp -d)
real=$(realpath "$built/moqswitch")
loadgen=$(realpath "$built/loadgen")
few=$((calls < 20 ? calls : 20))
generator='' failed=0
# Frames of a participant in a second, and for how many a call may be cut off: that a process is there no more is heard in one
# round trip, but who comes back meets one that is only starting, and waits before the next try.
RATE=50 CUT_OFF=6

# shellcheck disable=SC2317  # by the trap
cleanup() {
    [[ -z $generator ]] || kill "$generator" 2>/dev/null || true
    # Those that this run has started: each writes its own.
    for file in "$here"/processes/*; do
        [[ -e $file ]] && kill -9 "$(basename "$file")" 2>/dev/null
    done
    if [[ -n $logs ]]; then
        mkdir -p "$logs"
        cp "$here"/{log,loadgen.log,summary.json} "$logs/" 2>/dev/null || true
    fi
    rm -rf "$here"
}
trap cleanup EXIT
mkdir "$here/processes"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$here/moqswitch.toml" <<TOML
listen = "127.0.0.1:$port"
http = "127.0.0.1:$port"
shards = $shards
state_directory = "$here/state"
[admin]
listen = ""
[calls]
enabled = false
TOML

# What is started as the program: `real`, after what the arguments say.
program() {
    {
        echo '#!/bin/bash'
        echo "touch $here/processes/\$\$"
        printf '%s\n' "$@"
        # As what it was called: that is what it starts when another is to follow.
        echo "exec -a $here/moqswitch $real \"\$@\""
    } >"$here/next"
    chmod +x "$here/next"
    mv "$here/next" "$here/moqswitch"
}

alive() { kill -0 "$1" 2>/dev/null && [[ $(ps -o stat= -p "$1") != Z* ]]; }

begin() {
    program
    "$here/moqswitch" --config "$here/moqswitch.toml" >>"$here/log" 2>&1 &
    relay=$!
    disown
    for _ in $(seq 600); do
        curl -sf "http://127.0.0.1:$port/readyz" >/dev/null && return
        alive "$relay" || break
        sleep 0.1
    done
    echo "the relay does not start:" >&2
    tail -5 "$here/log" >&2
    exit 2
}

end() {
    for file in "$here"/processes/*; do
        [[ -e $file ]] || continue
        kill -9 "$(basename "$file")" 2>/dev/null || true
        rm -f "$file"
    done
    # The kernel takes the sockets down a little later.
    sleep 0.5
}

# Calls in the background for so many seconds.
talk() {
    local count=$1 seconds=$2
    shift 2
    rm -f "$here/summary.json"
    "$loadgen" call --calls "$count" --duration "${seconds}s" --no-pauses --redial --json "$here/summary.json" \
        "${@:---relay=moql://127.0.0.1:$port/}" >"$here/loadgen.log" 2>&1 &
    generator=$!
    sleep 5
}

# It says why not, and that is no end of this script.
upgrade() {
    "$real" upgrade --config "$here/moqswitch.toml" 2>&1 | tail -1 || true
}

# Waits until a process has ended; it is nobody's child.
gone() {
    for _ in $(seq $((${2:-60} * 10))); do
        alive "$1" || return 0
        sleep 0.1
    done
    echo "process $1 does not end"
    return 1
}

wrong() {
    echo "  WRONG: $*"
    failed=1
}

# The process that was started after the one that runs, if it came as far as the program.
newest() {
    local file
    for file in "$here"/processes/*; do
        [[ $(basename "$file") == "$relay" ]] || basename "$file"
    done | tail -1
}

# A case in which nobody was killed says nothing.
killed() {
    [[ -n $1 ]] || { wrong "there is no process to be killed" && return; }
    gone "$1" 2 || wrong "process $1 was to be killed"
}

# Waits for the calls, and says what became of them. The first argument names the case. With `nothing` as the second nothing
# may be lost, and so many connections have moved; with `back` all must have come back, each at most once, and be cut off for
# no longer than so many seconds.
heard() {
    wait "$generator" || true
    generator=''
    local lost frames expected reconnects up attempted
    read -r lost frames expected reconnects up attempted < <(jq -r '[.connections_lost, .frames_lost, .frames_expected,
        .reconnects, .calls_established, .calls_attempted] | @tsv' "$here/summary.json")
    local verdict=as\ said
    case $2 in
    nothing) ((lost == 0 && frames == 0 && reconnects == $3)) || verdict=NOT\ as\ said ;;
    back) ((reconnects >= lost && lost <= 2 * up && frames <= $3 * RATE * 2 * up)) || verdict=NOT\ as\ said ;;
    esac
    ((expected > 0 && up == attempted)) || verdict=NOT\ as\ said
    [[ $verdict == as\ said ]] || failed=1
    # Then it says nothing of the relay: try again with fewer calls, or on a quieter machine.
    ! grep -q 'it was the bottleneck' "$here/loadgen.log" || verdict+=', but the generator was late'
    printf '%-44s connections lost %4d, moved or back %4d, frames lost %6d of %8d: %s\n' \
        "$1" "$lost" "$reconnects" "$frames" "$expected" "$verdict"
}

wants() { [[ ,$cases, == *,$1,* ]]; }

if wants upgrades; then
    begin
    moved=0
    talk "$calls" $((10 + upgrades * 12))
    for number in $(seq "$upgrades"); do
        before=$relay
        said=$(upgrade)
        echo "  upgrade $number: $said"
        moved=$((moved + 2 * calls))
        relay=$(sed -n 's/^process \([0-9]*\) serves.*/\1/p' <<<"$said")
        [[ -n $relay ]] || { wrong "nobody has taken over" && relay=$before && continue; }
        gone "$before" || failed=1
    done
    heard "$upgrades upgrades in a row" nothing "$moved"
    end
fi

if wants before; then
    for delay in 0 0.05 0.1 0.2 0.4 0.8; do
        begin
        talk "$few" 14
        case $delay in
        0) program "kill -9 \$\$" ;;
        *) program "(sleep $delay; kill -9 \$\$) </dev/null >/dev/null 2>&1 &" ;;
        esac
        said=$(upgrade)
        echo "  $said"
        killed "$(newest)"
        # One that serves by then is one that dies later: see below.
        case $said in
        process*) heard "new one killed after $delay s" back "$CUT_OFF" ;;
        *) heard "new one killed after $delay s" nothing 0 ;;
        esac
        alive "$relay" || wrong "the old one has ended"
        end
    done
fi

if wants old; then
    for delay in 0.05 0.2 0.5; do
        begin
        talk "$few" 20
        program "(sleep $delay; kill -9 $relay) </dev/null >/dev/null 2>&1 &"
        # Who asked may hear nothing of it.
        upgrade | sed 's/^/  /' || true
        killed "$relay"
        alive "$(newest)" || wrong "the new one is not there"
        heard "old one killed $delay s after the new one began" back "$CUT_OFF"
        end
    done
fi

if wants after; then
    begin
    talk "$few" 24
    program
    said=$(upgrade)
    echo "  $said"
    new=$(sed -n 's/^process \([0-9]*\) serves.*/\1/p' <<<"$said")
    sleep 0.3
    kill -9 "$new" || wrong "there is no process to be killed"
    killed "$new"
    heard "new one killed when it serves" back "$CUT_OFF"
    alive "$relay" || wrong "the old one has ended"
    end
fi

if wants draining; then
    begin
    talk "$few" 24
    upgrade | sed 's/^/  /'
    kill -9 "$relay" || wrong "there is no process to be killed"
    killed "$relay"
    heard "old one killed while its calls leave" back "$CUT_OFF"
    end
fi

if wants port; then
    begin
    "$loadgen" link --listen 127.0.0.1:0 --to "127.0.0.1:$port" --move-every 1s >"$here/link" &
    link=$!
    touch "$here/processes/$link"
    sleep 1
    through=$(awk '{ print $3; exit }' "$here/link")
    talk "$few" 24 "--relay=moql://$through/"
    upgrade | sed 's/^/  /'
    heard "ports that change each second" nothing $((2 * few))
    kill "$link" || true
    end
fi

exit $failed
