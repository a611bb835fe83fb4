//! Packets of RTCP (RFC 3550, section 6): those that tell of quality are read and written, others passed over. So are the VoIP
//! metrics of extended reports (RFC 3611).
//!
//! ```text
//! V=2|P|count (8) | type (8) | words behind this one (16)      type 200 SR, 201 RR, 202 SDES, 203 BYE; several in a datagram
//! SR    ssrc | time NTP (64) | timestamp RTP | packets | bytes | blocks...
//! RR    ssrc | blocks...
//! block ssrc | of 256 lost (8), lost (24) | highest number | jitter | time of the last SR | since then
//! SDES  ssrc | CNAME=1 (8) | length (8) | text | 0 up to a word       BYE   ssrc...
//! XR    ssrc | 7 (8) | 0 (8) | 8 (16) | ssrc | of 256 lost (8), discarded (8) | ... | R (8) | R of others (8) | MOS-LQ (8), MOS-CQ (8) | ...
//! ```

use std::time::Duration;

use crate::burst::{Bursts, GAP_MIN};

/// What a datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A source has sent so much.
    Sent(Sent),
    /// A source is heard like this.
    Heard(Block),
    /// A source is heard like this by who plays it.
    Played(Played),
    /// A source has ended.
    Over {
        /// Which.
        ssrc: u32,
    },
}

/// What a source has sent, in an SR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Which source.
    pub ssrc: u32,
    /// When, in seconds since 1900 with 32 bits of fraction.
    pub ntp: u64,
    /// The timestamp of what is said then.
    pub timestamp: u32,
    /// Packets so far, modulo 2^32.
    pub packets: u32,
    /// Bytes of their payloads, modulo 2^32.
    pub bytes: u32,
}

/// How a source is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Which source.
    pub ssrc: u32,
    /// Lost since the report before, of 256.
    pub fraction_lost: u8,
    /// Lost since the source began, at most 2^23 - 1. Less than 0 when packets came twice.
    pub lost: i32,
    /// The highest number, counted on beyond 2^16.
    pub highest: u32,
    /// In units of the source's clock.
    pub jitter: u32,
    /// The middle 32 bits of [`Sent::ntp`] of the last SR. 0: there was none.
    pub last_sent: u32,
    /// Since that came, in 1/65536 s.
    pub delay: u32,
}

/// How a source is heard by who plays it: with what comes too late (RFC 3611, section 4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Played {
    /// Which source.
    pub ssrc: u32,
    /// Lost since the source began, of 256.
    pub lost: u8,
    /// Thrown away since then, as it came too early or too late, of 256.
    pub discarded: u8,
    /// The rating of G.107, 0 to 100. None: it is not told, as below.
    pub rating: Option<u8>,
    /// The opinion of a listener, in tenths, 10 to 50.
    pub listening: Option<u8>,
    /// The opinion of who talks as well, for whom delay counts.
    pub conversation: Option<u8>,
}

/// A datagram that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// Who reports.
    pub ssrc: u32,
    /// Of itself, if it has sent anything.
    pub sent: Option<Sent>,
    /// Of whom it hears, if it does.
    pub heard: Option<Block>,
    /// Names who reports, of 255 bytes at most (RFC 7022).
    pub name: &'a str,
    /// The same of who wants more.
    pub metrics: Option<Metrics>,
    /// It has ended.
    pub is_over: bool,
}

/// How a source is heard here (RFC 3611, section 4.7). Nobody plays it: nothing is held back against jitter, or discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Which source.
    pub ssrc: u32,
    /// Lost since the source began, of 256.
    pub lost: u8,
    /// How losses lie.
    pub bursts: Bursts,
    /// There and back. Zero: it is not known.
    pub rtt: Duration,
    /// The rating of G.107, 0 to 100.
    pub rating: u8,
    /// The opinion of a listener, in tenths, 10 to 50.
    pub listening: u8,
    /// The opinion of who talks as well.
    pub conversation: u8,
}

/// Reads a datagram. What is not known, or ends too early, is passed over, so a strange packet hides no report.
pub fn read(datagram: &[u8], mut on: impl FnMut(Told)) {
    let mut rest = datagram;
    while let Some(([first, kind, length @ ..], behind)) = rest.split_first_chunk::<4>() {
        let bytes = usize::from(u16::from_be_bytes(*length)) * 4;
        let Some((body, next)) = behind.split_at_checked(bytes).filter(|_| first >> 6 == VERSION) else {
            return;
        };
        rest = next;
        let count = usize::from(first & COUNT);
        match *kind {
            SENT => {
                if let Some((sent, blocks)) = body.split_first_chunk::<24>() {
                    on(Told::Sent(read_sent(sent)));
                    read_blocks(blocks, count, &mut on);
                }
            }
            HEARD => {
                if let Some((_, blocks)) = body.split_first_chunk::<4>() {
                    read_blocks(blocks, count, &mut on);
                }
            }
            EXTENDED => {
                if let Some((_, blocks)) = body.split_first_chunk::<4>() {
                    read_extended(blocks, &mut on);
                }
            }
            OVER => {
                let (sources, _) = body.as_chunks::<4>();
                for ssrc in sources.iter().take(count) {
                    on(Told::Over {
                        ssrc: u32::from_be_bytes(*ssrc),
                    });
                }
            }
            _ => {}
        }
    }
}

impl Report<'_> {
    /// Writes the datagram in place of what `out` has.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        let blocks = u8::from(self.heard.is_some());
        let at = begin(out, if self.sent.is_some() { SENT } else { HEARD }, blocks);
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        if let Some(sent) = &self.sent {
            out.extend_from_slice(&sent.ntp.to_be_bytes());
            for word in [sent.timestamp, sent.packets, sent.bytes] {
                out.extend_from_slice(&word.to_be_bytes());
            }
        }
        if let Some(block) = &self.heard {
            let lost = block.lost.clamp(-LOST_MAX - 1, LOST_MAX).to_be_bytes();
            out.extend_from_slice(&block.ssrc.to_be_bytes());
            out.extend_from_slice(&[block.fraction_lost, lost[1], lost[2], lost[3]]);
            for word in [block.highest, block.jitter, block.last_sent, block.delay] {
                out.extend_from_slice(&word.to_be_bytes());
            }
        }
        end(out, at);
        let at = begin(out, NAMES, 1);
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        let name = self.name.as_bytes();
        let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
        out.extend_from_slice(&[CNAME, length]);
        out.extend_from_slice(&name[..usize::from(length)]);
        // At least one zero ends the items, as many as fill a word.
        out.resize(at + (out.len() - at) / 4 * 4 + 4, 0);
        end(out, at);
        if let Some(metrics) = &self.metrics {
            let at = begin(out, EXTENDED, 0);
            out.extend_from_slice(&self.ssrc.to_be_bytes());
            metrics.write(out);
            end(out, at);
        }
        if self.is_over {
            let at = begin(out, OVER, 1);
            out.extend_from_slice(&self.ssrc.to_be_bytes());
            end(out, at);
        }
    }
}

impl Metrics {
    fn write(&self, out: &mut Vec<u8>) {
        let ms = |time: Duration| u16::try_from(time.as_millis()).unwrap_or(u16::MAX).to_be_bytes();
        let (burst, gap, rtt) = (ms(self.bursts.burst), ms(self.bursts.gap), ms(self.rtt));
        out.extend_from_slice(&[PLAYED, 0, 0, 8]);
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&[self.lost, 0, self.bursts.burst_density, self.bursts.gap_density]);
        out.extend_from_slice(&[burst[0], burst[1], gap[0], gap[1]]);
        // Nothing is known of what is behind the switch.
        out.extend_from_slice(&[rtt[0], rtt[1], 0, 0]);
        out.extend_from_slice(&[UNKNOWN, UNKNOWN, UNKNOWN, GAP_MIN.to_be_bytes()[7]]);
        out.extend_from_slice(&[self.rating, UNKNOWN, self.listening, self.conversation]);
        // No concealment, no jitter buffer, and its depths.
        out.extend_from_slice(&[0; 8]);
    }
}

fn read_sent(body: &[u8; 24]) -> Sent {
    let word = |at: usize| word(body, at);
    Sent {
        ssrc: word(0),
        ntp: u64::from(word(1)) << 32 | u64::from(word(2)),
        timestamp: word(3),
        packets: word(4),
        bytes: word(5),
    }
}

fn read_blocks(blocks: &[u8], count: usize, on: &mut impl FnMut(Told)) {
    let (blocks, _) = blocks.as_chunks::<24>();
    for block in blocks.iter().take(count) {
        let word = |at: usize| word(block, at);
        on(Told::Heard(Block {
            ssrc: word(0),
            fraction_lost: block[4],
            // The sign of 24 bits.
            lost: (word(1) << 8).cast_signed() >> 8,
            highest: word(2),
            jitter: word(3),
            last_sent: word(4),
            delay: word(5),
        }));
    }
}

/// Blocks of other kinds are passed over.
fn read_extended(blocks: &[u8], on: &mut impl FnMut(Told)) {
    let mut rest = blocks;
    while let Some(([kind, _, length @ ..], behind)) = rest.split_first_chunk::<4>() {
        let bytes = usize::from(u16::from_be_bytes(*length)) * 4;
        let Some((body, next)) = behind.split_at_checked(bytes) else {
            return;
        };
        rest = next;
        if let Some(body) = body.first_chunk::<32>().filter(|_| *kind == PLAYED) {
            let [a, b, c, d, lost, discarded, ..] = *body;
            // 127 says that it is not known.
            let within = |at: usize, least: u8, most: u8| Some(body[at]).filter(|value| (least..=most).contains(value));
            on(Told::Played(Played {
                ssrc: u32::from_be_bytes([a, b, c, d]),
                lost,
                discarded,
                rating: within(20, 0, 100),
                listening: within(22, 10, 50),
                conversation: within(23, 10, 50),
            }));
        }
    }
}

fn word(bytes: &[u8; 24], at: usize) -> u32 {
    let (words, _) = bytes.as_chunks::<4>();
    words.get(at).map_or(0, |word| u32::from_be_bytes(*word))
}

/// The header of a packet, whose length [`end`] knows.
fn begin(out: &mut Vec<u8>, kind: u8, count: u8) -> usize {
    let at = out.len();
    out.extend_from_slice(&[VERSION << 6 | count, kind, 0, 0]);
    at
}

fn end(out: &mut [u8], at: usize) {
    let words = u16::try_from((out.len() - at) / 4 - 1).unwrap_or(u16::MAX);
    out[at + 2..at + 4].copy_from_slice(&words.to_be_bytes());
}

const VERSION: u8 = 2;
const COUNT: u8 = 0x1f;
const SENT: u8 = 200;
const HEARD: u8 = 201;
const NAMES: u8 = 202;
const OVER: u8 = 203;
const EXTENDED: u8 = 207;
const CNAME: u8 = 1;
/// The block of VoIP metrics.
const PLAYED: u8 = 7;
/// What stands there for what is not known.
const UNKNOWN: u8 = 127;
/// As much as 24 bits say.
const LOST_MAX: i32 = (1 << 23) - 1;

#[cfg(test)]
mod tests {
    use rtcp_types::prelude::*;
    use rtcp_types::{Bye, Compound, Packet, ReceiverReport, ReportBlock, Sdes, SdesChunk, SdesItem, SenderReport};

    use super::*;

    #[test]
    fn datagrams_are_written_as_another_library_reads_them() {
        for (sent, heard, is_over, name) in [
            (Some(SENT_BY_US), Some(BLOCK), true, "a"),
            (None, Some(BLOCK), false, "abcdef"),
            (Some(SENT_BY_US), None, false, ""),
            (None, None, true, "abc"),
        ] {
            let report = Report {
                ssrc: 7,
                sent,
                heard,
                name,
                metrics: None,
                is_over,
            };
            let mut out = vec![1, 2, 3];
            report.write(&mut out);
            let packets: Vec<Packet<'_>> = Compound::parse(&out).unwrap().map(Result::unwrap).collect();
            assert_eq!(packets.len(), 2 + usize::from(is_over));
            let blocks: Vec<ReportBlock<'_>> = match &packets[0] {
                Packet::Sr(packet) => {
                    assert_eq!(packet.ssrc(), 7);
                    assert_eq!(packet.ntp_timestamp(), SENT_BY_US.ntp);
                    assert_eq!(packet.rtp_timestamp(), SENT_BY_US.timestamp);
                    assert_eq!((packet.packet_count(), packet.octet_count()), (5, 800));
                    packet.report_blocks().collect()
                }
                Packet::Rr(packet) => {
                    assert!(sent.is_none() && packet.ssrc() == 7);
                    packet.report_blocks().collect()
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(blocks.len(), usize::from(heard.is_some()));
            for block in blocks {
                assert_eq!((block.ssrc(), block.fraction_lost()), (BLOCK.ssrc, 9));
                assert_eq!(block.cumulative_lost(), 0x00ff_fffd, "-3 in 24 bits");
                assert_eq!(block.extended_sequence_number(), BLOCK.highest);
                assert_eq!(block.interarrival_jitter(), BLOCK.jitter);
                assert_eq!(block.last_sender_report_timestamp(), BLOCK.last_sent);
                assert_eq!(block.delay_since_last_sender_report_timestamp(), BLOCK.delay);
            }
            let Packet::Sdes(names) = &packets[1] else {
                panic!("{:?}", packets[1]);
            };
            let chunk = names.chunks().next().unwrap();
            let item = chunk.items().next().unwrap();
            assert_eq!((chunk.ssrc(), item.type_()), (7, SdesItem::CNAME));
            assert_eq!(item.value(), name.as_bytes());
        }
    }

    #[test]
    fn datagrams_are_read_as_another_library_writes_them() {
        let block = ReportBlock::builder(BLOCK.ssrc)
            .fraction_lost(9)
            .cumulative_lost(77)
            .extended_sequence_number(BLOCK.highest)
            .interarrival_jitter(BLOCK.jitter)
            .last_sender_report_timestamp(BLOCK.last_sent)
            .delay_since_last_sender_report_timestamp(BLOCK.delay);
        let other = ReportBlock::builder(1);
        let sender = SenderReport::builder(7)
            .ntp_timestamp(SENT_BY_US.ntp)
            .rtp_timestamp(SENT_BY_US.timestamp)
            .packet_count(5)
            .octet_count(800)
            .add_report_block(other)
            .add_report_block(block);
        let chunk = SdesChunk::builder(7).add_item(SdesItem::builder(SdesItem::CNAME, "name"));
        let datagram = Compound::builder()
            // One that is not known, and an extended report, come first.
            .add_packet(rtcp_types::Unknown::builder(207, &[0, 0, 0, 9]))
            .add_packet(rtcp_types::Unknown::builder(206, &[3; 12]).count(31))
            .add_packet(sender)
            .add_packet(Sdes::builder().add_chunk(chunk))
            .add_packet(ReceiverReport::builder(7))
            .add_packet(Bye::builder().add_source(7).add_source(8).reason("over"));
        let mut bytes = vec![0; datagram.calculate_size().unwrap()];
        datagram.write_into(&mut bytes).unwrap();
        let mut told = Vec::new();
        read(&bytes, |one| told.push(one));
        assert_eq!(told.len(), 5);
        assert_eq!(told[0], Told::Sent(SENT_BY_US));
        assert_eq!(told[2], Told::Heard(Block { lost: 77, ..BLOCK }));
        assert_eq!(told[3..], [Told::Over { ssrc: 7 }, Told::Over { ssrc: 8 }]);
    }

    #[test]
    fn metrics_are_written_byte_by_byte_as_the_standard_has_them() {
        let ms = Duration::from_millis;
        let metrics = Metrics {
            ssrc: BLOCK.ssrc,
            lost: 13,
            bursts: Bursts {
                burst_density: 200,
                gap_density: 2,
                burst: ms(120),
                gap: ms(70_000),
            },
            rtt: ms(258),
            rating: 82,
            listening: 41,
            conversation: 38,
        };
        let mut report = Report {
            ssrc: 7,
            sent: None,
            heard: Some(BLOCK),
            name: "name",
            metrics: None,
            is_over: false,
        };
        let mut plain = Vec::new();
        report.write(&mut plain);
        report.metrics = Some(metrics);
        let mut out = Vec::new();
        report.write(&mut out);
        let (before, extended) = out.split_at(plain.len());
        assert_eq!(before, plain);
        #[rustfmt::skip]
        let expected = [
            0x80, 207, 0, 10, 0, 0, 0, 7,
            7, 0, 0, 8, 0xfe, 0xdc, 0xba, 0x98,
            13, 0, 200, 2,
            0, 120, 0xff, 0xff,
            1, 2, 0, 0,
            127, 127, 127, 16,
            82, 127, 41, 38,
            0, 0, 0, 0,
            0, 0, 0, 0,
        ];
        assert_eq!(extended, expected);
        let mut told = Vec::new();
        read(&out, |one| told.push(one));
        let played = Played {
            ssrc: BLOCK.ssrc,
            lost: 13,
            discarded: 0,
            rating: Some(82),
            listening: Some(41),
            conversation: Some(38),
        };
        assert_eq!(told[1..], [Told::Played(played)]);
        let packets = Compound::parse(&out).unwrap().map(Result::unwrap).count();
        assert_eq!(packets, 3);
    }

    /// As telephones send them: behind their reports, with other blocks around.
    #[test]
    fn what_a_player_tells_is_read_from_extended_reports() {
        let played = |rating: u8, listening: u8, conversation: u8| {
            let mut block = vec![PLAYED, 0, 0, 8];
            block.extend_from_slice(&BLOCK.ssrc.to_be_bytes());
            block.extend_from_slice(&[26, 13, 200, 1, 0, 120, 3, 232, 0, 90, 0, 60, 226, 193, 127, 16]);
            block.extend_from_slice(&[rating, 127, listening, conversation, 0xb0, 0, 0, 40, 0, 80, 0, 120]);
            block
        };
        let mut body = 7_u32.to_be_bytes().to_vec();
        // A block of receiver times, and one that nobody knows and that has nothing.
        body.extend_from_slice(&[4, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 99, 0, 0, 0]);
        body.extend(played(82, 41, 38));
        body.extend(played(127, 127, 51));
        let mut datagram = Vec::new();
        let at = begin(&mut datagram, EXTENDED, 0);
        datagram.extend_from_slice(&body);
        end(&mut datagram, at);
        let mut told = Vec::new();
        read(&datagram, |one| told.push(one));
        let first = Played {
            ssrc: BLOCK.ssrc,
            lost: 26,
            discarded: 13,
            rating: Some(82),
            listening: Some(41),
            conversation: Some(38),
        };
        let second = Played {
            rating: None,
            listening: None,
            conversation: None,
            ..first
        };
        assert_eq!(told, [Told::Played(first), Told::Played(second)]);
        // Cut off, or with lengths that lie: nothing that is not there is read.
        for length in 0..datagram.len() {
            let mut cut = datagram[..length].to_vec();
            read(&cut, |_| panic!("it is not whole"));
            if length >= 4 {
                end(&mut cut, 0);
                read(&cut, |_| {});
            }
        }
        for at in 0..datagram.len() {
            for byte in [0, 7, 0x80, 0xff] {
                let mut broken = datagram.clone();
                broken[at] = byte;
                read(&broken, |_| {});
            }
        }
    }

    #[test]
    fn what_is_cut_off_anywhere_is_read_up_to_there() {
        let report = Report {
            ssrc: 7,
            sent: Some(SENT_BY_US),
            heard: Some(BLOCK),
            name: "name",
            metrics: None,
            is_over: true,
        };
        let mut out = Vec::new();
        report.write(&mut out);
        let mut counts = Vec::new();
        for length in 0..=out.len() {
            let mut count = 0;
            read(&out[..length], |_| count += 1);
            counts.push(count);
        }
        counts.dedup();
        assert_eq!(counts, [0, 2, 3]);
        // More blocks and sources than there are, lengths that lie, and another version.
        for at in 0..out.len() {
            for byte in [0, 0x80, 0xbf, 0xff] {
                let mut broken = out.clone();
                broken[at] = byte;
                read(&broken, |_| {});
            }
        }
    }

    const SENT_BY_US: Sent = Sent {
        ssrc: 7,
        ntp: 0x0102_0304_8000_0000,
        timestamp: u32::MAX,
        packets: 5,
        bytes: 800,
    };
    const BLOCK: Block = Block {
        ssrc: 0xfedc_ba98,
        fraction_lost: 9,
        lost: -3,
        highest: 0x0001_0002,
        jitter: 80,
        last_sent: 0x0304_8000,
        delay: 65_536,
    };
}
