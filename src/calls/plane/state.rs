//! What the plane holds: devices, numbers, calls, legs.

use std::collections::VecDeque;
use std::time::Duration;

use crate::cause::Cause;
use crate::codec::{Choice, Codec, Codecs, Voice};
use crate::dialplan::{Fallbacks, Route, Target, Trail};
use crate::event::Registration;
use crate::grants::Grants;
use crate::ids::{CallId, HookId, LegId, Number, Payload, PlayId, RequestId, SessionId, Text};
use crate::media::{Counters, LastQuality, QualitySummary};
use crate::moment::Now;
use crate::presence::{AgentState, Status};
use crate::record::Transferred;
use crate::state::LegState;
use crate::view::{LegRole, Participant, Party};

/// A registered device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) registration: Registration,
    /// Its name, one of its own where it gave none.
    pub(super) name: Text,
    pub(super) registered: Now,
    pub(super) expires: Duration,
    /// Since when its socket is lost.
    pub(super) lost: Option<Duration>,
    pub(super) legs: Vec<LegId>,
    /// Those in calls of other machines, and whether one is more than called.
    pub(super) elsewhere: (u16, bool),
    /// What the relay was told last.
    pub(super) granted: Grants,
    /// Numbers that it watches.
    pub(super) watched: Vec<Number>,
}

/// A number that is declared, registered or watched.
#[derive(Debug, Default)]
pub(super) struct NumberEntry {
    pub(super) is_declared: bool,
    pub(super) devices: Vec<SessionId>,
    pub(super) agent: AgentState,
    /// When its last call ended.
    pub(super) last_call: Option<Duration>,
    /// When a queue rang it last.
    pub(super) last_offer: Option<Duration>,
    pub(super) watchers: Vec<SessionId>,
    /// What watchers were told last.
    pub(super) told: (Status, AgentState),
}

/// Who has a number called.
#[derive(Clone, Debug, Default)]
pub(super) struct Dialler {
    /// Whose profile counts beside that of who called: who transfers, or has one more come.
    pub(super) number: Option<Number>,
    /// The trunk that they are on.
    pub(super) trunk: Option<Number>,
    /// Who has sent the call on, whose profiles count as well: no more than a call is sent on.
    pub(super) forwarders: Vec<Number>,
    /// May it go out by a trunk, though they are on one? A rule or a program says so, or a number that was reached.
    pub(super) transit: bool,
    /// A device of this number, which is called alone.
    pub(super) device: Option<(Number, SessionId)>,
}

/// One conversation.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) from: Party,
    /// The trunk that it came by.
    pub(super) by: Option<Number>,
    pub(super) dialled: Number,
    /// Who called, while that leg is there.
    pub(super) caller: Option<LegId>,
    pub(super) started: Now,
    pub(super) rang: Option<Now>,
    /// When two were up first.
    pub(super) answered: Option<Now>,
    pub(super) answered_by: Option<Party>,
    /// Those that are not over, the oldest first.
    pub(super) legs: Vec<LegId>,
    /// Legs that it has had.
    pub(super) legs_ever: u16,
    pub(super) attempt: Option<Attempt>,
    /// A control program decides on it. It lives while one is up.
    pub(super) is_controlled: bool,
    pub(super) rule: Option<Text>,
    /// The queue that it waits in, or came from.
    pub(super) queue: Option<Text>,
    pub(super) music: Text,
    pub(super) metadata: Option<Payload>,
    /// The caller's offer, for devices that ring later.
    pub(super) sdp: Option<Payload>,
    /// The caller's candidates, for the same.
    pub(super) candidates: Vec<Payload>,
    pub(super) is_recorded: bool,
    pub(super) is_recording_paused: bool,
    pub(super) was_recorded: bool,
    pub(super) transfers: Vec<Transferred>,
    pub(super) transfers_left_out: u32,
    /// When media came last. None: there never was any.
    pub(super) media_at: Option<Duration>,
    /// What legs send, as it was told last.
    pub(super) codecs_told: Vec<(LegId, Choice)>,
    /// Those who alone are heard. `None`: everybody is.
    pub(super) lecture: Option<Vec<LegId>>,
}

/// One device's part in a call.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) id: LegId,
    /// The conversation that it is in.
    pub(super) call: CallId,
    pub(super) session: SessionId,
    pub(super) party: Party,
    pub(super) role: LegRole,
    pub(super) state: LegState,
    pub(super) holds: bool,
    pub(super) muted: bool,
    /// Sends media before the answer, and is heard.
    pub(super) is_early: bool,
    /// Would be heard before the answer, if nobody else were.
    pub(super) wants_early: bool,
    /// It is of a dialog that a control program decides on.
    pub(super) is_controlled: bool,
    /// Its device waits for what it asked for by a transfer.
    pub(super) has_referred: bool,
    /// The request by which it dialled.
    pub(super) request: Option<RequestId>,
    pub(super) alias: Option<Text>,
    /// What it could speak.
    pub(super) codecs: Codecs,
    /// What it speaks until it agrees on another. None: any of them.
    pub(super) speaks: Option<Codec>,
    /// What it was asked to speak last, and has not said that it does.
    pub(super) asked_to_speak: Option<Codec>,
    pub(super) choice: Choice,
    pub(super) started: Now,
    pub(super) rang: Option<Now>,
    pub(super) answered: Option<Now>,
    pub(super) quality: QualitySummary,
    /// The last report, and the one that watchers were told of.
    pub(super) last_quality: Option<LastQuality>,
    pub(super) told_quality: Option<LastQuality>,
    /// Warnings in force, a bit each.
    pub(super) warnings: u8,
    pub(super) counters: Option<Counters>,
    /// Whether the call is recorded, and whether that pauses, as it was told last.
    pub(super) told_recording: (bool, bool),
    /// Who is in the call, as it was told last.
    pub(super) told: Vec<Participant>,
}

/// Somebody is being called for a call.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) purpose: Purpose,
    pub(super) dialler: Dialler,
    /// What is dialled, after translation.
    pub(super) dialled: Number,
    /// Who rings next, one stage after the other.
    pub(super) stages: VecDeque<Vec<Number>>,
    /// How long each stage rings.
    pub(super) ring: Duration,
    /// How long the caller wants it to.
    pub(super) asked: Option<Duration>,
    pub(super) fallbacks: Fallbacks,
    pub(super) trail: Trail,
    /// Legs that are being called.
    pub(super) forks: Vec<LegId>,
    /// Of what has failed, what the caller is told.
    pub(super) cause: Option<Cause>,
    pub(super) wait: Wait,
    /// Who sent the call on.
    pub(super) forwarded_by: Option<Number>,
    /// Where a telephone that rang would have it go, as soon as nothing rings and nobody is left to ring.
    pub(super) forward: Option<Forward>,
}

/// A telephone sends a call on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forward {
    /// Its number.
    pub(super) by: Number,
    /// Where to.
    pub(super) to: Number,
}

/// Why somebody is being called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The call itself.
    Dial,
    /// Who is to be connected with `to` as soon as they answer.
    First { to: Number, timeout: Option<Duration> },
    /// A dialog of a control program: who answers is alone.
    Invite,
    /// One more in the call.
    Add { by: Option<LegId> },
    /// In the place of `by`, whose hold is as it was before if it fails.
    Transfer { by: LegId, held: bool },
}

/// What an attempt waits for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wait {
    /// For phones.
    Forks,
    /// For a control program.
    Control,
    /// For a hook; then for its answer's target, or for this one.
    Hook { hook: HookId, fallback: Option<Target> },
    /// For the end of an announcement; then it goes where the route says.
    Play {
        play: PlayId,
        name: Text,
        path: String,
        then: Box<Route>,
    },
    /// For an agent of a queue. The agent that rings, if one does.
    Queue {
        name: Text,
        agent: Option<Number>,
        /// The place that the caller was told.
        position: usize,
    },
}

impl Device {
    /// How long it is still registered.
    pub(super) fn left(&self, now: Now) -> Duration {
        let passed = now.since_start.saturating_sub(self.registered.since_start);
        self.expires.saturating_sub(passed)
    }
}

impl Call {
    /// Legs that are told of each other, and make the call.
    pub(super) fn note_transfer(&mut self, transferred: Transferred) {
        if self.transfers.len() < crate::limits::TRANSFERS_RECORDED_MAX {
            self.transfers.push(transferred);
        } else {
            self.transfers_left_out = self.transfers_left_out.saturating_add(1);
        }
    }
}

impl Leg {
    pub(super) fn voice(&self) -> Voice {
        Voice {
            codecs: self.codecs,
            speaks: self.speaks,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state == LegState::Up
    }

    pub(super) fn is_supervisor(&self) -> bool {
        matches!(self.role, LegRole::Supervisor(_))
    }
}

impl Attempt {
    /// One that calls nobody yet.
    pub(super) fn new(purpose: Purpose, dialled: &Number, ring: Duration) -> Self {
        Self {
            purpose,
            dialler: Dialler::default(),
            dialled: dialled.clone(),
            stages: VecDeque::new(),
            ring,
            asked: None,
            fallbacks: Fallbacks::default(),
            trail: Trail::default(),
            forks: Vec::new(),
            cause: None,
            wait: Wait::Forks,
            forwarded_by: None,
            forward: None,
        }
    }

    /// A stage has failed: what the caller is told is the best of all.
    pub(super) fn note(&mut self, cause: Cause) {
        let cause = cause.of_failure();
        if self.cause.is_none_or(|old| cause.rank() > old.rank()) {
            self.cause = Some(cause);
        }
    }
}
