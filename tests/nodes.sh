#!/usr/bin/env bash
# Two switches as one phone system, with Debian's nats-server between them: telephones of one call those of the other, media goes
# by the mesh; then the server is away for a while, and then a switch dies. Prints how long calls took to come up.
#
#   tests/nodes.sh [--calls N] [--duration TIME] [--away SECONDS]
#
#   MOQSWITCH, LOADGEN   the programs                  (default: built here, debug)
#
# Everything is on loopback. Needs curl, jq and nats-server, which is fetched from Debian's archive if it is not there. Two
# minutes, beside what is built. Exit status: 0 all holds, 1 something does not, 2 cannot run.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
calls=4 duration=12s away=30
pids=() a_pid=""

main() {
    while (($# > 0)); do
        case $1 in
        --calls) calls=$2; shift 2 ;;
        --duration) duration=$2; shift 2 ;;
        --away) away=$2; shift 2 ;;
        -h | --help) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; exit 0 ;;
        *) die "unknown argument '$1' (--help shows all)" ;;
        esac
    done
    local tool
    for tool in curl jq; do command -v "$tool" >/dev/null || die "$tool is missing"; done
    work=$(mktemp -d)
    trap clean_up EXIT
    nats=$(find_server) || die "there is no nats-server: install Debian's package of that name"
    build
    start_all
    check_numbers
    check_calls
    check_away
    check_death
    say "everything holds"
}

build() {
    local target=${CARGO_TARGET_DIR:-$root/target}
    if [[ -z ${MOQSWITCH:-} || -z ${LOADGEN:-} ]]; then
        (cd "$root" && cargo build --workspace --bins >&2) || die "cannot build"
    fi
    switch=${MOQSWITCH:-$target/debug/moqswitch}
    loadgen=${LOADGEN:-$target/debug/loadgen}
}

# The server of the system, or that of the package without installing it.
find_server() {
    command -v nats-server && return
    [[ -x /usr/sbin/nats-server ]] && { echo /usr/sbin/nats-server; return; }
    (cd "$work" && apt-get download -q nats-server >&2 && dpkg-deb -x nats-server_*.deb . >&2) || return 1
    echo "$work/usr/sbin/nats-server"
}

free_port() {
    python3 - <<'P' 2>/dev/null || shuf -i 20000-32000 -n 1
import socket
s, t = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
s.bind(("127.0.0.1", 0)); t.bind(("127.0.0.1", s.getsockname()[1])); print(s.getsockname()[1])
P
}

start_all() {
    nats_port=$(free_port) a=$(free_port) b=$(free_port)
    start_nats
    "$switch" token generate --out "$work/private.jwk" >&2
    "$switch" token sign --key "$work/private.jwk" --cluster >"$work/cluster.jwt"
    start_switch a "$a" ""
    start_switch b "$b" "\"moql://127.0.0.1:$a\""
    until_true "the switches hear each other" both_hear
}

start_nats() {
    "$nats" -a 127.0.0.1 -p "$nats_port" >"$work/nats.log" 2>&1 &
    nats_pid=$!
    pids+=("$nats_pid")
}

start_switch() {
    local name=$1 port=$2 peers=$3
    cat >"$work/$name.toml" <<T
listen = "127.0.0.1:$port"
http = "127.0.0.1:$port"
shards = 1
state_directory = "$work/state-$name"
[admin]
listen = "127.0.0.1:$(free_port)"
[auth]
key = "$work/private.jwk"
[sip]
udp = ""
tcp = ""
[calls]
records = "$work/records-$name"
[cluster]
peers = [$peers]
token_file = "$work/cluster.jwt"
insecure = true
accept = true
[cluster.store]
servers = ["nats://127.0.0.1:$nats_port"]
node = "$name"
T
    "$switch" --config "$work/$name.toml" >"$work/$name.log" 2>&1 &
    pids+=($!)
    [[ $name != a ]] || a_pid=$!
}

get() { curl -fsS --max-time 10 "http://127.0.0.1:$1$2"; }
admin_of() { sed -n 's/.* admin=\([0-9.:]*\).*/\1/p' "$work/$1.log" | head -1; }
metric() { curl -fsS --max-time 10 "http://$(admin_of "$1")/metrics" | awk -v name="moqswitch_$2" '$1 == name { print $2 }'; }
both_hear() { [[ $(metric a nodes_peers) == 1 && $(metric b nodes_peers) == 1 ]]; }

until_true() {
    local what=$1 until=$((SECONDS + 60))
    shift
    while ! "$@" 2>/dev/null; do
        ((SECONDS < until)) || fail "$what: not within a minute"
        sleep 0.2
    done
    say "$what"
}

# Who is registered at one is known at the other.
check_numbers() {
    run_phones "$work/first.json" 4s &
    local run=$!
    until_true "each knows the telephones of the other" knows_all
    wait "$run" || true
}

# By what `registered` says: numbers of loadgen begin at 7000000000, and are at both in turn.
knows_all() {
    get "$a" /api/dn/7000000001 >/dev/null && get "$b" /api/dn/7000000000 >/dev/null
}

run_phones() {
    "$loadgen" phone --calls "$calls" --duration "$2" --talk 3s --rate 2 --relay "moql://127.0.0.1:$a/" --relay "moql://127.0.0.1:$b/" \
        --json "$1" >"$1.text" 2>&1
}

check_calls() {
    local status=0
    run_phones "$work/calls.json" "$duration" || status=$?
    # 3: the generator was late, which says nothing of the switches.
    ((status == 0 || status == 3)) || { cat "$work/calls.json.text" >&2; fail "calls over two machines: status $status"; }
    jq -r '"set-up ms p50 \(.setup_ms.p50) p99 \(.setup_ms.p99); ringing p50 \(.ringing_ms.p50) p99 \(.ringing_ms.p99); accepted p50 \(.accepted_ms.p50) p99 \(.accepted_ms.p99)",
        "calls attempted \(.calls_attempted) established \(.calls_established) failed \(.calls_failed); frames expected \(.frames_expected) lost \(.frames_lost)"' "$work/calls.json"
    jq -e '.calls_established > 0 and .calls_failed == 0 and .frames_expected > 0' "$work/calls.json" >/dev/null ||
        fail "a call over two machines failed: $(jq -c .reasons "$work/calls.json")"
    until_true "no call is left at either" no_calls
    local records
    records=$(cat "$work"/records-*/*.ndjson | jq -r .callId | sort | uniq -d | wc -l)
    ((records == 0)) || fail "$records calls have two records"
    say "each call has one record: $(cat "$work"/records-*/*.ndjson | wc -l) of them"
}

no_calls() { [[ $(get "$a" /api/calls | jq '.calls | length') == 0 && $(get "$b" /api/calls | jq '.calls | length') == 0 ]]; }
# Telephones of loadgen hold now and then.
some_calls() { (($(get "$a" /api/calls | jq '[.calls[] | select(.answerMs)] | length') >= calls)); }

# The server is away in the middle of calls: they go on, and media never noticed. What a telephone wants of a call that the other
# machine has is refused meanwhile, which makes loadgen's verdict.
check_away() {
    local run status=0
    "$loadgen" phone --calls "$calls" --duration "$((away + 15))s" --relay "moql://127.0.0.1:$a/" --relay "moql://127.0.0.1:$b/" \
        --json "$work/away.json" >"$work/away.text" 2>&1 &
    run=$!
    until_true "calls are up" some_calls
    kill "$nats_pid"
    until_true "both know that the server is away" both_down
    sleep "$away"
    some_calls || fail "calls ended while the server was away"
    start_nats
    until_true "both hear each other again" both_hear
    wait "$run" || status=$?
    ((status == 0 || status == 1 || status == 3)) || { cat "$work/away.text" >&2; fail "calls while the server was away: status $status"; }
    jq -e --argjson calls "$calls" '.calls_established == $calls and .calls_failed == 0 and .connections_lost == 0 and .frames_lost == 0' \
        "$work/away.json" >/dev/null || fail "calls suffered: $(jq -c .reasons "$work/away.json")"
    say "calls went on for ${away} s without the server, of $(jq .frames_expected "$work/away.json") frames none was lost"
    until_true "no call is left" no_calls
}

both_down() { [[ $(metric a nodes_up) == 0 && $(metric b nodes_up) == 0 ]]; }

# A switch dies in the middle of calls: those of its telephones end at the other, with records.
check_death() {
    local run before
    before=$(cat "$work"/records-b/*.ndjson 2>/dev/null | wc -l)
    "$loadgen" phone --calls "$calls" --duration 40s --relay "moql://127.0.0.1:$a/" --relay "moql://127.0.0.1:$b/" >"$work/death.text" 2>&1 &
    run=$!
    until_true "calls are up once more" some_calls
    kill -9 "$a_pid"
    until_true "the other has ended their calls" b_has_no_calls
    until_true "the dead machine's telephones are gone" b_forgot
    kill "$run" 2>/dev/null || true
    wait "$run" || true
    local after
    after=$(cat "$work"/records-b/*.ndjson | wc -l)
    ((after - before >= calls)) || fail "of $calls calls $((after - before)) have records"
    say "calls of a machine that died have $((after - before)) records"
}

b_has_no_calls() { [[ $(get "$b" /api/calls | jq '.calls | length') == 0 ]]; }
b_forgot() { ! get "$b" /api/dn/7000000000 >/dev/null 2>&1; }

say() { echo "nodes.sh: $1"; }

fail() {
    echo "nodes.sh: $1" >&2
    tail -n 20 "$work"/*.log >&2 || true
    exit 1
}

clean_up() {
    local pid
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}

die() {
    echo "nodes.sh: $1" >&2
    exit 2
}

main "$@"
