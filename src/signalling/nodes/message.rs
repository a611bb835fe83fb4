//! What machines tell each other, as JSON. Who speaks another form, or says what cannot be read, is not understood and
//! counted: then versions are mixed that do not go together.

use moqswitch_calls::{
    Actor, AgentState, CallEvent, CallId, CallView, Cause, Codecs, Counters, Grants, LegId, Notice, Number, Quality,
    Refusal, SessionId, SuperviseEvent, Text,
};
use serde::{Deserialize, Serialize};

use super::link::NodeName;

/// The form of everything below. A change that others cannot read has another.
pub(crate) const FORM: u16 = 1;

/// One message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) form: u16,
    pub(crate) from: NodeName,
    /// Drawn at each start: a machine that was started again is another.
    pub(crate) run: u64,
    /// Of messages to one machine: their number, from 1. Of those to all: 0.
    pub(crate) number: u64,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Body {
    /// To all: a sign of life, with how often the table has changed.
    Beat { version: u64 },
    /// To all: the table was changed for the `version`th time.
    Changes { version: u64, changes: Vec<Change> },
    /// To all: this machine stops.
    Bye,
    /// To one: what is in your table?
    AskTable,
    /// To one: that is in it, part by part.
    Table {
        version: u64,
        part: u32,
        is_last: bool,
        changes: Vec<Change>,
    },
    /// To one, whose call it is: a device or a program here wants something.
    Request { request: u64, asked: Asked },
    /// To one, whose call it is: facts about media.
    Facts(Vec<Fact>),
    /// To one: what its devices are told by a call here, in order. `answers` is its request that it came of.
    Told { answers: Option<u64>, orders: Vec<Order> },
    /// To one: messages were lost. Which legs do my devices have in your calls?
    AskLegs,
    /// To one: these, each with whether it is up. There are no others.
    Legs {
        legs: Vec<(SessionId, LegId, bool)>,
        part: u32,
        is_last: bool,
    },
}

/// Something in the table that every machine has of every other: its devices, and its calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Change {
    Device(Box<SharedDevice>),
    /// Its socket is lost, and may come back.
    Lost(SessionId),
    Back(SessionId),
    Gone(SessionId),
    /// How the agent of its number is.
    Agent(SessionId, AgentState),
    Call(Box<CallView>),
    Over(CallId, Cause),
}

/// A device as other machines know it. Its session is not the one that it comes back by, which is a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SharedDevice {
    pub(crate) session: SessionId,
    pub(crate) number: Number,
    pub(crate) device: Text,
    pub(crate) display_name: Text,
    pub(crate) ringable: bool,
    pub(crate) meets: bool,
    pub(crate) supervisor: bool,
    pub(crate) codecs: Codecs,
    pub(crate) contact: Text,
    pub(crate) agent: Text,
    /// When it registered first, in milliseconds since 1970: of two of one name the later one has it.
    pub(crate) since_ms: u64,
    /// It knows nothing of its calls.
    pub(crate) begins_anew: bool,
}

/// A request. Sessions are as others know them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Asked {
    Call { actor: Actor, event: Box<CallEvent> },
    Supervise { actor: Actor, event: SuperviseEvent },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Fact {
    Flowing(LegId),
    Quality(LegId, Quality),
    Counters(LegId, Counters),
}

/// What is to be done at a device's machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Notify {
        session: SessionId,
        notice: Box<Notice>,
        /// What the others of the leg's call take, and what the leg may speak beside that.
        beside: Option<(Codecs, Codecs)>,
    },
    /// What the calls here let it do at its relay.
    Grants(SessionId, Grants),
    Count(LegId),
    Reply(Answer),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Calling { call: CallId, leg: Option<LegId> },
    Done,
    Refused(Refusal),
}
