#!/usr/bin/env bash
# Do tokens and keys of other people's tools open the switch, and are ours good for theirs? Asked of moq-token, the command
# of @moq/token on npm, and of jose, the library below it; both are installed into a cache. For each algorithm:
#
#   - a key and a token by moq-token: `moqswitch token explain` says what it grants, and calls go by it where it is rooted,
#     and nowhere else; an old one, and one of another key, open nothing
#   - a key by `moqswitch token generate`: moq-token signs with it, and that opens the same
#   - a token by `moqswitch token sign`: jose verifies it with the public key, and refuses it with another. For everything
#     below a root it has the claims `put` and `get`, which moq-token knows.
#
#   tests/tokens.sh [ALGORITHM]...      (default: those that both have)
#
#   MOQSWITCH, LOADGEN   the programs   (default: target/{release,debug}, the newer)
#
# Needs node 20 with npm, on loopback alone but for the installation. Exit status: 0 all holds, 1 something does not,
# 2 cannot run.
# Some functions are called by name.
# shellcheck disable=SC2317
set -euo pipefail

readonly VERSION=0.2.3
readonly ALGORITHMS=(HS256 HS384 HS512 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 EdDSA)
readonly ROOM=room/7
readonly READY_SECONDS_MAX=30

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d -t moqswitch-tokens.XXXXXX)
relay_pid=''
failed=0

main() {
    local algorithm
    case ${1:-} in -h | --help) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; exit 0 ;; esac
    trap end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    local name
    # Flags alone configure what is tried.
    moqswitch=$(program moqswitch "${MOQSWITCH:-}")
    loadgen=$(program loadgen "${LOADGEN:-}")
    for name in ${!MOQ_@} ${!MOQSWITCH_@}; do unset "$name"; done
    install_peer
    (($#)) || set -- "${ALGORITHMS[@]}"
    for algorithm; do
        try "$algorithm"
    done
    ((failed)) || echo "PASS: $*"
    exit "$failed"
}

try() { # algorithm
    local algorithm=$1 place=$work/$1
    mkdir "$place"
    "${moq_token[@]}" generate --algorithm "$algorithm" --id theirs --key "$place/theirs.jwk" --public "$place/theirs.pub" >/dev/null 2>&1 \
        || die 2 "moq-token has no $algorithm"
    # A shared secret has no public half.
    [[ -s $place/theirs.pub ]] || cp "$place/theirs.jwk" "$place/theirs.pub"
    "$moqswitch" token generate --algorithm "$algorithm" --kid ours --out "$place/ours.jwk" --public "$place/ours.pub" >/dev/null 2>"$place/err" \
        || "$moqswitch" token generate --algorithm "$algorithm" --kid ours --out "$place/ours.jwk" >/dev/null
    [[ -s $place/ours.pub ]] || cp "$place/ours.jwk" "$place/ours.pub"

    local by other token old foreign now
    now=$(date +%s)
    for by in theirs ours; do
        start_relay "$place/$by.pub"
        other=ours
        [[ $by == theirs ]] || other=theirs
        token=$(sign "$place/$by.jwk" "$((now + 3600))")
        old=$(sign "$place/$by.jwk" "$((now - 60))")
        foreign=$(sign "$place/$other.jwk" "$((now + 3600))")
        holds "$algorithm, key of $by: explained" explained "$place/$by.pub" "$token"
        holds "$algorithm, key of $by: calls go by it" calls "$ROOM" "$token"
        fails "$algorithm, key of $by: elsewhere" calls other/7 "$token"
        fails "$algorithm, key of $by: without a token" calls "$ROOM"
        fails "$algorithm, key of $by: an old one" calls "$ROOM" "$old"
        fails "$algorithm, key of $by: by another key" calls "$ROOM" "$foreign"
        end_relay
    done
    token=$("$moqswitch" token sign --key "$place/ours.jwk" --root "$ROOM" --publish '**' --subscribe '**' --expires-in 1h)
    [[ -n $token ]] || die 2 "no token was signed by $place/ours.jwk"
    holds "$algorithm: jose verifies ours" verified "$algorithm" "$place/ours.pub" "$token"
    fails "$algorithm: jose verifies ours by another key" verified "$algorithm" "$place/theirs.pub" "$token"
}

# Ends the script when there is none: without a token, anything would be refused.
sign() { # key, until when
    local token
    token=$("${moq_token[@]}" sign --key "$1" --root "$ROOM" --publish '' --subscribe '' --expires "$2") || token=''
    [[ -n $token ]] || die 2 "moq-token signs nothing with ${1##*/}"
    echo "$token"
}

explained() { # public key, token
    [[ $("$moqswitch" token explain --auth-key "$1" "$2") == "may publish $ROOM/**; may subscribe $ROOM/**; until "* ]]
}

# A generator that is late on a machine that others use makes the run invalid: whether frames came is asked, not how soon.
calls() { # path, a token or none
    rm -f "$work/call.json"
    "$loadgen" call --calls 1 --duration 2s --warm-up 0s --cool-down 0s --json "$work/call.json" \
        --relay "moql://$relay_address/$1${2:+?jwt=$2}" || true
    node -e '
        const { calls_failed, frames_delivered } = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
        process.exit(calls_failed === 0 && frames_delivered > 0 ? 0 : 1);
    ' "$work/call.json"
}

verified() { # algorithm, public key, token
    (cd "$peer" && node --input-type=module - "$@" <<'END'
import { readFileSync } from "node:fs";
import { importJWK, jwtVerify } from "jose";
const [algorithm, file, token] = process.argv.slice(2);
const key = await importJWK(JSON.parse(readFileSync(file, "utf8")), algorithm);
const { payload } = await jwtVerify(token, key, { algorithms: [algorithm] });
const isAll = (claim) => JSON.stringify(claim) === '[""]';
if (!isAll(payload.put) || !isAll(payload.get) || payload.root !== "room/7") process.exit(1);
if (!(payload.exp > Date.now() / 1000)) process.exit(1);
END
    )
}

holds() { # what, command...
    local what=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        echo "ok      $what"
    else
        failed=1
        echo "FAILED  $what"
        tail -n 5 "$work/out" >&2
    fi
}

fails() { # what, command...
    local what=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        failed=1
        echo "FAILED  $what: it should not"
    else
        echo "ok      $what: refused"
    fi
}

start_relay() { # public key
    : >"$work/relay"
    "$moqswitch" --listen 127.0.0.1:0 --http 127.0.0.1:0 --shards 1 --auth-key "$1" >"$work/relay" 2>"$work/relay.err" </dev/null &
    relay_pid=$!
    local deadline=$((SECONDS + READY_SECONDS_MAX))
    until grep -q ready "$work/relay"; do
        if ! kill -0 "$relay_pid" 2>/dev/null || ((SECONDS >= deadline)); then
            tail -n 5 "$work/relay.err" >&2
            die 2 "the switch does not start"
        fi
        sleep 0.05
    done
    relay_address=$(grep -o 'udp=[^ ]*' "$work/relay" | cut -d= -f2)
}

end_relay() {
    [[ -z $relay_pid ]] || kill -KILL "$relay_pid" 2>/dev/null || true
    [[ -z $relay_pid ]] || wait "$relay_pid" 2>/dev/null || true
    relay_pid=''
}

program() { # name, or the one that was named
    local target=${CARGO_TARGET_DIR:-$root/target} found=$2
    [[ -n $found ]] || for found in "$target/release/$1" "$target/debug/$1"; do
        [[ -x $found ]] && break
    done
    if [[ -z $2 && $target/debug/$1 -nt $found ]]; then found=$target/debug/$1; fi
    [[ -x $found ]] || die 2 "no $1: cargo build --workspace"
    echo "$found"
}

install_peer() {
    command -v npm >/dev/null || die 2 "npm is missing: apt-get install nodejs npm"
    peer=${XDG_CACHE_HOME:-$HOME/.cache}/moqswitch/moq-token-$VERSION
    if [[ ! -r $peer/node_modules/@moq/token/cli.js ]]; then
        mkdir -p "$peer"
        if ! (cd "$peer" && npm install --no-audit --no-fund --no-save --prefix . "@moq/token@$VERSION") >&2; then
            rm -rf "$peer"
            die 2 "@moq/token $VERSION cannot be installed"
        fi
    fi
    moq_token=(node "$peer/node_modules/@moq/token/cli.js")
}

end() {
    end_relay
    rm -rf "$work"
}

die() { # status, text
    echo "${0##*/}: $2" >&2
    exit "$1"
}

main "$@"
