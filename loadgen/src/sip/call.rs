//! One call between two telephones: the caller is participant 0, who is called 1.

use std::collections::VecDeque;
use std::net::SocketAddr;

use moqswitch_sip::agent::LegKey;
use moqswitch_sip::sdp::{Codec, Session};

use crate::engine::CallId;
use crate::load::Load;
use crate::model::codec;
use crate::truth::interval::{Ledger, Measure};

use super::stream::Stream;
use super::way::Way;

pub(super) struct Call {
    pub(super) id: CallId,
    /// When the schedule wanted it to begin.
    pub(super) intended_ns: u64,
    /// How long it rings.
    pub(super) answers_after_ns: u64,
    pub(super) ends: [End; 2],
    pub(super) has_rung: bool,
    /// When it was to be answered.
    pub(super) answered_ns: Option<u64>,
    /// Both have heard each other.
    pub(super) is_established: bool,
    /// Since when nobody talks any more and the last frames are awaited.
    pub(super) ending_ns: Option<u64>,
    pub(super) holding: Holding,
    /// How often both began to hear each other: what was due before is stale.
    pub(super) openings: u64,
    /// Keys and holds that there were, for what is drawn.
    pub(super) drawn: u64,
    /// Of the hold, the step that is planned.
    pub(super) step: u64,
}

/// A telephone's part in a call.
pub(super) struct End {
    pub(super) phone: usize,
    pub(super) group: usize,
    /// As its agent knows it, once it does.
    pub(super) leg: Option<LegKey>,
    pub(super) description: Session,
    /// Of who is called: its answer.
    pub(super) answer: String,
    pub(super) stream: Stream,
    /// What it says.
    pub(super) way: Way,
    /// It talks, and its frames are due.
    pub(super) has_begun: bool,
    /// It knows that the call is up.
    pub(super) knows: bool,
    /// It heard the other.
    pub(super) has_heard: bool,
    /// It was told that the call is over, or knows by itself.
    pub(super) is_over: bool,
    /// Keys that it pressed, which the other has not heard, and when.
    pub(super) pressed: VecDeque<(char, u64)>,
}

/// Where a call is in a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    Talking,
    /// Both are silent until the last words were heard.
    Draining {
        by: u16,
        since_ns: u64,
    },
    /// A re-INVITE that holds is out.
    Asked {
        by: u16,
        since_ns: u64,
    },
    /// Nothing is to be heard.
    Held {
        by: u16,
    },
    /// A re-INVITE that goes on is out, or was answered, and both are to hear each other.
    Resuming {
        since_ns: u64,
    },
}

/// What a call is begun with.
pub(super) struct Beginning {
    pub(super) intended_ns: u64,
    pub(super) answers_after_ns: u64,
    /// The telephones, and their groups.
    pub(super) phones: [(usize, usize); 2],
    /// A socket for each, where it is, and a random number.
    pub(super) streams: [(usize, SocketAddr, u128); 2],
}

impl Call {
    pub(super) fn new(id: CallId, load: &Load, begins: &Beginning) -> Option<Self> {
        let plan = load.tracks.first()?;
        let end = |participant: u16| {
            let at = usize::from(participant);
            let ((phone, group), (socket, address, random)) = (begins.phones[at], begins.streams[at]);
            End {
                phone,
                group,
                leg: None,
                description: Session::new(address, u64::from(id) + 1, 1),
                answer: String::new(),
                stream: Stream::new(socket, random),
                way: Way::new(id, participant, load, plan),
                has_begun: false,
                knows: false,
                has_heard: false,
                is_over: false,
                pressed: VecDeque::new(),
            }
        };
        Some(Self {
            id,
            intended_ns: begins.intended_ns,
            answers_after_ns: begins.answers_after_ns,
            ends: [end(0), end(1)],
            has_rung: false,
            answered_ns: None,
            is_established: false,
            ending_ns: None,
            holding: Holding::Talking,
            openings: 0,
            drawn: 0,
            step: 0,
        })
    }

    /// Not while a hold begins: what is said then would be neither owed nor not. Nor does who holds say anything meanwhile.
    pub(super) fn is_silent(&self, participant: u16) -> bool {
        let is_holding = match self.holding {
            Holding::Draining { .. } | Holding::Asked { .. } => true,
            Holding::Held { by } => by == participant,
            Holding::Talking | Holding::Resuming { .. } => false,
        };
        is_holding || self.ending_ns.is_some()
    }

    /// Both hear each other for the first time: the call is up. True then.
    pub(super) fn note_heard(&mut self, listener: u16, now_ns: u64, ledger: &mut Ledger) -> bool {
        let answered_ns = self.answered_ns.unwrap_or(self.intended_ns);
        let end = &mut self.ends[usize::from(listener)];
        if std::mem::replace(&mut end.has_heard, true) {
            return false;
        }
        let elapsed = now_ns.saturating_sub(answered_ns) / 1000;
        ledger.at(now_ns).record(Measure::Heard, elapsed);
        let is_up = self.ends.iter().all(|end| end.has_heard) && self.ending_ns.is_none();
        if is_up {
            self.is_established = true;
            let interval = ledger.at(now_ns);
            interval.counts.calls_established += 1;
            interval.record(Measure::Setup, elapsed);
        }
        is_up
    }

    /// Everything was heard that was said, keys too.
    pub(super) fn is_complete(&self) -> bool {
        self.ends
            .iter()
            .all(|end| end.way.is_complete() && end.pressed.is_empty() && !end.stream.is_pressing())
    }

    pub(super) fn settle(&mut self, now_ns: u64, is_last: bool, ledger: &mut Ledger) {
        for end in &mut self.ends {
            end.way.settle(now_ns, is_last, ledger);
        }
    }

    /// Begins the end: nobody talks, and nothing that is not sent yet is owed.
    pub(super) fn begin_end(&mut self, now_ns: u64) {
        self.ending_ns.get_or_insert(now_ns);
        for end in &mut self.ends {
            end.way.leave_for_good();
        }
    }

    /// Both are to hear each other from here on.
    pub(super) fn open(&mut self, now_ns: u64) {
        self.openings += 1;
        self.ends.iter_mut().for_each(|end| end.way.open(now_ns));
    }

    /// What a call that is not up waits for.
    pub(super) fn awaited(&self) -> &'static str {
        match (self.has_rung, self.answered_ns) {
            (false, _) if self.ends[1].leg.is_none() => "the switch did not call a telephone in time",
            (false, _) => "the switch did not say in time that a telephone rings",
            (true, None) => "a telephone was not answered in time",
            (true, Some(_)) if !self.ends[0].knows => "an answer was not passed on in time",
            (true, Some(_)) if !self.ends[1].knows => "an answer was not acknowledged in time",
            (true, Some(_)) => "a call was answered, and not both heard each other in time",
        }
    }
}

/// What is said, as descriptions have it.
pub(super) fn spoken(load: &Load) -> Codec {
    match load.tracks.first().map(|track| &track.codec) {
        Some(codec::Codec::Pcma {}) => Codec::Pcma,
        _ => Codec::Pcmu,
    }
}
