//! Legs of devices that speak WebRTC with somebody who does not, and what those offer.

use std::collections::BTreeMap;

use moqswitch_calls::{CallId, Codecs, LegId, Payload, SessionId};

use crate::gateway::{RtpIceServer, RtpLeg, RtpLegs};
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
    pub(super) speaker: Option<String>,
    pub(super) music: Option<String>,
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
        let Some(own) = self.legs.get(&leg) else { return };
        let path = own.speaker.as_ref().or(own.music.as_ref());
        if let Err(error) = self.media.hear(own.media, path.map(String::as_str)) {
            tracing::warn!(%error, "a browser does not hear who is there");
        }
    }

    pub(super) fn close(&mut self, leg: LegId) {
        if let Some(own) = self.legs.remove(&leg) {
            self.media.close(own.media);
        }
    }
}
