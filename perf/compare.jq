# The result of compare.sh: runs (slurped) to one entry for each workload, with medians over the rounds that are valid.

def median: map(select(. != null)) | sort
    | if length == 0 then null else (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2 end;

# All runs of a contender under one workload. `offered` are the frames that the load has in a run: what is owed to listeners
# in the run that set up most, since those of calls that never came about are owed to nobody.
def contender($offered):
    (map(.round) | unique | length) as $rounds
    | map(select(.failure).failure) as $failures
    | map(select(.figures.is_valid).figures)
    | length as $valid
    | (map(.frames_expected) | add // 0) as $owed
    | (map(.frames_arrived) | add // 0) as $arrived
    | (map(.relay_us_per_frame | select(. != null))) as $us
    | {
        us: ($us | median), us_min: ($us | min), us_max: ($us | max),
        p99_ms: (map(.one_way_p99_ms) | median),
        generator_lag_p99_ms: (map(.generator_lag_p99_ms) | median),
        announced_p99_ms: (map(.announced_p99_ms) | median),
        rss_mib: (map(.relay_rss_mib) | median),
        delivered_per_s: (map(.delivered_per_s) | median),
        delivered_percent: (if $offered * $valid > 0 then 100 * $arrived / ($offered * $valid) else null end),
        lost: (if $valid > 0 then $owed - $arrived else null end),
        calls_failed: (map(.calls_failed) | add // 0),
        connections_lost: (map(.connections_lost) | add // 0),
        rounds: $valid, rounds_invalid: ($rounds - $valid - ($failures | length)), failures: $failures
    };

def whole_enough:
    .delivered_percent != null and .delivered_percent >= $delivered_percent_min
    and .calls_failed == 0 and .connections_lost == 0;

# The mode to compare with: the cheapest of those that delivered, else the one that delivered most.
def best_mode:
    map(select(.us != null))
    | (map(select(whole_enough)) | min_by(.us)) // max_by(.delivered_percent);

def percent: . * 100 | round / 100;

def workload:
    .[0].workload as $name
    | (map(select(.figures.is_valid).figures.frames_expected) | max // 0) as $offered
    | (map(select(.contender == "moqswitch")) | contender($offered)) as $ours
    | (map(select(.contender != "moqswitch")) | group_by(.contender)
        | map({mode: .[0].contender} + contender($offered))) as $modes
    | ($modes | best_mode) as $peer
    | ($peer != null and ($peer | whole_enough | not)) as $is_peer_overloaded
    | {
        name: $name,
        frames_offered: $offered,
        delivered_per_s: $ours.delivered_per_s,
        ours_us: $ours.us, peer_us: $peer.us, peer_mode: $peer.mode,
        ratio: (if $ours.us and $peer.us then $peer.us / $ours.us else null end),
        ours_p99_ms: $ours.p99_ms, peer_p99_ms: $peer.p99_ms,
        ours_lag_ms: $ours.generator_lag_p99_ms, peer_lag_ms: $peer.generator_lag_p99_ms,
        ours_rss_mib: $ours.rss_mib, peer_rss_mib: $peer.rss_mib,
        ours_lost: $ours.lost, peer_lost: $peer.lost,
        rounds: ([$ours.rounds, $peer.rounds // 0] | min),
        is_peer_overloaded: $is_peer_overloaded,
        ours: $ours, modes: $modes,
        notes: [
            (select($is_peer_overloaded)
                | "* no mode of moq-relay set up every call and delivered \($delivered_percent_min) % of the frames; the one that delivered most is shown (\($peer.delivered_percent | percent) %), so the ratio is that of a relay which is not up to the load"),
            (select($peer == null) | "no run of moq-relay counts"),
            (select($ours.us != null and ($ours | whole_enough | not))
                | "moqswitch delivered only \($ours.delivered_percent | percent) % of the frames, \($ours.calls_failed) calls failed and \($ours.connections_lost) connections were lost"),
            ([{mode: "moqswitch"} + $ours] + $modes | .[]
                | (select(.rounds_invalid > 0)
                    | "\(.mode): \(.rounds_invalid) of \(.rounds + .rounds_invalid) rounds are left out, the generator was the bottleneck"),
                  (.mode as $mode | .failures[] | "\($mode): a round is left out, \(.)"))
        ]
    };

(map(.workload) | reduce .[] as $name ([]; if index($name) then . else . + [$name] end)) as $order
| group_by(.workload) | map({key: .[0].workload, value: workload}) | from_entries as $results
| $stamp + {peer: $peer, workloads: [$order[] | $results[.]]}
