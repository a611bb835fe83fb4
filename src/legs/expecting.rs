//! What a leg expects of its peer: that something comes.

use std::time::Instant;

use crate::events::{LegEvent, Outbox};
use crate::leg::Leg;
use crate::silence::Silence;

impl Leg {
    /// Something of the peer came.
    pub(crate) fn heard_of(&mut self, now: Instant) {
        self.last_packet = now;
        if matches!(self.silence, Silence::Told) {
            self.expect(now);
            self.has_news = true;
        }
    }

    /// The peer ought to speak from now on, unless it ought to already.
    pub(crate) fn expect(&mut self, now: Instant) {
        let is_expected = self.settings.receives && self.latch.destination().is_some();
        self.silence = match (&self.silence, self.settings.media_timeout.filter(|_| is_expected)) {
            (_, None) => Silence::Allowed,
            (Silence::Watched(until), Some(_)) => Silence::Watched(*until),
            (Silence::Allowed | Silence::Told, Some(timeout)) => Silence::Watched(now + timeout),
        };
    }

    pub(crate) fn tick_silence(&mut self, now: Instant, outbox: &Outbox) -> Option<Instant> {
        let (Silence::Watched(until), Some(timeout)) = (&self.silence, self.settings.media_timeout) else {
            return None;
        };
        if *until > now {
            return Some(*until);
        }
        // Looked at now and then, not with each packet.
        let until = self.last_packet + timeout;
        if until > now {
            self.silence = Silence::Watched(until);
            return Some(until);
        }
        self.silence = Silence::Told;
        outbox.tell(LegEvent::Silent { leg: self.name });
        None
    }
}
