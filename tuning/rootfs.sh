#!/usr/bin/env bash
# Makes a minimal Debian 12 in a folder, with debootstrap, from the mirror that this machine's apt uses. For tests/package.sh
# and tuning/container/build.sh.
#
#   tuning/rootfs.sh FOLDER
#
#   ROOTFS        a folder that this made earlier, to be copied instead
#
# Needs root. Installs debootstrap when it is missing. Exit status: 0 made, 2 cannot.
set -euo pipefail

readonly SUITE=bookworm

main() {
    [[ $# == 1 && $1 != -* ]] || { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; exit 2; }
    ((EUID == 0)) || die "needs root"
    if [[ ${ROOTFS:-} ]]; then
        cp -a "$ROOTFS" "$1"
        return
    fi
    if ! command -v debootstrap >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >/dev/null || die "cannot install debootstrap"
    fi
    local mirror
    mirror=$(mirror)
    [[ $mirror ]] || die "apt has no mirror for $SUITE"
    debootstrap --variant=minbase "$SUITE" "$1" "$mirror" >"$1.log" 2>&1 || die "debootstrap failed, see $1.log"
    rm "$1.log"
    # In the lists of this machine there may be others, which are not Debian's.
    echo "deb $mirror $SUITE main" >"$1/etc/apt/sources.list"
    cp /etc/resolv.conf "$1/etc/resolv.conf"
    cp /etc/hosts "$1/etc/hosts"
}

# Of lists in either form that apt has, the first that is for all of the suite.
mirror() {
    find /etc/apt -maxdepth 2 \( -name '*.list' -o -name '*.sources' \) | sort | xargs -r cat |
        awk -v suite="$SUITE" '
            $1 == "deb" { for (i = 2; i < NF; i++) if ($i ~ /^https?:/ && $(i + 1) == suite) found = found ? found : $i }
            $1 == "URIs:" { uri = $2 }
            $1 == "Suites:" { for (i = 2; i <= NF; i++) if ($i == suite && uri) found = found ? found : uri }
            /^$/ { uri = "" }
            END { print found }'
}

die() {
    echo "rootfs: $1" >&2
    exit 2
}

main "$@"
