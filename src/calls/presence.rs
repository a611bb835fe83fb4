//! How a number is, for those who watch it, and how its agent is.

use serde::{Deserialize, Serialize};

/// How a number is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    /// No device is registered that could be rung: none at all, or a trunk that is down.
    #[default]
    Offline,
    /// It could be called.
    Available,
    /// A phone rings.
    Ringing,
    /// It is in a call.
    Busy,
    /// Its agent is away, or writes up the last call.
    Away,
}

/// How the agent of a number is. Queues ring who is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AgentState {
    /// Takes calls of queues.
    #[default]
    Ready,
    /// Takes none.
    Away,
    /// Takes none for a while after a call of a queue.
    WrapUp,
}

impl Status {
    /// As messages have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Available => "available",
            Self::Ringing => "ringing",
            Self::Busy => "busy",
            Self::Away => "away",
        }
    }
}

impl AgentState {
    /// As messages have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Away => "away",
            Self::WrapUp => "wrap-up",
        }
    }
}
