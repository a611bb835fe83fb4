//! What legs of frames are told, and what they hand out.

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use moqswitch_proto::wire::BroadcastPath;
use tokio::sync::oneshot;

use crate::codec::LegCodec;
use crate::command::{LegHears, LegName};
use crate::events::LegRefused;

/// How a leg of frames is.
#[derive(Clone, Debug)]
pub struct FrameLegSettings {
    /// What it publishes.
    pub broadcast: BroadcastPath,
    /// What it speaks.
    pub codec: LegCodec,
}

/// A frame of whom a leg hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardFrame {
    /// As [`FrameLegsPort::hear`](crate::FrameLegsPort::hear) was told: what is of another speaker has another one.
    pub turn: u32,
    /// Its number. Gaps are loss, or silence.
    pub group: u64,
    /// As it was said.
    pub payload: Bytes,
}

/// Where frames that a leg hears go.
pub(super) type Heard = Arc<ArrayQueue<HeardFrame>>;

pub(super) enum Command {
    Open {
        leg: LegName,
        settings: Box<FrameLegSettings>,
        heard: Heard,
        refused: oneshot::Sender<LegRefused>,
    },
    Speak(LegName, LegCodec),
    Hear(LegName, u32, Option<LegHears>),
    Press {
        leg: LegName,
        digit: char,
        duration_ms: u32,
    },
    Close(LegName),
}

/// Something that a peer says.
pub(super) struct Spoken {
    pub(super) leg: LegName,
    pub(super) payload: Bytes,
}
