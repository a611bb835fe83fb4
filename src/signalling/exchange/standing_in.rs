//! Devices that speak WebRTC with somebody who does not: their offers are answered here, and they are offered something. Each has
//! a leg of its own then, which publishes and hears in their place. Two browsers are none of its business: what they say to each
//! other is forwarded.

use std::time::Instant;

use moqswitch_calls::{
    Accepted, Actor, CallEvent, CallId, Cause, Codec, Codecs, Event, Incoming, LegId, Notice, Participant, Payload,
    SessionId, Signal, Text,
};
use moqswitch_sip::sdp::Description;

use super::browsing::{Browsed, Unanswered};
use super::{Asker, Exchange};
use crate::gateway::{Heard, RtpError, RtpEvent, RtpLeg, codec_of};
use crate::limits::BROWSER_AGAIN_MAX;

impl Exchange {
    /// Rung when something happened on their legs.
    pub(crate) fn browsing_news(&self) -> std::sync::Arc<tokio::sync::Notify> {
        self.browsing.media.news()
    }

    /// Takes what happened on their legs.
    pub(crate) fn take_browsing(&mut self) {
        while let Some(event) = self.browsing.media.poll() {
            let of = |media: RtpLeg| {
                let mut legs = self.browsing.legs.iter();
                legs.find(|(_, own)| own.media == media).map(|(leg, _)| *leg)
            };
            match event {
                RtpEvent::Digit {
                    leg,
                    digit,
                    duration_ms,
                } => {
                    if let Some(leg) = of(leg) {
                        let digits = Text::new(digit.encode_utf8(&mut [0; 4]));
                        let duration = std::time::Duration::from_millis(duration_ms.into());
                        let event = self.event_of(leg, |call| CallEvent::Dtmf { call, digits, duration });
                        self.handle(event);
                    }
                }
                RtpEvent::Silent { leg } | RtpEvent::Refused { leg, .. } => {
                    if let Some(leg) = of(leg) {
                        let cause = Some(Cause::MediaTimeout);
                        let event = self.event_of(leg, |call| CallEvent::Hangup { call, cause });
                        self.handle(event);
                        self.browsing.close(leg);
                    }
                }
                RtpEvent::OtherCodec { .. } | RtpEvent::Counted { .. } | RtpEvent::Closed { .. } => {}
            }
        }
    }

    /// A leg is over, whether anybody is told or not.
    pub(super) fn end_browsing(&mut self, session: SessionId, notice: &Notice) {
        if let Notice::Ended(ended) = notice {
            self.browsing.forget(session, ended.call);
            self.browsing.close(ended.leg);
        }
    }

    /// What a device is told, with what it lacks.
    pub(super) fn complete(&mut self, session: SessionId, notice: &Notice) -> Option<Notice> {
        match notice {
            Notice::Accepted(accepted) => self.complete_accepted(session, accepted),
            Notice::Incoming(incoming) => self.complete_incoming(session, incoming),
            Notice::Participants {
                call,
                leg,
                participants,
            } => {
                self.take_participants(*leg, *call, participants);
                None
            }
            // The leg that stands in for it sounds: it need not itself.
            Notice::Recording {
                call,
                leg,
                on,
                paused,
                tone,
            } if self.browsing.set_tone(*leg, *tone) => Some(Notice::Recording {
                call: *call,
                leg: *leg,
                on: *on,
                paused: *paused,
                tone: None,
            }),
            Notice::Held { leg, music, .. } => {
                if let Some(own) = self.browsing.legs.get_mut(leg) {
                    own.heard.set_music(music.clone());
                    self.browsing.hear(*leg);
                } else if let Some(waiting) = self.browsing.unanswered.get_mut(leg) {
                    waiting.heard.set_music(music.clone());
                }
                None
            }
            _ => None,
        }
    }

    /// Who called with an offer was answered without a description: it is answered here.
    fn complete_accepted(&mut self, session: SessionId, accepted: &Accepted) -> Option<Notice> {
        let offer = self.browsing.offers.remove(&(session, accepted.call))?;
        if accepted.sdp.is_some() {
            return None;
        }
        let waiting = Unanswered {
            session,
            by: accepted.leg,
            offer,
            heard: Heard::default(),
            until: Instant::now() + BROWSER_AGAIN_MAX,
        };
        let answer = self.answer_browsed(accepted.leg, waiting)?;
        Some(Notice::Accepted(Box::new(Accepted {
            sdp: Payload::new(&answer).ok(),
            ..accepted.clone()
        })))
    }

    /// Answers an offer. `None`: it cannot be, and its call ends; or the shard is too busy, and it is tried again.
    fn answer_browsed(&mut self, leg: LegId, waiting: Unanswered) -> Option<String> {
        let (takes, transcoded) = self.beside(leg);
        let path = leg.path();
        let answered = takes.iter().chain(transcoded.iter()).find_map(|codec| {
            match self
                .browsing
                .media
                .answer_browser(&path, waiting.offer.as_str(), &[codec])
            {
                Ok((media, answer)) => Some(Ok((media, answer, codec))),
                Err(RtpError::Unusable) => None,
                Err(error) => Some(Err(error)),
            }
        });
        match answered {
            Some(Ok((media, answer, codec))) => {
                self.begin_browsed(leg, media, None, waiting.heard);
                self.agree_browsed(leg, codec);
                self.tell_spoken(leg, [codec].into_iter().collect(), codec);
                return Some(answer);
            }
            Some(Err(RtpError::Busy)) if Instant::now() < waiting.until => {
                self.browsing.unanswered.insert(leg, waiting);
                self.browsing.try_again(leg);
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "a call of a browser");
                self.end_browsed(leg, Cause::Congestion);
            }
            None => self.end_browsed(leg, Cause::Incompatible),
        }
        None
    }

    /// What a shard was too busy for.
    pub(super) fn browse_again(&mut self) {
        for leg in std::mem::take(&mut self.browsing.again) {
            if let Some(waiting) = self.browsing.unanswered.remove(&leg) {
                let (session, by) = (waiting.session, waiting.by);
                let answer = self.answer_browsed(leg, waiting);
                if let Some(sdp) = answer.and_then(|answer| Payload::new(&answer).ok()) {
                    let (call, signal) = (leg.call, Signal::Answer(sdp));
                    self.tell_notice(session, &Notice::Signal { call, leg, by, signal });
                }
            }
            let unopened = self.browsing.legs.get_mut(&leg).and_then(|own| own.unopened.take());
            if let Some((answer, until)) = unopened {
                self.open_browsed(leg, answer, until);
            }
            self.browsing.hear(leg);
        }
    }

    /// Opens the leg of a device that has answered, now or in a moment. False: its call ends.
    fn open_browsed(&mut self, leg: LegId, answer: Payload, until: Instant) -> bool {
        let Some(own) = self.browsing.legs.get_mut(&leg) else {
            return false;
        };
        match self.browsing.media.take_browser_answer(own.media, answer.as_str()) {
            Ok(()) => true,
            Err(RtpError::Busy) if Instant::now() < until => {
                own.unopened = Some((answer, until));
                self.browsing.try_again(leg);
                true
            }
            Err(error) => {
                tracing::info!(%error, "what a browser answered is of no use");
                let cause = match error {
                    RtpError::Unusable => Cause::Incompatible,
                    _ => Cause::Congestion,
                };
                self.end_browsed(leg, cause);
                false
            }
        }
    }

    /// A device that speaks WebRTC is called by who does not: it is offered something.
    fn complete_incoming(&mut self, session: SessionId, incoming: &Incoming) -> Option<Notice> {
        let is_browser = self.sessions.get(&session).is_some_and(|own| own.speaks_webrtc);
        if !is_browser || incoming.sdp.is_some() || self.browsing.legs.contains_key(&incoming.leg) {
            return None;
        }
        let offered: Vec<Codec> = incoming.codecs.iter().collect();
        let made = self.browsing.media.offer_browser(&incoming.leg.path(), &offered);
        let (media, offer) = made
            .inspect_err(|error| tracing::warn!(%error, "a call to a browser"))
            .ok()?;
        self.begin_browsed(incoming.leg, media, Some(incoming.codecs), Heard::default());
        Some(Notice::Incoming(Box::new(Incoming {
            sdp: Payload::new(&offer).ok(),
            ..incoming.clone()
        })))
    }

    /// What a device answers that was offered something here: nothing of it is for who called. `None`: it was not, and the answer
    /// goes on.
    pub(super) fn take_browsed_answer(
        &mut self,
        session: SessionId,
        call: CallId,
        answer: Option<&Payload>,
    ) -> Option<()> {
        let leg = self.leg_of_device(session, call)?;
        let own = self.browsing.legs.get_mut(&leg)?;
        own.offered.take()?;
        let Some(answer) = answer else {
            // It takes part by other means.
            self.browsing.close(leg);
            return Some(());
        };
        let spoken = Description::parse(answer.as_str().as_bytes()).ok().and_then(|answer| {
            let audio = answer.sections.into_iter().find_map(|section| section.audio)?;
            let codecs: Vec<Codec> = audio.codecs().map(|(codec, _)| codec_of(codec)).collect();
            Some((*codecs.first()?, codecs.into_iter().collect::<Codecs>()))
        });
        let Some((codec, codecs)) = spoken else {
            tracing::info!("what a browser answered has no codec");
            self.end_browsed(leg, Cause::Incompatible);
            return Some(());
        };
        if self.open_browsed(leg, answer.clone(), Instant::now() + BROWSER_AGAIN_MAX) {
            self.agree_browsed(leg, codec);
            let speaks = Some(codec);
            let event = self.event_of(leg, |call| CallEvent::Codecs { call, codecs, speaks });
            self.handle(event);
        }
        Some(())
    }

    fn take_participants(&mut self, leg: LegId, call: CallId, participants: &[Participant]) {
        if let Some(own) = self.browsing.legs.get_mut(&leg) {
            own.heard.set_speakers(call, participants);
        } else if let Some(waiting) = self.browsing.unanswered.get_mut(&leg) {
            waiting.heard.set_speakers(call, participants);
        }
        self.browsing.hear(leg);
    }

    fn agree_browsed(&mut self, leg: LegId, codec: Codec) {
        if let Some(own) = self.browsing.legs.get_mut(&leg) {
            own.codec = Some(codec);
        }
        self.browsing.hear(leg);
    }

    fn begin_browsed(&mut self, leg: LegId, media: RtpLeg, offered: Option<Codecs>, heard: Heard) {
        let own = Browsed {
            media,
            offered,
            heard,
            codec: None,
            unopened: None,
        };
        self.browsing.legs.insert(leg, own);
    }

    fn tell_spoken(&mut self, leg: LegId, codecs: Codecs, codec: Codec) {
        let speaks = Some(codec);
        self.act(leg, |call| CallEvent::Codecs { call, codecs, speaks });
    }

    fn end_browsed(&mut self, leg: LegId, cause: Cause) {
        let cause = Some(cause);
        self.act(leg, |call| CallEvent::Hangup { call, cause });
    }

    /// For a leg, after what is being done.
    fn act(&mut self, leg: LegId, event: impl FnOnce(CallId) -> CallEvent) {
        let event = self.event_of(leg, event);
        self.follow_up.push_back(event);
    }

    fn event_of(&mut self, leg: LegId, event: impl FnOnce(CallId) -> CallEvent) -> Event {
        Event::Call {
            request: self.request_id(Asker::Nobody),
            actor: Actor::Leg(leg),
            event: event(leg.call),
        }
    }
}
