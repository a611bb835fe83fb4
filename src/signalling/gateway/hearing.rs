//! What telephones hear: who is there, the music of a queue or of who holds, or nothing.

use moqswitch_calls::{CallId, Codec, Participant};
use moqswitch_sip::agent::LegKey;

use super::{Call, Gateway, RtpError, RtpHeard, RtpMix, codecs};

/// What a call's telephone is to hear.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Who is there to be heard.
    speakers: Vec<Speaker>,
    /// In which call.
    call: Option<CallId>,
    /// What is played to it while the others hold.
    music: Option<String>,
    /// What its leg was told.
    told: RtpHeard,
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

    pub(super) fn set_music(&mut self, music: Option<String>) {
        self.music = music;
    }

    /// Something that is there before anybody is: what a carrier says, or a queue's music.
    pub(super) fn set_early(&mut self, path: String) {
        self.speakers = vec![Speaker {
            path,
            may_be_foreign: true,
        }];
    }

    pub(super) fn set_speakers(&mut self, call: CallId, participants: &[Participant]) {
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
}

impl Call {
    /// What it is to hear. `None`: until it has agreed on a codec nobody knows.
    fn hears(&self) -> Option<RtpHeard> {
        let agreed = || {
            self.session_description
                .agreed()
                .map(|agreed| codecs::of_sdp(agreed.codec))
        };
        let one = |path: &str, transcoded: Option<Codec>| RtpHeard::One {
            path: path.to_owned(),
            transcoded,
        };
        let heard = &self.heard;
        match (&heard.speakers[..], &heard.music) {
            ([], None) => Some(RtpHeard::Nothing),
            ([], Some(music)) => Some(one(music, Some(agreed()?))),
            ([speaker], _) if speaker.may_be_foreign => Some(one(&speaker.path, Some(agreed()?))),
            ([speaker], _) => Some(one(&speaker.path, None)),
            (speakers, _) => Some(RtpHeard::Several(RtpMix {
                path: format!("mix/{}/{}-{}", heard.call?, self.leg.call, self.leg.leg),
                codec: agreed()?,
                hears: speakers.iter().map(|speaker| speaker.path.clone()).collect(),
                own: self.leg.path(),
            })),
        }
    }
}

impl Gateway {
    /// Says to the leg of a telephone what it hears, if that is something else than before.
    pub(super) fn hear(&mut self, key: LegKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Some((hears, media)) = call.hears().zip(call.media) else {
            return;
        };
        if call.heard.told == hears {
            return;
        }
        match self.media.hear(media, &hears) {
            Ok(()) => call.heard.told = hears,
            Err(RtpError::Busy) => self.try_again(key),
            Err(error) => tracing::warn!(%error, "a telephone does not hear who is there"),
        }
    }
}
