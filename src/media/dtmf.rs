//! Telephone events (RFC 4733): digits between the packets of speech.

use std::time::Duration;

/// Four bytes of payload (RFC 4733, section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// 0 to 15 are digits; others are not for telephones.
    pub code: u8,
    /// The event is over.
    pub is_end: bool,
    /// Power in -dBm0, 0 to 63.
    pub volume: u8,
    /// Since its first packet, in units of the clock.
    pub duration: u16,
}

impl Event {
    /// Reads a payload. `None`: it is too short for one.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [code, flags, high, low, ..] = *payload else {
            return None;
        };
        Some(Self {
            code,
            is_end: flags & END != 0,
            volume: flags & VOLUME,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// Its payload.
    pub fn encode(self) -> [u8; 4] {
        let end = if self.is_end { END } else { 0 };
        let [high, low] = self.duration.to_be_bytes();
        [self.code, end | (self.volume & VOLUME), high, low]
    }
}

/// What is heard of digits: each once, however often its packets come, and its end though it is lost.
#[derive(Debug, Default)]
pub struct Digits {
    newest: Option<Newest>,
}

#[derive(Debug)]
struct Newest {
    /// By which its packets are known.
    timestamp: u32,
    digit: char,
    duration: u16,
    /// Its end was told.
    is_over: bool,
    /// When the last of its packets came.
    came: Duration,
}

/// A digit, when it begins and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digit {
    /// `0` to `9`, `*`, `#`, `A` to `D`.
    pub digit: char,
    /// It is over. Otherwise it has just begun.
    pub is_end: bool,
    /// In units of the clock.
    pub duration: u16,
}

impl Digits {
    /// A packet of an event came at `now`, on any clock that does not go back. Its timestamp names the event: all of its
    /// packets have the same.
    ///
    /// Some senders set no marker, or send nothing but the last packet: what counts is that the timestamp is new. Such a
    /// digit begins and ends at once, which is two results; and it ends the one before it, if nothing else has.
    pub fn take(&mut self, timestamp: u32, payload: &[u8], now: Duration) -> [Option<Digit>; 3] {
        let Some((event, digit)) = Event::parse(payload).and_then(|event| Some((event, digit(event.code)?))) else {
            return [None; 3];
        };
        match &mut self.newest {
            Some(newest) if newest.timestamp == timestamp => {
                newest.came = now;
                newest.duration = newest.duration.max(event.duration);
                let ended = if event.is_end { newest.end() } else { None };
                [None, None, ended]
            }
            // A packet of the digit before, behind one of this.
            Some(newest) if newest.timestamp.wrapping_sub(timestamp) < OLD => [None; 3],
            newest => {
                let before = newest.as_mut().and_then(Newest::end);
                let begun = newest.insert(Newest {
                    timestamp,
                    digit,
                    duration: event.duration,
                    is_over: false,
                    came: now,
                });
                let begins = Digit {
                    digit,
                    is_end: false,
                    duration: event.duration,
                };
                [before, Some(begins), if event.is_end { begun.end() } else { None }]
            }
        }
    }

    /// When the digit that lasts is over because nothing more of it has come.
    pub fn deadline(&self) -> Option<Duration> {
        let lasting = self.newest.as_ref().filter(|newest| !newest.is_over);
        lasting.map(|newest| newest.came + PATIENCE)
    }

    /// It is `now`: the end of a digit whose packets ceased.
    pub fn expire(&mut self, now: Duration) -> Option<Digit> {
        let is_due = self.deadline().is_some_and(|deadline| deadline <= now);
        self.newest.as_mut().filter(|_| is_due).and_then(Newest::end)
    }

    /// The sender counts anew: what lasted is over.
    pub fn reset(&mut self) -> Option<Digit> {
        self.newest.take().as_mut().and_then(Newest::end)
    }
}

impl Newest {
    /// Once.
    fn end(&mut self) -> Option<Digit> {
        let was_over = std::mem::replace(&mut self.is_over, true);
        (!was_over).then_some(Digit {
            digit: self.digit,
            is_end: true,
            duration: self.duration,
        })
    }
}

/// A digit that is being sent. Its packets have one timestamp and a duration that grows (RFC 4733, section 2.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    code: u8,
    timestamp: u32,
    duration: u16,
    ends_sent: u8,
    is_over: bool,
}

impl Sending {
    /// `None`: it is no digit.
    pub fn begin(digit: char, timestamp: u32) -> Option<Self> {
        Some(Self {
            code: code(digit)?,
            timestamp,
            duration: 0,
            ends_sent: 0,
            is_over: false,
        })
    }

    /// It lasts no longer, but at least as long as receivers want: 40 ms.
    pub fn end(&mut self, duration: u16, clock_hz: u32) {
        self.is_over = true;
        let least = u16::try_from(clock_hz / 25).unwrap_or(u16::MAX);
        self.duration = self.duration.max(duration).max(least);
    }

    /// How long it has lasted.
    pub fn duration_ms(&self, clock_hz: u32) -> u32 {
        u32::from(self.duration) * 1000 / clock_hz.max(1)
    }

    /// The next packet, `step` units of the clock behind the last: whether it is the first, its timestamp, its payload.
    /// `None`: the last packet was sent, three times.
    pub fn next(&mut self, step: u16) -> Option<(bool, u32, Event)> {
        if self.ends_sent == ENDS {
            return None;
        }
        let is_first = self.duration == 0 && !self.is_over;
        if self.is_over {
            self.ends_sent += 1;
        } else {
            // An event that is longer than its duration can say goes on as it is (section 2.5.1.3 would split it).
            self.duration = self.duration.saturating_add(step);
        }
        let event = Event {
            code: self.code,
            is_end: self.is_over,
            volume: SENT_VOLUME,
            duration: self.duration,
        };
        Some((is_first, self.timestamp, event))
    }
}

/// The digit of an event, `0` to `D`.
pub fn digit(code: u8) -> Option<char> {
    DIGITS.chars().nth(usize::from(code))
}

/// The event of a digit.
pub fn code(digit: char) -> Option<u8> {
    let at = DIGITS.chars().position(|other| other == digit.to_ascii_uppercase())?;
    u8::try_from(at).ok()
}

/// In the order of their events (RFC 4733, section 3.2).
const DIGITS: &str = "0123456789*#ABCD";
const END: u8 = 1 << 7;
const VOLUME: u8 = 0x3f;
const SENT_VOLUME: u8 = 10;
/// The last packet is sent so often, since it may be lost.
const ENDS: u8 = 3;
/// A digit of which nothing has come for so long is over. Senders tell of it every 50 ms or more often (RFC 4733, section 2.5.1.2).
const PATIENCE: Duration = Duration::from_millis(200);
/// A timestamp that is behind by less is an older event's.
const OLD: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_told_once_whatever_senders_do() {
        // Packets of one event each: durations, and which of them are ends.
        let usual: &[(u16, bool)] = &[
            (160, false),
            (320, false),
            (480, false),
            (640, true),
            (640, true),
            (640, true),
        ];
        let only_ends: &[(u16, bool)] = &[(800, true), (800, true)];
        let no_end: &[(u16, bool)] = &[(160, false), (320, false)];
        let late: &[(u16, bool)] = &[(160, false), (640, true), (320, false), (640, true)];
        for (packets, begins, ends) in [(usual, 1, 1), (only_ends, 1, 1), (no_end, 1, 1), (late, 1, 1)] {
            let mut digits = Digits::default();
            for timestamp in [u32::MAX - 10, 5000] {
                let mut told: Vec<Digit> = packets
                    .iter()
                    .flat_map(|(duration, is_end)| digits.take(timestamp, &payload(*duration, *is_end), NOW))
                    .flatten()
                    .collect();
                assert_eq!(digits.expire(NOW + PATIENCE / 2), None);
                told.extend(digits.expire(NOW + PATIENCE));
                assert_eq!((digits.deadline(), digits.expire(NOW * 9)), (None, None));
                let count = |is_end| told.iter().filter(|digit| digit.is_end == is_end).count();
                assert_eq!((count(false), count(true)), (begins, ends), "{packets:?}: {told:?}");
                assert!(told.iter().all(|digit| digit.digit == '#'));
            }
            // Of an event that is over.
            assert_eq!(digits.take(u32::MAX - 10, &payload(640, true), NOW), [None; 3]);
        }
        assert_eq!(Digits::default().take(1, &[16, 0, 0, 1], NOW), [None; 3]);
        assert_eq!(Digits::default().take(1, &[1, 0, 0], NOW), [None; 3]);
    }

    #[test]
    fn the_next_digit_ends_the_one_before_it() {
        let mut digits = Digits::default();
        let told = |is_end, duration| {
            Some(Digit {
                digit: '#',
                is_end,
                duration,
            })
        };
        assert_eq!(
            digits.take(1, &payload(400, false), NOW),
            [None, told(false, 400), None]
        );
        assert_eq!(
            digits.take(8001, &payload(160, true), NOW),
            [told(true, 400), told(false, 160), told(true, 160)]
        );
        assert_eq!(digits.take(9001, &payload(160, false), NOW)[0], None);
        assert_eq!((digits.reset(), digits.reset()), (told(true, 160), None));
    }

    #[test]
    fn what_is_sent_is_what_is_heard() {
        for expected in DIGITS.chars() {
            let mut sending = Sending::begin(expected, 77).unwrap();
            let mut digits = Digits::default();
            let mut told = Vec::new();
            let mut firsts = 0;
            for step in 0..20 {
                if step == 8 {
                    sending.end(1280, 8000);
                }
                let Some((is_first, timestamp, event)) = sending.next(160) else {
                    break;
                };
                firsts += usize::from(is_first);
                told.extend(digits.take(timestamp, &event.encode(), NOW).into_iter().flatten());
            }
            assert_eq!(firsts, 1);
            let ends = Digit {
                digit: expected,
                is_end: true,
                duration: 1280,
            };
            assert_eq!(
                told,
                [
                    Digit {
                        digit: expected,
                        is_end: false,
                        duration: 160
                    },
                    ends
                ]
            );
        }
        assert_eq!(Sending::begin('x', 0), None);
    }

    #[test]
    fn a_short_digit_lasts_40_ms_and_ends_three_times() {
        let mut sending = Sending::begin('d', 0).unwrap();
        sending.end(10, 8000);
        let packets: Vec<Event> = std::iter::from_fn(|| sending.next(160))
            .map(|(_, _, event)| event)
            .collect();
        assert_eq!(packets.len(), 3);
        assert!(
            packets
                .iter()
                .all(|event| event.is_end && event.duration == 320 && event.code == 15)
        );
    }

    const NOW: Duration = Duration::from_secs(1);

    fn payload(duration: u16, is_end: bool) -> [u8; 4] {
        let event = Event {
            code: 11,
            is_end,
            volume: 10,
            duration,
        };
        assert_eq!(Event::parse(&event.encode()), Some(event));
        event.encode()
    }
}
