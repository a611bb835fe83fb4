# What suites have in common that drive browsers and telephones at a switch: what they need is installed, a free port chosen, the
# driver of tests/$SUITE run, and everything ended. Sourced by tests/phone.sh and tests/webrtc.sh, which have the flags.
# shellcheck shell=bash

readonly NODE_MAJOR_MIN=18
# Below those that the kernel gives out by itself, so that none takes one between choice and use.
readonly PORT_MIN=20000
readonly PORT_MAX=32000

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/moqswitch
work='' relay='' port='' driver_pid=''
driver=()

# Runs the suite's driver with the flags that were gathered, and ends with its status.
run_driver() {
    find_relay
    install_programs
    install_packages
    # What few cases need is installed when one of them is named.
    [[ " ${driver[*]} " != *'measure: speech'* ]] || install_speech
    ! needs_firefox || install_firefox
    work=$(mktemp -d -t "moqswitch-$SUITE.XXXXXX")
    # Flags alone configure the switch, never this shell's environment.
    local name status=0
    for name in ${!MOQ_@} ${!MOQSWITCH_@}; do unset "$name"; done
    choose_port
    node "$root/tests/$SUITE/run.mjs" --modules "$modules" --chromium "$chromium" --relay "$relay" --port "$port" \
        --work "$work" "${driver[@]}" &
    driver_pid=$!
    wait "$driver_pid" || status=$?
    driver_pid=''
    [ "$status" = 0 ] || KEEP=1
    exit "$status"
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
    [ -x "$relay" ] || die 2 "no switch: cargo build --release, or name one by --relay"
}

install_programs() {
    local missing=()
    chromium=${CHROMIUM:-$(command -v chromium || true)}
    [ -n "$chromium" ] || missing+=(chromium)
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    command -v baresip >/dev/null || missing+=(baresip-core)
    if ((${#missing[@]})); then
        install_by_apt "${missing[@]}"
        chromium=${CHROMIUM:-$(command -v chromium)}
    fi
    local version
    version=$(node --version)
    version=${version#v}
    ((${version%%.*} >= NODE_MAJOR_MIN)) || die 2 "node is $version, and $NODE_MAJOR_MIN is needed"
}

install_by_apt() { # packages
    echo "installing $*" >&2
    local as_root=()
    ((EUID == 0)) || as_root=(sudo -n)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null || die 2 "cannot install $*"
}

# Once for each lock file. None of the packages may run anything while it is installed.
install_packages() {
    local hash
    hash=$(cat "$root/tests/$SUITE"/package*.json | sha256sum | cut -c 1-12)
    modules=$cache/$SUITE-$hash
    [ -e "$modules/complete" ] && return
    echo "installing packages of npm into $modules" >&2
    mkdir -p "$modules"
    cp "$root/tests/$SUITE"/package*.json "$modules/"
    npm ci --prefix "$modules" --ignore-scripts --no-audit --no-fund --loglevel=error >&2 || die 2 "cannot install packages of npm"
    touch "$modules/complete"
}

# What speaks, and what judges speech.
install_speech() {
    local python=$cache/speech/bin/python
    command -v espeak-ng >/dev/null || install_by_apt espeak-ng
    if ! "$python" -c 'import pesq, scipy' 2>/dev/null; then
        install_by_apt python3-venv python3-dev gcc
        echo "installing packages of PyPI into $cache/speech" >&2
        python3 -m venv "$cache/speech" || die 2 "cannot make an environment of Python"
        "$python" -m pip install -q 'pesq==0.0.4' numpy scipy >&2 || die 2 "cannot install pesq"
    fi
    driver+=(--python "$python")
}

# One case of the phone does, unless others are named.
needs_firefox() {
    [ "$SUITE" = phone ] && [[ " ${driver[*]} " != *' --cases '* || " ${driver[*]} " == *Firefox* ]]
}

install_firefox() {
    # What it plays goes to a PulseAudio, as it has to go somewhere.
    if ! command -v firefox-esr >/dev/null || ! command -v pulseaudio >/dev/null; then
        if ! (install_by_apt firefox-esr pulseaudio); then
            [[ " ${driver[*]} " != *Firefox* ]] || die 2 "cannot install Firefox"
            echo "not checked: Firefox cannot be installed" >&2
            return
        fi
    fi
    driver+=(--firefox "$(command -v firefox-esr)")
}

choose_port() {
    local taken
    taken=" $(awk '{ print $2 }' /proc/net/udp /proc/net/udp6 /proc/net/tcp /proc/net/tcp6 | cut -d: -f2 | tr '\n' ' ') "
    for ((port = PORT_MIN + RANDOM % (PORT_MAX - PORT_MIN); port < PORT_MAX; port++)); do
        [[ $taken == *" $(printf '%04X' "$port") "* ]] || return 0
    done
    die 2 "no free port below $PORT_MAX"
}

die() { # status, text
    echo "$SUITE: $2" >&2
    [ -z "$work" ] || KEEP=1
    exit "$1"
}

clean_up() {
    local status=$? pid
    trap '' INT TERM
    # The driver takes browsers and switch with it.
    for pid in $driver_pid; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    [ -z "$work" ] || [ -n "${KEEP:-}" ] || rm -rf "$work"
    exit "$status"
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
