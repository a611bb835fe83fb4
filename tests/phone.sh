#!/usr/bin/env bash
# The web phone in a browser: three headless Chromiums whose microphones have a tone each call each other through the switch,
# and what each of them plays is looked at. By WebTransport, and by WebSocket with WebTransport disabled. One case has a Firefox.
#
#   tests/phone.sh [flags]
#
#   --relay PROGRAM  moqswitch to test          (default: target/{release,debug}/moqswitch, the newer)
#   --cases LIST     names of cases, by semicolon                         (default: all; phone/cases.mjs has them)
#   --pages FOLDER   pages to test in place of those in the program, such as src/phone/dist
#   --screenshots FOLDER  pictures of the pages: light and dark, wide and narrow
#   --json FILE      what was seen
#   --loadgen PROGRAM  for bad paths, and one that is cut                 (default: beside the switch)
#   --lanes N        how many cases at once                               (default: 3)
#   --minutes N      how long "measure: long calls" takes                 (default: 10)
#   --impair FAULTS  its path, as `loadgen link` has it                   (default: none)
#
#   CHROMIUM         the browser                (default: chromium of the path)
#   KEEP             keep the work files        (default: only on failure)
#
# Installs what is missing: Debian's chromium, firefox-esr, pulseaudio, baresip, nodejs and npm by apt (as root or by sudo), packages of npm into a cache
# beside other things of moqswitch. Exit status: 0 all cases hold, 1 one does not, 2 cannot run.
set -euo pipefail

readonly SUITE=phone
# shellcheck source=tests/phone/driver.sh
source "$(dirname "${BASH_SOURCE[0]}")/phone/driver.sh"

parse() {
    while (($#)); do
        case $1 in
        --relay) relay=$(realpath -m "$(value "$@")") ;;
        --cases) driver+=(--cases "$(value "$@")") ;;
        --pages) driver+=(--pages "$(realpath -m "$(value "$@")")") ;;
        --screenshots) driver+=(--screenshots "$(realpath -m "$(value "$@")")") ;;
        --loadgen) driver+=(--loadgen "$(realpath -m "$(value "$@")")") ;;
        --impair) driver+=(--impair "$(value "$@")") ;;
        --lanes) driver+=(--lanes "$(value "$@")") ;;
        --minutes) driver+=(--minutes "$(value "$@")") ;;
        --json) driver+=(--json "$(realpath -m "$(value "$@")")") ;;
        -h | --help) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; exit 0 ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
        shift 2
    done
}

parse "$@"
# Cuts the way of some cases: as a rule it is built with the switch.
find_relay
loadgen=$(dirname "$relay")/loadgen
[[ " ${driver[*]} " == *' --loadgen '* || ! -x $loadgen ]] || driver+=(--loadgen "$loadgen")
run_driver
