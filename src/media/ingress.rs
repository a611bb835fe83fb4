//! Packets of one sender, in the order of a broadcast's groups.
//!
//! Invariant: groups that follow each other have numbers that follow each other, whatever the sender does to its numbers:
//! a new source, a jump, a restart.

use std::time::Duration;

use crate::rtp::Packet;

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
    /// Packets that the numbers say are missing (RFC 3550, appendix A.3).
    pub lost: u64,
    /// Packets that came twice, or too late for the numbers to say where they belong.
    pub refused: u64,
    /// How often the source changed, or its count jumped.
    pub restarts: u64,
    /// The spread of arrivals in units of the clock (RFC 3550, section 6.4.1).
    pub jitter: u32,
}

/// Packets of one sender. It keeps the numbers of the last packets, and no packets.
#[derive(Debug)]
pub struct Ingress {
    clock_hz: u32,
    source: Option<Source>,
    /// A packet that fits in nowhere: if the next one follows it, a new count has begun (RFC 3550, appendix A.1).
    probation: Option<(u32, u16)>,
    statistics: IngressStatistics,
    jitter_16: u64,
}

/// The source that is heard.
#[derive(Debug)]
struct Source {
    ssrc: u32,
    /// The newest packet: its number and timestamp as sent, and as a group.
    sequence: u16,
    timestamp: u32,
    group: u64,
    time: u64,
    /// Groups that came, of the newest and the 63 before it: the lowest bit is the newest.
    seen: u64,
    /// The group that the count began with.
    first: u64,
    /// When the newest came, by the clock of who embeds this.
    arrived: Duration,
    transit: Option<i64>,
}

impl Ingress {
    /// For a codec whose timestamps count this fast: 8000 for G.711 and G.722 (RFC 3551, section 4.5.2), 48 000 for Opus.
    pub fn new(clock_hz: u32) -> Self {
        Self {
            clock_hz,
            source: None,
            probation: None,
            statistics: IngressStatistics::default(),
            jitter_16: 0,
        }
    }

    /// Another codec: its timestamps count as fast as this from the next source on.
    pub fn set_clock(&mut self, clock_hz: u32) {
        self.clock_hz = clock_hz;
    }

    /// What came so far.
    pub fn statistics(&self) -> IngressStatistics {
        IngressStatistics {
            jitter: u32::try_from(self.jitter_16 / 16).unwrap_or(u32::MAX),
            ..self.statistics
        }
    }

    /// A packet came at `now`, on any clock that does not go back. `None`: it is to be dropped.
    pub fn take(&mut self, packet: &Packet<'_>, now: Duration) -> Option<Heard> {
        let heard = self.place(packet, now);
        if heard.is_some() {
            self.statistics.packets += 1;
            self.statistics.bytes += packet.payload.len() as u64;
        } else {
            self.statistics.refused += 1;
        }
        heard
    }

    fn place(&mut self, packet: &Packet<'_>, now: Duration) -> Option<Heard> {
        let Some(source) = &mut self.source else {
            return Some(self.begin(packet, now));
        };
        if source.ssrc != packet.ssrc {
            // A peer that changes its source means it: a transfer, or another device behind the same address. Two at once
            // are kept apart by the address that packets come from.
            return Some(self.begin(packet, now));
        }
        let ahead = packet.sequence.wrapping_sub(source.sequence);
        if (1..MAX_DROPOUT).contains(&ahead) {
            self.probation = None;
            return Some(self.advance(packet, u64::from(ahead), now));
        }
        let behind = source.sequence.wrapping_sub(packet.sequence);
        if behind < WINDOW {
            return self.fill(packet, u32::from(behind));
        }
        // Far off: an old packet, or a count that began anew. Two in a row tell.
        let expected = self.probation.replace((packet.ssrc, packet.sequence.wrapping_add(1)));
        if expected == Some((packet.ssrc, packet.sequence)) {
            return Some(self.begin(packet, now));
        }
        None
    }

    /// The first packet of a source, or of a count. Its time goes on where the one before it would be by now.
    fn begin(&mut self, packet: &Packet<'_>, now: Duration) -> Heard {
        self.probation = None;
        let (group, timestamp) = match &self.source {
            None => (0, 0),
            Some(before) => {
                self.statistics.restarts += 1;
                let passed = now.saturating_sub(before.arrived).as_micros() * u128::from(self.clock_hz) / 1_000_000;
                (
                    before.group + 1,
                    before.time + u64::try_from(passed).unwrap_or(0).max(1),
                )
            }
        };
        let is_new_source = self.source.is_some();
        self.source = Some(Source {
            ssrc: packet.ssrc,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            group,
            time: timestamp,
            seen: 1,
            first: group,
            arrived: now,
            transit: None,
        });
        Heard {
            group,
            timestamp,
            is_new_source,
        }
    }

    /// A packet beyond the newest.
    fn advance(&mut self, packet: &Packet<'_>, ahead: u64, now: Duration) -> Heard {
        let clock_hz = self.clock_hz;
        let Some(source) = &mut self.source else {
            return self.begin(packet, now);
        };
        self.statistics.lost += ahead - 1;
        source.group += ahead;
        source.seen = source
            .seen
            .checked_shl(u32::try_from(ahead).unwrap_or(u32::MAX))
            .unwrap_or(0)
            | 1;
        source.sequence = packet.sequence;
        let step = packet.timestamp.wrapping_sub(source.timestamp).cast_signed();
        let passed = now.saturating_sub(source.arrived).as_micros() * u128::from(clock_hz) / 1_000_000;
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let jump = u64::from(step.unsigned_abs()).abs_diff(passed);
        // A timestamp that goes back, or far ahead of the time that passed, is another count: a sender that switched from
        // ringback to a peer, say. Listeners are spared it.
        if step < 0 || (u64::from(step.unsigned_abs()) > passed && jump > u64::from(clock_hz)) {
            source.time += passed.max(1);
            source.transit = None;
        } else {
            source.time += u64::from(step.unsigned_abs());
        }
        source.timestamp = packet.timestamp;
        source.arrived = now;
        let arrival = now.as_micros() * u128::from(clock_hz) / 1_000_000;
        let transit = i64::try_from(arrival).unwrap_or(i64::MAX) - i64::try_from(source.time).unwrap_or(i64::MAX);
        if let Some(before) = source.transit.replace(transit) {
            let difference = transit.abs_diff(before);
            self.jitter_16 = self.jitter_16 + difference - (self.jitter_16 + 8) / 16;
        }
        Heard {
            group: source.group,
            timestamp: source.time,
            is_new_source: false,
        }
    }

    /// A packet behind the newest, unless it has been.
    fn fill(&mut self, packet: &Packet<'_>, behind: u32) -> Option<Heard> {
        let source = self.source.as_mut()?;
        let bit = 1_u64 << behind;
        let group = source
            .group
            .checked_sub(u64::from(behind))
            .filter(|group| *group >= source.first)?;
        if source.seen & bit != 0 {
            return None;
        }
        source.seen |= bit;
        self.statistics.lost = self.statistics.lost.saturating_sub(1);
        let back = source.timestamp.wrapping_sub(packet.timestamp);
        Some(Heard {
            group,
            timestamp: source.time.saturating_sub(u64::from(back)),
            is_new_source: false,
        })
    }
}

/// A packet so far ahead begins a new count (RFC 3550, appendix A.1).
const MAX_DROPOUT: u16 = 3000;
/// Packets that may come out of order.
const WINDOW: u16 = 64;

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
