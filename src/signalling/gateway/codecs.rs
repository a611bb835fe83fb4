//! Codecs of the call plane and those of descriptions: the same four.

use std::net::SocketAddr;
use std::time::Duration;

use moqswitch_calls::{Codec, Codecs};
use moqswitch_sip::sdp::{self, Agreed, Description, EventType};

use super::{RtpAgreed, RtpEvents, RtpKeys, RtpPeer};
use crate::limits::SIP_MEDIA_TIMEOUT;

pub(super) const fn to_sdp(codec: Codec) -> sdp::Codec {
    match codec {
        Codec::Opus => sdp::Codec::Opus,
        Codec::Pcmu => sdp::Codec::Pcmu,
        Codec::Pcma => sdp::Codec::Pcma,
        Codec::G722 => sdp::Codec::G722,
    }
}

pub(crate) const fn of_sdp(codec: sdp::Codec) -> Codec {
    match codec {
        sdp::Codec::Opus => Codec::Opus,
        sdp::Codec::Pcmu => Codec::Pcmu,
        sdp::Codec::Pcma => Codec::Pcma,
        sdp::Codec::G722 => Codec::G722,
    }
}

/// What an offer has of them.
pub(super) fn offered(offer: &Description) -> Codecs {
    let sections = offer.sections.iter().filter(|section| section.port != 0);
    let audio = sections.filter_map(|section| section.audio.as_ref());
    audio
        .flat_map(|audio| audio.codecs())
        .map(|(codec, _)| of_sdp(codec))
        .collect()
}

/// For an offer of ours, or to choose from another's: the chosen one first, then what else may be; `last` what would be
/// transcoded.
pub(super) fn in_order(first: Option<Codec>, all: Codecs, last: Codecs) -> Vec<sdp::Codec> {
    let others = all.iter().filter(|codec| Some(*codec) != first);
    let last = last
        .iter()
        .filter(|codec| Some(*codec) != first && !all.contains(*codec));
    first.into_iter().chain(others).chain(last).map(to_sdp).collect()
}

/// What telephones are registered with, as they say it only when they call.
pub(super) fn of_telephones() -> Codecs {
    Codecs::all()
}

/// What was agreed on, for a leg of RTP. `None`: there are keys, and they are none that can be used.
pub(super) fn to_rtp(agreed: &Agreed, is_translated: bool) -> Option<RtpAgreed> {
    let events = |event: EventType| RtpEvents {
        payload_type: event.payload_type,
        clock_hz: event.clock_hz,
    };
    let also = agreed
        .also_receives
        .iter()
        .map(|(codec, payload_type)| (*payload_type, of_sdp(*codec)));
    let srtp = match &agreed.keys {
        Some(keys) => {
            let (ours, theirs) = keys.material()?;
            Some(RtpKeys { ours, theirs })
        }
        None => None,
    };
    Some(RtpAgreed {
        codec: of_sdp(agreed.codec),
        payload_type: agreed.payload_type_send,
        taken: [(agreed.payload_type_receive, of_sdp(agreed.codec))]
            .into_iter()
            .chain(also)
            .take(TAKEN_MAX)
            .collect(),
        events: agreed.event_send.map(events),
        events_taken: agreed
            .events_receive
            .iter()
            .copied()
            .map(events)
            .take(TAKEN_MAX)
            .collect(),
        peer: agreed.peer.map(|address| RtpPeer { address, is_translated }),
        // The port above, if nothing is said (RFC 3550, section 11).
        rtcp: agreed.rtcp.or_else(|| agreed.peer.and_then(above)),
        rtcp_mux: agreed.rtcp_mux,
        has_metrics: agreed.has_metrics,
        srtp,
        sends: agreed.sends,
        receives: agreed.receives,
        ptime: Some(Duration::from_millis(agreed.ptime_ms.into())),
        media_timeout: agreed.receives.then_some(SIP_MEDIA_TIMEOUT),
    })
}

fn above(peer: SocketAddr) -> Option<SocketAddr> {
    Some(SocketAddr::new(peer.ip(), peer.port().checked_add(1)?))
}

/// As many as a leg of RTP takes.
const TAKEN_MAX: usize = 16;
