//! A leg whose peer is told by a tone that it is recorded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moqswitch_relay::shard::local::Host;

use crate::leg::Leg;
use crate::tone::{Announcing, Step, Tones};

impl Leg {
    /// From here on, or no longer. What sounds already goes on.
    pub(crate) fn announce(&mut self, wanted: Option<(Duration, Arc<Tones>)>, now: Instant) {
        let before = self.announcing.as_ref().map(|announcing| announcing.every());
        if before != wanted.as_ref().map(|(every, _)| *every) {
            self.announcing = wanted.map(|(every, tones)| Box::new(Announcing::new(tones, every, now)));
        }
    }

    /// Sends what is due of it. When it is to be called again.
    pub(crate) fn tick_tone(&mut self, host: &mut Host<'_>) -> Option<Instant> {
        let may = self.may_sound();
        let (now, since) = (host.now(), self.since(host));
        loop {
            let step = self.announcing.as_mut()?.poll(self.settings.codec, may, now);
            match step {
                Step::Wait(until) => return Some(until),
                Step::Begin => {
                    let timestamp = self.egress.begin_beside(since);
                    self.announcing.as_mut()?.begin(timestamp, now);
                }
                Step::Send {
                    is_first,
                    timestamp,
                    frame,
                } => {
                    let payload_type = self.settings.payload_type;
                    let (mut out, egress) = self.way_out(host);
                    egress.send_beside(is_first, payload_type, timestamp, &frame, |packet| out.send(&packet));
                }
            }
        }
    }
}
