#!/usr/bin/env bash
# A real Asterisk and a switch: calls both ways by AudioSocket and chan_websocket, in several formats, keys, ends.
#
#   tests/asterisk.sh [DIRECTORY]
#
# DIRECTORY is where Asterisk is, or is put: Debian's unstable suite, about 500 MB, from $DEBIAN_MIRROR (default
# http://deb.debian.org/debian). By default target/asterisk. It needs root (chroot) and debootstrap. Exit status 2: it
# cannot be had here, for the reason that is said. Traffic stays on loopback.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "skipped: $1"
    exit 2
}

root=${1:-target/asterisk}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
[ "$(id -u)" = 0 ] || skip "chroot needs root"
if [ ! -x "$root/usr/sbin/asterisk" ]; then
    command -v debootstrap >/dev/null || skip "debootstrap is not installed (apt-get install debootstrap)"
    mkdir -p "$(dirname "$root")"
    log="$root.log"
    debootstrap --variant=minbase --include=asterisk,ca-certificates sid "$root" "$mirror" >"$log" 2>&1 ||
        skip "debootstrap of Debian's unstable suite from $mirror failed: $(tail -n 1 "$log")"
fi
for module in chan_websocket chan_audiosocket; do
    compgen -G "$root/usr/lib/*/asterisk/modules/$module.so" >/dev/null || skip "this Asterisk has no $module"
done
version=$(chroot "$root" asterisk -V 2>/dev/null) || skip "Asterisk does not run in $root"
echo "$version"
ASTERISK_ROOT=$(realpath "$root") cargo test --workspace --test asterisk real -- --ignored --nocapture
