//! How a leg is: what was agreed on with its peer.

use std::net::SocketAddr;
use std::time::Duration;

use moqswitch_media::Packing;
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_relay::shard::local::Delivery;
use moqswitch_webrtc::{Agreed, Codec};

use crate::codec::LegCodec;
use crate::limits::{MEDIA_TIMEOUT_DEFAULT, PAYLOAD_TYPES_MAX, PTIME_MAX, PTIME_MIN};
use crate::srtp::SrtpKeys;

/// How a leg is.
#[derive(Clone, Debug)]
pub struct LegSettings {
    /// What it publishes.
    pub broadcast: BroadcastPath,
    /// What is spoken, both ways.
    pub codec: LegCodec,
    /// The payload type by which it is sent.
    pub payload_type: u8,
    /// Payload types of audio that are taken: own ones, and those of the peer, which some send instead. What is of another
    /// codec than `codec` is not published: it is told once, so that something else may be agreed on.
    pub taken: Vec<(u8, LegCodec)>,
    /// Telephone events that are sent, if any are.
    pub event_type: Option<EventType>,
    /// Telephone events that are taken.
    pub events_taken: Vec<EventType>,
    /// How long the packets are that are sent, where frames may be cut. `None`: as long as the frames.
    pub ptime: Option<Duration>,
    /// The peer hears what the leg hears. Otherwise nothing is sent but RTCP.
    pub sends: bool,
    /// What the peer says is published. Otherwise it is dropped, and does not say where the peer is.
    pub receives: bool,
    /// Reports of quality.
    pub rtcp: Rtcp,
    /// They have VoIP metrics as well (RFC 3611, section 4.7).
    pub has_metrics: bool,
    /// Everything is over SRTP, with these. `None`: nothing is.
    pub srtp: Option<SrtpKeys>,
    /// After so long without anything of a peer that ought to speak it is told. `None`: never.
    pub media_timeout: Option<Duration>,
    /// The source of what is sent: random, with the first number and timestamp (RFC 3550, section 5.1). It stays when
    /// settings change.
    pub source: (u32, u16, u32),
    /// How audio goes on at the relay.
    pub delivery: Delivery,
}

/// A payload type of telephone events, whose durations count as fast as this: 8000, or the clock of Opus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventType {
    /// 0 to 127.
    pub payload_type: u8,
    /// In a second.
    pub clock_hz: u32,
}

/// Where RTCP goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rtcp {
    /// Nowhere.
    Off,
    /// The same way as RTP (RFC 5761).
    Mux,
    /// There, from the port above that of RTP.
    Apart(SocketAddr),
}

/// What a packet is, by its payload type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Audio(LegCodec),
    Event { clock_hz: u32 },
    ComfortNoise,
}

impl LegSettings {
    /// A codec by one payload type both ways, telephone events as nearly everybody has them, no RTCP.
    pub fn new(broadcast: BroadcastPath, codec: LegCodec, payload_type: u8, source: (u32, u16, u32)) -> Self {
        let events = EventType {
            payload_type: EVENTS_USUAL,
            clock_hz: codec.clock_hz(),
        };
        Self {
            broadcast,
            codec,
            payload_type,
            taken: vec![(payload_type, codec)],
            event_type: Some(events),
            events_taken: vec![events],
            ptime: None,
            sends: true,
            receives: true,
            rtcp: Rtcp::Off,
            has_metrics: false,
            srtp: None,
            media_timeout: Some(MEDIA_TIMEOUT_DEFAULT),
            source,
            delivery: Delivery::Datagram,
        }
    }

    /// What the two sides of a session of WebRTC have agreed on. The codec is the peer's favourite; of silence nothing is told,
    /// as the session knows by itself when the peer is gone. `None`: nothing can be spoken.
    pub fn of_session(broadcast: BroadcastPath, agreed: &Agreed, source: (u32, u16, u32)) -> Option<Self> {
        let codec = |codec: Codec| match codec {
            Codec::Opus => LegCodec::Opus,
            Codec::Pcmu => LegCodec::Pcmu,
            Codec::Pcma => LegCodec::Pcma,
            Codec::G722 => LegCodec::G722,
        };
        let taken: Vec<_> = agreed.codecs.iter().map(|(kind, own)| (*kind, codec(*own))).collect();
        let (payload_type, favourite) = *taken.first()?;
        let events: Vec<_> = agreed
            .events
            .iter()
            .map(|(payload_type, clock_hz)| EventType {
                payload_type: *payload_type,
                clock_hz: *clock_hz,
            })
            .collect();
        let of_codec = |event: &&EventType| event.clock_hz == favourite.clock_hz();
        Some(Self {
            taken,
            event_type: events.iter().find(of_codec).or(events.first()).copied(),
            events_taken: events,
            sends: agreed.sends,
            receives: agreed.receives,
            media_timeout: None,
            ..Self::new(broadcast, favourite, payload_type, source)
        })
    }

    pub(crate) fn kind(&self, payload_type: u8) -> Option<Kind> {
        let audio = self.taken.iter().take(PAYLOAD_TYPES_MAX);
        let events = self.events_taken.iter().take(PAYLOAD_TYPES_MAX);
        audio
            .filter(|(taken, _)| *taken == payload_type)
            .map(|(_, codec)| Kind::Audio(*codec))
            .chain(
                events
                    .filter(|taken| taken.payload_type == payload_type)
                    .map(|taken| Kind::Event {
                        clock_hz: taken.clock_hz.max(1),
                    }),
            )
            .chain((payload_type == COMFORT_NOISE).then_some(Kind::ComfortNoise))
            .next()
    }

    pub(crate) fn packing(&self) -> Packing {
        let bytes = |ptime: Duration| {
            let ms = usize::try_from(ptime.clamp(PTIME_MIN, PTIME_MAX).as_millis()).ok()?;
            Some(ms * self.codec.bytes_per_ms()?)
        };
        Packing {
            payload_type: self.payload_type,
            clock_hz: self.codec.clock_hz(),
            bytes: self.ptime.and_then(bytes),
        }
    }
}

/// The payload type of telephone events that nearly everybody has.
const EVENTS_USUAL: u8 = 101;
/// The static payload type of comfort noise (RFC 3389).
const COMFORT_NOISE: u8 = 13;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_what_its_type_was_agreed_to_be() {
        let mut settings = LegSettings::new(BroadcastPath::new("call/7/1"), LegCodec::Opus, 111, (1, 2, 3));
        settings.taken.push((96, LegCodec::Opus));
        settings.taken.push((0, LegCodec::Pcmu));
        settings.events_taken.push(EventType {
            payload_type: 97,
            clock_hz: 8000,
        });
        for (payload_type, kind) in [
            (111, Some(Kind::Audio(LegCodec::Opus))),
            (96, Some(Kind::Audio(LegCodec::Opus))),
            (0, Some(Kind::Audio(LegCodec::Pcmu))),
            (101, Some(Kind::Event { clock_hz: 48_000 })),
            (97, Some(Kind::Event { clock_hz: 8000 })),
            (13, Some(Kind::ComfortNoise)),
            (8, None),
        ] {
            assert_eq!(settings.kind(payload_type), kind, "{payload_type}");
        }
        settings.taken = (20..100).map(|kind| (kind, LegCodec::Pcmu)).collect();
        assert_eq!(settings.kind(36), None);
    }

    #[test]
    fn packets_have_the_length_that_was_agreed_on_within_bounds() {
        let mut settings = LegSettings::new(BroadcastPath::new("call/7/1"), LegCodec::G722, 9, (1, 2, 3));
        assert_eq!(settings.packing().bytes, None);
        for (ms, bytes) in [(0, 80), (20, 160), (30, 240), (500, 480)] {
            settings.ptime = Some(Duration::from_millis(ms));
            assert_eq!(settings.packing().bytes, Some(bytes));
        }
        settings.codec = LegCodec::Opus;
        assert_eq!(settings.packing().bytes, None);
    }
}
