//! The way of packets out of a leg, and how many may go it.

use std::net::{IpAddr, SocketAddr};

use moqswitch_media::rtp::Packet;
use moqswitch_relay::net::SocketId;
use moqswitch_relay::shard::local::Host;

use crate::carried::Carried;
use crate::limits::PACKETS_PER_SECOND_MAX;
use crate::srtp::Srtp;
use crate::window::Window;

/// Where the packets of a leg go.
pub(crate) struct WayOut<'a, 'h> {
    pub(crate) host: &'a mut Host<'h>,
    pub(crate) socket: SocketId,
    pub(crate) destination: Option<SocketAddr>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) packet: &'a mut Vec<u8>,
    pub(crate) sent: &'a mut Window,
    pub(crate) srtp: Option<&'a mut Srtp>,
    pub(crate) carried: Option<&'a mut Carried>,
}

impl WayOut<'_, '_> {
    pub(crate) fn send(&mut self, packet: &Packet<'_>) {
        let Some(destination) = self.destination else { return };
        if !self.sent.admits(self.host.now(), PACKETS_PER_SECOND_MAX) {
            return;
        }
        if let Some(carried) = &mut self.carried {
            return carried.send(packet, self.host.now());
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
