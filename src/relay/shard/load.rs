//! Whether a shard has more to do than its core can: then new sessions are refused, before those that are there suffer.
//!
//! What counts is how long a turn takes, since whatever comes meanwhile waits for the next; and that it is the shard itself
//! that uses its core up: one that does not get its core is late too, but to refuse sessions would not help it.

use std::time::{Duration, Instant};

/// From when on a shard counts as overloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverloadOptions {
    /// Mean time of its turns. Zero: it never does.
    pub lateness: Duration,
    /// Hundredths of its core that the shard itself uses. Where the system does not tell, this is not asked.
    pub core_share_min: u32,
}

impl Default for OverloadOptions {
    fn default() -> Self {
        Self {
            lateness: Duration::from_millis(20),
            core_share_min: 80,
        }
    }
}

/// The turns of one shard.
#[derive(Debug)]
pub(super) struct Load {
    options: OverloadOptions,
    since: Instant,
    busy: Duration,
    turns: u32,
    /// CPU time of the thread when the window began.
    used: Option<Duration>,
    is_overloaded: bool,
}

impl Load {
    pub(super) fn new(options: OverloadOptions, now: Instant) -> Self {
        Self {
            options,
            since: now,
            busy: Duration::ZERO,
            turns: 0,
            used: None,
            is_overloaded: false,
        }
    }

    pub(super) fn is_overloaded(&self) -> bool {
        self.is_overloaded
    }

    /// A turn is over. `cpu_time` is what the thread has used so far, and asked for only now and then. True: it is overloaded
    /// from now on, or no longer.
    pub(super) fn on_turn(
        &mut self,
        began: Instant,
        ended: Instant,
        cpu_time: impl FnOnce() -> Option<Duration>,
    ) -> bool {
        self.busy += ended.saturating_duration_since(began);
        self.turns += 1;
        let window = ended.saturating_duration_since(self.since);
        if window < WINDOW || self.options.lateness.is_zero() {
            return false;
        }
        let used = cpu_time();
        let before = std::mem::replace(&mut self.used, used);
        let share = used
            .zip(before)
            .map(|(used, before)| hundredths(used.saturating_sub(before), window));
        let turn = self.busy / self.turns;
        (self.since, self.busy, self.turns) = (ended, Duration::ZERO, 0);
        let is_overloaded = judge(&self.options, self.is_overloaded, turn, share);
        std::mem::replace(&mut self.is_overloaded, is_overloaded) != is_overloaded
    }
}

/// It takes more to begin than to go on, so that it does not flicker.
fn judge(options: &OverloadOptions, was_overloaded: bool, turn: Duration, share: Option<u32>) -> bool {
    let (turn_min, share_min) = match was_overloaded {
        false => (options.lateness, options.core_share_min),
        true => (options.lateness / 2, options.core_share_min.saturating_sub(10)),
    };
    turn >= turn_min && share.is_none_or(|share| share >= share_min)
}

fn hundredths(part: Duration, whole: Duration) -> u32 {
    let hundredths = part.as_micros() * 100 / whole.as_micros().max(1);
    u32::try_from(hundredths).unwrap_or(u32::MAX)
}

/// Turns are looked at together for so long.
const WINDOW: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_overloaded_when_turns_are_long_and_the_core_is_used_up() {
        let options = OverloadOptions::default();
        let millis = Duration::from_millis;
        assert!(judge(&options, false, millis(20), Some(80)));
        assert!(!judge(&options, false, millis(19), Some(100)));
        // Others have its core.
        assert!(!judge(&options, false, millis(200), Some(50)));
        assert!(judge(&options, false, millis(20), None));
        assert!(judge(&options, true, millis(10), Some(70)) && !judge(&options, false, millis(10), Some(70)));
        assert!(!judge(&options, true, millis(9), Some(100)) && !judge(&options, true, millis(50), Some(60)));
    }

    #[test]
    fn turns_are_looked_at_together() {
        let began = Instant::now();
        let options = OverloadOptions {
            core_share_min: 0,
            ..OverloadOptions::default()
        };
        let mut load = Load::new(options, began);
        let mut now = began;
        let mut turn = |load: &mut Load, length: u64| {
            let start = now;
            now += Duration::from_millis(length);
            load.on_turn(start, now, || None)
        };
        // One that is long by itself is no overload.
        assert!(!turn(&mut load, 100));
        for _ in 0..400 {
            assert!(!turn(&mut load, 1));
        }
        let changes = (0..50).filter(|_| turn(&mut load, 40)).count();
        assert!(changes == 1 && load.is_overloaded());
        let changes = (0..2_000).filter(|_| turn(&mut load, 1)).count();
        assert!(changes == 1 && !load.is_overloaded());
    }
}
