//! One side of a call.

use std::time::{Duration, Instant};

use crate::digest;
use crate::message::Message;
use crate::transaction::{ClientId, ServerId};

use super::dialog::Dialog;

/// Everything that is known of it.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) dialog: Dialog,
    pub(super) state: State,
    /// What our Contact names: the number that the peer knows us by.
    pub(super) user: String,
    /// Bodies of ours: what a refresh repeats.
    pub(super) description: String,
    pub(super) offer: Offer,
    pub(super) session: Session,
    /// Methods that the peer takes.
    pub(super) takes_update: bool,
    pub(super) supports_timer: bool,
    /// A REFER of the peer that is told of: its number.
    pub(super) transfer: Option<u32>,
    pub(super) credentials: Option<Credentials>,
    /// What is to be offered again after a glare, and when.
    pub(super) glare: Option<(Instant, String)>,
    /// Our INVITE began it.
    pub(super) is_caller: bool,
    /// A provisional answer of ours whose PRACK did not come: its number, and the INVITE's. It may come after the answer, too.
    pub(super) unacknowledged: Option<(u32, u32)>,
    /// The peer has asked for a longer interval of the session, and got it. It is not asked for twice.
    pub(super) is_interval_raised: bool,
}

/// By which we are known to the peer, where it asks.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) account: u64,
    pub(super) attempt: digest::Attempt,
}

impl Credentials {
    pub(super) fn of(account: u64) -> Self {
        Self {
            account,
            attempt: digest::Attempt::default(),
        }
    }
}

/// How far it is.
#[derive(Debug)]
pub(super) enum State {
    /// Our INVITE is out.
    Calling {
        invite: ClientId,
        /// To be cancelled, by this header, as soon as it may be.
        cancel: Option<Option<String>>,
        /// Provisional answers that were acknowledged (RFC 3262): tag and latest number.
        acknowledged: Vec<(String, u32)>,
        /// How many.
        provisionals: u32,
        can_cancel: bool,
    },
    /// The peer's INVITE is to be answered.
    Called {
        invite: ServerId,
        request: Box<Message>,
        /// The provisional answer that waits for its PRACK.
        reliable: Option<Reliable>,
        /// Of reliable provisional answers.
        rseq: u32,
    },
    /// We answered, and wait for the ACK.
    Answered {
        invite: ServerId,
        cseq: u32,
        /// The description that comes with the ACK answers ours.
        is_offer: bool,
        /// To be ended as soon as it may be (RFC 3261, section 15).
        is_over: Option<Option<String>>,
    },
    /// Both know of it.
    Up {
        /// The ACK of the peer's answer to our latest INVITE, to be sent again.
        ack: Option<Box<Message>>,
    },
}

/// A provisional answer that is sent until its PRACK comes.
#[derive(Debug)]
pub(super) struct Reliable {
    pub(super) response: Box<Message>,
    pub(super) at: Instant,
    pub(super) after: Duration,
    pub(super) end: Instant,
}

/// Whose offer is on the table (RFC 3264, section 4: one at a time).
#[derive(Debug)]
pub(super) enum Offer {
    /// Nobody's.
    None,
    /// The peer's, in this request.
    Peers { request: ServerId, message: Box<Message> },
    /// Ours was answered to the peer's INVITE without one: its ACK brings the answer.
    Late {
        invite: ServerId,
        cseq: u32,
        is_offer: bool,
    },
    /// Ours.
    Own {
        request: ClientId,
        is_invite: bool,
        cseq: u32,
        is_refresh: bool,
    },
}

/// When the session is over unless it is refreshed (RFC 4028).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session {
    /// None: it does not end by itself.
    pub(super) interval: Option<Duration>,
    /// We are to refresh it.
    pub(super) is_ours: bool,
    /// When that is, or when it is over.
    pub(super) due: Option<Instant>,
}

impl Session {
    /// What `Session-Expires` says. Half of the interval for who refreshes; the other waits until shortly before its end
    /// (section 10).
    pub(super) fn agree(&mut self, now: Instant, interval: Option<Duration>, is_ours: bool) {
        self.interval = interval;
        self.is_ours = is_ours;
        self.due = interval.map(|interval| {
            let margin = Duration::from_secs(32).min(interval / 3);
            now + if is_ours { interval / 2 } else { interval - margin }
        });
    }

    /// A refresh of ours did not go through. It is tried again some times before the session is over, and not more often.
    pub(super) fn retry(&mut self, now: Instant) {
        self.due = self.interval.map(|interval| now + (interval / 8).max(REFRESH_RETRY));
    }

    pub(super) fn refreshed(&mut self, now: Instant) {
        self.agree(now, self.interval, self.is_ours);
    }
}

impl Leg {
    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. } | State::Answered { .. })
    }

    /// It was ended from our side, and stays only until the peer may be told. Nothing of it is told any more.
    pub(super) fn is_over(&self) -> bool {
        match &self.state {
            State::Calling { cancel, .. } => cancel.is_some(),
            State::Answered { is_over, .. } => is_over.is_some(),
            State::Called { .. } | State::Up { .. } => false,
        }
    }

    /// Which time it waits for.
    pub(super) fn due(&self) -> Option<Instant> {
        let reliable = match &self.state {
            State::Called {
                reliable: Some(reliable),
                ..
            } => Some(reliable.at.min(reliable.end)),
            _ => None,
        };
        let glare = self.glare.as_ref().map(|(at, _)| *at);
        [reliable, glare, self.session.due].into_iter().flatten().min()
    }
}

/// Between refreshes that do not go through, at least.
const REFRESH_RETRY: Duration = Duration::from_secs(10);
