//! What telephones do in calls.

use std::time::{Duration, Instant};

use moqswitch_calls::{
    Actor, CallEvent, CallId, Cause, Codec, Codecs, Event, Number, Refusal, RejectReason, RejectScope, Reply, Text,
    TransferTo,
};
use moqswitch_sip::agent::{End, EndedBy, Forward, LegKey, Named};
use moqswitch_sip::sdp::{Agreed, Description, Direction};

use super::{Call, Gateway, RtpAgreed, RtpError, Stage, codecs};
use crate::exchange::Exchange;
use crate::limits::SIP_CODEC_INTERVAL;

impl Gateway {
    /// Asks the plane for a telephone.
    pub(super) fn ask(
        &self,
        exchange: &mut Exchange,
        key: LegKey,
        event: impl FnOnce(CallId) -> CallEvent,
    ) -> Option<Reply> {
        let call = self.calls.get(&key)?;
        let (actor, event) = (Actor::Leg(call.leg), event(call.leg.call));
        Some(exchange.ask_now(|request| Event::Call { request, actor, event }))
    }

    /// It rings, or with a description there is something to hear before the answer.
    pub(super) fn take_ringing(&mut self, exchange: &mut Exchange, key: LegKey, body: Option<&[u8]>) {
        let early = body.and_then(|body| Description::parse(body).ok()).and_then(|answer| {
            let call = self.calls.get_mut(&key)?;
            call.session_description.take_answer(&answer).ok()
        });
        let early = early.filter(|_| body.is_some_and(|body| self.take_browser_answer(key, body)));
        if let Some(agreed) = &early {
            self.note_answer(key, agreed);
            self.take_agreed(exchange, key, agreed);
        }
        // A second time it says nothing new.
        let early_media = early.is_some();
        let _ = self.ask(exchange, key, |call| CallEvent::Ringing {
            call,
            early_media,
            sdp: None,
        });
    }

    pub(super) fn take_answered(&mut self, exchange: &mut Exchange, key: LegKey, body: &[u8]) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let agreed = Description::parse(body)
            .ok()
            .and_then(|answer| call.session_description.take_answer(&answer).ok());
        let agreed = agreed.filter(|_| self.take_browser_answer(key, body));
        let Some(agreed) = agreed else {
            tracing::info!(
                "a telephone answered with a description that is none, or that has nothing that was offered"
            );
            return self.hang_up(exchange, key, Cause::Incompatible);
        };
        if let Some(call) = self.calls.get_mut(&key) {
            call.stage = Stage::Up;
        }
        self.note_answer(key, &agreed);
        self.take_agreed(exchange, key, &agreed);
        let answered = self.ask(exchange, key, |call| CallEvent::Answer { call, sdp: None });
        if !matches!(answered, Some(Reply::Done)) {
            // Another one was first, or the caller has gone: the plane has told so, or is about to.
            self.agent.hang_up(Instant::now(), key, 487, Some(ELSEWHERE));
            let _ = self.ask(exchange, key, |call| CallEvent::Hangup {
                call,
                cause: Some(Cause::AnsweredElsewhere),
            });
            self.forget_and_leave(exchange, key);
        }
    }

    /// What a telephone and the switch agreed on.
    pub(super) fn take_agreed(&mut self, exchange: &mut Exchange, key: LegKey, agreed: &Agreed) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.takes_events = agreed.event_send.is_some();
        // Who says another address than it comes from is behind a translator, or has its media elsewhere.
        let is_translated = agreed.peer.is_none_or(|media| media.ip().to_canonical() != call.peer);
        (call.untold, call.other_codec) = (None, None);
        let is_up = matches!(call.stage, Stage::Up | Stage::Calling { is_accepted: true, .. });
        let Some(mut rtp) = codecs::to_rtp(agreed, is_translated) else {
            return self.hang_up(exchange, key, Cause::Incompatible);
        };
        if !is_up {
            // Before the answer many say nothing.
            rtp.media_timeout = None;
        }
        if !self.tell_agreed(exchange, key, rtp) {
            return;
        }
        let codec = codecs::of_sdp(agreed.codec);
        if let Some(call) = self.calls.get_mut(&key) {
            call.listed = call.listed.with(codec);
            call.lists = call.lists.with(codec);
        }
        self.tell_codecs(exchange, key, codec);
        self.hear(key);
    }

    /// Tells the plane what a telephone could speak, and speaks.
    fn tell_codecs(&mut self, exchange: &mut Exchange, key: LegKey, speaks: Codec) {
        let lists = self.calls.get(&key).map(|call| call.lists).unwrap_or_default();
        let taken = self.ask(exchange, key, |call| CallEvent::Codecs {
            call,
            codecs: lists,
            speaks: Some(speaks),
        });
        if let Some(Reply::Refused(refusal @ Refusal::Incompatible)) = taken {
            tracing::info!(%refusal, ?speaks, "a telephone speaks what it may not");
            self.hang_up(exchange, key, Cause::Incompatible);
        }
    }

    /// An answer to an offer of ours: what it lists, and G.711, which telephones have whether they list it or not.
    fn note_answer(&mut self, key: LegKey, agreed: &Agreed) {
        if let Some(call) = self.calls.get_mut(&key) {
            let listed = agreed.also_receives.iter().map(|(codec, _)| codecs::of_sdp(*codec));
            let usual: Codecs = [Codec::Pcmu, Codec::Pcma].into_iter().collect();
            call.listed = listed.collect();
            call.lists = call.listed.iter().chain(call.offered.and(usual).iter()).collect();
        }
    }

    /// What the other telephones of its call are sure to take: who changes codecs within a call must not silence them.
    fn listed_beside(&self, key: LegKey) -> Codecs {
        let Some(own) = self.calls.get(&key) else {
            return Codecs::all();
        };
        let others = self
            .calls
            .values()
            .filter(|other| other.leg.call == own.leg.call && other.leg != own.leg && matches!(other.stage, Stage::Up));
        others.fold(Codecs::all(), |common, other| common.and(other.listed))
    }

    /// The plane wants a telephone to speak another codec, as who hears it takes that alone.
    pub(super) fn ask_to_speak(&mut self, key: LegKey, codec: Codec) {
        let Some(call) = self.calls.get_mut(&key).filter(|call| matches!(call.stage, Stage::Up)) else {
            return;
        };
        // A browser has been answered with one codec, and keeps it.
        if call.browser.is_some() {
            return;
        }
        if call.asked.is_some() || !self.agent.can_offer(key) {
            // Another offer is under way, and its answer is to be read by it.
            call.to_ask = Some(codec);
            return;
        }
        let wanted = codecs::in_order(Some(codec), call.lists, Codecs::default());
        let offer = call.session_description.offer(&wanted, Direction::SendReceive);
        call.offered = call.lists;
        if self.agent.offer(Instant::now(), key, &offer) {
            call.asked = Some(codec);
        }
    }

    /// Tells its leg of RTP. False: the call is over.
    pub(super) fn tell_agreed(&mut self, exchange: &mut Exchange, key: LegKey, agreed: RtpAgreed) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        let Some(media) = call.media else { return true };
        match self.media.agree(media, &agreed) {
            Ok(()) => true,
            Err(RtpError::Busy) => {
                call.untold = Some(Box::new(agreed));
                self.try_again(key);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "a leg of RTP cannot be told what was agreed");
                self.hang_up(exchange, key, Cause::Congestion);
                false
            }
        }
    }

    /// It speaks another codec than was agreed, one of those that it offered: so does the switch, where it may.
    pub(super) fn take_other_codec(&mut self, exchange: &mut Exchange, key: LegKey, codec: Codec) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Some(agreed) = call.session_description.agreed() else {
            return;
        };
        let now = Instant::now();
        // One that changes with each packet is followed once a second.
        if call.changed.is_some_and(|changed| now < changed + SIP_CODEC_INTERVAL) {
            call.other_codec = Some(codec);
            return;
        }
        call.changed = Some(now);
        let other = agreed
            .also_receives
            .iter()
            .find(|(other, _)| codecs::of_sdp(*other) == codec);
        let Some((sdp, payload_type)) = other.copied() else {
            return;
        };
        let agreed = Agreed {
            codec: sdp,
            payload_type_send: payload_type,
            payload_type_receive: payload_type,
            ..agreed.clone()
        };
        self.take_agreed(exchange, key, &agreed);
    }

    /// The ACK of our answer. Where ours was the offer, it brings the answer.
    pub(super) fn take_confirmed(&mut self, exchange: &mut Exchange, key: LegKey, body: Option<&[u8]>) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let agreed = match body {
            // It was in the INVITE.
            None if call.session_description.agreed().is_some() => return,
            None => None,
            Some(body) => Description::parse(body)
                .ok()
                .and_then(|answer| call.session_description.take_answer(&answer).ok()),
        };
        match agreed {
            Some(agreed) => {
                self.note_answer(key, &agreed);
                self.take_agreed(exchange, key, &agreed);
            }
            None => self.hang_up(exchange, key, Cause::Incompatible),
        }
    }

    /// Hold and its end, another codec, another address: all are offers.
    pub(super) fn take_offered(&mut self, exchange: &mut Exchange, key: LegKey, body: Option<&[u8]>) {
        let beside = self.listed_beside(key);
        let Some(call) = self.calls.get_mut(&key) else {
            return self.agent.refuse_offer(Instant::now(), key, 481);
        };
        // What the others do not take would be noise to them, unless it is transcoded.
        let (taken, transcoded) = exchange.beside(call.leg);
        let preferred = codecs::in_order(call.sends, taken.and(beside), transcoded);
        let takes = preferred.iter().copied().map(codecs::of_sdp).collect();
        let Some(body) = body else {
            let offer = call.offer(&preferred);
            call.offered = takes;
            return self.agent.answer_offer(Instant::now(), key, &offer);
        };
        let Ok(offer) = Description::parse(body) else {
            return self.agent.refuse_offer(Instant::now(), key, 400);
        };
        if call.browser.is_none() {
            call.arm(Some(&offer));
        }
        let is_browser = call.browser.is_some();
        match call
            .session_description
            .answer(&offer, &preferred, Direction::SendReceive)
        {
            Ok((answer, agreed)) => {
                let (answer, call) = match is_browser {
                    true => (self.answer_browser_again(key, body, &agreed), self.calls.get_mut(&key)),
                    false => (Some(answer), self.calls.get_mut(&key)),
                };
                let (Some(answer), Some(call)) = (answer, call) else {
                    // What was agreed on before goes on (RFC 3261, section 14.2).
                    let warning = [("Warning", NO_RESTART)];
                    return self.agent.refuse_offer_saying(Instant::now(), key, 488, &warning);
                };
                call.listed = codecs::offered(&offer).and(codecs::of_telephones());
                call.lists = call.listed;
                self.agent.answer_offer(Instant::now(), key, &answer);
                self.take_agreed(exchange, key, &agreed);
                self.take_hold(exchange, key, agreed.is_held_by_peer);
            }
            Err(refused) => {
                tracing::debug!(%refused, "an offer of a telephone");
                self.agent.refuse_offer(Instant::now(), key, 488);
            }
        }
    }

    fn take_hold(&mut self, exchange: &mut Exchange, key: LegKey, hold: bool) {
        let Some(call) = self.calls.get_mut(&key).filter(|call| call.holds != hold) else {
            return;
        };
        call.holds = hold;
        let _ = self.ask(exchange, key, |call| CallEvent::Hold { call, hold });
    }

    pub(super) fn take_offer_answered(&mut self, exchange: &mut Exchange, key: LegKey, body: Option<&[u8]>) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let asked = call.asked.take();
        let answer = body.and_then(|body| Description::parse(body).ok());
        let agreed = answer.and_then(|answer| call.session_description.take_answer(&answer).ok());
        let speaks = agreed.as_ref().or(call.session_description.agreed());
        let speaks = speaks.map(|agreed| codecs::of_sdp(agreed.codec));
        // One that does not want it has what it had.
        if let Some(refused) = asked.filter(|asked| Some(*asked) != speaks) {
            call.lists = call.lists.iter().filter(|codec| *codec != refused).collect();
            if let (None, Some(speaks)) = (&agreed, speaks) {
                self.tell_codecs(exchange, key, speaks);
            }
        }
        if let Some(agreed) = agreed {
            self.take_agreed(exchange, key, &agreed);
            self.take_hold(exchange, key, agreed.is_held_by_peer);
        }
    }

    /// `is_heard`: it goes to other telephones with the speech.
    pub(super) fn take_digit(
        &mut self,
        exchange: &mut Exchange,
        key: LegKey,
        digit: char,
        duration: Duration,
        is_heard: bool,
    ) {
        if let Some(call) = self.calls.get_mut(&key) {
            call.is_digit_heard = is_heard;
        }
        let digits = Text::new(digit.encode_utf8(&mut [0; 4]));
        let _ = self.ask(exchange, key, |call| CallEvent::Dtmf { call, digits, duration });
    }

    pub(super) fn take_transfer(&mut self, exchange: &mut Exchange, key: LegKey, to: &Named, replaces: Option<LegKey>) {
        let target = match replaces {
            Some(other) => self
                .calls
                .get(&other)
                .map(|other| TransferTo::Leg(other.leg))
                .ok_or(404),
            None => self.transferred(exchange, key, to),
        };
        let to = match target {
            Ok(to) => to,
            Err(status) => return self.agent.tell_transfer(Instant::now(), key, status),
        };
        self.agent.tell_transfer(Instant::now(), key, 100);
        // How it goes on is told by notices.
        let reply = self.ask(exchange, key, |call| CallEvent::Transfer { call, to });
        if let Some(Reply::Refused(refusal)) = reply {
            self.agent
                .tell_transfer(Instant::now(), key, super::telling::status_of(refusal));
        }
    }

    /// Where a telephone wants to transfer to, or the status that says why that cannot be.
    fn transferred(&self, exchange: &Exchange, key: LegKey, to: &Named) -> Result<TransferTo, u16> {
        let number = self.named(exchange, key, to).ok_or(404_u16)?;
        let Some(gr) = &to.gr else {
            return Ok(TransferTo::Number(number));
        };
        let own = self.calls.get(&key).map_or("", |call| &*call.domain);
        let domains = [to.domain.as_str(), own]
            .into_iter()
            .filter(|domain| !domain.is_empty());
        let found = domains.map(|domain| self.agent.device_named(&to.user, domain, gr));
        // Where it is said that one is away, it is none of another domain.
        let device = found
            .max_by_key(|found| (found.is_ok(), *found == Err(480)))
            .unwrap_or(Err(404))?;
        let session = self.device_of(exchange, device, &number)?;
        Ok(TransferTo::Device(number, session))
    }

    /// The number that a telephone names.
    fn named(&self, exchange: &Exchange, key: LegKey, named: &Named) -> Option<Number> {
        let own = &self.calls.get(&key)?.domain;
        exchange.sip_number(&named.user, exchange.sip_domain(&named.domain, own))
    }

    pub(super) fn take_ended(&mut self, exchange: &mut Exchange, key: LegKey, end: &End) {
        if self.call_again(key, end.status) || self.call_by_another(key, end) {
            return;
        }
        let Some(call) = self.calls.get(&key) else { return };
        let forward = end.forward.as_ref().filter(|_| matches!(call.stage, Stage::Called));
        let to = match forward {
            Some(Forward::To(to)) => self.named(exchange, key, to),
            Some(Forward::Elsewhere) | None => None,
        };
        if let Some(to) = to {
            let _ = self.ask(exchange, key, |call| CallEvent::Forward { call, to });
            return self.forget_and_leave(exchange, key);
        }
        if forward.is_some() {
            exchange.refuse_forward(call.leg.call);
        }
        let event = match (&call.stage, end.status) {
            (Stage::Called, 486 | 600) => Refusing::Reject(RejectReason::Busy, scope_of(end.status)),
            (Stage::Called, 603 | 607 | 608) => Refusing::Reject(RejectReason::Declined, RejectScope::All),
            (Stage::Called, _) => Refusing::End(cause_of(end)),
            (Stage::Calling { .. }, _) => Refusing::End(Cause::Cancelled),
            (Stage::Up, _) => Refusing::End(if end.by == EndedBy::Time {
                Cause::MediaTimeout
            } else {
                Cause::Normal
            }),
        };
        let _ = self.ask(exchange, key, |call| match event {
            Refusing::Reject(reason, scope) => CallEvent::Reject { call, reason, scope },
            Refusing::End(cause) => CallEvent::Hangup {
                call,
                cause: Some(cause),
            },
        });
        self.forget_and_leave(exchange, key);
    }

    /// Ends a telephone's part from our side.
    pub(super) fn hang_up(&mut self, exchange: &mut Exchange, key: LegKey, cause: Cause) {
        self.agent.hang_up(
            Instant::now(),
            key,
            cause.sip_status(),
            Some(&super::telling::reason_of(cause)),
        );
        let _ = self.ask(exchange, key, |call| CallEvent::Hangup {
            call,
            cause: Some(cause),
        });
        self.forget_and_leave(exchange, key);
    }

    /// Nothing is left of the call, but for what the plane still tells.
    pub(super) fn forget(&mut self, key: LegKey) -> Option<Call> {
        let call = self.calls.remove(&key)?;
        if let Some(trunk) = call.trunk {
            self.trunks.leave(trunk);
        }
        if self
            .carried
            .get(&call.leg.call)
            .is_some_and(|carried| carried.caller == key)
        {
            self.carried.remove(&call.leg.call);
        }
        self.legs.remove(&call.leg);
        if let Some(media) = call.media {
            self.streams.remove(&media);
            self.media.close(media);
        }
        Some(call)
    }

    pub(super) fn forget_and_leave(&mut self, exchange: &mut Exchange, key: LegKey) {
        if let Some(call) = self.forget(key) {
            self.end_guest(exchange, call.guest.as_ref());
            self.end_leaving(exchange, call.session);
        }
    }
}

enum Refusing {
    Reject(RejectReason, RejectScope),
    End(Cause),
}

/// A status of 600 and more is for all (RFC 3261, section 21.6).
const fn scope_of(status: u16) -> RejectScope {
    if status >= 600 {
        RejectScope::All
    } else {
        RejectScope::Device
    }
}

fn cause_of(end: &End) -> Cause {
    // What it says itself is nearer to the truth (RFC 3326).
    match end.cause {
        Some(1) => return Cause::Unallocated,
        Some(17) => return Cause::Busy,
        Some(18) => return Cause::NoReply,
        Some(19) => return Cause::NoAnswer,
        Some(21) => return Cause::Rejected,
        Some(88) => return Cause::Incompatible,
        _ => {}
    }
    match end.status {
        403 => Cause::Forbidden,
        404 | 410 | 484 | 604 => Cause::Unallocated,
        408 | 480 => Cause::Unreachable,
        415 | 488 | 606 => Cause::Incompatible,
        503 => Cause::Congestion,
        _ => Cause::Unreachable,
    }
}

/// As a header Reason has it (RFC 3326).
pub(super) const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

/// To a browser whose offer changes more than who speaks (RFC 3261, section 20.43).
const NO_RESTART: &str = "399 moqswitch \"ICE restarts, other keys and further media are not taken up\"";
