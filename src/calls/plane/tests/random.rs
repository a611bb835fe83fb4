//! Any events of any devices in any order. The seed is in the message of a failure.

use std::time::Duration;

use super::monitor::Monitor;
use super::switch::{number, seconds};
use crate::*;

/// A small generator, so that a failing run can be repeated by its seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}

const PLAN: &str = r#"
[groups.all]
members = ["1", "2", "3"]
no_answer = "queue/line"
[groups.turn]
members = ["1", "2"]
strategy = "in-turn"
ring = 5
[groups.recent]
members = ["3", "2", "1"]
strategy = "least-recent"
[queues.line]
agents = ["2", "3"]
ring = 8
wrap_up = 5
waiting = 2
away_unless_answered = false
timeout = "number/1"
full = "group/turn"
[[rules]]
to = "80"
target = "group/all"
[[rules]]
to = "81"
target = "group/turn"
busy = "dial/83"
[[rules]]
to = "82"
target = "group/recent"
[[rules]]
to = "83"
target = "queue/line"
[[rules]]
to = "84"
hook = "http://hook"
hook_fallback = "dial/80"
[[rules]]
to = "85"
target = "trunk/9"
[[rules]]
to = "87"
by = "trunk/*"
target = "trunk/9"
transit = true
[[rules]]
to = "88"
target = "dial/85"
no_answer = "trunk/9"
[[rules]]
to = "86"
target = "dial/1"
no_answer = "dial/86"
[[rules]]
to = "1"
no_answer = "dial/2"
busy = "dial/83"
record = true
[[rules]]
to = "2"
no_answer = "dial/1"
[[rules]]
to = "89"
play = "welcome"
target = "dial/1"
[[profiles]]
from = "3"
calls = 3
codecs = ["pcmu"]
forbidden = ["85"]
"#;

struct Run {
    plane: CallPlane,
    monitor: Monitor,
    random: Random,
    now: Now,
    requests: u64,
    hooks: Vec<HookId>,
    /// Calls that there were, the latest last.
    calls: Vec<CallId>,
    sessions: u128,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let settings = Settings {
            counters_wait: random.of(&[Duration::ZERO, seconds(1)]),
            half_dead: random.of(&[Duration::ZERO, seconds(30)]),
            call_waiting: random.below(4) > 0,
            supervision_is_told: random.below(2) > 0,
            calls_max: random.of(&[3, 1000]),
            calls_per_number_max: random.of(&[2, 8]),
            call_duration_max: random.of(&[seconds(60), seconds(3600)]),
            ..Settings::default()
        };
        let is_controlled = random.below(2) == 0;
        let mut ids = Random(seed ^ 0xdead_beef);
        let ids = move || u128::from(ids.next()) << 64 | u128::from(ids.next());
        let mut plane = CallPlane::new(settings, Dialplan::parse(PLAN).unwrap(), Box::new(ids));
        if is_controlled {
            let domain = Text::new("c");
            plane.handle(Now::default(), Event::Admin(AdminEvent::Control { domain, on: true }));
        }
        Self {
            plane,
            monitor: Monitor::default(),
            random,
            now: Now::default(),
            requests: 0,
            hooks: Vec::new(),
            calls: Vec::new(),
            sessions: 0,
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), String> {
        self.monitor.asked(&event);
        let text = format!("{event:?}");
        self.plane.handle(self.now, event);
        self.drain().map_err(|broken| format!("{broken}\nafter {text}"))
    }

    fn drain(&mut self) -> Result<(), String> {
        while let Some(action) = self.plane.poll_action() {
            self.monitor.see(&action)?;
            match &action {
                Action::AskHook(question) => self.hooks.push(question.hook),
                Action::Reply {
                    reply: Reply::Calling { call, .. },
                    ..
                } => self.calls.push(*call),
                Action::Media(MediaAction::Count { leg }) if self.random.below(2) == 0 => {
                    let counters = Counters::default();
                    let event = MediaEvent::Counters { leg: *leg, counters };
                    self.plane.handle(self.now, Event::Media(event));
                }
                Action::Media(MediaAction::Play { play, .. }) if self.random.below(2) == 0 => {
                    let (play, whole) = (*play, self.random.below(2) == 0);
                    self.plane
                        .handle(self.now, Event::Media(MediaEvent::Played { play, whole }));
                }
                _ => {}
            }
        }
        self.monitor.check(&self.plane)
    }

    fn pass(&mut self, time: Duration) -> Result<(), String> {
        self.now.since_start += time;
        // The wall clock jumps about.
        self.now.unix_ms = self.random.next() % 4_000_000_000_000;
        let mut turns = 0;
        while self.plane.poll_timeout().is_some_and(|at| at <= self.now.since_start) {
            self.plane.handle_timeout(self.now);
            self.drain().map_err(|broken| format!("{broken}\nafter a time-out"))?;
            turns += 1;
            if turns > 1000 {
                return Err("timers do not come to an end".to_owned());
            }
        }
        Ok(())
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    /// Nearly always one that is registered.
    fn session(&mut self) -> SessionId {
        let live: Vec<SessionId> = self.plane.devices.keys().copied().collect();
        if !live.is_empty() && self.random.below(30) > 0 {
            return self.random.of(&live);
        }
        SessionId(self.random.below(usize::try_from(self.sessions).unwrap() + 2) as u128)
    }

    /// A call that this session may have; sometimes any other.
    fn call_for(&mut self, session: SessionId) -> CallId {
        let own: Vec<CallId> = self
            .plane
            .device(session)
            .map(|device| device.legs.iter().map(|leg| leg.call).collect())
            .unwrap_or_default();
        if !own.is_empty() && self.random.below(20) > 0 {
            return self.random.of(&own);
        }
        match self.calls.len() {
            0 => CallId(7),
            count => self.calls[count - 1 - self.random.below(count.min(5))],
        }
    }

    fn ringing(&self, session: SessionId) -> Option<CallId> {
        let legs = &self.plane.devices.get(&session)?.legs;
        let mut legs = legs.iter().map(|leg| &self.plane.legs[leg]);
        let ringing = legs.find(|leg| leg.answered.is_none() && leg.role != LegRole::Caller);
        ringing.map(|leg| leg.id.call)
    }

    fn leg_in(&mut self, call: CallId) -> LegId {
        let legs: Vec<LegId> = self
            .plane
            .call(call)
            .map(|view| view.legs.iter().map(|leg| leg.leg).collect())
            .unwrap_or_default();
        match legs.len() {
            0 => LegId {
                call,
                leg: LegNumber(1),
            },
            _ => self.random.of(&legs),
        }
    }

    fn dialled(&mut self) -> Number {
        let numbers = [
            "1", "1", "2", "2", "3", "3", "4", "4", "4", "5", "5", "5", "7@C", "7@C", "7@c", "80", "81", "82", "83",
            "84", "85", "85", "86", "87", "88", "89", "89", "99",
        ];
        number(self.random.of(&numbers))
    }

    fn step(&mut self) -> Result<(), String> {
        let request = self.request();
        let session = self.session();
        match self.random.below(100) {
            0..=7 => self.register(request),
            8 => self.handle(Event::Register(RegisterEvent::Unregister { request, session })),
            9..=11 => self.handle(Event::Register(RegisterEvent::Lost { session })),
            12..=18 => self.handle(Event::Register(RegisterEvent::Resume { request, session })),
            19..=24 => {
                let wait = self.random.of(&[100, 1000, 5000, 12_000, 31_000]);
                self.pass(Duration::from_millis(wait))
            }
            25..=27 => self.supervise(request, session),
            28..=29 => self.watch(request, session),
            36..=49 if !self.monitor.dialogs.is_empty() => self.control(request),
            30..=32 => self.media(session),
            33..=35 => self.admin(),
            _ => {
                let api = self.random.below(15) == 0;
                let leg = self.random.of(&[None, Some(LegNumber(1)), Some(LegNumber(2))]);
                let actor = if api { Actor::Api { leg } } else { self.actor(session) };
                let event = self.call_event(session);
                self.handle(Event::Call { request, actor, event })
            }
        }
    }

    /// The session, or one of its legs.
    fn actor(&mut self, session: SessionId) -> Actor {
        let legs = self.plane.device(session).map(|device| device.legs).unwrap_or_default();
        match legs.len() {
            0 => Actor::Session(session),
            _ if self.random.below(3) > 0 => Actor::Session(session),
            _ => Actor::Leg(self.random.of(&legs)),
        }
    }

    fn register(&mut self, request: RequestId) -> Result<(), String> {
        // Seldom a session that there was.
        let fresh = self.random.below(5) > 0;
        if fresh {
            self.sessions += 1;
        }
        let session = if fresh {
            SessionId(self.sessions)
        } else {
            self.session()
        };
        let text = self.random.of(&["1", "1", "2", "2", "3", "4", "4", "5", "9"]);
        let mut registration = Registration::phone(session, number(text));
        if text == "9" {
            registration.kind = DeviceKind::Trunk;
        }
        registration.device = self.random.of(&[None, Some(Text::new("desk")), Some(Text::new("web"))]);
        registration.supervisor = text == "4";
        registration.ringable = self.random.below(10) > 0;
        registration.meets = self.random.below(4) > 0;
        registration.codecs = self.random.of(&[Codecs::all(), [Codec::Pcma].into_iter().collect()]);
        let registration = Box::new(registration);
        self.handle(Event::Register(RegisterEvent::Register { request, registration }))
    }

    fn call_event(&mut self, session: SessionId) -> CallEvent {
        let call = self.call_for(session);
        // What rings is answered more often than not, so that there is something to transfer.
        if let Some(ringing) = self.ringing(session).filter(|_| self.random.below(2) > 0) {
            return CallEvent::Answer {
                call: ringing,
                sdp: None,
            };
        }
        match self.random.below(33) {
            0..=5 => {
                let mut dial = Dial::to(self.dialled());
                dial.timeout = self.random.of(&[None, Some(seconds(3))]);
                // Ids of calls that are over are the adapter's not to use again.
                if self.random.below(20) == 0 && self.plane.call(call).is_some() {
                    dial.call = Some(call);
                }
                CallEvent::Dial(Box::new(dial))
            }
            6 => CallEvent::Originate {
                from: self.dialled(),
                to: self.dialled(),
                call: None,
                timeout: None,
            },
            7..=10 => CallEvent::Ringing {
                call,
                early_media: self.random.below(2) == 0,
                sdp: None,
            },
            11..=15 => CallEvent::Answer { call, sdp: None },
            29 | 31..=32 => CallEvent::Codecs {
                call,
                codecs: self.random.of(&[Codecs::default().with(Codec::Pcmu), Codecs::all()]),
                speaks: self.random.of(&[None, Some(Codec::Pcmu), Some(Codec::Pcma)]),
            },
            16 => self.other_event(call),
            17..=18 => CallEvent::Hangup { call, cause: None },
            19..=20 => CallEvent::Hold {
                call,
                hold: self.random.below(2) == 0,
            },
            21 => CallEvent::Mute {
                call,
                muted: self.random.below(2) == 0,
            },
            22 => CallEvent::Dtmf {
                call,
                digits: Text::new(self.random.of(&["1", "#*", "x", ""])),
                duration: seconds(0),
            },
            23..=27 => self.conference_event(session, call),
            28 => CallEvent::Signal {
                call,
                to: self.random.of(&[
                    None,
                    Some(LegId {
                        call,
                        leg: LegNumber(1),
                    }),
                ]),
                signal: Signal::Candidate(Payload::new("candidate").unwrap()),
            },
            _ => CallEvent::Record {
                call,
                on: self.random.below(2) == 0,
            },
        }
    }

    /// Who is called wants it to end otherwise; or somebody comes in its place.
    fn other_event(&mut self, call: CallId) -> CallEvent {
        match self.random.below(4) {
            0 => CallEvent::Forward {
                call,
                to: self.dialled(),
            },
            1..=2 => CallEvent::Replace(Box::new(Replace {
                leg: self.leg_in(call),
                from: Some((self.dialled(), Text::default())),
                codecs: self
                    .random
                    .of(&[Codecs::default(), Codecs::default().with(Codec::Pcmu)]),
            })),
            _ => CallEvent::Reject {
                call,
                reason: self.random.of(&[RejectReason::Busy, RejectReason::Declined]),
                scope: self.random.of(&[RejectScope::Device, RejectScope::All]),
            },
        }
    }

    fn conference_event(&mut self, session: SessionId, call: CallId) -> CallEvent {
        match self.random.below(5) {
            0..=1 => CallEvent::Transfer {
                call,
                to: match self.random.below(3) {
                    0 => TransferTo::Number(self.dialled()),
                    1 => TransferTo::Call(self.call_for(session)),
                    _ => match self.actor(session) {
                        Actor::Leg(leg) => TransferTo::Leg(leg),
                        Actor::Session(_) | Actor::Api { .. } => TransferTo::Call(call),
                    },
                },
            },
            2 => CallEvent::Add {
                call,
                to: self.dialled(),
            },
            3 => CallEvent::Remove {
                call,
                leg: self.leg_in(call),
            },
            _ => CallEvent::Merge {
                call,
                other: self.call_for(session),
            },
        }
    }

    fn supervise(&mut self, request: RequestId, session: SessionId) -> Result<(), String> {
        let actor = self.random.of(&[Actor::Session(session), Actor::Api { leg: None }]);
        let live: Vec<CallId> = self.plane.calls.keys().copied().collect();
        let call = if live.is_empty() {
            CallId(7)
        } else {
            self.random.of(&live)
        };
        let leg = self.leg_in(call);
        let mode = self
            .random
            .of(&[SuperviseMode::Listen, SuperviseMode::Whisper(leg), SuperviseMode::Barge]);
        let event = match self.random.below(8) {
            0..=4 => SuperviseEvent::Join { session, call, mode },
            5 => SuperviseEvent::Stop { session, call },
            6 => SuperviseEvent::Disconnect { call },
            _ => SuperviseEvent::TakeOver { session, call, leg },
        };
        self.handle(Event::Supervise { request, actor, event })
    }

    fn watch(&mut self, request: RequestId, session: SessionId) -> Result<(), String> {
        let event = match self.random.below(4) {
            0 => WatchEvent::Numbers(vec![self.dialled(), self.dialled()]),
            1 => WatchEvent::Calls(self.random.below(2) == 0),
            _ => WatchEvent::Agent(
                self.random
                    .of(&[AgentState::Ready, AgentState::Away, AgentState::WrapUp]),
            ),
        };
        self.handle(Event::Watch {
            request,
            session,
            event,
        })
    }

    /// A dialog that there was, the latest most often.
    fn dialog(&mut self) -> CallId {
        let live: Vec<CallId> = self
            .plane
            .legs
            .values()
            .filter(|leg| leg.is_controlled)
            .map(|leg| leg.id.call)
            .collect();
        if live.is_empty() || self.random.below(20) == 0 {
            let all: Vec<CallId> = self.monitor.dialogs.iter().copied().collect();
            return self.random.of(&all);
        }
        self.random.of(&live)
    }

    fn control(&mut self, request: RequestId) -> Result<(), String> {
        let dialog = self.dialog();
        let event = match self.random.below(20) {
            0..=6 => {
                let dialog = CallId(u128::from(self.random.next()));
                ControlEvent::Invite(Box::new(Invite {
                    dialog,
                    to: self.dialled(),
                    via: None,
                    from: (number("7@c"), Text::default()),
                    timeout: self.random.of(&[None, Some(seconds(3))]),
                }))
            }
            7 => ControlEvent::Ring { dialog },
            8..=11 => ControlEvent::Answer { dialog },
            12 => ControlEvent::Hangup {
                dialog,
                cause: self.random.of(&[None, Some(Cause::Busy)]),
            },
            13..=16 => ControlEvent::Mix {
                dialog,
                other: self.dialog(),
            },
            17 => ControlEvent::Unmix { dialog },
            _ => ControlEvent::Referred {
                dialog,
                failed: self.random.of(&[None, Some(Cause::Busy)]),
            },
        };
        self.handle(Event::Control { request, event })
    }

    fn media(&mut self, session: SessionId) -> Result<(), String> {
        let call = self.call_for(session);
        let leg = self.leg_in(call);
        let event = match self.random.below(3) {
            0 => MediaEvent::Flowing { leg },
            1 => MediaEvent::Counters {
                leg,
                counters: Counters::default(),
            },
            _ => MediaEvent::Quality {
                leg,
                quality: Quality {
                    rtt: Duration::MAX,
                    mos: Some(f32::NAN),
                    ..Quality::default()
                },
            },
        };
        self.handle(Event::Media(event))
    }

    fn admin(&mut self) -> Result<(), String> {
        let event = match self.random.below(8) {
            0 => AdminEvent::ReplaceDialplan(Box::default()),
            1 => AdminEvent::Declare {
                numbers: vec![self.dialled()],
                exist: self.random.below(2) == 0,
            },
            2..=4 => AdminEvent::ReplaceDialplan(Box::new(Dialplan::parse(PLAN).unwrap())),
            _ => {
                let Some(hook) = self.hooks.pop() else { return Ok(()) };
                let answer = match self.random.below(4) {
                    0 => HookAnswer::Failed,
                    1 => HookAnswer::Reject(Cause::Forbidden),
                    2 => HookAnswer::Target(Target::Dial(self.dialled())),
                    _ => HookAnswer::Target("queue/line".parse().unwrap()),
                };
                AdminEvent::HookAnswered { hook, answer }
            }
        };
        self.handle(Event::Admin(event))
    }

    /// Everybody leaves, or the switch stops; either way nothing is left.
    fn finish(&mut self) -> Result<(), String> {
        if self.random.below(2) == 0 {
            self.handle(Event::Admin(AdminEvent::Shutdown))?;
        } else {
            for session in 0..=self.sessions + 2 {
                let session = SessionId(session);
                self.handle(Event::Register(RegisterEvent::Lost { session }))?;
            }
            self.pass(seconds(40))?;
        }
        self.pass(seconds(5))?;
        self.monitor.check_end()?;
        let plane = &self.plane;
        let empty = plane.legs.is_empty()
            && plane.calls.is_empty()
            && plane.devices.is_empty()
            && plane.queues.is_empty()
            && plane.hooks.is_empty()
            && plane.books.is_empty()
            && plane.counted.is_empty()
            && plane.call_watchers.is_empty();
        if !empty || plane.numbers.values().any(|entry| !entry.is_declared) {
            return Err(format!("something is left: {plane:?} {:?}", plane.numbers));
        }
        if plane.timers.len() > plane.numbers.len() {
            return Err("timers are left".to_owned());
        }
        Ok(())
    }
}

#[test]
fn whatever_happens_every_leg_ends_once_and_nothing_is_held() {
    // More by `CALLS_SEEDS=5000 cargo test --release …`.
    let seeds = std::env::var("CALLS_SEEDS").ok().and_then(|count| count.parse().ok());
    for seed in 0..seeds.unwrap_or(SEEDS) {
        let mut run = Run::new(seed);
        let steps = 20 + run.random.below(300);
        for step in 0..steps {
            run.step()
                .unwrap_or_else(|broken| panic!("seed {seed}, step {step}: {broken}"));
        }
        run.finish()
            .unwrap_or_else(|broken| panic!("seed {seed}, at the end: {broken}"));
    }
}

/// A run takes some milliseconds.
const SEEDS: u64 = 80;
