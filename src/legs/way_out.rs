//! The way of packets out of a leg, and how many may go it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use moqswitch_media::rtp::Packet;
use moqswitch_relay::net::SocketId;
use moqswitch_relay::shard::local::Host;

use crate::limits::PACKETS_PER_SECOND_MAX;
use crate::srtp::Srtp;

/// Where the packets of a leg go.
pub(crate) struct WayOut<'a, 'h> {
    pub(crate) host: &'a mut Host<'h>,
    pub(crate) socket: SocketId,
    pub(crate) destination: Option<SocketAddr>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) packet: &'a mut Vec<u8>,
    pub(crate) sent: &'a mut Window,
    pub(crate) srtp: Option<&'a mut Srtp>,
}

impl WayOut<'_, '_> {
    pub(crate) fn send(&mut self, packet: &Packet<'_>) {
        let Some(destination) = self.destination else { return };
        if !self.sent.admits(self.host.now(), PACKETS_PER_SECOND_MAX) {
            return;
        }
        self.packet.clear();
        packet.write(self.packet);
        if let Some(srtp) = &mut self.srtp
            && !srtp.seal_rtp(self.packet)
        {
            return;
        }
        self.host.send_on(self.socket, self.packet, destination, self.source);
    }
}

/// How many of something there were in the second that began then.
pub(crate) struct Window(Instant, u32);

impl Window {
    pub(crate) fn new(now: Instant) -> Self {
        Self(now, 0)
    }

    pub(crate) fn admits(&mut self, now: Instant, max: u32) -> bool {
        let Self(since, count) = self;
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= max
    }
}
