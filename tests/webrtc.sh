#!/usr/bin/env bash
# Browsers that speak WebRTC: headless Chromium publishes its microphone by WHIP and hears it by WHEP, and telephones of JsSIP,
# as it is on npm, register over WebSocket and call. What each of them plays is looked at.
#
#   tests/webrtc.sh [flags]
#
#   --relay PROGRAM  moqswitch to test          (default: target/{release,debug}/moqswitch, the newer)
#   --cases LIST     names of cases, by semicolon                         (default: all; webrtc/cases.mjs has them)
#   --json FILE      what was seen
#
#   CHROMIUM         the browser                (default: chromium of the path)
#   KEEP             keep the work files        (default: only on failure)
#
# Installs what is missing: Debian's chromium, baresip, nodejs and npm by apt (as root or by sudo), packages of npm into a cache
# beside other things of moqswitch. Exit status: 0 all cases hold, 1 one does not, 2 cannot run.
set -euo pipefail

readonly SUITE=webrtc
# shellcheck source=tests/phone/driver.sh
source "$(dirname "${BASH_SOURCE[0]}")/phone/driver.sh"

parse() {
    while (($#)); do
        case $1 in
        --relay) relay=$(realpath -m "$(value "$@")") ;;
        --cases) driver+=(--cases "$(value "$@")") ;;
        --json) driver+=(--json "$(realpath -m "$(value "$@")")") ;;
        -h | --help) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; exit 0 ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
        shift 2
    done
}

parse "$@"
run_driver
