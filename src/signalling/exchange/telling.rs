//! What the plane wants: carried out, and told in each client's words.

use std::time::Instant;

use moqswitch_calls::{
    Action, AdminEvent, CallEvent, CallId, Event, HookAnswer, HookQuestion, LegState, Notice, Refusal, Registered,
    Reply, RequestId, SessionId, UnregisterReason,
};

use super::line::Close;
use super::session::Known;
use super::{Asked, Asker, Exchange, Turn, leg_in};
use crate::counters::Place;
use crate::limits::{CALL_STATES_BYTES_MAX, CALL_STATES_MAX, CALL_STATES_TOLD_BYTES_MAX};
use crate::messages::{self, Dialect, MessageId, Told};

impl Exchange {
    pub(super) fn carry_out(&mut self) {
        while let Some(action) = self.plane.poll_action() {
            // What fails of it is left out: the others are owed what is theirs.
            self.try_out(|own| own.do_action(action));
        }
    }

    fn do_action(&mut self, action: Action) {
        match action {
            Action::Reply { request, reply } => self.reply(request, reply),
            Action::Notify { session, notice } => self.notify(session, &notice),
            Action::Media(action) => self.do_media(action),
            Action::Report(report) => self.report(&report),
            Action::AskHook(question) => self.ask_hook(question),
            Action::Control(notice) => self.take_control(notice),
        }
    }

    /// Where nobody can be asked the rule's fallback decides at once, not after its time-out.
    fn ask_hook(&mut self, question: HookQuestion) {
        let hook = question.hook;
        let question = Box::new(question);
        let is_asked = self
            .hooks
            .as_ref()
            .is_some_and(|hooks| hooks.try_send(question).is_ok());
        if !is_asked {
            self.counts.hooks_unasked += 1;
            let answer = HookAnswer::Failed;
            self.follow_up
                .push_back(Event::Admin(AdminEvent::HookAnswered { hook, answer }));
        }
    }

    /// Tells a session something, and loses it where its socket is too slow.
    pub(super) fn tell(&mut self, session: SessionId, told: &Told, id: Option<&MessageId>) {
        self.count_refused(told);
        let Some(own) = self.sessions.get_mut(&session) else {
            return;
        };
        if !own.tell(told, id, Instant::now()) {
            self.counts.slow_clients += 1;
            // Its socket's task says that it is lost when it has ended.
        }
    }

    fn count_refused(&self, told: &Told) {
        if let Some(code) = told.refused() {
            self.counters.refused(Place::Message, code);
        }
    }

    pub(super) fn reply(&mut self, request: RequestId, mut reply: Reply) {
        if let Reply::Registered(registered) | Reply::Resumed(registered) = &mut reply {
            self.add_calls_elsewhere(registered);
        }
        if let Reply::Refused(Refusal::TooOften) = reply {
            self.counts.too_often += 1;
        }
        match self.askers.remove(&request) {
            // Who asked may be gone by now.
            Some(Asker::Program(sender)) => drop(sender.send(reply)),
            Some(Asker::Node { node }) => self.reply_to_node(&node, reply),
            Some(Asker::Registration { session, id, after }) => self.reply_registration(session, id, after, reply),
            Some(Asker::Session {
                session,
                id,
                call,
                asked,
            }) => match reply {
                Reply::Refused(refusal) => self.refuse(session, id.as_ref(), call.as_ref(), &asked, refusal),
                Reply::Calling { call, leg } => {
                    let Asked::Dial(alias) = asked else { return };
                    if let (Some(leg), Some(own)) = (leg, self.sessions.get_mut(&session)) {
                        own.learn(Known {
                            call,
                            leg,
                            alias,
                            id,
                            is_over: false,
                        });
                    }
                }
                Reply::Done | Reply::Registered(_) | Reply::Resumed(_) => {
                    self.confirm(session, call.as_ref(), &asked);
                    if let Asked::Watch(after) = asked {
                        self.tell_calls(session, after);
                    }
                }
            },
            Some(Asker::Nobody) | None => {}
        }
    }

    fn reply_registration(&mut self, session: SessionId, id: Option<MessageId>, after: Option<u64>, reply: Reply) {
        match reply {
            Reply::Registered(registered) | Reply::Resumed(registered) if after.is_some() => {
                self.learn_calls(&registered);
                self.tell_resumed(session, id.as_ref(), after.unwrap_or(0), &registered);
            }
            Reply::Registered(registered) | Reply::Resumed(registered) => {
                self.learn_calls(&registered);
                let told = self.told_registered("registered", &registered);
                self.tell(session, &told, id.as_ref());
            }
            Reply::Refused(refusal) => self.refusal = Some(refusal),
            Reply::Calling { .. } | Reply::Done => {}
        }
    }

    fn told_registered(&mut self, kind: &'static str, registered: &Registered) -> Told {
        let media = self.media.media(registered.session);
        let mut told = messages::registered(kind, registered, &self.server, &media, self.ping);
        let servers = self.browsing.ice_servers(registered.number.as_str());
        if !servers.is_empty() {
            told.payload.insert("iceServers".to_owned(), serde_json::json!(servers));
        }
        told
    }

    /// The snapshot first, which counts; then the messages that the client missed.
    fn tell_resumed(&mut self, session: SessionId, id: Option<&MessageId>, after: u64, registered: &Registered) {
        let mut told = self.told_registered("resumed", registered);
        let Some(own) = self.sessions.get_mut(&session) else {
            return;
        };
        let (missed, is_complete) = own.missed(after);
        told.payload.insert("missed".to_owned(), missed.into());
        told.payload.insert("complete".to_owned(), is_complete.into());
        told.payload.insert("lastSeq".to_owned(), own.seq().into());
        let rings = !own.rings_itself;
        if !own.say_resumed(&told, id, after) || !own.replay(after) {
            self.counts.slow_clients += 1;
            return;
        }
        // Of these it was told only now. What does not ring (its own call) is refused by the plane.
        let legs = registered.calls.iter().flat_map(|call| &call.legs);
        let called = legs.filter(|leg| leg.session == session && leg.state == LegState::Calling);
        for leg in called.filter(|_| rings) {
            self.ring_for(session, leg.leg.call);
        }
    }

    /// Calls that a device had before: as another session, or before this one learnt of them.
    fn learn_calls(&mut self, registered: &Registered) {
        let Some(own) = self.sessions.get_mut(&registered.session) else {
            return;
        };
        for call in &registered.calls {
            if let Some((leg, alias)) = leg_in(call, registered.session) {
                let call = leg.call;
                own.learn(Known {
                    call,
                    leg,
                    alias,
                    id: None,
                    is_over: false,
                });
            }
        }
    }

    pub(super) fn refuse(
        &mut self,
        session: SessionId,
        id: Option<&MessageId>,
        call: Option<&moqswitch_calls::Text>,
        asked: &Asked,
        refusal: Refusal,
    ) {
        let is_flat = self
            .sessions
            .get(&session)
            .is_some_and(|own| own.dialect == Dialect::Flat);
        let told = match (is_flat, asked) {
            (true, Asked::Dial(_)) => messages::call_failed(refusal, call),
            _ => messages::refused(refusal, call),
        };
        self.count_refused(&told);
        let Some(own) = self.sessions.get_mut(&session) else {
            return;
        };
        let now = Instant::now();
        let is_told = if told.kind == "call_failed" {
            own.say(&told, id, now)
        } else {
            own.tell(&told, id, now)
        };
        if !is_told {
            self.counts.slow_clients += 1;
        }
    }

    /// It was done. Where a notice has said so already, nothing is said.
    fn confirm(&mut self, session: SessionId, call: Option<&moqswitch_calls::Text>, asked: &Asked) {
        let Some(id) = self.turn.as_mut().and_then(|turn| turn.id.take()) else {
            return;
        };
        let Some(own) = self.sessions.get(&session) else {
            return;
        };
        let leg = |call| own.known(call).map(|known| known.leg);
        let told = match asked {
            Asked::Hold(id, hold) => messages::held(&own.name_of(*id), leg(*id), *hold),
            Asked::Mute(id, muted) => messages::muted(&own.name_of(*id), leg(*id), *muted),
            Asked::Dial(_)
            | Asked::Answer
            | Asked::Hangup
            | Asked::Transfer
            | Asked::Unregister
            | Asked::Watch(_)
            | Asked::Other => messages::done(call),
        };
        self.tell(session, &told, Some(&id));
    }

    pub(super) fn notify(&mut self, session: SessionId, notice: &Notice) {
        if self.serve_notice(session, notice) || self.is_of_another(session, notice) {
            return;
        }
        if self.outlet.has(session) {
            return self.outlet.tell(session, notice);
        }
        if self.asterisk.has(session) {
            return self.asterisk.tell(session, notice);
        }
        self.end_browsing(session, notice);
        let Some(own) = self.sessions.get_mut(&session) else {
            // One that stood in for a device of before the start.
            if let Notice::Unregistered { reason } = notice {
                self.end_session(session, *reason);
            }
            return;
        };
        let rings = !own.rings_itself && own.is_attached();
        if let Some((call, leg)) = begun(notice) {
            own.learn(Known {
                call,
                leg,
                alias: None,
                id: None,
                is_over: false,
            });
        }
        if let Notice::Incoming(incoming) = notice
            && rings
        {
            self.ring_for(session, incoming.call);
        }
        let completed = self.complete(session, notice);
        self.tell_notice(session, completed.as_ref().unwrap_or(notice));
        match notice {
            Notice::Ended(ended) => {
                if let Some(own) = self.sessions.get_mut(&session) {
                    own.is_over(ended.leg);
                }
            }
            Notice::Unregistered { reason } => self.end_session(session, *reason),
            _ => {}
        }
    }

    /// A client that does not say that it rings does so as soon as it is told of the call.
    fn ring_for(&mut self, session: SessionId, call: CallId) {
        let request = self.request_id(Asker::Nobody);
        self.follow_up.push_back(Event::Call {
            request,
            actor: moqswitch_calls::Actor::Session(session),
            event: CallEvent::Ringing {
                call,
                early_media: false,
                sdp: None,
            },
        });
    }

    /// Calls that there are when somebody begins to watch them: several in a message, and as many messages as its socket
    /// surely has room for. The last says where to go on.
    fn tell_calls(&mut self, session: SessionId, after: Option<CallId>) {
        let (mut after, mut told_bytes) = (after, 0);
        loop {
            let (mut calls, mut bytes) = (Vec::new(), 0);
            let views = self.calls(after, CALL_STATES_MAX);
            for view in &views {
                let call = messages::call_view(view);
                let size = call.to_string().len();
                if bytes > 0 && bytes + size > CALL_STATES_BYTES_MAX {
                    break;
                }
                (after, bytes) = (Some(view.call), bytes + size);
                calls.push(call);
            }
            told_bytes += bytes;
            if calls.is_empty() {
                return;
            }
            let has_more = !self.calls(after, 1).is_empty();
            let is_enough = told_bytes + CALL_STATES_BYTES_MAX > CALL_STATES_TOLD_BYTES_MAX;
            let next = after.filter(|_| has_more && is_enough);
            self.tell(session, &messages::call_states(calls, next), None);
            if !has_more || next.is_some() {
                return;
            }
        }
    }

    pub(super) fn tell_notice(&mut self, session: SessionId, notice: &Notice) {
        let id = self.id_for(session, notice);
        let media = match notice {
            Notice::Accepted(_) => Some(self.media.media(session)),
            _ => None,
        };
        let Some(own) = self.sessions.get_mut(&session) else {
            return;
        };
        let call = messages::call_of(notice);
        let name = call.map(|call| own.name_of(call)).unwrap_or_default();
        let leg = call.and_then(|call| own.known(call)).map(|known| known.leg);
        let now = Instant::now();
        let is_told = match own.dialect {
            Dialect::Payload => {
                let told = messages::notice(notice, &name, leg, media.as_ref());
                told.is_none_or(|told| own.tell(&told, id.as_ref(), now))
            }
            Dialect::Flat => {
                let told = messages::flat(notice, &name, own.dn.as_str());
                told.iter().all(|told| own.say(told, None, now))
            }
        };
        if !is_told {
            self.counts.slow_clients += 1;
        }
    }

    /// What a notice repeats: the id of the request that is being served and that it answers, or of the call's beginning.
    fn id_for(&mut self, session: SessionId, notice: &Notice) -> Option<MessageId> {
        let answers = |turn: &&mut Turn| {
            turn.session == session
                && matches!(
                    (&turn.asked, notice),
                    (Asked::Answer, Notice::Accepted(_))
                        | (Asked::Hangup, Notice::Ended(_))
                        | (Asked::Hold(..), Notice::Held { .. })
                        | (Asked::Transfer, Notice::Transfer { .. })
                        | (Asked::Unregister, Notice::Unregistered { .. })
                )
        };
        if let Some(id) = self.turn.as_mut().filter(answers).and_then(|turn| turn.id.take()) {
            return Some(id);
        }
        let (call, request) = match notice {
            Notice::Progress { call, request, .. } => (*call, *request),
            Notice::Accepted(accepted) => (accepted.call, accepted.request),
            Notice::Ended(ended) => (ended.call, ended.request),
            _ => return None,
        };
        request?;
        self.sessions.get(&session)?.known(call)?.id.clone()
    }

    fn end_session(&mut self, session: SessionId, reason: UnregisterReason) {
        self.untold.remove(&session);
        self.note_gone(session, reason == UnregisterReason::Shutdown);
        self.media.over(session);
        let Some(mut own) = self.sessions.remove(&session) else {
            return;
        };
        match reason {
            // It may register again on the same socket.
            UnregisterReason::Requested => {}
            UnregisterReason::Expired => own.close(Close::EXPIRED),
            UnregisterReason::Replaced => own.close(Close::REPLACED),
            UnregisterReason::Lost => own.close(Close::SILENT),
            UnregisterReason::Shutdown => own.close(Close::RESTART),
        }
    }
}

/// The leg that a device learns of by this notice.
fn begun(notice: &Notice) -> Option<(CallId, moqswitch_calls::LegId)> {
    match notice {
        Notice::Incoming(incoming) => Some((incoming.call, incoming.leg)),
        Notice::Accepted(accepted) => Some((accepted.call, accepted.leg)),
        _ => None,
    }
}
