#!/usr/bin/env bash
# What do telephones of SIP cost a switch, how many does it carry, and how soon are their calls set up? Steps:
#
#   registrations   telephones that register anew, each asked for its digest (UDP): how many a second when so many are
#                   under way all the time, and how long they take at a rate
#   set-ups         calls that come at a rate and last some seconds, digest, UDP: INVITE to 180, INVITE to 200 and its ACK,
#                   what was lost of their speech
#   legs            legs of PCMU that talk all the time, one number of --legs after the other until it is too many: delay, loss
#   to-web          the same to web phones, at --rate, and at 10 and 20 times it: INVITE to 180 and to the answer, and what is refused;
#                   needs node
#   scanner         50 calls beside 10 000 REGISTERs a second of users that nobody has, each of which is answered; needs node
#   cost            CPU of a packet that is forwarded, RTP to MoQ to RTP, in rounds
#
#   perf/sip.sh [--steps S,...] [--rate R] [--talk S] [--legs N,...] [--seconds S] [--rounds R] [--cost-calls N] [--no-peers] [--json FILE]
#               [--no-history]
#
#   --steps S,...   which of them                                         (default: all)
#   --rate R        calls that begin in a second, of `set-ups`            (default: 100)
#   --talk S        how long those last, in the mean, seconds             (default: 2)
#   --legs N,...    of `legs`; two for each call                          (default: 500,1000,1500,2000)
#   --seconds S     measured in each load                                 (default: 15)
#   --rounds R      of `cost`, switch and peer in turn                    (default: 3)
#   --cost-calls N  calls that talk, of `cost`                            (default: 100)
#   --no-peers      leaves kamailio and rtpengine out
#   --json FILE     writes the result
#   --no-history    does not append the result to perf/history.jsonl
#
#   MOQSWITCH       a switch to measure instead of this tree's
#   SIP_PORT        where it listens, and kamailio in turn                (default: 25060)
#
# The whole switch has one core, the generator another. Peers are used where they are installed
# (apt-get install kamailio rtpengine-daemon): kamailio with one worker registers and sets up, a proxy that leaves speech
# alone; rtpengine with one thread in user space forwards it. Exit status: 0 measured, 2 cannot run.
set -euo pipefail
switch=${MOQSWITCH:-}
# shellcheck source-path=SCRIPTDIR
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

readonly SIP_PORT=${SIP_PORT:-25060}
readonly NG_PORT=$((SIP_PORT + 1))
readonly PASSWORD=lab
# Numbers of telephones, and how many there may be in a step.
readonly FIRST=7000000000 PHONES=2400
# RTP has an address of its own, with all its ports.
readonly RTP_ADDRESS=127.0.0.2
# Of a leg: speech is late beyond it.
readonly DELAY_MS_MAX=20

main() {
    local json='' with_history=1 with_peers=1 steps=registrations,set-ups,to-web,legs,scanner,cost rate=100 talk=2 legs=500,1000,1500,2000 seconds=15 rounds=3 cost_calls=100 step
    parse "$@"
    lab_begin
    check_cores
    [[ -z $json ]] || writable --json "$json"
    build
    choose_relay "$switch"
    write_users
    : >"$work/steps.jsonl"
    for step in ${steps//,/ }; do
        say "$step"
        "step_${step//-/_}"
    done
    jq -n --argjson stamp "$(stamp)" --argjson built "$(built_otherwise "$switch")" --slurpfile steps "$work/steps.jsonl" \
        '$stamp + $built + {sip: $steps}' >"$work/result.json"
    [[ -z $json ]] || cp "$work/result.json" "$json"
    ((!with_history)) || append_history sip <"$work/result.json"
    print_table
}

parse() {
    while (($#)); do
        case $1 in
        --steps) steps=${2:-}; [[ $steps =~ ^(registrations|set-ups|to-web|legs|scanner|cost)(,(registrations|set-ups|to-web|legs|scanner|cost))*$ ]] \
            || die 2 "--steps: registrations, set-ups, to-web, legs, scanner, cost"; shift 2 ;;
        --rate) positive "$1" "${2:-}"; rate=$2; shift 2 ;;
        --talk) positive "$1" "${2:-}"; talk=$2; shift 2 ;;
        --legs) legs=${2:-}; [[ $legs =~ ^[1-9][0-9]{0,4}(,[1-9][0-9]{0,4})*$ ]] || die 2 "--legs: numbers with commas between"; shift 2 ;;
        --seconds) positive "$1" "${2:-}"; seconds=$2; shift 2 ;;
        --rounds) positive "$1" "${2:-}"; rounds=$2; shift 2 ;;
        --cost-calls) positive "$1" "${2:-}"; cost_calls=$2; shift 2 ;;
        --no-peers) with_peers=0; shift ;;
        --json) json=${2:-}; [[ -n $json ]] || die 2 "--json needs a file"; shift 2 ;;
        --no-history) with_history=0; shift ;;
        -h | --help) usage ;;
        *) die 2 "unknown argument '$1' (--help shows all)" ;;
        esac
    done
}

# --- what is loaded

# Users of the switch. Who registers by SIP is let in by the digests; the hash is of no use to anybody.
write_users() {
    local number hash
    hash=$("$moqswitch" user hash <<<"$PASSWORD")
    for ((number = FIRST; number < FIRST + PHONES; number++)); do
        printf '[users."%s"]\nhash = "%s"\nha1 = "%s"\nha1_sha256 = "%s"\n' "$number" "$hash" \
            "$(digest md5sum "$number")" "$(digest sha256sum "$number")"
    done >"$work/users.toml"
    cat >"$work/open.toml" <<END
[sip]
udp = "127.0.0.1:$SIP_PORT"
[rtp]
address = "$RTP_ADDRESS"
ports = "1024-65535"
END
    { cat "$work/open.toml"; printf '[calls]\nusers = "%s"\n' "$work/users.toml"; } >"$work/closed.toml"
}

digest() { # program, number
    printf '%s:moqswitch:%s' "$2" "$PASSWORD" | "$1" | cut -d' ' -f1
}

start_switch() { # open or closed
    launch_moqswitch "$moqswitch" --config "$work/$1.toml" || relay_failed
    loaded_pid=$relay_pid
}

has_peers() { # programs...
    local program
    ((with_peers)) || return 1
    for program in "$@"; do
        command -v "$program" >/dev/null || { say "no $program: apt-get install kamailio rtpengine-daemon"; return 1; }
    done
}

# A stateful proxy and registrar in memory, with one worker.
start_kamailio() { # flags: digest, media
    local modules=${KAMAILIO_MODULES:-$(dirname "$(dpkg -L kamailio 2>/dev/null | grep /tm.so || echo /usr/lib/x86_64-linux-gnu/kamailio/modules/tm.so)")}
    {
        for flag in "$@"; do echo "#!define WITH_${flag^^}"; done
        sed -e "s,@modules@,$modules,; s,@port@,$SIP_PORT,; s,@ng@,$NG_PORT,; s,@password@,$PASSWORD," "$lab_directory/kamailio.cfg"
    } >"$work/kamailio.cfg"
    launch_relay kamailio -DD -E -f "$work/kamailio.cfg" -m 512 -M 32 -Y "$work"
    await_relay listens "$SIP_PORT" || relay_failed
    # The worker is the first that it begins; the others wait for what does not come.
    loaded_pid=$(pgrep -o -P "$relay_pid")
}

start_rtpengine() {
    start_child "$work/rtpengine.out" taskset -c "$RELAY_CORE" rtpengine --foreground --log-stderr --log-level=4 --table=-1 --no-fallback \
        --interface="$RTP_ADDRESS" --listen-ng="127.0.0.1:$NG_PORT" --port-min=10000 --port-max=65000 --num-threads=1 --pidfile="$work/rtpengine.pid"
    rtpengine_pid=$child_pid
    relay_pid=$rtpengine_pid
    await_relay listens "$NG_PORT" || { last_words "$work/rtpengine.out"; die 2 "rtpengine does not start"; }
}

listens() { # UDP port
    grep -qi ":$(printf %04X "$1") " /proc/net/udp
}

# Kamailio ends its workers when it is told to end.
end_kamailio() {
    end_child "$relay_pid"
    relay_pid=''
}

# --- loads

# Leaves a summary and a recording by a name.
load() { # name, pid whose CPU counts, scenario, further flags...
    local name=$1 pid=$2 status=0
    printf '%s\n' "$3" >"$work/$name.toml"
    shift 3
    start_child "$work/loadgen.out" "$loadgen" run "$work/$name.toml" --relay-sip "127.0.0.1:$SIP_PORT" --relay-pid "$pid" \
        --cores "$LOADGEN_CORE" --json "$work/$name.json" --jsonl "$work/$name.jsonl" "$@"
    load_pid=$child_pid
    await_load || status=$?
    ((status == 0 || status == 3)) || load_failed "$status"
}

# All of a load but what it is made of.
common() { # warm-up
    cat <<END
duration = '$(($1 + seconds))s'
warm_up = '$1s'
shape = { kind = 'two-party' }
END
}

registering() { # arrivals, limits
    common 0
    cat <<END
thresholds = ['frames_expected == 0']
arrivals = { $1 }
limits = { $2 }
audio = { media = { codec = 'pcmu' } }
phone = { first_number = $FIRST }
sip = { registers_only = true }
END
}

calls() { # warm-up, arrivals, hold, concurrent, answer, pauses
    common "$1"
    cat <<END
arrivals = { $2 }
hold = { $3 }
limits = { concurrent = $4 }
audio = { media = { codec = 'pcmu' }, pauses = $6 }
phone = { answer = { $5 }, first_number = $FIRST }
sip = { transport = 'udp' }
END
}

# Calls that talk all the time.
talking() { # calls
    calls $(($1 / 50 + 5)) "pattern = 'constant', rate = 50.0" "distribution = 'forever'" "$1" "distribution = 'fixed', time = '100ms'" false
}

# --- steps

# As many telephones as there are may be under way in the second load.
step_registrations() {
    start_switch closed
    registrations moqswitch
    end_relay
    ! has_peers kamailio || { start_kamailio digest; registrations kamailio; end_kamailio; }
}

registrations() { # of what
    load busy "$loaded_pid" "$(registering "pattern = 'constant', rate = 1.0" "concurrent = 128, closed = true")" --password "$PASSWORD"
    load steady "$loaded_pid" "$(registering "pattern = 'poisson', rate = 500.0" 'concurrent = 1000')" --password "$PASSWORD"
    jq -c --arg of "$1" --slurpfile at_rate "$work/steady.json" \
        --slurpfile threads "$work/busy.jsonl" "$CPU_OF_THREADS"'
        def each: .relay_cpu_percent * .seconds * 10000 / .sip.registrations;
        {step: "registrations", of: $of, per_s: .registrations_per_s, challenged: .sip.registrations_challenged,
            failed: .sip.registrations_failed, register_ms, cpu_us_each: each,
            calls_thread_percent: cpu("calls"), generator_percent: .generator.cpu_percent, at_500: ($at_rate[0] | {per_s: .registrations_per_s,
            failed: .sip.registrations_failed, register_ms, cpu_us_each: each, valid: .generator.valid}),
            valid: .generator.valid, reasons}' "$work/busy.json" >>"$work/steps.jsonl"
}

# shellcheck disable=SC2016 # variables of jq
readonly CPU_OF_THREADS='($threads | map(select(.host)) | [first, last]) as $ends
    | ($ends[1].interval - $ends[0].interval) as $s
    | def cpu($name): [$ends[] | [.host.relay_threads[] | select(.name == $name) | .cpu_seconds] | add // 0] | (.[1] - .[0]) * 100 / $s;'

step_set_ups() {
    start_switch closed
    set_ups moqswitch
    end_relay
    ! has_peers kamailio || { start_kamailio digest; set_ups kamailio; end_kamailio; }
}

# No passwords and no speech: it is the calls thread that is loaded.
step_to_web() {
    local times
    command -v node >/dev/null || { say "no node"; return; }
    for times in 1 10 20; do
        start_switch open
        taskset -c "$LOADGEN_CORE" node "$lab_directory/to-web.mjs" "$SIP_PORT" "$(http_port)" $((rate * times)) "$seconds" >"$work/to-web.json" \
            || { last_words "$work/relay.out"; die 2 "web phones cannot be called"; }
        jq -c --argjson rate $((rate * times)) --argjson seconds "$seconds" --argjson cpu "$(calls_thread_ms)" \
            '{step: "to-web", of: "moqswitch", rate: $rate, calls_thread_percent: ($cpu / $seconds / 10)} + .' "$work/to-web.json" >>"$work/steps.jsonl"
        end_relay
    done
}

http_port() {
    grep -o 'http=[^ ]*' "$work/relay.out" | grep -o '[0-9]*$'
}

# Of the thread that calls are made on, since it began. The kernel counts in hundredths of a second.
calls_thread_ms() {
    local task
    for task in /proc/"$relay_pid"/task/*; do
        [[ $(<"$task/comm") != calls ]] || awk '{ print ($14 + $15) * 10 }' "$task/stat"
    done
}

# Well above what is up on average: none is to be blocked.
set_ups() { # of what
    load set_ups "$loaded_pid" "$(calls 3 "pattern = 'poisson', rate = $rate.0" "distribution = 'exponential', mean = '${talk}s'" \
        $((rate * (talk + 2) * 3 / 2)) "distribution = 'exponential', mean = '300ms'" true)" --password "$PASSWORD"
    figures set-ups "$1" set_ups
}

step_legs() {
    local number
    start_switch open
    for number in ${legs//,/ }; do
        load legs "$loaded_pid" "$(talking $((number / 2)))"
        figures legs moqswitch legs
        jq -e --argjson most "$DELAY_MS_MAX" '.calls_failed == 0 and .frames_lost == 0 and (.one_way_ms.p99 // 1e9) <= $most' \
            "$work/legs.json" >/dev/null || { say "$number legs are too many"; break; }
    done
    end_relay
}

# This host is believed to be who it says, and its sources have no budget: each REGISTER is answered.
step_scanner() {
    local scanner
    command -v node >/dev/null || { say "no node"; return; }
    start_switch closed
    start_child "$work/scanner.out" taskset -c "$LOADGEN_CORE" node "$lab_directory/scanner.mjs" "$SIP_PORT" 10000 $((seconds + 6))
    scanner=$child_pid
    load scanner "$loaded_pid" "$(talking 50)" --password "$PASSWORD"
    figures scanner moqswitch scanner
    end_child "$scanner"
    end_relay
}

# Both in turn, so that both have the same neighbours.
step_cost() {
    local round
    for ((round = 0; round < rounds; round++)); do
        start_switch open
        load cost "$loaded_pid" "$(talking "$cost_calls")"
        figures cost moqswitch cost
        end_relay
        has_peers kamailio rtpengine || continue
        start_rtpengine
        start_kamailio media
        load cost "$rtpengine_pid" "$(talking "$cost_calls")"
        figures cost rtpengine cost
        end_kamailio
        end_child "$rtpengine_pid"
    done
}

figures() { # step, of what, file
    jq -c --arg step "$1" --arg of "$2" --slurpfile threads "$work/$3.jsonl" "$CPU_OF_THREADS"'
        {step: $step, of: $of, attempted: .calls_attempted, established: .calls_established, failed: .calls_failed, blocked: .calls_blocked,
        refused: .refused_by_status, dropped: .phones.calls_dropped, ends_untold: .phones.ends_untold, expected: .frames_expected,
        lost: .frames_lost, late: .frames_late, corrupt: .frames_corrupt, ringing_ms, connected_ms, accepted_ms, heard_ms, hang_up_ms, refused_ms,
        one_way_ms, mos_p1: .mos.p1, cpu_us_per_packet: .relay_cpu_us_per_frame, cpu_percent: .relay_cpu_percent,
        calls_thread_percent: cpu("calls"),
        rss_mib: .relay_rss_mib, generator_percent: .generator.cpu_percent, lag_ms_p99: .generator.lag_ms_p99,
        setup_lag_ms_p99: .generator.setup_lag_ms.p99, valid: .generator.valid, reasons}' "$work/$3.json" >>"$work/steps.jsonl"
}

print_table() {
    jq -r "$MEDIAN"'
        def figure: if . == null then "-" else . * 100 | round / 100 | tostring end;
        def fault: if .valid then "" else ": THE GENERATOR WAS THE BOTTLENECK" end;
        "\(.date), commit \(.commit), \(.host), kernel \(.kernel), load average \(.load_average)", "",
        (.sip[] | select(.step == "registrations") |
            "\(.step), \(.of): \(.per_s | figure)/s with 128 under way, p50 \(.register_ms.p50 | figure), p99 \(.register_ms.p99 | figure) ms, \(.cpu_us_each | figure) us of CPU each, \(.failed) failed\(fault)",
            "    at 500/s: p50 \(.at_500.register_ms.p50 | figure), p99 \(.at_500.register_ms.p99 | figure) ms, \(.at_500.cpu_us_each | figure) us each, \(.at_500.failed) failed\(.at_500 | fault)"),
        (.sip[] | select(.step == "set-ups" or .step == "legs" or .step == "scanner") |
            "\(.step), \(.of): \(.established) of \(.attempted) calls, \(.failed) failed, \(.blocked) blocked; of \(.expected) packets \(.lost) lost, \(.late) late\(fault)",
            "    180 p50 \(.ringing_ms.p50 | figure), p99 \(.ringing_ms.p99 | figure) ms; 200 and ACK p50 \(.connected_ms.p50 | figure), p99 \(.connected_ms.p99 | figure) ms; heard p99 \(.heard_ms.p99 | figure) ms; one way p50 \(.one_way_ms.p50 | figure), p99 \(.one_way_ms.p99 | figure) ms",
            "    \(.cpu_percent | figure) % of a core, calls thread \(.calls_thread_percent | figure) %, \(.cpu_us_per_packet | figure) us of CPU for each packet; generator \(.generator_percent | figure) %, late by \(.lag_ms_p99 | figure) and \(.setup_lag_ms_p99 | figure) ms (p99)"),
        (.sip[] | select(.step == "to-web") |
            "\(.step), \(.rate) calls a second: 180 p50 \(.ringing_ms.p50 | figure), p99 \(.ringing_ms.p99 | figure) ms; calls thread \(.calls_thread_percent | figure) %; \(.unended) unended; generator late by \(.lag_ms_p99 | figure) ms (p99)",
            (.final_ms_by_status | to_entries[] | "    \(.key): \(.value.calls) calls, p50 \(.value.p50 | figure), p99 \(.value.p99 | figure) ms")),
        ([.sip[] | select(.step == "cost")] | group_by(.of)[] |
            "cost, \(.[0].of): \([.[].cpu_us_per_packet] | median | figure) us of CPU for each forwarded packet (\([.[].cpu_us_per_packet | figure] | join(", "))), one way p99 \([.[].one_way_ms.p99] | median | figure) ms, \([.[].lost] | add) lost, \([.[] | select(.valid | not)] | length) rounds without a result")' \
        "$work/result.json"
}

main "$@"
