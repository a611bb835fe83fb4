//! What the legs of a shard are told.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use moqswitch_proto::wire::BroadcastPath;
use moqswitch_webrtc::Session;
use tokio::sync::oneshot;

use crate::codec::LegCodec;
use crate::settings::LegSettings;
use crate::statistics::LegStatistics;
use crate::tone::Tones;

/// A leg, among those of its shard. No two have the same, one after the other neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegName(pub u64);

/// Where the peer of a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegPeer {
    /// As signalling says.
    pub address: SocketAddr,
    /// Its packets may come from another host, see [`moqswitch_media::Latch`].
    pub is_translated: bool,
}

/// What a leg hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegHears {
    /// Who.
    pub broadcast: BroadcastPath,
    /// Its track `audio.<codec>`. `None`: `audio`.
    pub transcoded: Option<LegCodec>,
}

impl From<BroadcastPath> for LegHears {
    fn from(broadcast: BroadcastPath) -> Self {
        Self {
            broadcast,
            transcoded: None,
        }
    }
}

pub(crate) enum Command {
    Open {
        leg: LegName,
        rtp: UdpSocket,
        rtcp: Option<UdpSocket>,
        settings: Box<LegSettings>,
    },
    /// All legs of WebRTC share this.
    ServeWebrtc(UdpSocket),
    OpenWebrtc {
        leg: LegName,
        session: Box<Session>,
        settings: Box<LegSettings>,
    },
    /// What is not given stays as it is.
    Agree {
        leg: LegName,
        settings: Option<Box<LegSettings>>,
        peer: Option<LegPeer>,
    },
    Hear(LegName, Option<LegHears>),
    /// From one tone to the next.
    Announce(LegName, Option<(Duration, Arc<Tones>)>),
    Press {
        leg: LegName,
        digit: char,
        duration_ms: u32,
    },
    /// Without a way back it is an event.
    Count(LegName, Option<oneshot::Sender<LegStatistics>>),
    Close(LegName, Option<oneshot::Sender<LegStatistics>>),
}
