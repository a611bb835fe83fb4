//! The WebSocket connections of one shard: state machines, and what they exchange with the
//! control thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use moqswitch_proto::qmux;
use moqswitch_proto::wire::session_error;
use rustc_hash::FxHashMap;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};

use crate::auth::ClientIdentity;
use crate::limits::{LINK_MESSAGES_MAX, SETUP_WAIT_MAX};
use crate::routing::PeerKey;

use super::link::{Attachment, Doorbell, Link};
use super::statistics::WebSocketStatistics;

/// A session's carrier when it came by WebSocket.
pub(super) struct WebSocketConnection {
    pub(super) qmux: qmux::Connection,
    pub(super) link: Link,
    pub(super) path: String,
    pub(super) bearer: Option<String>,
    pub(super) identity: Option<ClientIdentity>,
    /// Bytes of messages sent and received.
    pub(super) moved_bytes: (u64, u64),
    pub(super) remote: std::net::SocketAddr,
    is_ready: bool,
    is_dirty: bool,
    /// By when the peer must have said what it allows; set at the first look.
    deadline: Option<Instant>,
}

/// All of them. `is_ready` and `is_dirty` say whether one is in the queue of that name.
pub(super) struct WebSocketConnections {
    options: qmux::Options,
    doorbell: Arc<Doorbell>,
    connections: FxHashMap<PeerKey, WebSocketConnection>,
    ready: VecDeque<PeerKey>,
    dirty: VecDeque<PeerKey>,
    statistics: WebSocketStatistics,
}

impl WebSocketConnections {
    /// Who has the sockets sees it before one more is handed over.
    pub(super) fn set_overloaded(&self, is_overloaded: bool) {
        self.doorbell.set_overloaded(is_overloaded);
    }

    /// While there is too much to do: a few of those who come from elsewhere than this prefix.
    pub(super) fn share_places(&self, heaviest: Option<u64>) {
        self.doorbell.share_places(heaviest);
    }

    pub(super) fn new(options: qmux::Options, doorbell: Arc<Doorbell>) -> Self {
        Self {
            options,
            doorbell,
            connections: FxHashMap::default(),
            ready: VecDeque::new(),
            dirty: VecDeque::new(),
            statistics: WebSocketStatistics::default(),
        }
    }

    /// Of connections that begin from now on.
    pub(super) fn set_options(&mut self, options: qmux::Options) {
        self.options = options;
    }

    pub(super) fn attach(&mut self, attachment: Attachment) {
        let Attachment {
            link,
            subprotocol,
            path,
            bearer,
            identity,
            remote,
        } = attachment;
        let key = link.key;
        let connection = WebSocketConnection {
            qmux: qmux::Connection::new(qmux::Side::Server, subprotocol, self.options.clone()),
            link,
            path,
            bearer,
            identity,
            moved_bytes: (0, 0),
            remote,
            is_ready: false,
            is_dirty: false,
            deadline: None,
        };
        self.connections.insert(key, connection);
        self.statistics.opened += 1;
        self.mark_ready(key);
        self.mark_dirty(key);
    }

    pub(super) fn get_mut(&mut self, key: PeerKey) -> Option<&mut WebSocketConnection> {
        self.connections.get_mut(&key)
    }

    /// Takes in what has rung; returns how many.
    pub(super) fn handle_rings(&mut self) -> usize {
        let mut rung = 0;
        while let Some(key) = self.doorbell.poll() {
            rung += 1;
            self.mark_ready(key);
            self.mark_dirty(key);
        }
        if self.doorbell.take_overrun() {
            for key in self.keys() {
                rung += 1;
                self.mark_ready(key);
                self.mark_dirty(key);
            }
        }
        rung
    }

    /// Takes messages of the peer in, up to a budget, and no more than its session gets read.
    pub(super) fn receive(&mut self, key: PeerKey) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        connection.link.reset_bell();
        for _ in 0..MESSAGES_PER_SERVICE_MAX {
            if connection.qmux.has_backlog() {
                break;
            }
            match connection.link.incoming.try_recv() {
                Ok(message) => {
                    self.statistics.messages_in += 1;
                    self.statistics.bytes_in += message.len() as u64;
                    connection.moved_bytes.1 += message.len() as u64;
                    connection.qmux.handle_message(message);
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => return connection.qmux.handle_lost("the WebSocket is gone"),
            }
        }
        self.mark_ready(key);
    }

    /// Closes those whose peer has sent no transport parameters in time.
    pub(super) fn close_silent(&mut self, now: Instant) {
        for key in self.keys() {
            let Some(connection) = self.connections.get_mut(&key) else {
                continue;
            };
            let deadline = *connection.deadline.get_or_insert(now + SETUP_WAIT_MAX);
            if now >= deadline && !connection.qmux.is_established() {
                connection
                    .qmux
                    .close(session_error::CONTROL_TIMEOUT, "no parameters in time");
                self.mark_dirty(key);
            }
        }
    }

    /// Hands over what has room in the queue to the control thread.
    pub(super) fn flush(&mut self) {
        for _ in 0..self.dirty.len() {
            let Some(key) = self.dirty.pop_front() else { return };
            self.flush_one(key);
        }
    }

    fn flush_one(&mut self, key: PeerKey) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        connection.is_dirty = false;
        while connection.qmux.has_transmit() {
            match connection.link.reserve() {
                Ok(permit) => {
                    let Some(message) = connection.qmux.poll_transmit() else {
                        break;
                    };
                    self.statistics.messages_out += 1;
                    self.statistics.bytes_out += message.len() as u64;
                    connection.moved_bytes.0 += message.len() as u64;
                    permit.send(message);
                }
                Err(TrySendError::Full(())) => {
                    // Who does not read is not waited for with a last word.
                    if connection.qmux.is_over() {
                        connection.qmux.handle_unheard();
                    }
                    break;
                }
                Err(TrySendError::Closed(())) => {
                    connection.qmux.handle_lost("the WebSocket is gone");
                    break;
                }
            }
        }
        // What was held back for want of room may go on, and one that is over may be removed.
        if connection.qmux.poll_room() || connection.qmux.is_over() {
            self.mark_ready(key);
        }
    }

    /// How many [`Self::poll_ready`] may give at present.
    pub(super) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn poll_ready(&mut self) -> Option<PeerKey> {
        while let Some(key) = self.ready.pop_front() {
            if let Some(connection) = self.connections.get_mut(&key) {
                connection.is_ready = false;
                return Some(key);
            }
        }
        None
    }

    pub(super) fn mark_ready(&mut self, key: PeerKey) {
        if let Some(connection) = self.connections.get_mut(&key)
            && !connection.is_ready
        {
            connection.is_ready = true;
            self.ready.push_back(key);
        }
    }

    pub(super) fn mark_dirty(&mut self, key: PeerKey) {
        if let Some(connection) = self.connections.get_mut(&key)
            && !connection.is_dirty
        {
            connection.is_dirty = true;
            self.dirty.push_back(key);
        }
    }

    /// Whether a turn would find something to do.
    pub(super) fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.dirty.is_empty() || !self.doorbell.is_silent()
    }

    pub(super) fn remove(&mut self, key: PeerKey) -> Option<WebSocketConnection> {
        self.connections.remove(&key)
    }

    pub(super) fn keys(&self) -> Vec<PeerKey> {
        self.connections.keys().copied().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    pub(super) fn statistics(&self) -> WebSocketStatistics {
        let held: usize = self
            .connections
            .values()
            .map(|connection| connection.qmux.held_bytes())
            .sum();
        WebSocketStatistics {
            open_now: self.connections.len() as u64,
            held_bytes_now: held as u64,
            ..self.statistics.clone()
        }
    }
}

impl WebSocketConnection {
    /// Nothing is left to tell the peer, or nobody to tell it.
    pub(super) fn is_closed(&self) -> bool {
        self.qmux.is_over() && (!self.qmux.has_transmit() || self.link.outgoing.is_closed())
    }
}

/// Messages of one connection in one turn; its others wait for the next.
const MESSAGES_PER_SERVICE_MAX: usize = LINK_MESSAGES_MAX;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use moqswitch_proto::qmux::limits::{RECORD_BYTES_MAX, UNREAD_CHUNKS_MAX};
    use moqswitch_proto::qmux::{Connection, Options, Read, Side, Subprotocol};
    use moqswitch_proto::wire::StreamId;

    use crate::shard::link;

    use super::*;

    #[test]
    fn messages_of_tiny_frames_stay_in_the_queue_until_what_came_is_read() {
        let doorbell = Doorbell::new(Arc::new(|| {}));
        let (link, mut port) = link(&doorbell);
        let (key, subprotocol) = (link.key, Subprotocol::all().next().unwrap());
        let mut websockets = WebSocketConnections::new(options(), doorbell);
        websockets.attach(Attachment {
            link,
            subprotocol,
            path: String::new(),
            bearer: None,
            identity: None,
            remote: "127.0.0.1:1".parse().unwrap(),
        });
        let mut client = Connection::new(Side::Client, subprotocol, options());
        let (incoming, _, _) = port.parts();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let send = |message| runtime.block_on(incoming.send(message)).unwrap();
        send(client.poll_transmit().unwrap());
        // STREAM with its length, stream 2, one byte.
        let tiny = Bytes::from([0x0a, 2, 1, 7].repeat(RECORD_BYTES_MAX / 4));
        (1..LINK_MESSAGES_MAX).for_each(|_| send(tiny.clone()));
        websockets.receive(key);
        let connection = websockets.get_mut(key).unwrap();
        assert!(connection.qmux.has_backlog());
        assert_eq!(
            connection.link.incoming.len(),
            LINK_MESSAGES_MAX - 2,
            "one message is too much"
        );
        assert_eq!(websockets.poll_ready(), Some(key), "the rest is not forgotten");
        let connection = websockets.get_mut(key).unwrap();
        for _ in 0..RECORD_BYTES_MAX / 4 - UNREAD_CHUNKS_MAX + 1 {
            assert!(connection.qmux.has_backlog());
            assert!(matches!(connection.qmux.read(StreamId(2)), Read::Data { .. }));
        }
        websockets.receive(key);
        assert_eq!(
            websockets.get_mut(key).unwrap().link.incoming.len(),
            LINK_MESSAGES_MAX - 3
        );
    }

    fn options() -> Options {
        Options {
            connection_window_bytes: 1 << 20,
            stream_window_bytes: 1 << 20,
            bidi_streams_max: 8,
            uni_streams_max: 8,
            datagram_queue_max: 4,
            idle_timeout_ms: 30_000,
        }
    }
}
