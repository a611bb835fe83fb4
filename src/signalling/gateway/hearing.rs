//! What telephones hear, told to their legs.

use moqswitch_sip::agent::LegKey;

use super::{Gateway, RtpError, codecs};

impl Gateway {
    /// Says to the leg of a telephone what it hears, if that is something else than before.
    pub(super) fn hear(&mut self, key: LegKey) {
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
}
