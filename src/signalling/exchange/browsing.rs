//! Legs of devices that speak WebRTC with somebody who does not, and what those offer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use moqswitch_calls::{CallId, Codec, Codecs, LegId, Payload, SessionId};

use crate::gateway::{Heard, RtpError, RtpIceServer, RtpLeg, RtpLegs};
use crate::limits::{BROWSER_OFFERS_MAX, SIP_MEDIA_AGAIN};

/// Their legs.
pub(super) struct Browsing {
    pub(super) media: Box<dyn RtpLegs>,
    /// Offers of those who call, until it is known who answers.
    pub(super) offers: BTreeMap<(SessionId, CallId), Payload>,
    pub(super) legs: BTreeMap<LegId, Browsed>,
    /// Those who called, were answered, and wait for the shard to take their leg.
    pub(super) unanswered: BTreeMap<LegId, Unanswered>,
    /// Legs of which a shard was too busy to be told something, and when it is tried again.
    pub(super) again: BTreeSet<LegId>,
    pub(super) again_at: Option<Instant>,
}

/// An offer that is to be answered.
pub(super) struct Unanswered {
    pub(super) session: SessionId,
    /// Who answered.
    pub(super) by: LegId,
    pub(super) offer: Payload,
    pub(super) heard: Heard,
    /// When it is given up.
    pub(super) until: Instant,
}

/// One of them.
pub(super) struct Browsed {
    pub(super) media: RtpLeg,
    /// Of a device that is called: what was offered, until it answers.
    pub(super) offered: Option<Codecs>,
    pub(super) heard: Heard,
    /// What it speaks, once that is agreed on.
    pub(super) codec: Option<Codec>,
    /// What it answered, while the shard is too busy to open its leg, and when that is given up.
    pub(super) unopened: Option<(Payload, Instant)>,
}

impl Browsing {
    pub(super) fn new(media: Box<dyn RtpLegs>) -> Self {
        Self {
            media,
            offers: BTreeMap::new(),
            legs: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            again: BTreeSet::new(),
            again_at: None,
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

    /// A device that is recorded hears a tone, or no longer. False: none of these legs stands in for it.
    pub(super) fn set_tone(&mut self, leg: LegId, tone: Option<Duration>) -> bool {
        if let Some(waiting) = self.unanswered.get_mut(&leg) {
            waiting.heard.set_tone(tone);
            return true;
        }
        let Some(own) = self.legs.get_mut(&leg) else {
            return false;
        };
        own.heard.set_tone(tone);
        self.announce(leg);
        true
    }

    /// One that is recorded hears a tone, or no longer.
    fn announce(&mut self, leg: LegId) {
        let Some(own) = self.legs.get_mut(&leg) else { return };
        let Some(tone) = own.heard.tone_news() else { return };
        match self.media.announce(own.media, tone) {
            Ok(()) => own.heard.set_tone_told(tone),
            Err(RtpError::Busy) => self.try_again(leg),
            Err(error) => tracing::warn!(%error, "a browser hears no tone that it is recorded"),
        }
    }

    pub(super) fn hear(&mut self, leg: LegId) {
        self.announce(leg);
        let Some(own) = self.legs.get_mut(&leg) else { return };
        let Some(hears) = own.heard.news(leg, own.codec) else {
            return;
        };
        match self.media.hear(own.media, &hears) {
            Ok(()) => own.heard.set_told(hears),
            Err(RtpError::Busy) => self.try_again(leg),
            Err(error) => tracing::warn!(%error, "a browser does not hear who is there"),
        }
    }

    /// In a moment.
    pub(super) fn try_again(&mut self, leg: LegId) {
        self.again.insert(leg);
        self.again_at.get_or_insert_with(|| Instant::now() + SIP_MEDIA_AGAIN);
    }

    pub(super) fn close(&mut self, leg: LegId) {
        self.unanswered.remove(&leg);
        self.again.remove(&leg);
        if let Some(own) = self.legs.remove(&leg) {
            self.media.close(own.media);
        }
    }
}
