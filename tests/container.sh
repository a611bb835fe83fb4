#!/usr/bin/env bash
# The image of tuning/container/build.sh under its seccomp profile: `moqswitch check` finds io_uring permitted, a relay runs as a
# user that is not root, calls go through it. Under the profile without its first rule the relay says what to change.
#
#   tests/container.sh [PACKAGE.deb]      (default: that of tuning/package.sh, target/package/*.deb)
#
#   KEEP                keep the folder              (default: only on failure)
#   ROOTFS              a folder made by tuning/rootfs.sh, which saves two minutes
#   BUILDAH_ISOLATION   oci or chroot                (default: oci where that works, as it needs crun or runc)
#
# Needs root, buildah, curl and jq. Images and containers are in a folder of its own; traffic is on loopback only. Exit status: 0
# all holds, 1 something does not, 2 cannot run.
set -euo pipefail

readonly WAIT_SECONDS=30
# Below those that the kernel gives out by itself, so that none takes one between choice and use.
readonly PORT_MIN=20000
readonly PORT_MAX=32000
readonly TAG=localhost/moqswitch-test

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deb='' work='' port='' at='' run_pid='' limits=()

main() {
    case ${1:-} in
        -h | --help) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; exit 0 ;;
        '') deb=$(compgen -G "$root/target/package/*.deb") || die "there is no package: tuning/package.sh" ;;
        *) deb=$(realpath "$1") ;;
    esac
    [[ -f $deb ]] || die "there is no $deb"
    ((EUID == 0)) || die "needs root"
    local tool
    for tool in buildah curl jq; do command -v "$tool" >/dev/null || die "$tool is missing: apt-get install $tool"; done
    # Mounts of a namespace end with it.
    [[ ${IN_NAMESPACE:-} ]] || IN_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$deb"

    work=$(mktemp -d -t moqswitch-container-test.XXXXXX)
    exec 3>&1
    trap finish EXIT
    own_storage
    choose_limits
    IMAGE=$TAG "$root/tuning/container/build.sh" "$deb" >"$work/log" 2>&1 || die "no image: $(tail -n 1 "$work/log")"
    step "the image has the relay as its entry" entry
    container=$(buildah from "${limits[@]}" --security-opt "seccomp=$root/tuning/container/seccomp.json" "$TAG")
    choose_isolation
    step "a filter is in force, and the user is not root" confined
    step "\`moqswitch check\` has nothing against it" checked
    step "the relay starts" start
    step "calls through it" calls
    step "the relay ends when it is told to" stop
    step "without the rule of the profile it says what to change" refused
    echo "the container holds (isolation by $BUILDAH_ISOLATION)"
}

# step NAME COMMAND...: a line for it. When it fails, `finish` says so.
step() {
    local before=$SECONDS
    at=$1
    shift
    # Not in an `if`, in which bash would go on after what fails inside of a function.
    "$@" >"$work/log" 2>&1
    echo "ok    $at ($((SECONDS - before)) s)"
    at=''
}

# Nothing of what this machine has of images and containers is touched.
own_storage() {
    cat >"$work/storage.conf" <<EOF
[storage]
driver = "vfs"
graphroot = "$work/storage"
runroot = "$work/run"
EOF
    export CONTAINERS_STORAGE_CONF=$work/storage.conf
}

# Those of tuning/container/README.md, where this machine lets anybody raise them.
choose_limits() {
    ! (ulimit -l unlimited) 2>/dev/null || limits+=(--ulimit memlock=-1:-1)
    ! (ulimit -n 65536) 2>/dev/null || limits+=(--ulimit nofile=65536:65536)
}

# With a runtime of its own a container is closer to what docker and podman make; not every machine lets one run.
choose_isolation() {
    local isolation
    for isolation in ${BUILDAH_ISOLATION:-oci chroot}; do
        export BUILDAH_ISOLATION=$isolation
        ! inside true >"$work/log.$isolation" 2>&1 || return 0
    done
    die "no container runs here: $(cat "$work"/log.*)"
}

inside() {
    buildah run --network host "$container" -- "$@"
}

entry() {
    buildah inspect --type image "$TAG" | jq -e '.OCIv1.config | .Entrypoint == ["/usr/bin/moqswitch"] and .User == "moqswitch"'
}

confined() {
    [[ $(inside id -un) == moqswitch ]]
    inside grep -x 'Seccomp:[[:space:]]2' /proc/self/status
}

checked() {
    inside moqswitch check --config /etc/moqswitch/moqswitch.toml --json >"$work/check" || true
    jq -e '.checks | map(select(.status == "fail")) | length == 0' "$work/check" || { cat "$work/check"; return 1; }
    jq -e '.checks[] | select(.name == "io_uring") | .status == "pass"' "$work/check"
}

start() {
    choose_port
    buildah run --network host "$container" -- moqswitch --config /etc/moqswitch/moqswitch.toml --listen "127.0.0.1:$port" --shards 1 \
        </dev/null >"$work/relay.log" 2>&1 3>&- &
    run_pid=$!
    local deadline=$((SECONDS + WAIT_SECONDS))
    until curl -sf "http://127.0.0.1:$port/readyz" -o /dev/null; do
        if ! kill -0 "$run_pid" 2>/dev/null || ((SECONDS > deadline)); then
            cat "$work/relay.log"
            return 1
        fi
        read -r -t 0.1 <> <(:) || true
    done
}

# Status 3 says that this machine was too busy for figures; the calls were made all the same.
calls() {
    local status=0
    inside loadgen call --calls 2 --duration 5s --relay "moql://127.0.0.1:$port/" || status=$?
    ((status == 0 || status == 3)) || return 1
    curl -sf "http://127.0.0.1:$((port + 1))/metrics" >"$work/metrics"
    awk '/^moqswitch_frames.*_total/ { frames += $NF } END { exit !(frames > 500) }' "$work/metrics" || { grep -i frames "$work/metrics"; return 1; }
}

stop() {
    local relay
    relay=$(relay_below "$run_pid")
    [[ $relay && $(stat -c %u "/proc/$relay") != 0 ]]
    kill -TERM "$relay"
    wait "$run_pid"
    run_pid=''
}

# The relay among a process's children and theirs.
relay_below() {
    local child
    for child in $(ps -o pid= --ppid "$1"); do
        if [[ $(cat "/proc/$child/comm" 2>/dev/null) == moqswitch ]]; then
            echo "$child"
            return
        fi
        relay_below "$child"
    done
}

refused() {
    jq 'del(.syscalls[0])' "$root/tuning/container/seccomp.json" >"$work/without.json"
    local other status=0
    other=$(buildah from "${limits[@]}" --security-opt "seccomp=$work/without.json" "$TAG")
    buildah run --network host "$other" -- moqswitch --listen 127.0.0.1:0 >"$work/refused" 2>&1 || status=$?
    cat "$work/refused"
    ((status == 1))
    grep 'io_uring' "$work/refused" | grep 'permit io_uring_setup'
}

choose_port() {
    local taken
    taken=" $(awk '{ print $2 }' /proc/net/udp /proc/net/udp6 /proc/net/tcp /proc/net/tcp6 | cut -d: -f2 | tr '\n' ' ') "
    for ((port = PORT_MIN + RANDOM % (PORT_MAX - PORT_MIN); port < PORT_MAX; port++)); do
        [[ $taken == *" $(printf '%04X' "$port") "* || $taken == *" $(printf '%04X' "$((port + 1))") "* ]] || return 0
    done
    return 1
}

finish() {
    local status=$? relay
    exec >&3 2>&1
    if [[ $at ]]; then
        echo "FAIL  $at"
        tail -n 30 "$work/log" | sed 's/^/      /'
        status=1
    fi
    if [[ $run_pid ]]; then
        relay=$(relay_below "$run_pid" || true)
        [[ ! $relay ]] || kill -KILL "$relay" 2>/dev/null || true
        wait "$run_pid" 2>/dev/null || true
    fi
    if [[ ${KEEP:-} ]] || ((status == 1)); then
        echo "the folder is $work"
    else
        buildah rm --all >/dev/null 2>&1 || true
        rm -rf --one-file-system "$work"
    fi
    exit "$status"
}

die() {
    echo "container: $1" >&2
    exit 2
}

main "$@"
