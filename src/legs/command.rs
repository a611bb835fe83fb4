//! What the legs of a shard are told.

use std::net::{SocketAddr, UdpSocket};

use moqswitch_proto::wire::BroadcastPath;
use tokio::sync::oneshot;

use crate::leg::{LegSettings, LegStatistics};

/// A leg, among those of its shard. No two have the same, one after the other neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegName(pub u64);

pub(crate) enum Command {
    Open(LegName, UdpSocket, Box<LegSettings>),
    Meet {
        leg: LegName,
        peer: SocketAddr,
        is_translated: bool,
    },
    Hear(LegName, Option<BroadcastPath>),
    Change(LegName, Box<LegSettings>),
    Press {
        leg: LegName,
        digit: char,
        duration_ms: u32,
    },
    Count(LegName, oneshot::Sender<LegStatistics>),
    Close(LegName, Option<oneshot::Sender<LegStatistics>>),
}
