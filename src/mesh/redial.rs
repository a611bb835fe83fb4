//! How long to wait before a link is dialled again. No clock and no randomness here.

use std::time::Duration;

/// The waits of one link: each is drawn evenly below a ceiling, which doubles with each failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redial {
    ceiling: Duration,
}

impl Default for Redial {
    fn default() -> Self {
        Self { ceiling: CEILING_MIN }
    }
}

impl Redial {
    /// The link is over, or came to nothing. `draw` is any number: it decides where below the ceiling the wait is.
    pub(super) fn next(&mut self, lasted: Option<Duration>, draw: u32) -> Duration {
        // One that breaks as soon as it is there must not be dialled in a hurry for ever.
        if lasted.is_some_and(|lasted| lasted >= LASTED_MIN) {
            *self = Self::default();
        }
        let wait = self.ceiling.mul_f64(f64::from(draw) / (f64::from(u32::MAX) + 1.0));
        self.ceiling = (self.ceiling * 2).min(CEILING_MAX);
        wait
    }
}

const CEILING_MIN: Duration = Duration::from_secs(1);
const CEILING_MAX: Duration = Duration::from_secs(30);

/// A link that lasted so long was a good one.
const LASTED_MIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute_and_a_good_link_begins_anew() {
        let mut redial = Redial::default();
        let waits: Vec<u64> = (0..8)
            .map(|_| redial.next(None, u32::MAX).as_secs_f64().round() as u64)
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert!(redial.next(Some(Duration::from_secs(9)), u32::MAX) > Duration::from_secs(29));
        assert!(redial.next(Some(Duration::from_secs(10)), u32::MAX) < Duration::from_secs(1));
        assert_eq!(redial.next(None, 0), Duration::ZERO);
    }
}
