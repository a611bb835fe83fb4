# shellcheck shell=bash disable=SC2034,SC2154 # what lab.sh sets is used here, and what is set here by those who source it
# moq-relay in the place of moqswitch: for scripts that run both under the same load. Source it behind lab.sh.

readonly PEER_VERSION=0.17.10
readonly MODE_NAMES=(tokio workers-1 io-uring)
declare -rA MODES=(
    [tokio]=""
    [workers-1]="--runtime-workers 1"
    [io-uring]="--runtime-workers 1 --runtime-io-uring"
)

# Leaves its path in `peer`: the one that was named, or that of crates.io, installed once.
find_peer() { # program, or nothing
    peer=$1
    if [[ -z $peer ]]; then
        install_crate peers moq-relay "$PEER_VERSION" moq-relay --features io-uring \
            || die 2 "cannot install moq-relay $PEER_VERSION, see above; MOQ_RELAY names one that was built otherwise"
        peer=$installed
    fi
    [[ -x $peer ]] || die 2 "MOQ_RELAY=$peer is not a program"
}

# Fails when it does not come up. Needs `make_certificate` once before.
launch_peer() { # mode
    local flags
    read -ra flags <<<"${MODES[$1]}"
    launch_relay "$peer" --listen 127.0.0.1:0 --auth-public '**' --log-level warn \
        --listen-tls-cert "$work/certificate.pem" --listen-tls-key "$work/key.pem" "${flags[@]}"
    await_relay find_peer_address
}

# The one or the other, the latter in the mode that was chosen (`mode`).
launch_either() { # moqswitch or moq-relay
    if [[ $1 == moqswitch ]]; then launch_moqswitch "$moqswitch"; else launch_peer "$mode"; fi
}

# It does not say which port it was given: that of its UDP socket on 127.0.0.1.
find_peer_address() {
    local sockets port
    sockets=$(readlink "/proc/$relay_pid/fd/"* 2>/dev/null | sed -n 's/^socket:\[\(.*\)\]$/\1/p')
    port=$(awk -v sockets="$sockets" '
        BEGIN { split(sockets, list, "\n"); for (i in list) is_own[list[i]] = 1 }
        is_own[$10] && sub(/^0100007F:/, "", $2) { print $2; exit }' /proc/net/udp)
    [[ -n $port ]] && relay_address=127.0.0.1:$((16#$port))
}

# For this run only. Made here because some of its modes do not make one themselves.
make_certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -keyout "$work/key.pem" -out "$work/certificate.pem" 2>"$work/openssl.err" \
        || die 2 "openssl makes no certificate: $(tail -n 1 "$work/openssl.err")"
}

last_line() { # output file
    local line
    line=$(cat "$1" "$1.err" | grep . | tail -n 1 | cut -c 1-200) || line="it said nothing"
    echo "$line"
}
