//! What clients want, as events of the plane.

use std::time::Duration;

use moqswitch_calls::{
    Actor, CallEvent, CallId, Dial, Event, LegId, LegRole, LegState, MediaEvent, Quality, Refusal, RegisterEvent,
    SessionId, Signal, SuperviseEvent, SuperviseMode, Text, TransferTo, WatchEvent,
};

use super::{Asked, Asker, Exchange, Turn, draw};
use crate::messages::{self, BadMessage, Envelope, MessageId, Request, Supervision, ToDial};

/// An event of a call, with what its reply depends on.
type Wanted = (CallEvent, Asked);

impl Exchange {
    /// Nothing could be made of a message.
    pub(crate) fn reject(&mut self, session: SessionId, bad: &BadMessage, id: Option<&MessageId>) {
        self.counts.bad_messages += 1;
        self.tell(session, &messages::bad_message(bad), id);
    }

    /// Takes a message of a session.
    pub(crate) fn take(&mut self, session: SessionId, envelope: Envelope) {
        self.counts.messages += 1;
        let Some(own) = self.sessions.get_mut(&session) else {
            return;
        };
        if let Some(seq) = envelope.ack {
            own.acknowledge(seq);
        }
        let id = envelope.id;
        if id.as_ref().is_some_and(|id| own.is_repeated(id, envelope.digest)) {
            return;
        }
        let request = match envelope.request {
            Ok(request) => request,
            Err(bad) => return self.reject(session, &bad, id.as_ref()),
        };
        self.turn = Some(Turn {
            session,
            id: id.clone(),
            asked: Asked::Other,
        });
        self.serve(session, id, request);
        self.turn = None;
    }

    fn serve(&mut self, session: SessionId, id: Option<MessageId>, request: Request) {
        match request {
            Request::Ack => {}
            Request::Register(_) | Request::Resume { .. } => {
                let bad = BadMessage {
                    message: "The socket has a session".to_owned(),
                    details: Some("register the same number, or open another socket".to_owned()),
                };
                self.reject(session, &bad, id.as_ref());
            }
            Request::Unregister => {
                self.expect(Asked::Unregister);
                let asker = Asker::Session {
                    session,
                    id,
                    call: None,
                    asked: Asked::Unregister,
                };
                let request = self.request_id(asker);
                self.handle(Event::Register(RegisterEvent::Unregister { request, session }));
            }
            Request::Dial(dial) => self.dial(session, id, *dial),
            Request::Signal { call, party, signal } => self.signal(session, id, call, party.as_ref(), signal),
            Request::Subscribe { numbers, calls, after } => {
                let watched = calls.map(|on| (on, after));
                self.subscribe(session, id, numbers, watched);
            }
            Request::Agent { state } => self.watch(session, id, WatchEvent::Agent(state), Asked::Other),
            Request::Supervise { call, mode } => self.supervise(session, id, call, &mode),
            Request::Quality { call, quality } => self.take_quality(session, id.as_ref(), &call, quality),
            other => match self.call_event(session, other) {
                Ok((name, Ok((CallEvent::Answer { call, sdp }, asked)))) => {
                    let is_ours = self.take_browsed_answer(session, call, sdp.as_ref()).is_some();
                    let sdp = sdp.filter(|_| !is_ours);
                    self.ask_for(session, id, Some(name), CallEvent::Answer { call, sdp }, asked);
                }
                Ok((name, Ok((event, asked)))) => self.ask_for(session, id, Some(name), event, asked),
                Ok((name, Err(refusal))) => self.refuse(session, id.as_ref(), Some(&name), &Asked::Other, refusal),
                Err(bad) => self.reject(session, &bad, id.as_ref()),
            },
        }
    }

    fn expect(&mut self, asked: Asked) {
        if let Some(turn) = &mut self.turn {
            turn.asked = asked;
        }
    }

    fn ask_for(
        &mut self,
        session: SessionId,
        id: Option<MessageId>,
        call: Option<Text>,
        event: CallEvent,
        asked: Asked,
    ) {
        self.expect(asked.clone());
        let request = self.request_id(Asker::Session {
            session,
            id,
            call,
            asked,
        });
        let actor = Actor::Session(session);
        self.handle(Event::Call { request, actor, event });
    }

    /// Requests that name a call, and nothing but plain values beside it.
    fn call_event(&self, session: SessionId, request: Request) -> Result<(Text, Result<Wanted, Refusal>), BadMessage> {
        let resolve = |name: &Text| self.resolve(session, name);
        let plain = |name: Text, event: &dyn Fn(CallId) -> Wanted| {
            let wanted = resolve(&name).map(event);
            Ok((name, wanted))
        };
        match request {
            Request::Ringing { call } => plain(call, &|call| {
                let event = CallEvent::Ringing {
                    call,
                    early_media: false,
                    sdp: None,
                };
                (event, Asked::Other)
            }),
            Request::Answer { call, sdp } => plain(call, &|call| {
                (CallEvent::Answer { call, sdp: sdp.clone() }, Asked::Answer)
            }),
            Request::Reject { call, reason, scope } => {
                plain(call, &|call| (CallEvent::Reject { call, reason, scope }, Asked::Hangup))
            }
            Request::Hangup { call, cause } => plain(call, &|call| (CallEvent::Hangup { call, cause }, Asked::Hangup)),
            Request::Hold { call, hold } => {
                plain(call, &|call| (CallEvent::Hold { call, hold }, Asked::Hold(call, hold)))
            }
            Request::Mute { call, muted } => plain(call, &|call| {
                (CallEvent::Mute { call, muted }, Asked::Mute(call, muted))
            }),
            Request::Dtmf { call, digits, duration } => plain(call, &|call| {
                let digits = digits.clone();
                (CallEvent::Dtmf { call, digits, duration }, Asked::Other)
            }),
            Request::Record { call, on } => plain(call, &|call| (CallEvent::Record { call, on }, Asked::Other)),
            Request::PauseRecording { call, paused } => {
                plain(call, &|call| (CallEvent::PauseRecording { call, paused }, Asked::Other))
            }
            Request::Add { call, to } => {
                plain(call, &|call| (CallEvent::Add { call, to: to.clone() }, Asked::Transfer))
            }
            Request::Remove { call, party } => {
                let leg = messages::leg_id(party.as_str()).ok_or_else(|| invalid("party"))?;
                plain(call, &|call| (CallEvent::Remove { call, leg }, Asked::Other))
            }
            Request::Merge { call, other } => {
                let wanted = resolve(&call).and_then(|call| {
                    Ok((
                        CallEvent::Merge {
                            call,
                            other: resolve(&other)?,
                        },
                        Asked::Other,
                    ))
                });
                Ok((call, wanted))
            }
            Request::Transfer { call, to, replaces } => {
                let to = match (to, replaces) {
                    (_, Some(other)) => resolve(&other).map(TransferTo::Call),
                    (Some(to), None) => Ok(TransferTo::Number(to)),
                    (None, None) => return Err(missing("to")),
                };
                let wanted =
                    resolve(&call).and_then(|call| Ok((CallEvent::Transfer { call, to: to? }, Asked::Transfer)));
                Ok((call, wanted))
            }
            _ => Err(invalid("type")),
        }
    }

    fn resolve(&self, session: SessionId, name: &Text) -> Result<CallId, Refusal> {
        self.sessions
            .get(&session)
            .ok_or(Refusal::UnknownSession)?
            .resolve(name)
    }

    fn dial(&mut self, session: SessionId, id: Option<MessageId>, dial: ToDial) {
        let Some(own) = self.sessions.get_mut(&session) else {
            return;
        };
        let asked = Asked::Dial(dial.alias.clone());
        if dial.alias.as_ref().is_some_and(|alias| own.uses_alias(alias)) {
            return self.refuse(session, id.as_ref(), dial.alias.as_ref(), &asked, Refusal::Duplicate);
        }
        let early = own.take_early(dial.alias.as_ref());
        let mut sdp = dial.sdp;
        let mut candidates = Vec::new();
        for signal in early {
            match signal {
                Signal::Offer(offer) => sdp = sdp.or(Some(offer)),
                Signal::Answer(_) => {}
                Signal::Candidate(_) => candidates.push(signal),
            }
        }
        let call = CallId(draw(&self.random));
        if let Some(offer) = &sdp {
            own.speaks_webrtc = true;
            self.browsing.keep(session, call, offer);
        }
        let event = Dial {
            call: Some(call),
            alias: dial.alias.clone(),
            timeout: dial.timeout,
            metadata: dial.metadata,
            sdp,
            ..Dial::to(dial.to)
        };
        self.ask_for(session, id, dial.alias, CallEvent::Dial(Box::new(event)), asked);
        if self.leg_of_device(session, call).is_none() && !self.awaits(session, call) {
            // It was refused, and nobody is told of its end.
            self.browsing.forget(session, call);
        }
        for signal in candidates {
            let request = self.request_id(Asker::Nobody);
            let event = CallEvent::Signal { call, to: None, signal };
            let actor = Actor::Session(session);
            self.handle(Event::Call { request, actor, event });
        }
    }

    /// What comes ahead of its call is kept for it: browsers gather candidates as soon as they have an offer.
    fn signal(&mut self, session: SessionId, id: Option<MessageId>, name: Text, party: Option<&Text>, signal: Signal) {
        let to = match party.map(|party| messages::leg_id(party.as_str()).ok_or_else(|| invalid("party"))) {
            Some(Err(bad)) => return self.reject(session, &bad, id.as_ref()),
            Some(Ok(leg)) => Some(leg),
            None => None,
        };
        let Some(own) = self.sessions.get_mut(&session) else {
            return;
        };
        match own.resolve(&name) {
            Ok(call) => {
                let event = CallEvent::Signal { call, to, signal };
                self.ask_for(session, id, Some(name), event, Asked::Other);
            }
            Err(_) if !own.knows_alias(&name) && own.keep_early(name.clone(), signal) => {
                if let Some(id) = self.turn.as_mut().and_then(|turn| turn.id.take()) {
                    self.tell(session, &messages::done(Some(&name)), Some(&id));
                }
            }
            Err(refusal) => self.refuse(session, id.as_ref(), Some(&name), &Asked::Other, refusal),
        }
    }

    fn subscribe(
        &mut self,
        session: SessionId,
        id: Option<MessageId>,
        numbers: Option<Vec<moqswitch_calls::Number>>,
        calls: Option<(bool, Option<CallId>)>,
    ) {
        // Both in one message: the reply is that of the second.
        if let Some(numbers) = numbers {
            let first = if calls.is_none() { id.clone() } else { None };
            self.watch(session, first, WatchEvent::Numbers(numbers), Asked::Other);
        }
        if let Some((on, after)) = calls {
            let asked = if on { Asked::Watch(after) } else { Asked::Other };
            self.watch(session, id, WatchEvent::Calls(on), asked);
        }
    }

    fn watch(&mut self, session: SessionId, id: Option<MessageId>, event: WatchEvent, asked: Asked) {
        let asker = Asker::Session {
            session,
            id,
            call: None,
            asked,
        };
        let request = self.request_id(asker);
        self.handle(Event::Watch {
            request,
            session,
            event,
        });
    }

    fn supervise(&mut self, session: SessionId, id: Option<MessageId>, name: Text, mode: &Supervision) {
        let event = match self.supervise_event(session, &name, mode) {
            Ok(Ok(event)) => event,
            Ok(Err(refusal)) => return self.refuse(session, id.as_ref(), Some(&name), &Asked::Other, refusal),
            Err(bad) => return self.reject(session, &bad, id.as_ref()),
        };
        let asker = Asker::Session {
            session,
            id,
            call: Some(name),
            asked: Asked::Other,
        };
        let request = self.request_id(asker);
        let actor = Actor::Session(session);
        self.handle(Event::Supervise { request, actor, event });
    }

    fn supervise_event(
        &self,
        session: SessionId,
        name: &Text,
        mode: &Supervision,
    ) -> Result<Result<SuperviseEvent, Refusal>, BadMessage> {
        let call = match self.resolve(session, name) {
            Ok(call) => call,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let join = |mode| SuperviseEvent::Join { session, call, mode };
        let leg = |party: &Text| messages::leg_id(party.as_str()).ok_or_else(|| invalid("party"));
        Ok(Ok(match mode {
            Supervision::Listen => join(SuperviseMode::Listen),
            Supervision::Barge => join(SuperviseMode::Barge),
            Supervision::Whisper(Some(party)) => join(SuperviseMode::Whisper(leg(party)?)),
            Supervision::Whisper(None) => match self.callee(call) {
                Some(leg) => join(SuperviseMode::Whisper(leg)),
                None => return Ok(Err(Refusal::UnknownCall)),
            },
            Supervision::Stop => SuperviseEvent::Stop { session, call },
            Supervision::Disconnect => SuperviseEvent::Disconnect { call },
            Supervision::TakeOver(party) => SuperviseEvent::TakeOver {
                session,
                call,
                leg: leg(party)?,
            },
        }))
    }

    /// Who is whispered to unless somebody is named: who answered, as agents do.
    pub(crate) fn callee(&self, call: CallId) -> Option<LegId> {
        let call = self.call(call)?;
        let callee = call
            .legs
            .iter()
            .find(|leg| leg.role == LegRole::Callee && leg.state == LegState::Up);
        callee.map(|leg| leg.leg)
    }

    fn take_quality(&mut self, session: SessionId, id: Option<&MessageId>, name: &Text, quality: messages::Quality) {
        match self.resolve(session, name) {
            Ok(call) => match self.leg_of_device(session, call) {
                Some(leg) => {
                    let quality = measured(quality);
                    self.handle(Event::Media(MediaEvent::Quality { leg, quality }));
                    if let Some(id) = id {
                        self.tell(session, &messages::done(Some(name)), Some(id));
                    }
                }
                None => self.refuse(session, id, Some(name), &Asked::Other, Refusal::UnknownCall),
            },
            Err(refusal) => self.refuse(session, id, Some(name), &Asked::Other, refusal),
        }
    }
}

fn measured(quality: messages::Quality) -> Quality {
    let duration = |milliseconds: f64| Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or_default();
    Quality {
        rtt: duration(quality.rtt),
        jitter: duration(quality.jitter),
        loss_permille: permille(quality.loss),
        buffer: duration(quality.buffer),
        underruns: quality.underruns,
        mos: quality.mos,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between 0 and 1000, and what is no number is 0"
)]
fn permille(loss: f64) -> u16 {
    (loss.clamp(0.0, 1.0) * 1000.0).round() as u16
}

fn invalid(name: &str) -> BadMessage {
    BadMessage {
        message: format!("Invalid parameter: {name}"),
        details: None,
    }
}

fn missing(name: &str) -> BadMessage {
    BadMessage {
        message: format!("Missing required parameter: {name}"),
        details: None,
    }
}
