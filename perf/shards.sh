#!/usr/bin/env bash
# What do two shards carry that one does not, and what does it cost a frame to cross from one to the other? Three ways to
# serve people, 100 to a shard, each hearing four others:
#
#   one      a relay of one shard, half the people
#   apart    two relays of one shard each, on a core each, half the people with each: nothing crosses
#   two      a relay of two shards on the same cores; half of what people hear comes from the other shard
#
#   perf/shards.sh [--rounds R] [--seconds S] [--no-history]
#
#   --rounds R      of each                                     (default: 3)
#   --seconds S     measured in each run, after a warm-up       (default: 5)
#   --no-history    does not append the medians to perf/history.jsonl
#
#   MOQSWITCH    a relay to measure instead of this tree's, such as perf/pgo.sh builds
#
# With two cores the generator has to share one with a shard, which costs both: `apart` has that too, so what `two` costs
# more is what crossing costs, stated for each delivered frame that came from the other shard (one transfer serves all who
# hear it there). CPU for each delivered frame is of all relays together. What two shards carry, in those of one: 2 x cost
# of `apart` / cost of `two`, as far as CPU limits it and costs are as under this load. Exit status: 0 measured, 2 cannot run.
set -euo pipefail
relay=${MOQSWITCH:-}
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

readonly PEOPLE=100 HEARS=4
# Of what one hears, what comes from the other shard, when each is on either shard by chance.
readonly CROSSING_SHARE=0.5

main() {
    local rounds seconds with_history round way
    parse_rounds "$@"
    lab_begin
    check_cores
    build
    choose_relay "$relay"
    for ((round = 1; round <= rounds; round++)); do
        for way in one apart two; do
            say "$way, round $round"
            "measure_$way"
        done
    done
    sum_up
    ((!with_history)) || jq -c --argjson built "$(built_otherwise "$relay")" '{shards: .} + $built' "$work/result.json" | append_history shards
}

measure_one() {
    start_relay one "$RELAY_CORE"
    load one $PEOPLE
    finish one
    add_up one one
}

measure_apart() {
    start_relay left "$RELAY_CORE"
    start_relay right "$LOADGEN_CORE"
    load left $PEOPLE
    load right $PEOPLE
    finish left
    finish right
    add_up apart left right
}

measure_two() {
    start_relay two "$RELAY_CORE,$LOADGEN_CORE"
    load two $((2 * PEOPLE))
    finish two
    add_up two two
}

declare -A relays=() addresses=() loads=()

start_relay() { # name, cores
    local cores=${2//[^,]/}
    start_child "$work/$1.out" taskset -c "$2" "$moqswitch" --listen 127.0.0.1:0 --http 127.0.0.1:0 --shards $((${#cores} + 1)) --cores "$2"
    relay_pid=$child_pid
    await_relay grep -q ready "$work/$1.out" || { last_words "$work/$1.out"; die 2 "the relay does not start; what it said last is above"; }
    addresses[$1]=$(grep -o 'udp=[^ ]*' "$work/$1.out" | cut -d= -f2)
    relays[$1]=$relay_pid
}

load() { # name, people
    relay_pid=${relays[$1]} relay_address=${addresses[$1]}
    start_load "$work/$1.json" "$seconds" conference --people "$2" --hears $HEARS --calls 1 --frame-bytes 200 --frame-rate 50 --no-catalog
    loads[$1]=$load_pid
}

finish() { # name
    load_pid=${loads[$1]}
    finish_load || true
    relay_pid=${relays[$1]}
    end_relay
}

# Relays together. A run in which the generator was the bottleneck or frames were missed is none.
add_up() { # way, names...
    local way=$1 name files=()
    shift
    for name in "$@"; do files+=("$work/$name.json"); done
    jq -cs --arg way "$way" 'if all(.[]; .generator.valid and .missed_percent < 1) then
            {way: $way, us: ((map(.relay_cpu_us_per_frame * (.frames_delivered + .frames_late)) | add) / (map(.frames_delivered + .frames_late) | add)),
                p99_ms: (map(.one_way_ms.p99) | max)}
        else empty end' "${files[@]}" >>"$work/runs.jsonl" 2>"$work/jq.err" || die 2 "no figures: $(tail -n 1 "$work/jq.err")"
}

sum_up() {
    jq -s --argjson share $CROSSING_SHARE "$MEDIAN"'
        . as $runs
        | def us($way): [$runs[] | select(.way == $way) | .us] | median;
        def p99($way): [$runs[] | select(.way == $way) | .p99_ms] | median;
        {one_us: us("one"), apart_us: us("apart"), two_us: us("two"),
            one_p99_ms: p99("one"), apart_p99_ms: p99("apart"), two_p99_ms: p99("two"), runs: length}
        | if .apart_us and .two_us then
            .capacity = 2 * .apart_us / .two_us | .crossing_us = (.two_us - .apart_us) / $share
          else . end' "$work/runs.jsonl" >"$work/result.json"
    jq -e '.capacity and .one_us' "$work/result.json" >/dev/null || die 2 "no run of one way is a result: $(jq -c . "$work/result.json")"
    jq -r 'def figure: . * 100 | round / 100;
        "one \(.one_us | figure) µs, apart \(.apart_us | figure) µs, two \(.two_us | figure) µs for each delivered frame, medians",
        "p99 \(.one_p99_ms | figure), \(.apart_p99_ms | figure), \(.two_p99_ms | figure) ms",
        "two shards carry \(.capacity | figure) times what one does; a delivered frame from the other shard costs \(.crossing_us | figure) µs more"' \
        "$work/result.json"
}

main "$@"
