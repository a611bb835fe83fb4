#!/usr/bin/env bash
# Upgrades a relay that carries calls, and says what became of them.
#
#   tests/upgrade.sh [--calls N] [--upgrades N] [--shards N] [--cases LIST] [--profile debug|release]
#
#   --calls     two-party calls that are up, 100; at most 20 of them where a process is killed
#   --upgrades  in a row, 5
#   --shards    of the relay, 2
#   --cases     some of: upgrades, before, old, after, draining, port; all by default
#   --profile   whose programs, release
#
# upgrades: one after the other, in one run of calls. Nothing may be lost.
# before:   the new process is killed (kill -9) at several times before it serves. Nothing may be lost.
# old:      the old process is killed (kill -9) at several times while the new one starts. The calls are lost once and come
#           back at the new one, which is said.
# after:    the new process is killed when it serves. Its calls come back at the old one, which is said.
# draining: the old process is killed while its calls leave it.
# port:     a client's port changes each second while two processes run. Nothing may be lost.
#
# Everything is on loopback, on ports of its own. Exit status 0: as said; 1: not; 2: it cannot run.
set -euo pipefail

calls=100 upgrades=5 shards=2 cases=upgrades,before,old,after,draining,port profile=release
while (($#)); do
    case $1 in
    --calls) calls=$2 ;;
    --upgrades) upgrades=$2 ;;
    --shards) shards=$2 ;;
    --cases) cases=$2 ;;
    --profile) profile=$2 ;;
    *) sed -n '2,20s/^# \{0,1\}//p' "$0" && exit 2 ;;
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

# shellcheck disable=SC2317  # by the trap
cleanup() {
    [[ -z $generator ]] || kill "$generator" 2>/dev/null || true
    # Those that this run has started: each writes its own.
    for file in "$here"/processes/*; do
        [[ -e $file ]] && kill -9 "$(basename "$file")" 2>/dev/null
    done
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

upgrade() {
    "$real" upgrade --config "$here/moqswitch.toml" 2>&1 | tail -1
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

# Waits for the calls, and says what became of them. The first argument names the case; with `nothing` as the second nothing
# may be lost, with `back` all must have come back.
heard() {
    wait "$generator" || true
    generator=''
    local lost frames expected reconnects up attempted
    read -r lost frames expected reconnects up attempted < <(jq -r '[.connections_lost, .frames_lost, .frames_expected,
        .reconnects, .calls_established, .calls_attempted] | @tsv' "$here/summary.json")
    local verdict=as\ said
    case $2 in
    nothing) ((lost == 0 && frames == 0 && expected > 0)) || verdict=NOT\ as\ said ;;
    back) ((reconnects >= lost && up == attempted && expected > 0)) || verdict=NOT\ as\ said ;;
    esac
    [[ $verdict == as\ said ]] || failed=1
    printf '%-44s connections lost %4d, moved or back %4d, frames lost %6d of %8d: %s\n' \
        "$1" "$lost" "$reconnects" "$frames" "$expected" "$verdict"
}

wants() { [[ ,$cases, == *,$1,* ]]; }

if wants upgrades; then
    begin
    talk "$calls" $((10 + upgrades * 12))
    for number in $(seq "$upgrades"); do
        before=$relay
        said=$(upgrade)
        echo "  upgrade $number: $said"
        relay=$(sed -n 's/^process \([0-9]*\) serves.*/\1/p' <<<"$said")
        [[ -n $relay ]] || { failed=1 && relay=$before && continue; }
        gone "$before" || failed=1
    done
    heard "$upgrades upgrades in a row" nothing
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
        # One that serves by then is one that dies later: see below.
        heard "new one killed after $delay s" "$(grep -q ^process <<<"$said" && echo back || echo nothing)"
        end
    done
fi

if wants old; then
    for delay in 0.05 0.2 0.5; do
        begin
        talk "$few" 20
        program "(sleep $delay; kill -9 $relay) </dev/null >/dev/null 2>&1 &"
        upgrade | sed 's/^/  /'
        heard "old one killed $delay s after the new one began" back
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
    kill -9 "$new"
    heard "new one killed when it serves" back
    alive "$relay" || { echo "  the old one has ended" && failed=1; }
    end
fi

if wants draining; then
    begin
    talk "$few" 24
    upgrade | sed 's/^/  /'
    kill -9 "$relay"
    heard "old one killed while its calls leave" back
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
    heard "ports that change each second" nothing
    kill "$link" || true
    end
fi

exit $failed
