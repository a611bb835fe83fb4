//! Telephones in pages: their media are sessions of WebRTC. What codec is spoken and who holds is agreed on as with others; what
//! is said of ICE and keys comes from the leg.

use std::time::Instant;

use moqswitch_calls::{Codec, Codecs};
use moqswitch_sip::agent::LegKey;
use moqswitch_sip::sdp::{self, Agreed, Description, Direction};

use super::{Browser, Call, Gateway, RtpError, RtpLeg, codecs};
use crate::limits::BROWSER_AGAIN_MAX;

impl Gateway {
    /// What a browser offers, if it is one.
    pub(super) fn browser_of(&self, body: Option<&[u8]>, offer: Option<&Description>) -> Option<Box<Browser>> {
        let is_browser = offer.is_some_and(|offer| {
            let mut audios = offer.sections.iter().filter_map(|section| section.audio.as_ref());
            audios.any(|audio| audio.is_browser)
        });
        let theirs = std::str::from_utf8(body?).ok()?.to_owned();
        let browser = Browser {
            theirs,
            ours: String::new(),
            unopened_until: None,
        };
        (is_browser && self.media.serves_browsers()).then(|| Box::new(browser))
    }

    /// A leg for a browser that is called.
    pub(super) fn offer_browser(&mut self, call: &mut Call, offered: Codecs) -> Result<RtpLeg, RtpError> {
        let wanted: Vec<Codec> = offered.iter().collect();
        let (leg, offer) = self.media.offer_browser(&call.leg.path(), &wanted)?;
        call.media = Some(leg);
        call.browser = Some(Box::new(Browser {
            theirs: String::new(),
            ours: offer,
            unopened_until: None,
        }));
        Ok(leg)
    }

    /// The answer to who called from a page, with the codec that was agreed on. Its leg is opened for it.
    pub(super) fn answer_browser(&mut self, key: LegKey, codec: sdp::Codec) -> Result<String, RtpError> {
        let call = self.calls.get_mut(&key).ok_or(RtpError::Unknown)?;
        let browser = call.browser.as_mut().ok_or(RtpError::Unknown)?;
        if call.media.is_none() {
            let wanted = [codecs::of_sdp(codec)];
            let (leg, answer) = self.media.answer_browser(&call.leg.path(), &browser.theirs, &wanted)?;
            call.media = Some(leg);
            browser.ours = answer;
            self.streams.insert(leg, key);
        }
        Ok(browser.ours.clone())
    }

    /// What a browser answers to our offer. False: it is of no use.
    pub(super) fn take_browser_answer(&mut self, key: LegKey, body: &[u8]) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return true;
        };
        let (Some(browser), Some(media)) = (&mut call.browser, call.media) else {
            return true;
        };
        if !browser.theirs.is_empty() {
            return true;
        }
        let Ok(answer) = std::str::from_utf8(body) else {
            return false;
        };
        browser.theirs = answer.to_owned();
        match self.media.take_browser_answer(media, answer) {
            Ok(()) => true,
            Err(RtpError::Busy) => {
                browser.unopened_until = Some(Instant::now() + BROWSER_AGAIN_MAX);
                self.try_again(key);
                true
            }
            Err(error) => {
                tracing::info!(%error, "a telephone in a page answered");
                false
            }
        }
    }

    /// The shard was too busy to open its leg. False: it cannot be opened at all.
    pub(super) fn open_browser_again(&mut self, key: LegKey) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return true;
        };
        let (Some(browser), Some(media)) = (&mut call.browser, call.media) else {
            return true;
        };
        let Some(until) = browser.unopened_until.take() else {
            return true;
        };
        match self.media.take_browser_answer(media, &browser.theirs) {
            Ok(()) => true,
            Err(RtpError::Busy) if Instant::now() < until => {
                browser.unopened_until = Some(until);
                self.try_again(key);
                true
            }
            Err(_) => false,
        }
    }

    /// The answer to another offer of a browser. `None`: it changes more than who speaks.
    pub(super) fn answer_browser_again(&mut self, key: LegKey, body: &[u8], agreed: &Agreed) -> Option<String> {
        let browser = self.calls.get_mut(&key)?.browser.as_mut()?;
        let offers = (browser.theirs.as_str(), std::str::from_utf8(body).ok()?);
        let (sends, receives) = (agreed.sends, agreed.receives);
        let answer = self
            .media
            .answer_browser_again(&browser.ours, sends, receives, offers)?;
        browser.ours.clone_from(&answer);
        Some(answer)
    }
}

impl Call {
    /// What is said to who is called.
    pub(super) fn offer(&mut self, wanted: &[sdp::Codec]) -> String {
        let offer = self.session_description.offer(wanted, Direction::SendReceive);
        match &self.browser {
            Some(browser) => browser.ours.clone(),
            None => offer,
        }
    }
}
