//! A session as its connection has agreed on: of moq-lite, or of the IETF's moq-transport. The methods are those of
//! [`session::Session`], whose documentation says what each is for.

use bytes::{Bytes, BytesMut};

use crate::ietf;
use crate::session::{self, Event, SessionConfig, SessionStats, Side, SubscribeParameters, Transmit};
use crate::wire::{
    Advertisement, BroadcastPath, DatagramHeader, ErrorCode, Fetch, GroupHeader, GroupSequence, Probe, Setup, StreamId,
    SubscribeId, SubscribeOk, SubscribeUpdate, TrackInfo, TrackRequest, Version,
};

/// One end of a session of either kind.
#[derive(Debug)]
pub enum PeerSession {
    /// Of moq-lite.
    Lite(Box<session::Session>),
    /// Of moq-transport.
    Transport(Box<ietf::Session>),
}

impl PeerSession {
    /// The session of the version that the configuration names.
    pub fn new(config: SessionConfig) -> Self {
        match config.version.is_transport() {
            true => Self::Transport(Box::new(ietf::Session::new(config))),
            false => Self::Lite(Box::new(session::Session::new(config))),
        }
    }

    /// Whether the version is still to be agreed on.
    pub fn is_negotiating(&self) -> bool {
        match self {
            Self::Lite(session) => session.is_negotiating(),
            Self::Transport(_) => false,
        }
    }

    /// The next bytes of a stream, in order.
    pub fn handle_stream(&mut self, stream: StreamId, data: Bytes, fin: bool, arrival_timestamp_ms: u64) {
        match self {
            Self::Lite(session) => session.handle_stream(stream, data, fin, arrival_timestamp_ms),
            Self::Transport(session) => session.handle_stream(stream, data, fin, arrival_timestamp_ms),
        }
    }

    /// The peer reset its sending side.
    pub fn handle_reset(&mut self, stream: StreamId, code: ErrorCode) {
        match self {
            Self::Lite(session) => session.handle_reset(stream, code),
            Self::Transport(session) => session.handle_reset(stream, code),
        }
    }

    /// The peer does not read our sending side any more.
    pub fn handle_stop_sending(&mut self, stream: StreamId) {
        match self {
            Self::Lite(session) => session.handle_stop_sending(stream),
            Self::Transport(session) => session.handle_stop_sending(stream),
        }
    }

    /// A datagram came.
    pub fn handle_datagram(&mut self, data: Bytes) {
        match self {
            Self::Lite(session) => session.handle_datagram(data),
            Self::Transport(session) => session.handle_datagram(data),
        }
    }

    /// The next thing that happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        match self {
            Self::Lite(session) => session.poll_event(),
            Self::Transport(session) => session.poll_event(),
        }
    }

    /// The next thing to do on the connection, in order.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        match self {
            Self::Lite(session) => session.poll_transmit(),
            Self::Transport(session) => session.poll_transmit(),
        }
    }

    /// Ends the session.
    pub fn close(&mut self, code: ErrorCode, reason: &str) {
        match self {
            Self::Lite(session) => session.close(code, reason),
            Self::Transport(session) => session.close(code, reason),
        }
    }

    /// How many broadcasts the peer may announce from now on.
    pub fn set_announced_max(&mut self, announced_max: usize) {
        match self {
            Self::Lite(session) => session.set_announced_max(announced_max),
            Self::Transport(session) => session.set_announced_max(announced_max),
        }
    }

    /// Whether either end has closed the session.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Lite(session) => session.is_closed(),
            Self::Transport(session) => session.is_closed(),
        }
    }

    /// Whether the peer has yet to say what its draft begins with.
    pub fn is_setup_due(&self) -> bool {
        match self {
            Self::Lite(session) => session.is_setup_due(),
            Self::Transport(session) => session.is_setup_due(),
        }
    }

    /// What the peer said in SETUP.
    pub fn peer_setup(&self) -> Option<&Setup> {
        match self {
            Self::Lite(session) => session.peer_setup(),
            Self::Transport(session) => session.peer_setup(),
        }
    }

    /// The draft that is spoken.
    pub fn version(&self) -> Version {
        match self {
            Self::Lite(session) => session.version(),
            Self::Transport(session) => session.version(),
        }
    }

    /// Which end we are.
    pub fn side(&self) -> Side {
        match self {
            Self::Lite(session) => session.side(),
            Self::Transport(session) => session.side(),
        }
    }

    /// What the session holds now, and what it has counted.
    pub fn stats(&self) -> SessionStats {
        match self {
            Self::Lite(session) => session.stats(),
            Self::Transport(session) => session.stats(),
        }
    }

    /// Accepts a request for announcements.
    pub fn announce_ok(&mut self, request: StreamId, active_count: u64) {
        match self {
            Self::Lite(session) => session.announce_ok(request, active_count),
            Self::Transport(session) => session.announce_ok(request),
        }
    }

    /// Starts or replaces an announcement.
    pub fn announce(&mut self, request: StreamId, suffix: &BroadcastPath, advertisement: &Advertisement) {
        match self {
            Self::Lite(session) => session.announce(request, suffix, advertisement),
            Self::Transport(session) => session.announce(request, suffix),
        }
    }

    /// Ends an announcement.
    pub fn unannounce(&mut self, request: StreamId, suffix: &BroadcastPath) {
        match self {
            Self::Lite(session) => session.unannounce(request, suffix),
            Self::Transport(session) => session.unannounce(request, suffix),
        }
    }

    /// A request is over as planned.
    pub fn finish(&mut self, request: StreamId) {
        match self {
            Self::Lite(session) => session.finish(request),
            Self::Transport(session) => session.finish(request),
        }
    }

    /// Forgets a request whose stream the caller finishes or resets itself.
    pub fn finished_elsewhere(&mut self, request: StreamId) {
        match self {
            Self::Lite(session) => session.finished_elsewhere(request),
            Self::Transport(session) => session.finished_elsewhere(request),
        }
    }

    /// A request is refused, or ends for a reason.
    pub fn refuse(&mut self, request: StreamId, code: ErrorCode) {
        match self {
            Self::Lite(session) => session.refuse(request, code),
            Self::Transport(session) => session.refuse(request, code),
        }
    }

    /// Answers a question for a track.
    pub fn track_info(&mut self, request: StreamId, info: &TrackInfo) {
        match self {
            Self::Lite(session) => session.track_info(request, info),
            Self::Transport(session) => session.track_info(request, info),
        }
    }

    /// The id of the next one-way stream we open.
    pub fn open_uni(&mut self) -> StreamId {
        match self {
            Self::Lite(session) => session.open_uni(),
            Self::Transport(session) => session.open_uni(),
        }
    }

    /// What a group stream starts with; false when it cannot be said.
    pub fn group_header(&self, header: &GroupHeader, out: &mut BytesMut) -> bool {
        match self {
            Self::Lite(session) => session.group_header(header, out),
            Self::Transport(session) => session.group_header(header, out),
        }
    }

    /// Asks for the announcements at and below `prefix`.
    pub fn request_announce(&mut self, prefix: &BroadcastPath) -> Option<StreamId> {
        match self {
            Self::Lite(session) => session.request_announce(prefix),
            Self::Transport(session) => session.request_announce(prefix),
        }
    }

    /// Subscribes to a track.
    pub fn subscribe(&mut self, parameters: SubscribeParameters) -> Option<(SubscribeId, StreamId)> {
        match self {
            Self::Lite(session) => session.subscribe(parameters),
            Self::Transport(session) => session.subscribe(parameters),
        }
    }

    /// Changes a subscription.
    pub fn update_subscription(&mut self, id: SubscribeId, update: &SubscribeUpdate) {
        match self {
            Self::Lite(session) => session.update_subscription(id, update),
            Self::Transport(session) => session.update_subscription(id, update),
        }
    }

    /// Ends a subscription, its groups included.
    pub fn unsubscribe(&mut self, id: SubscribeId) {
        match self {
            Self::Lite(session) => session.unsubscribe(id),
            Self::Transport(session) => session.unsubscribe(id),
        }
    }

    /// Gives up a request of ours.
    pub fn cancel(&mut self, stream: StreamId, code: ErrorCode) {
        match self {
            Self::Lite(session) => session.cancel(stream, code),
            Self::Transport(session) => session.cancel(stream, code),
        }
    }

    /// Asks the peer to leave, once.
    pub fn goaway(&mut self, uri: &str) {
        match self {
            Self::Lite(session) => session.goaway(uri),
            Self::Transport(session) => session.goaway(uri),
        }
    }

    /// The caller's name for an incoming group.
    pub fn set_group_token(&mut self, stream: StreamId, token: u64) {
        match self {
            Self::Lite(session) => session.set_group_token(stream, token),
            Self::Transport(session) => session.set_group_token(stream, token),
        }
    }

    /// The caller does not want this incoming group.
    pub fn discard_group(&mut self, stream: StreamId, code: ErrorCode) {
        match self {
            Self::Lite(session) => session.discard_group(stream, code),
            Self::Transport(session) => session.discard_group(stream, code),
        }
    }

    /// Accepts a subscription. `said` is what its publisher says of the track in moq-transport; subscribers who speak
    /// moq-lite are not told.
    pub fn subscribe_ok(&mut self, request: StreamId, ok: &SubscribeOk, said: Option<&Bytes>) {
        match self {
            Self::Lite(session) => session.subscribe_ok(request, ok),
            Self::Transport(session) => session.subscribe_ok(request, ok, said),
        }
    }

    /// The first group that will be delivered. moq-transport does not say it.
    pub fn subscribe_start(&mut self, request: StreamId, group: GroupSequence) {
        if let Self::Lite(session) = self {
            session.subscribe_start(request, group);
        }
    }

    /// The first group that will never be delivered. moq-transport says by an object where a track ends.
    pub fn subscribe_end(&mut self, request: StreamId, end: GroupSequence) {
        if let Self::Lite(session) = self {
            session.subscribe_end(request, end);
        }
    }

    /// Groups that will not be delivered. moq-transport does not say it.
    pub fn subscribe_drop(&mut self, request: StreamId, start: GroupSequence, end: GroupSequence, code: ErrorCode) {
        if let Self::Lite(session) = self {
            session.subscribe_drop(request, start, end, code);
        }
    }

    /// Reports on a Probe Stream of the peer, which moq-transport does not have.
    pub fn probe_report(&mut self, request: StreamId, probe: &Probe) {
        if let Self::Lite(session) = self {
            session.probe_report(request, probe);
        }
    }

    /// Tells the peer of the bitrate of the connection (01 and 02).
    pub fn update_bitrate(&mut self, bitrate: Option<u64>) {
        if let Self::Lite(session) = self {
            session.update_bitrate(bitrate);
        }
    }

    /// Fetches a group. From peers of moq-transport nothing is fetched.
    pub fn fetch(&mut self, fetch: &Fetch) -> Option<StreamId> {
        match self {
            Self::Lite(session) => session.fetch(fetch),
            Self::Transport(_) => None,
        }
    }

    /// Asks what a track is (05 and later). moq-transport says it in SUBSCRIBE_OK.
    pub fn track(&mut self, request: &TrackRequest) -> Option<StreamId> {
        match self {
            Self::Lite(session) => session.track(request),
            Self::Transport(_) => None,
        }
    }

    /// The code of a group stream that is reset, in the registry of the version.
    pub fn reset_code(&self, code: ErrorCode) -> ErrorCode {
        match self {
            Self::Lite(_) => code,
            Self::Transport(_) => ietf::codes::reset(code),
        }
    }

    /// What stands before the payload of a datagram; false when it cannot be said.
    pub fn datagram_header(&self, header: &DatagramHeader, out: &mut BytesMut) -> bool {
        match self {
            Self::Lite(session) => header.encode(session.version(), out).is_ok(),
            Self::Transport(session) => session.datagram_header(header, out),
        }
    }
}

/// For what drives sessions of either kind on a connection.
pub trait Drive {
    /// The next bytes of a stream, in order.
    fn handle_stream(&mut self, stream: StreamId, data: Bytes, fin: bool, arrival_timestamp_ms: u64);
    /// The peer reset its sending side.
    fn handle_reset(&mut self, stream: StreamId, code: ErrorCode);
    /// The peer does not read our sending side any more.
    fn handle_stop_sending(&mut self, stream: StreamId);
    /// A datagram came.
    fn handle_datagram(&mut self, data: Bytes);
    /// The next thing to do on the connection, in order.
    fn poll_transmit(&mut self) -> Option<Transmit>;
}

/// Both say it in methods of their own.
macro_rules! drive {
    ($session:ty) => {
        impl Drive for $session {
            fn handle_stream(&mut self, stream: StreamId, data: Bytes, fin: bool, arrival_timestamp_ms: u64) {
                self.handle_stream(stream, data, fin, arrival_timestamp_ms);
            }

            fn handle_reset(&mut self, stream: StreamId, code: ErrorCode) {
                self.handle_reset(stream, code);
            }

            fn handle_stop_sending(&mut self, stream: StreamId) {
                self.handle_stop_sending(stream);
            }

            fn handle_datagram(&mut self, data: Bytes) {
                self.handle_datagram(data);
            }

            fn poll_transmit(&mut self) -> Option<Transmit> {
                self.poll_transmit()
            }
        }
    };
}

drive!(session::Session);
drive!(PeerSession);
