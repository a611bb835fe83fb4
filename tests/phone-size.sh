#!/usr/bin/env bash
# What the web phone loads before a call can be made, in bytes after gzip -9, and its limit. Also whether src/phone/dist is what
# src/phone makes, and whether its types hold.
#
#   tests/phone-size.sh [--no-build]
#
#   --no-build       sizes alone: needs neither node nor npm
#
# Exit status: 0 all is well, 1 it is not, 2 cannot run.
set -euo pipefail

readonly BYTES_MAX=10240
# The page, its style, its script with the client for media in it, and what runs on the audio thread.
readonly FIRST=(index.html phone.css phone.js worklet.js)

phone=$(cd "$(dirname "${BASH_SOURCE[0]}")/../src/phone" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/moqswitch
work=''
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

main() {
    case ${1:-} in
    '') check_build ;;
    --no-build) ;;
    *) awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0" >&2; exit 2 ;;
    esac
    local name bytes total=0
    for name in "${FIRST[@]}"; do
        bytes=$(gzip -9 <"$phone/dist/$name" | wc -c)
        total=$((total + bytes))
        printf '%-16s %6d\n' "$name" "$bytes"
    done
    printf '%-16s %6d of %d\n' 'before a call' "$total" "$BYTES_MAX"
    for name in "$phone"/dist/*; do
        name=$(basename "$name")
        [[ " ${FIRST[*]} " == *" $name "* ]] || printf '%-16s %6d, later\n' "$name" "$(gzip -9 <"$phone/dist/$name" | wc -c)"
    done
    ((total <= BYTES_MAX)) || { echo "too large by $((total - BYTES_MAX)) bytes" >&2; exit 1; }
}

check_build() {
    command -v npm >/dev/null || { echo "npm is missing: apt-get install nodejs npm, or --no-build" >&2; exit 2; }
    local hash modules
    hash=$(cat "$phone"/package*.json | sha256sum | cut -c 1-12)
    modules=$cache/phone-build-$hash
    if [ ! -e "$modules/complete" ]; then
        mkdir -p "$modules"
        cp "$phone"/package*.json "$modules/"
        npm ci --prefix "$modules" --no-audit --no-fund --loglevel=error >&2 || exit 2
        touch "$modules/complete"
    fi
    work=$(mktemp -d -t moqswitch-phone-size.XXXXXX)
    cp "$phone"/*.js "$phone"/*.mjs "$phone"/*.html "$phone"/*.css "$phone"/*.json "$work/"
    ln -s "$modules/node_modules" "$work/node_modules"
    (cd "$work" && npx --no-install tsc --noEmit) || { echo "types do not hold" >&2; exit 1; }
    # What a file of the package loads is in the package, too.
    (cd "$work" && node -e '
        const { readFileSync } = require("node:fs");
        const { files } = JSON.parse(readFileSync("package.json"));
        for (const file of files.filter((name) => name.endsWith(".js")))
            for (const [, name] of readFileSync(file, "utf8").matchAll(/(?:from|import\()\s?.\.\/([a-z0-9]+\.js)/g))
                if (!files.includes(name)) throw new Error(`${file} loads ${name}, which package.json does not list`);') >&2 || exit 1
    (cd "$work" && node build.mjs dist)
    diff -r "$work/dist" "$phone/dist" >/dev/null || { echo "src/phone/dist is old: npm run build in src/phone" >&2; exit 1; }
}

main "$@"
