#!/usr/bin/env bash
# Runs every fuzz target for a while, one after the other, beginning with the corpora that `cargo test` replays.
#
#   tests/fuzz.sh [MINUTES] [TARGET]...
#
#   MINUTES    of each target                                           (default: 1)
#   TARGET     names of targets; without one all of tests/fuzz
#
# What it finds stays in tests/fuzz/artifacts/. Needs nightly Rust and cargo-fuzz (`cargo install cargo-fuzz`).
# Exit status: 0 nothing found, 1 something, 2 cannot run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

main() {
    local minutes=1
    if [[ ${1:-} =~ ^[0-9]+$ ]]; then
        minutes=$1
        shift
    elif [[ ${1:-} == -* ]]; then
        sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit 2
    fi
    cargo +nightly fuzz --version >/dev/null 2>&1 || { echo "cargo-fuzz or nightly Rust is missing" >&2; exit 2; }
    local targets=("$@") target failed=0 log
    log=$(mktemp)
    # shellcheck disable=SC2064 # the name is known now
    trap "rm -f '$log'" EXIT
    ((${#targets[@]})) || mapfile -t targets < <(cargo +nightly fuzz list --fuzz-dir tests/fuzz)
    cargo +nightly fuzz build --fuzz-dir tests/fuzz >&2 || exit 2
    for target in "${targets[@]}"; do
        echo "$target: $minutes min"
        # BoringSSL has some tables in two of its libraries.
        ASAN_OPTIONS=detect_odr_violation=0 cargo +nightly fuzz run --fuzz-dir tests/fuzz "$target" -- \
            -max_total_time="$((minutes * 60))" -print_final_stats=1 >"$log" 2>&1 || failed=1
        grep -E '^(stat::number_of_executed_units|stat::peak_rss_mb|SUMMARY|==.*ERROR|thread .* panicked)' "$log" || true
    done
    [[ -z $(find tests/fuzz/artifacts -type f 2>/dev/null) ]] || { find tests/fuzz/artifacts -type f; failed=1; }
    return "$failed"
}

main "$@"
