//! RTCP of a leg: where it comes from and goes to, and on which socket.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use moqswitch_media::{Latch, Now, Own, PeerStatistics, Reports, Verdict};
use moqswitch_relay::net::SocketId;
use moqswitch_relay::shard::local::Host;

use crate::settings::{LegSettings, Rtcp};
use crate::srtp::Srtp;

pub(crate) struct Control {
    mode: Rtcp,
    reports: Reports,
    /// The port above that of RTP, until it is needed.
    reserved: Option<UdpSocket>,
    /// The same, when it is served.
    socket: Option<SocketId>,
    /// Of that port.
    latch: Latch,
    pub(crate) received: u64,
    packet: Vec<u8>,
}

impl Control {
    pub(crate) fn new(settings: &LegSettings, reserved: Option<UdpSocket>) -> Self {
        let (ssrc, sequence, timestamp) = settings.source;
        let seed = u64::from(ssrc) << 32 | u64::from(timestamp) ^ u64::from(sequence) << 16;
        // What is on the wire anyway says nothing of the host and the call (RFC 7022).
        let name = format!("{ssrc:08x}{timestamp:08x}{sequence:04x}");
        Self {
            mode: Rtcp::Off,
            reports: Reports::new(ssrc, name, seed),
            reserved,
            socket: None,
            latch: Latch::new(),
            received: 0,
            packet: Vec::new(),
        }
    }

    /// As it was agreed on. A port of its own is served from the first time on that it is wanted: which one it is, for
    /// whoever knows whose sockets are.
    pub(crate) fn agree(
        &mut self,
        mode: Rtcp,
        is_translated: bool,
        since: Duration,
        host: &mut Host<'_>,
    ) -> Option<SocketId> {
        self.mode = mode;
        let Rtcp::Apart(address) = mode else { return None };
        self.latch.tell(address, is_translated, since);
        match host.add_socket(self.reserved.take()?) {
            Ok(socket) => {
                self.socket = Some(socket);
                self.socket
            }
            Err(error) => {
                // It goes by the port of RTP, then.
                tracing::warn!(%error, "no socket for the reports of a leg");
                None
            }
        }
    }

    /// Somebody is there to be told, or is not.
    pub(crate) fn refresh(&mut self, rtp: &Latch, since: Duration) {
        match self.destination(rtp) {
            Some(_) => self.reports.begin(since),
            None => self.reports.stop(),
        }
    }

    /// A datagram on its own port, or on that of RTP. False: it is not the peer's, or nobody wants it.
    pub(crate) fn receive(&mut self, source: SocketAddr, rtp: Option<&Latch>, datagram: &[u8], now: Now) -> bool {
        let is_ours = match (self.mode, rtp) {
            (Rtcp::Off, _) => false,
            // Some send it there whatever was agreed on.
            (_, Some(rtp)) => rtp.knows(source),
            (_, None) => self.latch.judge(source, now.since) != Verdict::Foreign,
        };
        if is_ours {
            self.received += 1;
            self.reports.take(datagram, now);
        }
        is_ours
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.reports.deadline()
    }

    pub(crate) fn is_due(&self, since: Duration) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= since)
    }

    /// Sends a report.
    #[expect(clippy::too_many_arguments, reason = "they are what a leg has")]
    pub(crate) fn send(
        &mut self,
        own: &Own,
        is_over: bool,
        now: Now,
        rtp: &Latch,
        rtp_socket: SocketId,
        srtp: Option<&mut Srtp>,
        host: &mut Host<'_>,
    ) {
        let Some(destination) = self.destination(rtp) else {
            return self.reports.stop();
        };
        self.reports.write(own, is_over, now, &mut self.packet);
        if srtp.is_some_and(|srtp| !srtp.seal_rtcp(&mut self.packet)) {
            return;
        }
        let own_socket = self.socket.filter(|_| matches!(self.mode, Rtcp::Apart(_)));
        host.send_on(own_socket.unwrap_or(rtp_socket), &self.packet, destination, None);
    }

    /// Whoever was told anything is told the end.
    pub(crate) fn has_told(&self) -> bool {
        self.reports.written() > 0
    }

    pub(crate) fn socket(&self) -> Option<SocketId> {
        self.socket
    }

    pub(crate) fn peer(&self) -> PeerStatistics {
        self.reports.peer()
    }

    fn destination(&self, rtp: &Latch) -> Option<SocketAddr> {
        match self.mode {
            Rtcp::Off => None,
            Rtcp::Mux => rtp.destination(),
            Rtcp::Apart(_) => self.latch.destination(),
        }
    }
}
