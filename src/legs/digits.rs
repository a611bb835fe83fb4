//! Digits that a leg hears, and those that it sends: one after the other, as telephone events.

use std::collections::VecDeque;
use std::time::Instant;

use moqswitch_media::dtmf::{self, Event, Sending};

use crate::limits::{DIGIT_GAP, DIGIT_MAX, DIGIT_PAUSE, DIGIT_STEP, DIGITS_MAX, REPLAY_MAX};

/// What was heard on one track of digits. Who subscribes is given groups that there are already (draft-lcurley-moq-lite,
/// section SUBSCRIBE): they may be of keys that somebody pressed long ago.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    subscribed: Option<Instant>,
    /// The newest digit that was heard.
    newest_at_ms: Option<u64>,
    /// One whose end alone has come, with the subscription.
    past_at_ms: Option<u64>,
}

/// What a group of a track of digits is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A digit begins.
    Begin,
    /// It begins, or is of the past: then its end comes with it.
    Doubtful,
    /// One that is known is over.
    End,
    /// It began and is over.
    Both,
    /// It was pressed before anybody listened.
    Past,
}

impl Heard {
    pub(crate) fn subscribed(&mut self, now: Instant) {
        self.subscribed = Some(now);
    }

    /// Each digit is told twice with the same `at_ms`, when it begins and when it is over. The second may come before the
    /// first, which was lost and sent again.
    pub(crate) fn judge(&mut self, at_ms: u64, is_end: bool, now: Instant) -> Told {
        let is_early = self.subscribed.is_some_and(|subscribed| now < subscribed + REPLAY_MAX);
        let was_past = self.past_at_ms == Some(at_ms) && !is_end;
        match self.newest_at_ms {
            Some(newest) if newest == at_ms => return Told::End,
            Some(newest) if newest > at_ms => return Told::Past,
            _ if is_end && is_early => {
                self.past_at_ms = Some(at_ms);
                return Told::Past;
            }
            _ => self.newest_at_ms = Some(at_ms),
        }
        match is_end || was_past {
            true => Told::Both,
            false if is_early => Told::Doubtful,
            false => Told::Begin,
        }
    }
}

/// What is pressed, and what waits.
#[derive(Debug, Default)]
pub(crate) struct Pressing {
    /// The digit that is being sent, and when its next packet is due.
    sending: Option<(Sending, Pressed, Instant)>,
    queue: VecDeque<Pressed>,
    /// When the next one may begin.
    next: Option<Instant>,
}

/// A digit that is to be sent.
#[derive(Debug)]
pub(crate) struct Pressed {
    pub(crate) digit: char,
    /// When the speaker pressed it, by which its end is known.
    pub(crate) at_ms: Option<u64>,
    pub(crate) duration_ms: u32,
    pub(crate) is_over: bool,
    /// If it is over before, it was pressed before anybody listened.
    pub(crate) not_before: Option<Instant>,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Turn {
    /// A digit begins: [`Pressing::begin`] wants to know its timestamp.
    Begin,
    Send {
        is_first: bool,
        timestamp: u32,
        event: Event,
    },
    /// Nothing before then.
    Wait(Option<Instant>),
}

impl Pressing {
    /// A digit is being sent, and nobody speaks meanwhile.
    pub(crate) fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    pub(crate) fn clear(&mut self) {
        self.sending = None;
        self.queue.clear();
    }

    /// A digit that was heard is over, if it is not forgotten yet.
    pub(crate) fn release(&mut self, at_ms: u64, duration_ms: u32, now: Instant) {
        let is_past = |known: &Pressed| known.not_before.is_some_and(|not_before| now < not_before);
        self.queue.retain(|known| known.at_ms != Some(at_ms) || !is_past(known));
        let sending = self.sending.iter_mut().map(|(_, pressed, _)| pressed);
        let known = sending.chain(&mut self.queue).find(|known| known.at_ms == Some(at_ms));
        if let Some(known) = known {
            known.is_over = true;
            known.duration_ms = known.duration_ms.max(duration_ms);
        }
    }

    pub(crate) fn press(&mut self, pressed: Pressed) {
        // Whoever presses the next one has let go of those before it, whether their ends come or not.
        let before = self.sending.iter_mut().map(|(_, pressed, _)| pressed);
        before.chain(&mut self.queue).for_each(|before| before.is_over = true);
        let is_known = pressed.digit == PAUSE || dtmf::code(pressed.digit).is_some();
        if is_known && self.queue.len() < DIGITS_MAX {
            self.queue.push_back(pressed);
        }
    }

    /// `clock_hz` is that of the events.
    pub(crate) fn poll(&mut self, now: Instant, clock_hz: u32) -> Turn {
        let Some((sending, pressed, due)) = &mut self.sending else {
            let Some(pressed) = self.queue.front() else {
                return Turn::Wait(None);
            };
            let is_pause = pressed.digit == PAUSE;
            return match self.next.max(pressed.not_before).filter(|next| *next > now) {
                Some(next) => Turn::Wait(Some(next)),
                None if is_pause => {
                    self.queue.pop_front();
                    self.next = Some(now + DIGIT_PAUSE);
                    Turn::Wait(self.next)
                }
                None => Turn::Begin,
            };
        };
        if *due > now {
            return Turn::Wait(Some(*due));
        }
        let units = |milliseconds: u128| u16::try_from(milliseconds * u128::from(clock_hz) / 1000).unwrap_or(u16::MAX);
        let lasted = sending.duration_ms(clock_hz);
        // No longer than its packets can say, either.
        let sayable = u32::from(u16::MAX) * 1000 / clock_hz.max(1);
        let longest = u32::try_from(DIGIT_MAX.as_millis()).unwrap_or(u32::MAX).min(sayable);
        if (pressed.is_over && lasted >= pressed.duration_ms.min(longest)) || lasted >= longest {
            sending.end(units(u128::from(pressed.duration_ms.min(longest))), clock_hz);
        }
        if let Some((is_first, timestamp, event)) = sending.next(units(DIGIT_STEP.as_millis())) {
            // What is late does not leave in a burst.
            *due = (*due + DIGIT_STEP).max(now);
            return Turn::Send {
                is_first,
                timestamp,
                event,
            };
        }
        self.sending = None;
        self.next = Some(now + DIGIT_GAP);
        Turn::Wait(self.next.filter(|_| !self.queue.is_empty()))
    }

    /// The digit whose turn it is has this timestamp.
    pub(crate) fn begin(&mut self, timestamp: u32, now: Instant) {
        if let Some(pressed) = self.queue.pop_front() {
            self.sending = Sending::begin(pressed.digit, timestamp).map(|sending| (sending, pressed, now));
        }
    }
}

/// Nothing is pressed for a while.
const PAUSE: char = ',';

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::DOUBT;

    fn pressed(digit: char, at_ms: Option<u64>, duration_ms: u32, is_over: bool) -> Pressed {
        Pressed {
            digit,
            at_ms,
            duration_ms,
            is_over,
            not_before: None,
        }
    }

    /// Runs until nothing is left: when each packet left, of what, and whether it is an end.
    fn run(pressing: &mut Pressing, mut now: Instant, clock_hz: u32) -> Vec<(u128, u8, bool, u16)> {
        let (began, mut timestamp) = (now, 0);
        let mut left = Vec::new();
        loop {
            match pressing.poll(now, clock_hz) {
                Turn::Begin => {
                    timestamp += 1000;
                    pressing.begin(timestamp, now);
                }
                Turn::Send {
                    is_first,
                    timestamp: of_event,
                    event,
                } => {
                    assert_eq!(of_event, timestamp);
                    // What began before has no timestamp here.
                    let is_new = timestamp > 0 && left.last().is_none_or(|(_, _, is_end, _)| *is_end) && !event.is_end;
                    assert_eq!(is_first, is_new);
                    left.push(((now - began).as_millis(), event.code, event.is_end, event.duration));
                }
                Turn::Wait(Some(until)) => now = until,
                Turn::Wait(None) => return left,
            }
        }
    }

    #[test]
    fn digits_are_sent_one_after_the_other() {
        let mut pressing = Pressing::default();
        pressing.press(pressed('5', None, 60, true));
        pressing.press(pressed('#', None, 0, true));
        pressing.press(pressed('x', None, 60, true));
        assert!(!pressing.is_sending());
        let left = run(&mut pressing, Instant::now(), 8000);
        let five = [(0, 160), (20, 320), (40, 480)].map(|(at, duration)| (at, 5, false, duration));
        let ends = [60, 80, 100].map(|at| (at, 5, true, 480));
        let gate = [180, 200, 220].map(|at| (at, 11, true, 320));
        assert_eq!(left, [&five[..], &ends, &gate].concat());
    }

    #[test]
    fn who_is_heard_holds_a_key_until_it_lets_go_or_presses_the_next() {
        let mut pressing = Pressing::default();
        let now = Instant::now();
        pressing.press(pressed('1', Some(10), 0, false));
        assert_eq!(pressing.poll(now, 48_000), Turn::Begin);
        pressing.begin(0, now);
        for step in 0..5 {
            let now = now + DIGIT_STEP * step;
            assert!(matches!(pressing.poll(now, 48_000), Turn::Send { event, .. } if !event.is_end));
        }
        // The same digit, over; one that nobody knows; and one whose end never comes.
        pressing.release(10, 100, now);
        pressing.release(9, 100, now);
        pressing.press(pressed('2', Some(500), 0, false));
        pressing.press(pressed('3', None, 40, true));
        let left = run(&mut pressing, now + DIGIT_STEP * 5, 48_000);
        let ends: Vec<(u8, u16)> = left
            .iter()
            .filter(|(_, _, is_end, _)| *is_end)
            .map(|(_, code, _, duration)| (*code, *duration))
            .collect();
        assert_eq!(
            ends,
            [[(1, 4800); 3], [(2, 1920); 3], [(3, 1920); 3]].concat(),
            "{left:?}"
        );
        // Who never lets go is let go of, as late as the packets can say.
        pressing.press(pressed('9', Some(900), 0, false));
        let left = run(&mut pressing, now + Duration::from_secs(60), 48_000);
        assert!(
            left.last().is_some_and(|(at, _, is_end, _)| *is_end && *at < 1500),
            "{left:?}"
        );
        pressing.press(pressed('9', Some(901), 0, false));
        pressing.clear();
        assert_eq!(run(&mut pressing, now + Duration::from_secs(90), 8000), []);
    }

    #[test]
    fn a_comma_is_a_pause() {
        let mut pressing = Pressing::default();
        for digit in ['1', ',', ',', '2'] {
            pressing.press(pressed(digit, None, 60, true));
        }
        let left = run(&mut pressing, Instant::now(), 8000);
        let last = |code: u8| {
            left.iter()
                .filter(|(_, own, ..)| *own == code)
                .map(|(at, ..)| *at)
                .max()
        };
        let first = left.iter().find(|(_, code, ..)| *code == 2).map(|(at, ..)| *at);
        let waited = first.zip(last(1)).map(|(first, last)| first - last);
        assert!(
            waited.is_some_and(|waited| waited >= 2 * DIGIT_PAUSE.as_millis()),
            "{left:?}"
        );
    }

    #[test]
    fn what_was_pressed_before_anybody_listened_is_not_heard() {
        let (mut heard, began) = (Heard::default(), Instant::now());
        let later = began + REPLAY_MAX;
        // Of what is over there is its end, or both; then one is pressed.
        heard.subscribed(began);
        assert_eq!(heard.judge(100, true, began), Told::Past);
        assert_eq!(heard.judge(200, false, began), Told::Doubtful);
        assert_eq!(heard.judge(200, true, began), Told::End);
        assert_eq!(heard.judge(100, false, began), Told::Past);
        assert_eq!(heard.judge(700, false, later), Told::Begin);
        assert_eq!(heard.judge(700, true, later), Told::End);
        // Its end overtakes its beginning, with the subscription or long after it.
        heard.subscribed(later);
        assert_eq!(heard.judge(2000, true, later), Told::Past);
        assert_eq!(heard.judge(2000, false, later), Told::Both);
        assert_eq!(heard.judge(3000, true, later + REPLAY_MAX), Told::Both);
        assert_eq!(heard.judge(3000, false, later + REPLAY_MAX), Told::End);
    }

    #[test]
    fn what_may_be_of_the_past_is_sent_unless_its_end_comes_with_it() {
        let mut pressing = Pressing::default();
        let now = Instant::now();
        let doubtful = |at_ms| Pressed {
            not_before: Some(now + DOUBT),
            ..pressed('1', Some(at_ms), 20, false)
        };
        pressing.press(doubtful(1));
        pressing.release(1, 160, now + DOUBT / 2);
        assert_eq!(pressing.poll(now + DOUBT, 8000), Turn::Wait(None));
        pressing.press(doubtful(2));
        assert_eq!(pressing.poll(now, 8000), Turn::Wait(Some(now + DOUBT)));
        pressing.release(2, 160, now + DOUBT);
        let left = run(&mut pressing, now + DOUBT, 8000);
        assert_eq!(left.len(), 8 + 3, "{left:?}");
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut pressing = Pressing::default();
        (0..100).for_each(|_| pressing.press(pressed('1', None, 1_000_000, true)));
        assert_eq!(pressing.queue.len(), DIGITS_MAX);
    }
}
