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
        let waits = (0..8).map(|_| redial.next(None, u32::MAX).as_secs_f64().round());
        assert_eq!(
            waits.collect::<Vec<f64>>(),
            [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
        );
        assert!(redial.next(Some(Duration::from_secs(9)), u32::MAX) > Duration::from_secs(29));
        assert!(redial.next(Some(Duration::from_secs(10)), u32::MAX) <= Duration::from_secs(1));
        assert_eq!(redial.next(None, 0), Duration::ZERO);
    }
}
