#!/usr/bin/env bash
# The Debian package on a Debian 12 of its own: installed, checked, run as its user with calls through it, purged, and
# nothing left. All in a folder made by debootstrap; nothing of this machine is changed.
#
#   tests/package.sh [PACKAGE.deb]        (default: that of tuning/package.sh, target/package/*.deb)
#
#   KEEP             keep the folder                (default: only on failure)
#   ROOTFS           a folder made by tuning/rootfs.sh, which saves two minutes
#
# Needs root and curl, and installs debootstrap when it is missing. Traffic is on loopback only. Exit status: 0 all holds, 1
# something does not, 2 cannot run.
set -euo pipefail

readonly WAIT_SECONDS=20
# Below those that the kernel gives out by itself, so that none takes one between choice and use.
readonly PORT_MIN=20000
readonly PORT_MAX=32000
readonly SYSTEM_PATH=/usr/sbin:/usr/bin:/sbin:/bin
readonly CONFIGURATION=/etc/moqswitch/moqswitch.toml

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deb='' work='' system='' relay_pid='' port='' at=''

main() {
    case ${1:-} in
        -h | --help) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; exit 0 ;;
        '') deb=$(compgen -G "$root/target/package/*.deb") || die 2 "there is no package: tuning/package.sh" ;;
        *) deb=$(realpath "$1") ;;
    esac
    [[ -f $deb ]] || die 2 "there is no $deb"
    ((EUID == 0)) || die 2 "needs root"
    command -v curl >/dev/null || die 2 "curl is missing: apt-get install curl"
    # Mounts of a namespace end with it.
    [[ ${IN_NAMESPACE:-} ]] || IN_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$deb"

    work=$(mktemp -d -t moqswitch-package-test.XXXXXX)
    system=$work/system
    chmod 755 "$work"
    exec 3>&1
    trap finish EXIT
    step "a fresh Debian" "$root/tuning/rootfs.sh" "$system"
    mount -t proc proc "$system/proc"
    mount --bind /sys "$system/sys"
    cp "$deb" "$system/tmp/moqswitch.deb"
    step "what the package depends on" depends
    snapshot >"$work/before"
    step "install" inside apt-get install -y -qq /tmp/moqswitch.deb
    step "the user is there, and may not log in" user_is_there
    step "the unit is one that systemd takes" inside systemd-analyze verify --man=no /usr/lib/systemd/system/moqswitch.service
    step "the unit is enabled, that of the tuning is not" enabled
    step "manual pages, completions, licences" documents
    step "the configuration is valid, and sets nothing" configuration
    step "the relay starts as user moqswitch" start
    step "calls through it" calls
    step "the relay ends when it is told to" stop
    step "removing it keeps the configuration" removed
    step "purge" inside apt-get purge -y -qq moqswitch
    rm "$system/tmp/moqswitch.deb"
    snapshot >"$work/after"
    step "nothing is left" diff -u "$work/before" "$work/after"
    echo "the package holds"
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

inside() {
    env -i PATH="$SYSTEM_PATH" LC_ALL=C DEBIAN_FRONTEND=noninteractive HOME=/root chroot "$system" "$@"
}

as_user() { # user, command...
    local user=$1
    shift
    env -i PATH="$SYSTEM_PATH" LC_ALL=C chroot --userspec="$user" "$system" "$@"
}

depends() {
    inside apt-get update -qq
    inside apt-get satisfy -y -qq --no-install-recommends "$(dpkg-deb -f "$deb" Depends)"
}

# Files, and who is a user; without what apt and dpkg write down about every package, and what ends with a boot.
snapshot() {
    (cd "$system" && find . -xdev \( -path ./proc -o -path ./sys -o -path ./run -o -path ./tmp -o -path ./var/lib/dpkg -o -path ./var/lib/apt \
        -o -path ./var/cache -o -path ./var/log \) -prune -o -print | sort)
    sort "$system/etc/passwd" "$system/etc/group"
}

user_is_there() {
    [[ $(inside getent passwd moqswitch) == moqswitch:*:/usr/sbin/nologin ]]
}

enabled() {
    # `systemctl cat` wants a systemd that runs.
    inside systemd-analyze cat-config systemd/system/moqswitch.service >"$work/unit"
    grep -x 'ExecStart=moqswitch --config /etc/moqswitch/moqswitch.toml' "$work/unit"
    [[ $(inside systemctl --root=/ is-enabled moqswitch) == enabled ]]
    # Exits with 1 for a unit that is not.
    [[ $(inside systemctl --root=/ is-enabled moqswitch-tuning || true) == disabled ]]
}

documents() {
    local file
    for file in man/man1/{moqswitch,moqswitch-check,loadgen,loadgen-call}.1.gz doc/moqswitch/{copyright,third-party-licences.txt.gz} \
        bash-completion/completions/moqswitch.bash zsh/vendor-completions/_moqswitch fish/vendor_completions.d/moqswitch.fish; do
        [[ -s $system/usr/share/$file ]] || { echo "there is no $file"; return 1; }
    done
    for file in README.md OPERATING.md signalling.md mediaswitch.md phone.md asterisk.md loadgen.md tuning.md; do
        # dpkg-deb may have compressed it.
        [[ -s $system/usr/share/doc/moqswitch/$file || -s $system/usr/share/doc/moqswitch/$file.gz ]] || { echo "there is no $file"; return 1; }
    done
    gzip -dc "$system/usr/share/man/man1/moqswitch.1.gz" | grep 'auth.*public' >/dev/null
    bash -n "$system/usr/share/bash-completion/completions/moqswitch.bash"
}

configuration() {
    ! grep -Ev '^(#|\[|$)' "$system$CONFIGURATION" || return 1
    inside cat /var/lib/dpkg/info/moqswitch.conffiles | grep -x "$CONFIGURATION"
    as_user moqswitch:moqswitch moqswitch check --config "$CONFIGURATION" --json >"$work/check" || true
    tr -d ' \n' <"$work/check" | grep '"name":"configuration","status":"pass"' || { cat "$work/check"; return 1; }
}

start() {
    choose_port
    # Not by the function: the process that is then known would be a shell.
    env -i PATH="$SYSTEM_PATH" LC_ALL=C chroot --userspec=moqswitch:moqswitch "$system" \
        moqswitch --config "$CONFIGURATION" --listen "127.0.0.1:$port" --shards 1 </dev/null >"$work/relay.log" 2>&1 3>&- &
    relay_pid=$!
    local deadline=$((SECONDS + WAIT_SECONDS))
    until curl -sf "http://127.0.0.1:$port/readyz" -o /dev/null; do
        if ! kill -0 "$relay_pid" 2>/dev/null || ((SECONDS > deadline)); then
            cat "$work/relay.log"
            return 1
        fi
        read -r -t 0.1 <> <(:) || true
    done
    [[ $(stat -c %u "/proc/$relay_pid") == $(inside id -u moqswitch) ]]
}

# Status 3 says that this machine was too busy for figures; the calls were made all the same.
calls() {
    local status=0
    as_user nobody:nogroup loadgen call --calls 2 --duration 5s --relay "moql://127.0.0.1:$port/" || status=$?
    ((status == 0 || status == 3)) || return 1
    curl -sf "http://127.0.0.1:$((port + 1))/metrics" >"$work/metrics"
    awk '/^moqswitch_frames.*_total/ { frames += $NF } END { exit !(frames > 500) }' "$work/metrics" || { grep -i frames "$work/metrics"; return 1; }
}

stop() {
    kill -TERM "$relay_pid"
    wait "$relay_pid"
    relay_pid=''
}

removed() {
    inside apt-get remove -y -qq moqswitch
    [[ ! -e $system/usr/bin/moqswitch && -e $system$CONFIGURATION ]]
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
    local status=$?
    exec >&3 2>&1
    if [[ $at ]]; then
        echo "FAIL  $at"
        tail -n 30 "$work/log" | sed 's/^/      /'
        status=1
    fi
    [[ ! $relay_pid ]] || kill -KILL "$relay_pid" 2>/dev/null || true
    if [[ ${KEEP:-} ]] || ((status)); then
        echo "the folder is $work"
    else
        umount "$system/proc" "$system/sys"
        rm -rf --one-file-system "$work"
    fi
    exit "$status"
}

die() { # status, what
    echo "package: $2" >&2
    exit "$1"
}

main "$@"
