//! What a session lives on: a QUIC connection or a WebSocket. One `match` for each call, no more;
//! the two have the same calls because QMux has the semantics of QUIC.

use std::net::SocketAddr;

use bytes::Bytes;
use moqswitch_proto::wire::{ErrorCode, StreamHeads, StreamId, Version};

use crate::auth::ClientIdentity;
use crate::driver::Carry;
use crate::limits::WEBSOCKET_READ_BYTES;
use crate::quic;
use crate::quic::{Endpoint, PathFigures, Read, ReadArena, Written};
use crate::routing::PeerKey;

use super::link::is_link;
use super::peer::connection_key;
use super::websockets::{WebSocketConnection, WebSocketConnections};
use super::worker::Shard;

/// One connection, borrowed for as long as it is worked on.
pub(super) enum Carrier<'a> {
    Quic(&'a mut quic::Connection),
    WebSocket(&'a mut WebSocketConnection),
}

/// The connection of a session. Both homes are arguments, so that the rest of the shard can be
/// used beside it.
pub(super) fn carrier<'a>(
    endpoint: &'a mut Endpoint,
    websockets: &'a mut WebSocketConnections,
    peer: PeerKey,
) -> Option<Carrier<'a>> {
    if is_link(peer) {
        websockets.get_mut(peer).map(Carrier::WebSocket)
    } else {
        endpoint.get_mut(connection_key(peer)).map(Carrier::Quic)
    }
}

impl Shard {
    /// Says that a connection has something to send.
    pub(super) fn mark_dirty(&mut self, peer: PeerKey) {
        if is_link(peer) {
            self.websockets.mark_dirty(peer);
        } else {
            self.endpoint.mark_dirty(connection_key(peer));
        }
    }

    /// Says that a connection has more for the session than one service took.
    pub(super) fn mark_ready(&mut self, peer: PeerKey) {
        if is_link(peer) {
            self.websockets.mark_ready(peer);
        } else {
            self.endpoint.mark_ready(connection_key(peer));
        }
    }
}

impl Carrier<'_> {
    /// The moq-lite draft agreed on. `None`: none was.
    pub(super) fn version(&self) -> Option<Version> {
        match self {
            Self::Quic(connection) => connection.version(),
            Self::WebSocket(connection) => Some(connection.qmux.version()),
        }
    }

    /// Path and query of the request that made the connection, where one did. It stands for the
    /// Path of SETUP, which is for raw QUIC (draft, "Path Parameter").
    pub(super) fn request_path(&self) -> Option<&str> {
        match self {
            Self::Quic(connection) => connection.request_path(),
            Self::WebSocket(connection) => Some(&connection.path),
        }
    }

    /// The token that came beside the path, where one did. That of HTTP/3 was taken when its session was asked for.
    pub(super) fn bearer(&self) -> Option<&str> {
        match self {
            Self::Quic(_) => None,
            Self::WebSocket(connection) => connection.bearer.as_deref(),
        }
    }

    /// The host name that TLS was asked for. That of a WebSocket is not passed on.
    pub(super) fn server_name(&self) -> Option<String> {
        match self {
            Self::Quic(connection) => connection.server_name().map(str::to_owned),
            Self::WebSocket(_) => None,
        }
    }

    /// Who the client's certificate says that it is.
    pub(super) fn identity(&self) -> Option<ClientIdentity> {
        match self {
            Self::Quic(connection) => ClientIdentity::of(connection.client_certificate()?),
            Self::WebSocket(connection) => connection.identity.clone(),
        }
    }

    /// Bytes sent to the peer, and received from it. Of a WebSocket those of messages.
    pub(super) fn moved_bytes(&self) -> (u64, u64) {
        match self {
            Self::Quic(connection) => connection.moved_bytes(),
            Self::WebSocket(connection) => connection.moved_bytes,
        }
    }

    /// It speaks HTTP/3, in which a session may be asked for.
    pub(super) fn is_web(&self) -> bool {
        match self {
            Self::Quic(connection) => connection.is_web(),
            Self::WebSocket(_) => false,
        }
    }

    /// What surrounds the session's streams, where it does not have the connection to itself.
    pub(super) fn stream_heads(&self) -> StreamHeads {
        match self {
            Self::Quic(connection) => connection.stream_heads(),
            Self::WebSocket(_) => StreamHeads::default(),
        }
    }

    pub(super) fn is_server(&self) -> bool {
        match self {
            Self::Quic(connection) => connection.is_server(),
            Self::WebSocket(connection) => connection.qmux.is_server(),
        }
    }

    pub(super) fn is_established(&self) -> bool {
        match self {
            Self::Quic(connection) => connection.is_established(),
            Self::WebSocket(connection) => connection.qmux.is_established(),
        }
    }

    /// Either side has closed it.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Quic(connection) => connection.is_over(),
            Self::WebSocket(connection) => connection.qmux.is_over(),
        }
    }

    /// Nothing more is to be sent, not even that it is over.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Quic(connection) => connection.is_closed(),
            Self::WebSocket(connection) => connection.is_closed(),
        }
    }

    pub(super) fn peer_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Quic(connection) => connection.peer_address(),
            Self::WebSocket(connection) => Some(connection.remote),
        }
    }

    /// Whether the peer lets us open another unidirectional stream.
    pub(super) fn has_uni_credit(&self) -> bool {
        match self {
            Self::Quic(connection) => connection.has_uni_credit(),
            Self::WebSocket(connection) => connection.qmux.has_uni_credit(),
        }
    }

    /// Whether groups that came as datagrams are sent on as such. Over TCP nothing is gained by it, and
    /// moq-net 0.3.18 over QMux looks once, before our parameters have come, whether there may be any.
    pub(super) fn takes_datagrams(&self) -> bool {
        match self {
            Self::Quic(connection) => connection.datagram_bytes_max().is_some(),
            Self::WebSocket(_) => false,
        }
    }

    /// Of a WebSocket the round trip is that of its pings, and the rate is not known.
    pub(super) fn path(&self) -> Option<PathFigures> {
        match self {
            Self::Quic(connection) => connection.path(),
            Self::WebSocket(connection) => connection.link.rtt().map(|rtt| PathFigures {
                rtt,
                delivery_rate_bits_per_second: 0,
            }),
        }
    }

    pub(super) fn close_reason(&self) -> String {
        match self {
            Self::Quic(connection) => connection.close_reason(),
            Self::WebSocket(connection) => connection.qmux.close_reason().to_owned(),
        }
    }
}

impl Carry for Carrier<'_> {
    fn poll_readable(&mut self) -> Option<StreamId> {
        match self {
            Self::Quic(connection) => connection.poll_readable(),
            Self::WebSocket(connection) => connection.qmux.poll_readable(),
        }
    }

    fn read(&mut self, stream: StreamId, arena: &mut ReadArena) -> Read {
        match self {
            Self::Quic(connection) => connection.read(stream, arena),
            Self::WebSocket(connection) => match connection.qmux.read(stream) {
                Read::Data { bytes, fin } => Read::Data {
                    bytes: unpinned(bytes),
                    fin,
                },
                other => other,
            },
        }
    }

    fn poll_datagram(&mut self, arena: &mut ReadArena) -> Option<Bytes> {
        match self {
            Self::Quic(connection) => connection.poll_datagram(),
            Self::WebSocket(connection) => {
                let datagram = connection.qmux.poll_datagram()?;
                // Kept for as long as it waits to leave: all that wait share a block.
                let is_small = datagram.len() < COPIED_BYTES_MAX;
                Some(if is_small { arena.copy(&datagram) } else { datagram })
            }
        }
    }

    fn poll_writable(&mut self) -> Option<(StreamId, Option<ErrorCode>)> {
        match self {
            Self::Quic(connection) => connection.poll_writable(),
            Self::WebSocket(connection) => connection.qmux.poll_writable(),
        }
    }

    fn write(&mut self, stream: StreamId, bytes: Bytes, fin: bool) -> Written {
        match self {
            Self::Quic(connection) => connection.write(stream, bytes, fin),
            Self::WebSocket(connection) => connection.qmux.write(stream, bytes, fin),
        }
    }

    fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        match self {
            Self::Quic(connection) => connection.reset(stream, code),
            Self::WebSocket(connection) => connection.qmux.reset(stream, code),
        }
    }

    fn stop_sending(&mut self, stream: StreamId, code: ErrorCode) {
        match self {
            Self::Quic(connection) => connection.stop_sending(stream, code),
            Self::WebSocket(connection) => connection.qmux.stop_sending(stream, code),
        }
    }

    fn close(&mut self, code: ErrorCode, reason: &str) {
        match self {
            Self::Quic(connection) => connection.close(code, reason),
            Self::WebSocket(connection) => connection.qmux.close(code, reason),
        }
    }

    fn datagram_head(&self) -> &[u8] {
        match self {
            Self::Quic(connection) => connection.datagram_head(),
            Self::WebSocket(_) => &[],
        }
    }

    fn datagram_bytes_max(&self) -> Option<usize> {
        match self {
            Self::Quic(connection) => connection.datagram_bytes_max(),
            Self::WebSocket(connection) => connection.qmux.datagram_bytes_max(),
        }
    }

    fn send_datagram(&mut self, body: Bytes) -> bool {
        match self {
            Self::Quic(connection) => connection.send_datagram(body),
            Self::WebSocket(connection) => connection.qmux.send_datagram(body),
        }
    }
}

/// What came by WebSocket is a slice of the block that the socket was read into, and the cache counts
/// the slice. A small one is copied out, whatever else its block holds.
fn unpinned(bytes: Bytes) -> Bytes {
    if bytes.len() < COPIED_BYTES_MAX {
        Bytes::copy_from_slice(&bytes)
    } else {
        bytes
    }
}

/// Payloads below this are copied, so that a cached byte pins no more than four or, cut from several
/// reads, eight.
const COPIED_BYTES_MAX: usize = WEBSOCKET_READ_BYTES / 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_payload_pins_no_block_and_a_large_one_is_not_copied() {
        let block = Bytes::from(vec![7; WEBSOCKET_READ_BYTES]);
        let small = unpinned(block.slice(..COPIED_BYTES_MAX - 1));
        assert!(block.is_unique() && small[..] == block[..COPIED_BYTES_MAX - 1]);
        let large = unpinned(block.slice(..COPIED_BYTES_MAX));
        assert_eq!(large.as_ptr(), block.as_ptr());
    }
}
