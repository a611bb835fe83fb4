//! A simulated adaptive jitter buffer: which frames come too late to be played.
//!
//! The time from a frame's intended sending to its playing follows the 99th percentile of recent
//! delays and a margin. It grows as soon as delays do and shrinks slowly, as a receiver that
//! stretches and squeezes speech can (NetEq does about the same).

use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Playout {
    /// Weight of recent frames with a delay in each bucket; the last holds all beyond. It sums up
    /// to 1 once there were many.
    recent: Box<[f32; BUCKETS]>,
    delay: Duration,
}

/// What a frame's coming means to the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Played {
    pub(crate) in_time: bool,
    /// The delay grows: nothing is played for so long, beside the frames that came too late.
    pub(crate) silence: Duration,
}

impl Playout {
    pub(crate) fn new() -> Self {
        Self {
            recent: Box::new([0.0; BUCKETS]),
            delay: DELAY_FIRST,
        }
    }

    /// Takes a frame that came so long after its intended time.
    pub(crate) fn handle(&mut self, one_way: Duration) -> Played {
        let in_time = one_way <= self.delay;
        for share in self.recent.iter_mut() {
            *share *= FORGET;
        }
        self.recent[bucket(one_way)] += 1.0 - FORGET;
        let wanted = (self.percentile() + MARGIN).clamp(DELAY_MIN, DELAY_MAX);
        let mut silence = Duration::ZERO;
        if wanted > self.delay {
            silence = wanted - self.delay;
            self.delay = wanted;
        } else {
            self.delay = wanted.max(self.delay.saturating_sub(SHRINK_PER_FRAME));
        }
        Played { in_time, silence }
    }

    /// From intended sending to playing, at present.
    pub(crate) fn delay(&self) -> Duration {
        self.delay
    }

    /// The upper end of the bucket with the 99th percentile.
    fn percentile(&self) -> Duration {
        let mut beyond = 0.01 * self.recent.iter().sum::<f32>();
        for (index, share) in self.recent.iter().enumerate().rev() {
            beyond -= share;
            if beyond < 0.0 {
                return BUCKET * u32::try_from(index + 1).unwrap_or(u32::MAX);
            }
        }
        Duration::ZERO
    }
}

fn bucket(delay: Duration) -> usize {
    let index = delay.as_micros() / BUCKET.as_micros();
    usize::try_from(index).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

const BUCKET: Duration = Duration::from_millis(5);
const BUCKETS: usize = 100;

/// A delay counts half as much 350 frames later: 7 s of speech.
const FORGET: f32 = 0.998;
const MARGIN: Duration = Duration::from_millis(10);
const DELAY_FIRST: Duration = Duration::from_millis(60);
const DELAY_MIN: Duration = Duration::from_millis(40);
const DELAY_MAX: Duration = Duration::from_millis(500);
const SHRINK_PER_FRAME: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_path_is_never_late_and_the_buffer_shrinks() {
        let mut playout = Playout::new();
        let steady = Played {
            in_time: true,
            silence: Duration::ZERO,
        };
        assert!((0..100).all(|_| playout.handle(ms(3)) == steady));
        assert_eq!(playout.delay(), DELAY_MIN);
    }

    #[test]
    fn a_slower_path_makes_a_few_late_and_then_none() {
        let mut playout = Playout::new();
        for _ in 0..500 {
            playout.handle(ms(20));
        }
        let late = (0..500).filter(|_| !playout.handle(ms(150)).in_time).count();
        assert!((1..=10).contains(&late), "{late}");
        assert!((ms(150)..=ms(170)).contains(&playout.delay()), "{:?}", playout.delay());
    }

    #[test]
    fn one_stall_makes_its_frames_late_and_no_others() {
        let mut playout = Playout::new();
        let delay = |frame: u64| match frame {
            // A stall of 500 ms: 25 frames come together at its end.
            1000..1025 => ms(500 - (frame - 1000) * 20),
            _ => ms(2),
        };
        let (mut late, mut silence) = (Vec::new(), Duration::ZERO);
        for frame in 0..2000 {
            let played = playout.handle(delay(frame));
            silence += played.silence;
            if !played.in_time {
                late.push(frame);
            }
        }
        assert!(late.iter().all(|frame| (1000..1025).contains(frame)), "{late:?}");
        // What the listener waited for: about as long as the stall.
        let waited = silence + ms(20) * u32::try_from(late.len()).unwrap();
        assert!((ms(460)..=ms(520)).contains(&waited), "{waited:?}, {late:?}");
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }
}
