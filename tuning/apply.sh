#!/usr/bin/env bash
# Tunes this host for the relay: sets what check.sh warns of, by the same table (knobs.sh). Old values are saved
# before the first change; restore.sh puts them back. Lasts until the next reboot.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source-path=SCRIPTDIR source=host.sh
. "$here/host.sh"
# shellcheck source-path=SCRIPTDIR source=settings.sh
. "$here/settings.sh"
# shellcheck source-path=SCRIPTDIR source=knobs.sh
. "$here/knobs.sh"
# shellcheck source-path=SCRIPTDIR source=saved.sh
. "$here/saved.sh"

usage="\
Usage: apply.sh [--dry-run] [options]
Tunes this host for moqswitch until the next reboot; restore.sh undoes it. Changing the number of queues interrupts
the network for a moment on most NICs.

  --dry-run           show what would be done, and do nothing; needs no root
  --bypass-conntrack  also take the UDP port out of connection tracking. A firewall that accepts the port by
                      connection state (ct state) drops it from then on: let it accept the port itself first
$SHARED_OPTIONS

Old values are saved in $TUNING_STATE (environment: TUNING_STATE).
Exit status: 0 all is as wanted, 1 cannot begin or go on, 2 usage, 3 something could not be set and the rest was."

say() {
    printf '%s  %-*s  %s\n' "$1" "$width" "$name" "$2"
}

# Drivers forget what belongs to queues when their number changes. What is saved before is restored after it.
save_what_queues_hold() {
    local name index
    for name in irq-affinity xps rss-hash rss-table; do
        survey "$name"
        for index in "${!ROW_VALUE[@]}"; do
            save "${ROW_KIND[index]}" "${ROW_TARGET[index]}" "${ROW_VALUE[index]}"
        done
    done
}

# One setting of the knob looked at last.
set_row() {
    local index=$1 kind=${ROW_KIND[$1]} target=${ROW_TARGET[$1]} value reason label
    label=$(label_setting "$kind" "$target")
    plan_row "$index"
    value=$(value_to_write "${ROW_VALUE[index]}" "${ROW_RULE[index]}" "${ROW_WANTED[index]}")
    if ((DRY_RUN)); then
        say PLAN "$label: ${ROW_VALUE[index]} -> $value"
        printf '      %*s  %s\n' "$width" "" "$(show_command)"
        return
    fi
    save "$kind" "$target" "${ROW_VALUE[index]}"
    if ! reason=$(run_command); then
        say FAIL "$label stays ${ROW_VALUE[index]}: $reason"
    elif ! value=$(read_setting "$kind" "$target"); then
        say FAIL "$label cannot be read any more"
    elif ! satisfies "$value" "${ROW_RULE[index]}" "${ROW_WANTED[index]}"; then
        say FAIL "$label was set, but is $value"
    else
        say DONE "$label: ${ROW_VALUE[index]} -> $value"
        return
    fi
    failures=$((failures + 1))
}

apply_knob() {
    local index bad=()
    survey "$name"
    case $VERDICT in
        SKIP) say SKIP "$VERDICT_TEXT" ;;
        PASS) say GOOD "$VERDICT_TEXT" ;;
        ADVISE)
            say TODO "$VERDICT_TEXT"
            printf '      %*s  -> %s\n' "$width" "" "$VERDICT_ADVICE"
            ;;
        *)
            for index in "${!ROW_GOOD[@]}"; do ((ROW_GOOD[index])) || bad+=("$index"); done
            if ((${#bad[@]} == 0)); then
                say GOOD "as wanted"
                return
            elif [[ $ASKED_BY ]]; then
                say SKIP "left alone without $ASKED_BY"
                return
            fi
            if [[ $name == nic-queues ]] && ((!DRY_RUN)); then
                save_what_queues_hold
                survey "$name"
            fi
            for index in "${bad[@]}"; do set_row "$index"; done
            ;;
    esac
}

parse_options "$usage" "--dry-run --bypass-conntrack" "$@"
if ((!DRY_RUN)); then
    ((EUID == 0)) || die "changing the host needs root: run it with sudo (--dry-run does not need it)"
    lock_saved
    load_saved || clear_saved
fi

width=0 failures=0
for name in "${KNOBS[@]}"; do ((${#name} <= width)) || width=${#name}; done
for name in "${KNOBS[@]}"; do apply_knob; done

if ((DRY_RUN)); then
    echo "nothing was changed; what is planned for queues is for those there are, apply looks again after it set their number"
elif ((failures)); then
    echo "$failures setting(s) could not be set, see FAIL above; undo the others with $here/restore.sh"
    exit 3
else
    echo "undo with $here/restore.sh; gone after a reboot"
fi
