//! What one shard counts. The shard owns the only live copy, plain integers without atomics;
//! the control thread asks for a snapshot over the shard's command queue and turns it into metrics.
//! Counters only ever grow; the fields named `*_now` are levels.
#![forbid(unsafe_code)]

/// A shard's counters and the state of the queues it reads, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardSnapshot {
    /// The counters.
    pub statistics: ShardStatistics,
    /// The queues that the shard reads, and what it holds back for others.
    pub queues: Vec<QueueSnapshot>,
}

/// All counters of a shard, by what they are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardStatistics {
    /// QUIC connections.
    pub connections: ConnectionStatistics,
    /// WebSocket connections.
    pub websockets: WebSocketStatistics,
    /// moq-lite sessions, over whatever carries them.
    pub sessions: SessionStatistics,
    /// HTTP/3 and WebTransport.
    pub web: WebStatistics,
    /// Frames, groups and the cache.
    pub media: MediaStatistics,
    /// Datagrams, the ring and turns of the loop.
    pub network: NetworkStatistics,
    /// Links to other relays of the mesh.
    pub links: LinkStatistics,
    /// Local peers, and the sockets of their applications.
    pub local: LocalStatistics,
    /// What was not delivered, by cause.
    pub drops: DropStatistics,
}

/// QUIC connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionStatistics {
    /// Connections open.
    pub open_now: u64,
    /// Connections whose handshake completed.
    pub established: u64,
    /// Connections closed after their handshake.
    pub closed: u64,
    /// Handshakes that failed: timeout, TLS alert, no common ALPN.
    pub handshake_failures: u64,
    /// Peers whose address changed and was validated.
    pub migrations: u64,
    /// Version Negotiation packets sent.
    pub version_negotiations: u64,
    /// Retry packets sent to unvalidated addresses.
    pub retries: u64,
}

/// WebSocket connections, which are not among the QUIC connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSocketStatistics {
    /// Connections open.
    pub open_now: u64,
    /// Connections opened.
    pub opened: u64,
    /// Binary messages and their bytes, QMux framing included.
    pub messages_in: u64,
    /// Binary messages sent.
    pub messages_out: u64,
    /// Bytes of messages received.
    pub bytes_in: u64,
    /// Bytes of messages sent.
    pub bytes_out: u64,
    /// Stream bytes that wait in shards for room towards the control thread.
    pub held_bytes_now: u64,
}

/// moq-lite sessions and their streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionStatistics {
    /// Sessions open.
    pub open_now: u64,
    /// Sessions opened.
    pub opened: u64,
    /// Sessions closed for a protocol violation of the peer.
    pub protocol_violations: u64,
    /// Sessions ended because what let them in was taken back: the key of their token was removed, or the auth server said so.
    pub revoked: u64,
    /// QUIC streams of sessions, both directions.
    pub streams_open_now: u64,
    /// Subscriptions served to peers.
    pub subscriptions_now: u64,
    /// Subscriptions made to publishers; one per track.
    pub upstream_subscriptions_now: u64,
    /// Broadcasts announced by this shard's peers.
    pub announcements_now: u64,
    /// Broadcasts announced by this shard's peers that somebody else published already.
    pub contested: u64,
    /// Bytes that sessions hold, as far as that is counted.
    pub held_bytes_now: u64,
    /// Whether new sessions are refused because there is too much to do: 0 or 1.
    pub overloaded_now: u64,
    /// Names that their holder lost to another because it had fallen silent.
    pub yielded: u64,
}

/// HTTP/3 and the sessions over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebStatistics {
    /// WebTransport sessions accepted; they are among the sessions too.
    pub sessions_opened: u64,
    /// Requests for a session that were refused: a path without permission, no common draft.
    pub sessions_refused: u64,
    /// Ordinary requests.
    pub requests: u64,
    /// Streams given up: for a session that is not there, half a request or one too many, of an
    /// unknown type.
    pub streams_refused: u64,
    /// Connections closed for a violation of HTTP/3 by the peer.
    pub violations: u64,
}

/// Links to other relays of the mesh, those that were accepted included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatistics {
    /// Links there are.
    pub up_now: u64,
    /// Links dialled.
    pub dialled: u64,
    /// Links given up for their silence.
    pub silent: u64,
    /// Announcements of more than one hop by a session that may be no relay. They were not believed.
    pub unbelieved: u64,
}

/// Media taken in and given out. A frame forwarded to three subscribers counts once in, three times out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaStatistics {
    /// Frames from publishers.
    pub frames_in: u64,
    /// Frames to subscribers, once for each.
    pub frames_out: u64,
    /// Groups from publishers.
    pub groups_in: u64,
    /// Groups to subscribers, once for each.
    pub groups_out: u64,
    /// Payload bytes, without stream framing and QUIC.
    pub bytes_in: u64,
    /// Payload bytes to subscribers.
    pub bytes_out: u64,
    /// Fetches that peers asked for.
    pub fetches: u64,
    /// Those of them that the cache had.
    pub fetches_from_cache: u64,
    /// Bytes the group cache holds.
    pub cache_bytes_now: u64,
}

/// UDP socket and its ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkStatistics {
    /// Datagrams from the socket.
    pub datagrams_received: u64,
    /// Datagrams to the socket.
    pub datagrams_sent: u64,
    /// UDP payload bytes from the socket.
    pub datagram_bytes_received: u64,
    /// UDP payload bytes to the socket.
    pub datagram_bytes_sent: u64,
    /// Receive completions; one carries several datagrams under GRO.
    pub receives: u64,
    /// Send submissions; one carries several datagrams under GSO.
    pub sends: u64,
    /// Sends that the kernel refused. QUIC takes each for loss.
    pub send_failures: u64,
    /// Times the shard entered the kernel to wait for its ring.
    pub ring_waits: u64,
    /// Times the shard parked in its executor, idle.
    pub parks: u64,
    /// Times an idle shard stayed awake, because the process could open no file.
    pub parks_failed: u64,
    /// Loop turns.
    pub turns: u64,
    /// How long arrivals are gathered before a turn, in us.
    pub batch_window_us_now: u64,
    /// Datagrams that were no QUIC packet or belonged to no connection.
    pub malformed_packets: u64,
}

/// Local peers, and the sockets of their applications. Their frames are among those of `media`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalStatistics {
    /// Local peers open.
    pub peers_now: u64,
    /// Sockets that the ring serves for applications.
    pub sockets_now: u64,
    /// Datagrams from those sockets.
    pub datagrams_received: u64,
    /// Datagrams to those sockets.
    pub datagrams_sent: u64,
    /// Datagrams to those sockets that found no buffer, or that the kernel refused.
    pub send_failures: u64,
    /// Datagrams from those sockets that were larger than the buffer, and were dropped.
    pub truncated: u64,
}

/// Why something was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    /// A group older than the subscriber's maximum latency.
    Expired,
    /// A group that the cache had let go before a slow subscriber read it; or a session that was closed because too many
    /// control bytes were unread.
    SlowSubscriber,
    /// A cross-shard queue was full.
    QueueFull,
    /// A group that was evicted because the cache was over its limit.
    CacheFull,
    /// A datagram that found too many waiting for its subscriber, or whose connection took no more.
    Datagram,
    /// A send that the kernel refused, as in `send_failures`.
    SendBuffer,
    /// No connection slot was free.
    ConnectionLimit,
    /// A session that did nothing, closed to make room.
    Evicted,
    /// A first packet from an address that began too many connections.
    AttemptLimit,
    /// A first packet from an address that has too many connections.
    AddressLimit,
    /// A session, or the first packet of one, that was refused because there was too much to do.
    Overload,
    /// A session that was closed or refused because of what it, or the whole process, holds.
    Memory,
    /// A session that asked for too much in a second.
    OperationLimit,
    /// A packet of no connection that was not looked at, because too many of them waited.
    StrangerLimit,
    /// A version negotiation, Retry or stateless reset that was left out because too many were due.
    AnswerLimit,
    /// A broadcast that found no room in the announce table. Its session was closed.
    AnnounceLimit,
    /// A peer had reached a limit of its session.
    SessionLimit,
    /// A path that the peer may not publish or subscribe.
    Unauthorized,
    /// A token that was refused unchecked, because of too many wrong ones from its address prefix.
    TokenChecks,
    /// A session on which the auth server did not decide.
    Authority,
    /// A group that nobody asked for: of an ended subscription, too old, or a duplicate.
    UnwantedGroup,
}

/// One counter for each [`DropCause`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropStatistics([u64; DropCause::ALL.len()]);

/// State of one queue this shard reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSnapshot {
    /// Which queue.
    pub kind: QueueKind,
    /// The shard that writes; `None` for the control thread.
    pub from_shard: Option<u8>,
    /// Messages waiting.
    pub depth_now: u64,
    /// Messages refused because the queue was full; `None` where the writer is told instead.
    pub overflows: Option<u64>,
}

/// The kinds of queues that a shard reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// What another shard tells this one: groups, subscriptions, fetches, announcements.
    Lane,
    /// What must arrive at other shards and waits here for room in their lanes.
    Spill,
    /// Commands of the control thread.
    Command,
}

impl DropCause {
    /// Every cause, each at the index that `as usize` gives it.
    pub const ALL: [Self; 21] = [
        Self::Expired,
        Self::SlowSubscriber,
        Self::QueueFull,
        Self::CacheFull,
        Self::Datagram,
        Self::SendBuffer,
        Self::ConnectionLimit,
        Self::Evicted,
        Self::AttemptLimit,
        Self::AddressLimit,
        Self::Overload,
        Self::Memory,
        Self::OperationLimit,
        Self::StrangerLimit,
        Self::AnswerLimit,
        Self::AnnounceLimit,
        Self::SessionLimit,
        Self::Unauthorized,
        Self::TokenChecks,
        Self::Authority,
        Self::UnwantedGroup,
    ];

    /// Value of the metric's `cause` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::SlowSubscriber => "slow_subscriber",
            Self::QueueFull => "queue_full",
            Self::CacheFull => "cache_full",
            Self::Datagram => "datagram",
            Self::SendBuffer => "send_buffer",
            Self::ConnectionLimit => "connection_limit",
            Self::Evicted => "evicted",
            Self::AttemptLimit => "attempt_limit",
            Self::AddressLimit => "address_limit",
            Self::Overload => "overload",
            Self::Memory => "memory",
            Self::OperationLimit => "operation_limit",
            Self::StrangerLimit => "stranger_limit",
            Self::AnswerLimit => "answer_limit",
            Self::AnnounceLimit => "announce_limit",
            Self::SessionLimit => "session_limit",
            Self::Unauthorized => "unauthorized",
            Self::TokenChecks => "token_checks",
            Self::Authority => "authority",
            Self::UnwantedGroup => "unwanted_group",
        }
    }
}

impl DropStatistics {
    /// Adds to the counter of a cause; it stays at its maximum.
    pub fn add(&mut self, cause: DropCause, count: u64) {
        let counter = &mut self.0[cause as usize];
        *counter = counter.saturating_add(count);
    }

    /// The counter of a cause.
    pub fn get(&self, cause: DropCause) -> u64 {
        self.0[cause as usize]
    }
}

impl QueueKind {
    /// Value of the metric's `queue` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Lane => "lane",
            Self::Spill => "spill",
            Self::Command => "command",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_causes_count_separately() {
        let mut drops = DropStatistics::default();
        for (count, cause) in (1..).zip(DropCause::ALL) {
            drops.add(cause, count);
        }
        for (count, cause) in (1..).zip(DropCause::ALL) {
            assert_eq!(drops.get(cause), count, "{}", cause.label());
        }
    }

    #[test]
    fn every_cause_is_listed_at_its_own_index_with_its_own_label() {
        let mut labels: Vec<_> = DropCause::ALL.iter().map(|cause| cause.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropCause::ALL.len());
        for (index, cause) in DropCause::ALL.iter().enumerate() {
            assert_eq!(*cause as usize, index);
        }
    }
}
