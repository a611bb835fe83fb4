//! The summary as a person reads it.

use std::fmt;

use super::summary::{MOS_MODEL, Percentiles, Summary};

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_counts(out)?;
        writeln!(out)?;
        self.write_times(out)?;
        writeln!(out)?;
        self.write_costs(out)?;
        if let Some(clocks) = &self.clocks {
            writeln!(out, "clocks     {clocks}")?;
        }
        for judged in &self.thresholds {
            if !judged.passed {
                match judged.value {
                    Some(value) => writeln!(out, "missed     {} (it is {value:.3})", judged.threshold)?,
                    None => writeln!(out, "missed     {} (it was not measured)", judged.threshold)?,
                }
            }
        }
        write!(out, "verdict    {}", self.verdict)
    }
}

impl Summary {
    fn write_counts(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(out, "relay      {}", self.relay)?;
        writeln!(
            out,
            "load       {}; seed {}, {:.0} s measured{}",
            self.workload,
            self.seed,
            self.seconds,
            if self.ended_early { ", ended early" } else { "" }
        )?;
        writeln!(
            out,
            "calls      {} of {} established, {} failed{}",
            counts.calls_established,
            counts.calls_attempted,
            counts.calls_failed,
            others(&[
                (counts.calls_blocked, "blocked"),
                (counts.calls_cut_off, "cut off by the end"),
                (counts.connections_lost, "connections lost"),
                (counts.subscriptions_lost, "subscriptions lost"),
                (counts.violations, "breaches of the protocol"),
                (counts.reconnects, "reconnects"),
            ])
        )?;
        self.write_phones(out)?;
        self.write_sip(out)?;
        for (reason, times) in &self.reasons {
            writeln!(out, "           {times} x {reason}")?;
        }
        writeln!(
            out,
            "frames     {} of {} delivered ({:.0}/s), {} lost, {} late, {} skipped, {} corrupt{}",
            counts.frames_delivered,
            counts.frames_expected,
            self.delivered_per_s,
            counts.frames_lost,
            counts.frames_late,
            counts.frames_skipped,
            counts.frames_corrupt,
            others(&[
                (counts.groups_lost, "whole groups lost"),
                (counts.frames_duplicated, "twice"),
                (counts.frames_reordered, "out of order"),
                (counts.frames_stray, "stray"),
                (counts.groups_unsent, "groups not sent by clients"),
            ])
        )?;
        writeln!(
            out,
            "           of {} offered; {} not owed, as sent before a listener had subscribed or after it left",
            counts.frames_offered, counts.frames_not_owed
        )?;
        if counts.clear_path_expected > 0 {
            writeln!(
                out,
                "           {} of {} missed where neither path is impaired",
                counts.clear_path_missed, counts.clear_path_expected
            )?;
        }
        Ok(())
    }

    fn write_phones(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phones = &self.counts.phones;
        if phones.registered == 0 {
            return Ok(());
        }
        writeln!(
            out,
            "phones     {} registered, {} holds, {} of {} keys heard{}",
            phones.registered,
            phones.holds,
            phones.digits_heard,
            phones.digits_sent,
            others(&[
                (phones.sockets_lost, "sockets lost"),
                (phones.refused, "requests refused"),
                (phones.calls_dropped, "calls ended by the switch"),
                (phones.ends_untold, "not told that their call is over"),
                (phones.holds_failed, "holds failed"),
                (phones.held_bytes, "bytes while on hold"),
                (phones.digits_lost, "keys lost"),
            ])
        )
    }

    fn write_sip(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sip = &self.counts.sip;
        if sip.registrations + sip.registrations_failed > 0 {
            writeln!(
                out,
                "SIP        {} registrations ({:.0}/s), {} of them asked for the password, {} failed",
                sip.registrations, self.registrations_per_s, sip.registrations_challenged, sip.registrations_failed
            )?;
        }
        for (status, times) in &self.refused_by_status {
            writeln!(out, "           {times} x refused with {status}")?;
        }
        if sip.packets_foreign > 0 {
            writeln!(out, "           {} packets from elsewhere", sip.packets_foreign)?;
        }
        Ok(())
    }

    fn write_times(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "           {:>9} {:>9} {:>9} {:>9} {:>9}",
            "p50", "p90", "p99", "p99.9", "max"
        )?;
        for (name, percentiles) in [
            ("one way", &self.one_way_ms),
            ("by MoQ", &self.listened_ms),
            ("clear path", &self.clear_path_one_way_ms),
            ("jitter", &self.jitter_ms),
            ("set-up", &self.setup_ms),
            ("handshake", &self.handshake_ms),
            ("announced", &self.announced_ms),
            ("accepted", &self.subscribed_ms),
            ("1st frame", &self.first_frame_ms),
            ("floor", &self.floor_ms),
            ("silence", &self.silence_ms),
            ("register", &self.register_ms),
            ("ringing", &self.ringing_ms),
            ("connected", &self.connected_ms),
            ("refused", &self.refused_ms),
            ("answered", &self.accepted_ms),
            ("heard", &self.heard_ms),
            ("hold", &self.hold_ms),
            ("resume", &self.resume_ms),
            ("key", &self.digit_ms),
            ("hang up", &self.hang_up_ms),
        ] {
            if let Some(percentiles) = percentiles {
                writeln!(out, "{name:<10} {percentiles}")?;
            }
        }
        Ok(())
    }

    fn write_costs(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mos) = &self.mos {
            writeln!(
                out,
                "MOS        median {:.2}, worst 1 % {:.2}: {}",
                mos.p50, mos.p1, MOS_MODEL
            )?;
            for model in &self.mos_model {
                writeln!(
                    out,
                    "           {}",
                    model.trim_start_matches(MOS_MODEL).trim_start_matches(": ")
                )?;
            }
        }
        if let Some(percent) = self.relay_cpu_percent {
            let memory = self.relay_rss_mib.map(|mib| format!(", {mib:.1} MiB"));
            writeln!(
                out,
                "relay      {}{percent:.1} % of a core{}{}",
                per_frame(self.relay_cpu_us_per_frame),
                memory.unwrap_or_default(),
                others(&[(
                    self.relay_socket_drops.unwrap_or_default(),
                    "datagrams dropped by its sockets"
                )])
            )?;
        }
        writeln!(
            out,
            "generator  {}{:.0} % of a core, late by {:.2} ms (p99), {:.2} ms at most, by {:.2} ms (p99) with setting up{}{}",
            per_frame(self.generator.cpu_us_per_frame),
            self.generator.cpu_percent,
            self.generator.lag_ms_p99,
            self.generator.lag_ms.map_or(0.0, |lag| lag.max),
            self.generator.setup_lag_ms.map_or(0.0, |lag| lag.p99),
            others(&[
                (self.generator.socket_drops, "datagrams dropped by its sockets"),
                (
                    self.counts.path_datagrams_dropped,
                    "datagrams too many on impaired paths"
                )
            ]),
            if self.generator.valid {
                ""
            } else {
                ": it was the bottleneck, this is not a result"
            }
        )
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2}  ms",
            self.p50, self.p90, self.p99, self.p999, self.max
        )
    }
}

/// Nothing when no frame was delivered.
fn per_frame(cpu_us: Option<f64>) -> String {
    cpu_us.map_or_else(String::new, |cost| format!("{cost:.2} us of CPU per delivered frame, "))
}

/// What happened of things that mostly do not.
pub(super) fn others(counts: &[(u64, &str)]) -> String {
    counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!(", {count} {name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::summary::Circumstances;
    use crate::truth::interval::{Interval, Measure};

    #[test]
    fn an_estimate_says_what_it_rests_on() {
        let mut total = Interval::new(0);
        let run = Circumstances {
            codecs: vec!["pcmu"],
            ..Circumstances::default()
        };
        let text = |total: &Interval| Summary::new(total, &run).to_string();
        assert!(!text(&total).contains("MOS"), "nothing was estimated");
        total.record(Measure::Mos, 4321);
        let text = text(&total);
        assert!(text.contains("worst 1 % 4.32: estimate by the E-model"), "{text}");
        assert!(
            text.contains("\n           pcmu: Ie 0, Bpl 25.1, BurstR 1, 20 ms of codec delay (G.113"),
            "{text}"
        );
    }
}
