#!/usr/bin/env bash
# Does a change make the hot paths longer? Counts instructions, of single operations (perf/instructions.sh) and of the whole
# relay for a frame of a call (perf/call-instructions.sh), and compares them with the last that were recorded in
# perf/history.jsonl.
#
#   perf/check.sh [--record]
#
#   --record    appends the counts of this commit to the history, to be compared with from then on
#
#   INSTRUCTIONS    a program that counts instead: prints a JSON object of names and counts   (default: the two named)
#
# Exit status: 0 nothing is more than 3 % above (or recorded), 1 something is, or is counted no more, 2 cannot run.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

readonly GROWTH_PERCENT_MAX=3

main() {
    local record=0
    while (($#)); do
        case $1 in
        --record) record=1; shift ;;
        -h | --help) usage ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
    done
    lab_begin
    ((record)) || find_recorded
    built_commit=$(commit)
    count
    if ((record)); then
        local counts
        counts=$(jq -c . "$work/counts.json")
        jq -n --argjson counts "$counts" --arg compiler "$(rustc --version)" '{compiler: $compiler, instructions: $counts}' \
            | append_history instructions
        echo "recorded $(jq length "$work/counts.json") counts of $built_commit"
        return
    fi
    compare
}

count() {
    local programs=("$lab_directory/instructions.sh" "$lab_directory/call-instructions.sh") program
    [[ -z ${INSTRUCTIONS:-} ]] || programs=("$INSTRUCTIONS")
    for program in "${programs[@]}"; do
        [[ -x $program ]] || die 2 "'$program' is not a program; INSTRUCTIONS names another that counts"
        "$program" 2>"$work/counts.err" || die 2 "$program failed: $(tail -n 1 "$work/counts.err")"
    done >"$work/counts"
    jq -s add "$work/counts" >"$work/counts.json"
    jq -e 'type == "object" and length > 0 and all(.[]; type == "number" and . > 0)' "$work/counts.json" >/dev/null 2>&1 \
        || die 2 "no JSON object of names and counts was printed"
}

find_recorded() {
    grep '"kind":"instructions"' "$history_file" 2>/dev/null | tail -n 1 >"$work/recorded.json" || true
    [[ -s $work/recorded.json ]] || die 2 "nothing is recorded yet: perf/check.sh --record on the commit to compare with"
}

compare() {
    jq -n --slurpfile recorded "$work/recorded.json" --slurpfile counts "$work/counts.json" --arg compiler "$(rustc --version)" \
        --argjson maximum $GROWTH_PERCENT_MAX '
        $recorded[0] as $before | $counts[0] as $now
        | {
            before: $before.commit, date: $before.date,
            other_compiler: (if $before.compiler == $compiler then null else $before.compiler end),
            paths: [($before.instructions + $now | keys[]) as $name
                | {name: $name, before: $before.instructions[$name], now: $now[$name]}
                | .percent = (if .before and .now then 100 * (.now - .before) / .before else null end)
                | .failed = (.now == null or (.percent != null and .percent > $maximum))]
        }' >"$work/compared.json"
    jq -r '
        "against commit \(.before) of \(.date)",
        (.other_compiler | select(. != null) | "which was built by \(.), so part of a difference may be the compiler'\''s"),
        (.paths[] | [(if .failed then "FAIL" elif .before == null then "NEW" else "ok" end), .name, .before // "-", .now // "-",
            (if .percent == null then "-" else "\(.percent * 10 | round / 10) %" end)] | @tsv)
    ' "$work/compared.json" | awk -F'\t' 'NF < 5 { print; next } { printf "%-4s  %-32s %14s %14s %9s\n", $1, $2, $3, $4, $5 }'
    jq -e 'all(.paths[]; .failed | not)' "$work/compared.json" >/dev/null \
        || die 1 "a path is more than $GROWTH_PERCENT_MAX % longer, or is counted no more; if that is wanted, record it: perf/check.sh --record"
}

main "$@"
