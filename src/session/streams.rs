//! What is kept of each stream, and how unfinished messages wait for their rest.

use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashMap;

use crate::wire::{BroadcastPath, DecodeError, GroupParser, HopId, SubscribeId};

/// A stream that the session follows.
#[derive(Debug)]
pub(super) enum Stream {
    /// The type has not arrived whole.
    Untyped(Inbox),
    /// The peer's SETUP.
    Setup(Inbox),
    /// A group whose GROUP message has not arrived whole.
    GroupHead(Inbox),
    Group(Group),
    /// A request of the peer that has not arrived whole.
    RequestHead(crate::wire::BidiType, Inbox),
    Request(Request),
    /// A request of ours.
    Announced(Box<Announced>),
    Subscription(SubscribeId, Inbox),
    Track(Inbox),
    Fetch(Box<GroupParser>),
    Probe(Inbox),
    /// Bytes still come that nobody wants.
    Discarded,
}

/// A request of the peer that was understood.
#[derive(Debug)]
pub(super) enum Request {
    Announce(Box<Told>),
    Subscribe(SubscribeId, Inbox),
    Fetch { peer_done: bool },
    Track { peer_done: bool },
    Probe(Inbox),
}

/// An incoming group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) token: u64,
    pub(super) parser: GroupParser,
}

/// An announce stream of the peer: what we told on it.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Announce id and last told hops of each suffix. The id counts ANNOUNCE_STARTs.
    pub(super) live: FxHashMap<BroadcastPath, ToldBroadcast>,
    pub(super) next_id: u64,
}

#[derive(Debug)]
pub(super) struct ToldBroadcast {
    pub(super) id: u64,
    pub(super) origin: Option<HopId>,
}

/// An announce stream of ours: what the peer told on it.
#[derive(Debug)]
pub(super) struct Announced {
    pub(super) prefix: BroadcastPath,
    pub(super) inbox: Inbox,
    /// Hop id of ANNOUNCE_OK, which ends every path told on the stream (05 and later).
    pub(super) hop: Option<HopId>,
    pub(super) by_id: FxHashMap<u64, BroadcastPath>,
    pub(super) ids: FxHashMap<BroadcastPath, u64>,
    pub(super) next_id: u64,
}

/// Bytes of messages that have not arrived whole. A message is at most
/// `MESSAGE_BYTES_MAX`, so this is too.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: BytesMut,
}

impl Inbox {
    pub(super) fn push(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next whole message, or `None` until more bytes come.
    pub(super) fn take<M>(
        &mut self,
        decode: impl FnOnce(&[u8]) -> Result<(M, usize), DecodeError>,
    ) -> Result<Option<M>, DecodeError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        match decode(&self.bytes) {
            Ok((message, used)) => {
                let _ = self.bytes.split_to(used);
                Ok(Some(message))
            }
            Err(DecodeError::Truncated) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Everything that waits.
    pub(super) fn take_all(&mut self) -> Bytes {
        self.bytes.split().freeze()
    }
}
