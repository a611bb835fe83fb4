#!/usr/bin/env bash
# Builds the Debian package of relay and load generator, a bill of materials (CycloneDX) for each, and their checksums, in
# target/package. The same commit, compiler and Debian give the same bytes, in whatever folder.
#
#   tuning/package.sh [--no-build] [--verify]
#
#   --no-build    of the programs in target/release as they are, to try out the packaging: not reproducible
#   --verify      builds once more from a clone in another folder and compares; the work tree has to be committed.
#                 Two builds from scratch: half an hour on two cores
#
# Installs cargo-deb and cargo-cyclonedx into a cache when they are missing, five minutes on two cores. The last line names
# the package. Exit status: 0 built, 1 the two differ, 2 cannot.
set -euo pipefail

readonly CARGO_DEB=3.8.0 CARGO_CYCLONEDX=0.5.9
# What stands in the programs for the folders they were built in.
readonly SOURCE_NAME=/usr/src/moqswitch CRATES_NAME=/usr/src/crates

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=${XDG_CACHE_HOME:-$HOME/.cache}/moqswitch/tools
out=$root/target/package
stage=$out/stage
build=1 verify=0 work=''

main() {
    while (($#)); do
        case $1 in
        --no-build) build=0 ;;
        --verify) verify=1 ;;
        -h | --help) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; exit 0 ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
        shift
    done
    ((build || !verify)) || die 2 "--verify needs builds"
    ((!verify)) || [[ -z $(git -C "$root" status --porcelain) ]] || die 2 "--verify: the work tree has changes that are not committed"
    cd "$root"
    local name
    for name in jq strip dpkg-shlibdeps; do
        command -v "$name" >/dev/null || die 2 "$name is missing: apt-get install jq binutils dpkg-dev"
    done
    need_tool cargo-deb "$CARGO_DEB"
    need_tool cargo-cyclonedx "$CARGO_CYCLONEDX"

    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
    export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
    umask 022
    rm -rf "$stage"
    mkdir -p "$stage"/{man,completions,doc}
    export CARGO_TARGET_DIR=$out/build
    if ((build)); then build_programs; else CARGO_TARGET_DIR=$root/target; fi
    local programs=$CARGO_TARGET_DIR/release
    for name in moqswitch loadgen; do
        [[ -x $programs/$name ]] || die 2 "there is no $programs/$name: cargo build --release --workspace"
        completions "$programs/$name"
        manuals "$programs/$name"
    done
    # Every setting as a comment: what is not set follows the defaults of later versions.
    "$programs/moqswitch" config | sed -E 's/^([a-z_]+ = )/# \1/' >"$stage/moqswitch.toml"
    changelog >"$stage/changelog"
    licences >"$stage/doc/third-party-licences.txt"
    gzip -9n "$stage/doc/third-party-licences.txt"
    bills
    package
    ((!verify)) || compare
    echo "$deb"
}

need_tool() { # name, version
    [[ $("$tools/bin/$1" "${1#cargo-}" --version 2>/dev/null) == *" $2" ]] && return
    echo "installing $1 $2 into $tools" >&2
    # Not optimised: that takes half as long to build, and what it does here is little.
    env -u CARGO_TARGET_DIR cargo install --quiet --debug --locked --root "$tools" "$1@$2" >&2 || die 2 "cannot install $1"
}

build_programs() {
    cargo fetch --quiet --locked
    local flags="--remap-path-prefix=$root=$SOURCE_NAME" c_flags="-ffile-prefix-map=$root=$SOURCE_NAME" crates
    for crates in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
        flags+=" --remap-path-prefix=$crates=$CRATES_NAME"
        c_flags+=" -ffile-prefix-map=$crates=$CRATES_NAME"
    done
    RUSTFLAGS=$flags CFLAGS=$c_flags CXXFLAGS=$c_flags cargo build --release --locked -p moqswitch -p loadgen --bins >&2
}

completions() { # program
    local name=${1##*/}
    "$1" completions bash >"$stage/completions/$name.bash"
    "$1" completions zsh >"$stage/completions/_$name"
    "$1" completions fish >"$stage/completions/$name.fish"
}

# One of the program, one of each of its commands.
manuals() { # program
    local name=${1##*/} command
    "$1" man >"$stage/man/$name.1"
    while read -r command; do
        "$1" man "$command" >"$stage/man/$name-$command.1"
    done < <(sed -nE "s/^$name\\\\-(.*)\(1\)\$/\1/p" "$stage/man/$name.1" | sed 's/\\-/-/g')
}

changelog() {
    local version
    version=$(cargo metadata --locked --no-deps --format-version 1 | jq -r '.packages[] | select(.name == "moqswitch").version')
    printf 'moqswitch (%s-1) unstable; urgency=medium\n\n  * See CHANGELOG.md; built from commit %s.\n\n -- %s  %s\n' \
        "$version" "$(git describe --always --abbrev=12 --exclude='*' --dirty)" "The moqswitch authors <moqswitch@localhost>" \
        "$(date -R -d "@$SOURCE_DATE_EPOCH")"
}

# The texts that licences want passed on, of every crate that is in one of the programs.
licences() {
    local name version licence manifest file directory
    while IFS=$'\t' read -r name version licence manifest; do
        directory=${manifest%/*}
        printf '%s\n%s %s: %s\nhttps://crates.io/crates/%s/%s\n\n' \
            "================================================================" "$name" "$version" "$licence" "$name" "$version"
        while read -r file; do
            printf -- '---- %s\n\n' "${file#"$directory"/}"
            cat "$file"
            echo
        done < <(find "$directory" -maxdepth 3 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) \
            ! -name '*.rs' ! -name '*.html' | sort)
    done < <(join -t $'\t' <(linked_crates) <(all_crates) | sed 's/ /\t/')
}

# "NAME VERSION" of each.
linked_crates() {
    cargo tree --locked -p moqswitch -p loadgen -e normal --prefix none --no-dedupe --format '{p}' |
        awk 'NF { sub(/^v/, "", $2); print $1 " " $2 }' | sort -u
}

# The same with licence and manifest, by tabs; without what is of this repository.
all_crates() {
    cargo metadata --locked --format-version 1 |
        jq -r '.packages[] | select(.source) | [.name + " " + .version, .license // "see below", .manifest_path] | @tsv' | sort
}

# cargo-cyclonedx writes beside each manifest, and puts the folder into names.
bills() {
    local name file
    "$tools/bin/cargo-cyclonedx" cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps --target all \
        --override-filename moqswitch-bill
    for name in moqswitch:. loadgen:loadgen; do
        file=${name#*:}/moqswitch-bill.json
        jq --arg root "file://$root" --arg name "file://$SOURCE_NAME" \
            'walk(if type == "string" then split($root) | join($name) else . end) | del(.serialNumber)' \
            "$file" >"$stage/doc/${name%:*}.cdx.json"
    done
    find . -name moqswitch-bill.json -not -path './target/*' -delete
}

package() {
    rm -f "$out"/*.deb "$out"/*.cdx.json "$out/SHA256SUMS"
    deb=$("$tools/bin/cargo-deb" deb --quiet --no-build --strip --compress-system --locked --deb-revision 1 --output "$out/") || die 2 "cargo-deb failed"
    deb=$(compgen -G "$out/*.deb") || die 2 "cargo-deb made no package"
    cp "$stage"/doc/*.cdx.json "$out/"
    (cd "$out" && sha256sum -- *.deb *.cdx.json >SHA256SUMS)
}

compare() {
    work=$(mktemp -d -t moqswitch-package.XXXXXX)
    git clone -q --no-hardlinks "$root" "$work/another-folder"
    env -u CARGO_TARGET_DIR "$work/another-folder/tuning/package.sh" >/dev/null
    cmp "$out/SHA256SUMS" "$work/another-folder/target/package/SHA256SUMS" || {
        diff "$out/SHA256SUMS" "$work/another-folder/target/package/SHA256SUMS" >&2 || true
        die 1 "the two builds differ; the second is in $work"
    }
    echo "two builds in two folders gave the same bytes" >&2
    rm -rf "$work"
}

die() { # status, what
    echo "package: $2" >&2
    exit "$1"
}

main "$@"
