#!/usr/bin/env bash
# Sourced by check.sh, apply.sh and restore.sh: how each kind of setting is read and written.
#
# A setting is a kind and a target, such as `sysctl net.core.rmem_max`. `read_setting` prints its value on one line,
# or fails when this host does not have it. `plan_setting` puts the command that gives it a value into COMMAND, so
# that what is shown to people is what is run.

NFT_TABLE=moqswitch_tuning
COMMAND=()

read_setting() {
    local kind=$1 target=$2 text
    case $kind in
        sysctl) read_line "/proc/sys/${target//.//}" ;;
        file) read_line "$target" ;;
        # always [madvise] never
        choice)
            text=$(read_line "$target") || return 1
            [[ $text =~ \[([^]]+)\] ]] && echo "${BASH_REMATCH[1]}"
            ;;
        mask)
            text=$(read_line "$target") || return 1
            strip_mask "$text"
            ;;
        irq) read_line "/proc/irq/$(find_irq "$target")/smp_affinity_list" ;;
        channels) read_channels "$target" "Current hardware settings" ;;
        rss-table) read_rss_table "$target" ;;
        rss-hash) read_rss_hash "${target%/*}" "${target##*/}" ;;
        ntuple) ethtool -k "$target" 2>/dev/null | sed -n 's/^ntuple-filters: \(on\|off\).*/\1/p' | grep . ;;
        service) if find_process "$target" >/dev/null; then echo running; else echo stopped; fi ;;
        conntrack) if bypasses_conntrack "$target"; then echo bypassed; else echo tracked; fi ;;
        *) return 1 ;;
    esac
}

# Whether this host has the setting at all, even if it cannot be read at present.
has_setting() {
    local kind=$1 target=$2
    case $kind in
        sysctl) [[ -e /proc/sys/${target//.//} ]] ;;
        file | choice | mask) [[ -e $target ]] ;;
        irq | channels | rss-table | rss-hash | ntuple) [[ -e /sys/class/net/${target%%/*} ]] ;;
    esac
}

plan_setting() {
    local kind=$1 target=$2 value=$3 words
    case $kind in
        sysctl) COMMAND=(write_file "$value" "/proc/sys/${target//.//}") ;;
        file | choice | mask) COMMAND=(write_file "$value" "$target") ;;
        irq) COMMAND=(write_file "$value" "/proc/irq/$(find_irq "$target")/smp_affinity_list") ;;
        channels)
            read -r -a words <<<"$value"
            COMMAND=(ethtool -L "$target" "${words[@]}")
            ;;
        rss-table) plan_rss_table "$target" "$value" ;;
        rss-hash) COMMAND=(ethtool -N "${target%/*}" rx-flow-hash "${target##*/}" "$value") ;;
        ntuple) COMMAND=(ethtool -K "$target" ntuple "$value") ;;
        service)
            if [[ $value == running ]]; then COMMAND=(systemctl start "$target"); else COMMAND=(systemctl stop "$target"); fi
            ;;
        conntrack) plan_conntrack "$target" "$value" ;;
    esac
}

# A name for people.
label_setting() {
    local kind=$1 target=$2
    case $kind in
        file | choice | mask) echo "${target#/sys/}" | sed 's/^devices\/system\/cpu\///; s/^class\/net\///; s/^kernel\/mm\///' ;;
        irq) echo "affinity of ${target%%/*}'s interrupt ${target#*/}" ;;
        channels) echo "queue count of $target" ;;
        rss-table) echo "indirection table of $target" ;;
        rss-hash) echo "hash of ${target##*/} at ${target%/*}" ;;
        ntuple) echo "ntuple filters of $target" ;;
        conntrack) echo "UDP port $target" ;;
        *) echo "$target" ;;
    esac
}

# The command as it can be typed.
show_command() {
    local word words=("${COMMAND[@]}") text=""
    [[ ${words[0]} != write_file ]] || words=(echo "${words[1]}" ">" "${words[2]}")
    for word in "${words[@]}"; do
        if [[ $word =~ ^([A-Za-z0-9_./:=,@+-]+|>)$ ]]; then text+=" $word"; else text+=" '${word//\'/\'\\\'\'}'"; fi
    done
    echo "${text# }"
}

# On failure prints why, in one line.
run_command() {
    local output
    if ! output=$("${COMMAND[@]}" 2>&1 </dev/null); then
        output=${output//$'\n'/; }
        echo "${output:-$(show_command) failed}"
        return 1
    fi
}

write_file() {
    printf '%s\n' "$1" >"$2"
}

# Whether a value is what is wanted. Rules: `exactly`; `at-least`, for each number of a list; `one-of`, the first of
# which is what apply writes; `latency-at-most`, as pm_qos_resume_latency_us counts: 0 is no limit, n/a is none at all.
satisfies() {
    local value=$1 rule=$2 wanted=$3 index have=() want=()
    case $rule in
        exactly) [[ $value == "$wanted" ]] ;;
        one-of) [[ " ${wanted//|/ } " == *" $value "* ]] ;;
        latency-at-most) [[ $value == n/a ]] || { [[ $value =~ ^[0-9]+$ ]] && ((value > 0 && value <= wanted)); } ;;
        at-least)
            read -r -a have <<<"$value"
            read -r -a want <<<"$wanted"
            for index in "${!want[@]}"; do
                [[ ${have[index]:-} =~ ^[0-9]+$ ]] && ((have[index] >= want[index])) || return 1
            done
            ;;
    esac
}

# What to write where `value` is not yet as wanted: numbers already large enough stay.
value_to_write() {
    local value=$1 rule=$2 wanted=$3 index have=() want=()
    case $rule in
        one-of) echo "${wanted%%|*}" ;;
        at-least)
            read -r -a have <<<"$value"
            read -r -a want <<<"$wanted"
            for index in "${!want[@]}"; do
                ((have[index] > want[index])) && want[index]=${have[index]}
            done
            echo "${want[*]}"
            ;;
        *) echo "$wanted" ;;
    esac
}

describe_wanted() {
    case $1 in
        at-least) echo "at least $2" ;;
        latency-at-most) echo "1 to $2" ;;
        one-of) echo "${2//|/ or }" ;;
        *) echo "$2" ;;
    esac
}

# Number of the first process of that name.
find_process() {
    local file name
    for file in /proc/[0-9]*/comm; do
        name=$(read_line "$file") || continue
        [[ $name == "$1" ]] || continue
        file=${file%/comm}
        echo "${file##*/}"
        return
    done
    return 1
}

# ---- Interrupts

# Number of the interrupt `IFACE/action`. Looked up each time, because drivers renumber when queues change.
find_irq() {
    local actions=(/sys/kernel/irq/*/actions) file
    for file in "${actions[@]}"; do
        if [[ $(read_line "$file") == "${1#*/}" ]]; then
            file=${file%/actions}
            echo "${file##*/}"
            return
        fi
    done
    return 1
}

# ---- ethtool

# `combined 4`, or `rx 4 tx 4` where the directions are apart, below a heading of `ethtool -l`.
read_channels() {
    local line name count inside=0 rx=0 tx=0 combined=0
    while IFS=: read -r name count; do
        count=${count//[[:space:]]/}
        [[ $count =~ ^[0-9]+$ ]] || count=0
        case $name in
            "$2") inside=1 ;;
            *settings | *maximums) inside=0 ;;
            RX) ((inside)) && rx=$count ;;
            TX) ((inside)) && tx=$count ;;
            Combined) ((inside)) && combined=$count ;;
        esac
    done < <(ethtool -l "$1" 2>/dev/null)
    if ((combined)); then line="combined $combined"; elif ((rx && tx)); then line="rx $rx tx $tx"; else return 1; fi
    echo "$line"
}

# `even over 4` for 0 1 2 3 0 1 ...; `weight 2 1` for 0 0 1, as ethtool writes weights; `custom` for any other order, which
# ethtool could not write back.
read_rss_table() {
    local entries=() counts=() entry index even=1 sorted=1 last=0
    read -r -a entries < <(ethtool -x "$1" 2>/dev/null |
        sed -n 's/^ *[0-9]*: *\([0-9 \t]*\)$/\1/p' | paste -sd ' ')
    ((${#entries[@]})) || return 1
    for entry in "${entries[@]}"; do
        ((entry > last)) && last=$entry
        counts[entry]=$((${counts[entry]:-0} + 1))
    done
    for index in "${!entries[@]}"; do
        ((entries[index] == index % (last + 1))) || even=0
        ((index == 0 || entries[index] >= entries[index - 1])) || sorted=0
    done
    if ((even)); then
        echo "even over $((last + 1))"
        return
    fi
    if ((!sorted)); then
        echo custom
        return
    fi
    for ((index = 0; index <= last; index++)); do counts[index]=${counts[index]:-0}; done
    echo "weight ${counts[*]}"
}

plan_rss_table() {
    local words
    read -r -a words <<<"$2"
    if [[ $2 == weight* ]]; then
        COMMAND=(ethtool -X "$1" "${words[@]}")
    elif ((words[2] == $(INTERFACE=$1 count_queues rx))); then
        # Unlike `equal`, this leaves the number of queues free to change later.
        COMMAND=(ethtool -X "$1" default)
    else
        COMMAND=(ethtool -X "$1" equal "${words[2]}")
    fi
}

# `sdfn`: addresses and ports of source and destination, as `ethtool -N` writes it; `none` for none of them.
read_rss_hash() {
    local line text=""
    while read -r line; do
        case $line in
            "IP SA") text+=s ;;
            "IP DA") text+=d ;;
            "L4 bytes 0 & 1"*) text+=f ;;
            "L4 bytes 2 & 3"*) text+=n ;;
            None) text=none ;;
        esac
    done < <(ethtool -n "$1" rx-flow-hash "$2" 2>/dev/null)
    [[ $text ]] && echo "$text"
}

# ---- Firewall

bypasses_conntrack() {
    local port=$1 rules=""
    # Read whole: a reader that leaves early is an error of the writer.
    if command -v nft >/dev/null; then
        rules+=$(nft list ruleset 2>/dev/null) || true
    fi
    if command -v iptables >/dev/null; then
        rules+=$'\n'$(iptables -w -t raw -S PREROUTING 2>/dev/null) || true
    fi
    grep -Eq -e "udp dport (\{[^}]*\b)?$port\b.* notrack" \
        -e "--dport $port .*-j (NOTRACK|CT --notrack)" <<<"$rules"
}

plan_conntrack() {
    local port=$1 value=$2 action program chains
    if command -v nft >/dev/null; then
        if [[ $value == tracked ]]; then
            COMMAND=(nft "delete table inet $NFT_TABLE")
            return
        fi
        chains="add table inet $NFT_TABLE"
        chains+="; add chain inet $NFT_TABLE in { type filter hook prerouting priority raw; }"
        chains+="; add chain inet $NFT_TABLE out { type filter hook output priority raw; }"
        chains+="; add rule inet $NFT_TABLE in udp dport $port notrack"
        chains+="; add rule inet $NFT_TABLE out udp sport $port notrack"
        COMMAND=(nft "$chains")
        return
    fi
    if [[ $value == tracked ]]; then action=-D; else action=-I; fi
    chains=""
    for program in iptables ip6tables; do
        chains+=" && $program -w -t raw $action PREROUTING -p udp --dport $port -j CT --notrack"
        chains+=" && $program -w -t raw $action OUTPUT -p udp --sport $port -j CT --notrack"
    done
    COMMAND=(sh -c "${chains# && }")
}
