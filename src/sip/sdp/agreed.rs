//! What an offer and its answer come to.

use std::net::SocketAddr;

use super::audio::{Audio, Place};
use super::codec::{Codec, EVENT_CLOCK_HZ, EventType, Format, Meaning};
use super::crypto::Keys;
use super::direction::Direction;

/// One stream of audio each way, as both sides want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// What is sent.
    pub codec: Codec,
    /// By which number it is sent: the peer's.
    pub payload_type_send: u8,
    /// By which number it comes: ours.
    pub payload_type_receive: u8,
    /// What else may come, and by which numbers: codecs that an answer allows beside, and numbers of the peer where they
    /// are not ours. Empty, unless the peer makes no choice or the sides number differently.
    pub also_receives: Vec<(Codec, u8)>,
    /// As what telephone events are sent; `None`: the peer takes none.
    pub event_send: Option<EventType>,
    /// As what they may come, the likeliest first.
    pub events_receive: Vec<EventType>,
    /// Where to send. `None`: the call is held in the old way, or no address is told; then only where packets come from
    /// can tell.
    pub peer: Option<SocketAddr>,
    /// Where to send RTCP.
    pub rtcp: Option<SocketAddr>,
    /// RTCP goes and comes where the stream does.
    pub rtcp_mux: bool,
    /// They want VoIP metrics in RTCP (RFC 3611, section 5).
    pub has_metrics: bool,
    /// We may send.
    pub sends: bool,
    /// They may send.
    pub receives: bool,
    /// How much of audio goes into a packet that is sent. Of what comes, any length is to be taken.
    pub ptime_ms: u32,
    /// The peer has us on hold.
    pub is_held_by_peer: bool,
    /// Over SRTP, with these.
    pub keys: Option<Keys>,
}

impl Agreed {
    /// Of a stream, in which `send` goes out and `receive` comes in, by what the peer says.
    pub(super) fn of(codec: Codec, numbers: Choice, audio: &Audio, direction: Direction, rtcp_mux: bool) -> Self {
        let peer = match audio.place {
            Place::At(address) => Some(address),
            Place::Unspecified | Place::Off | Place::Unknown => None,
        };
        let rtcp_mux = rtcp_mux && audio.rtcp_mux;
        Self {
            codec,
            payload_type_send: numbers.send,
            payload_type_receive: numbers.receive,
            also_receives: numbers.also_receives,
            event_send: numbers.event_send,
            events_receive: numbers.events_receive,
            peer,
            rtcp: if rtcp_mux { peer } else { audio.rtcp },
            rtcp_mux,
            has_metrics: audio.has_metrics,
            sends: direction.sends(),
            receives: direction.receives(),
            ptime_ms: packet_time_ms(codec, audio.ptime_ms, audio.maxptime_ms),
            is_held_by_peer: !audio.effective_direction().receives(),
            keys: None,
        }
    }

    /// The same, with nothing that flows.
    pub(super) fn off(self) -> Self {
        Self {
            peer: None,
            rtcp: None,
            sends: false,
            receives: false,
            is_held_by_peer: true,
            ..self
        }
    }
}

/// The numbers of what was agreed on.
pub(super) struct Choice {
    send: u8,
    receive: u8,
    also_receives: Vec<(Codec, u8)>,
    event_send: Option<EventType>,
    events_receive: Vec<EventType>,
}

impl Choice {
    /// For an answer: the numbers of the offer, both ways (RFC 3264, section 6.1). With the codec that is chosen.
    pub(super) fn for_answer(offered: &[Format], preferred: &[Codec]) -> Option<(Codec, Self)> {
        let (codec, format) = preferred.iter().find_map(|codec| {
            let format = offered.iter().find(|format| format.codec() == Some(*codec))?;
            Some((*codec, format))
        })?;
        let event = event_for(codec, offered);
        let choice = Self {
            send: format.payload_type,
            receive: format.payload_type,
            also_receives: Vec::new(),
            event_send: event,
            events_receive: event.into_iter().collect(),
        };
        Some((codec, choice))
    }

    /// From an answer: what is sent goes by their numbers, what comes by ours (RFC 3264, section 7). Some send by their own
    /// in spite of it; that is taken, where it is clear.
    pub(super) fn of_answer(answered: &[Format], offered: &[Format]) -> Option<(Codec, Self)> {
        let ours = |meaning: Meaning| offered.iter().find(|format| format.meaning == meaning);
        let both = answered
            .iter()
            .filter_map(|theirs| Some((theirs, ours(theirs.meaning)?)));
        let is_audio = |format: &Format| format.codec().is_some();
        let (theirs, own) = both.clone().find(|(theirs, _)| is_audio(theirs))?;
        let codec = theirs.codec()?;
        let mut choice = Self {
            send: theirs.payload_type,
            receive: own.payload_type,
            also_receives: Vec::new(),
            event_send: event_for(codec, answered).filter(|event| {
                let clock_hz = event.clock_hz;
                ours(Meaning::Event { clock_hz }).is_some()
            }),
            events_receive: Vec::new(),
        };
        let first = choice.event_send.map(|event| event.clock_hz);
        let mut received: Vec<Format> = both.clone().map(|(_, own)| *own).collect();
        received.extend(both.map(|(theirs, _)| *theirs));
        // That of the codec's clock is the likeliest; within it ours, which stands first.
        received.sort_by_key(|format| format.event().map(|event| Some(event.clock_hz) != first));
        let mut taken = vec![own.payload_type];
        for format in received {
            if taken.contains(&format.payload_type) {
                continue;
            }
            taken.push(format.payload_type);
            choice.events_receive.extend(format.event());
            let codec = format.codec();
            choice
                .also_receives
                .extend(codec.map(|codec| (codec, format.payload_type)));
        }
        Some((codec, choice))
    }

    /// The formats that an answer names.
    pub(super) fn formats(&self, codec: Codec) -> Vec<Format> {
        let audio = Format {
            payload_type: self.send,
            meaning: Meaning::Codec(codec),
        };
        let event = self.event_send.map(|event| Format {
            payload_type: event.payload_type,
            meaning: Meaning::Event {
                clock_hz: event.clock_hz,
            },
        });
        [audio].into_iter().chain(event).collect()
    }
}

/// Telephone events of the codec's clock (RFC 4733, section 2.1), else of the clock that all have.
fn event_for(codec: Codec, formats: &[Format]) -> Option<EventType> {
    let of = |clock_hz| {
        let mut events = formats.iter().filter_map(|format| format.event());
        events.find(|event| event.clock_hz == clock_hz)
    };
    of(codec.clock_hz()).or_else(|| of(EVENT_CLOCK_HZ))
}

/// What a packet holds: what they want, if it is usual, and no more than they take. Of Opus a packet is one frame, of the
/// others it is made of pieces of 10 ms.
fn packet_time_ms(codec: Codec, wanted: Option<u32>, at_most: Option<u32>) -> u32 {
    let is_usual = |time: &u32| (PTIME_MS_MIN..=PTIME_MS_MAX).contains(time);
    let wanted = wanted.filter(is_usual).unwrap_or(PTIME_MS);
    let at_most = at_most.filter(|time| *time >= PTIME_MS_MIN).unwrap_or(PTIME_MS_MAX);
    let time = wanted.min(at_most);
    match codec {
        Codec::Opus => OPUS_FRAMES_MS
            .into_iter()
            .find(|frame| *frame <= time)
            .unwrap_or(PTIME_MS_MIN),
        Codec::Pcmu | Codec::Pcma | Codec::G722 => time - time % PTIME_MS_MIN,
    }
}

/// What is said in offers.
pub(super) const PTIME_MS: u32 = 20;
const PTIME_MS_MIN: u32 = 10;
const PTIME_MS_MAX: u32 = 60;
/// The longest first (RFC 6716, section 2.1.4).
const OPUS_FRAMES_MS: [u32; 4] = [60, 40, 20, 10];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_hold_what_the_peer_wants_and_no_more() {
        for (wanted, at_most, time) in [
            (None, None, 20),
            (Some(30), None, 30),
            (Some(30), Some(20), 20),
            (Some(20), Some(150), 20),
            (Some(60), Some(40), 40),
            (None, Some(10), 10),
            (None, Some(15), 10),
            (Some(25), None, 20),
            (Some(4), None, 20),
            (Some(200), None, 20),
            (Some(0), Some(0), 20),
            (Some(u32::MAX), Some(u32::MAX), 20),
        ] {
            assert_eq!(
                packet_time_ms(Codec::Pcma, wanted, at_most),
                time,
                "{wanted:?}, {at_most:?}"
            );
        }
        assert_eq!(packet_time_ms(Codec::Opus, Some(30), None), 20);
        assert_eq!(packet_time_ms(Codec::Opus, Some(50), None), 40);
        assert_eq!(packet_time_ms(Codec::Opus, Some(60), None), 60);
    }
}
