//! A plane with phones, for tests: what each was told, and what the relay was told of each.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::*;

pub(super) struct Switch {
    pub(super) plane: CallPlane,
    pub(super) now: Now,
    requests: u64,
    /// What each session was told since it was last asked for.
    pub(super) told: BTreeMap<SessionId, Vec<Notice>>,
    pub(super) replies: Vec<(RequestId, Reply)>,
    /// What each session may do now.
    pub(super) grants: BTreeMap<SessionId, Grants>,
    pub(super) reports: Vec<Report>,
    pub(super) media: Vec<MediaAction>,
    pub(super) questions: Vec<HookQuestion>,
    pub(super) control: Vec<ControlNotice>,
}

pub(super) fn number(text: &str) -> Number {
    Number::new(text).unwrap()
}

pub(super) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) fn session(id: u128) -> SessionId {
    SessionId(id)
}

impl Switch {
    pub(super) fn new() -> Self {
        Self::with(Settings {
            counters_wait: Duration::ZERO,
            // Nobody tells of media here.
            half_dead: Duration::ZERO,
            ..Settings::default()
        })
    }

    pub(super) fn with(settings: Settings) -> Self {
        Self::planned(settings, Dialplan::default())
    }

    pub(super) fn planned(settings: Settings, dialplan: Dialplan) -> Self {
        let mut id = 0;
        let ids = move || {
            id += 1;
            id
        };
        let now = Now {
            since_start: seconds(1000),
            // A Sunday, 15:00 UTC.
            unix_ms: 1_795_964_400_000,
            utc_offset_min: 0,
        };
        Self {
            plane: CallPlane::new(settings, dialplan, Box::new(ids)),
            now,
            requests: 0,
            told: BTreeMap::new(),
            replies: Vec::new(),
            grants: BTreeMap::new(),
            reports: Vec::new(),
            media: Vec::new(),
            questions: Vec::new(),
            control: Vec::new(),
        }
    }

    pub(super) fn handle(&mut self, event: Event) {
        self.plane.handle(self.now, event);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.plane.poll_action() {
            match action {
                Action::Reply { request, reply } => self.replies.push((request, reply)),
                Action::Notify { session, notice } => self.told.entry(session).or_default().push(notice),
                Action::Media(action) => {
                    if let MediaAction::Grants { session, grants } = &action {
                        self.grants.insert(*session, grants.clone());
                    }
                    self.media.push(action);
                }
                Action::Report(report) => self.reports.push(report),
                Action::AskHook(question) => self.questions.push(question),
                Action::Control(notice) => self.control.push(notice),
            }
        }
    }

    /// Lets time pass, serving timers when they are due.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.since_start + time;
        while let Some(at) = self.plane.poll_timeout().filter(|at| *at <= end) {
            self.jump_to(at.max(self.now.since_start));
            self.plane.handle_timeout(self.now);
            self.drain();
        }
        self.jump_to(end);
    }

    fn jump_to(&mut self, at: Duration) {
        self.now.unix_ms += u64::try_from((at - self.now.since_start).as_millis()).unwrap();
        self.now.since_start = at;
    }

    pub(super) fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    /// The reply to the request made last.
    pub(super) fn last_reply(&self) -> &Reply {
        let (request, reply) = self.replies.last().expect("there is a reply");
        assert_eq!(*request, RequestId(self.requests));
        reply
    }

    pub(super) fn register(&mut self, registration: Registration) -> Reply {
        let request = self.request();
        let registration = Box::new(registration);
        self.handle(Event::Register(RegisterEvent::Register { request, registration }));
        self.last_reply().clone()
    }

    /// Registers a phone by its number, as a session of the same id.
    pub(super) fn phone(&mut self, id: u128, text: &str) -> SessionId {
        let reply = self.register(Registration::phone(session(id), number(text)));
        assert!(matches!(reply, Reply::Registered(_)), "{reply:?}");
        session(id)
    }

    /// A telephone, which is answered by itself alone.
    pub(super) fn telephone(&mut self, id: u128, text: &str) -> SessionId {
        let registration = Registration {
            meets: false,
            ..Registration::phone(session(id), number(text))
        };
        assert!(matches!(self.register(registration), Reply::Registered(_)));
        session(id)
    }

    pub(super) fn trunk(&mut self, id: u128, text: &str) -> SessionId {
        let registration = Registration {
            kind: DeviceKind::Trunk,
            ..Registration::phone(session(id), number(text))
        };
        assert!(matches!(self.register(registration), Reply::Registered(_)));
        session(id)
    }

    /// A caller on a trunk dials.
    pub(super) fn dial_by(&mut self, trunk: SessionId, from: &str, to: &str) -> Reply {
        let mut dial = Dial::to(number(to));
        dial.from = Some((number(from), Text::default()));
        self.ask(trunk, CallEvent::Dial(Box::new(dial)))
    }

    pub(super) fn ask(&mut self, session: SessionId, event: CallEvent) -> Reply {
        self.ask_as(Actor::Session(session), event)
    }

    pub(super) fn ask_as(&mut self, actor: Actor, event: CallEvent) -> Reply {
        let request = self.request();
        self.handle(Event::Call { request, actor, event });
        let mut replies = self.replies.iter().filter(|(of, _)| *of == request);
        let reply = replies.next().expect("a request is answered").1.clone();
        assert!(replies.next().is_none(), "a request is answered once");
        reply
    }

    pub(super) fn done(&mut self, session: SessionId, event: CallEvent) {
        assert_eq!(self.ask(session, event), Reply::Done);
    }

    pub(super) fn dial(&mut self, session: SessionId, to: &str) -> CallId {
        match self.ask(session, CallEvent::Dial(Box::new(Dial::to(number(to))))) {
            Reply::Calling { call, .. } => call,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn ring(&mut self, session: SessionId, call: CallId) -> Reply {
        let event = CallEvent::Ringing {
            call,
            early_media: false,
            sdp: None,
        };
        self.ask(session, event)
    }

    pub(super) fn answer(&mut self, session: SessionId, call: CallId) -> Reply {
        self.ask(session, CallEvent::Answer { call, sdp: None })
    }

    pub(super) fn hang_up(&mut self, session: SessionId, call: CallId) -> Reply {
        self.ask(session, CallEvent::Hangup { call, cause: None })
    }

    pub(super) fn hold(&mut self, session: SessionId, call: CallId, hold: bool) -> Reply {
        self.ask(session, CallEvent::Hold { call, hold })
    }

    /// A call that is up.
    pub(super) fn talk(&mut self, from: SessionId, to: SessionId, dialled: &str) -> CallId {
        let call = self.dial(from, dialled);
        assert_eq!(self.ring(to, call), Reply::Done);
        assert_eq!(self.answer(to, call), Reply::Done);
        call
    }

    /// What a session was told since it was last asked for.
    pub(super) fn told(&mut self, session: SessionId) -> Vec<Notice> {
        self.told.remove(&session).unwrap_or_default()
    }

    /// Why a session's legs ended since it was last asked for.
    pub(super) fn ended(&mut self, session: SessionId) -> Vec<(CallId, Cause)> {
        let told = self.told(session).into_iter();
        let ended = told.filter_map(|notice| match notice {
            Notice::Ended(ended) => Some((ended.call, ended.cause)),
            _ => None,
        });
        ended.collect()
    }

    pub(super) fn may(&self, session: SessionId) -> (Vec<&str>, Vec<&str>) {
        let Some(grants) = self.grants.get(&session) else {
            return (vec![], vec![]);
        };
        (
            grants.publish.iter().map(String::as_str).collect(),
            grants.subscribe.iter().map(String::as_str).collect(),
        )
    }

    pub(super) fn call_records(&self) -> Vec<&CallRecord> {
        let records = self.reports.iter().filter_map(|report| match report {
            Report::CallRecord(record) => Some(&**record),
            _ => None,
        });
        records.collect()
    }

    pub(super) fn leg_records(&self) -> Vec<&LegRecord> {
        let records = self.reports.iter().filter_map(|report| match report {
            Report::LegRecord(record) => Some(&**record),
            _ => None,
        });
        records.collect()
    }

    /// Nothing is held of calls that are over.
    pub(super) fn assert_empty(&self) {
        assert_eq!(self.plane.calls_count(), 0);
        assert!(self.plane.legs.is_empty());
        assert!(self.plane.plays.is_empty());
        assert!(self.plane.hooks.is_empty() && self.plane.books.is_empty() && self.plane.counted.is_empty());
        assert!(self.plane.queues.values().all(|waiting| waiting.is_empty()));
        for (session, grants) in &self.grants {
            assert!(grants.is_empty(), "{session} still may {grants:?}");
        }
        let of_devices = 3 * self.plane.devices_count() + self.plane.numbers.len();
        assert!(self.plane.timers.len() <= of_devices);
    }
}

impl Switch {
    pub(super) fn supervisor(&mut self, id: u128, text: &str) -> SessionId {
        let registration = Registration {
            supervisor: true,
            ..Registration::phone(session(id), number(text))
        };
        assert!(matches!(self.register(registration), Reply::Registered(_)));
        session(id)
    }

    pub(super) fn ask_supervisor(&mut self, session: SessionId, event: SuperviseEvent) -> Reply {
        let request = self.request();
        let actor = Actor::Session(session);
        self.handle(Event::Supervise { request, actor, event });
        self.last_reply().clone()
    }

    pub(super) fn try_supervise(&mut self, session: SessionId, call: CallId, mode: SuperviseMode) -> Reply {
        self.ask_supervisor(session, SuperviseEvent::Join { session, call, mode })
    }

    pub(super) fn supervise(&mut self, session: SessionId, call: CallId, mode: SuperviseMode) {
        assert_eq!(self.try_supervise(session, call, mode), Reply::Done);
    }

    /// A session's leg in a call.
    pub(super) fn leg(&self, call: CallId, session: SessionId) -> LegId {
        let view = self.plane.call(call).expect("the call is there");
        let leg = view.legs.iter().find(|leg| leg.session == session);
        leg.expect("it is in the call").leg
    }
}
