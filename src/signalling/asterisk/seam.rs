//! The seam to channels of Asterisk: connections that carry one call each, on a thread of their own. Each publishes one
//! broadcast and hears at most one.

use std::sync::Arc;

use moqswitch_calls::{Cause, Codec, Codecs, Number, Text};
use tokio::sync::Notify;

use crate::figures::AsteriskFigures;
use crate::gateway::RtpMix;

/// Channels. It is called on the calls thread: nothing here may block, and each order is for a bounded queue.
pub trait AsteriskChannels: Send {
    /// Tells a channel. To one that is over it is nothing.
    ///
    /// # Errors
    /// [`ChannelsBusy`]: it has not happened at all.
    fn tell(&mut self, channel: ChannelId, order: ChannelOrder) -> Result<(), ChannelsBusy>;

    /// What happened, in order.
    fn poll(&mut self) -> Option<(ChannelId, ChannelEvent)>;

    /// Notified when [`Self::poll`] may have something.
    fn news(&self) -> Arc<Notify>;

    /// What was counted so far.
    fn figures(&self) -> AsteriskFigures;
}

/// A channel, for as long as the process lives. Those that connect have names below [`ChannelId::CALLED`], those that are
/// called above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u64);

impl ChannelId {
    /// The first name of a channel that is called.
    pub const CALLED: u64 = 1 << 63;
}

/// What happened on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelEvent {
    /// It has connected, and calls a number.
    Arrived(Box<ChannelArrived>),
    /// One that is called is on its way.
    Ringing,
    /// One that is called is there.
    Answered {
        /// What it could speak and hear.
        codecs: Codecs,
    },
    /// A key was pressed on it.
    Digit(char),
    /// It is over. Nothing more is told of it.
    Ended(Cause),
}

/// A channel that has connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelArrived {
    /// The number that it calls.
    pub to: Number,
    /// Who calls, if that is said.
    pub from: Option<Number>,
    /// The name of who calls, for people.
    pub name: Text,
    /// What it could speak and hear.
    pub codecs: Codecs,
}

/// What a channel is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelOrder {
    /// To be there: the way by which, and what is said of the call.
    Call(Box<ChannelCall>),
    /// To publish what it says.
    Open {
        /// The broadcast.
        path: String,
        /// What it speaks.
        codec: Codec,
    },
    /// Its call was answered.
    Answer,
    /// To speak another codec.
    Speak(Codec),
    /// To hear a broadcast, or nothing.
    Hear(Option<ChannelHears>),
    /// To hear several at once.
    HearAll(RtpMix),
    /// A key was pressed by somebody else.
    Press {
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        digit: char,
        /// How long.
        duration_ms: u32,
    },
    /// To end. [`ChannelEvent::Ended`] comes only if it has ended before by itself.
    HangUp,
}

/// A call that goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelCall {
    /// By which way: [`AsteriskWay::number`].
    pub way: Number,
    /// The number that is called.
    pub to: Number,
    /// Who calls.
    pub from: Number,
    /// The name of who calls.
    pub name: Text,
}

/// Whom a channel hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelHears {
    /// The broadcast.
    pub path: String,
    /// What is heard there.
    pub codec: Codec,
    /// It is the track `audio.<codec>`, whatever is said.
    pub is_transcoded: bool,
}

/// There is no room for an order now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the channels have too much to do")]
pub struct ChannelsBusy;

/// Asterisk of a switch.
pub struct AsteriskSettings {
    /// The number by which channels that connect are known. They are devices of it, as a trunk's calls are.
    pub number: Number,
    /// Ways by which numbers are called. That of `number` may be among them.
    pub ways: Vec<AsteriskWay>,
    /// The channels.
    pub channels: Box<dyn AsteriskChannels>,
}

/// A way by which numbers are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsteriskWay {
    /// `trunk/<number>` in the dialplan.
    pub number: Number,
    /// Where it is, for people.
    pub contact: Text,
    /// What its channels could speak and hear.
    pub codecs: Codecs,
}

impl std::fmt::Debug for AsteriskSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AsteriskSettings")
            .field("number", &self.number)
            .field("ways", &self.ways)
            .finish_non_exhaustive()
    }
}
