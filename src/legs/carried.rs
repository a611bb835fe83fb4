//! What carries a leg of WebRTC: a session that encrypts, and says where the peer is.

use std::time::Instant;

use moqswitch_media::rtp::Packet;
use moqswitch_webrtc::{Session, SessionPacket, Told};

use crate::window::Window;

/// What a leg has of it.
pub(crate) struct Carried {
    pub(crate) session: Session,
    /// When time is to pass for it.
    pub(crate) due: Option<Instant>,
    /// What it told last: one piece of memory for all of it.
    pub(crate) told: Vec<Told>,
    pub(crate) came: Window,
    pub(crate) is_over: bool,
}

impl Carried {
    pub(crate) fn new(session: Session, now: Instant) -> Self {
        Self {
            session,
            due: Some(now),
            told: Vec::new(),
            came: Window::new(now),
            is_over: false,
        }
    }

    pub(crate) fn send(&mut self, packet: &Packet<'_>, now: Instant) {
        let packet = SessionPacket {
            marker: packet.marker,
            payload_type: packet.payload_type,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            ssrc: packet.ssrc,
            payload: packet.payload,
        };
        self.session.send(&packet, now);
    }
}
