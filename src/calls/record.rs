//! Call records: one for each leg and one for each call, written once when it is over.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::codec::Codec;
use crate::ids::{CallId, LegId, Number, Text};
use crate::media::{Counters, QualitySummary};
use crate::view::{LegRole, Party};

/// Who ended a leg or a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndedBy {
    /// The participant with this leg.
    Leg(LegId),
    /// A supervisor.
    Supervisor,
    /// A program.
    Api,
    /// The switch: a time-out, a limit, another device that was first.
    System,
}

/// When what happened, by the wall clock in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// It began.
    pub start_ms: u64,
    /// It rang.
    pub ring_ms: Option<u64>,
    /// It was answered.
    pub answer_ms: Option<u64>,
    /// It ended.
    pub end_ms: u64,
    /// From the answer to the end, by the monotonic clock.
    pub duration: Duration,
    /// From the beginning to the answer, by the monotonic clock.
    pub setup: Option<Duration>,
}

/// The record of a leg.
#[derive(Clone, Debug, PartialEq)]
pub struct LegRecord {
    /// The leg. `leg.call` is the call in which it began.
    pub leg: LegId,
    /// The call in which it ended.
    pub call: CallId,
    /// Whose.
    pub party: Party,
    /// Its part.
    pub role: LegRole,
    /// When.
    pub times: Times,
    /// Why it ended.
    pub cause: Cause,
    /// Who ended it.
    pub by: EndedBy,
    /// What it sent last.
    pub codec: Option<Codec>,
    /// What the relay counted. None: it was not told in time, or nothing was ever up.
    pub counters: Option<Counters>,
    /// What the device said of what it heard.
    pub quality: QualitySummary,
}

/// The record of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRecord {
    /// Which.
    pub call: CallId,
    /// Who called.
    pub from: Party,
    /// What was dialled.
    pub dialled: Number,
    /// Who answered first.
    pub answered_by: Option<Party>,
    /// When.
    pub times: Times,
    /// Why it ended.
    pub cause: Cause,
    /// Who ended it.
    pub by: EndedBy,
    /// The rule of the dialplan that decided last.
    pub rule: Option<Text>,
    /// The queue that it waited in last.
    pub queue: Option<Text>,
    /// Forwards and transfers, in order.
    pub transfers: Vec<Transferred>,
    /// Transfers that are not in it.
    pub transfers_left_out: u32,
    /// Was any of it recorded?
    pub recorded: bool,
    /// The records of its legs, in the order in which they ended.
    pub legs: Vec<LegRecord>,
    /// Legs that are not in it. Each has a record of its own.
    pub legs_left_out: u32,
}

/// Where a call was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// By whom. None: by the dialplan.
    pub by: Option<Number>,
    /// Where.
    pub to: TransferredTo,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Where a call was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferredTo {
    /// To a number or another target of the dialplan.
    Target(Text),
    /// Its legs came into this call.
    Into(CallId),
    /// The legs of this call came into it.
    From(CallId),
}
