//! What the calls thread holds: the call plane, its timers, and a session for each registered device. What comes in becomes
//! an event of the plane, and what the plane wants is carried out at once. Nothing here waits for anybody.

mod away;
mod browsing;
mod catching;
mod control;
mod counting;
mod failing;
mod line;
mod mail;
mod nodes;
mod programs;
mod renewals;
mod requests;
mod restart;
mod returning;
mod serving;
mod session;
mod standing_in;
mod tally;
mod telling;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use moqswitch_calls::{
    AdminEvent, CallId, CallPlane, Event, Grants, HookQuestion, LegId, MediaAction, MediaEvent, Now, RegisterEvent,
    Registration, Reply, Report, RequestId, SessionId, Text,
};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;
use tokio::sync::{Notify, mpsc, oneshot};

pub use catching::is_fault_caught;

use crate::access::{Admission, Gate};
use crate::clock::WallClock;
use crate::control::Board;
use crate::counters::Counters;
use crate::events::Events;
use crate::figures::AsteriskFigures;
use crate::gateway::{Outlet, SipEntrance, SipView};
use crate::journal::Journal;
use crate::limits::{CLOCK_BEGINS, GRANTS_RETRY, HANDED_ON, HOOKS_ASKED_MAX, RECONNECT};
use crate::mailboxes::Mailboxes;
use crate::media::MediaPlane;
use crate::messages::{self, MessageId};
use crate::nodes::{NodeName, Nodes};
use crate::records::{Kept, Store};
use crate::settings::{Settings, UtcOffset};

pub(crate) use line::{Close, End, Inbox, Line, LineEnd};
pub(crate) use session::unnumbered;

use browsing::Browsing;
use renewals::Renewals;
use returning::Returning;
use session::Session;
use tally::Tally;

/// See the module's documentation.
pub(crate) struct Exchange {
    plane: CallPlane,
    media: Box<dyn MediaPlane>,
    server: String,
    ping: std::time::Duration,
    utc_offset: UtcOffset,
    clock: WallClock,
    trunk: Option<moqswitch_calls::Number>,
    /// Of the users: they exist, whether anybody is registered or not.
    users: BTreeSet<moqswitch_calls::Number>,
    started: Instant,
    random: SystemRandom,
    sessions: BTreeMap<SessionId, Session>,
    lines: u64,
    requests: u64,
    askers: BTreeMap<RequestId, Asker>,
    /// What follows from what was carried out.
    follow_up: VecDeque<Event>,
    /// Who is being served, for the replies that are notices.
    turn: Option<Turn>,
    /// Why the registration that is being served is refused.
    refusal: Option<moqswitch_calls::Refusal>,
    /// Grants that the relay had no room for, and when to tell them again.
    untold: BTreeMap<SessionId, Grants>,
    retry_at: Option<Instant>,
    /// Who may use REST.
    pub(crate) gate: Gate,
    /// For those who follow.
    pub(crate) events: Events,
    /// What happened how often.
    pub(crate) counts: Counts,
    tally: Tally,
    /// What was refused how often.
    pub(crate) counters: Arc<Counters>,
    /// Records that queries find.
    kept: Kept,
    /// Of these, those that no file has, where there are files.
    unstored: Kept,
    /// Where records go. None: they are in memory only.
    store: Option<Store>,
    /// What is noted for a restart. None: nothing.
    journal: Option<Journal>,
    returning: Returning,
    /// Calls that are to be noted.
    changed_calls: BTreeSet<CallId>,
    /// Questions to hooks. None: nobody asks them.
    hooks: Option<mpsc::Sender<Box<HookQuestion>>>,
    /// Control programs. None: there are none.
    board: Option<Board>,
    /// Rung when timers may have moved.
    moved: Rc<Notify>,
    /// Devices of the gateway.
    pub(crate) outlet: Outlet,
    /// The same for channels of Asterisk, and what was counted of them.
    pub(crate) asterisk: Outlet,
    pub(crate) asterisk_figures: Option<AsteriskFigures>,
    /// Legs whose keys are on their broadcasts, though nobody's telephone has told of them.
    pub(crate) keys_heard: HashSet<LegId>,
    pub(crate) sip_entrance: SipEntrance,
    pub(crate) sip_view: SipView,
    /// Browsers that speak WebRTC with who does not.
    browsing: Browsing,
    renewals: Renewals,
    /// Other machines. None: there are none.
    nodes: Option<Box<Nodes>>,
    /// Events that went to them.
    sent_away: u64,
    /// Boxes of voice mail. None: there are none.
    mail: Option<Arc<dyn Mailboxes>>,
    is_stopping: bool,
}

/// What happened how often, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) bad_messages: u64,
    pub(crate) slow_clients: u64,
    pub(crate) grants_refused: u64,
    pub(crate) hooks_unasked: u64,
    /// Calls that were refused as their number had begun too many.
    pub(crate) too_often: u64,
    /// Calls that telephones sent on, and that they would have sent on.
    pub(crate) forwards: u64,
    pub(crate) forwards_refused: u64,
    /// Events that a webhook took, and that it did not, however often they were posted.
    pub(crate) webhooks_taken: u64,
    pub(crate) webhooks_refused: u64,
    /// Faults of this program that were caught, and after how many of them the plane began anew.
    pub(crate) faults: u64,
    pub(crate) renewals: u64,
}

/// Who waits for a reply of the plane.
enum Asker {
    Session {
        session: SessionId,
        id: Option<MessageId>,
        call: Option<Text>,
        asked: Asked,
    },
    /// A registration or a return, whose caller looks at `Exchange::refusal`.
    Registration {
        session: SessionId,
        id: Option<MessageId>,
        after: Option<u64>,
    },
    Program(oneshot::Sender<Reply>),
    /// Another machine, for one of its devices.
    Node {
        node: NodeName,
    },
    Nobody,
}

/// What was asked, where the reply depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Dial(Option<Text>),
    Answer,
    Hangup,
    Hold(CallId, bool),
    Mute(CallId, bool),
    Transfer,
    Unregister,
    /// To watch every call: those that there are follow, behind this one.
    Watch(Option<CallId>),
    Other,
}

struct Turn {
    session: SessionId,
    id: Option<MessageId>,
    asked: Asked,
}

/// A device that registers, as its socket knows it.
pub(crate) struct Newcomer {
    pub(crate) register: Box<messages::Register>,
    pub(crate) admission: Admission,
    pub(crate) dialect: messages::Dialect,
    pub(crate) id: Option<MessageId>,
    pub(crate) contact: String,
}

impl Exchange {
    pub(crate) fn new(
        settings: Settings,
        media: Box<dyn MediaPlane>,
        moved: Rc<Notify>,
        counters: Arc<Counters>,
    ) -> Self {
        let random = SystemRandom::new();
        let ids = SystemRandom::new();
        let plane = CallPlane::new(settings.calls, settings.dialplan, Box::new(move || draw(&ids)));
        let mut exchange = Self {
            plane,
            media,
            server: settings.server,
            ping: settings.times.ping,
            utc_offset: settings.utc_offset,
            clock: settings.clock,
            trunk: settings.trunk,
            users: BTreeSet::new(),
            started: Instant::now(),
            random,
            sessions: BTreeMap::new(),
            lines: 0,
            requests: 0,
            askers: BTreeMap::new(),
            follow_up: VecDeque::new(),
            turn: None,
            refusal: None,
            untold: BTreeMap::new(),
            retry_at: None,
            gate: Gate::new(settings.keys, settings.api_tokens),
            events: Events::new(unix_ms()),
            counts: Counts::default(),
            tally: Tally::default(),
            counters,
            kept: Kept::default(),
            unstored: Kept::default(),
            store: None,
            journal: None,
            returning: Returning::default(),
            changed_calls: BTreeSet::new(),
            hooks: None,
            board: None,
            moved,
            outlet: Outlet::default(),
            asterisk: Outlet::default(),
            asterisk_figures: None,
            keys_heard: HashSet::new(),
            sip_entrance: SipEntrance::default(),
            sip_view: SipView::default(),
            browsing: Browsing::new(settings.browsers),
            renewals: Renewals::default(),
            nodes: None,
            sent_away: 0,
            mail: settings.mailboxes,
            is_stopping: false,
        };
        let numbers = settings.numbers;
        exchange.handle(Event::Admin(AdminEvent::Declare { numbers, exist: true }));
        exchange
    }

    pub(crate) fn plane(&self) -> &CallPlane {
        &self.plane
    }

    pub(crate) fn sessions_count(&self) -> usize {
        self.sessions.len()
    }

    /// The trunk that the settings name.
    pub(crate) fn trunk(&self) -> Option<&moqswitch_calls::Number> {
        self.trunk.as_ref()
    }

    pub(crate) fn uptime(&self) -> std::time::Duration {
        self.started.elapsed()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Questions to hooks, from here on.
    pub(crate) fn take_questions(&mut self) -> mpsc::Receiver<Box<HookQuestion>> {
        let (hooks, questions) = mpsc::channel(HOOKS_ASKED_MAX);
        self.hooks = Some(hooks);
        questions
    }

    /// A way to a socket that was opened just now.
    pub(crate) fn open_line(&mut self) -> (Line, LineEnd) {
        self.lines += 1;
        Line::new(self.lines, self.journal.as_ref().map(Journal::noted))
    }

    /// Takes one event, and carries out everything that follows.
    pub(crate) fn handle(&mut self, event: Event) {
        self.handle_one(event);
        self.finish_turn();
    }

    /// Carries an event to who has its call, which is mostly the plane here.
    fn handle_one(&mut self, event: Event) {
        let Some(event) = self.send_away(event) else { return };
        let sharing = self.before_sharing(&event);
        self.feed(event);
        if let Some(sharing) = sharing {
            self.share(sharing);
        }
    }

    /// Does what follows, and tells others of all of it.
    fn finish_turn(&mut self) {
        while let Some(event) = self.follow_up.pop_front() {
            self.handle_one(event);
        }
        self.note_calls();
        self.flush_nodes();
        self.moved.notify_one();
    }

    fn feed(&mut self, event: Event) {
        self.attempt(|own| {
            let now = own.now();
            own.plane.handle(now, event);
        });
        self.carry_out();
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let plane = self.plane.poll_timeout();
        let plane = plane.and_then(|at| self.started.checked_add(at.saturating_sub(CLOCK_BEGINS)));
        [plane, self.retry_at, self.nodes_due(), self.browsing.again_at]
            .into_iter()
            .flatten()
            .min()
    }

    pub(crate) fn handle_timeout(&mut self) {
        if self.retry_at.is_some_and(|at| at <= Instant::now()) {
            self.retry_at = None;
            for (session, grants) in std::mem::take(&mut self.untold) {
                self.grant(session, grants);
            }
        }
        if self.browsing.again_at.take_if(|at| *at <= Instant::now()).is_some() {
            self.browse_again();
        }
        self.handle_nodes_timeout();
        self.attempt(|own| {
            let now = own.now();
            own.plane.handle_timeout(now);
        });
        self.carry_out();
        self.finish_turn();
    }

    /// Ends every call and every session.
    pub(crate) fn stop(&mut self) {
        if self.is_stopping {
            return;
        }
        self.is_stopping = true;
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.tell(session, &messages::goaway(RECONNECT), None);
        }
        self.handle(Event::Admin(AdminEvent::Shutdown));
        self.leave_nodes();
    }

    /// Tells every session to come again, and leaves calls as they are.
    pub(crate) fn hand_on(&mut self) {
        if std::mem::replace(&mut self.is_stopping, true) {
            return;
        }
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.tell(session, &messages::goaway(HANDED_ON), None);
        }
    }

    /// Registers a device, or says why not. `session` is the one that the socket has.
    pub(crate) fn register(
        &mut self,
        session: Option<SessionId>,
        newcomer: Newcomer,
        line: &Line,
    ) -> Result<SessionId, moqswitch_calls::Refusal> {
        let Newcomer {
            register,
            admission,
            dialect,
            id,
            contact,
        } = newcomer;
        let own = session.filter(|session| self.sessions.contains_key(session));
        let session = own.unwrap_or_else(|| SessionId(draw(&self.random)));
        let codecs = register.codecs.iter().filter_map(|codec| codec.parse().ok());
        let kept = own
            .and_then(|session| self.sessions.get(&session))
            .map(|own| own.device.clone());
        let unnamed = || kept.unwrap_or_else(|| self.device_name());
        let device = register.device.clone().unwrap_or_else(unnamed);
        let registration = Registration {
            device: Some(device.clone()),
            display_name: admission.name.unwrap_or_else(|| register.display_name.clone()),
            expires: register.expires,
            valid_for: admission.valid_for,
            ringable: register.ringable,
            supervisor: admission.supervisor && register.supervisor,
            codecs: codecs.collect(),
            contact: Text::new(&contact),
            ..Registration::phone(session, register.dn.clone())
        };
        let rings_itself = register.device.is_some() && dialect == messages::Dialect::Payload;
        if own.is_none() {
            let mut new = Session::new(register.dn.clone(), device, dialect, rings_itself, line.clone());
            new.speaks_webrtc = register.webrtc;
            self.sessions.insert(session, new);
        } else if let Some(own) = self.sessions.get_mut(&session) {
            own.speaks_webrtc |= register.webrtc;
        }
        let entry = self.entry_of(&registration, dialect, rings_itself, admission.proof);
        let request = self.request_id(Asker::Registration {
            session,
            id,
            after: None,
        });
        let registration = Box::new(registration);
        self.handle(Event::Register(RegisterEvent::Register { request, registration }));
        match self.refusal.take() {
            Some(refusal) => {
                if own.is_none() {
                    self.sessions.remove(&session);
                }
                Err(refusal)
            }
            None => {
                if let Some(own) = self.sessions.get_mut(&session) {
                    own.proof = admission.proof;
                    own.entry = entry;
                }
                self.note_device(session);
                Ok(session)
            }
        }
    }

    /// A device is back on another socket. False: nothing is known of it.
    pub(crate) fn resume(&mut self, session: SessionId, after: u64, id: Option<MessageId>, line: &Line) -> bool {
        let Some(own) = self.sessions.get_mut(&session) else {
            return false;
        };
        own.attach(line.clone());
        own.acknowledge(after);
        let request = self.request_id(Asker::Registration {
            session,
            id,
            after: Some(after),
        });
        self.handle(Event::Register(RegisterEvent::Resume { request, session }));
        let is_back = self.refusal.take().is_none();
        if is_back {
            self.note_device(session);
        }
        is_back
    }

    /// A session's socket is gone. It may come back, unless its dialect has no word for that.
    pub(crate) fn lose(&mut self, session: SessionId, line: &Line) {
        let Some(own) = self.sessions.get_mut(&session) else {
            return;
        };
        if !own.detach(line.number()) && own.is_attached() {
            return;
        }
        let event = match own.dialect {
            messages::Dialect::Payload => RegisterEvent::Lost { session },
            messages::Dialect::Flat => RegisterEvent::Unregister {
                request: self.request_id(Asker::Nobody),
                session,
            },
        };
        self.handle(Event::Register(event));
    }

    pub(crate) fn has(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Whether the keys of a leg are on its broadcast: who hears that presses them.
    pub(crate) fn note_keys(&mut self, leg: LegId, are_heard: bool) {
        if are_heard {
            self.keys_heard.insert(leg);
        } else {
            self.keys_heard.remove(&leg);
        }
    }

    pub(crate) fn new_session(&self) -> SessionId {
        SessionId(draw(&self.random))
    }

    /// For a device that has no name. Others see it, so it says nothing of the session, which only its client may know.
    fn device_name(&self) -> Text {
        let [bits, _] = halves(draw(&self.random));
        Text::new(&format!("phone-{bits:016x}"))
    }

    fn now(&self) -> Now {
        let unix_ms = self.clock.unix_ms();
        Now {
            since_start: self.started.elapsed().saturating_add(CLOCK_BEGINS),
            unix_ms,
            utc_offset_min: self.utc_offset.minutes(unix_ms),
        }
    }

    fn request_id(&mut self, asker: Asker) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        if !matches!(asker, Asker::Nobody) {
            self.askers.insert(request, asker);
        }
        request
    }

    /// Tells the relay, now or in a moment.
    fn grant(&mut self, session: SessionId, grants: Grants) {
        // Before anything can fail: what was not told is told again.
        let told = self.untold.entry(session).or_default();
        *told = grants;
        if self.media.grants(session, told).is_ok() {
            self.untold.remove(&session);
            return;
        }
        self.counts.grants_refused += 1;
        self.retry_at.get_or_insert_with(|| Instant::now() + GRANTS_RETRY);
    }

    fn do_media(&mut self, action: MediaAction) {
        match action {
            // The gateway's telephones have no session at the relay.
            MediaAction::Grants { session, .. } if self.outlet.has(session) || self.asterisk.has(session) => {}
            MediaAction::Grants { session, grants } => {
                if !self.serve_grants(session, &grants) {
                    self.grant_by(session, None, grants);
                }
            }
            MediaAction::Codecs { call, legs } => self.media.codecs(call, &legs),
            MediaAction::Record { call, on } => self.media.record(call, on),
            MediaAction::PauseRecording { call, paused } => self.media.pause_recording(call, paused),
            MediaAction::Recorded(call) => self.media.recorded(&call),
            MediaAction::Play { play, name, path } => {
                if !self.media.play(play, name.as_str(), &path) {
                    let (now, whole) = (self.now(), false);
                    let over = Event::Media(MediaEvent::Played { play, whole });
                    self.plane.handle(now, over);
                }
            }
            MediaAction::StopPlaying { path } => self.media.stop_playing(&path),
            MediaAction::Count { leg } => {
                if !self.serve_count(leg) {
                    self.media.count(leg);
                }
            }
        }
    }

    fn report(&mut self, report: &Report) {
        match report {
            Report::Leg(leg) => {
                self.tally.leg(leg);
                self.outlet.touch(&leg.party.number);
                if self.journal.is_some() {
                    self.changed_calls.insert(leg.call);
                }
                if let Some(nodes) = &mut self.nodes {
                    nodes.changed_calls.insert(leg.call, leg.cause);
                }
                self.events.push("leg", &messages::leg_view(leg));
                if leg.is_controlled {
                    self.follow_leg(leg);
                }
            }
            Report::LegRecord(record) => {
                if let Some(nodes) = &mut self.nodes {
                    nodes.served.remove(&record.leg);
                }
                self.events.push("legRecord", &messages::leg_record(record));
            }
            Report::CallEnded(record) => {
                self.share_end(record.call, record.cause);
                self.note_ended(record.call, &messages::call_record(record));
            }
            Report::CallRecord(record) => {
                self.share_end(record.call, record.cause);
                self.file_record(record);
            }
            Report::Supervision { call, supervisor, mode } => {
                let supervisor = supervisor.as_ref().map(|number| number.as_str().to_owned());
                let mode = mode.map(|mode| match mode {
                    moqswitch_calls::SuperviseMode::Listen => "listen",
                    moqswitch_calls::SuperviseMode::Whisper(_) => "whisper",
                    moqswitch_calls::SuperviseMode::Barge => "barge",
                });
                let told = json!({ "callId": call.to_string(), "supervisor": supervisor, "mode": mode });
                self.events.push("supervision", &told);
            }
            Report::Forward { call, by, to, refused } => {
                match refused {
                    Some(_) => self.counts.forwards_refused += 1,
                    None => self.counts.forwards += 1,
                }
                tracing::info!(%call, %by, %to, ?refused, "a telephone sends a call on");
            }
            Report::Announcement { call, name, whole } => {
                let told =
                    json!({ "callId": call.to_string(), "name": name.as_str(), "on": whole.is_none(), "whole": whole });
                self.events.push("announcement", &told);
            }
            Report::Dtmf { by, digits } => {
                self.events
                    .push("dtmf", &json!({ "party": by.to_string(), "digit": digits.as_str() }));
            }
            Report::Registration {
                number,
                device,
                contact,
                on,
            } => {
                self.tally.registration(*on);
                self.outlet.touch(number);
                self.follow_registration(number, contact, *on);
                let told = json!({ "dn": number.as_str(), "device": device.as_str(), "registered": on });
                self.events.push("registration", &told);
            }
        }
    }
}

pub(crate) fn draw(random: &SystemRandom) -> u128 {
    let mut bytes = [0; 16];
    // It fails only where the system has no randomness at all; then ids must not be guessable, so there are none.
    assert!(random.fill(&mut bytes).is_ok(), "the system has no randomness");
    u128::from_ne_bytes(bytes)
}

fn halves(bits: u128) -> [u64; 2] {
    let mut halves = [0; 2];
    for (half, bytes) in halves.iter_mut().zip(bits.to_ne_bytes().chunks_exact(8)) {
        *half = bytes.iter().fold(0, |half, byte| half << 8 | u64::from(*byte));
    }
    halves
}

pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A leg of a call as far as a session is concerned.
fn leg_in(call: &moqswitch_calls::CallView, session: SessionId) -> Option<(LegId, Option<Text>)> {
    let leg = call.legs.iter().find(|leg| leg.session == session)?;
    Some((leg.leg, leg.alias.clone()))
}
