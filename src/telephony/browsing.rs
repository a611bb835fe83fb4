//! Legs of WebRTC for gateways: those of telephones in pages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moqswitch_legs::{LegEvent, LegHears, LegSettings};
use moqswitch_signalling::calls::Codec;
use moqswitch_signalling::{RtpError, RtpIceServer, RtpLeg};
use moqswitch_webrtc as webrtc;
use tokio::sync::Notify;

use crate::browsers::{Answered, BrowserError, BrowserLeg, BrowserWanted, Browsers, Offer, Opener};

/// All of them.
pub(super) struct BrowserGateways {
    browsers: Browsers,
    opener: Opener,
    legs: HashMap<RtpLeg, State>,
    names: HashMap<BrowserLeg, RtpLeg>,
}

/// How far one is.
enum State {
    /// It was offered; what it hears then.
    Offered(Box<Offer>, Option<LegHears>),
    /// It was answered, and its shard had too much to do to open it.
    Answered(Option<Answered>, Option<LegHears>),
    Open(BrowserLeg),
}

impl BrowserGateways {
    /// Whose events are told by `news`.
    pub(super) fn new(browsers: Browsers, opener: Opener, news: Arc<Notify>) -> Self {
        browsers.set_news(opener, news);
        Self {
            opener,
            browsers,
            legs: HashMap::new(),
            names: HashMap::new(),
        }
    }

    pub(super) fn ice_servers(&self, name: &str) -> Vec<RtpIceServer> {
        let servers = self.browsers.ice_servers(name).into_iter();
        let told = servers.map(|server| RtpIceServer {
            urls: server.urls,
            username: server.username,
            credential: server.credential,
            expires: server.life.map(|life| life.as_secs()),
        });
        told.collect()
    }

    pub(super) fn has(&self, leg: RtpLeg) -> bool {
        self.legs.contains_key(&leg)
    }

    pub(super) fn answer(
        &mut self,
        leg: RtpLeg,
        path: &str,
        offer: &str,
        codecs: &[Codec],
    ) -> Result<String, RtpError> {
        let (own, answer) = self
            .browsers
            .answer(&self.wanted(path, codecs), offer)
            .map_err(of_browser)?;
        self.open(leg, own);
        Ok(answer)
    }

    pub(super) fn offer(&mut self, leg: RtpLeg, path: &str, codecs: &[Codec]) -> Result<String, RtpError> {
        let (offer, text) = self.browsers.offer(self.wanted(path, codecs)).map_err(of_browser)?;
        self.legs.insert(leg, State::Offered(Box::new(offer), None));
        Ok(text)
    }

    pub(super) fn take_answer(&mut self, leg: RtpLeg, answer: &str) -> Result<(), RtpError> {
        let (mut answered, hears) = match self.legs.remove(&leg).ok_or(RtpError::Unknown)? {
            State::Offered(offer, hears) => {
                let answered = offer.accept(answer).map_err(|error| of_browser(error.into()))?;
                (Some(answered), hears)
            }
            State::Answered(answered, hears) => (answered, hears),
            open @ State::Open(_) => {
                self.legs.insert(leg, open);
                return Ok(());
            }
        };
        match self.browsers.open(&mut answered, hears.clone()) {
            Ok(own) => {
                self.open(leg, own);
                Ok(())
            }
            Err(error) => {
                if answered.is_some() {
                    self.legs.insert(leg, State::Answered(answered, hears));
                }
                Err(of_browser(error))
            }
        }
    }

    /// Something else was agreed on.
    pub(super) fn change(&self, leg: RtpLeg, settings: LegSettings) -> Result<(), RtpError> {
        match self.legs.get(&leg) {
            Some(State::Open(own)) => done(self.browsers.change(*own, settings)),
            // It is told when it is opened.
            Some(State::Offered(..) | State::Answered(..)) => Ok(()),
            None => Err(RtpError::Unknown),
        }
    }

    pub(super) fn hear(&mut self, leg: RtpLeg, heard: Option<LegHears>) -> Result<(), RtpError> {
        match self.legs.get_mut(&leg) {
            Some(State::Open(own)) => done(self.browsers.hear(*own, heard)),
            Some(State::Offered(_, hears) | State::Answered(_, hears)) => {
                *hears = heard;
                Ok(())
            }
            None => Err(RtpError::Unknown),
        }
    }

    pub(super) fn announce(&self, leg: RtpLeg, every: Option<Duration>) -> Result<(), RtpError> {
        match self.legs.get(&leg) {
            Some(State::Open(own)) => done(self.browsers.announce(*own, every)),
            // It is to be said when there is somebody to hear it.
            Some(State::Offered(..) | State::Answered(..)) => Err(RtpError::Busy),
            None => Err(RtpError::Unknown),
        }
    }

    pub(super) fn press(&self, leg: RtpLeg, digit: char, duration_ms: u32) -> Result<(), RtpError> {
        match self.legs.get(&leg) {
            Some(State::Open(own)) => done(self.browsers.press(*own, digit, duration_ms)),
            Some(State::Offered(..) | State::Answered(..)) => Ok(()),
            None => Err(RtpError::Unknown),
        }
    }

    pub(super) fn count(&self, leg: RtpLeg) -> Result<(), RtpError> {
        match self.legs.get(&leg) {
            Some(State::Open(own)) => done(self.browsers.count(*own)),
            Some(State::Offered(..) | State::Answered(..)) => Ok(()),
            None => Err(RtpError::Unknown),
        }
    }

    /// Its name stays until its end is told.
    pub(super) fn close(&mut self, leg: RtpLeg) {
        if let Some(State::Open(own)) = self.legs.remove(&leg) {
            self.browsers.close(own);
        }
    }

    pub(super) fn poll(&mut self) -> Option<(RtpLeg, LegEvent)> {
        loop {
            let (own, event) = self.browsers.poll(self.opener)?;
            let Some(leg) = self.names.get(&own).copied() else {
                continue;
            };
            if matches!(event, LegEvent::Refused { .. } | LegEvent::Closed { .. }) {
                self.names.remove(&own);
                self.legs.remove(&leg);
            }
            return Some((leg, event));
        }
    }

    fn wanted(&self, path: &str, codecs: &[Codec]) -> BrowserWanted {
        wanted(self.opener, path, codecs)
    }

    fn open(&mut self, leg: RtpLeg, own: BrowserLeg) {
        self.legs.insert(leg, State::Open(own));
        self.names.insert(own, leg);
    }
}

fn wanted(opener: Opener, path: &str, codecs: &[Codec]) -> BrowserWanted {
    let codec = |codec: &Codec| match codec {
        Codec::Opus => webrtc::Codec::Opus,
        Codec::Pcmu => webrtc::Codec::Pcmu,
        Codec::Pcma => webrtc::Codec::Pcma,
        Codec::G722 => webrtc::Codec::G722,
    };
    BrowserWanted {
        opener,
        broadcast: path.to_owned(),
        codecs: codecs.iter().map(codec).collect(),
        receives: true,
        sends: true,
    }
}

fn of_browser(error: BrowserError) -> RtpError {
    match error {
        BrowserError::Busy => RtpError::Busy,
        BrowserError::Full => RtpError::Exhausted,
        BrowserError::OtherWay => RtpError::Unusable,
        BrowserError::Description(error) => {
            tracing::debug!(%error, "a description of a browser");
            RtpError::Unusable
        }
    }
}

fn done(is_done: bool) -> Result<(), RtpError> {
    match is_done {
        true => Ok(()),
        false => Err(RtpError::Busy),
    }
}
