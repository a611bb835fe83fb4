//! The RTP of one telephone: how its packets look, and how those that come to it are read.

use std::net::SocketAddr;

use moqswitch_media::dtmf::{Digits, Sending};
use moqswitch_media::rtp::Packet;
use moqswitch_sip::sdp::Agreed;

pub(super) struct Stream {
    /// Which socket of the shard's.
    pub(super) socket: usize,
    /// Where it sends, as far as the switch has said.
    pub(super) to: Option<SocketAddr>,
    send_type: u8,
    receive_types: Vec<u8>,
    event_type: Option<u8>,
    event_types: Vec<u8>,
    ssrc: u32,
    sequence: u16,
    /// Of the next frame time.
    timestamp: u32,
    /// The next packet begins a talkspurt.
    begins: bool,
    /// The low bits of a frame's number, less its packet's.
    offset: Option<u16>,
    digits: Digits,
    pressing: Option<Pressing>,
}

/// A key that is being pressed: for so many frame times still, and then so many of silence.
struct Pressing {
    sending: Sending,
    ticks_left: u32,
    rest: u32,
}

/// What a packet is.
pub(super) enum Read<'a> {
    /// Speech, and its number among packets.
    Speech(&'a [u8], u16),
    /// A key was pressed.
    Key(char),
    /// More of a key, or RTCP.
    Nothing,
    /// No packet, or of a type that was not agreed on.
    Foreign,
}

impl Stream {
    /// `random` makes its beginnings, which nobody guesses (RFC 3550, section 5.1).
    pub(super) fn new(socket: usize, random: u128) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, ..] = random.to_be_bytes();
        Self {
            socket,
            to: None,
            send_type: 0,
            receive_types: Vec::new(),
            event_type: None,
            event_types: Vec::new(),
            ssrc: u32::from_be_bytes([a, b, c, d]),
            sequence: u16::from_be_bytes([e, f]),
            timestamp: u32::from_be_bytes([g, h, i, j]),
            begins: true,
            offset: None,
            digits: Digits::default(),
            pressing: None,
        }
    }

    pub(super) fn agree(&mut self, agreed: &Agreed) {
        // Who is put on hold in the old way is told no address, and keeps its own.
        self.to = agreed.peer.or(self.to);
        self.send_type = agreed.payload_type_send;
        self.receive_types.clear();
        self.receive_types.push(agreed.payload_type_receive);
        let others = agreed.also_receives.iter().map(|(_, payload_type)| *payload_type);
        self.receive_types.extend(others);
        self.event_type = agreed.event_send.map(|event| event.payload_type);
        self.event_types = agreed.events_receive.iter().map(|event| event.payload_type).collect();
    }

    /// By which it is known.
    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// It can press keys.
    pub(super) fn takes_events(&self) -> bool {
        self.event_type.is_some()
    }

    pub(super) fn is_pressing(&self) -> bool {
        self.pressing.is_some()
    }

    /// Presses a key from the next frame time on. False: it cannot.
    pub(super) fn press(&mut self, digit: char) -> bool {
        let begun = Sending::begin(digit, self.timestamp.wrapping_add(FRAME_UNITS));
        self.pressing = begun.filter(|_| self.event_type.is_some()).map(|sending| Pressing {
            sending,
            ticks_left: KEY_TICKS,
            rest: REST_TICKS,
        });
        self.pressing.is_some()
    }

    /// A frame time has come. True: it is one of a key, and nothing is said; if `out` has something then, that is to be sent.
    pub(super) fn tick(&mut self, out: &mut Vec<u8>) -> bool {
        self.timestamp = self.timestamp.wrapping_add(FRAME_UNITS);
        let Some(pressing) = &mut self.pressing else {
            return false;
        };
        self.begins = true;
        if pressing.ticks_left == 0 {
            pressing.sending.end(KEY_UNITS, CLOCK_HZ);
        }
        pressing.ticks_left = pressing.ticks_left.saturating_sub(1);
        let next = pressing.sending.next(FRAME_STEP);
        match (next, self.event_type) {
            (Some((marker, timestamp, event)), Some(payload_type)) => {
                self.sequence = self.sequence.wrapping_add(1);
                let packet = Packet {
                    marker,
                    payload_type,
                    sequence: self.sequence,
                    timestamp,
                    ssrc: self.ssrc,
                    payload: &event.encode(),
                };
                packet.write(out);
            }
            _ if pressing.rest > 0 => pressing.rest -= 1,
            _ => self.pressing = None,
        }
        true
    }

    /// Nothing is said in a frame time: what comes next begins a talkspurt.
    pub(super) fn pause(&mut self) {
        self.begins = true;
    }

    pub(super) fn write(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.sequence = self.sequence.wrapping_add(1);
        let packet = Packet {
            marker: std::mem::take(&mut self.begins),
            payload_type: self.send_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            payload,
        };
        packet.write(out);
    }

    pub(super) fn read<'a>(&mut self, datagram: &'a [u8]) -> Read<'a> {
        let packet = match Packet::parse(datagram) {
            Ok(packet) => packet,
            Err(moqswitch_media::rtp::Malformed::Control) => return Read::Nothing,
            Err(_) => return Read::Foreign,
        };
        if self.event_types.contains(&packet.payload_type) {
            // A key counts when it begins; when the one before it was over is no matter here.
            let told = self
                .digits
                .take(packet.timestamp, packet.payload, std::time::Duration::ZERO);
            let begun = told.into_iter().flatten().find(|digit| !digit.is_end);
            return begun.map_or(Read::Nothing, |digit| Read::Key(digit.digit));
        }
        if self.receive_types.contains(&packet.payload_type) {
            return Read::Speech(packet.payload, packet.sequence);
        }
        Read::Foreign
    }

    /// The low bits of the number of a frame whose packet has this one.
    pub(super) fn frame_of(&self, sequence: u16) -> Option<u16> {
        self.offset.map(|offset| sequence.wrapping_add(offset))
    }

    /// A frame came in the packet with this number.
    pub(super) fn learn(&mut self, sequence: u16, frame: u64) {
        self.offset = Some(((frame & 0xffff) as u16).wrapping_sub(sequence));
    }
}

const CLOCK_HZ: u32 = 8000;
/// 20 ms of it.
const FRAME_UNITS: u32 = 160;
const FRAME_STEP: u16 = 160;
/// A key is pressed for 160 ms.
const KEY_TICKS: u32 = 8;
const KEY_UNITS: u16 = 1280;
/// And nothing is said for 100 ms after it, as people do.
const REST_TICKS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_heard_once_and_nothing_is_said_meanwhile() {
        let event = moqswitch_sip::sdp::EventType {
            payload_type: 101,
            clock_hz: 8000,
        };
        let agreed = Agreed {
            codec: moqswitch_sip::sdp::Codec::Pcmu,
            payload_type_send: 0,
            payload_type_receive: 0,
            also_receives: Vec::new(),
            event_send: Some(event),
            events_receive: vec![event],
            peer: None,
            rtcp: None,
            rtcp_mux: false,
            has_metrics: false,
            sends: true,
            receives: true,
            ptime_ms: 20,
            is_held_by_peer: false,
            keys: None,
        };
        let (mut stream, mut other) = (Stream::new(0, u128::MAX), Stream::new(0, 1));
        for stream in [&mut stream, &mut other] {
            stream.agree(&agreed);
        }
        let (mut keys, mut packets, mut ticks) = (Vec::new(), Vec::new(), 0);
        assert!(stream.press('7') && !stream.press('x'));
        assert!(stream.press('7'));
        while stream.is_pressing() {
            let mut out = Vec::new();
            assert!(stream.tick(&mut out));
            ticks += 1;
            if let Read::Key(key) = other.read(&out) {
                keys.push(key);
            }
            packets.extend((!out.is_empty()).then_some(out));
        }
        assert_eq!((keys, ticks), (vec!['7'], KEY_TICKS + 3 + REST_TICKS + 1));
        let timestamps: Vec<u32> = packets
            .iter()
            .map(|packet| Packet::parse(packet).unwrap().timestamp)
            .collect();
        assert!(timestamps.len() == 11 && timestamps.iter().all(|timestamp| *timestamp == timestamps[0]));
        let mut out = Vec::new();
        assert!(!stream.tick(&mut out));
        stream.write(&[1, 2, 3], &mut out);
        let speech = Packet::parse(&out).unwrap();
        assert!(speech.marker && speech.timestamp == timestamps[0].wrapping_add(160 * ticks));
        let Read::Speech(payload, sequence) = other.read(&out) else {
            panic!("it is speech");
        };
        assert_eq!(payload, [1, 2, 3]);
        assert_eq!(other.frame_of(sequence), None);
        other.learn(sequence, 65_536 + 7);
        assert_eq!(other.frame_of(sequence.wrapping_add(2)), Some(9));
    }
}
