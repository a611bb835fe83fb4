//! How losses lie: many at once, which is heard as a hole, or here and there (RFC 3611, section 4.7.2, by the rule of its
//! appendix A.2).

use std::time::Duration;

/// Losses of one source, in the order of its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Packets that came since the last loss.
    since: u64,
    /// Losses of the burst that goes on, or may.
    lost: u64,
    /// Packets that came in gaps, and of losses in gaps those that were alone.
    in_gaps: u64,
    alone: u64,
    /// Bursts that are over.
    bursts: u64,
    /// Packets that came in bursts; losses in bursts behind such, and right behind another.
    in_bursts: u64,
    behind_some: u64,
    in_a_row: u64,
}

/// What of it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bursts {
    /// Lost in bursts, of 256.
    pub burst_density: u8,
    /// Lost in gaps, of 256.
    pub gap_density: u8,
    /// How long a burst is on average. Zero: there was none.
    pub burst: Duration,
    /// How long it takes from one to the next on average.
    pub gap: Duration,
}

impl Losses {
    /// The next number came, or is missing.
    pub(crate) fn note(&mut self, came: bool) {
        if came {
            self.since += 1;
            return;
        }
        if self.since >= GAP_MIN {
            match self.lost {
                1 => self.alone += 1,
                0 => {}
                _ => self.bursts += 1,
            }
            self.lost = 1;
            self.in_gaps += self.since;
        } else {
            self.lost += 1;
            if self.since == 0 {
                self.in_a_row += 1;
            } else {
                self.behind_some += 1;
                self.in_bursts += self.since;
            }
        }
        self.since = 0;
    }

    /// Of packets that are so long.
    pub(crate) fn bursts(&self, packet: Duration) -> Bursts {
        // What goes on counts as if it were over.
        let mut all = *self;
        match (all.since >= GAP_MIN, all.lost) {
            (true, 0) => all.in_gaps += all.since,
            (true, 1) => {
                all.in_gaps += all.since;
                all.alone += 1;
            }
            (true, _) => {
                all.in_gaps += all.since;
                all.bursts += 1;
            }
            (false, 0 | 1) => all.in_gaps += all.since,
            (false, _) => {
                all.in_bursts += all.since;
                all.bursts += 1;
            }
        }
        let lost = all.behind_some + all.in_a_row + all.bursts;
        let in_bursts = all.in_bursts + lost;
        let in_gaps = all.in_gaps + all.alone;
        let share = |part: u64, whole: u64| {
            let of_256 = (part * 256).checked_div(whole).unwrap_or(0);
            u8::try_from(of_256).unwrap_or(u8::MAX)
        };
        let mean = |packets: u64, count: u64| {
            let tenths = u32::try_from(packets.saturating_mul(10) / count.max(1)).unwrap_or(u32::MAX);
            packet.saturating_mul(tenths) / 10
        };
        Bursts {
            burst_density: if all.bursts == 0 { 0 } else { share(lost, in_bursts) },
            gap_density: share(all.alone, in_gaps),
            burst: if all.bursts == 0 {
                Duration::ZERO
            } else {
                mean(in_bursts, all.bursts)
            },
            gap: mean(in_gaps, all.bursts.max(1)),
        }
    }
}

/// So many packets that came in a row end a burst. It is told with the rest.
pub(crate) const GAP_MIN: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// `+` so many came, `-` so many did not.
    fn losses(runs: &[i32]) -> Losses {
        let mut losses = Losses::default();
        for run in runs {
            (0..run.unsigned_abs()).for_each(|_| losses.note(*run > 0));
        }
        losses
    }

    fn told(runs: &[i32]) -> (u8, u8, u128, u128) {
        let bursts = losses(runs).bursts(Duration::from_millis(20));
        (
            bursts.burst_density,
            bursts.gap_density,
            bursts.burst.as_millis(),
            bursts.gap.as_millis(),
        )
    }

    #[test]
    fn a_loss_alone_is_one_of_a_gap_and_several_are_a_burst() {
        assert_eq!(told(&[]), (0, 0, 0, 0));
        assert_eq!(told(&[100]), (0, 0, 0, 2000));
        // 2 of 150.
        assert_eq!(told(&[50, -1, 49, -1, 49]), (0, 3, 0, 3000));
        // 5 in a row.
        assert_eq!(told(&[100, -5, 100]), (255, 0, 100, 4000));
        // 3 of 13: fewer than 16 came in between.
        assert_eq!(told(&[100, -1, 5, -1, 5, -1, 100]), (59, 0, 260, 4000));
        // Two bursts, of 4 and of 2, and one alone.
        assert_eq!(told(&[40, -4, 20, -1, 20, -2, 40]), (255, 2, 60, 1210));
    }

    #[test]
    fn what_goes_on_counts() {
        assert_eq!(told(&[100, -3]), (255, 0, 60, 2000));
        assert_eq!(told(&[100, -3, 3]), (128, 0, 120, 2000));
        // One that may become a burst, or not.
        assert_eq!(told(&[100, -1, 3]).0, 0);
    }
}
