//! A bucket for each address prefix, so that who comes from one cannot make others pay. Pure: time is an argument.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Buckets for the prefixes that addresses are given out by: one IPv4 address, an IPv6 /56.
///
/// They are as many as [`SLOTS`], in one table of 64 KiB; prefixes that fall into one slot share its bucket. Which these
/// are differs from process to process, so nobody can look for them.
#[derive(Debug)]
pub struct PrefixBuckets {
    /// In which one comes back into a bucket.
    interval: Duration,
    /// What a full bucket lasts, if nothing comes back.
    depth: Duration,
    started: Instant,
    /// When each bucket will be full again, since the start.
    full_at: Box<[Duration]>,
    hasher: RandomState,
}

impl PrefixBuckets {
    /// So many come back in a second; a full bucket holds [`BURST_SECONDS`] times as many. A rate of 0 counts as 1.
    pub fn new(rate_per_second: u32, now: Instant) -> Self {
        Self::with_depth(rate_per_second, Duration::from_secs(BURST_SECONDS), now)
    }

    /// The same, with what comes back in `depth` in a full bucket.
    pub fn with_depth(rate_per_second: u32, depth: Duration, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / rate_per_second.max(1);
        Self {
            interval,
            depth,
            started: now,
            full_at: vec![Duration::ZERO; SLOTS].into(),
            hasher: RandomState::new(),
        }
    }

    /// Takes one. False: the bucket is empty.
    pub fn take(&mut self, address: IpAddr, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.started);
        let (interval, depth) = (self.interval, self.depth);
        let full_at = self.slot(address);
        let after = (*full_at).max(now) + interval;
        let is_left = after <= now + depth;
        if is_left {
            *full_at = after;
        }
        is_left
    }

    /// Gives back one that was taken.
    pub fn give_back(&mut self, address: IpAddr) {
        let interval = self.interval;
        let full_at = self.slot(address);
        *full_at = full_at.saturating_sub(interval);
    }

    fn slot(&mut self, address: IpAddr) -> &mut Duration {
        let hash = usize::try_from(self.hasher.hash_one(prefix(address)) % SLOTS as u64).unwrap_or_default();
        &mut self.full_at[hash]
    }
}

/// Who is likely to be one: an IPv4 address, an IPv6 /56.
pub fn prefix(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let upper = address.to_bits() >> IPV6_REST_BITS;
            // No IPv4 address is one of these.
            u64::try_from(upper).unwrap_or_default() | 1 << 63
        }
    }
}

/// A full bucket holds what comes back in so many seconds.
pub const BURST_SECONDS: u64 = 10;

/// Buckets of one table.
pub const SLOTS: usize = 4096;

/// One customer has a /56, as a rule.
const IPV6_REST_BITS: u32 = 128 - 56;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lasts_for_its_burst_and_fills_again() {
        let now = Instant::now();
        let mut buckets = PrefixBuckets::new(2, now);
        let address = address("192.0.2.1");
        assert_eq!((0..100).filter(|_| buckets.take(address, now)).count(), 20);
        assert!(!buckets.take(address, now + Duration::from_millis(499)));
        assert!(buckets.take(address, now + Duration::from_millis(500)));
        assert!(!buckets.take(address, now + Duration::from_millis(500)));
        buckets.give_back(address);
        assert!(buckets.take(address, now + Duration::from_millis(500)));
        // It never holds more than it does when it is full.
        let later = now + Duration::from_secs(1000);
        buckets.give_back(address);
        assert_eq!((0..100).filter(|_| buckets.take(address, later)).count(), 20);
    }

    #[test]
    fn prefixes_have_buckets_of_their_own() {
        let now = Instant::now();
        let taken = |first: &str, second: &str| {
            // Two prefixes may share a slot; that they do so ten times says that they are one.
            (0..10).all(|_| {
                let mut buckets = PrefixBuckets::new(1, now);
                while buckets.take(address(first), now) {}
                !buckets.take(address(second), now)
            })
        };
        assert!(taken("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(taken("2001:db8:0:ff01::1", "2001:db8:0:ff02:ffff::2"));
        assert!(!taken("192.0.2.1", "192.0.2.2"));
        assert!(!taken("2001:db8:0:ff00::1", "2001:db8:0:fe00::1"));
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
}
