#!/usr/bin/env bash
# Sourced by check.sh, apply.sh and restore.sh: the table of knobs.
#
# A knob has a name, the status it has while it is not as wanted, what it is for, and its measured effect. Its function
# `want_<name>` says which settings it is made of and what they should be, with `want`, or ends the matter with one of
# `skip`, `fine` and `advise`. The order of the table is the order of applying: queues before what belongs to queues.
# shellcheck disable=SC2034,SC2153 # sourced: what is set here is used elsewhere, and the other way round

# The relay's `quic.socket_buffer` default; one socket for each shard.
SOCKET_BUFFER_BYTES=4194304
# Deeper sleep takes longer to leave than a datagram takes to handle.
IDLE_LATENCY_US_MAX=20

KNOBS=()
declare -A SEVERITY WHY EFFECT

knob() {
    KNOBS+=("$1")
    SEVERITY[$1]=$2 WHY[$1]=$3 EFFECT[$1]=$4
}

knob receive-buffer WARN "bursts wait in the socket buffer while a shard is busy; what does not fit is lost" \
    "broadcast to 500, a relay without CAP_NET_ADMIN: 11.4 to 8.9 us of CPU per frame; call: none"
want_receive_buffer() { want sysctl net.core.rmem_max at-least "$SOCKET_BUFFER_BYTES"; }

knob send-buffer WARN "a turn's packets for all subscribers leave at once and wait here for the wire" "none on loopback"
want_send_buffer() { want sysctl net.core.wmem_max at-least "$SOCKET_BUFFER_BYTES"; }

knob udp-memory FAIL "all UDP sockets together may not hold more pages; the kernel drops datagrams beyond" unmeasured
want_udp_memory() {
    local page pages
    page=$(getconf PAGESIZE)
    # The kernel grants a buffer twice over. Below the first number it never interferes.
    pages=$((${#CORES[@]} * 2 * SOCKET_BUFFER_BYTES / page))
    want sysctl net.ipv4.udp_mem at-least "$pages $((pages * 3 / 2)) $((pages * 2))"
}

knob packet-budget WARN "a core stops receiving when the budget of one round is used up, however much waits" \
    "loopback, netdev_budget alone: broadcast to 500 8.5 to 7.8 us of CPU per frame; call: none"
want_packet_budget() {
    want sysctl net.core.netdev_budget at-least 600
    want sysctl net.core.netdev_budget_usecs at-least 8000
}

knob backlog WARN "packets that one core hands to another (RPS, loopback, veth) queue here; more are dropped" "none on loopback"
want_backlog() { want sysctl net.core.netdev_max_backlog at-least 8192; }

knob busy-read WARN "a receive that finds nothing looks into the NIC's queue itself before it gives up" unmeasured
want_busy_read() {
    only_busy_poll || return 0
    want sysctl net.core.busy_read at-least 50
}

knob deferred-interrupts WARN "under load the queue is looked at by a timer instead of an interrupt each time" unmeasured
want_deferred_interrupts() {
    only_busy_poll || return 0
    with_interface || return 0
    want file "/sys/class/net/$INTERFACE/napi_defer_hard_irqs" at-least 2
    want file "/sys/class/net/$INTERFACE/gro_flush_timeout" at-least 20000
}

knob nic-queues WARN "with a queue for each shard every core receives, and none receives for two" unmeasured
want_nic_queues() {
    local word most wanted=()
    with_interface && with_ethtool || return 0
    if ! most=$(read_channels "$INTERFACE" "Pre-set maximums"); then
        skip "the driver of $INTERFACE does not tell its queues"
        return
    fi
    for word in $most; do
        [[ $word =~ ^[0-9]+$ ]] && ((word > ${#CORES[@]})) && word=${#CORES[@]}
        wanted+=("$word")
    done
    want channels "$INTERFACE" exactly "${wanted[*]}"
}

knob rss-table WARN "the NIC spreads what it receives over its queues by this table; uneven is one shard overloaded" unmeasured
want_rss_table() {
    local queues
    with_interface && with_ethtool || return 0
    queues=$(count_queues rx)
    if ((queues < 2)); then
        skip "$INTERFACE has one receive queue"
    elif ! read_setting rss-table "$INTERFACE" >/dev/null; then
        skip "the driver of $INTERFACE has no indirection table"
    elif [[ $(read_setting rss-table "$INTERFACE") == custom ]]; then
        skip "the table of $INTERFACE has an order of its own, which could not be put back; it is left alone"
    else
        ((queues > ${#CORES[@]})) && queues=${#CORES[@]}
        want rss-table "$INTERFACE" exactly "even over $queues"
    fi
}

knob rss-hash WARN "with ports in the hash, clients behind one address spread over queues" unmeasured
want_rss_hash() {
    local flow value found=0
    with_interface && with_ethtool || return 0
    for flow in udp4 udp6; do
        if value=$(read_setting rss-hash "$INTERFACE/$flow") && [[ $value != none ]]; then
            found=1
            want rss-hash "$INTERFACE/$flow" exactly sdfn
        fi
    done
    ((found)) || skip "the driver of $INTERFACE has no hash of UDP to choose"
}

knob ntuple WARN "lets rules choose the queue of the relay's port; none is added here" unmeasured
want_ntuple() {
    with_interface && with_ethtool || return 0
    if grep -q '^ntuple-filters: o[nf]*$' <<<"$(ethtool -k "$INTERFACE" 2>/dev/null)"; then
        want ntuple "$INTERFACE" exactly on
    else
        skip "the driver of $INTERFACE has no ntuple filters, or they are fixed"
    fi
}

knob xps WARN "a shard sends through a queue of its own, so that no two wait for one queue's lock" unmeasured
want_xps() {
    local queues queue index cores
    with_interface || return 0
    queues=$(count_queues tx)
    if ((queues < 2)); then
        skip "$INTERFACE has one send queue"
        return
    fi
    for ((queue = 0; queue < queues; queue++)); do
        cores=()
        for index in "${!CORES[@]}"; do
            ((index % queues == queue)) && cores+=("${CORES[index]}")
        done
        ((${#cores[@]})) || cores=("${CORES[queue % ${#CORES[@]}]}")
        want mask "/sys/class/net/$INTERFACE/queues/tx-$queue/xps_cpus" exactly "$(format_mask "${cores[@]}")"
    done
}

knob irqbalance WARN "it moves interrupts away from the cores chosen here" unmeasured
want_irqbalance() {
    local process banned core
    if process=$(find_process irqbalance) && [[ $LAYOUT == split && -r /proc/$process/environ ]]; then
        banned=$(tr '\0' '\n' <"/proc/$process/environ" | sed -n 's/^IRQBALANCE_BANNED_CPULIST=//p')
        if banned=$(expand_list "$banned"); then
            for core in "${CORES[@]}"; do
                [[ " $banned " == *" $core "* ]] || banned=""
            done
            if [[ $banned ]]; then
                fine "it runs, but is banned from the shards' cores"
                return
            fi
        fi
    fi
    want service irqbalance exactly stopped
}

knob irq-affinity WARN "each queue's interrupts on one known core: the shard's own (shared) or one without shards (split)" unmeasured
want_irq_affinity() {
    local action queue found=0
    with_interface || return 0
    while read -r _ action queue; do
        found=1
        want irq "$INTERFACE/$action" exactly "$(core_of_queue "$queue")"
    done < <(list_queue_interrupts)
    if ((!found)); then
        if [[ -e /sys/class/net/$INTERFACE/device ]]; then
            skip "no interrupt of $INTERFACE belongs to a queue that can be told"
        else
            skip "$INTERFACE has no device behind it (virtual, bridge or bond): name the physical interface"
        fi
    fi
}

knob numa WARN "memory and queues of the NIC are near one node's cores; from others each packet crosses over" unmeasured
want_numa() {
    local node near core far=()
    if [[ ! -d /sys/devices/system/node/node1 ]]; then
        fine "this host has one node"
        return
    fi
    with_interface || return 0
    if ! node=$(read_line "/sys/class/net/$INTERFACE/device/numa_node") || ((node < 0)); then
        skip "$INTERFACE does not tell its node"
        return
    fi
    near=$(read_line "/sys/devices/system/node/node$node/cpulist") && near=$(expand_list "$near") || near=""
    for core in "${CORES[@]}"; do
        [[ " $near " == *" $core "* ]] || far+=("$core")
    done
    if ((${#far[@]} == 0)); then
        fine "all shards are on node $node, that of $INTERFACE"
        return
    fi
    advise "core(s) $(format_list "${far[@]}") are not on node $node, that of $INTERFACE" \
        "set the relay's \`cores\` to cores of $(read_line "/sys/devices/system/node/node$node/cpulist")"
}

knob governor WARN "other governors lower the frequency in the pauses between packets" unmeasured
want_governor() {
    local core file choices seen=" " cores=("${CORES[@]}") found=0
    [[ $LAYOUT == shared ]] || cores+=("${OTHER_CORES[@]}")
    for core in "${cores[@]}"; do
        file=/sys/devices/system/cpu/cpu$core/cpufreq/scaling_governor
        [[ -e $file ]] || continue
        file=$(readlink -f "$file") found=1
        # Cores of one frequency domain share the file.
        [[ $seen != *" $file "* ]] || continue
        seen+="$file "
        choices=$(read_line "${file%/*}/scaling_available_governors") || choices=performance
        [[ " $choices " != *" performance "* ]] || want file "$file" exactly performance
    done
    if ((!found)); then
        skip "no cpufreq here: firmware or a hypervisor sets the frequency"
    elif ((${#ROW_KIND[@]} == 0)); then
        skip "the frequency driver has no governor 'performance'"
    fi
}

knob idle-states WARN "a core in deep sleep wakes late: up to hundreds of microseconds added to the first packet" unmeasured
want_idle_states() {
    local core state latency deepest=-1
    for state in /sys/devices/system/cpu/cpu"${CORES[0]}"/cpuidle/state*; do
        [[ $(read_line "$state/disable") == 0 ]] || continue
        latency=$(read_line "$state/latency") || continue
        ((latency <= deepest)) || deepest=$latency
    done
    if ((deepest < 0)); then
        skip "no idle states here: firmware or a hypervisor decides how cores sleep"
    elif ((deepest <= IDLE_LATENCY_US_MAX)); then
        fine "the deepest idle state takes $deepest us to leave"
    else
        for core in "${CORES[@]}"; do
            want file "/sys/devices/system/cpu/cpu$core/power/pm_qos_resume_latency_us" latency-at-most "$IDLE_LATENCY_US_MAX"
        done
    fi
}

knob huge-pages WARN "huge pages that nobody asked for are made by compacting memory, which stalls a shard" unmeasured
want_huge_pages() {
    want choice /sys/kernel/mm/transparent_hugepage/enabled one-of "madvise|never"
    want choice /sys/kernel/mm/transparent_hugepage/defrag one-of "madvise|defer|defer+madvise|never"
}

knob conntrack WARN "each datagram is looked up in a table that forgets and fills up, for a port that needs no tracking" unmeasured
want_conntrack() {
    local count most
    if ! count=$(read_line /proc/sys/net/netfilter/nf_conntrack_count); then
        fine "connection tracking is not loaded"
        return
    fi
    if ! command -v nft >/dev/null && ! command -v iptables >/dev/null; then
        skip "neither nft nor iptables is installed ($count connections are tracked)"
    elif ((EUID != 0)); then
        skip "only root may read the firewall ($count connections are tracked)"
    elif [[ $(read_setting conntrack "$PORT") == tracked ]] && ((count == 0 && !BYPASS_CONNTRACK)); then
        fine "no connection is tracked"
    else
        most=$(read_line /proc/sys/net/netfilter/nf_conntrack_max) || most=0
        # A full table drops packets of connections it does not know.
        ((most == 0 || count * 10 < most * 8)) || SEVERITY[conntrack]=FAIL
        want conntrack "$PORT" exactly bypassed
        ((BYPASS_CONNTRACK)) || ASKED_BY=--bypass-conntrack
    fi
}

knob isolation WARN "other programs and the kernel's timers do not interrupt an isolated core" unmeasured
want_isolation() {
    local isolated tickless core missing=() list
    if ((${#OTHER_CORES[@]} == 0)); then
        skip "every core runs a shard; only with --cores that leaves some out can the others be isolated"
        return
    fi
    isolated=$(read_line /sys/devices/system/cpu/isolated) && isolated=$(expand_list "$isolated") || isolated=""
    tickless=$(read_line /sys/devices/system/cpu/nohz_full) && tickless=$(expand_list "$tickless") || tickless=""
    for core in "${CORES[@]}"; do
        [[ " $isolated " == *" $core "* && " $tickless " == *" $core "* ]] || missing+=("$core")
    done
    list=$(format_list "${CORES[@]}")
    if ((${#missing[@]} == 0)); then
        fine "core(s) $list are isolated and tickless"
    else
        advise "core(s) $(format_list "${missing[@]}") are not isolated and tickless" \
            "add to the kernel command line and reboot: isolcpus=managed_irq,domain,$list nohz_full=$list rcu_nocbs=$list"
    fi
}

# ---- What a knob's function may say

want() {
    ROW_KIND+=("$1")
    ROW_TARGET+=("$2")
    ROW_RULE+=("$3")
    ROW_WANTED+=("$4")
}

skip() { VERDICT=SKIP VERDICT_TEXT=$1; }
fine() { VERDICT=PASS VERDICT_TEXT=$1; }
# What no script can do while the host runs: what is found, and what to do.
advise() { VERDICT=ADVISE VERDICT_TEXT=$1 VERDICT_ADVICE=$2; }

only_busy_poll() {
    [[ $PROFILE == busy-poll ]] || { skip "only with --profile busy-poll" && false; }
}

with_interface() {
    local reason
    if reason=$(no_interface_reason); then
        skip "$reason"
        return 1
    fi
}

with_ethtool() {
    command -v ethtool >/dev/null || { skip "ethtool is not installed" && false; }
}

# ---- Looking at a knob

# Fills ROW_* and VERDICT for one knob. ROW_VALUE is what is found, ROW_GOOD 1 where that is as wanted.
# Settings that this host does not have are left out; VERDICT is SKIP when none remains. ASKED_BY is the option
# without which apply leaves the knob alone.
survey() {
    local name=$1 index value unread="" kinds targets rules wanteds
    ROW_KIND=() ROW_TARGET=() ROW_RULE=() ROW_WANTED=() ROW_VALUE=() ROW_GOOD=()
    VERDICT="" VERDICT_TEXT="" VERDICT_ADVICE="" ASKED_BY=""
    "want_${name//-/_}"
    [[ -z $VERDICT ]] || return 0
    kinds=("${ROW_KIND[@]}") targets=("${ROW_TARGET[@]}") rules=("${ROW_RULE[@]}") wanteds=("${ROW_WANTED[@]}")
    ROW_KIND=() ROW_TARGET=() ROW_RULE=() ROW_WANTED=()
    for index in "${!kinds[@]}"; do
        if ! value=$(read_setting "${kinds[index]}" "${targets[index]}"); then
            unread=$(label_setting "${kinds[index]}" "${targets[index]}")
            continue
        fi
        want "${kinds[index]}" "${targets[index]}" "${rules[index]}" "${wanteds[index]}"
        ROW_VALUE+=("$value")
        if satisfies "$value" "${rules[index]}" "${wanteds[index]}"; then ROW_GOOD+=(1); else ROW_GOOD+=(0); fi
    done
    ((${#ROW_KIND[@]})) || skip "$unread cannot be read here"
}

# plan_row INDEX: COMMAND for one setting of the knob looked at last.
plan_row() {
    plan_setting "${ROW_KIND[$1]}" "${ROW_TARGET[$1]}" \
        "$(value_to_write "${ROW_VALUE[$1]}" "${ROW_RULE[$1]}" "${ROW_WANTED[$1]}")"
}
