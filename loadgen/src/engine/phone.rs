//! Telephones: who is registered, who is free, and how far the signalling of a call has come.

use std::collections::VecDeque;
use std::time::Instant;

use moqswitch_proto::wire::{BroadcastPath, StreamId};
use moqswitch_relay::quic::ConnectionKey;
use rustc_hash::FxHashMap;
use serde_json::Value;

use crate::signalling::{Said, Sockets, SocketsPlan};

use super::ids::CallId;

/// What a shard's phones are made of.
#[derive(Clone, Debug)]
pub(crate) struct PhonesPlan {
    pub(crate) sockets: SocketsPlan,
    /// So many of them make calls, the first ones.
    pub(crate) talking: usize,
}

/// All phones of a shard. The first ones make calls, the others do nothing.
pub(super) struct Phones {
    pub(super) sockets: Sockets,
    pub(super) all: Vec<Phone>,
    /// Which phone has a line.
    pub(super) by_line: FxHashMap<ConnectionKey, usize>,
    /// Those that may be called, the one that has been free for the longest time first.
    free: VecDeque<usize>,
    /// How many switches they are at, in turn.
    switches: usize,
    /// Calls that are over, of which not every phone was told so.
    pub(super) parting: usize,
    /// The phone that is next to keep its line from being idle.
    pub(super) pinged: usize,
    pub(super) ping_due_ns: u64,
}

pub(super) struct Phone {
    pub(super) number: String,
    /// It has a session at the relay, and makes calls.
    pub(super) has_media: bool,
    /// Where its session at the relay is, with what lets it in.
    pub(super) place: String,
    pub(super) line: Option<ConnectionKey>,
    /// The relay's requests for announcements.
    pub(super) requests: Vec<(StreamId, BroadcastPath)>,
    pub(super) state: PhoneState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PhoneState {
    /// Neither registered nor let in at the relay.
    Coming,
    /// Registered, and waiting for the relay to let it in.
    Dialling,
    Free,
    Busy(CallId, u16),
    /// It or the other has hung up, and it was not told that the call is over.
    Parting {
        since_ns: u64,
    },
    /// Its socket or its line was lost.
    Gone,
}

/// The signalling of one call. The caller is participant 0, who is called 1.
pub(super) struct PhoneCall {
    pub(super) phones: [usize; 2],
    /// The call's own name, once it is known.
    pub(super) name: Option<String>,
    /// What each publishes, once it was told.
    pub(super) paths: [Option<BroadcastPath>; 2],
    pub(super) has_rung: bool,
    /// When it was to be answered.
    pub(super) answered_ns: Option<u64>,
    /// Whom the switch told that it is over.
    pub(super) is_ended: [bool; 2],
    /// Our requests for announcements of the call.
    pub(super) watched: [Option<StreamId>; 2],
    pub(super) holding: Holding,
    /// Keys that each pressed, which the other has not heard, and when.
    pub(super) pressed: [VecDeque<(char, u64)>; 2],
    /// Keys and holds that there were, for what is drawn.
    pub(super) drawn: u64,
    /// Of the hold, the step that is planned.
    pub(super) step: u64,
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
    /// The switch was asked; who was told so, and since when that is waited for.
    Asked {
        by: u16,
        since_ns: u64,
        told: [bool; 2],
    },
    /// Nobody is subscribed to anything.
    Held {
        by: u16,
    },
    /// The switch was asked to go on.
    Resuming {
        since_ns: u64,
    },
}

impl Phones {
    /// The first `talking` of the numbers make calls.
    pub(super) fn new(sockets: Sockets, numbers: Vec<String>, talking: usize) -> Self {
        let phone = |(index, number)| Phone {
            number,
            has_media: index < talking,
            place: String::new(),
            line: None,
            requests: Vec::new(),
            state: PhoneState::Coming,
        };
        Self {
            switches: sockets.switches(),
            sockets,
            all: numbers.into_iter().enumerate().map(phone).collect(),
            by_line: FxHashMap::default(),
            free: VecDeque::new(),
            parting: 0,
            pinged: 0,
            ping_due_ns: 0,
        }
    }

    /// Every phone is registered, and has its session if it is to have one.
    pub(super) fn are_ready(&self) -> bool {
        self.all.iter().all(|phone| phone.state == PhoneState::Free)
    }

    pub(super) fn say(&self, phone: usize, message: Value, due: Instant) -> bool {
        self.sockets.say(phone, Said { message, due })
    }

    /// A phone may be called from now on.
    pub(super) fn set_free(&mut self, phone: usize) {
        if self.all[phone].has_media && self.all[phone].line.is_none() {
            return self.set_gone(phone);
        }
        if let PhoneState::Parting { .. } = std::mem::replace(&mut self.all[phone].state, PhoneState::Free) {
            self.parting -= 1;
        }
        if self.all[phone].has_media {
            self.free.push_back(phone);
        }
    }

    pub(super) fn set_gone(&mut self, phone: usize) {
        if let PhoneState::Parting { .. } = std::mem::replace(&mut self.all[phone].state, PhoneState::Gone) {
            self.parting -= 1;
        }
    }

    pub(super) fn set_parting(&mut self, phone: usize, since_ns: u64) {
        self.all[phone].state = PhoneState::Parting { since_ns };
        self.parting += 1;
    }

    /// Two phones for a call, at two switches where there are several.
    pub(super) fn take_two(&mut self) -> Option<[usize; 2]> {
        self.free_up();
        let partner = self.partner()?;
        let callee = self.free.remove(partner)?;
        Some([self.free.pop_front()?, callee])
    }

    pub(super) fn has_two(&mut self) -> bool {
        self.free_up();
        self.partner().is_some()
    }

    /// Whom the first that is free calls: where in the row.
    fn partner(&self) -> Option<usize> {
        let caller = self.free.front()?;
        let is_partner = |phone: &usize| self.switches == 1 || phone % self.switches != caller % self.switches;
        let partner = self.free.iter().skip(1).position(is_partner)?;
        Some(partner + 1)
    }

    /// Forgets those at the front that were lost while they were free.
    fn free_up(&mut self) {
        let all = &self.all;
        self.free.retain(|phone| all[*phone].state == PhoneState::Free);
    }
}

impl PhoneCall {
    pub(super) fn new(phones: [usize; 2]) -> Self {
        Self {
            phones,
            name: None,
            paths: [None, None],
            has_rung: false,
            answered_ns: None,
            is_ended: [false; 2],
            watched: [None; 2],
            holding: Holding::Talking,
            pressed: Default::default(),
            drawn: 0,
            step: 0,
        }
    }

    pub(super) fn prefix(&self) -> Option<BroadcastPath> {
        let name = self.name.as_ref()?;
        Some(BroadcastPath::new(&format!("{PREFIX}/{name}")))
    }

    /// Who publishes a path.
    pub(super) fn participant(&self, path: &BroadcastPath) -> Option<u16> {
        (0..)
            .zip(&self.paths)
            .find(|(_, own)| own.as_ref() == Some(path))
            .map(|(participant, _)| participant)
    }

    /// What the participant calls the call: who dialled has a name of its own for it.
    pub(super) fn name_for(&self, call: CallId, participant: u16) -> String {
        match (participant, &self.name) {
            (1, Some(name)) => name.clone(),
            _ => format!("c{call}"),
        }
    }

    /// Not while a hold begins: what is said then would be neither owed nor not.
    pub(super) fn may_talk(&self) -> bool {
        !matches!(self.holding, Holding::Draining { .. } | Holding::Asked { .. })
    }

    /// Nothing is to be heard.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.holding, Holding::Held { .. })
    }

    /// What a call that is not up waits for.
    pub(super) fn awaited(&self) -> &'static str {
        match (self.has_rung, self.answered_ns) {
            (false, _) => "the switch did not say in time that a phone rings",
            (true, None) => "a phone was not called in time",
            (true, Some(_)) => "an answer was not taken up in time",
        }
    }

    /// What each heard of the other's keys.
    pub(super) fn are_keys_heard(&self) -> bool {
        self.pressed.iter().all(VecDeque::is_empty)
    }
}

/// Broadcasts of calls are below it.
const PREFIX: &str = "call";
