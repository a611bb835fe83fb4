#!/usr/bin/env bash
# Undoes apply.sh: puts the saved values back, the last change first, and forgets them.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source-path=SCRIPTDIR source=host.sh
. "$here/host.sh"
# shellcheck source-path=SCRIPTDIR source=settings.sh
. "$here/settings.sh"
# shellcheck source-path=SCRIPTDIR source=saved.sh
. "$here/saved.sh"

usage="\
Usage: restore.sh
Puts back what apply.sh changed, from $TUNING_STATE (environment: TUNING_STATE).
A setting that someone else changed since is put back too.

Exit status: 0 all is as before, but for what this host has no more; 1 something could not be put back (it stays saved),
2 usage."

# What a driver tells is not there for a moment after its queues changed.
read_patiently() {
    local attempt
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        read_setting "$1" "$2" && return
        has_setting "$1" "$2" || return
        ((attempt == 10)) || read -rt 0.2 <> <(:) || true
    done
    return 1
}

# put_back KIND TARGET VALUE
put_back() {
    local kind=$1 target=$2 old=$3 value reason label
    label=$(label_setting "$kind" "$target")
    if ! value=$(read_patiently "$kind" "$target"); then
        if has_setting "$kind" "$target"; then
            echo "FAIL  $label cannot be read now"
            return 1
        fi
        echo "SKIP  $label is no longer there"
        gone=$((gone + 1))
        return
    elif [[ $value == "$old" ]]; then
        echo "GOOD  $label is $old"
        return
    fi
    plan_setting "$kind" "$target" "$old"
    if ! reason=$(run_command); then
        echo "FAIL  $label stays $value: $reason"
    elif [[ $(read_setting "$kind" "$target") != "$old" ]]; then
        echo "FAIL  $label was set to $old, but is $(read_setting "$kind" "$target")"
    else
        echo "DONE  $label: $value -> $old"
        return
    fi
    return 1
}

case ${1:-} in
    "") ;;
    -h | --help)
        printf '%s\n' "$usage"
        exit 0
        ;;
    *) usage_error "unknown option '$1'" ;;
esac
((EUID == 0)) || die "changing the host needs root: run it with sudo"
if [[ ! -e $TUNING_STATE ]]; then
    echo "nothing to restore: $TUNING_STATE does not exist"
    exit 0
fi
lock_saved
if ! load_saved; then
    rm -- "$TUNING_STATE"
    echo "nothing to restore: the host was rebooted since, which undid all"
    exit 0
fi

failed=() gone=0
for ((index = ${#SAVED[@]} - 1; index >= 0; index--)); do
    IFS=$'\t' read -r kind target value <<<"${SAVED[index]}"
    put_back "$kind" "$target" "$value" || failed=("${SAVED[index]}" "${failed[@]}")
done

if ((${#failed[@]})); then
    clear_saved
    printf '%s\n' "${failed[@]}" >>"$TUNING_STATE"
    echo "${#failed[@]} setting(s) could not be put back and stay saved; run restore.sh again when the cause is gone"
    exit 1
fi
rm -- "$TUNING_STATE"
if ((gone)); then
    echo "all is as before apply.sh, but for $gone setting(s) that this host has no more"
else
    echo "all is as before apply.sh"
fi
