#!/usr/bin/env bash
# Telephony by SIP, seen from outside: sipp plays telephones, proxies and carriers from scenarios in tests/sip/, baresip is a
# real telephone, and records, calls and events of the switch are looked at by REST.
#
#   tests/sip.sh [flags]
#
#   --switch PROGRAM  moqswitch to test         (default: target/{release,debug}/moqswitch, the newer)
#   --cases LIST      names of cases, or beginnings of names, by semicolon            (default: all but the long ones)
#   --long            the long ones, too: other people's proxies and telephones, and what has to be waited for
#   --list            says which cases there are
#   --json FILE       what was seen
#
#   KEEP              keep the work files       (default: only on failure)
#
# Installs what is missing: Debian's sip-tester, baresip and nodejs, and for --long kamailio, rtpengine-daemon and linphone-cli,
# by apt (as root or by sudo). Exit status: 0 all cases hold, 1 one does not, 2 cannot run.
set -euo pipefail

# Cases that the switch is known to fail, and why: name|reason. They are run and told, and one that holds is an error, so that
# its line goes.
KNOWN=()
readonly KNOWN

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work='' switch='' driver_pid='' long=''
driver=()

main() {
    parse "$@"
    find_switch
    install_programs
    work=$(mktemp -d -t moqswitch-sip.XXXXXX)
    # Settings come from the driver alone, never from this shell's environment.
    local name known status=0
    for name in ${!MOQ_@} ${!MOQSWITCH_@}; do unset "$name"; done
    for known in "${KNOWN[@]}"; do driver+=(--known "$known"); done
    node "$root/tests/sip/run.mjs" --switch "$switch" --work "$work" "${driver[@]}" &
    driver_pid=$!
    wait "$driver_pid" || status=$?
    driver_pid=''
    ((status == 0)) || KEEP=1
    exit "$status"
}

parse() {
    while (($#)); do
        case $1 in
        --switch) switch=$(realpath -m "$(value "$@")") ;;
        --cases) driver+=(--cases "$(value "$@")") ;;
        --json) driver+=(--json "$(realpath -m "$(value "$@")")") ;;
        --long) long=1 && driver+=(--long) && shift && continue ;;
        --list) exec node "$root/tests/sip/run.mjs" --list ;;
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

find_switch() {
    if [ -z "$switch" ]; then
        local target=${CARGO_TARGET_DIR:-$root/target}
        switch=$(ls -t "$target"/release/moqswitch "$target"/debug/moqswitch 2>/dev/null | head -n 1 || true)
    fi
    [ -x "$switch" ] || die 2 "no switch: cargo build --release, or name one by --switch"
}

install_programs() {
    local missing=()
    command -v sipp >/dev/null || missing+=(sip-tester)
    command -v baresip >/dev/null || missing+=(baresip-core)
    command -v node >/dev/null || missing+=(nodejs)
    if [ -n "$long" ]; then
        command -v kamailio >/dev/null || missing+=(kamailio)
        command -v rtpengine >/dev/null || missing+=(rtpengine-daemon)
        command -v linphonec >/dev/null || missing+=(linphone-cli)
    fi
    ((${#missing[@]})) || return 0
    echo "installing ${missing[*]}" >&2
    local as_root=()
    ((EUID == 0)) || as_root=(sudo -n)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || die 2 "cannot install ${missing[*]}"
}

die() { # status, text
    echo "sip: $2" >&2
    [ -z "$work" ] || KEEP=1
    exit "$1"
}

clean_up() {
    local status=$? pid
    trap '' INT TERM
    # The driver takes the switch and the telephones with it.
    for pid in $driver_pid; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if [ -n "$work" ]; then
        if [ -n "${KEEP:-}" ]; then echo "sip: work files are in $work" >&2; else rm -rf "$work"; fi
    fi
    exit "$status"
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
main "$@"
