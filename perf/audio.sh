#!/usr/bin/env bash
# What transcoding costs: streams that one core carries, for each pair of codecs, and ffmpeg's with the same codecs and settings,
# in turn. Both read the same speech and write nothing. CPU time counts, not the clock.
#
#   perf/audio.sh [--minutes N] [--runs N]
#
#   --minutes N  of speech                      (default: 5)
#   --runs N     of each, one after the other   (default: 5); medians are told
#
# Needs ffmpeg, sox and espeak-ng (Debian). Exit status: 0 measured, 2 cannot run.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=5 runs=5 work=''
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

main() {
    while (($#)); do
        case $1 in
        --minutes) minutes=$2 ;;
        --runs) runs=$2 ;;
        *) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0" >&2; exit 2 ;;
        esac
        shift 2
    done
    local program
    for program in ffmpeg sox espeak-ng; do
        command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 2; }
    done
    work=$(mktemp -d)
    cargo build -q --release -p moqswitch-audio --example cost --target-dir target/audio
    # The text of this repository, read aloud again and again.
    espeak-ng --stdin --stdout <README.md | sox -t wav - -r 8000 -c 1 -b 16 "$work/once.wav" gain -n -6
    sox "$work/once.wav" "$work/speech.wav" repeat 100 trim 0 "$((minutes * 60))"
    sox "$work/speech.wav" -t raw -e signed -b 16 "$work/speech.raw"
    sox "$work/speech.wav" -e mu-law "$work/pcmu.wav"
    # As `OpusSettings::default()`.
    local opus=(-c:a libopus -b:a 24k -application voip -frame_duration 20 -compression_level 5 -packet_loss 5 -fec 1)
    ffmpeg -v error -i "$work/speech.wav" "${opus[@]}" "$work/opus.ogg"
    ffmpeg -v error -i "$work/speech.wav" -ar 16000 -c:a g722 "$work/g722.wav"
    local run
    for ((run = 0; run < runs; run++)); do
        target/audio/release/examples/cost <"$work/speech.raw" | awk 'NR > 1 { print "moqswitch", $1, $2, $4 }'
        theirs opus pcmu "$work/opus.ogg" -ar 8000 -c:a pcm_mulaw -f mulaw
        theirs pcmu opus "$work/pcmu.wav" "${opus[@]}" -f ogg
        theirs opus g722 "$work/opus.ogg" -ar 16000 -c:a g722 -f g722
        theirs g722 opus "$work/g722.wav" "${opus[@]}" -f ogg
        theirs pcmu g722 "$work/pcmu.wav" -ar 16000 -c:a g722 -f g722
        theirs g722 pcmu "$work/g722.wav" -ar 8000 -c:a pcm_mulaw -f mulaw
        theirs pcmu pcma "$work/pcmu.wav" -c:a pcm_alaw -f alaw
    done | tell
}

# Streams of a core, by the CPU time that a whole run takes. Its start is in it, some tens of milliseconds.
theirs() {
    local from=$1 to=$2 file=$3 seconds
    shift 3
    seconds=$( { TIMEFORMAT='%U %S'; time ffmpeg -v error -threads 1 -y -i "$file" "$@" /dev/null; } 2>&1 | awk '{ print $1 + $2 }')
    awk -v minutes="$minutes" -v seconds="$seconds" -v pair="$from $to" 'BEGIN { printf "ffmpeg %s %.0f\n", pair, minutes * 60 / seconds }'
}

tell() {
    sort -k1,3 -k4,4n | awk '
        { key = $2 " " $3; who = $1; count[who, key]++; value[who, key, count[who, key]] = $4; keys[key] = 1 }
        END {
            printf "%-6s%-6s%10s%10s%8s\n", "from", "to", "moqswitch", "ffmpeg", "ratio"
            for (key in keys) {
                split(key, pair, " ")
                own = median("moqswitch", key); other = median("ffmpeg", key)
                printf "%-6s%-6s%10d%10s%8s\n", pair[1], pair[2], own, other ? other : "-", other ? sprintf("%.1f", own / other) : "-"
            }
        }
        function median(who, key, n) { n = count[who, key]; return n ? value[who, key, int((n + 1) / 2)] : 0 }' | sort
}

main "$@"
