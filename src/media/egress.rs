//! Frames of one speaker, as packets of one source.
//!
//! Groups come in order, or nearly: QUIC streams overtake each other, and what is lost is sent again. A frame whose turn it
//! is goes out at once: whoever hears has a jitter buffer of its own. One that came too early waits a little for those
//! before it.
//!
//! Invariant: the numbers and timestamps of packets tell the same gaps as those of groups, within one speaker's count. To
//! another speaker they go on: the number by one, the timestamp by the time that passed.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::packets::{Packets, Packing, Step};
use crate::rtp::Packet;

/// A frame to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speech {
    /// The number of its group.
    pub group: u64,
    /// In units of `timescale`.
    pub timestamp: u64,
    /// What is said.
    pub payload: Bytes,
}

/// What left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EgressStatistics {
    /// Packets.
    pub packets: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Groups that did not come in time.
    pub lost: u64,
    /// Frames that came when their turn was over.
    pub late: u64,
}

/// The packets of one source.
#[derive(Debug)]
pub struct Egress {
    packets: Packets,
    /// What frames' timestamps count in a second.
    timescale: u64,
    /// The last frame that left. None: the next one begins a talkspurt.
    last: Option<Last>,
    waiting: BTreeMap<u64, (Duration, Speech)>,
    lost: u64,
    late: u64,
}

#[derive(Debug)]
struct Last {
    group: u64,
    /// In the clock, of the frame.
    time: u64,
    /// From it to the next, when that is known.
    step: Option<u64>,
}

impl Egress {
    /// A source with this name, number and timestamp to begin with: random ones, which nobody guesses (RFC 3550,
    /// section 5.1). Until [`Self::set_packing`] it speaks PCMU (RFC 3551, section 6).
    pub fn new(ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        let packets = Packets::new(ssrc, sequence, timestamp);
        Self {
            timescale: packets.packing().clock_hz.into(),
            packets,
            last: None,
            waiting: BTreeMap::new(),
            lost: 0,
            late: 0,
        }
    }

    /// Who sends.
    pub fn ssrc(&self) -> u32 {
        self.packets.ssrc()
    }

    /// What left so far.
    pub fn statistics(&self) -> EgressStatistics {
        EgressStatistics {
            packets: self.packets.count,
            bytes: self.packets.bytes,
            lost: self.lost,
            late: self.late,
        }
    }

    /// Another speaker, or the same anew: numbers and timestamps of frames mean nothing to those before. `timescale` is what
    /// the timestamps of its frames count in a second.
    pub fn begin(&mut self, timescale: u64) {
        self.timescale = timescale.max(1);
        self.interrupt();
    }

    /// What waits is not sent, and the next frame begins a talkspurt.
    pub fn interrupt(&mut self) {
        self.last = None;
        self.waiting.clear();
        self.packets.clear();
    }

    /// What frames' timestamps count in a second.
    pub fn timescale(&self) -> u64 {
        self.timescale
    }

    /// The codec of what is spoken, and how much of it is in a packet. What waits to be a packet is one as it was.
    pub fn set_packing(&mut self, packing: Packing) {
        if packing.clock_hz != self.packets.packing().clock_hz {
            self.last = None;
        }
        self.packets.set_packing(packing);
    }

    /// The timestamp of what is said at `now`.
    pub fn timestamp(&self, now: Duration) -> u32 {
        self.packets.timestamp(now)
    }

    /// A frame came. What is to leave is given to `send`, in order.
    pub fn take(&mut self, speech: Speech, now: Duration, mut send: impl FnMut(Packet<'_>)) {
        match &self.last {
            None => self.send(&speech, now, &mut send),
            Some(last) if speech.group <= last.group => self.late += 1,
            Some(last) if speech.group == last.group + 1 => self.send(&speech, now, &mut send),
            Some(last) if speech.group - last.group > WAITING_MAX as u64 => {
                // Another count: a speaker that came back.
                self.release_all(now, &mut send);
                self.last = None;
                self.send(&speech, now, &mut send);
            }
            Some(_) => drop(self.waiting.insert(speech.group, (now, speech))),
        }
        self.release(now, send);
    }

    /// When something that waits is to leave.
    pub fn deadline(&self) -> Option<Duration> {
        self.waiting_deadline().into_iter().chain(self.packets.deadline()).min()
    }

    /// It is `now`: what has waited long enough leaves.
    pub fn release(&mut self, now: Duration, mut send: impl FnMut(Packet<'_>)) {
        while let Some(entry) = self.waiting.first_entry() {
            let is_next = self.last.as_ref().is_some_and(|last| *entry.key() == last.group + 1);
            let is_due = entry.get().0 + WAIT <= now || self.waiting.len() > WAITING_MAX;
            if !is_next && !is_due {
                // One behind it may be due: it came before, and has waited for the same.
                if self.waiting_deadline().is_none_or(|deadline| deadline > now) {
                    break;
                }
            }
            if let Some((_, (_, speech))) = self.waiting.pop_first() {
                self.send(&speech, now, &mut send);
            }
        }
        self.packets.release(now, &mut send);
    }

    /// Something of another kind is sent from `now` on, and nothing is spoken: a digit. Its timestamp.
    pub fn begin_beside(&mut self, now: Duration) -> u32 {
        self.interrupt();
        self.packets.begin_beside(now)
    }

    /// Sends a packet of another kind with the next number.
    pub fn send_beside(
        &mut self,
        marker: bool,
        payload_type: u8,
        timestamp: u32,
        payload: &[u8],
        mut send: impl FnMut(Packet<'_>),
    ) {
        self.packets
            .send_beside(marker, payload_type, timestamp, payload, &mut send);
    }

    /// When a frame that came too early is to leave without what is before it.
    fn waiting_deadline(&self) -> Option<Duration> {
        self.waiting.values().map(|(came, _)| *came + WAIT).min()
    }

    fn release_all(&mut self, now: Duration, send: &mut impl FnMut(Packet<'_>)) {
        for (_, (_, speech)) in std::mem::take(&mut self.waiting) {
            self.send(&speech, now, send);
        }
    }

    fn send(&mut self, speech: &Speech, now: Duration, send: &mut impl FnMut(Packet<'_>)) {
        let clock_hz = u64::from(self.packets.packing().clock_hz);
        let time = match self.timescale == clock_hz {
            true => speech.timestamp,
            false => {
                let time = u128::from(speech.timestamp) * u128::from(clock_hz) / u128::from(self.timescale);
                u64::try_from(time).unwrap_or(u64::MAX)
            }
        };
        let mut next_step = None;
        let step = match &self.last {
            None => Step::Anew,
            Some(last) => {
                let frames = speech.group.saturating_sub(last.group).max(1);
                let units = time.saturating_sub(last.time);
                // Longer than it takes from packet to packet, and none is missing: there was silence before it.
                let usual = last.step.unwrap_or(units);
                let is_silence = frames == 1 && units > usual;
                next_step = if frames == 1 && units > 0 && !is_silence {
                    Some(units)
                } else {
                    last.step
                };
                self.lost += frames - 1;
                Step::On {
                    frames,
                    units,
                    is_silence,
                }
            }
        };
        self.last = Some(Last {
            group: speech.group,
            time,
            step: next_step,
        });
        self.packets.take(&speech.payload, step, now, send);
    }
}

/// How long a frame waits for those before it.
const WAIT: Duration = Duration::from_millis(40);
/// Frames that wait, and how far ahead one may be. One further ahead is of another count.
const WAITING_MAX: usize = 50;

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "numbers on the wire wrap")]

    use super::*;
    use crate::Ingress;

    /// A packet that is kept.
    #[derive(Clone, Debug, PartialEq)]
    struct Sent {
        marker: bool,
        sequence: u16,
        timestamp: u32,
        payload: Vec<u8>,
    }

    fn keep(packets: &mut Vec<Sent>) -> impl FnMut(Packet<'_>) + '_ {
        |packet| {
            packets.push(Sent {
                marker: packet.marker,
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                payload: packet.payload.to_vec(),
            });
        }
    }

    fn at(index: u64) -> Duration {
        Duration::from_millis(20) * u32::try_from(index).unwrap()
    }

    /// Random enough for a test, and the same each time.
    fn random(state: &mut u64) -> u64 {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    /// What a telephone sends: some silence, whose next packet has the marker.
    fn talk(state: &mut u64) -> Vec<Sent> {
        let mut time = 0_u32;
        (0..100_000_u32)
            .map(|index| {
                let marker = index == 0 || random(state).is_multiple_of(100);
                time = time.wrapping_add(if marker { 160 * 40 } else { 160 });
                Sent {
                    marker,
                    sequence: 60_000_u16.wrapping_add(index as u16),
                    timestamp: 4_000_000_000_u32.wrapping_add(time),
                    payload: (0..160).map(|at| (index.wrapping_mul(31) + at) as u8).collect(),
                }
            })
            .collect()
    }

    /// The network loses some and lets others overtake: when each comes, and which it is.
    fn travel(count: usize, state: &mut u64) -> Vec<(usize, usize)> {
        let mut arriving: Vec<(usize, usize)> = Vec::new();
        for index in 0..count {
            let is_lost = index > 0 && random(state).is_multiple_of(50);
            let is_overtaken = random(state).is_multiple_of(10);
            let behind = if is_overtaken { (random(state) % 6) as usize } else { 0 };
            if !is_lost {
                arriving.push((index + behind, index));
            }
        }
        arriving.sort_unstable();
        let first = arriving.iter().position(|(_, index)| *index == 0).unwrap();
        arriving.swap(0, first);
        arriving
    }

    #[test]
    fn a_hundred_thousand_packets_arrive_as_they_were_sent() {
        let mut state = 1;
        let sent = talk(&mut state);
        let arriving = travel(sent.len(), &mut state);
        let (mut ingress, mut egress) = (Ingress::new(8000), Egress::new(9, 65_000, u32::MAX));
        let mut left = Vec::new();
        for (moment, index) in &arriving {
            let original = &sent[*index];
            let packet = Packet {
                marker: original.marker,
                payload_type: 0,
                sequence: original.sequence,
                timestamp: original.timestamp,
                ssrc: 5,
                payload: &original.payload,
            };
            let now = at(*moment as u64);
            let heard = ingress.take(&packet, now).expect("no packet comes twice");
            let speech = Speech {
                group: heard.group,
                timestamp: heard.timestamp,
                payload: Bytes::copy_from_slice(packet.payload),
            };
            egress.take(speech, now, keep(&mut left));
        }
        egress.release(at(1_000_000), keep(&mut left));
        let mut indices: Vec<usize> = arriving.iter().map(|(_, index)| *index).collect();
        indices.sort_unstable();
        let arrived = indices.len() as u64;
        let statistics = egress.statistics();
        // Nothing is further behind than frames wait: 40 ms are two packets, some overtake more.
        assert_eq!(statistics.packets + statistics.late, arrived);
        assert!(statistics.late < arrived / 20, "{statistics:?}");
        let origin = (left[0].sequence, left[0].timestamp);
        let mut next = 0;
        let mut markers = (0, 0);
        for packet in &left {
            let number = packet.sequence.wrapping_sub(origin.0);
            while indices[next] as u16 != number {
                next += 1;
            }
            let original = &sent[indices[next]];
            assert_eq!(packet.payload, original.payload);
            let (ours, theirs) = (
                packet.timestamp.wrapping_sub(origin.1),
                original.timestamp.wrapping_sub(sent[0].timestamp),
            );
            assert_eq!(ours, theirs, "packet {}", indices[next]);
            // A marker can't be told where the packet before it is missing.
            let is_whole = next == 0 || indices[next] == indices[next - 1] + 1;
            markers.0 += usize::from(original.marker && is_whole);
            markers.1 += usize::from(packet.marker);
        }
        let (expected, told) = markers;
        assert!(
            told > 0 && told <= expected && told * 100 >= expected * 90,
            "{told} of {expected}"
        );
    }

    #[test]
    fn what_is_early_waits_for_what_is_before_it_and_not_for_long() {
        let mut egress = Egress::new(9, 0, 0);
        let mut left = Vec::new();
        for (group, moment) in [(10, 0), (12, 1), (13, 2)] {
            egress.take(speech(group), at(moment), keep(&mut left));
        }
        assert_eq!(left.len(), 1);
        assert_eq!(egress.deadline(), Some(at(1) + WAIT));
        egress.take(speech(11), at(2), keep(&mut left));
        assert_eq!(left.len(), 4);
        egress.take(speech(16), at(3), keep(&mut left));
        egress.release(at(4), keep(&mut left));
        assert_eq!(left.len(), 4);
        egress.release(at(3) + WAIT, keep(&mut left));
        let sequences: Vec<u16> = left.iter().map(|packet| packet.sequence).collect();
        assert_eq!(sequences, [1, 2, 3, 4, 7]);
        egress.take(speech(14), at(6), keep(&mut left));
        let statistics = egress.statistics();
        assert_eq!((statistics.packets, statistics.lost, statistics.late), (5, 2, 1));
        assert_eq!(egress.deadline(), None);
    }

    #[test]
    fn another_speaker_begins_a_talkspurt_of_the_same_source() {
        let mut egress = Egress::new(9, 100, 1000);
        egress.set_packing(Packing {
            payload_type: 8,
            clock_hz: 8000,
            bytes: None,
        });
        egress.begin(48_000);
        let mut left = Vec::new();
        for group in 5..8 {
            egress.take(
                Speech {
                    timestamp: group * 960,
                    ..speech(group)
                },
                at(group),
                keep(&mut left),
            );
        }
        egress.begin(8000);
        egress.take(speech(70_000), at(20), keep(&mut left));
        // A speaker that counts from elsewhere without saying so.
        egress.take(speech(80_000), at(21), keep(&mut left));
        let told: Vec<(bool, u16, u32)> = left
            .iter()
            .map(|sent| (sent.marker, sent.sequence, sent.timestamp))
            .collect();
        assert_eq!(
            told,
            [
                (true, 101, 1160),
                (false, 102, 1320),
                (false, 103, 1480),
                // As much later as it is: thirteen frames.
                (true, 104, 1480 + 13 * 160),
                (true, 105, 1480 + 14 * 160)
            ]
        );
        let beside = egress.begin_beside(at(22));
        egress.send_beside(true, 101, beside, &[1, 2, 3, 4], |packet| {
            assert_eq!(
                (packet.sequence, packet.payload_type, packet.timestamp),
                (106, 101, 1480 + 15 * 160)
            );
        });
        // The digit was sent for so long.
        egress.take(speech(80_020), at(40), keep(&mut left));
        let next = left.last().unwrap();
        assert_eq!(
            (next.marker, next.sequence, next.timestamp),
            (true, 107, 1480 + 33 * 160)
        );
        assert_eq!(egress.timestamp(at(45)), 1480 + 38 * 160);
    }

    #[test]
    fn timestamps_of_a_speaker_that_counts_from_elsewhere_go_on() {
        let mut egress = Egress::new(9, 0, u32::MAX - 100);
        let mut left = Vec::new();
        let mut take = |group, timestamp, moment| {
            let speech = Speech {
                timestamp,
                ..speech(group)
            };
            egress.take(speech, at(moment), keep(&mut left));
        };
        // Its timestamps go back, stand still, and leap: the time that passed counts.
        for (group, timestamp) in [
            (0, 160_000),
            (1, 160_160),
            (2, 7),
            (3, 7),
            (4, 1_000_000_000),
            (5, 1_000_000_160),
        ] {
            take(group, timestamp, group);
        }
        // Ten seconds of silence are none.
        take(6, 1_000_000_160 + 80_000, 505);
        let told: Vec<(bool, u32)> = left
            .iter()
            .map(|sent| (sent.marker, sent.timestamp.wrapping_sub(left[0].timestamp)))
            .collect();
        assert_eq!(
            told,
            [
                (true, 0),
                (false, 160),
                (true, 320),
                (true, 480),
                (true, 640),
                (false, 800),
                (true, 80_800)
            ]
        );
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut egress = Egress::new(9, 0, 0);
        let mut left = Vec::new();
        egress.take(speech(0), at(0), keep(&mut left));
        for group in 2..=WAITING_MAX as u64 {
            egress.take(speech(group), at(0), keep(&mut left));
        }
        assert_eq!((left.len(), egress.waiting.len()), (1, WAITING_MAX - 1));
        egress.take(speech(1000), at(0), keep(&mut left));
        assert_eq!((left.len(), egress.waiting.len()), (1 + WAITING_MAX, 0));
    }

    fn speech(group: u64) -> Speech {
        Speech {
            group,
            timestamp: group * 160,
            payload: Bytes::from_static(&[0xff; 160]),
        }
    }
}
