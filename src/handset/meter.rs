//! How loud it is, how much is lost, and how evenly it comes: of each second, and of all.

use std::fmt::{self, Write};
use std::time::{Duration, Instant};

/// What is measured of frames.
#[derive(Debug, Default)]
pub(super) struct Meter {
    second: Figures,
    all: Figures,
    /// The last frame that came: its number, its timestamp as time, and when that was.
    last: Option<(u64, Duration, Instant)>,
    /// As RFC 3550 has it, in seconds.
    jitter: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    frames: u64,
    lost: u64,
    late: u64,
    gap_max: Duration,
    /// Of samples, squared.
    energy: f64,
    samples: u64,
}

impl Meter {
    /// A frame has come, in whatever order.
    pub(super) fn came(&mut self, number: u64, timestamp: Duration, now: Instant) {
        if let Some((before, its_timestamp, came)) = self.last {
            let gap = now.saturating_duration_since(came);
            self.each(|figures| figures.gap_max = figures.gap_max.max(gap));
            if number == before.wrapping_add(1) {
                let meant = timestamp.as_secs_f64() - its_timestamp.as_secs_f64();
                self.jitter += ((gap.as_secs_f64() - meant).abs() - self.jitter) / 16.0;
            }
        }
        self.last = Some((number, timestamp, now));
        self.each(|figures| figures.frames += 1);
    }

    /// One came when its turn was over.
    pub(super) fn late(&mut self) {
        self.each(|figures| figures.late += 1);
    }

    pub(super) fn lost(&mut self, count: u64) {
        self.each(|figures| figures.lost += count);
    }

    /// Samples that are heard or said.
    pub(super) fn sound(&mut self, samples: &[i16]) {
        let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        self.each(|figures| {
            figures.energy += energy;
            figures.samples += samples.len() as u64;
        });
    }

    /// What the last second was like; another one begins.
    pub(super) fn take_second(&mut self) -> String {
        let second = std::mem::take(&mut self.second);
        self.line(&second)
    }

    /// How loud the last second was; another one begins.
    pub(super) fn take_level(&mut self) -> String {
        Level(&std::mem::take(&mut self.second)).to_string()
    }

    /// How loud all of it was.
    pub(super) fn level(&self) -> String {
        Level(&self.all).to_string()
    }

    /// What all of it was like.
    pub(super) fn summary(&self) -> String {
        self.line(&self.all)
    }

    fn each(&mut self, change: impl Fn(&mut Figures)) {
        change(&mut self.second);
        change(&mut self.all);
    }

    fn line(&self, figures: &Figures) -> String {
        let mut line = format!("level {}  frames {}", Level(figures), figures.frames);
        let sum = figures.frames + figures.lost;
        let percent = if sum == 0 {
            0.0
        } else {
            figures.lost as f64 * 100.0 / sum as f64
        };
        let _ = write!(
            line,
            "  lost {} ({percent:.1} %)  late {}  jitter {:.1} ms  gap {:.0} ms",
            figures.lost,
            figures.late,
            self.jitter * 1000.0,
            figures.gap_max.as_secs_f64() * 1000.0,
        );
        line
    }
}

/// In decibels below the loudest that there is, of the root mean square.
struct Level<'a>(&'a Figures);

impl fmt::Display for Level<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { energy, samples, .. } = self.0;
        if *energy == 0.0 || *samples == 0 {
            return formatter.write_str("-inf dBFS");
        }
        let mean = energy / *samples as f64;
        write!(
            formatter,
            "{:.1} dBFS",
            10.0 * (mean / f64::from(i16::MAX).powi(2)).log10()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_the_whole_are_measured() {
        let (mut meter, begin) = (Meter::default(), Instant::now());
        let ms = Duration::from_millis;
        for n in 0..50_u64 {
            // Every second one is 4 ms late.
            meter.came(n, ms(20 * n), begin + ms(20 * n + 4 * (n % 2)));
            meter.sound(&[i16::MAX / 10, -i16::MAX / 10]);
        }
        meter.lost(50);
        meter.late();
        let line = meter.take_second();
        for part in [
            "level -20.0 dBFS",
            "frames 50",
            "lost 50 (50.0 %)",
            "late 1",
            "jitter 3.",
            "gap 24 ms",
        ] {
            assert!(line.contains(part), "no {part}: {line}");
        }
        assert!(
            meter
                .take_second()
                .starts_with("level -inf dBFS  frames 0  lost 0 (0.0 %)")
        );
        assert!(meter.summary().contains("frames 50  lost 50"));
    }
}
