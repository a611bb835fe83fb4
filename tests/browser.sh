#!/usr/bin/env bash
# A browser through the relay: Chromium, with the packages @moq/publish, @moq/watch and @moq/net as they are on npm,
# publishes a fake camera and microphone from one page and watches them in another. Once by WebTransport with the hash of
# the development certificate, once with WebTransport disabled, when the packages use a WebSocket.
#
#   tests/browser.sh [flags]
#
#   --relay PROGRAM  moqswitch or moq-relay to test     (default: target/{release,debug}/moqswitch, the newer)
#   --cases LIST     webtransport, websocket, websocket-named, by comma      (default: webtransport,websocket)
#   --codec PREFIX   video codec to publish, such as vp8 or av01             (default: the first that Chromium has)
#   --json FILE      what was seen
#   --net-log FILE   Chromium's log of the network, with every byte
#
#   CHROMIUM         the browser                        (default: chromium of the path)
#   KEEP             keep the work files                (default: only on failure)
#
# Installs what is missing: Debian's chromium, nodejs and npm by apt (as root or by sudo), packages of npm into a cache
# beside other things of moqswitch. Needs curl. Exit status: 0 all checks hold, 1 one does not, 2 cannot run.
set -euo pipefail

readonly WAIT_SECONDS=20
readonly NODE_MAJOR_MIN=18
# Where the session is rooted, as on a relay that many share.
readonly RELAY_PATH=/room
# Below those that the kernel gives out by itself, so that none takes one between choice and use.
readonly PORT_MIN=20000
readonly PORT_MAX=32000

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/moqswitch
work=''
relay='' kind='' port='' relay_pid='' driver_pid=''
cases=webtransport,websocket codec='' json='' net_log=''

main() {
    parse "$@"
    command -v curl >/dev/null || die 2 "curl is missing: apt-get install curl"
    find_relay
    install_programs
    install_packages
    work=$(mktemp -d -t moqswitch-browser.XXXXXX)
    # Flags alone configure the relay, never this shell's environment.
    local name status=0
    for name in ${!MOQ_@} ${!MOQSWITCH_@}; do unset "$name"; done

    start_relay
    node "$root/tests/browser/run.mjs" --modules "$modules" --chromium "$chromium" --relay "http://127.0.0.1:$port$RELAY_PATH" \
        --relay-version "$("$relay" --version | head -n 1)" --commit "$(commit)" \
        --cases "$cases" --codec "$codec" --json "$json" --net-log "$net_log" &
    driver_pid=$!
    wait "$driver_pid" || status=$?
    driver_pid=''
    kill -0 "$relay_pid" 2>/dev/null || die 1 "the relay ended by itself; it said last: $(tail -n 3 "$work/relay.err")"
    [ "$status" = 0 ] || die "$status" "what the relay said is in $work"
}

parse() {
    while (($#)); do
        case $1 in
        --relay) relay=$(value "$@") ;;
        --cases) cases=$(value "$@") ;;
        --codec) codec=$(value "$@") ;;
        --json) json=$(realpath -m "$(value "$@")") ;;
        --net-log) net_log=$(realpath -m "$(value "$@")") ;;
        -h | --help) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; exit 0 ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
        shift 2
    done
}

value() { # option, its value
    [ -n "${2:-}" ] || die 2 "$1 needs a value"
    echo "$2"
}

find_relay() {
    if [ -z "$relay" ]; then
        local target=${CARGO_TARGET_DIR:-$root/target}
        relay=$(ls -t "$target"/release/moqswitch "$target"/debug/moqswitch 2>/dev/null | head -n 1 || true)
    fi
    [ -x "$relay" ] || die 2 "no relay: cargo build --release, or name one by --relay"
    case $(basename "$relay") in
        moq-relay*) kind=moq-relay ;;
        *) kind=moqswitch ;;
    esac
}

install_programs() {
    local missing=()
    chromium=${CHROMIUM:-$(command -v chromium || true)}
    [ -n "$chromium" ] || missing+=(chromium)
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    if ((${#missing[@]})); then
        echo "installing ${missing[*]}" >&2
        local as_root=()
        ((EUID == 0)) || as_root=(sudo -n)
        "${as_root[@]}" apt-get update -qq
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || die 2 "cannot install ${missing[*]}"
        chromium=${CHROMIUM:-$(command -v chromium)}
    fi
    local version
    version=$(node --version)
    version=${version#v}
    ((${version%%.*} >= NODE_MAJOR_MIN)) || die 2 "node is $version, and $NODE_MAJOR_MIN is needed"
}

# Once for each lock file. None of the packages may run anything while it is installed.
install_packages() {
    local hash
    hash=$(cat "$root"/tests/browser/package*.json | sha256sum | cut -c 1-12)
    modules=$cache/browser-$hash
    [ -e "$modules/complete" ] && return
    echo "installing packages of npm into $modules" >&2
    mkdir -p "$modules"
    cp "$root"/tests/browser/package*.json "$modules/"
    npm ci --prefix "$modules" --ignore-scripts --no-audit --no-fund --loglevel=error >&2 || die 2 "cannot install packages of npm"
    touch "$modules/complete"
}

# On one port number for UDP and TCP, as the packages take both from one URL.
start_relay() {
    choose_port
    local address=127.0.0.1:$port command
    case $kind in
        moq-relay) command=("$relay" --listen "$address" --listen-tls-generate localhost --auth-public '**' --web-http-listen "$address") ;;
        moqswitch) command=("$relay" --listen "$address" --http "$address" --admin 127.0.0.1:0) ;;
    esac
    "${command[@]}" </dev/null >"$work/relay.out" 2>"$work/relay.err" &
    relay_pid=$!
    local deadline=$((SECONDS + WAIT_SECONDS))
    until curl -sf "http://$address/certificate.sha256" -o /dev/null; do
        kill -0 "$relay_pid" 2>/dev/null || die 2 "the relay ended: $(tail -n 3 "$work/relay.err")"
        [ $SECONDS -lt $deadline ] || die 2 "the relay does not answer within $WAIT_SECONDS s, see $work"
        read -r -t 0.05 <> <(:) || true
    done
}

choose_port() {
    local taken
    taken=" $(awk '{ print $2 }' /proc/net/udp /proc/net/udp6 /proc/net/tcp /proc/net/tcp6 | cut -d: -f2 | tr '\n' ' ') "
    for ((port = PORT_MIN + RANDOM % (PORT_MAX - PORT_MIN); port < PORT_MAX; port++)); do
        [[ $taken == *" $(printf '%04X' "$port") "* ]] || return 0
    done
    die 2 "no free port below $PORT_MAX"
}

commit() {
    git -C "$root" describe --always --dirty --exclude '*' 2>/dev/null || echo none
}

die() { # status, text
    echo "browser: $2" >&2
    [ -z "$work" ] || KEEP=1
    exit "$1"
}

clean_up() {
    local status=$? pid
    trap '' INT TERM
    # The driver takes the browser with it.
    for pid in $driver_pid; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    # A relay that drains waits for sessions, and none of them is of any interest any more.
    for pid in $relay_pid; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    [ -z "$work" ] || [ -n "${KEEP:-}" ] || rm -rf "$work"
    exit "$status"
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
main "$@"
