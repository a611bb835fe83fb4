//! The plane itself: one state machine, told in several files. An event goes in, is carried through, and `settle` then
//! compares what devices and the relay were told with what is so.

mod answering;
mod attempt;
mod begun;
mod conference;
mod control;
mod dialling;
mod ending;
mod forwarding;
mod glare;
mod hearing;
mod hooks;
mod inviting;
mod lecture;
mod legs;
mod playing;
mod queueing;
mod records;
mod registrations;
mod renewing;
mod replacing;
mod requests;
mod restoring;
mod settle;
mod snapshot;
mod state;
mod supervision;
mod timers;
mod watching;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use crate::action::{Action, Notice, Reply, Report};
use crate::dialplan::Dialplan;
use crate::event::{AdminEvent, Event, HookAnswer};
use crate::ids::{CallId, HookId, LegId, Number, PlayId, RequestId, SessionId, Text};
use crate::limits::{NUMBERS_MAX, TIMERS_PER_TURN_MAX};
use crate::moment::Now;
use crate::refusal::Refusal;
use crate::settings::Settings;

use begun::Begun;
use records::Book;
use state::{Call, Device, Leg, NumberEntry};
use timers::{Timer, Timers};

/// Where ids of calls come from: 128 random bits each time. The plane itself has no randomness.
pub type IdSource = Box<dyn FnMut() -> u128 + Send>;

/// Numbers, devices, calls and legs of one switch. See the [crate's documentation](crate).
pub struct CallPlane {
    settings: Settings,
    dialplan: Dialplan,
    ids: IdSource,
    now: Now,
    is_stopping: bool,
    devices: BTreeMap<SessionId, Device>,
    numbers: BTreeMap<Number, NumberEntry>,
    calls: BTreeMap<CallId, Call>,
    legs: BTreeMap<LegId, Leg>,
    /// Who waits in which queue, the longest first.
    queues: BTreeMap<Text, VecDeque<CallId>>,
    hooks: BTreeMap<HookId, CallId>,
    hooks_asked: u64,
    /// Announcements that are played, and how many there were.
    plays: BTreeMap<PlayId, CallId>,
    plays_begun: u64,
    begun: Begun,
    call_watchers: BTreeSet<SessionId>,
    /// Domains whose calls a control program decides on.
    controlled: BTreeSet<Text>,
    /// Records that are not written yet.
    books: BTreeMap<CallId, Book>,
    /// Legs that are over and wait for their counters, with the calls that they ended in.
    counted: BTreeMap<LegId, CallId>,
    timers: Timers,
    /// For the caller to take.
    actions: VecDeque<Action>,
    /// What follows the grants of this turn.
    staged: Vec<Action>,
    changed: Changed,
}

/// What `settle` has to look at.
#[derive(Debug, Default)]
struct Changed {
    calls: BTreeSet<CallId>,
    sessions: BTreeSet<SessionId>,
    numbers: BTreeSet<Number>,
    queues: BTreeSet<Text>,
}

impl CallPlane {
    /// An empty plane. `ids` gives 128 random bits each time.
    pub fn new(settings: Settings, dialplan: Dialplan, ids: IdSource) -> Self {
        Self {
            settings,
            dialplan,
            ids,
            now: Now::default(),
            is_stopping: false,
            devices: BTreeMap::new(),
            numbers: BTreeMap::new(),
            calls: BTreeMap::new(),
            legs: BTreeMap::new(),
            queues: BTreeMap::new(),
            hooks: BTreeMap::new(),
            hooks_asked: 0,
            plays: BTreeMap::new(),
            plays_begun: 0,
            begun: Begun::default(),
            call_watchers: BTreeSet::new(),
            controlled: BTreeSet::new(),
            books: BTreeMap::new(),
            counted: BTreeMap::new(),
            timers: Timers::default(),
            actions: VecDeque::new(),
            staged: Vec::new(),
            changed: Changed::default(),
        }
    }

    /// Takes one event. Take every action afterwards.
    pub fn handle(&mut self, now: Now, event: Event) {
        self.advance_clock(now);
        match event {
            Event::Register(event) => self.handle_register(event),
            Event::Call { request, actor, event } => self.handle_call(request, actor, event),
            Event::Supervise { request, actor, event } => self.handle_supervise(request, actor, event),
            Event::Watch {
                request,
                session,
                event,
            } => self.handle_watch(request, session, event),
            Event::Control { request, event } => self.handle_control(request, event),
            Event::Media(event) => self.handle_media(event),
            Event::Admin(event) => self.handle_admin(event),
        }
        self.settle();
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, by [`Now::since_start`].
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Does what is due. What is left over is due at once.
    pub fn handle_timeout(&mut self, now: Now) {
        self.advance_clock(now);
        for _ in 0..TIMERS_PER_TURN_MAX {
            let Some(timer) = self.timers.pop(self.now.since_start) else {
                break;
            };
            self.handle_timer(timer);
        }
        self.settle();
    }

    /// The next thing to be done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The monotonic clock never goes back.
    fn advance_clock(&mut self, now: Now) {
        self.now = Now {
            since_start: now.since_start.max(self.now.since_start),
            ..now
        };
    }

    fn handle_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Registration(session) => self.expire(session),
            Timer::GraceAlerting(session) => self.give_up_alerting(session),
            Timer::GraceUp(session) => self.give_up(session),
            Timer::Ring(call) => self.ring_is_over(call),
            Timer::Duration(call) => self.duration_is_over(call),
            Timer::HalfDead(call) => self.look_for_media(call),
            Timer::Hook(hook) => self.handle_hook(hook, HookAnswer::Failed),
            Timer::Play(play) => self.play_is_late(play),
            Timer::QueueWait(call) => self.queue_wait_is_over(call),
            Timer::WrapUp(number) => self.wrap_up_is_over(number),
            Timer::Record(call) => self.counters_are_late(call),
        }
    }

    fn handle_admin(&mut self, event: AdminEvent) {
        match event {
            AdminEvent::Declare { numbers, exist } => self.declare(numbers, exist),
            AdminEvent::ReplaceDialplan(dialplan) => {
                self.dialplan = *dialplan;
                self.changed.queues.extend(self.queues.keys().cloned());
            }
            AdminEvent::ReplaceSettings(settings) => self.settings = *settings,
            AdminEvent::HookAnswered { hook, answer } => self.handle_hook(hook, answer),
            AdminEvent::Control { domain, on } => self.set_control(domain, on),
            AdminEvent::Shutdown => self.shut_down(),
        }
    }

    fn declare(&mut self, numbers: Vec<Number>, exist: bool) {
        for number in numbers {
            if exist && (self.numbers.len() < NUMBERS_MAX || self.numbers.contains_key(&number)) {
                self.numbers.entry(number).or_default().is_declared = true;
            } else if let Some(entry) = self.numbers.get_mut(&number) {
                entry.is_declared = exist;
                self.forget_number(&number);
            }
        }
    }

    /// A number of which nothing is known needs no entry.
    fn forget_number(&mut self, number: &Number) {
        if let Some(entry) = self.numbers.get(number)
            && !entry.is_declared
            && entry.devices.is_empty()
            && entry.watchers.is_empty()
        {
            self.timers.clear(&Timer::WrapUp(number.clone()));
            self.numbers.remove(number);
        }
    }

    fn reply(&mut self, request: RequestId, reply: Reply) {
        self.staged.push(Action::Reply { request, reply });
    }

    fn refuse(&mut self, request: RequestId, refusal: Refusal) {
        self.reply(request, Reply::Refused(refusal));
    }

    fn notify(&mut self, session: SessionId, notice: Notice) {
        self.staged.push(Action::Notify { session, notice });
    }

    fn report(&mut self, report: Report) {
        self.staged.push(Action::Report(report));
    }

    /// A time from now on. Never now: a timer that sets itself anew lets time pass.
    fn after(&self, wait: Duration) -> Duration {
        let wait = wait.max(Duration::from_millis(1));
        self.now.since_start.checked_add(wait).unwrap_or(Duration::MAX)
    }
}

impl fmt::Debug for CallPlane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CallPlane")
            .field("devices", &self.devices.len())
            .field("calls", &self.calls.len())
            .field("legs", &self.legs.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
