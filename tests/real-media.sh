#!/usr/bin/env bash
# Real media through the relay: a clip of speech and moving pictures (H.264 + Opus) is published by
# moq-cli and subscribed by moq-cli, on different shards; every packet of both elementary streams has
# to come out as it went in. Once for each draft.
#
#   tests/real-media.sh
#
#   MOQSWITCH_INTEROP_RELAY  relay to test        (default: target/{release,debug}/moqswitch, the newer)
#   MOQ_CLI                  the `moq` program    (default: installed by cargo into a cache directory)
#   DRAFTS                   drafts to run        (default: moq-lite-03 to moq-lite-06)
#   KEEP                     keep the work files  (default: only on failure)
#
# Needs ffmpeg, espeak-ng and curl. Exit status: 0 identical, 1 a difference or no delivery, 2 cannot run.
set -euo pipefail

readonly CLI_VERSION=0.14.10
readonly SHARDS=2
readonly BROADCAST=clip.hang
readonly WAIT_SECONDS=30
# Fragments of a tenth of a second, as a live encoder sends them. moq-cli refuses ffmpeg's one for each
# frame, which repeats decode times.
readonly FRAGMENTS=(-movflags empty_moov+default_base_moof -frag_duration 100000)
readonly PLACEMENT_TRIES=40
readonly DRAFTS=${DRAFTS:-moq-lite-03 moq-lite-04 moq-lite-05 moq-lite-06}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d -t moqswitch-real-media.XXXXXX)
children=()

main() {
    for tool in ffmpeg ffprobe espeak-ng curl; do
        command -v "$tool" >/dev/null || die 2 "$tool is missing: apt-get install ffmpeg espeak-ng curl"
    done
    find_relay
    find_moq_cli
    # Flags alone configure relay and peers, never this shell's environment.
    for name in ${!MOQ_@} ${!MOQSWITCH_@}; do unset "$name"; done

    make_clip
    list_packets "$work/clip.mp4" "$work/sent"
    start_relay
    local draft
    for draft in $DRAFTS; do
        run_draft "$draft"
    done
    echo "PASS: $DRAFTS"
}

find_relay() {
    relay=${MOQSWITCH_INTEROP_RELAY:-}
    if [ -z "$relay" ]; then
        local target=${CARGO_TARGET_DIR:-$root/target}
        relay=$(ls -t "$target"/release/moqswitch "$target"/debug/moqswitch 2>/dev/null | head -n 1 || true)
    fi
    [ -x "$relay" ] || die 2 "no relay: cargo build --release, or set MOQSWITCH_INTEROP_RELAY"
    case $(basename "$relay") in
        moq-relay) kind=moq-relay ;;
        *) kind=moqswitch ;;
    esac
}

find_moq_cli() {
    moq=${MOQ_CLI:-}
    [ -n "$moq" ] || {
        local cache=${XDG_CACHE_HOME:-$HOME/.cache}/moqswitch/moq-cli-$CLI_VERSION
        moq=$cache/bin/moq
        # Without its lock file when the registry is a mirror that lacks a version in it.
        [ -x "$moq" ] || cargo install moq-cli --version "$CLI_VERSION" --locked --root "$cache" >&2 \
            || cargo install moq-cli --version "$CLI_VERSION" --root "$cache" >&2 \
            || die 2 "cannot install moq-cli"
    }
    [ -x "$moq" ] || die 2 "$moq is not a program"
}

# Six seconds: a test picture with B-frames off (baseline), a key frame each second; speech as Opus.
make_clip() {
    espeak-ng -v en -s 150 -w "$work/speech.wav" \
        "This call goes through the switch. Every word of it, and every picture, has to arrive as it was sent."
    ffmpeg -v error -nostdin -y \
        -f lavfi -i testsrc2=size=640x360:rate=30 -i "$work/speech.wav" \
        -filter_complex "[1:a]apad[a]" -map 0:v -map "[a]" -t 6 \
        -c:v libx264 -profile:v baseline -pix_fmt yuv420p -preset veryfast -b:v 800k -g 30 -keyint_min 30 -sc_threshold 0 \
        -c:a libopus -b:a 32k -ar 48000 -ac 1 \
        -f mp4 "${FRAGMENTS[@]}" "$work/clip.mp4"
}

# One line for each packet of a stream: bytes and hash, in decoding order.
list_packets() { # file, prefix of the two lists
    local kind
    for kind in v a; do
        ffmpeg -v error -nostdin -i "$1" -map "0:$kind" -c copy -f framehash -hash md5 - \
            | awk -F', *' '!/^#/ { print $5, $6 }' > "$2.$kind"
    done
}

start_relay() {
    if [ $kind = moq-relay ]; then
        udp=127.0.0.1:$((20000 + RANDOM % 20000)) http=127.0.0.1:$((20000 + RANDOM % 20000))
        "$relay" --listen "$udp" --listen-tls-generate localhost --auth-public '**' \
            --web-http-listen "$http" >"$work/relay.out" 2>&1 &
        children+=($!)
        until_true "the relay listens" curl -sf "http://$http/certificate.sha256" -o /dev/null
        return
    fi
    # A peer that was killed is to be missed soon.
    MOQSWITCH_QUIC_IDLE_TIMEOUT=4s "$relay" --listen 127.0.0.1:0 --http 127.0.0.1:0 --shards $SHARDS >"$work/relay.out" 2>"$work/relay.err" &
    children+=($!)
    until_true "the relay says where it listens" grep -q 'udp=.*http=\|http=.*udp=' "$work/relay.out"
    udp=$(grep -o 'udp=[^ ]*' "$work/relay.out" | head -n 1 | cut -d= -f2)
    admin=$(grep -o 'admin=[^ ]*' "$work/relay.out" | head -n 1 | cut -d= -f2)
}

run_draft() {
    local draft=$1 received=$work/received-$1.mp4 subscriber publisher feed
    local options=(--log-level info --connect "moqt://$udp" --connect-bind 127.0.0.1:0
        --connect-tls-insecure --connect-version "$draft" --broadcast "$BROADCAST")

    place_peers "$draft"

    ffmpeg -v error -nostdin -re -i "$work/clip.mp4" -c copy -f mp4 "${FRAGMENTS[@]}" - >&"$feed" \
        || die 1 "$draft: the publisher stopped reading, see $work/import-$draft.log"
    exec {feed}>&-
    wait_exit "$publisher" || die 1 "$draft: the publisher failed, see $work/import-$draft.log"
    wait_exit "$subscriber" || echo "$draft: subscriber ended with an error, judged by what it received" >&2
    wait_sessions 0 /dev/null
    compare "$draft" "$received"
}

# Starts both peers until they are on different shards. Leaves their pids in `subscriber` and
# `publisher` and the descriptor of the publisher's input in `feed`. Both start anew at each try,
# since a subscriber is done when its first publisher goes.
place_peers() {
    local draft=$1 try
    for ((try = 0; try < PLACEMENT_TRIES; try++)); do
        # The subscriber is first, so that nothing is over before it comes; its patience keeps it
        # from skipping a group that is merely late.
        "$moq" "${options[@]}" export fmp4 --max-age 30s >"$received" 2>"$work/export-$draft.log" &
        subscriber=$!
        children+=($subscriber)
        wait_sessions 1 "$work/export-$draft.log"
        # The publisher connects while its input is held open and empty: the clip begins only when
        # it is on another shard.
        rm -f "$work/feed-$draft"
        mkfifo "$work/feed-$draft"
        "$moq" "${options[@]}" import fmp4 <"$work/feed-$draft" >/dev/null 2>"$work/import-$draft.log" &
        publisher=$!
        children+=($publisher)
        # Opens once the publisher has opened its end.
        exec {feed}>"$work/feed-$draft"
        wait_sessions 2 "$work/import-$draft.log"
        if [ $kind = moq-relay ]; then
            return
        fi
        # On two shards: one session each.
        if [ "$(sessions_by_shard | sort -u | wc -l)" = 1 ]; then
            echo "$draft: publisher and subscriber are on different shards" >&2
            return
        fi
        exec {feed}>&-
        kill "$publisher" "$subscriber" 2>/dev/null || true
        wait "$publisher" "$subscriber" 2>/dev/null || true
        wait_sessions 0 /dev/null
    done
    die 1 "$draft: $PLACEMENT_TRIES pairs of peers all came to one shard"
}

# The whole clip, packet for packet.
compare() {
    local draft=$1 stream
    [ -s "$2" ] || die 1 "$draft: nothing was received, see $work"
    list_packets "$2" "$work/received-$draft"
    for stream in v a; do
        if ! cmp -s "$work/sent.$stream" "$work/received-$draft.$stream"; then
            diff "$work/sent.$stream" "$work/received-$draft.$stream" | head -n 10 >&2 || true
            die 1 "$draft: stream $stream differs: sent $(wc -l <"$work/sent.$stream") packets," \
                "received $(wc -l <"$work/received-$draft.$stream"), see $work"
        fi
    done
    echo "$draft: $(wc -l <"$work/sent.v") H.264 and $(wc -l <"$work/sent.a") Opus packets identical"
}

# One number for each shard.
sessions_by_shard() {
    curl -sf "http://$admin/metrics" | sed -n 's/^moqswitch_sessions{[^}]*shard="[0-9]*"[^}]*} *//p'
}

# Waits for a number of live sessions; from moq-relay, which has no such figure, for the client's word.
wait_sessions() { # number, the log of the client that has to connect
    if [ $kind = moqswitch ]; then
        until_true "$1 sessions" eval '[ "$(sessions_by_shard | awk "{ n += \$1 } END { print n + 0 }")" = '"$1 ]"
    elif [ "$1" != 0 ]; then
        until_true "a client connects" grep -q connected "$2"
    fi
}

# The exit status of a child, which has to end in time.
wait_exit() {
    until_true "process $1 ends" eval "! kill -0 $1 2>/dev/null"
    wait "$1"
}

until_true() { # what is awaited, command...
    local what=$1 deadline=$((SECONDS + WAIT_SECONDS))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || die 1 "not within $WAIT_SECONDS s: $what; see $work"
        read -r -t 0.05 <> <(:) || true
    done
}

die() { # status, text...
    local status=$1
    shift
    echo "real-media: $*" >&2
    KEEP=1
    exit "$status"
}

clean_up() {
    local status=$? child
    for child in "${children[@]}"; do
        kill "$child" 2>/dev/null || true
    done
    [ $status != 0 ] || [ -n "${KEEP:-}" ] || rm -rf "$work"
    exit $status
}

trap clean_up EXIT
trap 'exit 130' INT TERM
main "$@"
