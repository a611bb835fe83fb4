//! Packets of one sender, in the order of a broadcast's groups.
//!
//! Invariant: groups that follow each other have numbers that follow each other, whatever the sender does to its numbers:
//! a new source, a jump, a restart, packets of another kind in between.

use std::time::Duration;

use crate::burst::{Bursts, Losses};
use crate::rtp::{Packet, units};

/// Where a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The number of its group.
    pub group: u64,
    /// In the codec's clock, from 0 on at the first packet. It never goes back from one packet to the next.
    pub timestamp: u64,
    /// The packets before it are of another source or another count: what was being put together is over.
    pub is_new_source: bool,
}

/// What came, as RFC 3550 counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngressStatistics {
    /// Packets that were taken.
    pub packets: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Packets that have a number and no group: digits, comfort noise.
    pub passed: u64,
    /// Packets that the numbers say are missing (RFC 3550, appendix A.3).
    pub lost: u64,
    /// Packets that came twice, or too late for the numbers to say where they belong.
    pub refused: u64,
    /// How often the source changed, or its count jumped.
    pub restarts: u64,
    /// The spread of arrivals in units of the clock (RFC 3550, section 6.4.1).
    pub jitter: u32,
}

/// What a report says of the source (RFC 3550, section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reception {
    /// Which source.
    pub ssrc: u32,
    /// Lost since the report before, of 256.
    pub fraction_lost: u8,
    /// Lost since the source began.
    pub lost: u32,
    /// The highest number, counted on beyond 2^16.
    pub highest: u32,
    /// As [`IngressStatistics::jitter`].
    pub jitter: u32,
    /// Lost since the source began, of 256.
    pub lost_of_all: u8,
    /// How losses lie.
    pub bursts: Bursts,
}

/// Packets of one sender. It keeps the numbers of the last packets, and no packets.
#[derive(Debug)]
pub struct Ingress {
    clock_hz: u32,
    source: Option<Source>,
    /// A packet that fits in nowhere: if the next one follows it, a new count has begun (RFC 3550, appendix A.1).
    probation: Option<(u32, u16)>,
    /// The group of the packet after the newest.
    next_group: u64,
    /// The time of the newest frame, and when it came, by the clock of who embeds this.
    last: Option<(u64, Duration)>,
    statistics: IngressStatistics,
    jitter_16: u64,
}

/// The source that is heard.
#[derive(Debug)]
struct Source {
    ssrc: u32,
    /// The number that its count began with, and how far the newest is from it.
    first: u16,
    span: u64,
    /// Numbers that came, of the newest and the 63 before it: the lowest bit is the newest.
    seen: u64,
    /// Of those before.
    losses: Losses,
    /// Those of them that have no group.
    passed: u64,
    /// Its newest frame.
    newest: Option<Newest>,
    /// From one frame to the next, in units of the clock, as two in a row had it last. 0: none did.
    step: u32,
    /// Packets that came, of whatever kind; and what of them was in the report before: those expected, those that came.
    received: u64,
    reported: (u64, u64),
}

/// The timestamp of a frame as sent, and how long it was under way.
#[derive(Debug)]
struct Newest {
    timestamp: u32,
    transit: i64,
}

/// Where the number of a packet is.
enum Place {
    /// It begins a source, or a count.
    First,
    /// So far beyond the newest.
    Ahead(u16),
    /// So far behind it, and it has not been.
    Behind(u16),
}

impl Ingress {
    /// For a codec whose timestamps count this fast: 8000 for G.711 and G.722 (RFC 3551, section 4.5.2), 48 000 for Opus.
    pub fn new(clock_hz: u32) -> Self {
        Self {
            clock_hz: clock_hz.max(1),
            source: None,
            probation: None,
            next_group: 0,
            last: None,
            statistics: IngressStatistics::default(),
            jitter_16: 0,
        }
    }

    /// Another codec, whose timestamps count as fast as this. Those of [`Heard`] do so from here on.
    pub fn set_clock(&mut self, clock_hz: u32) {
        let clock_hz = clock_hz.max(1);
        if clock_hz == self.clock_hz {
            return;
        }
        let convert = |units: u64| {
            let converted = u128::from(units) * u128::from(clock_hz) / u128::from(self.clock_hz);
            u64::try_from(converted).unwrap_or(u64::MAX)
        };
        self.last = self.last.map(|(time, came)| (convert(time), came));
        self.jitter_16 = convert(self.jitter_16);
        self.clock_hz = clock_hz;
        self.interrupt();
    }

    /// Packets were not taken for a while: the next one begins a count, and nothing is missing before it.
    pub fn interrupt(&mut self) {
        self.source = None;
        self.probation = None;
    }

    /// What came so far.
    pub fn statistics(&self) -> IngressStatistics {
        IngressStatistics {
            jitter: u32::try_from(self.jitter_16 / 16).unwrap_or(u32::MAX),
            ..self.statistics
        }
    }

    /// What is to be reported of the source that is heard. The next report says what is lost from here on.
    pub fn report(&mut self) -> Option<Reception> {
        let jitter = self.statistics().jitter;
        let source = self.source.as_mut()?;
        let (expected, received) = (source.span + 1, source.received);
        let (expected_before, received_before) = std::mem::replace(&mut source.reported, (expected, received));
        let interval = expected - expected_before;
        let lost = interval.saturating_sub(received - received_before);
        let fraction = (lost * 256).checked_div(interval).unwrap_or(0);
        let lost_of_all = (expected.saturating_sub(received) * 256)
            .checked_div(expected)
            .unwrap_or(0);
        let bursts = source.losses.bursts(packet_length(source, self.clock_hz));
        let highest = (u64::from(source.first) + source.span) & 0xffff_ffff;
        Some(Reception {
            ssrc: source.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            lost: u32::try_from(expected.saturating_sub(received)).unwrap_or(u32::MAX),
            highest: u32::try_from(highest).unwrap_or(u32::MAX),
            jitter,
            lost_of_all: u8::try_from(lost_of_all).unwrap_or(u8::MAX),
            bursts,
        })
    }

    /// A frame came at `now`, on any clock that does not go back. `None`: it is to be dropped.
    pub fn take(&mut self, packet: &Packet<'_>, now: Duration) -> Option<Heard> {
        let Some(place) = self.place(packet) else {
            self.statistics.refused += 1;
            return None;
        };
        self.statistics.packets += 1;
        self.statistics.bytes += packet.payload.len() as u64;
        let had_source = self.source.is_some() || self.last.is_some();
        let behind = self.note(&place, packet, true);
        self.measure(&place, packet);
        Some(Heard {
            group: self.next_group.saturating_sub(1 + behind),
            timestamp: self.time(packet, matches!(place, Place::Behind(_)), now),
            is_new_source: matches!(place, Place::First) && had_source,
        })
    }

    /// How long packets are, by two frames in a row.
    fn measure(&mut self, place: &Place, packet: &Packet<'_>) {
        let Some(source) = self.source.as_mut().filter(|_| matches!(place, Place::Ahead(1))) else {
            return;
        };
        let step = source
            .newest
            .as_ref()
            .map(|newest| packet.timestamp.wrapping_sub(newest.timestamp));
        // Longer ones are silence, or another count.
        if let Some(step) = step.filter(|step| (1..=self.clock_hz / PACKETS_PER_SECOND_MIN).contains(step)) {
            source.step = step;
        }
    }

    /// A packet came that is no frame: a digit, or comfort noise. It has a number and no group, so that nothing is missing
    /// between the frames around it. One that another overtook leaves a gap all the same. `None`: as with [`Self::take`].
    /// Otherwise it says whether the packet is of another source or count than those before it.
    pub fn pass(&mut self, packet: &Packet<'_>) -> Option<bool> {
        let Some(place) = self.place(packet) else {
            self.statistics.refused += 1;
            return None;
        };
        self.statistics.passed += 1;
        let had_source = self.source.is_some() || self.last.is_some();
        self.note(&place, packet, false);
        Some(matches!(place, Place::First) && had_source)
    }

    fn place(&mut self, packet: &Packet<'_>) -> Option<Place> {
        // A peer that changes its source means it: a transfer, or another device behind the same address. Two at once
        // are kept apart by the address that packets come from.
        let Some(source) = self.source.as_ref().filter(|source| source.ssrc == packet.ssrc) else {
            return Some(Place::First);
        };
        let newest = source.sequence();
        let ahead = packet.sequence.wrapping_sub(newest);
        if (1..MAX_DROPOUT).contains(&ahead) {
            return Some(Place::Ahead(ahead));
        }
        let behind = newest.wrapping_sub(packet.sequence);
        if behind < WINDOW {
            let is_missing = u64::from(behind) <= source.span && source.seen & (1 << behind) == 0;
            return is_missing.then_some(Place::Behind(behind));
        }
        // Far off: an old packet, or a count that began anew. Two in a row tell.
        let expected = self.probation.replace((packet.ssrc, packet.sequence.wrapping_add(1)));
        (expected == Some((packet.ssrc, packet.sequence))).then_some(Place::First)
    }

    /// Notes that a number came. How many groups are beyond that of the packet.
    fn note(&mut self, place: &Place, packet: &Packet<'_>, is_frame: bool) -> u64 {
        let passed = u64::from(!is_frame);
        match (place, &mut self.source) {
            (Place::Ahead(ahead), Some(source)) => {
                self.probation = None;
                let ahead = u64::from(*ahead);
                source.forget(ahead);
                let shift = |bits: u64| if ahead < 64 { bits << ahead } else { 0 };
                source.span += ahead;
                source.seen = shift(source.seen) | 1;
                source.passed = shift(source.passed) | passed;
                source.received += 1;
                self.statistics.lost += ahead - 1;
                self.next_group += ahead - passed;
                0
            }
            (Place::Behind(behind), Some(source)) => {
                source.seen |= 1 << behind;
                source.received += 1;
                self.statistics.lost = self.statistics.lost.saturating_sub(1);
                let newer = source.passed & ((1 << behind) - 1);
                u64::from(*behind) - u64::from(newer.count_ones())
            }
            _ => {
                self.probation = None;
                self.statistics.restarts += u64::from(self.source.is_some());
                self.next_group += 1 - passed;
                self.source = Some(Source {
                    ssrc: packet.ssrc,
                    first: packet.sequence,
                    span: 0,
                    seen: 1,
                    losses: Losses::default(),
                    passed,
                    newest: None,
                    step: 0,
                    received: 1,
                    reported: (0, 0),
                });
                0
            }
        }
    }

    /// The time of a frame. Beyond the newest it goes on; at the beginning of a source where the one before it would be by
    /// now.
    fn time(&mut self, packet: &Packet<'_>, is_late: bool, now: Duration) -> u64 {
        let clock_hz = self.clock_hz;
        let units = |passed: Duration| units(passed, clock_hz);
        let newest = self.source.as_ref().and_then(|source| source.newest.as_ref());
        let (time, transit_before) = match (self.last, newest) {
            (None, _) => (0, None),
            (Some((last, came)), None) => (last.saturating_add(units(now.saturating_sub(came)).max(1)), None),
            (Some((last, came)), Some(newest)) => {
                let step = packet.timestamp.wrapping_sub(newest.timestamp).cast_signed();
                let size = u64::from(step.unsigned_abs());
                if is_late && step <= 0 {
                    // Before a jump of the timestamps it was of another count.
                    let is_same_count = size <= LATE_SECONDS_MAX * u64::from(clock_hz);
                    return if is_same_count { last.saturating_sub(size) } else { last };
                }
                // A timestamp that goes back, or far ahead of the time that passed, is another count: a sender that
                // switched from ringback to a peer, say. Listeners are spared it.
                let passed = units(now.saturating_sub(came));
                let is_jump = step < 0 || size > passed.saturating_add(u64::from(clock_hz));
                let step = if is_jump { passed.max(1) } else { size };
                (last.saturating_add(step), (!is_jump).then_some(newest.transit))
            }
        };
        let transit = i64::try_from(units(now)).unwrap_or(i64::MAX) - i64::try_from(time).unwrap_or(i64::MAX);
        if let Some(before) = transit_before {
            let difference = transit.abs_diff(before);
            self.jitter_16 = self.jitter_16 + difference - (self.jitter_16 + 8) / 16;
        }
        if let Some(source) = &mut self.source {
            source.newest = Some(Newest {
                timestamp: packet.timestamp,
                transit,
            });
        }
        self.last = Some((time, now));
        time
    }
}

impl Source {
    /// So many numbers are beyond the newest: of as many before, nothing comes any more.
    fn forget(&mut self, ahead: u64) {
        let kept = (self.span + 1).min(WINDOW.into());
        // Those that were never in the window are missing.
        for place in (0..kept).rev().take_while(|place| place + ahead >= WINDOW.into()) {
            self.losses.note(self.seen & (1 << place) != 0);
        }
        (0..(ahead - 1).saturating_sub(u64::from(WINDOW) - 1)).for_each(|_| self.losses.note(false));
    }

    /// Of the newest packet.
    fn sequence(&self) -> u16 {
        self.first.wrapping_add((self.span & 0xffff) as u16)
    }
}

/// From one packet to the next: 20 ms, unless two frames in a row say something else.
fn packet_length(source: &Source, clock_hz: u32) -> Duration {
    match source.step {
        0 => PACKET_USUAL,
        step => Duration::from_secs(1) * step / clock_hz.max(1),
    }
}

/// As nearly everybody has them.
const PACKET_USUAL: Duration = Duration::from_millis(20);
/// Longer packets nobody sends.
const PACKETS_PER_SECOND_MIN: u32 = 8;
/// A packet so far ahead begins a new count (RFC 3550, appendix A.1).
const MAX_DROPOUT: u16 = 3000;
/// Packets that may come out of order.
const WINDOW: u16 = 64;
/// How far the timestamp of such a packet may be behind: so many packets of 60 ms.
const LATE_SECONDS_MAX: u64 = 4;

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "numbers on the wire wrap")]

    use super::*;

    #[test]
    fn numbers_go_on_beyond_16_bits_and_timestamps_beyond_32() {
        let mut ingress = Ingress::new(8000);
        for index in 0..200_000_u32 {
            let packet = packet(
                7,
                65_000_u16.wrapping_add(index as u16),
                u32::MAX.wrapping_add(index * 160),
            );
            let heard = ingress.take(&packet, at(index)).unwrap();
            assert_eq!(
                (heard.group, heard.timestamp),
                (u64::from(index), u64::from(index) * 160)
            );
        }
        let statistics = ingress.statistics();
        assert_eq!(
            (statistics.packets, statistics.lost, statistics.restarts),
            (200_000, 0, 0)
        );
        assert_eq!(statistics.jitter, 0);
    }

    #[test]
    fn late_packets_find_their_place_and_doubles_are_dropped() {
        let mut ingress = Ingress::new(8000);
        let order = [0_u16, 1, 4, 3, 3, 2, 1, 5, 70, 6, 8, 70];
        let groups: Vec<Option<u64>> = order
            .iter()
            .map(|index| {
                let packet = packet(7, 100 + index, 1000 + u32::from(*index) * 160);
                let heard = ingress.take(&packet, at(u32::from(*index)));
                heard
                    .inspect(|heard| assert_eq!(heard.timestamp, u64::from(*index) * 160))
                    .map(|heard| heard.group)
            })
            .collect();
        let expected = [0, 1, 4, 3, u64::MAX, 2, u64::MAX, 5, 70, u64::MAX, 8, u64::MAX];
        // 6 is 64 behind 70: too old to be told from a double. 8 is not.
        assert_eq!(groups, expected.map(|group| (group != u64::MAX).then_some(group)));
        let statistics = ingress.statistics();
        assert_eq!((statistics.packets, statistics.refused), (8, 4));
        assert_eq!(statistics.lost, 71 - 8);
    }

    #[test]
    fn a_new_source_goes_on_at_once_and_a_jump_with_its_second_packet() {
        let mut ingress = Ingress::new(8000);
        assert_eq!(ingress.take(&packet(7, 9, 90_000), at(0)).unwrap().group, 0);
        assert_eq!(ingress.take(&packet(7, 10, 90_160), at(1)).unwrap().timestamp, 160);
        let other = ingress.take(&packet(8, 60_000, 5), at(3)).unwrap();
        assert_eq!(
            (other.group, other.timestamp, other.is_new_source),
            (2, 160 + 320, true)
        );
        // The same source counts from elsewhere.
        assert_eq!(ingress.take(&packet(8, 20_000, 165), at(4)), None);
        let jumped = ingress.take(&packet(8, 20_001, 325), at(5)).unwrap();
        assert_eq!((jumped.group, jumped.is_new_source), (3, true));
        // One stray packet is no jump.
        assert_eq!(ingress.take(&packet(8, 50_000, 0), at(6)), None);
        assert_eq!(ingress.take(&packet(8, 20_002, 485), at(6)).unwrap().group, 4);
        assert_eq!(ingress.take(&packet(8, 50_001, 0), at(6)), None);
        assert_eq!(ingress.statistics().restarts, 2);
    }

    #[test]
    fn silence_is_a_gap_in_time_and_another_count_of_time_is_none() {
        let mut ingress = Ingress::new(8000);
        ingress.take(&packet(7, 0, 1000), at(0)).unwrap();
        // Ten seconds of silence that is suppressed.
        let heard = ingress.take(&packet(7, 1, 81_000), at(500)).unwrap();
        assert_eq!((heard.group, heard.timestamp), (1, 80_000));
        // From ringback to a peer: the timestamps of that one, at once.
        let heard = ingress.take(&packet(7, 2, 3_000_000_000), at(501)).unwrap();
        assert_eq!((heard.group, heard.timestamp), (2, 80_160));
        let heard = ingress.take(&packet(7, 3, 3_000_000_160), at(502)).unwrap();
        assert_eq!(heard.timestamp, 80_320);
        let heard = ingress.take(&packet(7, 4, 160), at(503)).unwrap();
        assert_eq!(heard.timestamp, 80_480);
    }

    #[test]
    fn jitter_is_what_the_standard_says() {
        let mut ingress = Ingress::new(8000);
        // Every other packet is 10 ms late: differences of 80, which the filter goes towards.
        for index in 0..400_u32 {
            let late = Duration::from_millis(u64::from(index % 2) * 10);
            ingress
                .take(&packet(7, index as u16, index * 160), at(index) + late)
                .unwrap();
        }
        assert!(
            (75..=80).contains(&ingress.statistics().jitter),
            "{:?}",
            ingress.statistics()
        );
    }

    #[test]
    fn what_is_no_frame_leaves_no_gap_between_those_that_are() {
        // `f` a frame, `p` no frame, of a number each: the groups of the frames.
        for (order, groups) in [
            ("f0 p1 p2 f3 f4", &[0, 1, 2][..]),
            ("p0 p1 f2 p3 f4", &[0, 1]),
            // Who overtakes cannot know what it overtook.
            ("f0 f2 p1 f3", &[0, 2, 3]),
            ("f0 p2 f1 f3", &[0, 1, 2]),
            ("f0 p1 f3 p4 f2 f5 p6 p7 f8", &[0, 2, 1, 3, 4]),
            // A frame or a digit is lost: nobody knows which.
            ("f0 p1 p3 f4", &[0, 2]),
        ] {
            let mut ingress = Ingress::new(8000);
            let mut found = Vec::new();
            let (mut newest, mut frames, mut passed) = (0, 0, 0);
            for (at_index, one) in order.split(' ').enumerate() {
                let number: u16 = one[1..].parse().unwrap();
                newest = newest.max(number);
                let packet = packet(7, 65_533_u16.wrapping_add(number), u32::from(number) * 160);
                if one.starts_with('p') {
                    assert!(ingress.pass(&packet).is_some(), "{order}");
                    assert_eq!(ingress.pass(&packet), None, "{order}: twice");
                    passed += 1;
                } else {
                    let heard = ingress.take(&packet, at(at_index as u32)).unwrap();
                    assert_eq!(ingress.take(&packet, at(at_index as u32)), None, "{order}: twice");
                    found.push(heard.group);
                    frames += 1;
                }
            }
            assert_eq!(found, groups, "{order}");
            let statistics = ingress.statistics();
            assert_eq!((statistics.packets, statistics.passed), (frames, passed), "{order}");
            assert_eq!(statistics.lost, u64::from(newest) + 1 - frames - passed, "{order}");
        }
    }

    #[test]
    fn digits_do_not_disturb_the_time_of_frames() {
        let mut ingress = Ingress::new(8000);
        assert_eq!(ingress.pass(&packet(7, 10, 77)), Some(false));
        let heard = ingress.take(&packet(7, 11, 1000), at(0)).unwrap();
        assert_eq!((heard.group, heard.timestamp), (0, 0));
        // A digit of 200 ms, whose packets have the timestamp of its beginning.
        for number in 12..22 {
            assert_eq!(ingress.pass(&packet(7, number, 1160)), Some(false));
        }
        let heard = ingress.take(&packet(7, 22, 1000 + 11 * 160), at(11)).unwrap();
        assert_eq!((heard.group, heard.timestamp), (1, 11 * 160));
        assert_eq!(ingress.pass(&packet(8, 5, 0)), Some(true));
        let heard = ingress.take(&packet(8, 6, 9), at(13)).unwrap();
        assert_eq!((heard.group, heard.timestamp), (2, 13 * 160));
    }

    #[test]
    fn nothing_is_lost_while_nothing_is_taken() {
        let mut ingress = Ingress::new(8000);
        ingress.take(&packet(7, 0, 0), at(0)).unwrap();
        ingress.interrupt();
        let heard = ingress.take(&packet(7, 500, 80_000), at(500)).unwrap();
        assert_eq!(
            (heard.group, heard.timestamp, heard.is_new_source),
            (1, 500 * 160, true)
        );
        assert_eq!((ingress.statistics().lost, ingress.statistics().restarts), (0, 0));
        // Another codec, on with its own clock.
        ingress.set_clock(48_000);
        let heard = ingress.take(&packet(7, 501, 123), at(501)).unwrap();
        assert_eq!((heard.group, heard.timestamp), (2, 501 * 960));
        let heard = ingress.take(&packet(7, 502, 123 + 960), at(502)).unwrap();
        assert_eq!((heard.group, heard.timestamp), (3, 502 * 960));
    }

    #[test]
    fn losses_lie_in_bursts_and_gaps_whatever_overtakes() {
        let mut ingress = Ingress::new(8000);
        // 60 ms each. A burst of four, one alone, one that comes late after all; at last more than a window is missing.
        let missing = [200..204, 300..301, 600..700];
        let mut order: Vec<u16> = (0..900)
            .filter(|index| !missing.iter().any(|run| run.contains(index)))
            .collect();
        let late = order.remove(400);
        order.insert(430, late);
        for index in order {
            let packet = packet(7, 65_000_u16.wrapping_add(index), u32::from(index) * 480);
            ingress.take(&packet, at(u32::from(index) * 3)).unwrap();
        }
        let report = ingress.report().unwrap();
        assert_eq!((report.lost, report.lost_of_all), (105, 29));
        let bursts = report.bursts;
        assert_eq!((bursts.burst_density, bursts.gap_density), (255, 0));
        // 52 packets of 60 ms; 731 of the rest, but for those that may still be overtaken, to each of both.
        assert_eq!(bursts.burst, Duration::from_millis(60 * 52));
        assert!(
            (Duration::from_secs(18)..Duration::from_secs(24)).contains(&bursts.gap),
            "{bursts:?}"
        );
    }

    #[test]
    fn reports_say_what_was_lost_since_the_last() {
        let mut ingress = Ingress::new(8000);
        assert_eq!(ingress.report(), None);
        let take = |ingress: &mut Ingress, number: u32| {
            let number = 65_000_u16.wrapping_add(number as u16);
            if number.is_multiple_of(2) {
                ingress.pass(&packet(9, number, 0)).unwrap();
            } else {
                ingress.take(&packet(9, number, 0), at(0)).unwrap();
            }
        };
        (0..1000)
            .filter(|index| index % 4 != 2)
            .for_each(|index| take(&mut ingress, index));
        let report = ingress.report().unwrap();
        assert_eq!((report.ssrc, report.fraction_lost, report.lost), (9, 64, 250));
        assert_eq!(report.highest, 65_000 + 999);
        (1000..1100).for_each(|index| take(&mut ingress, index));
        let report = ingress.report().unwrap();
        assert_eq!((report.fraction_lost, report.lost), (0, 250));
        assert_eq!(report.highest, 65_000 + 1099);
        for index in [1100, 1102] {
            take(&mut ingress, index);
        }
        let report = ingress.report().unwrap();
        assert_eq!((report.fraction_lost, report.lost), (85, 251));
        // It comes after all, and nothing else does: less than nothing was lost.
        take(&mut ingress, 1101);
        let report = ingress.report().unwrap();
        assert_eq!((report.fraction_lost, report.lost), (0, 250));
    }

    fn packet(ssrc: u32, sequence: u16, timestamp: u32) -> Packet<'static> {
        Packet {
            marker: false,
            payload_type: 0,
            sequence,
            timestamp,
            ssrc,
            payload: &[0xd5; 160],
        }
    }

    /// When the packet of this number is sent.
    fn at(index: u32) -> Duration {
        Duration::from_millis(20) * index
    }
}
