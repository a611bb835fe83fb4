//! What the call plane tells channels.

use std::time::Duration;

use moqswitch_calls::{Codec, LegId, LegState, Notice, Participant, SessionId};

use crate::exchange::Exchange;
use crate::gateway::RtpMix;

use super::{Asterisk, Call, ChannelHears, ChannelId, ChannelOrder, Heard, Speaker, Stage};

impl Asterisk {
    pub(super) fn take_notice(&mut self, exchange: &mut Exchange, session: SessionId, notice: Notice) {
        match notice {
            // Who came back is told again.
            Notice::Incoming(incoming) if self.legs.contains_key(&incoming.leg) => {}
            Notice::Incoming(incoming) => self.call_channel(exchange, session, &incoming),
            Notice::Progress {
                leg,
                state: LegState::Ringing,
                early: Some((speaker, _)),
                ..
            } => {
                let path = speaker.path();
                self.play_early(exchange, leg, Speaker { path, codec: None });
            }
            Notice::Queue {
                leg, music: Some(path), ..
            }
            | Notice::Announcement {
                leg, music: Some(path), ..
            } => {
                self.play_music(exchange, leg, path);
            }
            Notice::Accepted(accepted) => {
                // What to speak is told with who is there.
                let call = self
                    .legs
                    .get(&accepted.leg)
                    .and_then(|channel| self.calls.get_mut(channel));
                if let Some(Stage::Calling { is_accepted, .. }) = call.map(|call| &mut call.stage) {
                    *is_accepted = true;
                }
            }
            Notice::Participants { leg, participants, .. } => {
                if let Some(channel) = self.legs.get(&leg).copied() {
                    self.take_participants(exchange, channel, &participants);
                }
            }
            Notice::Held { leg, music, .. } => {
                if let Some(channel) = self.legs.get(&leg).copied()
                    && let Some(call) = self.calls.get_mut(&channel)
                {
                    call.music = music;
                    self.hear(exchange, channel);
                }
            }
            Notice::Dtmf {
                leg, digits, duration, ..
            } => {
                if let Some(channel) = self.legs.get(&leg).copied() {
                    self.press(exchange, channel, digits.as_str(), duration);
                }
            }
            Notice::Ended(ended) => {
                if let Some(channel) = self.legs.get(&ended.leg).copied() {
                    self.end_channel(channel);
                    self.forget(exchange, channel);
                }
            }
            Notice::Unregistered { .. } => self.forget_session(exchange, session),
            // For displays that a channel does not have.
            Notice::Progress { .. }
            | Notice::Queue { .. }
            | Notice::Announcement { .. }
            | Notice::Joined { .. }
            | Notice::Left { .. }
            | Notice::Muted { .. }
            | Notice::Signal { .. }
            | Notice::Speak { .. }
            | Notice::Transfer { .. }
            | Notice::Recording { .. }
            | Notice::QualityWarning { .. }
            | Notice::Presence { .. }
            | Notice::Call(_) => {}
        }
    }

    fn play_music(&mut self, exchange: &mut Exchange, leg: LegId, path: String) {
        let codec = Some(MUSIC);
        self.play_early(exchange, leg, Speaker { path, codec });
    }

    /// Something is to be heard before the answer.
    fn play_early(&mut self, exchange: &mut Exchange, leg: LegId, what: Speaker) {
        let Some(channel) = self.legs.get(&leg).copied() else {
            return;
        };
        let Some(call) = self.calls.get_mut(&channel) else {
            return;
        };
        if !matches!(call.stage, Stage::Calling { is_accepted: false, .. }) {
            return;
        }
        call.speakers = vec![what];
        self.open(exchange, channel);
        self.hear(exchange, channel);
    }

    fn take_participants(&mut self, exchange: &mut Exchange, channel: ChannelId, participants: &[Participant]) {
        let Some(call) = self.calls.get_mut(&channel) else {
            return;
        };
        if let Some(own) = participants.iter().find(|participant| participant.own) {
            call.sends = own.sends;
        }
        if let Stage::Calling { is_accepted: true } = call.stage {
            call.stage = Stage::Up;
            self.order(exchange, channel, ChannelOrder::Answer);
        }
        let others = participants
            .iter()
            .filter(|other| !other.own && other.audible && other.sends.is_some());
        let others = others.map(|other| Speaker {
            path: other.leg.path(),
            codec: other.sends,
        });
        if let Some(call) = self.calls.get_mut(&channel) {
            call.speakers = others.collect();
        }
        self.open(exchange, channel);
        self.hear(exchange, channel);
    }

    /// It publishes what the plane wants it to speak.
    fn open(&mut self, exchange: &mut Exchange, channel: ChannelId) {
        let Some(call) = self.calls.get_mut(&channel) else {
            return;
        };
        if call.stage == Stage::Called {
            return;
        }
        let codec = call.sends.unwrap_or_else(|| narrow(call));
        let order = match call.speaks.replace(codec) {
            Some(before) if before == codec => return,
            Some(_) => ChannelOrder::Speak(codec),
            None => ChannelOrder::Open {
                path: call.leg.path(),
                codec,
            },
        };
        self.order(exchange, channel, order);
    }

    /// Says what it hears: somebody, or else the music that was told.
    fn hear(&mut self, exchange: &mut Exchange, channel: ChannelId) {
        let Some(call) = self.calls.get_mut(&channel) else {
            return;
        };
        if call.speaks.is_none() {
            return;
        }
        let heard = call.heard();
        if call.hears.as_ref() == Some(&heard) {
            return;
        }
        call.hears = Some(heard.clone());
        let order = match heard {
            Heard::One(heard) => ChannelOrder::Hear(heard),
            Heard::All(mix) => ChannelOrder::HearAll(mix),
        };
        self.order(exchange, channel, order);
    }

    fn press(&mut self, exchange: &mut Exchange, channel: ChannelId, digits: &str, duration: Duration) {
        let duration_ms = u32::try_from(duration.as_millis())
            .unwrap_or(u32::MAX)
            .clamp(DIGIT_MS_MIN, DIGIT_MS_MAX);
        for digit in digits.chars() {
            self.order(exchange, channel, ChannelOrder::Press { digit, duration_ms });
        }
    }
}

impl Call {
    fn heard(&self) -> Heard {
        match &self.speakers[..] {
            [] => Heard::One(self.music.clone().map(|path| ChannelHears {
                path,
                codec: MUSIC,
                is_transcoded: false,
            })),
            // Whatever it is in, the channel's thread decodes it. Where nobody knows, it is brought to what is known.
            [speaker] => Heard::One(Some(ChannelHears {
                path: speaker.path.clone(),
                codec: speaker.codec.unwrap_or_else(|| narrow(self)),
                is_transcoded: speaker.codec.is_none(),
            })),
            speakers => Heard::All(RtpMix {
                path: format!("mix/{}/{}-{}", self.leg.call, self.leg.call, self.leg.leg),
                codec: narrow(self),
                hears: speakers.iter().map(|speaker| speaker.path.clone()).collect(),
                own: self.leg.path(),
            }),
        }
    }
}

/// What is likely to be understood where nobody has said what is spoken.
fn narrow(call: &Call) -> Codec {
    let usual = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus];
    let taken = usual.into_iter().find(|codec| call.codecs.contains(*codec));
    taken.unwrap_or(Codec::Pcmu)
}

/// What music is published in.
const MUSIC: Codec = Codec::Opus;
/// How long a key is pressed at least, so that it is heard, and at most.
const DIGIT_MS_MIN: u32 = 60;
const DIGIT_MS_MAX: u32 = 5000;
