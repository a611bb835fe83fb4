//! Legs of devices that speak WebRTC with somebody who does not, and what those offer.

use std::collections::BTreeMap;

use moqswitch_calls::{CallId, Codec, Codecs, LegId, Payload, SessionId};

use crate::gateway::{Heard, RtpIceServer, RtpLeg, RtpLegs};
use crate::limits::BROWSER_OFFERS_MAX;

/// Their legs.
pub(super) struct Browsing {
    pub(super) media: Box<dyn RtpLegs>,
    /// Offers of those who call, until it is known who answers.
    pub(super) offers: BTreeMap<(SessionId, CallId), Payload>,
    pub(super) legs: BTreeMap<LegId, Browsed>,
}

/// One of them.
pub(super) struct Browsed {
    pub(super) media: RtpLeg,
    /// Of a device that is called: what was offered, until it answers.
    pub(super) offered: Option<Codecs>,
    pub(super) heard: Heard,
    /// What it speaks, once that is agreed on.
    pub(super) codec: Option<Codec>,
}

impl Browsing {
    pub(super) fn new(media: Box<dyn RtpLegs>) -> Self {
        Self {
            media,
            offers: BTreeMap::new(),
            legs: BTreeMap::new(),
        }
    }

    /// Told to devices when they register.
    pub(super) fn ice_servers(&self, name: &str) -> Vec<RtpIceServer> {
        self.media.ice_servers(name)
    }

    /// What a device offers with its call. With too many nobody keeps them, and who answers without a description is not
    /// spoken for.
    pub(super) fn keep(&mut self, session: SessionId, call: CallId, offer: &Payload) {
        if self.media.serves_browsers() && self.offers.len() < BROWSER_OFFERS_MAX {
            self.offers.insert((session, call), offer.clone());
        }
    }

    pub(super) fn forget(&mut self, session: SessionId, call: CallId) {
        self.offers.remove(&(session, call));
    }

    pub(super) fn hear(&mut self, leg: LegId) {
        let Some(own) = self.legs.get_mut(&leg) else { return };
        let Some(hears) = own.heard.news(leg, own.codec) else {
            return;
        };
        match self.media.hear(own.media, &hears) {
            Ok(()) => own.heard.set_told(hears),
            Err(error) => tracing::warn!(%error, "a browser does not hear who is there"),
        }
    }

    pub(super) fn close(&mut self, leg: LegId) {
        if let Some(own) = self.legs.remove(&leg) {
            self.media.close(own.media);
        }
    }
}
