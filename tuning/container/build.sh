#!/usr/bin/env bash
# Makes an image of the relay without any registry: a minimal Debian by debootstrap, and the package of tuning/package.sh.
#
#   tuning/container/build.sh [--archive FILE] [PACKAGE.deb]      (default: target/package/*.deb)
#
#   --archive FILE   also write the image there, for `docker load` or `podman load`
#
#   IMAGE            name of the image                            (default: localhost/moqswitch)
#   ROOTFS           a folder made by tuning/rootfs.sh, which saves two minutes
#
# Needs root and buildah. Exit status: 0 made, 2 cannot.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
deb='' archive='' work='' container=''

main() {
    while (($#)); do
        case $1 in
        --archive) archive=$(realpath -m "${2:?--archive needs a file}"); shift ;;
        -h | --help) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; exit 0 ;;
        -*) die "unknown argument '$1' (--help shows all)" ;;
        *) deb=$(realpath "$1") ;;
        esac
        shift
    done
    [[ $deb ]] || deb=$(compgen -G "$root/target/package/*.deb") || die "there is no package: tuning/package.sh"
    ((EUID == 0)) || die "needs root"
    command -v buildah >/dev/null || die "buildah is missing: apt-get install buildah"
    # Mounts of a namespace end with it.
    [[ ${IN_NAMESPACE:-} ]] || IN_NAMESPACE=1 exec unshare --mount --propagation private "$0" ${archive:+--archive "$archive"} "$deb"

    work=$(mktemp -d -t moqswitch-image.XXXXXX)
    trap finish EXIT
    "$root/tuning/rootfs.sh" "$work/system"
    fill
    umount "$work/system/proc"
    local image=${IMAGE:-localhost/moqswitch}
    container=$(buildah from scratch)
    buildah copy --quiet "$container" "$work/system" / >/dev/null
    buildah config --user moqswitch --port 4443/udp --port 4443/tcp --stop-signal SIGTERM \
        --entrypoint '["/usr/bin/moqswitch"]' --cmd '--config /etc/moqswitch/moqswitch.toml' \
        --label org.opencontainers.image.title=moqswitch \
        --label org.opencontainers.image.version="$(dpkg-deb -f "$deb" Version)" \
        --label org.opencontainers.image.licenses="MIT OR Apache-2.0" "$container"
    buildah commit --quiet "$container" "$image" >/dev/null
    [[ ! $archive ]] || buildah push --quiet "$image" "docker-archive:$archive:$image"
    echo "$image"
}

# The package and what it depends on; no systemd, only what makes the user.
fill() {
    local system=$work/system
    mount -t proc proc "$system/proc"
    cp "$deb" "$system/tmp/moqswitch.deb"
    inside apt-get update -qq
    inside apt-get install -y -qq --no-install-recommends systemd-standalone-sysusers /tmp/moqswitch.deb >/dev/null
    inside apt-get clean
    rm -rf "$system"/tmp/* "$system"/var/lib/apt/lists/* "$system"/var/cache/apt/* "$system"/var/log/*
    # Of the machine that the image is made on.
    echo "deb http://deb.debian.org/debian bookworm main" >"$system/etc/apt/sources.list"
    rm -f "$system/etc/resolv.conf" "$system/etc/hosts" "$system/etc/hostname"
}

inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive HOME=/root chroot "$work/system" "$@"
}

finish() {
    [[ ! $container ]] || buildah rm "$container" >/dev/null
    ! mountpoint -q "$work/system/proc" || umount "$work/system/proc"
    rm -rf --one-file-system "$work"
}

die() {
    echo "build: $1" >&2
    exit 2
}

main "$@"
