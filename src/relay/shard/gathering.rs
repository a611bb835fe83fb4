//! How long a shard gathers work before a turn: always the same, or by its load.
//!
//! A turn costs a wake, two system calls and a walk over what is kept, whatever it has to do. A shard with time to spare pays
//! that for each arrival and answers at once. The fuller its core, the longer it gathers: at [`CALM`] of the core not at all,
//! at [`FULL`] as long as it may, in between in proportion.
//!
//! A longer window makes the core less busy, which would shorten it again. So it goes a part of the way in each interval
//! ([`STEP`]): then it comes to rest where both agree, and does not swing.

use std::time::{Duration, Instant};

/// The share of a core below which a shard answers at once.
const CALM: f64 = 0.25;

/// The share of a core from which on it gathers as long as it may.
const FULL: f64 = 0.75;

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(250);

/// Of the way to what would be right, that it goes in an interval.
const STEP: f64 = 0.2;

/// Shorter ones are none: the kernel's timers are no finer.
const SHORTEST: Duration = Duration::from_micros(20);

/// How long a shard gathers work before a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchWindow {
    /// Always so long.
    Fixed(Duration),
    /// Not at all while the shard has time to spare, longer as its core fills.
    ByLoad {
        /// As long as this when the core is full.
        max: Duration,
    },
}

impl BatchWindow {
    /// The longest that it is.
    pub fn max(self) -> Duration {
        match self {
            Self::Fixed(window) | Self::ByLoad { max: window } => window,
        }
    }
}

/// The window of a shard.
#[derive(Debug)]
pub(super) struct Gathering {
    rule: BatchWindow,
    /// What is aimed at, before it is cut to what makes sense.
    smoothed: f64,
    now: Duration,
    looked: Option<(Instant, Duration)>,
}

impl Gathering {
    pub(super) fn new(rule: BatchWindow) -> Self {
        let now = match rule {
            BatchWindow::Fixed(window) => window,
            BatchWindow::ByLoad { .. } => Duration::ZERO,
        };
        Self {
            rule,
            smoothed: 0.0,
            now,
            looked: None,
        }
    }

    /// How long to gather now.
    pub(super) fn window(&self) -> Duration {
        self.now
    }

    /// The same in us.
    pub(super) fn window_us(&self) -> u64 {
        u64::try_from(self.now.as_micros()).unwrap_or(u64::MAX)
    }

    /// Whether it is time to say how busy the shard's thread was.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let BatchWindow::ByLoad { .. } = self.rule else {
            return false;
        };
        self.looked
            .is_none_or(|(looked, _)| now.saturating_duration_since(looked) >= INTERVAL)
    }

    /// The thread has used so much CPU since it began. `None`: the system does not say, and the window stays.
    pub(super) fn handle_cpu(&mut self, now: Instant, cpu: Option<Duration>) {
        let (BatchWindow::ByLoad { max }, Some(cpu)) = (self.rule, cpu) else {
            return;
        };
        let before = self.looked.replace((now, cpu));
        let Some((looked, used)) = before else { return };
        let time = now.saturating_duration_since(looked).as_secs_f64();
        if time <= 0.0 {
            return;
        }
        let busy = cpu.saturating_sub(used).as_secs_f64() / time;
        let right = ((busy - CALM) / (FULL - CALM)).clamp(0.0, 1.0) * max.as_secs_f64();
        // After a sleep as far as it would have gone meanwhile.
        let step = 1.0 - (1.0 - STEP).powf(time / INTERVAL.as_secs_f64());
        self.smoothed += step * (right - self.smoothed);
        let window = Duration::from_secs_f64(self.smoothed.max(0.0));
        self.now = if window < SHORTEST {
            Duration::ZERO
        } else {
            window.min(max)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_micros(750);

    /// A shard of which arrivals take a share `work` of the core by themselves, and come so often a second; each turn costs
    /// 25 us more. Returns the windows of the intervals, in us.
    fn run(
        gathering: &mut Gathering,
        clock: &mut (Instant, Duration),
        work: f64,
        arrivals: f64,
        intervals: usize,
    ) -> Vec<f64> {
        (0..intervals)
            .map(|_| {
                let window = gathering.window().as_secs_f64();
                // In a window, and the time that the turn takes, further arrivals come along.
                let turns = arrivals / (1.0 + arrivals * (window + 25e-6));
                let busy = (work + turns * 25e-6).min(1.0);
                clock.0 += INTERVAL;
                clock.1 += INTERVAL.mul_f64(busy);
                assert!(gathering.is_due(clock.0));
                gathering.handle_cpu(clock.0, Some(clock.1));
                gathering.window().as_secs_f64() * 1e6
            })
            .collect()
    }

    fn begun() -> (Gathering, (Instant, Duration)) {
        let mut gathering = Gathering::new(BatchWindow::ByLoad { max: MAX });
        let clock = (Instant::now(), Duration::ZERO);
        gathering.handle_cpu(clock.0, Some(clock.1));
        (gathering, clock)
    }

    #[test]
    fn a_calm_shard_answers_at_once_and_a_full_one_gathers() {
        let (mut gathering, mut clock) = begun();
        assert_eq!(run(&mut gathering, &mut clock, 0.02, 1000.0, 40).last(), Some(&0.0));
        let full = run(&mut gathering, &mut clock, 0.9, 50_000.0, 80);
        assert!(full.last().is_some_and(|window| *window > 740.0), "{full:?}");
        assert_eq!(run(&mut gathering, &mut clock, 0.02, 1000.0, 80).last(), Some(&0.0));
    }

    #[test]
    fn steps_of_load_come_to_rest_without_swinging() {
        for work in [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8] {
            for arrivals in [500.0, 5000.0, 20_000.0, 200_000.0] {
                let (mut gathering, mut clock) = begun();
                for (work, arrivals) in [(work, arrivals), (0.01, 100.0), (work, arrivals)] {
                    let windows = run(&mut gathering, &mut clock, work, arrivals, 60);
                    let late = &windows[40..];
                    let (least, most) = late.iter().fold((f64::MAX, 0.0_f64), |(least, most), window| {
                        (least.min(*window), most.max(*window))
                    });
                    assert!(most - least < 25.0, "{work} {arrivals}: {windows:?}");
                    assert!(most <= 750.0, "{windows:?}");
                }
            }
        }
    }

    #[test]
    fn a_fixed_one_is_what_it_is_and_nobody_need_look() {
        let mut gathering = Gathering::new(BatchWindow::Fixed(MAX));
        let now = Instant::now();
        assert!(!gathering.is_due(now + Duration::from_secs(9)));
        gathering.handle_cpu(now, Some(Duration::ZERO));
        gathering.handle_cpu(now + INTERVAL, Some(Duration::ZERO));
        assert_eq!(gathering.window(), MAX);
    }

    #[test]
    fn a_clock_that_stands_still_changes_nothing() {
        let (mut gathering, clock) = begun();
        gathering.handle_cpu(clock.0, Some(Duration::from_secs(5)));
        gathering.handle_cpu(clock.0 + INTERVAL, None);
        assert_eq!(gathering.window(), Duration::ZERO);
    }
}
