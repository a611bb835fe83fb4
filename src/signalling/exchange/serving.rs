//! Calls here with devices of other machines: what the plane tells those goes there, and their requests come from there.

use moqswitch_calls::{
    Actor, CallEvent, Cause, Event, Grants, LegId, LegState, MediaEvent, Notice, Refusal, RegisterEvent, Reply,
    SessionId,
};

use super::{Asker, Exchange};
use crate::nodes::{Answer, Asked, Fact, NodeName, Order, leg_of_notice};

impl Exchange {
    /// A device or a program of another machine wants something of a call here.
    pub(super) fn serve_request(&mut self, from: &NodeName, request: u64, asked: Asked) {
        let Some(nodes) = &mut self.nodes else { return };
        let actor = match &asked {
            Asked::Call { actor, .. } | Asked::Supervise { actor, .. } => *actor,
        };
        let is_theirs = match actor {
            Actor::Session(session) => nodes.is_of(session, from),
            Actor::Leg(leg) => nodes.served.get(&leg).is_some_and(|(node, _)| node == from),
            Actor::Api { .. } => true,
        };
        self.flush_nodes();
        let Some(nodes) = &mut self.nodes else { return };
        nodes.serving = Some((from.clone(), request));
        if !is_theirs {
            nodes.order(from, Order::Reply(Answer::Refused(Refusal::UnknownCall)));
            return self.flush_nodes();
        }
        let node = from.clone();
        let request = self.request_id(Asker::Node { node });
        self.handle(match asked {
            Asked::Call { actor, event } => Event::Call {
                request,
                actor,
                event: *event,
            },
            Asked::Supervise { actor, event } => Event::Supervise { request, actor, event },
        });
    }

    /// The answer goes with what followed from the request.
    pub(super) fn reply_to_node(&mut self, node: &NodeName, reply: Reply) {
        let answer = match reply {
            Reply::Calling { call, leg } => {
                if let (Some(nodes), Some(leg)) = (&mut self.nodes, leg)
                    && let Some(session) = self.plane.session_of_leg(leg)
                {
                    nodes.served.insert(leg, (node.clone(), session));
                }
                Answer::Calling { call, leg }
            }
            Reply::Refused(refusal) => Answer::Refused(refusal),
            Reply::Done | Reply::Registered(_) | Reply::Resumed(_) => Answer::Done,
        };
        if let Some(nodes) = &mut self.nodes {
            nodes.order(node, Order::Reply(answer));
        }
    }

    pub(super) fn take_facts(&mut self, from: &NodeName, facts: Vec<Fact>) {
        for fact in facts {
            let (leg, event) = match fact {
                Fact::Flowing(leg) => (leg, MediaEvent::Flowing { leg }),
                Fact::Quality(leg, quality) => (leg, MediaEvent::Quality { leg, quality }),
                Fact::Counters(leg, counters) => (leg, MediaEvent::Counters { leg, counters }),
            };
            let served = self.nodes.as_ref().and_then(|nodes| nodes.served.get(&leg));
            if served.is_some_and(|(node, _)| node == from) {
                self.handle_one(Event::Media(event));
            }
        }
    }

    /// What a device of another machine is told, on its way there. False: it is one of here.
    pub(super) fn serve_notice(&mut self, session: SessionId, notice: &Notice) -> bool {
        let Some(nodes) = &mut self.nodes else { return false };
        let Some(shadow) = nodes.shadows.get(&session) else {
            return false;
        };
        let Some(leg) = leg_of_notice(notice) else {
            return false;
        };
        let node = shadow.node.clone();
        nodes.served.insert(leg, (node.clone(), session));
        if let Notice::Incoming(_) = notice
            && (!nodes.is_up || nodes.peers.get(&node).is_none())
        {
            // Nobody would be told of it: the caller need not wait.
            self.drop_served(leg, Cause::Unreachable);
            return true;
        }
        let beside = match notice {
            Notice::Incoming(_) | Notice::Accepted(_) | Notice::Participants { .. } | Notice::Progress { .. } => {
                Some((self.plane.takes_beside(leg), self.plane.may_speak(leg)))
            }
            _ => None,
        };
        let order = Order::Notify {
            session,
            notice: Box::new(notice.clone()),
            beside,
        };
        if let Some(nodes) = &mut self.nodes {
            nodes.order(&node, order);
        }
        true
    }

    fn drop_served(&mut self, leg: LegId, cause: Cause) {
        let request = self.request_id(Asker::Nobody);
        self.follow_up.push_back(Event::Call {
            request,
            actor: Actor::Leg(leg),
            event: CallEvent::Hangup {
                call: leg.call,
                cause: Some(cause),
            },
        });
    }

    /// What a device of another machine may do, on its way there. False: it is one of here.
    pub(super) fn serve_grants(&mut self, session: SessionId, grants: &Grants) -> bool {
        let Some(nodes) = &mut self.nodes else { return false };
        let Some(shadow) = nodes.shadows.get_mut(&session) else {
            return false;
        };
        shadow.granted = grants.clone();
        let node = shadow.node.clone();
        nodes.order(&node, Order::Grants(session, grants.clone()));
        true
    }

    /// The counters of a leg are asked for where its device is. False: that is here.
    pub(super) fn serve_count(&mut self, leg: LegId) -> bool {
        let Some(nodes) = &mut self.nodes else { return false };
        let Some((node, _)) = nodes.served.get(&leg).cloned() else {
            return false;
        };
        nodes.order(&node, Order::Count(leg));
        true
    }

    /// Messages were lost between another machine and this one: it is told which legs its devices have here, and once more
    /// what they may do and who is in their calls.
    pub(super) fn tell_legs(&mut self, from: &NodeName) {
        self.flush_nodes();
        let Some(nodes) = &mut self.nodes else { return };
        let mut legs = Vec::new();
        let mut sessions = Vec::new();
        for (leg, (node, session)) in &nodes.served {
            let is_there = self.plane.session_of_leg(*leg) == Some(*session);
            let Some((state, _)) = self.plane.leg(*leg).filter(|_| node == from && is_there) else {
                continue;
            };
            legs.push((*session, *leg, state == LegState::Up));
            sessions.push(*session);
        }
        sessions.sort_unstable();
        sessions.dedup();
        nodes.say_legs(from, legs);
        for session in &sessions {
            if let Some(shadow) = nodes.shadows.get(session) {
                let grants = shadow.granted.clone();
                nodes.order(from, Order::Grants(*session, grants));
            }
        }
        for session in sessions {
            if self.plane.device(session).is_none_or(|device| device.is_lost) {
                continue;
            }
            self.handle_one(Event::Register(RegisterEvent::Lost { session }));
            let request = self.request_id(Asker::Nobody);
            self.handle_one(Event::Register(RegisterEvent::Resume { request, session }));
        }
    }
}
