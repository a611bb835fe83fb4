//! How often the call plane began anew lately.

use std::time::Instant;

use crate::limits::{RENEWALS_MAX, RENEWALS_PERIOD};

/// When the plane began anew lately.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    since: Option<Instant>,
    count: u32,
}

impl Renewals {
    /// False: that it does so again and again helps nobody.
    pub(super) fn may_again(&mut self, now: Instant) -> bool {
        let is_over = self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) > RENEWALS_PERIOD);
        if is_over {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count += 1;
        self.count <= RENEWALS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_again_and_again_gives_up_and_who_fails_now_and_then_does_not() {
        let (mut renewals, now) = (Renewals::default(), Instant::now());
        assert!((0..RENEWALS_MAX).all(|_| renewals.may_again(now)));
        assert!(!renewals.may_again(now));
        let later = now + RENEWALS_PERIOD * 2;
        assert!(renewals.may_again(later));
    }
}
