//! The time, as it is passed in with each event. The plane has no clock.

use std::time::Duration;

/// One moment by two clocks.
///
/// Timers and durations go by `since_start` alone, which should never go back; if it does, the plane stays at the latest
/// that it was told. `unix_ms` is written into records and decides time conditions; it may jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// The monotonic clock, from any beginning.
    pub since_start: Duration,
    /// The wall clock: milliseconds since 1970.
    pub unix_ms: u64,
    /// How far clocks on the wall are ahead of UTC here and now, in minutes: 60 for Central European winter time.
    pub utc_offset_min: i16,
}

/// What a clock and a calendar on the wall show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Days since 1970-01-01.
    pub day: i64,
    /// Monday is 0.
    pub weekday: u8,
    /// Minutes since midnight.
    pub minute: u16,
}

impl Now {
    /// The time of day here.
    pub fn local(self) -> LocalTime {
        let minutes = i64::try_from(self.unix_ms / 60_000).unwrap_or(i64::MAX / 2) + i64::from(self.utc_offset_min);
        let day = minutes.div_euclid(24 * 60);
        LocalTime {
            day,
            // 1970-01-01 was a Thursday.
            weekday: u8::try_from((day + 3).rem_euclid(7)).unwrap_or(0),
            minute: u16::try_from(minutes.rem_euclid(24 * 60)).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_is_that_of_the_wall() {
        // 2026-11-29 was a Sunday; 15:00 UTC.
        let now = Now {
            unix_ms: 1_795_964_400_000,
            utc_offset_min: 60,
            ..Now::default()
        };
        assert_eq!((now.local().weekday, now.local().minute), (6, 16 * 60));
        let before_midnight = Now {
            utc_offset_min: -16 * 60,
            ..now
        };
        assert_eq!(
            (before_midnight.local().weekday, before_midnight.local().minute),
            (5, 23 * 60)
        );
    }
}
