//! What legs hear that take one stream: who is there, the music of a queue or of who holds, or nothing.

use std::time::Duration;

use moqswitch_calls::{CallId, Codec, LegId, Participant};

use super::media::{RtpHeard, RtpMix};

/// What a leg is to hear.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Who is there to be heard.
    speakers: Vec<Speaker>,
    /// In which call.
    call: Option<CallId>,
    /// What is played to it while the others hold.
    music: Option<String>,
    /// From one tone to the next that says that it is recorded.
    tone: Option<Duration>,
    /// What its leg was told.
    told: RtpHeard,
    told_tone: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
struct Speaker {
    path: String,
    /// It may say something that the telephone does not take.
    may_be_foreign: bool,
}

impl Heard {
    /// By its leg it hears who presses a key, and that alone.
    pub(super) fn is_one(&self) -> bool {
        matches!(self.told, RtpHeard::One { .. })
    }

    pub(crate) fn set_music(&mut self, music: Option<String>) {
        self.music = music;
    }

    /// It is recorded, and hears a tone; or it is not.
    pub(crate) fn set_tone(&mut self, tone: Option<Duration>) {
        self.tone = tone;
    }

    /// From one tone to the next, if that is something else than its leg was told.
    pub(crate) fn tone_news(&self) -> Option<Option<Duration>> {
        (self.tone != self.told_tone).then_some(self.tone)
    }

    pub(crate) fn set_tone_told(&mut self, told: Option<Duration>) {
        self.told_tone = told;
    }

    /// Something that is there before anybody is: what a carrier says, or a queue's music.
    pub(super) fn set_early(&mut self, path: String) {
        self.speakers = vec![Speaker {
            path,
            may_be_foreign: true,
        }];
    }

    pub(crate) fn set_speakers(&mut self, call: CallId, participants: &[Participant]) {
        let heard = participants
            .iter()
            .filter(|other| !other.own && other.audible && other.sends.is_some());
        self.call = Some(call);
        self.speakers = heard
            .map(|other| Speaker {
                path: other.leg.path(),
                may_be_foreign: other.heard_as.is_some(),
            })
            .collect();
    }

    /// What it is to hear, if that is something else than it was told: to be told, and to be noted by [`Self::set_told`].
    /// `None` as well: that depends on the codec that it has agreed on, and it has not.
    pub(crate) fn news(&self, leg: LegId, agreed: Option<Codec>) -> Option<RtpHeard> {
        self.hears(leg, agreed).filter(|hears| self.told != *hears)
    }

    pub(crate) fn set_told(&mut self, told: RtpHeard) {
        self.told = told;
    }

    fn hears(&self, leg: LegId, agreed: Option<Codec>) -> Option<RtpHeard> {
        let one = |path: &str, transcoded: Option<Codec>| RtpHeard::One {
            path: path.to_owned(),
            transcoded,
        };
        match (&self.speakers[..], &self.music) {
            ([], None) => Some(RtpHeard::Nothing),
            ([], Some(music)) => Some(one(music, Some(agreed?))),
            ([speaker], _) if speaker.may_be_foreign => Some(one(&speaker.path, Some(agreed?))),
            ([speaker], _) => Some(one(&speaker.path, None)),
            (speakers, _) => Some(RtpHeard::Several(RtpMix {
                path: format!("mix/{}/{}-{}", self.call?, leg.call, leg.leg),
                codec: agreed?,
                hears: speakers.iter().map(|speaker| speaker.path.clone()).collect(),
                own: leg.path(),
            })),
        }
    }
}
