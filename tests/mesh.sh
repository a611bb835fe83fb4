#!/usr/bin/env bash
# Several relays as one mesh, of moqswitch and of moq-relay 0.17.10: publish and hear at each, nodes that are killed and that
# drain, links that are cut. Says for how long a call heard nothing.
#
#   tests/mesh.sh
#
#   MOQ_RELAY       the moq-relay to test with      (default: installed from crates.io into a cache, once)
#
# Nodes are on loopback, in a network namespace of their own: as root, or with unshare's --map-root-user. Needs iptables.
# Five minutes, beside what is built and installed. Exit status: 0 all holds, 1 something does not, 2 cannot run.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly PEER_VERSION=0.17.10

main() {
    case ${1:-} in
    '') ;;
    -h | --help) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; exit 0 ;;
    *) die "unknown argument '$1' (--help shows all)" ;;
    esac
    command -v iptables >/dev/null || die "iptables is missing"
    local peer=${MOQ_RELAY:-}
    [[ -n $peer ]] || peer=$(install_peer)
    [[ -x $peer ]] || die "MOQ_RELAY=$peer is not a program"
    cd "$root"
    cargo build --workspace --bins >&2 || die "cannot build"
    local tests
    tests=$(cargo test --workspace --test peers --no-run --message-format json |
        sed -n 's/.*"executable":"\([^"]*peers-[^"]*\)".*/\1/p' | tail -1)
    [[ -x $tests ]] || die "the tests were not built"
    cd tests/interop
    local user=()
    ((EUID == 0)) || user=(--map-root-user)
    # The tests of one program run one after the other: their nodes are many.
    MOQSWITCH_INTEROP_PEER=$peer unshare "${user[@]}" --net sh -c \
        'ip link set lo up && exec "$1" mesh --include-ignored --nocapture --test-threads 1' sh "$tests" || exit 1
}

# The same that perf/peer.sh installs, in the same place.
install_peer() {
    local directory=${XDG_CACHE_HOME:-$HOME/.cache}/moqswitch/peers/moq-relay-$PEER_VERSION
    if [[ ! -x $directory/bin/moq-relay ]]; then
        local command=(env -u CARGO_TARGET_DIR cargo install moq-relay --version "$PEER_VERSION" --features io-uring --root "$directory")
        # A registry that mirrors crates.io need not have every version that is locked.
        "${command[@]}" --locked >&2 || "${command[@]}" >&2 || die "cannot install moq-relay"
    fi
    echo "$directory/bin/moq-relay"
}

die() {
    echo "mesh.sh: $1" >&2
    exit 2
}

main "$@"
