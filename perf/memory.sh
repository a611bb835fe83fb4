#!/usr/bin/env bash
# What does the relay keep in memory for each connection, track and call, and does it grow while people come and go?
#
#   perf/memory.sh [--json FILE] [--no-history] [--churn-seconds S]
#
#   --json FILE          writes the result
#   --no-history         does not append the result to perf/history.jsonl
#   --churn-seconds S    of churn that count, after a warm-up   (default: 60)
#
# Each figure is a slope: resident memory under one load less that under a smaller one, by what the two differ in, so that
# what a relay needs at all is not in it. Exit status: 0 measured and steady, 1 memory grows, 2 cannot run.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

# Long enough for all to be there, too short for a connection to be idle for as long as it may.
readonly SETTLE_SECONDS=12
# Calls of audio fill the cache of groups for ten seconds before it is as large as it gets.
readonly CACHE_SECONDS=15
# Connections that vanish without a word are kept until their idle timeout of 30 s: it takes as long, and again, to level out.
readonly CHURN_WARM_UP_SECONDS=60
# By a minute of churn; less is noise of the allocator.
readonly GROWTH_KIB_MAX=1024
# Two people who announce themselves and neither hear nor say anything.
readonly SILENT=(conference --people 2 --hears 0 --frame-bytes 40 --frame-rate 1 --no-catalog)

main() {
    local json='' with_history=1 churn_seconds=60
    parse "$@"
    lab_begin
    check_cores
    [[ -z $json ]] || writable --json "$json"
    build
    measure_levels
    measure_churn
    jq -n --argjson stamp "$(stamp)" --slurpfile slopes "$work/slopes" --slurpfile churn "$work/churn.json" \
        '$stamp + {slopes: $slopes, churn: $churn[0]}' >"$work/result.json"
    [[ -z $json ]] || cp "$work/result.json" "$json"
    ((!with_history)) || append_history memory <"$work/result.json"
    print_table
    jq -e '.churn.is_steady' "$work/result.json" >/dev/null || die 1 "memory grows under churn, see above"
}

parse() {
    while (($#)); do
        case $1 in
        --json) json=${2:-}; [[ -n $json ]] || die 2 "--json needs a file"; shift 2 ;;
        --no-history) with_history=0; shift ;;
        --churn-seconds) positive "$1" "${2:-}"; churn_seconds=$2; shift 2 ;;
        -h | --help) usage ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
    done
}

measure_levels() {
    local none='' silent_1000='' silent_2000='' one_track='' four_tracks='' calls_100='' calls_200=''
    level none
    level silent_1000 $SETTLE_SECONDS "${SILENT[@]}" --calls 500
    level silent_2000 $SETTLE_SECONDS "${SILENT[@]}" --calls 1000
    level one_track $SETTLE_SECONDS run "$lab_directory/scenarios/one-track.toml"
    level four_tracks $SETTLE_SECONDS run "$lab_directory/scenarios/four-tracks.toml"
    level calls_100 $CACHE_SECONDS call --calls 100
    level calls_200 $CACHE_SECONDS call --calls 200
    slope "idle connection, the first 1000" "$none" "$silent_1000" 1000
    slope "idle connection, the second 1000" "$silent_1000" "$silent_2000" 1000
    slope "track with one subscriber" "$one_track" "$four_tracks" 3000
    slope "two-party call with speech" "$calls_100" "$calls_200" 100
}

# Resident KiB of a fresh relay at the end of a load, or without one. Nothing when the generator was the bottleneck twice: what a
# starved relay keeps is a backlog.
# shellcheck disable=SC2034 # written to by its other name
level() { # variable, [seconds, flags...]
    local -n kib=$1
    local name=$1 seconds=${2:-0}
    if ((!seconds)); then
        say "level: $name"
        start_moqswitch "$moqswitch"
        kib=$(awk '/^VmRSS:/ { print $2 }' "/proc/$relay_pid/status")
        end_relay
        return
    fi
    shift 2
    for _ in 1 2; do
        say "level: $name"
        local status=0
        start_moqswitch "$moqswitch"
        start_load "$work/summary.json" "$seconds" "$@"
        finish_load || status=$?
        end_relay
        jq -e '.calls_established == .calls_attempted and .connections_lost == 0' "$work/summary.json" >/dev/null || status=1
        if ((!status)); then
            kib=$(jq '.relay_rss_mib * 1024 | round' "$work/summary.json")
            return
        fi
        say "  not as it should be: $(jq -c '{calls_attempted, calls_established, connections_lost, generator}' "$work/summary.json")"
    done
}

slope() { # of what, the two levels in KiB, number they differ by
    jq -nc --arg of "$1" --argjson below "${2:-null}" --argjson above "${3:-null}" --argjson number "$4" '{
        of: $of, over: $number,
        bytes: (if $below and $above then ($above - $below) * 1024 / $number | round else null end)
    }' >>"$work/slopes"
}

measure_churn() {
    say "churn: $((CHURN_WARM_UP_SECONDS + churn_seconds)) s"
    start_moqswitch "$moqswitch"
    start_load "$work/summary.json" $((CHURN_WARM_UP_SECONDS - WARM_UP_SECONDS + churn_seconds)) \
        run "$lab_directory/scenarios/churn.toml" --jsonl "$work/churn.jsonl"
    finish_load || say "  $(generator_fault)"
    end_relay
    # A straight line through resident memory, second by second.
    jq -s --argjson from $CHURN_WARM_UP_SECONDS --argjson maximum $GROWTH_KIB_MAX --slurpfile summary "$work/summary.json" '
        [.[] | select(.host.relay_rss_mib and .interval >= $from) | {x: .interval, y: (.host.relay_rss_mib * 1024)}]
        | (length) as $n | (map(.x) | add / $n) as $x | (map(.y) | add / $n) as $y
        | ((map((.x - $x) * (.y - $y)) | add) / (map((.x - $x) * (.x - $x)) | add)) as $slope
        | {
            seconds: $n, kib: ($y | round), kib_min: (map(.y) | min), kib_max: (map(.y) | max),
            growth_kib_per_minute: ($slope * 60 | round), is_steady: ($slope * 60 <= $maximum),
            calls: $summary[0].calls_ended, reconnects: $summary[0].reconnects
        }' "$work/churn.jsonl" >"$work/churn.json"
}

print_table() {
    jq -r '
        "\(.date), commit \(.commit), \(.host), kernel \(.kernel)", "",
        "| of each | bytes |", "|---|---|",
        (.slopes[] | "| \(.of) | \(.bytes // "not measured: the generator was the bottleneck") |"), "",
        (.churn | "churn of \(.calls) calls with \(.reconnects) reconnects: \(.kib) KiB (\(.kib_min) to \(.kib_max)) over \(.seconds) s, growth \(.growth_kib_per_minute) KiB per minute: \(if .is_steady then "steady" else "GROWS" end)")
    ' "$work/result.json"
}

main "$@"
