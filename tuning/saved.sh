#!/usr/bin/env bash
# Sourced by apply.sh and restore.sh: the values from before the first change, in the order of the changes.
#
# One line each, `kind TAB target TAB value`, after a line that names the boot: all that is changed is gone with a
# reboot, so values of an earlier boot are of no use.
# shellcheck disable=SC2034 # sourced: SAVED is used elsewhere

TUNING_STATE=${TUNING_STATE:-/var/lib/moqswitch/tuning-saved}
SAVED=()
declare -A SAVED_KEYS=()

die() {
    echo "${0##*/}: $1" >&2
    exit 1
}

# Only one of apply and restore at a time.
lock_saved() {
    local directory
    directory=$(dirname "$TUNING_STATE")
    mkdir -p "$directory" || die "cannot make $directory"
    exec {LOCK}<"$directory"
    flock --nonblock "$LOCK" || die "another apply.sh or restore.sh is running"
}

# Reads what is saved. Fails when there is nothing, or it is of an earlier boot.
load_saved() {
    local line
    SAVED=() SAVED_KEYS=()
    [[ -e $TUNING_STATE || -L $TUNING_STATE ]] || return 1
    # What it says is written as root, so nobody else may have written it.
    if [[ -L $TUNING_STATE || ! -f $TUNING_STATE || ! -O $TUNING_STATE ]] ||
        [[ $(stat -c %A "$TUNING_STATE") == ?????w???? || $(stat -c %A "$TUNING_STATE") == ????????w? ]]; then
        die "$TUNING_STATE is not a file that only root can write; look at it, then remove it"
    fi
    mapfile -t SAVED <"$TUNING_STATE"
    [[ ${SAVED[0]:-} == "$(boot_line)" ]] || return 1
    SAVED=("${SAVED[@]:1}")
    for line in "${SAVED[@]}"; do SAVED_KEYS[${line%$'\t'*}]=1; done
}

# Starts with nothing saved.
clear_saved() {
    (umask 022 && boot_line >"$TUNING_STATE") || die "cannot write $TUNING_STATE"
    SAVED=() SAVED_KEYS=()
}

# save KIND TARGET VALUE, unless an older value of it is saved.
save() {
    local key=$1$'\t'$2
    [[ -z ${SAVED_KEYS[$key]:-} ]] || return 0
    printf '%s\t%s\n' "$key" "$3" >>"$TUNING_STATE" || die "cannot write $TUNING_STATE; nothing more is changed"
    SAVED_KEYS[$key]=1
}

boot_line() {
    printf 'boot\t%s\n' "$(cat /proc/sys/kernel/random/boot_id)"
}
