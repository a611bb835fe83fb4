//! How much each source may send: a bucket that fills steadily, and from which each message takes.

use std::time::Duration;

use super::table::Table;

/// Buckets by source. One that is not there is full.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    /// In which one comes back into a bucket.
    interval: Duration,
    /// What a full bucket lasts, if nothing comes back.
    depth: Duration,
    /// When each bucket will be full again.
    full_at: Table<K, Duration>,
}

impl<K: Copy + Ord> Buckets<K> {
    /// A rate of 0 counts as 1, and a bucket holds one at least.
    pub(super) fn new(per_second: u32, depth: Duration, sources_max: usize) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self {
            interval,
            depth: depth.max(interval),
            full_at: Table::new(sources_max),
        }
    }

    /// False: the bucket is empty.
    pub(super) fn take(&mut self, source: K, now: Duration) -> bool {
        let full_at = self.full_at.get(&source).copied().unwrap_or_default().max(now);
        let after = full_at.saturating_add(self.interval);
        let is_left = after <= now.saturating_add(self.depth);
        // Who takes from an empty one is no older for it.
        self.full_at.put(source, if is_left { after } else { full_at });
        is_left
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.full_at.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn a_bucket_lasts_for_its_burst_and_fills_again() {
        let mut buckets = Buckets::new(2, Duration::from_secs(10), 8);
        let milliseconds = Duration::from_millis;
        let source = IpAddr::from([192, 0, 2, 0]);
        let taken = |buckets: &mut Buckets<IpAddr>, now| (0..100).filter(|_| buckets.take(source, now)).count();
        assert_eq!(taken(&mut buckets, milliseconds(5_000)), 20);
        assert_eq!(taken(&mut buckets, milliseconds(5_499)), 0);
        assert_eq!(taken(&mut buckets, milliseconds(5_500)), 1);
        assert_eq!(
            taken(&mut buckets, milliseconds(1_000)),
            0,
            "a clock that goes back fills nothing"
        );
        assert_eq!(
            taken(&mut buckets, milliseconds(900_000)),
            20,
            "it never holds more than its burst"
        );
        assert!(buckets.take([192, 0, 3, 0].into(), milliseconds(900_000)));
        assert_eq!(taken(&mut Buckets::new(0, Duration::ZERO, 8), Duration::ZERO), 1);
    }

    #[test]
    fn who_was_silent_longest_makes_room() {
        let mut buckets = Buckets::new(1, Duration::from_secs(1), 2);
        let mut take = |last: u8| buckets.take(IpAddr::from([192, 0, last, 0]), Duration::ZERO);
        assert!(take(1) && take(2) && !take(1) && take(3));
        assert!(!take(1) && take(2));
        assert_eq!(buckets.len(), 2);
    }
}
