#!/usr/bin/env bash
# Is the document of REST what OpenAPI 3.1 says a document is? Asked of a validator that is not ours, openapi-spec-validator
# of PyPI, which is installed into a cache. That the document has every path and status is a test of moqswitch-signalling.
#
#   tests/openapi.sh [FILE]       (default: src/signalling/rest/openapi.json)
#
#   OPENAPI_VALIDATOR  the program, where it is there already
#
# Needs python3 with venv. Exit status: 0 it is, 1 it is not, 2 cannot run.
set -euo pipefail

readonly VERSION=0.9.0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
document=${1:-$root/src/signalling/rest/openapi.json}
[[ -r $document ]] || { echo "$document cannot be read" >&2; exit 2; }

validator=${OPENAPI_VALIDATOR:-}
if [[ -z $validator ]]; then
    place=${XDG_CACHE_HOME:-$HOME/.cache}/moqswitch/openapi-$VERSION
    validator=$place/bin/openapi-spec-validator
    if [[ ! -x $validator ]]; then
        pip=("$place/bin/pip" install --quiet --disable-pip-version-check "openapi-spec-validator==$VERSION")
        if ! { python3 -m venv "$place" && "${pip[@]}"; }; then
            rm -rf "$place"
            echo "openapi-spec-validator $VERSION cannot be installed" >&2
            exit 2
        fi
    fi
fi
"$validator" "$document"
