//! What channels do in calls, and how they are called.

use std::time::Duration;

use moqswitch_calls::{
    Actor, CallEvent, CallId, Cause, Codecs, Dial, Event, Incoming, RejectReason, RejectScope, Reply, SessionId, Text,
};

use crate::exchange::Exchange;

use super::{Asterisk, Call, ChannelArrived, ChannelCall, ChannelEvent, ChannelId, ChannelOrder, Stage};

impl Asterisk {
    pub(super) fn take_event(&mut self, exchange: &mut Exchange, channel: ChannelId, event: ChannelEvent) {
        match event {
            ChannelEvent::Arrived(arrived) => self.take_arrived(exchange, channel, *arrived),
            ChannelEvent::Ringing => {
                let _ = self.ask(exchange, channel, |call| CallEvent::Ringing {
                    call,
                    early_media: false,
                    sdp: None,
                });
            }
            ChannelEvent::Answered { codecs } => self.take_answered(exchange, channel, codecs),
            ChannelEvent::Digit(digit) => {
                let digits = Text::new(digit.encode_utf8(&mut [0; 4]));
                let _ = self.ask(exchange, channel, |call| CallEvent::Dtmf {
                    call,
                    digits,
                    duration: DIGIT,
                });
            }
            ChannelEvent::Ended(cause) => self.take_ended(exchange, channel, cause),
        }
    }

    /// Asks the plane for a channel.
    fn ask(
        &self,
        exchange: &mut Exchange,
        channel: ChannelId,
        event: impl FnOnce(CallId) -> CallEvent,
    ) -> Option<Reply> {
        let call = self.calls.get(&channel)?;
        let (actor, event) = (Actor::Leg(call.leg), event(call.leg.call));
        Some(exchange.ask_now(|request| Event::Call { request, actor, event }))
    }

    fn take_arrived(&mut self, exchange: &mut Exchange, channel: ChannelId, arrived: ChannelArrived) {
        let session = self.ways.get(&self.number).and_then(|way| way.session);
        let Some(session) = session else {
            return self.end_channel(channel);
        };
        let mut dial = Dial::to(arrived.to);
        dial.codecs = arrived.codecs;
        // Who calls is somebody behind it.
        dial.from = arrived.from.map(|from| (from, arrived.name));
        let reply = exchange.ask_now(|request| Event::Call {
            request,
            actor: Actor::Session(session),
            event: CallEvent::Dial(Box::new(dial)),
        });
        match reply {
            Reply::Calling { leg: Some(leg), .. } => {
                let call = Call {
                    leg,
                    stage: Stage::Calling { is_accepted: false },
                    codecs: arrived.codecs,
                    sends: None,
                    speaks: None,
                    speakers: Vec::new(),
                    music: None,
                    hears: None,
                };
                self.insert(exchange, channel, call);
            }
            other => {
                tracing::info!(?other, "Asterisk: a call is refused");
                self.end_channel(channel);
            }
        }
    }

    /// A number is called by a way.
    pub(super) fn call_channel(&mut self, exchange: &mut Exchange, session: SessionId, incoming: &Incoming) {
        let way = self.ways.values().find(|way| way.session == Some(session));
        let begun = way.map(|way| ChannelCall {
            way: way.way.number.clone(),
            to: incoming.dialled.clone(),
            from: incoming.from.number.clone(),
            name: incoming.from.name.clone(),
        });
        let codecs = way.map(|way| way.way.codecs).unwrap_or_default();
        self.called += 1;
        let channel = ChannelId(ChannelId::CALLED + self.called);
        let begun = begun.ok_or(Cause::Unreachable).and_then(|call| {
            let order = ChannelOrder::Call(Box::new(call));
            self.channels.tell(channel, order).map_err(|_| Cause::Congestion)
        });
        if let Err(cause) = begun {
            let (actor, call) = (Actor::Leg(incoming.leg), incoming.call);
            let event = CallEvent::Hangup {
                call,
                cause: Some(cause),
            };
            let _ = exchange.ask_now(|request| Event::Call { request, actor, event });
            return;
        }
        let call = Call {
            leg: incoming.leg,
            stage: Stage::Called,
            codecs,
            sends: None,
            speaks: None,
            speakers: Vec::new(),
            music: None,
            hears: None,
        };
        self.insert(exchange, channel, call);
    }

    fn take_answered(&mut self, exchange: &mut Exchange, channel: ChannelId, codecs: Codecs) {
        let Some(call) = self.calls.get_mut(&channel) else {
            return self.end_channel(channel);
        };
        call.stage = Stage::Up;
        call.codecs = codecs;
        let _ = self.ask(exchange, channel, |call| CallEvent::Codecs {
            call,
            codecs,
            speaks: None,
        });
        let answered = self.ask(exchange, channel, |call| CallEvent::Answer { call, sdp: None });
        if !matches!(answered, Some(Reply::Done)) {
            // Another one was first, or the caller has gone: the plane has told so, or is about to.
            self.hang_up(exchange, channel, Cause::AnsweredElsewhere);
        }
    }

    fn take_ended(&mut self, exchange: &mut Exchange, channel: ChannelId, cause: Cause) {
        let stage = self.calls.get(&channel).map(|call| call.stage);
        let _ = self.ask(exchange, channel, |call| match (stage, cause) {
            (Some(Stage::Called), Cause::Busy) => CallEvent::Reject {
                call,
                reason: RejectReason::Busy,
                scope: RejectScope::Device,
            },
            (Some(Stage::Calling { .. }), Cause::Normal) => CallEvent::Hangup {
                call,
                cause: Some(Cause::Cancelled),
            },
            _ => CallEvent::Hangup {
                call,
                cause: Some(cause),
            },
        });
        self.forget(exchange, channel);
    }

    /// Ends a channel's part from our side.
    pub(super) fn hang_up(&mut self, exchange: &mut Exchange, channel: ChannelId, cause: Cause) {
        self.end_channel(channel);
        let _ = self.ask(exchange, channel, |call| CallEvent::Hangup {
            call,
            cause: Some(cause),
        });
        self.forget(exchange, channel);
    }
}

/// Asterisk tells a key when it is let go, and not how long it was pressed.
const DIGIT: Duration = Duration::from_millis(100);
