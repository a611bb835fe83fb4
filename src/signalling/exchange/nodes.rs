//! Other machines: what they are told of what is here, and what is made of what they say. See [`crate::nodes`].

use std::time::Instant;

use moqswitch_calls::{
    CallId, CallRecord, CallView, Cause, DeviceKind, EndedBy, Event, LegRecord, LegState, Notice, QualitySummary,
    RegisterEvent, Registration, SessionId, Text, Times, WatchEvent, limits,
};
use tokio::sync::mpsc;

use super::{Asker, Exchange, draw, unix_ms};
use crate::limits::NODE_REFRESH_INTERVAL;
use crate::nodes::{
    Body, Change, FromEngine, News, NodeName, NodeSettings, Nodes, OwnDevice, Remains, Shadow, SharedDevice,
};

/// What others are to be told of, once the plane has taken it.
pub(super) enum Sharing {
    Register {
        registration: Box<Registration>,
        /// The session whose place it takes.
        replaced: Option<SessionId>,
        was_lost: bool,
    },
    Change(Change),
}

impl Exchange {
    /// This is one machine of several from here on. What is heard of the others comes by the receiver.
    pub(crate) fn join_nodes(&mut self, settings: NodeSettings) -> Option<mpsc::Receiver<FromEngine>> {
        let run = u64::try_from(draw(&self.random) >> 64).unwrap_or_default();
        let mut nodes = Nodes::new(settings, run, Instant::now());
        let heard = nodes.take_heard();
        self.nodes = Some(Box::new(nodes));
        heard
    }

    /// Takes what was heard of others.
    pub(crate) fn take_from_engine(&mut self, heard: FromEngine) {
        let now = Instant::now();
        let Some(nodes) = &mut self.nodes else { return };
        match heard {
            FromEngine::Up => {
                nodes.is_up = true;
                nodes.beat_at = now;
                nodes.peers.begin_anew(now);
                let peers: Vec<NodeName> = nodes.peers.names().cloned().collect();
                tracing::info!(node = %nodes.name, peers = peers.len(), "other machines can be heard");
                for peer in peers {
                    nodes.say(Some(&peer), Body::AskLegs);
                }
            }
            FromEngine::Down => {
                nodes.is_up = false;
                tracing::warn!(
                    "other machines cannot be heard: calls go on, and what is known of devices stays as it is"
                );
            }
            FromEngine::Message(message) => {
                let Some(envelope) = nodes.read(&message) else { return };
                let from = envelope.from.clone();
                match nodes.peers.take(envelope, now) {
                    Some(news) => news.into_iter().for_each(|news| self.take_news(&from, news)),
                    None => nodes.counts.unread += 1,
                }
            }
        }
        self.finish_turn();
    }

    fn take_news(&mut self, from: &NodeName, news: News) {
        let Some(nodes) = &mut self.nodes else { return };
        match news {
            News::Joined => {
                tracing::info!(node = %from, "another machine is there");
                nodes.say(Some(from), Body::AskLegs);
            }
            News::Left(remains) => self.take_leave(from, *remains),
            News::Changed(changes) => changes.into_iter().for_each(|change| self.take_change(from, change)),
            News::AskTable => _ = nodes.say(Some(from), Body::AskTable),
            News::Missed => {
                nodes.counts.missed += 1;
                nodes.say(Some(from), Body::AskLegs);
            }
            News::WantsTable => {
                // What is pending is a change of the table that is told.
                self.flush_nodes();
                let (calls, extras) = (self.shared_calls(), self.lost_devices());
                if let Some(nodes) = &mut self.nodes {
                    nodes.say_table(from, calls, extras);
                }
            }
            News::Legs(legs) => self.compare_legs(from, legs),
            News::Message(Body::Request { request, asked }) => self.serve_request(from, request, asked),
            News::Message(Body::Facts(facts)) => self.take_facts(from, facts),
            News::Message(Body::Told { answers, orders }) => self.take_told(from, answers, orders),
            News::Message(Body::AskLegs) => self.tell_legs(from),
            News::Message(_) => {}
        }
    }

    /// Another machine's table is otherwise.
    fn take_change(&mut self, from: &NodeName, change: Change) {
        let Some(nodes) = &mut self.nodes else { return };
        let ended = nodes.peers.note(from, &change);
        match change {
            Change::Device(device) => self.take_device(from, &device),
            Change::Lost(session) if nodes.is_of(session, from) => {
                self.handle_one(Event::Register(RegisterEvent::Lost { session }));
            }
            Change::Back(session) if nodes.is_of(session, from) => {
                let request = self.request_id(Asker::Nobody);
                self.handle_one(Event::Register(RegisterEvent::Resume { request, session }));
            }
            Change::Gone(session) if nodes.is_of(session, from) => {
                self.handle_one(Event::Register(RegisterEvent::Gone { session }));
            }
            Change::Agent(session, state) if nodes.is_of(session, from) => {
                let request = self.request_id(Asker::Nobody);
                let event = WatchEvent::Agent(state);
                self.handle_one(Event::Watch {
                    request,
                    session,
                    event,
                });
            }
            Change::Lost(_) | Change::Back(_) | Change::Gone(_) | Change::Agent(..) => {}
            Change::Call(view) => self.note_call_elsewhere(view.call, Some(&view)),
            Change::Over(call, cause) => {
                self.note_call_elsewhere(call, None);
                if let Some(view) = ended {
                    self.tell_watchers(&ended_view(view, cause));
                }
            }
        }
    }

    /// A device of another machine, or what it says of itself now. Of two of one name the later one has it.
    fn take_device(&mut self, from: &NodeName, device: &SharedDevice) {
        let Some(nodes) = &self.nodes else { return };
        let session = device.session;
        let age = (device.since_ms, from);
        let others = self
            .plane
            .number(&device.number)
            .map(|view| view.devices)
            .unwrap_or_default();
        let is_later = others
            .iter()
            .filter(|other| other.device == device.device)
            .any(|other| {
                let own = nodes.own.get(&other.session);
                let own = own.map(|own| (own.shared.since_ms, &nodes.name));
                let shadow = nodes.shadows.get(&other.session).filter(|_| other.session != session);
                let shadow = shadow.map(|shadow| (shadow.since_ms, &shadow.node));
                own.or(shadow).is_some_and(|other| other > age)
            });
        if is_later {
            return;
        }
        let was_there = nodes.shadows.contains_key(&session);
        let granted = nodes.shadows.get(&session).map(|shadow| shadow.granted.clone());
        let shadow = Shadow {
            node: from.clone(),
            granted: granted.unwrap_or_default(),
            since_ms: device.since_ms,
        };
        if let Some(nodes) = &mut self.nodes {
            nodes.shadows.insert(session, shadow);
        }
        if device.begins_anew && was_there {
            self.handle_one(Event::Register(RegisterEvent::Lost { session }));
        }
        let registration = Registration {
            device: Some(device.device.clone()),
            display_name: device.display_name.clone(),
            expires: Some(limits::REGISTRATION_EXPIRES_MAX),
            ringable: device.ringable,
            meets: device.meets,
            supervisor: device.supervisor,
            codecs: device.codecs,
            contact: Text::new(&format!("{} ({from})", device.contact)),
            agent: device.agent.clone(),
            ..Registration::phone(session, device.number.clone())
        };
        let request = self.request_id(Asker::Nobody);
        let registration = Box::new(registration);
        self.handle_one(Event::Register(RegisterEvent::Register { request, registration }));
        if self.plane.device(session).is_none() {
            if let Some(nodes) = &mut self.nodes {
                nodes.shadows.remove(&session);
                nodes.counts.refused += 1;
            }
            return;
        }
        self.tell_elsewhere(session);
    }

    /// A machine is gone, or stopped and was started again: its devices are, and the calls that were its.
    fn take_leave(&mut self, from: &NodeName, remains: Remains) {
        let (devices, calls) = (remains.devices.len(), remains.calls.len());
        tracing::warn!(node = %from, devices, calls, "another machine is gone, with its devices and calls");
        for (call, view) in remains.calls {
            self.note_call_elsewhere(call, None);
            self.record_orphan(from, &view);
            self.tell_watchers(&ended_view(view, Cause::Unreachable));
        }
        let legs = self.nodes.as_ref().map(|nodes| nodes.legs_at(from)).unwrap_or_default();
        for leg in legs {
            self.end_away(leg, Cause::Unreachable, EndedBy::System);
        }
        for session in remains.devices {
            if self.nodes.as_ref().is_some_and(|nodes| nodes.is_of(session, from)) {
                self.handle_one(Event::Register(RegisterEvent::Gone { session }));
            }
        }
    }

    /// Of a call whose machine is gone one of those writes the record that had devices in it: the first by name.
    fn record_orphan(&mut self, from: &NodeName, view: &CallView) {
        let Some(nodes) = &self.nodes else { return };
        let homes = view.legs.iter().filter_map(|leg| {
            let is_own = nodes.own.contains_key(&nodes.local(leg.session));
            let own = is_own.then_some(&nodes.name);
            own.or_else(|| nodes.shadows.get(&leg.session).map(|shadow| &shadow.node))
        });
        if homes.filter(|home| *home != from).min() != Some(&nodes.name) {
            return;
        }
        let end_ms = unix_ms();
        let times = |start_ms, ring_ms, answer_ms: Option<u64>| Times {
            start_ms,
            ring_ms,
            answer_ms,
            end_ms,
            duration: std::time::Duration::from_millis(answer_ms.map_or(0, |at| end_ms.saturating_sub(at))),
            setup: answer_ms.map(|at| std::time::Duration::from_millis(at.saturating_sub(start_ms))),
        };
        let legs = view.legs.iter().map(|leg| LegRecord {
            leg: leg.leg,
            call: view.call,
            party: leg.party.clone(),
            role: leg.role,
            times: times(leg.start_ms, leg.ring_ms, leg.answer_ms),
            cause: Cause::Unreachable,
            by: EndedBy::System,
            codec: leg.sends,
            counters: None,
            quality: QualitySummary::default(),
        });
        let record = CallRecord {
            call: view.call,
            from: view.from.clone(),
            dialled: view.dialled.clone(),
            answered_by: view.answered_by.clone(),
            times: times(view.start_ms, view.ring_ms, view.answer_ms),
            cause: Cause::Unreachable,
            by: EndedBy::System,
            rule: None,
            queue: view.queue.clone(),
            transfers: Vec::new(),
            transfers_left_out: 0,
            recorded: view.recorded,
            legs: legs.collect(),
            legs_left_out: 0,
        };
        self.file_record(&record);
    }

    fn note_call_elsewhere(&mut self, call: CallId, view: Option<&CallView>) {
        let Some(nodes) = &mut self.nodes else { return };
        for session in nodes.note_call(call, view) {
            self.tell_elsewhere(session);
        }
        if let Some(view) = view {
            self.tell_watchers(view);
        }
    }

    /// The plane is told which legs a device has in calls of others.
    fn tell_elsewhere(&mut self, session: SessionId) {
        let Some(nodes) = &self.nodes else { return };
        let (legs, is_busy) = nodes.elsewhere(session);
        self.handle_one(Event::Register(RegisterEvent::Elsewhere { session, legs, is_busy }));
    }

    /// Who watches all calls is told of those of others.
    fn tell_watchers(&mut self, view: &CallView) {
        let watchers: Vec<SessionId> = self.plane.call_watchers().collect();
        if watchers.is_empty() {
            return;
        }
        let view = self.localized(view);
        for session in watchers {
            self.notify(session, &Notice::Call(Box::new(view.clone())));
        }
    }

    /// Before the plane takes an event: what others may have to be told of it.
    pub(super) fn before_sharing(&mut self, event: &Event) -> Option<Sharing> {
        let nodes = self.nodes.as_mut()?;
        match event {
            Event::Register(RegisterEvent::Register { registration, .. }) => {
                let session = registration.session;
                if registration.kind != DeviceKind::Phone || nodes.shadows.contains_key(&session) {
                    return None;
                }
                let devices = self.plane.number(&registration.number).map(|view| view.devices);
                let devices = devices.unwrap_or_default();
                let was_lost = devices.iter().any(|device| device.session == session && device.is_lost);
                let is_replaced = |device: &&moqswitch_calls::DeviceView| {
                    device.session != session && Some(&device.device) == registration.device.as_ref()
                };
                let replaced = devices.iter().find(is_replaced).map(|device| device.session);
                let replaced = replaced.filter(|old| nodes.own.contains_key(old));
                if let Some(old) = replaced {
                    nodes.move_own(old, session);
                }
                Some(Sharing::Register {
                    registration: registration.clone(),
                    replaced,
                    was_lost,
                })
            }
            Event::Register(RegisterEvent::Lost { session }) if nodes.own.contains_key(session) => {
                Some(Sharing::Change(Change::Lost(nodes.public(*session))))
            }
            Event::Register(RegisterEvent::Resume { session, .. }) if nodes.own.contains_key(session) => {
                Some(Sharing::Change(Change::Back(nodes.public(*session))))
            }
            Event::Watch {
                session,
                event: WatchEvent::Agent(state),
                ..
            } if nodes.own.contains_key(session) => {
                Some(Sharing::Change(Change::Agent(nodes.public(*session), *state)))
            }
            _ => None,
        }
    }

    /// After it: they are told when the turn is over.
    pub(super) fn share(&mut self, sharing: Sharing) {
        let Some(nodes) = &mut self.nodes else { return };
        match sharing {
            Sharing::Register {
                registration,
                replaced,
                was_lost,
            } => self.share_device(&registration, replaced, was_lost),
            Sharing::Change(change) => nodes.pending.push(change),
        }
    }

    fn share_device(&mut self, registration: &Registration, replaced: Option<SessionId>, was_lost: bool) {
        let session = registration.session;
        let Some(nodes) = &mut self.nodes else { return };
        let Some(view) = self.plane.device(session) else {
            if let Some(old) = replaced {
                nodes.move_own(session, old);
            }
            return;
        };
        let before = nodes.own.get(&session);
        let begins_anew = before.is_none() || replaced.is_some() || was_lost;
        let shared = SharedDevice {
            session: nodes.public(session),
            number: view.number,
            device: view.device,
            display_name: view.display_name,
            ringable: registration.ringable,
            meets: registration.meets,
            supervisor: registration.supervisor,
            codecs: registration.codecs,
            contact: view.contact,
            agent: view.agent,
            since_ms: match before {
                Some(own) if replaced.is_none() => own.shared.since_ms,
                _ => unix_ms(),
            },
            begins_anew,
        };
        let is_told = before.is_some_and(|own| own.shared == shared && own.told.elapsed() < NODE_REFRESH_INTERVAL);
        if is_told && !begins_anew {
            return;
        }
        let own = OwnDevice {
            // What is kept is compared with what comes next.
            shared: SharedDevice {
                begins_anew: false,
                ..shared.clone()
            },
            told: Instant::now(),
        };
        nodes.insert_own(session, own);
        nodes.pending.push(Change::Device(Box::new(shared)));
        if replaced.is_some() {
            self.tell_elsewhere(session);
            self.grant_again(session);
        }
    }

    /// Is a notice for a device of another machine, which learns it there? A device here that is gone is told of to others.
    pub(super) fn is_of_another(&mut self, session: SessionId, notice: &Notice) -> bool {
        let Some(nodes) = &mut self.nodes else { return false };
        let Notice::Unregistered { .. } = notice else {
            return nodes.shadows.contains_key(&session);
        };
        if let Some(own) = nodes.remove_own(session) {
            nodes.pending.push(Change::Gone(own.shared.session));
        }
        nodes.shadows.remove(&session).is_some()
    }

    /// Tells others what the turn brought.
    pub(super) fn flush_nodes(&mut self) {
        let Some(nodes) = &mut self.nodes else { return };
        let mut changes = Vec::new();
        for (call, cause) in std::mem::take(&mut nodes.changed_calls) {
            if let Some(view) = self.plane.call(call) {
                nodes.shared_calls.insert(call);
                changes.push(Change::Call(Box::new(nodes_view(nodes, view))));
            } else if nodes.shared_calls.remove(&call) {
                changes.push(Change::Over(call, cause.unwrap_or(Cause::Normal)));
            }
        }
        nodes.flush(changes);
    }

    /// A call here is over: others are told.
    pub(super) fn share_end(&mut self, call: CallId, cause: Cause) {
        if let Some(nodes) = &mut self.nodes {
            nodes.changed_calls.remove(&call);
            if nodes.shared_calls.remove(&call) {
                nodes.pending.push(Change::Over(call, cause));
            }
        }
    }

    fn shared_calls(&self) -> Vec<Change> {
        let Some(nodes) = &self.nodes else { return Vec::new() };
        let views = self.plane.calls(None, usize::MAX).into_iter();
        let views = views.map(|view| nodes_view(nodes, view));
        views.map(|view| Change::Call(Box::new(view))).collect()
    }

    /// Of devices here, those whose sockets are lost, for a table.
    fn lost_devices(&self) -> Vec<Change> {
        let Some(nodes) = &self.nodes else { return Vec::new() };
        let is_lost = |session| self.plane.device(session).is_some_and(|device| device.is_lost);
        let lost = nodes.own.iter().filter(|(session, _)| is_lost(**session));
        lost.map(|(_, own)| Change::Lost(own.shared.session)).collect()
    }

    /// When something is due that concerns others.
    pub(super) fn nodes_due(&self) -> Option<Instant> {
        let nodes = self.nodes.as_ref()?;
        Some(nodes.beat_at)
    }

    /// Signs of life, and who has given none for too long.
    pub(super) fn handle_nodes_timeout(&mut self) {
        let now = Instant::now();
        let Some(nodes) = self.nodes.as_mut().filter(|nodes| nodes.beat_at <= now) else {
            return;
        };
        let late = now.saturating_duration_since(nodes.beat_at);
        nodes.beat_at = now + nodes.times.beat;
        self.give_up_requests(now);
        let Some(nodes) = &mut self.nodes else { return };
        if !nodes.is_up {
            return;
        }
        nodes.say_beat();
        nodes.flush_facts();
        // This machine was held up. What others said meanwhile still waits to be heard.
        if late > nodes.times.silence / 2 {
            nodes.peers.begin_anew(now);
        }
        for (name, remains) in nodes.peers.silent(now, nodes.times.silence) {
            self.take_leave(&name, *remains);
        }
        self.finish_turn();
    }

    /// This machine stops: the others need not wait to find out.
    pub(super) fn leave_nodes(&mut self) {
        let Some(nodes) = &mut self.nodes else { return };
        // Their records are written here.
        let calls = std::mem::take(&mut nodes.shared_calls);
        let over = calls.into_iter().map(|call| Change::Over(call, Cause::Shutdown));
        nodes.pending.extend(over);
        self.flush_nodes();
        if let Some(nodes) = &mut self.nodes {
            nodes.say(None, Body::Bye);
            nodes.is_up = false;
        }
    }

    /// A call of another, with sessions as they are here.
    pub(super) fn localized(&self, view: &CallView) -> CallView {
        let mut view = view.clone();
        if let Some(nodes) = &self.nodes {
            view.legs
                .iter_mut()
                .for_each(|leg| leg.session = nodes.local(leg.session));
        }
        // It goes on, wherever it is.
        if let Some(at) = view.answer_ms.filter(|_| view.cause.is_none()) {
            view.duration = std::time::Duration::from_millis(unix_ms().saturating_sub(at));
        }
        view
    }
}

fn nodes_view(nodes: &Nodes, mut view: CallView) -> CallView {
    view.legs
        .iter_mut()
        .for_each(|leg| leg.session = nodes.public(leg.session));
    view
}

fn ended_view(view: CallView, cause: Cause) -> CallView {
    let mut view = view;
    view.state = moqswitch_calls::CallState::Ended;
    view.cause = Some(cause);
    view.legs.iter_mut().for_each(|leg| leg.state = LegState::Hangup);
    view
}
