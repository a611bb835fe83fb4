#!/usr/bin/env bash
# What does the relay keep in memory for each connection, track and call, and does it grow while people come and go?
#
#   perf/memory.sh [--json FILE] [--no-history] [--churn-seconds S]
#
#   --json FILE          writes the result
#   --no-history         does not append the result to perf/history.jsonl
#   --churn-seconds S    of churn that count, after a warm-up   (default: 60, at least 30)
#
# Each figure is a slope: resident memory under one load less that under a smaller one, by what the two differ in, so that
# what a relay needs at all is not in it. Under churn it is a straight line through resident memory, second by second, as
# growth for each connection that came and went. Exit status: 0 measured and steady, 1 memory grows, 2 cannot run.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

# Long enough for all to be there, too short for a connection to be idle for as long as it may.
readonly SETTLE_SECONDS=12
# Calls of audio fill the cache of groups for ten seconds before it is as large as it gets.
readonly CACHE_SECONDS=15
# Connections that vanish without a word are kept until their idle timeout of 30 s: it takes as long, and again, to level out.
readonly CHURN_WARM_UP_SECONDS=110
# Fewer seconds are no line.
readonly CHURN_SECONDS_MIN=30
# For each connection that came and went. What the allocator does from minute to minute is a third of it; a connection that
# is kept is more than thirty times as much.
readonly GROWTH_BYTES_MAX=1024
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
    ((churn_seconds >= CHURN_SECONDS_MIN)) || die 2 "--churn-seconds: less than $CHURN_SECONDS_MIN s is no line"
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

# Resident KiB of a fresh relay at the end of a load, or without one. When twice the generator was the bottleneck or not
# everybody came, there is nothing to measure: what a starved relay keeps is a backlog.
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
        jq -e '.calls_established == .calls_attempted and .calls_established > 0 and .connections_lost == 0' "$work/summary.json" \
            >/dev/null || status=1
        if ((!status)); then
            kib=$(jq '.relay_rss_mib * 1024 | round' "$work/summary.json")
            return
        fi
        say "  not as it should be: $(jq -c '{calls_attempted, calls_established, connections_lost, generator}' "$work/summary.json")"
    done
    die 2 "$name could not be measured, see above"
}

slope() { # of what, the two levels in KiB, number they differ by
    jq -nc --arg of "$1" --argjson below "$2" --argjson above "$3" --argjson number "$4" \
        '{of: $of, over: $number, bytes: (($above - $below) * 1024 / $number | round)}' >>"$work/slopes"
}

measure_churn() {
    say "churn: $((CHURN_WARM_UP_SECONDS + churn_seconds)) s"
    start_moqswitch "$moqswitch"
    start_load "$work/summary.json" $((CHURN_WARM_UP_SECONDS - WARM_UP_SECONDS + churn_seconds)) \
        run "$lab_directory/scenarios/churn.toml" --jsonl "$work/churn.jsonl"
    finish_load || die 2 "churn: $(generator_fault)"
    end_relay
    jq -e '.calls_ended > 0 and .reconnects > 0' "$work/summary.json" >/dev/null || die 2 "churn: nobody came and went"
    # One line of the recording for each second, and the last for the end of what is measured.
    jq -s --argjson from $CHURN_WARM_UP_SECONDS --argjson maximum $GROWTH_BYTES_MAX --slurpfile summary "$work/summary.json" '
        .[-1].ended[1] as $to | .[0].scenario.shape.people as $people
        | [.[] | select(.host.relay_rss_mib and .interval >= $from and .interval < $to)
            | {x: .interval, y: (.host.relay_rss_mib * 1024), went: (.counts.reconnects + $people * .counts.calls_ended)}]
        | (length) as $n | (map(.x) | add / $n) as $x | (map(.y) | add / $n) as $y
        | ((map((.x - $x) * (.y - $y)) | add) / (map((.x - $x) * (.x - $x)) | add)) as $slope
        | ((map(.went) | add) / $n) as $went_per_s
        | ($slope * 1024 / $went_per_s) as $growth
        | {
            seconds: $n, kib: ($y | round), kib_min: (map(.y) | min), kib_max: (map(.y) | max),
            connections_per_minute: ($went_per_s * 60 | round), growth_bytes_per_connection: ($growth | round),
            is_steady: ($growth <= $maximum), calls: $summary[0].calls_ended, reconnects: $summary[0].reconnects
        }' "$work/churn.jsonl" >"$work/churn.json"
}

print_table() {
    jq -r '
        "\(.date), commit \(.commit), \(.host), kernel \(.kernel)", "",
        "| of each | bytes |", "|---|---|",
        (.slopes[] | "| \(.of) | \(.bytes) |"), "",
        (.churn | "churn of \(.calls) calls with \(.reconnects) reconnects: \(.kib) KiB (\(.kib_min) to \(.kib_max)) over \(.seconds) s, \(.connections_per_minute) connections gone a minute, growth \(.growth_bytes_per_connection) bytes for each: \(if .is_steady then "steady" else "GROWS" end)")
    ' "$work/result.json"
}

main "$@"
