//! What a leg does that is carried by WebRTC: datagrams in and out, and how its session ends.

use std::net::SocketAddr;
use std::time::Instant;

use moqswitch_media::rtp::Packet;
use moqswitch_relay::shard::local::Host;
use moqswitch_webrtc::{SessionPacket, Told};

use crate::events::{LegEvent, Outbox};
use crate::leg::Leg;
use crate::limits::DATAGRAMS_PER_SECOND_MAX;

impl Leg {
    /// A datagram came that is its peer's, by name or by address.
    pub(crate) fn receive_carried(&mut self, source: SocketAddr, datagram: &[u8], now: Instant) {
        let Some(carried) = &mut self.carried else { return };
        match carried.came.admits(now, DATAGRAMS_PER_SECOND_MAX) {
            true => carried.session.handle_datagram(source, datagram, now),
            false => self.note_unusable(),
        }
    }

    /// Where its peer is, if it is up.
    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        self.carried.as_ref()?.session.remote()
    }

    /// Sends what its session wants to, and takes what came by it. When it is to be called again.
    pub(crate) fn carry(&mut self, host: &mut Host<'_>, outbox: &Outbox) -> Option<Instant> {
        let carried = self.carried.as_mut()?;
        let now = host.now();
        if carried.is_over {
            return None;
        }
        if carried.due.is_some_and(|due| due <= now) {
            carried.session.handle_timeout(now);
        }
        let mut all = std::mem::take(&mut carried.told);
        carried.session.poll(|told| all.push(told));
        for told in all.drain(..) {
            match told {
                Told::Send { destination, datagram } => host.send_on(self.socket, &datagram, destination, None),
                Told::Packet(packet) => self.take_carried(&packet, host, outbox),
                Told::Up(remote) => self.reach(remote, host),
                Told::Over => self.end_carried(outbox),
                Told::Wait(until) => {
                    if let Some(carried) = &mut self.carried {
                        carried.due = Some(until);
                    }
                }
            }
        }
        let carried = self.carried.as_mut()?;
        carried.told = all;
        carried.due.filter(|_| !carried.is_over)
    }

    /// The peer is told that it is over.
    pub(crate) fn close_carried(&mut self, host: &mut Host<'_>) {
        let Some(carried) = &mut self.carried else { return };
        carried.session.close();
        let socket = self.socket;
        carried.session.poll(|told| {
            if let Told::Send { destination, datagram } = told {
                host.send_on(socket, &datagram, destination, None);
            }
        });
    }

    /// Where its peer is, as far as is settled.
    pub(crate) fn known(&self) -> Option<SocketAddr> {
        self.latch.destination()
    }

    /// Its session is up: here is the peer.
    pub(crate) fn reach(&mut self, remote: SocketAddr, host: &mut Host<'_>) {
        let since = self.since(host);
        self.latch.tell(remote, false, since);
        self.expect(host.now());
    }

    fn take_carried(&mut self, packet: &SessionPacket<std::sync::Arc<[u8]>>, host: &mut Host<'_>, outbox: &Outbox) {
        let Some(remote) = self.known() else { return };
        let packet = Packet {
            marker: packet.marker,
            payload_type: packet.payload_type,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            ssrc: packet.ssrc,
            payload: &packet.payload,
        };
        match self.settings.kind(packet.payload_type) {
            Some(kind) => self.take_packet(remote, None, &packet, kind, host, outbox),
            None => self.note_unusable(),
        }
    }

    fn end_carried(&mut self, outbox: &Outbox) {
        if let Some(carried) = &mut self.carried
            && !std::mem::replace(&mut carried.is_over, true)
        {
            outbox.tell(LegEvent::Gone { leg: self.name });
        }
    }
}
