//! What telephones hear, told to their legs.

use std::time::Duration;

use moqswitch_calls::LegId;
use moqswitch_sip::agent::LegKey;

use super::{Gateway, RtpError, codecs};

impl Gateway {
    /// Says to the leg of a telephone what it hears, if that is something else than before.
    pub(super) fn hear(&mut self, key: LegKey) {
        self.announce(key);
        let Some(call) = self.calls.get_mut(&key) else { return };
        let agreed = call.session_description.agreed();
        let agreed = agreed.map(|agreed| codecs::of_sdp(agreed.codec));
        let Some((hears, media)) = call.heard.news(call.leg, agreed).zip(call.media) else {
            return;
        };
        match self.media.hear(media, &hears) {
            Ok(()) => call.heard.set_told(hears),
            Err(RtpError::Busy) => self.try_again(key),
            Err(error) => tracing::warn!(%error, "a telephone does not hear who is there"),
        }
    }

    /// A telephone that is recorded hears a tone, or no longer.
    fn announce(&mut self, key: LegKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Some((tone, media)) = call.heard.tone_news().zip(call.media) else {
            return;
        };
        match self.media.announce(media, tone) {
            Ok(()) => call.heard.set_tone_told(tone),
            Err(RtpError::Busy) => self.try_again(key),
            Err(error) => tracing::warn!(%error, "a telephone hears no tone that it is recorded"),
        }
    }

    pub(super) fn set_tone(&mut self, leg: LegId, tone: Option<Duration>) {
        let key = self.legs.get(&leg).copied();
        if let Some((key, call)) = key.and_then(|key| Some((key, self.calls.get_mut(&key)?))) {
            call.heard.set_tone(tone);
            self.hear(key);
        }
    }
}
