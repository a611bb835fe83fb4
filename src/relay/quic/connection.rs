//! One QUIC connection: quiche's, narrowed to what sessions and schedulers need.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqswitch_proto::wire::{ErrorCode, Read, StreamId, Version, Written, session_error};
use rustc_hash::FxHashSet;

use super::acknowledgement::Acknowledgement;
use super::alpn::version_of;
use super::buffers::{ReadArena, Unacknowledged, ZeroCopy};
use super::doorkeeper::{Unproven, look_at_packets};
use super::ends::Ends;
use super::rebinding::Rebinding;
use super::timers::Armed;
use super::unsent::Unsent;
use super::web;
use super::web::{Web, WebDial};

/// A connection and its place in the endpoint.
pub struct Connection {
    pub(super) quic: quiche::Connection<ZeroCopy>,
    pub(super) armed: Armed,
    pub(super) is_dirty: bool,
    pub(super) is_ready: bool,
    pub(super) announced_established: bool,
    /// Ids that lead here in the endpoint's maps, to be taken out with the connection.
    pub(super) issued: Vec<super::identity::IssuedId>,
    pub(super) chosen_by_client: Option<Vec<u8>>,
    pub(super) pinned_sha256: Option<[u8; 32]>,
    /// That of one which was dialled, in the endpoint's map.
    pub(super) reset_token: Option<super::identity::ResetToken>,
    /// A stateless reset has come.
    pub(super) was_reset: bool,
    /// Of whose share of connections it is: of a client, where it began.
    pub(super) prefix: Option<u64>,
    pub(super) rebinding: Rebinding,
    pub(super) acknowledgement: Acknowledgement,
    pub(super) unsent: Unsent,
    /// As they were when quiche had last taken something in.
    pub(super) counts: Counts,
    pub(super) refused: Refused,
    pub(super) ends: Ends,
    pub(super) begun: Instant,
    /// While the client may not be where its packets say it is.
    pub(super) unproven: Option<Unproven>,
    /// Where it is to ask for a session, if it is a client's over HTTP/3.
    pub(super) dial: Option<WebDial>,
    /// Of one that agreed on HTTP/3.
    pub(super) web: Option<Box<Web>>,
}

/// Streams of the peer that nobody reads.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Those that were told so.
    stops: u32,
    /// Those that were not, until they end; as many as the peer may have open.
    streams: FxHashSet<StreamId>,
}

/// Figures of the path in use.
#[derive(Clone, Copy, Debug)]
pub struct PathFigures {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Estimated by the congestion controller; 0 while unknown.
    pub delivery_rate_bits_per_second: u64,
}

impl Connection {
    /// The moq-lite draft agreed on by ALPN, or over HTTP/3 by the session's request; or the newest of
    /// those among which the session is to agree in band. `None` before that, or for another protocol.
    pub fn version(&self) -> Option<Version> {
        match &self.web {
            Some(web) => web.draft(),
            None => version_of(self.quic.application_proto()),
        }
    }

    /// Whether this side accepted the connection.
    pub fn is_server(&self) -> bool {
        self.quic.is_server()
    }

    /// Whether the handshake is done.
    pub fn is_established(&self) -> bool {
        self.quic.is_established()
    }

    /// It speaks HTTP/3, in which a session may be asked for.
    pub fn is_web(&self) -> bool {
        self.web.is_some()
    }

    /// Established, and over HTTP/3 with a session in it.
    pub fn has_session(&self) -> bool {
        self.quic.is_established() && self.web.as_ref().is_none_or(|web| web.is_open())
    }

    /// Whether it is gone: nothing is sent any more, and it may be removed.
    pub fn is_closed(&self) -> bool {
        self.quic.is_closed()
    }

    /// Either side has closed it: nothing is exchanged any more. What comes late is still
    /// answered until [`Self::is_closed`] (RFC 9000, section 10.2).
    pub fn is_over(&self) -> bool {
        self.quic.is_draining() || self.quic.is_closed() || self.web.as_ref().is_some_and(|web| web.is_over())
    }

    /// This side has closed it, as it does when the certificate is not the pinned one. The peer may not have been told yet.
    pub fn is_closing(&self) -> bool {
        self.quic.local_error().is_some()
    }

    /// The peer's address in use.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.quic
            .path_stats()
            .find(|path| path.active)
            .map(|path| self.rebinding.destination(path.peer_addr))
    }

    /// The next stream with bytes, a FIN or a reset to [`read`](Self::read). `None`: no stream has any.
    pub fn poll_readable(&mut self) -> Option<StreamId> {
        loop {
            let stream = match &mut self.web {
                Some(web) => web.poll_readable(&mut self.quic),
                None => self.quic.stream_readable_next().map(StreamId),
            }?;
            if !self.refused.streams.contains(&stream) {
                return Some(stream);
            }
            self.discard(stream);
        }
    }

    /// Reads once. A stream with more to give stays readable.
    pub fn read(&mut self, stream: StreamId, arena: &mut ReadArena) -> Read {
        match &mut self.web {
            Some(web) => web.read(&mut self.quic, stream, arena),
            None => arena.read(&mut self.quic, stream),
        }
    }

    /// A stream that may be written again after a partial write, or that the peer stopped.
    pub fn poll_writable(&mut self) -> Option<(StreamId, Option<ErrorCode>)> {
        loop {
            let stream = self.quic.stream_writable_next()?;
            let stopped = match self.quic.stream_capacity(stream) {
                Err(quiche::Error::StreamStopped(code)) => {
                    // Collects the stopped stream's state.
                    self.unsent.on_other();
                    let _ = self.quic.stream_send(stream, &[], true);
                    Some(self.code_of(code))
                }
                _ => None,
            };
            let stream = StreamId(stream);
            if stopped.is_some() {
                self.ends.forget(stream);
            }
            if let Some(web) = &mut self.web
                && web.handle_writable(&mut self.quic, stream, stopped.is_some())
            {
                continue;
            }
            return Some((stream, stopped));
        }
    }

    /// Writes as much as congestion and flow control allow now.
    pub fn write(&mut self, stream: StreamId, bytes: Bytes, fin: bool) -> Written {
        let length = bytes.len();
        let bytes = match (fin, length) {
            (false, _) => Unacknowledged::marked(bytes, self.ends.mark(stream)),
            (true, 0) if !self.ends.may_be_told(stream) => return Written::All,
            (true, _) => bytes.into(),
        };
        match self.quic.stream_send_zc(stream.0, bytes, fin) {
            Ok((sent, _)) if sent == length => {
                self.unsent.on_stream(stream);
                if fin {
                    self.ends.forget(stream);
                }
                Written::All
            }
            Ok((sent, _)) => {
                self.acknowledgement.on_blocked();
                Written::Partial(sent)
            }
            Err(quiche::Error::Done) => {
                self.acknowledgement.on_blocked();
                Written::Blocked
            }
            Err(quiche::Error::StreamLimit) => Written::NoStreamCredit,
            Err(quiche::Error::StreamStopped(code)) => {
                self.ends.forget(stream);
                Written::Stopped(self.code_of(code))
            }
            Err(_) => {
                self.ends.forget(stream);
                Written::Stopped(moqswitch_proto::wire::stream_error::CANCEL)
            }
        }
    }

    /// Abandons our sending half: the peer is told `code` (RESET_STREAM, RFC 9000 section 19.4). Nothing happens when
    /// that half is gone.
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        self.ends.forget(stream);
        // Fails only for a stream that is gone already, which is what was wanted.
        let code = self.wire_code(code);
        let _ = self.quic.stream_shutdown(stream.0, quiche::Shutdown::Write, code);
    }

    /// Stops reading a stream of the peer. After STOP_SENDING on a stream whose end has not come, quiche 0.30
    /// keeps the stream permanently, and with it the peer's credit for another one. So STOP_SENDING is sent
    /// on a few streams only, and what arrives on the others is thrown away.
    pub fn stop_sending(&mut self, stream: StreamId, code: ErrorCode) {
        if let Some(web) = &mut self.web {
            web.forget(stream);
        }
        if self.discard(stream) {
            return;
        }
        if self.refused.stops < STOPS_MAX {
            self.refused.stops += 1;
            let code = self.wire_code(code);
            let _ = self.quic.stream_shutdown(stream.0, quiche::Shutdown::Read, code);
        } else {
            self.refused.streams.insert(stream);
        }
    }

    /// Throws away what a stream has; true when that was its end.
    fn discard(&mut self, stream: StreamId) -> bool {
        let mut scratch = [0; 4096];
        loop {
            match self.quic.stream_recv(stream.0, &mut scratch) {
                Ok((_, false)) => {}
                Err(quiche::Error::Done) => return false,
                Ok((_, true)) | Err(_) => {
                    self.refused.streams.remove(&stream);
                    return true;
                }
            }
        }
    }

    /// Whether the peer lets us open another unidirectional stream.
    pub fn has_uni_credit(&self) -> bool {
        self.quic.peer_streams_left_uni() > 0
    }

    /// The oldest datagram of the session that was received and not taken, without its head. `None`: none waits.
    pub fn poll_datagram(&mut self) -> Option<Bytes> {
        loop {
            let datagram = self.quic.dgram_recv_buf().ok()?;
            match &self.web {
                None => return Some(datagram),
                // Others are dropped, as datagrams may be (RFC 9297, section 2.1).
                Some(web) => {
                    if let Some(body) = web.unwrap_datagram(&datagram) {
                        return Some(body);
                    }
                }
            }
        }
    }

    /// What has to stand before the body of each datagram that is sent.
    pub fn datagram_head(&self) -> &[u8] {
        self.web.as_ref().map_or(&[], |web| web.datagram_head())
    }

    /// Bytes that one datagram may carry, its head included; `None` when the peer takes no datagrams.
    pub fn datagram_bytes_max(&self) -> Option<usize> {
        self.quic.dgram_max_writable_len()
    }

    /// Sends a datagram if it can leave at once (draft, "Datagrams").
    pub fn send_datagram(&mut self, body: Bytes) -> bool {
        self.unsent.on_other();
        !self.quic.is_dgram_send_queue_full() && self.quic.dgram_send_buf(body).is_ok()
    }

    /// Ends the session with a code and a reason that the peer is told. Nothing happens when it is closing already.
    pub fn close(&mut self, code: ErrorCode, reason: &str) {
        match &mut self.web {
            Some(web) => web.close(&mut self.quic, code, reason),
            // `Done` means that it is closing already.
            None => drop(self.quic.close(true, code.0, reason.as_bytes())),
        }
    }

    /// Figures of the path in use; `None` while there is none.
    pub fn path(&self) -> Option<PathFigures> {
        self.quic.path_stats().find(|path| path.active).map(|path| PathFigures {
            rtt: path.rtt,
            delivery_rate_bits_per_second: path.delivery_rate.saturating_mul(8),
        })
    }

    /// The host name that the client asked for.
    pub fn server_name(&self) -> Option<&str> {
        self.quic.server_name()
    }

    /// The certificate that the client showed, in DER. It has been verified.
    pub fn client_certificate(&self) -> Option<&[u8]> {
        self.quic.peer_cert().filter(|_| self.quic.is_server())
    }

    /// Bytes of packets sent, and received, on its paths.
    pub fn moved_bytes(&self) -> (u64, u64) {
        self.quic.path_stats().fold((0, 0), |(sent, received), path| {
            (sent + path.sent_bytes, received + path.recv_bytes)
        })
    }

    /// Why the connection ended, for a log line.
    pub fn close_reason(&self) -> String {
        let describe = |who: &str, error: &quiche::ConnectionError| {
            let kind = if error.is_app { "session" } else { "transport" };
            let name = match session_error::name(self.code_of(error.error_code)) {
                Some(name) if error.is_app => format!(" {name}"),
                _ => String::new(),
            };
            let text = String::from_utf8_lossy(&error.reason);
            format!("{who} closed it with {kind} code {:#x}{name} {text}", error.error_code)
        };
        if let Some(reason) = self.web.as_ref().and_then(|web| web.reason()) {
            return reason.to_owned();
        }
        if self.quic.is_timed_out() {
            return "it was idle for too long".into();
        }
        if self.was_reset {
            return "the peer knows nothing of it, as after a restart (stateless reset)".into();
        }
        match (self.quic.peer_error(), self.quic.local_error()) {
            (Some(error), _) => describe("the peer", error),
            (None, Some(error)) => describe("this side", error),
            (None, None) => "unknown".into(),
        }
    }

    /// Of a connection that was dialled: what the server said that a stateless reset ends with.
    pub(super) fn reset_token_of_peer(&self) -> Option<super::identity::ResetToken> {
        let token = self.quic.peer_transport_params()?.stateless_reset_token?;
        (!self.quic.is_server()).then(|| token.to_be_bytes())
    }

    /// Has the peer answer with the next packets, so that neither side finds the connection idle. The caller marks it dirty.
    pub fn ping(&mut self) {
        // It fails only where nothing can be sent any more.
        let _ = self.quic.send_ack_eliciting();
    }

    /// Packets that came and were taken in, on all of its paths.
    pub fn packets_received(&self) -> usize {
        self.count().received
    }

    /// How often an answer to what was sent did not come in its time (RFC 9002, section 6.2).
    pub fn probe_timeouts(&self) -> usize {
        self.quic.path_stats().map(|path| path.total_pto_count).sum()
    }

    /// Once it is established: speaks HTTP/3, if that was agreed on.
    pub(super) fn begin_web(&mut self) {
        let is_wanted = self.quic.is_server() || self.dial.is_some();
        if is_wanted && self.quic.application_proto() == web::ALPN {
            self.web = Some(Box::new(Web::begin(&mut self.quic, self.dial.take())));
        }
    }

    /// A code of the session's as the wire has it.
    fn wire_code(&self, code: ErrorCode) -> u64 {
        if self.is_web() { web::to_wire(code) } else { code.0 }
    }

    /// A code of the wire as the session knows it.
    fn code_of(&self, code: u64) -> ErrorCode {
        if self.is_web() {
            web::from_wire(code)
        } else {
            ErrorCode(code)
        }
    }

    /// True when the certificate is the pinned one, or none is pinned.
    pub(super) fn is_trusted(&self) -> bool {
        self.pinned_sha256.is_none_or(|pinned| {
            self.quic
                .peer_cert()
                .is_some_and(|der| ring::digest::digest(&ring::digest::SHA256, der).as_ref() == pinned)
        })
    }

    /// Takes one datagram; says whether the peer has moved to another address meanwhile.
    pub(super) fn receive(
        &mut self,
        datagram: &mut [u8],
        source: SocketAddr,
        local: SocketAddr,
    ) -> (quiche::Result<usize>, bool) {
        // What quiche did at a timeout is no move of the peer's.
        while self.quic.path_event_next().is_some() {}
        let before = self.counts;
        // Before it is decrypted in place.
        let packets = self.unproven.as_mut().map(|unproven| {
            unproven.on_received(datagram.len());
            look_at_packets(datagram)
        });
        let info = quiche::RecvInfo {
            from: self.rebinding.source(source),
            to: local,
        };
        let result = self.quic.recv(datagram, info);
        if let Some(web) = &mut self.web {
            web.handle_closing(&mut self.quic);
        }
        self.tell_ends();
        let after = self.count();
        self.counts = after;
        if after.received > before.received {
            self.rebinding.on_packet(source);
        }
        // Whoever encrypts for the handshake has read what was sent to that address (RFC 9000, section 8.1). A forged
        // packet beside a true one is not among those that were taken. What some clients fill datagrams up with counts as
        // one that was not, either; a handshake that is done is proof by itself.
        let has_proof = packets.is_some_and(|(packets, has_handshake)| {
            has_handshake && after.received - before.received >= packets || self.quic.is_established()
        });
        if has_proof {
            self.unproven = None;
        }
        let mut has_moved = false;
        while let Some(event) = self.quic.path_event_next() {
            if let quiche::PathEvent::PeerMigrated(_, peer) = event {
                has_moved |= self.rebinding.on_migrated(peer);
            }
            // Paths are tried by packets of their own.
            self.unsent.on_other();
        }
        if after.lost > before.lost {
            // Retransmissions do not wait.
            self.acknowledgement.on_blocked();
        }
        (result, has_moved)
    }

    /// The next packet, if there is one and it may go out.
    pub(super) fn send(&mut self, packet: &mut [u8]) -> Option<(usize, quiche::SendInfo)> {
        let Some(unproven) = &mut self.unproven else {
            return self.quic.send(packet).ok();
        };
        let budget = unproven.budget().min(packet.len());
        if budget < UNPROVEN_BYTES_MIN {
            return None;
        }
        let sent = self.quic.send(&mut packet[..budget]).ok()?;
        unproven.on_sent(sent.0);
        Some(sent)
    }

    /// Notes the first packet of a flush; true when quiche is known to have no other one.
    pub(super) fn has_sent_all(&mut self, packet_bytes: usize, packet_bytes_max: usize) -> bool {
        let has_web_written = self.web.as_mut().is_some_and(|web| web.take_unsent());
        if has_web_written
            || self.acknowledgement.is_blocked()
            || self.unproven.is_some()
            || !self.quic.is_established()
        {
            self.unsent.on_other();
        }
        self.unsent.is_all_in(packet_bytes, packet_bytes_max)
    }

    /// Everything there was to send was sent in so many packets, as far as it is known and the window goes.
    pub(super) fn on_flushed(&mut self, packets: usize) {
        if self.unsent.on_flushed(packets) {
            self.acknowledgement.on_blocked();
        }
        self.acknowledgement.on_flushed(packets);
    }

    /// Tells the ends of streams that waited for acknowledgements.
    fn tell_ends(&mut self) {
        while let Some(stream) = self.ends.poll() {
            // Fails only for a stream that the peer has stopped.
            let _ = self.quic.stream_send_zc(stream.0, Unacknowledged::default(), true);
            self.unsent.on_stream(stream);
            self.acknowledgement.on_written();
        }
    }

    /// A timer is due: quiche's, or that of an acknowledgement.
    pub(super) fn on_timeout(&mut self, now: Instant) {
        if let Some(web) = &mut self.web {
            web.handle_timeout(&mut self.quic, now);
        }
        if self.quic.timeout_instant().is_some_and(|deadline| deadline <= now) {
            self.acknowledgement.on_blocked();
            self.quic.on_timeout();
            // What it took for lost is known already.
            self.counts = self.count();
        }
    }

    /// Of its paths, of which it nearly always has one. quiche's `stats` of the whole connection look
    /// at every stream.
    fn count(&self) -> Counts {
        self.quic.path_stats().fold(Counts::default(), |sum, path| Counts {
            received: sum.received + path.recv,
            lost: sum.lost + path.lost,
        })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let is_held = self
            .unproven
            .is_some_and(|unproven| unproven.budget() < UNPROVEN_BYTES_MIN);
        let timers = [
            self.quic.timeout_instant(),
            // What may not be sent is not due.
            self.acknowledgement.due().filter(|_| !is_held),
            self.web.as_ref().and_then(|web| web.deadline()),
        ];
        timers.into_iter().flatten().min()
    }

    /// Whether the answer to a datagram that was just taken in may wait.
    pub(super) fn may_wait(&mut self, bytes: usize, every: u32, delay: Duration, now: Instant) -> bool {
        self.acknowledgement.may_wait(bytes, every, delay, now)
            && self.quic.is_established()
            && !self.quic.is_draining()
    }
}

/// STOP_SENDING on one connection: each may cost the peer one of its streams permanently (the least that a
/// configuration may allow is far more).
const STOPS_MAX: u32 = 64;

/// An Initial packet that asks for an acknowledgement fills so much (RFC 9000, section 14.1): with less left nothing is
/// sent to an unproven address.
const UNPROVEN_BYTES_MIN: usize = 1_200;

/// Packets of a connection.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    received: usize,
    lost: usize,
}
