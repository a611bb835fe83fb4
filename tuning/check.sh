#!/usr/bin/env bash
# Is this host tuned for the relay? PASS, WARN, FAIL or SKIP for each knob of knobs.sh, with what was found, what is
# wanted, why, and the command. Changes nothing. `moqswitch check` tells whether the relay runs at all.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source-path=SCRIPTDIR source=host.sh
. "$here/host.sh"
# shellcheck source-path=SCRIPTDIR source=settings.sh
. "$here/settings.sh"
# shellcheck source-path=SCRIPTDIR source=knobs.sh
. "$here/knobs.sh"

usage="\
Usage: check.sh [--json] [options]
Says how this host is tuned for moqswitch, and what to do. Changes nothing.

  --json              print the result as JSON
$SHARED_OPTIONS

Exit status: 0 nothing failed, 1 something did, 2 usage."

# judge NAME: STATUS, REASON and ADVICE of the knob looked at last.
judge() {
    local index good=() bad=() label wanted
    STATUS=$VERDICT REASON=$VERDICT_TEXT ADVICE=$VERDICT_ADVICE
    case $VERDICT in
        PASS | SKIP) return ;;
        ADVISE)
            STATUS=${SEVERITY[$1]}
            return
            ;;
    esac
    for index in "${!ROW_KIND[@]}"; do
        if ((ROW_GOOD[index])); then good+=("$index"); else bad+=("$index"); fi
    done
    if ((${#bad[@]} == 0)); then
        index=${good[0]} STATUS=PASS
        REASON="$(label_setting "${ROW_KIND[index]}" "${ROW_TARGET[index]}") is ${ROW_VALUE[index]}"
        ((${#good[@]} == 1)) || REASON+=" (and $((${#good[@]} - 1)) more as wanted)"
        return
    fi
    index=${bad[0]} STATUS=${SEVERITY[$1]}
    label=$(label_setting "${ROW_KIND[index]}" "${ROW_TARGET[index]}")
    wanted=$(describe_wanted "${ROW_RULE[index]}" "${ROW_WANTED[index]}")
    REASON="$label is ${ROW_VALUE[index]}, wanted $wanted"
    ((${#bad[@]} == 1)) || REASON+=" (and $((${#bad[@]} - 1)) more)"
    plan_row "$index"
    ADVICE=$(show_command)
    ((${#bad[@]} == 1)) || ADVICE+="; for all: $APPLY"
    [[ -z $ASKED_BY ]] || ADVICE="$APPLY $ASKED_BY, once the firewall accepts the port without connection state"
}

# A JSON string. Bytes outside ASCII become the code points of the same number, so that any bytes are valid.
json() {
    local text=$1 index character code
    printf '"'
    for ((index = 0; index < ${#text}; index++)); do
        character=${text:index:1}
        case $character in
            '"' | \\) printf '\\%s' "$character" ;;
            [[:print:]]) printf '%s' "$character" ;;
            *)
                printf -v code '%d' "'$character"
                printf '\\u%04x' $((code & 255))
                ;;
        esac
    done
    printf '"'
}

print_json_check() {
    local name=$1 index separator=""
    printf '%s\n    {"name": ' "$2"
    json "$name"
    printf ', "status": '
    json "${STATUS,,}"
    printf ', "reason": '
    json "$REASON"
    printf ', "why": '
    json "${WHY[$name]}"
    printf ', "advice": '
    if [[ $ADVICE ]]; then json "$ADVICE"; else printf null; fi
    printf ', "effect": '
    json "${EFFECT[$name]}"
    printf ', "settings": ['
    for index in "${!ROW_VALUE[@]}"; do
        printf '%s{"setting": ' "$separator"
        json "$(label_setting "${ROW_KIND[index]}" "${ROW_TARGET[index]}")"
        printf ', "current": '
        json "${ROW_VALUE[index]}"
        printf ', "wanted": '
        json "$(describe_wanted "${ROW_RULE[index]}" "${ROW_WANTED[index]}")"
        printf '}'
        separator=", "
    done
    printf ']}'
}

parse_options "$usage" "--json" "$@"
COMMAND=("$here/apply.sh" "${SHAPE[@]}")
APPLY=$(show_command)

declare -A counts=([PASS]=0 [FAIL]=0 [WARN]=0 [SKIP]=0)
width=0
for name in "${KNOBS[@]}"; do ((${#name} <= width)) || width=${#name}; done

checks="" separator="" fixable=0
((JSON)) || printf 'shards on core(s) %s, interface %s, layout %s, profile %s, UDP port %s\n' \
    "$(format_list "${CORES[@]}")" "${INTERFACE:-none}" "$LAYOUT" "$PROFILE" "$PORT"
for name in "${KNOBS[@]}"; do
    survey "$name"
    judge "$name"
    counts[$STATUS]=$((counts[$STATUS] + 1))
    [[ -n $VERDICT || -n $ASKED_BY || $STATUS == PASS ]] || fixable=1
    if ((JSON)); then
        checks+=$(print_json_check "$name" "$separator")
        separator=,
    else
        printf '%s  %-*s  %s\n' "$STATUS" "$width" "$name" "$REASON"
        [[ $STATUS != WARN && $STATUS != FAIL ]] || printf '      %*s  %s\n' "$width" "" "${WHY[$name]}"
        [[ -z $ADVICE ]] || printf '      %*s  -> %s\n' "$width" "" "$ADVICE"
    fi
done

worst=pass
((counts[SKIP] == 0)) || worst=skip
((counts[WARN] == 0)) || worst=warn
((counts[FAIL] == 0)) || worst=fail
if ((JSON)); then
    printf '{\n  "status": "%s",\n  "checks": [%s\n  ]\n}\n' "$worst" "$checks"
else
    summary="${counts[PASS]} passed"
    ((counts[FAIL] == 0)) || summary+=", ${counts[FAIL]} failed"
    ((counts[WARN] == 0)) || summary+=", ${counts[WARN]} to be looked at"
    ((counts[SKIP] == 0)) || summary+=", ${counts[SKIP]} skipped"
    printf '%s\n' "$summary"
    ((!fixable)) || printf 'all that can be set while the host runs: %s (--dry-run shows what it would do)\n' "$APPLY"
fi
((counts[FAIL] == 0))
