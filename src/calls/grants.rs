//! Who may publish and subscribe what: always the complete list of one session, never a change of it. So a lost or
//! repeated command does no harm.

use serde::{Deserialize, Serialize};

use crate::ids::{CallId, LegId, PlayId, Text};

/// Everything that one session may do at the relay. Patterns are those of the relay: `**` is any number of segments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// What it may publish, in order.
    pub publish: Vec<String>,
    /// What it may subscribe to, in order.
    pub subscribe: Vec<String>,
}

impl Grants {
    /// May it do nothing?
    pub fn is_empty(&self) -> bool {
        self.publish.is_empty() && self.subscribe.is_empty()
    }

    /// Is there something in it that `other` has not?
    pub(crate) fn exceeds(&self, other: &Self) -> bool {
        let exceeds = |own: &[String], other: &[String]| own.iter().any(|pattern| !other.contains(pattern));
        exceeds(&self.publish, &other.publish) || exceeds(&self.subscribe, &other.subscribe)
    }

    /// In one order, each once.
    pub(crate) fn tidy(&mut self) {
        for patterns in [&mut self.publish, &mut self.subscribe] {
            patterns.sort_unstable();
            patterns.dedup();
        }
    }
}

/// The broadcast of a leg, and what is below it.
pub(crate) fn leg_pattern(leg: LegId) -> String {
    leg.path() + "/**"
}

/// Every broadcast of a call.
pub(crate) fn call_pattern(call: CallId) -> String {
    format!("call/{call}/**")
}

/// The broadcast of an announcement that is played once, for one caller.
pub(crate) fn announcement_path(name: &Text, call: CallId, play: PlayId) -> String {
    format!("prompt/{name}/{call}-{}", play.0)
}

/// The broadcast of a piece of music.
pub(crate) fn music_path(music: &Text) -> String {
    format!("moh/{music}")
}
