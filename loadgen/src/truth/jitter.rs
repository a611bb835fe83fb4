//! Interarrival jitter as RTP reports it (RFC 3550, section 6.4.1 and appendix A.8).

#[derive(Clone, Debug, Default)]
pub(crate) struct Jitter {
    last_transit_ns: Option<i64>,
    estimate_ns: f64,
}

impl Jitter {
    /// Takes a frame's time on the way; returns the estimate in nanoseconds.
    pub(crate) fn handle(&mut self, transit_ns: i64) -> f64 {
        if let Some(last) = self.last_transit_ns.replace(transit_ns) {
            #[allow(clippy::cast_precision_loss, reason = "differences of delays, far below 2^52 ns")]
            let difference = transit_ns.abs_diff(last) as f64;
            self.estimate_ns += (difference - self.estimate_ns) / 16.0;
        }
        self.estimate_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_delay_has_none_and_an_alternating_one_its_difference() {
        let mut steady = Jitter::default();
        assert!((0..100).all(|_| steady.handle(40_000_000) == 0.0));
        let mut alternating = Jitter::default();
        let estimate = (0..1000)
            .map(|n| alternating.handle(if n % 2 == 0 { 0 } else { 4_000_000 }))
            .last();
        assert!((estimate.unwrap() - 4_000_000.0).abs() < 1.0);
    }
}
