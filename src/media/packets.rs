//! The packets of one source: their numbers, their timestamps, and how much is in each.
//!
//! A frame that has the size of a packet, or that must not be cut, is a packet as it is. Other frames of G.711 and G.722 are
//! cut and joined: a byte of these is a unit of their clock. Packets of a frame that is cut do not leave all at once, since
//! receivers take a burst for jitter.
//!
//! Invariant: timestamps never go back, whoever speaks; what is of another count is put where the clock is by now.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::rtp::{Packet, units};

/// How frames become packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// How packets say what is in them.
    pub payload_type: u8,
    /// What their timestamps count in a second.
    pub clock_hz: u32,
    /// Bytes of each packet, of a codec of which a byte is one unit of the clock. `None`: frames stay as they are.
    pub bytes: Option<usize>,
}

/// Where a frame is in what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing before it tells.
    Anew,
    /// So many frames and units after the one before it. More than one frame: those between are missing.
    On { frames: u64, units: u64, is_silence: bool },
}

#[derive(Debug)]
pub(crate) struct Packets {
    packing: Packing,
    ssrc: u32,
    /// Of the last packet.
    sequence: u16,
    /// Of the newest frame, or of what was sent beside frames; when it came, and how long it is.
    timestamp: u32,
    came: Option<Duration>,
    length: u64,
    /// What is less than a packet yet.
    rest: Rest,
    /// Packets that wait for their turn.
    queue: VecDeque<Queued>,
    /// When the packet after the last of them has its turn.
    next_due: Duration,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

/// The beginning of a packet.
#[derive(Debug, Default)]
struct Rest {
    head: Head,
    bytes: Vec<u8>,
    /// When it leaves though it is not whole.
    until: Duration,
}

/// What is known of a packet before its number.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    payload_type: u8,
    marker: bool,
    timestamp: u32,
    /// Packets that are missing before it.
    missing: u16,
}

#[derive(Debug)]
struct Queued {
    due: Duration,
    head: Head,
    payload: Bytes,
}

impl Packets {
    pub(crate) fn new(ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        Self {
            packing: Packing {
                payload_type: 0,
                clock_hz: 8000,
                bytes: None,
            },
            ssrc,
            sequence,
            timestamp,
            came: None,
            length: 0,
            rest: Rest::default(),
            queue: VecDeque::new(),
            next_due: Duration::ZERO,
            count: 0,
            bytes: 0,
        }
    }

    pub(crate) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    pub(crate) fn packing(&self) -> Packing {
        self.packing
    }

    pub(crate) fn set_packing(&mut self, packing: Packing) {
        self.packing = Packing {
            clock_hz: packing.clock_hz.max(1),
            bytes: packing.bytes.filter(|bytes| *bytes > 0),
            ..packing
        };
    }

    /// What something has that is said at `now`.
    pub(crate) fn timestamp(&self, now: Duration) -> u32 {
        self.timestamp.wrapping_add(low(self.passed(now)))
    }

    /// What waits is not sent.
    pub(crate) fn clear(&mut self) {
        self.rest.bytes.clear();
        self.queue.clear();
    }

    /// The timestamp of something that is sent beside frames, from now on.
    pub(crate) fn begin_beside(&mut self, now: Duration) -> u32 {
        self.clear();
        self.advance(self.since_last(now), now);
        self.length = 0;
        self.timestamp
    }

    pub(crate) fn send_beside(
        &mut self,
        marker: bool,
        payload_type: u8,
        timestamp: u32,
        payload: &[u8],
        send: &mut impl FnMut(Packet<'_>),
    ) {
        let head = Head {
            payload_type,
            marker,
            timestamp,
            missing: 0,
        };
        self.send(head, payload, send);
    }

    /// A frame.
    pub(crate) fn take(&mut self, payload: &Bytes, step: Step, now: Duration, send: &mut impl FnMut(Packet<'_>)) {
        let (frames, units, marker) = self.place(step, now);
        let end = self.timestamp.wrapping_add(low(self.length));
        self.advance(units, now);
        self.length = match self.packing.bytes {
            Some(_) => payload.len() as u64,
            None => 0,
        };
        let mut head = Head {
            payload_type: self.packing.payload_type,
            marker,
            timestamp: self.timestamp,
            missing: u16::try_from(frames - 1).unwrap_or(0),
        };
        let is_idle = self.rest.bytes.is_empty() && self.queue.is_empty();
        match self.packing.bytes {
            Some(bytes) if !is_idle || payload.len() != bytes => {
                if frames > 1 {
                    // So many of another size.
                    let gap = self.timestamp.wrapping_sub(end).cast_signed().max(0);
                    let missing = usize::try_from(gap).unwrap_or(0) / bytes;
                    head.missing = u16::try_from(missing.max(1)).unwrap_or(u16::MAX);
                }
                self.cut(head, payload.clone(), bytes, now);
                self.release(now, send);
            }
            _ => {
                // Of another size, or another codec.
                self.end_rest(now, now);
                while let Some(Queued { head, payload, .. }) = self.queue.pop_front() {
                    self.send(head, &payload, send);
                }
                self.next_due = now + self.duration(payload.len());
                self.send(head, payload, send);
            }
        }
    }

    /// When something is to leave.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let rest = (!self.rest.bytes.is_empty()).then_some(self.rest.until);
        // In their order.
        let queued = self.queue.front().map(|first| first.due);
        rest.into_iter().chain(queued).min()
    }

    /// It is `now`.
    pub(crate) fn release(&mut self, now: Duration, send: &mut impl FnMut(Packet<'_>)) {
        if !self.rest.bytes.is_empty() && self.rest.until <= now {
            self.end_rest(now, now);
        }
        while self
            .queue
            .front()
            .is_some_and(|first| first.due <= now || self.queue.len() > QUEUED_MAX)
        {
            if let Some(Queued { head, payload, .. }) = self.queue.pop_front() {
                self.send(head, &payload, send);
            }
        }
    }

    /// How many frames and units further a frame is, and whether a talkspurt begins with it.
    fn place(&self, step: Step, now: Duration) -> (u64, u64, bool) {
        match step {
            Step::Anew => (1, self.since_last(now), true),
            Step::On {
                frames,
                units,
                is_silence,
            } => {
                let believable = self
                    .passed(now)
                    .saturating_add(JUMP_SECONDS * u64::from(self.packing.clock_hz));
                match units > 0 && units <= believable {
                    true => (frames, units, is_silence),
                    false => (frames, self.since_last(now), true),
                }
            }
        }
    }

    /// Units from the newest frame to one that comes now and is of another count: it begins behind the end of that.
    fn since_last(&self, now: Duration) -> u64 {
        let least = match self.length {
            0 => STEP_MS * u64::from(self.packing.clock_hz) / 1000,
            length => length,
        };
        self.passed(now).max(least)
    }

    fn passed(&self, now: Duration) -> u64 {
        let passed = self.came.map_or(Duration::ZERO, |came| now.saturating_sub(came));
        units(passed, self.packing.clock_hz)
    }

    fn advance(&mut self, units: u64, now: Duration) {
        self.timestamp = self.timestamp.wrapping_add(low(units));
        self.came = Some(now);
    }

    /// How long so many bytes are.
    fn duration(&self, bytes: usize) -> Duration {
        Duration::from_micros(bytes as u64 * 1_000_000 / u64::from(self.packing.clock_hz))
    }

    /// Makes packets of a frame, and keeps what is left of it.
    fn cut(&mut self, mut head: Head, mut payload: Bytes, bytes: usize, now: Duration) {
        let frame = self.duration(payload.len());
        let rest = self.rest.head.timestamp.wrapping_add(low(self.rest.bytes.len() as u64));
        let is_next = rest == head.timestamp
            && head.missing == 0
            && !head.marker
            && self.rest.head.payload_type == head.payload_type
            && self.rest.bytes.len() < bytes;
        if !self.rest.bytes.is_empty() && is_next {
            let more = payload.split_to(payload.len().min(bytes - self.rest.bytes.len()));
            self.rest.bytes.extend_from_slice(&more);
            head.timestamp = head.timestamp.wrapping_add(low(more.len() as u64));
            if self.rest.bytes.len() == bytes {
                self.end_rest(now, now + frame);
            }
        } else {
            self.end_rest(now, now);
        }
        while payload.len() >= bytes {
            let packet = payload.split_to(bytes);
            self.queue(head, packet, now, now + frame);
            head.timestamp = head.timestamp.wrapping_add(low(bytes as u64));
            (head.marker, head.missing) = (false, 0);
        }
        if !payload.is_empty() {
            self.rest.head = head;
            self.rest.bytes.extend_from_slice(&payload);
        }
        self.rest.until = now + frame + REST_WAIT;
    }

    /// What is left of frames is a packet.
    fn end_rest(&mut self, now: Duration, until: Duration) {
        if !self.rest.bytes.is_empty() {
            let payload = Bytes::copy_from_slice(&self.rest.bytes);
            self.rest.bytes.clear();
            self.queue(self.rest.head, payload, now, until);
        }
    }

    /// A packet has its turn when the one before it is over, and not much later than it came.
    fn queue(&mut self, head: Head, payload: Bytes, now: Duration, until: Duration) {
        let due = self.next_due.max(now).min(until);
        self.next_due = due + self.duration(payload.len());
        self.queue.push_back(Queued { due, head, payload });
    }

    fn send(&mut self, head: Head, payload: &[u8], send: &mut impl FnMut(Packet<'_>)) {
        self.sequence = self.sequence.wrapping_add(head.missing).wrapping_add(1);
        self.count += 1;
        self.bytes += payload.len() as u64;
        send(Packet {
            marker: head.marker,
            payload_type: head.payload_type,
            sequence: self.sequence,
            timestamp: head.timestamp,
            ssrc: self.ssrc,
            payload,
        });
    }
}

/// Timestamps wrap.
fn low(units: u64) -> u32 {
    (units & 0xffff_ffff) as u32
}

/// Packets that wait for their turn. With more the first of them leaves.
const QUEUED_MAX: usize = 50;
/// How long what is less than a packet waits for more when the next frame is late.
const REST_WAIT: Duration = Duration::from_millis(40);
/// From one frame to the next, where frames do not say how long they are.
const STEP_MS: u64 = 20;
/// A step that is so much longer than the time that passed is none: the speaker counts from elsewhere.
const JUMP_SECONDS: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet that left, and when.
    #[derive(Debug, PartialEq)]
    struct Left {
        at_ms: u64,
        marker: bool,
        sequence: u16,
        timestamp: u32,
        payload: Vec<u8>,
    }

    /// What is said counts bytes, so that each says where it belongs.
    struct Speaker {
        packets: Packets,
        said: u64,
        now_ms: u64,
        left: Vec<Left>,
    }

    impl Speaker {
        fn new(packet_ms: usize) -> Self {
            let mut packets = Packets::new(9, 99, FIRST);
            packets.set_packing(Packing {
                payload_type: 8,
                clock_hz: 8000,
                bytes: Some(packet_ms * 8),
            });
            Self {
                packets,
                said: 0,
                now_ms: 0,
                left: Vec::new(),
            }
        }

        /// Each millisecond is looked at, as by a timer.
        fn until(&mut self, ms: u64) {
            while self.now_ms < ms {
                self.now_ms += 1;
                let (now, at_ms) = (Duration::from_millis(self.now_ms), self.now_ms);
                if self.packets.deadline().is_some_and(|deadline| deadline <= now) {
                    self.packets.release(now, &mut keep(&mut self.left, at_ms));
                }
            }
        }

        fn say(&mut self, ms: u64, step: Step) {
            let bytes = ms * 8;
            let payload: Vec<u8> = (self.said..self.said + bytes).map(|at| (at % 251) as u8).collect();
            self.said += bytes;
            let now = Duration::from_millis(self.now_ms);
            let mut send = keep(&mut self.left, self.now_ms);
            self.packets.take(&payload.into(), step, now, &mut send);
        }

        fn told(&self) -> Vec<(u64, u16, u32, usize)> {
            let told = |left: &Left| {
                let time = left.timestamp.wrapping_sub(self.left[0].timestamp) / 8;
                (left.at_ms, left.sequence - 99, time, left.payload.len() / 8)
            };
            self.left.iter().map(told).collect()
        }
    }

    fn keep(left: &mut Vec<Left>, at_ms: u64) -> impl FnMut(Packet<'_>) + '_ {
        move |packet| {
            left.push(Left {
                at_ms,
                marker: packet.marker,
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                payload: packet.payload.to_vec(),
            });
        }
    }

    fn on(units_ms: u64) -> Step {
        Step::On {
            frames: 1,
            units: units_ms * 8,
            is_silence: false,
        }
    }

    #[test]
    fn every_byte_is_sent_once_in_packets_of_one_size() {
        for (packet_ms, frames) in [
            (20, &[20, 20, 20][..]),
            (20, &[60, 60]),
            (20, &[10, 10, 10, 10]),
            (30, &[20, 20, 20, 20, 20, 20]),
            (40, &[20, 20, 60, 20, 40]),
            (10, &[20, 30, 10, 60]),
            (60, &[20, 20, 20, 40, 20]),
        ] {
            let mut speaker = Speaker::new(packet_ms);
            let mut before = 0;
            for (index, ms) in frames.iter().enumerate() {
                speaker.until(speaker.now_ms + before);
                speaker.say(*ms, if index == 0 { Step::Anew } else { on(before) });
                before = *ms;
            }
            speaker.until(1000);
            let mut at = 0;
            for (index, left) in speaker.left.iter().enumerate() {
                let context = format!("{packet_ms} ms of {frames:?}: packet {index}");
                assert_eq!(left.payload.len(), packet_ms * 8, "{context}");
                assert_eq!(usize::from(left.sequence), 100 + index, "{context}");
                assert_eq!(left.timestamp.wrapping_sub(speaker.left[0].timestamp), at, "{context}");
                assert_eq!(left.marker, index == 0, "{context}");
                assert!(left.payload.iter().all(|byte| {
                    at += 1;
                    u32::from(*byte) == (at - 1) % 251
                }));
            }
            assert_eq!(u64::from(at), speaker.said, "{packet_ms} ms of {frames:?}");
        }
    }

    #[test]
    fn packets_leave_evenly() {
        let mut speaker = Speaker::new(20);
        speaker.say(60, Step::Anew);
        // Twenty milliseconds early, and then as late.
        speaker.until(40);
        speaker.say(60, on(60));
        speaker.until(140);
        speaker.say(60, on(60));
        speaker.until(1000);
        let times: Vec<u64> = speaker.left.iter().map(|left| left.at_ms).collect();
        assert_eq!(times, [0, 20, 40, 60, 80, 100, 140, 160, 180]);
        let mut speaker = Speaker::new(30);
        speaker.say(20, Step::Anew);
        for index in 1..9 {
            speaker.until(index * 20);
            speaker.say(20, on(20));
        }
        speaker.until(1000);
        let times: Vec<u64> = speaker.left.iter().map(|left| left.at_ms).collect();
        assert_eq!(times, [20, 50, 80, 110, 140, 170]);
    }

    #[test]
    fn what_is_missing_is_a_gap_of_as_many_packets() {
        let mut speaker = Speaker::new(30);
        speaker.say(20, Step::Anew);
        speaker.until(100);
        // Four of 20 ms are missing: what there was leaves, and 80 ms are two packets.
        let gap = Step::On {
            frames: 5,
            units: 800,
            is_silence: false,
        };
        speaker.say(20, gap);
        speaker.until(120);
        speaker.say(20, on(20));
        speaker.until(1000);
        assert_eq!(speaker.told(), [(60, 1, 0, 20), (120, 4, 100, 30), (180, 5, 130, 10)]);
        assert!(!speaker.left[1].marker);
        // Silence is a gap in time alone.
        let mut speaker = Speaker::new(30);
        speaker.say(40, Step::Anew);
        speaker.until(500);
        let silence = Step::On {
            frames: 1,
            units: 4000,
            is_silence: true,
        };
        speaker.say(40, silence);
        speaker.until(1000);
        let markers: Vec<bool> = speaker.left.iter().map(|left| left.marker).collect();
        assert_eq!(
            speaker.told(),
            [(0, 1, 0, 30), (80, 2, 30, 10), (500, 3, 500, 30), (580, 4, 530, 10)]
        );
        assert_eq!(markers, [true, false, true, false]);
    }

    #[test]
    fn another_codec_or_size_is_not_mixed_with_what_waits() {
        let mut speaker = Speaker::new(30);
        speaker.say(20, Step::Anew);
        speaker.packets.set_packing(Packing {
            payload_type: 0,
            clock_hz: 8000,
            bytes: Some(160),
        });
        speaker.until(20);
        speaker.say(40, on(20));
        speaker.packets.set_packing(Packing {
            payload_type: 96,
            clock_hz: 48_000,
            bytes: None,
        });
        speaker.until(25);
        speaker.say(1, Step::Anew);
        assert_eq!(
            speaker.told(),
            // The last by its own clock, behind the end of what was said.
            [(20, 1, 0, 20), (25, 2, 20, 20), (25, 3, 40, 20), (25, 4, 60, 1)]
        );
    }

    #[test]
    fn what_waits_for_its_turn_is_bounded() {
        let mut speaker = Speaker::new(10);
        speaker.say(250, Step::Anew);
        assert_eq!((speaker.left.len(), speaker.packets.queue.len()), (1, 24));
        for _ in 0..10 {
            speaker.say(250, on(250));
        }
        assert_eq!(speaker.packets.queue.len(), QUEUED_MAX);
        assert_eq!(speaker.packets.deadline(), Some(Duration::from_millis(250)));
        let beside = speaker.packets.begin_beside(Duration::from_millis(1));
        assert_eq!(beside, FIRST.wrapping_add(160 + 11 * 250 * 8));
        assert_eq!(speaker.packets.deadline(), None);
    }

    const FIRST: u32 = u32::MAX - 300;
}
