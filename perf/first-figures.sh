#!/usr/bin/env bash
# Relay CPU per delivered frame under a steady audio load, relay and generator on a core of
# their own each, and where the relay's time goes.
#
#   perf/first-figures.sh [--rounds 3] [--seconds 10] [--profile] [loadgen command and flags...]
#
# Default load: 100 connections x 4 subscriptions x 50 frames/s x 200 B, one frame per group:
# 20 000 delivered frames/s.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=3 seconds=10 profile=0
while (($#)); do
    case $1 in
    --rounds) rounds=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    --profile) profile=1; shift ;;
    *) break ;;
    esac
done
load=(conference --people 100 --hears 4 --calls 1 --frame-bytes 200 --frame-rate 50 --no-catalog)
(($#)) && load=("$@")

target=${CARGO_TARGET_DIR:-target}
cargo build --release --workspace --quiet
work=$(mktemp -d)
trap 'kill "${relay:-}" 2>/dev/null || true; rm -rf "$work"' EXIT

"$target/release/moqswitch" --listen 127.0.0.1:0 --http 127.0.0.1:0 --shards 1 --cores 0 >"$work/out" &
relay=$!
until grep -q ready "$work/out"; do kill -0 "$relay"; read -rt 0.05 <> <(:) || true; done
address=$(grep -o 'udp=[^ ]*' "$work/out" | cut -d= -f2)

echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo none), kernel $(uname -r), $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2)"
echo "load: ${load[*]}, ${seconds}s, relay on core 0, generator on core 1"
for round in $(seq "$rounds"); do
    if ((profile && round == rounds)); then
        perf record -q -e cpu-clock -F 999 -g -p "$relay" -o "$work/perf.data" -- sleep "$((seconds / 2))" 2>/dev/null &
    fi
    echo "-- round $round"
    "$target/release/loadgen" "${load[@]}" --relay "moql://$address/" --relay-pid "$relay" --cores 1 --duration "${seconds}s"
done
if ((profile)); then
    wait %2 2>/dev/null || true
    echo "-- where the relay's time goes (self time, by object and symbol)"
    perf report -i "$work/perf.data" --no-children --sort dso --stdio -g none 2>/dev/null | grep -v '^#' | grep '%' | cut -c1-60 | head -6
    perf report -i "$work/perf.data" --no-children --sort symbol --stdio -g none 2>/dev/null | grep -v '^#' | grep '%' | cut -c1-120 | head -45
fi
