//! Devices here in calls of other machines: what they want goes there, and what they are told comes from there.

use std::collections::BTreeSet;
use std::time::Instant;

use moqswitch_calls::{
    Actor, CallEvent, CallId, CallView, Cause, Codecs, Ended, EndedBy, Event, Grants, LegId, LegState, MediaEvent,
    Notice, Number, Refusal, Registered, Reply, RequestId, SessionId, SuperviseEvent, TransferTo,
};

use super::{Asker, Exchange, Turn};
use crate::limits::NODE_REQUESTS_MAX;
use crate::nodes::{Answer, Asked, Awaited, AwayLeg, Body, Fact, NodeName, Nodes, Order, leg_of_notice};

impl Exchange {
    /// Sends an event to the machine that has its call. What is of calls here, or of none, comes back.
    pub(super) fn send_away(&mut self, event: Event) -> Option<Event> {
        let Some(node) = self.nodes.as_ref().and_then(|nodes| self.owner_of(nodes, &event)) else {
            return Some(event);
        };
        let Some(nodes) = &mut self.nodes else {
            return Some(event);
        };
        match event {
            Event::Call { request, actor, event } => {
                let actor = public_actor(nodes, actor);
                let event = Box::new(public_event(nodes, event));
                self.request_away(&node, request, Asked::Call { actor, event });
            }
            Event::Supervise { request, actor, event } => {
                let (actor, event) = (public_actor(nodes, actor), public_supervision(nodes, event));
                self.request_away(&node, request, Asked::Supervise { actor, event });
            }
            Event::Media(MediaEvent::Flowing { leg }) => nodes.tell_fact(node, Fact::Flowing(leg)),
            Event::Media(MediaEvent::Quality { leg, quality }) => nodes.tell_fact(node, Fact::Quality(leg, quality)),
            Event::Media(MediaEvent::Counters { leg, counters }) => {
                // A record waits for it.
                nodes.take_counters(leg);
                nodes.say(Some(&node), Body::Facts(vec![Fact::Counters(leg, counters)]));
            }
            other => return Some(other),
        }
        self.sent_away += 1;
        None
    }

    /// The machine that has the call of an event. None: this one, or it is of no call.
    fn owner_of(&self, nodes: &Nodes, event: &Event) -> Option<NodeName> {
        let of_leg = |leg| nodes.leg(leg).map(|leg| leg.node.clone());
        let of_call = |call| match self.plane.call(call) {
            Some(_) => None,
            None => nodes.call(call).map(|(node, _)| node.clone()),
        };
        match event {
            Event::Call { actor, event, .. } => match (actor, call_of(event)) {
                (Actor::Session(session), None) => {
                    // Who is in a call of another machine makes its next one there: so that the two can become one.
                    let dials = self.sessions.contains_key(session) && matches!(event, CallEvent::Dial(_));
                    nodes.place_of(*session).filter(|_| dials).cloned()
                }
                (Actor::Session(session), Some(call)) => {
                    let leg = nodes.legs_of(*session).find(|leg| leg.call == call);
                    let dialled = || {
                        let of = |awaited: &&Awaited| awaited.dialled == Some((*session, call));
                        nodes.awaited.values().find(of).map(|awaited| awaited.node.clone())
                    };
                    leg.and_then(of_leg).or_else(dialled)
                }
                (Actor::Leg(leg), _) => of_leg(*leg),
                (Actor::Api { .. }, Some(call)) => of_call(call),
                (Actor::Api { .. }, None) => None,
            },
            Event::Supervise { event, .. } => match event {
                SuperviseEvent::Join { call, .. }
                | SuperviseEvent::Stop { call, .. }
                | SuperviseEvent::Disconnect { call }
                | SuperviseEvent::TakeOver { call, .. } => of_call(*call),
            },
            Event::Media(MediaEvent::Flowing { leg } | MediaEvent::Quality { leg, .. }) => of_leg(*leg),
            Event::Media(MediaEvent::Counters { leg, .. }) => nodes.wanted_counters(*leg),
            Event::Media(MediaEvent::Played { .. })
            | Event::Register(_)
            | Event::Watch { .. }
            | Event::Control { .. }
            | Event::Admin(_) => None,
        }
    }

    /// Is a leg in a call of another machine?
    pub(crate) fn is_away(&self, leg: LegId) -> bool {
        self.nodes.as_ref().is_some_and(|nodes| nodes.leg(leg).is_some())
    }

    fn request_away(&mut self, node: &NodeName, request: RequestId, asked: Asked) {
        let Some(nodes) = &mut self.nodes else { return };
        let dialled = match &asked {
            Asked::Call {
                actor: Actor::Session(session),
                event,
            } => match &**event {
                CallEvent::Dial(dial) => dial.call.map(|call| (nodes.local(*session), call)),
                _ => None,
            },
            _ => None,
        };
        let has_room = nodes.awaited.len() < NODE_REQUESTS_MAX;
        let body = Body::Request {
            request: request.0,
            asked: asked.clone(),
        };
        if has_room && nodes.is_up && nodes.say(Some(node), body) {
            let awaited = Awaited {
                node: node.clone(),
                until: Instant::now() + nodes.times.request,
                dialled,
            };
            nodes.awaited.insert(request, awaited);
            return;
        }
        // Nobody has to wait to hang up. The other machine finds out when it can be heard again.
        let left = match &asked {
            Asked::Call { actor, event } => self.leaves(*actor, event),
            Asked::Supervise { .. } => None,
        };
        match left {
            Some(leg) => {
                self.end_away(leg, Cause::Normal, EndedBy::Leg(leg));
                self.reply(request, Reply::Done);
            }
            None => self.reply(request, Reply::Refused(Refusal::Away)),
        }
    }

    /// The leg that ends by a request of its device.
    fn leaves(&self, actor: Actor, event: &CallEvent) -> Option<LegId> {
        let nodes = self.nodes.as_ref()?;
        let (CallEvent::Hangup { call, .. } | CallEvent::Reject { call, .. } | CallEvent::Forward { call, .. }) = event
        else {
            return None;
        };
        match actor {
            Actor::Session(session) => nodes.legs_of(nodes.local(session)).find(|leg| leg.call == *call),
            Actor::Leg(leg) => nodes.leg(leg).map(|_| leg),
            Actor::Api { .. } => None,
        }
    }

    /// Requests that others have had for too long.
    pub(super) fn give_up_requests(&mut self, now: Instant) {
        let Some(nodes) = &mut self.nodes else { return };
        let late: Vec<RequestId> = nodes
            .awaited
            .iter()
            .filter(|(_, awaited)| awaited.until <= now)
            .map(|(request, _)| *request)
            .collect();
        for request in late {
            if let Some(nodes) = &mut self.nodes {
                nodes.counts.unanswered += 1;
            }
            self.take_answer(request, Answer::Refused(Refusal::Away));
        }
    }

    /// What devices here are told by calls of another.
    pub(super) fn take_told(&mut self, from: &NodeName, answers: Option<u64>, orders: Vec<Order>) {
        let answered = answers.map(RequestId);
        if let Some(Asker::Session { session, id, asked, .. }) = answered.and_then(|request| self.askers.get(&request))
        {
            self.turn = Some(Turn {
                session: *session,
                id: id.clone(),
                asked: asked.clone(),
            });
        }
        for order in orders {
            match order {
                Order::Notify {
                    session,
                    notice,
                    beside,
                } => self.take_notice(from, session, &notice, beside),
                Order::Grants(session, grants) => {
                    let Some(nodes) = &mut self.nodes else { return };
                    let session = nodes.local(session);
                    if nodes.own.contains_key(&session) {
                        self.grant_by(session, Some(from.clone()), grants);
                    }
                }
                Order::Count(leg) => {
                    if let Some(nodes) = &mut self.nodes {
                        nodes.await_counters(leg, from.clone());
                    }
                    self.media.count(leg);
                }
                Order::Reply(answer) => {
                    if let Some(request) = answered {
                        self.take_answer(request, answer);
                    }
                }
            }
        }
        self.turn = None;
    }

    fn take_answer(&mut self, request: RequestId, answer: Answer) {
        let Some(nodes) = &mut self.nodes else { return };
        // One that comes too late was refused.
        let Some(awaited) = nodes.awaited.remove(&request) else {
            return;
        };
        let reply = match answer {
            Answer::Calling { call, leg } => {
                if let (Some(leg), Some((session, _))) = (leg, awaited.dialled) {
                    self.begin_away(&awaited.node, leg, session);
                }
                Reply::Calling { call, leg }
            }
            Answer::Done => Reply::Done,
            Answer::Refused(refusal) => {
                if let Some((session, call)) = awaited.dialled {
                    self.browsing.forget(session, call);
                }
                Reply::Refused(refusal)
            }
        };
        self.reply(request, reply);
    }

    /// False: there is no room for it.
    fn begin_away(&mut self, node: &NodeName, leg: LegId, session: SessionId) -> bool {
        let Some(nodes) = &mut self.nodes else { return false };
        nodes.leg(leg).is_some()
            || nodes.insert_leg(
                leg,
                AwayLeg {
                    node: node.clone(),
                    session,
                    up: None,
                    beside: None,
                },
            )
    }

    fn take_notice(&mut self, from: &NodeName, public: SessionId, notice: &Notice, beside: Option<(Codecs, Codecs)>) {
        let Some(nodes) = &mut self.nodes else { return };
        let session = nodes.local(public);
        let Some(leg) = leg_of_notice(notice) else { return };
        if let Notice::Ended(_) = notice {
            nodes.remove_leg(leg);
            return self.notify(session, notice);
        }
        if !nodes.own.contains_key(&session) {
            return self.hang_up_away(from, leg, Cause::Unreachable);
        }
        if !self.begin_away(from, leg, session) {
            return self.hang_up_away(from, leg, Cause::Congestion);
        }
        if let Some(own) = self.nodes.as_mut().and_then(|nodes| nodes.leg_mut(leg)) {
            own.beside = beside.or(own.beside);
            if let Notice::Accepted(_) = notice {
                own.up.get_or_insert_with(Instant::now);
            }
        }
        self.notify(session, notice);
    }

    /// Another machine is told that a leg is over that has no device here.
    fn hang_up_away(&mut self, node: &NodeName, leg: LegId, cause: Cause) {
        let event = CallEvent::Hangup {
            call: leg.call,
            cause: Some(cause),
        };
        let asked = Asked::Call {
            actor: Actor::Leg(leg),
            event: Box::new(event),
        };
        if let Some(nodes) = &mut self.nodes {
            nodes.say(Some(node), Body::Request { request: 0, asked });
        }
    }

    /// A leg in a call of another ends here, as that machine cannot be heard, or has forgotten it.
    pub(super) fn end_away(&mut self, leg: LegId, cause: Cause, by: EndedBy) {
        let Some(nodes) = &mut self.nodes else { return };
        let Some(own) = nodes.remove_leg(leg) else { return };
        let has_more = nodes
            .legs_of(own.session)
            .any(|leg| nodes.leg(leg).is_some_and(|leg| leg.node == own.node));
        if !has_more {
            self.grant_by(own.session, Some(own.node), Grants::default());
        }
        let ended = Ended {
            call: leg.call,
            leg,
            request: None,
            alias: None,
            cause,
            by,
            answered_by: None,
            duration: own.up.map(|at| at.elapsed()).unwrap_or_default(),
            setup: None,
            mos: None,
        };
        self.notify(own.session, &Notice::Ended(Box::new(ended)));
    }

    /// All legs that devices here have in calls of another. What both do not agree on ends.
    pub(super) fn compare_legs(&mut self, from: &NodeName, legs: Vec<(SessionId, LegId, bool)>) {
        let Some(nodes) = &self.nodes else { return };
        let told: BTreeSet<LegId> = legs.iter().map(|(_, leg, _)| *leg).collect();
        let forgotten: Vec<LegId> = nodes
            .legs_at(from)
            .into_iter()
            .filter(|leg| !told.contains(leg))
            .collect();
        let unknown: Vec<LegId> = legs
            .into_iter()
            .filter(|(_, leg, is_up)| nodes.leg(*leg).is_none_or(|own| own.up.is_some() != *is_up))
            .map(|(_, leg, _)| leg)
            .collect();
        for leg in forgotten {
            self.end_away(leg, Cause::Unreachable, EndedBy::System);
        }
        for leg in unknown {
            self.hang_up_away(from, leg, Cause::Unreachable);
        }
    }

    /// What a device may do by calls of one machine. The relay is told what it may do by all.
    pub(super) fn grant_by(&mut self, session: SessionId, of: Option<NodeName>, grants: Grants) {
        let all = match &mut self.nodes {
            Some(nodes) if nodes.own.contains_key(&session) => nodes.grant(session, of, grants),
            Some(_) | None => grants,
        };
        // The gateway's telephones have no session at the relay.
        if !self.outlet.has(session) && !self.asterisk.has(session) {
            self.grant(session, all);
        }
    }

    /// A device has another session: the relay is told what it may do by calls of others.
    pub(super) fn grant_again(&mut self, session: SessionId) {
        let Some(nodes) = &self.nodes else { return };
        let all = nodes.granted(session);
        if !all.is_empty() && !self.outlet.has(session) && !self.asterisk.has(session) {
            self.grant(session, all);
        }
    }

    /// A call, here or of another machine.
    pub(crate) fn call(&self, call: CallId) -> Option<CallView> {
        let elsewhere = || {
            let (_, view) = self.nodes.as_ref()?.call(call)?;
            Some(self.localized(view))
        };
        self.plane.call(call).or_else(elsewhere)
    }

    /// Calls here and of others, by id, beginning behind `after`, at most `count`.
    pub(crate) fn calls(&self, after: Option<CallId>, count: usize) -> Vec<CallView> {
        let mut calls = self.plane.calls(after, count);
        let Some(nodes) = &self.nodes else { return calls };
        for (_, peer) in nodes.peers.iter() {
            let first = after.map_or(0, |CallId(id)| id.saturating_add(1));
            let theirs = peer.calls.range(CallId(first)..).take(count);
            calls.extend(theirs.map(|(_, view)| self.localized(view)));
        }
        calls.sort_by_key(|call| call.call);
        calls.truncate(count);
        calls
    }

    /// How many calls there are, here and of others.
    pub(crate) fn calls_count(&self) -> usize {
        let elsewhere = self.nodes.as_ref().map_or(0, |nodes| {
            let peers = nodes.peers.iter();
            peers.map(|(_, peer)| peer.calls.len()).sum()
        });
        self.plane.calls_count() + elsewhere
    }

    /// Calls in which a number has a leg.
    pub(crate) fn calls_of(&self, number: &Number) -> Vec<CallView> {
        let mut calls = self.plane.calls_of(number);
        let Some(nodes) = &self.nodes else { return calls };
        let devices = self.plane.number(number).map(|view| view.devices).unwrap_or_default();
        for device in devices {
            let elsewhere = nodes.calls_of(device.session).map(|view| self.localized(view));
            calls.extend(elsewhere);
        }
        calls.sort_by_key(|call| call.call);
        calls.dedup_by_key(|call| call.call);
        calls
    }

    /// The leg of a device in a call, here or of another machine, by the id that the device knows the call by.
    pub(super) fn leg_of_device(&self, session: SessionId, call: CallId) -> Option<LegId> {
        let nodes = self.nodes.as_ref();
        let away = nodes.and_then(|nodes| nodes.legs_of(session).find(|leg| leg.call == call));
        away.or_else(|| self.plane.leg_of_device(session, call))
    }

    /// Is the device about to have a leg in a call of another machine?
    pub(super) fn awaits(&self, session: SessionId, call: CallId) -> bool {
        let mut awaited = self.nodes.iter().flat_map(|nodes| nodes.awaited.values());
        awaited.any(|awaited| awaited.dialled == Some((session, call)))
    }

    /// What all others in a leg's call take, and what the leg may speak beside that.
    pub(crate) fn beside(&self, leg: LegId) -> (Codecs, Codecs) {
        let away = self.nodes.as_ref().and_then(|nodes| nodes.leg(leg));
        let beside = away.and_then(|leg| leg.beside);
        beside.unwrap_or_else(|| (self.plane.takes_beside(leg), self.plane.may_speak(leg)))
    }

    /// A device's calls of other machines are its calls as well.
    pub(super) fn add_calls_elsewhere(&self, registered: &mut Registered) {
        let Some(nodes) = &self.nodes else { return };
        for view in nodes.calls_of(registered.session) {
            let view = self.localized(view);
            let is_in_it = view.legs.iter().any(|leg| leg.state != LegState::Hangup);
            if is_in_it && !registered.calls.iter().any(|call| call.call == view.call) {
                registered.calls.push(view);
            }
        }
    }
}

/// The call that an event names. None: it begins one.
fn call_of(event: &CallEvent) -> Option<CallId> {
    match event {
        CallEvent::Dial(_) | CallEvent::Originate { .. } | CallEvent::Replace(_) => None,
        CallEvent::Lecture { call, .. }
        | CallEvent::Codecs { call, .. }
        | CallEvent::Ringing { call, .. }
        | CallEvent::Answer { call, .. }
        | CallEvent::Reject { call, .. }
        | CallEvent::Forward { call, .. }
        | CallEvent::Hangup { call, .. }
        | CallEvent::Hold { call, .. }
        | CallEvent::Mute { call, .. }
        | CallEvent::Dtmf { call, .. }
        | CallEvent::Transfer { call, .. }
        | CallEvent::Add { call, .. }
        | CallEvent::Remove { call, .. }
        | CallEvent::Merge { call, .. }
        | CallEvent::Signal { call, .. }
        | CallEvent::Record { call, .. }
        | CallEvent::PauseRecording { call, .. } => Some(*call),
    }
}

fn public_actor(nodes: &Nodes, actor: Actor) -> Actor {
    match actor {
        Actor::Session(session) => Actor::Session(nodes.public(session)),
        Actor::Leg(_) | Actor::Api { .. } => actor,
    }
}

/// Sessions of devices here are known to this machine alone. A transfer is for the number: machines of before know nothing else.
fn public_event(nodes: &Nodes, event: CallEvent) -> CallEvent {
    match event {
        CallEvent::Transfer {
            call,
            to: TransferTo::Device(number, _),
        } => CallEvent::Transfer {
            call,
            to: TransferTo::Number(number),
        },
        CallEvent::Dial(mut dial) => {
            dial.device = dial.device.map(|device| nodes.public(device));
            CallEvent::Dial(dial)
        }
        other => other,
    }
}

fn public_supervision(nodes: &Nodes, event: SuperviseEvent) -> SuperviseEvent {
    match event {
        SuperviseEvent::Join { session, call, mode } => SuperviseEvent::Join {
            session: nodes.public(session),
            call,
            mode,
        },
        SuperviseEvent::Stop { session, call } => SuperviseEvent::Stop {
            session: nodes.public(session),
            call,
        },
        SuperviseEvent::TakeOver { session, call, leg } => SuperviseEvent::TakeOver {
            session: nodes.public(session),
            call,
            leg,
        },
        SuperviseEvent::Disconnect { call } => SuperviseEvent::Disconnect { call },
    }
}

#[cfg(test)]
mod tests {
    use moqswitch_calls::Dial;
    use tokio::sync::mpsc;

    use super::*;
    use crate::nodes::{NodeLink, NodeSettings, NodeTimes};

    #[test]
    fn devices_of_here_are_told_to_others_as_they_know_them_or_not_at_all() {
        let ((_, heard), (said, _)) = (mpsc::channel(1), mpsc::channel(1));
        let settings = NodeSettings {
            name: "here".parse().unwrap(),
            link: NodeLink { heard, said },
            times: NodeTimes::default(),
        };
        let nodes = Nodes::new(settings, 7, Instant::now());
        let (number, device, call) = (Number::new("1001").unwrap(), SessionId(5), CallId(3));
        let to = TransferTo::Device(number.clone(), device);
        let CallEvent::Transfer { to, .. } = public_event(&nodes, CallEvent::Transfer { call, to }) else {
            panic!("another event");
        };
        assert_eq!(to, TransferTo::Number(number.clone()));
        let mut dial = Dial::to(number);
        dial.device = Some(device);
        let CallEvent::Dial(dial) = public_event(&nodes, CallEvent::Dial(Box::new(dial))) else {
            panic!("another event");
        };
        assert_eq!(dial.device, Some(nodes.public(device)));
        assert_ne!(dial.device, Some(device), "by which it comes back");
    }
}
