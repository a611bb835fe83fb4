//! Calls and devices as others see them: for resumption, for REST, for those who watch.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::codec::Codec;
use crate::event::{DeviceKind, SuperviseMode};
use crate::ids::{CallId, LegId, Number, SessionId, Text};
use crate::media::LastQuality;
use crate::presence::{AgentState, Status};
use crate::state::LegState;

/// Who is at one end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// The number.
    pub number: Number,
    /// The name for people.
    pub name: Text,
    /// Which of the number's devices. Empty: none in particular.
    pub device: Text,
}

/// The part of a leg in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LegRole {
    /// Called somebody.
    Caller,
    /// Was called.
    Callee,
    /// Came in by a transfer or an addition.
    Member,
    /// Supervises.
    Supervisor(SuperviseMode),
}

impl LegRole {
    /// As messages have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::Member => "member",
            Self::Supervisor(SuperviseMode::Listen) => "listen",
            Self::Supervisor(SuperviseMode::Whisper(_)) => "whisper",
            Self::Supervisor(SuperviseMode::Barge) => "barge",
        }
    }
}

/// Somebody in a call, as one of the others sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// The leg. Its path is the broadcast.
    pub leg: LegId,
    /// Who.
    pub party: Party,
    /// Their part.
    pub role: LegRole,
    /// What they send on the track `audio`. None: nothing to subscribe to.
    pub sends: Option<Codec>,
    /// For the one who is told: subscribe to `audio.<codec>` instead, as what is sent is not taken.
    pub heard_as: Option<Codec>,
    /// May the one who is told subscribe to it?
    pub audible: bool,
    /// On hold by them.
    pub holds: bool,
    /// Muted by them.
    pub muted: bool,
    /// Is it the one who is told?
    pub own: bool,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CallState {
    /// It is being decided where it goes.
    Routing,
    /// Nobody has answered yet.
    Alerting,
    /// The caller waits in a queue.
    Queued,
    /// Two or more are up.
    Up,
    /// They are up, and one of them holds.
    Held,
    /// Over.
    Ended,
}

impl CallState {
    /// As messages have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Routing => "routing",
            Self::Alerting => "alerting",
            Self::Queued => "queued",
            Self::Up => "up",
            Self::Held => "held",
            Self::Ended => "ended",
        }
    }

    /// As a SIP server would say: is the dialog confirmed?
    pub const fn is_confirmed(self) -> bool {
        match self {
            Self::Routing | Self::Alerting | Self::Queued => false,
            Self::Up | Self::Held | Self::Ended => true,
        }
    }
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallView {
    /// Which.
    pub call: CallId,
    /// How far.
    pub state: CallState,
    /// Who called.
    pub from: Party,
    /// What was dialled.
    pub dialled: Number,
    /// When it began, in milliseconds since 1970.
    pub start_ms: u64,
    /// When it rang.
    pub ring_ms: Option<u64>,
    /// When it was answered.
    pub answer_ms: Option<u64>,
    /// Who answered first.
    pub answered_by: Option<Party>,
    /// How long it is up.
    pub duration: Duration,
    /// The queue that it waits in, or came from.
    pub queue: Option<Text>,
    /// Is it recorded?
    pub recorded: bool,
    /// Is nothing of it written at present, though it is recorded?
    pub recording_paused: bool,
    /// Why it ended.
    pub cause: Option<Cause>,
    /// Every leg that is not over.
    pub legs: Vec<LegView>,
}

/// A leg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegView {
    /// Which.
    pub leg: LegId,
    /// The call that it is in.
    pub call: CallId,
    /// Whose device.
    pub session: SessionId,
    /// Who.
    pub party: Party,
    /// Its part.
    pub role: LegRole,
    /// Where it is.
    pub state: LegState,
    /// The caller's own name for the call.
    pub alias: Option<Text>,
    /// Holds?
    pub holds: bool,
    /// Muted?
    pub muted: bool,
    /// Is it of a dialog that a control program decides on? The dialog is [`LegId::call`].
    pub is_controlled: bool,
    /// What it sends.
    pub sends: Option<Codec>,
    /// What it said last of what it hears.
    pub quality: Option<LastQuality>,
    /// When it began, rang, was answered and ended, in milliseconds since 1970.
    pub start_ms: u64,
    /// When it rang.
    pub ring_ms: Option<u64>,
    /// When it was answered.
    pub answer_ms: Option<u64>,
    /// When it ended.
    pub end_ms: Option<u64>,
    /// Why it ended.
    pub cause: Option<Cause>,
}

/// A registered device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// Its session.
    pub session: SessionId,
    /// Its number.
    pub number: Number,
    /// Its name.
    pub device: Text,
    /// The name for people.
    pub display_name: Text,
    /// What it is.
    pub kind: DeviceKind,
    /// Where it is.
    pub contact: Text,
    /// What its program calls itself.
    pub agent: Text,
    /// Is its socket lost?
    pub is_lost: bool,
    /// May it be rung? A trunk that is down may not.
    pub is_ringable: bool,
    /// Since when it is registered, in milliseconds since 1970.
    pub registered_ms: u64,
    /// For how long yet.
    pub expires: Duration,
    /// Its legs.
    pub legs: Vec<LegId>,
}

/// A number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberView {
    /// Which.
    pub number: Number,
    /// How it is.
    pub status: Status,
    /// How its agent is.
    pub agent: AgentState,
    /// Its calls.
    pub calls: usize,
    /// Its devices.
    pub devices: Vec<DeviceView>,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueView {
    /// Its name.
    pub name: Text,
    /// Who waits, the longest first.
    pub waiting: Vec<CallId>,
    /// Its agents, with how each is.
    pub agents: Vec<(Number, Status, AgentState)>,
}
