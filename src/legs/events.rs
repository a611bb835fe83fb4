//! What legs tell whoever opened them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use tokio::sync::Notify;

use crate::codec::LegCodec;
use crate::command::LegName;
use crate::limits::{ENDS_WAITING_MAX, EVENTS_MAX};
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
    /// It, or its peer, is over: told once.
    pub fn is_end(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Closed { .. } | Self::Gone { .. } | Self::Silent { .. } => true,
            Self::Digit { .. } | Self::OtherCodec { .. } | Self::Counted { .. } => false,
        }
    }

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
    /// Ends that the queue had no room for: nobody is told of them a second time, so they wait.
    ends: RefCell<VecDeque<LegEvent>>,
    /// Ends for which there was no room even there.
    lost: Cell<u64>,
}

impl Outbox {
    pub(crate) fn new(queue: Arc<ArrayQueue<LegEvent>>, news: Arc<Notify>) -> Self {
        Self {
            queue,
            news,
            ends: RefCell::default(),
            lost: Cell::default(),
        }
    }

    pub(crate) fn tell(&self, event: LegEvent) {
        if event.is_end() {
            let mut ends = self.ends.borrow_mut();
            if ends.len() >= ENDS_WAITING_MAX {
                self.lost.set(self.lost.get().saturating_add(1));
                // Legs end as often as others like.
                if self.lost.get().is_power_of_two() {
                    tracing::error!(
                        lost = self.lost.get(),
                        "nobody asks for the ends of the legs of a shard"
                    );
                }
                return;
            }
            ends.push_back(event);
            drop(ends);
            self.tell_ends();
            return;
        }
        if self.queue.len() >= EVENTS_MAX / 2 || self.queue.push(event).is_err() {
            return tracing::debug!("nobody asks what happened on the legs of a shard");
        }
        self.news.notify_one();
    }

    /// Some ends wait for room.
    pub(crate) fn has_ends(&self) -> bool {
        !self.ends.borrow().is_empty()
    }

    /// Tells ends that wait, as far as there is room. False: some still wait.
    pub(crate) fn tell_ends(&self) -> bool {
        let mut ends = self.ends.borrow_mut();
        let before = ends.len();
        while let Some(end) = ends.pop_front() {
            if let Err(end) = self.queue.push(end) {
                ends.push_front(end);
                break;
            }
        }
        if ends.len() < before {
            self.news.notify_one();
        }
        ends.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_wait_for_room_and_are_told_in_order_whatever_else_is_dropped() {
        let queue = Arc::new(ArrayQueue::new(EVENTS_MAX));
        let outbox = Outbox::new(Arc::clone(&queue), Arc::new(Notify::new()));
        let digit = |number| LegEvent::Digit {
            leg: LegName(number),
            digit: '1',
            duration_ms: 100,
        };
        (0..EVENTS_MAX as u64).for_each(|number| outbox.tell(digit(number)));
        assert_eq!(queue.len(), EVENTS_MAX / 2);
        let ends = (EVENTS_MAX as u64 / 2) + 3;
        (0..ends).for_each(|number| outbox.tell(LegEvent::Gone { leg: LegName(number) }));
        assert_eq!(queue.len(), EVENTS_MAX);
        assert!(!outbox.tell_ends());
        let mut told = Vec::new();
        loop {
            while let Some(event) = queue.pop() {
                told.extend(event.is_end().then(|| event.leg().0));
            }
            if outbox.tell_ends() && queue.is_empty() {
                break;
            }
        }
        assert_eq!(told, (0..ends).collect::<Vec<_>>());
    }

    #[test]
    fn what_waits_has_a_bound() {
        let outbox = Outbox::new(Arc::new(ArrayQueue::new(1)), Arc::new(Notify::new()));
        (0..ENDS_WAITING_MAX as u64 + 10).for_each(|number| outbox.tell(LegEvent::Silent { leg: LegName(number) }));
        assert_eq!(outbox.ends.borrow().len(), ENDS_WAITING_MAX);
        // One is in the queue.
        assert_eq!(outbox.lost.get(), 9);
    }
}
