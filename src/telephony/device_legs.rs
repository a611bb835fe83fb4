//! Legs of WebRTC for devices that have signalling of their own, and speak with who has none of WebRTC.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use moqswitch_signalling::calls::Codec;
use moqswitch_signalling::{
    RtpAgreed, RtpError, RtpEvent, RtpHeard, RtpIceServer, RtpLeg, RtpLegs, RtpOpened, RtpWanted,
};
use tokio::sync::Notify;

use super::browsing::BrowserGateways;
use super::mixing::Mixing;
use super::rtp::told;
use super::services::Mixers;
use crate::browsers::{Browsers, Opener};

/// All of them.
pub(super) struct DeviceLegs {
    browsers: BrowserGateways,
    mixing: Mixing,
    news: Arc<Notify>,
    opened: u64,
}

impl DeviceLegs {
    pub(super) fn new(browsers: Browsers, mixers: Option<Mixers>) -> Self {
        let news = Arc::new(Notify::new());
        Self {
            browsers: BrowserGateways::new(browsers, Opener::Devices, Arc::clone(&news)),
            mixing: Mixing::new(mixers),
            news,
            opened: 0,
        }
    }

    fn begin(&mut self) -> RtpLeg {
        let leg = RtpLeg(self.opened);
        self.opened += 1;
        leg
    }
}

impl RtpLegs for DeviceLegs {
    fn open(&mut self, _path: &str, _wanted: RtpWanted) -> Result<RtpOpened, RtpError> {
        Err(RtpError::Exhausted)
    }

    fn agree(&mut self, _leg: RtpLeg, _agreed: &RtpAgreed) -> Result<(), RtpError> {
        Ok(())
    }

    fn serves_browsers(&self) -> bool {
        true
    }

    fn ice_servers(&self, name: &str) -> Vec<RtpIceServer> {
        self.browsers.ice_servers(name)
    }

    fn answer_browser(&mut self, path: &str, offer: &str, codecs: &[Codec]) -> Result<(RtpLeg, String), RtpError> {
        let leg = self.begin();
        Ok((leg, self.browsers.answer(leg, path, offer, codecs)?))
    }

    fn offer_browser(&mut self, path: &str, codecs: &[Codec]) -> Result<(RtpLeg, String), RtpError> {
        let leg = self.begin();
        Ok((leg, self.browsers.offer(leg, path, codecs)?))
    }

    fn take_browser_answer(&mut self, leg: RtpLeg, answer: &str) -> Result<(), RtpError> {
        self.browsers.take_answer(leg, answer)
    }

    fn hear(&mut self, leg: RtpLeg, heard: &RtpHeard) -> Result<(), RtpError> {
        let hears = self.mixing.hear(leg, heard)?;
        self.browsers.hear(leg, hears)
    }

    fn announce(&mut self, leg: RtpLeg, every: Option<Duration>) -> Result<(), RtpError> {
        self.browsers.announce(leg, every)
    }

    fn press(&mut self, leg: RtpLeg, digit: char, duration_ms: u32) -> Result<(), RtpError> {
        self.browsers.press(leg, digit, duration_ms)
    }

    fn count(&mut self, leg: RtpLeg) -> Result<(), RtpError> {
        self.browsers.count(leg)
    }

    fn close(&mut self, leg: RtpLeg) {
        self.mixing.end(leg);
        self.browsers.close(leg);
    }

    fn poll(&mut self) -> Option<RtpEvent> {
        self.browsers.poll().map(|(leg, event)| told(leg, event))
    }

    fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    fn available(&self) -> usize {
        0
    }
}

impl fmt::Debug for DeviceLegs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DeviceLegs")
    }
}
