//! What the call plane tells telephones.

use std::time::Instant;

use moqswitch_calls::{
    CallId, Cause, Ended, LegId, LegState, Notice, Participant, Refusal, SessionId, TransferProgress, UnregisterReason,
};
use moqswitch_sip::agent::LegKey;
use moqswitch_sip::sdp::Direction;

use super::{Call, Gateway, RtpError, Stage, codecs};
use crate::exchange::Exchange;

impl Gateway {
    pub(super) fn take_notice(&mut self, exchange: &mut Exchange, session: SessionId, notice: Notice) {
        match notice {
            // Who came back is told again.
            Notice::Incoming(incoming) if self.legs.contains_key(&incoming.leg) => {}
            Notice::Incoming(incoming) => self.call_telephone(exchange, session, &incoming),
            Notice::Progress {
                leg,
                state: LegState::Ringing,
                early,
                ..
            } => {
                if let Some(key) = self.legs.get(&leg).copied() {
                    self.ring(exchange, key, early.map(|(speaker, _)| speaker));
                }
            }
            Notice::Accepted(accepted) => self.accept(accepted.leg),
            Notice::Participants {
                call,
                leg,
                participants,
            } => {
                if let Some(key) = self.legs.get(&leg).copied() {
                    self.take_participants(exchange, key, call, &participants);
                }
            }
            Notice::Held { leg, music, .. } => {
                if let Some(key) = self.legs.get(&leg).copied() {
                    self.set_music(key, music);
                }
            }
            Notice::Dtmf {
                leg,
                by,
                digits,
                duration,
                ..
            } => {
                let key = self.legs.get(&leg).copied();
                if let Some(key) = key.filter(|key| !self.hears_keys(exchange, *key, by)) {
                    self.press(key, digits.as_str(), duration);
                }
            }
            Notice::Transfer { leg, progress, .. } => {
                if let Some(key) = self.legs.get(&leg).copied() {
                    self.agent.tell_transfer(Instant::now(), key, progress_of(progress));
                }
            }
            Notice::Speak { leg, codec, .. } => {
                if let Some(key) = self.legs.get(&leg).copied() {
                    self.ask_to_speak(key, codec);
                }
            }
            Notice::Recording { leg, tone, .. } => self.set_tone(leg, tone),
            Notice::Queue { leg, music, .. } | Notice::Announcement { leg, music, .. } => {
                if let Some(key) = self.legs.get(&leg).copied() {
                    self.wait(exchange, key, music);
                }
            }
            Notice::Ended(ended) => {
                self.take_over(exchange, &ended);
                self.end_leaving(exchange, session);
            }
            Notice::Unregistered { reason } => self.take_unregistered(exchange, session, reason),
            // For displays that a telephone does not have.
            Notice::Progress { .. }
            | Notice::Joined { .. }
            | Notice::Left { .. }
            | Notice::Muted { .. }
            | Notice::Signal { .. }
            | Notice::QualityWarning { .. }
            | Notice::Presence { .. }
            | Notice::Call(_) => {}
        }
    }

    /// Somebody is rung, and perhaps there is something to hear.
    fn ring(&mut self, exchange: &mut Exchange, key: LegKey, early: Option<LegId>) {
        let Some(speaker) = early else {
            return self.agent.ring(Instant::now(), key, None);
        };
        self.prefer_codec_of(exchange, key, speaker);
        self.play_early(exchange, key, speaker.path());
    }

    /// What another telephone speaks need not be transcoded for this one.
    fn prefer_codec_of(&mut self, exchange: &Exchange, key: LegKey, speaker: LegId) {
        let speaker = self.legs.get(&speaker).and_then(|speaker| self.calls.get(speaker));
        let spoken = speaker.and_then(|speaker| speaker.session_description.agreed());
        let spoken = spoken.map(|agreed| codecs::of_sdp(agreed.codec));
        if let (Some(codec), Some(call)) = (spoken, self.calls.get_mut(&key))
            && exchange.beside(call.leg).0.contains(codec)
        {
            call.sends.get_or_insert(codec);
        }
    }

    /// What to speak is told with who is there.
    fn accept(&mut self, leg: LegId) {
        let call = self.legs.get(&leg).and_then(|key| self.calls.get_mut(key));
        if let Some(Stage::Calling { is_accepted, .. }) = call.map(|call| &mut call.stage) {
            *is_accepted = true;
        }
    }

    fn set_music(&mut self, key: LegKey, music: Option<String>) {
        if let Some(own) = self.calls.get_mut(&key) {
            own.heard.set_music(music);
            self.hear(key);
        }
    }

    /// Telephones hear each other's keys with the speech.
    fn hears_keys(&self, exchange: &Exchange, key: LegKey, by: LegId) -> bool {
        let is_heard = exchange.keys_heard.contains(&by);
        let by = self.legs.get(&by).and_then(|key| self.calls.get(key));
        let hears = |call: &Call| call.takes_events && call.media.is_some() && call.heard.is_one();
        let is_heard = is_heard || by.is_some_and(|by| by.is_digit_heard);
        is_heard && self.calls.get(&key).is_some_and(hears)
    }

    /// A leg is over in the plane: so is its telephone's call.
    fn take_over(&mut self, exchange: &mut Exchange, ended: &Ended) {
        let Some(key) = self.legs.get(&ended.leg).copied() else {
            return;
        };
        let (status, reason) = (refusal_of(ended.cause.sip_status()), reason_of(ended.cause));
        self.agent.hang_up(Instant::now(), key, status, Some(&reason));
        self.forget_and_leave(exchange, key);
    }

    fn take_participants(&mut self, exchange: &mut Exchange, key: LegKey, id: CallId, participants: &[Participant]) {
        let own = participants.iter().find(|participant| participant.own);
        let Some(call) = self.calls.get_mut(&key) else { return };
        if let Some(own) = own {
            call.sends = own.sends;
        }
        if let Stage::Calling { is_accepted: true, .. } = call.stage
            && let Err(cause) = self.answer(exchange, key)
        {
            return self.hang_up(exchange, key, cause);
        }
        if let Some(call) = self.calls.get_mut(&key) {
            call.heard.set_speakers(id, participants);
        }
        self.hear(key);
    }

    /// Something is to be heard before the answer (a 183): what a carrier or a telephone says.
    fn play_early(&mut self, exchange: &mut Exchange, key: LegKey, speaker: String) {
        // Where that was said before, or was not needed, another one is heard.
        let known = self.calls.get_mut(&key);
        if let Some(call) = known.filter(|call| call.early.is_some() || matches!(call.stage, Stage::Up)) {
            call.heard.set_early(speaker);
            return self.hear(key);
        }
        let is_calling = self
            .calls
            .get(&key)
            .is_some_and(|call| matches!(call.stage, Stage::Calling { offer: Some(_), .. }));
        let description = if is_calling {
            self.describe(exchange, key).ok()
        } else {
            None
        };
        let Some(description) = description else {
            return self.agent.ring(Instant::now(), key, None);
        };
        let now = Instant::now();
        self.agent.ring(now, key, Some(&description));
        if let Some(call) = self.calls.get_mut(&key) {
            call.heard.set_early(speaker);
            call.told = now;
            call.early = Some(description);
        }
        self.hear(key);
    }

    /// Who calls is in a queue, and hears its music.
    fn wait(&mut self, exchange: &mut Exchange, key: LegKey, music: Option<String>) {
        let Some(call) = self.calls.get(&key) else { return };
        if !matches!(call.stage, Stage::Calling { is_accepted: false, .. }) {
            return;
        }
        match music {
            Some(music) => self.play_early(exchange, key, music),
            None => self.agent.ring(Instant::now(), key, None),
        }
    }

    /// What is said to who calls: the answer to its offer, or an offer of ours. Its leg of RTP is opened for it.
    fn describe(&mut self, exchange: &mut Exchange, key: LegKey) -> Result<String, Cause> {
        let Some(mut call) = self.calls.remove(&key) else {
            return Err(Cause::Internal);
        };
        let opened = if call.media.is_none() && call.browser.is_none() {
            self.open_media(&mut call, None).map(Some)
        } else {
            Ok(None)
        };
        self.calls.insert(key, call);
        let opened = opened.map_err(|error| {
            // Whoever has none has said so.
            tracing::debug!(%error, "a call of a telephone");
            Cause::Congestion
        })?;
        if let Some(opened) = opened {
            self.streams.insert(opened.leg, key);
        }
        let Some(call) = self.calls.get_mut(&key) else {
            return Err(Cause::Internal);
        };
        let (takes, transcoded) = exchange.beside(call.leg);
        let preferred = codecs::in_order(call.sends, takes, transcoded);
        let Stage::Calling { offer, .. } = &call.stage else {
            return Err(Cause::Internal);
        };
        if call.browser.is_none() {
            call.secrecy.arm(&mut call.session_description, offer.as_deref());
        }
        let description = match offer {
            Some(offer) => {
                call.listed = codecs::offered(offer).and(codecs::of_telephones());
                call.lists = call.listed;
                let answered = call
                    .session_description
                    .answer(offer, &preferred, Direction::SendReceive);
                answered
                    .map_err(|refused| {
                        tracing::info!(%refused, "a call of a telephone");
                        Cause::Incompatible
                    })?
                    .0
            }
            None => {
                call.offered = preferred.iter().copied().map(codecs::of_sdp).collect();
                return Ok(call.session_description.offer(&preferred, Direction::SendReceive));
            }
        };
        let is_browser = call.browser.is_some();
        let Some(agreed) = call.session_description.agreed().cloned() else {
            return Ok(description);
        };
        let description = match is_browser {
            true => self.answer_browser(key, agreed.codec).map_err(|error| {
                tracing::info!(%error, "a call of a telephone in a page");
                match error {
                    RtpError::Unusable => Cause::Incompatible,
                    _ => Cause::Congestion,
                }
            })?,
            false => description,
        };
        self.take_agreed(exchange, key, &agreed);
        Ok(description)
    }

    /// The call of a telephone was answered: so is the telephone.
    fn answer(&mut self, exchange: &mut Exchange, key: LegKey) -> Result<(), Cause> {
        let description = self.describe(exchange, key)?;
        if let Some(call) = self.calls.get_mut(&key) {
            call.stage = Stage::Up;
            self.agent.answer(Instant::now(), key, &description);
        }
        Ok(())
    }

    fn press(&mut self, key: LegKey, digits: &str, duration: std::time::Duration) {
        let Some(call) = self.calls.get(&key) else { return };
        let (media, takes_events) = (call.media, call.takes_events);
        let duration_ms = u32::try_from(duration.as_millis())
            .unwrap_or(u32::MAX)
            .clamp(DIGIT_MS_MIN, DIGIT_MS_MAX);
        for digit in digits.chars() {
            match media.filter(|_| takes_events) {
                Some(media) => {
                    if let Err(error) = self.media.press(media, digit, duration_ms) {
                        tracing::warn!(%error, "a key is lost");
                    }
                }
                None => {
                    let duration = std::time::Duration::from_millis(duration_ms.into());
                    self.agent.press(Instant::now(), key, digit, duration);
                }
            }
        }
    }

    fn take_unregistered(&mut self, exchange: &mut Exchange, session: SessionId, reason: UnregisterReason) {
        exchange.outlet.remove(session);
        self.registry.has_left(session);
        self.trunks.forget(session);
        self.guests.retain(|_, (guest, _)| *guest != session);
        let forgotten = match reason {
            // It is rung by the process that comes after this one.
            UnregisterReason::Shutdown => self.registry.forget(session),
            _ => self.registry.turn_away(exchange, session),
        };
        let Some(binding) = forgotten else {
            return;
        };
        if reason != UnregisterReason::Requested {
            let mut host = self.registry.host(exchange);
            self.agent.unregister(binding, &mut host);
        }
    }
}

/// Of a refused request.
pub(super) const fn status_of(refusal: Refusal) -> u16 {
    match refusal {
        Refusal::UnknownNumber | Refusal::UnknownCall | Refusal::UnknownLeg => 404,
        Refusal::NotAllowed
        | Refusal::Forbidden
        | Refusal::TooOften
        | Refusal::AnswersItself
        | Refusal::UnknownSession => 403,
        Refusal::Incompatible => 488,
        Refusal::Malformed => 484,
        Refusal::WrongState | Refusal::Pending | Refusal::Duplicate => 491,
        Refusal::TooManyCalls => 486,
        Refusal::TooManyDevices | Refusal::TooManyWatched | Refusal::TooManyLegs => 403,
        Refusal::Full | Refusal::Stopping | Refusal::Away => 503,
    }
}

/// An end that is no refusal is one nevertheless for who was not answered.
const fn refusal_of(status: u16) -> u16 {
    if status < 300 { 480 } else { status }
}

/// As a header Reason has it (RFC 3326).
pub(super) fn reason_of(cause: Cause) -> String {
    match cause {
        Cause::AnsweredElsewhere => super::calling::ELSEWHERE.to_owned(),
        cause => format!("Q.850;cause={};text=\"{}\"", cause.q850(), cause.name()),
    }
}

const fn progress_of(progress: TransferProgress) -> u16 {
    match progress {
        TransferProgress::Trying => 100,
        TransferProgress::Ringing => 180,
        TransferProgress::Done => 200,
        TransferProgress::Failed(cause) => refusal_of(cause.sip_status()),
    }
}

/// How long a key is pressed at least, so that it is heard (RFC 4733, section 2.5.2.3), and at most.
const DIGIT_MS_MIN: u32 = 60;
const DIGIT_MS_MAX: u32 = 5000;
