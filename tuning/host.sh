#!/usr/bin/env bash
# Sourced by check.sh, apply.sh and restore.sh: the options they share, and what this host has
# (cores, interface, queues, interrupts). Nothing here changes anything.
# shellcheck disable=SC2034 # what is set here is used by those who source this

export LC_ALL=C
# sysctl and ethtool live in sbin, which is not in the PATH of every user.
PATH="$PATH:/usr/sbin:/sbin"

INTERFACE=""
CORES=()
OTHER_CORES=()
LAYOUT=shared
PROFILE=default
PORT=4443
JSON=0
DRY_RUN=0
BYPASS_CONNTRACK=0
# The options that shape what is wanted, for printing a command that wants the same.
SHAPE=()

SHARED_OPTIONS="\
  --interface IFACE   network interface (default: the one of the default route)
  --cores LIST        cores of the relay's shards, such as 0-3,6 (default: all this process may use)
  --layout LAYOUT     shared: interrupts of queue i on the core of shard i (default)
                      split: interrupts on the cores that --cores leaves out
  --profile PROFILE   default, or busy-poll: less latency for more CPU; goes with spin = true
  --port PORT         UDP port of the relay (default: 4443)"

usage_error() {
    echo "${0##*/}: $1 (--help shows the options)" >&2
    exit 2
}

# parse_options USAGE EXTRA ARGUMENT...: EXTRA are further options of the caller, space separated.
parse_options() {
    local usage=$1 extra=$2 cores_text="" option value
    shift 2
    while (($#)); do
        option=$1 value=""
        shift
        case $option in
            --*=*) value=${option#*=} option=${option%%=*} ;;
            --interface | --cores | --layout | --profile | --port)
                (($#)) || usage_error "$option needs a value"
                value=$1
                shift
                ;;
        esac
        case $option in
            --interface | --cores | --layout | --profile | --port) [[ $value ]] || usage_error "$option needs a value" ;;
        esac
        case $option in
            --interface) INTERFACE=$value ;;
            --cores) cores_text=$value ;;
            --layout) LAYOUT=$value ;;
            --profile) PROFILE=$value ;;
            --port) PORT=$value ;;
            -h | --help)
                printf '%s\n' "$usage"
                exit 0
                ;;
            *)
                [[ " $extra " == *" $option "* && -z $value ]] || usage_error "unknown option '$option'"
                case $option in
                    --json) JSON=1 ;;
                    --dry-run) DRY_RUN=1 ;;
                    --bypass-conntrack) BYPASS_CONNTRACK=1 ;;
                esac
                continue
                ;;
        esac
        SHAPE+=("$option" "$value")
    done
    [[ $LAYOUT == shared || $LAYOUT == split ]] || usage_error "--layout is shared or split, not '$LAYOUT'"
    [[ $PROFILE == default || $PROFILE == busy-poll ]] ||
        usage_error "--profile is default or busy-poll, not '$PROFILE'"
    if ! [[ $PORT =~ ^[1-9][0-9]{0,4}$ ]] || ((PORT > 65535)); then
        usage_error "--port is 1 to 65535, not '$PORT'"
    fi
    choose_cores "$cores_text"
    choose_interface
}

choose_cores() {
    local listed=$1 online allowed core
    online=$(read_line /sys/devices/system/cpu/online) || online="0-$(($(nproc --all) - 1))"
    online=" $(expand_list "$online") "
    if [[ $listed ]]; then
        allowed=$(expand_list "$listed") || usage_error "--cores takes core numbers and ranges such as 0-3,6, not '$listed'"
    else
        [[ $LAYOUT == shared ]] ||
            usage_error "--layout split needs --cores: the cores of the shards, which leave others to the interrupts"
        allowed=$(expand_list "$(read_field Cpus_allowed_list /proc/self/status)")
    fi
    for core in $allowed; do
        if [[ $online == *" $core "* ]]; then
            CORES+=("$core")
        elif [[ $listed ]]; then
            usage_error "core $core of --cores is not online (these are:${online% })"
        fi
    done
    for core in $online; do
        [[ " ${CORES[*]} " == *" $core "* ]] || OTHER_CORES+=("$core")
    done
    if [[ $LAYOUT == split ]] && ((${#OTHER_CORES[@]} == 0)); then
        usage_error "--layout split: --cores $listed leaves no core to the interrupts"
    fi
}

choose_interface() {
    if [[ $INTERFACE ]]; then
        [[ $INTERFACE != */* && $INTERFACE != .* && -d /sys/class/net/$INTERFACE ]] ||
            usage_error "there is no interface '$INTERFACE' (there are: $(find /sys/class/net/ -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null | sort | paste -sd ' '))"
    else
        INTERFACE=$(default_interface)
    fi
}

# Of the default route, IPv4 before IPv6; nothing when there is none.
default_interface() {
    local name destination mask prefix fields
    if [[ -r /proc/net/route ]]; then
        while read -r name destination _ _ _ _ _ mask _; do
            if [[ $destination == 00000000 && $mask == 00000000 ]]; then
                echo "$name"
                return
            fi
        done </proc/net/route
    fi
    if [[ -r /proc/net/ipv6_route ]]; then
        while read -r -a fields; do
            destination=${fields[0]} prefix=${fields[1]} name=${fields[9]}
            if [[ $destination =~ ^0+$ && $prefix == 00 && $name != lo ]]; then
                echo "$name"
                return
            fi
        done </proc/net/ipv6_route
    fi
}

# Why the knobs of the network interface do not apply; fails when they do.
no_interface_reason() {
    if [[ -z $INTERFACE ]]; then
        echo "there is no default route; name an interface with --interface"
    elif [[ $INTERFACE == lo ]]; then
        echo "the loopback interface has no queues and no interrupts"
    else
        return 1
    fi
}

# ---- Queues and interrupts

# Queues of the interface in one direction, rx or tx.
count_queues() {
    local queues=(/sys/class/net/"$INTERFACE"/queues/"$1"-*)
    [[ -e ${queues[0]} ]] || queues=()
    echo "${#queues[@]}"
}

# A line for each interrupt of a queue: its number, its action and the queue.
# Actions are named by drivers: virtio2-input.0, ice-eth0-TxRx-0, eth0-Tx-Rx-0, mlx5_comp0@pci:0000:01:00.0.
list_queue_interrupts() {
    local device irq action
    device=$(readlink -f "/sys/class/net/$INTERFACE/device") || return 0
    # A virtio device has its interrupts one level up, at its PCI function.
    [[ -d $device/msi_irqs ]] || device=${device%/*}
    [[ -d $device/msi_irqs ]] || return 0
    for irq in $(printf '%s\n' "$device"/msi_irqs/* | sed 's/.*\///' | sort -n); do
        action=$(read_line "/sys/kernel/irq/$irq/actions") || continue
        shopt -s nocasematch
        if [[ ${action%%@*} =~ (txrx|tx-rx|rxtx|rx|tx|input|output|comp|fp|queue|ring|blk)[-._]?([0-9]+)$ ]]; then
            printf '%s %s %s\n' "$irq" "$action" "${BASH_REMATCH[2]}"
        fi
        shopt -u nocasematch
    done
}

# The core that serves a queue's interrupts in the chosen layout.
core_of_queue() {
    if [[ $LAYOUT == split ]]; then
        echo "${OTHER_CORES[$1 % ${#OTHER_CORES[@]}]}"
    else
        echo "${CORES[$1 % ${#CORES[@]}]}"
    fi
}

# ---- Text

# First line of a file, blanks made single; fails when there is none.
read_line() {
    local words=()
    { read -r -a words <"$1"; } 2>/dev/null || true
    ((${#words[@]})) || return 1
    echo "${words[*]}"
}

# The value of a `Name: value` line.
read_field() {
    sed -n "s/^$1:[[:space:]]*//p" "$2"
}

# 0-2,6 becomes 0 1 2 6: ascending, without repeats.
expand_list() {
    local part first last numbers=()
    [[ $1 =~ ^[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*$ ]] || return 1
    for part in ${1//,/ }; do
        first=$((10#${part%-*})) last=$((10#${part#*-}))
        ((first <= last)) || return 1
        mapfile -t -O "${#numbers[@]}" numbers < <(seq "$first" "$last")
    done
    printf '%s\n' "${numbers[@]}" | sort -nu | paste -sd ' '
}

# The inverse of expand_list.
format_list() {
    local core first="" last="" text=""
    for core in "$@" end; do
        if [[ $last && $core != end ]] && ((core == last + 1)); then
            last=$core
            continue
        fi
        if [[ $first ]]; then
            text+=,$first
            [[ $first == "$last" ]] || text+=-$last
        fi
        first=$core last=$core
    done
    echo "${text#,}"
}

# The kernel's hexadecimal mask of cores, in groups of 32 bits, without leading zeros.
format_mask() {
    local core group groups=() text=""
    for core in "$@"; do
        group=$((core / 32))
        groups[group]=$((${groups[group]:-0} | 1 << core % 32))
    done
    for ((group = 0; group <= ${core:-0} / 32; group++)); do
        text=$(printf '%08x' "${groups[group]:-0}")${text:+,$text}
    done
    strip_mask "$text"
}

strip_mask() {
    local text=$1
    while [[ $text == [0,]?* ]]; do text=${text#?}; done
    echo "$text"
}
