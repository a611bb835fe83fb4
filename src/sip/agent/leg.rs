//! One side of a call.

use std::time::{Duration, Instant};

use crate::limits::FORKS_MAX;
use crate::message::Message;
use crate::transaction::{ClientId, ServerId};

use super::dialog::Dialog;
use super::registrar::{Binding, is_same_device};

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
    /// The trunk that it is of, or the account by which the peer knows us.
    pub(super) account: Option<u64>,
    /// Which registered device the peer is.
    pub(super) device: Option<Device>,
    /// Its connection is gone, and no other is known.
    pub(super) is_cut: bool,
    /// What is to be offered again after a glare, and when.
    pub(super) glare: Option<(Instant, String)>,
    /// Our INVITE began it.
    pub(super) is_caller: bool,
    /// A provisional answer of ours whose PRACK did not come: its number, and the INVITE's. It may come after the answer, too.
    pub(super) unacknowledged: Option<(u32, u32)>,
    /// The peer has asked for a longer interval of the session, and got it. It is not asked for twice.
    pub(super) is_interval_raised: bool,
}

/// By what a device is found again whose connection is gone (RFC 5626): its name for ever, or its contact.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) user: String,
    pub(super) domain: String,
    instance: Option<String>,
    contact: String,
}

impl Device {
    pub(super) fn of(binding: &Binding) -> Self {
        Self {
            user: binding.user.clone(),
            domain: binding.domain.clone(),
            instance: binding.instance.clone(),
            contact: binding.contact.clone(),
        }
    }

    pub(super) fn is(&self, binding: &Binding) -> bool {
        is_same_device(
            (self.instance.as_deref(), &self.contact),
            (binding.instance.as_deref(), &binding.contact),
        )
    }
}

/// One of those that our INVITE came to: a dialog of its own, with numbers and a way of its own (RFC 3261, section 12.1.2).
#[derive(Debug)]
pub(super) struct Early {
    pub(super) dialog: Dialog,
    /// The latest provisional answer that was acknowledged (RFC 3262).
    pub(super) last: Option<u32>,
    /// The description of such an answer: it answers our offer, and the last answer need not repeat it (RFC 3262, section 5).
    pub(super) answer: Option<Vec<u8>>,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum State {
    /// Our INVITE is out.
    Calling {
        invite: ClientId,
        /// To be cancelled, by this header, as soon as it may be.
        cancel: Option<Option<String>>,
        /// Those who said something so far.
        early: Vec<Early>,
        /// The tags of those who said that they ring, reliably or not.
        rung: Vec<String>,
        /// Provisional answers that were acknowledged.
        provisionals: u32,
        can_cancel: bool,
    },
    /// The peer's INVITE is to be answered.
    Called {
        invite: ServerId,
        request: Box<Message>,
        /// The provisional answer that waits for its PRACK.
        reliable: Option<Reliable>,
        /// The one behind that: 180, or 183 with a description.
        next: Option<Option<String>>,
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
        /// What it is. None: what is so already.
        description: Option<String>,
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
    /// When it is over, whoever refreshes it.
    end: Option<Instant>,
}

impl Session {
    /// What `Session-Expires` says. Half of the interval for who refreshes; the other waits until shortly before its end
    /// (section 10).
    pub(super) fn agree(&mut self, now: Instant, interval: Option<Duration>, is_ours: bool) {
        self.interval = interval;
        self.is_ours = is_ours;
        self.end = interval.map(|interval| now + interval);
        self.due = interval.map(|interval| {
            let margin = Duration::from_secs(32).min(interval / 3);
            now + if is_ours { interval / 2 } else { interval - margin }
        });
    }

    /// A refresh of ours did not go through. It is tried again some times before the session is over, and not more often.
    pub(super) fn retry(&mut self, now: Instant) {
        self.due = self.interval.map(|interval| now + (interval / 8).max(REFRESH_RETRY));
    }

    /// It cannot be refreshed while nobody is reached. False: it is over.
    pub(super) fn wait_for_way(&mut self, now: Instant) -> bool {
        self.retry(now);
        self.due = self.due.min(self.end);
        self.end.is_some_and(|end| now < end)
    }

    /// There is a way again: what was to be said meanwhile is said at once.
    pub(super) fn found_way(&mut self, now: Instant) {
        let half = self.interval.unwrap_or_default() / 2;
        if self.is_ours && self.end.is_some_and(|end| end <= now + half) {
            self.due = Some(now);
        }
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

    /// That which a request of ours is in, by the peer's tag. None: it is there no more.
    pub(super) fn dialog_with(&mut self, tag: Option<&str>) -> Option<&mut Dialog> {
        if self.dialog.remote_tag.as_deref() == tag {
            return Some(&mut self.dialog);
        }
        let State::Calling { early, .. } = &mut self.state else {
            return None;
        };
        let mut all = early.iter_mut().map(|early| &mut early.dialog);
        all.find(|dialog| dialog.remote_tag.as_deref() == tag)
    }

    /// That which a request of the peer's is in. None: it is of somebody else, or of too many.
    pub(super) fn dialog_from(&mut self, tag: Option<String>) -> Option<&mut Dialog> {
        match (&mut self.state, tag) {
            (State::Calling { early, .. }, tag) => Some(&mut early_of(early, &self.dialog, tag?)?.dialog),
            (_, tag) => {
                let is_peers = self.dialog.remote_tag.is_none() || self.dialog.remote_tag == tag;
                is_peers.then_some(&mut self.dialog)
            }
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

/// Of who has this tag: known, or now. None: there are as many as there may be.
pub(super) fn early_of<'a>(all: &'a mut Vec<Early>, dialog: &Dialog, tag: String) -> Option<&'a mut Early> {
    let known = all
        .iter()
        .position(|early| early.dialog.remote_tag.as_ref() == Some(&tag));
    let at = match known {
        Some(at) => at,
        None if all.len() >= FORKS_MAX => return None,
        None => {
            let mut dialog = dialog.clone();
            dialog.remote_tag = Some(tag);
            all.push(Early {
                dialog,
                last: None,
                answer: None,
            });
            all.len() - 1
        }
    };
    all.get_mut(at)
}

/// Between refreshes that do not go through, at least.
const REFRESH_RETRY: Duration = Duration::from_secs(10);
