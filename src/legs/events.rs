//! What legs tell whoever opened them.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use tokio::sync::Notify;

use crate::codec::LegCodec;
use crate::command::LegName;
use crate::limits::EVENTS_MAX;
use crate::statistics::LegStatistics;

/// What happened on a leg.
#[derive(Clone, Debug)]
pub enum LegEvent {
    /// It was not opened. Nothing more is told of it.
    Refused {
        /// Which.
        leg: LegName,
        /// Why.
        reason: LegRefused,
    },
    /// The peer has pressed a digit, which is over.
    Digit {
        /// On which leg.
        leg: LegName,
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        digit: char,
        /// How long.
        duration_ms: u32,
    },
    /// The peer ought to speak, and nothing has come of it for as long as the settings say. Told once, until it speaks.
    Silent {
        /// On which leg.
        leg: LegName,
    },
    /// The peer speaks another codec than was agreed on, of those that are taken. What it says is dropped. Told once for
    /// each codec.
    OtherCodec {
        /// On which leg.
        leg: LegName,
        /// Which.
        codec: LegCodec,
    },
    /// The peer of a leg that is carried by WebRTC has ended it, is gone, or never came. Told once.
    Gone {
        /// Of which leg.
        leg: LegName,
    },
    /// As was asked.
    Counted {
        /// Of which leg.
        leg: LegName,
        /// So far.
        statistics: Box<LegStatistics>,
    },
    /// It was closed, as was wanted. Nothing more is told of it.
    Closed {
        /// Which.
        leg: LegName,
        /// What was counted.
        statistics: Box<LegStatistics>,
    },
}

/// Why a leg was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LegRefused {
    /// The shard has as many legs, peers or sockets as it may.
    #[error("the shard has as many legs as it may")]
    Full,
    /// The relay knows as many broadcasts as it may.
    #[error("its broadcast cannot be announced")]
    NotAnnounced,
    /// The shard serves no WebRTC.
    #[error("the shard has no socket for WebRTC")]
    NoWebrtc,
    /// The system does not let the shard use its socket.
    #[error("its socket cannot be used")]
    Socket,
}

impl LegEvent {
    /// On which leg it happened.
    pub fn leg(&self) -> LegName {
        match self {
            Self::Refused { leg, .. }
            | Self::Digit { leg, .. }
            | Self::Silent { leg }
            | Self::Gone { leg }
            | Self::OtherCodec { leg, .. }
            | Self::Counted { leg, .. }
            | Self::Closed { leg, .. } => *leg,
        }
    }
}

/// The way to whoever asks.
pub(crate) struct Outbox {
    queue: Arc<ArrayQueue<LegEvent>>,
    news: Arc<Notify>,
}

impl Outbox {
    pub(crate) fn new(queue: Arc<ArrayQueue<LegEvent>>, news: Arc<Notify>) -> Self {
        Self { queue, news }
    }

    pub(crate) fn tell(&self, event: LegEvent) {
        let is_answer = matches!(event, LegEvent::Refused { .. } | LegEvent::Closed { .. });
        let has_room = is_answer || self.queue.len() < EVENTS_MAX / 2;
        if !has_room || self.queue.push(event).is_err() {
            return tracing::debug!("nobody asks what happened on the legs of a shard");
        }
        self.news.notify_one();
    }
}
