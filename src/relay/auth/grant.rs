//! What one session may publish and subscribe, and until when.

use std::time::{Instant, SystemTime};

use super::pattern::Patterns;

/// What one session may do. Paths are full paths: the session's root is part of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Broadcasts that the session may announce.
    pub publish: Patterns,
    /// Broadcasts that the session may subscribe, fetch and hear of.
    pub subscribe: Patterns,
    /// Of both, broadcasts of telephone calls are not covered: `call`, 32 hexadecimal digits, and what is below.
    pub without_calls: bool,
    /// The session is of another relay of the mesh: what it announces is believed with its hops.
    pub is_peer: bool,
    /// When the grant lapses: from then on the session may do nothing. `None`: it does not lapse by this clock.
    pub until: Option<Instant>,
    /// When it lapses by the wall clock, which is what tokens go by. It is that clock which decides, also when it is set,
    /// or went on while the host slept. `None`: it does not lapse by this clock.
    pub expires: Option<SystemTime>,
}

impl Grant {
    /// Every path, both ways, without end.
    pub fn everything() -> Self {
        Self::of(Patterns::everything())
    }

    /// Whether it is of every path both ways, calls aside.
    pub fn is_everything(&self) -> bool {
        self.publish.is_everything() && self.subscribe.is_everything()
    }

    /// Nothing.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// The same patterns both ways, without end.
    pub fn of(patterns: Patterns) -> Self {
        Self {
            publish: patterns.clone(),
            subscribe: patterns,
            ..Self::nothing()
        }
    }

    /// Whether it has lapsed by either clock.
    pub fn has_lapsed(&self, now: Instant, wall: SystemTime) -> bool {
        self.until.is_some_and(|until| until <= now) || self.expires.is_some_and(|expires| expires <= wall)
    }

    /// Whether the session may announce this broadcast.
    pub fn may_publish(&self, path: &str) -> bool {
        self.publish.matches(path) && !self.keeps_off(path)
    }

    /// Whether the session may subscribe this broadcast, fetch of it and hear of it.
    pub fn may_subscribe(&self, path: &str) -> bool {
        self.subscribe.matches(path) && !self.keeps_off(path)
    }

    fn keeps_off(&self, path: &str) -> bool {
        self.without_calls && is_of_a_call(path)
    }

    /// Whether there can be anything at or below `prefix` that the session may publish or subscribe.
    pub fn may_use_below(&self, prefix: &str) -> bool {
        self.publish.may_match_below(prefix) || self.subscribe.may_match_below(prefix)
    }
}

/// Whether a path is that of a telephone call's broadcast: its second segment is an id of 128 bits.
pub(crate) fn is_of_a_call(path: &str) -> bool {
    let mut segments = path.split('/');
    segments.next() == Some("call")
        && segments
            .next()
            .is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_has_its_own_patterns() {
        let grant = Grant {
            publish: patterns(&["call/7/a/**"]),
            subscribe: patterns(&["call/7/**"]),
            ..Grant::nothing()
        };
        assert!(grant.may_publish("call/7/a/audio") && !grant.may_publish("call/7/b/audio"));
        assert!(grant.may_subscribe("call/7/b/audio") && !grant.may_subscribe("call/8/b"));
        assert!(grant.may_use_below("call/7") && !grant.may_use_below("call/8"));
        assert!(!Grant::nothing().may_use_below(""));
    }

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }
}
