# From the switches on a core (perf script -F comm,tid,time,event,trace,ip,sym) to how long each stack of a relay was off it:
# folded stacks with microseconds. `threads` are the relay's, separated by spaces. A thread that was switched out while it
# could have run was preempted: that is not its own waiting.

BEGIN {
    count = split(threads, list, " ")
    for (i = 1; i <= count; i++) is_relay[list[i]] = 1
}

# comm tid time: event: prev_comm=… prev_pid=… prev_prio=… prev_state=… ==> next_comm=… next_pid=… next_prio=…
/sched:sched_switch:/ {
    match($0, /[0-9]+\.[0-9]+:/)
    now = substr($0, RSTART, RLENGTH - 1)
    leaving = value("prev_pid="); state = value("prev_state="); coming = value("next_pid=")
    if (is_relay[coming] && coming in left_at) {
        microseconds[stack[coming]] += (now - left_at[coming]) * 1000000
        delete left_at[coming]
    }
    folded = ""
    next
}

# The innermost frame comes first.
/^[ \t]+[0-9a-f]+ / {
    symbol = $0
    sub(/^[ \t]+[0-9a-f]+ /, "", symbol)
    sub(/\+0x[0-9a-f]+$/, "", symbol)
    gsub(/;/, ":", symbol)
    folded = ";" symbol folded
    next
}

/^$/ {
    if (is_relay[leaving]) {
        left_at[leaving] = now
        stack[leaving] = "relay;" (state ~ /^R/ ? "preempted" : "waiting") folded
    }
    leaving = ""
}

END {
    for (each in microseconds) printf "%s %d\n", each, microseconds[each]
}

function value(key,    from, rest) {
    from = index($0, key)
    if (!from) return ""
    rest = substr($0, from + length(key))
    sub(/ .*/, "", rest)
    return rest
}
